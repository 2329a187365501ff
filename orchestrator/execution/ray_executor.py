"""The executor on Ray core tasks. The only file that knows Ray."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

# Before the import: Ray reads these when it loads.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_task_oom_retries", "1")
# Ray ends idle processes beyond one a CPU after a second. Beside one of scikit-learn that would be one of TensorFlow,
# which takes seconds to replace.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "3600000")
os.environ.setdefault("RAY_worker_niceness", "0")  # 15 is Ray's default: beside other work, a search took twice as long

import ray
import ray._private.worker
import ray.exceptions
from ray.experimental import internal_kv

from orchestrator.errors import Interrupted, JobError, RunError
from orchestrator.execution.address import cluster_address
from orchestrator.execution.base import NOTE_EVERY_S, Completion, Handle, overran, run_unit, set_up, sparing
from orchestrator.execution.environment import tensorflow_environment, uses_gpu
from orchestrator.execution.memory import MemoryWatch
from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit
from orchestrator.job import Resources

RETRIES_OF_LOST_WORKERS = 10
UNITS_AHEAD = 4
"""How many units wait at a worker beside the one it computes, so that small ones leave it no pause."""
RECOUNT_S = 5.0
"""How often the cluster is asked how many CPUs it has."""
LINGER_S = 2.0
"""How long a process lives on after a unit overran in it: time for the outcome to leave."""
MAX_CALLS = 2**31 - 1
"""After how many tasks Ray replaces a process of TensorFlow: never, unless `_leave` says so. (On GPUs its own default
is after one.)"""
N_NOTES = 8
NOTES = b"orchestrator"

_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskUnschedulableError,
)


def _execute(
    unit: WorkUnit, data: Any, timeout_s: float | None, note_key: str | None, *inputs: Any
) -> tuple[UnitOutput | Failure, Any]:
    if note_key is not None and _memory().has_grown():
        _leave()
    outcome = run_unit(unit, data, inputs, timeout_s, None if note_key is None else _noting(note_key))
    if overran(outcome):
        if note_key is not None:
            _leave()  # TensorFlow would trace the next unit beside a thread that may be tracing
        threading.Timer(LINGER_S, os._exit, (0,)).start()  # the thread that overran ends with its process
    if isinstance(outcome, Failure):
        return outcome, None
    return UnitOutput(outcome.answers), outcome.payload


def _prepare(engine: Engine) -> None:
    with suppress(Exception):  # the first unit says it
        set_up(engine)


@cache
def _memory() -> MemoryWatch:
    with suppress(Exception):  # so that the first measurement has TensorFlow in it
        set_up("tensorflow")
    return MemoryWatch()


def _leave() -> None:
    """Let Ray replace this process once the task it is in has answered, as after `max_calls` tasks: nothing is lost."""
    manager = ray._private.worker.global_worker.function_actor_manager
    for function_id, info in manager._function_execution_info.items():
        if info.max_calls == MAX_CALLS:
            manager._num_task_executions[function_id] = MAX_CALLS - 1


def _noting(key: str) -> Callable[[str], None]:
    """Return what puts a note where the driver finds it, and loses it rather than disturb the unit."""

    def put(text: str) -> None:
        with suppress(Exception):
            internal_kv._internal_kv_put(key, text, namespace=NOTES)

    return sparing(put)


class RayExecutor:
    """Send each unit to Ray as a task: of one CPU, or for networks of one a thread, and of a share of a GPU.

    It joins the Ray that this process is already connected to, else the cluster at `address` or `RAY_ADDRESS`, else it
    starts Ray on this machine; what it started it also stops.
    """

    def __init__(
        self,
        address: str | None = None,
        resources: Resources | None = None,
        *,
        n_cpus: int | None = None,
    ) -> None:
        self._resources = resources or Resources()
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            _connect(address, n_cpus)
            _quiet(True)
        self._n_cpus = 1
        self._counted_until = 0.0
        self._tasks: dict[Engine, Any] = {}
        self._running: dict[ray.ObjectRef, tuple[str, ray.ObjectRef]] = {}
        self._key = uuid.uuid4().hex
        self._note_keys: dict[str, str] = {}
        self._notes: list[str] = []
        self._read_notes_at = 0.0
        self._warming: list[ray.ObjectRef] = []

    def _options(self, engine: Engine) -> dict[str, Any]:
        """Return what tasks of an engine ask Ray for; those of one environment share their processes with no others."""
        if engine == "sklearn":
            return {"num_cpus": 1}
        has_gpu = uses_gpu(self._resources, ray.cluster_resources().get("GPU", 0), "the Ray cluster")
        most = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        if self._resources.threads > most:
            raise JobError(
                f"resources.threads: found {self._resources.threads}; expected at most a node's CPUs, {most:g}"
            )
        return {
            "num_cpus": self._resources.threads,
            "num_gpus": self._resources.gpu_fraction if has_gpu else 0,
            "max_calls": MAX_CALLS,
            "runtime_env": {"env_vars": tensorflow_environment(self._resources, has_gpu=has_gpu)},
        }

    def _task(self, engine: Engine) -> Any:
        if engine not in self._tasks:
            options = {"num_returns": 2, "max_retries": RETRIES_OF_LOST_WORKERS, **self._options(engine)}
            task = ray.remote(**options)(_execute)
            self._tasks[engine] = task.options(name="orchestrator.unit", enable_task_events=False)
        return self._tasks[engine]

    def prewarm(self, engine: Engine) -> None:
        """Start a process of TensorFlow for each that can compute at once; those of scikit-learn Ray starts itself."""
        if engine == "tensorflow":
            options = self._options(engine)
            n_processes = min(self._count_cpus() // self._resources.threads, self._resources.max_concurrent or math.inf)
            task = ray.remote(max_retries=0, **options)(_prepare).options(name="orchestrator.prepare")
            self._warming = [task.remote(engine) for _ in range(int(n_processes))]

    def share(self, value: object) -> Handle:
        """Put a value into the object store."""
        return ray.put(value)

    def capacity(self) -> int:
        """Return how many units to keep submitted: what the cluster's CPUs compute, and some that wait."""
        if self._resources.max_concurrent is not None:
            return self._resources.max_concurrent
        return self._count_cpus() * (1 + UNITS_AHEAD)  # a share of a GPU comes with a CPU, and is counted with it

    def _count_cpus(self) -> int:
        if time.monotonic() > self._counted_until:
            self._counted_until = time.monotonic() + RECOUNT_S
            self._n_cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return self._n_cpus

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Start a unit as a task."""
        timeout_s = self._resources.trial_timeout_s if is_limited else None
        note_key = None
        if unit.engine == "tensorflow":
            note_key = self._note_keys[unit.id] = f"{self._key}/{unit.id}"
        outcome, payload = self._task(unit.engine).remote(unit, data, timeout_s, note_key, *inputs)
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
        self._note_keys.pop(unit_id, None)
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

    def notes(self) -> Sequence[str]:
        """Return what those few units of TensorFlow that were submitted first told last."""
        if not self._note_keys:
            return []
        if time.monotonic() - self._read_notes_at > NOTE_EVERY_S:
            self._read_notes_at = time.monotonic()
            keys = list(self._note_keys.values())[:N_NOTES]
            found = [internal_kv._internal_kv_get(key, namespace=NOTES) for key in keys]
            self._notes = [note.decode() for note in found if note]
        return self._notes

    def fetch(self, handle: Handle) -> Any:
        """Return the value behind a reference."""
        return ray.get(handle)

    def abandon(self) -> None:
        """Cancel what waits and what runs."""
        for ref in self._running:
            ray.cancel(ref, force=True)
        self._running.clear()
        self._note_keys.clear()

    def close(self) -> None:
        """Abandon what runs; stop Ray if this executor started it."""
        if not self._owns_ray:
            self.abandon()
            internal_kv._internal_kv_del(self._key, del_by_prefix=True, namespace=NOTES)
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
