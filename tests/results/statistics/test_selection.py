"""The winner's score is corrected for its choice, and intervals hold the truth as often as they say."""

import numpy as np
import pytest
from boards import board_of, labels, trials

from orchestrator.results.statistics import assess, contiguous_blocks
from orchestrator.results.statistics.resampling import cells, counts


def test_noise_looks_good_and_is_corrected_to_chance():
    boards = [trials(150, [0.5] * 100, seed) for seed in range(40)]
    plain = np.mean([board.candidates[0].score for board in boards])
    corrected = np.mean([board.assess().corrected.score for board in boards])
    assert plain > 0.58
    assert abs(corrected - 0.5) < 0.01


def test_the_winners_interval_holds_the_truth_of_the_winner():
    generator = np.random.default_rng(0)
    held = []
    for seed in range(60):
        chances = generator.uniform(0.7, 0.8, 50)
        board = trials(200, chances, seed, shared=0.5)
        right = 0.5 * chances.mean() + 0.5 * chances[int(board.candidates[0].name)]
        interval = board.assess().corrected
        held.append(interval.low <= right <= interval.high)
    assert np.mean(held) >= 0.9


def test_equal_scores_do_not_go_by_rows_that_a_draw_leaves_out():
    """With few rows the best of many are often equal; the board's order knows which of them is lucky."""
    corrected = [trials(60, [0.5] * 200, seed).assess().corrected.score for seed in range(60)]
    assert abs(np.mean(corrected) - 0.5) < 0.01


def test_a_single_trials_interval_holds_its_truth():
    held = []
    for seed in range(200):
        one = trials(120, [0.9], seed).assess().trials["0"]
        held.append(one.ci_low <= 0.9 <= one.ci_high)
    assert 0.9 <= np.mean(held) < 1.0


def test_a_trial_alone_was_not_chosen_so_its_score_stays():
    board = trials(500, [0.8], 1)
    assert board.assess().corrected.score == pytest.approx(board.candidates[0].score, abs=0.003)


def test_the_shift_moves_the_corrected_score_and_makes_it_less_sure():
    board = trials(300, [0.7, 0.75, 0.8], 2)
    plain, shifted = board.assess(), board.assess(shift=0.02)
    assert shifted.corrected.score == pytest.approx(plain.corrected.score + 0.02)
    assert width(plain.corrected) < width(shifted.corrected) < width(plain.corrected) + 0.04
    assert plain.is_conservative
    assert not shifted.is_conservative


def test_a_shift_beyond_the_metrics_end_stops_there():
    assert trials(300, [0.99], 2).assess(shift=0.5).corrected.high == 1.0


def test_rows_that_hang_together_make_wider_intervals():
    generator = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 10)
    truth = np.repeat(generator.integers(0, 2, 40), 10)
    predictions = [np.where(np.repeat(generator.random(40) < 0.7, 10), truth, 1 - truth) for _ in range(5)]
    board = board_of("accuracy", truth, predictions, group % 5)
    alone, together = board.assess(), board.assess(blocks=group)
    assert width(together.corrected) > 2 * width(alone.corrected)
    for name in alone.trials:
        assert interval_width(together.trials[name]) > 2 * interval_width(alone.trials[name])
    assert together.n_cells == 40
    assert alone.n_cells == 400


def test_blocks_of_one_row_are_rows():
    board = trials(100, [0.6, 0.7], 4)
    assert board.assess(blocks=np.arange(100)) == board.assess()


def test_a_shift_and_blocks_are_refused_together():
    with pytest.raises(ValueError, match="blocks"):
        trials(100, [0.6], 4).assess(blocks=contiguous_blocks(100), shift=0.01)


def test_contiguous_blocks_cover_all_rows_in_order():
    blocks = contiguous_blocks(1000)
    assert (np.diff(blocks) >= 0).all()
    assert np.bincount(blocks).max() == 10


def test_very_many_rows_are_put_together_without_changing_the_interval():
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 2, 120_000)
    board = board_of("accuracy", truth, [labels(truth, 0.8, generator) for _ in range(3)])
    found = board.assess()
    assert found.n_cells < found.n_rows
    exact = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 120_000)
    assert width(found.corrected) == pytest.approx(exact * np.sqrt(1 / np.exp(-1) - 1), rel=0.15)


def test_rows_are_drawn_fold_by_fold():
    fold = np.arange(100) % 4
    (times,) = counts(cells(fold, None, 0), 50, seed=0)
    assert np.array_equal([times[:, fold == one].sum(axis=1) for one in range(4)], np.full((4, 50), 25))
    assert times.max() > 2


@pytest.mark.parametrize("n_folds", [1, 30, 100], ids=["one fold", "few rows a fold", "a row a fold"])
def test_rows_of_small_folds_are_drawn_from_all(n_folds):
    drawn_from = cells(np.arange(100) % n_folds, None, 0)
    assert set(drawn_from.stratum) == {0}
    (times,) = counts(drawn_from, 50, seed=0)
    assert times.sum(axis=1).tolist() == [100] * 50
    assert (times == 0).any(axis=1).all()


def test_blocks_that_lie_in_several_folds_are_drawn_from_all():
    fold, blocks = np.repeat([0, 1], 50), np.arange(100) // 4
    assert set(cells(fold, blocks, 0).stratum) == {0}
    assert set(cells(fold, blocks * 2 + fold, 0).stratum) == {0, 1}


def test_random_cells_are_of_even_size():
    sizes = cells(np.zeros(130_001), None, 0).sizes
    assert sizes.sum() == 130_001
    assert sizes.max() - sizes.min() <= 1


def test_rows_that_no_fold_scores_take_no_part():
    board = trials(200, [0.6, 0.7, 0.8], 6)
    half = np.arange(200) % 2 == 0
    fold = np.where(half, 0, -1)
    scrambled = {name: np.where(half, board.predictions(name), 1 - board.predictions(name)) for name in "012"}
    known = [
        assess("accuracy", "classification", board.truth, fold, board.candidates, p)
        for p in (board.predictions, scrambled.__getitem__)
    ]
    assert known[0] == known[1]
    assert known[0].n_rows == 100


def test_the_same_seed_gives_the_same_and_another_one_another():
    board = trials(150, [0.6, 0.7, 0.7], 7)
    assert board.assess(seed=1) == board.assess(seed=1)
    assert board.assess(seed=1) != board.assess(seed=2)


def width(interval):
    return interval.high - interval.low


def interval_width(trial):
    return trial.ci_high - trial.ci_low
