"""Scores of predictions that are at hand, by scikit-learn's scorers, which want an estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer


class AnsweredClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives class probabilities that are known beforehand, whatever it is asked about."""

    def __init__(self, probabilities: np.ndarray[Any, Any]) -> None:
        self.probabilities = probabilities
        self.classes_ = np.arange(probabilities.shape[1])

    def predict(self, X: object) -> np.ndarray[Any, Any]:
        """Return the likeliest class of each row; the lowest of equals."""
        labels: np.ndarray[Any, Any] = self.probabilities.argmax(axis=1)
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
