"""The leaderboard as a table that can be sorted and filtered, and the trials that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from orchestrator.results.report.certainty import sorted_ends
from orchestrator.results.report.parts import Cell, Section, Table, cell, number
from orchestrator.results.report.run import Run
from orchestrator.results.report.words import counted, seconds

MOST_ROWS = 2000
MOST_FAILURES = 100


def section(run: Run) -> Section:
    """Return the leaderboard's section."""
    rows = run.board[:MOST_ROWS]
    params = sorted({name for row in rows for name in row["params"]})
    header = ["rank", "trial", "family", "state", run.metric_name, "± std"]
    has_intervals = any(row["ci_low"] is not None for row in rows)
    has_ties = any(row["ties_leader"] is not None for row in rows)
    header += ["95 % interval"] * has_intervals + ["ties leader"] * has_ties
    header += ["fit", "predict", *params]
    cells = [_cells(run, row, params, has_intervals, has_ties) for row in rows]
    left_out = len(run.board) - len(rows)
    more = f" The first {MOST_ROWS:,} of {len(run.board):,} rows; all are in leaderboard.csv." if left_out else ""
    lower = f" Lower {run.metric_name} is better." if run.metric.startswith("neg_") else ""
    said = (
        f"{counted(len(run.trials), 'trial')} and the baseline.{lower} Equal scores go to the simpler model.{more} "
        "± std is the standard deviation over folds, which says little of how sure a score is"
        + ("; the interval does." if has_intervals else ".")
    )
    return Section("leaderboard", "Leaderboard", [said], tables=[Table(header, cells, is_board=True)])


def _cells(run: Run, row: Mapping[str, Any], params: list[str], has_intervals: bool, has_ties: bool) -> list[Cell]:
    score = run.plain(row["score"])
    found = [
        cell(row["rank"]),
        Cell(row["trial"]),
        Cell(row["family"]),
        Cell(row["state"]),
        cell(score),
        cell(row["score_std"]),
    ]
    if has_intervals:
        low, high = sorted_ends(run.plain(row["ci_low"]), run.plain(row["ci_high"]))
        found.append(Cell("–") if low is None else Cell(f"{number(low)} – {number(high)}", low))
    if has_ties:
        found.append(cell(row["ties_leader"]))
    found += [Cell(seconds(row[name]), row[name]) for name in ("fit_time_s", "predict_time_s")]
    return found + [_param(row["params"].get(name), name in row["params"]) for name in params]


def _param(value: object, has_value: bool) -> Cell:
    if not has_value:
        return Cell("–")
    if isinstance(value, float):
        return Cell(f"{value:.4g}", value)
    return Cell("none") if value is None else cell(value)


def failures(run: Run) -> Section:
    """Return what failed, and why."""
    failed = [row for row in run.trials if row["state"] == "failed"]
    n_pruned = sum(row["state"] == "pruned" for row in run.trials)
    pruned = f" {counted(n_pruned, 'trial')} ended early, by the pruner." if n_pruned else ""
    if not failed:
        return Section("failures", "Failures", [f"No trial failed.{pruned}"])
    by_reason = Counter(str(row["error"]) for row in failed)
    reasons = Table(["trials", "why"], [[cell(n), Cell(why)] for why, n in by_reason.most_common(MOST_FAILURES)], "Why")
    each = Table(
        ["trial", "why", "configuration"],
        [
            [Cell(r["trial"]), Cell(str(r["error"])), Cell(", ".join(f"{k}={v}" for k, v in r["params"].items()))]
            for r in failed[:MOST_FAILURES]
        ],
        "Which",
        f"The first {MOST_FAILURES} of {len(failed)}." if len(failed) > MOST_FAILURES else "",
    )
    said = f"{len(failed):,} of {counted(len(run.trials), 'trial')} failed.{pruned}"
    return Section("failures", "Failures", [said], tables=[reasons, each])
