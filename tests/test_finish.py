"""The end of a run: comparators, test rows that a metric cannot score, and limits that do not hold for the last fit."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from builders import N_ROWS, columns, environment, write

from orchestrator import rundir
from orchestrator.errors import JobError


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def test_comparators_are_scored_beside_the_winner_and_never_chosen(folder, cli, make_job):
    comparators = [
        {"family": "knn", "params": {"n_neighbors": 3, "scaler": None, "pca": None}},
        {"family": "knn", "params": {"n_neighbors": 1}, "name": "nearest"},
    ]
    assert cli("run", make_job(comparators=comparators), "--out", "run").code == 0
    (opening,) = manifest_of(folder / "run")["test"]["openings"]
    assert list(opening["scores"]) == ["best", "dummy", "knn(n_neighbors=3, scaler=none, pca=none)", "nearest"]
    assert all(0 <= score <= 1 for score in opening["scores"].values())


@pytest.mark.parametrize("names", [["best"], ["dummy"], ["same", "same"]])
def test_a_comparator_cannot_take_a_name_that_is_taken(names, cli, make_job):
    comparators = [{"family": "knn", "params": {"n_neighbors": n + 1}, "name": name} for n, name in enumerate(names)]
    outcome = cli("run", make_job(comparators=comparators))
    assert outcome.code == 2
    assert f"comparators: the name {names[-1]!r} is taken" in outcome.err


def test_a_metric_that_the_test_rows_do_not_allow_costs_the_score_and_not_the_model(folder, cli, make_job, caplog):
    rows = np.arange(N_ROWS)
    write(folder / "data.parquet", columns(part=pa.array(np.where(rows % 8 == 0, "test", "train"))))
    job = make_job(metric="roc_auc", data__test={"column": "part"})  # the test rows hold one class
    assert cli("run", job, "--out", "run").code == 0
    assert (folder / "run" / "best" / "model.skops").exists()
    (opening,) = manifest_of(folder / "run")["test"]["openings"]
    assert set(opening["scores"].values()) == {None}
    assert "no score of best on the test rows" in caplog.text


def test_the_time_limit_of_units_does_not_hold_for_the_last_fit(folder, make_job, monkeypatch):
    from orchestrator import jobfile, runs
    from orchestrator.execution import inline

    limits = {}
    plain = inline.run_unit

    def noted(unit, data, inputs, timeout_s):
        limits[unit.id] = timeout_s
        return plain(unit, data, inputs, timeout_s)

    monkeypatch.setattr(inline, "run_unit", noted)
    job, base = jobfile.read_job(make_job(resources={"trial_timeout_s": 60}))
    runs.run(job, folder / "run", executor="inline", base=base)
    assert limits.pop("refit/best") is None
    assert limits.pop("refit/dummy") is None
    assert set(limits.values()) == {60}


def test_a_final_fit_that_fails_costs_the_model_and_not_the_search(folder, cli, make_job, monkeypatch):
    from orchestrator.families.knn import KNN

    def failing(self, params, data, epochs):
        raise FloatingPointError("the loss is not a finite number")

    job = make_job()
    with monkeypatch.context() as patch:
        patch.setattr(KNN, "fit", failing)
        outcome = cli("run", job, "--out", "run")
    assert outcome.code == 1
    assert "error: the final fit of knn/" in outcome.err
    assert "FloatingPointError: the loss is not a finite number" in outcome.err
    assert f"orchestrator resume {folder / 'run'}" in outcome.err
    assert "--set searches.0.space.KEY=WIDER" in outcome.err
    assert outcome.err.count("\n") <= 4
    manifest = manifest_of(folder / "run")
    assert (manifest["state"], manifest["exit_code"], manifest["test"]["openings"]) == ("failed", 1, [])
    board = cli("leaderboard", "run", "--format", "csv").out
    assert (folder / "run" / "statistics.json").exists()
    assert "knn/" in (folder / "run" / "report.html").read_text()

    again = cli("resume", "run")
    assert again.code == 0, again.err
    assert (folder / "run" / "best" / "model.skops").exists()
    assert len(manifest_of(folder / "run")["test"]["openings"]) == 1
    assert cli("leaderboard", "run", "--format", "csv").out == board


def test_a_directory_that_another_run_makes_meanwhile_stays_its_own(folder, monkeypatch):
    path = folder / "run"

    def faster(job_name, out):
        path.mkdir()
        (path / "theirs").write_text("whole")
        return path

    monkeypatch.setattr(rundir, "_free_path", faster)
    with pytest.raises(JobError, match="exists"):
        rundir.create("job", path, 0, {})
    assert (path / "theirs").read_text() == "whole"


def test_a_reader_of_stderr_that_goes_away_does_not_end_a_run(folder, make_job):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "orchestrator", "run", str(make_job()), "--executor", "inline", "--out", "run"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=write_end, env=environment(), timeout=60, check=False)
    os.close(write_end)
    assert done.returncode == 0
    assert manifest_of(folder / "run")["state"] == "finished"
    assert b"best: knn/" in done.stdout


def test_key_value_folders_above_a_dataset_are_no_columns_of_it(folder, cli, make_job):
    write(folder / "run=3" / "data" / "x.parquet", columns())
    for part in (1, 2):
        write(folder / "run=3" / "data" / f"part={part}" / "y.parquet", columns())
    for path, expected in (("run=3/data/x.parquet", "2 columns"), ("run=3/data/part*/*.parquet", "3 columns")):
        outcome = cli("check", make_job(data__path=path))
        assert outcome.code == 0, outcome.err
        assert expected in outcome.out
