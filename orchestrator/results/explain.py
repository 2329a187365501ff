"""What the winner looks at: how much worse it scores once a column is shuffled.

The configuration is fitted on the first fold's training rows (neighbours: on some of them) and asked about rows that it
has not seen, so that what a model merely remembers counts for nothing, and the sealed test rows stay sealed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer

from orchestrator.data.columns import SCALARS, Column
from orchestrator.data.encode import Features, Task
from orchestrator.data.sets import TrainingSet
from orchestrator.data.store import StoredFeatures
from orchestrator.families.base import Engine, Family, Fitted, UnitOutput, WorkUnit
from orchestrator.families.limits import one_thread

REPEATS = 3
MOST_ROWS, FEWEST_ROWS = 1000, 50
MOST_PREDICTIONS, MOST_PAIRS = 100_000, 10_000_000
"""Predictions of one row each, and, of models of scikit-learn, those times the rows that they learnt from, since
neighbours look at all of them: the rows that are looked at are fewer where there are many."""
MOST_LEARNT_FROM = 2000
"""Rows that a model of scikit-learn learns from here."""
MOST_COLUMNS = 200
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found of each column, in the order of the features; nothing, and why, where `problem` says so.

    Attributes:
        columns: The columns' names.
        importance: How much the score falls, mean over repeats.
        deviation: Its standard deviation over repeats.
        score: The score on the rows as they are.
        n_rows: How many rows that was.
        problem: Why there is nothing.
    """

    columns: tuple[str, ...] = ()
    importance: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    score: float = 0.0
    n_rows: int = 0
    problem: str = ""

    def to_json(self) -> str:
        """Return it as a file's text."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Explained:
        """Build from what `to_json` returned.

        Raises:
            ValueError: It is no JSON.
            TypeError: Keys are unknown.
        """
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ExplainUnit:
    """A work unit: fit on the first fold's training rows, look at those it scores. The payload is `Explained`.

    Where folds go by time it is the last one, which learns from the most.
    """

    id: str
    family: Family
    params: Mapping[str, Any]
    epochs: int | None
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 0.0
    keeps_payload: ClassVar[bool] = False

    @property
    def engine(self) -> Engine:
        """The kind of process that the family needs."""
        return self.family.engine

    def halves(self) -> Sequence[WorkUnit]:
        """Return nothing: it cannot be split."""
        return ()

    def compute(self, data: TrainingSet, inputs: Sequence[object]) -> UnitOutput:
        """Fit and look.

        Raises:
            ValueError: The metric is not defined on these rows.
        """
        if len(data.columns) > MOST_COLUMNS:
            problem = f"the data have {len(data.columns)} columns, more than the {MOST_COLUMNS} that are looked at"
            return UnitOutput(payload=Explained(problem=problem))
        is_by_time = data.dependence is not None and data.dependence.kind == "time"
        fold, n_learnt_from = data.folds[-1 if is_by_time else 0], 0
        learnt_from = fold.train
        if self.engine == "sklearn":
            learnt_from = _some(fold.train, max(MOST_LEARNT_FROM, _largest(self.params)), data.seed)
            n_learnt_from = len(learnt_from)
        elif isinstance(data.features, StoredFeatures):
            learnt_from = learnt_from[: data.features.sample_rows]  # they are in a random order
        features, target = data.features.take(learnt_from), data.target[learnt_from]
        train = dataclasses.replace(data, features=features, target=target, folds=(), dependence=None)
        rows = _some(fold.valid, _most_rows(len(data.columns), n_learnt_from), data.seed)
        with one_thread():
            model = self.family.fit(dict(self.params), train, self.epochs)
            asked = asked_by_place(model, data.features.take(rows), data.columns, data.task)
            return UnitOutput(payload=_explained(asked, data.target[rows], data))


def _largest(params: Mapping[str, Any]) -> int:
    """Return the largest number of a configuration: a model may need as many rows, as neighbours do."""
    return max((int(value) for value in params.values() if isinstance(value, int)), default=0)


def _most_rows(n_columns: int, n_learnt_from: int) -> int:
    n_predictions = min(MOST_PREDICTIONS, MOST_PAIRS // max(1, n_learnt_from))
    return int(np.clip(n_predictions // (REPEATS * max(1, n_columns)), FEWEST_ROWS, MOST_ROWS))


def _some(rows: npt.NDArray[np.int64], limit: int, seed: int) -> npt.NDArray[np.int64]:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def _explained(asked: _Asked, truth: Array, data: TrainingSet) -> Explained:
    places = asked.places()
    found = permutation_importance(asked, places, truth, scoring=data.metric, n_repeats=REPEATS, random_state=data.seed)
    return Explained(
        tuple(column.name for column in data.columns),
        tuple(found.importances_mean.tolist()),
        tuple(found.importances_std.tolist()),
        float(get_scorer(data.metric)(asked, places, truth)),
        len(places),
    )


class _Asked(BaseEstimator):  # type: ignore[misc]
    """A fitted model over a table of places: a cell says which row a column's value is taken from.

    So columns of any kind, texts and images too, can be shuffled and masked as numbers are.
    """

    def __init__(self, model: Fitted, rows: Features, columns: Sequence[Column]) -> None:
        self.model = model
        self.rows = rows
        self.columns = columns

    def places(self) -> Array:
        """Return the table of the rows as they are, shape (rows, columns)."""
        return np.repeat(np.arange(len(self.rows))[:, np.newaxis], len(self.columns), axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _features(self, places: Array) -> Features:
        places = np.asarray(places).astype(np.int64)
        scalar = [i for i, column in enumerate(self.columns) if column.kind in SCALARS]
        matrix = self.rows.matrix[places[:, scalar], np.arange(len(scalar))]
        arrays: dict[str, Any] = {}
        for i, column in enumerate(self.columns):
            if column.kind not in SCALARS:
                only = Features(np.empty((len(self.rows), 0)), {column.name: self.rows.arrays[column.name]})
                arrays.update(only.take(places[:, i]).arrays)
        return Features(matrix, arrays)

    def fit(self, X: object, y: object = None) -> _Asked:
        """Do nothing: the model is fitted."""
        return self

    def predict(self, X: Array) -> Array:
        """Return class codes or numbers."""
        return self.model.predict(self._features(X))


class _AskedClassifier(ClassifierMixin, _Asked):  # type: ignore[misc]
    @property
    def classes_(self) -> Array:
        """The class codes."""
        return np.arange(self.predict_proba(self.places()[:1]).shape[1])

    def predict_proba(self, X: Array) -> Array:
        """Return class probabilities."""
        return self.model.predict_proba(self._features(X))


class _AskedRegressor(RegressorMixin, _Asked):  # type: ignore[misc]
    pass


def asked_by_place(model: Fitted, rows: Features, columns: Sequence[Column], task: Task) -> Any:
    """Return an estimator for scikit-learn and SHAP over a table of places, see `_Asked`.

    Args:
        model: A fitted model.
        rows: The rows that places are of.
        columns: What they are.
        task: classification or regression.
    """
    return (_AskedClassifier if task == "classification" else _AskedRegressor)(model, rows, columns)
