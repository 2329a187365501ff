"""The decision threshold of two classes: from which probability of the second one on a row is said to be of it.

As scikit-learn's `TunedThresholdClassifierCV` has it: a configuration is fitted anew on each fold, and the threshold is
the one whose labels score best on what those models say of rows that they did not learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.base import Family
from orchestrator.families.scoring import scores_labels
from orchestrator.results.statistics.metrics import score

MOST_TRIED = 500
"""Thresholds that are compared at most: quantiles of either class's probabilities, where there are more of these."""
HALF = 0.5
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A tuned threshold.

    Attributes:
        value: A row is of the second class where its probability is at least this.
        score: The metric out of fold, over all rows together, at the threshold: chosen by it, so it flatters.
        score_at_half: The same at one half.
    """

    value: float
    score: float
    score_at_half: float

    def sentence(self, second: object, metric: str) -> str:
        """Return what it is in words.

        Args:
            second: The second class.
            metric: What people call the metric.
        """
        return (
            f"{second!r} is said from a probability of {self.value:.4g} on, chosen on out-of-fold predictions: "
            f"{metric} {self.score:.4f} on all of them together, and {self.score_at_half:.4f} at one half"
        )

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)

    def labels(self, probabilities: Array) -> Array:
        """Return class codes, shape (rows,), of probabilities, shape (rows, 2)."""
        return labels_at(self.value, probabilities[:, 1])


def labels_at(value: float, second: Array) -> Array:
    """Return class codes by the probabilities of the second class, shape (rows,)."""
    return (second >= value).astype(np.int64)


def check(metric: str, n_classes: int) -> None:
    """Refuse a threshold that would change nothing, or that there is not.

    Args:
        metric: A scikit-learn scorer's name.
        n_classes: How many classes the target has; 0 for regression.

    Raises:
        JobError: It is such.
    """
    if n_classes != 2:
        what = f"{n_classes} classes" if n_classes else "numbers"
        raise JobError(f"threshold: tuned is for two classes, and the target has {what}; expected none")
    if not scores_labels(metric):
        raise JobError(
            f"threshold: tuned changes labels, and {metric} looks at probabilities; expected none, or a metric such as "
            "balanced_accuracy, f1 or matthews_corrcoef"
        )


def best_threshold(metric: str, truth: Array, second: Array) -> Threshold:
    """Return the threshold whose labels score best; of equals the one nearest to one half.

    Args:
        metric: A scikit-learn scorer's name, of labels.
        truth: Class codes, shape (rows,).
        second: Probabilities of the second class, shape (rows,).
    """
    distinct = np.unique(second.astype(np.float64))
    between = (distinct[1:] + distinct[:-1]) / 2
    if len(between) > MOST_TRIED:
        shares = np.linspace(0, 1, MOST_TRIED // 2)
        between = np.unique([np.quantile(second[truth == code], shares) for code in np.unique(truth)])
    tried = [HALF, *between.tolist()]
    scores = [score(metric, truth, labels_at(value, second)) for value in tried]
    best = max(range(len(tried)), key=lambda i: (round(scores[i], 12), -abs(tried[i] - HALF)))
    return Threshold(float(tried[best]), float(scores[best]), float(scores[0]))


def tuned(family: Family, params: Mapping[str, Any], epochs: int | None, data: TrainingSet) -> Threshold:
    """Return the threshold of a configuration, on a worker; as costly as a fit on each fold.

    Args:
        family: The model family.
        params: The configuration.
        epochs: As for `Family.fit`.
        data: The training rows with their folds, of two classes.
    """
    said, rows = [], []
    for fold in data.folds:
        features, target = data.features.take(fold.train), data.target[fold.train]
        model = family.fit(dict(params), replace(data, features=features, target=target, folds=()), epochs)
        given = np.asarray(model.predict_proba(data.features.take(fold.valid)))
        if given.shape[1] != 2:
            raise ValueError("a fold's training rows have one class; no threshold can be tuned on it")
        said.append(given[:, 1])
        rows.append(fold.valid)
    return best_threshold(data.metric, data.target[np.concatenate(rows)], np.concatenate(said))
