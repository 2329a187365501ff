"""The results of a search in the order of their trials' numbers, and their order by score, at little cost for many."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from orchestrator.search.trial import Result

STATES = ("completed", "pruned", "failed")
"""From the one that a sampler learns most from."""


class History(Sequence[Result]):
    """Results by number. To add one costs next to nothing, and to order all of them milliseconds.

    Args:
        results: What it begins with.
    """

    def __init__(self, results: Iterable[Result] = ()) -> None:
        self._numbers: list[int] = []
        self._results: list[Result] = []
        self._states: list[int] = []
        self._scores: list[float] = []
        self.has_notes = False
        """Whether a sampler left something on any of the trials."""
        for result in results:
            self.add(result)

    def add(self, result: Result) -> None:
        """Put a result in its place."""
        number = result.trial.number
        at = (
            len(self._numbers)
            if not self._numbers or number > self._numbers[-1]
            else bisect_left(self._numbers, number)
        )
        self._numbers.insert(at, number)
        self._results.insert(at, result)
        self._states.insert(at, STATES.index(result.state))
        self._scores.insert(at, result.score or 0.0)
        self.has_notes = self.has_notes or bool(result.trial.notes)

    def by_score(self) -> npt.NDArray[np.intp]:
        """Return places from the best result to the worst: completed, pruned, failed; equal ones by their numbers."""
        return np.lexsort((-np.array(self._scores), np.array(self._states)))

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Result]: ...
    def __getitem__(self, place: int | slice) -> Result | Sequence[Result]:
        return self._results[place]

    def __len__(self) -> int:
        return len(self._results)
