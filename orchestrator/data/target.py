"""The target: which task it suggests, and its values as class codes or numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.encode import Floats, Task, as_floats
from orchestrator.data.plain import plain
from orchestrator.errors import DataError

Integers = npt.NDArray[np.int64]


def plain_target(target: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a target as strings, booleans, integers or float64, with one zero: Arrow tells -0.0 from 0.0.

    Durations and times of day become seconds.
    """
    target = plain(target)
    if pa.types.is_dictionary(target.type):
        target = target.cast(target.type.value_type)
    if pa.types.is_duration(target.type) or pa.types.is_time(target.type):
        return pa.chunked_array([pa.array(as_floats(target), from_pandas=True)])
    if pa.types.is_floating(target.type) or pa.types.is_decimal(target.type):
        return pc.add(target.cast(pa.float64(), safe=False), 0.0)
    return target


def class_values(target: pa.ChunkedArray) -> tuple[str | int | float | bool, ...]:
    """Return the distinct classes of a plain target without nulls, sorted; a class's place is its code."""
    return tuple(sorted(target.unique().to_pylist()))


def encode_classes(target: pa.ChunkedArray, classes: Sequence[str | int | float | bool]) -> Integers:
    """Return each row's place in `classes`, shape (rows,), -1 for a class that is not among them."""
    code_of = {value: code for code, value in enumerate(classes)}
    found = target.unique()
    codes = np.array([code_of.get(value, -1) for value in found.to_pylist()], dtype=np.int64)
    encoded: Integers = codes[pc.index_in(target, value_set=found).to_numpy()]
    return encoded


def encode_numbers(target: pa.ChunkedArray, name: str) -> Floats:
    """Return a plain regression target as floats, shape (rows,).

    Raises:
        DataError: It is not numeric.
    """
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type)):
        raise DataError(f"data.target: {name!r} has type {target.type}; task: regression expects numbers")
    return as_floats(target)


def infer_task(target: pa.ChunkedArray) -> Task:
    """Return the task that a plain target suggests.

    Strings and booleans are classes. Whole numbers (of integer or float type) are classes where there are at most
    two of them, or at most 50 and ten rows of each on average; all other numbers are for regression. So are more than
    ten whole numbers of which one has a single row: counts and percentages look like that.
    """
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type)):
        return "classification"
    distinct = target.unique().drop_null()
    if len(distinct) > 2 and len(distinct) > min(50, len(target) // 10):
        return "regression"
    values = as_floats(pa.chunked_array([distinct]))
    whole = bool(np.all(np.isfinite(values) & (values == np.round(values))))
    if len(distinct) > 10 and pc.min(pc.drop_null(target).value_counts().field("counts")).as_py() == 1:
        return "regression"
    return "classification" if whole else "regression"
