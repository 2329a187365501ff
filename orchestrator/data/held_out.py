"""Which rows are test rows: those of a file of their own, those that a column marks, or some that are drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data import checks, draw, encode, parquet, split
from orchestrator.data import target as targets
from orchestrator.data.checks import Finding
from orchestrator.data.dependence import Dependence, Rows, dependence_of
from orchestrator.data.encode import Task
from orchestrator.errors import DataError, JobError, shown
from orchestrator.job import Test, Validation


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of those that were read, their places among them, and those in the dataset, by which they are named."""

    table: pa.Table
    rows: Rows
    places: Rows


def own_file(path: str, schema: pa.Schema, features: list[str], target: str, kin: str) -> tuple[Part, list[Finding]]:
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
    held_out = with_plain_target(parquet.read(other, list(wanted), path, key), target)
    findings = checks.value_findings(target, held_out.column(target), key)
    if held_out.num_rows == 0:
        findings.append(Finding("no_test_rows", "error", f"{key}: {path} has no rows; expected some"))
    places = np.arange(held_out.num_rows)
    return Part(held_out, places, places), findings


def marked(whole: Part, column: str, value: object) -> tuple[Part, Part]:
    """Return the training and the test rows, told apart by a column."""
    values = whole.table.column(column)
    mask = _marks(values, value)
    if not mask.any() or mask.all():
        raise DataError(
            f"data.test.value: {int(mask.sum())} of {len(mask)} rows have {shown(value)} in {column!r}; "
            f"expected some and not all. Found there: {_some_values(values)}"
        )
    return _rows(whole, np.flatnonzero(~mask)), _rows(whole, np.flatnonzero(mask))


def outer(
    whole: Part,
    test: Test,
    validation: Validation,
    target: pa.ChunkedArray,
    task: Task,
    seed: int,
    dependence: Dependence | None,
) -> tuple[Part, Part]:
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


def _rows(whole: Part, rows: Rows) -> Part:
    return Part(whole.table.take(rows), rows, whole.places[rows])


def drawn(
    whole: Part,
    test: Test,
    target: str,
    task: Task,
    seed: int,
    dependence: Dependence | None,
    validation: Validation,
    *,
    is_sample: bool = False,
) -> tuple[Part, Part | None, list[Finding]]:
    """Return the training and the test rows: drawn at random, by groups, or by time.

    In a sample, a class of one row is a training row's; otherwise the job must say what is to be done about it.
    """
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
        if findings and is_sample and test.stratify is None:
            train, held_out = draw.draw_of_common(table.num_rows, test.fraction or 0.2, seed, codes)
            return _rows(whole, train), _rows(whole, held_out), []
        if findings:
            return whole, None, findings
    train, held_out = draw.draw(table.num_rows, test.fraction or 0.2, seed, codes)
    return _rows(whole, train), _rows(whole, held_out), []


def with_plain_target(table: pa.Table, target: str) -> pa.Table:
    """Return a table whose target is of a plain type."""
    return table.set_column(table.schema.get_field_index(target), target, targets.plain_target(table.column(target)))


def _some_values(values: pa.ChunkedArray) -> str:
    distinct = values.unique()
    return ", ".join(shown(v) for v in distinct[:5].to_pylist()) + (", …" if len(distinct) > 5 else "")


def _marks(values: pa.ChunkedArray, value: object) -> npt.NDArray[np.bool_]:
    if pa.types.is_nested(values.type):
        raise JobError(
            f"data.test.column: holds values of type {values.type}, which do not tell rows apart; expected a column of "
            "strings, numbers, booleans or dates"
        )
    try:
        same = pc.equal(values, pa.scalar(value).cast(values.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise JobError(
            f"data.test.value: {shown(value)} cannot stand in a column of type {values.type}; expected one of its "
            f"values, such as {_some_values(values)}"
        ) from None
    return np.asarray(pc.fill_null(same, False).to_numpy(), dtype=np.bool_)
