"""The scores of many configurations at once, under the counts with which a bootstrap draws cells of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orchestrator.results.statistics import metrics
from orchestrator.results.statistics.metrics import MeanMetric
from orchestrator.results.statistics.resampling import Cells, Floats, Ints, Singles

Array = npt.NDArray[Any]


class Evaluation(Protocol):
    """Scores of configurations on cells of rows."""

    def scores(self, counts: Singles) -> Floats:
        """Return the score of each configuration on each draw, shape (draws, configurations); nan where undefined.

        Args:
            counts: How often each cell is drawn, whole numbers, shape (draws, cells).
        """

    def left_out(self, counts: Singles, chosen: Ints) -> Floats:
        """Return the score of each draw's `chosen` configuration on the cells that it left out, shape (draws,)."""


@dataclass(frozen=True, slots=True)
class MeanEvaluation:
    """Metrics that follow from means over rows: products of counts with a table of row values.

    Attributes:
        metric: What is averaged and what is made of it.
        table: Sums over each cell of the row values, less `shift`, by `scale`; shape (configurations, cells).
        shift: With `scale`, what keeps the table's numbers near 1, so that single precision is enough. Hits are left as
            they are, since their sums are exact.
        scale: See there.
        of_truth: Sums over each cell of 1, the truth and its square, shape (cells, 3).
    """

    metric: MeanMetric
    table: Singles
    shift: float
    scale: float
    of_truth: Singles

    @classmethod
    def of(
        cls, metric: MeanMetric, truth: Array, predictions: Iterable[Array], n_predictions: int, cells: Cells
    ) -> MeanEvaluation:
        """Build the table, from predictions that are each looked at once.

        Args:
            metric: What is averaged and what is made of it.
            truth: Class codes or numbers, shape (rows,).
            predictions: One a configuration, each shape (rows,) or (rows, classes).
            n_predictions: How many.
            cells: The cell of each row.
        """
        shift, scale = 0.0, 1.0
        table = np.empty((n_predictions, len(cells)), dtype=np.float32)
        for i, prediction in enumerate(predictions):
            values = metric.values(truth, prediction)
            if i == 0 and not metric.is_hit:
                shift, scale = float(values.mean()), float(values.std()) or 1.0
            table[i] = cells.sums((values - shift) / scale)
        centred = truth - truth.mean()  # r2 looks at the truth's variance alone, which so loses no digits
        of_truth = [cells.sizes, cells.sums(centred), cells.sums(centred**2)]
        return cls(metric, table, shift, scale, np.stack(of_truth, axis=1).astype(np.float32))

    def scores(self, counts: Singles) -> Floats:
        """Return the score of each configuration on each draw."""
        return self._linked(counts @ self.table.T, counts @ self.of_truth)

    def left_out(self, counts: Singles, chosen: Ints) -> Floats:
        """Return the score of each draw's `chosen` configuration on the cells that it left out."""
        is_out = (counts == 0).astype(np.float32)
        total = np.array([self.table[c] @ out for c, out in zip(chosen, is_out, strict=True)])
        return self._linked(total[:, np.newaxis], is_out @ self.of_truth)[:, 0]

    def _linked(self, total: Singles, sums: Singles) -> Floats:
        of_truth = sums.astype(np.float64)
        n_rows = of_truth[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.shift + self.scale * (total.astype(np.float64) / n_rows)
            linked = self.metric.link(mean, of_truth[:, 1:] / n_rows)
        return np.where(n_rows > 0, linked, np.nan)


@dataclass(frozen=True, slots=True)
class AnyEvaluation:
    """Every other metric: scikit-learn computes it for each draw and configuration, so there can be few of them.

    Attributes:
        metric: The scorer's name.
        truth: Class codes or numbers, shape (rows,).
        predictions: One a configuration.
        cells: The cell of each row.
    """

    metric: str
    truth: Array
    predictions: Sequence[Array]
    cells: Cells

    def scores(self, counts: Singles) -> Floats:
        """Return the score of each configuration on each draw."""
        return np.array([[self._score(i, draw) for i in range(len(self.predictions))] for draw in counts])

    def left_out(self, counts: Singles, chosen: Ints) -> Floats:
        """Return the score of each draw's `chosen` configuration on the cells that it left out."""
        return np.array([self._score(c, draw == 0) for c, draw in zip(chosen, counts, strict=True)])

    def _score(self, which: int, counts: Array) -> float:
        return metrics.score(self.metric, self.truth, self.predictions[which], counts[self.cells.of_row])


def evaluation_of(
    metric: str, truth: Array, predictions: Iterable[Array], n_predictions: int, cells: Cells
) -> Evaluation:
    """Return the quickest evaluation of a metric; see `MeanEvaluation.of` for the arguments."""
    if metric in metrics.MEANS:
        return MeanEvaluation.of(metrics.MEANS[metric], truth, predictions, n_predictions, cells)
    return AnyEvaluation(metric, truth, list(predictions), cells)
