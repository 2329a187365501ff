"""How networks learned: the inner score after each epoch, of the best trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator import oof
from orchestrator.errors import JobError
from orchestrator.results.report.parts import Figure, Section
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.svg import Plot
from orchestrator.results.report.words import counted

MOST_TRIALS = 5


def section(run: Run) -> Section:
    """Return the learning curves' section."""
    title = "Learning curves"
    try:
        kept = oof.Predictions.read(run.path)
    except JobError:
        return Section("curves", title, absent="Left out: the run keeps no predictions, and with them no curves.")
    figures = []
    for spec in run.job.searches:
        rows = [r for r in run.trials if r["search"] == spec.name and r["state"] == "completed"]
        with_curves = [(r["trial"], found) for r in rows[: MOST_TRIALS * 2] if (found := kept.curves(r["trial"]))]
        if with_curves:
            figures.append(_figure(run, str(spec.name), with_curves[:MOST_TRIALS]))
    if not figures:
        return Section("curves", title, absent="Left out: no completed trial learned by epochs.")
    said = (
        "The score after each epoch on the tenth of the training rows that a network holds back for early stopping, "
        "mean over folds; the band is from the lowest fold to the highest, of the best trial. The scored fold is never "
        "looked at."
    )
    return Section("curves", title, [said], figures)


def _figure(run: Run, name: str, trials: Sequence[tuple[str, Sequence[npt.NDArray[np.float32]]]]) -> Figure:
    means = []
    for trial, folds in trials:
        stacked = np.full((len(folds), max(map(len, folds))), np.nan)
        for i, fold in enumerate(folds):
            stacked[i, : len(fold)] = [run.plain(float(value)) for value in fold]
            stacked[i, len(fold) :] = stacked[i, len(fold) - 1]  # a fold that stopped early stays where it was
        means.append((trial, stacked))
    lowest = float(np.nanmin([np.nanmin(s) for _, s in means]))
    highest = float(np.nanmax([np.nanmax(s) for _, s in means]))
    longest = max(s.shape[1] for _, s in means)
    plot = Plot(
        Scale(1.0, max(2.0, float(longest))),
        Scale.over([lowest, highest]),
        x_title="epoch",
        y_title=f"inner {run.metric_name}",
        right=86,
    )
    for place, (trial, stacked) in reversed(list(enumerate(means))):
        epochs = list(range(1, stacked.shape[1] + 1))
        if place == 0 and len(stacked) > 1:
            plot.band(epochs, stacked.min(axis=0).tolist(), stacked.max(axis=0).tolist(), "c0")
        plot.line(epochs, stacked.mean(axis=0).tolist(), f"c{place}", trial)
    _named(plot, [(trial, float(s.mean(axis=0)[-1])) for trial, s in means])
    return Figure(name, plot.svg(f"Learning curves of {name}"), f"The best {counted(len(means), 'trial')}.")


def _named(plot: Plot, ends: list[tuple[str, float]]) -> None:
    """Write each line's name at its end, moved apart where they would touch."""
    places = sorted((plot.py(value), i) for i, (_, value) in enumerate(ends))
    last = -1e9
    for y, i in places:
        last = max(y, last + 13)
        plot.text(plot.width - plot.right + 5, last + 4, ends[i][0], f"note c{i}", "start", 13)
