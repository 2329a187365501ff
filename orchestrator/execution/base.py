"""The executor protocol, and what runs on a worker whatever the executor: compute a unit, return an outcome as data."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit, listening

Handle = Any
"""What an executor gives for a value that stays where it is: pass it on, never look inside."""

Device = Literal["cpu", "gpu"]

NOTE_EVERY_S = 1.0
"""How often a unit's notes leave its process at most, so that to tell them costs a unit nothing."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A unit that ended.

    Attributes:
        unit_id: Which one.
        outcome: Its output without the payload, or why it failed.
        payload: The handle of its payload, for units that need it.
    """

    unit_id: str
    outcome: UnitOutput | Failure
    payload: Handle = None


class Executor(Protocol):
    """Runs work units. It decides where and when, never what: results must not depend on it."""

    def share(self, value: object) -> Handle:
        """Make a value available to all workers; each node holds one copy."""

    def prewarm(self, engine: Engine) -> None:
        """Begin to set up processes for units of an engine, so that the first ones find them ready.

        Raises:
            JobError: The job's resources ask for what is not there.
        """

    def device(self, engine: Engine) -> Device:
        """Return where units of an engine compute: results of networks depend on it.

        Raises:
            JobError: As for `prewarm`.
        """

    def capacity(self, engine: Engine) -> int:
        """Return how many units of an engine to keep submitted so that no worker waits."""

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Start a unit.

        Args:
            unit: The unit.
            data: The handle of what it computes with.
            inputs: The payload handles of what it needs.
            is_limited: Whether the executor's time limit holds for it.
        """

    def completed(self, timeout_s: float) -> list[Completion]:
        """Return the units that have ended; wait up to `timeout_s` for the first."""

    def notes(self) -> Sequence[str]:
        """Return the last that running units told of how far they are: those few that were submitted first."""

    def fetch(self, handle: Handle) -> Any:
        """Return the value behind a handle."""

    def abandon(self) -> None:
        """Stop what has been submitted and not ended; it is never heard of again."""

    def close(self) -> None:
        """Abandon what runs and free what the executor holds."""


def set_up(engine: Engine) -> None:
    """Load what units of an engine compute with, in the process where they do; once a process."""
    if engine == "tensorflow":
        from orchestrator.families.tensorflow_setup import set_up_tensorflow

        set_up_tensorflow()


def run_unit(
    unit: WorkUnit,
    data: Any,
    inputs: Sequence[Any],
    timeout_s: float | None,
    report: Callable[[str], None] | None = None,
) -> UnitOutput | Failure:
    """Compute a unit here and now; whatever it raises becomes a `Failure`.

    A unit over its time becomes one too, though its thread cannot be stopped and computes on: see `overran`.

    Args:
        unit: The unit.
        data: What it computes with.
        inputs: The payloads of what it needs.
        timeout_s: How long it may compute; to load what it computes with is not counted.
        report: Told what the unit notes.
    """
    try:
        set_up(unit.engine)
    except Exception as error:  # noqa: BLE001  the border: outcome is data from here on
        return Failure.of(error)
    if timeout_s is None:
        return _caught(unit, data, inputs, report)
    results: list[UnitOutput | Failure] = []
    thread = threading.Thread(target=lambda: results.append(_caught(unit, data, inputs, report)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return results[0] if results else timed_out(timeout_s)


def timed_out(timeout_s: float) -> Failure:
    """Return the outcome of a unit over its time."""
    return Failure("timeout", f"over {timeout_s:g} s (resources.trial_timeout_s)")


def overran(outcome: UnitOutput | Failure) -> bool:
    """Tell whether `run_unit` left a thread behind, so that its process should be replaced."""
    return isinstance(outcome, Failure) and outcome.code == "timeout"


def sparing(report: Callable[[str], None]) -> Callable[[str], None]:
    """Return `report` for units that note more than anybody reads: what comes too soon after the last is left out."""
    said_at = -math.inf

    def said(text: str) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= NOTE_EVERY_S:
            said_at = time.monotonic()
            report(text)

    return said


def _caught(
    unit: WorkUnit, data: Any, inputs: Sequence[Any], report: Callable[[str], None] | None
) -> UnitOutput | Failure:
    try:
        with listening(report):
            return unit.compute(data, inputs)
    except Exception as error:  # noqa: BLE001  the border: outcome is data from here on
        return Failure.of(error)
