"""Scores of estimators: scikit-learn's own, whatever the company, and failures that stay alone."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from estimating import scores, training_set
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from orchestrator import families
from orchestrator.data.encode import Column, Features
from orchestrator.data.prepare import preparation
from orchestrator.data.recipe import Recipe
from orchestrator.data.split import Fold
from orchestrator.families.base import Failure, Shape
from orchestrator.families.estimators import plan as plans
from orchestrator.families.estimators.resample import resampled

READY = ("linear", "tree", "forest", "boosting")


def splits(data):
    return [(fold.train, fold.valid) for fold in data.folds]


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "average_precision", "matthews_corrcoef", "neg_log_loss"])
def test_scores_are_those_of_cross_validate(metric):
    data = training_set(metric=metric)
    (answers,), _ = scores(families.find("linear"), data, {"C": 0.5, "class_weight": "balanced"})
    steps = preparation(data.columns, Recipe(scaler="standard"), 2, 7)
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000, random_state=7)
    expected = cross_validate(
        Pipeline([*steps, ("model", model)]), data.matrix, data.target, cv=splits(data), scoring=metric
    )
    np.testing.assert_allclose([answer.score for answer in answers], expected["test_score"], atol=1e-9)


def test_boosting_without_params_is_scikit_learns_default_on_nulls_and_codes():
    data = training_set(metric="neg_log_loss")
    (answers,), _ = scores(families.find("boosting"), data, {})
    model = HistGradientBoostingClassifier(random_state=7, categorical_features=[3])
    expected = cross_validate(model, data.matrix, data.target, cv=splits(data), scoring="neg_log_loss")
    np.testing.assert_allclose([answer.score for answer in answers], expected["test_score"], atol=1e-12)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", READY)
def test_a_trials_scores_do_not_depend_on_its_company(name, task):
    data = training_set(task)
    family, shape = families.find(name), Shape.of(data)
    few = {"n_estimators": 5} if name == "forest" else {"max_iter": 5} if name == "boosting" else {}
    lists = {n: v for n, v in family.default_space(shape).items() if isinstance(v, list) and n not in few}
    trials = [{**few, **{n: v[i % len(v)] for n, v in lists.items()}} for i in range(3)]
    together, told = scores(family, data, *trials)
    for params, answers, said in zip(trials, together, told, strict=True):
        (alone,), (heard,) = scores(family, data, params)
        assert [a.score for a in alone] == [a.score for a in answers]
        assert all(np.array_equal(a.said, b.said) for a, b in zip(said, heard, strict=True))


@pytest.mark.parametrize(("name", "parameter"), [("forest", "n_estimators"), ("boosting", "max_iter")])
@pytest.mark.parametrize("metric", ["neg_log_loss", "r2"])
def test_a_smaller_model_is_the_beginning_of_a_larger_one_bit_by_bit(monkeypatch, name, parameter, metric):
    data = training_set("regression" if metric == "r2" else "classification", metric)
    trials = [{parameter: n, "min_samples_leaf": 5} for n in (3, 9, 6)]
    family, n_made = families.find(name), []
    made = type(family).made
    monkeypatch.setattr(type(family), "made", lambda *args: n_made.append(args) or made(*args))
    together, _ = scores(family, data, *trials)
    assert len(n_made) == len(data.folds)
    alone = [scores(family, data, params)[0][0] for params in trials]
    assert [[a.score for a in one] for one in together] == [[a.score for a in one] for one in alone]


def test_one_estimator_that_raises_does_not_fail_the_others_of_its_unit():
    data = training_set()
    family = families.find("estimator")
    path = "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"
    good, bad = {"estimator": path, "shrinkage": "none"}, {"estimator": path, "shrinkage": 0.5}  # svd takes none
    (fine, failed), _ = scores(family, data, good, bad)
    assert all(answer.score > 0.5 for answer in fine)
    assert {answer.code for answer in failed} == {"raised"}
    assert all(isinstance(answer, Failure) and "shrinkage" in answer.message for answer in failed)


def test_a_unit_is_halved_down_to_one_estimator():
    data = training_set()
    family, shape = families.find("tree"), Shape.of(data)
    plan = family.plan({}, shape, exhaustive=False)
    trials = [{"min_samples_leaf": i} for i in (1, 2, 3)]
    (unit, *_) = plan.units_for(trials, frozenset(name for t in trials for name in plan.answers_of(t)))
    halves = unit.halves()
    assert [name for half in halves for name in half.answers] == list(unit.answers)
    assert halves[0].halves() == ()


def test_units_are_bounded_in_trials_and_in_cost(monkeypatch):
    data = training_set()
    family, shape = families.find("tree"), Shape.of(data)
    plan = family.plan({}, shape, exhaustive=False)
    trials = [{"min_samples_leaf": i} for i in range(1, 20)]
    missing = frozenset(name for t in trials for name in plan.answers_of(t))
    assert [len(u.estimators) for u in plan.units_for(trials, missing) if u.fold == 0] == [8, 8, 3]
    monkeypatch.setattr(plans, "UNIT_S", 0.0)
    assert {len(u.estimators) for u in plan.units_for(trials, missing)} == {1}


def test_a_classifier_without_probabilities_is_ranked_by_its_decision_function():
    data = training_set(metric="roc_auc")
    params = {"estimator": "sklearn.svm.LinearSVC", "scaler": "standard"}
    (answers,), (said,) = scores(families.find("estimator"), data, params)
    steps = preparation(data.columns, Recipe.of(params), 2, 7)
    pipeline = Pipeline([*steps, ("model", LinearSVC(random_state=7))])
    expected = cross_validate(pipeline, data.matrix, data.target, cv=splits(data), scoring="roc_auc")
    np.testing.assert_allclose([answer.score for answer in answers], expected["test_score"], atol=1e-12)
    assert said[0].said.shape == (30, 2)


def test_a_class_that_a_fold_does_not_have_is_given_no_chance():
    data = training_set(metric="neg_log_loss", n_classes=3)
    lacking = np.flatnonzero(data.target[data.folds[0].train] != 2)
    folds = (type(data.folds[0])(data.folds[0].train[lacking], data.folds[0].valid), *data.folds[1:])
    _, (said,) = scores(families.find("tree"), dataclasses.replace(data, folds=folds), {"max_leaf_nodes": 4})
    assert said[0].said.shape == (30, 3)
    assert (said[0].said[:, 2] == 0).all()


@pytest.mark.parametrize(("how", "n_rows"), [("none", 25), ("over", 40), ("under", 10), ("smote", 40)])
def test_resampling_makes_classes_equally_frequent(how, n_rows):
    matrix, target = np.random.default_rng(0).normal(size=(25, 2)), np.repeat([0, 1], [20, 5])
    found, classes = resampled(matrix, target, how, 3)
    assert len(found) == len(classes) == n_rows
    assert how == "none" or len(set(np.bincount(classes))) == 1
    again = resampled(matrix, target, how, 3)
    np.testing.assert_array_equal(found, again[0])


@pytest.mark.parametrize("how", ["over", "under", "smote"])
@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_rows_are_resampled_where_a_model_learns_and_not_where_it_is_scored(how, name):
    data = training_set(metric="neg_log_loss")
    rows = np.flatnonzero((data.target == 0) | (np.arange(90) % 10 == 1))
    folds = tuple(
        Fold(np.flatnonzero(np.isin(rows, f.train)), np.flatnonzero(np.isin(rows, f.valid))) for f in data.folds
    )
    data = dataclasses.replace(data, features=data.features.take(rows), target=data.target[rows], folds=folds)
    never_splits = {"min_samples_leaf": 1000}
    trials = never_splits, {**never_splits, "resample": how}
    _, (plain, balanced) = scores(families.find(name), data, *trials)
    assert [len(one.said) for one in balanced] == [len(fold.valid) for fold in data.folds]
    assert max(one.said[:, 1].max() for one in plain) < 0.2
    np.testing.assert_allclose(np.concatenate([one.said[:, 1] for one in balanced]), 0.5)


def test_boosting_keeps_codes_beside_text_and_prepares_columns_of_many_categories():
    data = training_set(metric="neg_log_loss")
    generator = np.random.default_rng(0)
    words = pa.array(
        [("good" if y else "bad") + f" row {generator.integers(9)}" for y in data.target], pa.large_string()
    )
    many = Column("e", "string", "category", tuple(f"{i:03}" for i in range(300)))
    matrix = np.column_stack([data.matrix, generator.integers(0, 300, 90)])
    data = dataclasses.replace(
        data, features=Features(matrix, {"t": words}), columns=(*data.columns, many, Column("t", "string", "text"))
    )
    family = families.find("boosting")
    one = family.estimator_of({}, "classification")
    assert one.preparing.codes(data.columns) == [3]
    few = family.estimator_of({"max_bins": 3}, "classification")
    assert few.preparing.codes(data.columns) == []  # 3 categories and null
    (answers,), _ = scores(family, data, {"max_iter": 20})
    assert min(a.score for a in answers) > -0.1  # what the text tells
    fitted = family.fit({"max_iter": 5}, data, None)
    assert fitted.pipeline[-1].n_features_in_ == 5 + 30
    assert fitted.predict_proba(data.features).shape == (90, 2)


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc_ovr", "balanced_accuracy", "matthews_corrcoef"])
def test_metrics_for_rare_classes_take_several_classes(metric):
    data = training_set(metric=metric, n_classes=3)
    (answers,), _ = scores(families.find("linear"), data, {})
    assert all(0.2 < answer.score <= 1 for answer in answers)
