"""Encoded rows in a file: what a streamed run has in place of a matrix. Written once, read a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.data.array_file import ArrayFile, ShuffledArrays
from orchestrator.data.encode import Features, Floats
from orchestrator.errors import RunError

STRETCH_BYTES = 16 << 20
"""What the rows of a stretch take. A constant, so that results never follow from a machine's memory."""
FEWEST_ROWS, MOST_ROWS = 1 << 8, 1 << 17
BUCKET_BYTES, MOST_BUCKETS = 32 << 20, 256
SAMPLE_ROWS, SAMPLE_BYTES = 200_000, 256 << 20
"""Rows that stand for all others where something is fitted or described that needs them at once, and what they take."""
WORKING_COPIES = 4
"""What text, lists and images take while they are prepared, as a multiple of what they take in the file."""


class StoredFeatures(Features):
    """Rows of features in files, row after row. It travels to workers as the files' names.

    Args:
        path: The file of the scalar columns; where it is empty, it has not been written yet.
        n_rows: How many rows it has.
        n_columns: How many numbers a row has.
        dtype: `float32` where that loses nothing, else `float64`.
        others: The file of the other columns; None where there are none.
    """

    __slots__ = ("dtype", "n_columns", "n_rows", "others", "path")

    def __init__(self, path: str, n_rows: int, n_columns: int, dtype: str, others: ArrayFile | None = None) -> None:
        for name, value in zip(self.__slots__, (dtype, n_columns, n_rows, others, path), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "matrix", np.empty((0, n_columns)))
        object.__setattr__(self, "arrays", {})

    path: str
    n_rows: int
    n_columns: int
    dtype: str
    others: ArrayFile | None

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredFeatures, (self.path, self.n_rows, self.n_columns, self.dtype, self.others)

    def __len__(self) -> int:
        return self.n_rows

    @property
    def nbytes(self) -> int:
        """How many bytes the files have, about."""
        others = 0 if self.others is None else self.others.row_bytes
        return self.n_rows * (self.n_columns * np.dtype(self.dtype).itemsize + others)

    @property
    def _working_bytes(self) -> int:
        others = 0 if self.others is None else self.others.row_bytes
        return max(1, 8 * self.n_columns + WORKING_COPIES * others)

    @property
    def stretch_rows(self) -> int:
        """How many rows are in memory at once: a multiple of 256."""
        fitting = STRETCH_BYTES // self._working_bytes // FEWEST_ROWS * FEWEST_ROWS
        return max(FEWEST_ROWS, min(MOST_ROWS, fitting))

    @property
    def sample_rows(self) -> int:
        """How many rows may stand for all others."""
        return min(self.n_rows, SAMPLE_ROWS, max(FEWEST_ROWS, SAMPLE_BYTES // self._working_bytes))

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Features:
        """Return some rows in memory, by their positions, in that order.

        Raises:
            RunError: The files are not there.
        """
        try:
            matrix = np.asarray(self._matrix_of(rows), dtype=np.float64)
            return Features(matrix, {} if self.others is None else self.others.take(rows))
        except (OSError, ValueError) as error:
            raise RunError(
                f"the rows of a streamed run cannot be read here ({type(error).__name__}): they are in the run "
                "directory while the run lasts; expected --out on a file system that all nodes share"
            ) from None

    def _matrix_of(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        if not len(rows) or not self.n_columns:
            return np.empty((len(rows), self.n_columns))
        if rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
            size = np.dtype(self.dtype).itemsize * self.n_columns
            found = np.fromfile(self.path, self.dtype, len(rows) * self.n_columns, offset=int(rows[0]) * size)
            return found.reshape(len(rows), self.n_columns)
        found = np.memmap(self.path, self.dtype, "r", shape=(self.n_rows, self.n_columns))[rows]
        return np.asarray(found)

    def flat(self, rows: npt.NDArray[np.int64] | None = None) -> Floats:
        """Return some rows as one matrix.

        Raises:
            RunError: All rows were asked for, which are too many.
        """
        if rows is None:
            raise RunError("a model family asked for all rows of a streamed run at once; expected one that streams")
        return self.take(rows).flat()

    def parts(self) -> Iterator[Features]:
        """Yield all rows in order, a stretch in memory at a time."""
        step = self.stretch_rows
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


class ShuffledRows:
    """Writes the files of features, whose rows come in any order.

    Args:
        features: What they will be.
    """

    def __init__(self, features: StoredFeatures) -> None:
        path, n_rows, n_columns = Path(features.path), len(features), features.n_columns
        self._matrix = ShuffledFile(path, n_rows, n_columns, features.dtype) if n_columns else None
        self._others = None if features.others is None else ShuffledArrays(features.others)

    def add(self, places: npt.NDArray[np.int32], rows: Features) -> None:
        """Take in rows; `places` says where each goes."""
        if self._matrix is not None:
            self._matrix.add(places, rows.matrix)
        if self._others is not None:
            self._others.add(places, rows.arrays)

    def finish(self) -> None:
        """Write the files.

        Raises:
            RunError: A row is missing, since the dataset has changed meanwhile.
        """
        if self._matrix is not None:
            self._matrix.finish()
        if self._others is not None:
            self._others.finish()
