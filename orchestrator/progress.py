"""Progress on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.scoring import PredictProgress
    from orchestrator.search.loop import Progress, SearchProgress

LINE_EVERY_S = 5.0
REDRAW_EVERY_S = 0.2
N_NOTES_OF_A_LINE = 3


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
        say(summary(progress))
        if progress.notes:
            say(f"  {'; '.join(progress.notes[:N_NOTES_OF_A_LINE])}")


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
                say(summary(self._last))

    def _draw(self, progress: Progress) -> None:
        from rich.table import Table
        from rich.text import Text

        prunes = any(one.n_pruned for one in progress.searches)
        table = Table("search", "trials", *["pruned"] * prunes, "failed", "best", "configuration", box=None)
        for one in progress.searches:
            table.add_row(one.name, _of(one), *[str(one.n_pruned)] * prunes, str(one.n_failed), *_best(one))
        seconds = time.monotonic() - self._started_at
        table.caption = (
            f"{progress.n_units_done} work units done, {progress.n_units_running} under way, {seconds:.0f} s"
        )
        table.caption = Text("\n".join([table.caption, *progress.notes]))  # no markup: notes are what families say
        table.caption_justify = "left"
        self._live.update(table, refresh=True)


@contextmanager
def shown() -> Iterator[Display]:
    """Give the display that fits where stderr goes.

    Where RAY_ADDRESS names a cluster, as on its head, lines are plain: `ray submit` gives what it runs a terminal, even
    if its own output goes to a file.
    """
    is_live = sys.stderr.isatty() and not os.environ.get("RAY_ADDRESS")
    display: Display = LiveTable() if is_live else PlainLines()
    try:
        yield display
    finally:
        display.stop()


def say(text: str) -> None:
    """Print a remark to stderr; that nobody reads it any more is no reason to stop."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def parts_shown() -> Callable[[PredictProgress], None]:
    """Return what prints a line about a prediction now and then."""
    began = said_at = time.monotonic()

    def show(progress: PredictProgress) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= LINE_EVERY_S:
            said_at = now
            parts = f"{progress.n_parts_done} of {progress.n_parts} parts"
            say(f"{progress.n_rows_done} of {progress.n_rows} rows, {parts}, {now - began:.0f} s")

    return show


def summary(progress: Progress) -> str:
    """Return one line that says how far a run is."""
    parts = []
    for one in progress.searches:
        ends = [f"{n} {how}" for n, how in ((one.n_pruned, "pruned"), (one.n_failed, "failed")) if n]
        ended = f" ({', '.join(ends)})" if ends else ""
        score, configuration = _best(one)
        parts.append(f"{one.name}: {_of(one)} trials{ended}, best {score} {configuration}".rstrip())
    return f"{'; '.join(parts)}; {progress.n_units_done} work units done"


def _of(search: SearchProgress) -> str:
    bound = "" if math.isinf(search.n_expected) else f" of {search.n_expected:.0f}"
    return f"{search.n_finished}{bound}"


def _best(search: SearchProgress) -> tuple[str, str]:
    best = search.best
    if best is None or best.score is None:
        return "-", ""
    return f"{best.score:.4f}", ", ".join(f"{name}={_short(value)}" for name, value in best.trial.params.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
