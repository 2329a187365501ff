"""One job has one answer: whatever runs it, whatever dies meanwhile, and in however many sittings.

Boards are compared byte for byte, all columns but the times. Kills come at random moments, drawn from a seed that is
printed; `ORCHESTRATOR_TEST_SEED` draws them again. Run as a script, this file is a server that forks drivers from a
process that has imported everything, since imports take longer than the runs here.
"""

import csv
import dataclasses
import io
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from select import select
from types import SimpleNamespace
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import Budget, Comparator, Data, Job, Model, Range, Search, Validation, finish, runs
from orchestrator import job as jobs
from orchestrator.errors import Interrupted
from orchestrator.ledger import BatchProposed, Record, SpaceOpened, TestOpened, UnitFailed, UnitFinished, read

TIMES = ["fit_time_s", "predict_time_s"]
MARK = "ORCHESTRATOR_TEST_MARK"
SEED = int(os.environ.get("ORCHESTRATOR_TEST_SEED", random.SystemRandom().randrange(10**6)))
DEADLINE_S = 120.0
N_KILLS_SEARCHING, N_KILLS_FINISHING = 15, 5
SAMPLERS = ["grid", "tpe"]
SPACE: dict[str, Any] = {
    "scaler": ["none", "standard", "quantile"],
    "metric": ["euclidean", "manhattan", "minkowski"],
    "weights": ["uniform", "distance"],
    "n_neighbors": Range(1, 12),
}


def until(condition: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {within_s:g} s"
        pause.wait(0.002)


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


@dataclasses.dataclass(frozen=True)
class Reference:
    """A job's run that nothing disturbed."""

    job: Job
    file: Path
    path: Path
    board: bytes


@pytest.fixture(scope="module")
def references(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Reference]:
    folder, made = tmp_path_factory.mktemp("reference"), {}
    for sampler in SAMPLERS:
        job, file, path = job_of(dataset, sampler), folder / f"{sampler}.yaml", folder / sampler
        file.write_text(jobs.to_yaml(job), encoding="utf-8")
        orchestrator.run(job, path, executor="inline")
        made[sampler] = Reference(job, file, path, board(path))
    return made


# What a run directory says.


def board(path: Path) -> bytes:
    """Return a run's leaderboard without the times, as its CSV and its Parquet file have it."""
    table = pq.read_table(path / "leaderboard.parquet").drop_columns(TIMES)
    parquet, text = io.BytesIO(), io.StringIO()
    pq.write_table(table, parquet, compression="none")
    with open(path / "leaderboard.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    kept = [i for i, name in enumerate(rows[0]) if name not in TIMES]
    csv.writer(text).writerows([line[i] for i in kept] for line in rows)
    return text.getvalue().encode() + parquet.getvalue()


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the searched trials of a leaderboard in the order of their numbers, without times and ranks."""
    table = pq.read_table(path / "leaderboard.parquet").drop_columns([*TIMES, "rank"])
    rows = [row for row in table.to_pylist() if row["family"] != "dummy"]
    return sorted(rows, key=lambda row: int(row["trial"].rpartition("/")[2]))


def records(path: Path) -> list[Record]:
    return list(read(path / "ledger"))


def unit_ids(path: Path) -> list[str]:
    return [record.unit for record in records(path) if isinstance(record, UnitFinished | UnitFailed)]


def assert_whole(path: Path, expected: bytes, *, may_open_again: bool = False) -> None:
    """Assert that a finished run has the expected board, each unit once, and the winner as its model."""
    assert board(path) == expected
    units = unit_ids(path)
    assert len(units) == len(set(units)), "a finished unit was computed again"
    best = next(row for row in pq.read_table(path / "leaderboard.parquet").to_pylist() if row["family"] != "dummy")
    assert Model.load(path / "best").params == json.loads(best["params"])
    openings = [record for record in records(path) if isinstance(record, TestOpened)]
    assert openings[-1].best == best["trial"]
    assert may_open_again or len(openings) == 1
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["state"], manifest["exit_code"]) == ("finished", 0)
    assert [opening["best"] for opening in manifest["test"]["openings"]] == [opening.best for opening in openings]
    assert not list(path.rglob("*.partial"))


# Drivers: processes that run or resume a job, to be killed.


class Driver(Protocol):
    """What a test does with a process that runs a job."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class Forked:
    """A driver that the server forked; its parent, which reaps it, says when it has ended."""

    def __init__(self, server: "subprocess.Popen[bytes]") -> None:
        self._server = server
        self._code: int | None = None
        self.pid = self._answer()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        assert select([self._server.stdout], [], [], DEADLINE_S)[0], "no answer from the server of drivers"
        return int(self._server.stdout.readline())

    def poll(self) -> int | None:
        if self._code is None and select([self._server.stdout], [], [], 0)[0]:
            self._code = self._answer()
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            self._code = self._answer()
        return self._code


Start = Callable[..., Driver]


@pytest.fixture(scope="module")
def fork() -> Iterator[Start]:
    """Return what starts a driver within milliseconds."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(*arguments: object) -> Forked:
        assert server.stdin is not None
        server.stdin.write(json.dumps([str(argument) for argument in arguments]).encode() + b"\n")
        return Forked(server)

    with server:
        assert start("--version").wait() == 0  # once this is answered, everything is imported
        yield start
        assert server.stdin is not None
        server.stdin.close()
        assert server.wait(DEADLINE_S) == 0


def _serve() -> None:
    """Fork a driver for each line of arguments; answer with its pid, and with its exit code when it has ended."""
    import skops.io  # noqa: F401  (what a run would import)

    from orchestrator import cli, families
    from orchestrator.search import study  # noqa: F401

    families.find("knn")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                os._exit(cli.entry(json.loads(line)))
            except SystemExit as exit_of_argparse:
                os._exit(int(exit_of_argparse.code or 0))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def start(*arguments: object, stderr: Any = None) -> "subprocess.Popen[str]":
    """Start a driver as a user would."""
    command = [sys.executable, "-m", "orchestrator", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, text=True)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Mark whatever this module starts, and look for it at the end."""
    os.environ[MARK] = uuid4().hex
    yield
    until(lambda: not marked(), f"the end of {[process.cmdline() for process in marked()]}", 60.0)
    del os.environ[MARK]


def marked() -> list[psutil.Process]:
    """Return the processes that descend from this module, dead parents or not, but for the server of drivers."""
    found = []
    for process in psutil.process_iter():
        try:
            is_server = process.ppid() == os.getpid() and __file__ in process.cmdline()
            if not is_server and process.environ().get(MARK) == os.environ[MARK]:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def n_records(path: Path) -> int:
    try:
        return (path / "ledger" / "records.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def kill_at(driver: Driver, path: Path, moment: float, delay_s: float) -> bool:
    """Kill a driver `delay_s` after its ledger has reached a number of records; tell whether it was still there."""
    until(lambda: driver.poll() is not None or n_records(path) >= moment, f"record {moment:.0f}")
    over = time.monotonic() + delay_s
    until(lambda: driver.poll() is not None or time.monotonic() >= over, "the moment of the kill")
    driver.kill()
    code = driver.wait()
    assert code in (0, -signal.SIGKILL), f"the driver ended by itself with exit code {code}"
    return code == -signal.SIGKILL


def kill_again_and_again(
    path: Path, file: Path, moments: Sequence[tuple[float, float]], begin: Start, *options: object
) -> int:
    """Run a job and kill it at each of the moments, resuming it each time; return how often it was killed."""
    n_killed = 0
    for moment, delay_s in moments:
        verb = ("resume", path) if (path / "job.yaml").exists() else ("run", file, "--out", path)
        n_killed += kill_at(begin(*verb, *options), path, moment, delay_s)
    return n_killed


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


class local_ray:  # noqa: N801  (used as a function)
    """A Ray of so many CPUs, which leaves no process behind."""

    def __init__(self, n_cpus: int) -> None:
        self._n_cpus = n_cpus

    def __enter__(self) -> None:
        import ray

        ray.init(num_cpus=self._n_cpus, include_dashboard=False, log_to_driver=False, logging_level="error")

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        until(lambda: not marked(), "the end of Ray", 60.0)


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


def finishing_time_s(reference: Reference, fork: Start, path: Path) -> float:
    """Return how long a driver lives that resumes a run whose search is over and whose winner is not fitted."""
    shutil.copytree(reference.path, path)
    ledger = path / "ledger" / "records.jsonl"
    os.truncate(ledger, ledger.read_bytes().rindex(b"\n", 0, -1) + 1)
    shutil.rmtree(path / "best")
    began = time.monotonic()
    assert fork("resume", path, "--executor", "inline").wait() == 0
    assert_whole(path, reference.board)
    return time.monotonic() - began


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
    killed: list[int] = []
    is_over = threading.Event()

    def kill_workers() -> None:
        for moment in moments:
            while n_records(path) < moment or not (workers := ray_workers()):
                if is_over.wait(0.005):
                    return
            worker = draw.choice(workers)
            killed.append(worker.pid)
            worker.kill()

    killer = threading.Thread(target=kill_workers)
    with local_ray(2):
        killer.start()
        try:
            orchestrator.run(reference.job, path, executor="ray")
        finally:
            is_over.set()
            killer.join()
    assert killed
    assert_whole(path, reference.board)
    assert not [record for record in records(path) if isinstance(record, UnitFailed)]


def ray_workers() -> list[psutil.Process]:
    """Return the worker processes below this one that compute now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::orchestrator.unit"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


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
            orchestrator.resume(path, ["searches.0.trials=64"], executor="inline")
    result = orchestrator.resume(path, executor="inline")
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
    orchestrator.resume(in_two, [f"searches.0.trials={then}"], executor="inline")
    assert len(rows_of(in_two)) == then
    assert_whole(in_two, board(at_once), may_open_again=True)


def test_larger_budget_over_two_searches_gives_the_board_of_all_at_once(tmp_path: Path) -> None:
    one, two = small_job("tpe").searches[0], dataclasses.replace(small_job("random").searches[0], name="other")
    job = dataclasses.replace(small_job("tpe"), searches=(one, two), budget=Budget(trials=70))
    orchestrator.run(job, tmp_path / "at_once", executor="inline")
    orchestrator.run(dataclasses.replace(job, budget=Budget(trials=33)), tmp_path / "in_two", executor="inline")
    orchestrator.resume(tmp_path / "in_two", ["budget.trials=70"], executor="inline")
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
    assert orchestrator.resume(timed, ["budget.time_s=null"], executor="inline").ending == "finished"
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
        assert all(unit.startswith("knn/minmax/") for unit in set(unit_ids(path)) - known)
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


if __name__ == "__main__":
    _serve()
