"""Which rows are for what: the sealed test rows and the folds, drawn by scikit-learn's own splitters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from orchestrator.errors import JobError
from orchestrator.job import Validation

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions in the training rows, ascending: those to fit on and those to score on."""

    train: Rows
    valid: Rows


def draw_test(n_rows: int, fraction: float, seed: int, strata: npt.NDArray[np.int64] | None) -> tuple[Rows, Rows]:
    """Return the training and the test rows, each ascending, as `train_test_split(random_state=seed)` draws them."""
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
    """
    kind = validation.kind
    if kind == "auto":
        kind = "stratified" if is_classification else "kfold"
    if kind == "stratified" and not is_classification:
        raise JobError(
            "validation.kind: stratified needs classes, and the task is regression; expected kfold or holdout"
        )
    positions = np.arange(len(y))
    if kind == "holdout":
        strata = y if is_classification and np.bincount(y.astype(np.int64)).min() > 1 else None
        train, valid = train_test_split(
            positions, test_size=validation.fraction or 0.2, random_state=seed, stratify=strata
        )
        return (Fold(np.sort(train), np.sort(valid)),)
    n_folds = validation.folds or 5
    if n_folds > len(y):
        raise JobError(f"validation.folds: {n_folds} folds of {len(y)} training rows; expected at most {len(y)}")
    if kind == "kfold":
        return tuple(Fold(t, v) for t, v in KFold(n_folds, shuffle=True, random_state=seed).split(positions))
    largest = int(np.bincount(y.astype(np.int64)).max())
    if n_folds > largest:
        raise JobError(
            f"validation.folds: {n_folds} folds, and no class has more than {largest} training rows; "
            f"expected at most {largest}, or validation.kind: kfold"
        )
    with warnings.catch_warnings():  # a class rarer than the folds is a finding of `checks`
        warnings.simplefilter("ignore", UserWarning)
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        return tuple(Fold(t, v) for t, v in splitter.split(positions, y))
