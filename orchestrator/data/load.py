"""From the job's `data` to what a run works on: training rows with their folds, and the test rows, sealed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from orchestrator.data import beside, checks, draw, encode, missing, parquet, roles, split
from orchestrator.data import target as targets
from orchestrator.data.checks import Finding
from orchestrator.data.columns import SCALARS, check_target
from orchestrator.data.dependence import Dependence, Rows, dependence_of
from orchestrator.data.encode import Column, Features, Signature, Task
from orchestrator.data.plain import plain_type
from orchestrator.data.rows import Rows as ChosenRows
from orchestrator.errors import DataError, JobError, did_you_mean, shown
from orchestrator.job import Data, Test, Validation, honest_test


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


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of those that were read, their places among them, and those in the dataset, by which they are named."""

    table: pa.Table
    rows: Rows
    places: Rows


@dataclass(frozen=True, slots=True)
class _Tables:
    train: _Part
    test: _Part | None
    features: list[str]
    task: Task
    findings: list[Finding]
    dependence: Dependence | None
    tested: Dependence | None
    beside: tuple[str, ...]
    sampled_of: int | None = None


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
    table, rows = tables.train.table, tables.train.places
    described = tuple(
        roles.noted(
            missing.noted(
                encode.column_of(name, table.column(name), is_text=is_text(data, name), rows=rows), data.missing
            ),
            data.columns.get(name),
        )
        for name in tables.features
        if not checks.is_empty(table.column(name))
    )
    target = table.column(data.target)
    classes = targets.class_values(target) if tables.task == "classification" else ()
    check_classes(Signature((), data.target, tables.task, classes))
    named = named_columns(data)
    findings = [*tables.findings, *checks.column_findings(described, table, named)]
    findings += [checks.all_null_finding(name) for name in tables.features if checks.is_empty(table.column(name))]
    features = encode.encode(table, described, rows)
    of_one_value = {f.column for f in findings if f.code == "constant_column"}
    findings += checks.copied_findings(described, features, of_one_value, named)
    columns = left(described, findings, named)
    features = features.select(columns, described)
    signature = Signature(columns, data.target, tables.task, classes)
    y = target_of(target, signature)
    marks = table.column(validation.column) if validation.kind == "predefined" else None
    folds = split.folds(validation, y, tables.task == "classification", seed, tables.dependence, marks)
    if tables.dependence is not None and validation.column is None:
        findings += checks.random_folds_findings(tables.dependence)
    n_folds = validation.folds or 5 if validation.kind == "repeated" else len(folds)
    if tables.task == "classification" and n_folds > 1:
        findings += checks.fold_findings(data.target, y.astype(np.int64), classes, n_folds)
    test = None
    if tables.test is not None:
        held_out = tables.test.table.column(data.target)
        encoded = encode.encode(tables.test.table, columns, tables.test.places)
        test = TestSet(encoded, target_of(held_out, signature), tables.tested)
        check_seen(signature, test.target, held_out)
    looked = checks.Looked(
        data.target,
        tables.task,
        columns,
        table.select([column.name for column in columns]),
        features,
        y,
        len(classes),
        metric or ("accuracy" if tables.task == "classification" else "r2"),
        validation.kind,
        table.select(tables.beside),
        None if test is None else test.features,
        None if test is None else test.target,
        data.test is not None and (data.test.path or data.test.column) is not None,
    )
    findings, silenced = checks.heard([*findings, *checks.data_findings(looked)], silence)
    checks.refuse_errors(findings)
    for array in (features.matrix, y, *features.arrays.values()):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # as they are on a worker that shares them
    held_out_parts = () if test is None else (test.features, test.target)
    fingerprint = encode.fingerprint(signature, features, y, *held_out_parts)
    metric = metric or ("accuracy" if tables.task == "classification" else "r2")
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
    schema = {name: str(plain_type(table.schema.field(name).type)) for name in [*tables.features, data.target]}
    test_table = tables.test.table if keeps_test_table and tables.test is not None else None
    sensitive = table.select(data.sensitive) if data.sensitive else None
    return LoadedData(
        train,
        test,
        signature,
        fingerprint,
        schema,
        tuple(findings),
        test_table,
        sensitive,
        tuple(silenced),
        tables.sampled_of,
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


def read_tables(
    data: Data, validation: Validation, seed: int, *, most_bytes: int | None = None, of_target: bool = False
) -> _Tables:
    """Read the dataset and tell its training rows from its test rows.

    Args:
        data: Where it is and what its columns are for.
        validation: How the training rows are folded.
        seed: The job's seed.
        most_bytes: As for `load`.
        of_target: Whether to leave the features out.

    Raises:
        JobError: The job does not fit the dataset.
        DataError: The dataset cannot be read.
        TooLarge: As for `load`.
    """
    dataset = parquet.open_dataset(data.path, filters=data.filters)
    test = data.test
    names = dataset.schema.names
    reserved, closed = _reserved(data, validation, names)
    features = parquet.columns_in_use(names, data.target, data.features, data.exclude, closed)
    empty = [name for name in features if pa.types.is_null(dataset.schema.field(name).type)]
    features = [name for name in features if name not in empty]
    for name in features:
        encode.kind_of(name, dataset.schema.field(name).type)
    _check_text(data.text, features, dataset.schema)
    roles.check(data.columns, features, dataset.schema)
    _check_sensitive(data, dataset.schema)
    check_target(data.target, dataset.schema.field(data.target).type)
    more_columns = () if of_target else beside.columns_beside(dataset, data, features)
    read = [] if of_target else features
    wanted = list(dict.fromkeys([*read, data.target, *reserved, *data.sensitive, *more_columns]))
    if most_bytes is not None:
        _check_size(dataset, data, wanted, most_bytes)
    chosen = parquet.choose(dataset, wanted, data.path, filters=data.filters, sample=data.sample, seed=seed)
    if data.filters and not chosen.n_rows:
        raise DataError("data.filters: no row is left; expected filters that some rows of data.path fulfil")
    table = _with_plain_target(chosen.table, data.target)
    table = roles.cast(missing.nulled(table, read, data.missing), data.columns)
    target = table.column(data.target)
    task: Task = targets.infer_task(target) if data.task == "auto" else data.task
    findings = checks.target_findings(data.target, target, task == "classification")
    findings += [checks.all_null_finding(name) for name in empty]
    sampled_of = chosen.n_rows if table.num_rows < chosen.n_rows else None
    if sampled_of is not None:
        findings.append(checks.sample_finding(table.num_rows, sampled_of))
    everywhere = _Part(table, np.arange(table.num_rows), chosen.places)
    dependence = None if any(f.severity == "error" for f in findings) else _dependence(data, validation, table)
    train, held_out = everywhere, None
    if test is not None and not any(f.severity == "error" for f in findings):
        if test.path is not None:
            kin = "" if dependence is None else dependence.column
            held_out, more = _own_file(test.path, dataset.schema, features, data.target, kin)
            nulled = roles.cast(missing.nulled(held_out.table, features, data.missing), data.columns)
            held_out = replace(held_out, table=nulled)
            findings += more
        elif test.folds is not None:
            train, held_out = _outer(everywhere, test, validation, target, task, seed, dependence)
        elif test.column is not None:
            train, held_out = _marked(everywhere, test.column, test.value)
        else:
            train, held_out, more = _drawn(everywhere, test, data.target, task, seed, dependence, validation)
            findings += more
    of_train = None if dependence is None else dependence.take(train.rows)
    tested = None
    if held_out is not None and dependence is not None:
        if test is not None and test.path is None:
            findings += checks.dependence_findings(dependence, train.rows, held_out.rows)
            tested = dependence.take(held_out.rows)
        elif dependence.column in held_out.table.column_names:
            values = held_out.table.column(dependence.column)
            tested = dependence_of(dependence.kind, dependence.column, values, "data.test.path")
    return _Tables(train, held_out, features, task, findings, of_train, tested, more_columns, sampled_of)


def _reserved(data: Data, validation: Validation, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns that splits look at, and those of them that are no features.

    Raises:
        JobError: There is no such column, or it is the target.
    """
    test = data.test or Test(fraction=0.5)
    roles = {
        "validation.column": validation.column,
        "data.test.column": test.column,
        "data.test.group": test.group,
        "data.test.time": test.time,
    }
    for key, name in roles.items():
        if name is not None and name not in names:
            raise JobError(f"{key}: no column {name!r} in the dataset.{did_you_mean(name, names)}")
        if name == data.target and key != "data.test.column":
            raise JobError(f"{key}: holds the target {name!r}; expected a column to split by")
    reserved = [name for name in roles.values() if name is not None]
    return reserved, [name for name in reserved if name == test.column or name not in (data.features or ())]


def _dependence(data: Data, validation: Validation, table: pa.Table) -> Dependence | None:
    """Return how all rows depend on each other: by the column of validation, else by that of the test rows."""
    key, by, name = "validation.column", validation.kind, validation.column
    if by not in ("group", "stratified_group", "time"):
        test = data.test
        if test is None or (test.group is None and test.time is None):
            return None
        by = "group" if test.group is not None else "time"
        key, name = f"data.test.{by}", test.group or test.time
    assert name is not None
    return dependence_of("time" if by == "time" else "group", name, table.column(name), key)


def _check_size(dataset: ds.Dataset, data: Data, wanted: Sequence[str], most_bytes: int) -> None:
    """Refuse rows that take more memory than is allowed; those that filters leave are counted where it matters."""
    n_rows, size = int(dataset.count_rows()), parquet.bytes_in_memory(dataset, wanted)
    if size <= most_bytes:
        return
    n_left = ChosenRows(dataset, data.filters).count()
    if data.sample is not None:
        n_left = min(n_left, data.sample.rows or math.ceil((data.sample.fraction or 1.0) * n_left))
    if size * n_left // n_rows > most_bytes:
        raise TooLarge(size * n_left // n_rows, n_left, len(wanted))


def is_text(data: Data, name: str) -> bool | None:
    """Tell whether the job says that a column of strings is text, or that it is not."""
    role = data.columns.get(name)
    if role is not None and role.kind is not None:
        return role.kind == "text"
    return True if name in data.text else None


def _check_text(text: Sequence[str], features: Sequence[str], schema: pa.Schema) -> None:
    for name in text:
        if name not in features:
            raise JobError(f"data.text: {name!r} is no feature.{did_you_mean(name, features)}")
        if encode.kind_of(name, schema.field(name).type) != "category":
            raise JobError(f"data.text: column {name!r} has type {schema.field(name).type}; expected strings")


def _check_sensitive(data: Data, schema: pa.Schema) -> None:
    for name in data.sensitive:
        if name not in schema.names:
            raise JobError(f"data.sensitive: no column {name!r} in the dataset.{did_you_mean(name, schema.names)}")
        if name == data.target:
            raise JobError(f"data.sensitive: holds the target {name!r}; expected columns to compare groups by")
        if encode.kind_of(name, schema.field(name).type, "data.sensitive") not in SCALARS:
            raise DataError(
                f"data.sensitive: column {name!r} has type {schema.field(name).type}; expected numbers, booleans or "
                "strings"
            )


def _own_file(path: str, schema: pa.Schema, features: list[str], target: str, kin: str) -> tuple[_Part, list[Finding]]:
    """Return the test rows that are a dataset of their own, with columns of the same kinds as `schema`'s.

    They come with the column `kin` of groups or times, too, where they have it.
    """
    key = "data.test.path"
    other = parquet.open_dataset(path, key)
    for name in [*features, target]:
        if name not in other.schema.names:
            raise DataError(f"{key}: {path} has no column {name!r}, which the dataset has")
        here, there = schema.field(name).type, other.schema.field(name).type
        if not pa.types.is_null(there) and encode.kind_of(name, there, key) != encode.kind_of(name, here):
            raise DataError(f"{key}: column {name!r} is of type {there}; expected {here}, as it is in data.path")
    wanted = dict.fromkeys([*features, target, *(name for name in [kin] if name in other.schema.names)])
    held_out = _with_plain_target(parquet.read(other, list(wanted), path, key), target)
    findings = checks.value_findings(target, held_out.column(target), key)
    if held_out.num_rows == 0:
        findings.append(Finding("no_test_rows", "error", f"{key}: {path} has no rows; expected some"))
    places = np.arange(held_out.num_rows)
    return _Part(held_out, places, places), findings


def _marked(whole: _Part, column: str, value: object) -> tuple[_Part, _Part]:
    """Return the training and the test rows, told apart by a column."""
    values = whole.table.column(column)
    mask = _marks(values, value)
    if not mask.any() or mask.all():
        raise DataError(
            f"data.test.value: {int(mask.sum())} of {len(mask)} rows have {shown(value)} in {column!r}; "
            f"expected some and not all. Found there: {_some_values(values)}"
        )
    return _rows(whole, np.flatnonzero(~mask)), _rows(whole, np.flatnonzero(mask))


def _outer(
    whole: _Part,
    test: Test,
    validation: Validation,
    target: pa.ChunkedArray,
    task: Task,
    seed: int,
    dependence: Dependence | None,
) -> tuple[_Part, _Part]:
    """Return the training and the test rows of one outer fold, which validation's own splitter makes of all rows."""
    if validation.kind == "predefined":
        raise JobError("data.test.folds: does not go with validation.kind: predefined, whose folds are what they are")
    is_random = validation.kind in ("holdout", "repeated")
    outer = Validation(folds=test.folds) if is_random else dataclasses.replace(validation, folds=test.folds)
    is_classification = task == "classification"
    y = (
        targets.encode_classes(target, targets.class_values(target))
        if is_classification
        else targets.encode_numbers(target, "target")
    )
    try:
        fold = split.folds(outer, y, is_classification, seed, dependence)[test.fold or 0]
    except JobError as error:
        raise JobError(str(error).replace("validation.folds", "data.test.folds", 1)) from None
    return _rows(whole, fold.train), _rows(whole, fold.valid)


def _rows(whole: _Part, rows: Rows) -> _Part:
    return _Part(whole.table.take(rows), rows, whole.places[rows])


def _drawn(
    whole: _Part,
    test: Test,
    target: str,
    task: Task,
    seed: int,
    dependence: Dependence | None,
    validation: Validation,
) -> tuple[_Part, _Part | None, list[Finding]]:
    """Return the training and the test rows: drawn at random, by groups, or by time."""
    codes, table = None, whole.table
    if test.group is not None or test.time is not None:
        kind: Literal["group", "time"] = "group" if test.group is not None else "time"
        name = test.group or test.time or ""
        if dependence is None or (dependence.kind, dependence.column) != (kind, name):
            dependence = dependence_of(kind, name, table.column(name), f"data.test.{kind}")
        if kind == "group":
            train, held_out = draw.draw_groups(dependence, test.fraction or 0.2, seed)
        else:
            gap = validation.gap if validation.column == name else None
            train, held_out = draw.draw_latest(dependence, test.fraction or 0.2, gap)
        return _rows(whole, train), _rows(whole, held_out), []
    if task == "classification" and test.stratify is not False:
        classes = targets.class_values(table.column(target))
        codes = targets.encode_classes(table.column(target), classes)
        findings = checks.class_findings(target, codes, classes)
        if findings:
            return whole, None, findings
    train, held_out = draw.draw(table.num_rows, test.fraction or 0.2, seed, codes)
    return _rows(whole, train), _rows(whole, held_out), []


def _with_plain_target(table: pa.Table, target: str) -> pa.Table:
    return table.set_column(table.schema.get_field_index(target), target, targets.plain_target(table.column(target)))


def _some_values(values: pa.ChunkedArray) -> str:
    distinct = values.unique()
    return ", ".join(shown(v) for v in distinct[:5].to_pylist()) + (", …" if len(distinct) > 5 else "")


def _marks(values: pa.ChunkedArray, value: object) -> npt.NDArray[np.bool_]:
    try:
        same = pc.equal(values, pa.scalar(value).cast(values.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise JobError(
            f"data.test.value: {shown(value)} cannot stand in a column of type {values.type}; expected one of its "
            f"values, such as {_some_values(values)}"
        ) from None
    return np.asarray(pc.fill_null(same, False).to_numpy(), dtype=np.bool_)
