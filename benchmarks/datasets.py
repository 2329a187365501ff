"""Jobs of four lines on real datasets, with the default searches: our winner beside gradient boosting and the dummy.

    python benchmarks/datasets.py [--data DIR] [--only adult,titanic] [--rows 4000] [--executor ray]

Each job names a dataset and its target, and nothing else but what `check` asks for; scikit-learn's
HistGradientBoosting with its defaults is a comparator, so that it is scored on the same test rows in their one opening.
Printed are test scores with their 95 % intervals, whether the winner is behind the comparator by more than chance, and
what each search's best trial lacks to the best of all, in cross-validation. Datasets of more than --rows rows are
sampled (0: none is).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

import orchestrator
from orchestrator import job as jobs
from orchestrator.errors import OrchestratorError
from orchestrator.runs import Result

TARGETS = {
    "imdb_reviews": "label",
    "ag_news_test": "label",
    "adult": "income",
    "bank_marketing": "y",
    "california_housing": "median_house_value",
    "covertype_sample": "Cover_Type",
    "diamonds": "price",
    "mammography": "target",
    "penguins": "species",
    "titanic": "Survived",
    "wine_quality": "quality",
    "ucr_GunPoint": "label",
}
MENDED = {"ag_news_test": "exclude: [class]", "imdb_reviews": "exclude: [rating, movie_id, split]"}
"""What `orchestrator check` says to leave out: the target under another name, and what was given after it."""
PMLB = [
    "cls_car",
    "cls_churn",
    "cls_credit_g",
    "cls_iris",
    "cls_letter",
    "cls_magic",
    "cls_mushroom",
    "cls_optdigits",
    "cls_pendigits",
    "cls_phoneme",
    "cls_satimage",
    "cls_segmentation",
    "cls_sonar",
    "cls_spambase",
    "cls_vowel",
    "cls_waveform_40",
    "cls_wdbc",
    "cls_yeast",
    "reg_197_cpu_act",
    "reg_529_pollen",
    "reg_537_houses",
    "reg_560_bodyfat",
    "reg_564_fried",
]
THEIRS = "HistGradientBoosting"


def main() -> int:
    """Run the jobs and print the table."""
    arguments = _arguments()
    print(
        f"{'dataset':24} {'rows':>6} {'metric':8} {'winner':10} {'ours':22} {THEIRS:22} {'dummy':>7} {'s':>5}  behind"
    )
    n_run = n_behind = 0
    for name in arguments.only.split(","):
        folder = Path(tempfile.mkdtemp(prefix="datasets-"))
        try:
            n_rows, line = _job(name, arguments.data, arguments.rows)
            started = time.monotonic()
            result = orchestrator.run(
                jobs.from_dict(jobs.parse_yaml(line, name)), folder / "run", executor=arguments.executor
            )
            is_behind = _print(name, n_rows, result, time.monotonic() - started)
            n_run, n_behind = n_run + 1, n_behind + is_behind
        except OrchestratorError as error:
            print(f"{name:24} failed: {error}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{n_run} datasets; behind {THEIRS} by more than chance on {n_behind}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ORCHESTRATOR_TEST_DATA"), help="the datasets")
    parser.add_argument(
        "--only", default=",".join([*TARGETS, *(f"pmlb_{name}" for name in PMLB)]), help="which, separated by commas"
    )
    parser.add_argument("--rows", type=int, default=4000, help="see above")
    parser.add_argument("--executor", default="inline", choices=("inline", "ray"))
    arguments = parser.parse_args()
    if arguments.data is None:
        sys.exit("error: --data is missing; expected a folder with the datasets, or ORCHESTRATOR_TEST_DATA")
    arguments.data = Path(arguments.data)
    return arguments


def _job(name: str, folder: Path, most_rows: int) -> tuple[int, str]:
    """Return how many rows a job is about, and the job."""
    path = folder / f"{name}.parquet"
    n_rows = pq.ParquetFile(path).metadata.num_rows
    is_sampled = 0 < most_rows < n_rows
    sample = f", sample: {{rows: {most_rows}}}" if is_sampled else ""
    mended = f", {MENDED[name]}" if name in MENDED else ""
    text = (
        f"name: {name}\n"
        f"data: {{path: {path}, target: {TARGETS.get(name, 'target')}{sample}{mended}}}\n"
        f"comparators: [{{family: boosting, name: {THEIRS}}}]\n"
        "seed: 42\n"
    )
    return (most_rows if is_sampled else n_rows), text


def _print(name: str, n_rows: int, result: Result, took_s: float) -> bool:
    best = result.leaderboard.best
    assert best is not None
    scores = result.sureness.test
    theirs = scores[THEIRS].behind_best
    is_behind = theirs is not None and theirs.high < 0
    cells = [
        "none" if one.score is None else f"{one.score:.4f} ({one.low or 0:.3f}-{one.high or 0:.3f})"
        for one in (scores["best"], scores[THEIRS])
    ]
    dummy = scores["dummy"].score
    print(
        f"{name:24} {n_rows:>6} {result.leaderboard.metric:8} {best.family:10} {cells[0]:22} {cells[1]:22} "
        f"{dummy if dummy is not None else float('nan'):>7.4f} {took_s:>5.0f}  {'BEHIND' if is_behind else ''}"
    )
    print(f"{'':24} {'; '.join(_families(result))}", flush=True)
    return is_behind


def _families(result: Result) -> Iterator[str]:
    """Yield each search's best score in cross-validation, and whether it ties with the best of all."""
    seen = set()
    for row in result.leaderboard.rows:
        if row.score is not None and row.search not in {*seen, "dummy", "ensemble"}:
            seen.add(row.search)
            yield f"{row.search} {row.score:.4f}{'' if row.ties_leader else ' (behind)'}"


if __name__ == "__main__":
    raise SystemExit(main())
