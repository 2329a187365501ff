"""Features that name rows rather than describe them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Looked
from orchestrator.data.columns import Column, excluding
from orchestrator.data.encode import Floats

_LEAST = 50
"""Fewer rows than these may differ in a whole number by chance."""
_MANY = 500
"""So many whole numbers that hardly ever repeat have a range of their square, as ids have and counts have not."""
_UNIQUE = 0.98
_CODE = re.compile(
    r"(?:0x)?[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-z_-]*\d[0-9a-z_-]{15,}", re.I
)
"""Hexadecimal digits, UUIDs, and other words of sixteen or more with digits in them."""


def id_findings(looked: Looked) -> list[Finding]:
    """Look for row numbers, ids and hashes among the features."""
    found = []
    for column, values in looked.scalar_columns():
        what = _of_strings(column, len(values)) if column.kind == "category" else None
        if column.kind == "number":
            what = _of_numbers(values)
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
        if sum(_CODE.fullmatch(name) is not None for name in some) > 0.9 * len(some):
            return f"has {n_known} distinct codes in {n_rows} training rows, such as {some[0][:40]!r}, as an id has"
    return None


def _of_numbers(values: Floats) -> str | None:
    present = values[~np.isnan(values)]
    n_rows = len(present)
    if n_rows < _LEAST or not np.array_equal(present, np.rint(present)):
        return None
    steps = np.diff(present)
    if (steps > 0).all() or (steps < 0).all():
        return f"goes {'up' if steps[0] > 0 else 'down'} in every one of {n_rows} training rows, as a row number does"
    unique = np.unique(present)
    if len(unique) == n_rows and unique[-1] - unique[0] < 1.5 * n_rows:
        return f"numbers the {n_rows} training rows from {unique[0]:.0f} to {unique[-1]:.0f}, as an id does"
    if n_rows >= _MANY and len(unique) >= _UNIQUE * n_rows:
        return f"has {len(unique)} distinct whole numbers in {n_rows} training rows, as an id has"
    return None
