"""Networks searched by plain `model.fit`, by KerasTuner, by Ray Tune and by the orchestrator: trials an hour.

    python benchmarks/keras_population.py [--quick] [--data DIR] [--only letter,letter-default,…]

Every row is a search of one family over one dataset, on the same five stratified folds. The orchestrator runs it first,
through Ray: its whole `run()` (read, plan, search, leaderboard, refit, model saved) and its search alone. Peers then
train **the very configurations that it proposed**, a few of them, taken evenly from all when sorted by structure, and
what all would take is extrapolated from these:

* `fit`: build, compile, `model.fit`, predict and score, on each fold in turn, in one warm process with TensorFlow's
  default threads;
* KerasTuner: the same folds inside `HyperModel.fit`, its oracle going through the list of configurations;
* Ray Tune: one configuration a trial and an actor, two at once on two CPUs, as it comes; TensorFlow is imported by
  every actor. Its own start-up, up to the first trial's beginning, is left out.

All train the same epochs at the same batch size on the same nine tenths of a fold's training rows, look at the inner
tenth after every epoch, and keep the weights of the best one; nobody stops early. The networks are the same: those of
`mlp` are written out in `plain_networks.py`, with Keras's own optimizers and schedules. Initial weights, orders of rows
and dropped units are drawn differently, so scores are compared by fold and must agree within their noise: more speed by
worse training would be worth nothing. Preparing the rows is not counted for the peers, and is for the orchestrator.

* `letter` (20,000 x 16) and `satimage` (6,435 x 36): `mlp`, two hidden layers of 64, batch 64, 10 epochs;
* `letter-default` and `satimage-default`: `mlp`'s default space, all 30 epochs; and what holds it back there;
* `text` (reviews, average pooling), `sequence` and `image`: as far as the family and its data are there.

The datasets are files of the folder that --data or ORCHESTRATOR_TEST_DATA names; without it, tables of the same size
are made up, and rows that need other data are left out. The verdicts compare with the orchestrator's search alone, as
no peer refits a model. Starting Ray and importing TensorFlow in its workers, once, is apart.

CPU seconds, of a peer's process and of the orchestrator's driver and workers, say more where the machine is busy. It
had better not be, though Ray's workers have the priority of the driver here (Ray's own default is a niceness of 15).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import peers
import plain_networks
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import make_classification

import orchestrator
from orchestrator import Data, Job, Range, Search, Validation, families, ledger
from orchestrator.compose import Prepared, prepare
from orchestrator.families.base import Answer, Shape
from orchestrator.families.networks.structure import in_lanes
from orchestrator.space import Space, dimensions

SEED, FOLDS = 42, 5
NOISE = 3.0
"""Standard errors within which mean scores agree."""
ENOUGH = 0.005
"""A difference of mean scores that is none, however small its standard error."""
COMMON: Space = {"learning_rate": Range(5e-4, 1e-2, log=True), "patience": "none"}
DENSE: Space = {
    **COMMON,
    "depth": 2,
    "width_1": 64,
    "width_2": 64,
    "dropout": Range(0.0, 0.3),
    "weight_decay": Range(1e-6, 1e-3, log=True),
    "batch_size": 64,
    "epochs": 10,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A search, and what it must reach.

    Attributes:
        name: What --only calls it.
        family: The model family.
        file: The dataset's file, without `.parquet`.
        target: The target's column.
        space: The space; None for the family's default, with `patience` none.
        trials: How many trials.
        targets: How many times faster than each peer it must be.
        features: The columns to learn from; all by default.
        n_rows: How many rows, drawn at random, at most.
        made_up: Rows, features and classes of what stands in for the file; None if nothing does.
    """

    name: str
    family: str
    file: str
    target: str
    space: Space | None
    trials: int
    targets: Mapping[str, float]
    features: tuple[str, ...] | None = None
    n_rows: int | None = None
    made_up: tuple[int, int, int] | None = None


LETTER, SATIMAGE = (20_000, 16, 26), (6_435, 36, 6)
DENSE_TARGETS = {"fit": 30.0, "KerasTuner": 35.0, "Ray Tune": 60.0}
ROWS = (
    Row("letter", "mlp", "pmlb_cls_letter", "target", DENSE, 64, DENSE_TARGETS, made_up=LETTER),
    Row("satimage", "mlp", "pmlb_cls_satimage", "target", DENSE, 64, DENSE_TARGETS, made_up=SATIMAGE),
    Row("letter-default", "mlp", "pmlb_cls_letter", "target", None, 64, {"fit": 8.0}, made_up=LETTER),
    Row("satimage-default", "mlp", "pmlb_cls_satimage", "target", None, 64, {"fit": 8.0}, made_up=SATIMAGE),
    Row(
        "text",
        "text",
        "imdb_reviews",
        "label",
        {**COMMON, "encoder": "average", "dropout": Range(0.0, 0.5), "batch_size": 128, "epochs": 5},
        32,
        {"fit": 4.0},
        ("text",),
        5_000,
    ),
    Row("sequence", "sequence", "ucr_GunPoint", "label", {**COMMON, "epochs": 10}, 8, {"fit": 0.95}),
    Row("image", "image", "mnist", "label", {**COMMON, "epochs": 2}, 4, {"fit": 0.95}, ("image",), 4_000),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the orchestrator proposed, and what it scored on each fold."""

    params: dict[str, Any]
    batch: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ours:
    """One run of the orchestrator: its seconds, those of its search, how many its workers computed; CPU seconds."""

    run_s: float
    cpu_s: float
    search_s: float
    worked_s: float
    trials: tuple[Trial, ...]


@dataclass(slots=True)
class Peer:
    """What a peer took for a trial, of time and of CPU time, and what it scored: (trial, fold) -> score."""

    a_trial_s: float
    cpu_s: float | None
    n_trials: int
    note: str
    scores: dict[tuple[int, int], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """How much the peers are asked to train."""

    fit_trials: int
    tuner_trials: int
    tune_trials: int
    default_trials: int
    n_trials: int | None
    n_rows: int | None
    epochs: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(r.name for r in ROWS), help="which rows, separated by commas")
    parser.add_argument("--data", type=Path, default=os.environ.get("ORCHESTRATOR_TEST_DATA"), help="see above")
    parser.add_argument("--quick", action="store_true", help="fewer trials, rows and epochs: no verdict counts")
    parser.add_argument("--fit-trials", type=int, help="trials that `fit` trains")
    parser.add_argument("--tuner-trials", type=int, help="trials that KerasTuner trains (0: none)")
    parser.add_argument("--tune-trials", type=int, help="trials that Ray Tune trains (0: none)")
    parser.add_argument("--default-trials", type=int, help="trials that `fit` trains of a default space, one fold each")
    parser.add_argument("--trials", type=int, help="trials of the orchestrator, in place of each row's own")
    parser.add_argument("--rows", type=int, help="use so many rows of each dataset alone")
    parser.add_argument("--epochs", type=int, help="epochs, in place of each row's own")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := set(names) - {row.name for row in ROWS}:
        parser.error(f"--only: no row {sorted(unknown)[0]!r}; expected some of {', '.join(r.name for r in ROWS)}")
    defaults = Options(1, 1, 2, 3, 16, 4_000, 3) if given.quick else Options(3, 2, 4, 9, None, None, None)
    asked = {"n_trials": given.trials, "n_rows": given.rows, "epochs": given.epochs}
    asked |= {f"{kind}_trials": getattr(given, f"{kind}_trials") for kind in ("fit", "tuner", "tune", "default")}
    options = dataclasses.replace(defaults, **{name: value for name, value in asked.items() if value is not None})
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    print(peers.machine())
    with peers.scratch() as folder, peers.started_ray() as ray_s:
        began = time.perf_counter()
        warm_up(folder)
        tiny_s = time.perf_counter() - began
        print(f"start-up, once: Ray {ray_s:.1f} s, a tiny job with TensorFlow's import in all workers {tiny_s:.1f} s")
        began = time.perf_counter()
        import keras  # noqa: F401

        print(f"in this process, for fit and KerasTuner: import of TensorFlow {time.perf_counter() - began:.1f} s")
        for row in ROWS:
            if row.name in names:
                compare(row, given.data, folder, options)


def warm_up(folder: Path) -> None:
    """Let workers import what they need."""
    peers.warm_workers("orchestrator.families.networks.plan", "orchestrator.results.model", "skops.io")
    path = made_up(folder, "tiny", 300, 4, 2)
    tiny: Space = {**DENSE, "epochs": 1, "width_1": 16}
    row = Row("tiny", "mlp", str(path.with_suffix("")), "target", tiny, 4, {})
    ours(job_of(row, path, tiny, 4), folder)


def made_up(folder: Path, name: str, n_rows: int, n_features: int, n_classes: int) -> Path:
    X, y = make_classification(
        n_rows, n_features, n_informative=max(4, n_features // 2), n_redundant=0, n_classes=n_classes, random_state=SEED
    )
    path = folder / f"{name}.parquet"
    columns = {f"f{i:02d}": X[:, i] for i in range(n_features)}
    pq.write_table(pa.table({**columns, "target": y}), path)
    return path


def found(row: Row, data: Path | None, folder: Path, n_rows: int | None) -> Path | None:
    """Return the dataset's path, a sample of it where that is asked for; None where there is none."""
    path = None if data is None else Path(data) / f"{row.file}.parquet"
    if path is None or not path.exists():
        if row.made_up is None:
            return None
        path = made_up(folder, row.name, *row.made_up)
    table = pq.read_table(path)
    most = min(n for n in (row.n_rows, n_rows, len(table)) if n is not None)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(table))[:most])
    sample = folder / f"{row.name}.parquet"
    pq.write_table(table.take(chosen), sample)
    return sample


def job_of(row: Row, path: Path, space: Space | None, n_trials: int) -> Job:
    return Job(
        name=row.name,
        data=Data(
            str(path),
            target=row.target,
            features=row.features,
            text=row.features or () if row.family == "text" else (),
            task="classification",
            test=None,
        ),
        validation=Validation(kind="stratified", folds=FOLDS),
        metric="accuracy",
        seed=SEED,
        searches=(Search(row.family, sampler="random", trials=n_trials, space=space),),
    )


def ours(job: Job, folder: Path) -> Ours:
    out = folder / f"run-{time.monotonic_ns()}"
    began, cpu_began = time.perf_counter(), peers.cpu_s()
    result = orchestrator.run(job, out, executor="ray")
    run_s, cpu_s = time.perf_counter() - began, peers.cpu_s() - cpu_began
    session = json.loads((out / "manifest.json").read_text())["timings"]["sessions"][-1]
    rows = [row for row in result.leaderboard.rows if row.family != "dummy"]
    if bad := [row for row in rows if row.state != "completed"]:
        print(f"{job.name}: {len(bad)} of {len(rows)} trials failed, such as {bad[0].trial}: {bad[0].error}")
    records = list(ledger.read(out / "ledger"))
    answers: dict[str, Any] = {}
    worked_s = 0.0
    for record in records:
        if isinstance(record, ledger.UnitFinished):
            answers.update(ledger.answers_in(record))
            worked_s += (record.fit_time_s + record.predict_time_s) * len(record.answers)
    family: Any = families.find(job.searches[0].family)
    batches = [record for record in records if isinstance(record, ledger.BatchProposed)]
    trials = []
    prepared = prepare(job)
    plan = family.plan(prepared.job.searches[0].space, prepared.shape, exhaustive=False)
    for number, params in ((batch.batch, params) for batch in batches for params in batch.proposals):
        settings = family.settings(params, "classification")
        told = [answers.get(name) for name in plan.answers_of(params)]
        if all(isinstance(one, Answer) for one in told):
            trials.append(Trial(settings, number, tuple(one.score for one in told)))
    return Ours(run_s, cpu_s, session["search_s"], worked_s, tuple(trials))


def compare(row: Row, data: Path | None, folder: Path, options: Options) -> None:
    try:
        families.find(row.family)
    except orchestrator.errors.JobError:
        print(f"\n{row.name}: left out, there is no family {row.family} here")
        return
    path = found(row, data, folder, options.n_rows)
    if path is None:
        print(f"\n{row.name}: left out, no {row.file}.parquet in {data or 'any folder: --data names none'}")
        return
    n_trials = min(options.n_trials or row.trials, row.trials)
    space = row.space
    if space is None:
        shape = prepare(job_of(row, path, None, n_trials)).shape
        space = {**families.find(row.family).default_space(shape), "patience": "none"}
    if options.epochs:
        space = {**space, "epochs": options.epochs}
    job = job_of(row, path, space, n_trials)
    prepared = prepare(job)
    print(f"\n{row.name}: {described(row, prepared, n_trials)}")
    try:
        run = ours(job, folder)
    except orchestrator.errors.RunError as error:
        print(f"FAILED: {error}")
        return
    measured = measure(row, prepared, run, folder, options)
    show(row, run, measured)
    what_it_did(prepared, run)


def described(row: Row, prepared: Prepared, n_trials: int) -> str:
    train = prepared.data.train
    kind = "default space" if row.space is None else "fixed structure"
    epochs = dimensions(prepared.job.searches[0].space or {}).get("epochs")
    shown = "" if epochs is None or isinstance(epochs, Range) else f", {epochs[0]} epochs"
    n_columns = len(train.columns)
    return (
        f"{row.family}, {kind}{shown}; {len(train.target):,} rows x {n_columns} column{'s' * (n_columns > 1)}, "
        f"{n_trials} trials x {FOLDS} folds"
    )


def measure(row: Row, prepared: Prepared, run: Ours, folder: Path, options: Options) -> dict[str, Peer]:
    """Let the peers train some of the configurations."""
    found: dict[str, Peer] = {}
    problems: dict[Any, plain_networks.Problem] = {}

    def problem_of(params: Mapping[str, Any]) -> plain_networks.Problem:
        family: Any = families.find(row.family)
        key = tuple((name, params.get(name)) for name in sorted(family.preparing))
        if key not in problems:
            problems[key] = plain_networks.Problem.of(row.family, params, prepared.data.train)
        return problems[key]

    if row.space is None:
        chosen = sample(run.trials, options.default_trials)
        found["fit"] = by_fit(run, chosen, problem_of, folds_each=1)
        return found
    found["fit"] = by_fit(run, sample(run.trials, options.fit_trials), problem_of, folds_each=FOLDS)
    if "KerasTuner" in row.targets and options.tuner_trials:
        tuned = by_keras_tuner(run, sample(run.trials, options.tuner_trials), problem_of, folder / row.name)
        if tuned is None:
            print("KerasTuner: left out, not installed (pip install keras-tuner tensorboard)")
        else:
            found["KerasTuner"] = tuned
    if "Ray Tune" in row.targets and options.tune_trials:
        tuned = by_ray_tune(run, sample(run.trials, options.tune_trials), problem_of, folder / row.name)
        if tuned is None:
            print('Ray Tune: left out, not installed (pip install "ray[tune]")')
        else:
            found["Ray Tune"] = tuned
    return found


def sample(trials: Sequence[Trial], n_wanted: int) -> list[int]:
    """Return the numbers of some trials: the middles of equal parts of all, sorted by what costs most to change."""

    def cost(number: int) -> tuple[Any, ...]:
        params = trials[number].params
        widths = sorted((name, value) for name, value in params.items() if name.startswith(("width_", "filters_")))
        return params["batch_size"], params.get("depth", 0), widths, number

    ordered = sorted(range(len(trials)), key=cost)
    n_wanted = min(n_wanted, len(ordered))
    return [ordered[int((part + 0.5) * len(ordered) / n_wanted)] for part in range(n_wanted)]


def by_fit(run: Ours, chosen: Sequence[int], problem_of: Any, folds_each: int) -> Peer:
    problems = [problem_of(run.trials[number].params) for number in chosen]
    first = {**run.trials[chosen[0]].params, "epochs": 1}
    plain_networks.score(problems[0], first, 0)  # warm
    scores: dict[tuple[int, int], float] = {}
    began, cpu_began = time.perf_counter(), peers.cpu_s()
    for place, (number, problem) in enumerate(zip(chosen, problems, strict=True)):
        for fold in range(FOLDS) if folds_each == FOLDS else [place % FOLDS]:
            scores[number, fold] = plain_networks.score(problem, run.trials[number].params, fold)
    seconds = (time.perf_counter() - began) / len(scores) * FOLDS
    cpu_s = (peers.cpu_s() - cpu_began) / len(scores) * FOLDS
    part = "" if folds_each == FOLDS else ", one fold of each"
    return Peer(seconds, cpu_s, len(chosen), f"{len(chosen)} trials{part}", scores)


def by_keras_tuner(run: Ours, chosen: Sequence[int], problem_of: Any, folder: Path) -> Peer | None:
    problems = [problem_of(run.trials[number].params) for number in chosen]
    scores: dict[tuple[int, int], float] = {}

    def build(trial: int) -> Any:
        return plain_networks.compiled(problems[trial], run.trials[chosen[trial]].params, 0)

    def train(model: Any, trial: int, callbacks: Sequence[Any]) -> float:
        params = run.trials[chosen[trial]].params
        for fold in range(FOLDS):
            network = model if fold == 0 else plain_networks.compiled(problems[trial], params, fold)
            plain_networks.fit(network, problems[trial], params, fold, callbacks)
            scores[chosen[trial], fold] = plain_networks.accuracy(network, problems[trial], fold)
        return statistics.mean(scores[chosen[trial], fold] for fold in range(FOLDS))

    began = peers.cpu_s()
    seconds = peers.keras_tuner_cost(build, train, len(chosen), folder / "keras-tuner")
    cpu_s = (peers.cpu_s() - began) / len(chosen)
    return None if seconds is None else Peer(seconds, cpu_s, len(chosen), f"{len(chosen)} trials", scores)


def tune_trial(config: Mapping[str, Any], trials: Sequence[Any]) -> dict[str, float]:
    """Train one configuration on all folds, in a process of Ray Tune."""
    problem, params = trials[config["trial"]]
    return {"score": statistics.mean(plain_networks.score(problem, params, fold) for fold in range(FOLDS))}


def by_ray_tune(run: Ours, chosen: Sequence[int], problem_of: Any, folder: Path) -> Peer | None:
    trials = [(problem_of(run.trials[number].params), run.trials[number].params) for number in chosen]
    space = {"trial": peers.Each(range(len(trials)))}
    cost = peers.tune_cost(tune_trial, space, folder, uses_optuna=False, n_trials=1, data={"trials": trials})
    if cost is None:
        return None
    if cost.n_trials < len(chosen):
        raise SystemExit(f"Ray Tune: {cost.n_trials} of {len(chosen)} trials completed")
    return Peer(cost.a_trial_side_by_side, None, len(chosen), f"{len(chosen)} trials side by side")


def show(row: Row, run: Ours, measured: Mapping[str, Peer]) -> None:
    n_trials = len(run.trials)
    print(f"{'':28}{'s a trial':>10}{'CPU s':>9}{'trials/hour':>13}{'search, times faster':>22}{'run(), times':>14}")
    for name, peer in measured.items():
        ratios = peer.a_trial_s * n_trials / run.search_s, peer.a_trial_s * n_trials / run.run_s
        print(
            f"{name:28}{peer.a_trial_s:10.3f}{'' if peer.cpu_s is None else f'{peer.cpu_s:.3f}':>9}"
            f"{3600 / peer.a_trial_s:13.0f}{ratios[0]:22.1f}{ratios[1]:14.1f}  EXTRAPOLATED from {peer.note}"
        )
    for name, seconds, cpu in (
        ("orchestrator, its search", run.search_s, ""),
        ("orchestrator, whole run()", run.run_s, f"{run.cpu_s / n_trials:.3f}"),
    ):
        print(f"{name:28}{seconds / n_trials:10.3f}{cpu:>9}{3600 * n_trials / seconds:13.0f}  {seconds:.1f} s in all")
    for name, target in row.targets.items():
        if name in measured:
            ratio = measured[name].a_trial_s * n_trials / run.search_s
            word = "met" if ratio >= target else "MISSED"
            print(f"{ratio:.1f} times the trials of {name} (target {target:g}: {word})")
    for name, peer in measured.items():
        if peer.scores:
            print(agreement(name, run, peer))


def agreement(name: str, run: Ours, peer: Peer) -> str:
    gaps = [run.trials[number].scores[fold] - score for (number, fold), score in peer.scores.items()]
    mean = statistics.mean(gaps)
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
    theirs = statistics.mean(peer.scores.values())
    agrees = abs(mean) <= max(NOISE * error, ENOUGH)
    verdict = "agree" if agrees else "they are BETTER here" if mean > 0 else "they are WORSE here"
    return (
        f"mean accuracy over {len(gaps)} (trial, fold): {name} {theirs:.4f}, orchestrator {theirs + mean:.4f}; "
        f"difference {mean:+.4f}, standard error {error:.4f}: {verdict}"
    )


def what_it_did(prepared: Prepared, run: Ours) -> None:
    """Show the populations, and what of their work was no member's own."""
    search, shape = prepared.job.searches[0], prepared.shape
    family: Any = families.find(search.family)
    plan = family.plan(search.space, shape, exhaustive=False)
    sizes: Counter[int] = Counter()
    n_steps = 0
    for batch in sorted({trial.batch for trial in run.trials}):
        wanted = [trial.params for trial in run.trials if trial.batch == batch]
        names = frozenset(name for params in wanted for name in plan.answers_of(params))
        units = plan.units_for(wanted, names)
        for unit in units:
            sizes[len(unit.members)] += 1
            n_steps += sum(int(m.params["epochs"]) * (unit.n_fit // int(m.params["batch_size"])) for m in unit.members)
    structures = {family.structure_of(t.params, shape, dimensions(search.space or {})) for t in run.trials}
    shown = ", ".join(f"{n} of {size}" for size, n in sorted(sizes.items(), reverse=True))
    print(f"populations: {shown}; {len(structures)} structure{'s' * (len(structures) > 1)}")
    n_cpus = os.cpu_count() or 1
    busy = run.worked_s / (run.search_s * n_cpus)
    print(
        f"{n_steps:,} steps of one member, {1e6 * run.worked_s / n_steps:.0f} us of a worker each; "
        f"{n_cpus} workers computed {busy:.0%} of the search's time"
    )
    if family.name == "mlp":
        print(f"padded and masked: {padded_share(family, shape, run, search.space or {}):.0%} of the products")


def padded_share(family: Any, shape: Shape, run: Ours, space: Space) -> float:
    """Return which share of multiplications, over all steps, belongs to no member."""
    own = made = 0
    for trial in run.trials:
        params = trial.params
        pads = family.structure_of(params, shape, dimensions(space)).pads
        names = [f"width_{i}" for i in range(1, int(params["depth"]) + 1)]
        first, n_outputs = family.inputs(params, shape)[0].shape[0], max(1, shape.n_classes)
        widths = [first, *(int(params[name]) for name in names), n_outputs]
        padded = [first, *(pads.get(name, int(params[name])) for name in names), in_lanes(n_outputs)]
        own += int(params["epochs"]) * sum(a * b for a, b in itertools.pairwise(widths))
        made += int(params["epochs"]) * sum(a * b for a, b in itertools.pairwise(padded))
    return 1 - own / made


if __name__ == "__main__":
    main()
