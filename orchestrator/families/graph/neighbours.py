"""Nearest neighbours as operations of a graph: distances to all training rows, the nearest of them, their votes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from orchestrator.families.graph.base import Graph, NoConverter, Tensor, places
from orchestrator.families.neighbours import TREE_FEATURES


def predicted(graph: Graph, model: Any, x: Tensor) -> Tensor:
    """Return class probabilities, shape (rows, classes), or numbers, shape (rows, 1), of prepared rows.

    Of rows that are equally far at the k-th place, the first counts; scikit-learn leaves open which.

    Raises:
        NoConverter: The metric has no converter.
    """
    near, place = graph.smallest(_distances(graph, model, x), model.n_neighbors)
    weight = _weights(graph, near) if model.weights == "distance" else graph.constant(np.ones((1, model.n_neighbors)))
    if isinstance(model, KNeighborsClassifier):
        votes = [_votes(graph, model, place, weight, code) for code in range(len(model.classes_))]
        counted = graph.joined(votes, 1)
    else:
        values = graph.taken(graph.constant(np.asarray(model._y, np.float64)), place, 0)
        counted = graph.total(graph.apply("Mul", values, weight), 1)
    return graph.apply("Div", counted, graph.total(weight, 1))


def left_open(model: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell of which prepared rows scikit-learn leaves the prediction open, shape (rows,).

    Those whose k-th neighbour is as far as the next one; and, where distances are weights, those whose nearest one is
    at no distance but rounding, if that is anything beside the next one's.
    """
    k, n_train = model.n_neighbors, len(model._fit_X)
    distance, _ = model.kneighbors(x, n_neighbors=min(k + 1, n_train))
    rounding = np.zeros(len(x))
    if model.effective_metric_ == "cosine":
        rounding += 1e-13
    elif model.effective_metric_ == "euclidean" and x.shape[1] > TREE_FEATURES:
        rounding += 1e-7 * np.linalg.norm(x, axis=1)
    is_open = np.zeros(len(x), bool)
    if k < n_train:
        is_open = distance[:, k] - distance[:, k - 1] <= rounding + 1e-9 * distance[:, k]
    if model.weights == "distance":
        is_open &= (distance[:, 0] > rounding) | (distance[:, k - 1] <= rounding)  # else those at no distance decide
        if k > 1:
            is_open |= (distance[:, 0] <= rounding) & (rounding > 1e-5 * distance[:, 1])
    return is_open


def _votes(graph: Graph, model: Any, place: Tensor, weight: Tensor, code: int) -> Tensor:
    is_of_class = graph.constant((model._y == code).astype(np.float64))
    return graph.total(graph.apply("Mul", graph.taken(is_of_class, place, 0), weight), 1)


def _weights(graph: Graph, near: Tensor) -> Tensor:
    """Return inverse distances; where some are infinite, 1 for those and 0 for all others."""
    inverse = graph.apply("Div", graph.constant(1.0), near)
    is_exact = graph.apply("IsInf", inverse)
    any_exact = graph.apply("IsInf", graph.taken(inverse, graph.constant(places([0])), 1))
    return graph.apply("Where", any_exact, graph.cast(is_exact, "float64"), inverse)


def _distances(graph: Graph, model: Any, x: Tensor) -> Tensor:
    """Return the distances of rows from all training rows, shape (rows, training rows)."""
    train = np.asarray(model._fit_X, np.float64)
    metric = model.effective_metric_
    if metric == "cosine":
        lengths = np.linalg.norm(train, axis=1, keepdims=True)
        norm = graph.apply("Sqrt", graph.total(graph.apply("Mul", x, x), 1))
        is_zero = graph.apply("Equal", norm, graph.constant(0.0))
        x = graph.apply("Div", x, graph.apply("Where", is_zero, graph.constant(1.0), norm))
        rows = np.ascontiguousarray((train / np.where(lengths > 0, lengths, 1.0)).T)
        away = graph.apply("Sub", graph.constant(1.0), graph.apply("MatMul", x, graph.constant(rows)))
        return graph.apply("Max", away, graph.constant(0.0))
    if metric == "euclidean" and train.shape[1] > TREE_FEATURES:
        return _by_product(graph, x, train)
    if metric not in _TERMS:
        raise NoConverter(f"no converter for the metric {metric} of {type(model).__name__}")
    power = 2.0 if metric == "euclidean" else float(model.effective_metric_params_.get("p", 1.0))
    return _by_feature(graph, x, train, metric, power)


def _by_product(graph: Graph, x: Tensor, train: Any) -> Tensor:
    """Return euclidean distances as scikit-learn computes them for many features."""
    product = graph.apply("MatMul", x, graph.constant(np.ascontiguousarray(-2.0 * train.T)))
    own = graph.total(graph.apply("Mul", x, x), 1)
    squared = graph.apply("Add", graph.apply("Add", product, own), graph.constant((train**2).sum(axis=1)[np.newaxis]))
    return graph.apply("Sqrt", graph.apply("Max", squared, graph.constant(0.0)))


_TERMS = ("euclidean", "manhattan", "chebyshev", "minkowski")


def _by_feature(graph: Graph, x: Tensor, train: Any, metric: str, power: float) -> Tensor:
    """Return sums or maxima over features, one after another: all at once would need their number times the memory."""
    apply, so_far = graph.apply, None
    for i in range(train.shape[1]):
        one = graph.taken(x, graph.constant(places([i])), 1)
        term = apply("Abs", apply("Sub", one, graph.constant(train[:, i][np.newaxis])))
        if metric in ("euclidean", "minkowski"):
            term = apply("Mul", term, term) if power == 2.0 else apply("Pow", term, graph.constant(power))
        so_far = term if so_far is None else apply("Max" if metric == "chebyshev" else "Add", so_far, term)
    if metric == "euclidean":
        return apply("Sqrt", so_far)
    return apply("Pow", so_far, graph.constant(1.0 / power)) if metric == "minkowski" else so_far
