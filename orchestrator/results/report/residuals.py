"""Where a winner of regression errs: its residuals."""

from __future__ import annotations

import numpy as np

from orchestrator.results.report.parts import Figure, number, sampled, shortened
from orchestrator.results.report.predictions import Predictions
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.svg import Plot

MOST_POINTS = 1500


def sentence(one: Predictions) -> str:
    """Say how far predictions are off."""
    residual = one.truth - one.said
    return (
        f"Over {one.rows}, half of all predictions are within {number(float(np.median(np.abs(residual))))} of the "
        f"truth and nine in ten within {number(float(np.quantile(np.abs(residual), 0.9)))}; on average they are "
        f"{number(abs(float(residual.mean())))} too {'low' if residual.mean() > 0 else 'high'}."
    )


def figures(run: Run, main: Predictions, tested: Predictions | None) -> list[Figure]:
    """Return the drawings of residuals."""
    beside = _scatters(run, tested)[:1] if tested is not None and tested is not main else []
    return [*_scatters(run, main), _histogram(run, main), *beside]


def _scatters(run: Run, one: Predictions) -> list[Figure]:
    places = sampled(len(one.truth), MOST_POINTS)
    truth, said = one.truth[places], one.said[places]
    some = f" {len(places):,} of them, evenly spaced." if len(places) < len(one.truth) else ""
    target = shortened(run.signature.target, 30)
    scale = Scale.over([*truth.tolist(), *said.tolist()])
    against = Plot(scale, scale, x_title=f"{target}, said", y_title=f"{target}, truth", height=310)
    against.line([scale.low, scale.high], [scale.low, scale.high], "rule")
    tips = [f"said {s:.4g}, truth {t:.4g}" for s, t in zip(said, truth, strict=True)]
    against.points(said.tolist(), truth.tolist(), tips, "c0 thin", 2)
    residual = truth - said
    bound = float(np.abs(residual).max()) or 1.0
    beside = Plot(
        Scale.over(said.tolist()),
        Scale(-bound, bound),
        x_title=f"{target}, said",
        y_title="truth minus said",
        height=310,
    )
    beside.rule(y=0.0)
    beside.points(said.tolist(), residual.tolist(), tips, "c0 thin", 2)
    return [
        Figure("Truth against prediction", against.svg("Truth against prediction"), f"From {one.rows}.{some}"),
        Figure("Residuals", beside.svg("Residuals over predictions"), "They should lie evenly about the dashed line."),
    ]


def _histogram(run: Run, one: Predictions) -> Figure:
    residual = one.truth - one.said
    low, high = np.quantile(residual, [0.002, 0.998])
    counts, edges = np.histogram(residual, bins=40, range=(low, high) if high > low else None)
    plot = Plot(
        Scale(float(edges[0]), float(edges[-1])),
        Scale(0.0, float(counts.max()) * 1.05),
        x_title="truth minus said",
        y_title="rows",
        height=310,
    )
    for count, left, right in zip(counts.tolist(), edges, edges[1:], strict=False):
        plot.column(float(left), float(right), count, "c0", f"{left:.4g} to {right:.4g}: {count:,} rows")
    plot.rule(x=0.0)
    return Figure("How residuals spread", plot.svg("Histogram of residuals"), "Without the outermost 0.4 %.")
