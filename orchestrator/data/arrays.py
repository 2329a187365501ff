"""Columns of more than one number a row, as arrays: text, vectors, images, sequences.

Each array owns its memory and no more: a slice of a larger buffer would travel to workers with all of it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import Column, excluding
from orchestrator.data.plain import plain
from orchestrator.errors import DataError

Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
FORMATS = ("PNG", "JPEG")
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}
"""What an image's mode becomes: black and white in grey, a palette in its colours."""
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
SPACES = 4.0
DISTINCT = 0.5


def strings(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return strings of any type, dictionaries too, as large strings."""
    return plain(values).cast(pa.large_string())


def reads_as_text(values: pa.ChunkedArray) -> bool:
    """Tell whether large strings are text: at least four spaces on average, and more than half of them distinct."""
    present = values.drop_null()
    spaces = pc.mean(pc.count_substring(present, " ")).as_py()
    return spaces is not None and spaces >= SPACES and len(present.unique()) > DISTINCT * len(present)


def texts(values: pa.ChunkedArray) -> pa.LargeStringArray:
    """Return text, nulls kept."""
    return pa.concat_arrays([*strings(values).chunks, pa.array([], pa.large_string())])  # two arrays: always a copy


def vectors(values: pa.ChunkedArray, column: Column, rows: Rows | None = None) -> Numbers:
    """Return vectors of one size, shape (rows, size): uint8 where they were so in training, else float32.

    Args:
        values: Lists, of fixed size or not.
        column: What they were in training.
        rows: What the rows are called in messages; their places by default.

    Raises:
        DataError: A row or an element is null or not finite, or a row has another size.
    """
    lists, (size,) = values.combine_chunks(), column.shape
    if size == 0:
        raise DataError(
            f"data.features: column {column.name!r} has no numbers in its lists; leave it out with "
            f"{excluding(column.name)}"
        )
    if lists.null_count:
        raise _refusal(column, _first(lists.is_null()), "is null", f"{size} numbers", rows)
    lengths = np.full(len(lists), size) if len(lists) == 0 else pc.list_value_length(lists).to_numpy()
    if (lengths != size).any():
        row = int(np.argmax(lengths != size))
        raise _refusal(column, row, f"has {lengths[row]} numbers", f"{size}", rows)
    return _numbers(lists.flatten(), column, lengths, rows).reshape(len(lists), size)


def sequences(values: pa.ChunkedArray, column: Column, rows: Rows | None = None) -> pa.LargeListArray:
    """Return sequences of any lengths, of float32 or of fixed-size lists of float32; null becomes an empty one.

    Args:
        values: Lists.
        column: What they were in training.
        rows: What the rows are called in messages; their places by default.

    Raises:
        DataError: A step or a number of one is null or not finite, or steps have another number of channels.
    """
    lists = values.combine_chunks()
    steps = lists.flatten()
    channels = (steps.type.list_size,) if pa.types.is_fixed_size_list(steps.type) else ()
    if channels != column.shape:
        raise DataError(
            f"data.features: column {column.name!r} has type {values.type}; expected steps of "
            f"{column.shape[0] if column.shape else 1} numbers, as in {column.type}"
        )
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    if steps.null_count:
        raise _refusal(column, _row_of(_first(steps.is_null()), lengths), "has null in it", "numbers alone", rows)
    width = channels[0] if channels else 1
    inner = pa.array(_numbers(steps.flatten() if channels else steps, column, lengths * width, rows))
    if channels:
        inner = pa.FixedSizeListArray.from_arrays(inner, width)
    return pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)])), inner)


def _numbers(numbers: pa.Array, column: Column, counts: Rows, rows: Rows | None) -> Numbers:
    """Return all numbers of a column; `counts` is how many each row has."""
    if numbers.null_count:
        raise _refusal(column, _row_of(_first(numbers.is_null()), counts), "has null in it", "numbers alone", rows)
    if column.holds_bytes:
        try:
            return np.ascontiguousarray(numbers.cast(pa.uint8()).to_numpy())
        except pa.ArrowInvalid:
            raise DataError(
                f"data.features: column {column.name!r} holds other numbers than whole ones from 0 to 255; expected "
                f"those alone, as in {column.type}"
            ) from None
    floats = np.ascontiguousarray(numbers.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False))
    if not np.isfinite(floats).all():
        row = _row_of(int(np.argmin(np.isfinite(floats))), counts)
        raise _refusal(column, row, "has infinite values or nan in it", "finite numbers", rows)
    return floats


def image_shape(values: pa.ChunkedArray, column: Column, rows: Rows | None = None) -> tuple[int, int, int]:
    """Return height, width and channels of the first image.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    present = next((place for place, value in enumerate(values) if value.is_valid), None)
    if present is None:
        raise DataError(
            f"data.features: column {column.name!r} is null in every training row; leave it out with "
            f"{excluding(column.name)}"
        )
    height, width, channels = _pixels(values[present].as_py(), column, present, rows).shape
    return height, width, channels


def images(values: pa.ChunkedArray, column: Column, rows: Rows | None = None) -> npt.NDArray[np.uint8]:
    """Return decoded images, shape (rows, height, width, channels).

    Args:
        values: PNG or JPEG images as bytes.
        column: What they were in training.
        rows: What the rows are called in messages; their places by default.

    Raises:
        DataError: A row is null, is no such image, or has another size or another number of channels.
    """
    decoded = np.empty((len(values), *column.shape), dtype=np.uint8)

    def decode(place: int) -> None:
        content = values[place].as_py()
        if content is None:
            raise _refusal(column, place, "is null", "an image in every row", rows)
        pixels = _pixels(content, column, place, rows)
        if pixels.shape != column.shape:
            raise _refusal(column, place, f"is {_size(pixels.shape)}", f"{_size(column.shape)} in every row", rows)
        decoded[place] = pixels

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside of Python's lock
        for _ in pool.map(decode, range(len(values))):
            pass
    return decoded


def _pixels(content: bytes, column: Column, place: int, rows: Rows | None) -> npt.NDArray[np.uint8]:
    from PIL import Image  # here, since most data have no images

    expected = f"a {' or '.join(FORMATS)} image"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            mode = _MODES.get(image.mode)
            if mode is None:
                raise _refusal(column, place, f"is an image of mode {image.mode}", f"one of {', '.join(_MODES)}", rows)
            pixels = np.asarray(image.convert(mode), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kind = "is not" if isinstance(error, Image.UnidentifiedImageError) else "is damaged or too large for"
        raise _refusal(column, place, f"{kind} {expected}", f"{expected} in every row", rows) from None
    return pixels.reshape(*pixels.shape[:2], _CHANNELS[mode])


def _size(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{width} x {height} pixels of {channels} channel{'s' if channels > 1 else ''}"


def _first(mask: Any) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _row_of(place: int, counts: Rows) -> int:
    return int(np.searchsorted(np.cumsum(counts), place, side="right"))


def _refusal(column: Column, place: int, found: str, expected: str, rows: Rows | None) -> DataError:
    row = place if rows is None else int(rows[place])
    return DataError(
        f"data.features: column {column.name!r}, row {row} (from 0), {found}; expected {expected}. "
        f"Mend those rows, or leave it out with {excluding(column.name)}"
    )
