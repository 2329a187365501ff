"""From trials to work units: what is asked for once, what runs next, what a finished unit sets free. Runs nothing."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.execution.base import Handle
from orchestrator.families.base import Answer, Engine, Failure, Plan, WorkUnit
from orchestrator.space import Params

Outcome = Answer | Failure
Given = Mapping[str, Outcome] | Failure
"""What a unit gave: its answers by name, or why it gave none."""
_LOST = "worker_lost"
MOST_PREPARED = 64
"""Payloads of preparations at hand; the least recently used goes first, and is computed again if it is needed."""


@dataclass(slots=True)
class _Waiting:
    """A unit whose needs are not all met yet, with the payloads that have come."""

    unit: WorkUnit
    missing: set[str]
    payloads: dict[str, Handle] = field(default_factory=dict)


class WorkPlan:
    """The work that trials share.

    Answers are known by name. A wanted answer that is neither known nor on its way brings a unit; a unit that needs
    others waits for their payloads. Units that can start leave in the order of their cost, costly ones first, and
    before them those whose needs have just been met, so that payloads do not pile up. Each engine has an order of its
    own, since its workers may be machines that no other engine's units go to.

    Payloads of units that keep them stay at hand: of preparations, which give no answers, the last MOST_PREPARED; of a
    rung until its group is released. A rung's unit that failed, was split or has been released leaves nothing to go on
    from: who needs it gets None, and begins at the beginning, so that a lost payload costs time and no trial.
    """

    def __init__(self, answers: dict[str, Outcome]) -> None:
        self.answers = answers
        self._on_the_way: set[str] = set()
        self._under_way: set[str] = set()
        self._ready: dict[Engine, list[tuple[float, int, WorkUnit, list[Handle]]]] = {}
        self._order = itertools.count()
        self._waiting: dict[str, _Waiting] = {}
        self._needed_by: dict[str, list[str]] = {}
        self._submitted: dict[str, tuple[WorkUnit, list[Handle]]] = {}
        self._n_submitted: Counter[Engine] = Counter()
        self._kept: dict[str, Handle] = {}
        self._prepared: OrderedDict[str, None] = OrderedDict()
        self._group_of: dict[str, Hashable] = {}
        self._groups: dict[Hashable, list[str]] = {}
        self._tried_again: set[str] = set()

    @property
    def engines(self) -> list[Engine]:
        """The engines of the units that could start now, in a fixed order."""
        return sorted(engine for engine, ready in self._ready.items() if ready)

    def n_ready(self, engine: Engine) -> int:
        """Return how many units of an engine could start now."""
        return len(self._ready.get(engine, ()))

    @property
    def n_submitted(self) -> int:
        """How many units have started and not ended."""
        return len(self._submitted)

    def n_submitted_of(self, engine: Engine) -> int:
        """Return how many units of an engine have started and not ended."""
        return self._n_submitted[engine]

    @property
    def n_kept(self) -> int:
        """How many payloads are kept for units that may come."""
        return len(self._kept)

    def want(
        self,
        plan: Plan,
        wanted: Sequence[tuple[Params, Sequence[str]]],
        epochs: int | None = None,
        group: Hashable = None,
    ) -> None:
        """Ask for the answers of trials.

        Args:
            plan: The plan of their space.
            wanted: Their params, each with the names of its answers.
            epochs: The rung of these answers; None for the end.
            group: Under what the payloads of the rung are released.
        """
        missing = frozenset(
            name for _, names in wanted for name in names if name not in self.answers and name not in self._on_the_way
        )
        if not missing:
            return
        for unit in plan.units_for([params for params, _ in wanted], missing, epochs):
            self._on_the_way.update(unit.answers)
            if unit.keeps_payload and unit.answers:
                self._group_of[unit.id] = group
                self._groups.setdefault(group, []).append(unit.id)
            self._add(unit)

    def release(self, group: Hashable) -> None:
        """Let go of the payloads of a rung; units that were planned with them hold on to them until they end."""
        for unit_id in self._groups.pop(group, ()):
            self._group_of.pop(unit_id, None)
            self._kept.pop(unit_id, None)

    def _add(self, unit: WorkUnit, cost: float | None = None, known: Mapping[str, Handle] | None = None) -> None:
        """Let a unit run once its needs are met, or now; `known` are payloads that it has already."""
        self._under_way.add(unit.id)
        waiting = _Waiting(unit, set(), dict(known or {}))
        together = sum(need.cost for need in unit.needs)  # one rank for all, so that they run one after another
        for need in unit.needs:
            if need.id in waiting.payloads:
                continue
            if need.id in self._kept:
                waiting.payloads[need.id] = self._kept[need.id]
                if need.id in self._prepared:
                    self._prepared.move_to_end(need.id)
            elif need.id not in self._under_way and self._has_no_payload(need):
                waiting.payloads[need.id] = None
            else:
                waiting.missing.add(need.id)
                self._needed_by.setdefault(need.id, []).append(unit.id)
                if need.id not in self._under_way:
                    self._add(need, together + (unit.cost if need.keeps_payload else 0.0))
        if waiting.missing:
            self._waiting[unit.id] = waiting
        else:
            self._push(-(unit.cost if cost is None else cost), waiting)

    def _has_no_payload(self, need: WorkUnit) -> bool:
        return _is_rung(need) and all(name in self.answers or name in self._on_the_way for name in need.answers)

    def _push(self, rank: float, met: _Waiting) -> None:
        inputs = [met.payloads[need.id] for need in met.unit.needs]
        ready = self._ready.setdefault(met.unit.engine, [])
        heapq.heappush(ready, (rank, next(self._order), met.unit, inputs))

    def next_ready(self, engine: Engine) -> tuple[WorkUnit, list[Handle]]:
        """Take the unit of an engine to start next, with the payloads that it needs."""
        _, _, unit, inputs = heapq.heappop(self._ready[engine])
        self._submitted[unit.id] = unit, inputs
        self._n_submitted[engine] += 1
        return unit, inputs

    def finish(self, unit_id: str, given: Given, payload: Handle) -> list[tuple[WorkUnit, Given]]:
        """Take in what a unit gave.

        Returns:
            The units whose answers are now known, with what they gave: this one, or those that can never run because it
            failed. None where it runs again, in halves or without a payload that was lost.
        """
        unit, inputs = self._submitted.pop(unit_id)
        self._n_submitted[unit.engine] -= 1
        self._under_way.discard(unit_id)
        if isinstance(given, Failure):
            if self._runs_otherwise(unit, inputs, given):
                return []
            return [(one, given) for one in self._failed(unit, given) if one.answers]
        missing = Failure("no_answer", "the work unit gave no answer for it")
        answers = {**{name: missing for name in unit.answers if name not in given}, **given}
        self._learn(answers)
        if unit.keeps_payload and (not unit.answers or unit_id in self._group_of):
            self._kept[unit_id] = payload
            if not unit.answers:
                self._prepared[unit_id] = None
                if len(self._prepared) > MOST_PREPARED:
                    self._kept.pop(self._prepared.popitem(last=False)[0], None)
        self._hand_on(unit, payload)
        return [(unit, answers)] if unit.answers else []

    def _hand_on(self, unit: WorkUnit, payload: Handle) -> None:
        for waiting in self._dependants(unit):
            waiting.payloads[unit.id] = payload
            waiting.missing.discard(unit.id)
            if not waiting.missing:
                one = self._waiting.pop(waiting.unit.id).unit
                # What keeps its payload holds the memory anyway, and those that share it go by their cost.
                piles_up = any(not need.keeps_payload for need in one.needs)
                self._push(-math.inf if piles_up else -one.cost, waiting)

    def _dependants(self, unit: WorkUnit) -> list[_Waiting]:
        return [self._waiting[name] for name in self._needed_by.pop(unit.id, []) if name in self._waiting]

    def _runs_otherwise(self, unit: WorkUnit, inputs: Sequence[Handle], failure: Failure) -> bool:
        """Plan a failed unit once more where kept payloads may have been lost, else in halves.

        Whatever became of it, one of its trials may be to blame: it fails once it is alone, and none of the others.
        """
        known = {need.id: handle for need, handle in zip(unit.needs, inputs, strict=True)}
        lost = [need for need in unit.needs if need.keeps_payload and known[need.id] is not None]
        if failure.code == _LOST and lost and unit.id not in self._tried_again:
            self._tried_again.add(unit.id)
            for need in lost:
                self._kept.pop(need.id, None)
                del known[need.id]
            self._add(unit, known=known)
            return True
        halves = unit.halves() if unit.answers else ()
        for half in halves:
            self._add(half, known={need.id: known[need.id] for need in half.needs if need.id in known})
        if halves:
            self._hand_on(unit, None)
        return bool(halves)

    def _failed(self, unit: WorkUnit, failure: Failure) -> list[WorkUnit]:
        """Return a unit that failed and those that can never run without it."""
        self._under_way.discard(unit.id)
        self._learn(dict.fromkeys(unit.answers, failure))
        if _is_rung(unit):
            self._hand_on(unit, None)
            return [unit]
        ended = [unit]
        for waiting in self._dependants(unit):
            if self._waiting.pop(waiting.unit.id, None):
                ended += self._failed(waiting.unit, failure)
        return ended

    def _learn(self, answers: Mapping[str, Outcome]) -> None:
        for name, answer in answers.items():
            self._on_the_way.discard(name)
            self.answers.setdefault(name, answer)


def _is_rung(unit: WorkUnit) -> bool:
    """Tell a rung's unit, which only carries on what others could begin anew, from a preparation."""
    return unit.keeps_payload and bool(unit.answers)
