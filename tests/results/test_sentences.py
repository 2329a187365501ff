"""What the statistics of a run say in sentences."""

from orchestrator.results import words
from orchestrator.results.leaderboard import Row, ranked
from orchestrator.results.statistics import Difference


def test_a_model_that_is_worse_is_said_to_be_behind():
    said = words.of_difference("roc_auc", "an ensemble and the best", Difference(-0.02, -0.03, -0.01, 0.004))
    assert "the first is behind by 0.0200 of roc_auc (95 % interval 0.0100 to 0.0300, p = 0.004)" in said
    assert said.endswith("the second is better")


def test_dummy_and_ensemble_are_no_trials_of_a_run():
    rows = [
        Row(f"{name}/0", name, name, place, 0, "completed", 0.5, 0.1, 0.0, 0.0, {})
        for place, name in enumerate(("knn", "mlp", "ensemble", "dummy"))
    ]
    assert words.of_side("accuracy", "a", ranked(rows, "accuracy"), None, "-", 1.0)[5] == "2"
