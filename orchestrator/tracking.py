"""A finished run in MLflow: a parent run with the best model, and its trials as children; only here it is known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator import rundir
from orchestrator.errors import JobError
from orchestrator.honest import Sureness
from orchestrator.results.leaderboard import Row
from orchestrator.runs import board_of

LONGEST = 500
"""Characters of a parameter's value that every version of MLflow takes."""
ARTIFACTS = ("job.yaml", "manifest.json", "leaderboard.csv", "statistics.json", "report.html")
_STATUS = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def track(path: str | Path, tracking_uri: str | None = None, experiment: str | None = None) -> str:
    """Log a finished run to MLflow.

    Args:
        path: The run directory, or its URI.
        tracking_uri: Where MLflow keeps its runs; MLFLOW_TRACKING_URI, else MLflow's own default, by default.
        experiment: The experiment's name; the job's by default. It is made where there is none.

    Returns:
        The id of the parent run.

    Raises:
        JobError: MLflow is not installed, cannot be reached, or the run has not finished.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise JobError("mlflow is not installed; expected: pip install 'batch-orchestrator[mlflow]'") from None
    path = rundir.find(str(path))
    manifest = rundir.read_manifest(path)
    board, _ = board_of(path)
    if board.best is None or manifest["state"] not in ("finished", "time"):
        raise JobError(f"RUN: {rundir.called(path)} is {manifest['state']}; expected a finished run")
    try:
        client = MlflowClient(tracking_uri=tracking_uri)
        name = experiment or manifest["job"]
        known = client.get_experiment_by_name(name)
        experiment_id = client.create_experiment(name) if known is None else known.experiment_id
        parent = _parent(client, experiment_id, path, manifest, board.best)
        for row in board.rows:
            if row.family != "dummy":
                _child(client, experiment_id, parent, row)
        client.set_terminated(parent, "FINISHED")
    except (MlflowException, OSError) as error:
        where = tracking_uri or "MLFLOW_TRACKING_URI"
        raise JobError(f"--tracking-uri: MLflow at {where} cannot be used: {str(error).splitlines()[0]}") from None
    return parent


def _parent(client: Any, experiment_id: str, path: Path, manifest: dict[str, Any], best: Row) -> str:
    began = int(datetime.fromisoformat(manifest["created"]).timestamp() * 1000)
    tags = {"orchestrator.run": rundir.called(path), "orchestrator.fingerprint": manifest["data"]["fingerprint"]}
    run_id: str = client.create_run(experiment_id, start_time=began, tags=tags, run_name=path.name).info.run_id
    facts = {"metric": manifest["metric"], "seed": manifest["seed"], "best_trial": best.trial, "family": best.family}
    _log(client, run_id, {**facts, **best.params}.items(), _scores(best))
    if (sureness := Sureness.read(path)) is not None:
        metrics = {f"test_{name}": one.score for name, one in sureness.test.items()}
        if sureness.board is not None and (one := sureness.board.corrected) is not None:
            metrics |= {"expected_score": one.score, "expected_low": one.low, "expected_high": one.high}
        _log(client, run_id, (), metrics)
    for name in ARTIFACTS:
        if (path / name).exists():
            client.log_artifact(run_id, str(path / name))
    client.log_artifacts(run_id, str(path / rundir.BEST), "model")
    return run_id


def _child(client: Any, experiment_id: str, parent: str, row: Row) -> None:
    tags = {"mlflow.parentRunId": parent, "orchestrator.trial": row.trial, "orchestrator.family": row.family}
    if row.error:
        tags["orchestrator.error"] = row.error
    run_id = client.create_run(experiment_id, tags=tags, run_name=row.trial).info.run_id
    _log(client, run_id, row.params.items(), _scores(row))
    client.set_terminated(run_id, _STATUS[row.state])


def _scores(row: Row) -> dict[str, float | None]:
    return {
        "score": row.score,
        "score_std": row.score_std,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "fit_time_s": row.fit_time_s,
        "predict_time_s": row.predict_time_s,
    }


def _log(client: Any, run_id: str, params: Iterable[tuple[str, Any]], metrics: dict[str, float | None]) -> None:
    from mlflow.entities import Metric, Param

    client.log_batch(
        run_id,
        metrics=[Metric(_name(name), value, 0, 0) for name, value in metrics.items() if value is not None],
        params=[Param(_name(name), str(value)[:LONGEST]) for name, value in params],
    )


def _name(text: str) -> str:
    """Return a name as MLflow takes it."""
    return "".join(char if char.isalnum() or char in "_-. /" else "_" for char in text)
