"""How sure a run is of its winner: what its statistics hold, as the report and the model card say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.errors import RunError
from orchestrator.results.report.run import Run
from orchestrator.results.statistics import Statistics

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
        tests: Scores on the test rows with their intervals, by model.
        ensemble: How far the ensemble is ahead of the leader, in the scorer's sign, with its interval.
    """

    corrected: Estimate | None = None
    is_conservative: bool = False
    dummy: str = ""
    beats_dummy: bool | None = None
    simplest: str | None = None
    tests: Mapping[str, Estimate] = field(default_factory=dict)
    ensemble: Estimate | None = None


def certainty(run: Run) -> Certainty:
    """Read a run's statistics; nothing is known where there are none.

    Raises:
        RunError: The file is damaged.
    """
    try:
        found = json.loads((run.path / STATISTICS).read_text(encoding="utf-8"))
        tests = {name: _estimate(run, one) for name, one in found["test"].items() if one["score"] is not None}
        ahead = found["ensemble"] and found["ensemble"]["ahead"]
        ensemble = Estimate(ahead["score"], ahead["low"], ahead["high"]) if ahead else None
        if found["board"] is None:
            return Certainty(tests=tests, ensemble=ensemble)
        board = Statistics.from_dict(found["board"])
        corrected = None if board.corrected is None else _estimate(run, asdict(board.corrected))
        return Certainty(
            corrected, board.is_conservative, board.sentence, board.beats_dummy, board.simplest, tests, ensemble
        )
    except FileNotFoundError:
        return Certainty()
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run.path / STATISTICS} is damaged ({error}); `orchestrator resume` writes it anew") from None


def _estimate(run: Run, one: Mapping[str, Any]) -> Estimate:
    low, high = sorted_ends(run.plain(one["low"]), run.plain(one["high"]))
    return Estimate(run.plain(one["score"]) or 0.0, low, high)


def sorted_ends(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Return the ends of an interval in order: they change places where a scorer's sign is taken off."""
    return (high, low) if low is not None and high is not None and low > high else (low, high)
