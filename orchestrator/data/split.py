"""Which rows are for what: the sealed test rows and the folds, drawn by scikit-learn's own splitters."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from orchestrator.errors import DataError, JobError
from orchestrator.job import Validation

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions in the training rows, ascending: those to fit on and those to score on."""

    train: Rows
    valid: Rows


def draw(
    n_rows: int, fraction: float, seed: int, strata: npt.NDArray[np.int64] | None, key: str = "data.test.fraction"
) -> tuple[Rows, Rows]:
    """Return the rows that stay and those drawn, each ascending, as `train_test_split(random_state=seed)` draws them.

    Raises:
        JobError: Too few rows would be on one side; `key` is the key of the job that has the fraction.
    """
    n_drawn = math.ceil(fraction * n_rows)
    n_least = 1 if strata is None else len(np.unique(strata))
    if min(n_drawn, n_rows - n_drawn) < n_least:
        each = f"{n_least}, one of each class," if n_least > 1 else "one"
        raise JobError(
            f"{key}: {fraction} of {n_rows} rows is {n_drawn}, and leaves {n_rows - n_drawn}; expected at least {each} "
            "on both sides"
        )
    train, test = train_test_split(np.arange(n_rows), test_size=fraction, random_state=seed, stratify=strata)
    return np.sort(train), np.sort(test)


def folds(validation: Validation, y: npt.NDArray[np.generic], is_classification: bool, seed: int) -> tuple[Fold, ...]:
    """Return the folds of the training rows.

    Args:
        validation: What the job asks for.
        y: The training target, shape (rows,); class codes for classification.
        is_classification: Whether `y` holds classes.
        seed: The job's seed, given to the splitter as `random_state`.

    Raises:
        JobError: The kind does not fit the task, or there are more folds than rows (or than rows of any class).
        DataError: There is nothing to split.
    """
    kind = validation.kind
    if kind == "auto":
        kind = "stratified" if is_classification else "kfold"
    if kind == "stratified" and not is_classification:
        raise JobError(
            "validation.kind: stratified needs classes, and the task is regression; expected kfold or holdout"
        )
    if len(y) < 2:
        raise DataError("data.path: one training row is left; expected at least two, to fit on one and score the other")
    if kind == "holdout":
        codes = y.astype(np.int64)
        strata = codes if is_classification and np.bincount(codes).min() > 1 else None
        return (Fold(*draw(len(y), validation.fraction or 0.2, seed, strata, "validation.fraction")),)
    n_folds = validation.folds or 5
    if n_folds > len(y):
        raise JobError(f"validation.folds: {n_folds} folds of {len(y)} training rows; expected at most {len(y)}")
    if kind == "kfold":
        return tuple(Fold(t, v) for t, v in KFold(n_folds, shuffle=True, random_state=seed).split(y))
    largest = int(np.bincount(y.astype(np.int64)).max())
    if n_folds > largest:
        raise JobError(
            f"validation.folds: {n_folds} folds, and no class has more than {largest} training rows; "
            f"expected {f'at most {largest}, or ' if largest > 1 else ''}validation.kind: kfold"
        )
    with warnings.catch_warnings():  # a class rarer than the folds is a finding of `checks`
        warnings.simplefilter("ignore", UserWarning)
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        return tuple(Fold(t, v) for t, v in splitter.split(y, y))
