"""One job has one answer: whatever runs it, whatever dies meanwhile, and in however many sittings.

Boards are compared byte for byte, all columns but the times. Kills come at random moments, drawn from a seed that is
printed; `ORCHESTRATOR_TEST_SEED` draws them again.
"""

import dataclasses
import itertools
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sameness import (
    DEADLINE_S,
    SEED,
    Reference,
    Start,
    assert_whole,
    board,
    finishing_time_s,
    kill_again_and_again,
    killing_workers,
    local_ray,
    marked,
    n_records,
    records,
    reference_of,
    rows_of,
    start,
    unit_ids,
    until,
)

import orchestrator
from orchestrator import Budget, Comparator, Data, Job, Range, Search, Validation, finish, runs
from orchestrator.errors import Interrupted
from orchestrator.ledger import BatchProposed, SpaceOpened, TestOpened, UnitFailed

pytestmark = pytest.mark.usefixtures("no_process_is_left")
N_KILLS_SEARCHING, N_KILLS_FINISHING = 15, 5
SAMPLERS = ["grid", "tpe"]
SPACE: dict[str, Any] = {
    "scaler": ["none", "standard", "quantile"],
    "metric": ["euclidean", "manhattan", "minkowski"],
    "weights": ["uniform", "distance"],
    "n_neighbors": Range(1, 12),
}


# The jobs: large enough for dozens of units, with folds that are cut into blocks.


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(6, 5))
    place = generator.integers(6, size=4000)
    features = centres[place] + generator.normal(scale=0.9, size=(4000, 5))
    columns = {f"x{i}": np.round(features[:, i], 3) for i in range(5)}
    path = tmp_path_factory.mktemp("data") / "blobs.parquet"
    pq.write_table(pa.table({**columns, "kind": pa.array([f"kind {p % 3}" for p in place])}), path)
    return path


def job_of(dataset: Path, sampler: str, **changes: Any) -> Job:
    space = {**SPACE, "p": [1.5, 3.0] if sampler == "grid" else Range(1.1, 4.0)}
    search = Search("knn", sampler=sampler, trials=None if sampler == "grid" else 56, space=space, batch_size=8)
    job = Job(
        name=f"same-{sampler}",
        data=Data(str(dataset), target="kind"),
        validation=Validation(folds=2),
        searches=(search,),
        comparators=(Comparator("knn", {"n_neighbors": 3}),),
    )
    return dataclasses.replace(job, **changes)


def small_job(sampler: str, trials: int | None = None, **changes: Any) -> Job:
    """Return a job that takes a second."""
    space = {"scaler": ["none", "standard"], "metric": ["manhattan", "minkowski"], "n_neighbors": Range(1, 60)}
    space |= {"weights": ["uniform", "distance"], "p": Range(1.1, 4.0)} if sampler != "grid" else {}
    return Job(
        name=f"small-{sampler}",
        data=Data("dataset:iris", target="species"),
        validation=Validation(folds=2),
        searches=(Search("knn", sampler=sampler, trials=trials, space=space),),
        **changes,
    )


@pytest.fixture(scope="module")
def references(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Reference]:
    folder = tmp_path_factory.mktemp("reference")
    return {sampler: reference_of(job_of(dataset, sampler), sampler, folder) for sampler in SAMPLERS}


# The same board from whatever runs it.


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_run_has_dozens_of_units_and_no_failed_trial(references: Mapping[str, Reference], sampler: str) -> None:
    reference = references[sampler]
    assert len(set(unit_ids(reference.path))) >= 24
    assert {row["state"] for row in rows_of(reference.path)} == {"completed"}
    assert_whole(reference.path, reference.board)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_resuming_a_finished_run_changes_nothing(
    references: Mapping[str, Reference], tmp_path: Path, sampler: str
) -> None:
    path = tmp_path / "run"
    shutil.copytree(references[sampler].path, path)
    before = {file.name: file.read_bytes() for file in (path / "best").iterdir()}
    ledger = (path / "ledger" / "records.jsonl").read_bytes()
    orchestrator.resume(path, executor="inline")
    assert_whole(path, references[sampler].board)
    assert (path / "ledger" / "records.jsonl").read_bytes() == ledger
    assert {file.name: file.read_bytes() for file in (path / "best").iterdir()} == before


@pytest.mark.parametrize(
    "n_workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_board_is_the_same_with_any_number_of_ray_workers(
    references: Mapping[str, Reference], tmp_path: Path, n_workers: int
) -> None:
    with local_ray(n_workers):
        for sampler, reference in references.items():
            orchestrator.run(reference.job, tmp_path / sampler, executor="ray")
            assert_whole(tmp_path / sampler, reference.board)


# The same board whatever dies.


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_run_killed_at_random_moments_and_resumed_ends_with_the_same_board(
    references: Mapping[str, Reference], fork: Start, tmp_path: Path, sampler: str
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    reference, path, draw = references[sampler], tmp_path / "run", random.Random(f"{SEED} {sampler}")
    n_searching = n_records(reference.path) - 1  # the last one opens the test rows
    finishing_s = finishing_time_s(reference, fork, tmp_path / "timed")
    moments = sorted((draw.uniform(0.5, n_searching), draw.uniform(0, 0.02)) for _ in range(N_KILLS_SEARCHING))
    n_killed = kill_again_and_again(path, reference.file, moments, fork, "--executor", "inline")
    while n_killed < N_KILLS_SEARCHING + N_KILLS_FINISHING:
        moment = (n_searching, draw.uniform(0, finishing_s))
        was_killed = kill_again_and_again(path, reference.file, [moment], fork, "--executor", "inline")
        n_killed += was_killed
        finishing_s *= 1.0 if was_killed else 0.7  # less is left to do than there was
    assert fork("resume", path, "--executor", "inline").wait() == 0
    assert_whole(path, reference.board, may_open_again=True)  # a kill may come between the opening and the model


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "n_kills"), [("grid", 1), ("tpe", 2)])
def test_run_killed_under_ray_and_resumed_ends_with_the_same_board_and_leaves_no_process(
    references: Mapping[str, Reference], tmp_path: Path, sampler: str, n_kills: int
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    reference, path, draw = references[sampler], tmp_path / "run", random.Random(f"{SEED} ray {sampler}")
    n_searching = n_records(reference.path) - 1
    moments = sorted((draw.uniform(2, n_searching), draw.uniform(0, 0.2)) for _ in range(n_kills))
    for moment in moments:
        assert kill_again_and_again(path, reference.file, [moment], start, "--executor", "ray")
        until(lambda: not marked(), "the end of the Ray of a killed driver", 60.0)
    orchestrator.resume(path, executor="inline")
    assert_whole(path, reference.board)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_board_is_the_same_though_worker_processes_are_killed(
    references: Mapping[str, Reference], tmp_path: Path, sampler: str
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    reference, path, draw = references[sampler], tmp_path / "run", random.Random(f"{SEED} workers {sampler}")
    n_searching = n_records(reference.path) - 1
    moments = sorted(draw.uniform(2, 0.8 * n_searching) for _ in range(3))
    with local_ray(2), killing_workers(path, moments, draw) as killed:
        orchestrator.run(reference.job, path, executor="ray")
    assert killed
    assert_whole(path, reference.board)
    assert not [record for record in records(path) if isinstance(record, UnitFailed)]


# Told to stop.


@pytest.mark.parametrize(
    ("executor", "number"),
    [
        ("inline", signal.SIGINT),
        ("inline", signal.SIGTERM),
        pytest.param("ray", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("ray", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_signal_ends_a_run_with_130_a_clean_save_and_the_command_that_goes_on(
    references: Mapping[str, Reference], fork: Start, tmp_path: Path, executor: str, number: signal.Signals
) -> None:
    reference, path = references["tpe"], tmp_path / "a run"
    n_before = n_records(reference.path) // 3

    def is_time() -> bool:
        if (executor, number) == ("ray", signal.SIGINT):  # while Ray starts
            return any("gcs_server" in part for process in marked() for part in process.cmdline()[:1])
        return n_records(path) > n_before

    with start("run", reference.file, "--out", path, "--executor", executor, stderr=subprocess.PIPE) as driver:
        until(lambda: driver.poll() is not None or is_time(), "the moment of the signal")
        driver.send_signal(number)
        said = driver.communicate(timeout=DEADLINE_S)[1]
    assert driver.returncode == 130, said
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["state"], manifest["exit_code"]) == ("interrupted", 130)
    saved = runs.board_of(path)[0].to_arrow()
    assert pq.read_table(path / "leaderboard.parquet").equals(saved)
    assert len(saved) - 1 < 56
    assert not list(path.rglob("*.partial"))
    command = shlex.split(said.splitlines()[-1].partition("go on with: ")[2])
    assert command == ["orchestrator", "resume", str(path)], said
    until(lambda: not marked(), "the end of the interrupted run", 60.0)
    assert fork(*command[1:], "--executor", "inline").wait() == 0
    assert_whole(path, reference.board)


def test_signal_before_the_search_begins_is_one_like_any_other(tmp_path: Path) -> None:
    job, path = small_job("random", 20), tmp_path / "run"

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def told(act: Callable[[], object]) -> None:
        try:
            act()
        except KeyboardInterrupt:
            raise AssertionError("the run directory was there, and nothing said how to go on with it") from None

    for act in (
        lambda: orchestrator.run(job, path, executor="inline", on_start=interrupt),
        lambda: orchestrator.resume(path, executor="inline", on_start=interrupt),
    ):
        with pytest.raises(Interrupted, match=f"orchestrator resume {path}"):
            told(act)
        assert json.loads((path / "manifest.json").read_text())["state"] == "interrupted"
    assert orchestrator.resume(path, executor="inline").ending == "finished"


def test_run_that_was_interrupted_before_it_went_on_keeps_the_board_that_it_had(
    references: Mapping[str, Reference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, path = references["tpe"], tmp_path / "run"
    interrupt_at(reference.job, path, 12)
    before = board(path)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "states_of", before_calling(runs.states_of, interrupt))
        with pytest.raises(Interrupted):
            orchestrator.resume(path, executor="inline")
    assert board(path) == before
    orchestrator.resume(path, executor="inline")
    assert_whole(path, reference.board)


def before_calling(function: Callable[..., Any], does: Callable[[], None]) -> Callable[..., Any]:
    def called(*arguments: Any, **options: Any) -> Any:
        does()
        return function(*arguments, **options)

    return called


def interrupt_at(job: Job, path: Path, n_finished: int) -> None:
    """Run a job in this process and interrupt it after so many trials."""
    sent = threading.Event()

    def look(progress: Any) -> None:
        if progress.searches[0].n_finished >= n_finished and not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="go on with: orchestrator resume"):
        orchestrator.run(job, path, executor="inline", on_progress=look)


def test_run_killed_after_it_opened_the_test_rows_still_saves_the_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    first = orchestrator.run(small_job("random", 1), path, executor="inline")
    with monkeypatch.context() as patch:
        patch.setattr(finish, "_write_best", before_calling(finish._write_best, lambda: sys.exit("killed")))
        with pytest.raises(SystemExit):
            orchestrator.resume(path, ["searches.0.trials=64"], executor="inline", force=True)
    result = orchestrator.resume(path, executor="inline", force=True)
    assert result.leaderboard.best is not None
    assert first.leaderboard.best is not None
    assert result.leaderboard.best.trial != first.leaderboard.best.trial, "the test needs another winner"
    assert_whole(path, board(path), may_open_again=True)
    assert len([record for record in records(path) if isinstance(record, TestOpened)]) == 2


# A damaged ledger.


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ledger_torn_at_any_byte_leads_to_the_same_board(fork: Start, tmp_path: Path, sampler: str) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    whole, draw = tmp_path / "whole", random.Random(f"{SEED} torn {sampler}")
    orchestrator.run(small_job(sampler, None if sampler == "grid" else 40), whole, executor="inline")
    content = (whole / "ledger" / "records.jsonl").read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    before_last = content.rindex(b"\n", 0, last - 1) + 1
    lengths = [0, 1, before_last + 1, last - 1, last, last + 1, len(content) - 1]
    lengths += [draw.randrange(last, len(content)) for _ in range(2)]
    lengths += [draw.randrange(before_last, last) for _ in range(2)]
    lengths += [draw.randrange(len(content)) for _ in range(5)]
    for number, length in enumerate(lengths):
        path = tmp_path / str(number)
        shutil.copytree(whole, path)
        os.truncate(path / "ledger" / "records.jsonl", length)
        assert fork("resume", path, "--executor", "inline").wait() == 0, f"torn at byte {length}"
        assert_whole(path, board(whole))


# Budgets.


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize(("first", "then"), [(64, 128), (50, 100)])
def test_fewer_trials_and_then_more_give_the_board_of_all_at_once(
    tmp_path: Path, sampler: str, first: int, then: int
) -> None:
    at_once, in_two = tmp_path / "at_once", tmp_path / "in_two"
    orchestrator.run(small_job(sampler, then), at_once, executor="inline")
    orchestrator.run(small_job(sampler, first), in_two, executor="inline")
    assert rows_of(in_two) == rows_of(at_once)[:first]
    orchestrator.resume(in_two, [f"searches.0.trials={then}"], executor="inline", force=True)
    assert len(rows_of(in_two)) == then
    assert_whole(in_two, board(at_once), may_open_again=True)


def test_larger_budget_over_two_searches_gives_the_board_of_all_at_once(tmp_path: Path) -> None:
    one, two = small_job("tpe").searches[0], dataclasses.replace(small_job("random").searches[0], name="other")
    job = dataclasses.replace(small_job("tpe"), searches=(one, two), budget=Budget(trials=70))
    orchestrator.run(job, tmp_path / "at_once", executor="inline")
    orchestrator.run(dataclasses.replace(job, budget=Budget(trials=33)), tmp_path / "in_two", executor="inline")
    orchestrator.resume(tmp_path / "in_two", ["budget.trials=70"], executor="inline", force=True)
    assert_whole(tmp_path / "in_two", board(tmp_path / "at_once"), may_open_again=True)


@pytest.mark.parametrize(("sampler", "share"), [("random", 0.7), ("random", 0.9), ("tpe", 0.3), ("tpe", 0.9)])
def test_run_that_time_ended_is_a_prefix_of_whole_batches_and_ends_as_ever_with_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, share: float
) -> None:
    whole, timed = tmp_path / "whole", tmp_path / "timed"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "time", ticking())
        orchestrator.run(small_job(sampler, 80, budget=Budget(time_s=1e9)), whole, executor="inline")
        needed_s = json.loads((whole / "manifest.json").read_text())["timings"]["search_s"]
        job = small_job(sampler, 80, budget=Budget(time_s=share * needed_s))
        assert orchestrator.run(job, timed, executor="inline").ending == "time"
    n_trials = len(rows_of(timed))
    ends = itertools.accumulate(len(record.proposals) for record in records(whole) if isinstance(record, BatchProposed))
    assert n_trials in ends
    assert n_trials < 80
    assert rows_of(timed) == rows_of(whole)[:n_trials]
    before = board(timed)
    assert orchestrator.resume(timed, executor="inline").ending == "time"  # there is no time left
    assert board(timed) == before
    assert orchestrator.resume(timed, ["budget.time_s=null"], executor="inline", force=True).ending == "finished"
    assert_whole(timed, board(whole), may_open_again=True)


def ticking() -> SimpleNamespace:
    """Return a `time` whose clock is one second later whenever it is asked."""
    ticks = itertools.count()
    return SimpleNamespace(monotonic=lambda: float(next(ticks)))


# A wider space.


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_wider_space_keeps_old_trials_and_evaluates_new_points_alone(
    tmp_path: Path, sampler: str, is_interrupted: bool
) -> None:
    path, trials = tmp_path / "run", None if sampler == "grid" else 32
    job = small_job(sampler, trials)
    if is_interrupted:
        interrupt_at(job, path, 20)
    else:
        orchestrator.run(job, path, executor="inline")
    before, n_before, known = rows_of(path), n_records(path), set(unit_ids(path))
    more = [] if trials is None else ["searches.0.trials=64"]
    orchestrator.resume(path, ["searches.0.space.scaler=[none, standard, minmax]", *more], executor="inline")
    after = rows_of(path)
    added = records(path)[n_before:]
    opened = [record for record in added if isinstance(record, SpaceOpened)]
    assert [(record.generation, record.space["scaler"]) for record in opened] == [(1, ["none", "standard", "minmax"])]
    by_trial = {row["trial"]: row for row in after}
    assert [by_trial[row["trial"]] for row in before] == before
    assert [row["trial"] for row in after] == [f"knn/{number}" for number in range(len(after))]
    params = [row["params"] for row in after]
    assert len(set(params)) == len(params), "a point was evaluated again"
    assert len(after) == (60 * 2 * 3 if sampler == "grid" else 64)
    assert known.isdisjoint(unit_ids(path)[len(known) :])
    if sampler == "grid" and not is_interrupted:
        assert all(unit.startswith("knn/scaler='minmax'/") for unit in set(unit_ids(path)) - known)
        assert {json.loads(row["params"])["scaler"] for row in after[len(before) :]} == {"minmax"}
    again = tmp_path / "again"
    shutil.copytree(path, again)
    orchestrator.resume(again, executor="inline")
    assert board(again) == board(path)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_wider_space_gives_the_same_board_however_often_the_run_stops_after_it(tmp_path: Path, sampler: str) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    orchestrator.run(small_job(sampler, 24), whole, executor="inline")
    shutil.copytree(whole, stopped)
    wider = ["searches.0.space.scaler=[none, standard, minmax]", "searches.0.trials=64"]
    orchestrator.resume(whole, wider, executor="inline")
    lengths = [0.3, 0.6, 0.9]
    orchestrator.resume(stopped, wider, executor="inline")
    content = (whole / "ledger" / "records.jsonl").read_bytes()
    opened = content.index(b'{"is":"space","search":"knn","generation":1')
    first = content.index(b"\n", opened) + 1
    for share in lengths:
        os.truncate(stopped / "ledger" / "records.jsonl", first + int(share * (len(content) - first)))
        orchestrator.resume(stopped, executor="inline")
        assert board(stopped) == board(whole)
