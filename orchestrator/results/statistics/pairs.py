"""Two models on the same rows: how far apart their scores are, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.encode import Task
from orchestrator.families.limits import one_thread
from orchestrator.results.statistics import metrics, resampling
from orchestrator.results.statistics.baseline import baseline
from orchestrator.results.statistics.evaluation import evaluation_of
from orchestrator.results.statistics.selection import HIGH, LOW, draw

Array = npt.NDArray[Any]
N_DRAWS, N_SLOW_DRAWS = 2000, 400
"""Draws for metrics that follow from means over rows, and for others."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first model's score less the second's.

    Attributes:
        score: The difference, above 0 where the first is better.
        low: The lower end of its 95 % interval, by percentiles of a bootstrap of pairs.
        high: The upper end.
        p: How often chance would make them so different, in either direction, were they equal (two-sided).
    """

    score: float
    low: float
    high: float
    p: float


def difference(
    metric: str, truth: Array, first: Array, second: Array, *, blocks: Array | None = None, seed: int = 0
) -> Difference | None:
    """Compare two models row by row: both are scored on the same draws of rows (Efron and Tibshirani 1993, chapter 16).

    Args:
        metric: A scorer's name.
        truth: Class codes or numbers, shape (rows,).
        first: What the metric asks for: class codes (rows,), probabilities (rows, classes) or numbers (rows,).
        second: The other model's.
        blocks: The block of each row, shape (rows,), where rows depend on others; drawn as wholes.
        seed: What decides the draws.

    Returns:
        The difference; None where the metric has no value on these rows.
    """
    cells = resampling.cells(np.zeros(len(truth), np.int64), blocks, seed)
    n_draws = N_DRAWS if metric in metrics.MEANS else N_SLOW_DRAWS
    with one_thread():
        evaluation = evaluation_of(metric, truth, [first, second], 2, cells)
        both = evaluation.scores(np.ones((1, len(cells)), np.float32))[0]
        drawn = np.concatenate([evaluation.scores(some) for some in resampling.counts(cells, n_draws, seed)])
    apart = drawn[:, 0] - drawn[:, 1]
    apart = apart[np.isfinite(apart)]
    if not np.isfinite(both).all() or not len(apart):
        return None
    return _difference(float(both[0] - both[1]), apart)


def between_boards(
    metric: str,
    task: Task,
    truth: Array,
    first: Sequence[tuple[float, Array]],
    second: Sequence[tuple[float, Array]],
    *,
    blocks: Array | None = None,
    seed: int = 0,
) -> Difference | None:
    """Compare the bests of two boards on the same rows, freed of the luck of either choice.

    Each draw of rows chooses the best of either board anew, and compares the two on the rows that it left out, as the
    bootstrap of `selection` does for one board.

    Args:
        metric: A scorer's name.
        task: classification or regression.
        truth: Class codes or numbers of the scored rows, shape (rows,).
        first: Scores and predictions of a board's top, best first.
        second: Those of the other board.
        blocks: The block of each row, shape (rows,), where rows depend on others; drawn as wholes.
        seed: What decides the draws, the same for both.

    Returns:
        The difference; None where the metric has no value on some draws, or no row is left out.
    """
    cells = resampling.cells(np.zeros(len(truth), np.int64), blocks, seed)
    of_dummy = baseline(metric, task, truth)
    n_draws = N_DRAWS if metric in metrics.MEANS else N_SLOW_DRAWS
    sides = []
    with one_thread():
        for board in (first, second):
            columns = [*(said for _, said in board), of_dummy]
            evaluation = evaluation_of(metric, truth, columns, len(columns), cells)
            of_dummy_score = metrics.score(metric, truth, of_dummy)
            scores = np.array([*(score for score, _ in board), of_dummy_score if np.isfinite(of_dummy_score) else 0.0])
            any_order = np.random.default_rng(seed).permutation(
                len(board)
            )  # of equal scores; the board's knows the rows
            drawn = draw(evaluation, scores, any_order, cells, n_draws, seed, is_exact=metrics.is_hit(metric))
            sides.append(drawn.winners)
    if len(sides[0]) != len(sides[1]) or not len(sides[0]):
        return None
    return _difference(float((sides[0] - sides[1]).mean()), sides[0] - sides[1])


def _difference(score: float, apart: Array) -> Difference:
    low, high = np.percentile(apart, [LOW, HIGH])
    rarer = min((apart <= 0).sum(), (apart >= 0).sum())
    p = min(1.0, 2.0 * float(rarer + 1) / (len(apart) + 1))
    return Difference(score, float(low), float(high), p)
