"""Each row left out alone: one search a plane gives what scikit-learn gives by as many fits as there are rows."""

import numpy as np
import pytest
from sklearn.metrics import get_scorer
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from orchestrator import families
from orchestrator.data.encode import Column, Features
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families import base
from orchestrator.families.base import LeavesOneOut, Shape
from orchestrator.families.knn import KNN
from orchestrator.space import Range, grid

SPACE = {"n_neighbors": Range(1, 4), "weights": ["uniform", "distance"], "metric": ["euclidean", "manhattan"]}


def training_set(X, y, metric="accuracy", n_folds=3):
    place = np.arange(len(X)) % n_folds
    folds = tuple(Fold(np.flatnonzero(place != f), np.flatnonzero(place == f)) for f in range(n_folds))
    columns = tuple(Column(f"f{i}", "double", "number") for i in range(X.shape[1]))
    task = "regression" if y.dtype.kind == "f" else "classification"
    return TrainingSet("left-out", Features(X), y, folds, columns, task, metric, 0)


def scores(data, space=SPACE):
    """Return each trial's leave-one-out score, and the units that gave them."""
    plan = KNN().leave_one_out_plan(space, Shape.of(data))
    wanted = list(grid(space, {}))
    names = [name for params in wanted for name in plan.answers_of(params)]
    units = plan.units_for(wanted, frozenset(names))
    answers = {name: answer.score for unit in units for name, answer in unit.compute(data, ()).answers.items()}
    return [(params, answers[name]) for params, name in zip(wanted, names, strict=True)], units


def rows(n_rows, n_features=4, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_rows, n_features))
    return X, (X[:, 0] + 0.5 * generator.normal(size=n_rows) > 0).astype(np.int64)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
@pytest.mark.parametrize("n_features", [4, 20])
def test_scores_are_those_of_a_fit_for_each_row(metric, n_features):
    X, y = rows(24, n_features)
    for params, score in scores(training_set(X, y, metric))[0]:
        model = KNeighborsClassifier(**params)
        predicted = cross_val_predict(model, X, y, cv=LeaveOneOut())
        assert score == pytest.approx(get_scorer(metric)._score_func(y, predicted, **get_scorer(metric)._kwargs))


def test_scores_of_numbers_are_those_of_a_fit_for_each_row():
    X, _ = rows(50)
    y = X[:, 0] ** 2
    for params, score in scores(training_set(X, y, "neg_mean_absolute_error"))[0]:
        predicted = cross_val_predict(KNeighborsRegressor(**params), X, y, cv=LeaveOneOut())
        assert score == pytest.approx(-np.abs(predicted - y).mean())


def test_a_row_is_left_out_and_its_likes_stay():
    X = np.zeros((20, 2))
    y = (np.arange(20) < 12).astype(np.int64)
    ((_, majority),) = scores(training_set(X, y), {"n_neighbors": [19]})[0]
    assert majority == 12 / 20
    pairs = np.repeat(np.arange(10.0), 2)[:, np.newaxis]
    (_, alone), *_ = scores(training_set(pairs, np.arange(20) // 2 % 2), {"n_neighbors": [1]})[0]
    assert alone == 1.0


def test_one_search_a_plane_answers_all_of_its_trials():
    units = scores(training_set(*rows(40)))[1]
    assert len(units) == 2
    assert [len(unit.answers) for unit in units] == [8, 8]
    assert len({unit.id for unit in units}) == 2


def test_an_answer_does_not_depend_on_who_else_is_asked_for():
    data = training_set(*rows(50))
    plan = KNN().leave_one_out_plan(SPACE, Shape.of(data))
    one = {"n_neighbors": 2, "weights": "uniform", "metric": "euclidean"}
    (name,) = plan.answers_of(one)
    (unit,) = plan.units_for([one], frozenset([name]))
    alone = unit.compute(data, ()).answers
    assert list(alone) == [name]
    assert alone[name].score == next(s for p, s in scores(data)[0] if p == one)


def test_many_rows_are_represented_by_some(monkeypatch):
    monkeypatch.setattr(base, "MOST_LEFT_OUT", 30)
    X, y = rows(200)
    chosen = base.left_out_rows(np.arange(200))
    assert len(chosen) == 30
    for params, score in scores(training_set(X, y))[0][:3]:
        predicted = cross_val_predict(KNeighborsClassifier(**params), X, y, cv=LeaveOneOut())
        assert score == pytest.approx(np.mean(predicted[chosen] == y[chosen]))


def test_a_holdouts_rows_are_the_ones_left_out():
    X, y = rows(60)
    data = training_set(X, y, n_folds=3)
    holdout = TrainingSet("h", data.features, y, data.folds[:1], data.columns, data.task, data.metric, 0)
    params, score = scores(holdout)[0][0]
    predicted = cross_val_predict(KNeighborsClassifier(**params), X, y, cv=LeaveOneOut())
    assert score == pytest.approx(np.mean((predicted == y)[data.folds[0].valid]))


def test_families_say_whether_they_leave_rows_out():
    assert isinstance(families.find("knn"), LeavesOneOut)
    assert not isinstance(families.find("mlp"), LeavesOneOut)
