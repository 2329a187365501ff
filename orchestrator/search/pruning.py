"""Which trials of a batch go on: pure functions of their scores at a rung."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["median", "successive_halving", "hyperband"]


@dataclass(frozen=True, slots=True)
class Bracket:
    """Trials of a batch that are judged together, by their offsets in it, and the rungs at which they are."""

    rungs: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pruning:
    """How the trials of a space are pruned.

    Attributes:
        kind: Who decides.
        rungs: The epochs at which trials are judged, ascending, all before their end.
        reduction_factor: One in so many goes on, where halving decides.
    """

    kind: Kind
    rungs: tuple[int, ...]
    reduction_factor: int

    def brackets(self, n_trials: int) -> list[Bracket]:
        """Deal a batch into brackets: one, or for Hyperband one that begins at each rung and one without any."""
        if self.kind != "hyperband":
            return [Bracket(self.rungs, tuple(range(n_trials)))]
        dealt = _dealt(n_trials, _shares(len(self.rungs), self.reduction_factor))
        everyone = [
            Bracket(self.rungs[first:], tuple(offset for offset, to in enumerate(dealt) if to == first))
            for first in range(len(self.rungs) + 1)
        ]
        return [bracket for bracket in everyone if bracket.offsets]

    def survivors(self, scores: Mapping[int, float], n_entered: int) -> list[int]:
        """Return the numbers of the trials that go on, ascending.

        Args:
            scores: The inner score of each trial that did not fail, by its number.
            n_entered: How many came to this rung, with those that failed at it.
        """
        if not scores:
            return []
        if self.kind == "median":
            middle = statistics.median(scores.values())
            return sorted(number for number, score in scores.items() if score >= middle)
        ranked = sorted(scores, key=lambda number: (-scores[number], number))
        return sorted(ranked[: max(1, n_entered // self.reduction_factor)])


def rungs(min_epochs: int, reduction_factor: int, max_epochs: int) -> tuple[int, ...]:
    """Return `min_epochs` and its multiples by powers of the factor, as far as they lie before `max_epochs`."""
    found = []
    while min_epochs < max_epochs:
        found.append(min_epochs)
        min_epochs *= reduction_factor
    return tuple(found)


def _shares(n_rungs: int, factor: int) -> tuple[int, ...]:
    """Return how many trials Hyperband gives to each of its brackets (Li et al. 2018, algorithm 1), widest first."""
    return tuple(math.ceil((n_rungs + 1) / (s + 1) * factor**s) for s in range(n_rungs, -1, -1))


@lru_cache(maxsize=8)
def _dealt(n_trials: int, shares: Sequence[int]) -> tuple[int, ...]:
    """Return the bracket of each trial, so that any first part of a batch is near the brackets' proportions."""
    given, dealt = [0] * len(shares), []
    for _ in range(n_trials):
        bracket = min(range(len(shares)), key=lambda b: ((given[b] + 1) / shares[b], b))
        given[bracket] += 1
        dealt.append(bracket)
    return tuple(dealt)
