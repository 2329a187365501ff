"""The recipe of a preparation: what a search may vary of it, with what stands where a search says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.data.columns import Column, flat
from orchestrator.data.texts import ANALYSERS, numbers_of
from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.space import Dimension, Range

SCALERS = ("none", "standard", "minmax", "robust", "quantile", "power")
MOST_MADE = 5000
"""So many columns products of columns may become."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How columns become a model's input.

    Attributes:
        scaler: How numbers are scaled; `quantile` and `power` also take the skew out of them.
        outliers: `clip` puts what lies far outside a number's quartiles at Tukey's outer fences.
        missing: What a null number becomes: the `median`, or, as `indicator`, that and a column that says so.
        categories: `one_hot`, rare ones together; `target`, the mean target of each, fitted by cross-fitting; `auto` is
            one_hot for columns of few categories and target for others.
        text: What a term of text is: `words` or `letters`.
        features: What is made of the columns: `polynomial` (squares and products), `interactions` (products),
            `clusters` (distances to the centres of k-means).
        select: How many columns are kept, or which share, by an F test against the target; or `none`.
        pca: How many principal components there are, or which share of the variance they keep; or `none`.
    """

    scaler: str = "none"
    outliers: str = "none"
    missing: str = "indicator"
    categories: str = "auto"
    text: str = "words"
    features: str = "none"
    select: int | float | str = "none"
    pca: int | float | str = "none"

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Recipe:
        """Return the recipe in a configuration, which may have other parameters too."""
        return cls(**{name: params[name] for name in NAMES if name in params})

    @property
    def id(self) -> str:
        """A name that other recipes do not have."""
        standard = Recipe()
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = [f"{name}={value!r}" for name, value in named.items() if value != getattr(standard, name)]
        return ",".join(changed) or "plain"


NAMES = tuple(f.name for f in fields(Recipe))
"""The parameters of a search that are its recipe's."""
CHOICES: Mapping[str, Sequence[str]] = {
    "scaler": SCALERS,
    "outliers": ("none", "clip"),
    "missing": ("indicator", "median"),
    "categories": ("auto", "one_hot", "target"),
    "text": ANALYSERS,
    "features": ("none", "polynomial", "interactions", "clusters"),
}


def checked(key: str, name: str, dimension: Dimension, columns: Sequence[Column], n_rows: int) -> Range | list[Any]:
    """Return the values of a recipe's parameter in canonical form, null as `none`, after a look at each.

    Args:
        key: The parameter's place in the job, for messages.
        name: One of NAMES.
        dimension: What the job gives.
        columns: The features' columns.
        n_rows: The rows of the smallest training fold.

    Raises:
        JobError: A value is unknown, or does not fit the data.
    """
    columns = [*flat(columns), *numbers_of(columns)]
    if name in CHOICES:
        if isinstance(dimension, Range):
            raise JobError(f"{key}: expected a list of {', '.join(CHOICES[name])}, found low and high")
        values = ["none" if value is None and "none" in CHOICES[name] else value for value in dimension]
        for value in values:
            if value not in CHOICES[name]:
                raise JobError(f"{key}: no {name} {shown(value)}.{did_you_mean(value, CHOICES[name])}")
            _check_width(key, value, columns)
        return values
    values = _ends(dimension) if isinstance(dimension, Range) else ["none" if v is None else v for v in dimension]
    for value in values:
        _check_count(key, name, value, columns, n_rows)
    return dimension if isinstance(dimension, Range) else values


def _ends(dimension: Range) -> list[Any]:
    ends = [dimension.low, dimension.high]
    return ends if dimension.is_integer else [float(end) for end in ends]


def _check_width(key: str, value: object, columns: Sequence[Column]) -> None:
    if value not in ("polynomial", "interactions"):
        return
    width = len(columns)
    n_made = width + width * (width + 1) // 2
    if n_made > MOST_MADE:
        raise JobError(
            f"{key}: {value} of {width} columns makes {n_made}; expected at most {MOST_MADE}. Leave it out, or name "
            "fewer data.features"
        )


def _check_count(key: str, name: str, value: object, columns: Sequence[Column], n_rows: int) -> None:
    what = "components" if name == "pca" else "columns"
    if value == "none" or (isinstance(value, float) and 0 < value < 1):
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise JobError(f"{key}: expected none, a number of {what}, or a share between 0 and 1; found {shown(value)}")
    widest = min(n_rows, len(columns)) if name == "pca" else len(columns)
    if value > widest and all(column.kind in ("number", "boolean") for column in columns):
        raise JobError(
            f"{key}: {value} {what} of {len(columns)} columns and at least {n_rows} rows; expected at most {widest}"
        )


__all__ = ["CHOICES", "NAMES", "SCALERS", "Recipe", "checked"]
