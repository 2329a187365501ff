"""The searches as drawings: what mattered, how they went, and how scores lie over each hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from orchestrator.results.report import words
from orchestrator.results.report.parts import Figure, Section, sampled
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.searched import Searched, axis_of, described, number_of, score_scale, tips
from orchestrator.results.report.study import FEWEST
from orchestrator.results.report.svg import GOLDEN, Plot, drawn, tip
from orchestrator.space import dimensions

MOST_DOTS, BEST_DOTS = 400, 100
"""Trials in a drawing: the best ones, and every so many of the others by rank."""
MOST_LINES, BEST_LINES = 300, 60
MOST_SLICES = 8
MOST_AXES = 8


def section(run: Run) -> Section:
    """Return what the searches' results say of their hyperparameters."""
    figures: list[Figure] = []
    sentences: list[str] = []
    for spec in run.job.searches:
        rows = [r for r in run.trials if r["search"] == spec.name and r["score"] is not None]
        if not any(row["state"] == "completed" for row in rows):
            sentences.append(f"{spec.name}: no trial completed.")
            continue
        one = described(str(spec.name), rows, dimensions(spec.space or {}))
        many = len(run.job.searches) > 1
        sentences.append(_sentence(one))
        if one.importance:
            figures.append(_importance(one, many))
        figures.append(_history(run, one, many))
        figures += [_slice(run, one, name, many) for name in one.varied[:MOST_SLICES]]
        if len(one.varied) > 1:
            figures.append(_parallel(run, one, many))
    if "predict_time" in run.job.objectives:
        figures.append(_front(run))
    return Section("hyperparameters", "Hyperparameters", sentences, figures)


def _sentence(one: Searched) -> str:
    if not one.importance:
        few = f"fewer than {FEWEST} trials completed" if one.n_completed < FEWEST else "scores or values do not vary"
        return f"{one.name}: importances are left out, since {few}."
    name, share = next(iter(one.importance.items()))
    others = [n for n in one.varied if n not in one.importance]
    aside = f" Parameters that only some trials have are not weighed: {', '.join(others)}." if others else ""
    return (
        f"{one.name}: what best tells its best tenth of trials from the others is {name}, with {share:.0%} of the "
        f"importance.{aside}"
    )


def _titled(title: str, one: Searched, many: bool) -> str:
    return f"{one.name}: {title[0].lower()}{title[1:]}" if many else title


def _importance(one: Searched, many: bool) -> Figure:
    names = tuple(one.importance)
    plot = Plot(
        Scale(0.0, max(one.importance.values()) * 1.12 or 1.0),
        Scale(names=names),
        x_title="share of importance",
        height=60 + 26 * len(names),
    )
    for name, share in one.importance.items():
        plot.bar(share, name, told=f"{name}: {share:.1%}")
        plot.text(plot.px(share) + 5, plot.py(name) + 4, f"{share:.0%}")
    caption = "What tells the best tenth of trials from all, by PED-ANOVA (Optuna)."
    return Figure(_titled("What mattered", one, many), plot.svg("Importance of hyperparameters"), caption)


def _history(run: Run, one: Searched, many: bool) -> Figure:
    scale, beyond = score_scale(run, one.rows)
    by_number = sorted(one.rows[: one.n_completed], key=number_of)
    numbers = [number_of(row) for row in by_number]
    every = [number_of(row) for row in one.rows]
    plot = Plot(Scale.over(every), scale, x_title="trial, in the order proposed", y_title=run.metric_name)
    shown = [one.rows[i] for i in sampled(len(one.rows), MOST_DOTS, BEST_DOTS)]
    for state, kind in (("pruned", "faint hollow"), ("completed", "faint")):
        here = [row for row in shown if row["state"] == state]
        plot.points([number_of(r) for r in here], [run.plain(r["score"]) for r in here], tips(run, here), kind, 2.5)
    best = np.maximum.accumulate([row["score"] for row in by_number])
    steps = [0, *(i for i in range(1, len(best)) if best[i] > best[i - 1])]
    ends = [*(numbers[i] for i in steps[1:]), max(every)]
    xs = [x for start, end in zip(steps, ends, strict=True) for x in (numbers[start], end)]
    plot.line(xs, [run.plain(float(best[i])) for i in steps for _ in range(2)], "c0", "best so far")
    said = [
        "Dots are trials, the line is the best so far.",
        *_pruned(one),
        _left_out(len(one.rows), MOST_DOTS),
        _foot(beyond),
    ]
    return Figure(
        _titled("History", one, many), plot.svg("Scores in the order of trials"), " ".join(filter(None, said))
    )


def _pruned(one: Searched) -> list[str]:
    return (
        ["Rings ended early, and stand with the score of their last rung."] if len(one.rows) > one.n_completed else []
    )


def _slice(run: Run, one: Searched, name: str, many: bool) -> Figure:
    chosen = [one.rows[i] for i in sampled(len(one.rows), MOST_DOTS, BEST_DOTS)]
    rows = [row for row in reversed(chosen) if name in row["params"]]  # the best are drawn last, above the others
    scale, beyond = score_scale(run, one.rows)
    across, values = axis_of(one, name, [row["params"][name] for row in rows])
    plot = Plot(across, scale, x_title=name, y_title=run.metric_name, height=230)
    best = {row["trial"] for row in one.rows[: max(1, one.n_completed // 10)]}
    for is_best, kind in ((False, "faint"), (True, "c0")):
        here = [i for i, row in enumerate(rows) if (row["trial"] in best) == is_best]
        shown = [rows[i] for i in here]
        plot.points([values[i] for i in here], [run.plain(r["score"]) for r in shown], tips(run, shown), kind, 2.5)
    return Figure(_titled(name, one, many) if many else name, plot.svg(f"Scores over {name}"), _foot(beyond))


def _parallel(run: Run, one: Searched, many: bool) -> Figure:
    names = list(one.varied[:MOST_AXES])
    rows = [r for r in one.rows if all(n in r["params"] for n in names)]
    chosen = [rows[i] for i in sampled(len(rows), MOST_LINES, BEST_LINES)]
    axes = [axis_of(one, n, [r["params"][n] for r in chosen]) for n in names] if chosen else []
    scale, _ = score_scale(run, one.rows)
    columns = [*axes, (scale, [run.plain(row["score"]) for row in chosen])]
    width, height, top, foot = 1020, 320, 40, 285
    places = [70 + i * (width - 150) / len(names) for i in range(len(columns))]
    frame = Plot(Scale(), Scale(), width=width, height=height, is_framed=False)
    n_best = max(1, one.n_completed // 10)
    best = {row["trial"] for row in one.rows[:n_best]}
    told = tips(run, chosen)
    for i in reversed(range(len(chosen))):
        points = " ".join(
            f"{x:.0f},{foot - _jittered(axis, values[i], i) * (foot - top):.0f}"
            for x, (axis, values) in zip(places, columns, strict=True)
        )
        kind = "thread c0" if chosen[i]["trial"] in best else "thread faint"
        frame.marks.append(Markup('<polyline points="{}" class="{}"{}/>').format(points, kind, tip(told[i])))
    for x, (axis, _), name in zip(places, columns, [*names, run.metric_name], strict=True):
        frame.box(x - 0.5, top, 1, foot - top, "stem")
        frame.text(x, 18, name, "title", "middle", 18)
        for share, label in axis.ticks(4):
            frame.text(x + 6, foot - share * (foot - top) + 3.5, label, "tick halo", "start", 12)
    caption = " ".join(
        [
            f"A line a trial; the best tenth ({words.counted(n_best, 'trial')}) in colour.",
            _left_out(len(rows), MOST_LINES, BEST_LINES),
        ]
        + (
            [f"The {MOST_AXES} most important of {len(one.varied)} hyperparameters."]
            if len(one.varied) > MOST_AXES
            else []
        )
    )
    drawing = drawn(width, height, frame.marks, "Configurations and their scores")
    return Figure(_titled("Configurations side by side", one, many), drawing, caption.strip(), is_wide=True)


def _front(run: Run) -> Figure:
    """Return scores over prediction times, with the trials that none beats in both."""
    rows = [r for r in run.trials if r["state"] == "completed" and r["predict_time_s"]]
    front: list[Mapping[str, Any]] = []
    for row in rows:  # from the best score to the worst
        if not front or row["predict_time_s"] < front[-1]["predict_time_s"]:
            front.append(row)
    chosen = [rows[i] for i in sampled(len(rows), MOST_DOTS, BEST_DOTS)]
    scale, beyond = score_scale(run, rows)
    times = [row["predict_time_s"] for row in rows]
    plot = Plot(
        Scale.over(times, is_log=True), scale, x_title="seconds of predicting, over folds", y_title=run.metric_name
    )
    for shown, kind in ((chosen, "faint"), (front, "c0")):
        ys = [run.plain(row["score"]) for row in shown]
        plot.points([row["predict_time_s"] for row in shown], ys, tips(run, shown), kind, 2.5)
    caption = f"In colour: the {len(front)} trials that none beats in score without being slower. {_foot(beyond)}"
    return Figure("Score and prediction time", plot.svg("Scores over prediction times"), caption.strip())


def _jittered(axis: Scale, value: Any, i: int) -> float:
    return axis.at(value) + (0.5 / len(axis.names) * ((i * GOLDEN) % 1 - 0.5) if axis.names else 0.0)


def _left_out(n: int, limit: int, best: int = BEST_DOTS) -> str:
    if n <= limit:
        return ""
    return (
        f"Drawn are {limit:,} of {n:,} trials: the best {best}, and of the others one in "
        f"{(n - best) / (limit - best):.2g} by rank."
    )


def _foot(beyond: int) -> str:
    return f"{beyond} far worse trials are drawn at the edge." if beyond else ""
