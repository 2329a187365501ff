"""What the baseline would have predicted for each row: the majority class, class frequencies, or the mean of its fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.encode import Task
from orchestrator.results.statistics.metrics import takes_labels


def baseline(metric: str, task: Task, truth: npt.NDArray[Any], fold: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the baseline's prediction of each row by all rows that are not in the row's fold, shape (rows, ...).

    For probabilities it is the frequencies of the classes: one that is certain of the majority class would lose to noise.

    Args:
        metric: A scorer's name.
        task: classification or regression.
        truth: Class codes or numbers, shape (rows,).
        fold: The fold that scores each row, shape (rows,); a row of fold -1 is scored by none.
    """
    n_classes = int(truth.max()) + 1 if task == "classification" else 0
    is_labels = takes_labels(metric, truth)
    shape = (len(truth), n_classes) if task == "classification" and not is_labels else (len(truth),)
    predicted = np.zeros(shape, dtype=truth.dtype if is_labels else np.float64)
    for one in np.unique(fold[fold >= 0]):
        train = truth[fold != one]
        if task == "regression":
            predicted[fold == one] = train.mean()
            continue
        times = np.bincount(train, minlength=n_classes)
        predicted[fold == one] = times.argmax() if is_labels else times / times.sum()
    return predicted
