"""Scores of predictions that are at hand, by scikit-learn's scorers, which want an estimator."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer


class AnsweredClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives answers that are known beforehand, whatever it is asked about; the likeliest class where no labels are."""

    def __init__(self, probabilities: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None = None) -> None:
        self.probabilities = probabilities
        self.labels = labels
        self.classes_ = np.arange(probabilities.shape[1])

    def predict(self, X: object) -> np.ndarray[Any, Any]:
        """Return the label of each row, or its likeliest class, the lowest of equals."""
        labels: np.ndarray[Any, Any] = self.probabilities.argmax(axis=1) if self.labels is None else self.labels
        return labels

    def predict_proba(self, X: object) -> np.ndarray[Any, Any]:
        """Return the probabilities, shape (rows, classes)."""
        return self.probabilities


class AnsweredRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Gives numbers that are known beforehand, whatever it is asked about."""

    def __init__(self, numbers: np.ndarray[Any, Any]) -> None:
        self.numbers = numbers

    def predict(self, X: object) -> np.ndarray[Any, Any]:
        """Return the numbers, shape (rows,)."""
        return self.numbers


def score_of(metric: str, answers: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Return the score of answers, higher is better.

    Args:
        metric: A scikit-learn scorer's name.
        answers: Class probabilities, shape (rows, classes), or numbers, shape (rows,).
        truth: Class codes or numbers, shape (rows,).

    Raises:
        ValueError: The metric is not defined on these rows.
    """
    if metric == "accuracy":  # what the scorer computes, without its checks
        return float(np.mean(answers.argmax(axis=1) == truth))
    model = AnsweredRegressor(answers) if answers.ndim == 1 else AnsweredClassifier(answers)
    return float(get_scorer(metric)(model, truth, truth))


@cache
def scores_labels(metric: str) -> bool:
    """Tell whether a metric looks at predicted labels (or numbers), and not at class probabilities."""
    scorer = get_scorer(metric)
    return bool(scorer._response_method == "predict")


def said_by(metric: str, model: Any, rows: Any, n_classes: int) -> np.ndarray[Any, Any]:
    """Return what a model says of rows, as compactly as the metric allows.

    Args:
        metric: A scikit-learn scorer's name.
        model: A classifier over class codes, whose `classes_` may lack some, or a regressor.
        rows: What it predicts from.
        n_classes: How many classes there are; 0 for numbers.

    Returns:
        Class codes, shape (rows,), of the smallest unsigned type; class probabilities, float32, shape (rows, classes);
        or numbers, float32, shape (rows,).
    """
    if not n_classes:
        return np.asarray(model.predict(rows), np.float32)
    if scores_labels(metric):
        return np.asarray(model.predict(rows)).astype(np.min_scalar_type(n_classes - 1))
    given = model.predict_proba(rows)
    if given.shape[1] == n_classes:
        return np.asarray(given, np.float32)
    every = np.zeros((len(given), n_classes), np.float32)
    every[:, np.asarray(model.classes_, np.intp)] = given
    return every
