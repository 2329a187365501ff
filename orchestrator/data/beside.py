"""Columns that are no features and may still tell the checks of times and groups: those that the job leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from orchestrator.job import Data
from orchestrator.objects import is_uri

_MOST_COLUMNS = 16
_LONGEST = 64
"""Strings that are longer on average are no names of groups, and cost memory."""


def columns_beside(dataset: ds.Dataset, data: Data, features: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to read for the checks alone: excluded ids and all times, where every file has them.

    Of a dataset at a URI there are none: only what a run needs is fetched.

    Args:
        dataset: The job's.
        data: What it says of it.
        features: The columns that are read anyway.
    """
    if is_uri(data.path):
        return ()
    schemas = [fragment.physical_schema for fragment in dataset.get_fragments()]
    names = []
    for field in dataset.schema:
        is_time = pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        is_id = field.name in data.exclude and (is_number or _is_short(dataset, field))
        if field.name == data.target or field.name in features or not (is_time or is_id):
            continue
        if all(field.name in own.names and own.field(field.name).type == field.type for own in schemas):
            names.append(field.name)
    return tuple(names[:_MOST_COLUMNS])


def _is_short(dataset: ds.Dataset, field: pa.Field) -> bool:
    if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
        return False
    try:
        first = dataset.head(200, columns=[field.name]).column(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError):
        return False
    return float(pc.mean(pc.utf8_length(first)).as_py() or _LONGEST + 1) <= _LONGEST
