"""What `predict` costs beside the model: rows a second and peak memory, over real data tiled up.

    python benchmarks/predict.py DATA.parquet --target COLUMN [--families knn mlp] [--workers 2] [--bound-mb 64]

The dataset is ten times as large as the memory bound, as Arrow has it in memory; the bound is what a batch may take.
The bare model is `Model.predict` over tables in memory, in as many processes, each with one thread as a worker has.
Memory is what workers have for themselves, at most, for the dataset and for a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator
from orchestrator import Data, Job, Model, Search
from orchestrator.data.encode import Signature
from orchestrator.execution.environment import tensorflow_environment
from orchestrator.families.limits import one_thread
from orchestrator.job import Resources
from orchestrator.results.predict import default_batch_rows

TIMES_LARGER = 10
SPACES = {
    "knn": {"n_neighbors": [5], "weights": ["distance"], "scaler": ["standard"]},
    "mlp": {"depth": [2], "width_1": [64], "width_2": [64], "epochs": [5], "batch_size": [128], "dropout": [0.0]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--families", nargs="+", default=list(SPACES))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--bound-mb", type=int, default=64)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        compute_bare(options.bare, options.data, options.rows)
        return
    with tempfile.TemporaryDirectory(prefix="predict-") as name:
        folder = Path(name)
        n_rows = tile(options.data, folder / "large.parquet", TIMES_LARGER * options.bound_mb << 20)
        tile(options.data, folder / "small.parquet", options.bound_mb << 20)
        for family in options.families:
            measure(family, options, folder, n_rows)


def tile(source: Path, into: Path, n_bytes: int) -> int:
    """Write a dataset over and over, until it takes so many bytes in memory; return its rows."""
    table = pq.read_table(source)
    n_rows = 0
    with pq.ParquetWriter(into, table.schema) as writer:
        while n_rows * table.nbytes // len(table) < n_bytes:
            block = pa.concat_tables([table] * max(1, 1_000_000 // len(table)))
            writer.write_table(block, row_group_size=1 << 20)
            n_rows += len(block)
    return n_rows


def measure(family: str, options: argparse.Namespace, folder: Path, n_rows: int) -> None:
    run = folder / family
    search = Search(family, space=SPACES[family], sampler="random", trials=1)
    data = Data(str(options.data.resolve()), target=options.target)
    orchestrator.run(Job(family, data, (search,)), run, executor="inline")
    described = json.loads((run / "best" / "signature.json").read_text())
    batch_rows = default_batch_rows(Signature.from_dict(described["signature"]))
    peaks: list[float] = []
    steps: list[tuple[float, int]] = []
    seconds = 0.0
    for size in ("small", "large"):
        out = folder / f"{family}-{size}"
        with workers_of(options.workers), watched() as peak:
            steps.clear()
            began = time.perf_counter()
            orchestrator.predict(
                *(run, folder / f"{size}.parquet", out),
                batch_rows=batch_rows,
                on_progress=lambda one: steps.append((time.perf_counter(), one.n_rows_done)),
            )
            seconds = time.perf_counter() - began
        peaks.append(peak["mb"])
        shutil.rmtree(out)
    bare = bare_rows_per_s(run / "best", folder / "large.parquet", n_rows, options.workers)
    rate = n_rows / seconds
    (first_s, first_rows), (last_s, last_rows) = steps[options.workers - 1], steps[-1]
    steady = (last_rows - first_rows) / (last_s - first_s)
    size = f"{n_rows:,} rows, {TIMES_LARGER * options.bound_mb} MiB, {batch_rows:,} rows a batch"
    print(f"{family}: {size}, {options.workers} workers")
    print(f"  predict {rate:,.0f} rows/s with its start ({seconds:.1f} s); {steady:,.0f} once all workers compute")
    print(f"  bare model {bare:,.0f} rows/s; ratios {rate / bare:.2f} and {steady / bare:.2f}")
    print(f"  peak memory of a worker {peaks[1]:.0f} MB; for a tenth {peaks[0]:.0f} MB", flush=True)


@contextmanager
def workers_of(n_workers: int) -> Iterator[None]:
    import ray

    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Give the most memory, in MB, that a worker below this process has had for itself."""
    peak, is_over = {"mb": 0.0}, threading.Event()

    def look() -> None:
        while not is_over.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.cmdline()[:1] == ["ray::orchestrator.unit"]:
                        info = process.memory_info()
                        peak["mb"] = max(peak["mb"], (info.rss - info.shared) / 1e6)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def bare_rows_per_s(model: Path, data: Path, n_rows: int, n_workers: int) -> float:
    """Return how many rows a second so many processes predict that have model and rows in memory."""
    share = n_rows // n_workers
    environment = {**os.environ, **tensorflow_environment(Resources(), has_gpu=False)}
    command = [sys.executable, __file__, str(data), "--bare", str(model), "--rows", str(share)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(n_workers)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == "done\n"
    seconds = time.perf_counter() - began
    for process in processes:
        process.communicate()
    return share * n_workers / seconds


def compute_bare(folder: Path, data: Path, n_rows: int) -> None:
    if (folder / "model.keras").exists():
        from orchestrator.families.tensorflow_setup import set_up_tensorflow

        set_up_tensorflow()
    model, table = Model.load(folder), pq.read_table(data).slice(0, n_rows).combine_chunks()
    with one_thread():
        model.predict(table.slice(0, 2048))
        print("ready", flush=True)
        sys.stdin.readline()
        model.predict(table)
    print("done", flush=True)


if __name__ == "__main__":
    main()
