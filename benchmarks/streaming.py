"""Networks trained from rows in a file: how much memory that takes, and what it costs in speed and in score.

    python benchmarks/streaming.py [--rows 20000000] [--small 1000000] [--data FILE --target COLUMN] [--folder DIR]

The rows are those of a real dataset (`covertype_sample` of the folder that ORCHESTRATOR_TEST_DATA names), repeated,
with noise of a hundredth of their deviation on columns of more than two values, and written **sorted by class**: each
row group holds one class.

* `small`: as many rows as fit in memory, three times over: in memory, streamed, and streamed from a file whose rows are
  shuffled. Speed is training rows a second of the search's units, scaling included, evaluations too; preparing is
  outside of it in both. The score is that of the best trial on the sealed test rows; four more seeds in memory say how
  far it goes from seed to seed.
* `large`: the rows of a dataset that does not fit, streamed. The resident memory of every process is sampled four times
  a second: its peak, and its highest in the first and in the last third of the training, which tell whether it is flat.

Each run is a process of its own with an inline executor: a driver, and a worker that has loaded TensorFlow. Where the
machine is busy, the CPU seconds of the workers say more than the speeds: rows are prepared by a thread beside training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

GROUP_ROWS = 1 << 17
HELD_MB, STREAMED_MB = 1 << 20, 1
BOUND_MIB = 2048
OTHER_SEEDS = (43, 44, 45, 46)
RATES = (1e-3, 1.6e-3, 2.5e-3, 4e-3)


def write_dataset(source: Path, target: str, out: Path, n_rows: int, *, is_sorted: bool = True) -> None:
    """Write a dataset of `n_rows` rows made of another's, sorted by class or shuffled."""
    table = pq.read_table(source)
    numbers = [name for name in table.column_names if name != target and len(table[name].unique()) > 2]
    spread = {name: 0.01 * float(np.std(table[name].to_numpy())) for name in numbers}
    classes = table[target].to_numpy(zero_copy_only=False)
    generator = np.random.default_rng(0)
    names, counts = np.unique(classes, return_counts=True)
    of_class = {name: np.flatnonzero(classes == name) for name in names}
    edges = np.concatenate([[0], np.round(np.cumsum(counts) * (n_rows / len(classes))).astype(np.int64)])
    kinds = [(name, pa.float32() if name in spread else table.schema.field(name).type) for name in table.column_names]
    schema = pa.schema(kinds)
    with pq.ParquetWriter(out, schema) as writer:
        for start in range(0, n_rows, GROUP_ROWS):
            n = min(GROUP_ROWS, n_rows - start)
            places = generator.integers(0, n_rows, n) if not is_sorted else np.arange(start, start + n)
            drawn = np.searchsorted(edges, places, side="right") - 1
            rows = np.concatenate(
                [generator.choice(of_class[name], int((drawn == i).sum())) for i, name in enumerate(names)]
            )
            if not is_sorted:
                generator.shuffle(rows)
            part = table.take(rows)
            columns = [
                pa.array((part[name].to_numpy() + generator.normal(0, spread[name], n)).astype(np.float32))
                if name in spread
                else part[name].combine_chunks()
                for name in schema.names
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=GROUP_ROWS)


def job_of(
    path: Path, target: str, epochs: int, data_mb: int, n_rows: int, trials: int = 4, seed: int = 42
) -> dict[str, Any]:
    """Return the job: networks of two layers, scored on a holdout of at most 100,000 rows."""
    share = min(0.1, 100_000 / n_rows)
    space = {
        "depth": 2,
        "width_1": 64,
        "width_2": 64,
        "batch_size": 512,
        "epochs": epochs,
        "learning_rate": list(RATES[:trials]),
        "scaler": "standard",
    }
    return {
        "name": "streaming",
        "data": {"path": str(path), "target": target, "test": {"fraction": share}},
        "validation": {"kind": "holdout", "fraction": share},
        "searches": [{"family": "mlp", "sampler": "grid", "space": space}],
        "resources": {"data_mb": data_mb},
        "seed": seed,
    }


def run(name: str, folder: Path, job: dict[str, Any], n_rows: int) -> dict[str, Any]:
    """Run a job in a process of its own, watch its memory, and return what came out."""
    out, file = folder / name, folder / f"{name}.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    job_file = file.rename(file.with_suffix(".yaml"))  # JSON is YAML
    command = [sys.executable, "-m", "orchestrator", "run", str(job_file), "--executor", "inline", "--out", str(out)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    samples: dict[int, list[tuple[float, float, float]]] = {}
    while process.poll() is None:
        for one in _tree(process.pid):
            try:
                now, cpu = time.monotonic() - started, one.cpu_times()
                samples.setdefault(one.pid, []).append((now, one.memory_info().rss / 2**20, cpu.user + cpu.system))
            except psutil.Error:
                continue
        time.sleep(0.25)
    (folder / f"{name}.memory.json").write_text(json.dumps(samples), encoding="utf-8")
    if process.returncode:
        raise SystemExit(f"{name}: the run ended with {process.returncode}")
    wall_s = time.monotonic() - started
    board = [row for row in pq.read_table(out / "leaderboard.parquet").to_pylist() if row["family"] == "mlp"]
    scores = json.loads((out / "statistics.json").read_text(encoding="utf-8"))["test"]["best"]
    trained = sum(row["fit_time_s"] for row in board)
    n_fit = n_rows * (1 - job["data"]["test"]["fraction"]) * (1 - job["validation"]["fraction"])
    n_epochs = job["searches"][0]["space"]["epochs"]
    return {
        "rows": n_rows,
        "wall_s": wall_s,
        "rows_a_second": len(board) * n_epochs * n_fit / trained,
        "validation": [row["score"] for row in sorted(board, key=lambda row: row["trial"])],
        "test": scores,
        "memory": {pid: _memory(series) for pid, series in samples.items() if len(series) > 8},
    }


def _tree(pid: int) -> list[psutil.Process]:
    try:
        whole = psutil.Process(pid)
        return [whole, *whole.children(recursive=True)]
    except psutil.Error:
        return []


def _memory(series: list[tuple[float, float, float]]) -> dict[str, float]:
    """Return peaks in MiB, of all and of the first and last third of the middle 80 % of the time; and CPU seconds."""
    first, last = series[0][0], series[-1][0]
    at = np.array([(moment - first) / max(1e-9, last - first) for moment, _, _ in series])
    size = np.array([mib for _, mib, _ in series])
    early, late = (at > 0.1) & (at < 0.37), (at > 0.63) & (at < 0.9)
    return {
        "peak": size.max(),
        "first_third": size[early].max(initial=0),
        "last_third": size[late].max(initial=0),
        "cpu_s": series[-1][2],
    }


def shown(name: str, found: dict[str, Any]) -> None:
    """Print what a run gave."""
    test = found["test"]
    print(
        f"{name}: {found['rows']:,} rows, {found['wall_s']:.0f} s in all, {found['rows_a_second']:,.0f} training rows "
        f"a second; test score {test['score']:.4f} ({test['low']:.4f} to {test['high']:.4f}), validation "
        f"{', '.join(f'{score:.4f}' for score in found['validation'])}"
    )
    for (_, one), role in zip(sorted(found["memory"].items()), ("driver", "worker", "other", "other"), strict=False):
        print(
            f"  {role}: peak {one['peak']:.0f} MiB; first third {one['first_third']:.0f}, last third "
            f"{one['last_third']:.0f}; {one['cpu_s']:.0f} CPU seconds"
        )


def main() -> int:
    """Run what is asked for, and return 1 where a bound is missed."""
    data = os.environ.get("ORCHESTRATOR_TEST_DATA")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000, help="of the large dataset; 0 leaves it out")
    parser.add_argument("--small", type=int, default=1_000_000, help="rows of the small one; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=3, help="of the small one; the large one has one")
    parser.add_argument("--data", type=Path, default=Path(data) / "covertype_sample.parquet" if data else None)
    parser.add_argument("--target", default="Cover_Type")
    parser.add_argument("--folder", type=Path, help="where datasets and runs go; a temporary one by default")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set ORCHESTRATOR_TEST_DATA, or give --data and --target")
    missed: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        if options.small:
            missed += _small(folder, options)
        if options.rows:
            missed += _large(folder, options)
    print("\n".join(missed) or "all bounds are met")
    return 1 if missed else 0


def _small(folder: Path, options: argparse.Namespace) -> list[str]:
    n, found = options.small, {}
    for is_sorted, called in ((True, "sorted"), (False, "shuffled")):
        write_dataset(options.data, options.target, folder / f"{called}.parquet", n, is_sorted=is_sorted)
    for name, file, data_mb in (
        ("in memory, sorted", "sorted", HELD_MB),
        ("streamed, sorted", "sorted", STREAMED_MB),
        ("streamed, shuffled", "shuffled", STREAMED_MB),
    ):
        job = job_of(folder / f"{file}.parquet", options.target, options.epochs, data_mb, n)
        found[name] = run(name.replace(", ", "-").replace(" ", "-"), folder, job, n)
        shown(name, found[name])
    held, streamed = found["in memory, sorted"], found["streamed, sorted"]
    ratio = streamed["rows_a_second"] / held["rows_a_second"]
    scores = [held["test"]["score"]]
    for seed in OTHER_SEEDS:
        job = job_of(folder / "sorted.parquet", options.target, options.epochs, HELD_MB, n, seed=seed)
        scores.append(run(f"seed-{seed}", folder, job, n)["test"]["score"])
    apart = streamed["test"]["score"] - statistics.fmean(scores)
    n_seeds = len(scores)
    noise = stats.t.ppf(0.975, n_seeds - 1) * statistics.stdev(scores) * (1 + 1 / n_seeds) ** 0.5
    print(
        f"speed of streaming: {ratio:.2f} of that in memory; its test score is {apart:+.4f} from the mean of {n_seeds} "
        f"seeds in memory, where another seed is within {noise:.4f} in 95 % of cases"
    )
    missed = [] if ratio >= 0.8 else [f"speed: {ratio:.2f} of that in memory; expected at least 0.8"]
    return missed + ([] if abs(apart) <= noise else [f"score: {apart:+.4f} apart; expected within {noise:.4f}"])


def _large(folder: Path, options: argparse.Namespace) -> list[str]:
    started = time.monotonic()
    write_dataset(options.data, options.target, folder / "large.parquet", options.rows)
    size = (folder / "large.parquet").stat().st_size / 1e6
    print(f"{options.rows:,} rows written in {time.monotonic() - started:.0f} s, {size:.0f} MB")
    job = job_of(folder / "large.parquet", options.target, 1, STREAMED_MB, options.rows, trials=2)
    found = run("large", folder, job, options.rows)
    shown("streamed, sorted", found)
    peak = max(one["peak"] for one in found["memory"].values())
    return [] if peak < BOUND_MIB else [f"memory: {peak:.0f} MiB in a process; expected less than {BOUND_MIB}"]


if __name__ == "__main__":
    raise SystemExit(main())
