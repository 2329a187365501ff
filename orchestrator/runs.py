"""The composition root: from a job to its parts, and from the parts to a run, a resumed run, a plan or a check."""

from __future__ import annotations

import dataclasses
import logging
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator import compose, families, oof, rundir
from orchestrator import job as jobs
from orchestrator.compose import (
    Prepared,
    answers_of,
    first_generations,
    looks_back,
    n_made,
    new_generations,
    prepare,
    states_of,
)
from orchestrator.data.checks import Finding
from orchestrator.data.encode import Signature
from orchestrator.data.sets import LoadedData, TrainingSet
from orchestrator.errors import DataError, FinalFitError, Interrupted, JobError, OrchestratorError, RunError
from orchestrator.execution.address import cluster_address
from orchestrator.execution.base import Device, Executor
from orchestrator.execution.environment import onednn
from orchestrator.families.base import Answer, Shape
from orchestrator.families.code import Code, copy_name
from orchestrator.finish import End, write_board, write_journals
from orchestrator.honest import Sureness, restore
from orchestrator.job import Job
from orchestrator.ledger import Ledger, Record, read
from orchestrator.mirror import mirrored
from orchestrator.oof import Kept, OutOfFoldFiles
from orchestrator.results import report
from orchestrator.results.leaderboard import Leaderboard
from orchestrator.results.model import Model
from orchestrator.search.course import Course
from orchestrator.search.loop import Ending, Progress, SearchLoop
from orchestrator.search.state import SearchState
from orchestrator.session import ExecutorName, StopSignals, closing, executor_of
from orchestrator.space import is_superset
from orchestrator.version import __version__

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave.

    Attributes:
        path: The run directory; of a run at a URI, its working copy.
        leaderboard: All trials, ranked.
        test_scores: Scores on the sealed test rows, by model: `best`, `dummy` and the comparators' names.
        ending: `finished`, or `time` where the budget ended it.
        sureness: How sure the scores are.
        objectives: What the searches looked for.
    """

    path: Path
    leaderboard: Leaderboard
    test_scores: Mapping[str, float | None]
    ending: Ending
    sureness: Sureness
    objectives: Sequence[str] = ("score",)

    @property
    def best(self) -> Model:
        """The best model, refitted on all training rows; loaded from the run directory at each call."""
        return Model.load(self.path / rundir.BEST)


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """What one search would do: trials and work units, for all of its trials or (`first_batch`) for its first batch."""

    name: str
    sampler: str
    n_trials: int
    n_units: int
    n_parts: int
    cpu_s: float
    first_batch: bool


def run(
    job: Job,
    out: str | Path | None = None,
    *,
    executor: ExecutorName = "ray",
    address: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_start: Callable[[Path, Prepared], None] = lambda path, prepared: None,
    base: Path | None = None,
) -> Result:
    """Run a job from beginning to end.

    Args:
        job: The job.
        out: The run directory, or a URI where the run is kept; a new directory below `runs/` by default.
        executor: `ray`, or `inline` for this process.
        address: A Ray cluster; by default the one this process is connected to, else RAY_ADDRESS, else this machine.
        on_progress: Told how far the run is.
        on_start: Told the run directory and the prepared job before anything is trained.
        base: The folder that relative paths of the job resolve against first; the working directory by default.

    Raises:
        JobError: The job is wrong; nothing was written.
        DataError: The data failed a check; nothing was written.
        RunError: The run failed, or found no model.
        FinalFitError: The best trial could not be fitted on all rows; the board and the report are written.
        Interrupted: SIGINT or SIGTERM came; what was finished is saved.
    """
    if executor == "ray":
        cluster_address(address)
    prepared = prepare(jobs.located(job, base or Path.cwd()))
    files = {
        **{f"{rundir.CODE}/{copy_name(name)}": source for name, source in prepared.data.train.code.items()},
        rundir.MANIFEST: rundir.manifest_text(_first_manifest(prepared, executor)),
        rundir.JOB: jobs.to_yaml(prepared.job),  # the last one: with it, the directory is a run
    }
    with StopSignals() as should_stop:
        path = rundir.create(job.name, out, _needed_bytes(prepared.data), files)
        on_start(path, prepared)
        opened = first_generations(prepared.job)
        with Ledger(path / rundir.LEDGER) as ledger, mirrored(path, should_stop.ask):
            ledger.append(opened)
            return _run(prepared, path, ledger, opened, executor, address, on_progress, should_stop)


def resume(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    executor: ExecutorName = "ray",
    address: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_start: Callable[[Path, Prepared], None] = lambda path, prepared: None,
    force: bool = False,
) -> Result:
    """Go on with a run where it stopped, or with a larger budget or a wider space.

    Args:
        path: The run directory, or its URI.
        overrides: Changes as `KEY=VALUE`: of budget, resources, trials, or a space (to a superset).
        executor: As for `run`.
        address: As for `run`.
        on_progress: As for `run`.
        on_start: As for `run`.
        force: Whether to open the test rows again where another trial has become the best since they were opened.

    Raises:
        JobError: A change is not one that a resumed run may make.
        DataError: The data are not those that the run began with.
        RunError: The run is in use, failed, or found no model.
        FinalFitError: As for `run`.
        Interrupted: As for `run`.
    """
    path = rundir.find(str(path))
    before = stored_job(path)
    changed = jobs.from_dict(jobs.to_dict(before), str(path / rundir.JOB), overrides)
    _check_changes(before, changed)
    with (
        Ledger(path / rundir.LEDGER) as ledger,
        StopSignals() as should_stop,
        mirrored(path, should_stop.ask),
    ):
        manifest = rundir.read_manifest(path)
        prepared = prepare(changed)
        if prepared.data.fingerprint != manifest["data"]["fingerprint"]:
            raise DataError(
                f"data.path: {changed.data.path} has changed since the run began (its fingerprint was "
                f"{manifest['data']['fingerprint']}, and is {prepared.data.fingerprint}); start a new run"
            )
        _remark_on_versions(manifest["versions"])
        records = list(read(path / rundir.LEDGER))
        # A space is widened in three steps. A kill between the last two leaves a job whose space the ledger has not
        # opened; how many trials were made under the old one is then known from the first step alone.
        is_half_widened = bool(new_generations(before, n_made(before, records), records))
        made = manifest["made"] if is_half_widened else n_made(before, records)
        opened = new_generations(prepared.job, made, records)
        if prepared.job != before:
            rundir.write_manifest(path, {**manifest, "made": made})
            rundir.write(path / rundir.JOB, jobs.to_yaml(prepared.job))
        ledger.append(opened)
        on_start(path, prepared)
        records += opened
        return _run(prepared, path, ledger, records, executor, address, on_progress, should_stop, force=force)


def _remark_on_versions(before: Mapping[str, str]) -> None:
    if other := rundir.changed_versions(before):
        _LOG.warning("warning: versions changed since the run began, and results may with them: %s", ", ".join(other))


def _check_changes(before: Job, after: Job) -> None:
    """Refuse changes that would make the old trials another search's."""
    for f in dataclasses.fields(Job):
        if f.name in ("budget", "resources", "searches", "checks"):
            continue
        if getattr(before, f.name) != getattr(after, f.name):
            raise JobError(
                f"--set {f.name}: a resumed run keeps it; only budget, resources, trials and a wider space may change. "
                "Start a new run"
            )
    for name in ("threads", "mixed_precision", "data_mb"):
        if getattr(before.resources, name) != getattr(after.resources, name):
            raise JobError(
                f"--set resources.{name}: a resumed run keeps it, since results depend on it; start a new run"
            )
    if len(before.searches) != len(after.searches):
        raise JobError("--set searches: a resumed run keeps its searches; start a new run")
    for number, (old, new) in enumerate(zip(before.searches, after.searches, strict=True)):
        key = f"--set searches.{number}"
        if dataclasses.replace(old, trials=None, space=None) != dataclasses.replace(new, trials=None, space=None):
            raise JobError(f"{key}: a resumed run keeps its searches; only trials and a wider space may change")
        if not is_superset(new.space or {}, old.space or {}):
            raise JobError(f"{key}.space: a resumed run's space must contain the old one; start a new run for another")


def stored_job(path: Path) -> Job:
    """Return the resolved job of a run directory."""
    text = (path / rundir.JOB).read_text(encoding="utf-8")
    return jobs.from_dict(jobs.parse_yaml(text, str(path / rundir.JOB)), str(path / rundir.JOB))


def _needed_bytes(data: LoadedData) -> int:
    return 2 * data.train.features.nbytes


def _first_manifest(prepared: Prepared, executor: str) -> dict[str, Any]:
    data, shape = prepared.data, prepared.shape
    n_test = 0 if data.test is None else len(data.test.target)
    return {
        "schema_version": rundir.SCHEMA_VERSION,
        "orchestrator": __version__,
        "job": prepared.job.name,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "state": "running",
        "exit_code": None,
        "executor": executor,
        "seed": prepared.job.seed,
        "reproducible": all(s.schedule == "batch" or not looks_back(s) for s in prepared.job.searches),
        "metric": prepared.job.metric,
        "data": {
            "fingerprint": data.fingerprint,
            "schema": data.schema,
            "rows": {"train": len(data.train.target), "test": n_test, "sampled_of": data.sampled_of},
            "signature": data.signature.to_dict(),
            "fold_rows": [list(rows) for rows in shape.fold_rows],
            "key": shape.key,
        },
        "dummy": list(prepared.dummy),
        "code": {name: Code(name, source).sha256 for name, source in data.train.code.items()},
        "warnings": [f"{f.code}: {f.message}" for f in data.findings],
        "silenced": [f"{f.code}: {f.message}" for f in data.silenced],
        "made": [0] * len(prepared.job.searches),
        "timings": {"search_s": 0.0, "sessions": []},
        "test": {"openings": []},
        **rundir.surroundings(),
    }


def _prewarm(executor: Executor, job: Job, manifest: dict[str, Any]) -> None:
    """Let the executor set up what the job's families compute with, while the run goes on to its first unit.

    Raises:
        JobError: Networks would compute on another kind of device than those that the run has.
    """
    names = {*(search.family for search in job.searches), *(one.family for one in job.comparators if one.family)}
    engines = sorted({families.find(name).engine for name in names})
    if "tensorflow" in engines:
        _same_device(executor.device("tensorflow"), manifest)
    for engine in engines:
        executor.prewarm(engine)


def _same_device(here: Device, manifest: dict[str, Any]) -> None:
    """Remember where the run's networks train; scores of two kinds of device must not meet on one board."""
    before = manifest.setdefault("device", here)
    if before != here:
        way = "with `--set resources.device=cpu`"
        if before == "gpu":
            way = "where there is a GPU, with `--set resources.device=auto`"
        raise JobError(
            f"resources.device: the run's networks train on a {before.upper()}, here they would on a {here.upper()}, "
            f"and scores differ; resume it {way}, or start a new run"
        )


def _run(
    prepared: Prepared,
    path: Path,
    ledger: Ledger,
    records: Sequence[Record],
    executor_name: ExecutorName,
    address: str | None,
    on_progress: Callable[[Progress], None],
    should_stop: StopSignals,
    *,
    force: bool = False,
) -> Result:
    job = prepared.job
    manifest = rundir.read_manifest(path)
    manifest.update(state="running", exit_code=None)
    rundir.write_manifest(path, manifest)
    rundir.log(path, "started", executor=executor_name, onednn=onednn())
    started = time.monotonic()
    session: dict[str, float] = {}
    try:
        with (
            closing(executor_of(executor_name, address, job.resources)) as executor,
            compose.rows_in_file(prepared, path / rundir.ROWS) as prepared,
        ):
            should_stop.install()
            _prewarm(executor, job, manifest)
            rundir.write_manifest(path, manifest)
            session["startup_s"] = round(time.monotonic() - started, 6)
            states, answers = states_of(job, prepared.shape, records), answers_of(records)
            timer = _SearchTimer(path, manifest, job.budget.time_s)
            train = executor.share(prepared.data.train)

            kept = _out_of_fold(prepared, path, states)

            def report(progress: Progress) -> None:
                on_progress(progress)
                timer.keep()

            loop = SearchLoop(
                states,
                answers,
                ledger,
                executor,
                train,
                keep=kept.append,
                seconds_left=timer.seconds_left,
                should_stop=should_stop,
                on_progress=report,
            )
            try:
                ending = loop.run()
            finally:
                session["search_s"] = timer.session_s
                manifest["timings"]["search_s"] = timer.total_s
            results = [r for s in states for r in (s.settled() if ending == "time" else s.results.values())]
            board = compose.board_of(job, results, prepared.dummy, prepared.shape)
            if ending == "interrupted":
                write_board(path, board)
                write_journals(path, states)
                raise Interrupted(f"interrupted after {len(results)} trials, which are saved")
            executor.abandon()
            on_board = compose.kept_of(board, states)
            restore(kept, on_board, states, executor, train, should_stop)
            kept.settle(on_board)
            end = End(prepared, path, ledger, records, executor, train, states, board, manifest, should_stop, force)
            board, sureness = end.finish()
            scores = {name: one.score for name, one in sureness.test.items()} or {"best": None}
            result = Result(path, board, scores, ending, sureness, job.objectives)
    except Interrupted as error:
        _end(path, manifest, "interrupted", error.exit_code, session, str(error))
        raise Interrupted(f"{error}; go on with: orchestrator resume {shlex.quote(rundir.called(path))}") from None
    except KeyboardInterrupt:  # a second one, which does not wait
        _end(path, manifest, "interrupted", Interrupted.exit_code, session, "interrupted twice")
        where = shlex.quote(rundir.called(path))
        raise Interrupted(f"stopped at once; finished work is saved; go on with: orchestrator resume {where}") from None
    except OrchestratorError as error:
        _end(path, manifest, "failed", error.exit_code, session, str(error))
        if isinstance(error, FinalFitError):
            _report(path)
        raise
    except BaseException as error:
        _end(path, manifest, "failed", 1, session, f"{type(error).__name__}: {error}")
        raise
    _end(path, manifest, "finished" if result.ending == "finished" else "time", 0, session, None)
    _report(path)
    return result


def _report(path: Path) -> None:
    """Write the report; one that cannot be written costs no run."""
    try:
        report.write(path)
    except Exception as error:  # noqa: BLE001  what it shows is safe elsewhere
        _LOG.warning("warning: no report was written (%s: %s)", type(error).__name__, error)


def _out_of_fold(prepared: Prepared, path: Path, states: Sequence[SearchState]) -> OutOfFoldFiles:
    """Return what keeps the run's out-of-fold predictions, with the rows they are of."""
    job, train = prepared.job, prepared.data.train

    def board() -> list[Kept]:
        results = [result for state in states for result in state.results.values()]
        return compose.kept_of(compose.board_of(job, results, prepared.dummy, prepared.shape), states)

    files = OutOfFoldFiles(path, job.resources.predictions_mb << 20, board)
    n_rows = len(train.target)
    if prepared.data.streamed is not None:  # rows that are scored come first, and millions of others after them
        n_rows = 1 + max(int(one.valid[-1]) for one in train.folds)
    fold = oof.scored_by([one.valid for one in train.folds], n_rows)
    files.write_rows(fold, train.target[:n_rows], _blocks(train, fold[0] >= 0))
    if prepared.data.sensitive is not None:
        rundir.write(path / oof.FOLDER / oof.SENSITIVE, oof.as_parquet(prepared.data.sensitive))
    return files


def _blocks(train: TrainingSet, is_scored: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """Return what a bootstrap of the scored rows draws as wholes, -1 for others; None where rows are independent."""
    if train.dependence is None:
        return None
    blocks = np.full(len(train.target), -1, np.int64)
    blocks[is_scored] = train.dependence.blocks(np.flatnonzero(is_scored))
    return blocks


class _SearchTimer:
    """The seconds that a run has searched, over all of its sessions; kept now and then, so that a kill loses few."""

    KEEP_EVERY_S = 5.0

    def __init__(self, path: Path, manifest: dict[str, Any], limit_s: float | None) -> None:
        self._path, self._manifest = path, manifest
        self._limit_s = math.inf if limit_s is None else limit_s
        self._before_s = float(manifest["timings"]["search_s"])
        self._began = self._kept = time.monotonic()

    @property
    def session_s(self) -> float:
        """Seconds of this session."""
        return round(time.monotonic() - self._began, 6)

    @property
    def total_s(self) -> float:
        """Seconds of all sessions."""
        return round(self._before_s + self.session_s, 6)

    def seconds_left(self) -> float:
        """Return how long the search may still go on."""
        return self._limit_s - self.total_s

    def keep(self) -> None:
        """Write the seconds to the manifest, if that was not done of late."""
        if time.monotonic() - self._kept >= self.KEEP_EVERY_S:
            self._kept = time.monotonic()
            self._manifest["timings"]["search_s"] = self.total_s
            rundir.write_manifest(self._path, self._manifest)


def _end(
    path: Path, manifest: dict[str, Any], state: str, exit_code: int, session: Mapping[str, float], error: str | None
) -> None:
    manifest.update(state=state, exit_code=exit_code, error=error)
    manifest["timings"]["sessions"].append({"ended": datetime.now(UTC).isoformat(timespec="seconds"), **session})
    try:
        rundir.write_manifest(path, manifest)
    except RunError:
        if exit_code == 0:
            raise
    rundir.log(path, "ended", state=state, exit_code=exit_code, error=error)


def board_of(path: Path) -> tuple[Leaderboard, list[SearchState]]:
    """Return a run's leaderboard as its ledger has it now, without reading the data; finished or not."""
    job, manifest = stored_job(path), rundir.read_manifest(path)
    described = manifest["data"]
    signature = Signature.from_dict(described["signature"])
    shape = Shape(
        described["key"],
        tuple((t, v) for t, v in described["fold_rows"]),
        signature.columns,
        signature.task,
        job.metric or "",
        len(signature.classes),
        described["rows"]["train"],
    )
    records = list(read(path / rundir.LEDGER))
    states, answers = states_of(job, shape, records), answers_of(records)
    Course(states, answers).take_up()
    results = [r for s in states for r in (s.settled() if manifest["state"] == "time" else s.results.values())]
    board = compose.board_of(job, results, (manifest["dummy"][0], manifest["dummy"][1]), shape)
    sureness = Sureness.read(path)
    return board if sureness is None else sureness.on(board), states


def plan(prepared: Prepared) -> list[PlannedSearch]:
    """Return what each search would do. Trains nothing; a search that looks back is planned up to its first batch."""
    planned = []
    opened = first_generations(prepared.job)
    states = states_of(prepared.job, prepared.shape, opened)
    course = Course(states, {})  # one for all searches, which may share units
    work = course.work
    for search, state in zip(prepared.job.searches, states, strict=True):
        n_units = n_parts = 0
        cpu_s = 0.0
        while len(state.trials) < min(state.spec.limit, 100_000) and state.propose() is not None:
            course.take_up()
            if state.spec.looks_back:
                break
        while engines := work.engines:
            unit, _ = work.next_ready(engines[0])
            done = dict.fromkeys(unit.answers, Answer(0.0, 0.0, 0.0, 0.0))  # alike: halving ends as many as ever
            work.finish(unit.id, done, None)
            course.learn(unit.answers)
            n_units += bool(unit.answers)
            n_parts += 1
            cpu_s += unit.cost
        first_only = state.spec.looks_back and state.spec.limit > state.n_active
        planned.append(
            PlannedSearch(state.spec.name, search.sampler or "", state.n_active, n_units, n_parts, cpu_s, first_only)
        )
    return planned


def check(job: Job, base: Path | None = None) -> tuple[Prepared, tuple[Finding, ...]]:
    """Look at job and data alone; return what was found beside errors, which are raised."""
    prepared = prepare(jobs.located(job, base or Path.cwd()))
    return prepared, prepared.data.findings
