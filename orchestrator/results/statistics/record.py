"""What the statistics of a board say, as plain values that JSON keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.results.statistics.selection import Interval


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial on the board.

    Attributes:
        name: Its name.
        score: Its score there: the mean over folds of what the scorer gave.
        precedence: Which of equal scores goes first, by the rule of the board: the simpler model, then the earlier
            trial. It must not know the scores. The first of those that tie is the simplest.
    """

    name: str
    score: float
    precedence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrialStatistics:
    """One trial: the 95 % interval of its own score, and whether it cannot be told from the leader.

    The interval is that of a trial looked at by itself. That of the winner, which was chosen for its score, is in
    `Statistics.corrected`. It is None where all rows are one block.
    """

    ci_low: float | None
    ci_high: float | None
    ties_leader: bool


@dataclass(frozen=True, slots=True)
class Statistics:
    """How sure a leaderboard is.

    Attributes:
        trials: By trial's name. Trials that are missing were too many, and lie behind all of these; or their
            predictions were not kept.
        winner: The first of the board.
        corrected: The winner's score, corrected for having been chosen, and its 95 % interval; None where there are
            too few rows to leave any out.
        refit_shift: What training on all rows adds, which is part of `corrected`; None where it is not known, and
            `corrected` is that of a model trained on one fold less, so conservative.
        beats_dummy: Whether anything beats the baseline.
        p_dummy: How often chance alone would make the best of so many trials look so good.
        sentence: That in words.
        simplest: The simplest of the trials that cannot be told from the leader.
        n_rows: Rows that the scores are of.
        n_cells: What was drawn: rows, or blocks of rows.
        n_draws: How often.
    """

    trials: Mapping[str, TrialStatistics]
    winner: str
    corrected: Interval | None
    refit_shift: float | None
    beats_dummy: bool
    p_dummy: float
    sentence: str
    simplest: str
    n_rows: int
    n_cells: int
    n_draws: int

    @property
    def is_conservative(self) -> bool:
        """Whether the corrected score leaves out what training on all rows adds."""
        return self.refit_shift is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """Build from what `to_dict` returned.

        Raises:
            TypeError: Keys are missing or unknown.
        """
        trials = {name: TrialStatistics(**one) for name, one in values["trials"].items()}
        corrected = None if values["corrected"] is None else Interval(**values["corrected"])
        return cls(**{**values, "trials": trials, "corrected": corrected})
