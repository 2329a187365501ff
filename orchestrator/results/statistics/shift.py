"""What a model gains from training on all rows, which no cross-validation of the winner alone can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.families.limits import one_thread
from orchestrator.results.statistics import metrics, resampling
from orchestrator.results.statistics.evaluation import evaluation_of
from orchestrator.results.statistics.record import Candidate

Array = npt.NDArray[Any]
NEAR = 2.0
"""Standard errors behind the best within which a trial is worth leaving out its rows one at a time."""
MOST = 400
"""Trials that are, at most."""
N_DRAWS = 100


def worth_leaving_one_out(
    metric: str, truth: Array, fold: Array, board: Sequence[Candidate], predictions: Callable[[str], Array]
) -> list[str]:
    """Return the trials whose leave-one-out scores the refit shift looks at, best first.

    Args:
        metric: A scorer's name.
        truth: Class codes or numbers, shape (rows,).
        fold: The fold that scores each row, -1 for none, shape (rows,).
        board: The trials of families that can leave rows out, best first, at least one.
        predictions: From a trial's name to its out-of-fold predictions.
    """
    rows = np.flatnonzero(fold >= 0)
    error = _error(metric, truth[rows], predictions(board[0].name)[rows])
    return [one.name for one in board[:MOST] if one.score >= board[0].score - NEAR * error]


def refit_shift(
    metric: str,
    truth: Array,
    rows: npt.NDArray[np.int64],
    predictions: Callable[[str], Array],
    leave_one_out: Mapping[str, float],
) -> float | None:
    """Return what the winner's score gains by training on all rows in place of a fold's, about.

    The mean difference of leave-one-out and k-fold scores over the configurations whose average of the two is within
    one standard error of the best average. Choosing them by the k-fold score alone would take the luck of the choice
    for a loss that refitting makes good.

    Args:
        metric: A scorer's name.
        truth: Class codes or numbers of all training rows, shape (rows,).
        rows: The rows that were left out, as `families.base.left_out_rows` names them.
        predictions: From a trial's name to its out-of-fold predictions of all training rows.
        leave_one_out: Scores on `rows`, each left out alone, by trial's name.

    Returns:
        The shift; None where there are no such scores.
    """
    names = list(leave_one_out)
    folds = np.array([metrics.score(metric, truth[rows], predictions(name)[rows]) for name in names])
    alone = np.array([leave_one_out[name] for name in names])
    middle = (folds + alone) / 2
    if not np.isfinite(middle).any():
        return None
    best = int(np.nanargmax(middle))
    error = _error(metric, truth[rows], predictions(names[best])[rows])
    is_near = middle >= middle[best] - error
    return float((alone - folds)[is_near].mean())


def _error(metric: str, truth: Array, prediction: Array) -> float:
    """Return the standard error of one trial's score."""
    cells = resampling.cells(np.zeros(len(truth), dtype=np.int64), None, 0)
    with one_thread():
        evaluation = evaluation_of(metric, truth, [prediction], 1, cells)
        draws = np.concatenate([evaluation.scores(some) for some in resampling.counts(cells, N_DRAWS, 0)])
    return float(np.nan_to_num(np.nanstd(draws)))
