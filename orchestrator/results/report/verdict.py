"""The first screen: what won, how good it will be on new data, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.results.report import words
from orchestrator.results.report.certainty import Certainty, Estimate
from orchestrator.results.report.parts import Figure, number
from orchestrator.results.report.run import Run
from orchestrator.results.report.svg import Plot, Scale


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
        ("Sealed test rows", words.tested(run)),
    )
    params = tuple((name, words.settings({name: v})[len(name) + 1 :]) for name, v in best["params"].items()) if best else ()
    return Verdict(
        words.headline(run, sure),
        tuple((question, answer) for question, answer in answers if answer),
        params,
        _figure(run, sure),
        _warning(run),
    )


def _warning(run: Run) -> str:
    found = []
    if len(run.openings) > 1:
        found.append(f"The test rows were opened {len(run.openings)} times, {words.OPENED_AGAIN}.")
    if run.manifest["state"] == "time":
        found.append("The time budget ended the search before it was through.")
    if run.manifest.get("reproducible") is False:
        found.append("A search with schedule: async does not repeat exactly.")
    return " ".join(found)


def _figure(run: Run, sure: Certainty) -> Figure | None:
    """Return the baseline, the winner and the test rows on one scale."""
    best, dummy = run.best, run.dummy
    if best is None:
        return None
    rows: list[tuple[str, Estimate, str]] = []
    if sure.corrected is not None:
        rows.append(("winner, on new data", sure.corrected, "c0"))
    rows.append(("winner, cross-validation", _of(run, best), "c0 hollow"))
    simplest = next((r for r in run.trials if r["trial"] == sure.simplest and r["trial"] != best["trial"]), None)
    if simplest is not None:
        rows.append(("simplest that ties", _of(run, simplest), "c2"))
    scores = run.openings[-1]["scores"] if run.openings else {}
    for name, score in scores.items():
        if score is not None:
            kind = "c1" if name == "best" else "muted"
            rows.append((f"{name}, test rows", Estimate(run.plain(score) or 0.0), kind))
    if dummy is not None and dummy["score"] is not None:
        rows.append(("baseline, cross-validation", _of(run, dummy), "muted"))
    values = [v for _, e, _ in rows for v in (e.value, e.low, e.high) if v is not None]
    names = tuple(name for name, _, _ in rows)
    plot = Plot(
        Scale.over(values, room=0.12), Scale(names=names), x_title=run.metric_name, width=460, height=60 + 30 * len(rows)
    )
    for name, one, kind in rows:
        if one.low is not None and one.high is not None:
            plot.span(one.low, one.high, name, kind, f"{name}: {words.estimate(one)}")
        plot.points([one.value], [name], [f"{name}: {words.estimate(one)}"], kind, 5)
        plot.text(plot.px(one.value), plot.py(name) - 8, number(one.value, 3), "value", "middle")
    described = "; ".join(f"{name} {words.estimate(one)}" for name, one, _ in rows)
    return Figure("Scores side by side", plot.svg(described), "Bars are 95 % intervals.")


def _of(run: Run, row: object) -> Estimate:
    assert isinstance(row, dict)
    low, high = sorted_ends(run.plain(row["ci_low"]), run.plain(row["ci_high"]))
    return Estimate(run.plain(row["score"]) or 0.0, low, high)


def sorted_ends(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Return the ends of an interval in order: they change places where a scorer's sign is taken off."""
    return (high, low) if low is not None and high is not None and low > high else (low, high)
