"""The family `sequence`: networks over the steps of one list column."""

from __future__ import annotations

import collections.abc
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.encode import Column, Features, Kind
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures
from orchestrator.families.networks import parameters
from orchestrator.families.networks.family import SGD, NetworkFamily, Preparation
from orchestrator.families.networks.parameters import Choice, Flag, Number, Parameter
from orchestrator.families.networks.structure import Input, Signature
from orchestrator.space import Conditions, Params, Range, Space

RECURRENT = frozenset({"lstm", "gru"})
MOST_BLOCKS = 3
STEPS, FILE = "steps", "scaling.json"


class StepPreparation(Preparation):
    """Steps scaled channel by channel, then padded with 0 after the last, or cut, to one length.

    Args:
        column: The list column.
        length: Steps of a row.
        center: Each channel's mean, shape (channels,).
        scale: Each channel's standard deviation.
    """

    def __init__(self, column: str, length: int, center: Any, scale: Any) -> None:
        self.column, self.length = column, length
        self.center, self.scale = np.asarray(center, np.float32), np.asarray(scale, np.float32)

    @property
    def reads(self) -> collections.abc.Sequence[str]:
        """The columns that it reads."""
        return [self.column]

    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return `steps` (rows, length, channels) float32."""
        values, lengths = steps_of(features.arrays[self.column], len(self.center))
        offsets = np.arange(self.length)
        is_step = offsets < lengths[:, np.newaxis]
        starts = np.cumsum(lengths) - lengths
        padded = np.zeros((len(lengths), self.length, len(self.center)), np.float32)
        padded[is_step] = (values[(starts[:, np.newaxis] + offsets)[is_step]] - self.center) / self.scale
        return {STEPS: padded}

    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph, where nan is no step."""
        x, channels = graph.cast(features.arrays[self.column], "float32"), len(self.center)
        padded = graph.reshaped(graph.of_length(x, self.length, np.nan), [-1, self.length, channels])
        scaled = graph.apply("Sub", padded, graph.constant(self.center))
        scaled = graph.apply("Div", scaled, graph.constant(self.scale))
        return {STEPS: graph.apply("Where", graph.apply("IsNaN", scaled), graph.constant(np.float32(0)), scaled)}

    def files(self) -> Mapping[str, bytes]:
        """Return settings and scaling in one file."""
        scaling = {"center": self.center.tolist(), "scale": self.scale.tolist()}
        return {FILE: json.dumps({"column": self.column, "length": self.length, **scaling}).encode()}


def steps_of(array: Any, n_channels: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return all steps, row after row, shape (steps, channels) float32, and how many each row has."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float32).reshape(-1, n_channels), np.full(len(array), array.shape[1])
    steps = array.flatten()
    numbers = steps.flatten() if isinstance(steps, pa.FixedSizeListArray) else steps
    lengths = pc.list_value_length(array).to_numpy().astype(np.int64)
    return numbers.to_numpy().astype(np.float32).reshape(-1, n_channels), lengths


class Sequences(NetworkFamily):
    """The family `sequence`: convolutions over steps and their summary, or recurrence, then a dense layer.

    A row is one list, of numbers or of a fixed number of channels a step.
    """

    name = "sequence"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence", "vector"})
    own: ClassVar[Mapping[str, Parameter]] = {
        "length": Number("none", 1, 1_000_000, is_whole=True, or_none=True),
        "encoder": Choice("conv", ("conv", "lstm", "gru")),
        "depth": Number(2, 1, MOST_BLOCKS, is_whole=True),
        **{f"filters_{i}": Number(32, 1, 65536, is_whole=True) for i in range(1, MOST_BLOCKS + 1)},
        "kernel_size": Number(5, 1, 1024, is_whole=True),
        "pooling": Choice("average", ("average", "max")),
        "units": Number(32, 1, 65536, is_whole=True),
        "bidirectional": Flag(),
        "width_1": Number(32, 1, 65536, is_whole=True),
        **parameters.HIDDEN,
    }
    layers = frozenset({"encoder", "length", "depth", "kernel_size", "pooling", "units", "bidirectional"})
    fused_widths = frozenset({"width_1", *(f"filters_{i}" for i in range(1, MOST_BLOCKS + 1))})
    preparing = frozenset({"length"})
    most_fused = 8  # more save nothing, since what takes longest runs member by member; other workers would be idle
    conditions: ClassVar[Conditions] = {
        **SGD,
        **{name: ("encoder", frozenset({"conv"})) for name in ("depth", "filters_1", "kernel_size", "pooling")},
        **parameters.width_conditions(MOST_BLOCKS, name="filters"),
        "units": ("encoder", RECURRENT),
        "bidirectional": ("encoder", RECURRENT),
    }

    def default_space(self, shape: Shape) -> Space:
        """Return one to three convolutions of up to 64 filters."""
        n_rows = shape.n_train_smallest
        is_small = n_rows < 2000  # whose few inner rows say little from one epoch to the next
        size = next(size for size in (64, 32, 16, 8) if size <= max(8, n_rows // 16))
        return {
            "encoder": ["conv"],
            "depth": [1, 2, 3],
            **{f"filters_{i}": [16, 32, 64] for i in (1, 2, 3)},
            "kernel_size": [3, 9],
            "pooling": ["average", "max"],
            "width_1": [16, 32, 64],
            "activation": ["relu", "tanh"],
            "normalization": ["none", "batch"],
            "dropout": Range(0.0, 0.4),
            **parameters.training_space(Range(1e-3, 2e-2, log=True), [size], 60 if is_small else 30, shape.task),
            "patience": 20 if is_small else 5,
        }

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form.

        Raises:
            JobError: A parameter or a value is unknown, or there is more than one list column.
        """
        names = [column.name for column in shape.columns if column.kind in self.kinds]
        if len(names) > 1:
            raise JobError(
                f"{key.rpartition('.')[0]}.family: sequence learns from one list column, found "
                f"{', '.join(map(repr, names))}; leave all but one out with data.exclude"
            )
        return super().checked_space(space, shape, key)

    def _column(self, columns: collections.abc.Sequence[Column]) -> Column:
        return next(column for column in columns if column.kind in self.kinds)

    def _size(self, params: Params, column: Column) -> tuple[int, int]:
        """Return steps and channels of a row."""
        longest, channels = (
            (column.shape[0], 1) if column.kind == "vector" else (column.longest, (column.shape or (1,))[0])
        )
        return int(max(1, longest) if params["length"] == "none" else params["length"]), channels

    def inputs(self, params: Params, shape: Shape) -> collections.abc.Sequence[Input]:
        """Return the steps."""
        return [Input(STEPS, self._size(params, self._column(shape.columns)))]

    def is_fused(self, params: Params) -> bool:
        """Tell that all but recurrent networks are."""
        return params["encoder"] not in RECURRENT

    def n_weights(self, params: Params, shape: Shape) -> int:
        """Return about how many weights a member has."""
        _, channels = self._size(params, self._column(shape.columns))
        sizes = [channels, *self._filters(params)]
        kernel = int(params.get("kernel_size", 1))
        kernels = sum(kernel * a * b for a, b in itertools.pairwise(sizes))
        units = int(params.get("units", 0))
        encoded = sizes[-1] if self.is_fused(params) else 2 * units
        return kernels + 8 * units * (units + channels) + int(params["width_1"]) * (encoded + max(1, shape.n_classes))

    def _filters(self, params: Params) -> list[int]:
        return [int(params[f"filters_{i}"]) for i in range(1, int(params.get("depth", 0)) + 1)]

    def row_floats(self, params: Params, shape: Shape) -> int:
        """Return about how many numbers a row takes on its way."""
        length, channels = self._size(params, self._column(shape.columns))
        kernel = int(params.get("kernel_size", 1))
        inner = sum(self._filters(params)) * (6 + kernel) + 10 * int(params.get("units", 0))
        return length * (channels * (1 + kernel) + inner) + 8 * int(params["width_1"])

    def complexity(self, params: Params) -> float:
        """Return about how many weights the hidden layers have."""
        settings = self.settings(params, "")
        units = int(settings.get("units", 0)) * (2 if settings.get("bidirectional") else 1)
        sizes = [1, *self._filters(settings), *([4 * units] if units else []), int(settings["width_1"])]
        return float(sum(a * b for a, b in itertools.pairwise(sizes)))

    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Fit the scaling."""
        column = self._column(data.columns)
        length, channels = self._size(params, column)
        values, lengths = steps_of(data.features.arrays[column.name], channels)
        chosen = np.zeros(len(lengths), bool)
        chosen[rows] = True
        seen = values[np.repeat(chosen, lengths)].astype(np.float64)
        if not len(seen):
            return StepPreparation(column.name, length, np.zeros(channels), np.ones(channels))
        scale = seen.std(axis=0)
        return StepPreparation(column.name, length, seen.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def load_preparation(self, folder: Path) -> Preparation:
        """Read the scaling."""
        read = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return StepPreparation(read["column"], int(read["length"]), read["center"], read["scale"])

    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Return convolutions and their summary, or recurrence, with a dense layer on it."""
        from orchestrator.families.networks import recurrent_kit as steps

        (one,) = signature.inputs
        x = kit.input(one.name, one.shape, one.dtype)
        if params["encoder"] == "conv":
            for i in range(1, int(params["depth"]) + 1):
                x = steps.convolved(kit, i, x, f"filters_{i}", int(params["kernel_size"]))
            x = steps.summary(x, str(params["pooling"]))
        else:
            x = steps.recurrent(x, str(params["encoder"]), int(params["units"]), bool(params["bidirectional"]))
        x = kit.dropout("dropout_0", x)
        last = MOST_BLOCKS + 1
        x = kit.hidden(last, kit.dense(f"dense_{last}", x, "width_1"), "width_1")
        return kit.model(kit.head(x, signature.n_outputs))
