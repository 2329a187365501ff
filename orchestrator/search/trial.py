"""A trial: one configuration of one search, and what became of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.families.base import Answer, Failure, mean_and_std
from orchestrator.space import Params

State = Literal["completed", "failed"]


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

    `score` is the mean over folds, `score_std` their standard deviation (ddof=0), `epochs` the median over folds of the
    epochs whose weights were kept, for families that learn by epochs.
    """

    trial: Trial
    state: State
    score: float | None = None
    score_std: float | None = None
    fit_time_s: float | None = None
    predict_time_s: float | None = None
    failure: Failure | None = None
    epochs: int | None = None


def result_of(trial: Trial, names: Sequence[str], answers: Mapping[str, Answer | Failure]) -> Result:
    """Gather a trial's answers, one a fold, into its result; the first failure of a fold is the trial's."""
    found = [answers[name] for name in names]
    for answer in found:
        if isinstance(answer, Failure):
            return Result(trial, "failed", failure=answer)
    given = [answer for answer in found if isinstance(answer, Answer)]
    score, std = mean_and_std([answer.score for answer in given])
    if not math.isfinite(score):
        fold = next(i for i, answer in enumerate(given) if not math.isfinite(answer.score))
        failure = Failure("score_undefined", f"the metric is not a finite number on fold {fold}")
        return Result(trial, "failed", failure=failure)
    fit_s, predict_s = sum(a.fit_time_s for a in given), sum(a.predict_time_s for a in given)
    kept = [answer.epochs for answer in given if answer.epochs is not None]
    epochs = statistics.median_low(kept) if kept else None
    return Result(trial, "completed", score, std, fit_s, predict_s, epochs=epochs)
