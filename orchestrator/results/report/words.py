"""What a report says in sentences: what won, how good it will be, and how sure that is. Plain text, no markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.families.scoring import scores_labels
from orchestrator.results.report.certainty import Certainty, Estimate
from orchestrator.results.report.parts import number, shortened
from orchestrator.results.report.run import Run
from orchestrator.results.threshold import Threshold

OPENED_AGAIN = "so that they are not unseen any more and their scores flatter"


def headline(run: Run, sure: Certainty) -> str:
    """Return the report's first sentence."""
    best = run.best
    if best is None:
        return "No model was found"
    if sure.beats_dummy is False:
        return f"No model is shown to predict {_target(run)} better than the baseline"
    score, where = run.plain(best["score"]), "in cross-validation"
    if sure.corrected is not None:
        score, where = sure.corrected.value, "on new data"
    return f"{best['family']} predicts {_target(run)} with {run.metric_name} {number(score, 3)} {where}"


def _target(run: Run) -> str:
    return shortened(run.signature.target, 60)


def won(run: Run) -> str:
    """Say which trial won, among how many."""
    best = run.best
    if best is None:
        return f"None of {len(run.trials):,} trials completed."
    n_done = len(run.completed)
    n_families = len({row["family"] for row in run.completed})
    among = f" of {n_families} families" if n_families > 1 else ""
    return f"{best['trial']} leads {counted(n_done, 'completed trial')}{among}."


def settings(params: Mapping[str, Any]) -> str:
    """Return a configuration as people read it."""
    return ", ".join(f"{name} {_value(value)}" for name, value in params.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def expected(run: Run, sure: Certainty) -> str:
    """Say how good the winner will be on new data."""
    best = run.best
    if best is None:
        return ""
    score = number(run.plain(best["score"]))
    spread = f"{score} ± {number(best['score_std'])} over folds"
    if sure.corrected is None:
        return f"{spread}. It is the best of many, so it flatters; no corrected score is at hand."
    careful = ", and a little low, since all rows train it in the end" if sure.is_conservative else ""
    return (
        f"{estimate(sure.corrected)}, corrected for having been chosen as the best of {len(run.completed):,}{careful}. "
        f"The plain cross-validation score is {spread}."
    )


def estimate(one: Estimate) -> str:
    """Return a score with its interval."""
    if one.low is None or one.high is None:
        return number(one.value)
    return f"{number(one.value)} (95 % interval {number(one.low)} to {number(one.high)})"


def against_dummy(run: Run, sure: Certainty) -> str:
    """Say whether the winner beats the baseline."""
    dummy, best = run.dummy, run.best
    if dummy is None or dummy["score"] is None or best is None:
        return "The baseline has no score."
    what = "the most frequent class" if scores_labels(run.metric) else "how frequent each class is"
    what = what if run.signature.task == "classification" else "the mean"
    told = sure.dummy or "Whether the difference could be chance was not tested."
    return f"{told} The baseline always says {what} and scores {number(run.plain(dummy['score']))}."


def simpler(run: Run, sure: Certainty) -> str:
    """Say which simpler model cannot be told from the winner."""
    known = [row for row in run.trials if row.get("ties_leader") is not None]
    if not known or run.best is None:
        return "Which trials tie with the winner was not computed."
    ties = [row for row in known if row["ties_leader"] and row["trial"] != run.best["trial"]]
    if not ties:
        return f"None: each of the other {counted(len(known) - 1, 'trial')} is worse than could be chance."
    told = f"{counted(len(ties), 'other trial')} cannot be told from the winner"
    simplest = next((row for row in run.trials if row["trial"] == sure.simplest), None)
    if simplest is None or simplest["trial"] == run.best["trial"]:
        return f"{told}; the winner is the simplest of them."
    return (
        f"{told}; the simplest is {simplest['trial']}, with {number(run.plain(simplest['score']))} "
        f"({simplest['family']}: {settings(simplest['params'])})."
    )


def tested(run: Run, sure: Certainty) -> str:
    """Say what the sealed test rows said, and how often they were asked."""
    n_rows = run.manifest["data"]["rows"]["test"]
    if not n_rows:
        return "None were set aside."
    if not run.openings:
        return f"{n_rows:,} rows are sealed and have not been opened."
    if run.opening is None:
        return (
            f"{n_rows:,} rows were opened for {run.openings[-1]['best']}, the best then, and stay closed for this one."
        )
    scores = run.opening["scores"]
    known = {n: sure.tests.get(n, Estimate(run.plain(s) or 0.0)) for n, s in scores.items() if s is not None}
    told = ", ".join(f"{name} {estimate(one).replace('95 % interval ', '')}" for name, one in known.items())
    missing = [name for name, score in scores.items() if score is None]
    without = f" No score of {', '.join(missing)}." if missing else ""
    times = "once" if len(run.openings) == 1 else f"{len(run.openings)} times, {OPENED_AGAIN}"
    return f"{told or 'No model has a score'}, on {n_rows:,} rows opened {times}.{without}"


def threshold(run: Run) -> str:
    """Say from which probability on the model says the second class, where that was tuned."""
    tuned = run.manifest.get("threshold")
    if not tuned:
        return ""
    told = Threshold(**tuned).sentence(run.class_names[1], run.metric_name)
    return f"{told}. The leaderboard's scores are those at one half."


def together(run: Run, sure: Certainty) -> str:
    """Say what an ensemble of trials scores beside the winner; nothing where the job asks for none."""
    row = run.ensemble
    if row is None:
        return ""
    told = f"{row['params'].get('members', '')} score {number(run.plain(row['score']))} together"
    ahead = sure.ensemble
    if ahead is None or ahead.low is None or ahead.high is None:
        return f"{told}."
    why = "which chance may explain" if ahead.low <= 0 <= ahead.high else "which chance does not explain"
    ends = f"{number(ahead.low)} to {number(ahead.high)}"
    than = f"{number(abs(ahead.value))} {'worse' if ahead.value < 0 else 'better'} than the winner"
    return f"{told}, {than} (95 % interval of the gain {ends}), {why}."


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: `1 trial`, `1,040 trials`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
