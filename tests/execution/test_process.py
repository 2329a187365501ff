"""The process beside the driver: what is sent to it, what comes back, and what happens when it is lost or stuck."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from builders import environment

from orchestrator.execution import memory
from orchestrator.execution.process import WorkerProcess
from orchestrator.families import base as families
from orchestrator.families.base import Failure, UnitOutput, notify

cloudpickle.register_pickle_by_value(sys.modules[__name__])
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Unit(families.Unit):
    """A work unit that does what it is told; of scikit-learn's engine, since no test here needs another."""

    id: str
    does: Callable[[Any, Sequence[Any]], UnitOutput]
    answers: tuple[str, ...] = ()
    needs: tuple["Unit", ...] = ()
    cost: float = 0.0

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        return self.does(data, inputs)


def tell_pid(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=os.getpid())


def join(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=[data, *inputs])


def identity(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=id(data))


def variable(name: str, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=os.environ.get(name))


def print_much(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    os.write(1, b"to stdout")
    os.write(2, b"to stderr")
    return UnitOutput(payload="said")


def give_unpicklable(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=(one for one in ()))


def die(attempts: Path, survives_at: int, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    with open(attempts, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(attempts.read_text().split()) >= survives_at:
        return tell_pid(data, inputs)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def stick(note: Path, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    note.write_text(str(os.getpid()))
    ctypes.PyDLL(None).pause()  # in C, and holding the interpreter's lock: no thread of Python's runs any more
    raise AssertionError


def note_and_stop(texts: Sequence[str], data: Any, inputs: Sequence[Any]) -> UnitOutput:
    for text in texts:
        notify(text)
    signal.pause()
    raise AssertionError


def swell(n_bytes: int, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    sys.modules[__name__ + ".held"] = bytearray(b"x") * n_bytes  # type: ignore[assignment]
    return UnitOutput(payload=os.getpid())


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    """One for all tests: whatever happened to its process, it computes the next unit."""
    one = WorkerProcess({"OF_THE_WORKER": "yes"})
    yield one
    one.stop()


def outcome_of(
    worker: WorkerProcess, does: Any, data: Any = None, inputs: Sequence[Any] = (), limit_s: float | None = None
) -> UnitOutput | Failure:
    worker.start(Unit("u", does), data, inputs, limit_s)
    outcome = worker.wait(DEADLINE_S)
    assert outcome is not None, f"the unit did not end in {DEADLINE_S:g} s"
    return outcome


def payload_of(worker: WorkerProcess, does: Any, data: Any = None, inputs: Sequence[Any] = ()) -> Any:
    outcome = outcome_of(worker, does, data, inputs)
    assert isinstance(outcome, UnitOutput), outcome
    return outcome.payload


def test_units_of_one_worker_compute_in_one_process_beside_this_one(worker: WorkerProcess) -> None:
    first, second = payload_of(worker, tell_pid), payload_of(worker, tell_pid)
    assert first == second != os.getpid()


def test_unit_computes_with_data_and_inputs(worker: WorkerProcess) -> None:
    assert payload_of(worker, join, 1, [2, 3]) == [1, 2, 3]


def test_data_are_sent_once_and_again_when_they_are_others(worker: WorkerProcess) -> None:
    data, others = [1], [2]
    assert payload_of(worker, identity, data) == payload_of(worker, identity, data)
    assert payload_of(worker, join, others) == [[2]]


def test_process_finds_its_environment(worker: WorkerProcess) -> None:
    assert payload_of(worker, partial(variable, "OF_THE_WORKER")) == "yes"


def test_what_a_unit_prints_is_not_the_drivers_output(worker: WorkerProcess, capfd: Any) -> None:
    assert payload_of(worker, print_much) == "said"
    assert capfd.readouterr() == ("", "")


def test_unit_that_cannot_be_sent_raises_and_the_worker_goes_on(worker: WorkerProcess) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        worker.start(Unit("u", join), None, [(one for one in ())], None)
    assert payload_of(worker, join, 1) == [1]


def test_payload_that_cannot_be_sent_is_a_failure(worker: WorkerProcess) -> None:
    outcome = outcome_of(worker, give_unpicklable)
    assert isinstance(outcome, Failure)
    assert outcome.code == "raised"


def test_unit_whose_process_dies_is_computed_by_another_with_its_data(worker: WorkerProcess, tmp_path: Path) -> None:
    data = [1]
    before = payload_of(worker, tell_pid, data)
    after = payload_of(worker, partial(die, tmp_path / "attempts", 2), data)
    assert before != after
    assert payload_of(worker, join, data) == [[1]]


def test_unit_whose_process_always_dies_is_lost(worker: WorkerProcess, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    outcome = outcome_of(worker, partial(die, attempts, 99))
    assert outcome == Failure("worker_lost", "the worker was lost, 2 times over")
    assert len(set(attempts.read_text().split())) == 2
    assert isinstance(outcome_of(worker, tell_pid), UnitOutput)


def test_process_that_died_between_units_costs_none(worker: WorkerProcess) -> None:
    data = [1]
    process = psutil.Process(payload_of(worker, tell_pid, data))
    process.kill()
    psutil.wait_procs([process], timeout=DEADLINE_S)
    assert payload_of(worker, join, data) == [[1]]


def test_unit_stuck_where_no_thread_can_stop_it_is_a_timeout(worker: WorkerProcess, tmp_path: Path) -> None:
    outcome = outcome_of(worker, partial(stick, tmp_path / "pid"), limit_s=0.5)
    assert outcome == Failure("timeout", "over 0.5 s (resources.trial_timeout_s)")
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert isinstance(outcome_of(worker, tell_pid), UnitOutput)


def test_notes_are_heard_while_the_unit_computes_and_sparingly(worker: WorkerProcess) -> None:
    worker.start(Unit("u", partial(note_and_stop, ["epoch 1", "epoch 2"])), None, [], None)
    deadline = time.monotonic() + DEADLINE_S
    while worker.note is None:
        assert time.monotonic() < deadline, "no note came"
        assert worker.wait(0.1) is None
    assert worker.note == "epoch 1"
    assert worker.is_computing
    worker.abandon()
    assert worker.note is None
    assert isinstance(outcome_of(worker, tell_pid), UnitOutput)


def test_process_that_has_grown_is_replaced_and_loses_no_unit(worker: WorkerProcess) -> None:
    grown = partial(swell, memory.GROWTH_BYTES + 2**28)
    small = payload_of(worker, tell_pid)
    assert payload_of(worker, grown) == small
    assert payload_of(worker, tell_pid) == small, "it measures between units, and leaves after the next one"
    assert payload_of(worker, tell_pid) != small


def test_script_that_starts_a_worker_is_not_run_again_and_its_classes_travel(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\n"
        "from orchestrator.execution.process import WorkerProcess\n"
        "from orchestrator.families import base\n"
        "print('script')\n"
        "@dataclass(frozen=True)\n"
        "class Unit(base.Unit):\n"
        "    id: str = 'u'\n"
        "    def compute(self, data, inputs):\n"
        "        return base.UnitOutput(payload=data + 1)\n"
        "worker = WorkerProcess({})\n"
        "worker.start(Unit(), 1, [], None)\n"
        "print(worker.wait(60.0).payload)\n"
        "worker.stop()\n"
    )
    (tmp_path / "random.py").write_text("raise AssertionError('a file beside the script stands for a library')\n")
    done = subprocess.run(
        [sys.executable, "-P", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("script\n2\n", "")


def test_process_ends_with_its_driver_whatever_it_computes(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "import os, signal, sys, pathlib\n"
        "from orchestrator.execution.process import WorkerProcess\n"
        "from orchestrator.families import base\n"
        "class Unit(base.Unit):\n"
        "    id = 'u'\n"
        "    def compute(self, data, inputs):\n"
        "        pathlib.Path(data).write_text(str(os.getpid()))\n"
        "        base.notify('computing')\n"
        "        signal.pause()\n"
        "worker = WorkerProcess({})\n"
        "worker.start(Unit(), sys.argv[1], [], None)\n"
        "while worker.note is None:\n"
        "    worker.wait(0.1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, note], env=environment(), timeout=60)
    pid = int(note.read_text())
    if psutil.pid_exists(pid):
        psutil.wait_procs([psutil.Process(pid)], timeout=DEADLINE_S)
    assert not psutil.pid_exists(pid)
