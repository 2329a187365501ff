"""How sure a run is of its winner: what its statistics hold, as the report and the model card say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
        is_conservative: Whether that leaves out what training on all rows adds.
        dummy: Whether anything beats the baseline, in words.
        beats_dummy: The same.
        simplest: The simplest trial that ties with the leader.
    """

    corrected: Estimate | None = None
    is_conservative: bool = False
    dummy: str = ""
    beats_dummy: bool | None = None
    simplest: str | None = None


def certainty(run: Run) -> Certainty:
    """Read a run's statistics; nothing is known where there are none.

    Raises:
        RunError: The file is damaged.
    """
    try:
        found = json.loads((run.path / STATISTICS).read_text(encoding="utf-8"))
        return Certainty(
            None if found["corrected"] is None else _estimate(run, found["corrected"]),
            found["refit_shift"] is None,
            found["sentence"],
            found["beats_dummy"],
            found["simplest"],
        )
    except FileNotFoundError:
        return Certainty()
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run.path / STATISTICS} is damaged ({error}); `orchestrator resume` writes it anew") from None


def _estimate(run: Run, one: Mapping[str, Any]) -> Estimate:
    low, high = sorted(run.plain(one[name]) or 0.0 for name in ("low", "high"))
    return Estimate(run.plain(one["score"]) or 0.0, low, high)
