"""The row filters of a job, as they are written and as they are kept. What they mean for a column is not known here."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, get_args

from orchestrator.errors import did_you_mean, shown
from orchestrator.space import Scalar

Clause = tuple[Any, ...]
"""A column, an operator, and but for nulls a value or a tuple of them."""
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]
Filters = tuple[tuple[Clause, ...], ...]
GivenFilters = list[tuple[str, Operator] | tuple[str, Operator, Any]]
"""Filters as a job has them: one list of clauses, or a list of such lists."""


def alternatives(value: object) -> tuple[tuple[Clause, ...], ...]:
    """Return filters as alternatives of clauses: one list of clauses is the only alternative.

    Raises:
        ValueError: A clause is none.
    """
    form = "expected [column, operator, value], such as [age, '>=', 18], or a list of those"
    if value is None or value == [] or value == ():
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"{form}; found {shown(value)}")
    given = [value] if isinstance(value[0], str) else value
    is_flat = all(isinstance(one, list | tuple) and one and isinstance(one[0], str) for one in given)
    listed = [given] if is_flat else given
    for one in listed:
        if not isinstance(one, list | tuple) or not one:
            raise ValueError(f"{form}; found {shown(one)}")
    return tuple(tuple(_clause(clause, form) for clause in clauses) for clauses in listed)


def _clause(clause: object, form: str) -> Clause:
    if not isinstance(clause, list | tuple) or len(clause) < 2 or not all(isinstance(one, str) for one in clause[:2]):
        raise ValueError(f"{form}; found {shown(clause)}")
    column, operator, *values = clause
    operator = {"=": "=="}.get(operator, operator)
    if operator not in get_args(Operator):
        raise ValueError(
            f"no operator {operator!r} in {shown(list(clause))}.{did_you_mean(operator, get_args(Operator))}"
        )
    n_values = 0 if operator in ("is null", "is not null") else 1
    if len(values) != n_values:
        raise ValueError(
            f"expected {'one value' if n_values else 'no value'} after {operator!r}; found {shown(clause)}"
        )
    if operator not in ("in", "not in"):
        return (column, operator, *(_value(one, clause) for one in values))
    if not isinstance(values[0], list | tuple) or not values[0]:
        raise ValueError(f"expected a list of values after {operator!r}; found {shown(clause)}")
    return (column, operator, tuple(_value(one, clause) for one in values[0]))


def _value(value: object, clause: object) -> Scalar:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"expected a number, text, true, false or 'is null'; found {shown(value)} in {shown(clause)}")
    return value
