"""What a column of a dataset that is too large for memory holds, found batch by batch."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data import arrays
from orchestrator.data.checks import Finding
from orchestrator.data.columns import Column, Kind, excluding
from orchestrator.data.encode import as_floats
from orchestrator.data.plain import plain_type
from orchestrator.errors import DataError, JobError

MOST_DISTINCT = 100_000
"""Strings of a column with more distinct ones are not kept in memory."""


class ColumnScan:
    """Takes in a column's values and says in the end what `encode.column_of` would say of all of them.

    Args:
        name: The column.
        kind: Its Arrow type.
        is_read_as: How it is read: number, boolean or category.
    """

    def __init__(self, name: str, kind: pa.DataType, is_read_as: Kind) -> None:
        self._name, self._type, self._kind = name, str(plain_type(kind)), is_read_as
        self._digests = [hashlib.blake2b(digest_size=16) for _ in range(3)]
        self._categories: set[str] = set()
        self._n_rows = self._n_nulls = self._n_spaces = 0
        self._low, self._high = np.inf, -np.inf
        self.is_exact = True
        """Whether float32 holds all numbers of all rows, training rows and others."""

    def add(self, values: pa.ChunkedArray, is_training: npt.NDArray[np.bool_]) -> None:
        """Take in the next rows, and which of them are training rows.

        Raises:
            DataError: A number is infinite, or there are too many distinct strings.
            JobError: The column is text.
        """
        if self._kind == "category":
            self._add_strings(arrays.strings(values), is_training)
        else:
            self._add_numbers(as_floats(values), is_training)

    def _add_numbers(self, numbers: npt.NDArray[np.float64], is_training: npt.NDArray[np.bool_]) -> None:
        self._digests[0].update(np.ascontiguousarray(numbers).data)
        if np.isinf(numbers).any():
            raise DataError(
                f"data.features: column {self._name!r} holds infinite values; expected finite numbers or nulls. "
                f"Replace them, or leave it out with {excluding(self._name)}"
            )
        self.is_exact = self.is_exact and np.array_equal(numbers.astype(np.float32), numbers, equal_nan=True)
        learnt = numbers[is_training]
        present = learnt[~np.isnan(learnt)]
        self._n_rows += len(learnt)
        self._n_nulls += len(learnt) - len(present)
        self._low = min(self._low, present.min(initial=np.inf))
        self._high = max(self._high, present.max(initial=-np.inf))

    def _add_strings(self, strings: pa.ChunkedArray, is_training: npt.NDArray[np.bool_]) -> None:
        filled = pc.fill_null(strings, "")
        for digest, part in zip(self._digests, _plain(strings, filled), strict=True):
            digest.update(part)
        learnt = strings.filter(pa.array(is_training))
        self._n_rows += len(learnt)
        self._n_nulls += learnt.null_count
        self._n_spaces += int(pc.sum(pc.count_substring(learnt, " ")).as_py() or 0)
        self._categories.update(learnt.unique().drop_null().to_pylist())
        n_present, n_distinct = self._n_rows - self._n_nulls, len(self._categories)
        if n_distinct > MOST_DISTINCT:
            raise DataError(
                f"data.features: column {self._name!r} has more than {MOST_DISTINCT} distinct strings, which a "
                f"streamed run cannot hold; leave it out with {excluding(self._name)}"
            )
        if n_distinct > 1000 and self._n_spaces >= arrays.SPACES * n_present and n_distinct > n_present / 2:
            raise JobError(
                f"data.features: column {self._name!r} is text, and streamed runs learn from numbers, booleans and "
                f"categories; leave it out with {excluding(self._name)}, or raise resources.data_mb"
            )

    def column(self) -> Column:
        """Return the column as the training rows have it."""
        return Column(self._name, self._type, self._kind, tuple(sorted(self._categories)), self._n_nulls > 0)

    def finding(self) -> Finding | None:
        """Return what there is to say of the training rows."""
        if self._n_nulls == self._n_rows:
            message = f"data.features: column {self._name!r} is null in every training row; leave it out with "
            return Finding("all_null_column", "error", message + excluding(self._name), self._name)
        n_distinct = len(self._categories) if self._kind == "category" else 1 if self._low == self._high else 2
        if n_distinct + (self._n_nulls > 0) > 1:
            return None
        return Finding(
            "constant_column", "warning", f"column {self._name!r} has one value in all training rows", self._name
        )

    def digest(self) -> bytes:
        """Return a hash of all values in the order of the rows, however they came."""
        return b"".join(digest.digest() for digest in self._digests)


def _plain(strings: pa.ChunkedArray, filled: pa.ChunkedArray) -> list[Any]:
    text = pa.concat_arrays([*filled.chunks, pa.array([], pa.large_string())])  # two arrays: always a copy
    lengths = pc.binary_length(text).to_numpy()
    letters = memoryview(text.buffers()[2] or b"")[: int(lengths.sum())]
    return [np.ascontiguousarray(pc.is_null(strings).to_numpy()).data, np.ascontiguousarray(lengths).data, letters]
