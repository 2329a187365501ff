"""Neighbour planes: blocks cut a search without changing it, and votes read off a plane are those of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from threadpoolctl import threadpool_limits

from orchestrator.data.encode import Column, Features
from orchestrator.data.recipe import Recipe
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families import neighbours
from orchestrator.families.base import Shape
from orchestrator.families.knn import KNN, Plane, ScorePlane, SearchBlock, answer_name
from orchestrator.space import Range

WEIGHTINGS: tuple[neighbours.Weighting, ...] = ("uniform", "distance")
SKLEARN_CHUNK = 256
ORDER_CHANGES = 4 * SKLEARN_CHUNK
"""Up to so many query rows scikit-learn's search, on one thread, may go another way through equal distances."""
Array = npt.NDArray[Any]


@given(st.integers(1, 20_000))
def test_blocks_cover_all_rows_in_order(n_rows):
    covered = [row for start, stop in neighbours.blocks(n_rows) for row in (start, stop)]
    assert covered[0] == 0
    assert covered[-1] == n_rows
    assert covered[1:-1:2] == covered[2::2]
    assert sorted(set(covered)) == sorted(set(covered[::2]) | {n_rows})


@given(st.integers(1, 20_000))
def test_blocks_start_where_scikit_learn_starts_a_chunk(n_rows):
    assert all(start % SKLEARN_CHUNK == 0 for start, _ in neighbours.blocks(n_rows))


@given(st.integers(1, 20_000))
def test_blocks_of_a_cut_fold_are_long_enough_for_the_order_of_the_whole(n_rows):
    cuts = neighbours.blocks(n_rows)
    assert len(cuts) == 1 or min(stop - start for start, stop in cuts) > ORDER_CHANGES


def test_a_short_tail_joins_the_block_before_it():
    assert neighbours.blocks(1280 + ORDER_CHANGES) == [(0, 2304)]
    assert neighbours.blocks(1280 + ORDER_CHANGES + 1) == [(0, 1280), (1280, 2305)]
    assert neighbours.blocks(2 * 1280 + 1) == [(0, 1280), (1280, 2561)]


def full_of_ties(n_rows: int, n_features: int, seed: int = 0) -> Array:
    """Return rows of small whole numbers, many of them alike."""
    return np.random.default_rng(seed).integers(0, 3, (n_rows, n_features)).astype(np.float64)


@pytest.mark.parametrize("n_features", [4, 16], ids=["tree", "brute force"])
@pytest.mark.parametrize("n_rows", [1280 + 400, 1280 + 1100], ids=["short tail", "long tail"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_a_search_cut_into_blocks_finds_what_the_search_in_one_piece_finds(metric, n_rows, n_features):
    train, queries = full_of_ties(2500, n_features), full_of_ties(n_rows, n_features, seed=1)
    with threadpool_limits(1):
        index = NearestNeighbors(n_neighbors=10, metric=metric).fit(train)
        whole = neighbours.find(index, train, queries, 10, np.arange(len(train)))
        cut = _in_blocks(index, train, queries, 10, np.arange(len(train)))
    assert np.array_equal(cut.distance, whole.distance)
    assert np.array_equal(cut.value, whole.value)
    assert (np.diff(whole.distance, axis=1) == 0).any()


@pytest.mark.parametrize("n_tied", [0, 1], ids=["no ties", "a tie"])
@pytest.mark.parametrize(("n_train", "k"), [(60, 1), (60, 59), (60, 60), (3000, 10), (3000, 1600)])
@pytest.mark.parametrize("metric", ["manhattan", "chebyshev"])
def test_distances_from_scipy_give_the_neighbours_of_scikit_learn_to_the_bit(metric, n_train, k, n_tied, monkeypatch):
    generator = np.random.default_rng(0)
    train, queries = generator.normal(size=(n_train, 21)), generator.normal(size=(300, 21))
    train[n_train - n_tied :], queries[299] = train[0], train[0]
    index = NearestNeighbors(n_neighbors=k, metric=metric).fit(train)
    distance, row = index.kneighbors(queries)
    searches = []
    monkeypatch.setattr(index, "kneighbors", lambda *_, **__: searches.append(1) or (distance, row))
    found = neighbours.find(index, train, queries, k, np.arange(n_train))
    assert np.array_equal(found.distance, distance)
    assert np.array_equal(found.value, row)
    assert len(searches) == (n_tied or k == n_train), "equal distances, and they alone, are for scikit-learn to order"


def test_a_cosine_search_cut_into_blocks_gives_the_distances_of_the_search_in_one_piece():
    train, queries = full_of_ties(3000, 16), full_of_ties(2600, 16, seed=1)
    with threadpool_limits(1):
        index = NearestNeighbors(n_neighbors=10, metric="cosine").fit(train)
        whole = neighbours.find(index, train, queries, 10, np.arange(len(train)))
        cut = _in_blocks(index, train, queries, 10, np.arange(len(train)))
    np.testing.assert_allclose(cut.distance, whole.distance, rtol=0, atol=16 * np.finfo(np.float64).eps)


def _in_blocks(index: Any, train: Array, queries: Array, k: int, values: Array) -> neighbours.Neighbours:
    cuts = neighbours.blocks(len(queries))
    return neighbours.joined([neighbours.find(index, train, queries[start:stop], k, values) for start, stop in cuts])


def assert_votes_are_scikit_learns(
    train: Array, labels: Array, queries: Array, ks: Sequence[int], weighting: neighbours.Weighting
) -> None:
    """Compare labels and probabilities for every k of `ks`, to the bit."""
    classes, places = np.unique(labels, return_inverse=True)
    index = KNeighborsClassifier(max(ks)).fit(train, labels)
    found = neighbours.find(index, train, queries, max(ks), places)
    for k, classifier in neighbours.classifiers(found, classes, ks, weighting):
        expected = KNeighborsClassifier(k, weights=weighting).fit(train, labels)
        assert np.array_equal(classifier.predict(None), expected.predict(queries))
        assert np.array_equal(classifier.predict_proba(None), expected.predict_proba(queries))


def assert_means_are_scikit_learns(
    train: Array, target: Array, queries: Array, ks: Sequence[int], weighting: neighbours.Weighting
) -> None:
    """Compare predictions for every k of `ks`, but for rounding."""
    index = KNeighborsRegressor(max(ks)).fit(train, target)
    found = neighbours.find(index, train, queries, max(ks), target)
    for k, regressor in neighbours.regressors(found, ks, weighting):
        expected = KNeighborsRegressor(k, weights=weighting).fit(train, target).predict(queries)
        np.testing.assert_allclose(regressor.predict(None), expected, rtol=0, atol=1e-12 * np.abs(target).max())


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_votes_of_every_k_are_those_of_the_classifier_of_that_k(weighting, generator):
    train, queries = generator.normal(size=(200, 3)), generator.normal(size=(100, 3))
    assert_votes_are_scikit_learns(train, generator.integers(0, 4, 200), queries, range(1, 100), weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_means_of_every_k_are_those_of_the_regressor_of_that_k(weighting, generator):
    train, queries = generator.normal(size=(200, 3)), generator.normal(size=(100, 3))
    assert_means_are_scikit_learns(train, generator.normal(size=200) * 1e5, queries, range(1, 100), weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_neighbours_at_no_distance_decide_alone(weighting, generator):
    train, labels = generator.normal(size=(120, 2)), generator.integers(0, 3, 120)
    assert_votes_are_scikit_learns(train, labels, train[:60], range(1, 60), weighting)
    assert_means_are_scikit_learns(train, labels.astype(np.float64), train[:60], range(1, 60), weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_duplicates_of_different_classes_share_the_vote(weighting, generator):
    pairs = np.repeat(generator.normal(size=(60, 2)), 2, axis=0)
    labels = generator.integers(0, 3, 120)
    queries = np.concatenate([pairs[::4], generator.normal(size=(30, 2))])
    whole_pairs = range(2, 58, 2)
    assert_votes_are_scikit_learns(pairs, labels, queries, whole_pairs, weighting)
    assert_means_are_scikit_learns(pairs, labels.astype(np.float64), queries, whole_pairs, weighting)


def test_the_probability_of_a_row_that_is_in_the_index_twice_is_halved_between_its_classes():
    found = neighbours.Neighbours(np.array([[0, 1, 1, 1]]), np.array([[0.0, 0.0, 1e-300, 0.5]]))
    [(_, classifier)] = neighbours.classifiers(found, np.array([4, 7]), [4], "distance")
    assert classifier.predict_proba(None).tolist() == [[0.5, 0.5]]
    assert classifier.predict(None).tolist() == [4]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("nearest_first", [[2, 0, 1], [2, 1, 0], [1, 2, 0]])
def test_equal_votes_go_to_the_lowest_class(weighting, nearest_first):
    found = neighbours.Neighbours(np.array([nearest_first]), np.ones((1, 3)))
    [(_, classifier)] = neighbours.classifiers(found, np.array([3, 5, 9]), [3], weighting)
    assert classifier.predict(None).tolist() == [3]


def test_votes_that_only_rounding_tells_apart_are_settled_as_scikit_learn_settles_them(generator):
    labels = generator.permutation(np.repeat([0, 1], 12))
    queries = np.empty((1000, 24))
    for query in queries:  # both classes at the same distances, each twice
        distances = np.repeat(generator.choice(np.arange(1, 60), 6, replace=False) / 7, 2)
        for label in (0, 1):
            query[labels == label] = generator.permutation(distances)
    expected = KNeighborsClassifier(24, weights="distance", metric="precomputed").fit(np.zeros((24, 24)), labels)
    found = neighbours.find(expected, np.zeros((24, 24)), queries, 24, labels)
    [(_, classifier)] = neighbours.classifiers(found, np.array([0, 1]), [24], "distance")
    assert np.array_equal(classifier.predict(None), expected.predict(queries))
    assert (classifier.votes.argmax(axis=1) != classifier.predict(None)).any(), "running sums would do as well"


def test_a_class_that_the_training_fold_lacks_has_no_vote_and_no_probability(generator):
    train, labels = generator.normal(size=(50, 2)), generator.choice([0, 2, 5], 50)
    assert_votes_are_scikit_learns(train, labels, generator.normal(size=(20, 2)), [1, 2, 7], "distance")


def training_set(matrix: Array, target: Array, n_train: int, metric: str, key: str) -> TrainingSet:
    """Return a training set of one fold: the first `n_train` rows to fit on, the others to score."""
    fold = Fold(np.arange(n_train), np.arange(n_train, len(target)))
    columns = tuple(Column(f"f{i}", "double", "number") for i in range(matrix.shape[1]))
    task = "regression" if target.dtype.kind == "f" else "classification"
    return TrainingSet(key, Features(matrix), target, (fold,), columns, task, metric, 0)


def scores_of(unit: ScorePlane, data: TrainingSet) -> dict[str, float]:
    """Compute a unit and what it needs; return its scores by the names of its answers."""
    inputs = [need.compute(data, []).payload for need in unit.needs]
    return {name: answer.score for name, answer in unit.compute(data, inputs).answers.items()}


def test_a_fold_that_lacks_a_class_is_scored_as_scikit_learn_scores_it(generator):
    matrix, target = generator.normal(size=(90, 2)), generator.integers(0, 3, 90)
    target[:60][target[:60] == 1] = 2
    data = training_set(matrix, target, 60, "f1_macro", "lacks a class")
    plane = Plane(Recipe(), "euclidean", 2.0, 0, 9)
    scores = scores_of(ScorePlane(plane, ((9, "uniform"), (4, "distance")), (), 0.0), data)
    for k, weighting in ((9, "uniform"), (4, "distance")):
        expected = KNeighborsClassifier(k, weights=weighting).fit(matrix[:60], target[:60])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = _f1_macro(target[60:], expected.predict(matrix[60:]))
        assert scores[answer_name(plane, k, weighting)] == pytest.approx(score, abs=1e-12)


def _f1_macro(truth: Array, labels: Array) -> float:
    """Return the mean over classes of 2 hits / (said + true)."""
    return float(
        np.mean(
            [
                2 * ((labels == c) & (truth == c)).sum() / ((labels == c).sum() + (truth == c).sum())
                for c in np.unique(np.concatenate([truth, labels]))
            ]
        )
    )


@pytest.mark.parametrize("metric", ["accuracy", "neg_log_loss", "r2"])
def test_a_score_does_not_depend_on_the_pairs_asked_with_it(metric):
    matrix = full_of_ties(900, 5)
    target = (matrix.sum(axis=1) % 3).astype(np.float64 if metric == "r2" else np.int64)
    data = training_set(matrix, target, 600, metric, f"pairs {metric}")
    plane = Plane(Recipe("standard"), "manhattan", 2.0, 0, 40)
    pairs = [(k, weighting) for k in range(1, 41) for weighting in WEIGHTINGS]
    together = scores_of(ScorePlane(plane, tuple(pairs), (), 0.0), data)
    few = scores_of(ScorePlane(plane, tuple(pairs[5:60:9]), (), 0.0), data)
    alone = [scores_of(ScorePlane(plane, (pair,), (), 0.0), data) for pair in pairs]
    assert few == {name: together[name] for name in few}
    assert {name: score for one in alone for name, score in one.items()} == together
    assert len(set(together.values())) > 10


def test_a_score_does_not_depend_on_the_trials_proposed_with_it():
    matrix = full_of_ties(900, 5)
    data = training_set(matrix, matrix.sum(axis=1).astype(np.int64), 600, "accuracy", "trials")
    space = {"n_neighbors": Range(1, 50), "weights": list(WEIGHTINGS), "metric": "minkowski", "p": Range(1.0, 4.0)}
    plan = KNN().plan(space, Shape.of(data), exhaustive=False)
    trials = [{"n_neighbors": k, "weights": "distance", "metric": "minkowski", "p": 3.0} for k in (4, 11, 50)]

    def scores(proposed: list[dict[str, Any]]) -> dict[str, float]:
        names = frozenset(name for trial in proposed for name in plan.answers_of(trial))
        return {n: s for unit in plan.units_for(proposed, names) for n, s in scores_of(unit, data).items()}

    together = scores(trials)
    assert len(together) == 3
    assert scores(trials[:1]) | scores(trials[1:2]) | scores(trials[2:]) == together


@pytest.mark.parametrize("n_features", [4, 16], ids=["tree", "brute force"])
def test_scores_of_a_fold_in_blocks_are_those_of_the_fold_in_one_piece(n_features):
    matrix = full_of_ties(1400 + 2600, n_features)
    data = training_set(matrix, matrix.sum(axis=1).astype(np.int64), 1400, "accuracy", f"blocks {n_features}")
    plane = Plane(Recipe(), "euclidean", 2.0, 0, 12)
    pairs = tuple((k, weighting) for k in range(1, 13) for weighting in WEIGHTINGS)
    blocks = tuple(SearchBlock(plane, start, stop, 0.0) for start, stop in neighbours.blocks(2600))
    assert len(blocks) == 2
    assert scores_of(ScorePlane(plane, pairs, blocks, 0.0), data) == scores_of(ScorePlane(plane, pairs, (), 0.0), data)
