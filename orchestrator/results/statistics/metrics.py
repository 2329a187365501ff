"""What a metric is of rows: a mean over them, a function of such means, or whatever scikit-learn computes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import get_scorer

from orchestrator.families.scoring import scores_labels
from orchestrator.results.statistics.confusion import OF_CONFUSION
from orchestrator.results.statistics.resampling import Floats

Array = npt.NDArray[Any]
RowValues = Callable[[Array, Array], Floats]
"""From the truth and a prediction of each row to what is averaged, shape (rows,)."""
Link = Callable[[Floats, Floats], Floats]
"""From means of row values, shape (draws, configurations), and of the centred truth and its square, shape (draws, 2),
to scores, higher is better."""


@dataclass(frozen=True, slots=True)
class MeanMetric:
    """A metric that follows from means over rows, exactly, whatever the weights of the rows.

    Attributes:
        values: What is averaged over rows.
        link: From means to the score.
        is_hit: Whether the values are 0 and 1: their sums are exact, and the score is a share.
    """

    values: RowValues
    link: Link
    is_hit: bool = False


def _same(mean: Floats, of_truth: Floats) -> Floats:
    return mean


def _minus(mean: Floats, of_truth: Floats) -> Floats:
    return -mean


def _minus_root(mean: Floats, of_truth: Floats) -> Floats:
    return -np.sqrt(np.maximum(mean, 0.0))


def _r2(mean: Floats, of_truth: Floats) -> Floats:
    """Return 1 - squared error / variance; as scikit-learn has it, 1 or 0 where the truth is constant."""
    square = of_truth[:, 1:]
    variance = square - of_truth[:, :1] ** 2
    is_constant = variance <= 1e-12 * square
    score = 1.0 - mean / np.where(is_constant, 1.0, variance)
    return np.where(is_constant, np.where(mean <= 1e-12 * square, 1.0, 0.0), score)


def _hit(truth: Array, predicted: Array) -> Floats:
    hits: Floats = (truth == predicted).astype(np.float64)
    return hits


def _absolute(truth: Array, predicted: Array) -> Floats:
    error: Floats = np.abs(truth - predicted)
    return error


def _squared(truth: Array, predicted: Array) -> Floats:
    error: Floats = (truth - predicted) ** 2
    return error


def _squared_log(truth: Array, predicted: Array) -> Floats:
    return _squared(np.log1p(truth), np.log1p(predicted))


def _percentage(truth: Array, predicted: Array) -> Floats:
    error: Floats = _absolute(truth, predicted) / np.maximum(np.abs(truth), np.finfo(np.float64).eps)
    return error


def _log_loss(truth: Array, probabilities: Array) -> Floats:
    eps = np.finfo(np.float64).eps
    loss: Floats = -np.log(np.clip(probabilities[np.arange(len(truth)), truth], eps, 1.0 - eps))
    return loss


def _brier(truth: Array, probabilities: Array) -> Floats:
    """Return squared differences from the truth over all classes; halved for two, as scikit-learn has it."""
    right = np.eye(probabilities.shape[1])[truth]
    total: Floats = ((probabilities - right) ** 2).sum(axis=1)
    return total / 2 if probabilities.shape[1] == 2 else total


MEANS: Mapping[str, MeanMetric] = {
    "accuracy": MeanMetric(_hit, _same, is_hit=True),
    "neg_log_loss": MeanMetric(_log_loss, _minus),
    "neg_brier_score": MeanMetric(_brier, _minus),
    "neg_mean_absolute_error": MeanMetric(_absolute, _minus),
    "neg_mean_squared_error": MeanMetric(_squared, _minus),
    "neg_mean_squared_log_error": MeanMetric(_squared_log, _minus),
    "neg_mean_absolute_percentage_error": MeanMetric(_percentage, _minus),
    "neg_root_mean_squared_error": MeanMetric(_squared, _minus_root),
    "neg_root_mean_squared_log_error": MeanMetric(_squared_log, _minus_root),
    "r2": MeanMetric(_squared, _r2),
}
"""Metrics by scorer's name whose bootstrap is a product of matrices; all others are computed anew each time."""

_UP_TO_ONE = ("r2", "explained_variance", "d2_", "matthews", "adjusted", "cohen")


def is_hit(metric: str) -> bool:
    """Return whether a metric is a share of rows that are right."""
    return metric in MEANS and MEANS[metric].is_hit


def bounds(metric: str) -> tuple[float, float]:
    """Return the least and the largest value that a scorer can give."""
    if metric.startswith(("neg_", "max_error")):
        return -np.inf, 0.0
    return (-np.inf if metric.startswith(_UP_TO_ONE) else 0.0), 1.0


def takes_labels(metric: str, truth: Array) -> bool:
    """Return whether a scorer looks at labels alone: at classes, and not at probabilities."""
    return truth.dtype.kind in "iu" and scores_labels(metric)


def score(metric: str, truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Return what a scorer gives for predictions at hand; nan where it is not defined on these rows.

    Args:
        metric: The scorer's name.
        truth: Class codes or numbers, shape (rows,).
        prediction: Class codes or numbers, shape (rows,), or probabilities, shape (rows, classes).
        weights: How often each row counts, whole numbers, shape (rows,); None for once each.
    """
    if weights is not None:
        rows = np.repeat(np.arange(len(truth)), weights.astype(np.int64))
        truth, prediction = truth[rows], prediction[rows]
    if not len(truth):
        return math.nan
    if metric in MEANS:
        centred = truth - truth.mean()
        of_truth = np.array([[centred.mean(), (centred**2).mean()]])
        return float(MEANS[metric].link(MEANS[metric].values(truth, prediction).mean().reshape(1, 1), of_truth)[0, 0])
    scorer = get_scorer(metric)
    options = dict(scorer._kwargs)
    if prediction.ndim == 2:
        n_classes = prediction.shape[1]
        if len(np.unique(truth)) < n_classes:
            return math.nan
        prediction = prediction[:, 1] if n_classes == 2 else prediction
    elif metric in OF_CONFUSION:
        n_classes = max(2, int(max(truth.max(), prediction.max())) + 1)
        times = np.bincount(truth.astype(np.int64) * n_classes + prediction, minlength=n_classes**2)
        return OF_CONFUSION[metric](times.reshape(n_classes, n_classes).astype(np.float64))
    elif takes_labels(metric, truth):
        truth, prediction, options["sample_weight"] = _pairs(truth, prediction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that the rows lack
        try:
            return float(scorer._sign * scorer._score_func(truth, prediction, **options))
        except ValueError:
            return math.nan


def _pairs(truth: Array, predicted: Array) -> tuple[Array, Array, Floats]:
    """Return the pairs of classes that occur, and how often: all that a metric of labels knows."""
    n_classes = int(max(truth.max(), predicted.max())) + 1
    times = np.bincount(truth * n_classes + predicted)
    pair = np.flatnonzero(times)
    return pair // n_classes, pair % n_classes, times[pair].astype(np.float64)
