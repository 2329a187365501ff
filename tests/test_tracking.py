"""Runs in MLflow, in a database of its own."""

import pytest

from orchestrator import rundir
from orchestrator.errors import JobError
from orchestrator.tracking import track

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_a_parent_with_its_trials_as_children(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    uri = f"sqlite:///{folder}/mlflow.db"
    done = cli("mlflow", "run", "--tracking-uri", uri, "--experiment", "iris")
    assert done.code == 0, done.err
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("iris")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("run")
    assert parent.info.run_id in done.out
    assert sorted(runs) == [f"knn/{number}" for number in range(5)]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    manifest = rundir.read_manifest(folder / "run")
    best = runs[parent.data.params["best_trial"]]
    assert best.data.metrics["score"] == parent.data.metrics["score"]
    assert best.data.params["n_neighbors"] == parent.data.params["n_neighbors"]
    assert parent.data.metrics["test_best"] == manifest["test"]["openings"][0]["scores"]["best"]
    artifacts = {one.path for one in client.list_artifacts(parent.info.run_id)}
    assert {"job.yaml", "leaderboard.csv", "model", "statistics.json"} <= artifacts
    with pytest.raises(JobError, match=r"--tracking-uri: MLflow at .* cannot be used"):
        track("run", "nonsense://nowhere")
