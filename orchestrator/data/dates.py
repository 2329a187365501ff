"""Dates as numbers: calendar parts and cycles, which learn nothing from data, and back again.

A date is what a calendar and a clock on the wall show: timestamps with a zone are taken in their zone's local time,
those without as they are.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import DATE_PARTS, Column
from orchestrator.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
ELAPSED = DATE_PARTS.index("elapsed_days")
_DAY_US = 86_400_000_000
_TICKS = {"s": 86_400, "ms": 86_400_000, "us": _DAY_US, "ns": 86_400_000_000_000}
_N_DAY_PARTS = DATE_PARTS.index("hour_sin")


def n_parts(values: pa.ChunkedArray, column: Column) -> int:
    """Return how many of DATE_PARTS training values become: hours only where one has a time of day.

    Raises:
        DataError: This machine does not know the time zone.
    """
    _, micros, _ = _wall(values, column)
    return len(DATE_PARTS) if micros.any() else _N_DAY_PARTS


def parts(values: pa.ChunkedArray, column: Column) -> Floats:
    """Return the parts of dates, shape (rows, parts): a cycle as sine and cosine of a turn a year, month, week or day.

    Months, days and weekdays (from Monday) begin their turn at its start; null is nan in every part.

    Args:
        values: Dates or timestamps, or nulls alone. Those of another zone than the training rows' are taken in theirs.
        column: What they were in training.

    Raises:
        DataError: This machine does not know the time zone.
    """
    (count,) = column.shape
    found = np.full((len(values), count), np.nan)
    if pa.types.is_null(values.type):
        return found
    days, micros, present = _wall(values, column)
    months = days.view("M8[D]").astype("M8[M]")
    first = months.astype("M8[D]").view(np.int64)
    length = (months + 1).astype("M8[D]").view(np.int64) - first
    turns = [months.view(np.int64) % 12 / 12, (days - first) / length, (days + 3) % 7 / 7]
    cycles = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    year = months.astype("M8[Y]").view(np.int64) + 1970.0
    made = [year, *cycles]
    if count > _N_DAY_PARTS:
        share = micros / _DAY_US
        made += [days + share, np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)]
    else:
        made.append(days.astype(np.float64))
    found[present] = np.stack(made, axis=1)[present]
    return found


def decoded(found: Floats) -> pa.Array:
    """Return dates, or timestamps where there are hours, that `parts` makes the same of, to the microsecond."""
    elapsed, is_null = found[:, ELAPSED], np.isnan(found[:, ELAPSED])
    filled = np.where(is_null, 0.0, elapsed)
    if found.shape[1] == _N_DAY_PARTS:
        return pa.array(np.round(filled).astype(np.int32), mask=is_null).cast(pa.date32())
    micros = np.round(filled * _DAY_US).astype(np.int64)
    return pa.array(micros, mask=is_null).cast(pa.timestamp("us"))


def _wall(values: pa.ChunkedArray, column: Column) -> tuple[Integers, Integers, npt.NDArray[np.bool_]]:
    """Return days since 1970, microseconds of the day, and which rows are not null; others have zeros."""
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        trained = re.search(r"tz=([^\]]+)\]", column.type)
        zone = trained[1] if trained else kind.tz
        try:
            values = pc.local_timestamp(values.cast(pa.timestamp(kind.unit, zone)))
        except pa.ArrowInvalid:
            raise DataError(
                f"data.features: column {column.name!r} has the time zone {zone!r}, which this machine does not know; "
                "expected one of the IANA time zone database (package tzdata)"
            ) from None
    unit = 1 if pa.types.is_date32(kind) else _TICKS["ms" if pa.types.is_date64(kind) else kind.unit]
    present = pc.is_valid(values).to_numpy().astype(np.bool_)
    ticks = values.cast(pa.int32() if unit == 1 else pa.int64()).fill_null(0).to_numpy().astype(np.int64)
    days, rest = np.divmod(ticks, unit)
    return days, rest * (_DAY_US // unit) if unit <= _DAY_US else rest // (unit // _DAY_US), present
