"""scikit-learn's fitted transformers that clip, unskew, make and select columns, as operations of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_selection import SelectKBest, SelectPercentile
from sklearn.preprocessing import PolynomialFeatures, PowerTransformer, TargetEncoder

from orchestrator.data.clip import OutlierClipper
from orchestrator.families.graph.base import Graph, NoConverter, Tensor, places

_NO_POWER = np.spacing(1.0)


def _clipped(graph: Graph, step: OutlierClipper, x: Tensor) -> Tensor:
    low = np.where(np.isnan(step.low_), -np.inf, step.low_)
    high = np.where(np.isnan(step.high_), np.inf, step.high_)
    # compared, and not taken the minimum of, so that nan stays
    x = graph.apply("Where", graph.apply("GreaterOrEqual", graph.constant(low), x), graph.constant(low), x)
    return graph.apply("Where", graph.apply("GreaterOrEqual", x, graph.constant(high)), graph.constant(high), x)


def _unskewed(graph: Graph, step: PowerTransformer, x: Tensor) -> Tensor:
    """Apply the power of Yeo and Johnson to each side of zero, then scale."""
    powers = np.asarray(step.lambdas_, np.float64)
    if step.method != "yeo-johnson" or (np.abs(powers) < _NO_POWER).any() or (np.abs(powers - 2) <= _NO_POWER).any():
        raise NoConverter("no converter for PowerTransformer where its power is a logarithm")
    zero, one = graph.constant(0.0), graph.constant(1.0)

    def side(base: Tensor, power: Any) -> Tensor:
        raised = graph.apply("Pow", graph.apply("Add", base, one), graph.constant(power))
        return graph.apply("Div", graph.apply("Sub", raised, one), graph.constant(power))

    right = side(graph.apply("Max", x, zero), powers)
    left = side(graph.apply("Max", graph.apply("Sub", zero, x), zero), 2.0 - powers)
    found = graph.apply("Where", graph.apply("GreaterOrEqual", x, zero), right, graph.apply("Sub", zero, left))
    if not step.standardize:
        return found
    found = graph.apply("Sub", found, graph.constant(step._scaler.mean_))
    return graph.apply("Div", found, graph.constant(step._scaler.scale_))


def _target_means(graph: Graph, step: TargetEncoder, x: Tensor) -> Tensor:
    """Look up the row that each code becomes; categories are codes from -2, unseen, up."""
    n_classes = len(step.encodings_) // len(step.categories_)
    parts = []
    for i, known in enumerate(step.categories_):
        one = np.arange(-2, int(known.max()) + 2, dtype=np.float64)  # the last one is unseen, too
        rows = np.repeat(np.array([[codes[0] for codes in step.categories_]], np.float64), len(one), axis=0)
        rows[:, i] = one
        table = np.asarray(step.transform(rows))[:, i * n_classes : (i + 1) * n_classes]
        codes = graph.reshaped(graph.taken(x, graph.constant(places([i])), 1), [-1])
        place = graph.apply("Min", graph.apply("Add", codes, graph.constant(2.0)), graph.constant(float(len(one) - 1)))
        parts.append(graph.taken(graph.constant(np.ascontiguousarray(table)), graph.cast(place, "int64"), 0))
    return parts[0] if len(parts) == 1 else graph.joined(parts, 1)


def _distances(graph: Graph, step: KMeans, x: Tensor) -> Tensor:
    parts = []
    for centre in step.cluster_centers_:
        gap = graph.apply("Sub", x, graph.constant(centre))
        parts.append(graph.apply("Sqrt", graph.total(graph.apply("Mul", gap, gap), 1)))
    return graph.joined(parts, 1)


def _products(graph: Graph, step: PolynomialFeatures, x: Tensor) -> Tensor:
    columns = [np.flatnonzero(powers).repeat(powers[powers > 0]) for powers in step.powers_]
    firsts = graph.taken(x, graph.constant(places([c[0] for c in columns])), 1)
    seconds = graph.taken(x, graph.constant(places([c[-1] for c in columns])), 1)
    is_alone = np.array([len(c) == 1 for c in columns])
    seconds = graph.apply("Where", graph.constant(is_alone), graph.constant(1.0), seconds)
    return graph.apply("Mul", firsts, seconds)


def _selected(graph: Graph, step: SelectKBest, x: Tensor) -> Tensor:
    return graph.taken(x, graph.constant(places(list(step.get_support(indices=True)))), 1)


CONVERTERS: Mapping[type, Callable[[Graph, Any, Tensor], Tensor]] = {
    OutlierClipper: _clipped,
    PowerTransformer: _unskewed,
    TargetEncoder: _target_means,
    KMeans: _distances,
    PolynomialFeatures: _products,
    SelectKBest: _selected,
    SelectPercentile: _selected,
}
"""Each does what its `transform` does, in float64."""
