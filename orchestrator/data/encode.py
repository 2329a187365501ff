"""From Arrow columns to the encoded features that all stages share, and the signature that says how.

Encoding only renames values (a category becomes its number); whatever learns from data is fitted in `prepare`, inside
each fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data import arrays, dates, missing, roles
from orchestrator.data.columns import (
    SCALARS,
    Column,
    Kind,
    excluding,
    flat,
    is_usable,
    kind_of,
    scalars,
    shape_of,
)
from orchestrator.data.plain import plain
from orchestrator.errors import DataError

Floats = npt.NDArray[np.float64]
Task = Literal["classification", "regression"]
MISSING = -1.0
"""The code of a category that is null; null is a category of its own."""
UNSEEN = -2.0
"""The code of a category that the training rows do not have."""
LARGEST = float(np.finfo(np.float32).max)
"""Trees and networks compute in single precision, and squares of larger numbers are beyond double precision, too."""
_READ_AS: Mapping[Kind, Kind] = {"text": "category", "vector": "sequence", "sequence": "vector"}
"""What else than its own kind a column's type may suggest where a model reads it: lists come without their size."""
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of features, encoded.

    Attributes:
        matrix: The scalar columns (number, boolean, category), in order, shape (rows, columns), null as nan.
        arrays: The other columns by name, in order. Text: `pa.LargeStringArray`. Vector: uint8 or float32, shape
            (rows, size). Date: float64, shape (rows, parts), null as nan in every part. Image: the
            same as vectors, shape (rows, height, width, channels). Sequence: `pa.LargeListArray` of float32, or of
            fixed-size lists of float32 where each step has several channels.
    """

    matrix: Floats
    arrays: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def nbytes(self) -> int:
        """How many bytes all of it has."""
        return int(self.matrix.nbytes + sum(array.nbytes for array in self.arrays.values()))

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Return some rows, by their positions, in that order."""
        taken = {
            name: array[rows] if isinstance(array, np.ndarray) else array.take(pa.array(rows))
            for name, array in self.arrays.items()
        }
        return Features(self.matrix[rows], taken)

    def select(self, some: Sequence[Column], columns: Sequence[Column]) -> Features:
        """Return the features of some of the columns, in their order."""
        if len(some) == len(columns):
            return self
        names = {column.name for column in some}
        places = [place for place, column in enumerate(scalars(columns)) if column.name in names]
        return Features(self.matrix[:, places], {n: array for n, array in self.arrays.items() if n in names})

    def parts(self) -> Iterator[Features]:
        """Yield all rows in order, as many at a time as are in memory anyway."""
        yield self

    def flat(self, rows: npt.NDArray[np.int64] | None = None) -> Floats:
        """Return scalar columns, elements of vectors and parts of dates as one matrix; its columns are `columns.flat`.

        Args:
            rows: The positions of the rows to return; None for all of them.
        """
        vectors = [a for a in self.arrays.values() if isinstance(a, np.ndarray) and a.ndim == 2]
        parts = [part if rows is None else part[rows] for part in (self.matrix, *vectors)]
        return np.concatenate(parts, axis=1, dtype=np.float64) if vectors else parts[0]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives: features in order, the target, and the classes in the order of their codes."""

    columns: tuple[Column, ...]
    target: str
    task: Task
    classes: tuple[str | int | float | bool, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Signature:
        """Build from what `to_dict` returned.

        Raises:
            TypeError: Keys are missing or unknown.
        """
        columns = tuple(Column.from_dict(column) for column in values["columns"])
        return cls(**{**values, "columns": columns, "classes": tuple(values["classes"])})


def column_of(
    name: str,
    values: pa.ChunkedArray,
    *,
    is_text: bool | None = None,
    rows: npt.NDArray[np.int64] | None = None,
) -> Column:
    """Describe a feature from its training values.

    Args:
        name: The column.
        values: Its values in the training rows.
        is_text: Whether strings are text; None to see by their looks.
        rows: What the rows are called in messages; their places by default.

    Raises:
        DataError: Its type has no meaning here, or its values are not what the type promises.
    """
    kind, values = kind_of(name, values.type), plain(values)
    has_nulls = values.null_count > 0 or (pa.types.is_floating(values.type) and bool(pc.any(pc.is_nan(values)).as_py()))
    if kind == "category":
        words = arrays.strings(values)
        has_nulls = words.null_count > 0  # a dictionary may have a null among its values
        if arrays.reads_as_text(words) if is_text is None else is_text:
            return Column(name, str(values.type), "text", (), has_nulls)
        return Column(name, str(values.type), kind, tuple(sorted(words.unique().drop_null().to_pylist())), has_nulls)
    column = Column(name, str(values.type), kind, (), has_nulls)
    if kind == "date":
        return replace(column, shape=(dates.n_parts(values, column),))
    if kind == "image":
        return replace(column, shape=arrays.image_shape(values, column, rows))
    if kind == "sequence":
        longest = pc.max(pc.list_value_length(values)).as_py() or 0
        return replace(column, shape=shape_of(values.type), longest=int(longest))
    return replace(column, shape=shape_of(values.type)) if kind == "vector" else column


def encode(table: pa.Table, columns: Sequence[Column], rows: npt.NDArray[np.int64] | None = None) -> Features:
    """Return the features: numbers as they are, categories as codes, null as nan; other kinds as arrays.

    Args:
        table: Has the columns, in any order, and maybe others.
        columns: What they were in training.
        rows: What the table's rows are called in messages; their places by default.

    Raises:
        DataError: A column is missing, of another kind than the signature says, or holds what its kind does not allow.
    """
    scalar = scalars(columns)
    matrix = np.empty((table.num_rows, len(scalar)), dtype=np.float64)
    for position, column in enumerate(scalar):
        matrix[:, position] = _scalar(_values(table, column), column)
    return Features(matrix, {c.name: _array(_values(table, c), c, rows) for c in columns if c.kind not in SCALARS})


def problem_of(schema: pa.Schema, column: Column) -> str | None:
    """Return in what way a table's schema does not have a column as it was in training; None where it does."""
    if column.name not in schema.names:
        return f"column {column.name!r} is missing; the model was trained with it as {column.type}"
    found = schema.field(column.name).type
    if pa.types.is_null(found):
        return None
    kind = kind_of(column.name, found) if is_usable(found) else None
    if kind is not None and kind in (column.kind, _READ_AS.get(column.kind)):
        return None
    if column.is_cast and roles.can_be_read(kind, column):
        return None
    return f"column {column.name!r} is of type {found}; the model was trained on {column.type}"


def _values(table: pa.Table, column: Column) -> pa.ChunkedArray:
    problem = problem_of(table.schema, column)
    if problem is not None:
        raise DataError(problem)
    values = missing.without(plain(table.column(column.name)), column.missing)
    return roles.read_as(values, column.kind, column.name) if column.is_cast else values


def _scalar(values: pa.ChunkedArray, column: Column) -> Floats:
    if pa.types.is_null(values.type):
        return np.full(len(values), MISSING if column.kind == "category" else np.nan)
    if column.kind == "category":
        return _codes(values, column)
    return finite(as_floats(values), column.name)


def finite(numbers: Floats, name: str) -> Floats:
    """Return the numbers of a column, none of which is infinite, or so large that float32 has no number for it.

    Raises:
        DataError: One is.
    """
    if (np.abs(numbers) <= LARGEST).sum() + np.isnan(numbers).sum() == len(numbers):
        return numbers
    most = np.nanmax(np.abs(numbers))
    what = "infinite values" if np.isinf(most) else f"values such as {numbers[np.nanargmax(np.abs(numbers))]:.4g}"
    raise DataError(
        f"data.features: column {name!r} holds {what}; expected finite numbers below {LARGEST:.1e}, which models of "
        "single precision can read, or nulls. Replace them, list them in data.missing where they stand for nothing, "
        f"or leave it out with {excluding(name)}"
    )


def _array(values: pa.ChunkedArray, column: Column, rows: npt.NDArray[np.int64] | None) -> Any:
    if column.kind == "date":
        return dates.parts(values, column)
    if pa.types.is_null(values.type) and column.kind != "text":
        width = pa.list_(pa.float32(), column.shape[0]) if column.shape and column.kind == "sequence" else pa.float32()
        values = values.cast(pa.large_list(width))
    if column.kind == "text":
        return arrays.texts(values)
    reader = {"vector": arrays.vectors, "image": arrays.images, "sequence": arrays.sequences}[column.kind]
    return reader(values, column, rows)


def as_floats(values: pa.ChunkedArray) -> Floats:
    """Return numbers of any type as float64, shape (rows,), null as nan; durations and times of day in seconds."""
    values = plain(values)
    if pa.types.is_duration(values.type) or pa.types.is_time(values.type):
        ticks = values.cast(pa.int32() if pa.types.is_time32(values.type) else pa.int64())
        return np.asarray(ticks.cast(pa.float64(), safe=False).to_numpy() / _PER_SECOND[values.type.unit])
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _codes(values: pa.ChunkedArray, column: Column) -> Floats:
    strings = arrays.strings(values)
    codes = pc.index_in(strings, value_set=pa.array(column.categories, pa.large_string()))
    found = codes.to_numpy().astype(np.float64)
    nulls = pc.is_null(strings).to_numpy()
    return np.where(nulls, MISSING, np.where(np.isnan(found), UNSEEN, found))


def fingerprint(signature: Signature, *contents: npt.NDArray[Any] | Features) -> str:
    """Return a hash of what a search sees of its data: names, kinds, categories and every value, in row order.

    Arrow types are no part of it, so that the same values in another layout are the same data.
    """
    seen = replace(signature, columns=tuple(replace(column, type="") for column in signature.columns))
    digest = hashlib.blake2b(repr(seen).encode(), digest_size=16)
    for content in contents:
        for array in plain_arrays(content):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def plain_arrays(content: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield all that features hold as arrays of numbers, the same for the same values."""
    if isinstance(content, np.ndarray):
        yield content
    elif isinstance(content, Features):
        yield content.matrix
        for array in content.arrays.values():
            yield from plain_arrays(array)
    elif isinstance(content, pa.LargeStringArray):
        yield content.is_null().to_numpy(zero_copy_only=False)
        filled = content.fill_null("")
        lengths = pc.binary_length(filled).to_numpy()
        yield lengths
        yield np.frombuffer(filled.buffers()[2] or b"", dtype=np.uint8)[: lengths.sum()]
    elif isinstance(content, pa.LargeListArray):
        yield pc.list_value_length(content).to_numpy()
        yield from plain_arrays(content.flatten())
    else:
        numbers = content.flatten() if isinstance(content, pa.FixedSizeListArray) else content
        yield numbers.to_numpy()


__all__ = [
    "MISSING",
    "UNSEEN",
    "Column",
    "Features",
    "Floats",
    "Kind",
    "Signature",
    "Task",
    "as_floats",
    "column_of",
    "encode",
    "excluding",
    "fingerprint",
    "flat",
    "is_usable",
    "kind_of",
    "problem_of",
    "scalars",
]
