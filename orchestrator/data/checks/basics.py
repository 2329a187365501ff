"""Whether a dataset can be learnt from at all: its target, its classes, and columns that hold nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.literals import NOTHING, SENTINELS, as_written, far_value, spellings
from orchestrator.data.checks.looked import Looked
from orchestrator.data.columns import SCALARS, Column, excluding
from orchestrator.data.dependence import Dependence
from orchestrator.data.plain import plain
from orchestrator.errors import shown

RARE, COMMON = 0.01, 0.95


def target_findings(name: str, target: pa.ChunkedArray, is_classification: bool) -> list[Finding]:
    """Look at the target of all rows, before the split."""
    if len(target) == 0:
        return [Finding("no_rows", "error", "data.path: the dataset has no rows; expected at least ten or so")]
    findings = value_findings(name, target)
    if findings:
        return findings
    distinct = len(target.unique())
    if distinct < 2:
        findings.append(
            Finding(
                "target_constant",
                "error",
                f"data.target: {name!r} is {shown(target[0].as_py())} in all {len(target)} rows; "
                f"expected at least two {'classes' if is_classification else 'values'}",
            )
        )
    if is_classification and distinct > 1000:
        findings.append(
            Finding(
                "many_classes",
                "warning",
                f"data.target: {name!r} has {distinct} classes; if it is a number, set data.task: regression",
            )
        )
    return findings + (
        odd_class_findings(name, target.unique()) if is_classification else odd_number_findings(name, target)
    )


def odd_class_findings(name: str, classes: pa.Array) -> list[Finding]:
    """Look for classes that mean a missing one, or are another spelling of another class."""
    words = [word for word in classes.to_pylist() if isinstance(word, str)]
    findings = []
    if nothing := [word for word in words if word.strip().lower() in NOTHING]:
        message = f"data.target: {name!r} has the class {shown(nothing[0])}; if that means missing, remove its rows"
        findings.append(Finding("missing_as_value", "warning", message, name))
    if several := spellings(words):
        message = f"data.target: {name!r} has classes that differ by case or spaces alone: "
        message += f"{' and '.join(shown(words[place]) for place in several[0][:3])}; make them one"
        findings.append(Finding("category_variants", "warning", message, name))
    return findings


def odd_number_findings(name: str, target: pa.ChunkedArray) -> list[Finding]:
    """Look for a number that means a missing one."""
    value, n_found = far_value(target.cast(pa.float64(), safe=False).to_numpy(), SENTINELS)
    if not n_found:
        return []
    message = (
        f"data.target: {name!r} is {as_written(value)} in {n_found} of {len(target)} rows; if that means missing, "
        "remove these rows"
    )
    return [Finding("missing_as_value", "warning", message, name)]


def value_findings(name: str, target: pa.ChunkedArray, key: str = "data.target") -> list[Finding]:
    """Look for rows without a finite target; `key` is the job's key for messages."""
    n_infinite = _count(pc.is_inf(target)) if pa.types.is_floating(target.type) else 0
    return [
        Finding(
            code,
            "error",
            f"{key}: {name!r} is {what} in {n_found} of {len(target)} rows; expected a {expected} in every row. "
            "Remove those rows from the dataset",
        )
        for code, what, n_found, expected in (
            ("target_nulls", "null", _null_count(target), "value"),
            ("target_infinite", "infinite", n_infinite, "finite number"),
        )
        if n_found
    ]


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _null_count(values: pa.ChunkedArray) -> int:
    nans = _count(pc.is_nan(values)) if pa.types.is_floating(values.type) else 0
    return int(values.null_count) + nans


def class_findings(name: str, codes: npt.NDArray[np.int64], classes: Sequence[object]) -> list[Finding]:
    """Look for classes that are too rare for a stratified draw of the test rows."""
    single = [classes[int(c)] for c in np.flatnonzero(np.bincount(codes, minlength=len(classes)) == 1)]
    if not single:
        return []
    or_numbers = "" if isinstance(single[0], str) else ", or data.task: regression where it is a number"
    return [
        Finding(
            "class_of_one_row",
            "error",
            f"data.target: class {shown(single[0])} of {name!r} has one row, and a stratified test draw needs two of "
            f"each. Remove or merge it, or set data.test.stratify: false{or_numbers}",
        )
    ]


def fold_findings(name: str, codes: npt.NDArray[np.int64], classes: Sequence[object], n_folds: int) -> list[Finding]:
    """Look for classes that have fewer training rows than there are folds."""
    counts = np.bincount(codes, minlength=len(classes))
    rare = [f"{shown(classes[int(c)])} ({counts[c]})" for c in np.flatnonzero(counts < n_folds)]
    if not rare:
        return []
    return [
        Finding(
            "class_rarer_than_folds",
            "warning",
            f"data.target: {', '.join(rare[:5])}{', …' if len(rare) > 5 else ''}: fewer training rows than the "
            f"{n_folds} folds, so that some folds lack the class; scores that need every class may be undefined",
        )
    ]


def dependence_findings(
    dependence: Dependence, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64]
) -> list[Finding]:
    """Look for test rows that training rows give away: of a group that is learnt from, or no later than those.

    Args:
        dependence: The groups or times of all rows.
        train: Places of the training rows.
        test: Places of the test rows.
    """
    of_train, of_test, name = dependence.codes[train], dependence.codes[test], dependence.column
    if dependence.kind == "group":
        code, n_found = "groups_across_test", len(np.intersect1d(of_train, of_test))
        what = f"{n_found} of {len(np.unique(of_test))} groups of {name!r} among the test rows are learnt from, too"
    else:
        code, n_found = "test_before_training", int((of_test <= of_train.max(initial=-1)).sum())
        what = f"{n_found} of {len(of_test)} test rows are no later by {name!r} than all training rows"
    instead = f"consider {{fraction: 0.2, {dependence.kind}: {name}}}"
    return [Finding(code, "warning", f"data.test: {what}; {instead}", name)] if n_found else []


def random_folds_findings(dependence: Dependence) -> list[Finding]:
    """Return that folds are drawn at random where the test rows are not."""
    kind, name = dependence.kind, dependence.column
    message = (
        f"validation: folds are drawn at random, although the test rows go by {kind} ({name!r}), so that the board's "
        f"scores may flatter; consider {{kind: {kind}, column: {name}}}"
    )
    return [Finding("random_folds", "warning", message, name)]


def column_findings(columns: Sequence[Column], table: pa.Table, kept: Collection[str] = ()) -> list[Finding]:
    """Look at the features of the training rows.

    Args:
        columns: What they are.
        table: The training rows.
        kept: Columns that the job names, which are learnt from although they hold one value.
    """
    findings: list[Finding] = []
    for column in columns:
        values = table.column(column.name)
        if len(values) and _is_constant(column, values):
            findings.append(constant_finding(column.name, is_kept=column.name in kept))
        elif column.kind == "category" and len(column.categories) > 0.5 * len(values) and len(values) > 20:
            message = (
                f"column {column.name!r} has {len(column.categories)} distinct strings in {len(values)} training "
                f"rows, as an id has; consider {excluding(column.name)}, or data.text where it is text"
            )
            findings.append(Finding("id_like_column", "warning", message, column.name))
    return findings


def _is_constant(column: Column, values: pa.ChunkedArray) -> bool:
    """Tell whether all training rows have the same value; null is one, too."""
    if column.kind in SCALARS or column.kind in ("date", "text"):
        return len(plain(values).unique()) == 1
    return column.kind == "vector" and all(value == values[0] for value in values)


def is_empty(values: pa.ChunkedArray) -> bool:
    """Tell whether there is nothing in a column, in some rows."""
    return len(values) > 0 and _null_count(values) == len(values)


def all_null_finding(name: str) -> Finding:
    """Say that a column holds nothing, and is left out."""
    message = f"data.features: column {name!r} is null in every training row, and is left out"
    return Finding("all_null_column", "warning", message, name)


def constant_finding(name: str, *, is_kept: bool) -> Finding:
    """Say that a column holds one value; `is_kept` where the job names it, so that it is learnt from all the same."""
    instead = f"consider {excluding(name)}" if is_kept else "and is left out"
    return Finding("constant_column", "warning", f"column {name!r} has one value in all training rows, {instead}", name)


def copied_finding(name: str, original: str, *, is_kept: bool) -> Finding:
    """Say that a column is a copy of another one."""
    instead = f"consider {excluding(name)}" if is_kept else "and is left out"
    return Finding("copied_column", "warning", f"column {name!r} is an exact copy of {original!r}, {instead}", name)


def accuracy_findings(looked: Looked) -> list[Finding]:
    """Look for classes that accuracy says nothing of."""
    if not looked.n_classes or looked.metric != "accuracy":
        return []
    counts = np.bincount(looked.target, minlength=looked.n_classes)
    shares = counts / max(1, counts.sum())
    if shares.min() >= RARE and shares.max() < COMMON:
        return []
    message = (
        f"metric: accuracy hardly depends on the rarest class of {looked.target_name!r}, {100 * shares.min():.2g} % of "
        f"the training rows; the most common one is {100 * shares.max():.3g} %. Consider metric: balanced_accuracy"
    )
    return [Finding("accuracy_of_rare_class", "warning", message)]


def sample_finding(n_rows: int, n_all: int) -> Finding:
    """Say that the job looks at a sample."""
    message = f"data.sample: {n_rows:,} of {n_all:,} rows were drawn, and everything here is said of them alone"
    return Finding("on_a_sample", "warning", message)
