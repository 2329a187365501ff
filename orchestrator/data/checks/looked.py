"""What the checks look at: training rows and, for copies and drift alone, test rows; and how many of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.columns import Column, scalars
from orchestrator.data.encode import Features, Floats, Task

Integers = npt.NDArray[np.int64]
MOST_ROWS = 20_000
"""How many rows the costlier checks look at; more say nothing more of faults that are worth a finding."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A dataset, read and split.

    Attributes:
        target_name: The target's column.
        task: classification or regression.
        columns: The features.
        table: The training rows as they were read.
        features: The training rows, encoded.
        target: Class codes or numbers of the training rows, shape (rows,).
        n_classes: How many classes there are; 0 for regression.
        metric: A scikit-learn scorer's name.
        validation: `validation.kind` of the job.
        beside: Columns of the training rows that are no features and may tell of groups or times.
        test: The test rows, encoded.
        test_target: Their target.
        test_is_given: Whether the test rows are a column's or a file's, and not drawn.
    """

    target_name: str
    task: Task
    columns: tuple[Column, ...]
    table: pa.Table
    features: Features
    target: npt.NDArray[Any]
    n_classes: int
    metric: str
    validation: str
    beside: pa.Table
    test: Features | None = None
    test_target: npt.NDArray[Any] | None = None
    test_is_given: bool = False

    def scalar_columns(self) -> Iterator[tuple[Column, Floats]]:
        """Yield the columns that are one number a row, with their encoded training values."""
        for place, column in enumerate(scalars(self.columns)):
            yield column, self.features.matrix[:, place]

    def answers(self, rows: Integers | slice = slice(None)) -> Floats:
        """Return the target of some training rows, shape (rows, classes) of zeros and ones, or (rows, 1) of numbers."""
        target = self.target[rows]
        if not self.n_classes:
            return np.asarray(target, dtype=np.float64)[:, np.newaxis]
        # of many classes those with the most rows are enough
        most = np.argsort(-np.bincount(target, minlength=self.n_classes), kind="stable")[:30]
        return np.asarray(target[:, np.newaxis] == most, dtype=np.float64)


def some_rows(n_rows: int, most: int = MOST_ROWS) -> Integers:
    """Return the places of at most `most` rows, drawn the same each time, ascending."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, most, replace=False))


def explained(answers: Floats, predicted: Floats) -> float:
    """Return the share of the answers' variance that predictions explain: R squared, or Brier's skill score of classes.

    Brier 1950, Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78. Can be negative.
    """
    total = float(((answers - answers.mean(axis=0)) ** 2).sum())
    return 1.0 - float(((answers - predicted) ** 2).sum()) / total if total > 0 else 0.0


def distinct(values: pa.ChunkedArray) -> pa.Array:
    """Return the distinct values without null, strings of dictionaries as strings."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pc.drop_null(values.unique())
