"""The leaderboard: one row a trial, ranked by fixed rules, and its formats. A pure function of results."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from orchestrator.results.statistics.record import TrialStatistics

DECIMALS = 12
"""Scores compare after rounding to so many decimals: sums in another order differ further behind."""
STATES = ("completed", "pruned", "failed")
NO_TRIALS = ("dummy", "ensemble")
"""Families of rows that no search tried."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial, before it is ranked.

    Attributes:
        trial: `<search>/<number>`.
        search: The search's name.
        family: The model family.
        order: Place of the search among those of the job; the dummy's is -1.
        number: The trial's number in its search.
        state: One of STATES.
        score: As scikit-learn's scorer gives it, higher is better; None where there is none.
        score_std: Standard deviation over folds (ddof=0).
        fit_time_s: Seconds of fitting over all folds, the trial's share.
        predict_time_s: Seconds of predicting, likewise.
        params: The configuration.
        error: `<code>: <message>` of a failed trial.
        complexity: Ties within a search's family go to the lower.
        epochs: The median over folds of the epochs that were kept, where it learned by epochs; for the refit.
        size: About how many numbers its model holds; None where that is not known.
        ci_low: The lower end of the 95 % interval of its score by itself; None where predictions were not kept.
        ci_high: The upper end.
        ties_leader: Whether it cannot be told from the best; None likewise.
    """

    trial: str
    search: str
    family: str
    order: int
    number: int
    state: str
    score: float | None
    score_std: float | None
    fit_time_s: float | None
    predict_time_s: float | None
    params: Mapping[str, Any]
    error: str | None = None
    complexity: float = 0.0
    epochs: int | None = None
    size: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ties_leader: bool | None = None


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Ranked rows, the rank of each, and the name of the scorer that ranked them."""

    rows: tuple[Row, ...]
    ranks: tuple[int, ...]
    metric: str

    @property
    def best(self) -> Row | None:
        """The first completed row of a search: neither the dummy nor the ensemble."""
        return next((row for row in self.rows if row.family not in NO_TRIALS and row.state == "completed"), None)

    def __len__(self) -> int:
        return len(self.rows)

    def to_arrow(self) -> pa.Table:
        """Return the board with its documented columns, then one `param_<name>` column a parameter."""
        columns: dict[str, pa.Array] = {
            "rank": pa.array(self.ranks, pa.int64()),
            "trial": pa.array([row.trial for row in self.rows], pa.string()),
            "search": pa.array([row.search for row in self.rows], pa.string()),
            "family": pa.array([row.family for row in self.rows], pa.string()),
            "state": pa.array([row.state for row in self.rows], pa.string()),
            "score": pa.array([row.score for row in self.rows], pa.float64()),
            "score_std": pa.array([row.score_std for row in self.rows], pa.float64()),
            "ci_low": pa.array([row.ci_low for row in self.rows], pa.float64()),
            "ci_high": pa.array([row.ci_high for row in self.rows], pa.float64()),
            "ties_leader": pa.array([row.ties_leader for row in self.rows], pa.bool_()),
            "fit_time_s": pa.array([row.fit_time_s for row in self.rows], pa.float64()),
            "predict_time_s": pa.array([row.predict_time_s for row in self.rows], pa.float64()),
            "params": pa.array([params_json(row.params) for row in self.rows], pa.string()),
            "error": pa.array([row.error for row in self.rows], pa.string()),
        }
        names = sorted({name for row in self.rows for name in row.params})
        for name in names:
            columns[f"param_{name}"] = _typed([row.params.get(name) for row in self.rows])
        return pa.table(columns)

    def with_statistics(self, trials: Mapping[str, TrialStatistics]) -> Leaderboard:
        """Return the board with the intervals and ties of its trials."""

        def told(row: Row) -> Row:
            one = trials.get(row.trial)
            if one is None:
                return row
            return replace(row, ci_low=one.ci_low, ci_high=one.ci_high, ties_leader=one.ties_leader)

        return replace(self, rows=tuple(told(row) for row in self.rows))

    def with_sizes(self) -> pa.Table:
        """Return the board with one more column, `model_size`: about how many numbers each model holds."""
        sizes = pa.array([row.size for row in self.rows], pa.float64())
        return self.to_arrow().append_column("model_size", sizes)

    def to_polars(self) -> Any:
        """Return the board as a polars frame."""
        import polars

        return polars.from_arrow(self.to_arrow())

    def to_pandas(self) -> Any:
        """Return the board as a pandas frame."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        return as_table(self.to_arrow(), self.metric, top=10)


def ranked(rows: Sequence[Row], metric: str) -> Leaderboard:
    """Rank rows: completed, pruned, failed; by score.

    Equal scores go to the family that was declared first, in it to the simpler model, then to the earlier search and
    trial. Rows of equal standing in all but their trial number keep distinct ranks; failed rows share the last one.
    """
    declared: dict[str, int] = {}
    for row in rows:
        declared[row.family] = min(row.order, declared.get(row.family, row.order))

    def key(row: Row) -> tuple[Any, ...]:
        score = -round(row.score, DECIMALS) if row.score is not None else math.inf
        return (STATES.index(row.state), score, declared[row.family], row.complexity, row.order, row.number)

    ordered = sorted(rows, key=key)
    n_ranked = sum(row.state != "failed" for row in ordered)
    ranks = tuple(min(place, n_ranked + 1) for place in range(1, len(ordered) + 1))
    return Leaderboard(tuple(ordered), ranks, metric)


def pareto_front(board: Leaderboard, objective: str) -> Leaderboard:
    """Return the completed rows that no other one beats in score without losing in a second objective, or the reverse.

    Args:
        board: The leaderboard; dummy and ensemble take no part.
        objective: `model_size` or `predict_time`, which the lower the better.
    """

    def second(row: Row) -> float:
        value = row.size if objective == "model_size" else row.predict_time_s
        return math.inf if value is None else value

    front: list[tuple[Row, int]] = []
    least = math.inf
    for row, rank in zip(board.rows, board.ranks, strict=True):  # from the best score to the worst
        if row.state != "completed" or row.family in NO_TRIALS:
            continue
        beats = second(row) < least
        if front and beats and round(front[-1][0].score or 0.0, DECIMALS) == round(row.score or 0.0, DECIMALS):
            front.pop()
        if beats or not front:
            front.append((row, rank))
            least = second(row)
    return Leaderboard(tuple(row for row, _ in front), tuple(rank for _, rank in front), board.metric)


def params_json(params: Mapping[str, Any]) -> str:
    """Return a configuration as one line of JSON, keys sorted."""
    return json.dumps(dict(params), sort_keys=True, ensure_ascii=False)


def _typed(values: Sequence[Any]) -> pa.Array:
    """Return a column of one Arrow type; a JSON string a value where types differ."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if v is None else json.dumps(v) for v in values], pa.string())
    return pa.array(values) if kinds else pa.nulls(len(values), pa.string())


def plain_score(metric: str, score: float) -> tuple[str, float]:
    """Return a metric's plain name and value, as people read it: `neg_log_loss`, -0.3 is `log_loss`, 0.3."""
    return (metric.removeprefix("neg_"), -score + 0.0) if metric.startswith("neg_") else (metric, score)


def as_table(board: pa.Table, metric: str, top: int | None = None) -> str:
    """Return the board as aligned text, without the columns that are empty or that repeat others."""
    header, body = _readable(board, metric, top)
    return as_text([header, *body])


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Return a header and rows of cells as aligned text, numbers to the right."""
    header, *body = rows
    widths = [max(len(line[i]) for line in rows) for i in range(len(header))]
    right = [_is_numeric(column) for column in zip(*body, strict=True)] if body else [False] * len(header)

    def line(cells: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)).rstrip()

    return "\n".join(line(cells) for cells in [header, *body])


def as_markdown(board: pa.Table, metric: str, top: int | None = None) -> str:
    """Return the board as a Markdown table."""
    header, body = _readable(board, metric, top)
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in body]
    lines = [header, ["---"] * len(header), *escaped]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def as_csv(board: pa.Table, metric: str, top: int | None = None) -> str:
    """Return the board as CSV, all columns, numbers to their last digit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(board.column_names)
    for values in board.slice(0, top).to_pylist():
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in values.values()])
    return out.getvalue()


def as_json(board: pa.Table, metric: str, top: int | None = None) -> str:
    """Return the board as a JSON list of objects; `params` is an object, not a string."""
    rows = board.slice(0, top).to_pylist()
    for row in rows:
        row["params"] = json.loads(row["params"])
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[pa.Table, str, int | None], str]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
    "md": as_markdown,
}


def _readable(board: pa.Table, metric: str, top: int | None) -> tuple[list[str], list[list[str]]]:
    rows = [_plain(metric, row) for row in board.slice(0, top).to_pylist()]
    hidden = {"search", "family", "state", "score", "score_std", "params"}
    params = [n for n in board.column_names if n.startswith("param_")]
    rest = [n for n in board.column_names if n not in {"rank", "trial", *hidden, *params}]
    shown = [n for n in rest if any(row[n] is not None for row in rows)]
    name, _ = plain_score(metric, 0.0)
    header = ["rank", "trial", name, "± std", *(n.removeprefix("param_") for n in params), *shown]
    body = []
    for row in rows:
        score, std = ("-" if row[n] is None else f"{row[n]:.4f}" for n in ("score", "score_std"))
        cells = [str(row["rank"]), row["trial"], score, std]
        body.append([*cells, *(_cell(row[n]) for n in params), *(_cell(row[n]) for n in shown)])
    return header, body


def _plain(metric: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its score and interval as people read the metric; the ends of a negated one change places."""
    found = {n: None if row[n] is None else plain_score(metric, row[n])[1] for n in ("score", "ci_low", "ci_high")}
    if plain_score(metric, 0.0)[0] != metric:
        found["ci_low"], found["ci_high"] = found["ci_high"], found["ci_low"]
    return {**row, **found}


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", " ")


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(cell == "-" or cell.replace(".", "", 1).lstrip("-").replace("e-", "").isdigit() for cell in cells)
