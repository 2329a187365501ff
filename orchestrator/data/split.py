"""Which training rows are for what: the folds, made by scikit-learn's own splitters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from orchestrator.data.dependence import Dependence, Rows, ranks
from orchestrator.data.draw import draw
from orchestrator.errors import DataError, JobError, shown
from orchestrator.job import Validation

N_REPEATS = 10
"""As scikit-learn repeats."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions in the training rows, ascending: those to fit on and those to score on."""

    train: Rows
    valid: Rows


def check_training_classes(folds: Sequence[Fold], y: npt.NDArray[np.int64], kind: str) -> None:
    """Refuse folds that train on rows of one class, from which there is nothing to learn.

    Raises:
        JobError: There is one; the message says which.
    """
    for number, fold in enumerate(folds, 1):
        if (y[fold.train] == y[fold.train[0]]).all():
            raise JobError(
                f"validation: fold {number} of {len(folds)} trains on {len(fold.train)} rows of one class alone; "
                "expected at least two classes in each. Give fewer validation.folds, or another validation.kind than "
                f"{kind}"
            )


def folds(
    validation: Validation,
    y: npt.NDArray[np.generic],
    is_classification: bool,
    seed: int,
    dependence: Dependence | None = None,
    marks: pa.ChunkedArray | None = None,
) -> tuple[Fold, ...]:
    """Return the folds of the training rows.

    Args:
        validation: What the job asks for.
        y: The training target, shape (rows,); class codes for classification.
        is_classification: Whether `y` holds classes.
        seed: The job's seed, given to the splitter as `random_state`.
        dependence: The training rows' groups or times, for kinds that go by them.
        marks: The column of folds, for kind predefined.

    Raises:
        JobError: The kind does not fit the task, or there are more folds than rows (or than rows of any class, groups,
            or times).
        DataError: There is nothing to split.
    """
    kind = validation.kind
    if kind == "auto":
        kind = "stratified" if is_classification else "kfold"
    if kind in ("stratified", "stratified_group") and not is_classification:
        other = "group" if kind == "stratified_group" else "kfold or holdout"
        raise JobError(f"validation.kind: {kind} needs classes, and the task is regression; expected {other}")
    if len(y) < 2:
        raise DataError("data.path: one training row is left; expected at least two, to fit on one and score the other")
    if kind == "holdout":
        codes = y.astype(np.int64)
        strata = codes if is_classification and np.bincount(codes).min() > 1 else None
        return (Fold(*draw(len(y), validation.fraction or 0.2, seed, strata, "validation.fraction")),)
    if kind == "predefined":
        assert marks is not None
        return _predefined(validation.column or "", marks)
    n_folds = validation.folds or 5
    if n_folds > len(y):
        raise JobError(f"validation.folds: {n_folds} folds of {len(y)} training rows; expected at most {len(y)}")
    if kind == "time":
        assert dependence is not None
        return _by_time(validation, dependence, n_folds)
    groups = None
    if kind in ("group", "stratified_group"):
        assert dependence is not None
        groups = dependence.codes
        _check_groups(dependence, n_folds)
    is_stratified = kind in ("stratified", "stratified_group") or (kind == "repeated" and is_classification)
    if is_stratified:
        _check_classes(y.astype(np.int64), n_folds, kind)
    splitter = _splitter(kind, n_folds, validation.repeats or N_REPEATS, seed, is_stratified=is_stratified)
    with warnings.catch_warnings():  # a class rarer than the folds is a finding of `checks`
        warnings.simplefilter("ignore", UserWarning)
        found = tuple(Fold(np.sort(t), np.sort(v)) for t, v in splitter.split(y, y, groups))
    if any(min(len(fold.train), len(fold.valid)) == 0 for fold in found):
        raise JobError(
            f"validation.folds: some of {n_folds} folds get no group of {validation.column!r}, so uneven are they; "
            "expected fewer folds, or validation.kind: group"
        )
    return found


def _splitter(kind: str, n_folds: int, n_repeats: int, seed: int, *, is_stratified: bool) -> Any:
    if kind == "group":
        return GroupKFold(n_folds)
    if kind == "stratified_group":
        return StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    if kind == "repeated":
        repeated = RepeatedStratifiedKFold if is_stratified else RepeatedKFold
        return repeated(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
    one = StratifiedKFold if is_stratified else KFold
    return one(n_folds, shuffle=True, random_state=seed)


def _check_groups(dependence: Dependence, n_folds: int) -> None:
    n_groups = dependence.n_codes
    if n_groups < 2:
        raise JobError(
            f"validation.column: {dependence.column!r} has one value in all training rows; expected at least two "
            "groups. Name another column, or set validation.kind: kfold"
        )
    if n_folds > n_groups:
        raise JobError(
            f"validation.folds: {n_folds} folds, and {dependence.column!r} has {n_groups} groups in the training rows; "
            f"expected at most {n_groups}"
        )


def _check_classes(codes: Rows, n_folds: int, kind: str) -> None:
    largest = int(np.bincount(codes).max())
    if n_folds > largest:
        other = "group" if kind == "stratified_group" else "kfold"
        raise JobError(
            f"validation.folds: {n_folds} folds, and no class has more than {largest} training rows; "
            f"expected {f'at most {largest}, or ' if largest > 1 else ''}validation.kind: {other}"
        )


def _by_time(validation: Validation, dependence: Dependence, n_folds: int) -> tuple[Fold, ...]:
    """Return folds that `TimeSeriesSplit` makes of the distinct times, so that rows of one time stay together."""
    codes, n_times = dependence.codes, dependence.n_codes
    gap, window = validation.gap, validation.window
    times = "distinct values" if n_times < len(codes) else "rows"
    if n_folds >= n_times:
        raise JobError(
            f"validation.folds: {n_folds} folds by time need more than {n_folds} distinct values of "
            f"{dependence.column!r}, and the training rows have {n_times}; expected fewer folds or another "
            "validation.column"
        )
    n_gap, n_window = (one if isinstance(one, int) else None for one in (gap, window))
    try:
        splits = list(TimeSeriesSplit(n_folds, max_train_size=n_window, gap=n_gap or 0).split(np.zeros(n_times)))
    except ValueError:
        n_scored = n_times // (n_folds + 1) * n_folds
        raise JobError(
            f"validation.gap: {gap} {times} leave nothing to learn from before the first of {n_folds} folds; expected "
            f"at most {n_times - n_scored - 1}, or fewer validation.folds"
        ) from None
    found: list[Fold] = []
    for early, late in splits:
        train = (codes >= early[0]) & (codes <= early[-1])
        valid = (codes >= late[0]) & (codes <= late[-1])
        if isinstance(gap, str):
            us, span = dependence.span_us(gap, "validation.gap")
            train &= us <= us[valid].min() - span
        if isinstance(window, str) and train.any():
            us, span = dependence.span_us(window, "validation.window")
            train &= us > us[train].max() - span
        if not train.any():
            raise JobError(
                f"validation.gap: {gap} leaves nothing to learn from before fold {len(found) + 1} of {n_folds}; "
                "expected a shorter gap, or fewer validation.folds"
            )
        found.append(Fold(np.flatnonzero(train), np.flatnonzero(valid)))
    return tuple(found)


def _predefined(column: str, marks: pa.ChunkedArray) -> tuple[Fold, ...]:
    """Return the folds that a column names, in the order of its values; null and -1 are always learnt from."""
    codes = ranks(column, marks, "validation.column")
    if pa.types.is_integer(marks.type) or pa.types.is_floating(marks.type):
        codes[np.asarray(pc.fill_null(pc.equal(marks, -1), False).to_numpy(), dtype=np.bool_)] = -1
    named = codes >= 0
    n_folds = len(np.unique(codes[named]))
    if n_folds == 0:
        raise JobError(
            f"validation.column: {column!r} names no fold: it is null or -1 in all {len(codes)} training rows; "
            "expected the number or name of the fold that scores a row"
        )
    if n_folds == 1 and named.all():
        raise JobError(
            f"validation.column: {column!r} is {shown(marks[0].as_py())} in all {len(codes)} training rows, which "
            "leaves none to learn from; expected at least two folds, or -1 for rows that are always learnt from"
        )
    return tuple(Fold(np.sort(t), np.sort(v)) for t, v in PredefinedSplit(codes).split())
