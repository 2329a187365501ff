"""Scores by groups of the columns that a job calls sensitive, and how far apart the groups are.

With the extra `fairness` the differences are fairlearn's; without it the groups' scores alone are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import accuracy_score, mean_absolute_error, recall_score

from orchestrator import oof
from orchestrator.families.scoring import score_of
from orchestrator.results.report.parts import Cell, Figure, Section, Table, cell, number, shortened
from orchestrator.results.report.predictions import Array, Predictions
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.svg import Plot

MOST_GROUPS = 12
N_QUANTILES = 4
FEWEST_ROWS = 30
"""Rows of a group below which its score is marked as unsure."""
OTHERS, MISSING = "all others", "missing"
Measure = Callable[[Array], float | None]
"""From which rows to a number, or None where it is not defined on them."""


def section(run: Run, one: Predictions | None) -> Section:
    """Return the scores by groups."""
    title = "Groups"
    names = run.job.data.sensitive
    path = run.path / oof.FOLDER / oof.SENSITIVE
    if not names:
        return Section("groups", title, absent="Left out: no data.sensitive names columns whose groups to compare.")
    if one is None or one.places is None or not path.exists():
        return Section("groups", title, absent="Left out: the run keeps no predictions, and with them no groups.")
    table = pq.read_table(path)
    measures = _measures(run, one)
    figures, tables, sentences, apart = [], [], [f"From {one.rows}."], []
    for name in names:
        groups = grouped(table.column(name))[one.places]
        found = {group: groups == group for group in _ordered(groups)}
        tables.append(_table(name, measures, found))
        main = next(iter(measures))
        values = {group: measures[main](mask) for group, mask in found.items()}
        known = {group: value for group, value in values.items() if value is not None}
        if known:
            figures.append(_figure(name, main, known, measures[main](np.ones(len(groups), dtype=np.bool_)), found))
            sentences.append(
                _sentence(name, main, {g: v for g, v in known.items() if found[g].sum() >= FEWEST_ROWS} or known)
            )
        apart.append([Cell(name), *_differences(run, one, groups)])
    if run.signature.task == "classification" and len(run.class_names) == 2:
        tables.insert(0, _apart(run, apart))
    return Section("groups", title, sentences, figures, tables)


def grouped(values: pa.ChunkedArray) -> Array:
    """Return each row's group: its value as text, or the quarter of the numbers that it lies in, shape (rows,)."""
    plain = values.to_pylist()
    known = [value for value in plain if value is not None]
    if known and not isinstance(known[0], str | bool) and len(set(known)) > MOST_GROUPS:
        numbers = np.array([np.nan if value is None else float(value) for value in plain])
        edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, N_QUANTILES + 1)))
        labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(labels) - 1)
        return np.array(
            [MISSING if np.isnan(n) else labels[b] for n, b in zip(numbers, bins, strict=True)], dtype=object
        )
    texts = np.array([MISSING if value is None else str(value) for value in plain], dtype=object)
    every, counts = np.unique(texts.astype(str), return_counts=True)
    kept = set(every[np.argsort(-counts, kind="stable")[:MOST_GROUPS]])
    return np.array([text if text in kept else OTHERS for text in texts], dtype=object)


def _ordered(groups: Array) -> list[str]:
    """Return the groups, numbers in their order, what is put together last."""

    def key(group: str) -> tuple[bool, float, str]:
        first = group.partition(" to ")[0]
        try:
            return group in (OTHERS, MISSING), float(first), group
        except ValueError:
            return group in (OTHERS, MISSING), 0.0, group

    return sorted({str(group) for group in groups}, key=key)


def _measures(run: Run, one: Predictions) -> Mapping[str, Measure]:
    """Return what is measured of a group; the run's own metric first, where the predictions allow for it."""

    def of(score: Callable[[Array, Array], Any], needs: Array | None = None) -> Measure:
        def measure(mask: Array) -> float | None:
            return float(score(one.truth[mask], (one.said if needs is None else needs)[mask]))

        return measure

    own: dict[str, Measure] = {}
    said = one.said if run.signature.task == "regression" else one.probabilities
    if said is None and run.metric != "accuracy":
        said = np.eye(len(run.class_names))[one.said]  # a metric of labels asks for nothing else
    if said is not None:

        def metric(mask: Array) -> float | None:
            try:
                value = run.plain(score_of(run.metric, said[mask], one.truth[mask]))
            except ValueError:
                return None
            return value if value is not None and np.isfinite(value) else None

        own[run.metric_name] = metric
    if run.signature.task == "regression":
        return own | {"mean error": of(lambda t, p: (p - t).mean()), "mean |error|": of(mean_absolute_error)}
    found = own | {"accuracy": of(accuracy_score)}
    if len(run.class_names) == 2:
        name = shortened(run.class_names[1], 24)
        found |= {
            f"says {name}": of(lambda t, p: (p == 1).mean()),
            f"finds {name}": of(lambda t, p: recall_score(t, p, pos_label=1, zero_division=np.nan)),
            "false alarms": of(lambda t, p: 1 - recall_score(t, p, pos_label=0, zero_division=np.nan)),
        }
    return found


def _table(name: str, measures: Mapping[str, Measure], found: Mapping[str, Array]) -> Table:
    rows = []
    for group, mask in found.items():
        n = int(mask.sum())
        values = [_number(measure(mask)) for measure in measures.values()]
        rows.append([Cell(group + (" (few rows)" if n < FEWEST_ROWS else "")), cell(n), *values])
    return Table([name, "rows", *measures], rows, f"By {shortened(name, 60)}")


def _number(value: float | None) -> Cell:
    return Cell("–") if value is None or np.isnan(value) else cell(float(value))


def _sentence(name: str, measure: str, values: Mapping[str, float]) -> str:
    low, high = min(values, key=lambda g: values[g]), max(values, key=lambda g: values[g])
    return (
        f"By {shortened(name, 60)}, {measure} lies between {number(values[low])} ({shortened(low, 40)}) and "
        f"{number(values[high])} ({shortened(high, 40)})."
    )


def _figure(
    name: str, measure: str, values: Mapping[str, float], overall: float | None, found: Mapping[str, Array]
) -> Figure:
    names = tuple(values)
    every = [*values.values(), *([] if overall is None else [overall])]
    plot = Plot(Scale.over(every, room=0.15), Scale(names=names), x_title=measure, height=60 + 26 * len(names))
    if overall is not None:
        plot.rule(x=overall)
    for group, value in values.items():
        kind = "c0" if found[group].sum() >= FEWEST_ROWS else "c0 hollow"
        told = f"{group}: {number(value)}, {int(found[group].sum()):,} rows"
        plot.points([value], [group], [told], kind, 5)
    caption = f"Dashed: all rows. Hollow: fewer than {FEWEST_ROWS} rows."
    return Figure(f"{measure} by {shortened(name, 40)}", plot.svg(f"{measure} by {name}"), caption)


def _differences(run: Run, one: Predictions, groups: Array) -> list[Cell]:
    """Return how far apart groups are, by fairlearn's metrics, which are of two classes; nothing without the extra."""
    if run.signature.task == "regression" or len(run.class_names) != 2:
        return []
    try:
        from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
    except ImportError:
        return [Cell("–"), Cell("–")]
    enough = np.isin(groups, [group for group in set(groups) if (groups == group).sum() >= FEWEST_ROWS])
    texts = groups[enough].astype(str)
    if not len(texts):
        return [Cell("–"), Cell("–")]
    with np.errstate(invalid="ignore"):
        found = [
            measure(one.truth[enough], one.said[enough], sensitive_features=texts)
            for measure in (demographic_parity_difference, equalized_odds_difference)
        ]
    return [cell(float(value), 3) for value in found]


def _apart(run: Run, rows: list[list[Cell]]) -> Table:
    said = shortened(run.class_names[1], 30)
    known = any(one.number is not None for row in rows for one in row[1:])
    caption = (
        f"Demographic parity: the largest difference between groups in how often {said} is said. Equalized odds: in "
        f"how often it is said rightly, or wrongly. 0 is no difference. Groups below {FEWEST_ROWS} rows are left out."
        if known
        else "Differences are computed by fairlearn: pip install 'batch-orchestrator[fairness]', and report again."
    )
    return Table(["column", "demographic parity", "equalized odds"], rows, "How far groups are apart", caption)
