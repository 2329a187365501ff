"""What the winner said: of the training rows, each by a model that had not seen it, and of the sealed test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from orchestrator import oof, rundir
from orchestrator.errors import JobError
from orchestrator.results.report.run import Run

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Truth and predictions of some rows.

    Attributes:
        rows: Which rows, in words.
        truth: Class codes or numbers, shape (rows,).
        said: Class codes or numbers, shape (rows,).
        probabilities: Class probabilities, shape (rows, classes); None where there are none.
        places: Which of the training rows they are, shape (rows,); None for test rows.
    """

    rows: str
    truth: Array
    said: Array
    probabilities: Array | None
    places: Array | None = None


def out_of_fold(run: Run) -> Predictions | None:
    """Return what the leader said of the training rows that folds score, or None where that was not kept.

    Where folds are repeated it is what it said in the first round.
    """
    if run.best is None:
        return None
    try:
        kept = oof.Predictions.read(run.path)
    except JobError:
        return None
    found = kept.of([run.best["trial"]]).get(run.best["trial"])
    if found is None:
        return None
    places = np.flatnonzero(kept.first >= 0)
    truth, said = kept.truth[places], found[places]
    rows = f"{len(places):,} training rows, each by a model that had not seen it"
    rows += f" (the first of {kept.n_repeats} rounds)" if kept.n_repeats > 1 else ""
    if said.ndim == 2:
        return Predictions(rows, truth, said.argmax(axis=1), said, places)
    if run.signature.task == "classification" and said.dtype.kind == "f":
        shares = np.stack([1.0 - said, said], axis=1)
        return Predictions(rows, truth, (said > 0.5).astype(np.int64), shares, places)
    return Predictions(rows, truth, said, None, places)


def of_test_rows(run: Run) -> Predictions | None:
    """Return what the winner said of the test rows, or None where they were not opened for it."""
    path = run.path / rundir.TEST
    if run.opening is None or not path.exists():
        return None
    table = pq.read_table(path)
    if "best" not in table.column_names:
        return None
    said = table["best"].to_numpy()
    probabilities = None
    if "best_proba" in table.column_names:
        probabilities = table["best_proba"].combine_chunks().flatten().to_numpy().reshape(len(said), -1)
    return Predictions(f"{len(said):,} sealed test rows", table["target"].to_numpy(), said, probabilities)
