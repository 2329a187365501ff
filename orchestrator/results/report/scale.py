"""Where on an axis a value lies, and which round values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scale:
    """Where on an axis a value lies: numbers from `low` to `high`, or one of `names`."""

    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def over(cls, values: Sequence[float], *, room: float = 0.05, is_log: bool = False) -> Scale:
        """Return a scale over values, with some room at both ends."""
        low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
        if is_log and low > 0:
            factor = (high / low) ** room if high > low else 2.0
            return cls(low / factor, high * factor, True)
        spare = (high - low) * room or abs(high) * 0.05 or 0.5
        return cls(low - spare, high + spare)

    def at(self, value: Any) -> float:
        """Return a value's place, 0 to 1, values beyond the ends at the ends."""
        if self.names:
            return (self.names.index(value) + 0.5) / len(self.names)
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self, n: int = 5) -> list[tuple[float, str]]:
        """Return about `n` places with their labels."""
        if self.names:
            every = max(1, math.ceil(len(self.names) / 40))
            return [(self.at(name), name) for name in self.names[::every]]
        if self.is_log and self.high / self.low >= 10:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            if len(powers) > 1:
                every = max(1, math.ceil(len(powers) / n))
                return [(self.at(10.0**p), _plain(10.0**p, 10.0**p)) for p in powers[::every]]
        step = _nice((self.high - self.low) / n)
        first = math.ceil(self.low / step - 1e-9)
        values = [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(self.at(value), _plain(value, step)) for value in values]


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(power * m for m in (1, 2, 2.5, 5, 10) if step <= power * m * (1 + 1e-9)))


def _plain(value: float, step: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and round(step * 10**decimals, 6) % 1:
        decimals += 1  # steps of 0.25
    text = f"{value:,.{decimals}f}".replace(",", " ")  # a thin space
    return text.replace("-", "−") if float(value) else f"{0:.{decimals}f}"
