"""k nearest neighbours, classification and regression, searched as neighbour planes.

A **plane** is one (preparation, metric, fold). One search in it, for the space's largest k, answers every k and both
weightings; a large one is cut into query blocks that run side by side.
"""

from __future__ import annotations

import time
import zlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline

from orchestrator.data import recipe as recipes
from orchestrator.data.encode import Column, Floats, Kind, Signature
from orchestrator.data.prepare import fitting, input_of, preparation
from orchestrator.data.recipe import Recipe
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.families import neighbours, pipelines
from orchestrator.families.base import Answer, Engine, Fitted, OutOfFold, Plan, Shape, Unit, UnitOutput, WorkUnit
from orchestrator.families.limits import one_thread
from orchestrator.families.scoring import said_by
from orchestrator.space import Conditions, Dimension, Params, Range, Space, dimensions, values_of

METRICS = ("euclidean", "manhattan", "chebyshev", "minkowski", "cosine")
WEIGHTINGS: tuple[neighbours.Weighting, ...] = ("uniform", "distance")
DEFAULTS: Params = {
    "n_neighbors": 5,
    "weights": "uniform",
    "metric": "euclidean",
    "p": 2,
}
WHOLE_PLANE_ANSWERS = {"accuracy": 1000}
"""A plane of at most so many (k, weighting) pairs is answered whole, asked or not: later trials find it there."""
FEW_ANSWERS = 40
"""The same for all other metrics, whose scorers cost more than accuracy's."""
_DISTANCE_S = {"euclidean": 2e-10, "cosine": 5e-10, "manhattan": 5e-10, "chebyshev": 5e-10, "minkowski": 8e-9}
"""Seconds of one core a feature of a distance, about: for the order of units and for estimates, never for results."""
_UNIT_S, _ACCURACY_S, _SCORER_S = 2e-3, 1e-4, 1e-3


@dataclass(frozen=True, slots=True)
class Plane:
    """One neighbour search: a preparation, a metric and a fold, up to `n_neighbors`."""

    recipe: Recipe
    metric: str
    p: float
    fold: int
    n_neighbors: int

    @property
    def id(self) -> str:
        """The plane's name."""
        power = f"{self.p!r}" if self.metric == "minkowski" else ""
        return f"knn/{self.recipe.id}/{self.metric}{power}/fold{self.fold}/max{self.n_neighbors}"


@dataclass(frozen=True, slots=True)
class SearchBlock(Unit):
    """A work unit: the neighbours of one block of a plane's query rows."""

    plane: Plane
    start: int
    stop: int
    cost: float
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()

    @property
    def id(self) -> str:
        """The unit's name."""
        return f"{self.plane.id}/rows{self.start}-{self.stop}"

    def compute(self, data: TrainingSet, inputs: Sequence[Any]) -> UnitOutput:
        """Search; the payload is the block's neighbours."""
        with one_thread():
            prepared = _prepared(self.plane, data)
            started = time.perf_counter()
            found = _search(prepared, self.plane, self.start, self.stop)
            return UnitOutput(payload=(found, prepared.fit_time_s, time.perf_counter() - started))


@dataclass(frozen=True, slots=True)
class ScorePlane(Unit):
    """A work unit: the scores of (k, weighting) pairs of a plane, from its blocks, or searched at once."""

    plane: Plane
    pairs: tuple[tuple[int, neighbours.Weighting], ...]
    needs: tuple[SearchBlock, ...]
    cost: float

    @property
    def id(self) -> str:
        """The unit's name."""
        return f"{self.plane.id}#{zlib.crc32(repr(self.pairs).encode()):08x}"

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the answers that it gives."""
        return tuple(answer_name(self.plane, k, weighting) for k, weighting in self.pairs)

    def compute(self, data: TrainingSet, inputs: Sequence[Any]) -> UnitOutput:
        """Score every pair by the metric's scorer on the fold's validation rows."""
        with one_thread():
            started = time.perf_counter()
            if self.needs:
                found = neighbours.joined([part for part, _, _ in inputs])
                fit_s = max(fit for _, fit, _ in inputs)
                search_s = sum(took for _, _, took in inputs)
            else:
                prepared = _prepared(self.plane, data)
                found = _search(prepared, self.plane, 0, len(data.folds[self.plane.fold].valid))
                fit_s, search_s = prepared.fit_time_s, -prepared.fit_time_s
            scored = {
                answer_name(self.plane, k, weighting): (score, said)
                for weighting in WEIGHTINGS
                for k, score, said in _scores(found, self._ks(weighting), weighting, data, self.plane.fold)
            }
            predict_s = max(0.0, search_s + time.perf_counter() - started)
        fit_s, predict_s = fit_s / len(scored), predict_s / len(scored)
        answers = {name: Answer(score, fit_s, predict_s) for name, (score, _) in scored.items()}
        return UnitOutput(answers, out_of_fold={name: OutOfFold(said) for name, (_, said) in scored.items()})

    def _ks(self, weighting: neighbours.Weighting) -> list[int]:
        return sorted(k for k, w in self.pairs if w == weighting)


def answer_name(plane: Plane, k: int, weighting: str) -> str:
    """Return the name of a plane's answer for one k and weighting."""
    return f"{plane.id}/k{k}/{weighting}"


def _scores(
    found: neighbours.Neighbours, ks: list[int], weighting: neighbours.Weighting, data: TrainingSet, fold: int
) -> Iterator[tuple[int, float, np.ndarray[Any, Any]]]:
    """Yield each k with its score and with what was said of the rows."""
    if not ks:
        return
    rows = data.folds[fold]
    truth = data.target[rows.valid]
    scorer = get_scorer(data.metric)
    if data.task == "regression":
        for k, regressor in neighbours.regressors(found, ks, weighting):
            yield k, float(scorer(regressor, truth, truth)), said_by(data.metric, regressor, truth, 0)
        return
    classes = np.unique(data.target[rows.train]).astype(np.int64)
    n_classes = data.n_classes
    for k, classifier in neighbours.classifiers(found, classes, ks, weighting):
        said = said_by(data.metric, classifier, truth, n_classes)
        if data.metric == "accuracy":  # what the scorer computes, without its checks, which cost more than the vote
            yield k, float(np.mean(said == truth)), said
        else:
            yield k, float(scorer(classifier, truth, truth)), said


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plane's fitted index, the rows it was fitted on, and its prepared queries."""

    index: Any
    train: Floats
    queries: Floats
    values: Any
    fit_time_s: float

    @property
    def nbytes(self) -> int:
        """How many bytes its rows have."""
        return self.train.nbytes + self.queries.nbytes


_recent: OrderedDict[tuple[str, Plane], Prepared] = OrderedDict()
_RECENT, _RECENT_BYTES = 2, 512 << 20


def _prepared(plane: Plane, data: TrainingSet) -> Prepared:
    """Return the plane fitted, from this process's memory where it is one of the last that were used."""
    key = (data.key, plane)
    prepared = _recent.pop(key, None)
    if prepared is None:
        while len(_recent) >= _RECENT or sum(one.nbytes for one in _recent.values()) > _RECENT_BYTES:
            _recent.popitem(last=False)  # before there is another one beside them
        prepared = prepared_plane(plane, data)
    _recent[key] = prepared
    return prepared


def prepared_plane(plane: Plane, data: TrainingSet) -> Prepared:
    """Fit a plane's preparation and index on its fold's training rows, and prepare the others as queries."""
    started = time.perf_counter()
    rows = data.folds[plane.fold]
    n_classes = data.n_classes
    train: Any = input_of(data.features, data.columns, rows.train)
    queries: Any = input_of(data.features, data.columns, rows.valid)
    with fitting():
        for _, step in preparation(data.columns, plane.recipe, n_classes, data.seed, impute_all=False):
            train = step.fit_transform(train, data.target[rows.train])
            queries = step.transform(queries)
    train, queries = np.ascontiguousarray(train), np.ascontiguousarray(queries)
    # Fitted with the largest k, `algorithm="auto"` chooses what it would choose for each k of the plane.
    maker = KNeighborsClassifier if data.task == "classification" else KNeighborsRegressor
    metric = {"metric": plane.metric, **({"p": plane.p} if plane.metric == "minkowski" else {})}
    index = maker(n_neighbors=plane.n_neighbors, **metric).fit(train, data.target[rows.train])
    values = data.target[rows.train]
    if data.task == "classification":
        classes, values = np.unique(values, return_inverse=True)
        values = values.astype(np.min_scalar_type(len(classes)))
    return Prepared(index, train, queries, values, time.perf_counter() - started)


def _search(prepared: Prepared, plane: Plane, start: int, stop: int) -> neighbours.Neighbours:
    queries = prepared.queries[start:stop]
    return neighbours.find(prepared.index, prepared.train, queries, plane.n_neighbors, prepared.values)


def plane_of(params: Params, fold: int, n_neighbors: int) -> Plane:
    """Return the plane of a fold that answers a configuration, searched up to `n_neighbors`."""
    settings = {**DEFAULTS, **params}
    metric, p = settings["metric"], float(settings["p"])
    if metric == "minkowski" and p in (1.0, 2.0):
        metric = "manhattan" if p == 1.0 else "euclidean"
    p = p if metric == "minkowski" else 2.0
    return Plane(Recipe.of(params), metric, p, fold, n_neighbors)


def search_s(plane: Plane, n_train: int, n_queries: int, shape: Shape, n_pairs: int) -> float:
    """Return the seconds of one core that a search and the scores of its pairs take, about."""
    row_s = _DISTANCE_S[plane.metric] * n_train * shape.width
    return _UNIT_S + (_ACCURACY_S if shape.metric == "accuracy" else _SCORER_S) * n_pairs + row_s * n_queries


class KNNPlan:
    """Which planes a space has, and which of them answer a trial."""

    def __init__(self, space: Space, shape: Shape, *, exhaustive: bool) -> None:
        self._shape = shape
        dims = dimensions({**{name: DEFAULTS[name] for name in ("n_neighbors", "weights")}, **space})
        self._ks: list[int] = sorted(int(k) for k in values_of(dims["n_neighbors"]) or ())
        self._weightings: list[neighbours.Weighting] = list(dims["weights"])  # type: ignore[arg-type]
        few_planes = all(values_of(dims[name]) is not None for name in ("p", "pca", "select") if name in dims)
        whole = few_planes and len(self._ks) * len(self._weightings) <= WHOLE_PLANE_ANSWERS.get(
            shape.metric, FEW_ANSWERS
        )
        self._answers_whole_planes = exhaustive or whole
        # Where k reaches half of the rows scikit-learn turns from a tree to brute force, and with it the order of equal
        # distances; so the ks of a fold fall in two groups, each with a search of its own.
        self._turns = [max(1, train // 2) for train, _ in shape.fold_rows]

    def _plane(self, params: Params, fold: int) -> Plane:
        return plane_of(params, fold, max(self._group(pair_of(params)[0], fold)))

    def _group(self, k: int, fold: int) -> list[int]:
        turn = bisect_left(self._ks, self._turns[fold])
        return self._ks[:turn] if k < self._turns[fold] else self._ks[turn:]

    def answers_of(self, params: Params, epochs: int | None = None) -> tuple[str, ...]:
        """Return the answers of a trial, one a fold."""
        k, weighting = pair_of(params)
        return tuple(answer_name(self._plane(params, f), k, weighting) for f in range(len(self._turns)))

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> list[ScorePlane]:
        """Return one unit for each plane that a missing answer lies in."""
        pairs: dict[Plane, dict[tuple[int, neighbours.Weighting], None]] = {}
        for params in wanted:
            k, weighting = pair_of(params)
            for fold in range(len(self._turns)):
                plane = self._plane(params, fold)
                if answer_name(plane, k, weighting) in missing:
                    pairs.setdefault(plane, {})[(k, weighting)] = None
        return [self._unit(plane, tuple(asked)) for plane, asked in pairs.items()]

    def _unit(self, plane: Plane, asked: tuple[tuple[int, neighbours.Weighting], ...]) -> ScorePlane:
        if self._answers_whole_planes:
            group = self._group(plane.n_neighbors, plane.fold)
            asked = tuple((k, weighting) for k in group for weighting in self._weightings)
        n_train, n_valid = self._shape.fold_rows[plane.fold]
        row_s = _DISTANCE_S[plane.metric] * n_train * self._shape.width
        own_s = _UNIT_S + (_ACCURACY_S if self._shape.metric == "accuracy" else _SCORER_S) * len(asked)
        cuts = neighbours.blocks(n_valid)
        if len(cuts) == 1:
            return ScorePlane(plane, asked, (), own_s + row_s * n_valid)
        needs = tuple(SearchBlock(plane, start, stop, _UNIT_S + row_s * (stop - start)) for start, stop in cuts)
        return ScorePlane(plane, asked, needs, own_s)


class KNN:
    """The family `knn`."""

    name = "knn"
    default_sampler = "grid"
    default_batch_size = 16
    engine: Engine = "sklearn"
    kinds: frozenset[Kind] = frozenset({"number", "boolean", "category", "date", "text", "vector"})
    structure: frozenset[str] = frozenset()
    conditions: ClassVar[Conditions] = {"p": ("metric", frozenset({"minkowski"}))}

    def max_epochs(self, space: Space) -> int | None:
        """Return None: nothing is learnt by epochs."""
        return None

    def default_space(self, shape: Shape) -> Space:
        """Return k up to 30, both weightings, two metrics and three scalers."""
        return {
            "n_neighbors": Range(1, min(30, shape.n_train_smallest)),
            "weights": list(WEIGHTINGS),
            "metric": ["euclidean", "manhattan"],
            "scaler": ["standard", "quantile", "none"],
        }

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space with null written as `none`, after a look at every value."""
        checked: Space = {}
        for name, dimension in dimensions(space).items():
            if name in recipes.NAMES:
                place, n_rows = f"{key}.{name}", shape.n_train_smallest
                checked[name] = recipes.checked(place, name, dimension, shape.columns, n_rows)
            elif name in DEFAULTS:
                checked[name] = _checked(f"{key}.{name}", name, dimension, shape)
            else:
                near = did_you_mean(name, (*DEFAULTS, *recipes.NAMES))
                raise JobError(f"{key}: knn has no parameter {name!r}.{near}")
        if "p" in checked and "minkowski" not in _listed(checked.get("metric", "euclidean")):
            raise JobError(f"{key}.p: p belongs to metric minkowski; add it to {key}.metric, or leave p out")
        return checked

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> Plan:
        """Return the planes of a checked space."""
        return KNNPlan(space, shape, exhaustive=exhaustive)

    def leave_one_out_plan(self, space: Space, shape: Shape) -> Plan:
        """Return the plan for a checked space that leaves each row out alone."""
        from orchestrator.families.knn_left_out import LeaveOneOutPlan  # which is made of what is here

        return LeaveOneOutPlan(space, shape)

    def complexity(self, params: Params) -> float:
        """Return how many settings differ from none: a scaler, a projection and a power are each one more."""
        return float(sum(value not in (None, "none") for value in params.values()))

    def size(self, params: Params, shape: Shape) -> float:
        """Return the numbers of the rows that are kept, as the preparation makes them."""
        kept = [params[name] for name in ("pca", "select") if _is_whole(params.get(name))]
        return float(shape.n_rows * (kept[0] if kept else shape.width))

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        """Fit preparation and model on all rows."""
        n_classes = data.n_classes
        pipeline = self.estimator(params, data.columns, n_classes, data.seed)
        with fitting():
            pipeline.fit(input_of(data.features, data.columns), data.target)
        return pipelines.fitted(pipeline, data.task)

    def load(self, folder: Path, signature: Signature) -> Fitted:
        """Load preparation and model; nothing that the file holds is run.

        Raises:
            ValueError: The file is damaged, or holds types that are not known to be harmless.
            FileNotFoundError: It is missing.
        """
        return pipelines.load(folder, signature.task)

    def estimator(self, params: Params, columns: Sequence[Column], n_classes: int, seed: int) -> Pipeline:
        """Return preparation and model as one scikit-learn pipeline over what `prepare.input_of` gives.

        Args:
            params: The configuration.
            columns: The features' columns.
            n_classes: How many classes the target has; 0 for numbers.
            seed: The job's.
        """
        settings = {**DEFAULTS, **params}
        maker = KNeighborsClassifier if n_classes else KNeighborsRegressor
        metric = settings["metric"]
        model = maker(
            n_neighbors=settings["n_neighbors"],
            weights=settings["weights"],
            metric=metric,
            **({"p": settings["p"]} if metric == "minkowski" else {}),
        )
        return Pipeline([*preparation(columns, Recipe.of(params), n_classes, seed), ("knn", model)])


def pair_of(params: Params) -> tuple[int, neighbours.Weighting]:
    """Return the two parameters that a plane answers all values of."""
    settings = {**DEFAULTS, **params}
    return settings["n_neighbors"], settings["weights"]


def _listed(entry: object) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def _checked(key: str, name: str, dimension: Dimension, shape: Shape) -> Range | list[Any]:
    allowed: Mapping[str, Sequence[str]] = {"weights": WEIGHTINGS, "metric": METRICS}
    if name in allowed:
        if isinstance(dimension, Range):
            raise JobError(f"{key}: expected a list of {', '.join(allowed[name])}, found low and high")
        values = list(dimension)
        for value in values:
            if value not in allowed[name]:
                raise JobError(f"{key}: no {name} {shown(value)}.{did_you_mean(value, allowed[name])}")
        return values
    if name == "n_neighbors" and isinstance(dimension, Range) and not dimension.is_integer:
        odd = next(v for v in (dimension.low, dimension.high, dimension.step) if isinstance(v, float))
        raise JobError(f"{key}: expected whole numbers for low, high and step, found {odd}")
    values = _ends(dimension) if isinstance(dimension, Range) else list(dimension)
    for value in values:
        _CHECKS[name](key, value, shape)
    return dimension if isinstance(dimension, Range) else values


def _ends(dimension: Range) -> list[Any]:
    ends = [dimension.low, dimension.high]
    return ends if dimension.is_integer else [float(end) for end in ends]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_k(key: str, value: Any, shape: Shape) -> None:
    if not _is_whole(value) or value < 1:
        raise JobError(f"{key}: expected whole numbers from 1 up, found {shown(value)}")
    if value > shape.n_train_smallest:
        raise JobError(
            f"{key}: {value} neighbours, and the smallest training fold has {shape.n_train_smallest} rows; "
            f"expected at most {shape.n_train_smallest}"
        )


def _check_p(key: str, value: Any, shape: Shape) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
        raise JobError(f"{key}: expected numbers from 1 up, found {shown(value)}")


_CHECKS = {"n_neighbors": _check_k, "p": _check_p}
