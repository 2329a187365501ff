"""Rows that are alike because they are near in time or of one group, so that a random split is not honest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.arrays import strings
from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.ids import exact_numbers
from orchestrator.data.checks.looked import Integers, Looked, explained, some_rows
from orchestrator.data.encode import Floats
from orchestrator.data.plain import plain

_MOST_ROWS = 200_000
_LEAST_GROUPS, _MOST_IN_GROUP, _GLANCE = 20, 100, 2000
_ALIKE, _LESS_ALIKE = 0.3, 0.5
"""How much of the target a group's other rows explain, and how much less its neighbours by value have to."""
_IN_TIME = 0.15
"""From which correlation with what is near in time on a random split is told of."""
_AROUND = 5
_UNIX, _UNITS = (600_000_000, 2_500_000_000), (1, 10**3, 10**6, 10**9)
"""Seconds since 1970 of the years 1989 to 2049, and how many of a unit are in one."""


def kin_findings(looked: Looked) -> list[Finding]:
    """Look for times and groups, among the features and beside them, where rows are split at random."""
    if looked.validation == "predefined":
        return []
    found = []
    if "time" not in looked.validation:
        found += [f for name, values in _times(looked) if (f := _in_time(name, values, looked)) is not None]
    if "group" not in looked.validation:
        found += [f for name, codes in _groups(looked) if (f := _in_groups(name, codes, looked)) is not None]
    return found


def _in_time(name: str, values: Floats, looked: Looked) -> Finding | None:
    """Look whether rows that follow one another in time are alike."""
    is_there = np.isfinite(values)
    n_rows = int(is_there.sum())
    if n_rows < 50:
        return None
    order = np.flatnonzero(is_there)[np.argsort(values[is_there], kind="stable")]
    alike = time_correlation(looked.answers(order))
    if alike < max(_IN_TIME, 4 / np.sqrt(n_rows)):
        return None
    what = f"rows that follow one another by {name!r} have much the same {looked.target_name!r}"
    message = (
        f"{what} (correlation {alike:.2f}), and rows are split at random: scores are of times between those that were "
        f"learnt from, not of later ones. Consider validation: {{kind: time, column: {name}}}"
    )
    return Finding("random_split_over_time", "warning", message, name)


def time_correlation(answers: Floats) -> float:
    """Return how much rows in the order of time go with the row before, or with the ten around if that is more.

    Args:
        answers: See `Looked.answers`.
    """
    centred = answers - answers.mean(axis=0)
    sums = np.cumsum(np.concatenate([np.zeros_like(centred[:1]), centred]), axis=0)
    around = sums[2 * _AROUND + 1 :] - sums[: -2 * _AROUND - 1] - centred[_AROUND:-_AROUND]
    return max(_correlation(centred[1:], centred[:-1]), _correlation(centred[_AROUND:-_AROUND], around))


def _correlation(one: Floats, other: Floats) -> float:
    spread = np.sqrt(float((one**2).sum()) * float((other**2).sum()))
    return float((one * other).sum()) / spread if spread > 0 else 0.0


def _in_groups(name: str, codes: Integers, looked: Looked) -> Finding | None:
    """Look whether a group's rows are alike beyond what its place among the values says."""
    if len(np.unique(codes[some_rows(len(codes), _GLANCE)])) < _LEAST_GROUPS:
        return None
    _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    n_rows, n_groups = len(codes), len(sizes)
    if n_groups < _LEAST_GROUPS or n_rows / n_groups > _MOST_IN_GROUP or sizes[sizes > 1].sum() < 0.5 * n_rows:
        return None
    rows = np.arange(n_rows)
    if n_rows > _MOST_ROWS:
        kept = np.random.default_rng(0).random(n_groups) < _MOST_ROWS / n_rows
        rows = np.flatnonzero(kept[codes])
        codes = np.unique(codes[rows], return_inverse=True)[1]
        n_groups = int(codes.max(initial=-1)) + 1
        if n_groups < _LEAST_GROUPS:
            return None
    answers = looked.answers(rows)
    within, beside = group_skills(codes, answers)
    if within < _ALIKE or beside > _LESS_ALIKE * within:
        return None
    message = (
        f"rows of one {name!r} have much the same {looked.target_name!r} ({n_groups} groups of "
        f"{n_rows / len(sizes):.1f} rows on average; the others of a group explain {100 * within:.0f} % of it), and "
        "rows are split at random: scores are of groups that were learnt from. Consider validation: "
        f"{{kind: group, column: {name}}}"
    )
    return Finding("random_split_of_groups", "warning", message, name)


def group_skills(codes: Integers, answers: Floats) -> tuple[float, float]:
    """Return what the other rows of its group, and what the groups next to it, explain of a row's answer.

    Args:
        codes: Each row's group, from 0 without gaps, in the order of the values.
        answers: See `Looked.answers`.
    """
    sizes = np.bincount(codes)[:, np.newaxis].astype(np.float64)
    sums = np.stack([np.bincount(codes, a, minlength=len(sizes)) for a in answers.T], axis=1)
    mean = answers.mean(axis=0)
    others = (sums[codes] - answers + mean) / sizes[codes]  # one row as good as the mean of all stands in
    near_sums, near_sizes = np.zeros_like(sums), np.zeros_like(sizes)
    for side, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        near_sums[side] += sums[other]
        near_sizes[side] += sizes[other]
    neighbours = ((near_sums + mean) / (near_sizes + 1))[codes]
    return explained(answers, others), explained(answers, neighbours)


def _times(looked: Looked) -> Iterator[tuple[str, Floats]]:
    for table in (looked.table, looked.beside):
        for name in table.column_names:
            times = as_times(plain(table.column(name)))
            if times is not None and name != looked.target_name:
                yield name, times


def as_times(values: pa.ChunkedArray) -> Floats | None:
    """Return dates, timestamps, ISO strings of them or Unix times as numbers, nan for null; None for others."""
    kind = values.type
    if pa.types.is_integer(kind):
        least, most = (bound.as_py() for bound in pc.min_max(values).values())
        is_unix = least is not None and any(s * _UNIX[0] <= least and most <= s * _UNIX[1] for s in _UNITS)
        return _floats(values) if is_unix else None
    if pa.types.is_temporal(kind) and not (pa.types.is_duration(kind) or pa.types.is_interval(kind)):
        if pa.types.is_date32(kind) or pa.types.is_time32(kind):
            return _floats(values.cast(pa.int32()))
        return _floats(values.cast(pa.int64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        present = values.drop_null()
        if len(present) == 0 or not str(present[0].as_py())[:4].isdigit():
            return None
        try:
            return _floats(strings(values).cast(pa.timestamp("us")).cast(pa.int64()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
    return None


def _floats(values: pa.ChunkedArray) -> Floats:
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _groups(looked: Looked) -> Iterator[tuple[str, Integers]]:
    """Yield what may be groups as codes in the order of the values: categories and whole numbers."""
    for column, values in looked.scalar_columns():
        if column.kind == "number":
            values = exact_numbers(looked.table.column(column.name), values)
        if column.kind == "category" or (column.kind == "number" and _is_whole(values)):
            yield column.name, np.nan_to_num(values, nan=-1.0).astype(np.int64)
    for name in looked.beside.column_names:
        values = plain(looked.beside.column(name))
        if pa.types.is_integer(values.type):
            codes = pc.fill_null(values, 0).to_numpy().astype(np.int64)  # unsigned ones have no -1
            yield name, np.where(values.is_null().to_numpy(), -1, codes)
        elif pa.types.is_floating(values.type) and _is_whole(numbers := _floats(values)):
            yield name, np.nan_to_num(numbers, nan=-1.0).astype(np.int64)
        elif _is_strings(values.type):
            yield name, _ranks(values)


def _ranks(values: pa.ChunkedArray) -> Integers:
    words = strings(values)
    known = pa.array(sorted(words.unique().drop_null().to_pylist()), pa.large_string())
    return np.asarray(pc.fill_null(pc.index_in(words, value_set=known), -1).to_numpy(), dtype=np.int64)


def _is_whole(values: npt.NDArray[Any]) -> bool:
    present = values[~np.isnan(values)]
    return bool(len(present)) and bool(np.abs(present).max() < 2**53) and np.array_equal(present, np.rint(present))


def _is_strings(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
