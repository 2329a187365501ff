"""Which work units take far longer than others of their kind, so that another worker should try them too."""

from __future__ import annotations

from collections import defaultdict, deque

SAMPLES = 5
"""Units of a kind that must have ended before one of them is called slow."""
REMEMBERED = 200
FACTOR = 3.0
"""How many times as long as nearly all others, for its cost."""
LEAST_S = 5.0
"""Units that take less are not worth a second try."""


class Stragglers:
    """Knows how long units of each kind take for their cost."""

    def __init__(self) -> None:
        self._paces: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def ended(self, kind: str, cost: float, seconds: float) -> None:
        """Take in how long a unit computed."""
        self._paces[kind].append(seconds / max(cost, 1e-9))

    def is_one(self, kind: str, cost: float, seconds: float) -> bool:
        """Tell whether a unit that has computed for `seconds` is one."""
        paces = sorted(self._paces[kind])
        if len(paces) < SAMPLES:
            return False
        usual = paces[int(0.9 * (len(paces) - 1))] * max(cost, 1e-9)
        return seconds > max(LEAST_S, FACTOR * usual)
