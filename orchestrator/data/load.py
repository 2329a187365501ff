"""From the job's `data` to what a run works on: read, checked, split and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.data import checks, encode, missing, roles, split
from orchestrator.data import target as targets
from orchestrator.data.checks import Finding
from orchestrator.data.encode import Column, Signature
from orchestrator.data.plain import plain_type
from orchestrator.data.sets import LoadedData, TestSet, TrainingSet
from orchestrator.data.tables import Tables, read_tables
from orchestrator.errors import DataError, shown
from orchestrator.job import Data, Validation, honest_test


def load(
    data: Data,
    validation: Validation,
    metric: str | None,
    seed: int,
    *,
    keeps_test_table: bool = False,
    silence: Sequence[str] = (),
    most_bytes: int | None = None,
) -> LoadedData:
    """Read, check, split and encode the job's dataset.

    Args:
        data: Where it is and what its columns are for.
        validation: How the training rows are folded.
        metric: A scikit-learn scorer's name, or None for the task's own (accuracy, r2).
        seed: The job's seed.
        keeps_test_table: Whether to keep the test rows as they were read.
        silence: Codes of findings that are not told of, or `CODE:COLUMN`.
        most_bytes: What the rows may take in memory; None for no bound.

    Raises:
        JobError: The job does not fit the dataset.
        DataError: The dataset failed a check.
        TooLarge: The rows take more than `most_bytes`; only their number was read.
    """
    checks.check_silence(silence)
    data = honest_test(data, validation)
    tables = read_tables(data, validation, seed, most_bytes=most_bytes)
    checks.refuse_errors(tables.findings)
    table, is_classification = tables.train.table, tables.task == "classification"
    target = table.column(data.target)
    classes = targets.class_values(target) if is_classification else ()
    check_classes(Signature((), data.target, tables.task, classes))
    described = _described(tables, data)
    features = encode.encode(table, described, tables.train.places)
    named = named_columns(data)
    findings = [*tables.findings, *_told_of_columns(tables, described, features, named)]
    columns = left(described, findings, named)
    features = features.select(columns, described)
    signature = Signature(columns, data.target, tables.task, classes)
    y = target_of(target, signature)
    marks = table.column(validation.column) if validation.kind == "predefined" else None
    folds = split.folds(validation, y, is_classification, seed, tables.dependence, marks)
    if is_classification:
        split.check_training_classes(folds, y.astype(np.int64), validation.kind)
    if tables.dependence is not None and validation.column is None:
        findings += checks.random_folds_findings(tables.dependence)
    n_folds = validation.folds or 5 if validation.kind == "repeated" else len(folds)
    if is_classification and n_folds > 1:
        findings += checks.fold_findings(data.target, y.astype(np.int64), classes, n_folds)
    metric = metric or ("accuracy" if is_classification else "r2")
    kin = () if tables.dependence is None else (tables.dependence.codes,)
    key = encode.fingerprint(signature, features, y, *(rows for f in folds for rows in (f.train, f.valid)), *kin)
    train = TrainingSet(
        f"{key}-{metric}-{seed}",
        features,
        y,
        folds,
        columns,
        tables.task,
        metric,
        seed,
        dependence=tables.dependence,
    )
    test = _test_set(tables, signature)
    findings += checks.data_findings(_looked(tables, data, validation, train, test))
    findings, silenced = checks.heard(findings, silence)
    checks.refuse_errors(findings)
    for array in (features.matrix, y, *features.arrays.values()):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # as they are on a worker that shares them
    held_out_parts = () if test is None else (test.features, test.target)
    return LoadedData(
        train,
        test,
        signature,
        encode.fingerprint(signature, features, y, *held_out_parts),
        {name: str(plain_type(table.schema.field(name).type)) for name in [*tables.features, data.target]},
        tuple(findings),
        tables.test.table if keeps_test_table and tables.test is not None else None,
        table.select(data.sensitive) if data.sensitive else None,
        tuple(silenced),
        tables.sampled_of,
    )


def _described(tables: Tables, data: Data) -> tuple[Column, ...]:
    """Return what the features are that hold something, by their training rows."""
    table, rows = tables.train.table, tables.train.places
    found = []
    for name in tables.features:
        values = table.column(name)
        if not checks.is_empty(values):
            column = encode.column_of(name, values, is_text=is_text(data, name), rows=rows)
            found.append(roles.noted(missing.noted(column, data.missing), data.columns.get(name)))
    return tuple(found)


def _told_of_columns(
    tables: Tables, described: Sequence[Column], features: encode.Features, named: frozenset[str]
) -> list[Finding]:
    """Return what there is to say of single columns, and of copies."""
    known = {column.name for column in described}
    found = [checks.all_null_finding(name) for name in tables.features if name not in known]
    found += checks.column_findings(described, tables.train.table, named)
    of_one_value = {f.column for f in found if f.code == "constant_column"}
    return [*found, *checks.copied_findings(described, features, of_one_value, named)]


def _test_set(tables: Tables, signature: Signature) -> TestSet | None:
    if tables.test is None:
        return None
    values = tables.test.table.column(signature.target)
    features = encode.encode(tables.test.table, signature.columns, tables.test.places)
    test = TestSet(features, target_of(values, signature), tables.tested)
    check_seen(signature, test.target, values)
    return test


def _looked(
    tables: Tables, data: Data, validation: Validation, train: TrainingSet, test: TestSet | None
) -> checks.Looked:
    """Return what the checks look at."""
    return checks.Looked(
        data.target,
        train.task,
        train.columns,
        tables.train.table.select([column.name for column in train.columns]),
        train.features,
        train.target,
        train.n_classes,
        train.metric,
        validation.kind,
        tables.train.table.select(tables.beside),
        None if test is None else test.features,
        None if test is None else test.target,
        data.test is not None and (data.test.path or data.test.column) is not None,
    )


_TELL_NOTHING = {"all_null_column"}, {"constant_column", "copied_column"}


def named_columns(data: Data) -> frozenset[str]:
    """Return the features that the job names, which are learnt from although they may tell nothing."""
    return frozenset([*(data.features or ()), *data.columns, *data.text])


def left(columns: Sequence[Column], findings: Sequence[Finding], named: frozenset[str]) -> tuple[Column, ...]:
    """Return the columns that there is something to learn from.

    Raises:
        DataError: There are none.
    """
    told = {(f.code, f.column) for f in findings}
    empty, idle = ({name for code, name in told if code in codes} for codes in _TELL_NOTHING)
    kept = tuple(c for c in columns if c.name not in empty and (c.name in named or c.name not in idle))
    if not kept:
        raise DataError(
            "data.features: no column is left to learn from, as all hold nothing, or one value in all training rows; "
            "expected at least one that does not"
        )
    return kept


def check_classes(signature: Signature) -> None:
    """Refuse training rows of one class.

    Raises:
        DataError: They are.
    """
    if signature.task == "classification" and len(signature.classes) < 2:
        raise DataError(
            f"data.target: {signature.target!r} has one class, {shown(signature.classes[0])}, in the training rows; "
            "expected at least two. Choose other test rows with data.test"
        )


def check_seen(signature: Signature, codes: npt.NDArray[Any], values: pa.ChunkedArray) -> None:
    """Refuse test rows of a class that the training rows lack.

    Raises:
        DataError: There are some.
    """
    if signature.task == "classification" and (codes < 0).any():
        unseen = values[int(np.argmax(codes < 0))].as_py()
        raise DataError(
            f"data.test: class {shown(unseen)} of {signature.target!r} occurs in test rows alone; expected the classes "
            "of the training rows. Choose other test rows, or remove or merge the class"
        )


def target_of(values: pa.ChunkedArray, signature: Signature) -> npt.NDArray[np.int64] | encode.Floats:
    """Return a target as class codes, or as numbers."""
    if signature.task == "classification":
        return targets.encode_classes(values, signature.classes)
    return targets.encode_numbers(values, signature.target)


def is_text(data: Data, name: str) -> bool | None:
    """Tell whether the job says that a column of strings is text, or that it is not."""
    role = data.columns.get(name)
    if role is not None and role.kind is not None:
        return role.kind == "text"
    return True if name in data.text else None
