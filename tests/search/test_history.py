"""Histories of results: their order, whatever the order they came in."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.families.base import Failure
from orchestrator.search.history import STATES, History
from orchestrator.search.trial import Result, Trial


def result(number, state, score):
    failure = Failure("raised", "no") if state == "failed" else None
    return Result(Trial("s", number, {}, 0, 0), state, None if failure else score, failure=failure)


RESULTS = st.lists(
    st.builds(result, st.integers(0, 10**6), st.sampled_from(STATES), st.sampled_from([-1.5, 0.0, 0.25, 7.0])),
    unique_by=lambda one: one.trial.number,
)


@given(RESULTS)
def test_results_stand_by_number_and_are_ordered_by_state_then_score_then_number(results):
    history = History(results)
    by_number = sorted(results, key=lambda one: one.trial.number)
    assert list(history) == by_number
    expected = sorted(
        range(len(by_number)),
        key=lambda i: (STATES.index(by_number[i].state), -(by_number[i].score or 0.0), by_number[i].trial.number),
    )
    assert history.by_score().tolist() == expected


def test_notes_are_seen():
    noted = Result(Trial("s", 0, {}, 0, 0, notes={"x": 1}), "completed", 1.0)
    assert not History([result(1, "completed", 1.0)]).has_notes
    assert History([result(1, "completed", 1.0), noted]).has_notes
