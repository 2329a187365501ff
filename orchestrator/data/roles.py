"""Columns that the job says how to read: cast wherever rows are read, in training and for predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import Column, Kind, kind_of
from orchestrator.data.plain import plain
from orchestrator.errors import DataError, JobError, did_you_mean
from orchestrator.job import ColumnRole

_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_FROM: Mapping[Kind, frozenset[Kind]] = {
    "number": frozenset({"number", "boolean", "category"}),
    "category": frozenset({"number", "boolean", "category"}),
    "text": frozenset({"category"}),
    "date": frozenset({"date", "category"}),
}
"""What may be read as what; strings are categories here."""


def check(roles: Mapping[str, ColumnRole], features: Sequence[str], schema: pa.Schema) -> None:
    """Look whether the columns that a job describes are features that can be read so.

    Raises:
        JobError: One is no feature, or of a type that cannot be.
    """
    for name, role in roles.items():
        if name not in features:
            raise JobError(f"data.columns: {name!r} is no feature.{did_you_mean(name, features)}")
        found = kind_of(name, schema.field(name).type)
        if role.kind is not None and found not in _FROM[role.kind]:
            expected = ", ".join(sorted(_FROM[role.kind]))
            raise JobError(
                f"data.columns.{name}: column {name!r} has type {schema.field(name).type}, which cannot be read as "
                f"{role.kind}; expected a column of one of {expected}"
            )


def cast(table: pa.Table, roles: Mapping[str, ColumnRole]) -> pa.Table:
    """Return a table with the columns cast that a job says the kind of."""
    for name, role in roles.items():
        if role.kind is not None and name in table.column_names:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, read_as(table.column(name), role.kind, name))
    return table


def noted(column: Column, role: ColumnRole | None) -> Column:
    """Return a column that says how the job wants it read and prepared."""
    if role is None:
        return column
    own = {"missing": role.missing, "outliers": role.outliers, "categories": role.categories}
    prepared = tuple((key, value) for key, value in own.items() if value is not None)
    return replace(column, is_cast=role.kind is not None, prepared=prepared)


def can_be_read(kind: Kind | None, column: Column) -> bool:
    """Tell whether values that look like `kind` can be read as a column that was cast in training."""
    return kind in _FROM.get(column.kind, ())


def read_as(values: pa.ChunkedArray, kind: Kind, name: str) -> pa.ChunkedArray:
    """Return values cast to a kind: strings that are no number are null, whole numbers are categories as written.

    Raises:
        DataError: Strings are no dates.
    """
    values = plain(values)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    is_string = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if kind == "number" and is_string:
        is_number = pc.match_substring_regex(values, _NUMBER)
        trimmed = pc.utf8_trim_whitespace(pc.if_else(is_number, values, pa.scalar(None, values.type)))
        return trimmed.cast(pa.float64())
    if kind in ("category", "text") and not is_string:
        return _written(values)
    if kind == "date" and is_string:
        try:
            return values.cast(pa.timestamp("us"))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"data.columns.{name}: column {name!r} holds strings that are no dates; expected such as 2024-01-31 or "
                f"2024-01-31T12:00:00 ({str(error).splitlines()[0][:100]})"
            ) from None
    return values


def _written(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(values.type):
        present = values.drop_null()
        if pc.all(pc.equal(present, pc.round(present))).as_py() is not False:
            values = values.cast(pa.int64(), safe=False)
    return values.cast(pa.large_string())
