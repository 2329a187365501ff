"""Boards at the edge of sense give plain numbers, and never nan."""

import json
import math

import numpy as np
import pytest
from boards import board_of, trials

from orchestrator.results.statistics import Statistics

TRUTH = np.array([0, 1] * 10)
NUMBERS = np.linspace(-1.0, 1.0, 20)


def numbers_in(values):
    if isinstance(values, dict):
        return [one for value in values.values() for one in numbers_in(value)]
    return [values] if isinstance(values, float) else []


CASES = {
    "one trial": ("accuracy", TRUTH, [TRUTH]),
    "all perfect": ("accuracy", TRUTH, [TRUTH, TRUTH]),
    "all wrong": ("accuracy", TRUTH, [1 - TRUTH, 1 - TRUTH]),
    "constant classes": ("accuracy", TRUTH, [np.zeros(20, np.int64), np.ones(20, np.int64)]),
    "one row a class": ("accuracy", np.arange(20), [np.arange(20), np.roll(np.arange(20), 1)]),
    "one class in the rows": ("accuracy", np.zeros(20, np.int64), [np.zeros(20, np.int64)]),
    "two rows": ("accuracy", np.array([0, 1]), [np.array([0, 1]), np.array([1, 1])]),
    "constant numbers": ("r2", NUMBERS, [np.zeros(20), np.ones(20)]),
    "perfect numbers": ("r2", NUMBERS, [NUMBERS, NUMBERS]),
    "a constant truth": ("r2", np.ones(20), [np.ones(20), np.zeros(20)]),
    "errors all the same": ("neg_mean_absolute_error", NUMBERS, [NUMBERS + 1, NUMBERS + 2]),
    "perfect roots": ("neg_root_mean_squared_error", NUMBERS, [NUMBERS, NUMBERS + 1]),
    "certain and wrong": ("neg_log_loss", TRUTH, [np.eye(2)[1 - TRUTH], np.eye(2)[TRUTH]]),
    "perfect f1": ("f1_macro", TRUTH, [TRUTH, 1 - TRUTH]),
    "a constant correlation": ("matthews_corrcoef", TRUTH, [np.zeros(20, np.int64), TRUTH]),
    "a class once": ("roc_auc", np.array([1] + [0] * 19), [np.random.default_rng(0).dirichlet([1, 1], 20)]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_board_gives_nan(name):
    metric, truth, predictions = CASES[name]
    fold = np.arange(len(truth)) % 2 if "once" not in name else np.zeros(len(truth), int)
    found = board_of(metric, truth, predictions, fold).assess()
    assert all(math.isfinite(one) for one in numbers_in(found.to_dict()))
    for one in found.trials.values():
        assert one.ci_low is None or one.ci_low <= one.ci_high
    assert Statistics.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_perfect_rows_leave_room_for_doubt():
    found = board_of("accuracy", TRUTH, [TRUTH]).assess()
    assert found.trials["0"].ci_high == 1.0
    assert found.trials["0"].ci_low < 0.9
    assert found.corrected.low < 0.9


def test_one_block_of_all_rows_tells_nothing():
    found = trials(50, [0.8, 0.7], 0).assess(blocks=np.zeros(50))
    assert found.corrected is None
    assert {one.ci_low for one in found.trials.values()} == {None}
    assert not found.beats_dummy
    assert all(one.ties_leader for one in found.trials.values())


def test_equal_trials_have_the_first_of_the_board_as_their_winner():
    found = board_of("accuracy", TRUTH, [TRUTH, TRUTH, TRUTH]).assess()
    assert found.winner == found.simplest == "0"
    assert all(one.ties_leader for one in found.trials.values())
