"""A small kit for drawings as SVG: axes and marks. Colours are classes, so that a page's theme is theirs too.

Plain SVG needs no script, prints sharply and weighs little. All text passes through `Markup.format`, which escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from orchestrator.results.report.parts import shortened
from orchestrator.results.report.scale import Scale

CHARACTER = 6.1
"""Units that a character of a tick's label is wide, about."""
LONGEST_LABEL = 26
GOLDEN = 0.6180339887498949
"""Its multiples spread evenly, in the same way each time."""


class Plot:
    """A drawing with two axes. Marks are in the data's own units."""

    def __init__(
        self,
        x: Scale,
        y: Scale,
        *,
        x_title: str = "",
        y_title: str = "",
        width: int = 340,
        height: int = 260,
        right: int = 14,
        is_framed: bool = True,
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.titles = (x_title, y_title)
        labels = [shortened(text, LONGEST_LABEL) for _, text in y.ticks()] or [""]
        self.left = 12 + round(max(map(len, labels)) * CHARACTER)
        self.top = 26 if y_title else 10
        self.right, self.bottom = right, 42 if x_title else 24
        self.marks: list[Markup] = []
        self.is_framed = is_framed

    def px(self, value: Any) -> float:
        """Return a value's horizontal place on the drawing."""
        return round(self.left + self.x.at(value) * (self.width - self.left - self.right), 1)

    def py(self, value: Any) -> float:
        """Return a value's vertical place on the drawing."""
        share = self.y.at(value) if self.y.names else 1 - self.y.at(value)
        return round(self.top + share * (self.height - self.top - self.bottom), 1)

    def points(
        self, xs: Sequence[Any], ys: Sequence[Any], tips: Sequence[str] = (), kind: str = "c0", size: float = 3.0
    ) -> None:
        """Draw dots, with what is said of each when it is pointed at; spread a little where the axis has names."""
        spread = 0.6 * (self.width - self.left - self.right) / len(self.x.names) if self.x.names else 0.0
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            place = round(self.px(x) + spread * ((i * GOLDEN) % 1 - 0.5), 1)
            self.dot(place, self.py(y), tips[i] if tips else "", kind, size)

    def dot(self, x: float, y: float, told: str, kind: str = "c0", size: float = 2.5) -> None:
        """Draw a dot at a place of the drawing."""
        form = Markup('<circle cx="{}" cy="{}" r="{}" class="{}"{}/>')
        self.marks.append(form.format(round(x, 1), round(y, 1), size, f"dot {kind}", tip(told)))

    def line(self, xs: Sequence[Any], ys: Sequence[Any], kind: str = "c0", told: str = "") -> None:
        """Draw a line through points."""
        places = " ".join(f"{self.px(x):g},{self.py(y):g}" for x, y in zip(xs, ys, strict=True))
        self.marks.append(Markup('<polyline points="{}" class="{}"{}/>').format(places, f"line {kind}", tip(told)))

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str = "c0") -> None:
        """Fill between two lines."""
        there = [f"{self.px(x):g},{self.py(y):g}" for x, y in zip(xs, highs, strict=True)]
        back = [f"{self.px(x):g},{self.py(y):g}" for x, y in zip(xs, lows, strict=True)]
        places = " ".join([*there, *reversed(back)])
        self.marks.append(Markup('<polygon points="{}" class="{}"/>').format(places, f"band {kind}"))

    def span(self, low: float, high: float, y: Any, kind: str = "c0", told: str = "") -> None:
        """Draw an interval along the horizontal axis."""
        line = Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="{}"{}/>')
        self.marks.append(line.format(self.px(low), self.px(high), self.py(y), self.py(y), f"span {kind}", tip(told)))

    def bar(self, value: float, y: Any, kind: str = "c0", told: str = "", thickness: float = 14) -> None:
        """Draw a horizontal bar from zero."""
        ends = sorted((self.px(max(self.x.low, 0.0)), self.px(value)))
        self.box(ends[0], self.py(y) - thickness / 2, ends[1] - ends[0], thickness, f"bar {kind}", told)

    def column(self, low: float, high: float, value: float, kind: str = "c0", told: str = "") -> None:
        """Draw an upright bar from zero over an interval."""
        top, foot = self.py(value), self.py(max(self.y.low, 0.0))
        self.box(self.px(low), top, max(0.5, self.px(high) - self.px(low) - 1), foot - top, f"bar {kind}", told)

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, told: str = "", opacity: float = 1.0
    ) -> None:
        """Draw a rectangle at a place of the drawing."""
        faint = Markup(' fill-opacity="{}"').format(round(opacity, 3)) if opacity < 1 else ""
        shape = Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"{}{}/>')
        place = (round(x, 1), round(y, 1), round(max(width, 0), 1), round(max(height, 0), 1))
        self.marks.append(shape.format(*place, kind, faint, tip(told)))

    def rule(self, *, x: float | None = None, y: float | None = None) -> None:
        """Draw a thin line across the plot at a value."""
        x1, x2 = (self.px(x),) * 2 if x is not None else (self.left, self.width - self.right)
        y1, y2 = (self.py(y),) * 2 if y is not None else (self.top, self.height - self.bottom)
        self.marks.append(Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="rule"/>').format(x1, x2, y1, y2))

    def text(
        self, x: float, y: float, text: str, kind: str = "note", anchor: str = "start", longest: int = LONGEST_LABEL
    ) -> None:
        """Write at a place of the drawing; a text that is too long is shown whole when it is pointed at."""
        shown = shortened(text, longest)
        whole = tip(text) if shown != text else ""
        form = Markup('<text x="{}" y="{}" class="{}" text-anchor="{}"{}>{}</text>')
        self.marks.append(form.format(round(x, 1), round(y, 1), kind, anchor, whole, shown))

    def svg(self, described: str) -> Markup:
        """Return the drawing; `described` is read to who cannot see it."""
        marks, self.marks = self.marks, []
        if self.is_framed:
            self._axes()
        return drawn(self.width, self.height, [*self.marks, *marks], described)

    def _axes(self) -> None:
        line = Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="{}"/>')
        foot, end = self.height - self.bottom, self.width - self.right
        for share, label in self.y.ticks():
            place = round(self.top + (share if self.y.names else 1 - share) * (foot - self.top), 1)
            if not self.y.names:
                self.marks.append(line.format(self.left, end, place, place, "grid"))
            self.text(self.left - 7, place + 3.5, label, "tick", "end")
        room = (end - self.left) / max(1, len(self.x.ticks()))
        for share, label in self.x.ticks():
            place = round(self.left + share * (end - self.left), 1)
            self.marks.append(line.format(place, place, foot, foot + 4, "axis"))
            self.text(place, foot + 16, label, "tick", "middle", max(3, int(room / CHARACTER)))
        self.marks.append(line.format(self.left, end, foot, foot, "axis"))
        if self.titles[0]:
            self.text((self.left + end) / 2, self.height - 6, self.titles[0], "title", "middle", 60)
        if self.titles[1]:
            self.text(2, 13, self.titles[1], "title", "start", 60)


def tip(text: str) -> Markup:
    """Return the attribute that holds what is said of a mark, or nothing."""
    return Markup(' data-tip="{}"').format(text) if text else Markup()


def drawn(width: float, height: float, marks: Sequence[Markup], described: str) -> Markup:
    """Return an SVG element of marks."""
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" style="--w:{}px">')
    return opening.format(width, height, described, width) + Markup().join(marks) + Markup("</svg>")
