"""Jobs over estimators: a run from end to end, and what is refused before anything is imported or trained."""

import sys

import pyarrow.parquet as pq
import pytest
import yaml
from builders import job_values

from orchestrator import families
from orchestrator.families.base import Shape
from orchestrator.job import Job, from_dict

SVC = {"family": "estimator", "estimator": "sklearn.svm.SVC"}


def searching(**search):
    return {"searches": [search]}


def test_a_run_of_estimators_from_its_search_to_its_predictions(cli, make_job, folder):
    searches = [
        {"family": "boosting", "trials": 2, "space": {"max_iter": [2, 4], "resample": ["none", "over"]}},
        {"family": "linear", "trials": 2},
        {**SVC, "sampler": "grid", "space": {"C": [0.1, 1.0], "scaler": "standard", "class_weight": "balanced"}},
    ]
    comparators = [{"family": "boosting"}, {"family": "estimator", "params": {"estimator": "sklearn.svm.LinearSVC"}}]
    job = make_job(searches=searches, comparators=comparators, validation__folds=2, metric="balanced_accuracy")
    ran = cli("run", job, "--out", "run")
    assert ran.code == 0, ran.err
    assert "boosting()" in ran.out
    assert "estimator(estimator=sklearn.svm.LinearSVC)" in ran.out
    for trial in ("boosting/0", "linear/1", "estimator/0"):
        assert cli("replay", "run", trial, "--executor", "inline").out.endswith("the same\n")
    assert cli("predict", "run", "data.parquet", "--out", "said.parquet", "--executor", "inline").code == 0
    assert {"prediction", "probability_no", "probability_yes"} <= set(pq.read_schema("said.parquet").names)
    assert "param_estimator" in pq.read_schema(folder / "run" / "trials.parquet").names
    refused = cli("export", "run", "--format", "onnx", "--out", "model.onnx")
    assert refused.code == 2
    assert "no converter for" in refused.err
    resumed = cli("resume", "run", "--set", "searches.0.trials=3")
    assert resumed.code == 0, resumed.err


REFUSED = {
    "a class of a package that is not trusted": (
        {"searches": [{"family": "estimator", "estimator": "this.Zen"}]},
        ["searches.0.estimator", "this.Zen", "trusted_packages: [this]"],
    ),
    "a comparator of such": (
        {"comparators": [{"family": "estimator", "params": {"estimator": "this.Zen"}}]},
        ["comparators.0.params.estimator", "this.Zen", "trusted_packages"],
    ),
    "a package that cannot be trusted": ({"trusted_packages": ["this"]}, ["trusted_packages", "'this'", "lightgbm"]),
    "no import path": ({"searches": [{"family": "estimator", "estimator": "SVC"}]}, ["searches.0.estimator", "'SVC'"]),
    "no class": (searching(family="estimator"), ["searches.0.estimator: missing", "sklearn.svm.SVC"]),
    "a class that is not there": (
        {"searches": [{"family": "estimator", "estimator": "sklearn.svm.SVD"}]},
        ["searches.0.space.estimator", "sklearn.svm.SVD", "'SVC'"],
    ),
    "a function": (
        {"searches": [{"family": "estimator", "estimator": "sklearn.datasets.fetch_openml"}]},
        ["no classifier or regressor"],
    ),
    "a class for the other task": (
        {"searches": [{"family": "estimator", "estimator": "sklearn.svm.SVR"}]},
        ["sklearn.svm.SVR is no classifier", "classification"],
    ),
    "a class where the family takes none": (
        searching(family="knn", estimator="sklearn.svm.SVC"),
        ["searches.0.estimator", "knn takes no class"],
    ),
    "a parameter that the constructor does not have": (
        {"searches": [{**SVC, "space": {"gama": [0.1]}}]},
        ["searches.0.space", "sklearn.svm.SVC", "'gama'", "'gamma'"],
    ),
    "a value that scikit-learn refuses": (
        {"searches": [{**SVC, "space": {"C": [-1.0]}}]},
        ["searches.0.space.C", "'C' parameter of SVC", "-1.0"],
    ),
    "threads": (searching(family="forest", space={"n_jobs": 4}), ["searches.0.space.n_jobs", "one thread"]),
    "a scaler that is none": (searching(family="forest", space={"scaler": "z"}), ["space.scaler", "'z'"]),
    "an unknown resampling": (searching(family="tree", space={"resample": "smoke"}), ["space.resample", "'smote'"]),
    "resampling of numbers": (
        {
            "data": {"path": "data.parquet", "target": "a"},
            "searches": [{"family": "tree", "space": {"resample": "over"}}],
        },
        ["searches.0.space.resample", "regression"],
    ),
    "a class that needs another estimator": (
        {"searches": [{"family": "estimator", "estimator": "sklearn.multiclass.OneVsRestClassifier"}]},
        ["space.estimator: missing", "needs it"],
    ),
    "a parameter of another model": (
        {
            "data": {"path": "data.parquet", "target": "a"},
            "searches": [{"family": "linear", "space": {"model": "ridge", "l1_ratio": 0.5}}],
        },
        ["searches.0.space.l1_ratio", "elastic_net"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_job_is_refused_with_its_key(cli, make_job, folder, case):
    changes, expected = REFUSED[case]
    path = make_job()
    path.write_text(yaml.safe_dump({**job_values(), **changes}))
    outcome = cli("check", path)
    assert outcome.code == 2, outcome.err
    for part in expected:
        assert part in outcome.err
    assert outcome.err.count("\n") <= 2
    assert "this" not in sys.modules


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ["linear", "tree", "forest", "boosting"])
def test_default_spaces_are_spaces_of_their_families(name, task):
    family = families.find(name)
    shape = Shape("key", ((80, 20),), (), task, "accuracy", 2 if task == "classification" else 0)
    space = family.default_space(shape)
    assert set(family.checked_space(space, shape, "space")) == set(space)
    assert ("class_weight" in space) == (task == "classification")
    assert family.size({}, shape) > 0
    assert family.complexity({"max_leaf_nodes": 4}) <= family.complexity({"max_leaf_nodes": 8})


def test_estimators_of_a_job_stand_in_its_schema():
    job = from_dict({**job_values(), "searches": [SVC], "trusted_packages": "lightgbm"})
    assert isinstance(job, Job)
    assert job.searches[0].estimator == "sklearn.svm.SVC"
    assert job.trusted_packages == ("lightgbm",)
