"""From encoded features back to tables: the inverse of `encode`, and a row that stands for no data at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.data import dates
from orchestrator.data.columns import SCALARS, Column, scalars
from orchestrator.data.encode import MISSING, Features, Floats


def decode(features: Features, columns: Sequence[Column]) -> pa.Table:
    """Return a table that `encode` makes the same features of; images as PNG, unseen categories as `?`."""
    place = {column.name: i for i, column in enumerate(scalars(columns))}
    decoded = {
        c.name: _scalar(features.matrix[:, place[c.name]], c)
        if c.kind in SCALARS
        else _array(features.arrays[c.name], c)
        for c in columns
    }
    return pa.table(decoded)


def _scalar(values: Floats, column: Column) -> pa.Array:
    if column.kind == "category":
        names = np.array(["?", None, *column.categories], object)  # unseen is -2, missing -1
        return pa.array(names[values.astype(np.int64) + 2], pa.large_string())
    numbers = pa.array(values, mask=np.isnan(values))
    return numbers.cast(pa.bool_()) if column.kind == "boolean" else numbers


def _array(values: Any, column: Column) -> pa.Array:
    if column.kind == "date":
        return dates.decoded(values)
    if not isinstance(values, np.ndarray):
        return values
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array([_png(pixels) for pixels in values], pa.binary())


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    from PIL import Image  # here, since most data have no images

    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    return content.getvalue()


def blank(columns: Sequence[Column]) -> Features:
    """Return one row of zeros, first categories, the first of January 1970, and nothing in texts and sequences."""
    first = [MISSING if c.kind == "category" and not c.categories else 0.0 for c in scalars(columns)]
    return Features(np.array([first], np.float64), {c.name: _blank(c) for c in columns if c.kind not in SCALARS})


def _blank(column: Column) -> Any:
    if column.kind == "text":
        return pa.array([""], pa.large_string())
    if column.kind == "sequence":
        step = pa.list_(pa.float32(), column.shape[0]) if column.shape else pa.float32()
        return pa.array([[]], pa.large_list(step))
    if column.kind == "date":
        return dates.parts(pa.chunked_array([pa.array([0], pa.date32())]), column)
    return np.zeros((1, *column.shape), np.uint8 if column.holds_bytes else np.float32)
