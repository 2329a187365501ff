"""Two models or two boards on the same rows."""

import numpy as np
import pytest

from orchestrator.results.statistics import between_boards, difference


def hits(generator, truth, share):
    return np.where(generator.random(len(truth)) < share, truth, 1 - truth)


def test_a_better_model_is_told_from_a_worse_one_and_equals_are_not():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 1000)
    good, bad = hits(generator, truth, 0.9), hits(generator, truth, 0.8)
    apart = difference("accuracy", truth, good, bad)
    assert apart.score == pytest.approx(np.mean(good == truth) - np.mean(bad == truth))
    assert 0 < apart.low < apart.score < apart.high
    assert apart.p < 0.01
    same = difference("accuracy", truth, good, good)
    assert (same.score, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_interval_of_equals_covers_zero_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        truth = generator.integers(0, 2, 200)
        apart = difference("accuracy", truth, hits(generator, truth, 0.8), hits(generator, truth, 0.8), seed=seed)
        covered += apart.low <= 0 <= apart.high
    assert 88 <= covered <= 100


@pytest.mark.parametrize("metric", ["f1_macro", "roc_auc", "neg_log_loss"])
def test_any_metric_compares(metric):
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 2, 300)
    sure = np.clip(0.5 + 0.3 * (2 * truth - 1) + generator.normal(size=300) * 0.2, 0.01, 0.99)
    unsure = np.clip(0.5 + 0.05 * (2 * truth - 1) + generator.normal(size=300) * 0.2, 0.01, 0.99)
    first, second = (np.stack([1 - p, p], axis=1) for p in (sure, unsure))
    if metric == "f1_macro":
        first, second = first.argmax(axis=1), second.argmax(axis=1)
    assert difference(metric, truth, first, second).low > 0


def test_many_trials_of_noise_are_no_better_than_few():
    """The best of 200 coins beats the best of 2 on the rows that it was chosen by, and on no others."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 300)

    def board(n):
        trials = [hits(generator, truth, 0.5) for _ in range(n)]
        return sorted(((float(np.mean(t == truth)), t) for t in trials), key=lambda one: -one[0])

    many, few = board(200), board(2)
    naive = difference("accuracy", truth, many[0][1], few[0][1])
    honest = between_boards("accuracy", "classification", truth, many, few)
    assert naive.score > 0.04
    assert abs(honest.score) < naive.score / 2
    assert honest.low <= 0 <= honest.high
