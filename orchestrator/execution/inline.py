"""The executor that computes in this process, one unit at a time: for debugging, tests and tiny jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from orchestrator.execution.base import Completion, Handle, run_unit
from orchestrator.families.base import Failure, UnitOutput, WorkUnit


class InlineExecutor:
    """Compute each unit when its completion is asked for, in the order of submission."""

    def __init__(self, unit_timeout_s: float | None = None) -> None:
        self._unit_timeout_s = unit_timeout_s
        self._waiting: deque[tuple[WorkUnit, Handle, Sequence[Handle], float | None]] = deque()

    def share(self, value: object) -> Handle:
        """Return the value itself."""
        return value

    def capacity(self) -> int:
        """Return 1: a second unit would only wait."""
        return 1

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Remember the unit."""
        self._waiting.append((unit, data, inputs, self._unit_timeout_s if is_limited else None))

    def completed(self, timeout_s: float) -> list[Completion]:
        """Compute the unit submitted first."""
        if not self._waiting:
            return []
        unit, data, inputs, limit_s = self._waiting.popleft()
        outcome = run_unit(unit, data, inputs, limit_s)
        if isinstance(outcome, Failure):
            return [Completion(unit.id, outcome)]
        return [Completion(unit.id, UnitOutput(outcome.answers), outcome.payload)]

    def fetch(self, handle: Handle) -> Any:
        """Return the value, which the handle is."""
        return handle

    def abandon(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def close(self) -> None:
        """Forget what waits."""
        self.abandon()
