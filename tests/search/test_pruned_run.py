"""A pruned search as a job asks for it: its keys, its plan, and what a run and its ledger show of it."""

import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import columns, job_values, write
from curves import CurvesFamily

from orchestrator import Job, JobError, Pruner, Search, families, runs
from orchestrator import job as jobs
from orchestrator.compose import prepare
from orchestrator.errors import Interrupted
from orchestrator.families.base import Family
from orchestrator.search.loop import Progress


@pytest.fixture(autouse=True)
def curves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the family known, and write the dataset that `job` names."""
    family: Family = CurvesFamily()
    monkeypatch.setitem(families._registered, family.name, family)
    write(folder / "data.parquet", columns())


def job(**search: Any) -> Job:
    return jobs.from_dict(job_values(searches=[{"family": "curves", "trials": 36, **search}]))


@pytest.mark.parametrize("kind", ["none", "median", "successive_halving", "hyperband"])
def test_pruner_is_a_name_or_keys(kind: Any) -> None:
    (named,) = job(pruner=kind).searches
    assert named.pruner == Pruner(kind, min_epochs=1, reduction_factor=3)
    assert job(pruner={"kind": kind, "min_epochs": 2}).searches[0].pruner == Pruner(kind, 2)
    assert Search("curves", pruner=kind) == Search("curves", pruner=Pruner(kind))
    assert jobs.from_dict(jobs.to_dict(job(pruner=kind))) == job(pruner=kind)


@pytest.mark.parametrize("nothing", [{}, {"pruner": None}, {"pruner": "none"}])
def test_no_pruner_is_none(nothing: dict[str, Any]) -> None:
    assert job(**nothing) == job(pruner=Pruner("none"))


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("halving", r"pruner\.kind: expected 'none', 'median', 'successive_halving' or 'hyperband', found 'halving'"),
        (3, r"searches\.0\.pruner: expected keys such as kind and min_epochs, found 3"),
        ({"min_epochs": 3}, r"searches\.0\.pruner\.kind is missing"),
        (
            {"kind": "median", "min_epoch": 3},
            r"unknown key 'searches\.0\.pruner\.min_epoch'\. Did you mean 'min_epochs'",
        ),
        ({"kind": "median", "min_epochs": 0}, r"pruner\.min_epochs: expected a number from 1 up, found 0"),
        ({"kind": "median", "reduction_factor": 1}, r"pruner\.reduction_factor: expected a number from 2 up, found 1"),
        ({"kind": "median", "reduction_factor": 2.5}, r"pruner\.reduction_factor: expected a whole number, found 2.5"),
    ],
)
def test_pruner_that_is_wrong_is_named_by_its_key(pruner: Any, message: str) -> None:
    with pytest.raises(JobError, match=message):
        job(pruner=pruner)


def test_pruner_is_in_the_schema_as_a_name_and_as_keys() -> None:
    schema = jobs.json_schema()
    given = json.dumps(schema["$defs"]["Search"]["properties"]["pruner"])
    assert "#/$defs/Pruner" in given
    assert "hyperband" in given
    assert schema["$defs"]["Pruner"]["required"] == ["kind"]


def test_pruner_over_a_family_without_epochs_is_refused() -> None:
    with pytest.raises(JobError, match=r"searches\.0\.pruner: knn does not learn by epochs, found 'median'; expected"):
        prepare(job(family="knn", pruner="median"))


def test_pruner_whose_first_rung_is_the_end_is_refused() -> None:
    with pytest.raises(JobError, match=r"pruner\.min_epochs: 27, and trials of this space train for at most 27 epochs"):
        prepare(job(pruner={"kind": "median", "min_epochs": 27}))


def test_batch_size_is_the_familys_unless_the_search_says() -> None:
    assert prepare(job()).job.searches[0].batch_size == 18
    assert prepare(job(batch_size=5)).job.searches[0].batch_size == 5
    assert prepare(job(family="knn")).job.searches[0].batch_size == 16


def test_plan_counts_the_units_of_all_rungs() -> None:
    (whole,) = runs.plan(prepare(job()))
    (halving,) = runs.plan(prepare(job(pruner="successive_halving")))
    assert (whole.n_trials, halving.n_trials) == (36, 36)
    assert whole.n_units < halving.n_units
    assert halving.cpu_s == whole.cpu_s + 2 * (6 + 2 + 1)  # 18, 6, 2 and 1 trials of two batches, not 18


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("n_units", [1, 4, 9])
def test_ledger_shows_the_board_that_the_run_left(folder: Path, pruner: str, sampler: str, n_units: int) -> None:
    def stop(progress: Progress) -> None:
        if progress.n_units_done == n_units and not stopped:
            stopped.append(True)
            signal.raise_signal(signal.SIGINT)

    stopped: list[bool] = []
    with pytest.raises(Interrupted, match="interrupted after"):
        runs.run(job(pruner=pruner, sampler=sampler, trials=360), folder / "run", executor="inline", on_progress=stop)
    board, (state,) = runs.board_of(folder / "run")
    assert board.to_arrow().equals(pq.read_table(folder / "run" / "leaderboard.parquet"))
    stopped.clear()
    n_units = 6
    with pytest.raises(Interrupted, match="interrupted after"):
        runs.resume(folder / "run", executor="inline", on_progress=stop)
    board, (state,) = runs.board_of(folder / "run")
    assert board.to_arrow().equals(pq.read_table(folder / "run" / "leaderboard.parquet"))
    pruned = [row for row in board.rows if row.state == "pruned"]
    assert pruned
    assert len(pruned) == state.n_pruned
    assert all(row.score is not None and row.error is None and row.epochs is not None for row in pruned)
