"""The search loop over a family whose units take no time: what is asked, what is computed, and what follows from it."""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.compose import answers_of
from orchestrator.execution.base import Completion, Handle, run_unit
from orchestrator.families import base as units
from orchestrator.families.base import Answer, Engine, Failure, UnitOutput, WorkUnit
from orchestrator.ledger import BatchProposed, Ledger, UnitFailed, UnitFinished, read
from orchestrator.search.loop import Ending, Progress, SearchLoop
from orchestrator.search.state import Generation, SearchSpec, SearchState, allocate
from orchestrator.search.study import proposer
from orchestrator.search.trial import Result
from orchestrator.space import Conditions, Params, Range, Space

FOLDS = 2
SAMPLERS = ["grid", "random", "tpe"]
WIDE: Space = {"x": Range(0, 19), "y": ["a", "b", "c"], "label": ["one", "two"]}
BATCH = 4


@dataclass(frozen=True, slots=True)
class Unit(units.Unit):
    """Answers one (x, y) on every fold; `label` changes no answer."""

    x: int
    y: str
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 1.0

    @property
    def id(self) -> str:
        return f"{self.x}{self.y}"

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(f"{self.id}/{fold}" for fold in range(FOLDS))

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        if self.x == data.raises_at:
            raise ValueError("no answer here")
        score = math.nan if self.x == data.undefined_at else -((self.x - 7) ** 2) - ord(self.y) / 1000
        return UnitOutput({name: Answer(score + fold, 0.0, 0.0) for fold, name in enumerate(self.answers)})


@dataclass(frozen=True, slots=True)
class Part(units.Unit):
    """What a `Joined` unit needs; its payload is its number."""

    number: int
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 1.0

    @property
    def id(self) -> str:
        return f"part{self.number}"

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        if self.number == data.raises_at:
            raise ValueError("no part here")
        return UnitOutput(payload=self.number)


@dataclass(frozen=True, slots=True)
class Joined(units.Unit):
    """Scores x as the sum of its parts x and x + 1, which units share; the score also tells their order."""

    x: int
    cost: float = 1.0

    @property
    def id(self) -> str:
        return f"joined{self.x}"

    @property
    def answers(self) -> tuple[str, ...]:
        return (f"{self.id}/0",)

    @property
    def needs(self) -> tuple[Part, ...]:
        return (Part(self.x), Part(self.x + 1))

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        return UnitOutput({self.answers[0]: Answer(float(10 * inputs[0] + inputs[1]), 0.0, 0.0)})


class Points:
    """A plan with one unit for each (x, y)."""

    def answers_of(self, params: Params, epochs: int | None = None) -> Sequence[str]:
        return Unit(params["x"], params.get("y", "a")).answers

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> Sequence[WorkUnit]:
        units = {unit: None for params in wanted if not missing.isdisjoint((unit := self._unit(params)).answers)}
        return list(units)

    def _unit(self, params: Params) -> Unit:
        return Unit(params["x"], params.get("y", "a"))


class Joins:
    """A plan whose units need others."""

    def answers_of(self, params: Params, epochs: int | None = None) -> Sequence[str]:
        return Joined(params["x"]).answers

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> Sequence[WorkUnit]:
        return [Joined(params["x"]) for params in wanted]


class Fake:
    """As much of a family as a search looks at."""

    name = "fake"
    engine: ClassVar[Engine] = "sklearn"
    conditions: ClassVar[Conditions] = {}


@dataclass
class Data:
    """The shared data: where units raise, and where their score is not a number."""

    raises_at: int = -1
    undefined_at: int = -1


class Clockwork:
    """An executor of several slots, which ends its units in an order that a seed decides, and counts them."""

    def __init__(self, n_slots: int = 1, seed: int = 0, holds: str | None = None) -> None:
        self._n_slots = n_slots
        self._random = random.Random(seed)
        self._holds = holds
        self._submitted: list[tuple[WorkUnit, Any, Sequence[Handle]]] = []
        self.started: list[str] = []
        self.on_submit: Callable[[WorkUnit], None] = lambda unit: None

    def share(self, value: object) -> Handle:
        return value

    def capacity(self, engine: Engine) -> int:
        return self._n_slots

    def submit(self, unit: WorkUnit, data: Handle, inputs: Sequence[Handle]) -> None:
        self.on_submit(unit)
        self.started.append(unit.id)
        self._submitted.append((unit, data, inputs))

    def completed(self, timeout_s: float) -> list[Completion]:
        """End a few units in a random order; the one that is held back ends when there is no other."""
        free = [one for one in self._submitted if one[0].id != self._holds] or list(self._submitted)
        chosen = self._random.sample(free, self._random.randint(1, len(free)))
        found = []
        for one in chosen:
            self._submitted.remove(one)
            unit, data, inputs = one
            outcome = run_unit(unit, data, inputs, None)
            payload = None if isinstance(outcome, Failure) else outcome.payload
            found.append(Completion(unit.id, outcome, payload))
        return found

    def fetch(self, handle: Handle) -> Any:
        return handle

    def notes(self) -> Sequence[str]:
        return []

    def abandon(self) -> None:
        self._submitted.clear()

    def close(self) -> None:
        self._submitted.clear()


@dataclass
class Session:
    """A run's folder, and what its searches do there from one session to the next."""

    folder: Path
    sampler: str = "tpe"
    space: Mapping[str, Any] = field(default_factory=lambda: WIDE)
    is_async: bool = False
    seed: int = 1
    data: Any = field(default_factory=Data)
    plan: Any = field(default_factory=Points)
    executor: Clockwork = field(default_factory=Clockwork)
    batch_size: int = BATCH
    state: SearchState = field(init=False)
    loop: SearchLoop = field(init=False)

    def generation(self, number: int) -> Generation:
        is_grid = self.sampler == "grid"
        made = (
            None
            if is_grid
            else proposer(self.sampler, self.space, {}, seed=self.seed, search="s", generation=number, key="k")
        )
        return Generation(dict(self.space), self.plan, made)

    def go(self, limit: float, *, opens: int | None = None, **options: Any) -> Ending:
        """Run what the ledger leaves to do; `opens` begins the next generation at that trial."""
        looks_back = self.sampler not in ("grid", "random")
        spec = SearchSpec("s", Fake(), limit, self.batch_size, looks_back or self.is_async, self.is_async)  # type: ignore[arg-type]
        self.state = SearchState(spec)
        with Ledger(self.folder) as ledger:
            records = list(read(self.folder))
            self.state.begin(self.generation(0), 0)
            for record in records:
                if isinstance(record, BatchProposed):
                    self.state.remember(record)
            if opens is not None:
                self.state.begin(self.generation(1), opens)
            self.loop = SearchLoop([self.state], answers_of(records), ledger, self.executor, self.data, **options)
            ending = self.loop.run()
        self.executor.abandon()
        return ending

    @property
    def results(self) -> list[Result]:
        return [self.state.results[number] for number in sorted(self.state.results)]

    @property
    def recorded(self) -> list[str]:
        return [r.unit for r in read(self.folder) if isinstance(r, UnitFinished | UnitFailed)]

    @property
    def batches(self) -> list[BatchProposed]:
        return [r for r in read(self.folder) if isinstance(r, BatchProposed)]


def counting(n: int) -> Callable[[], bool]:
    """Return a question that is answered with no `n` times, and with yes from then on."""
    asked = itertools.count(1)
    return lambda: next(asked) > n


def seconds(n: int) -> Callable[[], float]:
    """Return a clock with time for `n` questions."""
    is_over = counting(n)
    return lambda: 0.0 if is_over() else 1.0


def test_grid_search_answers_every_point_in_declared_order(tmp_path: Path) -> None:
    session = Session(tmp_path, "grid", {"x": Range(0, 4), "y": ["a", "b"]})
    assert session.go(math.inf) == "finished"
    expected = [{"x": x, "y": y} for x in range(5) for y in "ab"]
    assert [result.trial.params for result in session.results] == expected
    assert [result.trial.number for result in session.results] == list(range(10))
    assert [result.score for result in session.results] == [
        pytest.approx(-((p["x"] - 7) ** 2) - ord(p["y"]) / 1000 + 0.5) for p in expected
    ]
    assert {result.score_std for result in session.results} == {0.5}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("n_slots", "seed"), [(1, 0), (3, 1), (3, 2), (8, 3)])
def test_results_depend_on_neither_slots_nor_the_order_in_which_units_end(
    tmp_path: Path, sampler: str, n_slots: int, seed: int
) -> None:
    one, many = (
        Session(tmp_path / name, sampler, executor=Clockwork(*how))
        for name, how in (("one", (1, 0)), ("many", (n_slots, seed)))
    )
    assert one.go(30) == many.go(30) == "finished"
    assert one.results == many.results
    assert len(one.results) == 30


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batch_is_in_the_ledger_before_its_first_unit_starts(tmp_path: Path, sampler: str) -> None:
    session = Session(tmp_path, sampler, executor=Clockwork(3, 1))

    def look(unit: WorkUnit) -> None:
        proposed = [params for batch in session.batches for params in batch.proposals]
        assert unit.id in {f"{p['x']}{p['y']}" for p in proposed}

    session.executor.on_submit = look
    session.go(12)
    assert session.executor.started


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_outcome_is_in_the_ledger_before_anything_follows_from_it(tmp_path: Path, sampler: str) -> None:
    session = Session(tmp_path, sampler, executor=Clockwork(2, 1))

    def look(progress: Progress) -> None:
        known = {name for r in read(session.folder) if isinstance(r, UnitFinished) for name in r.answers}
        answered = {name for r in session.results for name in session.plan.answers_of(r.trial.params)}
        assert answered <= known

    session.go(12, on_progress=look)


def test_points_that_share_answers_share_a_unit(tmp_path: Path) -> None:
    session = Session(tmp_path, "grid", executor=Clockwork(4, 1))
    session.go(math.inf)
    assert len(session.results) == 20 * 3 * 2
    assert sorted(session.executor.started) == sorted(f"{x}{y}" for x in range(20) for y in "abc")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_duplicate_proposals_count_as_no_trial(tmp_path: Path, sampler: str) -> None:
    session = Session(tmp_path, sampler, {"x": Range(0, 5)})
    assert session.go(6) == "finished"
    assert sorted(result.trial.params["x"] for result in session.results) == list(range(6))
    assert [result.trial.number for result in session.results] == list(range(6))
    assert sorted(session.recorded) == [f"{x}a" for x in range(6)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_search_ends_when_its_space_has_no_new_point(tmp_path: Path, sampler: str) -> None:
    session = Session(tmp_path, sampler, {"x": Range(0, 2)})
    assert session.go(math.inf) == "finished"
    assert len(session.results) == 3
    assert session.state.n_expected == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("first", "then"), [(8, 20), (10, 20), (1, 3)])
def test_fewer_trials_and_then_more_are_the_same_as_all_at_once(
    tmp_path: Path, sampler: str, first: int, then: int
) -> None:
    at_once, in_two = Session(tmp_path / "at_once", sampler), Session(tmp_path / "in_two", sampler)
    at_once.go(then)
    in_two.go(first)
    assert len(in_two.results) == first
    in_two.go(then)
    assert in_two.results == at_once.results
    assert in_two.batches == at_once.batches


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("every", [1, 2, 5, 9])
def test_search_that_is_stopped_again_and_again_ends_as_one_that_is_not(
    tmp_path: Path, sampler: str, every: int
) -> None:
    whole = Session(tmp_path / "whole", sampler, executor=Clockwork(3, 1))
    whole.go(30)
    stopped = Session(tmp_path / "stopped", sampler, executor=Clockwork(3, 2))
    for patience in itertools.count(every):  # a little more each time, so that some session gets beyond where it began
        ending = stopped.go(30, should_stop=counting(patience))
        if ending == "finished":
            break
        assert ending == "interrupted"
        assert all(result in whole.results for result in stopped.results)
        assert patience < 1000, "no session got anywhere"
    assert stopped.results == whole.results
    assert len(stopped.recorded) == len(set(stopped.recorded))
    assert sorted(stopped.recorded) == sorted(whole.recorded)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n_questions", [0, 5, 12, 23, 31])
def test_time_ends_a_search_at_whole_batches_and_more_time_ends_it_as_ever(
    tmp_path: Path, sampler: str, n_questions: int
) -> None:
    whole = Session(tmp_path / "whole", sampler, executor=Clockwork(3, 1))
    whole.go(30)
    timed = Session(tmp_path / "timed", sampler, executor=Clockwork(3, 2))
    assert timed.go(30, seconds_left=seconds(n_questions)) == "time" or len(timed.results) == 30
    settled = timed.state.settled()
    ends = [min(30, end) for end in itertools.accumulate((len(b.proposals) for b in whole.batches), initial=0)]
    assert len(settled) in ends
    assert settled == whole.results[: len(settled)]
    assert timed.go(30) == "finished"
    assert timed.results == whole.results


def test_search_whose_time_was_over_before_it_began_again_still_has_what_it_had(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.go(30, seconds_left=seconds(40))
    settled = session.state.settled()
    assert settled
    assert session.go(30, seconds_left=lambda: 0.0) == "time"
    assert session.state.settled() == settled


def test_search_that_is_stopped_before_it_began_again_still_has_what_it_had(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.go(30, should_stop=counting(20))
    before = session.results
    assert before
    assert session.go(30, should_stop=lambda: True) == "interrupted"
    assert session.results == before


@pytest.mark.parametrize(
    ("options", "ending"), [({"should_stop": lambda: True}, "interrupted"), ({"seconds_left": lambda: 0.0}, "time")]
)
def test_search_that_is_told_to_leave_off_before_it_began_has_not_finished(
    tmp_path: Path, options: dict[str, Any], ending: str
) -> None:
    session = Session(tmp_path)
    assert session.go(30, **options) == ending
    assert session.executor.started == []


@pytest.mark.parametrize(("option", "ending"), [("should_stop", "interrupted"), ("seconds_left", "time")])
def test_search_is_stopped_while_proposals_are_answered_from_memory(tmp_path: Path, option: str, ending: str) -> None:
    session = Session(tmp_path, space={"x": Range(0, 3), "label": [str(i) for i in range(100)]})
    # From some batch on every x is known, so that trials end without a unit, and the loop never waits.
    questions: dict[str, Callable[[], float]] = {
        "should_stop": lambda: len(session.state.results) >= 60,
        "seconds_left": lambda: 0.0 if len(session.state.results) >= 60 else 1.0,
    }
    assert session.go(200, **{option: questions[option]}) == ending
    assert 60 <= len(session.results) < 200
    assert len(session.executor.started) <= 4


def test_search_within_its_limit_has_finished_however_late_it_is(tmp_path: Path) -> None:
    session = Session(tmp_path, "grid", {"x": Range(0, 4)})
    assert session.go(math.inf, seconds_left=lambda: 5.0 - len(session.state.results)) == "finished"
    assert len(session.results) == 5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_unit_that_raises_fails_its_trials_and_no_other(tmp_path: Path, sampler: str) -> None:
    session = Session(tmp_path, sampler, {"x": Range(0, 9)}, data=Data(raises_at=7))
    reports: list[Progress] = []
    assert session.go(10, on_progress=reports.append) == "finished"
    failed = [result for result in session.results if result.state == "failed"]
    assert [result.trial.params for result in failed] == [{"x": 7}]
    assert failed[0].failure == Failure("raised", "ValueError: no answer here")
    assert failed[0].score is None
    (last,) = reports[-1].searches
    assert (last.n_finished, last.n_failed, last.n_expected) == (10, 1, 10)
    assert last.best == max((r for r in session.results if r.score is not None), key=lambda r: r.score or 0.0)


def test_failed_unit_stays_failed_and_is_not_tried_again(tmp_path: Path) -> None:
    session = Session(tmp_path, "grid", {"x": Range(0, 9)}, data=Data(raises_at=7))
    session.go(math.inf)
    before = session.results
    session.data = Data()
    session.executor = Clockwork()
    session.go(math.inf)
    assert session.results == before
    assert session.executor.started == []


def test_score_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    session = Session(tmp_path, "grid", {"x": Range(0, 2)}, data=Data(undefined_at=1))
    session.go(math.inf)
    assert [result.state for result in session.results] == ["completed", "failed", "completed"]
    assert session.results[1].failure == Failure("score_undefined", "the metric is not a finite number on fold 0")
    before = session.results
    session.go(math.inf)  # from the ledger, where no number is null
    assert session.results == before


@pytest.mark.parametrize("seed", range(5))
def test_unit_gets_the_payloads_of_what_it_needs_in_its_own_order(tmp_path: Path, seed: int) -> None:
    session = Session(tmp_path, "grid", {"x": Range(0, 9)}, plan=Joins(), executor=Clockwork(4, seed))
    assert session.go(math.inf) == "finished"
    assert [result.score for result in session.results] == [11.0 * x + 1 for x in range(10)]


@pytest.mark.parametrize("seed", range(5))
def test_units_that_need_a_failed_one_fail_with_it(tmp_path: Path, seed: int) -> None:
    session = Session(
        tmp_path, "grid", {"x": Range(0, 9)}, plan=Joins(), executor=Clockwork(4, seed), data=Data(raises_at=5)
    )
    assert session.go(math.inf) == "finished"
    failed = {r.trial.params["x"]: r.failure for r in session.results if r.state == "failed"}
    assert failed == dict.fromkeys((4, 5), Failure("raised", "ValueError: no part here"))
    assert sorted(session.recorded) == sorted(f"joined{x}" for x in range(10))


@pytest.mark.parametrize("is_async", [True, False])
def test_only_an_async_search_goes_on_before_a_slow_unit_ends(tmp_path: Path, is_async: bool) -> None:
    space = {"x": Range(0, 99)}
    slow = Session(tmp_path / "look", "tpe", space, seed=2)
    slow.go(1)
    session = Session(
        tmp_path / "run", "tpe", space, is_async, 2, executor=Clockwork(3, 1, holds=slow.executor.started[0])
    )
    is_open_at: list[int] = []

    def look(unit: WorkUnit) -> None:
        if 0 not in session.state.results:
            is_open_at.append(len(session.state.trials))

    session.executor.on_submit = look
    assert session.go(20) == "finished"
    assert len(session.results) == 20
    assert (max(is_open_at) > BATCH) is is_async


def test_async_search_that_is_stopped_and_goes_on_has_every_trial_once(tmp_path: Path) -> None:
    session = Session(tmp_path, "tpe", {"x": Range(0, 99)}, True, executor=Clockwork(3, 1))
    for patience in itertools.count(3, 3):
        if session.go(20, should_stop=counting(patience)) == "finished":
            break
        assert patience < 1000
    assert [result.trial.number for result in session.results] == list(range(20))
    assert len({result.trial.params["x"] for result in session.results}) == 20
    assert len(session.recorded) == len(set(session.recorded))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_wider_space_opens_a_generation_that_keeps_the_old_trials_and_adds_new_points_alone(
    tmp_path: Path, sampler: str
) -> None:
    session = Session(tmp_path, sampler, {"x": Range(0, 9)})
    session.go(10)
    old, computed = session.results, session.recorded
    session.space = {"x": Range(0, 14)}
    session.go(15, opens=10)
    assert session.results[:10] == old
    assert [result.trial.number for result in session.results] == list(range(15))
    assert {result.trial.generation for result in session.results[10:]} == {1}
    assert sorted(result.trial.params["x"] for result in session.results) == list(range(15))
    assert sorted(set(session.recorded) - set(computed)) == sorted(f"{x}a" for x in range(10, 15))
    assert len(session.recorded) == 15


def test_wider_space_is_searched_with_the_results_of_trials_that_were_open_when_it_came(tmp_path: Path) -> None:
    whole, stopped = (Session(tmp_path / name, "tpe", {"x": Range(0, 40)}) for name in ("whole", "stopped"))
    whole.go(12)
    stopped.go(12, should_stop=lambda: len(stopped.state.trials) >= 12)
    assert len(stopped.results) < 12
    for session in (whole, stopped):
        session.space = {"x": Range(0, 80)}
        session.go(30, opens=12)
    assert stopped.results == whole.results


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [
        (None, [64.0, math.inf], [64.0, math.inf]),
        (100, [math.inf, math.inf], [50.0, 50.0]),
        (100, [10.0, math.inf], [10.0, 90.0]),
        (100, [10.0, 20.0], [10.0, 20.0]),
        (10, [math.inf, math.inf, math.inf], [4.0, 3.0, 3.0]),
        (2, [math.inf, math.inf, math.inf], [1.0, 1.0, 0.0]),
        (100, [math.inf, 30.0, 40.0], [35.0, 30.0, 35.0]),
        (7, [], []),
    ],
)
def test_budget_of_trials_is_shared_evenly_and_what_one_leaves_goes_to_the_others(
    total: int | None, wanted: list[float], expected: list[float]
) -> None:
    assert allocate(total, wanted) == expected


@given(st.integers(1, 10_000), st.lists(st.one_of(st.integers(1, 5000).map(float), st.just(math.inf)), min_size=1))
def test_shares_of_a_budget_use_it_up_and_exceed_no_wish(total: int, wanted: list[float]) -> None:
    shares = allocate(total, wanted)
    assert sum(shares) == min(total, sum(wanted))
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    largest = max(shares)
    assert all(share == want or share >= largest - 1 for share, want in zip(shares, wanted, strict=True))


@given(st.integers(1, 500), st.integers(0, 500), st.lists(st.integers(1, 200).map(float), min_size=1, max_size=6))
def test_larger_budget_takes_no_trial_from_any_search(total: int, more: int, wanted: list[float]) -> None:
    before, after = allocate(total, wanted), allocate(total + more, wanted)
    assert all(a >= b for a, b in zip(after, before, strict=True))
