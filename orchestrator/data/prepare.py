"""Preparation that learns from data: missing values, categories, scaling, made and selected columns.

Always fitted on training rows alone, by `fit_transform` of each step with their target.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, SelectPercentile, f_classif, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from orchestrator.data.clip import OutlierClipper
from orchestrator.data.columns import Column, flat
from orchestrator.data.encode import MISSING, Features, Floats
from orchestrator.data.recipe import SCALERS, Recipe
from orchestrator.data.texts import WIDTH, FromFeatures, numbers_of, text_columns

MAX_CATEGORIES = 100
"""How many columns one categorical column may become; rarer categories share the last one."""
FEW_CATEGORIES = 40
"""Up to so many categories a column becomes a column each, as in skrub's TableVectorizer."""
MOST_ENCODED_CLASSES = 10
"""With more classes than that target encoding, a column a class, would make more columns than it saves."""
CROSS_FITTED = 5
N_CLUSTERS = 8


def scaler_of(name: str, seed: int) -> Any | None:
    """Return an unfitted scaler, or None for `none`."""
    makers = {
        "none": lambda: None,
        "standard": StandardScaler,
        "minmax": MinMaxScaler,
        "robust": RobustScaler,
        "quantile": lambda: QuantileTransformer(random_state=seed),
        "power": PowerTransformer,
    }
    return makers[name]()


def preparation(
    columns: Sequence[Column], recipe: Recipe, n_classes: int, seed: int, *, impute_all: bool = True
) -> list[tuple[str, Any]]:
    """Return the unfitted steps from `Features.flat` to a model's input, or from `Features` where there is text.

    Numbers: the median for nulls, outliers, the scaler. Booleans: the most frequent value for nulls. Categories:
    one-hot, null as a category of its own, rare and unseen ones together (none set where there are no rare ones); or
    the mean target of each (Micci-Barreca 2001, A preprocessing scheme for high-cardinality categorical attributes,
    SIGKDD Explorations 3(1)), which the rows that are fitted on get from other rows than themselves.

    Args:
        columns: The features' columns, in order; those that are neither scalars, vectors nor text are not seen.
        recipe: How.
        n_classes: How many classes the target has; 0 for numbers.
        seed: For what is random (quantiles of large data, PCA's randomised solver, folds of target encoding, k-means).
        impute_all: Whether columns without nulls in the training rows are ready for nulls too. It changes nothing on
            rows without nulls; a search leaves it out for speed, a model that is shipped must not.
    """
    texts = text_columns(columns)
    columns = [*flat(columns), *numbers_of(columns)]
    steps: list[tuple[str, Any]] = []
    if texts:
        steps.append(("texts", FromFeatures(tuple(c.name for c in texts), recipe.text, seed)))
    parts = _parts(columns, recipe, n_classes, seed, impute_all=impute_all)
    if len(parts) == 1 and parts[0][0] in ("number", "clipped"):
        made = parts[0][1]
        steps += [] if made == "passthrough" else made.steps
    else:
        steps.append(("columns", ColumnTransformer(parts, sparse_threshold=0.0)))
    steps += _made(recipe, seed)
    if recipe.select != "none":
        steps.append(("select", _selection(recipe.select, n_classes)))
    if recipe.pca != "none":
        steps.append(("pca", PCA(n_components=recipe.pca, random_state=seed)))
    return steps


def _parts(
    columns: Sequence[Column], recipe: Recipe, n_classes: int, seed: int, *, impute_all: bool
) -> list[tuple[str, Any, list[int]]]:
    """Return each kind's steps with the places of its columns."""
    kinds = [_prepared_as(column, recipe, n_classes) for column in columns]
    order = ("number", "clipped", "boolean", "one_hot", "target")
    places = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in order}

    def scaled() -> list[tuple[str, Any]]:
        scaling = scaler_of(recipe.scaler, seed)
        return [] if scaling is None else [("scale", scaling)]

    def imputer(kind: str, strategy: str) -> list[tuple[str, Any]]:
        if not impute_all and not any(columns[i].has_nulls for i in places[kind]):
            return []
        return [("impute", SimpleImputer(strategy=strategy, keep_empty_features=True))]

    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False)
    folds = (StratifiedKFold if n_classes else KFold)(CROSS_FITTED, shuffle=True, random_state=seed)
    encoder = TargetEncoder(cv=folds, target_type=_target_type(n_classes))
    made = {
        "number": _pipeline([*imputer("number", "median"), *scaled()]),
        "clipped": _pipeline([("clip", OutlierClipper()), *imputer("clipped", "median"), *scaled()]),
        "boolean": _pipeline(imputer("boolean", "most_frequent")),
        "one_hot": one_hot,
        "target": Pipeline([("encode", encoder), ("scale", scaler_of(recipe.scaler, seed) or StandardScaler())]),
    }
    parts = [(kind, made[kind], indices) for kind, indices in places.items() if indices]
    numbers = sorted([*places["number"], *places["clipped"]])
    nullable = [i for i in numbers if columns[i].has_nulls and _chosen(columns[i], "missing", recipe) == "indicator"]
    if nullable:
        parts.append(("missing", MissingIndicator(features="all", error_on_new=False), nullable))
    return parts


def _prepared_as(column: Column, recipe: Recipe, n_classes: int) -> str:
    if column.kind == "number":
        return "clipped" if _chosen(column, "outliers", recipe) == "clip" else "number"
    if column.kind != "category":
        return column.kind
    categories = _chosen(column, "categories", recipe)
    if categories != "auto":
        return categories
    is_wide = len(column.categories) > FEW_CATEGORIES and n_classes <= MOST_ENCODED_CLASSES
    return "target" if is_wide else "one_hot"


def described(column: Column, recipe: Recipe, n_classes: int) -> str:
    """Return in words what `preparation` makes of a column."""
    if column.kind == "text":
        return f"tf-idf of {recipe.text}, {WIDTH} numbers by a truncated SVD"
    if column.kind == "boolean":
        return "the most frequent value for nulls"
    if column.kind == "category":
        return {"one_hot": "a column a category", "target": "the mean target of each category"}[
            _prepared_as(column, recipe, n_classes)
        ]
    if column.kind not in ("number", "vector", "date"):
        return "not learnt from"
    said = ["outliers clipped"] if _prepared_as(column, recipe, n_classes) == "clipped" else []
    if column.has_nulls:
        mark = ", and a column that says so" if _chosen(column, "missing", recipe) == "indicator" else ""
        said.append(f"the median for nulls{mark}")
    return "; ".join([*said, *([] if recipe.scaler == "none" else [f"scaler {recipe.scaler}"])]) or "as it is"


def _chosen(column: Column, key: str, recipe: Recipe) -> str:
    """Return what the job says of a column, else what the recipe says of all."""
    chosen: str = dict(column.prepared).get(key) or getattr(recipe, key)
    return chosen


def _target_type(n_classes: int) -> str:
    if not n_classes:
        return "continuous"
    return "binary" if n_classes == 2 else "multiclass"


def _made(recipe: Recipe, seed: int) -> list[tuple[str, Any]]:
    if recipe.features == "none":
        return []
    if recipe.features == "clusters":
        clusters = KMeans(N_CLUSTERS, n_init=1, random_state=seed)
        return [("made", FeatureUnion([("as_is", "passthrough"), ("clusters", clusters)]))]
    only = recipe.features == "interactions"
    return [("made", PolynomialFeatures(2, interaction_only=only, include_bias=False))]


def _selection(select: int | float | str, n_classes: int) -> Any:
    score = f_classif if n_classes else f_regression
    if isinstance(select, float):
        return SelectPercentile(score, percentile=100 * select)
    return SelectKBest(score, k=select)


def _pipeline(steps: list[tuple[str, Any]]) -> Any:
    return Pipeline(steps) if steps else "passthrough"


def input_of(
    features: Features, columns: Sequence[Column], rows: npt.NDArray[np.int64] | None = None
) -> Features | Floats:
    """Return what the first step of `preparation` takes of features, of some rows or of all."""
    if not text_columns(columns):
        return features.flat(rows)
    return features if rows is None else features.take(rows)


@contextmanager
def fitting() -> Iterator[None]:
    """Keep quiet what scikit-learn says of few rows, rare classes and constant columns, which any fold may have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_quantiles .* is greater", UserWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "Features .* are constant", UserWarning)
        warnings.filterwarnings("ignore", "k=.* is greater than n_features", UserWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in divide|divide by zero", RuntimeWarning)
        yield


__all__ = ["MAX_CATEGORIES", "MISSING", "SCALERS", "fitting", "input_of", "preparation", "scaler_of"]
