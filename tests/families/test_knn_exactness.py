"""Every score of a k-nearest-neighbours grid is scikit-learn's, on real datasets, but for ties; and each one is shown.

The reference is `GridSearchCV` over the family's own pipeline, with the same training rows and the same folds. It has
one thread, as each of its workers has where `n_jobs` is the number of cores, and where a case says so, all threads for
the neighbour search. BLAS has one: in scikit-learn itself the last bits of PCA and of cosine distances follow from that
number.

A score may differ for two reasons, in rows that the tests name one by one, and in no others:

* The k-th and the (k+1)-th neighbour are at the same distance, to the last bit. Either is right; scikit-learn's pick
  follows from the k it was asked for and from its threads.
* The k neighbours are the same and two classes have equal votes under `distance` weights. scikit-learn adds weights in
  the order of the neighbours, where those at one distance stand in any order, so that rounding decides.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import datasets as bundled
from sklearn.metrics import accuracy_score, f1_score, log_loss, r2_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.extmath import weighted_mode
from threadpoolctl import threadpool_limits

import orchestrator
from orchestrator import Data, Job, Search, Test, Validation, compose, families, rundir
from orchestrator.families import neighbours
from orchestrator.families.knn import SearchBlock
from orchestrator.ledger import read
from orchestrator.space import grid

TOLERANCE = 1e-12
"""Of a score or of a fold's answers; a share of the largest of them where that is above 1."""
COSINE_ULPS = 16 * np.finfo(np.float64).eps
"""What two cosine distances may be apart and count as equal: each is 1 less a sum of products, rounded near 1, and BLAS
adds them up in an order that follows from the shape of the block. All other distances are compared to the bit."""
SEED = 3
WEIGHTINGS = ["uniform", "distance"]
METRICS = ["euclidean", "manhattan", "chebyshev", "minkowski", "cosine"]
SCALERS = ["none", "standard", "minmax", "robust", "quantile"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A dataset and the grid that is run on it.

    Attributes:
        dataset: One of scikit-learn's own, as `load_<dataset>`, or the name of a Parquet file.
        target: The column to predict.
        metric: A scorer's name.
        space: The grid; both weightings, and p=3, are added to it.
        n_rows: How many rows are drawn from a large dataset; None for all.
        n_folds: How many folds; 1 for a holdout.
        exclude: Columns to leave out.
        test: Rows to set aside.
        task: As in a job.
        all_threads: Whether scikit-learn's search has a thread for each core, and with it another order of equal
            distances.
    """

    dataset: str
    target: str
    metric: str
    space: Mapping[str, Any]
    n_rows: int | None = None
    n_folds: int = 3
    exclude: tuple[str, ...] = ()
    test: Test | None = None
    task: str = "auto"
    all_threads: bool = False

    def job(self, path: Path) -> Job:
        """Return the job over the dataset at `path`."""
        validation = Validation(kind="holdout", fraction=0.2) if self.n_folds == 1 else Validation(folds=self.n_folds)
        powers = {"p": [3]} if "minkowski" in self.space.get("metric", ()) else {}
        return Job(
            name=self.dataset,
            data=Data(str(path), target=self.target, exclude=self.exclude, test=self.test, task=self.task),
            validation=validation,
            metric=self.metric,
            seed=SEED,
            searches=(Search("knn", sampler="grid", space={"weights": WEIGHTINGS, **powers, **self.space}),),
        )


CASES = [
    # k up to all rows of a training fold, past 40, where scikit-learn turns from a tree to brute force.
    Case(
        "iris",
        "target",
        "accuracy",
        {"n_neighbors": [1, 3, 8, 39, 40, 80], "metric": METRICS, "scaler": SCALERS},
        test=Test(fraction=0.2),
    ),
    Case(
        "wine",
        "target",
        "f1_macro",
        {"n_neighbors": [1, 4, 15, 58, 59], "metric": METRICS, "scaler": ["none", "robust", "quantile"]},
    ),
    Case(
        "breast_cancer",
        "target",
        "roc_auc",
        {"n_neighbors": [1, 5, 20, 190], "metric": METRICS, "scaler": ["none", "minmax"], "pca": ["none", 0.95]},
    ),
    Case(
        "diabetes",
        "target",
        "r2",
        {"n_neighbors": [1, 6, 147, 290], "metric": METRICS, "scaler": ["none", "minmax", "robust"]},
        task="regression",
    ),
    pytest.param(
        Case(
            "digits",
            "target",
            "accuracy",
            {
                "n_neighbors": [1, 4, 10],
                "metric": ["euclidean", "manhattan", "chebyshev", "cosine"],
                "pca": ["none", 20],
            },
        ),
        marks=pytest.mark.slow,
    ),
    Case(
        "penguins",
        "species",
        "neg_log_loss",
        {"n_neighbors": [1, 5, 40, 140], "metric": METRICS, "scaler": ["none", "standard", "quantile"]},
    ),
    Case(
        "titanic",
        "Survived",
        "roc_auc",
        {"n_neighbors": [1, 6, 30], "metric": ["euclidean", "manhattan", "cosine"], "scaler": ["none", "standard"]},
        exclude=("PassengerId", "Name", "Ticket", "Cabin"),
    ),
    pytest.param(
        Case(
            "adult",
            "income",
            "roc_auc",
            {
                "n_neighbors": [1, 10],
                "metric": ["euclidean", "manhattan", "cosine"],
                "scaler": ["none", "standard"],
                "pca": ["none", 10],
            },
            n_rows=2000,
            exclude=("split", "fnlwgt"),
        ),
        marks=pytest.mark.slow,
    ),
    Case(
        "pmlb_cls_car",
        "target",
        "accuracy",
        {"n_neighbors": [1, 5, 10, 20], "metric": METRICS, "scaler": ["none", "minmax"]},
    ),
    pytest.param(
        Case(
            "pmlb_cls_vowel",
            "target",
            "f1_macro",
            {"n_neighbors": [1, 4, 329, 330], "metric": METRICS, "scaler": ["standard"], "pca": ["none", 5]},
        ),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        Case(
            "pmlb_cls_phoneme",
            "target",
            "roc_auc",
            {"n_neighbors": [1, 5, 20], "metric": METRICS, "scaler": ["none", "quantile"]},
            n_rows=4000,
            n_folds=2,
        ),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        Case(
            "pmlb_cls_satimage",
            "target",
            "neg_log_loss",
            {"n_neighbors": [1, 4, 10], "metric": ["euclidean", "manhattan", "cosine"], "scaler": ["none", "robust"]},
            n_rows=2400,
            n_folds=2,
            all_threads=True,
        ),
        marks=pytest.mark.slow,
    ),
    # All 20,000 rows: 4,000 queries in blocks, 16 small whole numbers in a row, and so ties in plenty.
    pytest.param(
        Case(
            "pmlb_cls_letter",
            "target",
            "accuracy",
            {"n_neighbors": [1, 4], "metric": ["euclidean", "cosine"]},
            n_folds=1,
            all_threads=True,
        ),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        Case(
            "pmlb_reg_197_cpu_act",
            "target",
            "neg_root_mean_squared_error",
            {"n_neighbors": [1, 4, 10], "metric": ["euclidean", "manhattan"], "scaler": ["none", "quantile"]},
            n_rows=4000,
            n_folds=2,
        ),
        marks=pytest.mark.slow,
    ),
    Case(
        "pmlb_reg_560_bodyfat",
        "target",
        "r2",
        {"n_neighbors": [1, 5, 83, 84, 150], "metric": METRICS, "pca": ["none", 4]},
        task="regression",
    ),
    pytest.param(
        Case(
            "california_housing",
            "median_house_value",
            "neg_root_mean_squared_error",
            {
                "n_neighbors": [1, 4, 10],
                "metric": ["euclidean", "manhattan", "cosine"],
                "scaler": ["none", "standard"],
                "pca": ["none", 5],
            },
            n_rows=4000,
        ),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.dataset)
def test_every_score_of_a_grid_is_that_of_grid_search_but_for_ties(case, real_dataset, tmp_path):
    path = _parquet(case, real_dataset, tmp_path / "data.parquet")
    job = case.job(path)
    result = orchestrator.run(job, tmp_path / "run", executor="inline")
    product = Product(job, result, case.all_threads)
    expected = grid_search(case, product)

    assert set(product.rows) == set(expected)
    n_differing = 0
    for key, reference in expected.items():
        row, params = product.rows[key], json.loads(key)
        assert row["state"] == "completed"
        scores = product.fold_scores(params)
        explained = list(reference.folds)
        for fold, score in enumerate(scores):
            if not _equal(score, reference.folds[fold]):
                assert case.all_threads or not product.asks_the_same(params, fold), f"{key}: no tie was left open"
                explained[fold] = product.explained(params, fold, reference.folds[fold])
        assert _equal(scores, explained), f"{key}: the ties do not account for the difference"
        assert _equal(row["score"], np.mean(explained), scale=np.mean(explained))
        assert _equal(row["score_std"], np.std(explained), scale=np.mean(explained))
        if explained == list(reference.folds):
            assert _equal(row["score"], reference.mean)
            assert _equal(row["score_std"], reference.std, scale=reference.mean)
        n_differing += explained != list(reference.folds)
    assert n_differing < len(expected), "no configuration is equal"
    counts = ", ".join(f"{count} rows of {name}" for name, count in product.counts.items())
    print(f"{case.dataset}: {len(expected)} configurations, {n_differing} differ by ties ({counts})")


def _equal(found: Any, wanted: Any, scale: Any = None) -> bool:
    found, wanted = np.asarray(found), np.asarray(wanted)
    return bool(np.all(np.abs(found - wanted) <= TOLERANCE * np.maximum(1, np.abs(wanted if scale is None else scale))))


def _parquet(case: Case, real_dataset: Callable[[str], Path], path: Path) -> Path:
    """Return the case's dataset as a Parquet file, written to `path` unless it is one already."""
    load = getattr(bundled, f"load_{case.dataset}", None)
    if load is not None:
        matrix, target = load(return_X_y=True)
        pq.write_table(pa.table({**{f"f{i}": matrix[:, i] for i in range(matrix.shape[1])}, case.target: target}), path)
        return path
    source = real_dataset(case.dataset)
    if case.n_rows is None:
        return source
    table = pq.read_table(source)
    drawn = np.random.default_rng(SEED).choice(table.num_rows, case.n_rows, replace=False)
    pq.write_table(table.take(np.sort(drawn)), path)
    return path


@contextmanager
def _surroundings(all_threads: bool) -> Iterator[None]:
    """Compute without warnings, on one thread, or (`all_threads`) with one thread for BLAS alone."""
    with threadpool_limits(1, user_api="blas" if all_threads else None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


@dataclass(frozen=True)
class Reference:
    """What `GridSearchCV` gives for one configuration."""

    folds: tuple[float, ...]
    mean: float
    std: float


def _n_classes(data: Any) -> int:
    return int(data.target.max()) + 1 if data.task == "classification" else 0


def grid_search(case: Case, product: Product) -> dict[str, Reference]:
    """Return the reference of each configuration."""
    data, family = product.data, families.find("knn")
    if case.n_folds == 1:
        strata = data.target if data.task == "classification" else None
        drawn = train_test_split(np.arange(len(data.target)), test_size=0.2, random_state=SEED, stratify=strata)
        folds: Any = [tuple(np.sort(rows) for rows in drawn)]
    else:
        splitter = StratifiedKFold if data.task == "classification" else KFold
        folds = splitter(case.n_folds, shuffle=True, random_state=SEED)
    space = dict(product.space)
    answered_together = {"knn__n_neighbors": space.pop("n_neighbors"), "knn__weights": space.pop("weights")}
    found: dict[str, Reference] = {}
    for params in grid(space, family.conditions):
        search = GridSearchCV(
            family.estimator(params, data.columns, _n_classes(data), SEED),
            answered_together,
            scoring=case.metric,
            cv=folds,
            refit=False,
            error_score="raise",
        )
        with _surroundings(case.all_threads):
            results = search.fit(data.matrix, data.target).cv_results_
        for i, chosen in enumerate(results["params"]):
            key = _key({**params, "n_neighbors": chosen["knn__n_neighbors"], "weights": chosen["knn__weights"]})
            scores = tuple(float(results[f"split{fold}_test_score"][i]) for fold in range(case.n_folds))
            found[key] = Reference(scores, results["mean_test_score"][i], results["std_test_score"][i])
    return found


@dataclass(frozen=True)
class Answers:
    """What one side says of a fold's validation rows.

    Attributes:
        said: What the metric reads: classes, numbers, or probabilities of shape (rows, classes).
        distance: Distances of the k neighbours, shape (rows, k), ascending.
        value: The classes or targets of the k neighbours, shape (rows, k).
    """

    said: Array
    distance: Array
    value: Array


@dataclass
class Product:
    """A run, with what its ledger says of each fold, and the planes behind it."""

    job: Job
    result: orchestrator.Result
    all_threads: bool
    counts: dict[str, int] = field(default_factory=lambda: {"tied neighbours": 0, "tied votes": 0})

    def __post_init__(self) -> None:
        prepared = compose.prepare(self.job)
        self.data = prepared.data.train
        self.space: Mapping[str, Any] = prepared.job.searches[0].space or {}
        self.plan = families.find("knn").plan(self.space, prepared.shape, exhaustive=True)
        self.answers = compose.answers_of(list(read(self.result.path / rundir.LEDGER)))
        board = self.result.leaderboard.to_arrow().to_pylist()
        self.rows = {_key(json.loads(row["params"])): row for row in board if row["family"] == "knn"}
        self._planes: dict[str, neighbours.Neighbours] = {}

    def asks_the_same(self, params: Mapping[str, Any], fold: int) -> bool:
        """Tell whether scikit-learn, on one thread, searches a fold as the product does, so that even ties agree.

        The product searches for the largest k of the grid, or the largest below half of the rows, from where on
        scikit-learn uses brute force.
        """
        turn = len(self.data.folds[fold].train) // 2
        k, ks = params["n_neighbors"], self.space["n_neighbors"]
        return k == max(other for other in ks if (other < turn) == (k < turn))

    def fold_scores(self, params: Mapping[str, Any]) -> list[float]:
        """Return a configuration's score on each fold."""
        return [self.answers[name].score for name in self.plan.answers_of(dict(params))]

    def said(self, params: Mapping[str, Any], fold: int) -> Answers:
        """Return what the product says of a fold's validation rows, from the blocks that it cuts."""
        [unit] = self.plan.units_for([dict(params)], frozenset({self.plan.answers_of(dict(params))[fold]}))
        n_valid, k = len(self.data.folds[fold].valid), params["n_neighbors"]
        if unit.plane.id not in self._planes:
            blocks = unit.needs or (SearchBlock(unit.plane, 0, n_valid, 0.0),)
            parts = [block.compute(self.data, []).payload[0] for block in blocks]
            self._planes = {unit.plane.id: neighbours.joined(parts)}
        found = self._planes[unit.plane.id]
        if self.data.task == "regression":
            [(_, regressor)] = neighbours.regressors(found, [k], params["weights"])
            said = regressor.predict(None)
        else:
            classes = np.unique(self.data.target[self.data.folds[fold].train])
            [(_, classifier)] = neighbours.classifiers(found, classes, [k], params["weights"])
            said = getattr(classifier, _response(self.data.metric))(None)
        return Answers(said, found.distance[:, :k], found.value[:, :k])

    def explained(self, params: Mapping[str, Any], fold: int, reference: float) -> float:
        """Return scikit-learn's score of a fold with the product's answers in the rows that a tie leaves open."""
        train, valid = self.data.folds[fold].train, self.data.folds[fold].valid
        estimator = families.find("knn").estimator(dict(params), self.data.columns, _n_classes(self.data), SEED)
        with _surroundings(self.all_threads):
            estimator.fit(self.data.matrix[train], self.data.target[train])
            theirs, next_distance = _said_by(estimator, self.data.matrix[valid], self.data.metric)
        truth = self.data.target[valid]
        assert _equal(_score(self.data.metric, truth, theirs.said), reference)
        tolerance = COSINE_ULPS if params["metric"] == "cosine" else 0.0
        mixed, n_neighbours, n_votes = settled(theirs, self.said(params, fold), next_distance, tolerance)
        self.counts["tied neighbours"] += n_neighbours
        self.counts["tied votes"] += n_votes
        return _score(self.data.metric, truth, mixed)


def _response(metric: str) -> str:
    return "predict_proba" if metric in ("roc_auc", "neg_log_loss") else "predict"


def _score(metric: str, truth: Array, said: Array) -> float:
    if metric == "neg_log_loss":
        return -float(log_loss(truth, said, labels=np.arange(said.shape[1])))
    if metric == "roc_auc":
        return float(roc_auc_score(truth, said[:, 1]))
    if metric == "f1_macro":
        return float(f1_score(truth, said, average="macro"))
    if metric == "neg_root_mean_squared_error":
        return -float(root_mean_squared_error(truth, said))
    return float({"accuracy": accuracy_score, "r2": r2_score}[metric](truth, said))


def _said_by(fitted: Pipeline, queries: Array, metric: str) -> tuple[Answers, Array]:
    """Return what a fitted pipeline says of `queries`, and the distance of the (k+1)-th neighbour, inf without one."""
    prepared = fitted[:-1].transform(queries) if len(fitted) > 1 else queries
    model = fitted[-1]
    k, n_train = model.n_neighbors, model.n_samples_fit_
    distance, row = model.kneighbors(prepared)
    beyond = np.full(len(queries), np.inf)
    if k < n_train:
        further, _ = model.kneighbors(prepared, n_neighbors=k + 1)
        assert np.array_equal(further[:, :k], distance)
        beyond = further[:, k]
    return Answers(getattr(model, _response(metric))(prepared), distance, model._y[row]), beyond


def settled(theirs: Answers, mine: Answers, next_distance: Array, tolerance: float) -> tuple[Array, int, int]:
    """Return scikit-learn's answers, with the product's in the rows that a tie leaves open.

    Args:
        theirs: scikit-learn's answers.
        mine: The product's.
        next_distance: Distance of each row's (k+1)-th neighbour in scikit-learn's search.
        tolerance: What equal distances may be apart.

    Returns:
        The answers; in how many rows the k-th and (k+1)-th neighbours tie; in how many rows votes do.

    Raises:
        AssertionError: Answers differ in a row without a tie, or neighbours beside those that tie.
    """
    assert np.allclose(mine.distance, theirs.distance, rtol=0, atol=tolerance)
    off = np.abs(mine.said - theirs.said) > TOLERANCE * max(1.0, np.abs(theirs.said).max())
    differing = np.flatnonzero(off if off.ndim == 1 else off.any(axis=1))
    n_neighbours = n_votes = 0
    for i in differing:
        furthest = theirs.distance[i, -1]
        if next_distance[i] - furthest <= tolerance:
            n_neighbours += 1
            nearer = theirs.distance[i] < furthest - tolerance
            assert sorted(theirs.value[i, nearer]) == sorted(mine.value[i, nearer]), f"row {i}: nearer ones differ"
        else:
            n_votes += 1
            assert _votes_tie(theirs, mine, i), f"row {i}: answers differ and nothing ties"
    mixed = theirs.said.copy()
    mixed[differing] = mine.said[differing]
    return mixed, n_neighbours, n_votes


def _votes_tie(theirs: Answers, mine: Answers, i: int) -> bool:
    """Tell whether row i has the same neighbours on both sides, and only the order of equal distances sets them apart.

    The two classes said must have equal votes, and scikit-learn's rule, given the product's order, must say what the
    product says.
    """
    if theirs.said.ndim > 1 or theirs.distance[i, 0] == 0:
        return False
    sides = [list(zip(a.distance[i].tolist(), a.value[i].tolist(), strict=True)) for a in (theirs, mine)]
    if sorted(sides[0]) != sorted(sides[1]) or sides[0] == sides[1]:
        return False
    votes = [math.fsum(1 / d for d, value in sides[0] if value == a.said[i]) for a in (theirs, mine)]
    mode, _ = weighted_mode(mine.value[[i]].astype(np.intp), 1 / mine.distance[[i]], axis=1)
    return mode.item() == mine.said[i] and math.isclose(*votes, rel_tol=len(sides[0]) * np.finfo(np.float64).eps)


def _answers_of_one_query(train: Sequence[float], classes: Sequence[int], k: int) -> tuple[Answers, Array]:
    model = KNeighborsClassifier(k, weights="distance").fit(np.reshape(train, (-1, 1)), classes)
    return _said_by(Pipeline([("knn", model)]), np.zeros((1, 1)), "accuracy")


def test_a_difference_without_a_tie_is_not_accepted():
    theirs, beyond = _answers_of_one_query([1.0, 2.0, 4.0, 5.0], [0, 0, 1, 1], k=3)
    mine = Answers(np.array([1]), theirs.distance, theirs.value)
    with pytest.raises(AssertionError, match="nothing ties"):
        settled(theirs, mine, beyond, 0.0)


def test_a_tie_at_the_kth_place_does_not_excuse_other_neighbours():
    theirs, beyond = _answers_of_one_query([1.0, 2.0, 4.0, -4.0], [0, 0, 1, 1], k=3)
    mine = Answers(np.array([1]), theirs.distance, np.array([[1, 1, 1]]))
    with pytest.raises(AssertionError, match="nearer ones differ"):
        settled(theirs, mine, beyond, 0.0)


def test_a_difference_at_a_tie_is_taken_over():
    theirs, beyond = _answers_of_one_query([1.0, -1.0, 3.0], [0, 1, 1], k=1)
    mine = Answers(1 - theirs.said, theirs.distance, 1 - theirs.value)
    mixed, n_neighbours, n_votes = settled(theirs, mine, beyond, 0.0)
    assert (mixed.tolist(), n_neighbours, n_votes) == (mine.said.tolist(), 1, 0)
