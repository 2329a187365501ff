"""Whether the leaderboard's statistics are true: against rows that no search ever saw.

    python benchmarks/honesty.py [--data DIR] [--quick] [--seeds 10] [--first-seed 0] [--only letter,satimage]
                                 [--parts coverage,noise,mixed] [--processes 2]

A run draws n rows of a dataset, and searches a grid of 400 configurations of `knn` on them: k up to 50, both
weightings, two metrics, two scalers, five folds, accuracy. Units of the family compute it in this process, and
`results.statistics` looks at what they said, out of fold, of each row. The truth is the score on other rows of a
configuration refitted on all n: up to 20,000 rows for the winner, so that the truth's own error hardly widens what is
measured, and up to 5,000 for all others. Shown are, with the bounds that they keep to or miss:

* coverage: how often the winner's corrected interval holds the refitted winner's truth, pooled and by dataset; the bias
  of the corrected score, and of the plain one; the interval's width beside Wilson's for the plain score; how often the
  truly best configuration ties with the leader, and how many do;
* noise: how often something is said to beat the dummy where the target is shuffled, and where it is not;
* mixed: the same as coverage, without bounds, for jobs of `knn` and `mlp` that are run as anybody runs them.

The datasets are files of the folder that --data or ORCHESTRATOR_TEST_DATA names. Other seeds draw other rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator
from orchestrator import Data, Job, Search, Validation
from orchestrator.data import load, split
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families.base import Plan, Shape, UnitOutput, WorkUnit, left_out_rows
from orchestrator.families.knn import KNN
from orchestrator.honest import Sureness
from orchestrator.results import statistics
from orchestrator.results.leaderboard import Row, ranked
from orchestrator.results.statistics import Candidate, Statistics
from orchestrator.space import Params, Range, Space, grid

METRIC, FOLDS, SIZES = "accuracy", 5, (150, 500, 2000)
SPACE: Space = {
    "n_neighbors": Range(1, 50),
    "weights": ["uniform", "distance"],
    "metric": ["euclidean", "manhattan"],
    "scaler": ["standard", "none"],
}
REST, REST_OF_WINNER = 5000, 20_000
PMLB = (
    "letter",
    "phoneme",
    "churn",
    "connect_4",
    "magic",
    "mushroom",
    "optdigits",
    "pendigits",
    "satimage",
    "shuttle",
    "spambase",
    "waveform_40",
)
DATASETS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    **{name: (f"pmlb_cls_{name}", "target", ()) for name in PMLB},
    "adult": ("adult", "income", ("split",)),
    "bank_marketing": ("bank_marketing", "y", ()),
    "covertype": ("covertype_sample", "Cover_Type", ()),
    "mammography": ("mammography", "target", ()),
    "wine_quality": ("wine_quality", "quality", ()),
    "wine_colour": ("wine_quality", "colour", ()),
    "diamonds_cut": ("diamonds", "cut", ()),
    "diamonds_clarity": ("diamonds", "clarity", ()),
    "ocean_proximity": ("california_housing", "ocean_proximity", ()),
}
"""File, target, and columns to leave out."""
SMALL = {"wdbc": ("pmlb_cls_wdbc", "target", ())}
LEARNABLE = ("wdbc", "letter", "phoneme")
MIXED = ("letter", "phoneme", "satimage", "wine_quality", "spambase")
N_NOISE = 400


@dataclass(frozen=True, slots=True)
class Found:
    """What one run said, and what is true."""

    dataset: str
    n_rows: int
    seed: int
    said: Statistics
    plain: float
    n_trials: int
    truth: float = float("nan")
    best_is_tied: bool = False

    @property
    def covers(self) -> bool:
        """Whether the interval holds the truth."""
        interval = self.said.corrected
        return interval is not None and interval.low <= self.truth <= interval.high

    @property
    def bias(self) -> float:
        """What the corrected score says too much."""
        return (self.said.corrected.score if self.said.corrected else self.plain) - self.truth

    @property
    def plain_bias(self) -> float:
        """What the plain score says too much."""
        return self.plain - self.truth

    @property
    def width(self) -> float:
        """The interval's width."""
        return self.said.corrected.high - self.said.corrected.low if self.said.corrected else 1.0

    @property
    def wilson(self) -> float:
        """The width of Wilson's interval for the plain score."""
        one = self.said.trials[self.said.winner]
        return (one.ci_high or 1.0) - (one.ci_low or 0.0)

    @property
    def tied(self) -> float:
        """The share of trials that tie with the leader."""
        return sum(one.ties_leader for one in self.said.trials.values()) / self.n_trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ORCHESTRATOR_TEST_DATA"), help="see above")
    parser.add_argument("--quick", action="store_true", help="three datasets, two seeds, 150 and 500 rows")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="where they begin")
    parser.add_argument("--only", default=",".join(DATASETS), help="which datasets, separated by commas")
    parser.add_argument("--parts", default="coverage,noise,mixed", help="what to show")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data: missing; expected the folder of the datasets, here or in ORCHESTRATOR_TEST_DATA")
    names, sizes = options.only.split(","), SIZES
    if unknown := set(names) - set(DATASETS):
        parser.error(f"--only: no dataset {sorted(unknown)[0]!r}; expected some of {', '.join(DATASETS)}")
    if options.quick:
        names, sizes, options.seeds = names[:3], SIZES[:2], 2
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    warnings.simplefilter("ignore")
    with ProcessPoolExecutor(options.processes) as pool:
        if "coverage" in options.parts:
            tasks = [(name, n, seed, "truth") for name in names for n in sizes for seed in seeds]
            show_coverage(computed(pool, options.data, tasks), with_bounds=True)
        if "noise" in options.parts:
            n_each = -(-(24 if options.quick else N_NOISE) // (2 * len(names)))
            seeds_of_noise = range(options.first_seed, options.first_seed + n_each)
            tasks = [(name, n, seed, "noise") for name in names for n in sizes[:2] for seed in seeds_of_noise]
            tasks += [
                (name, n, seed, "search")
                for name in LEARNABLE
                for n in sizes
                for seed in seeds
                if name != "wdbc" or n < 569
            ]
            show_noise(computed(pool, options.data, tasks), {task[:3] for task in tasks if task[3] == "noise"})
    if "mixed" in options.parts:
        show_coverage(
            list(mixed(options.data, MIXED[:1] if options.quick else MIXED, sizes[:2], seeds[:2])), with_bounds=False
        )


Task = tuple[str, int, int, str]


def computed(pool: ProcessPoolExecutor, data: Path, tasks: Sequence[Task]) -> list[tuple[Task, Found]]:
    began, found = time.perf_counter(), []
    for task, one in zip(tasks, pool.map(partial(run, data), tasks, chunksize=5), strict=True):
        found.append((task, one))
        if len(found) % 50 == 0:
            print(
                f"{len(found)} of {len(tasks)} runs, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
            )
    return found


@lru_cache(1)
def whole(data: Path, name: str) -> TrainingSet:
    """Return all rows of a dataset, encoded."""
    file, target, exclude = {**DATASETS, **SMALL}[name]
    source = Data(str(data / f"{file}.parquet"), target=target, task="classification", test=None, exclude=exclude)
    return load.load(source, Validation(kind="stratified", folds=FOLDS), METRIC, 0).train


def drawn(name: str, n_all: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a run, and rows that it does not see."""
    order = np.random.default_rng([seed, n, *name.encode()]).permutation(n_all)
    return np.sort(order[:n]), order[n:][:REST_OF_WINNER]


def run(data: Path, task: Task) -> Found:
    """Search, say how sure the board is, and look up the truth."""
    warnings.simplefilter("ignore")
    name, n, seed, kind = task
    everything = whole(data, name)
    rows, rest = drawn(name, len(everything.target), n, seed)
    target = everything.target[rows]
    if kind == "noise":
        target = np.random.default_rng([seed, 7]).permutation(target)
    folds = split.folds(Validation(kind="stratified", folds=FOLDS), target, True, seed)
    train = replace(
        everything, key=f"{task}", features=everything.features.take(rows), target=target, folds=folds, seed=seed
    )
    board, fold, predictions, params = searched(train)
    shift = None if kind == "noise" else shift_of(train, board, fold, predictions, params)
    said = statistics.assess(METRIC, "classification", target, fold, board, predictions, shift=shift, seed=seed)
    found = Found(name, n, seed, said, board[0].score, len(board))
    if kind != "truth":
        return found
    truths = scores_on(everything, rows, rest[:REST], params, SPACE)
    winner = params[said.winner]
    alone = {name: [value] for name, value in winner.items()}
    truth = scores_on(everything, rows, rest, {said.winner: winner}, alone)[said.winner]
    most = max(truths.values())
    best = [trial for trial, score in truths.items() if score == most]
    tied = any(trial in said.trials and said.trials[trial].ties_leader for trial in best)
    return replace(found, truth=truth, best_is_tied=tied)


def searched(
    train: TrainingSet,
) -> tuple[list[Candidate], np.ndarray, Callable[[str], np.ndarray], dict[str, Params]]:
    """Return the board of the grid, the fold of each row, each trial's out-of-fold predictions, and its params."""
    plan = KNN().plan(SPACE, Shape.of(train), exhaustive=True)
    params = {f"knn/{number}": point for number, point in enumerate(grid(SPACE, {}))}
    names = {trial: plan.answers_of(point) for trial, point in params.items()}
    outputs = answered(plan, list(params.values()), [one for each in names.values() for one in each], train)
    fold = np.empty(len(train.target), dtype=np.int16)
    for number, rows in enumerate(train.folds):
        fold[rows.valid] = number
    said: dict[str, np.ndarray] = {}
    ranks = []
    for number, (trial, answers) in enumerate(names.items()):
        said[trial] = np.empty(len(train.target), dtype=np.uint8)
        for rows, answer in zip(train.folds, answers, strict=True):
            said[trial][rows.valid] = outputs.out_of_fold[answer].said
        score = float(np.mean([outputs.answers[answer].score for answer in answers]))
        complexity = KNN().complexity(params[trial])
        ranks.append(
            Row(trial, "knn", "knn", 0, number, "completed", score, 0.0, 0.0, 0.0, params[trial], None, complexity)
        )
    board = [Candidate(row.trial, row.score or 0.0, (row.complexity, row.number)) for row in ranked(ranks, METRIC).rows]
    return board, fold, said.__getitem__, params


def shift_of(
    train: TrainingSet,
    board: Sequence[Candidate],
    fold: np.ndarray,
    predictions: Callable[[str], np.ndarray],
    params: dict[str, Params],
) -> float | None:
    """Return what refitting on all rows adds."""
    plan = KNN().leave_one_out_plan(SPACE, Shape.of(train))
    trials = statistics.worth_leaving_one_out(METRIC, train.target, fold, board, predictions)
    names = {trial: plan.answers_of(params[trial])[0] for trial in trials}
    outputs = answered(plan, [params[trial] for trial in trials], list(names.values()), train)
    alone = {trial: outputs.answers[answer].score for trial, answer in names.items()}
    return statistics.refit_shift(METRIC, train.target, left_out_rows(np.flatnonzero(fold >= 0)), predictions, alone)


def scores_on(
    everything: TrainingSet, rows: np.ndarray, rest: np.ndarray, params: dict[str, Params], space: Space
) -> dict[str, float]:
    """Return the score of each configuration on rows that no search saw, fitted on all that it did."""
    both = np.concatenate([rows, rest])
    only = Fold(np.arange(len(rows)), np.arange(len(rows), len(both)))
    features, target = everything.features.take(both), everything.target[both]
    key = f"{time.monotonic_ns()}"  # planes are remembered by it
    held = replace(everything, key=key, features=features, target=target, folds=(only,))
    plan = KNN().plan(space, Shape.of(held), exhaustive=True)
    names = {trial: plan.answers_of(point)[0] for trial, point in params.items()}
    outputs = answered(plan, list(params.values()), list(names.values()), held)
    return {trial: outputs.answers[answer].score for trial, answer in names.items()}


def answered(plan: Plan, wanted: Sequence[Params], names: Sequence[str], data: TrainingSet) -> UnitOutput:
    """Compute all units of a plan here."""
    answers, out_of_fold = {}, {}
    for unit in plan.units_for(wanted, frozenset(names)):
        output = _computed(unit, data)
        answers.update(output.answers)
        out_of_fold.update(output.out_of_fold)
    return UnitOutput(answers, None, out_of_fold)


def _computed(unit: WorkUnit, data: TrainingSet) -> UnitOutput:
    return unit.compute(data, [_computed(need, data).payload for need in unit.needs])


def mixed(data: Path, names: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[Task, Found]]:
    """Run jobs of two families through the public door, and score their winners on the rest."""
    for name in names:
        file, target, exclude = DATASETS[name]
        table = pq.read_table(data / f"{file}.parquet").drop_columns(list(exclude))
        for n in sizes:
            for seed in seeds:
                with tempfile.TemporaryDirectory() as folder:
                    yield (name, n, seed, "mixed"), _mixed(Path(folder), name, table, target, n, seed)


def _mixed(folder: Path, name: str, table: pa.Table, target: str, n: int, seed: int) -> Found:
    rows, rest = drawn(name, len(table), n, seed)
    pq.write_table(table.take(rows), folder / "rows.parquet")
    job = Job(
        name=name,
        data=Data(str(folder / "rows.parquet"), target=target, task="classification", test=None),
        validation=Validation(kind="stratified", folds=FOLDS),
        metric=METRIC,
        seed=seed,
        searches=(Search("knn", sampler="grid", space=SPACE), Search("mlp", sampler="random", trials=32)),
    )
    result = orchestrator.run(job, folder / "run", executor="inline")
    sureness = Sureness.read(folder / "run")
    if sureness is None or sureness.board is None:
        raise SystemExit(f"{name}: the run says nothing of how sure its board is")
    said = sureness.board
    held = table.take(rest)
    truth = float(
        np.mean(np.asarray(result.best.predict(held)).astype(str) == np.array(held[target].to_pylist()).astype(str))
    )
    best = result.leaderboard.best
    return Found(name, n, seed, said, best.score if best else 0.0, len(said.trials), truth)


def kept(value: float, least: float = -np.inf, most: float = np.inf) -> str:
    """Return whether a figure keeps its bounds, and which these are."""
    bounds = (
        f"{least:g} to {most:g}"
        if np.isfinite([least, most]).all()
        else f"at most {most:g}"
        if np.isfinite(most)
        else f"at least {least:g}"
    )
    return f"{'met' if least <= value <= most else 'MISSED'} ({bounds})"


def show_coverage(runs: Sequence[tuple[Task, Found]], *, with_bounds: bool) -> None:
    for n in sorted({found.n_rows for _, found in runs}):
        some = [found for _, found in runs if found.n_rows == n]
        by_dataset = {
            name: [one.covers for one in some if one.dataset == name]
            for name in dict.fromkeys(one.dataset for one in some)
        }
        lowest = min(by_dataset, key=lambda name: np.mean(by_dataset[name]))
        bias, plain = (100 * float(np.mean([getattr(one, which) for one in some])) for which in ("bias", "plain_bias"))
        width = float(np.mean([one.width for one in some]) / np.mean([one.wilson for one in some]))
        lines = [
            ("coverage of the 95 % interval, %", 100 * float(np.mean([one.covers for one in some])), (92, 99)),
            (f"the least of a dataset, of 10 ({lowest})", 10 * float(np.mean(by_dataset[lowest])), (7, np.inf)),
            ("bias of the corrected score, points", bias, (-0.8, 0.8) if n < 500 else (-0.4, 0.4)),
            ("bias of the plain score, points", plain, None),
            ("the first by the second", abs(bias / plain) if plain else 0.0, (-np.inf, 0.35) if n <= 500 else None),
            ("width, points", 100 * float(np.mean([one.width for one in some])), None),
            ("width by Wilson's", width, (-np.inf, 1.6)),
            (
                "ties, median % of the trials",
                100 * float(np.median([one.tied for one in some])),
                (-np.inf, {150: 65, 500: 50}.get(n, 30)),
            ),
        ]
        if with_bounds:
            lines.append(
                (
                    "the truly best is among them, %",
                    100 * float(np.mean([one.best_is_tied for one in some])),
                    (95, np.inf),
                )
            )
        print(f"\nn = {n:,}: {len(some)} runs on {len(by_dataset)} datasets")
        for text, value, bounds in lines:
            print(f"  {text:48}{value:8.2f}  {kept(value, *bounds) if bounds and with_bounds else ''}".rstrip())
        missed = {name: f"{sum(all_of)}/{len(all_of)}" for name, all_of in by_dataset.items() if not all(all_of)}
        print(f"  covered less than always: {', '.join(f'{name} {share}' for name, share in missed.items()) or 'none'}")


def show_noise(runs: Sequence[tuple[Task, Found]], noise: set[tuple[str, int, int]]) -> None:
    said = [found.said.beats_dummy for task, found in runs if task[3] == "noise"]
    print(f"\nnoise: {len(said)} runs with a shuffled target")
    share = 100 * float(np.mean(said))
    print(f"  {'something is said to beat the dummy, %':48}{share:8.2f}  {kept(share, most=2)}")
    learnt = {
        name: [f.said.beats_dummy for task, f in runs if task[3] == "search" and task[0] == name] for name in LEARNABLE
    }
    every = 100 * float(np.mean([one for each in learnt.values() for one in each]))
    print(f"  {'the same where there is something to learn, %':48}{every:8.2f}  {kept(every, least=95)}")
    print(f"  {', '.join(f'{name} {sum(each)}/{len(each)}' for name, each in learnt.items())}")


if __name__ == "__main__":
    main()
