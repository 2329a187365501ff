"""Pruning: who goes on at a rung, and that it follows from the job alone, however a run came about."""

import dataclasses
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from curves import EPOCHS, SPACE, Curves, EndUnit, Preparation, World, member, score
from hypothesis import given
from hypothesis import strategies as st
from test_loop import Clockwork, Fake, Session, counting, seconds

from orchestrator.compose import answers_of
from orchestrator.execution.base import Completion
from orchestrator.families.base import Answer, Failure, WorkUnit
from orchestrator.ledger import BatchProposed, UnitFailed, UnitFinished, read
from orchestrator.search.course import Course
from orchestrator.search.loop import Progress
from orchestrator.search.plan import WorkPlan
from orchestrator.search.pruning import Kind, Pruning, rungs
from orchestrator.search.state import Generation, SearchSpec, SearchState
from orchestrator.search.trial import Result, Trial

RUNGS = (1, 3, 9)
KINDS: list[Kind] = ["median", "successive_halving", "hyperband"]
SAMPLERS = ["random", "tpe"]
N = 27


@dataclass
class Learning(Session):
    """A search of learning curves that is pruned."""

    sampler: str = "random"
    space: Any = field(default_factory=lambda: SPACE)
    kind: Kind = "successive_halving"
    data: Any = field(default_factory=World)
    batch_size: int = N

    def generation(self, number: int) -> Generation:
        self.plan = Curves()
        made = super().generation(number)
        return Generation(made.space, made.plan, made.proposer, Pruning(self.kind, RUNGS, 3))

    def replayed(self) -> list[Result]:
        """Return the results that the ledger alone leads to."""
        records = list(read(self.folder))
        spec = SearchSpec("s", Fake(), self.state.spec.limit, self.batch_size, True)  # type: ignore[arg-type]
        state = SearchState(spec)
        state.begin(self.generation(0), 0)
        for record in records:
            if isinstance(record, BatchProposed):
                state.remember(record)
        Course([state], answers_of(records)).take_up()
        return [state.results[number] for number in sorted(state.results)]


def untimed(results: list[Result]) -> list[Any]:
    return [(r.trial, r.state, r.score, r.score_std, r.failure, r.epochs, r.reports) for r in results]


@pytest.mark.parametrize(
    ("least", "factor", "most", "expected"),
    [(1, 3, 27, (1, 3, 9)), (1, 3, 28, (1, 3, 9, 27)), (2, 2, 9, (2, 4, 8)), (5, 3, 5, ()), (4, 3, 5, (4,))],
)
def test_rungs_lie_before_the_end(least: int, factor: int, most: int, expected: tuple[int, ...]) -> None:
    assert rungs(least, factor, most) == expected


def test_halving_keeps_the_best_and_of_equal_ones_the_earlier() -> None:
    halving = Pruning("successive_halving", RUNGS, 3)
    assert halving.survivors({0: 0.1, 1: 0.9, 2: 0.5, 3: 0.9, 4: 0.9, 5: 0.2}, 6) == [1, 3]
    assert halving.survivors({7: 0.1, 8: 0.2}, 2) == [8]
    assert halving.survivors({0: 0.1, 1: 0.2, 5: 0.3}, 9) == [0, 1, 5]  # six of nine failed
    assert halving.survivors({0: -math.inf, 1: -math.inf}, 2) == [0]
    assert halving.survivors({}, 9) == []


def test_median_keeps_all_that_are_not_below_it() -> None:
    median = Pruning("median", RUNGS, 3)
    assert median.survivors({0: 0.1, 1: 0.9, 2: 0.5, 3: 0.5, 4: -math.inf}, 5) == [1, 2, 3]
    assert median.survivors({4: -math.inf}, 5) == [4]


def test_hyperband_deals_in_its_proportions_and_begins_each_bracket_a_rung_later() -> None:
    brackets = Pruning("hyperband", (1, 3, 9, 27), 3).brackets(143)
    assert [len(bracket.offsets) for bracket in brackets] == [81, 34, 15, 8, 5]  # Li et al., table 1
    assert [bracket.rungs for bracket in brackets] == [(1, 3, 9, 27), (3, 9, 27), (9, 27), (27,), ()]


@given(st.integers(1, 300), st.integers(0, 5), st.integers(2, 4), st.sampled_from(KINDS))
def test_every_trial_is_in_one_bracket_and_a_longer_batch_deals_the_first_ones_alike(
    n: int, n_rungs: int, factor: int, kind: Kind
) -> None:
    pruning = Pruning(kind, tuple(factor**i for i in range(n_rungs)), factor)
    dealt = {offset: b.rungs for b in pruning.brackets(n) for offset in b.offsets}
    assert sorted(o for b in pruning.brackets(n) for o in b.offsets) == list(range(n))
    more = {offset: b.rungs for b in pruning.brackets(n + 7) for offset in b.offsets}
    assert all(more[offset] == bracket for offset, bracket in dealt.items())


def test_halving_goes_from_rung_to_rung_and_on_from_where_a_trial_was(tmp_path: Path) -> None:
    session = Learning(tmp_path)
    assert session.go(N) == "finished"
    assert Counter(result.state for result in session.results) == {"pruned": 26, "completed": 1}
    ends = Counter(result.reports[-1][0] for result in session.results if result.state == "pruned")
    assert ends == {1: 18, 3: 6, 9: 2}
    members = {member(result.trial.params): result for result in session.results}
    for one, result in members.items():
        end = EPOCHS if result.state == "completed" else result.reports[-1][0]
        assert session.data.epochs[one] == end  # no epoch twice
        assert result.score == pytest.approx(score(one, end) + 0.005)
        assert result.reports == tuple((rung, score(one, rung)) for rung in RUNGS if rung <= end)
        assert result.epochs == min(5, end)  # of 5 and 7
        assert result.failure is None
    by_first_rung = sorted(members, key=lambda one: -score(one, 1))
    assert all(len(members[one].reports) > 1 for one in by_first_rung[:9])
    assert session.state.best == next(r for r in session.results if r.state == "completed")


def test_pruned_trial_is_never_the_best_however_high_its_score() -> None:
    state = SearchState(SearchSpec("s", Fake(), N, N, False))  # type: ignore[arg-type]
    pruned = Result(Trial("s", 0, {}, 0, 0), "pruned", 0.9, 0.0)
    completed = Result(Trial("s", 1, {}, 0, 0), "completed", 0.1, 0.0)
    state.take(pruned)
    assert state.best is None
    state.take(completed)
    state.take(pruned)
    assert state.best == completed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("n_slots", "seed"), [(3, 1), (3, 2), (8, 3)])
def test_decisions_depend_on_neither_slots_nor_the_order_in_which_units_end(
    tmp_path: Path, kind: Kind, sampler: str, n_slots: int, seed: int
) -> None:
    one, many = (
        Learning(tmp_path / name, sampler, kind=kind, executor=Clockwork(*how))
        for name, how in (("one", (1, 0)), ("many", (n_slots, seed)))
    )
    assert one.go(60) == many.go(60) == "finished"
    assert one.results == many.results
    assert {result.state for result in one.results} == {"completed", "pruned"}
    assert one.data.epochs == many.data.epochs
    assert one.replayed() == one.results


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("every", [1, 4, 9])
def test_search_that_is_stopped_between_rungs_ends_as_one_that_is_not(
    tmp_path: Path, kind: Kind, sampler: str, every: int
) -> None:
    whole = Learning(tmp_path / "whole", sampler, kind=kind, executor=Clockwork(3, 1))
    whole.go(60)
    stopped = Learning(tmp_path / "stopped", sampler, kind=kind, executor=Clockwork(3, 2))
    for patience in itertools.count(every):
        ending = stopped.go(60, should_stop=counting(patience))
        assert stopped.replayed() == stopped.results  # what `status` shows of it
        if ending == "finished":
            break
        assert all(result in untimed(whole.results) for result in untimed(stopped.results))
        assert patience < 1000, "no session got anywhere"
    assert untimed(stopped.results) == untimed(whole.results)
    names = [name for record in read(stopped.folder) if isinstance(record, UnitFinished) for name in record.answers]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_questions", [8, 20, 33, 50])
def test_time_ends_a_pruned_search_at_whole_batches(tmp_path: Path, kind: Kind, n_questions: int) -> None:
    whole = Learning(tmp_path / "whole", kind=kind, batch_size=9, executor=Clockwork(3, 1))
    whole.go(60)
    timed = Learning(tmp_path / "timed", kind=kind, batch_size=9, executor=Clockwork(3, 2))
    timed.go(60, seconds_left=seconds(n_questions))
    settled = timed.state.settled()
    assert len(settled) in (*range(0, 60, 9), 60)
    assert untimed(settled) == untimed(whole.results[: len(settled)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_limit_within_a_batch_and_then_a_larger_one_are_as_the_larger_one_at_once(
    tmp_path: Path, kind: Kind, sampler: str
) -> None:
    at_once, in_two = (Learning(tmp_path / name, sampler, kind=kind) for name in ("at_once", "in_two"))
    at_once.go(60)
    in_two.go(40)
    in_two.go(60)
    assert untimed(in_two.results) == untimed(at_once.results)


def test_async_search_is_pruned_batch_by_batch(tmp_path: Path) -> None:
    session = Learning(tmp_path, "tpe", is_async=True, batch_size=9, executor=Clockwork(4, 1))
    assert session.go(45) == "finished"
    assert [result.trial.number for result in session.results] == list(range(45))
    for batch in range(5):
        states = Counter(result.state for result in session.results[9 * batch : 9 * batch + 9])
        assert states == {"pruned": 8, "completed": 1}


def test_hyperband_trains_its_last_bracket_to_the_end(tmp_path: Path) -> None:
    session = Learning(tmp_path, kind="hyperband", batch_size=45)
    session.go(45)
    pruning = Pruning("hyperband", RUNGS, 3)
    for bracket in pruning.brackets(45):
        results = [session.results[offset] for offset in bracket.offsets]
        assert {result.reports[0][0] for result in results if result.reports} == set(bracket.rungs[:1])
        assert sum(result.state == "completed" for result in results) >= 1
        if not bracket.rungs:
            assert {result.state for result in results} == {"completed"}


def test_payloads_of_rungs_are_let_go_and_preparations_are_kept(tmp_path: Path) -> None:
    session = Learning(tmp_path, "tpe", executor=Clockwork(3, 1))
    reports: list[Progress] = []

    def look(progress: Progress) -> None:
        reports.append(progress)
        assert session.loop._work.n_kept <= 3 * 3  # of each kind: its preparation, a rung, and the rung after it

    session.go(3 * N, on_progress=look)
    assert session.data.preparations == 3
    assert session.loop._work.n_kept == 3
    assert len(session.data.states) == 0
    (search,) = reports[-1].searches
    assert (search.n_finished, search.n_pruned, search.n_failed) == (3 * N, 3 * 26, 0)


def test_resumed_search_begins_again_where_payloads_are_gone(tmp_path: Path) -> None:
    session = Learning(tmp_path, "random", executor=Clockwork(1, 0))
    session.go(N, should_stop=lambda: sum(session.data.epochs.values()) >= N)
    before = Counter(session.data.epochs)
    assert before == dict.fromkeys(before, 1)
    assert len(before) == N
    session.go(N)
    assert max(session.data.epochs.values()) == 1 + EPOCHS  # one epoch that was lost
    whole = Learning(tmp_path / "whole")
    whole.go(N)
    assert untimed(session.results) == untimed(whole.results)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 2, 5])
def test_unit_that_runs_out_of_memory_is_halved_until_it_fits(tmp_path: Path, kind: Kind, most: int) -> None:
    plenty, little = (
        Learning(tmp_path / str(n), kind=kind, data=World(most_members=n), executor=Clockwork(3, 1))
        for n in (1000, most)
    )
    plenty.go(60)
    assert little.go(60) == "finished"
    assert untimed(little.results) == untimed(plenty.results)
    counts = [len(r.answers) for r in read(little.folder) if isinstance(r, UnitFinished)]
    assert max(counts) <= 2 * most  # two folds each; nothing is recorded of the whole ones
    assert untimed(little.replayed()) == untimed(little.results)
    assert len(little.data.states) == 0


class Blaming(Clockwork):
    """Fails every unit that has a member above a height, whole, in one of the ways in which units fail."""

    def __init__(self, failure: Failure, above: float) -> None:
        super().__init__(3, 1)
        self.failure, self.above = failure, above

    def completed(self, timeout_s: float) -> list[Completion]:
        spoilt = [one for one in self._submitted if any(m[0] > self.above for m in getattr(one[0], "members", ()))]
        if not spoilt:
            return super().completed(timeout_s)
        for one in spoilt:
            self._submitted.remove(one)
        return [Completion(unit.id, self.failure) for unit, _, _ in spoilt]


@pytest.mark.parametrize("code", ["timeout", "worker_lost", "raised", "out_of_memory"])
@pytest.mark.parametrize("kind", KINDS)
def test_trial_that_fails_its_whole_unit_is_told_apart_by_halves(tmp_path: Path, code: str, kind: Kind) -> None:
    whole = Learning(tmp_path / "whole", kind=kind, data=World(diverges_above=0.8))
    spoilt = Learning(tmp_path / "spoilt", kind=kind, executor=Blaming(Failure(code, "why"), 0.8))
    whole.go(N)
    assert spoilt.go(N) == "finished"
    failed = [r for r in spoilt.results if r.state == "failed"]
    assert {r.failure for r in failed} == {Failure(code, "why")}
    expected = [dataclasses.replace(r, failure=Failure(code, "why")) if r.failure else r for r in whole.results]
    assert untimed(spoilt.results) == untimed(expected)
    assert untimed(spoilt.replayed()) == untimed(spoilt.results)
    recorded = [r.answers for r in read(spoilt.folder) if isinstance(r, UnitFailed)]
    assert [len(answers) for answers in recorded] == [2] * len(failed)  # of a trial alone, two folds each


def test_trial_that_does_not_fit_alone_fails(tmp_path: Path) -> None:
    session = Learning(tmp_path, data=World(most_members=0))
    assert session.go(N) == "finished"
    assert {result.failure for result in session.results} == {Failure("out_of_memory", "MemoryError: too many at once")}


@pytest.mark.parametrize("seed", range(3))
def test_member_that_fails_leaves_the_others_of_its_unit_alone(tmp_path: Path, seed: int) -> None:
    session = Learning(tmp_path, data=World(diverges_above=0.8), executor=Clockwork(3, seed))
    session.go(N)
    failed = {r.trial.number for r in session.results if r.state == "failed"}
    assert failed == {r.trial.number for r in session.results if r.trial.params["height"] > 0.8} != set()
    assert {r.failure for r in session.results if r.state == "failed"} == {Failure("diverged", "in epoch 1")}
    at_first = sorted((r for r in session.results if r.state != "failed"), key=lambda r: -r.reports[0][1])
    assert all(len(r.reports) > 1 for r in at_first[:9])  # a third of all that began, failed or not
    assert session.replayed() == session.results


def test_answer_that_a_unit_leaves_out_is_a_failure(tmp_path: Path) -> None:
    session = Learning(tmp_path, data=World(says_nothing_above=0.8))
    assert session.go(N) == "finished"
    silent = [r for r in session.results if r.trial.params["height"] > 0.8]
    assert silent
    assert {r.failure for r in silent} == {Failure("no_answer", "the work unit gave no answer for it")}
    assert session.replayed() == session.results


class Forgetful(Clockwork):
    """Loses the first unit of each kind that goes on from kept payloads."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.lost: set[str] = set()

    def completed(self, timeout_s: float) -> list[Completion]:
        lost = [one for one in self._submitted if one[0].needs and one[0].id not in self.lost]
        if not lost:
            return super().completed(timeout_s)
        for one in lost:
            self._submitted.remove(one)
            self.lost.add(one[0].id)
        return [Completion(unit.id, Failure("worker_lost", "gone")) for unit, _, _ in lost]


def test_payloads_that_are_lost_with_a_worker_cost_no_trial(tmp_path: Path) -> None:
    whole, forgetful = Learning(tmp_path / "whole"), Learning(tmp_path / "forgetful", executor=Forgetful())
    whole.go(N)
    assert forgetful.go(N) == "finished"
    assert len(forgetful.executor.lost) > 3  # type: ignore[attr-defined]
    assert untimed(forgetful.results) == untimed(whole.results)


def ended(work: WorkPlan, answers: Any = None) -> WorkUnit:
    """End the next unit, with 0 for each of its answers unless told otherwise."""
    unit, _ = work.next_ready("sklearn")
    given = dict.fromkeys(unit.answers, Answer(0.0, 0.0, 0.0)) if answers is None else answers
    work.finish(unit.id, given, f"payload of {unit.id}")
    return unit


def asked(plan: Curves, *heights: float, epochs: int | None = None) -> list[Any]:
    params = [{"height": height, "speed": 0.5, "kind": "a"} for height in heights]
    return [(one, plan.answers_of(one, epochs)) for one in params]


def test_kept_payload_goes_to_units_that_come_later_without_being_computed_again() -> None:
    work, plan = WorkPlan({}), Curves()
    work.want(plan, asked(plan, 0.1, 0.2, epochs=1), 1, "first")
    assert isinstance(ended(work), Preparation)
    first = ended(work)
    work.want(plan, asked(plan, 0.2, epochs=3), 3, "second")
    work.release("first")
    unit, inputs = work.next_ready("sklearn")
    assert inputs == ["payload of prepare/a", f"payload of {first.id}"]
    assert work.n_kept == 1
    assert work.finish(unit.id, Failure("timeout", "over 1 s"), None)
    assert work.n_kept == 1


@pytest.mark.parametrize("lost", ["failed", "released"])
def test_rung_whose_payload_is_gone_is_not_computed_again(lost: str) -> None:
    work, plan = WorkPlan({}), Curves()
    work.want(plan, asked(plan, 0.1, epochs=1), 1, "first")
    ended(work)
    ended(work, Failure("timeout", "over 1 s") if lost == "failed" else None)
    work.release("first")
    work.want(plan, asked(plan, 0.1), None, "end")
    assert work.n_ready("sklearn") == 1
    unit, inputs = work.next_ready("sklearn")
    assert isinstance(unit, EndUnit)
    assert inputs == ["payload of prepare/a", None]


def test_halves_get_what_the_whole_had_and_who_needs_the_whole_begins_at_the_beginning() -> None:
    work, plan = WorkPlan({}), Curves()
    work.want(plan, asked(plan, 0.1, 0.2, epochs=1), 1, "first")
    ended(work)
    first = ended(work)
    work.want(plan, asked(plan, 0.1, 0.2, epochs=3), 3, "second")
    work.release("first")
    whole, had = work.next_ready("sklearn")
    assert had == ["payload of prepare/a", f"payload of {first.id}"]
    assert work.finish(whole.id, Failure("out_of_memory", "MemoryError"), None) == []
    halves = [work.next_ready("sklearn"), work.next_ready("sklearn")]
    assert [inputs for _, inputs in halves] == [had, had]
    assert [name for half, _ in halves for name in half.answers] == list(whole.answers)
    work.want(plan, asked(plan, 0.1), None, "end")
    assert work.next_ready("sklearn")[1] == ["payload of prepare/a", None]


def test_failed_rung_leaves_the_payload_out_for_a_unit_that_waits_for_it() -> None:
    work, plan = WorkPlan({}), Curves()
    work.want(plan, asked(plan, 0.1, epochs=1), 1, "first")
    work.want(plan, asked(plan, 0.1, epochs=3), 3, "second")
    ended(work)
    ended(work, Failure("timeout", "over 1 s"))
    assert work.next_ready("sklearn")[1] == ["payload of prepare/a", None]


def test_preparation_that_fails_fails_those_that_wait_for_it_and_is_tried_again_for_others() -> None:
    work, plan = WorkPlan({}), Curves()
    wanted = asked(plan, 0.1, 0.2)
    work.want(plan, wanted)
    assert isinstance(ended(work, Failure("raised", "no words")), Preparation)
    assert work.n_ready("sklearn") == 0
    assert {work.answers[name] for _, names in wanted for name in names} == {Failure("raised", "no words")}
    work.want(plan, asked(plan, 0.3))
    assert isinstance(ended(work), Preparation)


def test_costly_units_of_one_preparation_go_first() -> None:
    work, plan = WorkPlan({}), Curves()
    work.want(plan, asked(plan, 0.1))
    work.want(plan, asked(plan, 0.2, 0.3))
    work.want(plan, asked(plan, 0.4, 0.5, 0.6))
    ended(work)
    assert [len(ended(work).answers) for _ in range(3)] == [6, 4, 2]
