"""What a report is made from: a run directory, read once. It needs neither the data nor the machines of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from orchestrator import job as jobs
from orchestrator import rundir
from orchestrator.data.encode import Signature
from orchestrator.errors import JobError, RunError
from orchestrator.job import Job
from orchestrator.results.leaderboard import NO_TRIALS, plain_score

BOARD, TRIALS = "leaderboard.parquet", "trials.parquet"


@dataclass(frozen=True)
class Run:
    """A run's directory and what its small files hold.

    Attributes:
        path: The directory.
        job: The job, with its defaults.
        manifest: Data, versions, hardware, timings, openings of the test rows.
        board: The leaderboard's rows, as plain values, `params` decoded.
    """

    path: Path
    job: Job
    manifest: Mapping[str, Any]
    board: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a run directory.

        Raises:
            JobError: It is no run directory, or its search has not ended.
            RunError: A file is damaged.
        """
        manifest = rundir.read_manifest(path)
        try:
            text = (path / rundir.JOB).read_text(encoding="utf-8")
            rows = pq.read_table(path / BOARD).to_pylist()
        except FileNotFoundError as error:
            raise JobError(
                f"RUN: {rundir.called(path)} has no {Path(str(error.filename)).name} yet; expected a run whose search "
                "has ended. Go on with `orchestrator resume`"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path / BOARD} cannot be read ({error}); `orchestrator resume` writes it anew") from None
        job = jobs.from_dict(jobs.parse_yaml(text, str(path / rundir.JOB)), str(path / rundir.JOB))
        return cls(path, job, manifest, tuple({**row, "params": json.loads(row["params"])} for row in rows))

    @property
    def metric(self) -> str:
        """The scorer's name."""
        return self.job.metric or str(self.manifest.get("metric", ""))

    @property
    def metric_name(self) -> str:
        """What people call the metric."""
        return plain_score(self.metric, 0.0)[0]

    def plain(self, score: float | None) -> float | None:
        """Return a score as people read it: the errors that scorers negate, without their sign."""
        return None if score is None else plain_score(self.metric, score)[1]

    @cached_property
    def signature(self) -> Signature:
        """What the models take and give."""
        return Signature.from_dict(self.manifest["data"]["signature"])

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of their codes."""
        return [str(value) for value in self.signature.classes]

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The leader's row."""
        return next(iter(self.completed), None)

    @property
    def dummy(self) -> Mapping[str, Any] | None:
        """The baseline's row."""
        return next((r for r in self.board if r["family"] == "dummy"), None)

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """The rows of the searches, by rank: neither the baseline's nor an ensemble's."""
        return [row for row in self.board if row["family"] not in NO_TRIALS]

    @property
    def completed(self) -> list[Mapping[str, Any]]:
        """Those of the trials that the best was chosen from."""
        return [row for row in self.trials if row["state"] == "completed"]

    @property
    def ensemble(self) -> Mapping[str, Any] | None:
        """The row of the ensemble, where the job asks for one."""
        return next((row for row in self.board if row["family"] == "ensemble"), None)

    @property
    def openings(self) -> list[Mapping[str, Any]]:
        """The openings of the test rows, in their order."""
        return list(self.manifest["test"]["openings"])

    @property
    def opening(self) -> Mapping[str, Any] | None:
        """The opening of the test rows for the leader; None where there is none, or it was for another trial."""
        last = self.openings[-1] if self.openings else None
        return last if last is not None and self.best is not None and last["best"] == self.best["trial"] else None
