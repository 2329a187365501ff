"""Values that stand for something else: words and numbers for nothing, numbers and dates as strings, spellings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Integers, Looked
from orchestrator.data.columns import DATE_PARTS, Column
from orchestrator.data.encode import Floats
from orchestrator.errors import shown

NOTHING = frozenset(
    [
        *("", "?", "??", "-", "--", ".", "na", "n/a", "#n/a", "#na", "n.a.", "nan", "null", "(null)", "<null>", "nil"),
        *("unknown", "unk", "missing", "not available", "not applicable", "undefined", "no data", "tbd", "<na>"),
    ]
)
"""What is written for a missing value, without case and outer spaces. Not `none`, which may be an answer."""
SENTINELS = frozenset(
    [
        *(-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -999999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0),
        *(-99.9, -999.9, -999.25, -9999.9, 1e20, -1e20, 1e30, -1e30, -1e6),
        *(-(2.0**15), 2.0**15 - 1, 2.0**16 - 1, -(2.0**31), 2.0**31 - 1, 2.0**32 - 1, -(2.0**63), 2.0**63),
        *(sign * float(np.finfo(size).max) for sign in (-1, 1) for size in (np.float32, np.float64)),
    ]
)
"""Numbers that stand for a missing one where they are far from all others: of nines, and the ends of types."""
DATES = frozenset(
    float(np.datetime64(date).astype(int))
    for date in ("0001-01-01", "1753-01-01", "1899-12-30", "1900-01-01", "1970-01-01", "9999-12-31")
)
"""Days since 1970-01-01 that stand for a missing date: the first and the last ones of clocks and databases."""
_MOSTLY = 0.8
_MANY_NAMES = 10
"""So many distinct strings before a number with a unit, or a date of two digits a part, is taken for one."""
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_PLAIN = r"(?:\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d*)?|[.,]\d+)(?:e[-+]?\d+)?"
_NUMBER = re.compile(rf"[-+]?{_PLAIN}%?", re.I)
_AMOUNT = re.compile(
    rf"(?:[<>~≤≥]\s?)?[-+]?\s?[$€£¥]?\s?{_PLAIN}\s?(?:[%‰°$€£¥]|°?[a-zµ]{{1,3}}[²³23]?(?:/[a-z]{{1,3}})?)?", re.I
)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
_WRITTEN = re.compile(
    rf"{_DATE.pattern}|\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{2}}|"
    rf"\d{{1,2}}\.?[- ]{_MONTH}[- ]\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}}",
    re.I,
)


def literal_findings(looked: Looked) -> list[Finding]:
    """Look at what stands in the features."""
    found: list[Finding] = []
    for column, values in looked.scalar_columns():
        if column.kind == "category" and column.categories:
            counts = np.bincount(values[values >= 0].astype(np.int64), minlength=len(column.categories))
            found += _of_category(column, counts, len(values))
        elif column.kind == "number":
            found += _sentinels(column, values)
    for column in looked.columns:
        if column.kind == "date":
            days = np.asarray(looked.features.arrays[column.name][:, DATE_PARTS.index("elapsed_days")])
            found += _impossible(column, np.floor(days))
    return found


def _of_category(column: Column, counts: Integers, n_rows: int) -> Iterator[Finding]:
    nothing = [i for i, name in enumerate(column.categories) if name.strip().lower() in NOTHING]
    something = [name.strip() for i, name in enumerate(column.categories) if i not in set(nothing)]
    if nothing:
        words = [column.categories[i] for i in nothing]
        n_found = int(counts[nothing].sum())
        yield _missing(column, ", ".join(map(shown, words)), n_found, n_rows, words)
    yield from _types(column, something, bool(nothing))
    if len(something) <= 0.5 * n_rows:
        yield from _variants(column, counts)


def _missing(column: Column, what: str, n_found: int, n_rows: int, values: Sequence[str | float]) -> Finding:
    listed = ", ".join(f'"{v}"' if isinstance(v, str) else as_written(v) for v in values)
    message = (
        f"column {column.name!r} holds {what} in {n_found} of {n_rows} training rows; if that means missing, set "
        f"data.missing: [{listed}]"
    )
    return Finding("missing_as_value", "warning", message, column.name)


def _types(column: Column, names: Sequence[str], has_missing: bool) -> Iterator[Finding]:
    if len(names) < 3:
        return
    numbers, dates = (_AMOUNT, _WRITTEN) if len(names) >= _MANY_NAMES else (_NUMBER, _DATE)
    for pattern, what in ((dates, "dates"), (numbers, "numbers")):
        fits = [pattern.fullmatch(name) is not None for name in names]
        share = sum(fits) / len(fits)
        if share == 1.0 and not any(re.fullmatch(r"0\d+", name) for name in names):
            holds = f"but for what stands for missing, {what}" if has_missing else what
            message = f"column {column.name!r} has strings that are all {holds}, and is read as categories; cast it"
            code = "mixed_types" if has_missing else f"{what}_as_strings"
            yield Finding(code, "warning", message, column.name)
            return
        elif _MOSTLY <= share < 1.0:
            odd = [name for name, fit in zip(names, fits, strict=True) if not fit]
            message = (
                f"column {column.name!r} has strings of which {sum(fits)} are {what}, and {len(odd)} are not, such as "
                f"{', '.join(map(shown, odd[:3]))}; clean it and cast it, or list them in data.missing"
            )
            yield Finding("mixed_types", "warning", message, column.name)
            return


def spellings(names: Sequence[str]) -> list[list[int]]:
    """Return the places of names that differ by case or spaces alone, together."""
    found = defaultdict(list)
    for i, name in enumerate(names):
        found[" ".join(name.split()).casefold()].append(i)
    return [group for group in found.values() if len(group) > 1]


def _variants(column: Column, counts: Integers) -> Iterator[Finding]:
    if several := spellings(column.categories):
        group = max(several, key=lambda one: int(counts[one].sum()))
        shown_ones = " and ".join(shown(column.categories[i]) for i in group[:3])
        more = f" (and {len(several) - 1} more)" if len(several) > 1 else ""
        message = f"column {column.name!r} has categories that differ by case or spaces alone: {shown_ones}{more}"
        yield Finding("category_variants", "warning", f"{message}; make them one", column.name)


def _sentinels(column: Column, values: Floats) -> Iterator[Finding]:
    value, n_found = far_value(values, SENTINELS)
    if n_found:
        yield _missing(column, as_written(value), n_found, len(values), [value])


def _impossible(column: Column, days: Floats) -> Iterator[Finding]:
    value, n_found = far_value(days, DATES)
    if n_found:
        message = (
            f"column {column.name!r} holds {np.datetime64(int(value), 'D')} in {n_found} of {len(days)} training rows; "
            "if that means missing, make it null in the dataset"
        )
        yield Finding("missing_as_value", "warning", message, column.name)


def as_written(value: float) -> str:
    """Return a number as a job would have it, exactly."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value).removesuffix(".0")


def far_value(values: Floats, known: Collection[float]) -> tuple[float, int]:
    """Return the known value that is the least or the greatest of all, far off and repeated, and how often it is there.

    Where there is none it is there 0 times.
    """
    present = values[~np.isnan(values)]
    if len(present) < 20:
        return 0.0, 0
    for value, others in ((present.min(), present > present.min()), (present.max(), present < present.max())):
        n_found = int(len(present) - others.sum())
        if float(value) not in known or n_found < 3 or not others.any():
            continue
        least, most = float(present[others].min()), float(present[others].max())
        is_far = max(value / 2 - most / 2, least / 2 - value / 2) > most / 2 - least / 2  # halves, as all may overflow
        is_alone = value < 0 <= least and (value != -1 or len(np.unique(present[others])) >= _MANY_NAMES)
        if (is_far and most > least) or is_alone:
            return float(value), n_found
    return 0.0, 0
