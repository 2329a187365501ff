"""Trials trained again, and runs whose job goes on to new data."""

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import columns, write

import orchestrator
from orchestrator import Data, Job, Search
from orchestrator.errors import DataError, JobError
from orchestrator.job import Pruner
from orchestrator.replay import replay
from orchestrator.retraining import retraining


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run of neighbours and pruned networks, in which trials fail, too."""
    folder = tmp_path_factory.mktemp("mixed")
    space = {"epochs": 9, "width_1": [8, 16], "learning_rate": [0.01, 0.1], "dropout": [0.0, 0.3], "depth": 1}
    wild = {"epochs": 20, "width_1": 8, "learning_rate": [0.01, 1e6], "optimizer": "sgd", "momentum": 0.99, "depth": 1}
    searches = (
        Search("knn", sampler="tpe", trials=20),
        Search("mlp", trials=8, batch_size=8, pruner=Pruner("successive_halving"), space=space),
        Search("mlp", sampler="grid", space=wild, name="wild"),
    )
    return orchestrator.run(
        Job("mixed", Data("dataset:iris", target="species"), searches), folder / "run", executor="inline"
    )


def test_ten_trials_of_a_mixed_job_come_out_as_they_were(mixed):
    rows = [row for row in mixed.leaderboard.rows if row.family != "dummy"]
    assert {row.state for row in rows} == {"completed", "pruned", "failed"}
    first = {row.state: row for row in rows if row.family == "mlp"}  # one of each state at least
    others = random.Random(0).sample([row for row in rows if row not in first.values()], 10 - len(first))
    for row in [*first.values(), *others]:
        replayed = replay(mixed.path, row.trial, executor="inline")
        assert replayed.is_same, (replayed.recorded, replayed.found)
        assert replayed.found.score == row.score


def test_a_score_that_was_tampered_with_is_found_out(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    assert cli("replay", "run", "knn/3", "--executor", "inline").out.endswith("the same\n")
    ledger = folder / "run" / "ledger" / "records.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    for line in lines:
        if line["is"] == "unit":
            line["answers"] = {name: score / 2 for name, score in line["answers"].items()}
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = cli("replay", "run", "knn/3", "--executor", "inline")
    assert outcome.code == 1
    assert "knn/3 came out otherwise than it was recorded" in outcome.err


def test_a_trial_is_not_replayed_on_other_data(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    write(folder / "data.parquet", columns(44))
    with pytest.raises(DataError, match=r"data.path: .* has changed since the run"):
        replay("run", "knn/3", executor="inline")
    assert cli("replay", "run", "knn/3", "--executor", "inline").code == 3


def test_an_unknown_trial_is_named(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    with pytest.raises(JobError, match=r"TRIAL: 'knn/99' is no finished trial of the run"):
        replay("run", "knn/99", executor="inline")


def test_new_data_begin_with_the_best_trials_and_meet_the_old_model(folder, cli, make_job):
    job = make_job(searches__0__sampler="tpe", searches__0__trials=4)
    assert cli("run", job, "--out", "old").code == 0
    write(folder / "new.parquet", columns(100))
    outcome = cli(
        "retrain", "old", "new.parquet", "--out", "new", "--executor", "inline", "--set", "searches.0.trials=5"
    )
    assert outcome.code == 0, outcome.err
    before = pq.read_table("old/leaderboard.parquet").to_pylist()
    best_first = [row["params"] for row in before if row["family"] == "knn"]
    after = pq.read_table("new/trials.parquet").to_pylist()
    assert [row["params"] for row in after if row["family"] == "knn"][:4] == best_first
    (opening,) = json.loads((folder / "new" / "manifest.json").read_text())["test"]["openings"]
    assert list(opening["scores"]) == ["best", "dummy", "previous"]
    test = pq.read_table("new/test.parquet")
    assert np.mean(test["previous"].to_numpy() == test["target"].to_numpy()) == opening["scores"]["previous"]


def test_an_old_model_that_does_not_fit_the_new_data_costs_its_score_and_not_the_run(folder, cli, make_job, caplog):
    assert cli("run", make_job(), "--out", "old").code == 0
    values = columns(100)
    write(folder / "new.parquet", {"c": values["a"], **{name: values[name] for name in ("b", "y")}})
    assert cli("retrain", "old", "new.parquet", "--out", "new", "--executor", "inline").code == 0
    (opening,) = json.loads((folder / "new" / "manifest.json").read_text())["test"]["openings"]
    assert opening["scores"]["previous"] is None
    assert "no score of previous on the test rows: column 'a' is missing" in caplog.text


def test_a_run_without_a_model_is_not_retrained(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "old").code == 0
    (folder / "old" / "best" / "signature.json").unlink()
    with pytest.raises(JobError, match="has no model yet"):
        retraining("old", "data.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n_neighbors": 99},
            "searches.0.enqueue.0.n_neighbors: 99 is not in the space; expected a number from 1 to 5",
        ),
        ({"k": 1}, "searches.0.enqueue.0: the space has no parameter 'k'"),
        ({}, "searches.0.enqueue.0.n_neighbors: missing; expected a number from 1 to 5"),
    ],
)
def test_what_is_tried_first_must_lie_in_the_space(change, message, cli, make_job):
    outcome = cli("check", make_job(searches__0__sampler="tpe", searches__0__enqueue=[change]))
    assert outcome.code == 2
    assert message in outcome.err


def test_a_grid_has_nothing_to_try_first(cli, make_job):
    outcome = cli("check", make_job(searches__0__sampler="grid", searches__0__enqueue=[{"n_neighbors": 1}]))
    assert "searches.0.enqueue: a grid tries every point" in outcome.err


def test_a_comparator_is_a_configuration_or_a_model(cli, make_job):
    assert "expected one of family and model, found none" in cli("check", make_job(comparators=[{"name": "x"}])).err
    outcome = cli("check", make_job(comparators=[{"model": "nowhere"}]))
    assert "comparators.0.model: " in outcome.err
    assert "holds no model" in outcome.err
