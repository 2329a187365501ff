"""From Arrow columns to the one numeric matrix that all stages share, and the signature that says how.

Encoding only renames values (a category becomes its number); whatever learns from data is fitted in `prepare`, inside
each fold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Task = Literal["classification", "regression"]
Kind = Literal["number", "boolean", "category", "text", "vector", "image", "sequence"]
MISSING = -1.0
"""The code of a category that is null; null is a category of its own."""
UNSEEN = -2.0
"""The code of a category that the training rows do not have."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature: its Arrow type, how it is read, and the categories of the training rows, sorted.

    `shape` is that of one row: () for scalars, text and sequences, (size,) for vectors, (height, width, channels) for
    images; (channels,) for sequences whose steps have several.
    """

    name: str
    type: str
    kind: Kind
    categories: tuple[str, ...] = ()
    has_nulls: bool = False
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of features, encoded.

    Attributes:
        matrix: The scalar columns (number, boolean, category), in order, shape (rows, columns), null as nan.
        arrays: The other columns by name. Text: `pa.LargeStringArray`. Vector: uint8 or float32, shape (rows, size).
            Image: the same, shape (rows, height, width, channels). Sequence: `pa.LargeListArray` of float32, or of
            fixed-size lists of float32 where each step has several channels.
    """

    matrix: Floats
    arrays: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.matrix)


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
        columns = tuple(Column(**{**c, "categories": tuple(c["categories"])}) for c in values["columns"])
        return cls(**{**values, "columns": columns, "classes": tuple(values["classes"])})


def column_of(name: str, values: pa.ChunkedArray) -> Column:
    """Describe a feature from its training values.

    Raises:
        DataError: Its type has no meaning here.
    """
    kind = kind_of(name, values.type)
    categories = tuple(sorted(_strings(values).unique().drop_null().to_pylist())) if kind == "category" else ()
    has_nulls = values.null_count > 0 or (pa.types.is_floating(values.type) and bool(pc.any(pc.is_nan(values)).as_py()))
    return Column(name, str(values.type), kind, categories, has_nulls)


def kind_of(name: str, kind: pa.DataType, key: str = "data.features") -> Kind:
    """Return how a column of Arrow type `kind` is read; `key` is the job's key for messages.

    Raises:
        DataError: The type has no meaning here.
    """
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_boolean(value_type):
        return "boolean"
    if pa.types.is_integer(value_type) or pa.types.is_floating(value_type) or pa.types.is_decimal(value_type):
        return "number"
    if any(is_it(value_type) for is_it in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return "category"
    mend = f". Leave it out with {excluding(name)}" if key == "data.features" else ""
    raise DataError(f"{key}: column {name!r} has type {kind}; expected numbers, booleans or strings{mend}")


def excluding(name: str) -> str:
    """Return the key of a job that leaves column `name` out, as YAML and Python read it."""
    return f"data.exclude: {json.dumps([name], ensure_ascii=False)}"


def is_usable(kind: pa.DataType) -> bool:
    """Tell whether a column of Arrow type `kind` can be a feature."""
    try:
        kind_of("", kind)
    except DataError:
        return False
    return True


def encode(table: pa.Table, columns: Sequence[Column]) -> Floats:
    """Return the features as a matrix of shape (rows, columns): numbers as they are, categories as codes, null as nan.

    Raises:
        DataError: A column is missing, of another kind than the signature says, or holds infinite values.
    """
    matrix = np.empty((table.num_rows, len(columns)), dtype=np.float64)
    for position, column in enumerate(columns):
        if column.name not in table.column_names:
            raise DataError(f"column {column.name!r} is missing; the model was trained with it as {column.type}")
        values = table.column(column.name)
        kind = "number" if pa.types.is_null(values.type) else kind_of(column.name, values.type)
        if pa.types.is_null(values.type):
            matrix[:, position] = MISSING if column.kind == "category" else np.nan
            continue
        if kind != column.kind:
            raise DataError(f"column {column.name!r} is of type {values.type}; the model was trained on {column.type}")
        matrix[:, position] = _codes(values, column) if kind == "category" else _numbers(values)
        if kind == "number" and np.isinf(matrix[:, position]).any():
            raise DataError(
                f"data.features: column {column.name!r} holds infinite values; expected finite numbers or nulls. "
                f"Replace them, or leave it out with {excluding(column.name)}"
            )
    return matrix


def _numbers(values: pa.ChunkedArray) -> Floats:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _strings(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(pa.large_string())


def _codes(values: pa.ChunkedArray, column: Column) -> Floats:
    strings = _strings(values)
    codes = pc.index_in(strings, value_set=pa.array(column.categories, pa.large_string()))
    found = codes.to_numpy().astype(np.float64)
    nulls = pc.is_null(strings).to_numpy()
    return np.where(nulls, MISSING, np.where(np.isnan(found), UNSEEN, found))


def plain_target(target: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a target as strings, booleans, integers or float64, with one zero: Arrow tells -0.0 from 0.0."""
    if pa.types.is_dictionary(target.type):
        target = target.cast(target.type.value_type)
    if pa.types.is_floating(target.type) or pa.types.is_decimal(target.type):
        return pc.add(target.cast(pa.float64(), safe=False), 0.0)
    return target


def class_values(target: pa.ChunkedArray) -> tuple[str | int | float | bool, ...]:
    """Return the distinct classes of a plain target without nulls, sorted; a class's place is its code."""
    return tuple(sorted(target.unique().to_pylist()))


def encode_classes(target: pa.ChunkedArray, classes: Sequence[str | int | float | bool]) -> Integers:
    """Return each row's place in `classes`, shape (rows,), -1 for a class that is not among them."""
    code_of = {value: code for code, value in enumerate(classes)}
    found = target.unique()
    codes = np.array([code_of.get(value, -1) for value in found.to_pylist()], dtype=np.int64)
    encoded: Integers = codes[pc.index_in(target, value_set=found).to_numpy()]
    return encoded


def encode_numbers(target: pa.ChunkedArray, name: str) -> Floats:
    """Return a plain regression target as floats, shape (rows,).

    Raises:
        DataError: It is not numeric.
    """
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type)):
        raise DataError(f"data.target: {name!r} has type {target.type}; task: regression expects numbers")
    return _numbers(target)


def infer_task(target: pa.ChunkedArray) -> Task:
    """Return the task that a plain target suggests.

    Strings and booleans are classes. Whole numbers (of integer or float type) are classes where there are at most
    two of them, or at most 50 and ten rows of each on average; all other numbers are for regression.
    """
    if not (pa.types.is_integer(target.type) or pa.types.is_floating(target.type)):
        return "classification"
    distinct = target.unique().drop_null()
    if len(distinct) > 2 and len(distinct) > min(50, len(target) // 10):
        return "regression"
    values = _numbers(pa.chunked_array([distinct]))
    whole = bool(np.all(np.isfinite(values) & (values == np.round(values))))
    return "classification" if whole else "regression"


def fingerprint(signature: Signature, *arrays: npt.NDArray[Any]) -> str:
    """Return a hash of what a search sees of its data: names, types, categories and every value, in row order."""
    digest = hashlib.blake2b(repr(signature).encode(), digest_size=16)
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
