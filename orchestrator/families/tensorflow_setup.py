"""How TensorFlow is set up in a worker's process. Nothing here imports it before `set_up_tensorflow` is called."""

from __future__ import annotations

import gc
import os
import subprocess
from contextlib import suppress
from functools import cache
from typing import Any

THREADS = "TF_NUM_INTRAOP_THREADS"
MIXED_PRECISION = "ORCHESTRATOR_MIXED_PRECISION"
GPU_FRACTION = "ORCHESTRATOR_GPU_FRACTION"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"

CONTEXT_SHARE = 0.1
"""What of a worker's share of a GPU's memory is left to CUDA's context and kernels, which TensorFlow does not count."""


def n_threads() -> int:
    """Return how many threads an operation of this process may use."""
    return int(os.environ.get(THREADS) or 1)


def gpu_fraction() -> float | None:
    """Return the share of a GPU that this process has; None where it has none."""
    given = os.environ.get(GPU_FRACTION)
    return float(given) if given else None


def uses_mixed_precision() -> bool:
    """Tell whether networks of this process compute in bfloat16."""
    return os.environ.get(MIXED_PRECISION) == "1"


@cache
def set_up_tensorflow() -> None:
    """Import TensorFlow and fix what results depend on: threads, determinism, precision, GPU memory. Once a process."""
    import keras  # noqa: F401  (every unit needs it)
    import tensorflow as tf

    with suppress(RuntimeError):  # this process had begun to compute with it, and keeps what it began with
        tf.config.threading.set_intra_op_parallelism_threads(n_threads())
        tf.config.threading.set_inter_op_parallelism_threads(1)
        _limit_memory(tf)
    tf.config.experimental.enable_op_determinism()
    if uses_mixed_precision():
        # Not float16: bfloat16 has the range of float32, so that no loss has to be scaled, and CPUs know it too.
        tf.keras.config.set_dtype_policy("mixed_bfloat16")
    # Hundreds of thousands of objects, here to stay: collections would go through them for a fifth of a trace's time.
    gc.collect()
    gc.freeze()


def _limit_memory(tf: Any) -> None:
    """Bound what this process takes of its GPU; where the GPU's size is not to be had, let it grow as it needs."""
    fraction = gpu_fraction()
    for gpu in tf.config.list_physical_devices("GPU") if fraction is not None else ():
        total_mb = _total_mb()
        if total_mb is None or fraction is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit_mb(total_mb, fraction))
            tf.config.set_logical_device_configuration(gpu, [limit])


def memory_limit_mb(total_mb: int, fraction: float) -> int:
    """Return how many MB of a GPU TensorFlow may take in a process that has `fraction` of it."""
    return int(total_mb * fraction * (1 - CONTEXT_SHARE))


def _total_mb() -> int | None:
    """Return the memory of this process's first GPU, as the driver tells it; TensorFlow does not."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get(VISIBLE_GPUS, "").split(",")[0].strip()
    try:
        told = subprocess.run(  # noqa: S603  (constants, and what the driver numbers GPUs by)
            command + (["-i", visible] if visible else []), capture_output=True, text=True, timeout=30, check=True
        )
        return int(told.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
