"""What the baseline predicts: the same for every row, and the best that is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.encode import Task
from orchestrator.results.statistics.metrics import takes_labels


def baseline(metric: str, task: Task, truth: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the majority class, the frequencies of the classes, or the mean, for each row, shape (rows, ...).

    It is taken from the scored rows themselves. Where classes are balanced, the majority among the rows outside a fold
    is the minority inside, so that a baseline fitted by folds falls behind a coin, and noise is said to beat it. And
    one that is certain of the majority class loses to noise where probabilities are scored, hence the frequencies.

    Args:
        metric: A scorer's name.
        task: classification or regression.
        truth: Class codes or numbers, shape (rows,).
    """
    if task == "regression":
        return np.full(len(truth), truth.mean())
    times = np.bincount(truth)
    if takes_labels(metric, truth):
        return np.full(len(truth), times.argmax())
    return np.tile(times / len(truth), (len(truth), 1))
