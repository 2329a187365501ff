"""The statistics of a board, from the out-of-fold predictions of its trials. Pure functions of arrays and a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.encode import Task
from orchestrator.families.limits import one_thread
from orchestrator.results.statistics import comparison, metrics, resampling, selection
from orchestrator.results.statistics.baseline import baseline
from orchestrator.results.statistics.evaluation import evaluation_of
from orchestrator.results.statistics.record import Candidate, Statistics, TrialStatistics
from orchestrator.results.statistics.selection import Draws

Array = npt.NDArray[Any]

N_DRAWS = 1000
"""Draws for metrics that follow from means over rows."""
MOST_ENTRIES = 50_000_000
"""Cells times trials in memory; trials behind those of the top are left out, since they cannot win."""
MOST_TRIALS = 4000
"""Trials at most, for all pairs are compared."""
N_SLOW_DRAWS, MOST_SLOW_TRIALS, SLOW_ROWS = 200, 20, 10_000
"""The same for all other metrics, each of whose scores costs about a millisecond, or more for many rows."""


def assess(
    metric: str,
    task: Task,
    truth: Array,
    fold: Array,
    board: Sequence[Candidate],
    predictions: Callable[[str], Array],
    *,
    blocks: Array | None = None,
    n_repeats: int = 1,
    shift: float | None = None,
    n_trials: int | None = None,
    seed: int = 0,
) -> Statistics:
    """Say how sure a board is.

    A mean over rows (accuracy, log loss, absolute and squared error, Brier score), its root, and r2 are bootstrapped
    N_DRAWS times as products of matrices, for all trials that fit in memory. Every other metric (F1, areas under
    curves, balanced accuracy, correlations) is computed by scikit-learn on each draw: N_SLOW_DRAWS of them, fewer
    above SLOW_ROWS rows, for the MOST_SLOW_TRIALS at the top of the board.

    Args:
        metric: A scorer's name.
        task: classification or regression.
        truth: Class codes (int) or numbers, shape (rows,).
        fold: The fold that scores each row, shape (rows,); rows of fold -1 take no part.
        board: The completed trials that have predictions, best first, at least one; without the dummy.
        predictions: From a trial's name to its out-of-fold predictions: class codes (rows,) where the scorer asks for
            labels, probabilities (rows, classes) where it asks for those, numbers (rows,). Asked once a trial.
        blocks: The block of each row, shape (rows,), where rows depend on others: their group, or
            `resampling.contiguous_blocks`. Blocks are drawn as wholes. Where folds are repeated: which row it is.
        n_repeats: How often each row is there, since folds were repeated. What is drawn is rows, each with all that was
            said of it, so that repeats make a score no surer than its rows do.
        shift: What training on all rows adds to the winner's score, from `shift.refit_shift`; None if nobody knows. It
            does not go with blocks of several rows, where a row that is left out alone leaves its like behind.
        n_trials: How many trials the winner was chosen from, if more than `board` has.
        seed: What decides the draws.

    Raises:
        ValueError: There are both blocks of several rows and a shift; or repeats, and no blocks.
    """
    if n_repeats > 1 and blocks is None:
        raise ValueError("repeats need blocks, which say what rows are the same")
    if blocks is not None and shift is not None and n_repeats == 1:
        raise ValueError("a refit shift does not go with blocks; leave one of them out")
    scored = fold >= 0
    rows = truth[scored]
    n_trials = max(n_trials or 0, len(board))
    if task == "classification":
        rows = rows.astype(np.int64)
    of_dummy = baseline(metric, task, rows)
    cells = resampling.cells(fold[scored], None if blocks is None else blocks[scored], seed, n_repeats)
    is_mean = metric in metrics.MEANS
    top = board[: _most(len(cells), is_mean)]
    columns = _columns([one.name for one in top], predictions, of_dummy, scored)
    scores = np.array([*(one.score for one in top), _dummy_score(metric, rows, of_dummy, fold[scored])])
    n_draws = N_DRAWS if is_mean else max(40, N_SLOW_DRAWS * SLOW_ROWS // max(SLOW_ROWS, len(rows)))
    with one_thread():
        evaluation = evaluation_of(metric, rows, columns, len(scores), cells)
        first = np.array(sorted(range(len(top)), key=lambda i: top[i].precedence))
        draws = selection.draw(evaluation, scores, first, cells, n_draws, seed, is_exact=metrics.is_hit(metric))
        ties = comparison.tied(draws)
        p_dummy = comparison.p_of_beating_the_baseline(draws, n_trials)
    intervals = selection.intervals(draws, cells, *metrics.bounds(metric), is_hit=metrics.is_hit(metric))
    trials = {
        one.name: TrialStatistics(low, high, bool(is_tied))
        for one, (low, high), is_tied in zip(top, intervals, ties, strict=True)
    }
    simplest = min(np.flatnonzero(ties), key=lambda i: (top[int(i)].precedence, i))
    beats = p_dummy < comparison.ALPHA
    return Statistics(
        trials=trials,
        winner=top[0].name,
        corrected=selection.corrected(
            draws, cells, shift or 0.0, *metrics.bounds(metric), is_hit=metrics.is_hit(metric)
        ),
        refit_shift=shift,
        beats_dummy=beats,
        p_dummy=p_dummy,
        sentence=_sentence(metric, draws, p_dummy, beats, top[0].name, n_trials),
        simplest=top[int(simplest)].name,
        n_rows=len(rows) // n_repeats,
        n_cells=len(cells),
        n_draws=len(draws.deviations),
    )


def _most(n_cells: int, is_mean: bool) -> int:
    return max(1, min(MOST_TRIALS, MOST_ENTRIES // n_cells - 1)) if is_mean else MOST_SLOW_TRIALS


def _columns(
    names: Sequence[str], predictions: Callable[[str], Array], of_dummy: Array, scored: npt.NDArray[np.bool_]
) -> Iterator[Array]:
    """Yield the predictions of each trial, then the baseline's; numbers and probabilities in double precision."""
    for name in names:
        prediction = predictions(name)[scored]
        yield prediction.astype(np.int64 if prediction.dtype.kind in "iub" else np.float64)
    yield of_dummy


def _dummy_score(metric: str, truth: Array, predicted: Array, fold: Array) -> float:
    """Return the baseline's mean score over folds; over all rows at once where a fold has none."""
    by_fold = [metrics.score(metric, truth[fold == one], predicted[fold == one]) for one in np.unique(fold)]
    if np.isfinite(by_fold).all():
        return float(np.mean(by_fold))
    whole = metrics.score(metric, truth, predicted)
    return whole if np.isfinite(whole) else 0.0


def _sentence(metric: str, draws: Draws, p: float, beats: bool, winner: str, n_trials: int) -> str:
    *scores, of_dummy = draws.observed
    name = metric.removeprefix("neg_")
    gain = scores[0] - of_dummy
    chance = f"{max(p, 0.001):.1%}" if p < 0.1 else f"{p:.0%}"
    is_bound = p <= 0.001 or n_trials > len(scores)
    at_most = "at most " if is_bound else ""
    many = "the only trial" if n_trials == 1 else f"the best of {n_trials:,} trials"
    if beats:
        return (
            f"Something was learnt: {winner}, {many}, is {gain:.4g} of {name} better than the dummy, which chance "
            f"alone would give in {at_most}{chance} of cases."
        )
    if gain <= 0:
        return f"Nothing beats the dummy: {winner}, {many}, is no better in {name}."
    how_often = "may give" if is_bound and p >= 0.5 else f"would give in {at_most}{chance} of cases"
    return (
        f"Nothing is shown to beat the dummy: {winner}, {many}, is {gain:.4g} of {name} better, which chance alone "
        f"{how_often}."
    )
