"""Where networks' units go in a cluster with a GPU, and where without. The GPU is pretended: Ray is told of one."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import ray
import ray.cloudpickle
from ray.cluster_utils import Cluster

from orchestrator.execution import environment
from orchestrator.execution.environment import tensorflow_environment
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.families import base as families
from orchestrator.families.base import UnitOutput
from orchestrator.families.tensorflow_setup import gpu_fraction, memory_limit_mb, n_threads, uses_mixed_precision
from orchestrator.job import Resources

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True, slots=True)
class Classic(families.Unit):
    """A unit that tells where it computes."""

    id: str
    answers: tuple[str, ...] = ()
    needs: tuple[Any, ...] = ()
    cost: float = 0.0

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        node = ray.get_runtime_context().get_node_id()
        fraction = os.environ.get("ORCHESTRATOR_GPU_FRACTION")
        return UnitOutput(payload=(node, ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES"), fraction))


@dataclass(frozen=True, slots=True)
class Network(Classic):
    """The same in a process of TensorFlow, which computes there whether or not the GPU is real."""

    engine = "tensorflow"

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        import tensorflow as tf

        assert float(tf.reduce_sum(tf.ones((2, 2)))) == 4.0
        return Classic.compute(self, data, inputs)


@pytest.fixture(scope="module")
def gpu_node() -> Iterator[str]:
    """A cluster of a node without a GPU and one with; the latter's id."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    with_gpu = cluster.add_node(num_cpus=1, num_gpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        yield with_gpu.node_id
    finally:
        ray.shutdown()
        cluster.shutdown()


def seen_by(resources: Resources, *units: Classic) -> list[tuple[str, list[int], str | None, str | None]]:
    executor = RayExecutor(None, resources)
    assert executor.device("tensorflow") == ("cpu" if resources.device == "cpu" else "gpu")
    data = executor.share(None)
    for unit in units:
        executor.submit(unit, data, [])
    found: dict[str, Any] = {}
    while len(found) < len(units):
        found |= {done.unit_id: executor.fetch(done.payload) for done in executor.completed(60.0)}
    executor.close()
    return [found[unit.id] for unit in units]


@pytest.mark.slow
def test_networks_take_a_share_of_a_gpu_and_scikit_learn_none(gpu_node: str) -> None:
    units = [Network("n1"), Network("n2"), *(Classic(f"c{i}") for i in range(4))]
    *networks, c0, c1, c2, c3 = seen_by(Resources(device="auto", gpu_fraction=0.5), *units)
    assert networks == [(gpu_node, [0], "0", "0.5")] * 2
    assert [gpus for _, gpus, *_ in (c0, c1, c2, c3)] == [[]] * 4


@pytest.mark.slow
def test_networks_told_to_stay_on_cpus_see_no_gpu(gpu_node: str) -> None:
    ((_, gpus, visible, fraction),) = seen_by(Resources(device="cpu"), Network("n"))
    assert (gpus, visible, fraction) == ([], "-1", None)


def test_environment_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = Resources(threads=3, gpu_fraction=0.5, mixed_precision=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in tensorflow_environment(resources, has_gpu=True).items():
        monkeypatch.setenv(name, value)
    assert (n_threads(), gpu_fraction(), uses_mixed_precision()) == (3, 0.5, True)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_process_without_a_gpu_has_no_share_and_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRATOR_GPU_FRACTION", raising=False)
    for name, value in tensorflow_environment(Resources(), has_gpu=False).items():
        monkeypatch.setenv(name, value)
    assert (gpu_fraction(), uses_mixed_precision(), os.environ["CUDA_VISIBLE_DEVICES"]) == (None, False, "-1")
    assert environment.n_gpus_here() == 0


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.1])
def test_as_many_workers_as_fit_a_gpu_do_not_take_more_memory_than_it_has(fraction: float) -> None:
    assert 0.85 * 80_000 < round(1 / fraction) * memory_limit_mb(80_000, fraction) < 80_000
