"""Splits: scikit-learn's own, no group on both sides, nothing later learnt from than scored, and what is refused."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    TimeSeriesSplit,
)

from orchestrator.data.dependence import dependence_of
from orchestrator.data.draw import draw_groups, draw_latest
from orchestrator.data.split import folds
from orchestrator.errors import DataError, JobError
from orchestrator.job import Validation

SEED = 7


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


def groups_of(values):
    return dependence_of("group", "g", column(values))


def times_of(values, kind=None):
    return dependence_of("time", "t", column(values, kind))


def days(numbers):
    return times_of([datetime.date(2020, 1, 1) + datetime.timedelta(days=int(n)) for n in numbers])


def assert_same(found, expected):
    expected = list(expected)
    assert len(found) == len(expected)
    for fold, (train, valid) in zip(found, expected, strict=True):
        assert fold.train.tolist() == sorted(train)
        assert fold.valid.tolist() == sorted(valid)


def assert_like_sklearn(y, groups, times, marks):
    X = np.zeros(len(y))
    group = groups_of(groups)
    assert_same(folds(Validation("group", 4, column="g"), y, True, SEED, group), GroupKFold(4).split(X, y, groups))
    stratified = StratifiedGroupKFold(4, shuffle=True, random_state=SEED).split(X, y, groups)
    assert_same(folds(Validation("stratified_group", 4, column="g"), y, True, SEED, group), stratified)
    for is_classification, splitter in ((True, RepeatedStratifiedKFold), (False, RepeatedKFold)):
        expected = splitter(n_splits=3, n_repeats=2, random_state=SEED).split(X, y)
        assert_same(folds(Validation("repeated", 3, repeats=2), y, is_classification, SEED), expected)
    order = np.argsort(times, kind="stable")
    for options, keys in (
        ({}, {}),
        ({"gap": 2}, {"gap": 2}),
        ({"max_train_size": 9, "gap": 1}, {"window": 9, "gap": 1}),
    ):
        expected = [(order[t], order[v]) for t, v in TimeSeriesSplit(5, **options).split(X)]
        assert_same(folds(Validation("time", column="t", **keys), y, True, SEED, times_of(times)), expected)
    expected = PredefinedSplit(marks).split()
    assert_same(folds(Validation("predefined", column="f"), y, True, SEED, None, column(marks)), expected)
    train, test = next(GroupShuffleSplit(1, test_size=0.3, random_state=SEED).split(X, groups=groups))
    assert [rows.tolist() for rows in draw_groups(group, 0.3, SEED)] == [sorted(train), sorted(test)]


def test_splits_are_scikit_learns():
    generator = np.random.default_rng(0)
    n = 120
    names = np.array([f"p{i}" for i in generator.integers(0, 17, n)])
    assert_like_sklearn(generator.integers(0, 3, n), names, generator.permutation(n), generator.integers(-1, 4, n))


def test_splits_of_real_data_are_scikit_learns(real_dataset):
    table = pq.read_table(real_dataset("pmlb_cls_vowel"))
    speakers = table["Speaker Number"].to_numpy()
    times = np.random.default_rng(1).permutation(len(speakers))
    assert_like_sklearn(table["target"].to_numpy().astype(np.int64), speakers, times, speakers.astype(int) % 4 - 1)


values = st.lists(st.integers(0, 12), min_size=12, max_size=60)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(2, 4), st.sampled_from(["group", "stratified_group"]), st.data())
def test_no_group_is_on_both_sides(groups, n_folds, kind, data):
    y = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups))))
    known, codes = groups_of(groups), np.array(groups)
    try:
        found = folds(Validation(kind, n_folds, column="g"), y, True, SEED, known)
    except JobError:
        return
    for fold in found:
        assert not set(codes[fold.train]) & set(codes[fold.valid])
    assert sorted(np.concatenate([fold.valid for fold in found])) == list(range(len(groups)))
    train, test = draw_groups(known, 0.3, SEED)
    assert not set(codes[train]) & set(codes[test])


gaps = st.one_of(st.none(), st.integers(1, 3), st.integers(1, 3).map(lambda n: f"{n}d"))
windows = st.one_of(st.none(), st.integers(1, 5), st.integers(1, 5).map(lambda n: f"{n}d"))


@settings(max_examples=100, deadline=None)
@given(values, st.integers(2, 4), gaps, windows)
def test_nothing_is_learnt_from_that_is_not_earlier_and_the_gap_is_kept(numbers, n_folds, gap, window):
    known, day = days(numbers), np.array(numbers)
    distinct = np.unique(day)
    try:
        found = folds(Validation("time", n_folds, column="t", gap=gap, window=window), day * 1.0, False, SEED, known)
    except JobError:
        return
    scored = np.concatenate([fold.valid for fold in found])
    assert len(np.unique(scored)) == len(scored)
    for fold in found:
        first, last = day[fold.valid].min(), day[fold.train].max()
        assert last < first
        if isinstance(gap, int):
            assert ((distinct > last) & (distinct < first)).sum() == gap
        elif gap:
            assert first - last >= int(gap[:-1])
        if isinstance(window, int):
            assert len(np.unique(day[fold.train])) <= window
        elif window:
            assert last - day[fold.train].min() < int(window[:-1])
    try:
        early, late = draw_latest(known, 0.3, gap)
    except JobError:
        return
    assert day[early].max() + (int(gap[:-1]) if isinstance(gap, str) else 1) <= day[late].min()
    assert len(late) >= 0.3 * len(day)


def test_fold_names_may_be_text_and_null_is_always_learnt_from():
    marks = column(["b", None, "a", "b", None, "a"])
    found = folds(Validation("predefined", column="f"), np.arange(6.0), False, SEED, None, marks)
    assert [(fold.train.tolist(), fold.valid.tolist()) for fold in found] == [
        ([0, 1, 3, 4], [2, 5]),
        ([1, 2, 4, 5], [0, 3]),
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, 1, 2, 2]),
        pa.array(["2021-03", "2020-01", "2020-12", "2020-12"]),
        pa.array([3, 1, 2, 2], pa.date32()),
        pa.array([3, 1, 2, 2], pa.timestamp("ns", "Europe/Berlin")),
        pa.array(["c", "a", "b", "b"]).dictionary_encode(),
        pa.array([0.3, -1.0, 0.0, 0.0]),
    ],
    ids=lambda values: str(values.type),
)
def test_times_of_any_kind_have_their_order(values):
    assert dependence_of("time", "t", pa.chunked_array([values])).codes.tolist() == [2, 0, 1, 1]


def test_blocks_of_time_have_equal_times_in_one():
    known = times_of([9, 0, 0, 1, 2, 3, 4, 4, 5, 6])
    assert known.blocks().tolist() == [4, 0, 0, 1, 1, 2, 2, 2, 3, 4]
    assert groups_of(["b", "a", "b"]).blocks(np.array([0, 2])).tolist() == [1, 1]


Y = np.arange(20) % 2
REFUSED = {
    "more folds than groups": (
        Validation("group", 6, column="g"),
        groups_of(list("abcde") * 4),
        "validation.folds: 6 .*at most 5",
    ),
    "one group": (Validation("group", column="g"), groups_of(["a"] * 20), "validation.column: 'g' has one value"),
    "folds without a group": (
        Validation("stratified_group", 3, column="g"),
        groups_of(["a"] * 18 + ["b", "b"]),
        "validation.folds: 3 folds, and 'g' has 2 groups",
    ),
    "too few times": (
        Validation("time", 5, column="t"),
        times_of([0, 1, 2, 3, 4] * 4),
        "validation.folds: 5 .* have 5;",
    ),
    "a gap of rows that leaves nothing": (
        Validation("time", 4, column="t", gap=4),
        times_of(range(20)),
        "validation.gap: 4 rows leave nothing .* 4 folds; expected at most 3",
    ),
    "a gap of days that leaves nothing": (
        Validation("time", 4, column="t", gap="9d"),
        days(range(20)),
        "validation.gap: 9d leaves nothing to learn from before fold 1 of 4",
    ),
    "a length of time of numbers": (
        Validation("time", 4, column="t", gap="9d"),
        times_of(range(20)),
        "validation.gap: 9d is a length of time, and column 't'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_splits_that_cannot_be_are_refused(name):
    validation, known, words = REFUSED[name]
    with pytest.raises(JobError, match=words):
        folds(validation, Y, True, SEED, known)


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ([1] * 20, "'f' is 1 in all 20 training rows"),
        ([-1, None] * 10, "'f' names no fold: it is null or -1 in all 20"),
    ],
)
def test_columns_of_folds_that_are_none_are_refused(marks, words):
    with pytest.raises(JobError, match=words):
        folds(Validation("predefined", column="f"), Y, True, SEED, None, column(marks))


def test_draws_that_leave_nothing_are_refused():
    with pytest.raises(JobError, match=r"data.test.fraction: 0.2 of 1 group of 'g' is 1, and leaves 0"):
        draw_groups(groups_of([5, 5]), 0.2, SEED)
    with pytest.raises(
        JobError, match=r"data.test.fraction: the latest 0.2 of 4 rows by 't', .* are 4; nothing is left"
    ):
        draw_latest(times_of([5] * 4), 0.2)
    with pytest.raises(JobError, match=r"validation.gap leaves out what is within 9 before them"):
        draw_latest(times_of(range(8)), 0.2, 9)


def test_rows_without_a_group_or_an_order_are_refused():
    with pytest.raises(DataError, match=r"validation.column: 'g' is null in 1 of 3 rows, the first of them row 1;"):
        groups_of(["a", None, "b"])
    with pytest.raises(DataError, match="'t' has type list"):
        times_of([[1], [2]])
