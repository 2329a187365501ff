"""Nested cross-validation: the whole search, once for each outer fold, scored on the rows that it never saw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import job as jobs
from orchestrator import objects, rundir, runs
from orchestrator.compose import Prepared, prepare
from orchestrator.errors import JobError, RunError
from orchestrator.families.base import mean_and_std
from orchestrator.job import Data, Job, Test
from orchestrator.search.loop import Progress
from orchestrator.session import ExecutorName

FILE = "nested.json"


@dataclass(frozen=True, slots=True)
class OuterFold:
    """What the search found without one outer fold, and what it is worth there.

    Attributes:
        trial: The winner.
        params: Its configuration.
        own_score: Its score in the search's own validation, which flatters.
        score: The refitted winner's score on the outer fold.
    """

    trial: str
    params: Mapping[str, Any]
    own_score: float
    score: float


@dataclass(frozen=True, slots=True)
class Nested:
    """The estimate of a whole search.

    Attributes:
        metric: The scorer's name; scores have its sign.
        folds: The outer folds, in order.
        score: The mean of their scores.
        score_std: Their standard deviation (ddof=0).
    """

    metric: str
    folds: tuple[OuterFold, ...]
    score: float
    score_std: float


def nested(
    job: Job,
    folds: int,
    out: Path,
    *,
    executor: ExecutorName = "ray",
    address: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_start: Callable[[Path, Prepared], None] = lambda path, prepared: None,
    base: Path | None = None,
) -> Nested:
    """Run a job's searches once for each outer fold, as `run` would on the other rows.

    Varma and Simon, "Bias in error estimation when using cross-validation for model selection", BMC Bioinformatics
    2006.
    Outer folds are made of all rows by the job's own kind of validation; its `data.test` is not looked at.

    Args:
        job: The job.
        folds: How many outer folds.
        out: A folder for the runs, `fold-0`, `fold-1` …, and `nested.json`; runs that are there already go on.
        executor: As for `run`.
        address: As for `run`.
        on_progress: As for `run`.
        on_start: As for `run`, a run at a time.
        base: As for `run`.

    Raises:
        JobError: The job is wrong, or the folder has runs of another one.
        DataError: The data failed a check.
        RunError: A run failed, or its winner has no score on the outer fold.
        Interrupted: SIGINT or SIGTERM came; what was finished is saved.
    """
    job = jobs.located(job, base or Path.cwd())
    plans = [_outer(job, number, folds) for number in range(folds)]
    resolved = [prepare(plan).job for plan in plans]  # what is wrong with a fold is said before the first is searched
    found, metric = [], ""
    for number, plan in enumerate(plans):
        path = out / f"fold-{number}"
        if (path / rundir.JOB).exists():
            if runs.stored_job(path) != resolved[number]:
                raise JobError(f"--out: {path} is a run of another job; expected a new folder, or the same job")
            result = runs.resume(path, executor=executor, address=address, on_progress=on_progress, on_start=on_start)
        else:
            result = runs.run(
                plan, path, executor=executor, address=address, on_progress=on_progress, on_start=on_start
            )
        best, score = result.leaderboard.best, result.test_scores.get("best")
        if best is None or best.score is None or score is None:
            raise RunError(f"the best model of {path} has no score on its outer fold; expected one, to average them")
        metric = result.leaderboard.metric
        found.append(OuterFold(best.trial, dict(best.params), best.score, score))
    estimate = Nested(metric, tuple(found), *mean_and_std([one.score for one in found]))
    rundir.write(out / FILE, json.dumps(asdict(estimate), indent=1, ensure_ascii=False) + "\n")
    return estimate


def folder_of(job: Job, out: str | None) -> Path:
    """Return the folder of a nested run: `out`, else one that the job names, in the same place as runs.

    Raises:
        JobError: It would be a URI.
    """
    home = out or f"{rundir.home()[0]}/runs/{job.name}-nested"
    if objects.is_uri(home):
        raise JobError(f"--out: {home} is a URI; expected a folder for the runs of a nested cross-validation")
    return Path(home).absolute()


def _outer(job: Job, number: int, folds: int) -> Job:
    data: Data = dataclasses.replace(job.data, test=Test(folds=folds, fold=number))
    return dataclasses.replace(job, data=data)
