"""The family `image`: convolutional networks over one column of pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from orchestrator.data.encode import Column, Features, Kind, excluding
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures
from orchestrator.families.networks import parameters
from orchestrator.families.networks.family import SGD, NetworkFamily, Preparation
from orchestrator.families.networks.parameters import Choice, Number, Parameter
from orchestrator.families.networks.structure import Input, Signature
from orchestrator.space import Conditions, Dimension, Params, Range, Space, dimensions

MOST_BLOCKS = 3
PIXELS, FILE = "pixels", "pixels.json"
AUGMENTATIONS = ("none", "shift", "flip", "shift_rotate")
ROWS_A_UNIT = 100_000
"""Rows that a unit trains on, over its members and their epochs: enough to make up for building the program."""
ImageShape = tuple[int, int, int]


class PixelPreparation(Preparation):
    """Pixels as images, brightened by a power of two.

    Bytes may use little of their range (in the bundled digits 0 to 16). They are doubled as often as the largest
    training value allows, and larger ones are cut at 255; other numbers are scaled so that the largest lies between 0.5
    and 1. All training rows count for it: folds share their pixels, and a power of two tells next to nothing of them.

    Args:
        column: The column's name.
        shape: Height, width and channels.
        exponent: Of the power of two.
    """

    def __init__(self, column: str, shape: ImageShape, exponent: int) -> None:
        self.column, self.shape, self.exponent = column, shape, exponent

    @property
    def reads(self) -> Sequence[str]:
        """The columns that it reads."""
        return [self.column]

    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return `pixels`, shape (rows, height, width, channels): uint8 or float32; no copy where nothing changes."""
        found = features.arrays[self.column].reshape(-1, *self.shape)
        if not self.exponent:
            return {PIXELS: found}
        if found.dtype != np.uint8:
            return {PIXELS: np.ldexp(found, self.exponent)}
        return {PIXELS: np.minimum(found, 255 >> self.exponent) << self.exponent}

    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph."""
        x, is_bytes = features.arrays[self.column], features.columns[0].holds_bytes
        x = graph.reshaped(x, [-1, *self.shape])
        if not self.exponent:
            return {PIXELS: x}
        if not is_bytes:
            return {PIXELS: graph.apply("Mul", x, graph.constant(np.float32(2.0**self.exponent)))}
        darker = graph.apply("Min", graph.cast(x, "int32"), graph.constant(np.int32(255 >> self.exponent)))
        return {PIXELS: graph.cast(graph.apply("Mul", darker, graph.constant(np.int32(2**self.exponent))), "uint8")}

    def files(self) -> Mapping[str, bytes]:
        """Return what it is as JSON."""
        described = {"column": self.column, "shape": list(self.shape), "exponent": self.exponent}
        return {FILE: (json.dumps(described) + "\n").encode()}


class Image(NetworkFamily):
    """The family `image`."""

    name = "image"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"image", "vector"})
    own: ClassVar[Mapping[str, Parameter]] = {
        "height": Number("none", 1, 65536, is_whole=True, or_none=True),
        "channels": Number("none", 1, 4, is_whole=True, or_none=True),
        "augmentation": Choice("none", AUGMENTATIONS),
        "blocks": Number(2, 1, MOST_BLOCKS, is_whole=True),
        **{f"filters_{i}": Number(16 * 2 ** (i - 1), 1, 4096, is_whole=True) for i in range(1, MOST_BLOCKS + 1)},
        "kernel_size": Number(3, 1, 64, is_whole=True),
        "residual": Choice("none", ("none", "skip")),
        "pooling": Choice("max", ("max", "average")),
        "global_pooling": Choice("none", ("none", "average", "max")),
        **parameters.widths(1),
        **parameters.HIDDEN,
    }
    layers = frozenset({"height", "channels", "augmentation", "blocks", "kernel_size", "residual", "pooling"}) | {
        "global_pooling"
    }
    fused_widths = frozenset({"width_1"}) | {f"filters_{i}" for i in range(1, MOST_BLOCKS + 1)}
    prepares = False
    conditions: ClassVar[Conditions] = {
        **SGD,
        **{f"filters_{i}": ("blocks", frozenset(range(i, MOST_BLOCKS + 1))) for i in range(2, MOST_BLOCKS + 1)},
    }
    default_batch_size = 16

    @property
    def structure(self) -> frozenset[str]:
        """All that makes the graph: widths, activation and normalisation too, since members train in turn."""
        return super().structure | self.fused_widths | self.fused_choices

    def default_space(self, shape: Shape) -> Space:
        """Return one to three blocks, as far as kernels of 3 x 3 fit."""
        column = _only_column(shape.columns, self.kinds, "space")
        height, width, _ = _layout(column, "none", "none") or (1, 1, 1)
        n_rows = shape.n_train_smallest
        blocks = [i for i in range(1, MOST_BLOCKS + 1) if min(height, width) // 2 ** (i - 1) >= 3] or [1]
        space: Space = {
            "blocks": list[Any](blocks[-2:]),
            **{f"filters_{i}": [16 * 2 ** (i - 1), 32 * 2 ** (i - 1)] for i in range(1, blocks[-1] + 1)},
            "kernel_size": 3 if min(height, width) >= 3 else 1,
            "residual": ["none", "skip"],
            "global_pooling": ["none", "average"],
            "width_1": [64, 128],
            "normalization": ["none", "batch"],
            "augmentation": ["none", "shift"],
            "dropout": Range(0.0, 0.5),
        }
        sizes = [size for size in (32, 64, 128) if size <= max(32, n_rows // 16)]
        epochs = max(4, min(30, 500_000 // n_rows))
        return {**space, **parameters.training_space(Range(3e-4, 1e-2, log=True), sizes, epochs, shape.task)}

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form, once it is clear what the column's images are."""
        found = super().checked_space(space, shape, key)
        column = _only_column(shape.columns, self.kinds, key)
        known = dimensions(found)
        height, channels = (_one(known.get(name, ("none",)), f"{key}.{name}") for name in ("height", "channels"))
        if column.kind == "image" and (height, channels) != ("none", "none"):
            raise JobError(f"{key}.height: column {column.name!r} holds images, which have their size; leave it out")
        if _layout(column, height, channels) is None:
            given = f"height {height}" if height != "none" else "squares of 1 or 3 channels"
            raise JobError(
                f"{key}.height: column {column.name!r} has {column.shape[0]} numbers a row, which do not make {given}; "
                "set height, and channels where there are several"
            )
        return found

    def complexity(self, params: Params) -> float:
        """Return about how many weights the hidden layers have."""
        filters = [int(params[f"filters_{i}"]) for i in range(1, MOST_BLOCKS + 1) if f"filters_{i}" in params]
        pairs = zip([1, *filters], [*filters, int(params.get("width_1", 1))], strict=True)
        copies = 2.0 if params.get("residual") == "skip" else 1.0
        return copies * sum(a * b for a, b in pairs)

    def is_fused(self, params: Params) -> bool:
        """Tell that members train one after another: convolutions gain nothing by fusing on a CPU."""
        return False

    def is_fused_on_gpu(self, params: Params) -> bool:
        """Tell that they train together on a GPU, which one member leaves idle for the most part."""
        return True

    def most_in_turn(self, params: Params, shape: Shape) -> int:
        """Return how many members one unit trains, by the rows of an epoch."""
        rows = int(params["epochs"]) * shape.n_train_smallest
        return max(1, min(super().most_in_turn(params, shape), ROWS_A_UNIT // rows))

    def inputs(self, params: Params, shape: Shape) -> Sequence[Input]:
        """Return the images."""
        column = _only_column(shape.columns, self.kinds, "space")
        layout = _layout(column, params.get("height", "none"), params.get("channels", "none"))
        assert layout is not None
        return [Input(PIXELS, layout, "uint8" if column.holds_bytes else "float32")]

    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Find out how bright the pixels are."""
        column = _only_column(data.columns, self.kinds, "space")
        layout = _layout(column, params.get("height", "none"), params.get("channels", "none"))
        assert layout is not None
        return PixelPreparation(column.name, layout, _exponent(column, data.features.arrays[column.name]))

    def load_preparation(self, folder: Path) -> Preparation:
        """Read what it is."""
        read = json.loads((folder / FILE).read_text(encoding="utf-8"))
        height, width, channels = read["shape"]
        return PixelPreparation(str(read["column"]), (int(height), int(width), int(channels)), int(read["exponent"]))

    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Return blocks of convolution, a summary, and a dense layer."""
        from orchestrator.families.networks import image_kit as conv

        (one,) = signature.inputs
        x = conv.augmented(kit, conv.pixels(kit, one.name, one.shape, one.dtype), str(params["augmentation"]))
        n_blocks, kernel = int(params["blocks"]), int(params["kernel_size"])
        for i in range(1, n_blocks + 1):
            filters = f"filters_{i}"
            x = kit.activated(2 * i - 1, conv.convolution(kit, f"convolution_{i}", x, filters, kernel), filters)
            if params["residual"] == "skip":
                again = conv.convolution(kit, f"convolution_{i}_skipped", x, filters, kernel)
                x = conv.added(x, kit.activated(2 * i, again, filters))
            if i < n_blocks or params["global_pooling"] == "none":
                x = conv.halved(x, str(params["pooling"]))
        x = kit.dense("dense_1", conv.summary(x, str(params["global_pooling"])), "width_1")
        return kit.model(kit.head(kit.hidden(2 * n_blocks + 1, x, "width_1"), signature.n_outputs))

    def n_weights(self, params: Params, shape: Shape) -> int:
        """Return about how many weights a member has."""
        (one,), area = self.inputs(params, shape), int(params["kernel_size"]) ** 2
        filters = [int(params[f"filters_{i}"]) for i in range(1, int(params["blocks"]) + 1)]
        between = sum(a * b * area for a, b in zip([one.shape[2], *filters], filters, strict=False))
        skipped = sum(f * f * area for f in filters) if params["residual"] == "skip" else 0
        left = math.prod(max(1, n >> len(filters)) for n in one.shape[:2]) if params["global_pooling"] == "none" else 1
        width = int(params["width_1"])
        return between + skipped + filters[-1] * left * width + width * max(1, shape.n_classes)

    def row_floats(self, params: Params, shape: Shape) -> int:
        """Return about how many numbers one row of a batch takes on its way through a member."""
        (one,) = self.inputs(params, shape)
        filters = [int(params[f"filters_{i}"]) for i in range(1, int(params["blocks"]) + 1)]
        copies = 16 if params["residual"] == "skip" else 8
        sizes = (f * math.prod(max(1, n >> i) for n in one.shape[:2]) for i, f in enumerate(filters))
        return math.prod(one.shape) + copies * sum(sizes)


def _one(dimension: Dimension, key: str) -> Any:
    if isinstance(dimension, Range) or len(dimension) != 1:
        raise JobError(f"{key}: expected one number for all trials, found several")
    return dimension[0]


def _only_column(columns: Sequence[Column], kinds: frozenset[Kind], key: str) -> Column:
    found = [column for column in columns if column.kind in kinds]
    if len(found) != 1:
        names = ", ".join(repr(column.name) for column in found)
        raise JobError(
            f"{key}: image learns from one column of images or vectors, found {names}; leave the others out with "
            f"{excluding(found[-1].name)}"
        )
    return found[0]


def _layout(column: Column, height: Any, channels: Any) -> ImageShape | None:
    """Return height, width and channels of a row; None where its numbers do not make an image."""
    if column.kind == "image":
        return column.shape  # type: ignore[return-value]
    (size,) = column.shape
    for depth in (1, 3) if channels == "none" else (int(channels),):
        area = size // depth
        rows = math.isqrt(area) if height == "none" else int(height)
        if rows and depth * area == size and area % rows == 0 and (height != "none" or rows * rows == area):
            return rows, area // rows, depth
    return None


def _exponent(column: Column, pixels: np.ndarray[Any, Any]) -> int:
    if column.kind == "image" or not pixels.size:
        return 0
    largest = float(np.abs(pixels).max()) if pixels.dtype != np.uint8 else int(pixels.max())
    if not largest:
        return 0
    if pixels.dtype == np.uint8:
        return 8 - int(largest).bit_length()
    return -int(np.frexp(largest)[1])
