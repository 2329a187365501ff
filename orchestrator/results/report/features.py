"""The features: how much the score falls once one is shuffled, and what each adds to predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator import rundir
from orchestrator.errors import RunError
from orchestrator.results.explain import REPEATS, Explained
from orchestrator.results.report.parts import Figure, Section, Table, cell, number, shortened
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.shap_values import ShapValues, shap_values
from orchestrator.results.report.svg import GOLDEN, Plot
from orchestrator.results.report.words import counted

MOST_BARS, MOST_SWARMS = 20, 12


def section(run: Run, *, with_shap: bool) -> Section:
    """Return the features' section.

    Args:
        run: The run.
        with_shap: Whether to compute SHAP values, which loads the model.

    Raises:
        RunError: A file is damaged.
    """
    found = _explained(run)
    if found.problem:
        sentences = [f"Permutation importance is left out, since {found.problem}."]
        figures, tables = [], []
    else:
        sentences, figures, tables = [_sentence(run, found)], [_importance(run, found)], [_table(run, found)]
    shap = shap_values(run) if with_shap else "SHAP values are computed by `orchestrator report`, not at a run's end."
    if isinstance(shap, ShapValues):
        sentences.append(
            f"SHAP values of the shipped model, on {counted(len(shap.values), 'training row')}: what each column adds "
            "to a prediction."
        )
        figures += _shap(run, shap)
    else:
        sentences.append(shap)
    return Section("features", "Features", sentences, figures, tables)


def _explained(run: Run) -> Explained:
    try:
        return Explained.from_json((run.path / rundir.EXPLAINED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Explained(problem="it was not computed when the run ended")
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{run.path / rundir.EXPLAINED} is damaged ({error}); remove it, and the report does without"
        ) from None


def _order(importance: Sequence[float]) -> list[int]:
    return sorted(range(len(importance)), key=lambda i: -importance[i])


def _sentence(run: Run, found: Explained) -> str:
    first = _order(found.importance)[0]
    silent = sum(found.importance[i] <= 2 * found.deviation[i] for i in range(len(found.columns)))
    how = "rises" if run.metric.startswith("neg_") else "falls"
    return (
        f"Shuffling {shortened(found.columns[first], 60)} costs most: {run.metric_name} {how} by "
        f"{number(found.importance[first])} from {number(run.plain(found.score))}, on {counted(found.n_rows, 'row')} "
        f"that the model had not seen. {silent} of {len(found.columns)} columns alone cost nothing that stands out; "
        "columns that say the same stand in for each other."
    )


def _importance(run: Run, found: Explained) -> Figure:
    shown = _order(found.importance)[:MOST_BARS]
    names = _distinct([found.columns[i] for i in shown])
    lows = [min(found.importance[i] - found.deviation[i], 0.0) for i in shown]
    highs = [found.importance[i] + found.deviation[i] for i in shown]
    plot = Plot(
        Scale(min(lows), max([*highs, 1e-9]) * 1.05),
        Scale(names=names),
        x_title=f"what shuffling costs, in {run.metric_name}",
        height=60 + 22 * len(shown),
    )
    for name, i in zip(names, shown, strict=True):
        value, spread = found.importance[i], found.deviation[i]
        told = f"{found.columns[i]}: {number(value)} ± {number(spread)}"
        plot.bar(value, name, told=told, thickness=12)
        plot.span(value - spread, value + spread, name, "whisker", told)
    more = f" The first {len(shown)} of {len(found.columns)} columns." if len(found.columns) > len(shown) else ""
    caption = f"Mean and standard deviation over {REPEATS} shuffles.{more}"
    return Figure("What shuffling a column costs", plot.svg("Permutation importance of columns"), caption)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that differ, as a scale needs them, even where they are cut short."""
    return tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names))


def _table(run: Run, found: Explained) -> Table:
    order = _order(found.importance)
    rows = [[cell(found.columns[i]), cell(found.importance[i]), cell(found.deviation[i])] for i in order]
    return Table(["column", f"cost in {run.metric_name}", "± std"], rows, "All columns", is_folded=True)


def _shap(run: Run, found: ShapValues) -> list[Figure]:
    strength = np.abs(found.values).mean(axis=0).sum(axis=1)
    shown = _order(strength.tolist())[:MOST_BARS]
    unit = "probability, all classes added up" if run.signature.task == "classification" else run.signature.target
    plot = Plot(
        Scale(0.0, float(strength.max()) * 1.05 or 1.0),
        Scale(names=_distinct([found.columns[i] for i in shown])),
        x_title=f"mean |SHAP value|, in {shortened(unit, 40)}",
        height=60 + 22 * len(shown),
    )
    for name, i in zip(plot.y.names, shown, strict=True):
        plot.bar(float(strength[i]), name, "c2", f"{found.columns[i]}: {number(float(strength[i]))}", thickness=12)
    figures = [Figure("What moves predictions (SHAP)", plot.svg("Mean absolute SHAP values"))]
    n_outputs = found.values.shape[2]
    if n_outputs <= 2:
        figures.append(_swarm(run, found, shown[:MOST_SWARMS]))
    return figures


def _swarm(run: Run, found: ShapValues, shown: Sequence[int]) -> Figure:
    values = found.values[:, :, -1]
    names = _distinct([found.columns[i] for i in shown])
    two = run.signature.task == "classification"
    to = f"the probability of {shortened(run.class_names[-1], 30)}" if two else shortened(run.signature.target, 40)
    plot = Plot(
        Scale.over(values[:, shown].ravel().tolist()),
        Scale(names=names),
        x_title=f"added to {to}",
        height=60 + 24 * len(shown),
    )
    plot.rule(x=0.0)
    for name, i in zip(names, shown, strict=True):
        own = found.features[:, i]
        ranks = np.argsort(np.argsort(own)) / max(1, len(own) - 1)
        for row, value in enumerate(values[:, i]):
            kind = "muted" if np.isnan(own[row]) else f"q{min(4, int(ranks[row] * 5))}"
            told = f"{found.columns[i]}{'' if np.isnan(own[row]) else f' = {own[row]:.4g}'}: {value:+.4f}"
            plot.dot(plot.px(float(value)), plot.py(name) + 12 * ((row * GOLDEN) % 1 - 0.5), told, kind)
    caption = "A dot a row: pale where the column's value is low, strong where it is high; grey if it is no number."
    return Figure("Row by row", plot.svg("SHAP values of rows"), caption)
