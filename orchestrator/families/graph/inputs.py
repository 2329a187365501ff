"""What an exported model takes: one input a column, as close to the column as tensors allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import SCALARS, Column, scalars
from orchestrator.data.encode import Features
from orchestrator.families.graph.base import Graph, NoConverter, Tensor, TracedFeatures

NULL = "<null>"
"""What stands for null where the empty string is a category of its own."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input.

    Attributes:
        column: The column that it stands for.
        dtype: NumPy's name of its type, or `string`.
        shape: Of one row; None is any length.
        null: What stands for null; None where the column may hold none.
    """

    column: Column
    dtype: str
    shape: tuple[int | None, ...]
    null: str | None

    def described(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"column": self.column.name, "type": self.dtype, "shape": [None, *self.shape], "null": self.null}


def input_of(column: Column) -> Input:
    """Return the input of a column.

    Raises:
        NoConverter: It is one of dates, which no format has operations for.
    """
    if column.kind == "date":
        raise NoConverter(
            f"column {column.name!r} has dates ({column.type}), and these formats have no calendar; expected --format "
            "native, or a model of numbers that you made of them"
        )
    if column.kind in ("number", "boolean"):
        return Input(column, "float64", (), "nan")
    if column.kind == "category":
        return Input(column, "string", (), null_of(column.categories))
    if column.kind == "text":
        return Input(column, "string", (), "")
    if column.kind == "sequence":
        return Input(column, "float32", (None, *column.shape), "nan in every step")
    return Input(column, "uint8" if column.holds_bytes else "float32", column.shape, None)


def null_of(categories: Sequence[str]) -> str:
    """Return the string that stands for null among categories: the empty one, unless it is one of them."""
    null = ""
    while null in categories:
        null = NULL if not null else f"<{null}>"
    return null


def encoded(graph: Graph, tensors: Mapping[str, Tensor], columns: Sequence[Column]) -> TracedFeatures:
    """Return the encoded features of inputs by their columns' names, as `data.encode.encode` does.

    Raises:
        NoConverter: Some texts stand for null.
    """
    for column in columns:
        if column.kind == "text" and column.missing:
            raise NoConverter(
                f"no converter for the texts that data.missing lists ({column.name!r}); expected --format native"
            )
    scalar = [_scalar(graph, tensors[c.name], c) for c in scalars(columns)]
    matrix = graph.joined(scalar, 1) if scalar else None
    return TracedFeatures(columns, matrix, {c.name: tensors[c.name] for c in columns if c.kind not in SCALARS})


def _scalar(graph: Graph, x: Tensor, column: Column) -> Tensor:
    if column.kind == "category":
        known = {name: code for code, name in enumerate(column.categories)}
        nulls = dict.fromkeys([*map(str, column.missing), null_of(column.categories)], -1)
        x = graph.cast(graph.codes(x, {**nulls, **known}, -2), "float64")
    for value in column.missing if column.kind == "number" else ():
        is_missing = graph.apply("Equal", x, graph.constant(np.float64(value)))
        x = graph.apply("Where", is_missing, graph.constant(np.float64("nan")), x)
    return graph.reshaped(x, [-1, 1])


def fed(features: Features, columns: Sequence[Column], chosen: Sequence[Column]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the chosen ones of encoded features' columns as arrays for the inputs, by the columns' names."""
    place = {column.name: i for i, column in enumerate(scalars(columns))}
    return {
        c.name: _fed_scalar(features.matrix[:, place[c.name]], c)
        if c.kind in SCALARS
        else _fed_array(features.arrays[c.name])
        for c in chosen
    }


def _fed_scalar(values: np.ndarray[Any, Any], column: Column) -> np.ndarray[Any, Any]:
    if column.kind != "category":
        return values
    unseen = "?" * (1 + max(map(len, column.categories), default=0))
    names = np.array([unseen, null_of(column.categories), *column.categories], object)
    chosen: np.ndarray[Any, Any] = names[values.astype(np.int64) + 2]
    return chosen


def _fed_array(values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, pa.LargeStringArray):
        return np.asarray(values.fill_null("").to_numpy(zero_copy_only=False), object)
    lengths = pc.list_value_length(values).to_numpy()
    steps = values.flatten()
    channels = (steps.type.list_size,) if pa.types.is_fixed_size_list(steps.type) else ()
    numbers = (steps.flatten() if channels else steps).to_numpy()
    filled = np.full((len(values), max(1, lengths.max(initial=0)), *channels), np.nan, np.float32)
    filled[np.arange(filled.shape[1]) < lengths[:, np.newaxis]] = numbers.reshape(-1, *channels)
    return filled
