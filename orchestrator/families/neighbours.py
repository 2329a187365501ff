"""Neighbour planes: one search for the largest k answers every k and every weighting.

With the neighbours of a query sorted by distance, the vote of k neighbours is the vote of k - 1 and one more, so that
the predictions for all k are running sums. scikit-learn finds the neighbours; where no two of them are equally far,
SciPy computes the same manhattan and chebyshev distances faster. scikit-learn's rules of voting are kept to the bit:

* under `distance` weights, a query at distance 0 from some neighbours is decided by those alone;
* equal votes go to the lowest class;
* `KNeighborsClassifier.predict` adds weights class by class (`weighted_mode`), `predict_proba` neighbour by neighbour.
  The running sum is the second; where the two roundings could disagree, the first is computed as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.extmath import weighted_mode

from orchestrator.data.encode import Floats

Weighting = Literal["uniform", "distance"]
BLOCK_ROWS = 1280
"""Query rows of a block. A multiple of 256, the chunk of scikit-learn's search, so that blocks cut where it cuts."""
SHORTEST_BLOCK_ROWS = 1025
"""A shorter tail joins the block before it: only above 1024 rows does scikit-learn search a block in the same order as
a large fold in one piece, and order equal distances alike."""
NEAR_TIE = 1e-9
"""Votes closer than this, as a share of the largest, are counted again in scikit-learn's order of summation."""

TREE_FEATURES = 15
"""Up to so many features scikit-learn searches a tree, which beats computing every distance."""
DISTANCES_AT_ONCE = 1 << 19
"""Distances computed before the nearest are picked from them: so many stay near the processor."""
_CDIST = {"manhattan": "cityblock", "chebyshev": "chebyshev"}
"""SciPy's names of metrics whose distances have one way of rounding: differences added in order, or their maximum."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest training rows of each query row, nearest first.

    Attributes:
        value: Their class (place in the fold's classes) or target, shape (rows, k).
        distance: Their distance, shape (rows, k).
    """

    value: npt.NDArray[Any]
    distance: Floats


def blocks(n_rows: int) -> list[tuple[int, int]]:
    """Return start and stop of each query block; a short tail joins the block before it."""
    starts = list(range(0, n_rows, BLOCK_ROWS))
    if len(starts) > 1 and n_rows - starts[-1] < SHORTEST_BLOCK_ROWS:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))


def find(index: Any, train: Floats, queries: Floats, k: int, values: npt.NDArray[Any]) -> Neighbours:
    """Search the `k` nearest rows of each query, as `index.kneighbors` finds and orders them.

    Args:
        index: A scikit-learn neighbours estimator, fitted on `train`.
        train: The indexed rows, shape (rows, features).
        queries: Prepared query rows, shape (rows, features).
        k: How many neighbours.
        values: Class or target of each indexed row; small integers for classes save memory on the way.
    """
    found = None
    if index.effective_metric_ in _CDIST and train.shape[1] > TREE_FEATURES and k < len(train):
        found = _nearest(train, queries, k, _CDIST[index.effective_metric_])
    distance, row = found or index.kneighbors(queries, n_neighbors=k)
    return Neighbours(values[row], distance)


def _nearest(train: Floats, queries: Floats, k: int, metric: str) -> tuple[Floats, npt.NDArray[np.intp]] | None:
    """Return distances and rows of the `k` nearest of each query, or None where equal distances leave a choice.

    Without two equal ones among the k + 1 smallest distances of a query there is one order. With them, scikit-learn's
    order is its search's accident, which only the search itself can tell.
    """
    distance, row = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
    step = max(1, min(8, len(train) // (8 * (k + 1))))
    space = np.empty((max(1, DISTANCES_AT_ONCE // len(train)), len(train)))
    for start in range(0, len(queries), len(space)):
        some = queries[start : start + len(space)]
        every = cdist(some, train, metric, out=space[: len(some)])
        enough = np.partition(every[:, ::step], k, axis=1)[:, k]  # k + 1 rows are as near, so no other is needed
        for i, (one, limit) in enumerate(zip(every, enough, strict=True), start):
            near = np.flatnonzero(one <= limit)
            order = np.argsort(one[near])[: k + 1]
            nearest = one[near[order]]
            if len(nearest) <= k or (nearest[1:] == nearest[:-1]).any():
                return None
            distance[i], row[i] = nearest[:k], near[order[:k]]
    return distance, row


def without_self(found: Neighbours, rows: npt.NDArray[np.int64]) -> Neighbours:
    """Return the neighbours of rows that were searched among themselves, one fewer each and none a row's own.

    A row is told by its place and not by its distance, since others may be the same. Where so many are that it is not
    among its own nearest, the last neighbour goes.

    Args:
        found: Neighbours, `value` holding places among the searched rows.
        rows: The place of each query among them, shape (rows,).
    """
    keep = found.value != rows[:, np.newaxis]
    keep[keep.all(axis=1), -1] = False
    shape = (len(rows), found.value.shape[1] - 1)
    return Neighbours(found.value[keep].reshape(shape), found.distance[keep].reshape(shape))


def joined(parts: Sequence[Neighbours]) -> Neighbours:
    """Return the blocks of one fold as one."""
    if len(parts) == 1:
        return parts[0]
    return Neighbours(np.concatenate([p.value for p in parts]), np.concatenate([p.distance for p in parts]))


class PlaneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What `KNeighborsClassifier` would answer for one k and weighting, read off the plane. For scorers."""

    def __init__(self, classes: npt.NDArray[np.int64]) -> None:
        self.classes_ = classes
        self.votes: Floats
        self.labels: npt.NDArray[np.intp]

    def predict(self, X: object) -> npt.NDArray[np.int64]:
        """Return the class codes of the plane's query rows, whatever `X`."""
        return self.classes_[self.labels]

    def predict_proba(self, X: object) -> Floats:
        """Return the normalised votes of the plane's query rows, whatever `X`; shape (rows, classes)."""
        normalised: Floats = self.votes / self.votes.sum(axis=1)[:, np.newaxis]
        return normalised


class PlaneRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What `KNeighborsRegressor` would answer for one k and weighting, read off the plane. For scorers."""

    def __init__(self) -> None:
        self.values: Floats

    def predict(self, X: object) -> Floats:
        """Return the predictions of the plane's query rows, whatever `X`."""
        return self.values


def inverse_distances(distance: Floats) -> Floats:
    """Return the `distance` weights of sorted distances, shape (rows, k), as scikit-learn computes them."""
    with np.errstate(divide="ignore"):
        weight: Floats = 1.0 / distance
    exact = np.isinf(weight[:, 0])
    weight[exact] = np.isinf(weight[exact])
    return weight


def classifiers(
    found: Neighbours, classes: npt.NDArray[np.int64], ks: Sequence[int], weighting: Weighting
) -> Iterator[tuple[int, PlaneClassifier]]:
    """Yield each k of `ks` (ascending) with the classifier that answers for it; the same object each time.

    Args:
        found: Neighbours, `value` holding places in `classes`.
        classes: The class codes of the training fold, ascending.
        ks: The numbers of neighbours, ascending, none above the plane's.
        weighting: `uniform` or `distance`.
    """
    n_rows = len(found.value)
    rows = np.arange(n_rows)
    answer = PlaneClassifier(classes)
    answer.votes = np.zeros((n_rows, len(classes)))
    weight = inverse_distances(found.distance) if weighting == "distance" else None
    wanted = set(ks)
    for i in range(max(ks)):
        answer.votes[rows, found.value[:, i]] += 1.0 if weight is None else weight[:, i]
        if i + 1 in wanted:
            answer.labels = answer.votes.argmax(axis=1)
            if weight is not None:
                _settle_near_ties(answer, found.value, weight, i + 1)
            yield i + 1, answer


def _settle_near_ties(answer: PlaneClassifier, value: npt.NDArray[Any], weight: Floats, k: int) -> None:
    rows = np.arange(len(value))
    largest = answer.votes[rows, answer.labels]
    close = (answer.votes >= (largest * (1 - NEAR_TIE))[:, np.newaxis]).sum(axis=1) > 1
    near = np.flatnonzero(close)
    if len(near):
        mode, _ = weighted_mode(value[near, :k].astype(np.intp), weight[near, :k], axis=1)
        answer.labels[near] = mode.ravel().astype(np.intp)


def regressors(found: Neighbours, ks: Sequence[int], weighting: Weighting) -> Iterator[tuple[int, PlaneRegressor]]:
    """Yield each k of `ks` (ascending) with the regressor that answers for it; the same object each time."""
    answer = PlaneRegressor()
    weight = np.ones_like(found.distance) if weighting == "uniform" else inverse_distances(found.distance)
    total = np.zeros(len(found.value))
    weights = np.zeros(len(found.value))
    wanted = set(ks)
    for i in range(max(ks)):
        total += found.value[:, i] * weight[:, i]
        weights += weight[:, i]
        if i + 1 in wanted:
            answer.values = total / weights
            yield i + 1, answer
