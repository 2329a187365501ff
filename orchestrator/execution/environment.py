"""What processes that compute with TensorFlow find in their environment, before they load it; for every executor."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.families import tensorflow_setup as setup
from orchestrator.job import Resources

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def tensorflow_environment(resources: Resources, *, has_gpu: bool) -> dict[str, str]:
    """Return the variables, which follow from the job alone, but for oneDNN's switch: the driver's own, on by default.

    Args:
        resources: The job's resources.
        has_gpu: Whether the process is given a GPU; which one, CUDA_VISIBLE_DEVICES says.
    """
    threads = str(resources.threads)
    variables = {
        setup.THREADS: threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        ONEDNN: onednn(),
        "KERAS_BACKEND": "tensorflow",
        setup.MIXED_PRECISION: "1" if resources.mixed_precision else "0",
    }
    if has_gpu:
        return {**variables, setup.GPU_FRACTION: str(resources.gpu_fraction)}
    return {**variables, setup.VISIBLE_GPUS: "-1"}  # or a worker on a GPU node would take a GPU that is another's


def onednn() -> str:
    """Return oneDNN's switch as every process of the run has it; results on CPUs depend on it."""
    return os.environ.get(ONEDNN, "1")


def uses_gpu(resources: Resources, has_gpu: bool, where: str) -> bool:
    """Decide whether networks train on GPUs.

    Raises:
        JobError: The job asks for GPUs, and there are none.
    """
    if resources.device == "gpu" and not has_gpu:
        raise JobError(f"resources.device: found gpu, and {where} has no GPU; expected auto or cpu there")
    return resources.device != "cpu" and has_gpu


def n_gpus_here() -> int:
    """Return how many NVIDIA GPUs this machine has and CUDA_VISIBLE_DEVICES shows."""
    visible = os.environ.get(setup.VISIBLE_GPUS)
    shown = None if visible is None else [one for one in visible.split(",") if one.strip() not in ("", "-1")]
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    return len(devices) if shown is None else min(len(devices), len(shown))
