"""A dataset that is too large for memory: one pass for its columns and fingerprint, another for its rows in a file.

The target alone is read whole. Test rows and folds are drawn from it as they are of a dataset in memory, so that they
are the same rows. Training rows are then put in a random order, drawn from the job's seed: those that no fold trains on
first, the others shuffled. That order is the training set's own from there on, and its stretches are samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.data import checks, encode, missing, parquet, split, stream
from orchestrator.data import target as targets
from orchestrator.data.columns import SCALARS, Column, excluding
from orchestrator.data.load import LoadedData, TestSet, TrainingSet, check_classes, check_seen, read_tables, target_of
from orchestrator.data.plain import plain
from orchestrator.data.scan import ColumnScan
from orchestrator.data.store import ShuffledFile, StoredFeatures
from orchestrator.errors import JobError, shown
from orchestrator.job import Data, Validation

MOST_SCORED = 100_000
"""Rows that a holdout scores on where the job does not say: enough to tell an accuracy to 0.3 %."""
BATCH_ROWS = 1 << 16
TRAIN_FILE, TEST_FILE = "train.rows", "test.rows"
_STREAMED_KEYS = frozenset({"path", "target", "features", "exclude", "task", "missing", "test"})
_VALIDATIONS = frozenset({"auto", "holdout", "kfold", "stratified"})
Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StreamedRows:
    """How the rows get into files.

    Attributes:
        path: The dataset.
        columns: What is read of it.
        place: Where each row goes, in the dataset's order: to a place among the training rows, or as -1 - place among
            the test rows.
        n_test: How many test rows there are.
        dtype: How numbers are kept.
    """

    path: str
    columns: tuple[Column, ...]
    place: Places
    n_test: int
    dtype: str

    def write(self, folder: Path) -> tuple[StoredFeatures, StoredFeatures | None]:
        """Write training and test rows into a folder, which is created."""
        folder.mkdir(parents=True)
        sizes = {TRAIN_FILE: len(self.place) - self.n_test, TEST_FILE: self.n_test}
        stored = {
            name: StoredFeatures(str((folder / name).absolute()), n, len(self.columns), self.dtype)
            for name, n in sizes.items()
        }
        train, test = (ShuffledFile(Path(one.path), len(one), one.n_columns, one.dtype) for one in stored.values())
        names = [column.name for column in self.columns]
        for start, table in _batches(parquet.open_dataset(self.path), names):
            place = self.place[start : start + len(table)]
            matrix = encode.encode(table, self.columns).matrix
            is_test = place < 0
            train.add(place[~is_test], matrix[~is_test])
            test.add(-1 - place[is_test], matrix[is_test])
        train.finish()
        test.finish()
        return stored[TRAIN_FILE], stored[TEST_FILE] if self.n_test else None


def load(data: Data, validation: Validation, metric: str | None, seed: int, silence: Sequence[str] = ()) -> LoadedData:
    """Read what planning needs of a dataset, and leave its rows where they are.

    Raises:
        JobError: The job does not fit the dataset, or asks for what streamed runs do not have.
        DataError: The dataset failed a check.
    """
    checks.check_silence(silence)
    _check(data, validation)
    tables = read_tables(data, validation, seed, of_target=True)
    checks.refuse_errors(tables.findings)
    dataset = parquet.open_dataset(data.path)
    kinds = {name: encode.kind_of(name, dataset.schema.field(name).type) for name in tables.features}
    for name, kind in kinds.items():
        if kind not in SCALARS:
            raise JobError(
                f"data.features: column {name!r} holds {kind}s, and streamed runs learn from numbers, booleans and "
                f"categories; leave it out with {excluding(name)}, or raise resources.data_mb"
            )
    parquet.check_files(dataset, tables.features, "data.path")
    target = tables.train.table.column(data.target)
    classes = targets.class_values(target) if tables.task == "classification" else ()
    bare = encode.Signature((), data.target, tables.task, classes)
    check_classes(bare)
    y = target_of(target, bare)
    y_test, n_test = None, 0
    if tables.test is not None:
        held_out = tables.test.table.column(data.target)
        y_test, n_test = target_of(held_out, bare), tables.test.table.num_rows
        check_seen(bare, y_test, held_out)
    validation = _bounded(validation, len(y))
    folds = split.folds(validation, y, tables.task == "classification", seed)
    order = _order(folds, len(y), seed)
    place = np.empty(len(y) + n_test, np.int32)
    place[tables.train.rows[order]] = np.arange(len(y), dtype=np.int32)
    if tables.test is not None:
        place[tables.test.rows] = -1 - np.arange(n_test, dtype=np.int32)
    told = tables.findings
    del tables, target
    pa.default_memory_pool().release_unused()
    scans = [ColumnScan(name, dataset.schema.field(name).type, kind) for name, kind in kinds.items()]
    for start, table in _batches(dataset, list(kinds)):
        is_training = place[start : start + len(table)] >= 0
        for scan, values in zip(scans, table.columns, strict=True):
            scan.add(missing.without(plain(values), data.missing), is_training)
    columns = tuple(missing.noted(scan.column(), data.missing) for scan in scans)
    found = [finding for scan in scans if (finding := scan.finding()) is not None]
    findings, silenced = checks.heard([*told, *found], silence)
    checks.refuse_errors(findings)
    signature = encode.Signature(columns, data.target, bare.task, classes)
    digest = hashlib.blake2b(b"".join(scan.digest() for scan in scans), digest_size=16)
    content = np.frombuffer(digest.digest(), np.uint8)
    y, folds = y[order], tuple(_reordered(fold, order) for fold in folds)
    fingerprint = encode.fingerprint(signature, content, y, place)
    metric = metric or ("accuracy" if bare.task == "classification" else "r2")
    key = encode.fingerprint(signature, content, y, place, *(rows for f in folds for rows in (f.train, f.valid)))
    dtype = "float32" if all(scan.is_exact for scan in scans) else "float64"
    rows = StreamedRows(data.path, columns, place, n_test, dtype)
    features = StoredFeatures("", len(y), len(columns), dtype)
    train = TrainingSet(f"{key}-{metric}-{seed}", features, y, folds, columns, bare.task, metric, seed)
    test = None if y_test is None else TestSet(StoredFeatures("", n_test, len(columns), dtype), y_test)
    schema = {c.name: c.type for c in columns} | {data.target: str(dataset.schema.field(data.target).type)}
    return LoadedData(
        train,
        test,
        signature,
        fingerprint,
        schema,
        tuple(findings),
        silenced=tuple(silenced),
        streamed=rows,
        validation=validation,
    )


def _check(data: Data, validation: Validation) -> None:
    """Refuse what needs the whole table at once."""
    instead = "; leave it out, or raise resources.data_mb so that the data are held in memory"
    for one in fields(data):
        value = getattr(data, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in _STREAMED_KEYS and value != default:
            raise JobError(f"data.{one.name}: found {shown(value)}, which streamed runs lack{instead}")
    for key in ("path", "group", "time"):
        if getattr(data.test, key, None) is not None:
            raise JobError(f"data.test.{key}: streamed runs draw test rows one by one; give fraction or column")
    if validation.kind not in _VALIDATIONS:
        raise JobError(f"validation.kind: {validation.kind}, which streamed runs lack{instead}")


def _bounded(validation: Validation, n_rows: int) -> Validation:
    """Return the validation of a streamed run: a holdout where the job does not say."""
    if validation.kind != "auto" or validation.folds is not None:
        return validation
    return Validation("holdout", fraction=min(0.2, MOST_SCORED / max(1, n_rows)))


def _order(folds: Sequence[split.Fold], n_rows: int, seed: int) -> npt.NDArray[np.int32]:
    """Return the training rows in the order that they get: those that no fold trains on, then the others."""
    is_learnt = np.zeros(n_rows, np.bool_)
    for fold in folds:
        is_learnt[fold.train] = True
    shuffled = np.random.default_rng([seed, n_rows]).permutation(np.arange(n_rows, dtype=np.int32))
    learnt = is_learnt[shuffled]
    return np.concatenate([shuffled[~learnt], shuffled[learnt]])


def _reordered(fold: split.Fold, order: npt.NDArray[np.int32]) -> split.Fold:
    marks = np.zeros(len(order), np.int8)
    marks[fold.train], marks[fold.valid] = 1, 2
    marks = marks[order]
    rows = np.arange(len(order), dtype=np.int32)  # half of what int64 takes; millions of them go to each worker
    return split.Fold(rows[marks == 1], rows[marks == 2])


def _batches(dataset: ds.Dataset, names: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of a dataset in order, with the place of each batch's first row."""
    start = 0
    for piece in stream.pieces_of(dataset, "data.path"):
        for _, table in stream.batches(dataset.filesystem, piece, names, dataset.schema, BATCH_ROWS):
            yield start, table
            start += len(table)


__all__: list[Any] = ["MOST_SCORED", "StreamedRows", "load"]
