"""What a page is made of: figures, tables and sections. Plain values; nothing here knows a run or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing.

    Attributes:
        title: What it shows.
        drawing: An SVG element.
        caption: How to read it, or what was left out of it.
        is_wide: Whether it takes the page's whole width, and scrolls in its box where the page is narrower.
    """

    title: str
    drawing: Markup
    caption: str = ""
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: its text, and the number that it sorts by where it is one."""

    text: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below their header.

    Attributes:
        header: The names of the columns.
        rows: As many cells as the header has names.
        title: What it shows.
        caption: What to know of it.
        is_board: Whether it can be sorted and filtered.
        is_folded: Whether it is shown only when it is asked for.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    is_board: bool = False
    is_folded: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, or nothing."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.header)
        return [any(c.number is not None for c in cells) for cells in columns]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        id: Its anchor.
        title: Its heading.
        sentences: What it says, in words, a paragraph each.
        figures: Its drawings.
        tables: Its tables.
        code: Text that is shown as it is, such as the job.
        absent: Where it has nothing to show, why.
    """

    id: str
    title: str
    sentences: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    code: str = ""
    absent: str = ""


def number(value: float | None, digits: int = 4) -> str:
    """Return a number for people: fixed decimals for scores, fewer for large ones, a dash for none."""
    if value is None:
        return "–"
    if abs(value) < 10.0**-digits / 2:
        value = 0.0
    if abs(value) < 100:
        return f"{value:.{digits}f}".replace("-", "−")
    return f"{value:.{digits}g}"


def cell(value: object, digits: int = 4) -> Cell:
    """Return a value as a cell."""
    if value is None:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", float(value))
    if isinstance(value, float):
        return Cell(number(value, digits), value)
    return Cell(str(value))


def shortened(text: str, n_characters: int) -> str:
    """Return a text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= n_characters else line[: n_characters - 1] + "…"


def sampled(n: int, limit: int, first: int = 0) -> list[int]:
    """Return which of `n` things in their order to draw: the first ones, and of the others every so many.

    Args:
        n: How many there are.
        limit: How many to return at most.
        first: How many of the first to return whatever comes.
    """
    if n <= limit:
        return list(range(n))
    rest = limit - first
    return [*range(first), *(first + i * (n - first) // rest for i in range(rest))]
