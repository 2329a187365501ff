"""From trials to work units: what is asked for once, what runs next, what a finished unit sets free. Runs nothing."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.execution.base import Handle
from orchestrator.families.base import Answer, Failure, Plan, WorkUnit
from orchestrator.space import Params

Outcome = Answer | Failure


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
    before them those whose needs have just been met, so that payloads do not pile up.
    """

    def __init__(self, answers: dict[str, Outcome]) -> None:
        self.answers = answers
        self._on_the_way: set[str] = set()
        self._ready: list[tuple[float, int, WorkUnit, list[Handle]]] = []
        self._order = itertools.count()
        self._waiting: dict[str, _Waiting] = {}
        self._needed_by: dict[str, list[str]] = {}
        self._submitted: dict[str, WorkUnit] = {}

    @property
    def n_ready(self) -> int:
        """How many units could start now."""
        return len(self._ready)

    @property
    def n_submitted(self) -> int:
        """How many units have started and not ended."""
        return len(self._submitted)

    def want(self, plan: Plan, wanted: Sequence[tuple[Params, Sequence[str]]]) -> None:
        """Ask for the answers of trials, given as their params and the names of their answers."""
        missing = frozenset(
            name for _, names in wanted for name in names if name not in self.answers and name not in self._on_the_way
        )
        if not missing:
            return
        for unit in plan.units_for([params for params, _ in wanted], missing):
            self._on_the_way.update(unit.answers)
            self._add(unit)

    def _add(self, unit: WorkUnit, cost: float | None = None) -> None:
        if not unit.needs:
            self._push(-(unit.cost if cost is None else cost), unit, [])
            return
        together = sum(need.cost for need in unit.needs)  # one rank for all, so that they run one after another
        self._waiting[unit.id] = _Waiting(unit, {need.id for need in unit.needs})
        for need in unit.needs:
            if need.id not in self._needed_by:
                self._needed_by[need.id] = []
                self._add(need, together)
            self._needed_by[need.id].append(unit.id)

    def _push(self, rank: float, unit: WorkUnit, inputs: list[Handle]) -> None:
        heapq.heappush(self._ready, (rank, next(self._order), unit, inputs))

    def next_ready(self) -> tuple[WorkUnit, list[Handle]]:
        """Take the unit to start next, with the payloads that it needs."""
        _, _, unit, inputs = heapq.heappop(self._ready)
        self._submitted[unit.id] = unit
        return unit, inputs

    def finish(self, unit_id: str, answers: Mapping[str, Answer] | Failure, payload: Handle) -> list[WorkUnit]:
        """Take in a unit's outcome.

        Returns:
            The units whose answers are now known: this one, or those that can never run because it failed.
        """
        unit = self._submitted.pop(unit_id)
        dependants = [self._waiting[name] for name in self._needed_by.pop(unit_id, []) if name in self._waiting]
        if isinstance(answers, Failure):
            ended = [unit, *(waiting.unit for waiting in dependants)]
            for one in ended:
                self._waiting.pop(one.id, None)
                self._learn(dict.fromkeys(one.answers, answers))
            return [one for one in ended if one.answers]
        self._learn(answers)
        for waiting in dependants:
            waiting.payloads[unit_id] = payload
            waiting.missing.discard(unit_id)
            if not waiting.missing:
                del self._waiting[waiting.unit.id]
                self._push(-math.inf, waiting.unit, [waiting.payloads[need.id] for need in waiting.unit.needs])
        return [unit] if unit.answers else []

    def _learn(self, answers: Mapping[str, Outcome]) -> None:
        for name, answer in answers.items():
            self._on_the_way.discard(name)
            self.answers.setdefault(name, answer)
