"""The first screen: what won, how good it will be on new data, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.results.report import words
from orchestrator.results.report.certainty import Certainty, Estimate, sorted_ends
from orchestrator.results.report.parts import Figure, number
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.svg import Plot
from orchestrator.results.words import of_sample


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answers of the first screen.

    Attributes:
        headline: The first sentence.
        answers: Questions and answers.
        params: The winner's configuration, name and value.
        figure: The scores side by side, if there are any.
        warning: What makes the result less than it seems.
    """

    headline: str
    answers: tuple[tuple[str, str], ...]
    params: tuple[tuple[str, str], ...]
    figure: Figure | None
    warning: str


def verdict(run: Run, sure: Certainty) -> Verdict:
    """Return a run's first screen."""
    best = run.best
    answers = (
        ("What won", words.won(run)),
        ("On new data", words.expected(run, sure)),
        ("Against the baseline", words.against_dummy(run, sure)),
        ("A simpler model", words.simpler(run, sure)),
        ("Sealed test rows", words.tested(run, sure)),
        ("Decision threshold", words.threshold(run)),
        ("An ensemble", words.together(run, sure)),
    )
    params = (
        tuple((name, words.settings({name: v})[len(name) + 1 :]) for name, v in best["params"].items()) if best else ()
    )
    return Verdict(
        words.headline(run, sure),
        tuple((question, answer) for question, answer in answers if answer),
        params,
        _figure(run, sure),
        _warning(run),
    )


def _warning(run: Run) -> str:
    found = []
    if sample := of_sample(run.manifest["data"]["rows"]):
        found.append(f"{sample[0].upper()}{sample[1:]}.")
    if len(run.openings) > 1:
        found.append(f"The test rows were opened {len(run.openings)} times, {words.OPENED_AGAIN}.")
    if run.manifest["state"] == "time":
        found.append("The time budget ended the search before it was through.")
    if run.manifest.get("reproducible") is False:
        found.append("A search with schedule: async does not repeat exactly.")
    return " ".join(found)


def _figure(run: Run, sure: Certainty) -> Figure | None:
    """Return the winner, what stands beside it and the test rows on one scale; the baseline where it is not far off."""
    best = run.best
    if best is None:
        return None
    rows = [*_known(run, sure, best), *_tested(run, sure)]
    base = _baseline(run)
    values = [v for _, e, _ in rows for v in (e.value, e.low, e.high) if v is not None]
    reach = max(values) - min(values)
    near = [row for row in base if min(values) - reach / 2 <= row[1].value <= max(values) + reach / 2]
    rows += near
    scale = Scale.over([*values, *(one.value for _, one, _ in near)], room=0.12)
    names = tuple(name for name, _, _ in rows)
    plot = Plot(scale, Scale(names=names), x_title=run.metric_name, width=430, height=60 + 34 * len(rows))
    for name, one, kind in rows:
        told = f"{name}: {words.estimate(one)}"
        if one.low is not None and one.high is not None:
            plot.span(one.low, one.high, name, kind, told)
        plot.points([one.value], [name], [told], kind, 5)
        plot.text(plot.px(one.value), plot.py(name) - 9, number(one.value, 3), "value", "middle")
    described = "; ".join(f"{name} {words.estimate(one)}" for name, one, _ in [*rows, *base])
    far = [f"The baseline lies beyond, at {number(one.value, 3)}." for _, one, _ in base[:1] if not near]
    has_intervals = any(one.low is not None for _, one, _ in rows)
    turned = ["Lower is better."] if run.metric.startswith("neg_") else []
    caption = " ".join([*turned, *(["Bars are 95 % intervals."] if has_intervals else []), *far])
    return Figure("Scores side by side", plot.svg(described), caption)


Shown = tuple[str, Estimate, str]
"""A name, its score, and the classes of its mark."""


def _known(run: Run, sure: Certainty, best: Mapping[str, Any]) -> list[Shown]:
    found: list[Shown] = [] if sure.corrected is None else [("winner, on new data", sure.corrected, "c0")]
    found.append(("winner, cross-validation", _of(run, best), "c0 hollow"))
    simplest = next((r for r in run.trials if r["trial"] == sure.simplest and r["trial"] != best["trial"]), None)
    found += [] if simplest is None else [(f"simplest tie, {simplest['trial']}", _of(run, simplest), "c2")]
    return found if run.ensemble is None else [*found, ("ensemble", _of(run, run.ensemble), "c3")]


def _tested(run: Run, sure: Certainty) -> list[Shown]:
    found: list[Shown] = []
    for name, score in (run.opening["scores"] if run.opening else {}).items():
        value = run.plain(score)
        if value is not None and name != "dummy":
            who, kind = ("winner", "c1") if name == "best" else (name, "muted")
            found.append((f"{who}, test rows", sure.tests.get(name, Estimate(value)), kind))
    return found


def _baseline(run: Run) -> list[Shown]:
    dummy = run.dummy
    return [] if dummy is None or dummy["score"] is None else [("baseline, cross-validation", _of(run, dummy), "muted")]


def _of(run: Run, row: Mapping[str, Any]) -> Estimate:
    low, high = sorted_ends(run.plain(row["ci_low"]), run.plain(row["ci_high"]))
    return Estimate(run.plain(row["score"]) or 0.0, low, high)
