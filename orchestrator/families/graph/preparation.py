"""scikit-learn's fitted transformers, those that `data.prepare` is made of, as operations of a graph.

Each does what its `transform` does, in float64 and in the same order, so that results agree to the last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from orchestrator.families.graph import made_columns
from orchestrator.families.graph.base import Graph, NoConverter, Tensor, places


def transformed(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Return what a fitted transformer makes of a matrix of float64.

    Raises:
        NoConverter: It is none of those that are known here.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return x
    if isinstance(step, Pipeline):
        for _, one in step.steps:
            x = transformed(graph, one, x)
        return x
    convert = _CONVERTERS.get(type(step))
    if convert is None:
        raise NoConverter(f"no converter for {type(step).__name__}, a part of the preparation")
    return convert(graph, step, x)


def _side_by_side(graph: Graph, step: ColumnTransformer, x: Tensor) -> Tensor:
    parts = [
        transformed(graph, one, graph.taken(x, graph.constant(places(columns)), 1))
        for _, one, columns in step.transformers_
        if len(columns) and not (isinstance(one, str) and one == "drop")
    ]
    return parts[0] if len(parts) == 1 else graph.joined(parts, 1)


def _united(graph: Graph, step: FeatureUnion, x: Tensor) -> Tensor:
    return graph.joined([transformed(graph, one, x) for _, one in step.transformer_list], 1)


def _imputed(graph: Graph, step: SimpleImputer, x: Tensor) -> Tensor:
    statistics = np.where(np.isnan(step.statistics_), 0.0, step.statistics_)  # of columns without any value
    return graph.apply("Where", graph.apply("IsNaN", x), graph.constant(statistics), x)


def _missing(graph: Graph, step: MissingIndicator, x: Tensor) -> Tensor:
    return graph.cast(graph.apply("IsNaN", x), "float64")


def _linear(subtract: str, divide: str) -> Callable[[Graph, Any, Tensor], Tensor]:
    def convert(graph: Graph, step: Any, x: Tensor) -> Tensor:
        x = graph.apply("Sub", x, graph.constant(getattr(step, subtract)))
        return graph.apply("Div", x, graph.constant(getattr(step, divide)))

    return convert


def _min_max(graph: Graph, step: MinMaxScaler, x: Tensor) -> Tensor:
    return graph.apply("Add", graph.apply("Mul", x, graph.constant(step.scale_)), graph.constant(step.min_))


def _projected(graph: Graph, step: PCA, x: Tensor) -> Tensor:
    turned = graph.apply("MatMul", x, graph.constant(np.ascontiguousarray(step.components_.T)))
    return graph.apply("Sub", turned, graph.constant(step.mean_ @ step.components_.T))


def _one_hot(graph: Graph, step: OneHotEncoder, x: Tensor) -> Tensor:
    """Look up the row that each code becomes, in tables of what the encoder makes of all codes."""
    first = np.array([[known[0] for known in step.categories_]])
    widths = _widths(step)
    ends, parts = np.cumsum(widths), []
    for i, known in enumerate(step.categories_):
        rows = np.repeat(first, int(known.max()) + 4, axis=0)
        rows[:, i] = np.arange(-2, len(rows) - 2)  # the last one is unseen, too
        table = np.asarray(step.transform(rows))[:, ends[i] - widths[i] : ends[i]]
        one = graph.reshaped(graph.taken(x, graph.constant(places([i])), 1), [-1])
        place = graph.apply("Min", graph.apply("Add", one, graph.constant(2.0)), graph.constant(float(len(rows) - 1)))
        parts.append(graph.taken(graph.constant(table), graph.cast(place, "int64"), 0))
    return parts[0] if len(parts) == 1 else graph.joined(parts, 1)


def _widths(step: OneHotEncoder) -> list[int]:
    rare = step.infrequent_categories_ if hasattr(step, "infrequent_categories_") else [None] * len(step.categories_)
    pairs = zip(step.categories_, rare, strict=True)
    return [len(known) if few is None else len(known) - len(few) + 1 for known, few in pairs]


def _quantiles(graph: Graph, step: QuantileTransformer, x: Tensor) -> Tensor:
    """Interpolate in each column twice, so that repeated quantiles give the middle of their references."""
    parts = []
    for i in range(step.quantiles_.shape[1]):
        one = graph.taken(x, graph.constant(places([i])), 1)
        parts.append(_quantile(graph, one, step.quantiles_[:, i], step.references_))
    return parts[0] if len(parts) == 1 else graph.joined(parts, 1)


def _quantile(graph: Graph, x: Tensor, quantiles: Any, references: Any) -> Tensor:
    apply, constant, n = graph.apply, graph.constant, len(quantiles)
    steps, rises = np.diff(quantiles), np.diff(references)
    slopes = np.divide(rises, steps, out=np.zeros_like(rises), where=steps > 0)
    row = constant(quantiles[np.newaxis])

    def count(is_so: Tensor) -> Tensor:
        return graph.total(graph.cast(is_so, "int64"), 1)

    def line(place: Tensor, slopes: Any) -> Tensor:
        place = apply("Max", constant(np.int64(0)), apply("Min", place, constant(np.int64(n - 1))))
        reference, start, slope = (graph.taken(constant(v), place, 0) for v in (references, quantiles, slopes))
        return apply("Add", reference, apply("Mul", apply("Sub", x, start), slope))

    last_upto = apply("Sub", count(apply("GreaterOrEqual", x, row)), constant(np.int64(1)))
    first_from = apply("Sub", constant(np.int64(n)), count(apply("GreaterOrEqual", row, x)))
    both = apply("Add", line(last_upto, np.append(slopes, 0.0)), line(first_from, np.append(0.0, slopes)))
    is_high = apply("GreaterOrEqual", x, constant(quantiles[-1]))
    is_low = apply("GreaterOrEqual", constant(quantiles[0]), x)
    inside = apply("Mul", both, constant(0.5))
    return apply("Where", is_low, constant(0.0), apply("Where", is_high, constant(1.0), inside))


_CONVERTERS: dict[type, Callable[[Graph, Any, Tensor], Tensor]] = {
    **made_columns.CONVERTERS,
    ColumnTransformer: _side_by_side,
    FeatureUnion: _united,
    FunctionTransformer: lambda graph, step, x: x,
    SimpleImputer: _imputed,
    MissingIndicator: _missing,
    StandardScaler: _linear("mean_", "scale_"),
    RobustScaler: _linear("center_", "scale_"),
    MinMaxScaler: _min_max,
    QuantileTransformer: _quantiles,
    PCA: _projected,
    OneHotEncoder: _one_hot,
}
