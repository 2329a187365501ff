"""The profile of training rows, and how far other rows have drifted from it. All of it is counts, which merge.

A number, or what stands for a column of another kind (the length of a text or sequence, the mean of a vector or
image, the days of a date since 1970), is counted in bins between quantiles of the training rows; a category by itself,
as long as there are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import SCALARS, Column, scalars
from orchestrator.data.dates import ELAPSED
from orchestrator.data.encode import MISSING, UNSEEN, Features, Floats

Measure = Literal["value", "category", "length", "mean"]
Integers = npt.NDArray[np.int64]
Counts = dict[str, Integers]
"""The counts of each column's bins, by the column's name."""

MOST_BINS = 64
MOST_CATEGORIES = 100
GROUPS = 10
"""Into how many groups of equal shares bins are put for the population stability index, as is usual."""
CHANCE = 0.99
_MEASURES: Mapping[str, Measure] = {
    "number": "value",
    "boolean": "category",
    "category": "category",
    "date": "value",
    "text": "length",
    "sequence": "length",
    "vector": "mean",
    "image": "mean",
}


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """How a column's training rows are spread.

    Attributes:
        name: The column.
        measure: What is counted of it.
        edges: Quantiles of a number, ascending, the largest training value last.
        categories: The categories that are counted by themselves.
        counts: How many training rows are in each bin. Of a number: for each edge, those below it and those at it;
            above the last one; null. Of a category: each of `categories`, all others of training, unseen ones, null.
    """

    name: str
    measure: Measure
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How training rows are spread, column by column."""

    columns: tuple[ColumnProfile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Profile:
        """Build from what `to_dict` returned.

        Raises:
            ValueError: It is something else.
        """
        try:
            found = []
            for one in values["columns"]:
                numbers = {"edges": tuple(map(float, one["edges"])), "counts": tuple(map(int, one["counts"]))}
                column = ColumnProfile(**{**one, **numbers, "categories": tuple(one["categories"])})
                n_bins = len(column.categories) + 3 if column.measure == "category" else 2 * len(column.edges) + 2
                if len(column.counts) != n_bins:
                    raise ValueError(f"{len(column.counts)} counts of {column.name!r}; expected {n_bins}")
                found.append(column)
            return cls(tuple(found))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no profile of training rows ({type(error).__name__}: {error})") from None


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far a column has drifted.

    Attributes:
        name: The column.
        measure: What was compared.
        psi: The population stability index.
        by_chance: What the index stays below in 99 of 100 draws of so many rows without any drift.
        ks: The Kolmogorov-Smirnov statistic of a number, or None.
        nulls: The shares of nulls in training and now.
    """

    name: str
    measure: Measure
    psi: float
    by_chance: float
    ks: float | None
    nulls: tuple[float, float]

    def exceeds(self, limit: float) -> bool:
        """Tell whether the index is above a limit, and not by chance alone."""
        return self.psi > limit and self.psi > self.by_chance


def profile_of(features: Features, columns: Sequence[Column]) -> Profile:
    """Describe training rows.

    Args:
        features: The encoded rows.
        columns: What they are.
    """
    found = []
    for column in columns:
        values = _measured(features, column, columns)
        empty = ColumnProfile(column.name, _MEASURES[column.kind], (), (), ())
        if empty.measure == "category":
            names = _names(column)
            codes = np.arange(len(names))
            n_rows = np.bincount(values[values >= 0].astype(np.int64), minlength=len(names))
            kept = (
                codes
                if len(names) <= MOST_CATEGORIES
                else np.sort(np.argsort(-n_rows, kind="stable")[:MOST_CATEGORIES])
            )
            one = ColumnProfile(column.name, "category", (), tuple(names[i] for i in kept), ())
        else:
            one = ColumnProfile(column.name, empty.measure, _edges(values), (), ())
        counts = tuple(int(n) for n in _counted(one, values, column))
        found.append(ColumnProfile(one.name, one.measure, one.edges, one.categories, counts))
    return Profile(tuple(found))


def _edges(values: Floats) -> tuple[float, ...]:
    present = values[~np.isnan(values)]
    if not len(present):
        return ()
    shares = np.arange(1, MOST_BINS + 1) / MOST_BINS
    return tuple(float(v) for v in np.unique(np.quantile(present, shares, method="inverted_cdf")))


def count(profile: Profile, features: Features, columns: Sequence[Column]) -> Counts:
    """Count rows in the bins of a profile; the counts of several sets of rows add up.

    Args:
        profile: Of the training rows.
        features: The encoded rows.
        columns: What they are.
    """
    by_name = {column.name: column for column in columns}
    return {
        one.name: _counted(one, _measured(features, by_name[one.name], columns), by_name[one.name])
        for one in profile.columns
    }


def _counted(profile: ColumnProfile, values: Floats, column: Column) -> Integers:
    if profile.measure != "category":
        is_null = np.isnan(values)
        edges, present = np.asarray(profile.edges, dtype=np.float64), values[~is_null]
        bins = np.searchsorted(edges, present, side="left") + np.searchsorted(edges, present, side="right")
        counted = np.bincount(bins, minlength=2 * len(edges) + 1)
        return np.append(counted, is_null.sum()).astype(np.int64)
    listed, names = {name: i for i, name in enumerate(profile.categories)}, _names(column)
    others = len(listed)
    bin_of = np.array([*(listed.get(name, others) for name in names), others + 1, others + 2], dtype=np.int64)
    is_null = np.isnan(values) | (values == MISSING)
    is_unseen = (values == UNSEEN) | (values >= len(names))
    codes = np.where(is_null, len(names) + 1, np.where(is_unseen, len(names), values)).astype(np.int64)
    return np.bincount(bin_of[codes], minlength=others + 3).astype(np.int64)


def _names(column: Column) -> tuple[str, ...]:
    return ("false", "true") if column.kind == "boolean" else column.categories


def _measured(features: Features, column: Column, columns: Sequence[Column]) -> Floats:
    """Return one number a row, nan for null; of a category its code."""
    if column.kind in SCALARS:
        found: Floats = features.matrix[:, [c.name for c in scalars(columns)].index(column.name)]
        return found
    array = features.arrays[column.name]
    if column.kind == "date":
        days: Floats = array[:, ELAPSED]
        return days
    if isinstance(array, np.ndarray):
        return np.asarray(array.reshape(len(array), -1).mean(axis=1, dtype=np.float64))
    lengths = pc.utf8_length(array) if column.kind == "text" else pc.list_value_length(array)
    return np.asarray(lengths.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def drift_of(profile: Profile, counts: Counts) -> tuple[ColumnDrift, ...]:
    """Compare rows with the training rows.

    The population stability index is the sum over groups of (a - e) ln(a / e), with a group's share e in training and a
    now: Siddiqi 2006, Credit Risk Scorecards, ch. 9, where more than 0.25 means a great shift. Half a row is added to
    each group, so that empty ones have a logarithm; groups that are empty on both sides are left out. Without drift it
    is about (1/n + 1/m) times a chi-square of as many degrees of freedom as there are groups, less one: Yurdakul and
    Naranjo 2020, Statistical properties of the population stability index, J. Risk Model Validation 14(4).

    The Kolmogorov-Smirnov statistic is the largest difference of the two distribution functions (Smirnov 1948, Ann.
    Math. Stat. 19), taken at the edges and just below them, so that it is at most 1/64 too small.

    Args:
        profile: Of the training rows.
        counts: Of the rows to compare, in the profile's bins.
    """
    return tuple(_drift(one, np.asarray(counts[one.name])) for one in profile.columns)


def _drift(profile: ColumnProfile, now: Integers) -> ColumnDrift:
    before = np.asarray(profile.counts, dtype=np.int64)
    if profile.measure == "category":
        psi, by_chance = _stability(before, now)
        ks = None
    else:
        groups = _groups(before)
        psi, by_chance = _stability(np.bincount(groups, before), np.bincount(groups, now))
        ks = _largest_gap(before[:-1], now[:-1])
    nulls = tuple(float(counts[-1] / max(1, counts.sum())) for counts in (before, now))
    return ColumnDrift(profile.name, profile.measure, psi, by_chance, ks, (nulls[0], nulls[1]))


def _groups(before: Integers) -> Integers:
    """Return each bin's group: about equal shares of the training rows; null is a group by itself."""
    shares = np.cumsum(before[:-1]) / max(1, before[:-1].sum())
    groups = np.clip(np.ceil(shares * GROUPS - 1e-9).astype(np.int64) - 1, 0, GROUPS - 1)
    return np.append(groups, GROUPS)


def _stability(before: npt.NDArray[Any], now: npt.NDArray[Any]) -> tuple[float, float]:
    from scipy.stats import chi2

    used = (before > 0) | (now > 0)
    before, now, n_groups = before[used], now[used], int(used.sum())
    n, m = float(before.sum()), float(now.sum())
    if n_groups < 2 or not n or not m:
        return 0.0, 0.0
    expected, actual = (before + 0.5) / (n + 0.5 * n_groups), (now + 0.5) / (m + 0.5 * n_groups)
    psi = float(((actual - expected) * np.log(actual / expected)).sum())
    return psi, float(chi2.ppf(CHANCE, n_groups - 1) * (1 / n + 1 / m))


def _largest_gap(before: Integers, now: Integers) -> float | None:
    if not before.sum() or not now.sum():
        return None
    return float(np.abs(np.cumsum(before) / before.sum() - np.cumsum(now) / now.sum()).max())
