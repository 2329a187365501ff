"""Which trials cannot be told from the leader, and whether any of them beats the baseline.

Both ask how large the largest of many differences is by chance alone, and both take the answer from the draws of the
same bootstrap.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from orchestrator.results.statistics.resampling import Floats
from orchestrator.results.statistics.selection import Draws

ALPHA = 0.05
SURELY_TIED = 1.5
"""A trial that trails no other by more than so many standard errors is tied: the largest of several differences exceeds
this in far more than ALPHA of draws, since a single one does in 7 %."""
MOST_DRAWS = 500
"""Draws that the comparison of all pairs looks at."""


def tied(draws: Draws) -> npt.NDArray[np.bool_]:
    """Return which configurations may be the best: cross-validation with confidence, shape (configurations,).

    Lei (JASA 2020, arXiv 1703.07904): a configuration is rejected if the largest of its studentised deficits, each
    behind another configuration, is one that chance gives in fewer than ALPHA of draws were all equal. The best one
    stays with probability 1 - ALPHA; the leader always does. The draws are those of the bootstrap in place of Gaussian
    multipliers, so that metrics which are no mean over rows are compared likewise.
    """
    scores, deviations = draws.observed[:-1], draws.deviations[:MOST_DRAWS, :-1]
    n = len(scores)
    if not len(deviations) or draws.n_cells < 2:
        return np.ones(n, dtype=np.bool_)
    error = _errors(draws.deviations[:, :-1])
    far_behind = -np.sqrt(2.0 * np.log(np.log(max(draws.n_cells, 16))))
    is_tied = np.ones(n, dtype=np.bool_)
    for i in range(n):
        deficit = _studentised(scores - scores[i], error[i])
        if (largest := float(deficit.max())) <= SURELY_TIED:
            continue
        counts = (error[i] > 0) & (deficit > far_behind)
        chance = ((deviations[:, counts] - deviations[:, i : i + 1]) / error[i, counts]).max(axis=1, initial=-np.inf)
        is_tied[i] = bool((1 + np.sum(chance >= largest)) / (1 + len(chance)) > ALPHA)
    return is_tied


def _errors(deviations: Floats) -> Floats:
    """Return the standard error of each two configurations' difference, shape (configurations, configurations)."""
    centred = deviations - deviations.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    variance = np.diag(covariance)
    squared = variance[:, np.newaxis] + variance - 2.0 * covariance
    noise = 1e-12 * (variance[:, np.newaxis] + variance)  # of rounding, where two configurations are the same
    return np.sqrt(np.where(squared > noise, squared, 0.0))


def _studentised(difference: Floats, error: Floats) -> Floats:
    """Return differences by their errors; where there is no error, 0 or beyond all measure."""
    with np.errstate(invalid="ignore", divide="ignore"):
        by_error = difference / error
    return np.where(error > 0, by_error, np.where(difference > 1e-12, np.inf, 0.0))


def p_of_beating_the_baseline(draws: Draws, n_trials: int) -> float:
    """Return how often chance alone gives a configuration as far above the baseline as the one that is farthest.

    The studentised maximum: White (Econometrica 2000) with the studentisation of Hansen (JBES 2005). Where the draws
    have the top of a board alone, it is the largest of more than they show; how often as many would reach it is then
    bounded by Bonferroni's inequality, with the tail of a normal distribution.

    Args:
        draws: What the bootstrap found.
        n_trials: How many configurations there were to choose from, at least as many as were drawn.
    """
    if not len(draws.deviations):
        return 1.0
    above = draws.observed[:-1] - draws.observed[-1]
    deviations = draws.deviations[:, :-1] - draws.deviations[:, -1:]
    error = deviations.std(axis=0)
    largest = float(_studentised(above, error).max())
    counts = error > 0
    chance = (deviations[:, counts] / error[counts]).max(axis=1, initial=0.0)
    by_signs = 0.5**draws.n_cells  # so often all of a few cells are above by chance, and no draw would show it
    by_draws = float((1 + np.sum(chance >= largest)) / (1 + len(chance)))
    by_number = min(1.0, n_trials * float(ndtr(-largest))) if n_trials > len(above) else 0.0
    return max(by_signs, by_draws, by_number)
