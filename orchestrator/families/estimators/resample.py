"""Rows of rarer classes drawn more often, or others' less, among those that a model is fitted on, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np

RESAMPLINGS = ("none", "over", "under", "smote")
_NEIGHBOURS = 5
Array = np.ndarray[Any, Any]


def resampled(matrix: Array, target: Array, how: str, seed: int) -> tuple[Array, Array]:
    """Return rows whose classes are equally frequent.

    Args:
        matrix: Prepared training rows, shape (rows, columns).
        target: Class codes, shape (rows,).
        how: `none`; `over` draws rows of rarer classes again; `under` leaves rows of others out; `smote` adds rows
            between neighbours of a class (Chawla et al., 2002), which needs two rows of each.
        seed: For the draws.
    """
    if how == "none":
        return matrix, target
    from imblearn.over_sampling import SMOTE, RandomOverSampler  # here, since few jobs have a use for it
    from imblearn.under_sampling import RandomUnderSampler

    if how == "smote":
        rarest = int(np.unique(target, return_counts=True)[1].min())
        sampler = SMOTE(k_neighbors=max(1, min(_NEIGHBOURS, rarest - 1)), random_state=seed)
    else:
        sampler = (RandomOverSampler if how == "over" else RandomUnderSampler)(random_state=seed)
    drawn: tuple[Array, Array] = sampler.fit_resample(matrix, target)
    return drawn
