"""A KNN grid searched by scikit-learn, by Ray Tune and by the orchestrator, and the memory of a large one.

    python benchmarks/knn_grid.py [--only digits,wide,large] [--tune-seconds 60] [--repeats 3]

`digits` (1,797 x 64, 400 configurations) and `wide` (20,000 x 30, 104 configurations): the same grid over the same five
stratified folds, standard scaler, by

* scikit-learn's `GridSearchCV(n_jobs=-1, refit=False)` of a pipeline, once, its processes started beforehand;
* Ray Tune with OptunaSearch, one configuration a trial, for `--tune-seconds`, once as it comes and once told to let a
  worker serve many trials (`reuse_actors`); what the whole grid would take is extrapolated from its cost a trial after
  the first, without its start-up (needs the extra `bench`, else left out);
* the orchestrator on Ray: the whole `run()` (read, plan, search, leaderboard, refit, model saved) and its search alone,
  the median of `--repeats` runs. Ray is up and its workers have run a job on tiny data; that start-up is shown apart.

The mean scores of GridSearchCV and the orchestrator are compared, configuration by configuration. They may differ where
two training rows are equally far from a query at the k-th place: which of them counts is scikit-learn's accident.

`large` (covertype, 92,962 x 54, from the folder of Parquet files that ORCHESTRATOR_TEST_DATA names, else 90,000 rows
made up): the orchestrator alone, with the peak memory of the driver and of every worker. Linux alone has the figures.

Run it on a quiet machine. Workers have the priority of the driver (Ray's own default is a niceness of 15), so that
beside other work all three get the same share of the CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import peers
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import orchestrator
from orchestrator import Data, Job, Range, Search, Validation
from orchestrator.space import Space, grid

SEED, FOLDS = 42, 5
WEIGHTS = ["uniform", "distance"]
LIMIT_BYTES = 2 << 30
SAME = 1e-12
PARTS = ("digits", "wide", "large")


@dataclass(frozen=True, slots=True)
class Case:
    """A dataset, as arrays and as Parquet, and a grid."""

    name: str
    X: Any
    y: Any
    path: Path
    space: Space

    @property
    def n_points(self) -> int:
        """How many configurations the grid has."""
        return len(list(grid(self.space, {})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, separated by commas (all by default)")
    parser.add_argument("--tune-seconds", type=float, default=60.0, help="how long Ray Tune may run (0: not at all)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the orchestrator, whose median is shown")
    parser.add_argument("--rows", type=int, help="use so many rows alone, to try the script")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: no part {sorted(unknown)[0]!r}; expected some of {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    print(peers.machine())
    with peers.scratch() as folder, peers.started_ray() as ray_s:
        began = time.perf_counter()
        warm_up(folder)
        print(f"start-up, once: Ray {ray_s:.1f} s, then a job on tiny data {time.perf_counter() - began:.1f} s")
        if "digits" in parts:
            compare(digits(folder, options.rows), folder, options.tune_seconds, options.repeats)
        if "wide" in parts:
            compare(wide(folder, options.rows), folder, options.tune_seconds, options.repeats)
        if "large" in parts:
            measure_memory(folder, options.rows)


def digits(folder: Path, n_rows: int | None) -> Case:
    X, y = load_digits(return_X_y=True)
    space: Space = {
        "n_neighbors": Range(1, 50),
        "weights": list(WEIGHTS),
        "metric": ["euclidean", "manhattan", "chebyshev", "cosine"],
        "scaler": ["standard"],
    }
    return case("digits", X[:n_rows], y[:n_rows], folder, space)


def wide(folder: Path, n_rows: int | None) -> Case:
    X, y = make_classification(n_rows or 20_000, 30, n_informative=15, n_classes=3, random_state=SEED)
    space: Space = {
        "n_neighbors": Range(1, 51, 2),
        "weights": list(WEIGHTS),
        "metric": ["euclidean", "manhattan"],
        "scaler": ["standard"],
    }
    return case("wide", X, y, folder, space)


def case(name: str, X: Any, y: Any, folder: Path, space: Space) -> Case:
    path = folder / f"{name}.parquet"
    columns = {f"f{i:02d}": X[:, i] for i in range(X.shape[1])}
    pq.write_table(pa.table({**columns, "target": y}), path)
    return Case(name, X, y, path, space)


def job_of(name: str, path: Path, target: str, space: Space) -> Job:
    return Job(
        name=name,
        data=Data(str(path), target=target, task="classification", test=None),
        validation=Validation(kind="stratified", folds=FOLDS),
        metric="accuracy",
        seed=SEED,
        searches=(Search("knn", sampler="grid", space=space),),
    )


def warm_up(folder: Path) -> None:
    """Let workers import what they need, and forget what they keep of earlier data."""
    peers.warm_workers("orchestrator.families.knn", "orchestrator.results.model", "skops.io")
    X, y = make_classification(300, 4, random_state=SEED)
    space: Space = {"n_neighbors": Range(1, 5), "metric": ["euclidean", "manhattan", "chebyshev", "cosine"]}
    tiny = case("tiny", X, y, folder, {**space, "scaler": ["standard"]})
    ours(tiny, folder)


@dataclass(frozen=True, slots=True)
class Ours:
    """One run of the orchestrator."""

    run_s: float
    search_s: float
    scores: dict[tuple[Any, ...], float]


def ours(one: Case, folder: Path, target: str = "target") -> Ours:
    out = folder / f"run-{time.monotonic_ns()}"
    job = job_of(one.name, one.path, target, one.space)
    began = time.perf_counter()
    result = orchestrator.run(job, out, executor="ray")
    run_s = time.perf_counter() - began
    session = json.loads((out / "manifest.json").read_text())["timings"]["sessions"][-1]
    rows = [row for row in result.leaderboard.rows if row.family == "knn"]
    if any(row.state != "completed" for row in rows):
        raise SystemExit(f"{one.name}: a trial failed: {next(row.error for row in rows if row.error)}")
    scores = {point(row.params): float(row.score or 0.0) for row in rows}
    return Ours(run_s, session["search_s"], scores)


def point(params: Any) -> tuple[Any, ...]:
    return params["n_neighbors"], params.get("weights", "uniform"), params["metric"]


def model() -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("knn", KNeighborsClassifier())])


def folds() -> StratifiedKFold:
    return StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)


def grid_search(one: Case, points: Sequence[Any]) -> tuple[float, dict[tuple[Any, ...], float]]:
    axes = {f"knn__{name}": sorted({p[name] for p in points}, key=str) for name in ("n_neighbors", "weights", "metric")}
    GridSearchCV(model(), {"knn__n_neighbors": range(1, 9)}, cv=2, n_jobs=-1).fit(one.X[:200], one.y[:200])
    search = GridSearchCV(model(), axes, scoring="accuracy", cv=folds(), n_jobs=-1, refit=False)
    began = time.perf_counter()
    search.fit(one.X, one.y)
    seconds = time.perf_counter() - began
    get_reusable_executor().shutdown()
    found = search.cv_results_
    params = [{name.removeprefix("knn__"): value for name, value in p.items()} for p in found["params"]]
    return seconds, {point(p): float(s) for p, s in zip(params, found["mean_test_score"], strict=True)}


def cross_validated(config: dict[str, Any], X: Any, y: Any) -> dict[str, float]:
    one = model().set_params(**{f"knn__{name}": value for name, value in config.items()})
    return {"score": float(cross_val_score(one, X, y, scoring="accuracy", cv=folds()).mean())}


def tune_search(one: Case, points: Sequence[Any], folder: Path, limit_s: float, reuses: bool) -> peers.TuneCost | None:
    if limit_s <= 0:
        return None
    space = {name: sorted({p[name] for p in points}, key=str) for name in ("n_neighbors", "weights", "metric")}
    return peers.tune_cost(
        cross_validated,
        space,
        folder / f"{one.name}-{reuses}",
        uses_optuna=True,
        limit_s=limit_s,
        data={"X": one.X, "y": one.y},
        reuses_actors=reuses,
    )


def compare(one: Case, folder: Path, tune_s: float, repeats: int) -> None:
    points, n_points = list(grid(one.space, {})), one.n_points
    n_rows, n_columns = one.X.shape
    print(f"\n{one.name}: {n_rows:,} rows x {n_columns} features, {n_points} configurations x {FOLDS} folds")
    runs = []
    for _ in range(repeats):
        warm_up(folder)
        runs.append(ours(one, folder))
    grid_s, grid_scores = grid_search(one, points)
    tuned = {
        "Ray Tune, OptunaSearch": tune_search(one, points, folder, tune_s, False),
        "  with reuse_actors": tune_search(one, points, folder, tune_s, True),
    }
    run_s, search_s = (statistics.median(getattr(r, name) for r in runs) for name in ("run_s", "search_s"))
    spread = f"median of {repeats}: {min(r.run_s for r in runs):.2f} to {max(r.run_s for r in runs):.2f} s"
    table = [("GridSearchCV(n_jobs=-1)", grid_s, "")]
    for name, cost in tuned.items():
        if cost is not None and cost.n_trials:
            note = f"EXTRAPOLATED: {cost.n_trials} trials in {cost.last_s:.1f} s, {cost.a_trial:.2f} s each after one"
            table.append((name, cost.a_trial * n_points, note))
    table += [("orchestrator, whole run()", run_s, spread), ("orchestrator, its search", search_s, "")]
    print(f"{'':28}{'seconds':>10}{'GridSearchCV/it':>17}")
    for name, seconds, note in table:
        print(f"{name:28}{seconds:10.2f}{grid_s / seconds:17.2f}  {note}".rstrip())
    if None in tuned.values():
        print("Ray Tune: left out" + (', not installed (pip install "ray[tune]")' if tune_s > 0 else ""))
    for name, cost in tuned.items():
        if cost is not None and not cost.n_trials:
            print(f"{name.strip()}: no trial finished in {tune_s:g} s")
    fastest = min((row for row in table if row[0] != "orchestrator, its search"), key=lambda row: row[1])
    print(f"fastest: {fastest[0]}")
    agreement(one, grid_scores, runs[-1].scores)


def agreement(one: Case, expected: dict[tuple[Any, ...], float], found: dict[tuple[Any, ...], float]) -> None:
    if expected.keys() != found.keys():
        raise SystemExit(f"the grids differ: {len(expected)} configurations and {len(found)}")
    gaps = {key: abs(expected[key] - found[key]) for key in expected}
    apart = sorted(key for key, gap in gaps.items() if gap > SAME)
    largest = max(gaps.values())
    print(f"mean scores: {len(apart)} of {len(gaps)} configurations differ, by {largest:.2g} at most")
    if apart:
        tied = {metric: tied_ks(one, metric) for metric in {metric for _, _, metric in apart}}
        n_tied = sum(k in tied[metric] for k, _, metric in apart)
        kinds = ", ".join(sorted({f"{metric}/{weights}" for _, weights, metric in apart}))
        print(f"  {n_tied} of these have queries with equal distances at the k-th place ({kinds})")
    best = max(expected.values())
    print(f"best mean score: GridSearchCV {best:.6f}, orchestrator {max(found.values()):.6f}")


def tied_ks(one: Case, metric: str) -> set[int]:
    """Return every k at which some query's k-th neighbour is as far as the next one."""
    tied: set[int] = set()
    k = max(p["n_neighbors"] for p in grid(one.space, {})) + 1
    for train, valid in folds().split(one.X, one.y):
        fitted = model().set_params(knn__n_neighbors=k, knn__metric=metric).fit(one.X[train], one.y[train])
        distances, _ = fitted["knn"].kneighbors(fitted["scale"].transform(one.X[valid]))
        tied.update((np.flatnonzero((distances[:, 1:] == distances[:, :-1]).any(axis=0)) + 1).tolist())
    return tied


@dataclass(slots=True)
class Peak:
    """The most memory that a process had: private (RSS without what it shares), and all."""

    kind: str
    private: int = 0
    rss: int = 0


@dataclass(slots=True)
class Peaks:
    """The peaks of all processes, by pid, and of their sum."""

    processes: dict[int, Peak] = field(default_factory=dict)
    total_private: int = 0


@contextmanager
def sampled_memory(every_s: float = 0.2) -> Iterator[Peaks]:
    """Look at the driver's and the workers' memory all the while."""
    peaks, done = Peaks(), threading.Event()
    me = psutil.Process()

    def sample() -> None:
        while not done.wait(every_s):
            total = 0
            for kind, process in [("driver", me), *(("worker", w) for w in peers.ray_workers(me))]:
                try:
                    memory = process.memory_full_info()
                except psutil.Error:
                    continue
                peak = peaks.processes.setdefault(process.pid, Peak(kind))
                peak.private, peak.rss = max(peak.private, memory.uss), max(peak.rss, memory.rss)
                total += memory.uss
            peaks.total_private = max(peaks.total_private, total)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def measure_memory(folder: Path, n_rows: int | None) -> None:
    space: Space = {
        "n_neighbors": Range(1, 50),
        "weights": list(WEIGHTS),
        "metric": ["euclidean", "cosine"],
        "scaler": ["standard"],
    }
    given = os.environ.get("ORCHESTRATOR_TEST_DATA")
    covertype = Path(given or "") / "covertype_sample.parquet"
    if given and covertype.exists():
        target, path, name = "Cover_Type", covertype, "covertype"
        if n_rows:
            path = folder / "covertype.parquet"
            pq.write_table(pq.read_table(covertype).slice(0, n_rows), path)
    else:
        X, y = make_classification(n_rows or 90_000, 54, n_informative=20, n_classes=7, random_state=SEED)
        path, target, name = case("large", X, y, folder, space).path, "target", "made up"
        del X, y
    metadata = pq.read_metadata(path)
    one = Case("large", np.empty((0, 0)), None, path, space)
    print(
        f"\nlarge ({name}): {metadata.num_rows:,} rows x {metadata.num_columns - 1} features, "
        f"{one.n_points} configurations x {FOLDS} folds, the orchestrator alone"
    )
    warm_up(folder)
    with sampled_memory() as peaks:
        run = ours(one, folder, target)
    print(f"whole run() {run.run_s:.1f} s, its search {run.search_s:.1f} s")
    print(f"{'peak memory':16}{'pid':>8}{'private MiB':>14}{'RSS MiB':>10}")
    for pid, peak in sorted(peaks.processes.items(), key=lambda item: (item[1].kind, item[0])):
        print(f"{peak.kind:16}{pid:8}{peak.private / 2**20:14.0f}{peak.rss / 2**20:10.0f}")
    print(f"{'all at once':24}{peaks.total_private / 2**20:14.0f}")
    most = max(peak.rss for peak in peaks.processes.values())
    verdict = "below" if most < LIMIT_BYTES else "NOT BELOW"
    print(f"every process is {verdict} 2 GiB (largest RSS, shared pages and all: {most / 2**20:.0f} MiB)")


if __name__ == "__main__":
    main()
