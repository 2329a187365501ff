"""The executor on Ray core tasks. The only file that knows Ray."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

# Before the import: Ray reads these when it loads.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_task_oom_retries", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # 15 is Ray's default: beside other work, a search took twice as long

import ray
import ray._private.worker
import ray.exceptions

from orchestrator.errors import Interrupted, RunError
from orchestrator.execution.address import cluster_address
from orchestrator.execution.base import Completion, Handle, overran, run_unit
from orchestrator.families.base import Failure, UnitOutput, WorkUnit

RETRIES_OF_LOST_WORKERS = 10
UNITS_AHEAD = 4
"""How many units wait at a worker beside the one it computes, so that small ones leave it no pause."""
RECOUNT_S = 5.0
"""How often the cluster is asked how many CPUs it has."""
LINGER_S = 2.0
"""How long a process lives on after a unit overran in it: time for the outcome to leave."""

_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskUnschedulableError,
)


def _execute(unit: WorkUnit, data: Any, timeout_s: float | None, *inputs: Any) -> tuple[UnitOutput | Failure, Any]:
    outcome = run_unit(unit, data, inputs, timeout_s)
    if overran(outcome):
        threading.Timer(LINGER_S, os._exit, (0,)).start()  # the thread that overran ends with its process
    if isinstance(outcome, Failure):
        return outcome, None
    return UnitOutput(outcome.answers), outcome.payload


class RayExecutor:
    """Send each unit to Ray as a task of one CPU.

    It joins the Ray that this process is already connected to, else the cluster at `address` or `RAY_ADDRESS`, else it
    starts Ray on this machine; what it started it also stops.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        n_cpus: int | None = None,
        max_concurrent: int | None = None,
        unit_timeout_s: float | None = None,
    ) -> None:
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            _connect(address, n_cpus)
            _quiet(True)
        self._max_concurrent = max_concurrent
        self._unit_timeout_s = unit_timeout_s
        self._n_cpus = 1
        self._counted_until = 0.0
        task = ray.remote(num_cpus=1, num_returns=2, max_retries=RETRIES_OF_LOST_WORKERS)(_execute)
        self._task = task.options(name="orchestrator.unit", enable_task_events=False)
        self._running: dict[ray.ObjectRef, tuple[str, ray.ObjectRef]] = {}

    def share(self, value: object) -> Handle:
        """Put a value into the object store."""
        return ray.put(value)

    def capacity(self) -> int:
        """Return how many units to keep submitted: what the cluster's CPUs compute, and some that wait."""
        if self._max_concurrent is not None:
            return self._max_concurrent
        if time.monotonic() > self._counted_until:
            self._counted_until = time.monotonic() + RECOUNT_S
            self._n_cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return self._n_cpus * (1 + UNITS_AHEAD)

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Start a unit as a task."""
        outcome, payload = self._task.remote(unit, data, self._unit_timeout_s if is_limited else None, *inputs)
        self._running[outcome] = (unit.id, payload)

    def completed(self, timeout_s: float) -> list[Completion]:
        """Return the units whose tasks have ended."""
        running = list(self._running)
        if not running:
            return []
        ready, _ = ray.wait(running, num_returns=1, timeout=timeout_s)
        if ready and len(running) > 1:
            ready, _ = ray.wait(running, num_returns=len(running), timeout=0)
        return [self._completion(ref) for ref in ready]

    def _completion(self, ref: ray.ObjectRef) -> Completion:
        unit_id, payload = self._running.pop(ref)
        try:
            outcome = ray.get(ref)
        except ray.exceptions.OutOfMemoryError:
            outcome = Failure("out_of_memory", "the worker was ended because its node ran out of memory")
        except _LOST:
            outcome = Failure("worker_lost", f"the worker was lost, {RETRIES_OF_LOST_WORKERS + 1} times over")
        except ray.exceptions.RayTaskError as error:
            outcome = Failure.of(error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:
            outcome = Failure("ray_error", type(error).__name__)
        return Completion(unit_id, outcome, payload)

    def fetch(self, handle: Handle) -> Any:
        """Return the value behind a reference."""
        return ray.get(handle)

    def abandon(self) -> None:
        """Cancel what waits and what runs."""
        for ref in self._running:
            ray.cancel(ref, force=True)
        self._running.clear()

    def close(self) -> None:
        """Abandon what runs; stop Ray if this executor started it."""
        if not self._owns_ray:
            self.abandon()
            return
        self._running.clear()
        ray.shutdown()
        _quiet(False)


def _quiet(is_quiet: bool) -> None:
    """Keep Ray's words about lost workers off stdout; they come from a thread that `log_to_driver` does not govern.

    The switch is the one that Ray's own debugger turns for the time of its prompt. Losses are retried, and what stays
    lost is an outcome with a message of ours.
    """
    ray._private.worker._worker_logs_enabled = not is_quiet


def _connect(address: str | None, n_cpus: int | None) -> None:
    target = cluster_address(address)
    options: dict[str, Any] = {"num_cpus": n_cpus, "include_dashboard": False} if target is None else {}
    try:
        ray.init(
            address=target or "local",  # never whatever else runs on this machine
            logging_level=logging.ERROR,
            log_to_driver=False,
            **options,
        )
    except SystemExit:  # Ray's own handler of SIGTERM, in place until `ray.init` returns
        raise Interrupted("interrupted while Ray started") from None
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        where = f"the Ray cluster at {target}" if target else "Ray on this machine"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(f"cannot connect to {where}: {reason}") from None
