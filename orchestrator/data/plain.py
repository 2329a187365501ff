"""The plain type that stands for another with the same values: an encoding, a view or a wrapper means what is in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], pa.DataType]], ...] = (
    (pa.types.is_run_end_encoded, lambda kind: kind.value_type),
    (pa.types.is_string_view, lambda kind: pa.large_string()),
    (pa.types.is_binary_view, lambda kind: pa.large_binary()),
    (pa.types.is_list_view, lambda kind: pa.list_(kind.value_type)),
    (pa.types.is_large_list_view, lambda kind: pa.large_list(kind.value_type)),
    (pa.types.is_float16, lambda kind: pa.float32()),
    (pa.types.is_decimal32, lambda kind: pa.decimal128(kind.precision, kind.scale)),
    (pa.types.is_decimal64, lambda kind: pa.decimal128(kind.precision, kind.scale)),
)
"""Types for which Arrow lacks what is done with columns: picking rows, distinct values, casts."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the plain type of a type: of a dictionary its values', unless they are strings, which stay encoded.

    UUIDs stay what they are, for those who hand them on; of other extension types it is the storage's.
    """
    if isinstance(kind, pa.BaseExtensionType):
        if isinstance(kind, pa.Bool8Type):
            return pa.bool_()
        return kind if isinstance(kind, pa.UuidType) else plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        value_type = plain_type(kind.value_type)
        is_text = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
        return pa.dictionary(kind.index_type, value_type) if is_text else value_type
    return next((plain_type(plain(kind)) for is_it, plain in _PLAIN if is_it(kind)), kind)


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values in the plain type of theirs."""
    kind = plain_type(values.type)
    if values.type == kind:
        return values
    if pa.types.is_dictionary(kind):  # polars' categories, whose values Arrow cannot cast where they are encoded
        chunks = [pa.DictionaryArray.from_arrays(c.indices, c.dictionary.cast(kind.value_type)) for c in values.chunks]
        return pa.chunked_array(chunks, kind)
    if pa.types.is_run_end_encoded(values.type):
        decoded = [pc.run_end_decode(chunk) for chunk in values.chunks]
        return plain(pa.chunked_array(decoded, values.type.value_type))
    if isinstance(values.type, pa.BaseExtensionType) and not isinstance(values.type, pa.Bool8Type):
        return plain(pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type))
    if pa.types.is_dictionary(values.type):
        return plain(values.cast(values.type.value_type))
    if pa.types.is_list_view(values.type) or pa.types.is_large_list_view(values.type):
        return pa.chunked_array([_lists(chunk) for chunk in values.chunks], kind)
    return values.cast(kind)


def scanned_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a scan should give: the plain one, but for views.

    (Arrow 26 loses rows where it casts views of lists with nulls, and where it filters as it casts views of strings, it
    compares their statistics with no kernel to do so.)
    """
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_list_view, pa.types.is_large_list_view)
    return kind if any(is_it(kind) for is_it in views) else plain_type(kind)


def plain_table(table: pa.Table) -> pa.Table:
    """Return a table with its columns in their plain types."""
    return pa.Table.from_arrays([plain(column) for column in table.columns], names=table.column_names)


def _lists(views: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(views), 0).to_numpy()
    ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    kind, is_null = plain_type(views.type), pc.is_null(views)
    made = pa.LargeListArray.from_arrays(ends, views.flatten(), mask=is_null)
    return made if made.type == kind else made.cast(kind)
