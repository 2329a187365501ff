"""Encoded rows in a file: what a streamed run has in place of a matrix. Written once, read a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.encode import Features, Floats
from orchestrator.errors import RunError

STRETCH_BYTES = 16 << 20
"""What the rows of a stretch take as float64. A constant, so that results never follow from a machine's memory."""
FEWEST_ROWS, MOST_ROWS = 1 << 12, 1 << 17
BUCKET_BYTES, MOST_BUCKETS = 32 << 20, 256
SAMPLE_ROWS = 200_000
"""Rows that stand for all others where something is fitted or described that needs them at once."""


def stretch_rows(n_columns: int) -> int:
    """Return how many rows are in memory at once: a multiple of 4,096."""
    fitting = STRETCH_BYTES // (8 * max(1, n_columns)) // FEWEST_ROWS * FEWEST_ROWS
    return max(FEWEST_ROWS, min(MOST_ROWS, fitting))


class StoredFeatures(Features):
    """Rows of scalar features in a file, row after row. It travels to workers as the file's name.

    Args:
        path: The file; where it is empty, it has not been written yet.
        n_rows: How many rows it has.
        n_columns: How many numbers a row has.
        dtype: `float32` where that loses nothing, else `float64`.
    """

    __slots__ = ("dtype", "n_columns", "n_rows", "path")

    def __init__(self, path: str, n_rows: int, n_columns: int, dtype: str) -> None:
        for name, value in (("path", path), ("n_rows", n_rows), ("n_columns", n_columns), ("dtype", dtype)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "matrix", np.empty((0, n_columns)))
        object.__setattr__(self, "arrays", {})

    path: str
    n_rows: int
    n_columns: int
    dtype: str

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredFeatures, (self.path, self.n_rows, self.n_columns, self.dtype)

    def __len__(self) -> int:
        return self.n_rows

    @property
    def nbytes(self) -> int:
        """How many bytes the file has."""
        return self.n_rows * self.n_columns * np.dtype(self.dtype).itemsize

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Return some rows in memory, by their positions, in that order.

        Raises:
            RunError: The file is not there.
        """
        if not len(rows) or not self.n_columns:
            return Features(np.empty((len(rows), self.n_columns)))
        try:
            if rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
                size = np.dtype(self.dtype).itemsize * self.n_columns
                found = np.fromfile(self.path, self.dtype, len(rows) * self.n_columns, offset=int(rows[0]) * size)
                found = found.reshape(len(rows), self.n_columns)
            else:
                found = np.memmap(self.path, self.dtype, "r", shape=(self.n_rows, self.n_columns))[rows]
        except (OSError, ValueError) as error:
            raise RunError(
                f"the rows of a streamed run cannot be read here ({type(error).__name__}): they are in the run "
                "directory while the run lasts; expected --out on a file system that all nodes share"
            ) from None
        return Features(np.asarray(found, dtype=np.float64))

    def flat(self, rows: npt.NDArray[np.int64] | None = None) -> Floats:
        """Return some rows as one matrix.

        Raises:
            RunError: All rows were asked for, which are too many.
        """
        if rows is None:
            raise RunError("a model family asked for all rows of a streamed run at once; expected one that streams")
        return self.take(rows).matrix

    def parts(self) -> Iterator[Features]:
        """Yield all rows in order, a stretch in memory at a time."""
        step = stretch_rows(self.n_columns)
        for start in range(0, self.n_rows, step):
            yield self.take(np.arange(start, min(self.n_rows, start + step)))


class ShuffledFile:
    """Writes rows that come in any order to their places in a file, with little of it in memory.

    Rows go to buckets of neighbouring places first, each a file of its own; then each bucket is put in order.

    Args:
        path: The file.
        n_rows: How many rows there will be.
        n_columns: How many numbers a row has.
        dtype: Their type.
    """

    def __init__(self, path: Path, n_rows: int, n_columns: int, dtype: str) -> None:
        self._path, self._n_rows = path, n_rows
        self._record = np.dtype([("place", np.int32), ("row", dtype, (n_columns,))])
        fitting = max(1, BUCKET_BYTES // self._record.itemsize)
        self._bucket_rows = max(fitting, -(-n_rows // MOST_BUCKETS))
        n_buckets = -(-n_rows // self._bucket_rows)
        self._names = [path.with_name(f"{path.name}-{number:03d}") for number in range(n_buckets)]
        self._files = [open(name, "wb") for name in self._names]  # noqa: SIM115  (closed by `finish`)

    def add(self, places: npt.NDArray[np.int32], matrix: Floats) -> None:
        """Take in rows; `places` says where each goes."""
        bucket = places // self._bucket_rows
        order = np.argsort(bucket, kind="stable")
        records = np.empty(len(places), self._record)
        records["place"], records["row"] = places[order], matrix[order]
        ends = np.searchsorted(bucket[order], np.arange(len(self._files) + 1))
        for file, start, stop in zip(self._files, ends[:-1], ends[1:], strict=True):
            if stop > start:
                file.write(records[start:stop].tobytes())

    def finish(self) -> None:
        """Write the file.

        Raises:
            RunError: A row is missing, since the dataset has changed meanwhile.
        """
        n_rows = 0
        with open(self._path, "wb") as out:
            for number, (name, file) in enumerate(zip(self._names, self._files, strict=True)):
                file.close()
                records = np.fromfile(name, self._record)
                rows = np.empty_like(records["row"])
                rows[records["place"] - number * self._bucket_rows] = records["row"]
                out.write(rows.tobytes())
                n_rows += len(rows)
                name.unlink()
        if n_rows != self._n_rows:
            raise RunError(f"data.path: {n_rows} rows were read; expected {self._n_rows}: the files have changed")
