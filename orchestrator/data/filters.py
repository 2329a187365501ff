"""Row filters of a job as Arrow expressions, which scans push down to hive partitions and row groups."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import operator
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from orchestrator.clauses import Clause, Filters
from orchestrator.data.plain import plain_type
from orchestrator.errors import JobError, did_you_mean, shown

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def expression(filters: Filters, schema: pa.Schema) -> ds.Expression | None:
    """Return what holds of the rows that a job asks for; None for all of them.

    A null (or nan) fulfils no comparison, `!=` and `not in` neither.

    Args:
        filters: Alternatives, each of clauses that must all hold.
        schema: The dataset's.

    Raises:
        JobError: A clause names no column, or a value that cannot stand in it.
    """
    return _any(filters, schema)


def of_partitions(filters: Filters, schema: pa.Schema, partitions: Sequence[str]) -> ds.Expression | None:
    """Return what must hold of a file's partitions, so that it can have rows that are asked for; None if anything may.

    Args:
        filters: As above.
        schema: Has the partitions' columns.
        partitions: Their names.

    Raises:
        JobError: A value cannot stand in its column.
    """
    kept = tuple(tuple(clause for clause in clauses if clause[0] in partitions) for clauses in filters)
    return _any(kept, schema) if all(kept) else None


def columns_of(filters: Filters) -> list[str]:
    """Return the columns that filters look at."""
    return list(dict.fromkeys(clause[0] for clauses in filters for clause in clauses))


def of_scan(filters: Filters, schema: pa.Schema) -> ds.Expression | None:
    """Return what a scan may be told to look for: it lets all rows through that are asked for, and maybe others.

    Of nan, row groups' statistics know nothing, and Arrow cannot compare views with them.

    Args:
        filters: As above.
        schema: The dataset's.

    Raises:
        JobError: A clause does not fit the dataset.
    """

    def is_safe(clause: Clause) -> bool:
        kind = schema.field(clause[0]).type
        is_for_all = clause[1] in ("!=", "not in", "is null", "is not null")
        return not (pa.types.is_string_view(kind) or (pa.types.is_floating(kind) and is_for_all))

    kept = tuple(tuple(clause for clause in clauses if is_safe(clause)) for clauses in filters)
    return _any(kept, schema) if all(kept) else None


def _any(filters: Filters, schema: pa.Schema) -> ds.Expression | None:
    if not filters:
        return None
    every = [functools.reduce(operator.and_, [_holds(clause, schema) for clause in clauses]) for clauses in filters]
    return functools.reduce(operator.or_, every)


def _holds(clause: Clause, schema: pa.Schema) -> ds.Expression:
    name, comparison, *values = clause
    if name not in schema.names:
        raise JobError(f"data.filters: no column {name!r} in the dataset.{did_you_mean(name, schema.names)}")
    kind = _values_type(schema.field(name).type)
    column = ds.field(name)
    is_null = column.is_null(nan_is_null=pa.types.is_floating(kind))
    if comparison in ("is null", "is not null"):
        return is_null if comparison == "is null" else ~is_null
    (value,) = values
    if comparison in ("in", "not in"):
        known = column.isin(pa.array([_scalar(one, name, kind) for one in value], kind))
        return known if comparison == "in" else ~known & ~is_null
    holds = _COMPARE[comparison](column, _scalar(value, name, kind, is_list=False))
    return holds & ~is_null if comparison == "!=" else holds


def _values_type(kind: pa.DataType) -> pa.DataType:
    kind = plain_type(kind)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _scalar(value: Any, name: str, kind: pa.DataType, *, is_list: bool = True) -> pa.Scalar:
    """Return a value as one of a column's type; where that is of whole numbers, a fraction may be compared with it."""
    is_text, is_number = isinstance(value, str), isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_temporal(kind):
            if pa.types.is_duration(kind) and is_number:
                return pa.scalar(dt.timedelta(seconds=value), kind)
            if is_text and not pa.types.is_duration(kind):
                return _dated(value, kind)
        elif pa.types.is_decimal(kind) and is_number:
            return pa.scalar(decimal.Decimal(str(value))).cast(kind)
        elif pa.types.is_boolean(kind) and isinstance(value, bool):
            return pa.scalar(value)
        elif (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and is_number:
            return pa.scalar(value) if not is_list and isinstance(value, float) else pa.scalar(value).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError, ArithmeticError):
        pass
    raise JobError(
        f"data.filters: {shown(value)} cannot stand in column {name!r} of type {kind}; expected {_such_as(kind)}"
    )


def _dated(text: str, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_time(kind):
        return pa.scalar(dt.time.fromisoformat(text), kind)
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return pa.scalar(text).cast(kind)
    try:
        return pa.scalar(text).cast(kind)
    except pa.ArrowInvalid:  # without a zone: what clocks show in the column's
        return pc.assume_timezone(pa.scalar(text).cast(pa.timestamp(kind.unit)), kind.tz)


def _such_as(kind: pa.DataType) -> str:
    if pa.types.is_date(kind):
        return "a date such as 2024-01-31"
    if pa.types.is_timestamp(kind):
        return f"a date or time such as 2024-01-31 or 2024-01-31T18:00:00{'Z' if kind.tz else ''}"
    if pa.types.is_time(kind):
        return "a time of day such as 18:00:00"
    if pa.types.is_duration(kind):
        return "seconds"
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text (in quotes)"
    return "a number" if pa.types.is_primitive(kind) else "is null or is not null"
