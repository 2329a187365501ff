"""Datasets, jobs and processes that tests begin with."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator

N_ROWS = 40


def columns(n_rows: int = N_ROWS, **others: Any) -> dict[str, Any]:
    """Return two numeric features and a target of two classes that one of them tells apart, beside `others`."""
    generator = np.random.default_rng(0)
    y = np.arange(n_rows) % 2
    return {
        "a": generator.normal(size=n_rows) + 2 * y,
        "b": generator.normal(size=n_rows),
        "y": pa.array([("no", "yes")[i] for i in y]),
        **others,
    }


def write(path: Path, values: Mapping[str, Any] | pa.Table) -> Path:
    """Write a Parquet file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(values if isinstance(values, pa.Table) else pa.table(dict(values)), path)
    return path


def job_values(**changes: Any) -> dict[str, Any]:
    """Return a small job over `data.parquet`; `data__target="z"` sets `data.target`, a number means a list's item."""
    values: dict[str, Any] = {
        "name": "small",
        "data": {"path": "data.parquet", "target": "y"},
        "searches": [{"family": "knn", "space": {"n_neighbors": {"low": 1, "high": 5}, "scaler": "none"}}],
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place: Any = values
        for part in parents:
            place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
        place[last] = value
    return values


def environment() -> dict[str, str]:
    """Return the environment of a process that finds the package that is tested."""
    return {**os.environ, "PYTHONPATH": str(Path(orchestrator.__file__).parents[1])}


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)


def image(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return pixels, shape (height, width) or (height, width, channels), as an encoded image."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(content, kind, **options)
    return content.getvalue()


def digits(path: Path, n_rows: int = 120, *, as_png: bool = False) -> Path:
    """Write some rows of the bundled digits, images as vectors or as PNG."""
    table = pq.read_table(Path(orchestrator.__file__).parent / "data" / "datasets" / "digits.parquet").slice(0, n_rows)
    if as_png:
        pixels = np.array(table["image"].to_pylist(), np.uint8).reshape(-1, 8, 8) * 15
        table = table.set_column(0, "image", pa.array([image(one) for one in pixels], pa.binary()))
    return write(path, table)
