"""What the executor on Ray does where nodes or the head are missing, and workers are slow or have other versions."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.cloudpickle
from builders import environment
from ray.cluster_utils import Cluster
from ray.experimental import internal_kv

from orchestrator.errors import JobError, RunError
from orchestrator.execution import ray_executor
from orchestrator.execution.address import RECONNECT
from orchestrator.execution.base import Completion
from orchestrator.execution.nodes import NodeType
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.families import base as families
from orchestrator.families.base import Answer, UnitOutput
from orchestrator.job import Resources

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class Work(families.Unit):
    """A unit that answers at once; where it has a file, its first attempt never ends."""

    id: str
    hangs: Path | None = None
    answers: tuple[str, ...] = ()
    needs: tuple[Any, ...] = ()
    cost: float = 1.0

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        if self.hangs is not None:
            is_first = not self.hangs.exists()
            with self.hangs.open("a") as file:
                file.write(f"{os.getpid()}\n")
            if is_first:
                threading.Event().wait()
        return UnitOutput({self.id: Answer(1.0, 0.0, 0.0)})


def until(executor: RayExecutor, n: int) -> list[Completion]:
    """Wait for `n` completions."""
    found: list[Completion] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < n:
        assert time.monotonic() < deadline, f"{len(found)} of {n} units ended"
        found += executor.completed(0.2)
    return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of a head without CPUs, which this process has joined."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.mark.slow
def test_units_wait_for_a_node_that_comes_later_and_it_is_said(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ray_executor, "RECOUNT_S", 0.5)
    executor = RayExecutor()
    executor.submit(Work("one"), executor.share(None), [])
    deadline = time.monotonic() + DEADLINE_S
    while not executor.notes():
        assert time.monotonic() < deadline
        assert executor.completed(0.2) == []
    assert executor.notes() == ["waiting for a node with 1 CPU"]
    assert "waiting for a node with 1 CPU" in caplog.text
    cluster.add_node(num_cpus=1)
    (done,) = until(executor, 1)
    assert done.outcome == UnitOutput({"one": Answer(1.0, 0.0, 0.0)})
    executor.close()


@pytest.mark.slow
def test_units_that_no_node_can_ever_compute_end_the_run_and_say_what_is_missing(
    cluster: Cluster,
) -> None:
    executor = RayExecutor(resources=Resources(join_within_s=2.0))
    executor.submit(Work("one"), executor.share(None), [])
    with pytest.raises(RunError, match=r"no node of the Ray cluster has 1 CPU, and none came within 2 s"):
        until(executor, 1)
    executor.close()


@pytest.mark.slow
def test_node_that_the_autoscaler_would_start_is_asked_for_and_others_are_refused_at_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [NodeType({"CPU": 4.0}, 3)]
    monkeypatch.setattr(ray_executor, "node_types", lambda: kinds)
    assert RayExecutor().capacity("sklearn") == 12
    with pytest.raises(JobError, match=r"resources\.threads: found 8; expected at most a node's CPUs, 4"):
        RayExecutor(resources=Resources(threads=8)).prewarm("tensorflow")
    with pytest.raises(JobError, match=r"resources\.device: found gpu, and the Ray cluster has no GPU"):
        RayExecutor(resources=Resources(device="gpu")).prewarm("tensorflow")
    kinds.append(NodeType({"CPU": 4.0, "GPU": 1.0}, 2))
    assert RayExecutor(resources=Resources(gpu_fraction=0.5)).capacity("tensorflow") == 4


@pytest.mark.slow
def test_joined_cluster_keeps_no_notes_of_a_run_that_has_left() -> None:
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        executor = RayExecutor(made.address)
        internal_kv._internal_kv_put(f"{executor._key}/unit", "epoch 1", namespace=ray_executor.NOTES)
        executor.close()
        assert not ray.is_initialized()
        ray.init(address=made.address, log_to_driver=False, logging_level="error")
        assert internal_kv._internal_kv_list("", namespace=ray_executor.NOTES) == []
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


def test_unit_far_slower_than_its_kind_goes_to_a_second_worker_and_the_first_answer_counts(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.execution.stragglers.LEAST_S", 0.3)
    monkeypatch.setattr(ray_executor, "LOOK_S", 0.1)
    executor, attempts = RayExecutor(), tmp_path / "attempts"
    data = executor.share(None)
    for number in range(6):
        executor.submit(Work(f"quick-{number}"), data, [])
    until(executor, 6)
    executor.submit(Work("slow", attempts), data, [])
    (done,) = until(executor, 1)
    assert done.outcome == UnitOutput({"slow": Answer(1.0, 0.0, 0.0)})
    first, second = attempts.read_text().split()
    assert first != second
    executor.submit(Work("next"), data, [])  # the first attempt is cancelled, and never heard of again
    executor.submit(Work("and next"), data, [])
    assert {one.unit_id for one in until(executor, 2)} == {"next", "and next"}
    executor.close()


def test_unit_that_is_slow_while_no_worker_is_idle_has_one_attempt(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.execution.stragglers.LEAST_S", 0.3)
    monkeypatch.setattr(ray_executor, "LOOK_S", 0.1)
    executor = RayExecutor()
    data = executor.share(None)
    for number in range(6):
        executor.submit(Work(f"quick-{number}"), data, [])
    until(executor, 6)
    stuck = [tmp_path / "a", tmp_path / "b"]
    for path in stuck:
        executor.submit(Work(path.name, path), data, [])
    deadline = time.monotonic() + DEADLINE_S
    while not all(path.exists() for path in stuck):
        assert time.monotonic() < deadline
        executor.completed(0.1)
    began = time.monotonic()
    while time.monotonic() < began + 2.0:  # many times as long as it takes to be called slow
        assert executor.completed(0.1) == []
    assert [len(path.read_text().split()) for path in stuck] == [1, 1]
    executor.close()


def test_worker_with_other_versions_ends_the_run_and_is_named(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "versions", lambda: (("numpy", "0.1"),))
    executor = RayExecutor()
    executor.submit(Work("one"), executor.share(None), [])
    with pytest.raises(RunError, match=r"the worker on [\d.]+ has numpy [\d.]+ \(the driver has 0\.1\); install"):
        until(executor, 1)
    executor.close()


@pytest.mark.slow
def test_run_whose_head_dies_ends_in_words_and_not_with_ray(
    folder: Path, make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RECONNECT, "12")
    log = folder / "log"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        command = [sys.executable, "-m", "orchestrator", "run", str(make_job()), "--out", "run"]
        with log.open("w") as file:
            driver = subprocess.Popen([*command, "--address", made.address], stderr=file, env=environment())
        deadline = time.monotonic() + DEADLINE_S
        while "waiting for a node" not in log.read_text():  # no node has a CPU, and the run has begun
            assert time.monotonic() < deadline
            assert driver.poll() is None, log.read_text()
            time.sleep(0.05)
        for kind in ("gcs_server", "raylet"):
            made.head_node.all_processes[kind][0].process.kill()
        assert driver.wait(DEADLINE_S) == 1
    finally:
        made.shutdown()
    said = re.search(
        r"^error: the head of the Ray cluster at [\d.]+:\d+ has not answered for \d+ s; ", log.read_text(), re.M
    )
    assert said, log.read_text()
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert (manifest["state"], manifest["exit_code"]) == ("failed", 1)
