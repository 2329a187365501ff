"""Scores under a bootstrap's counts are scikit-learn's on the rows as they were drawn."""

import numpy as np
import pytest
from boards import board_of, labels
from sklearn.metrics import get_scorer

from orchestrator.families.scoring import AnsweredClassifier, AnsweredRegressor
from orchestrator.results.statistics import metrics
from orchestrator.results.statistics.confusion import OF_CONFUSION
from orchestrator.results.statistics.evaluation import evaluation_of
from orchestrator.results.statistics.resampling import cells, counts

N_ROWS = 80
OF_NUMBERS = [name for name in metrics.MEANS if name.startswith(("neg_mean", "neg_root", "r2"))]
OF_CLASSES = ["accuracy", "f1_macro", "balanced_accuracy", "matthews_corrcoef", "precision_weighted"]
OF_PROBABILITIES = ["neg_log_loss", "neg_brier_score", "roc_auc_ovr"]
OF_TWO = ["roc_auc", "average_precision", "neg_brier_score", "f1", "balanced_accuracy", "matthews_corrcoef"]


def predictions(metric, n_classes, seed=0):
    """Return the truth, three configurations' predictions, and the same as models for scorers."""
    generator = np.random.default_rng(seed)
    if metric in OF_NUMBERS:
        truth = generator.gamma(2.0, 50.0, N_ROWS)
        given = [np.abs(truth + generator.normal(0, 30, N_ROWS)) for _ in range(3)]
        return truth, given, AnsweredRegressor
    truth = generator.integers(0, n_classes, N_ROWS)
    raw = [generator.random((N_ROWS, n_classes)) + 0.4 * np.eye(n_classes)[truth] for _ in range(3)]
    given = [one / one.sum(axis=1, keepdims=True) for one in raw]
    if metrics.takes_labels(metric, truth):
        return (
            truth,
            [labels(truth, 0.7, generator, n_classes) for _ in range(3)],
            lambda p: AnsweredClassifier(np.eye(n_classes)[p]),
        )
    return truth, given, AnsweredClassifier


CASES = [*((m, 0) for m in OF_NUMBERS), *((m, 3) for m in OF_CLASSES + OF_PROBABILITIES), *((m, 2) for m in OF_TWO)]


@pytest.mark.parametrize(("metric", "n_classes"), CASES)
@pytest.mark.parametrize("in_blocks", [False, True], ids=["rows", "blocks"])
def test_scores_under_counts_are_those_of_the_rows_drawn(metric, n_classes, in_blocks):
    truth, given, model = predictions(metric, n_classes)
    drawn_from = cells(np.zeros(N_ROWS), np.arange(N_ROWS) // 4 if in_blocks else None, 0)
    evaluation = evaluation_of(metric, truth, iter(given), len(given), drawn_from)
    (times,) = counts(drawn_from, 4, seed=1)
    scores = evaluation.scores(times)
    chosen = np.array([2, 0, 1, 1])
    left_out = evaluation.left_out(times, chosen)
    scorer = get_scorer(metric)
    for b, count in enumerate(times):
        rows = np.repeat(np.arange(N_ROWS), count[drawn_from.of_row].astype(int))
        expected = [scorer(model(p[rows]), truth[rows], truth[rows]) for p in given]
        assert scores[b] == pytest.approx(expected, rel=1e-5)
        out = np.flatnonzero(count[drawn_from.of_row] == 0)
        expected_out = scorer(model(given[chosen[b]][out]), truth[out], truth[out])
        assert left_out[b] == pytest.approx(expected_out, rel=1e-5)


@pytest.mark.parametrize(("metric", "n_classes"), CASES)
def test_a_score_is_scikit_learns(metric, n_classes):
    truth, given, model = predictions(metric, n_classes)
    assert metrics.score(metric, truth, given[0]) == pytest.approx(get_scorer(metric)(model(given[0]), truth, truth))


@pytest.mark.parametrize(("metric", "n_classes"), CASES)
def test_every_metric_has_intervals_around_its_scores(metric, n_classes):
    truth, given, _ = predictions(metric, n_classes)
    board = board_of(metric, truth, given)
    found = board.assess()
    for candidate in board.candidates:
        one = found.trials[candidate.name]
        assert one.ci_low < candidate.score < one.ci_high
        assert metrics.bounds(metric)[0] <= one.ci_low
        assert one.ci_high <= metrics.bounds(metric)[1]
    assert found.corrected.low < found.corrected.score < found.corrected.high
    assert found.beats_dummy or metric == "f1"  # whose majority class is the one that counts


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_target_do_not_matter_to_r2(scale):
    truth, given, _ = predictions("r2", 0)
    plain = board_of("r2", truth, given).assess()
    scaled = board_of("r2", truth * scale, [one * scale for one in given]).assess()
    assert scaled.corrected.low == pytest.approx(plain.corrected.low, rel=1e-3)
    assert scaled.corrected.high == pytest.approx(plain.corrected.high, rel=1e-3)


def test_a_metric_that_costs_much_looks_at_the_top_of_the_board_alone(monkeypatch):
    monkeypatch.setattr("orchestrator.results.statistics.board.N_SLOW_DRAWS", 40)
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 60)
    board = board_of("f1_macro", truth, [labels(truth, 0.8, generator) for _ in range(30)])
    found = board.assess()
    assert list(found.trials) == [one.name for one in board.candidates[:20]]


def test_what_does_not_fit_in_memory_lies_at_the_bottom_and_has_no_interval(monkeypatch):
    monkeypatch.setattr("orchestrator.results.statistics.board.MOST_ENTRIES", 60 * 11)
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 60)
    board = board_of("accuracy", truth, [labels(truth, 0.8, generator) for _ in range(30)])
    asked = []
    whole = board.assess()
    found = type(board)(
        board.metric, truth, board.fold, board.candidates, lambda n: asked.append(n) or board.predictions(n)
    ).assess()
    assert asked == list(found.trials) == [one.name for one in board.candidates[:10]]
    assert found.winner == whole.winner


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("metric", sorted(OF_CONFUSION))
def test_scores_of_pairs_of_classes_are_scikit_learns_whatever_class_is_lacking(metric):
    generator = np.random.default_rng(3)
    for n_classes, n_rows in [(2, 1), (2, 2), (2, 9), (3, 3), (4, 8)] * 20:
        if metric == "f1" and n_classes > 2:
            continue
        truth, predicted = generator.integers(0, n_classes, (2, n_rows))
        expected = get_scorer(metric)._score_func(truth, predicted, **get_scorer(metric)._kwargs)
        assert metrics.score(metric, truth, predicted) == pytest.approx(expected, abs=1e-12)
