"""Boards whose truth is known: trials that hit each row with a probability of their own, and what they predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.results.statistics import Candidate, Statistics, assess, metrics

Array = npt.NDArray[Any]
N_FOLDS = 5


@dataclass(frozen=True)
class Board:
    """A board, best first, with what it was made of."""

    metric: str
    truth: Array
    fold: Array
    candidates: tuple[Candidate, ...]
    predictions: Callable[[str], Array]

    def assess(self, **options: Any) -> Statistics:
        task = "classification" if self.truth.dtype.kind == "i" else "regression"
        return assess(self.metric, task, self.truth, self.fold, self.candidates, self.predictions, **options)


def board_of(metric: str, truth: Array, predictions: Sequence[Array], fold: Array | None = None) -> Board:
    """Return the board of trials "0", "1", … by their mean score over folds."""
    fold = np.arange(len(truth)) % N_FOLDS if fold is None else fold
    folds = [fold == one for one in np.unique(fold[fold >= 0])]
    scores = [float(np.mean([metrics.score(metric, truth[f], p[f]) for f in folds])) for p in predictions]
    order = sorted(range(len(predictions)), key=lambda i: (-round(scores[i], 12), i))
    return Board(
        metric,
        truth,
        fold,
        tuple(Candidate(str(i), scores[i], (float(i),)) for i in order),
        lambda name: predictions[int(name)],
    )


def labels(truth: Array, chance_right: float, generator: np.random.Generator, n_classes: int = 2) -> Array:
    """Return predictions of which each is right with a chance, and any other class else."""
    other = (truth + generator.integers(1, n_classes, len(truth))) % n_classes
    return np.where(generator.random(len(truth)) < chance_right, truth, other)


def trials(n_rows: int, chances: Sequence[float], seed: int, shared: float = 0.0) -> Board:
    """Return a board by accuracy of independent trials; a share of the rows is answered by all of them alike."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, n_rows)
    alike = generator.random(n_rows) < shared
    common = labels(truth, float(np.mean(chances)), generator)
    return board_of("accuracy", truth, [np.where(alike, common, labels(truth, c, generator)) for c in chances])
