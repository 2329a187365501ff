"""Nested cross-validation: each outer fold is scored once, by a search that never saw it."""

import json

import numpy as np
import pyarrow as pa
import pytest
from builders import columns, write
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from orchestrator import rundir

SPACE = {"n_neighbors": [1, 3, 5], "weights": "uniform", "metric": "euclidean", "scaler": "none"}


def test_the_estimate_is_scikit_learns(folder, cli, make_job):
    values = columns(60)
    write(folder / "data.parquet", values)
    job = make_job(searches__0__space=SPACE, validation__folds=3)
    done = cli("nested", job, "--folds", 4, "--out", "out", "--executor", "inline")
    assert done.code == 0, done.err
    X, y = np.stack([values["a"], values["b"]], axis=1), values["y"].to_numpy(zero_copy_only=False)
    inner = StratifiedKFold(3, shuffle=True, random_state=42)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 3, 5]}, cv=inner)
    expected = cross_val_score(search, X, y, cv=StratifiedKFold(4, shuffle=True, random_state=42))
    found = json.loads((folder / "out" / "nested.json").read_text())
    assert [one["score"] for one in found["folds"]] == pytest.approx(expected.tolist())
    assert found["score"] == pytest.approx(expected.mean())
    assert found["score_std"] == pytest.approx(expected.std())
    assert f"accuracy of the whole search, on 4 outer folds: {expected.mean():.4f} ± {expected.std():.4f}" in done.out
    assert [rundir.read_manifest(folder / "out" / f"fold-{i}")["data"]["rows"]["test"] for i in range(4)] == [15] * 4


def test_it_goes_on_where_it_stopped(folder, cli, make_job):
    job = make_job(searches__0__space=SPACE)
    first = cli("nested", job, "--folds", 2, "--out", "out", "--executor", "inline")
    again = cli("nested", job, "--folds", 2, "--out", "out", "--executor", "inline")
    assert first.out == again.out
    outcome = cli("nested", job, "--folds", 2, "--out", "out", "--executor", "inline", "--set", "seed=3")
    assert (outcome.code, "is a run of another job" in outcome.err) == (2, True)


def test_outer_folds_keep_groups_whole(folder, cli, make_job):
    write(folder / "data.parquet", columns(60, g=pa.array([i // 2 % 4 for i in range(60)])))
    job = make_job(searches__0__space=SPACE, validation={"kind": "group", "column": "g", "folds": 2})
    assert "outer fold 1 of 4; GroupKFold" in cli("check", job, "--set", "data.test={folds: 4, fold: 1}").out
    outcome = cli("nested", job, "--folds", 5, "--out", "out")
    assert outcome.code == 2
    assert "data.test.folds: 5 folds, and 'g' has 4 groups" in outcome.err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folds", 1], "--folds: expected a number from 2 up, found 1"),
        (["--out", "s3://b/c"], "--out: s3://b/c is a URI; expected a folder"),
        (["--set", "validation={kind: predefined, column: a}"], "does not go with validation.kind: predefined"),
    ],
)
def test_what_cannot_be_nested_is_refused(arguments, words, cli, make_job):
    outcome = cli("nested", make_job(), *arguments)
    assert outcome.code == 2
    assert words in outcome.err


def test_outer_folds_have_a_number(cli, make_job):
    for test in ({"folds": 3}, {"fold": 0}, {"folds": 3, "fold": 3}):
        outcome = cli("check", make_job(data__test=test))
        assert outcome.code == 2
        assert "data.test: " in outcome.err
