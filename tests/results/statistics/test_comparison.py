"""Who ties with the leader, and who beats the baseline: as often wrong as they say, and no oftener."""

import numpy as np
import pytest
from boards import board_of, labels, trials

from orchestrator.results.statistics import Candidate
from orchestrator.results.statistics import board as statistics_board
from orchestrator.results.statistics.comparison import p_of_beating_the_baseline
from orchestrator.results.statistics.selection import Draws


def test_the_leader_and_its_twins_are_tied_and_a_much_worse_trial_is_not():
    board = trials(400, [0.9, 0.6], 0)
    twin = board_of("accuracy", board.truth, [board.predictions("0"), board.predictions("1"), board.predictions("0")])
    ties = {name: one.ties_leader for name, one in twin.assess().trials.items()}
    assert ties == {"0": True, "2": True, "1": False}


def test_the_truly_best_trial_is_among_the_ties():
    generator = np.random.default_rng(1)
    found = []
    for seed in range(60):
        chances = generator.uniform(0.6, 0.8, 40)
        board = trials(200, chances, seed, shared=0.5)
        found.append(board.assess().trials[str(chances.argmax())].ties_leader)
    assert np.mean(found) >= 0.93


def test_ties_grow_fewer_with_rows():
    chances = np.linspace(0.6, 0.8, 40)
    few, many = (sum(one.ties_leader for one in trials(n, chances, 2).assess().trials.values()) for n in (100, 3000))
    assert many < few / 2


def test_the_simplest_of_the_ties_is_offered():
    board = trials(200, [0.7, 0.71, 0.72, 0.3], 3)
    simple = tuple(Candidate(c.name, c.score, (-float(c.name),)) for c in board.candidates)
    found = type(board)(board.metric, board.truth, board.fold, simple, board.predictions).assess()
    assert not found.trials["3"].ties_leader
    assert found.simplest == "2"
    assert board.assess().simplest == "0"


def test_noise_is_seldom_said_to_beat_the_dummy():
    said = [trials(150, [0.5] * 60, seed).assess().beats_dummy for seed in range(100)]
    assert np.mean(said) <= 0.08


def test_what_is_learnt_is_said_to_beat_the_dummy():
    said = [trials(300, [0.65] * 20, seed).assess().beats_dummy for seed in range(20)]
    assert np.mean(said) == 1.0


def test_the_sentence_says_which_it_is():
    learnt = trials(300, [0.9], 0).assess()
    assert "0, the only trial, is 0." in learnt.sentence
    assert learnt.sentence.startswith("Something was learnt")
    assert "of accuracy better than the dummy" in learnt.sentence
    noise = trials(100, [0.5] * 30, 0).assess()
    assert noise.sentence.startswith("Nothing is shown to beat the dummy")
    assert "the best of 30 trials" in noise.sentence
    assert noise.p_dummy > 0.05


def test_a_trial_worse_than_the_dummy_beats_nothing():
    found = trials(300, [0.3], 0).assess()
    assert not found.beats_dummy
    assert found.sentence.startswith("Nothing beats the dummy")


@pytest.mark.parametrize("metric", ["neg_log_loss", "roc_auc"])
def test_the_dummy_of_probabilities_is_not_beaten_by_frequencies(metric):
    generator = np.random.default_rng(4)
    truth = labels(np.zeros(300, np.int64), 0.7, generator)
    frequencies = np.tile([0.7, 0.3], (300, 1)) + 0.001 * generator.normal(size=(300, 1)) * [1, -1]
    assert not board_of(metric, truth, [frequencies]).assess().beats_dummy


def draws_with_a_leader(errors_ahead: float) -> Draws:
    """Return what a bootstrap found of 20 trials, the first of which is so many errors ahead of the baseline."""
    deviations = np.random.default_rng(0).normal(size=(400, 21)) / [*[1.0] * 20, 1e9]
    return Draws(np.array([errors_ahead, *[0.0] * 20]), deviations, deviations[:, 0], deviations[:, 0], 500)


def test_the_top_of_a_board_was_chosen_from_all_of_it():
    draws = draws_with_a_leader(3.4)
    assert p_of_beating_the_baseline(draws, 20) < 0.05
    assert p_of_beating_the_baseline(draws, 400) > 0.05
    assert p_of_beating_the_baseline(draws_with_a_leader(6.0), 400) < 0.05


def test_trials_that_are_not_drawn_were_chosen_from_as_well():
    few = trials(300, [0.6] * 3, 0)
    assert few.assess(n_trials=5_000).p_dummy > few.assess().p_dummy
    assert "the best of 5,000 trials" in few.assess(n_trials=5_000).sentence


def test_the_sentence_of_a_metric_with_few_drawn_trials_counts_all_of_them(monkeypatch):
    monkeypatch.setattr(statistics_board, "N_SLOW_DRAWS", 40)
    monkeypatch.setattr(statistics_board, "MOST_SLOW_TRIALS", 2)
    few = trials(60, [0.9, 0.6, 0.6, 0.6], 0)
    found = board_of("f1", few.truth, [few.predictions(str(i)) for i in range(4)]).assess()
    assert len(found.trials) == 2
    assert "the best of 4 trials" in found.sentence
    assert "in at most" in found.sentence


def test_a_bound_that_says_nothing_is_not_told_as_a_share_of_cases():
    noise = trials(100, [0.5] * 30, 0).assess(n_trials=100_000)
    assert noise.sentence.endswith("better, which chance alone may give.")
