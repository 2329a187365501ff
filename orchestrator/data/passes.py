"""The passes over a dataset that is too large for memory: one looks at its columns, one writes its rows to files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.data import encode, missing, parquet, roles, stream
from orchestrator.data.columns import Column
from orchestrator.data.load import is_text
from orchestrator.data.plain import plain_table, plain_type
from orchestrator.data.rows import Rows
from orchestrator.data.scan import Scan, scan_of
from orchestrator.data.store import ShuffledRows, StoredFeatures
from orchestrator.job import Data

BATCH_ROWS, BATCH_BYTES = 1 << 16, 64 << 20
TRAIN_FILE, TEST_FILE, OTHERS = "train.rows", "test.rows", ".arrow"
LEFT_OUT = np.iinfo(np.int32).min
"""The place of a row that is not in the sample."""
Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StreamedRows:
    """How the rows get into files.

    Attributes:
        data: The dataset, and which of its rows are asked for.
        columns: What is read of it.
        place: Where each of these rows goes, in the dataset's order: to a place among the training rows, or as
            -1 - place among the test rows.
        train: The training rows, as they will be.
        test: The test rows, likewise; None if there are none.
    """

    data: Data
    columns: tuple[Column, ...]
    place: Places
    train: StoredFeatures
    test: StoredFeatures | None

    def write(self, folder: Path) -> tuple[StoredFeatures, StoredFeatures | None]:
        """Write training and test rows into a folder, which is created."""
        folder.mkdir(parents=True)
        train = _in_folder(self.train, folder / TRAIN_FILE)
        test = None if self.test is None else _in_folder(self.test, folder / TEST_FILE)
        into_train, into_test = ShuffledRows(train), None if test is None else ShuffledRows(test)
        names = [column.name for column in self.columns]
        for start, table in _batches(opened(self.data), self.data, names):
            place = self.place[start : start + len(table)]
            is_test = (place < 0) & (place != LEFT_OUT)
            for rows, to, into in ((place >= 0, place, into_train), (is_test, -1 - place, into_test)):
                if into is not None and rows.any():
                    into.add(to[rows], encode.encode(_some(table, rows), self.columns, start + np.flatnonzero(rows)))
        into_train.finish()
        if into_test is not None:
            into_test.finish()
        return train, test


def _in_folder(features: StoredFeatures, path: Path) -> StoredFeatures:
    """Return features as they are once they are written."""
    here, others = str(path.absolute()), features.others
    if others is not None:
        others = replace(others, path=here + OTHERS)
    return StoredFeatures(here, len(features), features.n_columns, features.dtype, others)


def opened(data: Data) -> ds.Dataset:
    """Return the dataset that a job names."""
    return parquet.open_dataset(data.path, filters=data.filters)


def scanned(dataset: ds.Dataset, data: Data, features: Sequence[str], place: Places) -> list[Scan]:
    """Look at all rows that are asked for, column by column."""
    as_read = _as_read(dataset.schema.empty_table().select(list(features)), data, features)
    scans = [
        scan_of(
            name, plain_type(kind := as_read.schema.field(name).type), encode.kind_of(name, kind), is_text(data, name)
        )
        for name in features
    ]
    for start, table in _batches(dataset, data, list(features)):
        here = place[start : start + len(table)]
        is_asked_for = here != LEFT_OUT
        table, rows = _as_read(_some(table, is_asked_for), data, features), start + np.flatnonzero(is_asked_for)
        for one, values in zip(scans, table.columns, strict=True):
            one.add(values, here[is_asked_for] >= 0, rows)
    return scans


def _as_read(table: pa.Table, data: Data, features: Sequence[str]) -> pa.Table:
    """Return columns as the job says that they are read."""
    return roles.cast(missing.nulled(plain_table(table), features, data.missing), data.columns)


def _some(table: pa.Table, rows: npt.NDArray[np.bool_]) -> pa.Table:
    return table if rows.all() else table.filter(pa.array(rows))


def _batches(dataset: ds.Dataset, data: Data, names: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows that filters let through, in order, with the place of each batch's first row among them."""
    start, rows = 0, Rows(dataset, data.filters)
    needed = rows.needed(names)
    size = parquet.bytes_in_memory(dataset, needed) // max(1, int(dataset.count_rows()))
    batch_rows = min(BATCH_ROWS, max(1, BATCH_BYTES // max(1, size)))
    for piece in stream.pieces_of(dataset, "data.path"):
        for _, table in stream.batches(dataset.filesystem, piece, needed, dataset.schema, batch_rows):
            wanted = rows.filtered(table, names) if data.filters else table.select(names)
            yield start, wanted
            start += len(wanted)
