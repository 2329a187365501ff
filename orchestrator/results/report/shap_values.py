"""SHAP values of the shipped model on its sample rows, where the extra `shap` is installed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from orchestrator import rundir
from orchestrator.data.columns import scalars
from orchestrator.data.encode import encode
from orchestrator.errors import OrchestratorError
from orchestrator.families.limits import one_thread
from orchestrator.results.explain import asked_by_place
from orchestrator.results.model import Model
from orchestrator.results.report.run import Run

SAMPLE = "sample.parquet"
MOST_ROWS, FEWEST_ROWS, N_BACKGROUND, MOST_PREDICTIONS = 100, 10, 10, 20_000
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ShapValues:
    """What each column adds to each prediction.

    Attributes:
        columns: The columns' names.
        values: SHAP values, shape (rows, columns, outputs): classes, or one output.
        features: The columns' own values, shape (rows, columns), nan where they are no numbers.
    """

    columns: tuple[str, ...]
    values: Array
    features: Array


def shap_values(run: Run) -> ShapValues | str:
    """Return SHAP values, or a sentence that says why there are none.

    By permutations, forward and back (Lundberg and Lee, NeurIPS 2017), which asks any model as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import shap
    except ImportError:
        return "SHAP values are left out, since the extra is not installed: pip install 'batch-orchestrator[shap]'."
    sample = run.path / rundir.BEST / SAMPLE
    if not sample.exists():
        return f"SHAP values are left out, since the run keeps no {rundir.BEST}/{SAMPLE}."
    try:
        model = Model.load(run.path / rundir.BEST)
    except OrchestratorError as error:
        return f"SHAP values are left out, since the model cannot be loaded: {error}."
    columns = model.signature.columns
    rows = encode(pq.read_table(sample), columns)
    per_row = (2 * len(columns) + 1) * N_BACKGROUND
    n_rows = min(MOST_ROWS, len(rows), MOST_PREDICTIONS // per_row)
    if n_rows < FEWEST_ROWS:
        return f"SHAP values are left out, since {len(columns)} columns or {len(rows)} rows do not allow for them."
    asked = asked_by_place(model.fitted, rows, columns, model.signature.task)
    places = asked.places()
    background = places[np.linspace(0, len(places) - 1, N_BACKGROUND).astype(np.int64)]
    ask = asked.predict_proba if model.signature.task == "classification" else asked.predict
    with one_thread():
        explainer = shap.explainers.Permutation(ask, shap.maskers.Independent(background), seed=run.job.seed)
        found = explainer(places[:n_rows], max_evals=2 * len(columns) + 1, silent=True).values
    features = np.full((n_rows, len(columns)), np.nan)
    at = {column.name: i for i, column in enumerate(scalars(columns)) if column.kind != "category"}
    for position, column in enumerate(columns):
        if column.name in at:
            features[:, position] = rows.matrix[:n_rows, at[column.name]]
    values = found if found.ndim == 3 else found[:, :, np.newaxis]
    return ShapValues(tuple(column.name for column in columns), values, features)
