"""Metrics of labels from how often each pair of classes occurs, since a bootstrap asks for thousands of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orchestrator.results.statistics.resampling import Floats


def _balanced_accuracy(matrix: Floats) -> float:
    of_truth = matrix.sum(axis=1)
    there = of_truth > 0
    return float((np.diag(matrix)[there] / of_truth[there]).mean())


def _f1_of_each(matrix: Floats) -> tuple[Floats, Floats]:
    """Return F1 of each class, and which classes occur at all."""
    occurs = matrix.sum(axis=0) + matrix.sum(axis=1)
    return 2 * np.diag(matrix) / np.where(occurs > 0, occurs, 1.0), occurs > 0


def _f1(matrix: Floats) -> float:
    return float(_f1_of_each(matrix)[0][1])


def _f1_macro(matrix: Floats) -> float:
    each, occurs = _f1_of_each(matrix)
    return float(each[occurs].mean())


def _matthews(matrix: Floats) -> float:
    of_truth, of_prediction, n = matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum()
    together = np.trace(matrix) * n - of_truth @ of_prediction
    spread = (n**2 - of_prediction @ of_prediction) * (n**2 - of_truth @ of_truth)
    return float(together / np.sqrt(spread)) if spread > 0 else 0.0


OF_CONFUSION: Mapping[str, Callable[[Floats], float]] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "f1_macro": _f1_macro,
    "matthews_corrcoef": _matthews,
}
"""By scorer's name what scikit-learn computes, of a matrix with the truth along its rows, shape (classes, classes)."""
