"""Features that name rows rather than describe them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Looked
from orchestrator.data.columns import Column, excluding
from orchestrator.data.encode import Floats

_LEAST = 50
"""Fewer rows than these may differ in a whole number by chance."""
_MANY = 500
"""So many whole numbers that hardly ever repeat have a range of their square, as ids have and counts have not."""
_UNIQUE = 0.98
_FEW_EACH, _DENSE = 0.15, 1.25
"""Hundreds of whole numbers, hardly one of which is left out, and a few rows of each: ids of groups."""
_CODE = re.compile(
    r"(?:0x)?[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-z_-]*\d[0-9a-z_-]{15,}", re.I
)
"""Hexadecimal digits, UUIDs, and other words of sixteen or more with digits in them."""
_FLOAT_HOLDS = 2.0**53


def id_findings(looked: Looked) -> list[Finding]:
    """Look for row numbers, ids and hashes among the features."""
    found = []
    for column, values in looked.scalar_columns():
        what = _of_strings(column, len(values)) if column.kind == "category" else None
        if column.kind == "number":
            what = _of_numbers(exact_numbers(looked.table[column.name], values))
        if what is not None:
            message = f"column {column.name!r} {what}; consider {excluding(column.name)}"
            found.append(Finding("id_like_column", "warning", message, column.name))
    return found


def text_like_findings(columns: Sequence[Column], n_rows: int) -> list[Finding]:
    """Look for categories that are short texts."""
    found = []
    for column in columns:
        n_known = len(column.categories)
        if n_known > max(100, 0.1 * n_rows) and n_known <= 0.5 * n_rows:
            some = column.categories[:: max(1, n_known // 500)]
            if sum(name.count(" ") for name in some) >= 2 * len(some):
                message = (
                    f"column {column.name!r} has {n_known} categories of several words, such as {some[0][:40]!r}; "
                    f"consider data.text: [{column.name}], if it is text"
                )
                found.append(Finding("text_like_category", "warning", message, column.name))
    return found


def _of_strings(column: Column, n_rows: int) -> str | None:
    n_known = len(column.categories)
    if n_known > 0.5 * n_rows and n_rows > 20:
        return None  # found by what `init` looks at, too
    if n_known > max(_LEAST, 0.05 * n_rows):
        some = column.categories[:: max(1, n_known // 200)]
        is_code = sum(_CODE.fullmatch(name) is not None for name in some) > 0.9 * len(some)
        if is_code or _are_numbered(column.categories):
            return f"has {n_known} distinct codes in {n_rows} training rows, such as {some[0][:40]!r}, as an id has"
    return None


def _are_numbered(names: Sequence[str]) -> bool:
    """Tell whether nearly all names are one word with a number after it, such as C0007."""
    stems = Counter(name.rstrip("0123456789") for name in names)
    stem, n_found = stems.most_common(1)[0]
    return bool(stem.strip()) and n_found > 0.9 * len(names)


def exact_numbers(column: pa.ChunkedArray, values: Floats) -> Floats:
    """Return the values, counted from the least one where they are whole numbers too large for a float."""
    if not pa.types.is_integer(column.type) or not np.nanmax(np.abs(values), initial=0.0) > _FLOAT_HOLDS:
        return values
    exact = np.full(len(values), np.nan)
    is_known = ~np.isnan(values) & column.is_valid().to_numpy()
    known = column.filter(pa.array(is_known)).to_numpy()
    exact[is_known] = (known.astype(np.uint64) - known.min().astype(np.uint64)).astype(np.float64)
    return exact


def _counted(present: Floats) -> Floats:
    """Return numbers with a fraction as whole ones, where they are evenly spaced as row numbers over a constant are."""
    unique = np.unique(present)
    steps = np.diff(unique)
    if len(unique) < len(present) or not len(steps) or steps.min() <= 0:
        return present
    counted = (present - unique[0]) / steps.min()
    whole = np.rint(counted)
    is_even = whole.max() < 1.5 * len(present) and np.allclose(counted, whole, rtol=0, atol=1e-3)
    return whole if is_even else present


def _of_numbers(values: Floats) -> str | None:
    present = values[~np.isnan(values)]
    n_rows = len(present)
    if n_rows < _LEAST:
        return None
    if not np.array_equal(present, np.rint(present)):
        present = _counted(present)
        if not np.array_equal(present, np.rint(present)):
            return None
    steps = np.diff(present)
    if (steps > 0).all() or (steps < 0).all():
        return f"goes {'up' if steps[0] > 0 else 'down'} in every one of {n_rows} training rows, as a row number does"
    unique = np.unique(present)
    if len(unique) == n_rows and unique[-1] - unique[0] < 1.5 * n_rows:
        return f"numbers the {n_rows} training rows from {unique[0]:.0f} to {unique[-1]:.0f}, as an id does"
    if n_rows >= _MANY and len(unique) >= _UNIQUE * n_rows:
        return f"has {len(unique)} distinct whole numbers in {n_rows} training rows, as an id has"
    if len(unique) >= max(_MANY, _FEW_EACH * n_rows) and unique[-1] - unique[0] < _DENSE * len(unique):
        return (
            f"has nearly every whole number from {unique[0]:.0f} to {unique[-1]:.0f} in {n_rows} training rows, each a "
            "few times, as an id of groups has"
        )
    return None
