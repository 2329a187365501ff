"""Values that stand for something else: words and numbers for nothing, numbers and dates as strings, spellings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Integers, Looked
from orchestrator.data.columns import Column
from orchestrator.data.encode import Floats
from orchestrator.errors import shown

NOTHING = frozenset(
    [
        *("", "?", "??", "-", "--", ".", "na", "n/a", "#n/a", "#na", "n.a.", "nan", "null", "(null)", "<null>", "nil"),
        *("unknown", "unk", "missing", "not available", "not applicable", "undefined", "no data", "tbd", "<na>"),
    ]
)
"""What is written for a missing value, without case and outer spaces. Not `none`, which may be an answer."""
SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)
_MOSTLY = 0.8
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[-+]?\d+)?%?", re.I)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")


def literal_findings(looked: Looked) -> list[Finding]:
    """Look at what stands in the features."""
    found: list[Finding] = []
    for column, values in looked.scalar_columns():
        if column.kind == "category" and column.categories:
            counts = np.bincount(values[values >= 0].astype(np.int64), minlength=len(column.categories))
            found += _of_category(column, counts, len(values))
        elif column.kind == "number":
            found += _sentinels(column, values)
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


def _missing(column: Column, what: str, n_found: int, n_rows: int, values: Sequence[object]) -> Finding:
    listed = ", ".join(f'"{v}"' if isinstance(v, str) else f"{v:g}" for v in values)
    message = (
        f"column {column.name!r} holds {what} in {n_found} of {n_rows} training rows; if that means missing, set "
        f"data.missing: [{listed}]"
    )
    return Finding("missing_as_value", "warning", message, column.name)


def _types(column: Column, names: Sequence[str], has_missing: bool) -> Iterator[Finding]:
    if len(names) < 3:
        return
    for pattern, what in ((_NUMBER, "numbers"), (_DATE, "dates")):
        fits = [pattern.fullmatch(name) is not None for name in names]
        share = sum(fits) / len(fits)
        if share == 1.0 and not any(re.fullmatch(r"0\d+", name) for name in names):
            holds = f"but for what stands for missing, {what}" if has_missing else what
            message = f"column {column.name!r} has strings that are all {holds}, and is read as categories; cast it"
            code = "mixed_types" if has_missing else f"{what}_as_strings"
            yield Finding(code, "warning", message, column.name)
        elif _MOSTLY <= share < 1.0:
            odd = [name for name, fit in zip(names, fits, strict=True) if not fit]
            message = (
                f"column {column.name!r} has strings of which {sum(fits)} are {what}, and {len(odd)} are not, such as "
                f"{', '.join(map(shown, odd[:3]))}; clean it and cast it, or list them in data.missing"
            )
            yield Finding("mixed_types", "warning", message, column.name)


def _variants(column: Column, counts: Integers) -> Iterator[Finding]:
    spellings = defaultdict(list)
    for i, name in enumerate(column.categories):
        spellings[" ".join(name.split()).casefold()].append(i)
    several = [group for group in spellings.values() if len(group) > 1]
    if several:
        group = max(several, key=lambda one: int(counts[one].sum()))
        shown_ones = " and ".join(shown(column.categories[i]) for i in group[:3])
        more = f" (and {len(several) - 1} more)" if len(several) > 1 else ""
        message = f"column {column.name!r} has categories that differ by case or spaces alone: {shown_ones}{more}"
        yield Finding("category_variants", "warning", f"{message}; make them one", column.name)


def _sentinels(column: Column, values: Floats) -> Iterator[Finding]:
    """Look for the least or the greatest number, far from all others and not alone."""
    present = values[~np.isnan(values)]
    if len(present) < 20:
        return
    for value, others in ((present.min(), present > present.min()), (present.max(), present < present.max())):
        n_found = int(len(present) - others.sum())
        if value not in SENTINELS or n_found < 3 or not others.any():
            continue
        least, most = float(present[others].min()), float(present[others].max())
        is_far = max(value - most, least - value) > most - least
        if (is_far and most > least) or (value < 0 <= least):
            yield _missing(column, f"{value:g}", n_found, len(values), [value])
