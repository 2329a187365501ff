"""Successive halving over 81 configurations of a network, beside the full training of the same 81.

    python benchmarks/pruning.py [--data DIR] [--only letter,satimage,phoneme] [--rows N] [--trials 81] [--epochs 27]

For each dataset two runs on Ray, of the same job but for the pruner: `mlp` with its default space, five folds, the
random sampler, all configurations in one batch, and patience `none`, so that a configuration which is not pruned trains
all epochs. Successive halving begins after one epoch and lets one in three go on. Shown are

* the epochs trained, over all trials and folds, as the ledger has them; halving may take an eighth of the full run's;
* the seconds of the search; it may take a third. The run with halving comes first, so that it pays for building the
  programs of all structures, which the workers then keep for the full run;
* the winners' mean scores over the folds. Halving's must be within one standard error (over folds) of the full run's.
  Its place on the full run's board is shown too, and whether it scored the same there, as it must: what a trial scores
  does not depend on who else is pruned.

The datasets are files of the folder that --data or ORCHESTRATOR_TEST_DATA names; without it, tables of the same size
are made up. TensorFlow is imported in the workers beforehand. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peers
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import make_classification

import orchestrator
from orchestrator import Data, Job, Pruner, Search, Validation, families, ledger
from orchestrator.compose import prepare
from orchestrator.results.leaderboard import Leaderboard, Row
from orchestrator.space import Space

SEED, FOLDS = 42, 5
EPOCHS_SHARE, TIME_SHARE = 1 / 8, 1 / 3
DATASETS = {"letter": (20_000, 16, 26), "satimage": (6_435, 36, 6), "phoneme": (5_404, 5, 2)}
"""Rows, features and classes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: seconds of its search, epochs over all trials and folds, and its board."""

    search_s: float
    n_epochs: int
    board: Leaderboard

    @property
    def best(self) -> Row:
        """The winner."""
        best = self.board.best
        if best is None:
            raise SystemExit("no trial completed")
        return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(DATASETS), help="which datasets, separated by commas")
    parser.add_argument("--data", type=Path, default=os.environ.get("ORCHESTRATOR_TEST_DATA"), help="see above")
    parser.add_argument("--rows", type=int, help="use so many rows of each, drawn at random")
    parser.add_argument("--trials", type=int, default=81, help="configurations")
    parser.add_argument("--epochs", type=int, default=27, help="epochs of a configuration that is not pruned")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(DATASETS):
        parser.error(f"--only: no dataset {sorted(unknown)[0]!r}; expected some of {', '.join(DATASETS)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    print(peers.machine())
    with peers.scratch() as folder, peers.started_ray() as ray_s:
        began = time.perf_counter()
        tiny = {"depth": 1, "width_1": 16, "batch_size": 32, "epochs": 1}
        run(job_of("tiny", dataset("tiny", (300, 4, 2), None, folder, None), tiny, 2, None), folder)
        print(f"start-up, once: Ray {ray_s:.1f} s, a tiny job {time.perf_counter() - began:.1f} s")
        for name in names:
            path = dataset(name, DATASETS[name], options.data, folder, options.rows)
            compare(name, path, options.trials, options.epochs, folder)


def dataset(name: str, size: tuple[int, int, int], data: Path | None, folder: Path, n_rows: int | None) -> Path:
    """Return the path of a dataset, or of a sample of it."""
    given = None if data is None else Path(data) / f"pmlb_cls_{name}.parquet"
    if given is not None and given.exists():
        table = pq.read_table(given)
    else:
        X, y = make_classification(
            size[0], size[1], n_informative=max(4, size[1] // 2), n_redundant=0, n_classes=size[2], random_state=SEED
        )
        table = pa.table({**{f"f{i:02d}": X[:, i] for i in range(size[1])}, "target": y})
    path = folder / f"{name}.parquet"
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(table))[:n_rows])
    pq.write_table(table.take(chosen), path)
    return path


def job_of(name: str, path: Path, space: Space | None, n_trials: int, pruner: Pruner | None) -> Job:
    search = Search(
        "mlp",
        sampler="random",
        trials=n_trials,
        batch_size=n_trials,
        space=space,
        pruner=pruner or Pruner("none"),
    )
    return Job(
        name=name,
        data=Data(str(path), target="target", task="classification", test=None),
        validation=Validation(kind="stratified", folds=FOLDS),
        metric="accuracy",
        seed=SEED,
        searches=(search,),
    )


def run(job: Job, folder: Path) -> Outcome:
    out = folder / f"run-{time.monotonic_ns()}"
    result = orchestrator.run(job, out, executor="ray")
    session = json.loads((out / "manifest.json").read_text())["timings"]["sessions"][-1]
    epochs = int((job.searches[0].space or {}).get("epochs", 0))  # type: ignore[arg-type, union-attr]
    return Outcome(session["search_s"], epochs_trained(out / "ledger", epochs), result.leaderboard)


def epochs_trained(folder: Path, epochs: int) -> int:
    """Return how many epochs all trials trained on all folds: of each, up to the last rung that it came to."""
    reached: dict[str, int] = {}
    for record in ledger.read(folder):
        if isinstance(record, ledger.UnitFinished | ledger.UnitFailed):
            for answer in ledger.answers_in(record):
                name, _, rung = answer.partition("@")
                reached[name] = max(reached.get(name, 0), int(rung or epochs))
    return sum(reached.values())


def compare(name: str, path: Path, n_trials: int, epochs: int, folder: Path) -> None:
    shape = prepare(job_of(name, path, None, n_trials, None)).shape
    space: Space = {**families.find("mlp").default_space(shape), "epochs": epochs, "patience": "none"}
    print(f"\n{name}: {sum(shape.fold_rows[0]):,} rows, {n_trials} configurations, {FOLDS} folds, {epochs} epochs")
    halved = run(job_of(name, path, space, n_trials, Pruner("successive_halving")), folder)
    full = run(job_of(name, path, space, n_trials, None), folder)
    print(f"{'':24}{'epochs':>10}{'search, s':>12}{'winner':>10}  its score, mean and std over folds")
    for kind, one in (("successive halving", halved), ("full", full)):
        best = one.best
        figures = f"{one.n_epochs:10,}{one.search_s:12.1f}{best.trial:>10}"
        print(f"{kind:24}{figures}  {best.score:.4f} {best.score_std:.4f}")
    states = [row.state for row in halved.board.rows if row.family == "mlp"]
    print(f"halving: {', '.join(f'{states.count(s)} {s}' for s in ('completed', 'pruned', 'failed'))}")
    verdicts(halved, full)


def verdicts(halved: Outcome, full: Outcome) -> None:
    print(shared("epochs", halved.n_epochs / full.n_epochs, EPOCHS_SHARE))
    print(shared("search time", halved.search_s / full.search_s, TIME_SHARE))
    winner, best = halved.best, full.best
    error = (best.score_std or 0.0) / (FOLDS - 1) ** 0.5
    gap = (best.score or 0.0) - (winner.score or 0.0)
    word = "met" if gap <= error else "MISSED"
    print(f"winner's score: {gap:.4f} below the full run's (target one standard error, {error:.4f}: {word})")
    rows = [row for row in full.board.rows if row.family == "mlp"]
    place, same = next((i, row) for i, row in enumerate(rows, 1) if row.params == winner.params)
    equal = "the same score" if same.score == winner.score else f"ANOTHER score, {same.score}"
    print(f"halving's winner is number {place} of {len(rows)} on the full run's board, with {equal} there")


def shared(what: str, share: float, target: float) -> str:
    word = "met" if share <= target else "MISSED"
    return f"{what}: 1/{1 / share:.1f} of the full run's (target 1/{1 / target:g}: {word})"


if __name__ == "__main__":
    main()
