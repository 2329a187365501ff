"""The executor that computes here, one unit at a time: for debugging, tests and tiny jobs.

Units of scikit-learn compute in this process; those of TensorFlow, which must find their environment before they load
it, in one process beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.execution.base import Completion, Device, Handle, run_unit
from orchestrator.execution.environment import n_gpus_here, tensorflow_environment, uses_gpu
from orchestrator.execution.process import WorkerProcess
from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit
from orchestrator.job import Resources


@dataclass(frozen=True, slots=True)
class _Submitted:
    unit: WorkUnit
    data: Handle
    inputs: Sequence[Handle]
    limit_s: float | None


class InlineExecutor:
    """Compute each unit when its completion is asked for, in the order of submission."""

    def __init__(self, resources: Resources | None = None) -> None:
        self._resources = resources or Resources()
        self._waiting: deque[_Submitted] = deque()
        self._worker: WorkerProcess | None = None

    def share(self, value: object) -> Handle:
        """Return the value itself."""
        return value

    def prewarm(self, engine: Engine) -> None:
        """Start the process of TensorFlow."""
        if engine == "tensorflow":
            self._process().prepare(engine)

    def _process(self) -> WorkerProcess:
        if self._worker is None:
            has_gpu = self.device("tensorflow") == "gpu"
            self._worker = WorkerProcess(tensorflow_environment(self._resources, has_gpu=has_gpu))
        return self._worker

    def device(self, engine: Engine) -> Device:
        """Return a GPU for networks, if this machine has one and the job's resources do not ask for the CPU."""
        if engine == "sklearn":
            return "cpu"
        return "gpu" if uses_gpu(self._resources, n_gpus_here() > 0, "this machine") else "cpu"

    def capacity(self, engine: Engine) -> int:
        """Return 1: a second unit would only wait."""
        return 1

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Remember the unit."""
        limit_s = self._resources.trial_timeout_s if is_limited else None
        self._waiting.append(_Submitted(unit, data, inputs, limit_s))

    def completed(self, timeout_s: float) -> list[Completion]:
        """Compute the unit submitted first; one in another process is waited for no longer than asked."""
        if not self._waiting:
            return []
        outcome = self._outcome(self._waiting[0], timeout_s)
        if outcome is None:
            return []
        unit_id = self._waiting.popleft().unit.id
        if isinstance(outcome, Failure):
            return [Completion(unit_id, outcome)]
        return [Completion(unit_id, replace(outcome, payload=None), outcome.payload)]

    def _outcome(self, first: _Submitted, timeout_s: float) -> UnitOutput | Failure | None:
        if first.unit.engine == "sklearn":
            return run_unit(first.unit, first.data, first.inputs, first.limit_s)
        worker = self._process()
        if not worker.is_computing:
            try:
                worker.start(first.unit, first.data, first.inputs, first.limit_s)
            except Exception as error:  # noqa: BLE001  what cannot be sent is an outcome too
                return Failure.of(error)
        return worker.wait(timeout_s)

    def notes(self) -> Sequence[str]:
        """Return what the unit in the other process told last."""
        note = self._worker.note if self._worker else None
        return [] if note is None else [note]

    def fetch(self, handle: Handle) -> Any:
        """Return the value, which the handle is."""
        return handle

    def abandon(self) -> None:
        """Forget what waits, and end what computes in the other process."""
        self._waiting.clear()
        if self._worker is not None:
            self._worker.abandon()

    def close(self) -> None:
        """Forget what waits, and end the other process."""
        self.abandon()
        if self._worker is not None:
            self._worker.stop()
