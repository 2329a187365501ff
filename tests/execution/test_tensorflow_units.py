"""Units of networks on both executors: processes of their own, set up before TensorFlow loads, and kept."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
import ray
import ray.cloudpickle

from orchestrator.errors import JobError, RunError
from orchestrator.execution import memory
from orchestrator.execution.base import Completion, Executor
from orchestrator.execution.inline import InlineExecutor
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.families import base as families
from orchestrator.families.base import Answer, Failure, UnitOutput, notify
from orchestrator.job import Resources

cloudpickle.register_pickle_by_value(sys.modules[__name__])
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Classic(families.Unit):
    """A work unit that does what it is told, in a process of scikit-learn."""

    id: str
    does: Callable[[Any, Sequence[Any]], UnitOutput]
    answers: tuple[str, ...] = ()
    needs: tuple[Any, ...] = ()
    cost: float = 0.0

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        return self.does(data, inputs)


@dataclass(frozen=True, slots=True)
class Network(Classic):
    """The same in a process of TensorFlow."""

    engine = "tensorflow"


def look_around(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES")
    return UnitOutput(
        payload=(os.getpid(), "tensorflow" in sys.modules, {name: os.environ.get(name) for name in names})
    )


def configuration(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    import keras
    import tensorflow as tf
    from tensorflow.python.framework import config

    threads = tf.config.threading
    return UnitOutput(
        payload=(
            threads.get_intra_op_parallelism_threads(),
            threads.get_inter_op_parallelism_threads(),
            config.is_op_determinism_enabled(),
            keras.config.backend(),
            keras.config.dtype_policy().name,
        )
    )


def count_frozen(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    return UnitOutput(payload=gc.get_freeze_count())


def multiply(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    import tensorflow as tf

    return UnitOutput(payload=float(tf.reduce_sum(tf.ones((2, 2)) * data * sum(inputs))))


def exhaust(data: Any, inputs: Sequence[Any]) -> UnitOutput:
    import tensorflow as tf

    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9]")


def stick_in_tensorflow(note: Path, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    import tensorflow as tf

    note.write_text(str(os.getpid()))
    tf.queue.FIFOQueue(1, [tf.float32]).dequeue()
    raise AssertionError


def note_until(told: Path, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    notify("epoch 3 of 20, best 0.91")
    while not told.exists():
        threading.Event().wait(0.05)
    return UnitOutput(payload="done")


def swell(at: int, number: int, data: Any, inputs: Sequence[Any]) -> UnitOutput:
    if number == at:
        sys.modules["held"] = bytearray(b"x") * (memory.GROWTH_BYTES + 2**28)  # type: ignore[assignment]
    return UnitOutput({f"a{number}": Answer(float(number), 0.0, 0.0)}, payload=os.getpid())


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module", params=["inline", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """One for all tests of its kind: to load TensorFlow takes seconds."""
    resources = Resources(trial_timeout_s=5.0, device="cpu")
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    one: Executor = InlineExecutor(resources) if request.param == "inline" else RayExecutor(None, resources)
    one.prewarm("tensorflow")
    yield one
    one.close()


def ended(executor: Executor, n: int) -> dict[str, Completion]:
    found: dict[str, Completion] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < n:
        assert time.monotonic() < deadline, f"{len(found)} of {n} units ended in {DEADLINE_S:g} s"
        found |= {done.unit_id: done for done in executor.completed(0.5)}
    return found


def outcomes_of(executor: Executor, units: Sequence[Classic], data: Any = None, inputs: Sequence[Any] = ()) -> Any:
    handle, handles = executor.share(data), [executor.share(one) for one in inputs]
    for unit in units:
        executor.submit(unit, handle, handles)
    found = ended(executor, len(units))
    return [found[unit.id] for unit in units]


def payloads_of(executor: Executor, units: Sequence[Classic], data: Any = None, inputs: Sequence[Any] = ()) -> Any:
    return [executor.fetch(done.payload) for done in outcomes_of(executor, units, data, inputs)]


def test_networks_and_scikit_learn_share_no_process(executor: Executor) -> None:
    units: list[Classic] = [Network(f"n{i}", look_around) for i in range(6)]
    units += [Classic(f"c{i}", look_around) for i in range(6)]
    here = os.getpid() if "tensorflow" in sys.modules else None  # other tests may have loaded it in this process
    seen = payloads_of(executor, units)
    networks, classics = seen[:6], seen[6:]
    assert {pid for pid, *_ in networks}.isdisjoint(pid for pid, *_ in classics)
    assert all(is_loaded for _, is_loaded, _ in networks)
    assert not any(is_loaded for pid, is_loaded, _ in classics if pid != here)


def test_tensorflow_loads_once_a_process_and_not_once_a_unit(executor: Executor) -> None:
    first = {pid for pid, *_ in payloads_of(executor, [Network(f"n{i}", look_around) for i in range(6)])}
    later = {pid for pid, *_ in payloads_of(executor, [Network(f"m{i}", look_around) for i in range(20)])}
    assert len(first | later) <= 2  # as many as CPUs


def test_process_is_set_up_as_the_job_says(executor: Executor) -> None:
    _, _, variables = payloads_of(executor, [Network("n", look_around)])[0]
    assert variables == {
        "TF_NUM_INTRAOP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    assert payloads_of(executor, [Network("n", configuration)]) == [(1, 1, True, "tensorflow", "float32")]


def test_what_is_loaded_for_good_is_kept_from_the_garbage_collector(executor: Executor) -> None:
    (n_frozen,) = payloads_of(executor, [Network("n", count_frozen)])
    assert n_frozen > 100_000


def test_network_computes_with_data_and_inputs(executor: Executor) -> None:
    assert payloads_of(executor, [Network("n", multiply)], 10.0, [1.0, 2.0]) == [120.0]


def test_tensorflow_out_of_memory_is_told_as_such(executor: Executor) -> None:
    outcome = outcomes_of(executor, [Network("n", exhaust)])[0].outcome
    assert isinstance(outcome, Failure)
    assert outcome.code == "out_of_memory"
    assert outcome.message.startswith("ResourceExhaustedError: ")


def test_notes_of_a_network_are_heard_while_it_computes(executor: Executor, tmp_path: Path) -> None:
    told = tmp_path / "told"
    executor.submit(Network("n", partial(note_until, told)), executor.share(None), [])
    deadline = time.monotonic() + DEADLINE_S
    while list(executor.notes()) != ["epoch 3 of 20, best 0.91"]:
        assert time.monotonic() < deadline, f"no note in {DEADLINE_S:g} s"
        assert executor.completed(0.1) == []
    told.touch()
    assert isinstance(ended(executor, 1)["n"].outcome, UnitOutput)
    assert list(executor.notes()) == []


@pytest.mark.slow
def test_process_that_has_grown_is_replaced_and_every_unit_is_answered(executor: Executor) -> None:
    def answered(at: int) -> list[int]:
        done = outcomes_of(executor, [Network(f"n{i}", partial(swell, at, i)) for i in range(16)])
        assert [one.outcome for one in done] == [UnitOutput({f"a{i}": Answer(float(i), 0.0, 0.0)}) for i in range(16)]
        return [executor.fetch(one.payload) for one in done]

    swollen = answered(at=4)[4]
    deadline = time.monotonic() + DEADLINE_S
    while swollen in answered(at=99):  # it leaves after the first unit that found it swollen
        assert time.monotonic() < deadline, f"the process was there after {DEADLINE_S:g} s"


@pytest.mark.slow
def test_network_stuck_inside_tensorflow_is_a_timeout_and_its_process_ends(executor: Executor, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    outcome = outcomes_of(executor, [Network("n", partial(stick_in_tensorflow, note))])[0].outcome
    assert outcome == Failure("timeout", "over 5 s (resources.trial_timeout_s)")
    pid = int(note.read_text())
    assert pid not in {other for other, *_ in payloads_of(executor, [Network(f"n{i}", look_around) for i in range(8)])}
    deadline = time.monotonic() + DEADLINE_S
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, f"the process was there after {DEADLINE_S:g} s"
        outcomes_of(executor, [Classic("c", look_around)])
    assert payloads_of(executor, [Network("m", multiply)], 1.0, [1.0]) == [4.0]


@pytest.mark.parametrize(("max_concurrent", "threads", "expected"), [(None, 1, 2), (1, 1, 1), (None, 2, 1)])
def test_as_many_processes_are_prepared_as_can_compute(
    max_concurrent: int | None, threads: int, expected: int, local_ray: None
) -> None:
    executor = RayExecutor(None, Resources(max_concurrent=max_concurrent, threads=threads))
    executor.prewarm("tensorflow")
    assert len(executor._warming) == expected
    executor.close()


def test_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    executor = InlineExecutor(Resources(device="gpu"))
    with pytest.raises(JobError, match=r"^resources\.device: found gpu, and .* has no GPU; expected auto or cpu"):
        executor.prewarm("tensorflow")
    executor.prewarm("sklearn")  # which needs none
    executor.close()


def wait_for_ever(executor: Executor) -> None:
    while True:
        assert executor.completed(0.2) == []


@pytest.mark.parametrize(
    ("resources", "needed"),
    [
        (Resources(device="gpu", join_within_s=1.0), "1 CPU and 0.25 of a GPU"),
        (Resources(threads=64, join_within_s=1.0), "64 CPUs"),
    ],
)
def test_what_no_node_of_a_joined_cluster_has_is_waited_for_and_said(
    local_ray: None, resources: Resources, needed: str
) -> None:
    executor = RayExecutor(None, resources)
    executor.submit(Network("n", look_around), executor.share(None), [])
    with pytest.raises(RunError, match=f"^no node of the Ray cluster has {needed}, and none came within 1 s"):
        wait_for_ever(executor)
    executor.close()
