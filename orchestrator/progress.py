"""Progress on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from orchestrator.results.leaderboard import params_json

if TYPE_CHECKING:
    from orchestrator.search.loop import Progress

LINE_EVERY_S = 5.0
REDRAW_EVERY_S = 0.2


class Display(Protocol):
    """Shows how far a run is."""

    def start(self) -> None:
        """Begin to show."""

    def update(self, progress: Progress) -> None:
        """Take in where the run is."""

    def stop(self) -> None:
        """Show where the run ended, and end."""


class PlainLines:
    """A line now and then, and one at the end. For logs and pipes."""

    def __init__(self) -> None:
        self._said_at = -math.inf
        self._last: Progress | None = None
        self._said: Progress | None = None

    def start(self) -> None:
        """Start the clock: the first line comes after a while."""
        self._said_at = time.monotonic()

    def update(self, progress: Progress) -> None:
        """Print a line if the last one is old enough."""
        self._last = progress
        if time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._say(progress)

    def stop(self) -> None:
        """Print where the run ended."""
        if self._last is not None and self._last != self._said:
            self._say(self._last)

    def _say(self, progress: Progress) -> None:
        self._said_at, self._said = time.monotonic(), progress
        print(summary(progress), file=sys.stderr, flush=True)


class LiveTable:
    """A table that is drawn over and over. For terminals."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._drawn_at = -math.inf
        self._started_at = time.monotonic()
        self._last: Progress | None = None
        self._is_live = False

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._is_live = True

    def update(self, progress: Progress) -> None:
        """Draw, if the last drawing is old enough."""
        self._last = progress
        if self._is_live and time.monotonic() - self._drawn_at >= REDRAW_EVERY_S:
            self._drawn_at = time.monotonic()
            self._draw(progress)

    def stop(self) -> None:
        """Leave one line where the table was."""
        if self._is_live:
            self._live.stop()
            if self._last is not None:
                print(summary(self._last), file=sys.stderr, flush=True)

    def _draw(self, progress: Progress) -> None:
        from rich.table import Table

        table = Table("trials", "failed", "units done", "running", "best so far", "seconds")
        table.add_row(
            _of(progress),
            str(progress.n_failed),
            str(progress.n_units_done),
            str(progress.n_units_running),
            _best(progress),
            f"{time.monotonic() - self._started_at:.0f}",
        )
        self._live.update(table, refresh=True)


@contextmanager
def shown() -> Iterator[Display]:
    """Give the display that fits where stderr goes."""
    display: Display = LiveTable() if sys.stderr.isatty() else PlainLines()
    try:
        yield display
    finally:
        display.stop()


def summary(progress: Progress) -> str:
    """Return one line that says how far a run is."""
    failed = f", {progress.n_failed} failed" if progress.n_failed else ""
    return f"{_of(progress)} trials{failed}, {progress.n_units_done} work units done; best {_best(progress)}"


def _of(progress: Progress) -> str:
    bound = "" if math.isinf(progress.n_expected) else f" of {progress.n_expected:.0f}"
    return f"{progress.n_finished}{bound}"


def _best(progress: Progress) -> str:
    best = progress.best
    if best is None or best.score is None:
        return "-"
    return f"{best.score:.4f} {best.trial.id} {params_json(best.trial.params)}"
