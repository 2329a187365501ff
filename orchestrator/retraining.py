"""A run's job on new data: its best configurations first, and its model beside the new one on the new test rows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import job as jobs
from orchestrator import rundir, runs
from orchestrator.errors import JobError
from orchestrator.families.code import BUILD
from orchestrator.job import Comparator, Job, Search
from orchestrator.objects import is_uri
from orchestrator.results.leaderboard import Leaderboard
from orchestrator.results.model import saved_trial

N_ENQUEUED = 8
"""How many of a search's best configurations are tried first."""
PREVIOUS = "previous"
"""What the test scores call the old model."""
_LOG = logging.getLogger(__name__)


def retraining(path: str | Path, data: str, overrides: Sequence[str] = ()) -> Job:
    """Return the job of a finished run for other data.

    Its searches, but for grids, begin with the best trials of the old ones; spaces, folds, metric and seed stay. The
    old model is a comparator, so that the one opening of the new test rows compares it with the new model.

    Args:
        path: The run directory, or its URI.
        data: The new dataset, as `data.path` of a job.
        overrides: Changes as `KEY=VALUE`.

    Raises:
        JobError: There is no run, it has no model, or the job is wrong.
    """
    where = rundir.find(str(path))
    if saved_trial(where / rundir.BEST) is None:
        raise JobError(f"RUN: {rundir.called(where)} has no model yet; expected a finished run, or resume it first")
    old = runs.stored_job(where)
    board, _ = runs.board_of(where)
    searches = tuple(_warm(search, board) for search in old.searches)
    previous = Comparator(name=PREVIOUS, model=str(where / rundir.BEST))
    others = tuple(one for one in old.comparators if one.name != PREVIOUS)
    new_data = dataclasses.replace(old.data, path=data if is_uri(data) else jobs.resolved_path(data, Path.cwd()))
    job = dataclasses.replace(old, data=new_data, searches=searches, comparators=(*others, previous))
    if old.data.test is not None and old.data.test.path is not None:
        _LOG.warning(
            "warning: data.test.path is the old test rows, %s; set data.test for rows of the new data",
            old.data.test.path,
        )
    return jobs.from_dict(jobs.as_written(job), "the job", overrides) if overrides else job


def _warm(search: Search, board: Leaderboard) -> Search:
    space = {name: entry for name, entry in (search.space or {}).items() if name != BUILD}
    search = dataclasses.replace(search, space=space)
    if search.sampler == "grid":
        return search
    best = [row.params for row in board.rows if row.search == search.name and row.state == "completed"][:N_ENQUEUED]
    return dataclasses.replace(search, enqueue=tuple(_without_build(params) for params in best))


def _without_build(params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != BUILD}
