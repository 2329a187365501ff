"""Two runs on the same rows, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator import rundir
from orchestrator.data.encode import Task
from orchestrator.errors import JobError
from orchestrator.honest import Sureness
from orchestrator.oof import Predictions
from orchestrator.results.leaderboard import NO_TRIALS, Leaderboard
from orchestrator.results.statistics import Difference, between_boards, difference
from orchestrator.runs import board_of

MOST = 200
"""Trials at the top of each board that may be its best on a draw of rows."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs.

    Attributes:
        name: What the user calls it.
        board: Its leaderboard.
        sureness: How sure that is.
        search_s: Seconds that it searched.
    """

    name: str
    board: Leaderboard
    sureness: Sureness | None
    search_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs.

    Attributes:
        metric: The scorer's name.
        first: One run.
        second: The other.
        of_bests: How far the first run's best is ahead of the second's, on the same out-of-fold rows.
        of_searches: The same, freed of the luck of either choice; None where the metric has no value on some draws.
    """

    metric: str
    first: Side
    second: Side
    of_bests: Difference | None
    of_searches: Difference | None


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare two finished runs on the same training rows.

    Args:
        first: A run directory, or its URI.
        second: Another.

    Raises:
        JobError: They are of other rows or other metrics, or keep no predictions.
    """
    paths = [rundir.find(str(one)) for one in (first, second)]
    manifests = [rundir.read_manifest(path) for path in paths]
    metrics = [manifest["metric"] for manifest in manifests]
    if metrics[0] != metrics[1]:
        raise JobError(f"RUN: {first} is scored by {metrics[0]}, {second} by {metrics[1]}; expected the same metric")
    said = [Predictions.read(path) for path in paths]
    n_rows = [one.rows.num_rows for one in said]
    if not np.array_equal(said[0].truth[: n_rows[0]], said[1].truth[: n_rows[1]]):
        raise JobError(
            f"RUN: {first} and {second} have other training rows ({n_rows[0]} and {n_rows[1]}); "
            "expected two runs on the same data, with the same data.test and seed"
        )
    names = [str(one) for one in (first, second)]
    sides = [_side(name, path, one) for name, path, one in zip(names, paths, manifests, strict=True)]
    n = min(len(one.fold) for one in said)  # of repeated folds those that both have
    scored = np.flatnonzero((said[0].fold[:n] >= 0) & (said[1].fold[:n] >= 0))
    truth = said[0].truth[scored]
    known = [one.blocks for one in said if one.blocks is not None]
    blocks = known[0][scored] if known else None
    tops = [_top(side, one, scored) for side, one in zip(sides, said, strict=True)]
    task: Task = manifests[0]["data"]["signature"]["task"]
    seed = int(manifests[0]["seed"])
    return Comparison(
        metrics[0],
        sides[0],
        sides[1],
        difference(metrics[0], truth, tops[0][0][1], tops[1][0][1], blocks=blocks, seed=seed),
        between_boards(metrics[0], task, truth, tops[0], tops[1], blocks=blocks, seed=seed),
    )


def _side(name: str, path: Path, manifest: dict[str, Any]) -> Side:
    board, _ = board_of(path)
    return Side(name, board, Sureness.read(path), float(manifest["timings"]["search_s"]))


def _top(side: Side, said: Predictions, scored: npt.NDArray[np.intp]) -> Sequence[tuple[float, npt.NDArray[Any]]]:
    rows = [row for row in side.board.rows if row.family not in NO_TRIALS and row.trial in said.kept][:MOST]
    if not rows or side.board.best != rows[0]:
        raise JobError(
            f"RUN: {side.name} keeps no predictions of its best trial; expected resources.predictions_mb above 0"
        )
    found = said.of(row.trial for row in rows)
    return [(row.score or 0.0, _plain(found[row.trial][scored])) for row in rows]


def _plain(said: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return said.astype(np.int64 if said.dtype.kind in "iub" else np.float64)
