"""The executor on Ray core tasks. The only file that knows Ray."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from orchestrator.execution.address import Head, cluster_address
from orchestrator.execution.base import NOTE_EVERY_S, Completion, Device, Handle, overran, run_unit, set_up, sparing
from orchestrator.execution.environment import tensorflow_environment, uses_gpu
from orchestrator.execution.memory import MemoryWatch
from orchestrator.execution.nodes import Demand, Nodes, node_types
from orchestrator.execution.stragglers import Stragglers
from orchestrator.execution.versions import differences, versions
from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit
from orchestrator.job import Resources

RETRIES_OF_LOST_WORKERS = 10
UNITS_AHEAD = 4
"""How many units wait at a worker beside the one it computes, so that small ones leave it no pause."""
RECOUNT_S = 5.0
"""How often the cluster is asked what nodes it has."""
LOOK_S = 1.0
"""How often slow units are looked for."""
LINGER_S = 2.0
"""How long a process lives on after a unit overran in it: time for the outcome to leave."""
LEAVE_S = 5.0
"""How long the end of a run waits for workers to leave off."""
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


_OF_THE_PLACE = ("worker_lost", "ray_error", "out_of_memory", "timeout")
"""Failures that another attempt at the same unit, elsewhere, may be spared."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Why a worker's process must not compute for this driver."""

    problem: str


Attempt = tuple[Any, Any]
"""References to the outcome and to the payload that a task will give."""


@dataclass(slots=True)
class _Submitted:
    """A unit that was sent to Ray: what sends it once more, and its attempts."""

    unit: WorkUnit
    again: Callable[[], Attempt]
    attempts: list[Attempt]


def _execute(
    unit: WorkUnit,
    data: Any,
    timeout_s: float | None,
    note_key: str | None,
    expected: tuple[tuple[str, str], ...],
    *inputs: Any,
) -> tuple[tuple[UnitOutput | Failure | _Misfit, float], Any]:
    if problem := differences(expected):
        return (_Misfit(f"the worker on {ray.util.get_node_ip_address()} has {problem}"), 0.0), None
    if note_key is not None and _memory().has_grown():
        _leave()
    began = time.perf_counter()
    outcome = run_unit(unit, data, inputs, timeout_s, None if note_key is None else _noting(note_key))
    if overran(outcome):
        if note_key is not None:
            _leave()  # TensorFlow would trace the next unit beside a thread that may be tracing
        threading.Timer(LINGER_S, os._exit, (0,)).start()  # the thread that overran ends with its process
    seconds = time.perf_counter() - began
    if isinstance(outcome, Failure):
        return (outcome, seconds), None
    return (replace(outcome, payload=None), seconds), outcome.payload


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
        self._connected = not ray.is_initialized()
        self._owns_ray = self._connected and cluster_address(address) is None
        if self._connected:
            _connect(address, n_cpus)
            _quiet(True)
        # A client's head is out of its reach, and Ray's client has a way of its own to say that it is gone.
        self._head = Head(None if ray.util.client.ray.is_connected() else ray.get_runtime_context().gcs_address)
        self._known_nodes = Nodes(())
        self._counted_at = -math.inf
        self._tasks: dict[Engine, tuple[Any, Any]] = {}
        self._demands: dict[Engine, Demand] = {}
        self._running: dict[str, _Submitted] = {}
        self._unit_of: dict[ray.ObjectRef, str] = {}
        self._n_running: Counter[Engine] = Counter()
        self._missing_since: dict[Engine, float] = {}
        self._stragglers: dict[Engine, Stragglers] = defaultdict(Stragglers)
        self._looked_at = -math.inf
        self._key = uuid.uuid4().hex
        self._note_keys: dict[str, str] = {}
        self._notes: list[str] = []
        self._read_notes_at = 0.0
        self._warming: list[ray.ObjectRef] = []

    def _options(self, engine: Engine) -> dict[str, Any]:
        """Return what tasks of an engine ask Ray for; those of one environment share their processes with no others."""
        demand = self._demand(engine)
        if engine == "sklearn":
            return {"num_cpus": demand.cpus}
        return {
            "num_cpus": demand.cpus,
            "num_gpus": demand.gpus,
            "max_calls": MAX_CALLS,
            "runtime_env": {"env_vars": tensorflow_environment(self._resources, has_gpu=demand.gpus > 0)},
        }

    def _demand(self, engine: Engine) -> Demand:
        """Return what a unit of an engine takes.

        Raises:
            JobError: No node has it, and none that has may come.
        """
        if engine not in self._demands:
            demand = Demand(1)
            if engine == "tensorflow":
                may_come = self._resources.device == "gpu" and not self._owns_ray and not self._nodes().may_come
                has_gpu = uses_gpu(self._resources, may_come or self._nodes().has("GPU"), "the Ray cluster")
                demand = Demand(self._resources.threads, self._resources.gpu_fraction if has_gpu else 0.0)
            if (self._owns_ray or self._nodes().may_come) and not self._nodes().n_at_most(demand):
                raise self._impossible(demand)
            self._demands[engine] = demand
        return self._demands[engine]

    def _impossible(self, demand: Demand) -> JobError:
        if demand.cpus > 1:
            most = self._nodes().most("CPU")
            return JobError(f"resources.threads: found {demand.cpus:g}; expected at most a node's CPUs, {most:g}")
        return JobError(f"resources: a work unit takes {demand}, and no node of the Ray cluster has that")

    def _nodes(self) -> Nodes:
        if time.monotonic() - self._counted_at > RECOUNT_S and self._head.answers():
            self._counted_at = time.monotonic()
            alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._known_nodes = Nodes(alive, node_types() if self._is_on_head() else ())
        return self._known_nodes

    def _is_on_head(self) -> bool:
        """Tell whether this machine is the head of the cluster that this process has joined."""
        if self._owns_ray or ray.util.client.ray.is_connected():
            return False
        host = str(ray.get_runtime_context().gcs_address).rpartition(":")[0]
        return host in (ray.util.get_node_ip_address(), "127.0.0.1")

    def _task(self, engine: Engine) -> tuple[Any, Any]:
        """Return the task of an engine's units, and the same for second attempts, which Ray spreads over nodes."""
        if engine not in self._tasks:
            options = {"num_returns": 2, "max_retries": RETRIES_OF_LOST_WORKERS, **self._options(engine)}
            task = ray.remote(**options)(_execute)
            named = {"name": "orchestrator.unit", "enable_task_events": False}
            self._tasks[engine] = task.options(**named), task.options(**named, scheduling_strategy="SPREAD")
        return self._tasks[engine]

    def prewarm(self, engine: Engine) -> None:
        """Start a process of TensorFlow for each that can compute at once; those of scikit-learn Ray starts itself."""
        if engine == "tensorflow":
            options = self._options(engine)
            n_processes = min(self._nodes().n_now(self._demand(engine)), self._resources.max_concurrent or math.inf)
            task = ray.remote(max_retries=0, **options)(_prepare).options(name="orchestrator.prepare")
            self._warming = [task.remote(engine) for _ in range(int(n_processes))]

    def share(self, value: object) -> Handle:
        """Put a value into the object store."""
        return ray.put(value)

    def device(self, engine: Engine) -> Device:
        """Return a GPU for networks, if the cluster has or may get one and the resources do not ask for the CPU."""
        return "gpu" if self._demand(engine).gpus > 0 else "cpu"

    def capacity(self, engine: Engine) -> int:
        """Return how many units of an engine to keep submitted: what living nodes compute, and some that wait.

        Where more nodes may come, there are as many as all of them would compute, so that they are asked for.
        """
        if self._resources.max_concurrent is not None:
            others = sum(n for other, n in self._n_running.items() if other != engine)
            return self._resources.max_concurrent - others
        nodes, demand = self._nodes(), self._demand(engine)
        return max(1, nodes.n_now(demand) * (1 + UNITS_AHEAD), nodes.n_at_most(demand))

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Start a unit as a task."""
        timeout_s = self._resources.trial_timeout_s if is_limited else None
        note_key = None
        if unit.engine == "tensorflow":
            note_key = self._note_keys[unit.id] = f"{self._key}/{unit.id}"
        usual, elsewhere = self._task(unit.engine)
        arguments = unit, data, timeout_s, note_key, versions(), *inputs
        submitted = _Submitted(unit, lambda: elsewhere.remote(*arguments), [])
        self._running[unit.id] = submitted
        self._stragglers[unit.engine].submitted(unit.id, type(unit).__name__, unit.cost)
        self._n_running[unit.engine] += 1
        self._attempt(submitted, usual.remote(*arguments))

    def _attempt(self, submitted: _Submitted, attempt: Attempt) -> None:
        submitted.attempts.append(attempt)
        self._unit_of[attempt[0]] = submitted.unit.id

    def completed(self, timeout_s: float) -> list[Completion]:
        """Return the units whose tasks have ended.

        Raises:
            RunError: No node can compute what waits, and none has come; a node has other versions than this process;
                or the cluster's head is gone.
        """
        running = list(self._unit_of)
        if not running:
            return []
        ready, _ = ray.wait(running, num_returns=1, timeout=timeout_s)
        if ready and len(running) > 1:
            ready, _ = ray.wait(running, num_returns=len(running), timeout=0)
        found = [done for ref in ready if (done := self._completion(ref)) is not None]
        if time.monotonic() - self._looked_at > LOOK_S and self._head.answers():
            self._looked_at = time.monotonic()
            for engine in self._demands:
                self._look_for_nodes(engine)
                self._help_stragglers(engine)
        return found

    def _completion(self, ref: ray.ObjectRef) -> Completion | None:
        """Return what a task gave; None for one whose unit another attempt has ended."""
        unit_id = self._unit_of.pop(ref, None)
        if unit_id is None:
            return None
        submitted = self._running[unit_id]
        (payload,) = (payload for outcome, payload in submitted.attempts if outcome == ref)
        outcome = self._outcome(ref, submitted)
        submitted.attempts = [attempt for attempt in submitted.attempts if attempt[0] != ref]
        if isinstance(outcome, Failure) and outcome.code in _OF_THE_PLACE and submitted.attempts:
            return None  # the other attempt goes on
        for other, _ in submitted.attempts:
            self._unit_of.pop(other, None)
            ray.cancel(other, force=True)
        del self._running[unit_id]
        self._stragglers[submitted.unit.engine].ended(unit_id, None)
        self._note_keys.pop(unit_id, None)
        self._n_running[submitted.unit.engine] -= 1
        return Completion(unit_id, outcome, payload)

    def _outcome(self, ref: ray.ObjectRef, submitted: _Submitted) -> UnitOutput | Failure:
        try:
            outcome, seconds = ray.get(ref)
        except ray.exceptions.OutOfMemoryError:
            return Failure("out_of_memory", "the worker was ended because its node ran out of memory")
        except _LOST:
            return Failure("worker_lost", f"the worker was lost, {RETRIES_OF_LOST_WORKERS + 1} times over")
        except ray.exceptions.RayTaskError as error:
            if _is_of_the_installation(error):
                raise RunError(
                    "a worker cannot load the orchestrator as it is here "
                    f"({type(error.cause).__name__}: {error.cause}); install the same on every node, then resume"
                ) from None
            return Failure.of(error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:
            return Failure("ray_error", type(error).__name__)
        if isinstance(outcome, _Misfit):
            raise RunError(f"{outcome.problem}; install the same lock file on every node, then resume")
        self._stragglers[submitted.unit.engine].ended(submitted.unit.id, seconds)
        return outcome  # type: ignore[no-any-return]

    def _look_for_nodes(self, engine: Engine) -> None:
        """Find out whether what waits can ever run; say what it waits for."""
        demand, now = self._demands[engine], time.monotonic()
        if not self._n_running[engine] or self._nodes().n_now(demand):
            self._missing_since.pop(engine, None)
            return
        if engine not in self._missing_since:
            self._missing_since[engine] = now
            _LOG.warning("waiting for a node with %s", demand)
        elif not self._nodes().may_come and now - self._missing_since[engine] > self._resources.join_within_s:
            raise RunError(
                f"no node of the Ray cluster has {demand}, and none came within {self._resources.join_within_s:g} s "
                "(resources.join_within_s); start one, or change resources, then resume"
            )

    def _help_stragglers(self, engine: Engine) -> None:
        """Give units that take far longer than others of their kind to a second worker, where one has nothing to do."""
        others = sum(n for other, n in self._n_running.items() if other != engine)
        most = self._resources.max_concurrent or math.inf
        n_slots = min(self._nodes().n_now(self._demands[engine]), most) - others
        for unit_id in self._stragglers[engine].look(int(n_slots), time.monotonic()):
            submitted = self._running[unit_id]
            self._attempt(submitted, submitted.again())

    def notes(self) -> Sequence[str]:
        """Return what units wait for, and what those few of TensorFlow that were submitted first told last."""
        waiting = [f"waiting for a node with {self._demands[engine]}" for engine in self._missing_since]
        if waiting or not self._note_keys:
            return waiting
        if time.monotonic() - self._read_notes_at > NOTE_EVERY_S and self._head.answers():
            self._read_notes_at = time.monotonic()
            keys = list(self._note_keys.values())[:N_NOTES]
            found = [internal_kv._internal_kv_get(key, namespace=NOTES) for key in keys]
            self._notes = [note.decode() for note in found if note]
        return self._notes

    def fetch(self, handle: Handle) -> Any:
        """Return the value behind a reference.

        Raises:
            RunError: It was lost, and cannot be made again.
        """
        try:
            return ray.get(handle)
        except ray.exceptions.RayError as error:
            raise RunError(f"a result was lost with its node ({type(error).__name__}); resume the run") from None

    def abandon(self) -> None:
        """Cancel what waits and what runs."""
        for ref in self._unit_of:
            ray.cancel(ref, force=True)
        self._forget()

    def _forget(self) -> None:
        self._unit_of.clear()
        self._running.clear()
        self._n_running.clear()
        self._stragglers.clear()
        self._note_keys.clear()

    def close(self) -> None:
        """Abandon what runs; leave the cluster that this executor joined, stop the Ray that it started."""
        try:
            is_there = not self._head.is_given_up and self._head.answers()
        except RunError:
            is_there = False
        if not is_there:
            self._forget()
            return
        if not self._owns_ray:
            running = list(self._unit_of)
            self.abandon()
            if running:  # what a worker still reads when its owner leaves stays in the node's store
                ray.wait(running, num_returns=len(running), timeout=LEAVE_S, fetch_local=False)
            internal_kv._internal_kv_del(self._key, del_by_prefix=True, namespace=NOTES)
        if self._connected:
            self._forget()
            ray.shutdown()
            _quiet(False)


def _is_of_the_installation(error: ray.exceptions.RayTaskError) -> bool:
    """Tell whether a task failed before its unit was reached: what a unit raises is an outcome, and no task's error."""
    text = str(error.cause)
    return isinstance(error.cause, ImportError) or any(
        mark in text for mark in ("failed to import on the worker", "Can't get attribute")
    )


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
        token = (
            ""
            if target is None
            else ". A cluster that asks for a token needs RAY_AUTH_MODE=token and ~/.ray/auth_token"
        )
        raise RunError(f"cannot connect to {where}: {reason.rstrip('.')}{token}") from None
