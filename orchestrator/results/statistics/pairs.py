"""Two models on the same rows: how far apart their scores are, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.families.limits import one_thread
from orchestrator.results.statistics import metrics, resampling
from orchestrator.results.statistics.evaluation import evaluation_of
from orchestrator.results.statistics.selection import HIGH, LOW

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
    cells = resampling.cells(len(truth), blocks, seed)
    n_draws = N_DRAWS if metric in metrics.MEANS else N_SLOW_DRAWS
    with one_thread():
        evaluation = evaluation_of(metric, truth, [first, second], 2, cells)
        both = evaluation.scores(np.ones((1, len(cells)), np.float32))[0]
        drawn = np.concatenate([evaluation.scores(some) for some in resampling.counts(len(cells), n_draws, seed)])
    apart = drawn[:, 0] - drawn[:, 1]
    apart = apart[np.isfinite(apart)]
    if not np.isfinite(both).all() or not len(apart):
        return None
    low, high = np.percentile(apart, [LOW, HIGH])
    rarer = min((apart <= 0).sum(), (apart >= 0).sum())
    return Difference(
        float(both[0] - both[1]), float(low), float(high), float(min(1.0, 2 * (rarer + 1) / (len(apart) + 1)))
    )
