"""What a feature column is: how its Arrow type is read, and what one row of it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from orchestrator.errors import DataError

Kind = Literal["number", "boolean", "category", "text", "vector", "image", "sequence"]
SCALARS: frozenset[Kind] = frozenset({"number", "boolean", "category"})
"""The kinds that are one number a row once they are encoded."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature: its Arrow type, how it is read, and the categories of the training rows, sorted.

    `shape` is that of one row: () for scalars, text and sequences, (size,) for vectors, (height, width, channels) for
    images; (channels,) for sequences whose steps have several. `longest` is how many steps the longest sequence has.
    """

    name: str
    type: str
    kind: Kind
    categories: tuple[str, ...] = ()
    has_nulls: bool = False
    shape: tuple[int, ...] = ()
    longest: int = 0

    @property
    def holds_bytes(self) -> bool:
        """Whether the numbers of a vector or an image are whole ones from 0 to 255."""
        return self.kind == "image" or (self.kind == "vector" and ": uint8" in self.type)


def scalars(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of the matrix of `Features`, in order."""
    return tuple(column for column in columns if column.kind in SCALARS)


def flat(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of `Features.flat`: the scalar ones, then each vector's elements as numbers."""
    vectors = [column for column in columns if column.kind == "vector"]
    elements = (Column(f"{v.name}[{i}]", v.type, "number") for v in vectors for i in range(v.shape[0]))
    return (*scalars(columns), *elements)


def kind_of(name: str, kind: pa.DataType, key: str = "data.features") -> Kind:
    """Return how a column of Arrow type `kind` is read; strings as categories, which `column_of` may find to be text.

    Args:
        name: The column.
        kind: Its Arrow type.
        key: The job's key for messages.

    Raises:
        DataError: The type has no meaning here.
    """
    found = _scalar_kind(kind) or _array_kind(kind)
    if found is None:
        mend = f". Leave it out with {excluding(name)}" if key == "data.features" else ""
        raise DataError(
            f"{key}: column {name!r} has type {kind}; expected numbers, booleans, strings, PNG or JPEG images (binary) "
            f"or lists of numbers{mend}"
        )
    return found


def check_target(name: str, kind: pa.DataType) -> None:
    """Refuse a target that is not one value a row.

    Raises:
        DataError: It is of another type than numbers, booleans and strings.
    """
    if _scalar_kind(kind) is None:
        raise DataError(f"data.target: column {name!r} has type {kind}; expected numbers, booleans or strings")


def _scalar_kind(kind: pa.DataType) -> Kind | None:
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_boolean(value_type):
        return "boolean"
    if _is_number(value_type):
        return "number"
    if any(is_it(value_type) for is_it in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return "category"
    return None


def _array_kind(kind: pa.DataType) -> Kind | None:
    if any(is_it(kind) for is_it in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)):
        return "image"
    is_fixed = pa.types.is_fixed_size_list(kind)
    if is_fixed and _is_number(kind.value_type):
        return "vector"
    if is_fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        step = kind.value_type.value_type if pa.types.is_fixed_size_list(kind.value_type) else kind.value_type
        return "sequence" if _is_number(step) else None
    return None


def shape_of(kind: pa.DataType) -> tuple[int, ...]:
    """Return the shape of one row of a list type: (size,) of a vector, () or (channels,) of a sequence."""
    if pa.types.is_fixed_size_list(kind.value_type):
        return (int(kind.value_type.list_size),)
    return (int(kind.list_size),) if pa.types.is_fixed_size_list(kind) else ()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def excluding(name: str) -> str:
    """Return the key of a job that leaves column `name` out, as YAML and Python read it."""
    return f"data.exclude: {json.dumps([name], ensure_ascii=False)}"


def is_usable(kind: pa.DataType) -> bool:
    """Tell whether a column of Arrow type `kind` can be a feature."""
    return (_scalar_kind(kind) or _array_kind(kind)) is not None
