"""The family `mlp`: dense networks over tables, with embeddings for categories.

With `frequencies`, every number also enters as sines and cosines of learned frequencies, which lets a network follow
narrow bumps as neighbours do (Gorishniy, Rubachev, Babenko 2022, On embeddings for numerical features in tabular deep
learning, arXiv 2203.05556).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline

from orchestrator.data.encode import Column, Features, Kind
from orchestrator.data.prepare import SCALERS, scaler_of
from orchestrator.data.sets import TrainingSet
from orchestrator.families import pipelines
from orchestrator.families.base import Shape
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures, places
from orchestrator.families.graph.preparation import transformed
from orchestrator.families.networks import parameters
from orchestrator.families.networks.family import SGD, NetworkFamily, Preparation
from orchestrator.families.networks.parameters import Choice, Number, Parameter
from orchestrator.families.networks.structure import LANES, Input, Signature
from orchestrator.space import Conditions, Params, Range, Space

MOST_LAYERS = 6
MOST_FREQUENCIES = 8 * LANES
FEW_NUMBERS = 8
"""Up to so many numbers the default space offers frequencies, which make each into many inputs."""
NUMBERS, CODES = "numbers", "codes"
FILE = "preparation.skops"


class TablePreparation(Preparation):
    """Numbers imputed and scaled, with a column that says where one was missing; categories as codes from 0.

    Args:
        numbers: The fitted transformer of scalar columns that are no categories, then of vectors and dates; or None.
        columns: All columns, in order.
    """

    def __init__(self, numbers: Any | None, columns: Sequence[Column]) -> None:
        self.numbers, self.columns = numbers, tuple(columns)

    @property
    def reads(self) -> Sequence[str]:
        """The columns that it reads."""
        return [column.name for column in self.columns]

    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return `numbers` (rows, n) float32 and `codes` (rows, categories) int32."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        if self.numbers is not None:
            found[NUMBERS] = self.numbers.transform(_numbers_of(features, self.columns)).astype(np.float32)
        places = [i for i, c in enumerate(_scalars(self.columns)) if c.kind == "category"]
        if places:
            categories = [c for c in self.columns if c.kind == "category"]
            starts = np.cumsum([0, *(len(c.categories) + 2 for c in categories)])[:-1]
            found[CODES] = (features.matrix[:, places] + 2 + starts).astype(np.int32)  # unseen is -2, missing -1
        return found

    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph."""
        found: dict[str, Tensor] = {}
        if self.numbers is not None:
            numbers = graph.cast(transformed(graph, self.numbers, self._traced_numbers(graph, features)), "float32")
            found[NUMBERS] = numbers
        at = [i for i, c in enumerate(_scalars(self.columns)) if c.kind == "category"]
        if at:
            codes = graph.taken(features.matrix, graph.constant(places(at)), 1)
            starts = np.cumsum([2, *(len(c.categories) + 2 for c in self.columns if c.kind == "category")])[:-1]
            found[CODES] = graph.cast(graph.apply("Add", codes, graph.constant(starts.astype(np.float64))), "int32")
        return found

    def _traced_numbers(self, graph: Graph, features: TracedFeatures) -> Tensor:
        at = [i for i, c in enumerate(_scalars(self.columns)) if c.kind != "category"]
        parts = [graph.taken(features.matrix, graph.constant(places(at)), 1)] if at else []
        parts += [graph.cast(features.arrays[c.name], "float64") for c in self.columns if c.kind == "vector"]
        return parts[0] if len(parts) == 1 else graph.joined(parts, 1)

    def files(self) -> Mapping[str, bytes]:
        """Return the transformer in one file."""
        return {FILE: pipelines.dumps({"numbers": self.numbers, "columns": _plain(self.columns)})}


class MLP(NetworkFamily):
    """The family `mlp`."""

    name = "mlp"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"number", "boolean", "category", "date", "vector"})
    own: ClassVar[Mapping[str, Parameter]] = {
        "depth": Number(2, 0, MOST_LAYERS, is_whole=True),
        **parameters.widths(MOST_LAYERS),
        **parameters.HIDDEN,
        "scaler": Choice("standard", SCALERS),
        "embedding_width": Number(8, 1, 1024, is_whole=True),
        "frequencies": Number(0, 0, MOST_FREQUENCIES, is_whole=True, multiple_of=LANES),
        "frequency_scale": Number(0.3, 1e-6, 1e6),
    }
    layers = frozenset({"depth", "embedding_width", "frequencies"})
    initializing = ("frequency_scale",)
    fused_widths = frozenset(f"width_{i}" for i in range(1, MOST_LAYERS + 1))
    preparing = frozenset({"scaler"})
    conditions: ClassVar[Conditions] = {
        **SGD,
        "frequency_scale": ("frequencies", frozenset(range(LANES, MOST_FREQUENCIES + 1, LANES))),
        "width_1": ("depth", frozenset(range(1, MOST_LAYERS + 1))),
        **parameters.width_conditions(MOST_LAYERS),
    }

    def default_space(self, shape: Shape) -> Space:
        """Return one to three hidden layers of up to 128 units, trained for longer where there are fewer rows."""
        n_rows, n_numbers = shape.n_train_smallest, self._n_numbers(shape)
        sizes = [size for size in (32, 64, 128) if size <= max(32, n_rows // 20)]
        rates = Range(3e-4, 3e-2, log=True)
        space: Space = {
            "depth": [1, 2, 3],
            **{f"width_{i}": [32, 64, 128] for i in (1, 2, 3)},
            "activation": ["relu", "tanh"],
            "normalization": ["none", "batch"],
            "dropout": Range(0.0, 0.4),
            "scaler": ["standard", "quantile"],
            **parameters.training_space(rates, sizes[-2:], parameters.epochs_for(n_rows), shape.task),
        }
        if 0 < n_numbers <= FEW_NUMBERS:
            space |= {"frequencies": [0, 16], "frequency_scale": Range(0.05, 1.0, log=True)}
        return space

    def _n_numbers(self, shape: Shape) -> int:
        return sum(_n_numbers(c) for c in shape.columns if c.kind in self.kinds)

    def inputs(self, params: Params, shape: Shape) -> Sequence[Input]:
        """Return numbers and codes, as far as there are such columns."""
        n_numbers = self._n_numbers(shape)
        coded = [len(c.categories) + 2 for c in shape.columns if c.kind == "category"]
        found = [Input(NUMBERS, (n_numbers,))] if n_numbers else []
        return [*found, Input(CODES, (len(coded),), "int32", sum(coded))] if coded else found

    def n_weights(self, params: Params, shape: Shape) -> int:
        """Return about how many weights a member has, tables of categories and waves included."""
        width = int(params["embedding_width"])
        coded = sum(one.n_values for one in self.inputs(params, shape))
        widened = self._n_numbers(shape) * 2 * int(params["frequencies"]) + sum(
            one.shape[0] * width for one in self.inputs(params, shape) if one.name == CODES
        )
        return super().n_weights(params, shape) + coded * width + widened * int(params.get("width_1", shape.n_classes))

    def row_floats(self, params: Params, shape: Shape) -> int:
        """Return about how many numbers a row takes, embedded categories and waves included."""
        codes = sum(one.shape[0] for one in self.inputs(params, shape) if one.name == CODES)
        waves = 6 * self._n_numbers(shape) * int(params["frequencies"])
        return super().row_floats(params, shape) + 2 * codes * int(params["embedding_width"]) + waves

    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Fit imputation and scaling."""
        columns = [c for c in data.columns if c.kind in self.kinds]
        if not any(_n_numbers(c) for c in columns):
            return TablePreparation(None, columns)
        numbers = _transformer(columns, str(params["scaler"]), data.seed)
        return TablePreparation(numbers.fit(_numbers_of(data.features, columns)[rows]), columns)

    def load_preparation(self, folder: Path) -> Preparation:
        """Read the transformer."""
        read = pipelines.loads((folder / FILE).read_bytes(), FILE)
        return TablePreparation(read["numbers"], [_column(values) for values in read["columns"]])

    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Return dense layers over numbers and embedded codes."""
        parts = []
        for one in signature.inputs:
            x = kit.input(one.name, one.shape, one.dtype)
            if one.name == CODES:
                x = kit.embedding("embedding", x, one.n_values, int(params["embedding_width"]))
            elif params.get("frequencies"):
                parts += kit.waves("frequencies", x, int(params["frequencies"]))
            parts.append(x)
        x = kit.concatenate(parts)
        for i in range(1, int(params["depth"]) + 1):
            x = kit.hidden(i, kit.dense(f"dense_{i}", x, f"width_{i}"), f"width_{i}")
        return kit.model(kit.head(x, signature.n_outputs))


def _scalars(columns: Sequence[Column]) -> list[Column]:
    return [c for c in columns if c.kind in ("number", "boolean", "category")]


def _n_numbers(column: Column) -> int:
    """Return how many numbers a column becomes."""
    if column.kind == "vector":
        return column.shape[0]
    if column.kind == "date":
        return column.shape[0] + column.has_nulls
    return 0 if column.kind == "category" else 1 + column.has_nulls


def _numbers_of(features: Features, columns: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Return numbers and booleans, then vectors, then parts of dates, side by side, shape (rows, n)."""
    places = [i for i, c in enumerate(_scalars(columns)) if c.kind != "category"]
    arrays = [features.arrays[c.name] for kind in ("vector", "date") for c in columns if c.kind == kind]
    return np.hstack([features.matrix[:, places], *arrays]) if arrays else features.matrix[:, places]


def _transformer(columns: Sequence[Column], scaler: str, seed: int) -> Any:
    numeric = [c for c in _scalars(columns) if c.kind != "category"]
    n_vector = sum(c.shape[0] for c in columns if c.kind == "vector")
    numbers = [i for i, c in enumerate(numeric) if c.kind == "number"]
    booleans = [i for i, c in enumerate(numeric) if c.kind == "boolean"]
    nullable = [i for i, c in enumerate(numeric) if c.has_nulls]
    vectors = list(range(len(numeric), len(numeric) + n_vector))
    n_before = len(numeric) + n_vector
    for date in (c for c in columns if c.kind == "date"):
        numbers += range(n_before, n_before + date.shape[0])
        nullable += [n_before] if date.has_nulls else []
        n_before += date.shape[0]

    def scaled(*steps: tuple[str, Any]) -> Any:
        scaling = scaler_of(scaler, seed)
        return Pipeline([*steps, *([("scale", scaling)] if scaling is not None else [])] or [("none", "passthrough")])

    median = SimpleImputer(strategy="median", keep_empty_features=True)
    parts = [
        ("numbers", scaled(("impute", median)), numbers),
        ("booleans", SimpleImputer(strategy="most_frequent", keep_empty_features=True), booleans),
        ("vectors", scaled(), vectors),
        ("missing", MissingIndicator(features="all"), nullable),
    ]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0.0)


def _plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [
        {**asdict(c), "categories": list(c.categories), "shape": list(c.shape), "missing": list(c.missing)}
        for c in columns
    ]


def _column(values: Mapping[str, Any]) -> Column:
    return Column.from_dict(values)
