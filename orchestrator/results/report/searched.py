"""A search's trials as its drawings need them: their order, their scales, and which hyperparameters vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.results.report.parts import number
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.study import importances
from orchestrator.space import Dimension, Range


@dataclass(frozen=True, slots=True)
class Searched:
    """A search's trials that have a score, and its hyperparameters that vary, the most important first.

    Attributes:
        name: The search's name.
        rows: Completed trials by rank, behind them those that ended early.
        n_completed: How many completed.
        space: Its space.
        importance: By hyperparameter, the largest first.
        varied: The hyperparameters with more than one value.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    n_completed: int
    space: Mapping[str, Dimension]
    importance: Mapping[str, float]
    varied: Sequence[str]


def described(name: str, rows: Sequence[Mapping[str, Any]], space: Mapping[str, Dimension]) -> Searched:
    """Describe a search by its rows, completed ones by rank before those that ended early, and by its space."""
    completed = [row for row in rows if row["state"] == "completed"]
    found = importances(space, [(row["params"], row["score"]) for row in completed])
    varied = [n for n in space if len({repr(r["params"].get(n)) for r in rows}) > 1]
    return Searched(name, rows, len(completed), space, found, sorted(varied, key=lambda n: -found.get(n, 0.0)))


def score_scale(run: Run, rows: Sequence[Mapping[str, Any]]) -> tuple[Scale, int]:
    """Return a scale of scores that far outliers do not squeeze, and how many lie beyond it."""
    values = np.array([run.plain(row["score"]) for row in rows], dtype=np.float64)
    is_up = not run.metric.startswith("neg_")
    best, worst = (values.max(), values.min()) if is_up else (values.min(), values.max())
    low = np.quantile(values, 0.05 if is_up else 0.95)
    end = worst if abs(worst - low) <= abs(best - low) else low  # a twentieth at most is squeezed
    beyond = int((values < end).sum() if is_up else (values > end).sum())
    return Scale.over([float(best), float(end)]), beyond


def axis_of(one: Searched, name: str, values: Sequence[Any]) -> tuple[Scale, list[Any]]:
    """Return a scale for a parameter's values, and the values as it takes them."""
    dimension = one.space[name]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if isinstance(dimension, Range) or (len(numbers) == len(values) and len(set(values)) > 6):
        is_log = isinstance(dimension, Range) and dimension.log
        return Scale.over([float(v) for v in values], is_log=is_log), [float(v) for v in values]
    shown = [str(value) for value in values]
    every = [str(v) for v in dimension] if not isinstance(dimension, Range) else []
    return Scale(names=tuple(dict.fromkeys([*(v for v in every if v in set(shown)), *shown]))), shown


def number_of(row: Mapping[str, Any]) -> int:
    """Return a trial's number in its search."""
    return int(row["trial"].rpartition("/")[2])


def tips(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is said of each trial when it is pointed at."""
    return [f"{row['trial']}: {run.metric_name} {number(run.plain(row['score']))}" for row in rows]
