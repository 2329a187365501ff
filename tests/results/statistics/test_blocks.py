"""Rows that depend on each other, or are there several times, make no score surer than their blocks do."""

import numpy as np
import pytest
from boards import N_FOLDS, board_of, labels

from orchestrator.results.ensemble import ensemble
from orchestrator.results.statistics import between_boards, difference, resampling

N, REPEATS = 150, 10


def repeated(generator, agreement):
    """Return truth, fold and predictions of two trials, each row said again in every repeat, mostly the same."""
    truth = generator.integers(0, 2, N)
    once = [labels(truth, 0.75, generator), labels(truth, 0.6, generator)]
    again = [
        np.concatenate([np.where(generator.random(N) < agreement, one, 1 - one) for _ in range(REPEATS)])
        for one in once
    ]
    folds = [generator.permutation(N) % N_FOLDS + N_FOLDS * number for number in range(REPEATS)]
    return np.tile(truth, REPEATS), np.concatenate(folds), again


@pytest.mark.parametrize(
    ("metric", "agreement"), [("accuracy", 1.0), ("accuracy", 0.9), ("balanced_accuracy", 0.9)], ids=str
)
def test_repeats_do_not_make_rows(metric, agreement):
    truth, fold, said = repeated(np.random.default_rng(0), agreement)
    rows = np.tile(np.arange(N), REPEATS)
    once = board_of(metric, truth[:N], [one[:N] for one in said], fold[:N]).assess()
    many = board_of(metric, truth, said, fold).assess(blocks=rows, n_repeats=REPEATS)
    wrong = board_of(metric, truth, said, fold).assess()
    width = {
        name: one.trials["0"].ci_high - one.trials["0"].ci_low
        for name, one in (("once", once), ("many", many), ("wrong", wrong))
    }
    assert 0.65 * width["once"] < width["many"] < 1.3 * width["once"]
    assert width["wrong"] < 0.5 * width["once"]
    spread = {name: one.corrected.high - one.corrected.low for name, one in (("once", once), ("many", many))}
    assert 0.65 * spread["once"] < spread["many"] < 1.3 * spread["once"]
    assert (many.n_rows, many.n_cells) == (N, N)


def test_repeats_go_with_a_refit_shift_and_groups_do_not():
    truth, fold, said = repeated(np.random.default_rng(1), 1.0)
    board = board_of("accuracy", truth, said, fold)
    rows = np.tile(np.arange(N), REPEATS)
    assert board.assess(blocks=rows, n_repeats=REPEATS, shift=0.01).refit_shift == 0.01
    with pytest.raises(ValueError, match="does not go with blocks"):
        board.assess(blocks=rows, shift=0.01)
    with pytest.raises(ValueError, match="repeats need blocks"):
        board.assess(n_repeats=REPEATS)


def test_more_blocks_than_can_be_drawn_are_put_together(monkeypatch):
    monkeypatch.setattr(resampling, "MOST_CELLS", 50)
    blocks = np.tile(np.arange(N), 2)
    cells = resampling.cells(np.zeros(2 * N), blocks, 0)
    assert len(cells) == 50
    assert np.array_equal(cells.of_row[:N], cells.of_row[N:])


def test_two_models_and_two_boards_are_compared_by_blocks():
    generator = np.random.default_rng(2)
    truth = np.repeat(generator.integers(0, 2, 40), 20)
    first, second = (np.repeat(labels(truth[::20], chance, generator), 20) for chance in (0.75, 0.6))
    blocks = np.repeat(np.arange(40), 20)

    def length(one):
        return one.high - one.low

    loose, tight = (difference("accuracy", truth, first, second, blocks=b) for b in (blocks, None))
    assert loose.score == tight.score
    assert length(loose) > 3 * length(tight)
    boards = [[(float((truth == said).mean()), said)] for said in (first, second)]
    loose, tight = (between_boards("accuracy", "classification", truth, *boards, blocks=b) for b in (blocks, None))
    assert length(loose) > 3 * length(tight)


def test_an_ensemble_is_chosen_without_the_rows_that_it_is_scored_on():
    truth, fold, _ = repeated(np.random.default_rng(3), 1.0)
    rows = np.tile(np.arange(N), REPEATS)
    noise = np.random.default_rng(4)
    said = {str(i): np.tile(noise.integers(0, 2, N), REPEATS) for i in range(30)}
    honest = ensemble("accuracy", truth, fold, said, 5, 2, 0, rows)
    leaky = ensemble("accuracy", truth, fold, said, 5, 2, 0)
    assert np.mean(honest.scores) < 0.56 < np.mean(leaky.scores)
