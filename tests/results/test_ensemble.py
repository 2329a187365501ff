"""Greedy ensembles: what is chosen, and an estimate that the choice does not flatter."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator import runs
from orchestrator.results.ensemble import ensemble


def test_members_whose_errors_differ_are_averaged():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=400)
    fold = (np.arange(400) % 4).astype(np.int16)
    said = {f"s/{i}": truth + generator.normal(size=400) for i in range(4)}
    found = ensemble("r2", truth, fold, said, 12, 0, 0)
    alone = max(1 - np.mean((one - truth) ** 2) / truth.var() for one in said.values())
    assert sum(found.weights.values()) == 12
    assert set(found.weights) == set(said)
    assert np.mean(found.scores) > alone + 0.3


def test_noise_is_not_flattered():
    """Chosen and scored on the same rows, an ensemble of coins would look better than a coin."""
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 400)
    fold = (np.arange(400) % 5).astype(np.int16)
    said = {f"s/{i}": generator.integers(0, 2, 400) for i in range(50)}
    found = ensemble("accuracy", truth, fold, said, 10, 2, 0)
    assert abs(np.mean(found.scores) - 0.5) < 0.06


def test_one_fold_is_parted_for_the_estimate():
    truth = np.arange(50) % 2
    fold = np.where(np.arange(50) < 30, 0, -1).astype(np.int16)
    found = ensemble("accuracy", truth, fold, {"s/0": truth, "s/1": 1 - truth}, 3, 2, 0)
    assert found.weights == {"s/0": 3}
    assert list(found.scores) == [1.0] * 5
    assert (found.said[fold == -1] == 0).all()


@pytest.mark.parametrize("metric", ["accuracy", "neg_log_loss"])
def test_a_job_gets_one_more_row_that_is_never_the_best(metric, folder, cli, make_job):
    done = cli("run", make_job(ensemble={"size": 5}, metric=metric), "--out", "run")
    assert done.code == 0, done.err
    assert "ensemble/0 and the best: " in done.out
    rows = {row["trial"]: row for row in pq.read_table(folder / "run" / "leaderboard.parquet").to_pylist()}
    row = rows["ensemble/0"]
    assert row["state"] == "completed"
    assert row["ci_low"] <= row["score"] <= row["ci_high"]
    assert row["param_members"].count("x") >= 1
    board, _ = runs.board_of(folder / "run")
    assert board.to_arrow().equals(pq.read_table(folder / "run" / "leaderboard.parquet"))
    assert board.best.family == "knn"


def test_a_search_cannot_be_called_ensemble(cli, make_job):
    assert "the name 'ensemble' is taken" in cli("check", make_job(searches__0__name="ensemble")).err
