"""The contract of executors: every test of the first part runs on each of them, those of the second on Ray alone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray.cloudpickle

from orchestrator.execution import ray_executor
from orchestrator.execution.base import Completion, Executor
from orchestrator.execution.inline import InlineExecutor
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.families import base as families
from orchestrator.families.base import Answer, Failure, UnitOutput
from orchestrator.job import Resources

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module
DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class Unit(families.Unit):
    """A work unit that does what it is told."""

    id: str
    does: Callable[[Any, Sequence[Any]], UnitOutput]
    answers: tuple[str, ...] = ()
    needs: tuple["Unit", ...] = ()
    cost: float = 0.0

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        return self.does(data, inputs)


def answer(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput({"answer": Answer(1.0, 0.0, 0.0)}, payload=os.getpid())


def add_up(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput({"sum": Answer(float(data + sum(inputs)), 0.0, 0.0)}, payload=data + sum(inputs))


def join(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=[data, *inputs])


def give_back(value: Any, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=value)


def fail(error: Exception, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    raise error


def never_end(note: Path, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    note.write_text(str(os.getpid()))
    threading.Event().wait()
    raise AssertionError


def die(how: str, attempts: Path, survives_at: int, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    with open(attempts, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(attempts.read_text().splitlines()) >= survives_at:
        return answer(data, inputs)
    if how == "exits":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Unpicklable(Exception):
    """Its arguments are not those of its constructor, and one of them cannot travel."""

    def __init__(self, first: str, lock: object) -> None:
        super().__init__(first)
        self.lock = lock


def fail_unpicklably(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    raise Unpicklable("no way to send it", threading.Lock())


def give_a_lock(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=threading.Lock())


Make = Callable[..., Executor]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


def closing(make: Make) -> Iterator[Make]:
    made: list[Executor] = []

    def remembered(**options: Any) -> Executor:
        made.append(make(**options))
        return made[-1]

    yield remembered
    for executor in made:
        executor.close()


@pytest.fixture(params=["inline", "ray"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    yield from closing({"inline": InlineExecutor, "ray": RayExecutor}[request.param])


@pytest.fixture
def make_ray(local_ray: None) -> Iterator[Make]:
    yield from closing(RayExecutor)


def ended(executor: Executor, n: int) -> dict[str, Completion]:
    """Wait for `n` units to end; each may do so once."""
    found: dict[str, Completion] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < n:
        assert time.monotonic() < deadline, f"{len(found)} of {n} units ended in {DEADLINE_S:g} s"
        for done in executor.completed(0.5):
            assert done.unit_id not in found, f"{done.unit_id} ended twice"
            found[done.unit_id] = done
    return found


def outcome_of(executor: Executor, unit: Unit) -> UnitOutput | Failure:
    executor.submit(unit, executor.share(None), [])
    return ended(executor, 1)[unit.id].outcome


def test_unit_computes_with_the_shared_data(make: Make) -> None:
    executor = make()
    executor.submit(Unit("u", add_up), executor.share(40), [])
    done = ended(executor, 1)["u"]
    assert isinstance(done.outcome, UnitOutput)
    assert done.outcome.answers["sum"] == Answer(40.0, 0.0, 0.0)


def test_payload_of_one_unit_is_the_input_of_another(make: Make) -> None:
    executor = make()
    data = executor.share(1)
    executor.submit(Unit("a", partial(give_back, 10)), data, [])
    executor.submit(Unit("b", partial(give_back, 100)), data, [])
    first = ended(executor, 2)
    executor.submit(Unit("c", add_up), data, [first["a"].payload, first["b"].payload])
    third = ended(executor, 1)["c"]
    executor.submit(Unit("d", join), data, [third.payload, first["b"].payload, first["a"].payload])
    assert executor.fetch(ended(executor, 1)["d"].payload) == [1, 111, 100, 10]


def test_payload_stays_where_it_is_until_it_is_fetched(make: Make) -> None:
    executor = make()
    executor.submit(Unit("u", partial(give_back, "large")), executor.share(None), [])
    done = ended(executor, 1)["u"]
    assert isinstance(done.outcome, UnitOutput)
    assert done.outcome.payload is None
    assert executor.fetch(done.payload) == "large"


def test_shared_value_can_be_an_input(make: Make) -> None:
    executor = make()
    executor.submit(Unit("u", add_up), executor.share(1), [executor.share(2), executor.share(3)])
    assert executor.fetch(ended(executor, 1)["u"].payload) == 6


def test_each_of_many_units_ends_once(make: Make) -> None:
    executor = make()
    data = executor.share(None)
    for number in range(40):
        executor.submit(Unit(f"u{number}", answer), data, [])
    assert sorted(ended(executor, 40)) == sorted(f"u{number}" for number in range(40))
    assert executor.completed(0.0) == []


def test_nothing_ends_where_nothing_was_submitted(make: Make) -> None:
    executor = make()
    assert executor.capacity("sklearn") >= 1
    assert executor.completed(0.0) == []


@pytest.mark.parametrize(
    ("message", "hidden"),
    [
        ("cannot open /tmp/ray/session_1/data.bin", "/tmp/ray"),
        ("worker pid=4242 said so", "4242"),
        ("worker pid 4242 said so", "4242"),
        ("<object at 0x7f00deadbeef> is odd", "7f00deadbeef"),
        ("{{function_node __wrapped__Fill_device_/job:localhost/replica:0/device:CPU:0}} OOM", "localhost"),
        ("{{function_node __inference_train_17}} OOM", "17"),
        ("shape[9] and type float on /job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu", "mklcpu"),
        ("shape[9] and type float on /job:worker/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc", "GPU"),
        ("no memory [Op:__inference_train_17]", "17"),
        ("10.0.0.7:6379 refused", "10.0.0.7"),
        ("10.0.0.7:6379 refused", "6379"),
        ("first line\nFile /usr/lib/x.py, line 3", "x.py"),
    ],
)
def test_raising_unit_is_a_failure_that_reads_the_same_everywhere(make: Make, message: str, hidden: str) -> None:
    outcome = outcome_of(make(), Unit("u", partial(fail, ValueError(message))))
    assert isinstance(outcome, Failure)
    assert outcome.code == "raised"
    assert outcome.message.startswith("ValueError: ")
    assert hidden not in outcome.message
    assert outcome == Failure.of(ValueError(message))


def test_exception_that_cannot_travel_is_a_failure_like_any_other(make: Make) -> None:
    outcome = outcome_of(make(), Unit("u", fail_unpicklably))
    assert outcome == Failure("raised", "Unpicklable: no way to send it")


def test_unit_without_memory_is_out_of_memory(make: Make) -> None:
    outcome = outcome_of(make(), Unit("u", partial(fail, MemoryError("20 GiB"))))
    assert outcome == Failure("out_of_memory", "MemoryError: 20 GiB")


class ResourceExhaustedError(Exception):
    """What TensorFlow calls its own; a failure is told by the name, since the driver does not load TensorFlow."""


def test_tensorflow_without_memory_is_out_of_memory(make: Make) -> None:
    outcome = outcome_of(make(), Unit("u", partial(fail, ResourceExhaustedError("OOM when allocating tensor"))))
    assert outcome == Failure("out_of_memory", "ResourceExhaustedError: OOM when allocating tensor")


def test_units_go_on_after_a_failure(make: Make) -> None:
    executor = make()
    data = executor.share(1)
    executor.submit(Unit("bad", partial(fail, ValueError("no"))), data, [])
    executor.submit(Unit("good", add_up), data, [])
    assert isinstance(ended(executor, 2)["good"].outcome, UnitOutput)


def test_unit_within_its_time_is_answered_as_without_one(make: Make) -> None:
    executor = make(resources=Resources(trial_timeout_s=60.0))
    executor.submit(Unit("good", add_up), executor.share(1), [])
    executor.submit(Unit("bad", partial(fail, ValueError("no"))), executor.share(1), [])
    found = ended(executor, 2)
    assert found["good"].outcome == UnitOutput({"sum": Answer(1.0, 0.0, 0.0)})
    assert found["bad"].outcome == Failure("raised", "ValueError: no")


def test_unit_over_its_time_is_a_timeout_and_units_go_on(make: Make, tmp_path: Path) -> None:
    executor = make(resources=Resources(trial_timeout_s=1.0))
    data = executor.share(1)
    executor.submit(Unit("endless", partial(never_end, tmp_path / "pid")), data, [])
    for number in range(8):
        executor.submit(Unit(f"u{number}", add_up), data, [])
    found = ended(executor, 9)
    assert found.pop("endless").outcome == Failure("timeout", "over 1 s (resources.trial_timeout_s)")
    assert all(isinstance(done.outcome, UnitOutput) for done in found.values())


def test_abandoned_units_are_never_heard_of(make: Make, tmp_path: Path) -> None:
    executor = make()
    data = executor.share(1)
    for number in range(8):
        executor.submit(Unit(f"old{number}", add_up), data, [])
    executor.abandon()
    assert executor.completed(0.1) == []
    executor.submit(Unit("new", add_up), data, [])
    assert list(ended(executor, 1)) == ["new"]


def test_closed_executor_leaves_room_for_the_next(make: Make) -> None:
    first = make()
    first.submit(Unit("u", answer), first.share(None), [])
    first.close()
    assert isinstance(outcome_of(make(), Unit("v", answer)), UnitOutput)


# Ray alone: what can happen to a process of its own.


def test_ray_replaces_the_process_in_which_a_unit_overran(make_ray: Make, tmp_path: Path) -> None:
    executor, note = make_ray(resources=Resources(trial_timeout_s=1.0)), tmp_path / "pid"
    data = executor.share(None)
    executor.submit(Unit("endless", partial(never_end, note)), data, [])
    overran = ended(executor, 1)["endless"]
    assert isinstance(overran.outcome, Failure)
    pid = int(note.read_text())
    deadline, number = time.monotonic() + DEADLINE_S, 0
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, f"the process was there after {DEADLINE_S:g} s"
        number += 1
        executor.submit(Unit(f"u{number}", answer), data, [])
        assert isinstance(ended(executor, 1)[f"u{number}"].outcome, UnitOutput)
    assert isinstance(outcome_of(executor, Unit("last", answer)), UnitOutput)


@pytest.mark.parametrize("how", ["exits", "is killed"])
def test_unit_whose_process_always_dies_is_lost_and_units_go_on(
    make_ray: Make, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "RETRIES_OF_LOST_WORKERS", 2)
    executor, attempts = make_ray(), tmp_path / "attempts"
    data = executor.share(1)
    executor.submit(Unit("deadly", partial(die, how, attempts, 99)), data, [])
    for number in range(8):
        executor.submit(Unit(f"u{number}", add_up), data, [])
    found = ended(executor, 9)
    assert found.pop("deadly").outcome == Failure("worker_lost", "the worker was lost, 3 times over")
    assert len(attempts.read_text().splitlines()) == 3
    assert all(isinstance(done.outcome, UnitOutput) for done in found.values())
    assert isinstance(outcome_of(executor, Unit("later", answer)), UnitOutput)


def test_unit_whose_process_dies_once_is_answered_by_another(make_ray: Make, tmp_path: Path) -> None:
    executor, attempts = make_ray(), tmp_path / "attempts"
    outcome = outcome_of(executor, Unit("unlucky", partial(die, "is killed", attempts, 2)))
    assert outcome == UnitOutput({"answer": Answer(1.0, 0.0, 0.0)})
    assert len(set(attempts.read_text().split())) == 2


def test_payload_that_cannot_travel_fails_the_unit_that_needs_it(make_ray: Make) -> None:
    executor = make_ray()
    data = executor.share(0)
    executor.submit(Unit("maker", give_a_lock), data, [])
    executor.submit(Unit("taker", join), data, [ended(executor, 1)["maker"].payload])
    assert ended(executor, 1)["taker"].outcome == Failure("raised", "TypeError: cannot pickle '_thread.lock' object")


def test_ray_is_given_as_many_units_as_the_job_allows(make_ray: Make) -> None:
    assert make_ray(resources=Resources(max_concurrent=3)).capacity("sklearn") == 3
    assert make_ray().capacity("sklearn") == 2 * (1 + ray_executor.UNITS_AHEAD)


def test_executor_leaves_a_ray_that_it_did_not_start(make_ray: Make) -> None:
    make_ray().close()
    assert ray.is_initialized()
