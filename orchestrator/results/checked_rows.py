"""The rows that an export is checked on: a sample, and what can be made of it that the model has not been fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.data.columns import Column, scalars
from orchestrator.data.encode import MISSING, UNSEEN, Features


def checked_rows(sample: Features, columns: Sequence[Column]) -> Features:
    """Return a sample, its values in other company, and rows in which one value is null or unseen.

    A sample of training rows alone would say little: its nearest neighbours are those rows themselves.
    """
    generator = np.random.default_rng(0)
    mixed = Features(
        _shuffled(sample.matrix, generator), {name: _mixed(a, generator) for name, a in sample.arrays.items()}
    )
    return _stacked([sample, mixed, _with_gaps(sample, columns)])


def _shuffled(matrix: np.ndarray[Any, Any], generator: np.random.Generator) -> np.ndarray[Any, Any]:
    return generator.permuted(matrix, axis=0)


def _mixed(array: Any, generator: np.random.Generator) -> Any:
    """Return arrays of numbers with every other number of another row, and others in another order."""
    order = generator.permutation(len(array))
    if not isinstance(array, np.ndarray):
        return array.take(pa.array(order))
    return np.where(generator.random(array.shape) < 0.5, array, array[order]).astype(array.dtype)


def _with_gaps(sample: Features, columns: Sequence[Column]) -> Features:
    gaps = [
        (place, gap)
        for place, column in enumerate(scalars(columns))
        for gap in ((MISSING, UNSEEN) if column.kind == "category" else (np.nan,))
    ]
    rows = sample.take(np.arange(len(gaps)) % len(sample))
    matrix = rows.matrix.copy()
    for row, (place, gap) in enumerate(gaps):
        matrix[row, place] = gap
    return Features(matrix, rows.arrays)


def _stacked(parts: Sequence[Features]) -> Features:
    arrays = {name: _joined([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return Features(np.concatenate([part.matrix for part in parts]), arrays)


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)
