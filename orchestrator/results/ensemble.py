"""A greedy ensemble of trials, from what they said out of fold; nothing is trained again.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004: begin with nothing,
and add, again and again, the trial that makes the average score best; a trial may come in several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.results.statistics import metrics

Array = npt.NDArray[Any]
MOST_MEMBERS = 50
"""Trials that are tried, from the top of the board."""
N_PARTS = 5
"""Parts of the scored rows for the estimate, where there is one fold alone."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What was chosen, and what it is worth.

    Attributes:
        weights: How often each trial was chosen, over all scored rows.
        scores: Its score on each fold, by an ensemble that was chosen on the other folds.
        said: What those ensembles said, rows in order, as the metric asks for it; rows of fold -1 are 0.
    """

    weights: Mapping[str, int]
    scores: Sequence[float]
    said: Array


def ensemble(
    metric: str,
    truth: Array,
    fold: Array,
    predictions: Mapping[str, Array],
    size: int,
    n_classes: int,
    seed: int,
    blocks: Array | None = None,
) -> Ensemble | None:
    """Choose an ensemble, and estimate it on rows that it was not chosen by.

    Args:
        metric: A scorer's name.
        truth: Class codes or numbers, shape (rows,).
        fold: The fold that scores each row, -1 for none, shape (rows,).
        predictions: By trial, best first: class codes or numbers (rows,), or probabilities (rows, classes).
        size: How many choices are made, repetitions counted.
        n_classes: How many classes there are; 0 for regression.
        seed: What decides the parts where there is one fold alone.
        blocks: The block of each row, shape (rows,), where rows depend on others, or are there several times: those of
            a block that a fold scores have no say in what is chosen for it.

    Returns:
        The ensemble; None where the metric has no value on some fold.
    """
    names = list(predictions)[:MOST_MEMBERS]
    votes = [_votes(predictions[name], n_classes) for name in names]
    is_label = bool(n_classes) and next(iter(predictions.values())).ndim == 1
    part = _parts(fold, seed)
    said = np.zeros_like(_answer(votes[0], is_label=is_label))
    scores = []
    for one in range(int(part.max()) + 1):
        rows = part == one
        others = (part >= 0) & ~(rows if blocks is None else np.isin(blocks, blocks[rows]))
        chosen = _greedy(metric, truth[others], [vote[others] for vote in votes], size, is_label=is_label)
        said[rows] = _answer(sum(votes[i][rows] * n for i, n in chosen.items()) / size, is_label=is_label)
        scores.append(metrics.score(metric, truth[rows], said[rows]))
    if not np.isfinite(scores).all():
        return None
    scored = part >= 0
    chosen = _greedy(metric, truth[scored], [vote[scored] for vote in votes], size, is_label=is_label)
    return Ensemble({names[i]: n for i, n in sorted(chosen.items())}, scores, said)


def _parts(fold: Array, seed: int) -> Array:
    if fold.max() > 0:
        return fold
    part = np.full(len(fold), -1)
    rows = np.flatnonzero(fold >= 0)
    part[np.random.default_rng(seed).permutation(rows)] = np.arange(len(rows)) % N_PARTS
    return part


def _votes(said: Array, n_classes: int) -> Array:
    """Return what can be averaged: probabilities, numbers, or one vote a row for a class."""
    if n_classes and said.ndim == 1:
        return np.eye(n_classes, dtype=np.float32)[said]
    return said.astype(np.float64)


def _answer(average: Any, *, is_label: bool) -> Array:
    answer: Array = np.asarray(average.argmax(axis=1) if is_label else average)
    return answer


def _greedy(metric: str, truth: Array, votes: Sequence[Array], size: int, *, is_label: bool) -> Counter[int]:
    """Return how often each member is chosen; of equally good ones the first is."""
    total = np.zeros_like(votes[0])
    chosen: Counter[int] = Counter()
    for n in range(1, size + 1):
        scores = [metrics.score(metric, truth, _answer((total + vote) / n, is_label=is_label)) for vote in votes]
        best = int(np.argmax(np.round(np.nan_to_num(scores, nan=-np.inf), 12)))
        chosen[best] += 1
        total = total + votes[best]
    return chosen
