"""Bad input: an exit code, one or two lines that say what, what else and which key, and nothing left behind."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from builders import N_ROWS, columns, environment, image, process, write

from orchestrator import families, ledger, rundir
from orchestrator.families.knn import KNN
from orchestrator.ledger import Ledger

JOB, DATA, FAILED = 2, 3, 1
FOREIGN = re.compile(r"Traceback|\b[A-Z]\w+(Error|Exception)\b|[Ii]nput should|fault of the orchestrator")
"""What a user should not have to read."""


def tree(folder):
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*")}


@pytest.fixture
def refused(cli, folder):
    """Call the command line and demand a refusal: the exit code, the words in order, and not a file more or less."""

    def call(code, words, *arguments):
        before = tree(folder)
        outcome = cli(*arguments)
        assert outcome.code == code, outcome
        said(outcome.err, words)
        assert outcome.out == ""
        assert tree(folder) == before
        return outcome

    return call


def said(err, words):
    lines = err.splitlines()
    assert 1 <= len(lines) <= 2, err
    assert lines[0].startswith("error: ")
    assert not FOREIGN.search(err), err
    place = 0
    for word in [words] if isinstance(words, str) else words:
        assert word in err[place:], f"{word!r} is not (in this place) in: {err}"
        place = err.index(word, place)


def space(**entries):
    return {"searches__0__space": entries}


WRONG_JOBS = {
    # unknown keys, at every depth
    "an unknown key": ({"metrics": "accuracy"}, ["'metrics'", "'metric'"]),
    "an unknown key of data": ({"data__pth": "x"}, ["'data.pth'", "'path'"]),
    "an unknown key of data.test": ({"data__test": {"fractoin": 0.2}}, ["'data.test.fractoin'", "'fraction'"]),
    "an unknown key of validation": ({"validation__fold": 3}, ["'validation.fold'", "'folds'"]),
    "an unknown key of a search": ({"searches__0__spaces": {}}, ["'searches.0.spaces'", "'space'"]),
    "an unknown key of a range": (space(n_neighbors={"low": 1, "hihg": 3}), ["space.n_neighbors.hihg'", "'high'"]),
    "an unknown key of budget": ({"budget__trial": 3}, ["'budget.trial'", "'trials'"]),
    "an unknown key of resources": ({"resources__max_concurent": 3}, ["max_concurent'", "'max_concurrent'"]),
    "an unknown key of a comparator": (
        {"comparators": [{"family": "knn", "param": {}}]},
        ["'comparators.0.param'", "'params'"],
    ),
    "a key that is a number": ({"7": 1}, ["unknown key '7'", "name"]),
    # missing and of another type
    "no path": ({"data": {"target": "y"}}, ["data.path is missing"]),
    "no family": ({"searches": [{"sampler": "grid"}]}, ["searches.0.family is missing"]),
    "searches that are no list": ({"searches": {"family": "knn"}}, ["searches: expected a list", "found {"]),
    "a search that is text": ({"searches": ["knn"]}, ["searches.0: expected keys such as family", "'knn'"]),
    "data that is text": ({"data": "data.parquet"}, ["data: expected keys such as path and target", "found"]),
    "a test fraction in the wrong place": ({"data__test": 0.2}, ["data.test: expected keys such as fraction", "0.2"]),
    "a target that is a list": ({"data__target": ["y"]}, ["data.target: expected text", "['y']"]),
    "a target that is null": ({"data__target": None}, ["data.target: expected text", "null"]),
    "an empty path": ({"data__path": ""}, ["data.path: expected text that is not empty"]),
    "features that are no names": ({"data__features": [3]}, ["data.features.0: expected text", "3"]),
    "a space that is a list": ({"searches__0__space": ["k"]}, ["searches.0.space: expected names", "['k']"]),
    "a list in a list of values": (space(n_neighbors=[[1]]), ["space.n_neighbors.0: expected", "number", "[1]"]),
    "a bound that is text": (space(n_neighbors={"low": "1", "high": 3}), ["n_neighbors.low: expected a number", "'1'"]),
    "a range without its end": (space(n_neighbors={"low": 1}), ["n_neighbors.high is missing"]),
    "log that is neither true nor false": (
        space(n_neighbors={"low": 1, "high": 3, "log": "maybe"}),
        ["n_neighbors.log: expected true or false", "'maybe'"],
    ),
    "a test value that is a list": (
        {"data__test": {"column": "a", "value": [1]}},
        ["data.test.value: expected", "number", "[1]"],
    ),
    "a budget that is null": ({"budget": None}, ["budget: expected keys such as trials and time_s", "null"]),
    # out of range
    "no trials": ({"searches__0__trials": 0}, ["searches.0.trials: expected a number from 1 up", "0"]),
    "half a trial": ({"searches__0__trials": 1.5}, ["searches.0.trials: expected a whole number", "1.5"]),
    "a seed below zero": ({"seed": -1}, ["seed: expected a number from 0 up", "-1"]),
    "a seed that is text": ({"seed": "x"}, ["seed: expected a whole number", "'x'"]),
    "one fold": ({"validation__folds": 1}, ["validation.folds: expected a number from 2 up", "1"]),
    "a test fraction above one": ({"data__test": {"fraction": 2}}, ["data.test.fraction: expected a number below 1"]),
    "a time budget below zero": ({"budget__time_s": -1}, ["budget.time_s: expected a number above 0", "-1"]),
    "a name with a slash": ({"name": "a/b"}, ["name: expected a name of letters", "'a/b'"]),
    "a schema of the future": ({"schema_version": 2}, ["schema_version: expected 1", "2"]),
    "an unknown task": ({"data__task": "clasify"}, ["data.task: expected", "'classification'", "'clasify'"]),
    "an unknown validation": (
        {"validation__kind": "stratifid"},
        ["validation.kind: expected", "'stratified'", "found"],
    ),
    "an unknown schedule": ({"searches__0__schedule": "asnyc"}, ["searches.0.schedule", "'async'", "'asnyc'"]),
    # what does not go together
    "test rows named twice": ({"data__test": {"fraction": 0.2, "column": "a"}}, ["data.test", "fraction and column"]),
    "test rows not named": (
        {"data__test": {}},
        ["data.test: expected one of fraction, column, path and folds", "none"],
    ),
    "stratify without a draw": ({"data__test": {"column": "a", "stratify": True}}, ["data.test: stratify", "fraction"]),
    "folds of a holdout": ({"validation": {"kind": "holdout", "folds": 3}}, ["validation: folds", "holdout"]),
    "a fraction of folds": ({"validation": {"kind": "kfold", "fraction": 0.3}}, ["validation: fraction", "holdout"]),
    "two searches of one name": (
        {"searches": [{"family": "knn", "name": "x"}, {"family": "knn", "name": "x"}]},
        ["searches", "'x'", "name of its own"],
    ),
    # names that are not known
    "an unknown metric": ({"metric": "acuracy"}, ["metric", "'acuracy'", "'accuracy'"]),
    "an unknown family": ({"searches__0__family": "kn"}, ["searches.0.family", "'kn'", "'knn'"]),
    "an unknown sampler": ({"searches__0__sampler": "gird"}, ["searches.0.sampler", "'gird'", "'grid'"]),
    "a sampler that lacks its package": ({"searches__0__sampler": "no-such"}, ["searches.0.sampler", "'no-such'"]),
    "an unknown parameter": (space(n_neighbours=[1]), ["searches.0.space", "'n_neighbours'", "'n_neighbors'"]),
    "an unknown value": (space(weights=["unform"]), ["searches.0.space.weights", "'unform'", "'uniform'"]),
    "an unknown parameter of a comparator": (
        {"comparators": [{"family": "knn", "params": {"k": 3}}]},
        ["comparators.0.params", "'k'", "n_neighbors"],
    ),
    "an unknown family of a comparator": ({"comparators": [{"family": "kn"}]}, ["comparators.0.family", "'knn'"]),
    # spaces
    "a grid over floats without a step": (
        space(metric="minkowski", p={"low": 1.0, "high": 2.0}),
        ["searches.0.space.p", "step", "found low and high alone", "random or tpe"],
    ),
    "low above high": (space(n_neighbors={"low": 5, "high": 2}), ["searches.0.space.n_neighbors: low 5", "high 2"]),
    "a step of zero": (space(n_neighbors={"low": 1, "high": 5, "step": 0}), ["space.n_neighbors: step 0", "above 0"]),
    "a step below zero": (space(n_neighbors={"low": 1, "high": 5, "step": -1}), ["n_neighbors: step -1", "above 0"]),
    "log from zero": (
        space(n_neighbors={"low": 0, "high": 5, "log": True}),
        ["n_neighbors: log", "above 0", "found 0"],
    ),
    "log with a step": (
        space(n_neighbors={"low": 1, "high": 9, "log": True, "step": 2}),
        ["n_neighbors: log and step"],
    ),
    "an infinite bound": (
        space(n_neighbors={"low": 1, "high": float("inf")}),
        ["n_neighbors.high: expected a finite number", "inf"],
    ),
    "a value that is no number": (
        space(metric="minkowski", p=[float("nan")]),
        ["space.p.0: expected", "finite", "nan"],
    ),
    "an empty list": (space(n_neighbors=[]), ["searches.0.space.n_neighbors: expected a list of at least 1", "[]"]),
    "k that is text": (space(n_neighbors="3"), ["space.n_neighbors: expected whole numbers from 1 up", "'3'"]),
    "k of zero": (space(n_neighbors=[0, 1]), ["space.n_neighbors: expected whole numbers from 1 up", "0"]),
    "k in floats": (space(n_neighbors={"low": 1.0, "high": 3.0}), ["space.n_neighbors: expected whole", "1.0"]),
    "k in half steps": (space(n_neighbors={"low": 1, "high": 3, "step": 0.5}), ["n_neighbors: expected whole", "0.5"]),
    "k above the rows of a training fold": (
        space(n_neighbors={"low": 1, "high": 26}),
        ["space.n_neighbors: 26", "25 rows", "at most 25"],
    ),
    "k above the rows in a comparator": (
        {"comparators": [{"family": "knn", "params": {"n_neighbors": 99}}]},
        ["comparators.0.params.n_neighbors: 99", "at most 25"],
    ),
    "a range where a choice is meant": (space(weights={"low": 1, "high": 2}), ["space.weights: expected a list of"]),
    "p without minkowski": (space(p=[1, 3]), ["searches.0.space.p", "minkowski", "searches.0.space.metric"]),
    "p below one": (space(metric="minkowski", p=[0.5]), ["space.p: expected numbers from 1 up", "0.5"]),
    "more components than columns": (space(pca=[3]), ["space.pca: 3 components", "2 columns", "at most 2"]),
    "components neither counted nor a share": (space(pca=[1.5]), ["space.pca: expected", "share", "1.5"]),
    "components from a share to a count": (
        {"searches__0__sampler": "random", **space(pca={"low": 0.5, "high": 2})},
        ["space.pca: expected", "share", "2.0"],
    ),
    # what does not fit the data
    "an unknown target": ({"data__target": "Y"}, ["data.target", "'Y'", "Did you mean 'y'"]),
    "an unknown column in features": ({"data__features": ["A"]}, ["data.features", "'A'", "Did you mean 'a'"]),
    "an unknown column in exclude": ({"data__exclude": ["zzz"]}, ["data.exclude", "'zzz'", "Known: a, b, y"]),
    "features that hold the target": ({"data__features": ["a", "y"]}, ["data.features", "target 'y'"]),
    "text that is no feature": ({"data__text": ["A"]}, ["data.text", "'A'", "Did you mean 'a'"]),
    "text that is left out": ({"data__text": ["a"], "data__exclude": ["a"]}, ["data.text", "'a' is no feature"]),
    "text that is the target": ({"data__text": ["y"]}, ["data.text", "'y' is no feature"]),
    "text of numbers": ({"data__text": ["a"]}, ["data.text", "'a' has type double", "expected strings"]),
    "an unknown key beside data.text": ({"data__texts": ["a"]}, ["'data.texts'", "'text'"]),
    "all columns excluded": ({"data__exclude": ["a", "b"]}, ["data.features: no column is left"]),
    "no features": ({"data__features": []}, ["data.features: no column is left"]),
    "an unknown test column": ({"data__test": {"column": "B"}}, ["data.test.column", "'B'", "Did you mean 'b'"]),
    "a test value of another type": (
        {"data__test": {"column": "a", "value": "test"}},
        ["data.test.value: 'test'", "double", "expected one of its values"],
    ),
    "a test fraction without a row of each class": (
        {"data__test": {"fraction": 0.01}},
        ["data.test.fraction: 0.01 of 40 rows is 1", "leaves 39", "at least 2, one of each class"],
    ),
    "a test fraction that leaves nothing": ({"data__test": {"fraction": 0.99}}, ["data.test.fraction", "leaves 0"]),
    "a holdout that leaves nothing": (
        {"validation": {"kind": "holdout", "fraction": 0.99}},
        ["validation.fraction: 0.99 of 32 rows is 32", "leaves 0"],
    ),
    "more folds than rows": ({"validation__folds": 33}, ["validation.folds: 33 folds of 32", "at most 32"]),
    "more folds than rows of any class": (
        {"validation__folds": 17},
        ["validation.folds: 17 folds", "more than 16", "at most 16", "kfold"],
    ),
    "data that do not exist": ({"data__path": "dta.parquet"}, ["data.path", "dta.parquet", "expected", "data.parquet"]),
    "a glob without a match": ({"data__path": "*.prq"}, ["data.path", "no file matches", "*.prq", "expected"]),
    "an unknown dataset of the package": ({"data__path": "dataset:irs"}, ["data.path", "'irs'", "'iris'"]),
    "test data that do not exist": ({"data__test": {"path": "t.parquet"}}, ["data.test.path", "t.parquet", "exist"]),
}


@pytest.mark.parametrize(("changes", "words"), WRONG_JOBS.values(), ids=WRONG_JOBS)
def test_a_wrong_job_is_refused_with_its_key(changes, words, make_job, refused):
    refused(JOB, words, "run", make_job(**changes))


THREE_CLASSES = columns(60, y=pa.array(["u", "v", "w"] * 20))
NUMBERS = columns(y=np.linspace(0, 1, N_ROWS))
MISFIT_METRICS = {
    "f1 of three classes": (THREE_CLASSES, "f1", "classification of 3 classes"),
    "roc_auc of three classes": (THREE_CLASSES, "roc_auc", "classification of 3 classes"),
    "accuracy of numbers": (NUMBERS, "accuracy", "regression"),
    "r2 of classes": (THREE_CLASSES, "r2", "classification of 3 classes"),
}


@pytest.mark.parametrize(("values", "metric", "task"), MISFIT_METRICS.values(), ids=MISFIT_METRICS)
def test_a_metric_that_does_not_fit_the_task_is_refused(values, metric, task, folder, make_job, refused):
    write(folder / "data.parquet", values)
    refused(JOB, [f"metric: {metric} cannot score {task}", "expected one such as"], "run", make_job(metric=metric))


def test_a_metric_that_no_model_can_reach_on_some_fold_is_refused_before_training(folder, make_job, refused):
    write(folder / "data.parquet", columns(y=pa.array(["u"] * 37 + ["v"] * 3)))
    refused(JOB, ["metric: roc_auc", "whatever the model", "validation.folds"], "run", make_job(metric="roc_auc"))


def test_stratified_folds_of_numbers_are_refused(folder, make_job, refused):
    write(folder / "data.parquet", NUMBERS)
    refused(JOB, ["validation.kind: stratified", "kfold"], "run", make_job(validation__kind="stratified"))


NOTHING = [None] * N_ROWS
NAN = float("nan")
SOME = [[0.0, 1.0]] * (N_ROWS - 1)
IMAGE = image(np.zeros((2, 2)))


def vectors(values):
    return pa.array(values, pa.list_(pa.float64(), 2))


BAD_COLUMNS = {
    "a target with nulls": ({"y": ["u", None] * 20}, ["data.target: 'y' is null in 20 of 40 rows", "expected a value"]),
    "a target with nan": ({"y": [1.0, NAN] * 20}, ["data.target: 'y' is null in 20 of 40 rows", "expected a value"]),
    "a target of nulls alone": ({"y": pa.array(NOTHING, pa.string())}, ["data.target: 'y' is null in 40"]),
    "a target of Arrow's type null": ({"y": pa.nulls(N_ROWS)}, ["data.target", "'y'", "type null", "expected"]),
    "an infinite target": ({"y": [float("inf"), 1.5] * 20}, ["data.target: 'y' is infinite in 20", "finite"]),
    "a target of one class": ({"y": ["u"] * 40}, ["data.target: 'y' is 'u' in all 40 rows", "at least two classes"]),
    "a target of two signs of zero": ({"y": [0.0, -0.0] * 20}, ["data.target: 'y' is 0.0 in all 40 rows"]),
    "a target that never changes": ({"y": [1.5] * 40}, ["data.target: 'y' is 1.5 in all 40 rows", "two values"]),
    "a class of one row": ({"y": ["u"] * 39 + ["v"]}, ["data.target: class 'v'", "one row", "stratify: false"]),
    "a class with a long name": ({"y": ["u"] * 39 + ["v" * 9999]}, ["data.target: class 'vvv", "..."]),
    "a target of times": ({"y": pa.array([0, 1] * 20, pa.timestamp("s"))}, ["data.target", "timestamp", "expected"]),
    "a column of ids": (
        {"c": pa.array([b"1"] * 40, pa.binary(1))},
        ["'c'", "fixed_size_binary", 'data.exclude: ["c"]'],
    ),
    "a column of lists of strings": ({"c": pa.array([["p"]] * 40)}, ["'c'", "list", "expected", 'exclude: ["c"]']),
    "a column of lists of lists": ({"c": pa.array([[[1]]] * 40)}, ["'c'", "list", "expected", 'exclude: ["c"]']),
    "a column of structs": ({"c": pa.array([{"q": 1}] * 40)}, ["'c'", "struct", "expected", 'data.exclude: ["c"]']),
    "a column of bytes": ({"c": pa.array([b"1"] * 40)}, ["'c', row 0", "not a PNG or JPEG", 'data.exclude: ["c"]']),
    "a target of vectors": (
        {"y": vectors([[0, 1]] * 40)},
        ["data.target", "'y'", "list", "expected numbers, booleans"],
    ),
    "a target of images": ({"y": [IMAGE] * 40}, ["data.target", "'y'", "binary", "expected numbers, booleans"]),
    "a vector that is null": ({"c": vectors([*SOME, None])}, ["'c', row 39", "null", "2 numbers", 'exclude: ["c"]']),
    "a vector with null in it": ({"c": vectors([*SOME, [0, None]])}, ["'c', row 39", "null in it", 'exclude: ["c"]']),
    "a vector with nan in it": ({"c": vectors([*SOME, [NAN, 0]])}, ["'c', row 39", "nan in it", 'exclude: ["c"]']),
    "a sequence with null in it": ({"c": [*SOME, [0, 1, None]]}, ["'c', row 39", "null in it", 'exclude: ["c"]']),
    "an image that is null": ({"c": [IMAGE] * 39 + [None]}, ["'c', row 39", "is null", "image", 'exclude: ["c"]']),
    "an image of another size": (
        {"c": [IMAGE] * 39 + [image(np.zeros((4, 3)))]},
        ["'c', row 39", "3 x 4 pixels", "expected 2 x 2 pixels", 'data.exclude: ["c"]'],
    ),
    "an image that is damaged": ({"c": [IMAGE] * 39 + [IMAGE[:45]]}, ["'c', row 39", "damaged", 'exclude: ["c"]']),
    "infinite values": ({"c": [float("inf")] + [0.0] * 39}, ["data.features", "'c'", "infinite", "finite", "exclude"]),
    "values beyond single precision": (
        {"c": [-1.7e308] + [0.0] * 39},
        ["'c' holds values such as -1.7e+308", "below 3.4e+38", "data.missing", 'exclude: ["c"]'],
    ),
    "a column whose name is a sentence": (
        {'b, c: \n"d"': [float("inf")] + [0.0] * 39},
        [r"""'b, c: \n"d"' holds infinite""", r'data.exclude: ["b, c: \n\"d\""]'],
    ),
}


@pytest.mark.parametrize(("others", "words"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_data_that_fail_a_check_are_refused_with_the_column(others, words, folder, make_job, refused):
    write(folder / "data.parquet", columns(**others))
    refused(DATA, words, "run", make_job())


OTHER_KINDS = {
    "sequences": (pa.array([[1.0, 2.0]] * N_ROWS), "sequence"),
    "images": (pa.array([IMAGE] * N_ROWS), "image"),
}


@pytest.mark.parametrize("place", ["searches", "comparators"])
@pytest.mark.parametrize(("values", "kind"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_a_family_that_finds_no_column_of_its_kinds_is_refused(
    values, kind, place, folder, make_job, refused, monkeypatch
):
    write(folder / "data.parquet", {"c": values, "y": columns()["y"]})
    words = [
        f"{place}.0.family: knn",
        "boolean, category, date, number, text and vector",
        f"are {kind} columns",
        "data.features",
    ]
    changes = {"searches": [{"family": "sees_all"}], "comparators": [{"family": "knn"}]} if place != "searches" else {}
    monkeypatch.setitem(families._registered, "sees_all", SeesAll())
    refused(JOB, words, "run", make_job(**changes))


class SeesAll(KNN):
    """A family that says it takes what knn does not."""

    name = "sees_all"
    kinds = frozenset({"text", "image", "sequence"})


@pytest.mark.parametrize(("values", "kind"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_a_column_that_no_search_learns_from_is_a_warning(values, kind, folder, make_job, cli):
    write(folder / "data.parquet", columns(c=values))
    outcome = cli("run", make_job())
    assert outcome.code == 0, outcome.err
    assert f"column 'c' is {kind}, and no search learns from that" in outcome.err
    assert 'data.exclude: ["c"]' in outcome.err
    assert [line.split(":")[1].strip() for line in cli("check", make_job()).out.splitlines()[:-2]] == ["unused_column"]


@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_bad_data_have_the_same_exit_code_under_every_verb(verb, folder, make_job, cli):
    write(folder / "data.parquet", columns(y=["u", None] * 20))
    assert cli(verb, make_job()).code == DATA


def test_columns_that_hold_nothing_are_told_of_and_left_out(folder, make_job, cli):
    empty = {
        "nulls": pa.array(NOTHING, pa.int8()),
        "nan": [NAN] * 40,
        "null type": pa.nulls(N_ROWS),
        "strings": pa.array(NOTHING, pa.string()),
        "lists": pa.array(NOTHING, pa.list_(pa.int8())),
        "images": pa.array(NOTHING, pa.binary()),
    }
    write(folder / "data.parquet", columns(**empty))
    outcome = cli("check", make_job())
    found = [line.split(": ")[1:4] for line in outcome.out.splitlines()[:-2]]
    assert {code for code, _, _ in found} == {"all_null_column"}
    assert sorted(text.split("'")[1] for _, _, text in found) == sorted(empty)
    assert "32 training and 8 test rows, 2 columns" in outcome.out.splitlines()[-1]
    assert outcome.code == 0


def test_a_dataset_whose_columns_all_hold_nothing_is_refused(folder, make_job, refused):
    write(folder / "data.parquet", pa.table({"a": [1.0] * 40, "b": pa.array(NOTHING, pa.int8()), "y": ["u", "v"] * 20}))
    refused(DATA, ["data.features: no column is left to learn from", "expected at least one"], "run", make_job())


def test_a_class_with_fewer_rows_than_folds_is_a_warning(folder, make_job, cli):
    write(folder / "data.parquet", columns(y=["u"] * 37 + ["v"] * 3))
    outcome = cli("run", make_job())
    assert outcome.code == 0
    assert "warning: data.target: 'v' (2): fewer training rows than the 5 folds" in outcome.err


UNREADABLE = {
    "an empty file": (lambda whole: b"", ["data.path", "data.parquet is empty (0 bytes)", "expected a Parquet file"]),
    "a truncated file": (lambda whole: whole[: len(whole) // 2], ["data.path", "data.parquet", "cut off"]),
    "a CSV": (lambda whole: b"a,b,y\n1,2,u\n" * 9, ["data.path", "data.parquet", "another format"]),
    "a file damaged inside": (lambda whole: whole[:20] + b"\xff" * 99 + whole[119:], ["data.path", "data.parquet"]),
}


@pytest.mark.parametrize(("damage", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_parquet_is_refused(damage, words, folder, make_job, refused):
    path = write(folder / "data.parquet", columns())
    path.write_bytes(damage(path.read_bytes()))
    refused(DATA, words, "run", make_job())


def test_a_dataset_without_rows_is_refused(folder, make_job, refused):
    write(folder / "data.parquet", pa.table(columns()).slice(0, 0))
    refused(DATA, ["data.path", "no rows", "expected"], "run", make_job())


def test_a_dataset_without_columns_is_refused(folder, make_job, refused):
    write(folder / "data.parquet", {})
    refused(JOB, ["data.target", "'y'"], "run", make_job())


def test_a_dataset_of_the_target_alone_is_refused(folder, make_job, refused):
    write(folder / "data.parquet", {"y": columns()["y"]})
    refused(JOB, ["data.features", "no column is left"], "run", make_job())


def test_two_columns_of_one_name_are_refused(folder, make_job, refused):
    values = columns()
    write(folder / "data.parquet", pa.table([values["a"], values["b"], values["y"]], names=["a", "a", "y"]))
    refused(DATA, ["data.path", "same name", "expected"], "run", make_job())


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("test", [{"fraction": 0.2}, None], ids=["with test rows", "without"])
@pytest.mark.parametrize("is_classification", [True, False], ids=["classes", "numbers"])
def test_too_few_rows_are_refused_in_words(n_rows, test, is_classification, folder, make_job, refused, cli):
    y = ["u", "v"] * 4 if is_classification else [0.5, 1.5, 0.7, 2.5, 3.5, 1.1, 4.5, 1.7]
    write(folder / "data.parquet", columns(n_rows, y=y[:n_rows]))
    code = cli("check", job := make_job(data__test=test, searches=[{"family": "knn"}])).code
    assert code in (JOB, DATA)
    outcome = refused(code, [], "run", job)
    assert re.match(r"error: (data|validation|metric)[.:]", outcome.err)


# ---- datasets of several files


def test_a_folder_without_parquet_is_refused(folder, make_job, refused):
    (folder / "rows").mkdir()
    refused(DATA, ["data.path", "rows holds no Parquet file", "expected"], "run", make_job(data__path="rows"))


def test_a_foreign_file_in_a_folder_is_named(folder, make_job, refused):
    write(folder / "rows" / "a.parquet", columns())
    (folder / "rows" / "notes.csv").write_text("a,b,y\n1,2,u\n")
    refused(DATA, ["data.path", "rows/notes.csv", "another format"], "run", make_job(data__path="rows"))


@pytest.mark.parametrize("first", [0, 1], ids=["in the last file", "in the first file"])
def test_a_column_that_a_file_lacks_is_named_with_the_file(first, folder, make_job, refused):
    whole, less = columns(20), {name: values for name, values in columns(20).items() if name != "b"}
    for number, values in enumerate([whole, less][:: -1 if first else 1]):
        write(folder / "rows" / f"{number}.parquet", values)
    job = make_job(data__path="rows")
    refused(DATA, ["data.path", f"rows/{1 - first}.parquet has no column 'b'", "expected the same"], "run", job)


def test_a_column_of_two_types_is_named_with_the_file(folder, make_job, refused):
    write(folder / "rows" / "0.parquet", columns(20))
    write(folder / "rows" / "1.parquet", columns(20, b=["1", "x"] * 10))
    job = make_job(data__path="rows")
    words = ["data.path", "'b'", "string", "rows/1.parquet", "double", "expected one type"]
    refused(DATA, words, "run", job)


def test_a_column_that_is_not_used_may_differ_between_files(folder, make_job, cli):
    write(folder / "rows" / "0.parquet", columns(20, c=[1] * 20))
    write(folder / "rows" / "1.parquet", columns(20, c=["x"] * 20))
    assert cli("check", make_job(data__path="rows", data__exclude=["c"])).code == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1, 2] * 10, pa.int8()), pa.array([2**40] * 20)),
        (pa.array([1, 2] * 10), pa.array([1.5] * 20)),
        (pa.nulls(20), pa.array([1.5] * 20)),
        (pa.array(["p", "q"] * 10).dictionary_encode(), pa.array(["p", "r"] * 10)),
        (pa.array(["p", "q"] * 10), pa.array(["p", "r"] * 10, pa.large_string())),
    ],
    ids=["int8 and int64", "int and float", "null and float", "dictionary and string", "string and large_string"],
)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_types_that_one_type_holds_go_together(one, other, turned, folder, make_job, cli):
    for number, values in enumerate([one, other][:: -1 if turned else 1]):
        write(folder / "rows" / f"{number}.parquet", columns(20, c=values))
    outcome = cli("check", make_job(data__path="rows"))
    assert outcome.code == 0, outcome.err
    assert "3 columns" in outcome.out


def test_a_hive_partitioned_folder_gives_its_partition_as_a_column(folder, make_job, cli):
    split = pa.array((["train"] * 6 + ["test"] * 2) * 5)
    table = pa.table(columns(split=split))
    ds.write_dataset(table, folder / "rows", format="parquet", partitioning=["split"], partitioning_flavor="hive")
    outcome = cli("check", make_job(data__path="rows", data__test={"column": "split"}))
    assert outcome.code == 0, outcome.err
    assert "30 training and 10 test rows, 2 columns" in outcome.out


def test_a_glob_below_a_folder_with_brackets_finds_its_files(folder, make_job, cli):
    write(folder / "[x] y" / "rows" / "0.parquet", columns())
    job = make_job(data__path="rows/*.parquet")
    shutil.move(job, folder / "[x] y" / "job.yaml")
    assert cli("check", folder / "[x] y" / "job.yaml").code == 0


# ---- the test rows


def test_a_test_column_of_lists_is_refused(folder, make_job, refused):
    write(folder / "data.parquet", columns(part=pa.array([[1], [2]] * 20)))
    job = make_job(data__test={"column": "part", "value": 1})
    refused(JOB, ["data.test.column: holds values of type list", "expected a column of strings"], "run", job)


@pytest.mark.parametrize(("value", "n_found"), [("tset", 0), ("all", N_ROWS)])
def test_a_test_column_must_mark_some_rows_and_not_all(value, n_found, folder, make_job, refused):
    write(folder / "data.parquet", columns(part=["all"] * N_ROWS))
    job = make_job(data__test={"column": "part", "value": value})
    refused(DATA, [f"data.test.value: {n_found} of 40 rows", "'part'", "expected some", "'all'"], "run", job)


TEST_FILES = {
    "a missing column": ({"b": None}, ["data.test.path", "test.parquet has no column 'b'"]),
    "a column of another type": ({"b": ["1"] * 8}, ["data.test.path", "'b'", "string", "expected double"]),
    "a target of another type": ({"y": [1, 2] * 4}, ["data.test.path", "'y'", "int64", "expected string"]),
    "a target with nulls": ({"y": ["no", None] * 4}, ["data.test.path", "'y' is null in 4 of 8 rows"]),
    "an unseen class": ({"y": ["no", "other"] * 4}, ["data.test", "class 'other'", "training rows"]),
}


@pytest.mark.parametrize(("others", "words"), TEST_FILES.values(), ids=TEST_FILES)
def test_test_rows_of_their_own_must_fit(others, words, folder, make_job, refused):
    values = {name: column for name, column in columns(8, **others).items() if column is not None}
    write(folder / "test.parquet", values)
    refused(DATA, words, "run", make_job(data__test={"path": "test.parquet"}))


def test_test_rows_that_leave_one_class_to_train_on_are_refused(folder, make_job, refused):
    job = make_job(data__test={"column": "y", "value": "no"})
    refused(DATA, ["data.target", "one class, 'yes'", "training rows", "data.test"], "run", job)


# ---- where a run goes


def test_an_output_directory_that_exists_is_refused(folder, make_job, refused):
    (folder / "there").mkdir()
    refused(JOB, ["--out", "there exists", "expected a new directory"], "run", make_job(), "--out", "there")


def test_the_directory_of_a_run_is_offered_to_be_resumed(make_job, cli, refused):
    cli("run", job := make_job(), "--out", "there")
    refused(JOB, ["--out", "there exists", "orchestrator resume"], "run", job, "--out", "there")


@pytest.mark.parametrize("out", ["file/run", "file/deep/run", "/proc/run", "/proc/deep/run", "x" * 300])
def test_an_output_directory_that_cannot_be_made_is_refused(out, folder, make_job, refused):
    (folder / "file").write_text("")
    refused(JOB, ["--out", out[:20], "cannot be made", "another place"], "run", make_job(), "--out", out)


def test_a_home_that_cannot_hold_runs_is_refused(folder, make_job, refused, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_HOME", "/proc/nowhere")
    refused(JOB, ["--out", "/proc/nowhere/runs", "cannot be made"], "run", make_job())


def test_parents_made_for_a_run_that_cannot_be_are_removed(folder, make_job, refused, monkeypatch):
    monkeypatch.setattr(rundir.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    refused(JOB, ["--out", "0.0 MB are free", "needs about", "make room"], "run", make_job(), "--out", "p/q/run")


def test_a_disk_without_room_is_refused_before_the_run(tiny_disk, make_job, refused):
    refused(
        JOB, ["--out", "MB are free at", "needs about", "make room"], "run", make_job(), "--out", tiny_disk / "r" / "s"
    )


class FillingDisk:
    """A file on a disk that fills: what fits is written, then there is no space left."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        if self._room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n_written = self._file.write(data[: self._room])
        self._room -= n_written
        return n_written

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 100, 700, 1500])
def test_a_disk_that_fills_during_a_run_is_said_and_the_run_can_be_resumed(room, make_job, cli, monkeypatch):
    job = make_job()
    cli("run", job, "--out", "undisturbed")

    def filling(path, mode="r", *arguments, **options):
        file = open(path, mode, *arguments, **options)  # noqa: SIM115  (the ledger closes it)
        return FillingDisk(file, room) if "a" in mode else file

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "open", filling, raising=False)
        outcome = cli("run", job, "--out", "cut")
    assert outcome.code == FAILED
    said(outcome.err.splitlines()[-1], ["records.jsonl cannot be written", "No space left", "make room, then resume"])
    assert cli("resume", "cut").code == 0
    assert board(cli, "cut") == board(cli, "undisturbed")


def test_a_disk_that_is_full_at_the_end_is_said_and_the_run_can_be_resumed(make_job, cli, monkeypatch):
    job = make_job()
    replace = os.replace

    def full(source, target):
        if Path(target).name == "leaderboard.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        outcome = cli("run", job, "--out", "cut")
    assert outcome.code == FAILED
    said(outcome.err.splitlines()[-1], ["leaderboard.csv cannot be written", "No space left", "make room, then resume"])
    assert not list(Path("cut").glob("**/*.partial"))
    assert cli("resume", "cut").code == 0
    assert Path("cut/leaderboard.csv").exists()


def board(cli, run):
    rows = json.loads(cli("leaderboard", run, "--format", "json").out)
    return [{name: value for name, value in row.items() if not name.endswith("_time_s")} for row in rows]


# ---- job files


JOB_FILES = {
    "that raises": ("job.py", 'x = 1\nraise KeyError("boo")\n', ["job.py, line 2, raised KeyError: 'boo'", "`job`"]),
    "with a syntax error": ("job.py", "x = 1\njob = (\n", ["job.py, line 2, raised SyntaxError: '('", "`job`"]),
    "that ends the process": ("job.py", "raise SystemExit(0)", ["job.py, line 1, raised SystemExit", "`job`"]),
    "that imports what is not there": ("job.py", "import nothing_such", ["job.py, line 1", "nothing_such", "`job`"]),
    "without a job": ("job.py", "x = 1", ["job.py defines no `job`", "expected job = orchestrator.Job("]),
    "with a job of another type": ("job.py", "job = {}", ["job.py: `job` is of type dict", "orchestrator.Job("]),
    "of another kind": ("job.txt", "", ["job.txt is no job file", ".py or .yaml"]),
    "that is empty": ("job.yaml", "", ["job.yaml", "expected keys such as name", "null"]),
    "that is a list": ("job.yaml", "- a\n- b\n", ["job.yaml", "expected keys such as name", "['a', 'b']"]),
    "that is no YAML": ("job.yaml", "name: x\ndata: [1,\n  b: }\n", ["job.yaml, line 3", "not valid YAML", "'}'"]),
    "with tabs": ("job.yaml", "name: x\ndata:\n\tpath: y\n", ["job.yaml, line 3", "not valid YAML", r"'\t'"]),
    "of two documents": ("job.yaml", "name: x\n---\nname: y\n", ["job.yaml, line 2", "not valid YAML", "document"]),
    "with a key twice": ("job.yaml", "name: x\nseed: 1\nname: y\n", ["job.yaml, line 3", "'name' stands twice"]),
    "with an inner key twice": ("job.yaml", "data:\n  path: x\n  path: y\n", ["job.yaml, line 3", "'path' stands"]),
    "that runs code": (
        "job.yaml",
        "name: !!python/object/apply:os.getpid []\n",
        ["job.yaml, line 1", "not valid YAML"],
    ),
    "that is not UTF-8": ("job.yaml", b"name: caf\xe9\n", ["job.yaml is not text in UTF-8", "byte 9"]),
    "with control characters": ("job.yaml", b"name: a\x00b\n", ["job.yaml", "not valid YAML"]),
}


@pytest.mark.parametrize(("name", "content", "words"), JOB_FILES.values(), ids=JOB_FILES)
def test_a_job_file_is_refused(name, content, words, folder, cli):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = cli("run", name)
    assert outcome.code == JOB
    assert len(outcome.err.splitlines()) == 1
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not (folder / "home").exists()


def test_a_job_file_that_does_not_exist_or_is_a_folder_is_refused(folder, refused):
    refused(JOB, ["nowhere.yaml does not exist", "expected a job file"], "run", "nowhere.yaml")
    (folder / "folder.py").mkdir()
    refused(JOB, ["folder.py is a directory", "expected a job file"], "run", "folder.py")


PYTHON_JOBS = {
    "an unknown argument": ('Data("d", tarjet="y")', ["job.py, line 2, Data: unknown key 'tarjet'", "'target'"]),
    "a missing argument": ('Data("d")', ["job.py, line 2, Data: target is missing"]),
    "an argument out of range": ("Test(fraction=3)", ["job.py, line 2, Test: fraction: expected a number below 1"]),
    "an argument without a name": ('Data("d", "y", 3)', ["job.py, line 2, Data: features: expected a list", "3"]),
    "a range the wrong way round": ("Range(3, 1)", ["job.py, line 2, Range: low 3 is above high 1"]),
    "an unknown argument of a range": ("Range(1, 3, stepp=1)", ["Range: unknown key 'stepp'", "'step'"]),
    "an unknown key of the job": ('Job(name="x", metrc="r2")', ["job.py, line 2: unknown key 'metrc'", "'metric'"]),
}


@pytest.mark.parametrize(("statement", "words"), PYTHON_JOBS.values(), ids=PYTHON_JOBS)
def test_what_is_wrong_in_a_python_job_is_said_with_its_line(statement, words, folder, refused):
    (folder / "job.py").write_text(f"from orchestrator import Data, Job, Range, Test\njob = {statement}\n")
    refused(JOB, words, "check", "job.py")


# ---- the command line


OVERRIDES = {
    "metric": ["--set metric", "expected KEY=VALUE"],
    "=3": ["--set =3", "expected KEY=VALUE"],
    "data.path.x=3": ["--set data.path.x=3", "data.path holds", "expected"],
    "seed.x.y=3": ["--set seed.x.y=3", "seed holds 1", "expected"],
    "searches.5.trials=3": ["--set searches.5.trials=3", "item of searches", "below 1", "'5'"],
    "searches.-1.trials=3": ["--set searches.-1.trials=3", "item of searches", "below 1", "'-1'"],
    "searches.x.trials=3": ["--set searches.x.trials=3", "item of searches", "below 1", "'x'"],
    "sead=3": ["with --set sead=3", "unknown key 'sead'", "'seed'"],
    "data.tset=3": ["with --set data.tset=3", "unknown key 'data.tset'", "'test'"],
    "seed=x": ["with --set seed=x", "seed: expected a whole number", "'x'"],
    "data.exclude=[a": ["--set data.exclude=[a", "not valid YAML"],
}


@pytest.mark.parametrize(("override", "words"), OVERRIDES.items(), ids=OVERRIDES)
def test_a_bad_override_is_refused(override, words, make_job, refused):
    refused(JOB, words, "run", make_job(seed=1), "--set", override)


COMMANDS = {
    "no verb": ([], ["VERB"]),
    "an unknown verb": (["rnu", "job.yaml"], ["'rnu'", "'run'"]),
    "an unknown option": (["run", "job.yaml", "--excutor", "inline"], ["--excutor"]),
    "an unknown executor": (["run", "job.yaml", "--executor", "dask"], ["--executor", "'dask'", "'inline'"]),
    "a missing argument": (["check"], ["JOB", "orchestrator check --help"]),
    "a missing value": (["run", "job.yaml", "--executor", "inline", "--set"], ["--set", "expected one argument"]),
    "an unknown format": (["leaderboard", "latest", "--format", "xml"], ["--format", "'xml'", "'json'"]),
    "a top of nothing": (["leaderboard", "latest", "--top", "0"], ["--top", "from 1 up", "'0'"]),
    "init without a target": (["init", "data.parquet"], ["--target"]),
}


@pytest.mark.parametrize(("arguments", "words"), COMMANDS.values(), ids=COMMANDS)
def test_a_bad_command_is_refused(arguments, words, refused):
    refused(JOB, words, *arguments)


INITS = {
    "data that do not exist": (["nowhere.parquet", "--target", "y"], JOB, ["DATA", "nowhere.parquet", "expected"]),
    "an unknown target": (["data.parquet", "--target", "Y"], JOB, ["--target", "'Y'", "Did you mean 'y'"]),
    "a file that exists": (["data.parquet", "--target", "y", "--out", "job.yaml"], JOB, ["--out", "job.yaml exists"]),
    "a file that no job can have": (["data.parquet", "--target", "y", "--out", "job.txt"], JOB, ["--out", ".yaml"]),
    "a folder that is not there": (["data.parquet", "--target", "y", "--out", "n/j.yaml"], JOB, ["--out", "written"]),
    "a target of one class": (["one.parquet", "--target", "y"], DATA, ["data.target", "at least two classes"]),
    "no column to learn from": (["ids.parquet", "--target", "y"], DATA, ["DATA", "no column to learn from"]),
}


@pytest.mark.parametrize(("arguments", "code", "words"), INITS.values(), ids=INITS)
def test_init_refuses(arguments, code, words, folder, make_job, refused):
    make_job()
    write(folder / "one.parquet", columns(y=["u"] * N_ROWS))
    write(folder / "ids.parquet", {"t": pa.array([b"1"] * N_ROWS, pa.binary(1)), "y": columns()["y"]})
    refused(code, words, "init", *arguments)


# ---- runs


@pytest.fixture
def finished(make_job, cli):
    """The path of a finished run."""
    outcome = cli("run", make_job(), "--out", "run")
    assert outcome.code == 0, outcome.err
    return Path("run").absolute()


@pytest.mark.parametrize("verb", ["status", "leaderboard", "resume"])
def test_a_run_that_is_not_there_is_refused(verb, folder, refused):
    refused(JOB, ["RUN", "'nowhere'", str(folder / "home" / "runs")], verb, "nowhere")
    refused(JOB, ["no run", str(folder / "home" / "runs"), "orchestrator run"], verb, "latest")
    (folder / "folder").mkdir()
    refused(JOB, ["RUN", "'folder'", "run directory"], verb, "folder")


def test_the_nearest_run_is_suggested(make_job, cli, refused):
    cli("run", make_job())
    name = next(Path("home/runs").iterdir()).name
    refused(JOB, ["RUN", repr(name[:-1]), f"Did you mean {name!r}"], "status", name[:-1])


CHANGES = {
    "seed=1": ["--set seed", "start a new run"],
    "metric=f1": ["--set metric", "start a new run"],
    "data.exclude=[b]": ["--set data", "start a new run"],
    "searches.0.sampler=random": ["--set searches.0", "searches"],
    "searches.0.space.n_neighbors={low: 1, high: 3}": ["--set searches.0.space", "must contain the old one", "new run"],
    "searches.0.space.scaler=standard": ["--set searches.0.space", "must contain the old one", "new run"],
    "searches.0.space.n_neighbors={low: 1, high: 99}": ["searches.0.space.n_neighbors: 99", "at most 25"],
    "budgit.trials=9": ["unknown key 'budgit'", "'budget'"],
    "budget": ["--set budget", "expected KEY=VALUE"],
}


@pytest.mark.parametrize(("override", "words"), CHANGES.items(), ids=CHANGES)
def test_a_change_that_a_resumed_run_may_not_make_is_refused(override, words, finished, cli):
    before = tree(finished)
    outcome = cli("resume", finished, "--set", override)
    assert outcome.code == JOB
    said(outcome.err.replace("Start", "start"), words)
    assert tree(finished) == before


def test_resume_refuses_data_that_have_changed(folder, finished, refused):
    write(folder / "data.parquet", columns(b=np.zeros(N_ROWS)))
    refused(DATA, ["data.path", "has changed", "new run"], "resume", finished)


def test_resume_refuses_data_that_have_gone(folder, finished, refused):
    (folder / "data.parquet").unlink()
    refused(JOB, ["data.path", "data.parquet does not exist"], "resume", finished)


def test_resume_refuses_a_run_that_another_process_holds(finished, refused):
    with Ledger(finished / "ledger"):
        refused(FAILED, [str(finished), "in use by another process"], "resume", finished)


MANIFESTS = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "without a key": lambda text: "{}",
    "a list": lambda text: "[]",
}


@pytest.mark.parametrize("verb", ["status", "leaderboard", "resume"])
@pytest.mark.parametrize("damage", MANIFESTS.values(), ids=MANIFESTS)
def test_a_damaged_manifest_is_said(damage, verb, finished, refused):
    manifest = finished / "manifest.json"
    manifest.write_text(damage(manifest.read_text()))
    refused(FAILED, [str(manifest), "is damaged", "copy"], verb, finished)


@pytest.mark.parametrize("verb", ["status", "leaderboard", "resume"])
def test_a_missing_manifest_is_said(verb, finished, refused):
    (finished / "manifest.json").unlink()
    refused(JOB, ["RUN", "no manifest.json", "expected a run directory"], verb, finished)


@pytest.mark.parametrize("verb", ["status", "leaderboard", "resume"])
@pytest.mark.parametrize("line", [b'{"is": "unit\n', b"\xff\xfe\n", b'{"is":"nothing"}\n', b'{"is":"batch"}\n'])
def test_a_damaged_line_within_the_ledger_is_said(line, verb, finished, cli):
    records = finished / "ledger" / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join([lines[0], line, *lines[2:]]))
    outcome = cli(verb, finished)
    assert outcome.code == FAILED
    assert len(outcome.err.splitlines()) == 1
    assert f"{records}, line 2, is damaged" in outcome.err
    assert "copy" in outcome.err


def test_a_torn_last_line_costs_at_most_what_it_said(finished, cli):
    whole = board(cli, finished)
    records = finished / "ledger" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-9])
    assert cli("status", finished).code == 0
    assert cli("leaderboard", finished).code == 0
    assert cli("resume", finished).code == 0
    assert board(cli, finished) == whole


# ---- in a process of its own


def test_a_process_ends_with_the_exit_code_and_one_line(folder):
    done = process("-m", "orchestrator", "run", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (JOB, "")
    said(done.stderr, "nowhere.yaml does not exist")


def test_a_job_file_that_is_run_by_itself_refuses_a_bad_override(folder, make_job):
    make_job()
    (folder / "job.py").write_text(
        "import orchestrator\n"
        "from orchestrator import Data, Job, Search\n"
        'job = Job(name="x", data=Data("data.parquet", target="y"), searches=[Search("knn")])\n'
        "raise SystemExit(orchestrator.main(job))\n"
    )
    done = process("job.py", "--executor", "inline", "--set", "sead=1")
    assert done.returncode == JOB
    said(done.stderr, ["--set sead=1", "unknown key 'sead'", "'seed'"])
    assert not (folder / "home").exists()


def test_debug_shows_where_an_error_came_from(cli):
    outcome = cli("run", "nowhere.yaml", "--debug")
    assert outcome.code == JOB
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: nowhere.yaml does not exist")


def test_a_reader_that_goes_away_is_no_error(finished):
    command = [sys.executable, "-m", "orchestrator", "leaderboard", str(finished), "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as writer:
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 0


# ---- odd, but not bad


ODD_COLUMNS = {
    "a,b": [0.5, 1.5] * 20,
    "new\nline": [0.5, 1.5] * 20,
    "": [0.5, 1.5] * 20,
    " spaced ": [0.5, 1.5] * 20,
    "ünï ☃": [0.5, 1.5] * 20,
    "null": [0.5, 1.5] * 20,
    "2024-01-31": [0.5, 1.5] * 20,
    "n" * 500: [0.5, 1.5] * 20,
}


def test_columns_may_have_any_name(folder, cli):
    write(folder / "odd.parquet", columns(**ODD_COLUMNS, **{"y: # z": columns()["y"]}))
    assert cli("init", "odd.parquet", "--target", "y: # z", "--out", "job.yaml").code == 0
    exclude = json.dumps([*list(ODD_COLUMNS)[:-1], "y"])
    outcome = cli("check", "job.yaml", "--set", f"data.exclude={exclude}")
    assert outcome.code == 0, outcome.err
    assert "3 columns" in outcome.out


TARGETS = {
    "booleans": pa.array([True, False] * 20),
    "small integers": pa.array([1, -2] * 20, pa.int8()),
    "large integers": pa.array([1, 2**64 - 1] * 20, pa.uint64()),
    "floats that are whole": pa.array([1.0, 2.0] * 20),
    "half floats": pa.array(np.array([1, 2] * 20, "float16")),
    "decimals": pa.array([1, 2] * 20, pa.int64()).cast(pa.decimal128(20, 1)),
    "a dictionary": pa.array(["u", "v"] * 20).dictionary_encode(),
    "a dictionary of integers": pa.array([5, 7] * 20).dictionary_encode(),
    "large strings": pa.array(["u", "v"] * 20, pa.large_string()),
    "string views": pa.array(["u", "v"] * 20, pa.string_view()),
    "an empty string": pa.array(["", "v"] * 20),
    "long strings": pa.array(["u" * 99999, "v" * 99999] * 20),
    "zeros of two signs and ones": pa.array([0.0, 1.0, -0.0, 1.0] * 10),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_of_any_plain_type_is_trained_on(target, folder, make_job, cli):
    write(folder / "data.parquet", columns(y=target))
    outcome = cli("run", make_job())
    assert outcome.code == 0, outcome.err
    assert "classification" in outcome.err


def test_a_damaged_file_among_good_ones_is_named(folder, make_job, refused):
    for name in "ab":
        write(folder / "rows" / f"{name}.parquet", columns())
    (folder / "rows" / "b.parquet").write_bytes((folder / "rows" / "a.parquet").read_bytes()[:500])
    refused(DATA, ["data.path", "rows/b.parquet", "cut off"], "run", make_job(data__path="rows"))


def test_numpy_values_in_a_space_mean_what_pythons_mean(folder, make_job, cli):
    make_job()
    (folder / "job.py").write_text(
        "import numpy as np\n"
        "from orchestrator import Data, Job, Search\n"
        'space = {"n_neighbors": np.arange(1, 4), "metric": "minkowski", "p": list(np.linspace(1, 2, 2))}\n'
        'job = Job(name="x", data=Data("data.parquet", target="y"), searches=[Search("knn", space=space)])\n'
    )
    assert cli("run", "job.py", "--out", "run").code == 0
    assert {row["params"]["n_neighbors"] for row in board(cli, "run") if row["params"]} == {1, 2, 3}


def test_a_file_without_rows_beside_one_with_rows_is_read(folder, make_job, cli):
    write(folder / "rows" / "0.parquet", pa.table(columns()).slice(0, 0))
    pq.write_table(pa.table(columns()), folder / "rows" / "1.parquet")
    assert cli("check", make_job(data__path="rows")).code == 0
