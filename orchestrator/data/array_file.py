"""Columns of more than one number a row in a file: text, vectors, dates, images, sequences. One Arrow file holds them.

Rows are written in any order and come to their places by way of buckets, as those of `store.ShuffledFile` do; each
bucket becomes one record batch, so that a row is found by its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.errors import RunError

BUCKET_BYTES, MOST_BUCKETS = 16 << 20, 128
PLACE = "place of the row"
Places = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """Where the arrays of `Features` are.

    Attributes:
        path: The file.
        shapes: The columns, in order, with the shape of one row of each: () where it is an Arrow array.
        row_bytes: What a row takes, about.
        n_rows: How many there are.
    """

    path: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    row_bytes: int
    n_rows: int

    @property
    def bucket_rows(self) -> int:
        """How many rows a record batch has, but for the last."""
        return max(1, BUCKET_BYTES // max(1, self.row_bytes), -(-self.n_rows // MOST_BUCKETS))

    def take(self, rows: Places) -> dict[str, Any]:
        """Return some rows of all columns in memory, by their places, in that order.

        Raises:
            OSError: The file is not there.
        """
        order = np.argsort(rows, kind="stable") if (np.diff(rows) < 0).any() else None
        ascending = rows if order is None else rows[order]
        bucket = ascending // self.bucket_rows
        with pa.memory_map(self.path) as source, pa.ipc.open_file(source) as file:
            ends = np.searchsorted(bucket, np.arange(file.num_record_batches + 1))
            parts = [
                file.get_batch(number).take(pa.array(ascending[start:stop] - number * self.bucket_rows))
                for number, (start, stop) in enumerate(pairwise(ends))
                if stop > start
            ]
            table = pa.Table.from_batches(parts, file.schema)
        if order is not None:
            table = table.take(pa.array(np.argsort(order, kind="stable")))
        return {name: _as_array(table.column(name), shape) for name, shape in self.shapes}


def _as_array(column: pa.ChunkedArray, shape: tuple[int, ...]) -> Any:
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), *shape) if shape else array


def _as_arrow(array: Any) -> pa.Array:
    if not isinstance(array, np.ndarray):
        return array
    size = int(np.prod(array.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), size)


class ShuffledArrays:
    """Writes an `ArrayFile`; its rows come in any order.

    Args:
        file: What it will be.
    """

    def __init__(self, file: ArrayFile) -> None:
        self._file = file
        n_buckets = -(-file.n_rows // file.bucket_rows)
        path = Path(file.path)
        self._names = [path.with_name(f"{path.name}-{number:03d}") for number in range(n_buckets)]
        self._writers: list[pa.RecordBatchStreamWriter] = []

    def add(self, places: Places, arrays: Mapping[str, Any]) -> None:
        """Take in rows; `places` says where each goes."""
        columns = {
            PLACE: pa.array(places, pa.int32()),
            **{name: _as_arrow(arrays[name]) for name, _ in self._file.shapes},
        }
        batch = pa.record_batch(columns)
        if not self._writers:
            self._writers = [pa.ipc.new_stream(str(name), batch.schema) for name in self._names]
        bucket = places // self._file.bucket_rows
        order = np.argsort(bucket, kind="stable")
        batch, ends = batch.take(pa.array(order)), np.searchsorted(bucket[order], np.arange(len(self._writers) + 1))
        for writer, start, stop in zip(self._writers, ends[:-1], ends[1:], strict=True):
            if stop > start:
                writer.write_batch(batch.slice(start, stop - start))

    def finish(self) -> None:
        """Write the file.

        Raises:
            RunError: A row is missing, since the dataset has changed meanwhile.
        """
        for writer in self._writers:
            writer.close()
        out: pa.RecordBatchFileWriter | None = None
        n_rows = 0
        for name in self._names if self._writers else ():
            with pa.memory_map(str(name)) as source, pa.ipc.open_stream(source) as stream:
                table = stream.read_all()
            order = np.argsort(table.column(PLACE).to_numpy(), kind="stable")
            ordered = table.drop_columns([PLACE]).take(pa.array(order)).combine_chunks()
            out = out or pa.ipc.new_file(self._file.path, ordered.schema)
            for batch in ordered.to_batches():
                out.write_batch(batch)
            n_rows += len(ordered)
            del table, ordered
            name.unlink()
        if out is not None:
            out.close()
        if n_rows != self._file.n_rows:
            raise RunError(f"data.path: {n_rows} rows were read; expected {self._file.n_rows}: the files have changed")
