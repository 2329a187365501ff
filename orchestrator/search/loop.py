"""The search loop: ask, plan, submit, record, tell. It decides and never computes; clock and executor are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import Interrupted
from orchestrator.execution.base import Completion, Executor, Handle
from orchestrator.families.base import Failure, OutOfFold
from orchestrator.ledger import Ledger, Record, UnitFailed, unit_finished
from orchestrator.search.course import Course
from orchestrator.search.plan import Outcome, WorkPlan
from orchestrator.search.state import SearchState
from orchestrator.search.trial import Result

POLL_S = 0.5

Ending = Literal["finished", "time", "interrupted"]


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is; `n_expected` is infinite where only time ends it."""

    name: str
    n_finished: int
    n_failed: int
    n_expected: float
    best: Result | None
    n_pruned: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; `notes` is what running units told of themselves."""

    searches: tuple[SearchProgress, ...]
    n_units_done: int
    n_units_running: int
    notes: tuple[str, ...] = ()

    @property
    def n_finished(self) -> int:
        """How many trials have a result, over all searches."""
        return sum(search.n_finished for search in self.searches)


class SearchLoop:
    """Runs searches to their end: every trial within its limit, the deadline, or a request to stop.

    Args:
        states: The searches, new or replayed from a ledger.
        answers: The answers known so far, by name; filled as the loop goes.
        ledger: Where every proposal and outcome is made durable before anything follows from it.
        executor: Where units run.
        data: The executor's handle of the training set.
        keep: Where what trials said is made durable, by search, before the ledger knows their answers.
        seconds_left: How long the search may still go on.
        should_stop: Whether to leave off now.
        on_progress: Told after every change.
    """

    def __init__(
        self,
        states: Sequence[SearchState],
        answers: dict[str, Outcome],
        ledger: Ledger,
        executor: Executor,
        data: Handle,
        *,
        keep: Callable[[str, Mapping[str, OutOfFold]], None] = lambda search, answers: None,
        seconds_left: Callable[[], float] = lambda: math.inf,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._states = states
        self._course = Course(states, answers)
        self._work = self._course.work
        self._ledger = ledger
        self._executor = executor
        self._data = data
        self._keep = keep
        self._seconds_left = seconds_left
        self._should_stop = should_stop
        self._on_progress = on_progress
        self._units_done = 0

    def run(self) -> Ending:
        """Run until nothing is left to do, time is up, or a stop is asked for."""
        self._course.take_up()  # what the ledger knew counts, even if there is no time for more
        while (reason := self._reason_to_leave_off()) is None:
            self._ask()
            self._submit()
            self._report()
            if not self._work.n_submitted:
                reason = self._reason_to_leave_off()
                break
            self._take_in(self._executor.completed(max(0.0, min(POLL_S, self._seconds_left()))))
        self._report()
        is_done = all(len(state.results) >= state.n_expected for state in self._states)
        return "finished" if is_done or reason is None else reason

    def _reason_to_leave_off(self) -> Ending | None:
        if self._should_stop():
            return "interrupted"
        return "time" if self._seconds_left() <= 0 else None

    def _ask(self) -> None:
        """Let searches propose, make the proposals durable, and plan them, until work is at hand."""
        while self._reason_to_leave_off() is None:
            proposed: list[Record] = []
            for state in self._states:
                engine = state.spec.family.engine
                n_slots = self._executor.capacity(engine)
                if state.may_propose(n_slots) and self._work.n_ready(engine) <= 4 * n_slots:
                    batch = state.propose()
                    proposed += [batch] if batch is not None else []
            self._ledger.append(proposed)
            if not self._course.take_up():
                return

    def _submit(self) -> None:
        for engine in self._work.engines:
            n_slots = self._executor.capacity(engine)
            while self._work.n_ready(engine) and self._work.n_submitted_of(engine) < n_slots:
                unit, inputs = self._work.next_ready(engine)
                self._executor.submit(unit, self._data, inputs)

    def _take_in(self, completions: Sequence[Completion]) -> None:
        """Make outcomes durable, then tell them."""
        records: list[Record] = []
        learned: list[str] = []
        said: dict[str, dict[str, OutOfFold]] = {}
        for done in completions:
            outcome = done.outcome if isinstance(done.outcome, Failure) else done.outcome.answers
            for unit, given in self._work.finish(done.unit_id, outcome, done.payload):
                if isinstance(given, Failure):
                    records.append(UnitFailed(unit.id, list(unit.answers), given.code, given.message))
                else:
                    records.append(unit_finished(unit.id, given))
                learned += unit.answers
            if not isinstance(done.outcome, Failure) and (search := self._course.search_of(done.outcome.out_of_fold)):
                said.setdefault(search, {}).update(done.outcome.out_of_fold)
            self._units_done += 1
        for search, answers in said.items():
            self._keep(search, answers)
        self._ledger.append(records)
        self._course.learn(learned)

    def _report(self) -> None:
        searches = tuple(
            SearchProgress(one.spec.name, len(one.results), one.n_failed, one.n_expected, one.best, one.n_pruned)
            for one in self._states
        )
        notes = tuple(self._executor.notes())
        self._on_progress(Progress(searches, self._units_done, self._work.n_submitted, notes))


def work_off(
    work: WorkPlan,
    executor: Executor,
    data: Handle,
    should_stop: Callable[[], bool] = lambda: False,
    keep: Callable[[Mapping[str, OutOfFold]], None] = lambda answers: None,
) -> None:
    """Compute all units of a plan, outside of a search: nothing is recorded, and nothing follows from what they give.

    Args:
        work: The plan; its answers are filled.
        executor: Where units run; it has no others.
        data: The executor's handle of the training set.
        should_stop: Whether to leave off.
        keep: Given what the models of answers said.

    Raises:
        Interrupted: It was told to.
    """
    while work.engines or work.n_submitted:
        if should_stop():
            raise Interrupted("interrupted after the search")
        for engine in work.engines:
            while work.n_ready(engine) and work.n_submitted_of(engine) < executor.capacity(engine):
                unit, inputs = work.next_ready(engine)
                executor.submit(unit, data, inputs)
        for done in executor.completed(POLL_S):
            if isinstance(done.outcome, Failure):
                work.finish(done.unit_id, done.outcome, done.payload)
                continue
            keep(done.outcome.out_of_fold)
            work.finish(done.unit_id, done.outcome.answers, done.payload)
