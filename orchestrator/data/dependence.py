"""Rows that depend on each other: those of one group, and those near each other in time.

What is known of them decides which rows may be learnt from where others are scored, and what a bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import DataError, JobError

Rows = npt.NDArray[np.int64]
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, slots=True)
class Dependence:
    """How rows depend on each other.

    Attributes:
        kind: By what.
        column: The column that says so.
        codes: The group of each row, or the rank of its time, shape (rows,): 0, 1, 2 … in the order of the column's
            values. Rows of equal times share one.
        times: The time of each row in microseconds, shape (rows,); None where the column has no times but their order.
    """

    kind: Literal["group", "time"]
    column: str
    codes: Rows
    times: Rows | None = None

    @property
    def n_codes(self) -> int:
        """How many groups or distinct times there are."""
        return int(self.codes.max(initial=-1)) + 1

    def take(self, rows: Rows) -> Dependence:
        """Return that of some rows, their codes counted anew."""
        codes = np.unique(self.codes[rows], return_inverse=True)[1].astype(np.int64)
        return Dependence(self.kind, self.column, codes, None if self.times is None else self.times[rows])

    def blocks(self, rows: Rows | None = None) -> Rows:
        """Return what a bootstrap draws as wholes, shape (rows,): a group, or neighbours in time.

        A block of time has about the cube root of the rows, see `results.statistics.contiguous_blocks`; rows of equal
        times lie in one.
        """
        codes = self.codes if rows is None else self.codes[rows]
        if self.kind == "group":
            return codes
        before: Rows = np.searchsorted(np.sort(codes), codes).astype(np.int64)
        blocks: Rows = before // max(1, round(len(codes) ** (1 / 3)))
        return blocks

    def span_us(self, span: str, key: str) -> tuple[Rows, int]:
        """Return all rows' times and a length of time such as `7d`, in microseconds.

        Raises:
            JobError: The column has no times but their order.
        """
        if self.times is None:
            raise JobError(
                f"{key}: {span} is a length of time, and column {self.column!r} holds neither dates nor timestamps; "
                "expected a number of distinct values"
            )
        number, unit = span.rstrip("smindhw"), span.lstrip("0123456789")
        return self.times, int(number) * _SECONDS[unit] * 1_000_000


def dependence_of(
    kind: Literal["group", "time"], column: str, values: pa.ChunkedArray, key: str = "validation.column"
) -> Dependence:
    """Return how rows depend on each other by a column.

    Raises:
        DataError: A row has no value, or the values have no order; `key` is the key of the job that names the column.
    """
    codes = ranks(column, values, key)
    if (missing := np.flatnonzero(codes < 0)).size:
        raise DataError(
            f"{key}: {column!r} is null in {missing.size} of {len(codes)} rows, the first of them row {missing[0]}; "
            f"expected a {kind} in every row. Fill them in, or remove those rows from the dataset"
        )
    times = None
    if kind == "time" and (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        zone = values.type.tz if pa.types.is_timestamp(values.type) else None
        exact = pc.cast(values, pa.timestamp("us", zone), safe=False)
        times = exact.cast(pa.int64()).to_numpy().astype(np.int64)
    return Dependence(kind, column, codes, times)


def ranks(column: str, values: pa.ChunkedArray, key: str) -> Rows:
    """Return the place of each value among the distinct ones in their order, -1 for null, shape (rows,).

    Raises:
        DataError: The values have no order; `key` is the key of the job that names the column.
    """
    plain = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(plain.type):
        plain = plain.dictionary_decode()
    if pa.types.is_boolean(plain.type):
        plain = plain.cast(pa.int8())
    is_null = pc.is_null(plain, nan_is_null=True)
    try:
        ranked = pc.rank(plain, tiebreaker="dense")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise DataError(
            f"{key}: column {column!r} has type {values.type}; expected timestamps, dates, numbers or strings"
        ) from None
    codes: Rows = ranked.to_numpy().astype(np.int64) - 1
    codes[np.asarray(is_null.to_numpy(zero_copy_only=False), dtype=np.bool_)] = -1
    return codes
