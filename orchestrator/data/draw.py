"""Which rows are set aside: some at random, whole groups, or the latest. By scikit-learn's own splitters."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.utils.extmath import _approximate_mode

from orchestrator.data.dependence import Dependence, Rows
from orchestrator.errors import JobError

MOST_IN_LISTS = 1_000_000
"""Of more rows a stratified draw is made without scikit-learn's lists, which take 50 bytes a row: the same rows."""


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
            f"on both sides{_instead(key) if n_least > 1 else ''}"
        )
    if strata is not None and n_rows > MOST_IN_LISTS:
        return _stratified(strata, n_drawn, seed)
    train, test = train_test_split(np.arange(n_rows), test_size=fraction, random_state=seed, stratify=strata)
    return np.sort(train), np.sort(test)


def _instead(key: str) -> str:
    return ", or data.test.stratify: false, which leaves the classes to chance" if key == "data.test.fraction" else ""


def draw_of_common(n_rows: int, fraction: float, seed: int, strata: npt.NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Return what `draw` gives of the classes that have two rows and more; rows of others stay."""
    common = np.flatnonzero(np.bincount(strata)[strata] > 1)
    _, drawn = draw(len(common), fraction, seed, strata[common])
    return np.setdiff1d(np.arange(n_rows), common[drawn]), common[drawn]


def _stratified(strata: npt.NDArray[np.int64], n_drawn: int, seed: int) -> tuple[Rows, Rows]:
    """Return the rows that `StratifiedShuffleSplit` draws, which keeps them in lists of Python's integers."""
    generator = np.random.RandomState(seed)
    codes = strata.astype(np.min_scalar_type(int(strata.max())))
    counts = np.bincount(codes)
    classes = np.flatnonzero(counts)
    stay = _approximate_mode(counts[classes], len(codes) - n_drawn, generator)
    leave = _approximate_mode(counts[classes] - stay, n_drawn, generator)
    is_drawn = np.zeros(len(codes), np.bool_)
    for one, n_stay, n_leave in zip(classes, stay, leave, strict=True):
        order = generator.permutation(counts[one])
        is_drawn[np.flatnonzero(codes == one)[order[n_stay : n_stay + n_leave]]] = True
    return np.flatnonzero(~is_drawn), np.flatnonzero(is_drawn)


def draw_groups(dependence: Dependence, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Return the rows that stay and those of the groups that `GroupShuffleSplit(random_state=seed)` draws.

    Raises:
        JobError: There is no group for one of the sides.
    """
    n_groups, n_rows = dependence.n_codes, len(dependence.codes)
    n_drawn = math.ceil(fraction * n_groups)
    if min(n_drawn, n_groups - n_drawn) < 1:
        raise JobError(
            f"data.test.fraction: {fraction} of {n_groups} group{'s' if n_groups != 1 else ''} of "
            f"{dependence.column!r} is {n_drawn}, and leaves {n_groups - n_drawn}; expected at least one on both "
            "sides. Change it, or data.test.group"
        )
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    train, test = next(splitter.split(np.zeros(n_rows), groups=dependence.codes))
    return np.sort(train), np.sort(test)


def draw_latest(
    dependence: Dependence, fraction: float, gap: int | str | None = None, gap_key: str = "validation.gap"
) -> tuple[Rows, Rows]:
    """Return the earlier and the latest rows, each ascending; a share of them, and those of equal time with its first.

    Args:
        dependence: The rows' times.
        fraction: The share of the latest rows.
        gap: What is left out between the two: so many distinct times, or a length of time.
        gap_key: The key of the job that has the gap.

    Raises:
        JobError: Nothing is left to learn from.
    """
    codes = dependence.codes
    n_drawn = math.ceil(fraction * len(codes))
    first = int(np.sort(codes)[len(codes) - n_drawn])
    late = codes >= first
    early = codes < first - (gap if isinstance(gap, int) else 0)
    if isinstance(gap, str) and late.any():
        times, span = dependence.span_us(gap, gap_key)
        early &= times <= times[late].min() - span
    if not early.any():
        without = f", and {gap_key} leaves out what is within {gap} before them" if gap and first else ""
        raise JobError(
            f"data.test.fraction: the latest {fraction} of {len(codes)} rows by {dependence.column!r}, with those of "
            f"equal time, are {int(late.sum())}{without}; nothing is left to learn from. Set a smaller fraction"
            f"{', a smaller gap' if without else ''} or a column of finer times"
        )
    return np.flatnonzero(early), np.flatnonzero(late)
