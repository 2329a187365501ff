"""Which work units take far longer than others of their kind, so that a second worker should try them too."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass

SAMPLES = 5
"""Units of a kind that must have ended before one of them is called slow."""
REMEMBERED = 200
"""How many of a kind are remembered, drawn from all: those that ended last are the slow ones when a search ends."""
FACTOR = 2.0
"""How many times as long as nearly all others of its kind a slow unit takes, for its cost."""
LEAST_S = 5.0
"""Units that take less are not worth a second attempt."""


@dataclass(slots=True)
class _Running:
    kind: str
    cost: float
    began: float
    has_second: bool = False


class Stragglers:
    """Follows the units of one engine from their submission to their end.

    Nothing tells when a unit begins to compute; they begin in the order in which they were submitted, as many at once
    as there are slots.
    """

    def __init__(self) -> None:
        self._queued: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._n_attempts = 0
        self._paces: dict[str, list[float]] = defaultdict(list)
        self._n_ended: Counter[str] = Counter()
        self._random = random.Random(0)  # noqa: S311  (a sample, no secret)

    def submitted(self, name: str, kind: str, cost: float) -> None:
        """Take in a unit that waits for a worker from now on."""
        self._queued[name] = kind, max(cost, 1e-9)

    def ended(self, name: str, seconds: float | None) -> None:
        """Take in that a unit has ended, and how long it computed, if that is known."""
        kind, cost = self._queued.pop(name, ("", 1.0))
        if running := self._running.pop(name, None):
            kind, cost = running.kind, running.cost
            self._n_attempts -= 1 + running.has_second
        if seconds is not None:
            self._remember(kind, seconds / cost)

    def _remember(self, kind: str, pace: float) -> None:
        """Keep a sample of REMEMBERED out of all, each as likely as any other."""
        paces = self._paces[kind]
        self._n_ended[kind] += 1
        if len(paces) < REMEMBERED:
            paces.append(pace)
        elif (place := self._random.randrange(self._n_ended[kind])) < REMEMBERED:
            paces[place] = pace

    def look(self, n_slots: int, now: float) -> list[str]:
        """Return the units to try once more, as many at most as slots are idle.

        Args:
            n_slots: How many units compute at once.
            now: A clock's reading, in seconds.
        """
        while self._queued and self._n_attempts < n_slots:
            name, (kind, cost) = self._queued.popitem(last=False)
            self._running[name] = _Running(kind, cost, now)
            self._n_attempts += 1
        n_idle = n_slots - self._n_attempts
        if n_idle <= 0 or self._queued:
            return []
        limits = {kind: self._usual(kind) for kind in {one.kind for one in self._running.values()}}
        slow = [
            (now - one.began, name)
            for name, one in self._running.items()
            if not one.has_second and now - one.began > max(LEAST_S, FACTOR * limits[one.kind] * one.cost)
        ]
        chosen = [name for _, name in sorted(slow, reverse=True)[:n_idle]]
        for name in chosen:
            self._running[name].has_second = True
            self._n_attempts += 1
        return chosen

    def _usual(self, kind: str) -> float:
        """Return what nearly all units of a kind take for a cost of 1; infinite where too few have ended."""
        paces = sorted(self._paces[kind])
        return paces[int(0.9 * (len(paces) - 1))] if len(paces) >= SAMPLES else float("inf")
