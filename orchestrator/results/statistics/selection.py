"""One bootstrap for all questions: every configuration's score on every draw, and what the choice of the best costs.

The bootstrap of cross-validation (BBC-CV: Tsamardinos, Greasidou and Borboudakis, Machine Learning 2018) repeats the
choice of the winner on each draw of rows and scores it on the rows that were left out, without training anything
again. Its mean is the winner's score freed of the luck of the choice; it stays that of models that saw all folds but
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.results.statistics.evaluation import Evaluation
from orchestrator.results.statistics.resampling import Cells, Floats, Ints, counts

DECIMALS = 12
"""Scores compare after rounding to so many decimals, as on the leaderboard."""
SINGLE_DECIMALS = 6
"""The same, as a share of the largest, of scores whose sums are not exact in single precision."""
LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True, slots=True)
class Draws:
    """What a bootstrap found.

    Attributes:
        observed: The score of each configuration, shape (configurations,); the baseline's is the last.
        deviations: Each draw's scores less `observed`, shape (draws, configurations).
        winners: The score of each draw's winner on the rows that it left out, shape (draws,); draws without such a
            score are missing, so that it can be empty.
        leader: The score of the board's first on the same rows, shape (draws,), likewise.
        n_cells: How many cells were drawn.
    """

    observed: Floats
    deviations: Floats
    winners: Floats
    leader: Floats
    n_cells: int


def draw(
    evaluation: Evaluation, scores: Floats, first: Ints, cells: Cells, n_draws: int, seed: int, *, is_exact: bool
) -> Draws:
    """Draw cells again and again, choose each time, and score the choice on what was left out.

    Args:
        evaluation: The configurations, in the order of the board, and behind them the baseline, which is never chosen.
        scores: Their scores on the board. Where these differ from the scores of all rows at once, being means over
            folds, the difference goes to each draw as well.
        first: The configurations in the order in which equal scores go. It is not the board's own: that knows the rows
            that a draw leaves out, and where scores are often equal would choose by them.
        cells: What is drawn.
        n_draws: How often.
        seed: What decides the draws.
        is_exact: Whether equal scores come out equal to DECIMALS decimals.
    """
    whole = evaluation.scores(np.ones((1, len(cells)), dtype=np.float32))[0]
    offset = np.nan_to_num(scores - whole)
    unit = 1.0 if is_exact else max(float(np.abs(scores).max()), np.finfo(np.float64).tiny)
    decimals = DECIMALS if is_exact else SINGLE_DECIMALS
    deviations, winners, leader = [], [], []
    for some in counts(cells, n_draws, seed):
        drawn = evaluation.scores(some) + offset
        is_defined = np.isfinite(drawn).all(axis=1)
        drawn, some = drawn[is_defined], some[is_defined]
        chosen = first[np.round(drawn[:, first] / unit, decimals).argmax(axis=1)]
        out = evaluation.left_out(some, chosen) + offset[chosen]
        deviations.append(drawn - scores)
        winners.append(out[np.isfinite(out)])
        of_leader = evaluation.left_out(some, np.zeros_like(chosen)) + offset[0]
        leader.append(of_leader[np.isfinite(of_leader)])
    return Draws(scores, np.concatenate(deviations), np.concatenate(winners), np.concatenate(leader), len(cells))


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, and the 95 % interval in which the truth is thought to lie."""

    score: float
    low: float
    high: float


def corrected(draws: Draws, cells: Cells, shift: float, least: float, most: float, *, is_hit: bool) -> Interval | None:
    """Return the winner's score, corrected for its choice, and its interval; None where no draw left a row out.

    The interval is as long as the scatter of the winner's own score on the rows that draws left out. That is a third
    more than the scatter of its score on all rows, and leaves room for the luck of the training rows. The scatter of
    whoever wins a draw, which the method proposes, is longer yet where rows are few, and covers in all cases in place
    of 95 %. The shift is taken to be as unsure as it is large. A share of rows that are right has Wilson's interval
    around the corrected score as well: where nearly all are right, draws of what was seen leave out what was not.

    Args:
        draws: What the bootstrap found.
        cells: What was drawn.
        shift: What training on all rows adds, see `shift.refit_shift`; 0 where it is not known.
        least: The least score that the metric gives.
        most: The largest.
        is_hit: Whether the score is a share of rows that are right.
    """
    if not len(draws.winners) or not len(draws.leader):
        return None
    score = float(draws.winners.mean()) + shift
    below, above = np.percentile(draws.leader, [LOW, HIGH]) - draws.leader.mean()
    ends = [score, score - float(np.hypot(below, shift)), score + float(np.hypot(above, shift))]
    if is_hit:
        share = np.clip([score], least, most)
        n = _n_independent(share, draws.deviations[:, :1], cells)
        from_below, from_above = _wilson(share, n)
        half_row = 0.5 / n  # the share is a step of a row; without it no truth of 1 is held beside a score just below
        ends += [float((from_below - half_row)[0]), float((from_above + half_row)[0])]
    score, low, high = (float(one) for one in np.clip([score, min(ends), max(ends)], least, most))
    return Interval(score, low, high)


def intervals(
    draws: Draws, cells: Cells, least: float, most: float, *, is_hit: bool
) -> list[tuple[float, float] | tuple[None, None]]:
    """Return the 95 % interval of each configuration's own score, the baseline's not among them.

    Percentiles of the draws; for a share of rows that are right Wilson's interval (JASA 1927), which holds where nearly
    all are, over as many independent rows as the draws say there are. Nothing can be said of a single cell.
    """
    observed = draws.observed[:-1]
    if len(cells) < 2 or not len(draws.deviations):
        return [(None, None)] * len(observed)
    deviations = draws.deviations[:, :-1]
    if is_hit:
        low, high = _wilson(observed, _n_independent(observed, deviations, cells))
    else:
        low, high = observed + np.percentile(deviations, [LOW, HIGH], axis=0)
    return [
        (float(max(least, min(a, score))), float(min(most, max(b, score))))
        for a, b, score in zip(low, high, observed, strict=True)
    ]


def _n_independent(share: Floats, deviations: Floats, cells: Cells) -> Floats:
    n_rows = float(cells.sizes.sum()) / cells.n_repeats
    if cells.are_rows:
        return np.full(len(share), n_rows)
    variance = deviations.var(axis=0)
    by_draws = share * (1.0 - share) / np.where(variance > 0, variance, 1.0)
    return np.where(variance > 0, np.clip(by_draws, 1.0, n_rows), float(len(cells)))


def _wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    z = 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
