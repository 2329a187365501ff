"""What the orchestrator itself costs a trial: 2,000 trials that compute nothing, each a work unit of its own.

    python benchmarks/overhead.py [--trials 2000] [--directory .]

The whole path is taken: ask, plan, Ray, ledger with its fsync, tell; over six parameters (four floats, one whole
number, one choice), by the random sampler and by TPE. Time is that of the search, without start-up and without the
refit; before it, a job of 200 trials warms up Ray's workers and this process. Shown for each sampler:

* milliseconds a trial over all trials, and the part in which proposals are made;
* the first, the third and the last hundred. A trial must not cost more as there are more of them: the last hundred is
  held against the first, for samplers that learn against the third, since they have little to learn from before it;
* how much the driver's memory (RSS) grew a trial, from the 200th trial to the last (a later sampler fills what an
  earlier one left free: `--samplers tpe` alone shows it afresh).

Beside it, in the same Ray: Ray Tune's cost a trial, over 30 trials of the same objective with its default search and
without its start-up, once as it comes and once told to let a worker serve many trials (needs the extra `bench`,
else left out).

The ledger is made durable by fsync, so the disk below `--directory` matters: its cost is measured beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import empty_family
import peers
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator
from orchestrator import Data, Job, Search, Validation, families
from orchestrator.search import study
from orchestrator.search.loop import Progress

WARM_UP_TRIALS = 200
TUNE_TRIALS = 30
TARGET_MS, TARGET_KB, FLAT = 6.0, 10.0, 1.25


class Watch:
    """Notes when each trial ended, and the driver's memory after every hundred."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ends: list[float] = []
        self.rss: list[tuple[int, int]] = []
        self._process = psutil.Process()

    def __call__(self, progress: Progress) -> None:
        """Take in how far the run is."""
        now = time.perf_counter()
        if self.began is None:
            self.began = now
        n_finished = sum(search.n_finished for search in progress.searches)
        self.ends += [now] * (n_finished - len(self.ends))
        last = self.rss[-1][0] if self.rss else 0
        if n_finished // 100 > last // 100:
            self.rss.append((n_finished, self._process.memory_info().rss))

    def ms(self, start: int, stop: int) -> float:
        """Return milliseconds a trial, from trial `start` to trial `stop`."""
        assert self.began is not None
        first = self.ends[start - 1] if start else self.began
        return 1000 * (self.ends[stop - 1] - first) / (stop - start)

    @property
    def growth_kb(self) -> float:
        """KB that the driver grew a trial, after the first trials."""
        n_first, first = next((n, rss) for n, rss in self.rss if n >= min(WARM_UP_TRIALS, self.rss[-1][0] // 2))
        n_last, last = self.rss[-1]
        return (last - first) / 1024 / (n_last - n_first)


class ProposingTime:
    """Adds up the time spent in `Proposer.propose`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> ProposingTime:
        self._propose = propose = study.Proposer.propose

        def timed(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return propose(*args)
            finally:
                self.seconds += time.perf_counter() - began

        study.Proposer.propose = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        study.Proposer.propose = self._propose  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="trials of each sampler")
    parser.add_argument("--samplers", default="random,tpe", help="which samplers, separated by commas")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where the runs are kept meanwhile")
    options = parser.parse_args()
    if options.trials < 2 * WARM_UP_TRIALS:
        parser.error(f"--trials: expected at least {2 * WARM_UP_TRIALS}")
    if (kind := file_system(options.directory)) in ("tmpfs", "ramfs"):
        parser.error(f"--directory: it is in memory ({kind}), where an fsync costs nothing; choose a disk")
    warnings.simplefilter("ignore")
    families.register(empty_family.Empty())
    print(peers.machine())
    with peers.scratch(options.directory) as folder, peers.started_ray() as ray_s:
        print(fsync_cost(folder, kind))
        data = folder / "tiny.parquet"
        pq.write_table(pa.table({"x": [float(i) for i in range(100)], "target": [i % 2 for i in range(100)]}), data)
        began = time.perf_counter()
        search(folder, data, "random", WARM_UP_TRIALS)
        print(f"start-up, once: Ray {ray_s:.1f} s, then a job of {WARM_UP_TRIALS} {time.perf_counter() - began:.1f} s")
        costs = {sampler: measure(folder, data, sampler, options.trials) for sampler in options.samplers.split(",")}
        for name, reuses in (("Ray Tune, default search", False), ("Ray Tune with reuse_actors", True)):
            tuned = tune_trials(folder, reuses)  # after ours, since it replaces Ray's workers
            if tuned is None:
                print('\nRay Tune: left out, not installed (pip install "ray[tune]")')
                return
            print(f"\n{name}: {1000 * tuned.a_trial:.1f} ms a trial ({tuned.n_trials} trials)")
            for sampler, cost in costs.items():
                ratio = 1000 * tuned.a_trial / cost
                print(
                    f"  {ratio:.1f} times what it costs here with {sampler}" + ("" if ratio > 1 else "   (Tune wins)")
                )


def file_system(directory: Path) -> str:
    """Return the kind of the file system that `directory` lies on, or `unknown`."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    here = directory.resolve()
    return next((mounts[place] for place in (here, *here.parents) if place in mounts), "unknown")


def fsync_cost(folder: Path, kind: str) -> str:
    times = []
    with open(folder / "fsync", "ab", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 299 + b"\n")
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    return (
        f"an append of 300 bytes with its fsync: median {statistics.median(times):.2f} ms, mean "
        f"{statistics.mean(times):.2f} ms, worst {max(times):.1f} ms (200 of them, {kind})"
    )


def search(folder: Path, data: Path, sampler: str, n_trials: int) -> tuple[Watch, float]:
    """Run a job; return what was watched and the seconds of its search."""
    out = folder / f"{sampler}-{time.monotonic_ns()}"
    job = Job(
        name="overhead",
        data=Data(str(data), target="target", task="classification", test=None),
        validation=Validation(kind="holdout", fraction=0.2),
        searches=(Search("empty", sampler=sampler, trials=n_trials, space=empty_family.SPACE),),
    )
    watch = Watch()
    result = orchestrator.run(job, out, executor="ray", on_progress=watch)
    n_completed = sum(row.state == "completed" and row.family == "empty" for row in result.leaderboard.rows)
    if n_completed != n_trials:
        raise SystemExit(f"{n_completed} of {n_trials} trials completed")
    session = json.loads((out / "manifest.json").read_text())["timings"]["sessions"][-1]
    return watch, session["search_s"]


def measure(folder: Path, data: Path, sampler: str, n_trials: int) -> float:
    """Show what a trial of one sampler costs, and return it in milliseconds."""
    peers.warm_workers("empty_family")
    search(folder, data, sampler, WARM_UP_TRIALS)
    with ProposingTime() as proposing:
        watch, search_s = search(folder, data, sampler, n_trials)
    overall, proposed = 1000 * search_s / n_trials, 1000 * proposing.seconds / n_trials
    first, third, last = (watch.ms(stop - 100, stop) for stop in (100, 300, n_trials))
    early, name = (first, "first") if sampler == "random" else (third, "third")
    hundreds = [watch.ms(start, start + 100) for start in range(0, n_trials - 99, 100)]
    later = statistics.median(hundreds[len(hundreds) // 2 :]) / statistics.median(hundreds[: len(hundreds) // 2])
    print(f"\n{sampler}: {n_trials} trials in {search_s:.2f} s")
    print(f"  overall        {overall:7.2f} ms a trial   {verdict(overall, TARGET_MS)}")
    print(f"  its proposing  {proposed:7.2f} ms a trial, which leaves {overall - proposed:.2f}")
    print(f"  first hundred  {first:7.2f} ms a trial")
    print(f"  third hundred  {third:7.2f} ms a trial")
    print(f"  last hundred   {last:7.2f} ms a trial   {last / early:.2f} of the {name}, {verdict(last / early, FLAT)}")
    print(f"  all hundreds   {shown(hundreds)}   second half's median / first half's: {later:.2f}")
    print(f"  driver grew    {watch.growth_kb:7.2f} KB a trial   {verdict(watch.growth_kb, TARGET_KB)}")
    return overall


def verdict(value: float, target: float) -> str:
    return f"(target {target:g}: {'met' if value <= target else 'MISSED'})"


def shown(values: Sequence[float]) -> str:
    return f"{min(values):7.2f} to {max(values):.2f}, median {statistics.median(values):.2f} ms a trial"


def tuned_objective(config: dict[str, Any]) -> dict[str, float]:
    return {"score": empty_family.objective(config)}


def tune_trials(folder: Path, reuses: bool) -> peers.TuneCost | None:
    space = {**dict.fromkeys("abcd", (0.0, 1.0)), "n": (1, 1000), "kind": ["one", "two", "three"]}
    return peers.tune_cost(
        tuned_objective, space, folder, uses_optuna=False, n_trials=TUNE_TRIALS, reuses_actors=reuses
    )


if __name__ == "__main__":
    main()
