"""What k nearest neighbours score when each row is left out alone: one more search a plane, over all training rows.

Beside the score over folds it says what a model gains from the rows that a fold holds back, as the refitted winner
does.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import get_scorer

from orchestrator.data.dependence import Rows
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families import knn, neighbours
from orchestrator.families.base import Answer, Shape, Unit, UnitOutput, WorkUnit, left_out_rows
from orchestrator.families.limits import one_thread
from orchestrator.space import Params, Space, dimensions, values_of

Pair = tuple[int, neighbours.Weighting]


@dataclass(frozen=True, slots=True)
class LeaveOneOut(Unit):
    """A work unit: the scores of (k, weighting) pairs of a plane on some rows, each row found among all the others.

    The preparation is fitted on all rows, so that one row in all of them is its own; that is too little to matter.
    """

    plane: knn.Plane
    pairs: tuple[Pair, ...]
    cost: float
    needs: tuple[WorkUnit, ...] = ()

    @property
    def id(self) -> str:
        """The unit's name."""
        return f"{_name(self.plane)}#{zlib.crc32(repr(self.pairs).encode()):08x}"

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the answers that it gives."""
        return tuple(_answer(self.plane, pair) for pair in self.pairs)

    def compute(self, data: TrainingSet, inputs: Sequence[object]) -> UnitOutput:
        """Score every pair by the metric's scorer on the rows that `left_out_rows` names, all at once."""
        with one_thread():
            started = time.perf_counter()
            everything = np.arange(len(data.target))
            rows = left_out_rows(np.concatenate([fold.valid for fold in data.folds]))
            whole = knn.prepared_plane(self.plane, replace(data, folds=(Fold(everything, rows),)))
            found = neighbours.find(whole.index, whole.train, whole.train[rows], self.plane.n_neighbors, everything)
            others = neighbours.without_self(found, rows)
            scores = self._scores(replace(others, value=whole.values[others.value]), data, rows)
            predict_s = max(0.0, time.perf_counter() - started - whole.fit_time_s)
        fit_share, predict_share = whole.fit_time_s / len(scores), predict_s / len(scores)
        return UnitOutput({name: Answer(score, fit_share, predict_share) for name, score in scores.items()})

    def _scores(self, found: neighbours.Neighbours, data: TrainingSet, rows: Rows) -> Mapping[str, float]:
        truth, scorer = data.target[rows], get_scorer(data.metric)
        scores = {}
        for weighting in knn.WEIGHTINGS:
            ks = sorted(k for k, w in self.pairs if w == weighting)
            if not ks:
                continue
            models = (
                neighbours.regressors(found, ks, weighting)
                if data.task == "regression"
                else neighbours.classifiers(found, np.unique(data.target).astype(np.int64), ks, weighting)
            )
            for k, model in models:
                scores[_answer(self.plane, (k, weighting))] = float(scorer(model, truth, truth))
        return scores


def _name(plane: knn.Plane) -> str:
    return f"{plane.id}/left-out"


def _answer(plane: knn.Plane, pair: Pair) -> str:
    return f"{_name(plane)}/k{pair[0]}/{pair[1]}"


class LeaveOneOutPlan:
    """Which planes answer trials with each row left out alone; a plan as the family's other one is."""

    def __init__(self, space: Space, shape: Shape) -> None:
        self._shape = shape
        dims = dimensions({"n_neighbors": knn.DEFAULTS["n_neighbors"], **space})
        self._largest = max(int(k) for k in values_of(dims["n_neighbors"]) or ())

    def _plane(self, params: Params) -> knn.Plane:
        return knn.plane_of(params, 0, self._largest + 1)

    def answers_of(self, params: Params, epochs: int | None = None) -> tuple[str, ...]:
        """Return a trial's one answer."""
        return (_answer(self._plane(params), knn.pair_of(params)),)

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> list[LeaveOneOut]:
        """Return one unit for each plane that a missing answer lies in."""
        pairs: dict[knn.Plane, dict[Pair, None]] = {}
        for params in wanted:
            if missing.issuperset(self.answers_of(params)):
                pairs.setdefault(self._plane(params), {})[knn.pair_of(params)] = None
        n_rows = self._shape.n_rows
        n_queries = len(left_out_rows(np.arange(n_rows)))
        return [
            LeaveOneOut(plane, tuple(asked), knn.search_s(plane, n_rows, n_queries, self._shape, len(asked)))
            for plane, asked in pairs.items()
        ]
