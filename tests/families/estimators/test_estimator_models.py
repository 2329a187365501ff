"""Fitted estimators as files: the same after loading, and nothing in a changed file is run or followed."""

import numpy as np
import pytest
from estimating import training_set
from sklearn.utils import all_estimators

from orchestrator import families
from orchestrator.data.encode import Signature
from orchestrator.families import pipelines
from orchestrator.families.estimators import trusted
from orchestrator.families.trees import check_trees

CONFIGURATIONS = {
    "linear": {},
    "tree": {"max_leaf_nodes": 8},
    "forest": {"n_estimators": 3},
    "boosting": {"max_iter": 3},
    "boosting on one-hot": {"max_iter": 3, "scaler": "standard"},
}


def signature(data):
    return Signature(data.columns, "y", data.task, ("no", "yes") if data.task == "classification" else ())


def saved_and_loaded(tmp_path, family, params, data):
    fitted = family.fit(params, data, None)
    for name, content in fitted.files().items():
        (tmp_path / name).write_bytes(content)
    return fitted, family.load(tmp_path, signature(data))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_loaded_model_says_what_the_fitted_one_said(tmp_path, name, task):
    data = training_set(task)
    family = families.find(name.split()[0])
    fitted, loaded = saved_and_loaded(tmp_path, family, CONFIGURATIONS[name], data)
    np.testing.assert_array_equal(loaded.predict(data.features), fitted.predict(data.features))
    if task == "classification":
        np.testing.assert_array_equal(loaded.predict_proba(data.features), fitted.predict_proba(data.features))
        assert not loaded.left_open(data.features).any()


@pytest.mark.parametrize("path", ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier"])
def test_boosters_are_saved_and_loaded_likewise(tmp_path, path):
    pytest.importorskip(path.partition(".")[0])
    data = training_set()
    params = {"estimator": path, "n_estimators": 3}
    fitted, loaded = saved_and_loaded(tmp_path, families.find("estimator"), params, data)
    np.testing.assert_array_equal(loaded.predict_proba(data.features), fitted.predict_proba(data.features))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_what_scikit_learn_fits_by_default_loads(kind):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(40, 3))
    y = np.arange(40) % 2 if kind == "classifier" else 1 + generator.random(40)
    few = {"n_estimators": 2, "max_iter": 20, "n_jobs": 1, "cv": 2}
    n_loaded = 0
    for _name, made in all_estimators(type_filter=kind):
        if not made.__module__.startswith("sklearn.") or "CV" in made.__name__[-2:] or "IC" in made.__name__[-2:]:
            continue
        try:
            model = made()
            model.set_params(**{n: v for n, v in few.items() if n in model.get_params()}).fit(X, y)
        except (TypeError, ValueError):
            continue
        pipelines.loads(pipelines.dumps(model), "model")
        n_loaded += 1
    assert n_loaded > 20


@pytest.mark.parametrize("path", sorted(pipelines.HARMLESS))
def test_what_is_taken_for_harmless_is_a_class_or_a_function_of_arrays(path):
    package = path.partition(".")[0]
    if package in trusted.PACKAGES and package != "sklearn":
        pytest.importorskip(package)
    module, _, name = path.rpartition(".")
    found = getattr(__import__(module, fromlist=[name]), name)
    assert isinstance(found, type) or name in {"check_array", "f_classif", "f_regression"}


def spoiled_tree(name, field, value):
    data = training_set()
    model = families.find(name).fit(CONFIGURATIONS[name], data, None).pipeline
    if name == "boosting":
        nodes = model[-1]._predictors[0][0].nodes
        nodes[{"feature": "feature_idx", "children_left": "left"}[field]][0] = value
    else:
        tree = model[-1].tree_ if name == "tree" else model[-1].estimators_[1].tree_
        getattr(tree, field)[0] = value
    return model


@pytest.mark.parametrize("name", ["tree", "forest", "boosting"])
@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("feature", 10**6, "a column that"),
        ("children_left", 10**6, "does not come after"),
        ("children_left", 0, "after"),
    ],
)
def test_a_tree_that_leads_outside_of_itself_is_not_followed(tmp_path, name, field, value, problem):
    model = spoiled_tree(name, field, value)
    (tmp_path / pipelines.FILE).write_bytes(pipelines.dumps(model))
    with pytest.raises(ValueError, match=problem):
        pipelines.load(tmp_path, "classification")


def test_categories_that_a_tree_does_not_hold_are_refused():
    data = training_set()
    model = families.find("boosting").fit({"max_iter": 3}, data, None).pipeline[-1]
    predictor = model._predictors[0][0]
    predictor.nodes["is_leaf"][0], predictor.nodes["is_categorical"][0] = 0, 1
    predictor.nodes["bitset_idx"][0] = 99
    with pytest.raises(ValueError, match="categories"):
        check_trees(model)
