"""What a column of a dataset that is too large for memory holds, found batch by batch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data import arrays, dates, encode
from orchestrator.data.checks import Finding, all_null_finding, constant_finding
from orchestrator.data.columns import DATE_PARTS, Column, Kind, excluding, shape_of
from orchestrator.errors import DataError

MOST_DISTINCT = 100_000
"""Strings of a column with more distinct ones are not kept in memory."""
Booleans = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Scan(ABC):
    """Takes in a column's values and says in the end what `encode.column_of` would say of all of them.

    Args:
        name: The column.
        kind: Its Arrow type, once it is cast as the job asks.
        is_read_as: How it is read.
    """

    def __init__(self, name: str, kind: pa.DataType, is_read_as: Kind) -> None:
        self._column = Column(name, str(kind), is_read_as)
        self._digests: list[Any] = []
        self.name, self.n_seen = name, 0
        self._n_rows = self._n_nulls = 0
        self.is_exact = True
        """Whether float32 holds all numbers of all rows, training rows and others."""
        self.n_bytes = 0
        """What all rows take in a file, where they are not one number each."""

    def add(self, values: pa.ChunkedArray, is_training: Booleans, places: Places) -> None:
        """Take in the next rows, which of them are training rows, and what they are called in messages.

        Raises:
            DataError: A value has no meaning here, or there are too many distinct strings.
        """
        self.n_seen += len(values)
        if len(values):
            self._take_in(values, is_training, places)

    @abstractmethod
    def _take_in(self, values: pa.ChunkedArray, is_training: Booleans, places: Places) -> None:
        """Do so."""

    @property
    @abstractmethod
    def _has_one_value(self) -> bool:
        """Whether all training rows have the same, null or not."""

    def column(self) -> Column:
        """Return the column as the training rows have it."""
        return replace(self._column, has_nulls=self._n_nulls > 0)

    def finding(self, kept: Collection[str]) -> Finding | None:
        """Return what there is to say of the training rows; `kept` are columns that are learnt from all the same."""
        if self._n_nulls == self._n_rows:
            return all_null_finding(self.name)
        return constant_finding(self.name, is_kept=self.name in kept) if self._has_one_value else None

    def digest(self) -> bytes:
        """Return a hash of all values in the order of the rows, however they came."""
        return b"".join(digest.digest() for digest in self._digests)

    def _see(self, parts: Iterable[npt.NDArray[Any]]) -> None:
        """Take the parts of the next rows into the digests, each part into one of its own."""
        for number, part in enumerate(parts):
            if number == len(self._digests):
                self._digests.append(hashlib.blake2b(digest_size=16))
            self._digests[number].update(np.ascontiguousarray(part).data)


class NumberScan(Scan):
    """Of numbers and booleans."""

    _low, _high = np.inf, -np.inf

    def _take_in(self, values: pa.ChunkedArray, is_training: Booleans, places: Places) -> None:
        numbers = encode.finite(encode.as_floats(values), self.name)
        self._see([numbers])
        self.is_exact = self.is_exact and np.array_equal(numbers.astype(np.float32), numbers, equal_nan=True)
        learnt = numbers[is_training]
        present = learnt[~np.isnan(learnt)]
        self._n_rows += len(learnt)
        self._n_nulls += len(learnt) - len(present)
        self._low = min(self._low, present.min(initial=np.inf))
        self._high = max(self._high, present.max(initial=-np.inf))

    @property
    def _has_one_value(self) -> bool:
        return self._low == self._high and not self._n_nulls


class StringScan(Scan):
    """Of strings, which are categories or text.

    Args:
        name: The column.
        kind: Its Arrow type.
        is_text: What the job says; None to see by their looks, as `arrays.reads_as_text` does.
    """

    def __init__(self, name: str, kind: pa.DataType, is_text: bool | None) -> None:
        super().__init__(name, kind, "category")
        self._is_text, self._n_spaces = is_text, 0
        self._categories: set[str] = set()

    def _take_in(self, values: pa.ChunkedArray, is_training: Booleans, places: Places) -> None:
        strings = arrays.strings(values)
        parts = list(encode.plain_arrays(pa.concat_arrays([*strings.chunks, pa.array([], pa.large_string())])))
        self._see(parts)
        self.n_bytes += 8 * len(strings) + len(parts[2])
        learnt = strings.filter(pa.array(is_training))
        self._n_rows += len(learnt)
        self._n_nulls += learnt.null_count
        if self._is_text:
            return
        self._n_spaces += int(pc.sum(pc.count_substring(learnt, " ")).as_py() or 0)
        self._categories.update(learnt.unique().drop_null().to_pylist())
        if len(self._categories) <= MOST_DISTINCT:
            return
        if self._is_text is False or not self._has_spaces:
            raise DataError(
                f"data.features: column {self._column.name!r} has more than {MOST_DISTINCT} distinct strings, which a "
                f"streamed run cannot hold; leave it out with {excluding(self._column.name)}"
            )
        self._is_text, self._categories = True, set()  # whatever comes after so many

    @property
    def _has_spaces(self) -> bool:
        return self._n_spaces >= arrays.SPACES * (self._n_rows - self._n_nulls) > 0

    def column(self) -> Column:
        """Return the column as the training rows have it."""
        n_present = self._n_rows - self._n_nulls
        is_text = self._is_text
        if is_text is None:
            is_text = self._has_spaces and len(self._categories) > arrays.DISTINCT * n_present
        known = () if is_text else tuple(sorted(self._categories))
        return replace(super().column(), kind="text" if is_text else "category", categories=known)

    @property
    def _has_one_value(self) -> bool:
        return not self._is_text and len(self._categories) + (self._n_nulls > 0) == 1


class ArrayScan(Scan):
    """Of dates, vectors, images and sequences, read as they will be later, so that all rows are known to be fit."""

    _low, _high = np.inf, -np.inf

    def __init__(self, name: str, kind: pa.DataType, is_read_as: Kind) -> None:
        super().__init__(name, kind, is_read_as)
        shape = (len(DATE_PARTS),) if is_read_as == "date" else ()
        self._column = replace(self._column, shape=shape_of(kind) if is_read_as in ("vector", "sequence") else shape)
        self._n_parts = 0

    def _take_in(self, values: pa.ChunkedArray, is_training: Booleans, places: Places) -> None:
        column = self._column
        if column.kind == "image" and not column.shape and values.null_count < len(values):
            self._column = column = replace(column, shape=arrays.image_shape(values, column, places))
        table = pa.table({column.name: values})
        read = encode.encode(table, [column], places).arrays[column.name]
        self._see(encode.plain_arrays(read))
        self.n_bytes += read.nbytes
        learnt = values.filter(pa.array(is_training))
        self._n_rows += len(learnt)
        self._n_nulls += learnt.null_count
        if column.kind == "date" and len(learnt):
            self._n_parts = max(self._n_parts, dates.n_parts(learnt, column))
            elapsed = read[is_training, dates.ELAPSED]
            elapsed = elapsed[~np.isnan(elapsed)]
            self._low = min(self._low, elapsed.min(initial=np.inf))
            self._high = max(self._high, elapsed.max(initial=-np.inf))
        if column.kind == "sequence":
            longest = int(pc.max(pc.list_value_length(learnt)).as_py() or 0)
            self._column = replace(column, longest=max(column.longest, longest))

    def column(self) -> Column:
        """Return the column as the training rows have it."""
        found = super().column()
        return replace(found, shape=(self._n_parts,)) if found.kind == "date" else found

    @property
    def _has_one_value(self) -> bool:
        return self._low == self._high and not self._n_nulls


def scan_of(name: str, kind: pa.DataType, is_read_as: Kind, is_text: bool | None) -> Scan:
    """Return what takes in a column."""
    if is_read_as == "category":
        return StringScan(name, kind, is_text)
    return (NumberScan if is_read_as in ("number", "boolean") else ArrayScan)(name, kind, is_read_as)
