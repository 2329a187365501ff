"""Reading Parquet in pieces: stretches of a file's row groups, batch by batch, so that memory stays flat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from orchestrator.errors import DataError
from orchestrator.objects import reason

PIECE_ROWS = 1 << 17
"""How many rows a piece has, about. A constant, so that the pieces of a dataset are the same whoever reads them."""
PIECE_BYTES = 128 << 20
_BUFFER_BYTES = 1 << 20
_BUFFERS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of rows of one file.

    Attributes:
        path: The file, in its dataset's file system.
        row_groups: The row groups that hold the rows.
        n_skipped: Rows of the first of them that come before.
        first_row: The place of the first row in the file.
        n_rows: How many rows there are.
        partitions: Columns that the file's folders name, with their values.
    """

    path: str
    row_groups: tuple[int, ...]
    n_skipped: int
    first_row: int
    n_rows: int
    partitions: tuple[tuple[str, Any], ...] = ()


def pieces_of(dataset: ds.Dataset, key: str) -> list[Piece]:
    """Return the pieces of a dataset, in the order of its rows.

    Small row groups that follow one another are one piece; a large one is several, each of which reads over the rows
    before it.

    Args:
        dataset: What `parquet.open_dataset` gave.
        key: The flag that named it, for messages.

    Raises:
        DataError: A file cannot be read.
    """
    fragments = list(dataset.get_fragments())
    try:
        with ThreadPoolExecutor(16) as pool:
            groups = list(pool.map(lambda fragment: fragment.row_groups, fragments))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{key}: its files cannot be read as Parquet: {reason(error)}") from None
    return [piece for fragment, found in zip(fragments, groups, strict=True) for piece in _pieces(fragment, found)]


def _pieces(fragment: ds.Fragment, row_groups: Sequence[Any]) -> Iterator[Piece]:
    partitions = tuple(ds.get_partition_keys(fragment.partition_expression).items())
    first_row = n_rows = n_bytes = 0
    taken: list[int] = []
    for group in row_groups:
        if taken and (n_rows + group.num_rows > PIECE_ROWS or n_bytes + group.total_byte_size > PIECE_BYTES):
            yield Piece(fragment.path, tuple(taken), 0, first_row, n_rows, partitions)
            first_row, n_rows, n_bytes, taken = first_row + n_rows, 0, 0, []
        if group.num_rows > PIECE_ROWS:
            for start in range(0, group.num_rows, PIECE_ROWS):
                n_here = min(PIECE_ROWS, group.num_rows - start)
                yield Piece(fragment.path, (group.id,), start, first_row + start, n_here, partitions)
            first_row += group.num_rows
        elif group.num_rows:
            taken.append(group.id)
            n_rows, n_bytes = n_rows + group.num_rows, n_bytes + group.total_byte_size
    if taken:
        yield Piece(fragment.path, tuple(taken), 0, first_row, n_rows, partitions)


def batches(
    filesystem: fs.FileSystem, piece: Piece, columns: Sequence[str], schema: pa.Schema, batch_rows: int
) -> Iterator[tuple[int, pa.Table]]:
    """Yield a piece's rows in order, as tables of at most `batch_rows`, each with its first row's place in the file.

    Pages are read as they are needed, and never a whole row group.

    Args:
        filesystem: The dataset's.
        piece: Which rows.
        columns: Which columns; the tables have them in this order.
        schema: The dataset's, which says of what types the columns are.
        batch_rows: How many rows a table has at most.

    Raises:
        DataError: The file is damaged.
        OSError: It cannot be read.
    """
    constants = dict(piece.partitions)
    with filesystem.open_input_file(piece.path) as source:
        try:
            buffer_bytes = max(4096, min(_BUFFER_BYTES, _BUFFERS_BYTES // max(1, len(columns))))
            file = pq.ParquetFile(source, buffer_size=buffer_bytes, pre_buffer=False)
            own = [name for name in columns if name in file.schema_arrow.names]
            n_before, n_left = piece.n_skipped, piece.n_rows
            for batch in file.iter_batches(batch_rows, list(piece.row_groups), own, use_threads=False):
                n_passed = min(n_before, len(batch))
                rows, n_before = batch.slice(n_passed, n_left), n_before - n_passed
                if len(rows):
                    first_row, n_left = piece.first_row + piece.n_rows - n_left, n_left - len(rows)
                    yield first_row, _table(rows, columns, constants, schema)
                if not n_left:
                    return
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{piece.path} cannot be read as Parquet: {reason(error)}") from None


def _table(batch: pa.RecordBatch, columns: Sequence[str], constants: dict[str, Any], schema: pa.Schema) -> pa.Table:
    arrays = []
    for name in columns:
        kind = schema.field(name).type
        if name in batch.schema.names:
            array = batch.column(name)
            arrays.append(array if array.type == kind else array.cast(kind))
        else:
            arrays.append(pa.repeat(pa.scalar(constants[name]), len(batch)).cast(kind))
    return pa.Table.from_arrays(arrays, names=list(columns))


def identity(dataset: ds.Dataset, pieces: Sequence[Piece]) -> str:
    """Return a hash that another dataset, or one whose files have changed, does not have.

    It is made of names, sizes and times of the files, not of their content, which may be large.
    """
    digest = hashlib.blake2b(digest_size=16)
    for info in dataset.filesystem.get_file_info(dataset.files):
        digest.update(repr((info.base_name, info.size, info.mtime_ns)).encode())
    for piece in pieces:
        digest.update(repr((piece.row_groups, piece.first_row, piece.n_rows, piece.partitions)).encode())
    return digest.hexdigest()
