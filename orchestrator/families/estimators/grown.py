"""Models that grow tree by tree: a smaller one is the beginning of a larger one, so that one fit gives both.

Trees of a forest draw their seeds one after another, and boosting fits each tree to what those before it left over, so
that nothing in a tree depends on how many come after it. The tests compare with fits from scratch, bit by bit.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_FOREST, _BOOSTING = ("n_estimators", "estimators_"), ("max_iter", "_predictors")
GROWN: Mapping[str, tuple[str, str]] = {
    **{
        f"sklearn.ensemble.{kind}{task}": _FOREST
        for kind in ("RandomForest", "ExtraTrees")
        for task in ("Classifier", "Regressor")
    },
    **{f"sklearn.ensemble.HistGradientBoosting{task}": _BOOSTING for task in ("Classifier", "Regressor")},
}
"""For a class, the parameter that says how many trees there are, and the attribute that holds them."""


def beginning(model: Any, path: str, n: int) -> Any:
    """Return the model that a fit with `n` trees at most would have given; `model` was fitted with as many or more."""
    parameter, attribute = GROWN[path]
    smaller = copy.copy(model)
    setattr(smaller, parameter, n)
    setattr(smaller, attribute, getattr(model, attribute)[:n])
    return smaller
