"""One search as it goes: its trials, their results, and what is proposed next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.families.base import Family, Plan
from orchestrator.ledger import BatchProposed
from orchestrator.search.history import History
from orchestrator.search.pruning import Pruning
from orchestrator.search.trial import Proposal, Result, Trial
from orchestrator.space import Params, Space, grid, key_of, size

if TYPE_CHECKING:
    from orchestrator.search.study import Proposer  # Optuna, which a grid can do without

OPEN_TRIALS = 1024
"""Trials that a search without barriers keeps asked for ahead of their results; more where more units run at once."""
EMPTY_BATCHES = 20
"""After so many batches of nothing but duplicates a sampler is taken to have no more to say."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A search's space from some trial on.

    Attributes:
        space: The space.
        plan: The family's plan for it.
        proposer: Who proposes; None for a grid.
        pruning: How trials are pruned; None where all of them run to their end.
    """

    space: Space
    plan: Plan
    proposer: Proposer | None
    pruning: Pruning | None = None


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """What a search's proposals follow from, beside its generations.

    Attributes:
        name: What the leaderboard calls it.
        family: The model family.
        limit: The most trials; infinite for none.
        batch_size: Proposals a batch.
        looks_back: Whether proposals follow from earlier results.
        is_async: Whether they follow from whatever is known, without waiting for whole batches.
        enqueue: What is tried first.
        minimised: What is kept small beside the score, of a completed trial; None where the score is all.
    """

    name: str
    family: Family
    limit: float
    batch_size: int
    looks_back: bool
    is_async: bool = False
    enqueue: tuple[Params, ...] = ()
    minimised: Callable[[Result], float] | None = None


class SearchState:
    """A search's trials and results. Pure bookkeeping: the loop feeds it and the ledger keeps what it proposed."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.generations: list[Generation] = []
        self.trials: list[Trial] = []
        self.results: dict[int, Result] = {}
        self._history = History()
        self.n_active = 0
        self.n_failed = 0
        self.n_pruned = 0
        self.best: Result | None = None
        self._next_batch = 0
        self._seen: set[object] = set()
        self._grid: Iterator[Params] | None = None
        self._size: int | None = None
        self._exhausted = False

    @property
    def n_open(self) -> int:
        """How many trials are asked for and not answered."""
        return self.n_active - len(self.results)

    @property
    def n_expected(self) -> float:
        """How many trials it will have; infinite where only time ends it."""
        if self._exhausted:
            return min(self.spec.limit, len(self.trials))
        return min(self.spec.limit, self._size if self._size is not None else math.inf)

    def begin(self, generation: Generation, first: int) -> None:
        """Start a generation; trials from number `first` on, proposed but never asked for, are dropped."""
        self.generations.append(generation)
        self._next_batch, self._grid, self._exhausted = 0, None, False
        del self.trials[first:]
        self._seen = {key_of(trial.params) for trial in self.trials}
        self._size = size(generation.space, self.spec.family.conditions)

    def remember(self, batch: BatchProposed) -> None:
        """Take in a batch: one that was just proposed, or one from the ledger."""
        self._next_batch = batch.batch + 1
        for offset, params in enumerate(batch.proposals):
            notes = batch.notes[offset] if batch.notes else None
            number = batch.first + offset
            self.trials.append(Trial(batch.search, number, params, batch.generation, batch.batch, notes))
            self._seen.add(key_of(params))

    def activate(self) -> list[Trial]:
        """Return the trials to ask for now: proposed, within the limit, and not asked for before."""
        stop = int(min(self.spec.limit, len(self.trials)))
        fresh = self.trials[self.n_active : stop]
        self.n_active = max(self.n_active, stop)
        return fresh

    def take(self, result: Result) -> None:
        """Take in a trial's result."""
        self.results[result.trial.number] = result
        if self.spec.looks_back:
            self._history.add(result)
        self.n_failed += result.state == "failed"
        self.n_pruned += result.state == "pruned"
        if result.state != "completed":
            return
        best = -math.inf if self.best is None or self.best.score is None else self.best.score
        if result.score is not None and result.score > best:
            self.best = result

    def may_propose(self, n_slots: int) -> bool:
        """Tell whether the next batch may be proposed now, with room for `n_slots` units at once."""
        if self._exhausted or len(self.trials) >= self.spec.limit:
            return False
        if self.spec.is_async:
            return self.n_open < n_slots
        return self.n_open == 0 if self.spec.looks_back else self.n_open < max(OPEN_TRIALS, n_slots)

    def propose(self) -> BatchProposed | None:
        """Return the next batch of distinct new trials, already remembered, or None where there are no more."""
        generation = len(self.generations) - 1
        for number in itertools.count(self._next_batch):
            is_grid = self.generations[-1].proposer is None
            gives_up = not is_grid and number - self._next_batch >= EMPTY_BATCHES
            proposals = [] if gives_up or self._has_seen_all else self._ask(number)
            if not proposals:
                self._exhausted = True
                return None
            fresh: dict[object, Proposal] = {}
            for proposal in proposals:
                key = key_of(proposal.params)
                if key not in self._seen:
                    fresh.setdefault(key, proposal)
            if fresh:
                chosen = list(fresh.values())
                notes = [dict(p.notes) if p.notes else None for p in chosen] if any(p.notes for p in chosen) else None
                params = [p.params for p in chosen]
                batch = BatchProposed(self.spec.name, generation, number, len(self.trials), params, notes)
                self.remember(batch)
                return batch
        raise AssertionError("itertools.count has no end")

    @property
    def _has_seen_all(self) -> bool:
        return self._size is not None and len(self._seen) >= self._size

    def _ask(self, number: int) -> list[Proposal]:
        generation, n_proposals = self.generations[-1], self.spec.batch_size
        if generation.proposer is not None:
            first = self.spec.enqueue if number == 0 and len(self.generations) == 1 else ()
            if first:
                more = generation.proposer.propose(number, max(1, n_proposals - len(first)), self._history)
                return [*(Proposal(params) for params in first), *more]
            return generation.proposer.propose(number, n_proposals, self._history)
        if self._grid is None:
            points = grid(generation.space, self.spec.family.conditions)
            self._grid = itertools.islice(points, number * n_proposals, None)
        return [Proposal(params) for params in itertools.islice(self._grid, n_proposals)]

    def settled(self) -> list[Result]:
        """Return the results of the longest prefix of whole batches, in the order of their numbers."""
        prefix: list[Result] = []
        active = self.trials[: self.n_active]
        for _, batch in itertools.groupby(active, key=lambda trial: (trial.generation, trial.batch)):
            found = [self.results.get(trial.number) for trial in batch]
            if any(result is None for result in found):
                break
            prefix += [result for result in found if result is not None]
        return prefix


def allocate(total: int | None, wanted: Sequence[float]) -> list[float]:
    """Share a budget of trials among searches: evenly, and what one does not want goes to the others.

    Args:
        total: The budget, or None for no bound.
        wanted: How many trials each search would make; may be infinite.
    """
    if total is None:
        return list(wanted)
    shares, left = [0.0] * len(wanted), float(total)
    while left > 0 and (hungry := [i for i, want in enumerate(wanted) if shares[i] < want]):
        each = max(1.0, left // len(hungry))
        for i in hungry:
            given = min(each, left, wanted[i] - shares[i])
            shares[i] += given
            left -= given
    return shares
