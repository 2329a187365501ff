"""Preparation that learns from data: missing values, categories, scaling, PCA. Always fitted on training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from orchestrator.data.encode import MISSING, Column

SCALERS = ("none", "standard", "minmax", "robust", "quantile")
MAX_CATEGORIES = 100
"""How many columns one categorical column may become; rarer categories share the last one."""


def scaler_of(name: str, seed: int) -> Any | None:
    """Return an unfitted scaler, or None for `none`."""
    makers = {
        "none": lambda: None,
        "standard": StandardScaler,
        "minmax": MinMaxScaler,
        "robust": RobustScaler,
        "quantile": lambda: QuantileTransformer(random_state=seed),
    }
    return makers[name]()


def preparation(
    columns: Sequence[Column], scaler: str, pca: int | float | str, seed: int, *, impute_all: bool = True
) -> list[tuple[str, Any]]:
    """Return the unfitted steps that turn the encoded matrix into a model's input.

    Numbers: the median for nulls, then the scaler. Booleans: the most frequent value for nulls. Categories: one-hot,
    null as a category of its own, rare and unseen ones together (none set where there are no rare ones).

    Args:
        columns: The matrix's columns, in order.
        scaler: One of SCALERS.
        pca: `none`, a number of components, or the share of variance to keep.
        seed: For what is random (quantiles of large data, PCA's randomised solver).
        impute_all: Whether columns without nulls in the training rows are ready for nulls too. It changes nothing on
            rows without nulls; a search leaves it out for speed, a model that is shipped must not.
    """
    groups = {kind: [i for i, c in enumerate(columns) if c.kind == kind] for kind in ("number", "boolean", "category")}
    steps: list[tuple[str, Any]] = []

    def imputer(kind: str, strategy: str) -> list[tuple[str, Any]]:
        if not impute_all and not any(columns[i].has_nulls for i in groups[kind]):
            return []
        return [("impute", SimpleImputer(strategy=strategy, keep_empty_features=True))]

    numeric = imputer("number", "median")
    scaling = scaler_of(scaler, seed)
    if scaling is not None:
        numeric.append(("scale", scaling))
    if len(groups["number"]) == len(columns):
        steps += numeric
    else:
        one_hot = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False
        )
        made = {
            "number": _pipeline(numeric),
            "boolean": _pipeline(imputer("boolean", "most_frequent")),
            "category": one_hot,
        }
        parts = [(kind, made[kind], indices) for kind, indices in groups.items() if indices]
        steps.append(("columns", ColumnTransformer(parts, sparse_threshold=0.0)))
    if pca != "none":
        steps.append(("pca", PCA(n_components=pca, random_state=seed)))
    return steps


def _pipeline(steps: list[tuple[str, Any]]) -> Any:
    return Pipeline(steps) if steps else "passthrough"


__all__ = ["MAX_CATEGORIES", "MISSING", "SCALERS", "preparation", "scaler_of"]
