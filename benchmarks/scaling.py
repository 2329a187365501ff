"""How a search scales: one and two workers on this machine, and a thousand in a simulation.

    python benchmarks/scaling.py [--only real,simulation] [--trials 100000] [--workers 1000]

`real`: the same KNN job on Ray with one worker and with two, and beside it two processes that know nothing of each
other, each of which searches the whole job inline. What two processes reach together is what this machine gives (its
memory and caches are shared); the orchestrator's two workers must reach 0.9 of it.

`simulation`: the real search loop with its ledger, its proposals and its plan, on workers that compute nothing: a unit
takes a time drawn from a lognormal distribution (sigma 0.7, mean 60 s), and 2 % of them fail. The clock is false, but
for the driver: the seconds that it really takes pass in the simulation too, so that workers wait for it if it is slow.
Utilisation is what workers computed for answers that count, of what they could have, from the first unit's start to the
last one's end. What bounds it is the end: once nothing is left to start, workers wait for the last units. A second
attempt at those that take far longer than others makes it shorter (an attempt's time is drawn anew, as where a slow
machine is to blame); random search is shown without them too. Shown for random search, for TPE told in whole batches
and for TPE that does not wait (`schedule: async`), each with the driver's time a trial and the growth of its memory.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import empty_family
import numpy as np
import peers
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from sklearn.datasets import make_classification

import orchestrator
from orchestrator import Data, Job, Range, Search, Validation, families
from orchestrator.compose import first_generations, prepare, states_of
from orchestrator.execution.base import Completion, Device, Handle
from orchestrator.execution.stragglers import Stragglers
from orchestrator.families.base import Engine, Failure, WorkUnit
from orchestrator.ledger import Ledger
from orchestrator.search.loop import SearchLoop

MEAN_S, SIGMA, FAILING = 60.0, 0.7, 0.02
TARGET_EFFICIENCY, TARGET_USE, TARGET_MS = 0.9, 0.95, 6.0
LOOK_S = 1.0
AHEAD = 5
"""Units that the executor on Ray keeps submitted for each worker, the running one among them."""


class Simulated:
    """An executor of `n_workers` who compute nothing: each attempt at a unit takes a time that its name decides.

    As on Ray, workers take units in the order of their submission, and one that has nothing to do helps with a unit
    that takes far longer than others, by the same rule.
    """

    def __init__(self, n_workers: int, *, helps: bool = True) -> None:
        self.n_workers = n_workers
        self.now = 0.0
        self.useful_s = 0.0
        self.helping_s = 0.0
        self.last_start = 0.0
        self.after_last_start_s = 0.0
        self._helps = helps
        self._queue: deque[WorkUnit] = deque()
        self._running: dict[str, list[tuple[float, float]]] = {}
        self._ends: list[tuple[float, int, WorkUnit, float]] = []
        self._n_idle = n_workers
        self._n = 0
        self._stragglers = Stragglers()
        self._looked_at = 0.0
        self._returned_at = time.perf_counter()

    def share(self, value: object) -> Handle:
        """Return the value itself."""
        return value

    def prewarm(self, engine: Engine) -> None:
        """Nothing is to be set up."""

    def device(self, engine: Engine) -> Device:
        """Return the CPU: nothing is computed."""
        return "cpu"

    def capacity(self, engine: Engine) -> int:
        """Return what the executor on Ray would."""
        return self.n_workers * AHEAD

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle], *, is_limited: bool = True) -> None:
        """Let a unit wait for a worker."""
        self._pass()
        self._queue.append(unit)
        self._stragglers.submitted(unit.id, "trial", unit.cost)
        self._start()

    def _start(self) -> None:
        while self._queue and self._n_idle:
            self._attempt(self._queue.popleft(), 0)
            self.last_start = self.now

    def _attempt(self, unit: WorkUnit, number: int) -> None:
        generator = np.random.default_rng([int(unit.id.rpartition("/")[2], 16), number])
        seconds = float(generator.lognormal(math.log(MEAN_S) - SIGMA**2 / 2, SIGMA))
        self._n_idle -= 1
        self._n += 1
        self._running.setdefault(unit.id, []).append((self.now, seconds))
        heapq.heappush(self._ends, (self.now + seconds, self._n, unit, seconds))

    def _pass(self) -> None:
        """Let the time that the driver took pass."""
        self.now += time.perf_counter() - self._returned_at
        self._returned_at = time.perf_counter()

    def completed(self, timeout_s: float) -> list[Completion]:
        """Let time pass until a unit ends; return those that have."""
        self._pass()
        found: list[Completion] = []
        while self._ends and (not found or self._ends[0][0] <= self.now):
            look_at = max(self.now, self._looked_at + LOOK_S)
            if not found and self._helps and look_at <= max(self.now, self._ends[0][0]):
                self._looked_at = self.now = look_at
                for name in self._stragglers.look(self.n_workers, self.now):
                    self._attempt(next(unit for _, _, unit, _ in self._ends if unit.id == name), 1)
                continue
            end, _, unit, seconds = heapq.heappop(self._ends)
            self.now = max(self.now, end)
            attempts = self._running.pop(unit.id, None)
            if attempts is None:  # another attempt was faster
                continue
            self._n_idle += len(attempts)
            self._stragglers.ended(unit.id, seconds)
            self.useful_s += seconds
            self.helping_s += sum(end - began for began, _ in attempts) - seconds
            fails = share_of(unit.id) < FAILING
            outcome = Failure("raised", "a failure of the simulation") if fails else unit.compute(None, ())
            found.append(Completion(unit.id, outcome))
            self._start()
        self._returned_at = time.perf_counter()
        return found

    def notes(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def fetch(self, handle: Handle) -> Any:
        """Return the value."""
        return handle

    def abandon(self) -> None:
        """Forget what runs."""
        self._ends.clear()

    def close(self) -> None:
        """Forget what runs."""
        self.abandon()


def share_of(text: str) -> float:
    """Return a number from 0 to 1 that follows from a text."""
    return int(text.rpartition("/")[2], 16) % 10_007 / 10_007


def simulate(folder: Path, data: Path, name: str, search: Search, n_workers: int, *, helps: bool = True) -> None:
    job = Job(
        name="simulated",
        data=Data(str(data), target="target", task="classification", test=None),
        validation=Validation(kind="holdout", fraction=0.2),
        searches=(search,),
    )
    prepared = prepare(job)
    opened = first_generations(prepared.job)
    states = states_of(prepared.job, prepared.shape, opened)
    executor = Simulated(n_workers, helps=helps)
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    grown: list[int] = []

    def watch(progress: Any) -> None:
        if progress.n_finished // 5000 >= len(grown):
            grown.append(process.memory_info().rss)

    with Ledger(folder / name / "ledger") as ledger:
        ledger.append(opened)
        SearchLoop(states, {}, ledger, executor, None, on_progress=watch).run()
    took = time.perf_counter() - began
    (state,) = states
    n_trials = len(state.results)
    whole, helped = (s / (n_workers * executor.now) for s in (executor.useful_s, executor.helping_s))
    target = (
        "" if "batch" in name or not helps else f"(target {TARGET_USE:g}: {'met' if whole >= TARGET_USE else 'MISSED'})"
    )
    cost = 1000 * took / n_trials
    print(f"\n{name}: {n_trials} trials, {state.n_failed} failed, {n_workers} workers, {executor.now / 3600:.2f} h")
    print(f"  utilisation        {whole:7.3f}   {target}")
    print(f"  second attempts    {helped:7.3f}   of what workers could have computed, and not counted above")
    end_s = executor.now - executor.last_start
    print(
        f"  the end            {end_s:7.0f} s, from when nothing was left to start: {end_s / executor.now:.3f} of all"
    )
    print(f"  driver              {cost:6.2f} ms a trial   (target {TARGET_MS:g}: {verdict(cost <= TARGET_MS)})")
    print(f"  it could keep       {1000 * MEAN_S / cost:6.0f} workers busy with trials of {MEAN_S:g} s")
    kb = (process.memory_info().rss - before) / 1024 / n_trials
    late = (grown[-1] - grown[len(grown) // 2]) / 1024 / max(1, 5000 * (len(grown) - 1 - len(grown) // 2))
    print(f"  driver's memory    {kb:7.2f} KB a trial, {late:.2f} in the second half")


def verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def heavy_job(path: Path) -> Job:
    """Return a KNN search whose planes take about a minute of one core."""
    space = {
        "n_neighbors": Range(1, 40),
        "weights": ["uniform", "distance"],
        "metric": ["euclidean", "manhattan", "chebyshev"],
        "scaler": ["none", "standard", "minmax", "robust"],
    }
    return Job(
        name="scaling",
        data=Data(str(path), target="target", task="classification", test=None),
        searches=(Search("knn", sampler="grid", space=space),),
        metric="accuracy",
    )


def search_s(folder: Path, path: Path, n_workers: int) -> float:
    out = folder / f"ray-{n_workers}"
    ray.init(address="local", num_cpus=n_workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        peers.warm_workers("sklearn.neighbors")
        orchestrator.run(heavy_job(path), out, executor="ray")
    finally:
        ray.shutdown()
    return float(json.loads((out / "manifest.json").read_text())["timings"]["sessions"][-1]["search_s"])


def alone(folder: str, path: str, name: str) -> None:
    """Search the whole job inline, in a process of its own."""
    orchestrator.run(heavy_job(Path(path)), Path(folder) / name, executor="inline")


def two_alone_s(folder: Path, path: Path) -> float:
    """Return how long two processes take for the whole job each, side by side; the slower one's seconds."""
    names = ("alone-1", "alone-2")
    started = [subprocess.Popen([sys.executable, __file__, "--alone", str(folder), str(path), name]) for name in names]
    for process in started:
        if process.wait():
            raise SystemExit("a process that searched alone failed")
    manifests = [json.loads((folder / name / "manifest.json").read_text()) for name in names]
    return max(float(one["timings"]["sessions"][-1]["search_s"]) for one in manifests)


def real(folder: Path, n_rows: int) -> None:
    X, y = make_classification(n_rows, 24, n_informative=12, n_classes=4, random_state=0)
    path = folder / "heavy.parquet"
    pq.write_table(pa.table({**{f"f{i:02d}": X[:, i] for i in range(X.shape[1])}, "target": y}), path)
    one, two, apart = search_s(folder, path, 1), search_s(folder, path, 2), two_alone_s(folder, path)
    reached = apart / 2 / two
    print(f"\nreal: {n_rows} rows, 960 KNN configurations x 5 folds")
    print(f"  1 worker            {one:7.1f} s")
    print(f"  2 workers           {two:7.1f} s   {one / two:.2f} times as fast")
    print(f"  2 processes apart   {apart:7.1f} s for the job twice, {apart / 2:.1f} s for one")
    print(
        f"  2 workers reach {reached:.2f} of what two processes reach   "
        f"(target {TARGET_EFFICIENCY:g}: {verdict(reached >= TARGET_EFFICIENCY)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="real,simulation", help="which parts, separated by commas")
    parser.add_argument("--trials", type=int, default=100_000, help="trials of each simulated search")
    parser.add_argument("--workers", type=int, default=1000, help="simulated workers")
    parser.add_argument("--samplers", default="random,unhelped,async,batch", help="which searches are simulated")
    parser.add_argument("--rows", type=int, default=26_000, help="rows of the real job")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where the runs are kept meanwhile")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.alone:
        alone(*options.alone)
        return
    families.register(empty_family.Empty())
    print(peers.machine())
    with peers.scratch(options.directory) as folder:
        if "real" in options.only.split(","):
            real(folder, options.rows)
        if "simulation" not in options.only.split(","):
            return
        data = folder / "tiny.parquet"
        pq.write_table(pa.table({"x": [float(i) for i in range(100)], "target": [i % 2 for i in range(100)]}), data)
        space = empty_family.SPACE
        searches = {
            "random": Search("empty", sampler="random", trials=options.trials, space=space),
            "unhelped": Search("empty", sampler="random", trials=options.trials, space=space),
            "async": Search("empty", sampler="tpe", trials=options.trials, space=space, schedule="async"),
            "batch": Search("empty", sampler="tpe", trials=options.trials, space=space, batch_size=options.workers),
        }
        names = {
            "random": "random search",
            "unhelped": "random search, no second attempts",
            "async": "TPE, async",
            "batch": "TPE, batch of as many as workers",
        }
        for kind in options.samplers.split(","):
            simulate(folder, data, names[kind], searches[kind], options.workers, helps=kind != "unhelped")


if __name__ == "__main__":
    main()
