"""One trial of a finished run, trained again: whether its recorded score comes out once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import rundir
from orchestrator.compose import Prepared, answers_of, prepare, rows_in_file, states_of
from orchestrator.errors import DataError, JobError, did_you_mean
from orchestrator.execution.base import Executor
from orchestrator.families.base import Plan
from orchestrator.ledger import read
from orchestrator.runs import stored_job
from orchestrator.search.course import Course
from orchestrator.search.loop import work_off
from orchestrator.search.plan import WorkPlan
from orchestrator.search.state import SearchState
from orchestrator.search.trial import Result, Trial, result_of
from orchestrator.session import ExecutorName, closing, executor_of


@dataclass(frozen=True, slots=True)
class Replayed:
    """A trial as it was recorded, and as it came out now.

    Attributes:
        recorded: What the run has.
        found: What came out.
        changes: Packages whose versions are not those of the run, as `name before -> now`.
    """

    recorded: Result
    found: Result
    changes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether state, score and deviation are the same, to the last bit; of failures, whether the code is."""

        def told(result: Result) -> tuple[object, ...]:
            return result.state, result.score, result.score_std, result.failure and result.failure.code

        return told(self.recorded) == told(self.found)


def replay(path: str | Path, trial: str, *, executor: ExecutorName = "ray", address: str | None = None) -> Replayed:
    """Train one trial again, from the beginning, on the data that the run was made of.

    Args:
        path: The run directory, or its URI.
        trial: `<search>/<number>`, as the leaderboard calls it.
        executor: `ray`, or `inline` for this process.
        address: A Ray cluster, as for `run`.

    Raises:
        JobError: There is no such trial.
        DataError: The data have changed since the run.
        RunError: The run is damaged.
    """
    path = rundir.find(str(path), whole=False)
    manifest, job = rundir.read_manifest(path), stored_job(path)
    prepared = prepare(job)
    if prepared.data.fingerprint != manifest["data"]["fingerprint"]:
        raise DataError(
            f"data.path: {job.data.path} has changed since the run (its fingerprint was "
            f"{manifest['data']['fingerprint']}, and is {prepared.data.fingerprint}); restore the data to replay it"
        )
    records = list(read(path / rundir.LEDGER))
    states = states_of(job, prepared.shape, records)
    Course(states, answers_of(records)).take_up()
    state, recorded = _recorded(states, trial)
    rung = recorded.reports[-1][0] if recorded.state == "pruned" else None
    with (
        closing(executor_of(executor, address, job.resources)) as runner,
        rows_in_file(prepared, path / rundir.ROWS) as prepared,
    ):
        runner.prewarm(state.spec.family.engine)
        found = _trained(runner, prepared, state.generations[recorded.trial.generation].plan, recorded.trial, rung)
    return Replayed(recorded, found, tuple(rundir.changed_versions(manifest["versions"])))


def _recorded(states: Sequence[SearchState], trial: str) -> tuple[SearchState, Result]:
    known = {result.trial.id: (state, result) for state in states for result in state.results.values()}
    if trial not in known:
        raise JobError(f"TRIAL: {trial!r} is no finished trial of the run.{did_you_mean(trial, known)}")
    return known[trial]


def _trained(executor: Executor, prepared: Prepared, plan: Plan, trial: Trial, rung: int | None) -> Result:
    """Compute all that gives a trial's answers, as a run that knows nothing yet would."""
    names = plan.answers_of(trial.params, rung)
    work = WorkPlan({})
    work.want(plan, [(trial.params, names)], rung)
    work_off(work, executor, executor.share(prepared.data.train))
    return result_of(trial, names, work.answers, rung)
