"""From trials to work units: those of a batch that share a fold's prepared rows are fitted one after another."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator import families
from orchestrator.data.prepare import input_of
from orchestrator.data.sets import TrainingSet
from orchestrator.families.base import Answer, Failure, OutOfFold, Shape, Unit, UnitOutput, WorkUnit, notify
from orchestrator.families.estimators.grown import GROWN, beginning
from orchestrator.families.estimators.preparing import Preparing
from orchestrator.families.estimators.resample import resampled
from orchestrator.families.limits import one_thread
from orchestrator.families.pipelines import probabilities_of
from orchestrator.families.scoring import AnsweredClassifier, AnsweredRegressor, said_by, scores_labels
from orchestrator.space import Params

if TYPE_CHECKING:
    from orchestrator.families.estimators.family import EstimatorFamily

MOST_TRIALS = 8
"""Trials of one unit: preparing a fold costs little beside so many fits, and other workers have units, too."""
UNIT_S = 10.0
"""Seconds of one core that a unit takes at most, about, if it has more than one trial."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Estimator:
    """What a trial fits, whatever the fold.

    Attributes:
        path: The class.
        settings: What its constructor is given beside its defaults, in order of names.
        resample: How training rows are resampled, see `resample`.
        preparing: How rows become its matrix.
    """

    path: str
    settings: tuple[tuple[str, Any], ...]
    resample: str
    preparing: Preparing

    @property
    def id(self) -> str:
        """Its name, the same in every run."""
        digest = hashlib.blake2b(repr((self.settings, self.resample)).encode(), digest_size=10).hexdigest()
        return f"{self.path}/{self.preparing.id}/{digest}"

    @property
    def n_trees(self) -> int | None:
        """How many trees it has at most, if it grows tree by tree."""
        size = dict(self.settings).get(GROWN[self.path][0]) if self.path in GROWN else None
        return size if isinstance(size, int) else None

    def grown_to(self, n: int | None) -> Estimator:
        """Return the same with so many trees."""
        if n is None:
            return self
        settings = dict(self.settings) | {GROWN[self.path][0]: n}
        return replace(self, settings=tuple(sorted(settings.items())))


@dataclass(frozen=True, slots=True)
class FitUnit(Unit):
    """A work unit: some estimators fitted and scored on one fold, whose rows are prepared once."""

    family: str
    estimators: tuple[Estimator, ...]
    fold: int
    cost: float
    needs: tuple[WorkUnit, ...] = ()

    @property
    def id(self) -> str:
        """The unit's name."""
        digest = hashlib.blake2b(repr(self.answers).encode(), digest_size=10).hexdigest()
        return f"{self.family}/fit/{digest}"

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the answers that it gives."""
        return tuple(answer_name(self.family, one, self.fold) for one in self.estimators)

    def halves(self) -> Sequence[WorkUnit]:
        """Return two units of half the estimators."""
        cut = len(self.estimators) // 2
        if not cut:
            return ()
        parts = self.estimators[:cut], self.estimators[cut:]
        return [replace(self, estimators=part, cost=self.cost / 2) for part in parts]

    def compute(self, data: TrainingSet, inputs: Sequence[Any]) -> UnitOutput:
        """Prepare the fold's rows, then fit and score each estimator; one that raises fails alone."""
        family: EstimatorFamily = families.find(self.family)  # type: ignore[assignment]
        answers: dict[str, Answer | Failure] = {}
        said: dict[str, OutOfFold] = {}
        with one_thread():
            started = time.perf_counter()
            fold, target = data.folds[self.fold], data.target
            n_classes = data.n_classes
            train: Any = input_of(data.features, data.columns, fold.train)
            valid: Any = input_of(data.features, data.columns, fold.valid)
            preparing = self.estimators[0].preparing
            for _, step in preparing.steps(data.columns, n_classes, data.seed, impute_all=False):
                train = step.fit_transform(train, target[fold.train])
                valid = step.transform(valid)
            prepare_s = (time.perf_counter() - started) / len(self.estimators)
            for group in _groups(self.estimators):
                notify(f"fit {len(answers) + 1} of {len(self.estimators)}")
                largest = max(group, key=lambda one: one.n_trees or 0)
                started = time.perf_counter()
                try:
                    model = family.made(largest, data.columns, data.seed)
                    model.fit(*resampled(train, target[fold.train], largest.resample, data.seed))
                except Exception as error:
                    if isinstance(error, MemoryError) and len(self.estimators) > 1:
                        raise  # in halves, so that only who is to blame fails
                    failures = {answer_name(self.family, one, self.fold): Failure.of(error) for one in group}
                    answers |= failures
                    continue
                fit_s = (time.perf_counter() - started) / sum(one.n_trees or 1 for one in group)
                for one in group:
                    name = answer_name(self.family, one, self.fold)
                    started = time.perf_counter()
                    try:
                        smaller = model if one is largest else beginning(model, one.path, one.n_trees or 0)
                        score, told = _scored(smaller, valid, data, target[fold.valid])
                    except Exception as error:  # noqa: BLE001  whatever a model raises is its trial's
                        answers[name] = Failure.of(error)
                        continue
                    predict_s = time.perf_counter() - started
                    answers[name] = Answer(score, prepare_s + fit_s * (one.n_trees or 1), predict_s)
                    said[name] = OutOfFold(told)
        return UnitOutput(answers, out_of_fold=said)


def answer_name(family: str, one: Estimator, fold: int) -> str:
    """Return the name of an estimator's answer on a fold."""
    return f"{family}/{one.id}/fold{fold}"


def _groups(estimators: Sequence[Estimator]) -> Iterator[list[Estimator]]:
    """Yield those together that differ in the number of their trees alone."""
    groups: dict[Estimator, list[Estimator]] = {}
    for one in estimators:
        groups.setdefault(one.grown_to(None if one.n_trees is None else 0), []).append(one)
    yield from groups.values()


def _scored(model: Any, valid: Array, data: TrainingSet, truth: Array) -> tuple[float, Array]:
    """Return the score of a fitted model on prepared rows, and what it said of them, which it is asked once."""
    from sklearn.metrics import get_scorer

    scorer = get_scorer(data.metric)
    if data.task == "regression":
        answered = AnsweredRegressor(np.asarray(model.predict(valid), np.float64).reshape(len(valid)))
        return float(scorer(answered, truth, truth)), said_by(data.metric, answered, truth, 0)
    n_classes = data.n_classes
    if scores_labels(data.metric):
        labels = np.asarray(model.predict(valid)).astype(np.int64)
        classified = AnsweredClassifier(np.zeros((len(valid), n_classes)), labels)
    else:
        probabilities = np.zeros((len(valid), n_classes))
        probabilities[:, np.asarray(model.classes_, np.int64)] = probabilities_of(model, valid)
        classified = AnsweredClassifier(probabilities)
    return float(scorer(classified, truth, truth)), said_by(data.metric, classified, truth, n_classes)


class EstimatorPlan:
    """Which estimators a space's trials fit, and which of them share a unit."""

    def __init__(self, family: EstimatorFamily, shape: Shape) -> None:
        self._family, self._shape = family, shape

    def answers_of(self, params: Params, epochs: int | None = None) -> tuple[str, ...]:
        """Return the answers of a trial, one a fold."""
        one = self._family.estimator_of(params, self._shape.task)
        return tuple(answer_name(self._family.name, one, fold) for fold in range(len(self._shape.fold_rows)))

    def units_for(self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None) -> list[FitUnit]:
        """Return units of few estimators that share preparation and fold; those that grow into one another together."""
        together: dict[tuple[Preparing, int], dict[Estimator, None]] = {}
        for params in wanted:
            one = self._family.estimator_of(params, self._shape.task)
            for fold in range(len(self._shape.fold_rows)):
                if answer_name(self._family.name, one, fold) in missing:
                    together.setdefault((one.preparing, fold), {})[one] = None
        units = []
        for (_, fold), estimators in together.items():
            in_order = [one for group in _groups(list(estimators)) for one in group]
            units += [self._unit(piece, fold) for piece in self._pieces(in_order, fold)]
        return units

    def _pieces(self, estimators: Sequence[Estimator], fold: int) -> Iterator[list[Estimator]]:
        piece: list[Estimator] = []
        piece_s = 0.0
        for one in estimators:
            one_s = self._cost(one, fold)
            if piece and (len(piece) == MOST_TRIALS or piece_s + one_s > UNIT_S):
                yield piece
                piece, piece_s = [], 0.0
            piece.append(one)
            piece_s += one_s
        if piece:
            yield piece

    def _unit(self, estimators: Sequence[Estimator], fold: int) -> FitUnit:
        cost = 2e-3 + sum(self._cost(one, fold) for one in estimators)
        return FitUnit(self._family.name, tuple(estimators), fold, cost)

    def _cost(self, one: Estimator, fold: int) -> float:
        return self._family.fit_s(one, self._shape.fold_rows[fold][0], self._shape.width)
