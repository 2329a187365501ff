"""What a run works on: training rows with their folds, which workers share, and the test rows, sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.data import encode, split
from orchestrator.data.checks import Finding
from orchestrator.data.dependence import Dependence
from orchestrator.data.encode import Column, Features, Signature, Task
from orchestrator.job import Validation


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What workers share: the training rows and their folds. Arrays are read-only on a worker.

    Attributes:
        key: A hash of everything in it.
        features: Encoded features.
        target: Class codes (int64) or numbers (float64), shape (rows,).
        folds: Positions of each fold.
        columns: What the features are, in order.
        task: classification or regression.
        metric: A scikit-learn scorer's name.
        seed: The job's seed.
        code: The text of the user's own files, by the names of the functions that trials ask for.
        files: The bytes of other files that trials name.
        dependence: The rows' groups or times, where the job names a column of those for its splits.
    """

    key: str
    features: Features
    target: npt.NDArray[np.int64] | encode.Floats
    folds: tuple[split.Fold, ...]
    columns: tuple[Column, ...]
    task: Task
    metric: str
    seed: int
    code: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    dependence: Dependence | None = None

    @property
    def n_classes(self) -> int:
        """How many classes there are, all of them in these rows; 0 for regression."""
        return int(self.target.max()) + 1 if self.task == "classification" else 0

    @property
    def matrix(self) -> encode.Floats:
        """The scalar columns (number, boolean, category) of the features."""
        return self.features.matrix


@dataclass(frozen=True, slots=True)
class TestSet:
    """The sealed rows, encoded as the training rows are; nothing reads it before the end."""

    __test__ = False

    features: Features
    target: npt.NDArray[np.int64] | encode.Floats
    dependence: Dependence | None = None

    @property
    def matrix(self) -> encode.Floats:
        """The scalar columns of the features."""
        return self.features.matrix


class Streamed(Protocol):
    """How the rows of a dataset that is too large for memory get into a file."""

    def write(self, folder: Path) -> tuple[Features, Features | None]:
        """Write training and test rows into a folder, and return them as features that are read from there."""


@dataclass(frozen=True, slots=True)
class LoadedData:
    """A dataset, read, split and encoded.

    Of the test rows also the table as it was read, where it is asked for; of the job's sensitive columns, the training
    rows' own values; of a sample, how many rows it was drawn from. `silenced` is what the job does not want to hear of.
    Of a dataset that is too large for memory, `streamed` says how its rows are written to a file, and `validation` how
    they are folded.
    """

    train: TrainingSet
    test: TestSet | None
    signature: Signature
    fingerprint: str
    schema: dict[str, str]
    findings: tuple[Finding, ...]
    test_table: pa.Table | None = None
    sensitive: pa.Table | None = None
    silenced: tuple[Finding, ...] = ()
    sampled_of: int | None = None
    streamed: Streamed | None = None
    validation: Validation | None = None


class TooLarge(Exception):
    """The dataset takes more memory than the job allows.

    Args:
        n_bytes: What it takes, about.
        n_rows: How many rows it has.
        n_columns: How many columns of them are needed.
    """

    def __init__(self, n_bytes: int, n_rows: int, n_columns: int) -> None:
        super().__init__(f"{n_rows} rows of {n_columns} columns take {n_bytes} bytes")
        self.n_bytes, self.n_rows, self.n_columns = n_bytes, n_rows, n_columns
