"""Whether two runs of a job say the same, and processes that run one, to be killed at random moments.

Moments are drawn from a seed that is printed; `ORCHESTRATOR_TEST_SEED` draws them again. Run as a script, this file is
a server that forks drivers from a process that has imported everything, since imports take longer than small runs do.
"""

import csv
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, Protocol
from uuid import uuid4

import psutil
import pyarrow.parquet as pq

import orchestrator
from orchestrator import Job, Model
from orchestrator import job as jobs
from orchestrator.ledger import Record, TestOpened, UnitFailed, UnitFinished, read

TIMES = ["fit_time_s", "predict_time_s"]
MARK = "ORCHESTRATOR_TEST_MARK"
SEED = int(os.environ.get("ORCHESTRATOR_TEST_SEED", random.SystemRandom().randrange(10**6)))
DEADLINE_S = 120.0


def until(condition: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {within_s:g} s"
        pause.wait(0.002)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A job's run that nothing disturbed."""

    job: Job
    file: Path
    path: Path
    board: bytes


def reference_of(job: Job, name: str, folder: Path) -> Reference:
    """Run a job in this process."""
    file, path = folder / f"{name}.yaml", folder / name
    file.write_text(jobs.to_yaml(job), encoding="utf-8")
    orchestrator.run(job, path, executor="inline")
    return Reference(job, file, path, board(path))


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
    """Return the searched trials in the order of their numbers, without what is timed or depends on others."""
    table = pq.read_table(path / "leaderboard.parquet").drop_columns(
        [*TIMES, "rank", "ci_low", "ci_high", "ties_leader"]
    )
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


@contextmanager
def server() -> Iterator[Start]:
    """Give what starts a driver within milliseconds."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(*arguments: object) -> Forked:
        assert process.stdin is not None
        process.stdin.write(json.dumps([str(argument) for argument in arguments]).encode() + b"\n")
        return Forked(process)

    with process:
        assert start("--version").wait() == 0  # once this is answered, everything is imported
        yield start
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def _serve() -> None:
    """Fork a driver for each line of arguments; answer with its pid, and with its exit code when it has ended."""
    import skops.io  # noqa: F401  (what a run would import)

    from orchestrator import cli, families
    from orchestrator.search import study  # noqa: F401

    for name in ("knn", "mlp"):
        families.find(name)
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


@contextmanager
def leaving_no_process() -> Iterator[None]:
    """Mark whatever is started meanwhile, and look for it at the end."""
    os.environ[MARK] = uuid4().hex
    yield
    until(lambda: not marked(), f"the end of {[process.cmdline() for process in marked()]}", 60.0)
    del os.environ[MARK]


def marked() -> list[psutil.Process]:
    """Return the processes that descend from what is marked, dead parents or not, but for the server of drivers."""
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


def workers() -> list[psutil.Process]:
    """Return the worker processes below this one: those of Ray that compute now, and that of the inline executor."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
            if command[:1] == ["ray::orchestrator.unit"] or "orchestrator.execution.worker" in command:
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def killing_workers(path: Path, moments: Sequence[float], draw: random.Random) -> Iterator[list[int]]:
    """Kill a worker whenever the ledger has reached one of the moments; give the numbers of the killed."""
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        for moment in moments:
            while n_records(path) < moment or not (found := workers()):
                if is_over.wait(0.005):
                    return
            worker = draw.choice(found)
            killed.append(worker.pid)
            worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        is_over.set()
        killer.join()


if __name__ == "__main__":
    _serve()
