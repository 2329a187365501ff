"""A dataset that is too large for memory: one pass for its columns and fingerprint, another for its rows in a file.

The target alone is read whole. Test rows and folds are drawn from it as they are of a dataset in memory, so that they
are the same rows. Training rows are then put in a random order, drawn from the job's seed: those that no fold trains on
first, the others shuffled. That order is the training set's own from there on, and its stretches are samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.data import checks, encode, missing, parquet, roles, split
from orchestrator.data import target as targets
from orchestrator.data.array_file import ArrayFile
from orchestrator.data.checks import Finding
from orchestrator.data.columns import SCALARS, Column, Kind
from orchestrator.data.load import check_classes, check_seen, left, named_columns, target_of
from orchestrator.data.passes import LEFT_OUT, StreamedRows, opened, scanned
from orchestrator.data.scan import Scan
from orchestrator.data.sets import LoadedData, TestSet, TrainingSet
from orchestrator.data.store import StoredFeatures
from orchestrator.data.tables import read_tables
from orchestrator.errors import JobError, shown
from orchestrator.job import Data, Validation

MOST_SCORED = 100_000
"""Rows that a holdout scores on where the job does not say: enough to tell an accuracy to 0.3 %."""
_VALIDATIONS = frozenset({"auto", "holdout", "kfold", "stratified"})
_DENSE: frozenset[Kind] = frozenset({"date", "vector", "image"})
"""Kinds whose rows are arrays of one shape."""


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
    dataset = opened(data)
    parquet.check_files(dataset, tables.features, "data.path")
    target = tables.train.table.column(data.target)
    target_type = str(target.type)
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
    place = np.full(tables.sampled_of or len(y) + n_test, LEFT_OUT, np.int32)
    place[tables.train.places[order]] = np.arange(len(y), dtype=np.int32)
    if tables.test is not None:
        place[tables.test.places] = -1 - np.arange(n_test, dtype=np.int32)
    told, features, sampled_of = tables.findings, tables.features, tables.sampled_of
    del tables, target
    pa.default_memory_pool().release_unused()
    scans = scanned(dataset, data, features, place)
    described = tuple(
        roles.noted(missing.noted(one.column(), data.missing), data.columns.get(one.name)) for one in scans
    )
    found = _findings(scans, described, named_columns(data))
    columns = left(described, found, named_columns(data))
    findings, silenced = checks.heard([*told, *found], silence)
    checks.refuse_errors(findings)
    signature = encode.Signature(columns, data.target, bare.task, classes)
    digest = hashlib.blake2b(b"".join(one.digest() for one in scans), digest_size=16)
    content = np.frombuffer(digest.digest(), np.uint8)
    y, folds = y[order], tuple(_reordered(fold, order) for fold in folds)
    fingerprint = encode.fingerprint(signature, content, y, place)
    metric = metric or ("accuracy" if bare.task == "classification" else "r2")
    key = encode.fingerprint(signature, content, y, place, *(rows for f in folds for rows in (f.train, f.valid)))
    rows, rows_of_test = (_to_come(scans, columns, n) if n else None for n in (len(y), n_test))
    assert rows is not None
    train = TrainingSet(f"{key}-{metric}-{seed}", rows, y, folds, columns, bare.task, metric, seed)
    test = None if y_test is None or rows_of_test is None else TestSet(rows_of_test, y_test)
    return LoadedData(
        train,
        test,
        signature,
        fingerprint,
        {c.name: c.type for c in described} | {data.target: target_type},
        tuple(findings),
        silenced=tuple(silenced),
        sampled_of=sampled_of,
        streamed=StreamedRows(data, columns, place, rows, rows_of_test),
        validation=validation,
    )


def _findings(scans: Sequence[Scan], columns: Sequence[Column], named: frozenset[str]) -> list[Finding]:
    """Return what there is to say of single columns, and of copies."""
    found = []
    first: dict[object, str] = {}
    for scan, column in zip(scans, columns, strict=True):
        finding = scan.finding(named)
        if finding is None:
            original = first.setdefault((column.kind, column.categories, scan.digest()), column.name)
            if original != column.name:
                finding = checks.copied_finding(column.name, original, is_kept=column.name in named)
        found += [] if finding is None else [finding]
    return found


def _to_come(scans: Sequence[Scan], columns: Sequence[Column], n_rows: int) -> StoredFeatures:
    """Return features that have not been written yet."""
    dtype = "float32" if all(one.is_exact for one in scans) else "float64"
    shapes = tuple((c.name, c.shape if c.kind in _DENSE else ()) for c in columns if c.kind not in SCALARS)
    names = {column.name for column in columns}
    scans = [one for one in scans if one.name in names]
    n_seen = max(1, *(one.n_seen for one in scans))
    row_bytes = -(-sum(one.n_bytes for one in scans if one.name in dict(shapes)) // n_seen)
    others = ArrayFile("", shapes, row_bytes, n_rows) if shapes else None
    return StoredFeatures("", n_rows, len(columns) - len(shapes), dtype, others)


def _check(data: Data, validation: Validation) -> None:
    """Refuse what needs the whole table at once."""
    instead = "; leave it out, or raise resources.data_mb so that the data are held in memory"
    if data.sensitive:
        raise JobError(f"data.sensitive: found {shown(data.sensitive)}, which streamed runs lack{instead}")
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


__all__: list[Any] = ["MOST_SCORED", "load"]
