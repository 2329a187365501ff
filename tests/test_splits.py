"""Runs by every kind of split, from the job to what is printed, and the jobs that are refused."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import columns, write
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, RepeatedStratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import orchestrator
from orchestrator import Data, Job, Search
from orchestrator.comparison import compare
from orchestrator.data.load import load
from orchestrator.honest import Sureness
from orchestrator.job import Test, Validation, honest_test
from orchestrator.oof import Predictions, scored_by

N = 60
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=(7 * i) % N) for i in range(N)]
PLACES = pa.array([f"p{i % 12}" for i in range(N)])
FOLDS = pa.array([None if i < 6 else i % 3 for i in range(N)])


@pytest.fixture
def dataset(folder):
    return write(folder / "data.parquet", columns(N, day=pa.array(DAYS), place=PLACES, part=FOLDS))


KINDS = {
    "group": ({"kind": "group", "column": "place", "folds": 3}, "GroupKFold by 'place', 3 folds"),
    "stratified_group": (
        {"kind": "stratified_group", "column": "place", "folds": 3},
        "StratifiedGroupKFold by 'place', 3 folds",
    ),
    "time": ({"kind": "time", "column": "day", "folds": 3, "gap": "2d"}, "TimeSeriesSplit by 'day', 3 folds, gap 2d"),
    "sliding": (
        {"kind": "time", "column": "day", "folds": 3, "window": 12},
        "TimeSeriesSplit by 'day', 3 folds, window 12",
    ),
    "repeated": ({"kind": "repeated", "folds": 3, "repeats": 2}, "RepeatedStratifiedKFold, 6 folds"),
    "predefined": ({"kind": "predefined", "column": "part"}, "PredefinedSplit by 'part', 3 folds"),
}
SPACE = {"n_neighbors": [1, 3], "weights": "uniform", "metric": "euclidean", "scaler": "none"}


def test_a_fold_that_trains_on_one_class_is_refused(folder, make_job, cli):
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(N)]
    write(folder / "data.parquet", columns(N, day=pa.array(days), y=["u"] * 30 + ["v", "u"] * 15))
    job = make_job(validation={"kind": "time", "column": "day", "folds": 3}, data__exclude=["day"])
    done = cli("run", job)
    assert done.code == 2
    assert "validation: fold 1 of 3 trains on 12 rows of one class alone" in done.err
    assert "Give fewer validation.folds" in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_by_every_kind(kind, dataset, folder, cli, make_job):
    validation, told = KINDS[kind]
    others = ["day", "place", "part"]
    job = make_job(
        validation=validation,
        searches__0__space=SPACE,
        data__exclude=[name for name in others if name != validation.get("column")],
        ensemble={"size": 2},
    )
    assert told in cli("check", job).out
    assert told in cli("plan", job).out
    done = cli("run", job, "--out", "run")
    assert done.code == 0, done.err
    one = (folder / "run" / "leaderboard.csv").read_text()
    assert cli("replay", "run", "knn/1", "--executor", "inline").code == 0
    assert cli("report", "run").code == 0
    assert cli("run", job, "--out", "again").code == 0
    two = (folder / "again" / "leaderboard.csv").read_text()
    untimed = [[line.split(",")[:10] for line in text.splitlines()] for text in (one, two)]
    assert untimed[0] == untimed[1]
    sureness, predictions = Sureness.read(folder / "run"), Predictions.read(folder / "run")
    assert (sureness.board.refit_shift is None) == (kind != "repeated")
    assert sureness.board.n_rows == (predictions.first >= 0).sum()
    assert sureness.ensemble is not None
    same = compare("run", "again")
    assert (same.of_bests.score, same.of_searches.score) == (0, 0)
    resolved = yaml.safe_load((folder / "run" / "job.yaml").read_text())["data"]["test"]
    kept = {"group": "place", "stratified_group": "place", "time": "day", "sliding": "day"}.get(kind)
    assert kept in (resolved["group"], resolved["time"])


def test_scores_by_groups_are_scikit_learns(dataset):
    space = {**SPACE, "n_neighbors": [3]}
    job = Job(
        "small",
        Data("data.parquet", target="y", features=("a", "b")),
        (Search("knn", space=space),),
        validation=Validation("group", 4, column="place"),
    )
    result = orchestrator.run(job, "run", executor="inline")
    table = pq.read_table(dataset)
    X, y, groups = np.stack([table["a"], table["b"]], axis=1), table["y"].to_numpy(), table["place"].to_numpy()
    train, test = next(GroupShuffleSplit(1, test_size=0.2, random_state=42).split(X, y, groups))
    train, test = np.sort(train), np.sort(test)
    model = KNeighborsClassifier(3)
    scores = cross_val_score(model, X[train], y[train], groups=groups[train], cv=GroupKFold(4))
    assert result.leaderboard.best.score == pytest.approx(scores.mean(), abs=1e-12)
    assert result.test_scores["best"] == model.fit(X[train], y[train]).score(X[test], y[test])


def test_repeats_are_kept_and_make_no_rows(dataset, folder):
    space = {**SPACE, "n_neighbors": [3]}
    data = Data("data.parquet", target="y", features=("a", "b"))
    boards = {}
    for repeats in (None, 10):
        validation = Validation("repeated", 4, repeats=repeats) if repeats else Validation("stratified", 4)
        job = Job("small", data, (Search("knn", space=space),), validation=validation)
        boards[repeats] = orchestrator.run(job, f"run-{repeats}", executor="inline")
    predictions = Predictions.read(folder / "run-10")
    assert (predictions.n_repeats, len(predictions.fold), len(predictions.first)) == (10, 480, 48)
    assert sorted(set(predictions.fold.tolist())) == list(range(40))
    said = predictions.of(["knn/0"])["knn/0"]
    by_fold = [(said == predictions.truth)[predictions.fold == fold].mean() for fold in range(40)]
    assert np.mean(by_fold) == pytest.approx(boards[10].leaderboard.best.score)
    width = {n: one.leaderboard.best.ci_high - one.leaderboard.best.ci_low for n, one in boards.items()}
    assert width[10] > 0.75 * width[None]
    assert boards[10].sureness.board.n_rows == boards[10].sureness.board.n_cells == 48
    assert compare("run-None", "run-10").of_bests is not None


def test_rows_are_scored_once_a_repeat():
    splitter = RepeatedStratifiedKFold(n_splits=3, n_repeats=4, random_state=0)
    found = scored_by([valid for _, valid in splitter.split(np.zeros(20), np.arange(20) % 2)], 20)
    assert found.shape == (4, 20)
    assert [sorted(set(one.tolist())) for one in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert scored_by([np.array([2]), np.array([0])], 4).tolist() == [[1, -1, 0, -1]]


def test_test_rows_are_as_honest_as_the_folds_unless_told_otherwise():
    data = Data("x", target="y")
    by_group, by_time = Validation("group", column="g"), Validation("time", column="t")
    assert honest_test(data, by_group).test == Test(fraction=0.2, group="g")
    assert honest_test(data, by_time).test == Test(fraction=0.2, time="t")
    assert honest_test(data, Validation()) == data
    for test in (None, Test(fraction=0.3, stratify=False), Test(column="part"), Test(fraction=0.3, group="h")):
        told = Data("x", target="y", test=test)
        assert honest_test(told, by_group) == told
    assert honest_test(honest_test(data, by_time), by_time) == honest_test(data, by_time)


def test_columns_to_split_by_are_no_features_unless_named(dataset):
    def features(**others):
        return [
            column.name
            for column in load(Data("data.parquet", target="y", **others), validation, None, 3).train.columns
        ]

    validation = Validation("group", 3, column="place")
    assert features(exclude=("day", "part")) == ["a", "b"]
    assert features(features=("a", "place")) == ["a", "place"]


def test_test_rows_that_training_gives_away_are_remarked_on(dataset):
    def codes(test, validation):
        data = Data("data.parquet", target="y", features=("a", "b"), test=test)
        return {finding.code for finding in load(data, validation, None, 3).findings}

    by_place, by_day = Validation("group", 3, column="place"), Validation("time", 3, column="day")
    assert "groups_across_test" in codes(Test(fraction=0.2, stratify=True), by_place)
    assert "test_before_training" in codes(Test(fraction=0.2, stratify=True), by_day)
    assert "random_folds" in codes(Test(fraction=0.2, group="place"), Validation())
    for validation in (by_place, by_day, Validation()):
        assert not codes(Test(fraction=0.2), validation) & {
            "groups_across_test",
            "test_before_training",
            "random_folds",
        }


def test_test_rows_of_their_own_bring_their_groups(dataset, folder):
    write(folder / "t.parquet", columns(N, place=PLACES))
    data = Data("data.parquet", target="y", features=("a", "b"), test=Test(path="t.parquet"))
    loaded = load(data, Validation("group", 3, column="place"), None, 3)
    assert loaded.test.dependence.n_codes == 12
    write(folder / "t.parquet", columns(N))
    assert load(data, Validation("group", 3, column="place"), None, 3).test.dependence is None


def test_a_gap_stands_before_the_test_rows_too(dataset):
    data = Data("data.parquet", target="y", features=("a", "b"))
    loaded = load(data, Validation("time", 3, column="day", gap="3d"), None, 3)
    day = 86_400_000_000
    assert loaded.test.dependence.times.min() - loaded.train.dependence.times.max() == 3 * day
    assert len(loaded.train.target) + len(loaded.test.target) == N - 2


REFUSED = {
    "a group without its column": ({"validation": {"kind": "group"}}, "validation: kind: group needs column"),
    "a column of k-fold": (
        {"validation": {"kind": "kfold", "column": "place"}},
        "column goes with kind: group or stratified_group or time or predefined",
    ),
    "a window of groups": (
        {"validation": {"kind": "group", "column": "place", "window": 3}},
        "window goes with kind: time",
    ),
    "repeats of k-fold": ({"validation": {"kind": "kfold", "repeats": 3}}, "repeats goes with kind: repeated"),
    "folds of predefined": (
        {"validation": {"kind": "predefined", "column": "part", "folds": 3}},
        "folds does not go with kind: predefined, which takes column",
    ),
    "a gap that is no span": (
        {"validation": {"kind": "time", "column": "day", "gap": "2 fortnights"}},
        "validation.gap: expected a number from 1 up, or a length of time such as 12h, 7d or 4w, found '2 fortnights'",
    ),
    "an unknown column": (
        {"validation": {"kind": "group", "column": "plaec"}},
        "validation.column: no column 'plaec' in the dataset. Did you mean 'place'?",
    ),
    "an unknown group of test rows": (
        {"data__test": {"fraction": 0.2, "group": "plaec"}},
        "data.test.group: no column",
    ),
    "two ways to draw": (
        {"data__test": {"fraction": 0.2, "group": "place", "time": "day"}},
        "data.test: expected one of stratify, group and time, found group and time",
    ),
    "a group without a fraction": ({"data__test": {"column": "part", "group": "place"}}, "group goes with fraction"),
    "the target as a group": (
        {"validation": {"kind": "group", "column": "y"}},
        "validation.column: holds the target 'y'; expected a column to split by",
    ),
    "too many folds of groups": (
        {"validation": {"kind": "group", "column": "place", "folds": 11}},
        "validation.folds: 11 folds, and 'place' has 9 groups",
    ),
    "nulls in a column of times": (
        {"validation": {"kind": "time", "column": "part"}},
        "validation.column: 'part' is null in 6 of 60 rows, the first of them row 0; expected a time in every row",
    ),
    "nulls in the groups of test rows": (
        {"data__test": {"fraction": 0.2, "group": "part"}},
        "data.test.group: 'part' is null in 6 of 60 rows",
    ),
    "stratified groups of numbers": (
        {"validation": {"kind": "stratified_group", "column": "place"}, "data__target": "b"},
        "validation.kind: stratified_group needs classes, and the task is regression; expected group",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_jobs_that_cannot_be_split_are_refused(name, dataset, cli, make_job):
    changes, words = REFUSED[name]
    outcome = cli("check", make_job(**changes, data__features=["a"]))
    assert outcome.code in (2, 3)
    assert words in outcome.err
