"""Values that stand for nothing, such as `?`: read as null wherever rows are read, in training and for predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import Column
from orchestrator.data.plain import plain


def nulled(table: pa.Table, names: Sequence[str], values: Sequence[str | float]) -> pa.Table:
    """Return a table with null in place of `values` in some of its columns.

    Args:
        table: Any rows.
        names: The columns to look in.
        values: Strings, for columns of strings; numbers, for columns of numbers.
    """
    for name in names if values else ():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, without(table.column(name), values))
    return table


def noted(column: Column, values: Sequence[str | float]) -> Column:
    """Return a column that says which of `values` are null in it."""
    is_string = column.kind in ("category", "text")
    if not is_string and column.kind != "number":
        return column
    return replace(column, missing=tuple(v for v in values if isinstance(v, str) == is_string))


def without(column: pa.ChunkedArray, values: Sequence[str | float]) -> pa.ChunkedArray:
    """Return a column with null in place of those of `values` that are of its kind."""
    column = plain(column) if values else column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type) if any(isinstance(v, str) for v in values) else column
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        listed = pa.array([v for v in values if isinstance(v, str)], kind)
        is_missing = pc.is_in(column, value_set=listed)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        listed = pa.array([float(v) for v in values if not isinstance(v, str)], pa.float64())
        is_missing = pc.is_in(column.cast(pa.float64(), safe=False), value_set=listed)
    else:
        return column
    return pc.if_else(is_missing, pa.scalar(None, kind), column) if pc.any(is_missing).as_py() else column
