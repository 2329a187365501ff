"""What a feature column is: how its Arrow type is read, and what one row of it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from orchestrator.data.plain import plain_type
from orchestrator.errors import DataError

Kind = Literal["number", "boolean", "category", "date", "text", "vector", "image", "sequence"]
SCALARS: frozenset[Kind] = frozenset({"number", "boolean", "category"})
"""The kinds that are one number a row once they are encoded."""
DATE_PARTS = (
    *("year", "month_sin", "month_cos", "day_sin", "day_cos", "weekday_sin", "weekday_cos", "elapsed_days"),
    *("hour_sin", "hour_cos"),
)
"""What a date becomes; the last two only where the training rows have times of day."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature: its Arrow type, how it is read, and the categories of the training rows, sorted.

    `shape` is that of one row: () for scalars, text and sequences, (size,) for vectors, (parts,) for dates, (height,
    width, channels) for images; (channels,) for sequences whose steps have several. `longest` is how many steps the
    longest sequence has. `missing` are values that are read as null. `is_cast` says that the job chose the kind, to
    which values are cast, and `prepared` what of its preparation it chose.
    """

    name: str
    type: str
    kind: Kind
    categories: tuple[str, ...] = ()
    has_nulls: bool = False
    shape: tuple[int, ...] = ()
    longest: int = 0
    missing: tuple[str | float, ...] = field(default=(), repr=False)  # what it does to values is in their fingerprint
    is_cast: bool = field(default=False, repr=False)  # likewise
    prepared: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Column:
        """Build from what `dataclasses.asdict` returned, maybe by way of JSON.

        Raises:
            TypeError: Keys are missing or unknown.
        """
        lists = {name: tuple(values.get(name, ())) for name in ("categories", "shape", "missing")}
        return cls(**{**values, **lists, "prepared": tuple(map(tuple, values.get("prepared", ())))})

    @property
    def holds_bytes(self) -> bool:
        """Whether the numbers of a vector or an image are whole ones from 0 to 255."""
        return self.kind == "image" or (self.kind == "vector" and ": uint8" in self.type)


def scalars(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of the matrix of `Features`, in order."""
    return tuple(column for column in columns if column.kind in SCALARS)


def flat(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of `Features.flat`: scalar ones, then elements of vectors and parts of dates as numbers.

    Of a date's parts, which are null together, the first alone says so.
    """
    return (*scalars(columns), *(number for column in columns for number in _numbers(column)))


def _numbers(column: Column) -> list[Column]:
    names: list[str] = []
    if column.kind == "vector":
        names = [f"{column.name}[{i}]" for i in range(column.shape[0])]
    elif column.kind == "date":
        names = [f"{column.name}.{part}" for part in DATE_PARTS[: column.shape[0]]]
    return [Column(name, column.type, "number", (), column.has_nulls and i == 0) for i, name in enumerate(names)]


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
        mend = f". {_mended(name, kind)}, or leave it out with {excluding(name)}" if key == "data.features" else ""
        raise DataError(
            f"{key}: column {name!r} has type {kind}; expected numbers, booleans, strings, dates, PNG or JPEG images "
            f"(binary) or lists of numbers{mend}"
        )
    return found


def _mended(name: str, kind: pa.DataType) -> str:
    """Return how a column of a type without a meaning becomes one, as the beginning of a sentence."""
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{name}.{field.name}" for field in list(kind)[:3]) or f"{name}.*"
        return f"Make columns of its fields (SELECT {fields} …, or pyarrow.Table.flatten())"
    if pa.types.is_map(kind):
        return "Make a column of each key that matters"
    if pa.types.is_union(kind):
        return "Cast it to one type"
    if pa.types.is_interval(kind):
        return "Make it a number, such as of days"
    if pa.types.is_null(kind):
        return "Fill it, as it is null in every row"
    if pa.types.is_nested(kind):
        return "Make its lists numbers, or a string of each (' '.join)"
    if pa.types.is_fixed_size_binary(kind) or isinstance(kind, pa.BaseExtensionType):
        return "Cast it to numbers or strings where it is no id"
    return "Cast it"


def check_target(name: str, kind: pa.DataType) -> None:
    """Refuse a target that is not one value a row.

    Raises:
        DataError: It is of another type than numbers, booleans and strings.
    """
    if _scalar_kind(kind) is None:
        mend = ". Make it a number, such as the days since some date" if _array_kind(kind) == "date" else ""
        raise DataError(f"data.target: column {name!r} has type {kind}; expected numbers, booleans or strings{mend}")


def _scalar_kind(kind: pa.DataType) -> Kind | None:
    value_type = plain_type(kind)
    if pa.types.is_dictionary(value_type):
        return "category"
    if pa.types.is_boolean(value_type):
        return "boolean"
    if _is_number(value_type) or pa.types.is_duration(value_type) or pa.types.is_time(value_type):
        return "number"
    if pa.types.is_string(value_type) or pa.types.is_large_string(value_type):
        return "category"
    return None


def _array_kind(kind: pa.DataType) -> Kind | None:
    kind = plain_type(kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "image"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date"
    is_fixed = pa.types.is_fixed_size_list(kind)
    if is_fixed and _is_number(kind.value_type):
        return "vector"
    if is_fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        step = kind.value_type.value_type if pa.types.is_fixed_size_list(kind.value_type) else kind.value_type
        return "sequence" if _is_number(step) else None
    return None


def shape_of(kind: pa.DataType) -> tuple[int, ...]:
    """Return the shape of one row of a list type: (size,) of a vector, () or (channels,) of a sequence."""
    kind = plain_type(kind)
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
