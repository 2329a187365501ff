"""How sure a leaderboard is: intervals, the winner's score without the luck of the choice, ties, and the baseline.

Everything follows from out-of-fold predictions and a seed, on the driver: nothing is trained again.
"""

from orchestrator.results.statistics.board import assess
from orchestrator.results.statistics.pairs import Difference, between_boards, difference
from orchestrator.results.statistics.record import Candidate, Statistics, TrialStatistics
from orchestrator.results.statistics.resampling import contiguous_blocks
from orchestrator.results.statistics.selection import Interval
from orchestrator.results.statistics.shift import refit_shift, worth_leaving_one_out

__all__ = [
    "Candidate",
    "Difference",
    "Interval",
    "Statistics",
    "TrialStatistics",
    "assess",
    "between_boards",
    "contiguous_blocks",
    "difference",
    "refit_shift",
    "worth_leaving_one_out",
]
