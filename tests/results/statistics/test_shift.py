"""What a refit gains is read off the trials near the best, and only those have their rows left out."""

import numpy as np
import pytest
from boards import board_of

from orchestrator.results.statistics import refit_shift, worth_leaving_one_out

ROWS = np.arange(100)
TRUTH = ROWS % 2


def right_in(n_right):
    """Return predictions that are right in so many rows."""
    return np.where(np.arange(100) * 37 % 100 < n_right, TRUTH, 1 - TRUTH)


def test_the_shift_is_what_more_rows_bring_to_those_near_the_best():
    said = {"a": right_in(80), "b": right_in(78), "c": right_in(40)}
    found = refit_shift("accuracy", TRUTH, ROWS, said.__getitem__, {"a": 0.82, "b": 0.81, "c": 0.5})
    assert found == pytest.approx((0.02 + 0.03) / 2)


def test_a_trial_that_was_lucky_in_its_folds_alone_does_not_decide():
    said = {"lucky": right_in(85), "steady": right_in(84)}
    found = refit_shift("accuracy", TRUTH, ROWS, said.__getitem__, {"lucky": 0.70, "steady": 0.86})
    assert found == pytest.approx(0.02)


def test_scores_on_some_rows_are_compared_on_those():
    said = {"a": np.where(ROWS < 50, TRUTH, 1 - TRUTH)}
    assert refit_shift("accuracy", TRUTH, ROWS[:50], said.__getitem__, {"a": 0.9}) == pytest.approx(-0.1)


def test_without_scores_there_is_no_shift():
    assert refit_shift("accuracy", TRUTH, ROWS, {}.__getitem__, {}) is None


def test_trials_far_behind_the_best_are_not_worth_a_search():
    board = board_of("accuracy", TRUTH, [right_in(n) for n in (80, 75, 60)])
    named = worth_leaving_one_out("accuracy", TRUTH, board.fold, board.candidates, board.predictions)
    assert named == ["0", "1"]
