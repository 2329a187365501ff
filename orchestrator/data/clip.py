"""Outliers clipped: scikit-learn has no transformer for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

SPREAD = 3.0
"""Quartile distances beyond the quartiles that are still no outlier: Tukey 1977, Exploratory Data Analysis, ch. 2."""


class OutlierClipper(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Puts what lies far outside the quartiles of a column at Tukey's outer fences; nan stays.

    Columns whose quartiles are equal have no fences.

    Args:
        spread: How many quartile distances beyond the quartiles the fences stand.
    """

    def __init__(self, spread: float = SPREAD) -> None:
        self.spread = spread

    def fit(self, X: Any, y: object = None) -> OutlierClipper:
        """Find the fences of numbers, shape (rows, columns)."""
        X = validate_data(self, X, ensure_all_finite="allow-nan", dtype=np.float64)
        with np.errstate(invalid="ignore"):
            has_values = ~np.isnan(X).all(axis=0)
            low, high = np.full((2, X.shape[1]), np.nan)
            low[has_values], high[has_values] = np.nanquantile(X[:, has_values], (0.25, 0.75), axis=0)
        room = np.where(high > low, self.spread * (high - low), np.inf)
        self.low_, self.high_ = low - room, high + room
        return self

    def transform(self, X: Any) -> Any:
        """Return the numbers, clipped; shape (rows, columns)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, ensure_all_finite="allow-nan", dtype=np.float64)
        low = np.where(np.isnan(self.low_), -np.inf, self.low_)
        return np.clip(X, low, np.where(np.isnan(self.high_), np.inf, self.high_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
