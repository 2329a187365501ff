"""A trial: one configuration of one search, and what became of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.families.base import Answer, Failure, mean_and_std
from orchestrator.space import Params

State = Literal["completed", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A point of the space, and what the sampler wants to find again on its trial."""

    params: Params
    notes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What was asked: `params` as number `number` of `search`, in batch `batch` of generation `generation`.

    `notes` is what a sampler wants to find again on the trial (the state of CMA-ES, say); most leave none.
    """

    search: str
    number: int
    params: Params
    generation: int
    batch: int
    notes: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The trial's name on the leaderboard."""
        return f"{self.search}/{self.number}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a trial.

    Attributes:
        trial: Which one.
        state: How it ended; a pruned trial has the scores of the rung where it ended.
        score: The mean over folds.
        score_std: Their standard deviation (ddof=0).
        fit_time_s: Seconds of fitting, over folds and rungs.
        predict_time_s: Seconds of predicting, likewise.
        failure: Why there is no score.
        epochs: The median over folds of the epochs that were kept, where it learned by epochs.
        reports: The rungs that it came to, in epochs, each with the mean over folds of its inner score there.
    """

    trial: Trial
    state: State
    score: float | None = None
    score_std: float | None = None
    fit_time_s: float | None = None
    predict_time_s: float | None = None
    failure: Failure | None = None
    epochs: int | None = None
    reports: tuple[tuple[int, float], ...] = ()


def result_of(
    trial: Trial,
    names: Sequence[str],
    answers: Mapping[str, Answer | Failure],
    rung: int | None = None,
    before: Result | None = None,
) -> Result:
    """Gather a trial's answers, one a fold, into its result; the first failure of a fold is the trial's.

    Args:
        trial: The trial.
        names: The names of its answers.
        answers: All answers that are known.
        rung: The rung of the answers, in epochs, for the result of a trial that ends there as pruned; None for its end.
        before: What it had at the rung before.
    """
    found = [answers[name] for name in names]
    reports = before.reports if before else ()
    for answer in found:
        if isinstance(answer, Failure):
            return Result(trial, "failed", failure=answer, reports=reports)
    given = [answer for answer in found if isinstance(answer, Answer)]
    score, std = mean_and_std([answer.score for answer in given])
    if not math.isfinite(score):
        fold = next(i for i, answer in enumerate(given) if not math.isfinite(answer.score))
        failure = Failure("score_undefined", f"the metric is not a finite number on fold {fold}")
        return Result(trial, "failed", failure=failure, reports=reports)
    fit_s = sum(a.fit_time_s for a in given) + ((before and before.fit_time_s) or 0.0)
    predict_s = sum(a.predict_time_s for a in given) + ((before and before.predict_time_s) or 0.0)
    kept = [answer.epochs for answer in given if answer.epochs is not None]
    epochs = statistics.median_low(kept) if kept else None
    if rung is None:
        return Result(trial, "completed", score, std, fit_s, predict_s, None, epochs, reports)
    inner = mean_inner_score(given)
    reports += ((rung, inner),) if inner > -math.inf else ()
    return Result(trial, "pruned", score, std, fit_s, predict_s, None, epochs, reports)


def mean_inner_score(given: Sequence[Answer]) -> float:
    """Return the mean inner score over folds, or minus infinity where that is no finite number."""
    scores = [answer.inner_score for answer in given if answer.inner_score is not None]
    mean = mean_and_std(scores)[0] if len(scores) == len(given) else math.nan
    return mean if math.isfinite(mean) else -math.inf
