"""Reading what a job asks for of a dataset, its training rows and its test rows, before anything is encoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.data import beside, checks, encode, missing, parquet, roles
from orchestrator.data import target as targets
from orchestrator.data.checks import Finding
from orchestrator.data.columns import SCALARS, check_target
from orchestrator.data.dependence import Dependence, dependence_of
from orchestrator.data.encode import Task
from orchestrator.data.held_out import Part, drawn, marked, outer, own_file, with_plain_target
from orchestrator.data.rows import Rows as ChosenRows
from orchestrator.data.sets import TooLarge
from orchestrator.errors import DataError, JobError, did_you_mean
from orchestrator.job import Data, Test, Validation


@dataclass(frozen=True, slots=True)
class Tables:
    """What was read.

    Attributes:
        train: The training rows.
        test: The test rows; None if there are none, or if the findings stop the run.
        features: The columns to learn from.
        task: What kind of target it is.
        findings: What there is to say so far.
        dependence: The groups or times of the training rows, where the job's splits go by them.
        tested: Those of the test rows.
        beside: Columns that are read for checks alone.
        sampled_of: Of how many rows these are a sample; None if they are no sample.
    """

    train: Part
    test: Part | None
    features: list[str]
    task: Task
    findings: list[Finding]
    dependence: Dependence | None
    tested: Dependence | None
    beside: tuple[str, ...]
    sampled_of: int | None = None


def read_tables(
    data: Data, validation: Validation, seed: int, *, most_bytes: int | None = None, of_target: bool = False
) -> Tables:
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
    table = with_plain_target(chosen.table, data.target)
    table = roles.cast(missing.nulled(table, read, data.missing), data.columns)
    target = table.column(data.target)
    task: Task = targets.infer_task(target) if data.task == "auto" else data.task
    findings = checks.target_findings(data.target, target, task == "classification")
    findings += [checks.all_null_finding(name) for name in empty]
    sampled_of = chosen.n_rows if table.num_rows < chosen.n_rows else None
    if sampled_of is not None:
        findings.append(checks.sample_finding(table.num_rows, sampled_of))
    everywhere = Part(table, np.arange(table.num_rows), chosen.places)
    dependence = None if any(f.severity == "error" for f in findings) else _dependence(data, validation, table)
    train, held_out = everywhere, None
    if test is not None and not any(f.severity == "error" for f in findings):
        if test.path is not None:
            kin = "" if dependence is None else dependence.column
            held_out, more = own_file(test.path, dataset.schema, features, data.target, kin)
            nulled = roles.cast(missing.nulled(held_out.table, features, data.missing), data.columns)
            held_out = replace(held_out, table=nulled)
            findings += more
        elif test.folds is not None:
            train, held_out = outer(everywhere, test, validation, target, task, seed, dependence)
        elif test.column is not None:
            train, held_out = marked(everywhere, test.column, test.value)
        else:
            is_sample = sampled_of is not None
            train, held_out, more = drawn(
                everywhere, test, data.target, task, seed, dependence, validation, is_sample=is_sample
            )
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
    return Tables(train, held_out, features, task, findings, of_train, tested, more_columns, sampled_of)


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
