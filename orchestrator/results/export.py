"""Models in other formats: written beside, compared with the native predictions, and only then put in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.encode import Features, encode
from orchestrator.errors import DataError, JobError, RunError
from orchestrator.families.graph.base import NoConverter
from orchestrator.results import formats
from orchestrator.results.checked_rows import checked_rows
from orchestrator.results.model import SAMPLE_FILE, SAMPLE_ROWS, Model

TOLERANCE = 1e-5
"""By how much an export may differ: probabilities by so much, numbers by this share of the largest one."""
Given = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it compares.

    Attributes:
        path: Where it is.
        n_rows: Rows that it was compared on.
        n_open: Rows that were left out, since the model itself leaves their predictions open.
        difference: The largest difference found.
    """

    path: Path
    n_rows: int
    n_open: int
    difference: float


def export(folder: Path, kind: str, out: str | Path, sample: str | Path | None = None) -> Exported:
    """Write the model in `folder` as another format, checked against its own predictions.

    Args:
        folder: The model's.
        kind: One of `formats.FORMATS`.
        out: Where to write it; it must not exist.
        sample: A Parquet file of rows to check on; those that the run kept by default.

    Raises:
        JobError: `out` exists or cannot be used, a package is missing, or a part of the model has no converter.
        DataError: The model cannot be loaded, or there are no rows to check on.
        RunError: The export differs from the model; nothing is left at `out`.
    """
    form, target = formats.FORMATS[kind], _free(out, formats.FORMATS[kind].suffix)
    form.check_packages()
    model = Model.load(folder)
    if model.threshold is not None and kind != "native":
        raise JobError(
            f"--format {kind}: the model's decision threshold is {model.threshold:.4g}, and the format knows one half "
            "alone; expected native, or a model of a job with threshold: none"
        )
    rows = checked_rows(encode(_sample(folder, sample), model.signature.columns), model.signature.columns)
    partial = target.with_name(target.name + ".partial")
    _remove(partial)
    try:
        given = form.write(model, folder, partial)
        compared = _compared(model, rows, given, target)
        os.rename(partial, target)
    except NoConverter as refused:
        raise JobError(f"--format {kind}: {refused}") from None
    except OSError as error:
        raise JobError(f"--out: {target} cannot be written: {error.strerror or error}; choose another place") from None
    finally:
        _remove(partial)
    return compared


def _free(out: str | Path, suffix: str) -> Path:
    if "://" in str(out):
        raise JobError(f"--out: expected a local path, found {out}; copy the export there afterwards")
    path = Path(os.path.expanduser(out)).absolute()
    if suffix and path.suffix != suffix:
        raise JobError(f"--out: expected a file that ends in {suffix}, found {out}")
    if os.path.lexists(path):
        raise JobError(f"--out: {path} exists; expected a new path")
    if not path.parent.is_dir():
        raise JobError(f"--out: there is no folder {path.parent}; make it, or choose another place")
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sample(folder: Path, named: str | Path | None) -> pa.Table:
    path = folder / SAMPLE_FILE if named is None else Path(named)
    try:
        file = pq.ParquetFile(path)
        table = next(file.iter_batches(SAMPLE_ROWS), None)
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing, the rows to check the export on; name a Parquet file of such rows with --sample"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"--sample: {path} cannot be read: {str(error).splitlines()[0]}") from None
    if table is None or not table.num_rows:
        raise DataError(f"--sample: {path} has no rows; expected some to check the export on")
    return pa.Table.from_batches([table])


def _compared(model: Model, rows: Features, given: Callable[[Features], Given], target: Path) -> Exported:
    """Return how an export compares.

    Raises:
        RunError: It differs, or the model leaves all rows open.
    """
    left_open = getattr(model.fitted, "left_open", None)
    settled = np.ones(len(rows), bool) if left_open is None else ~left_open(rows)
    if not settled.any():
        raise RunError("the export cannot be checked: of every sample row, more neighbours than k are equally near")
    rows = rows.take(np.flatnonzero(settled))
    difference, n_other = _difference(model, rows, given(rows))
    if not difference <= TOLERANCE or n_other:
        what = (
            f"differs by {difference:.2g}" if not difference <= TOLERANCE else f"names another class on {n_other} rows"
        )
        raise RunError(
            f"the export {what} from the model on {len(rows)} sample rows; expected at most {TOLERANCE:g}. "
            f"Nothing was written to {target}"
        )
    return Exported(target, len(rows), int((~settled).sum()), difference)


def _difference(model: Model, rows: Features, given: Given) -> tuple[float, int]:
    """Return the largest difference, and how many rows have another class without two being nearly equal."""
    if model.signature.task == "regression":
        expected = np.asarray(model.fitted.predict(rows), np.float64)
        scale = max(1.0, float(np.abs(expected).max()))
        return float(np.abs(expected - given["prediction"]).max()) / scale, 0
    expected = model.fitted.predict_proba(rows)
    ordered = np.sort(expected, axis=1)
    is_clear = ordered[:, -1] - ordered[:, -2] > 2 * TOLERANCE
    is_other = np.asarray(model.signature.classes)[model.fitted.predict(rows)] != given["label"]
    return float(np.abs(expected - given["probabilities"]).max()), int((is_other & is_clear).sum())
