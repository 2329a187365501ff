"""Rows that a model is asked about: whether their columns are those of its signature, and what is new in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.data.checks import Finding
from orchestrator.data.columns import Column, scalars
from orchestrator.data.encode import UNSEEN, Features, Signature, problem_of
from orchestrator.errors import DataError, JobError, did_you_mean

PREDICTION, PROBABILITY = "prediction", "probability_"


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is read of a dataset, and what was found.

    Attributes:
        keys: The columns that are handed on beside the predictions.
        findings: Warnings.
    """

    keys: tuple[str, ...]
    findings: tuple[Finding, ...]


def output_names(signature: Signature) -> tuple[str, ...]:
    """Return the names of the columns that a model gives: its prediction, and for classes a probability each."""
    return (PREDICTION, *(f"{PROBABILITY}{one}" for one in signature.classes))


def check(schema: pa.Schema, signature: Signature, keys: Sequence[str] | None, key: str) -> Incoming:
    """Compare a dataset's columns with those that the model was trained on.

    Args:
        schema: The dataset's.
        signature: The model's.
        keys: The columns to hand on; None for all that are no features.
        key: The flag that named the dataset, for messages.

    Raises:
        DataError: Features are missing, or of types that the model cannot read.
        JobError: A key is no column, or has a name that a column of the predictions has.
    """
    problems = [found for column in signature.columns if (found := _problem(schema, column)) is not None]
    if problems:
        more = f" (and {len(problems) - 1} more: {'; '.join(problems[1:6])})" if len(problems) > 1 else ""
        raise DataError(f"{key}: {problems[0]}{more}")
    names, taken = schema.names, output_names(signature)
    others = [name for name in names if name not in {column.name for column in signature.columns}]
    if keys is None:
        lost = [name for name in others if name in taken]
        message = f"columns {_listed(lost)} are left out: columns of the predictions have these names"
        findings = (Finding("key_left_out", "warning", message),) if lost else ()
        return Incoming(tuple(name for name in others if name not in taken), findings)
    for name in keys:
        if name not in names:
            raise JobError(f"--keys: no column {name!r} in {key}.{did_you_mean(name, names)}")
        if name in taken:
            raise JobError(f"--keys: {name!r} is the name of a column of the predictions; rename it, or leave it out")
    extra = [name for name in others if name not in keys and name != signature.target]
    message = f"the model does not use columns {_listed(extra)}; name them in --keys to hand them on"
    findings = (Finding("extra_columns", "warning", message),) if extra else ()
    return Incoming(tuple(dict.fromkeys(keys)), findings)


def _problem(schema: pa.Schema, column: Column) -> str | None:
    """Return what is wrong with a column before any of its rows is looked at."""
    problem = problem_of(schema, column)
    if problem is None and column.kind == "vector":
        kind = schema.field(column.name).type
        if pa.types.is_fixed_size_list(kind) and (kind.list_size,) != column.shape:
            return (
                f"column {column.name!r} has {kind.list_size} numbers a row; the model was trained on {column.shape[0]}"
            )
    return problem


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def surprises(table: pa.Table, features: Features, signature: Signature) -> dict[str, Counter[str]]:
    """Count what the training rows did not have, by column: `unseen` categories, and `nulls` where there were none.

    Args:
        table: The rows as they were read.
        features: The same, encoded.
        signature: The model's.
    """
    unseen: Counter[str] = Counter()
    nulls: Counter[str] = Counter()
    place = {column.name: i for i, column in enumerate(scalars(signature.columns))}
    for column in signature.columns:
        values = features.matrix[:, place[column.name]] if column.name in place else None
        if column.kind == "category" and values is not None:
            unseen[column.name] = int((values == UNSEEN).sum())
        if not column.has_nulls:
            if values is None or column.kind == "category":
                nulls[column.name] = table.column(column.name).null_count
            else:
                nulls[column.name] = int(np.isnan(values).sum())
    return {"unseen": +unseen, "nulls": +nulls}


def surprise_findings(found: dict[str, Counter[str]], n_rows: int) -> tuple[Finding, ...]:
    """Say what `surprises` counted in all rows."""
    said: dict[str, Any] = {
        "unseen": "holds categories that the training rows do not have; they are treated as such",
        "nulls": "is null, which it never was in the training rows; nulls are filled in as the model was fitted to",
    }
    return tuple(
        Finding(what, "warning", f"column {name!r} {text}: {n} of {n_rows} rows", name)
        for what, text in said.items()
        for name, n in found[what].items()
    )
