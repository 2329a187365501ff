"""The jobs that come with the package run from the command line, here with less to do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import write

import orchestrator

JOBS = Path(orchestrator.__file__).parents[1] / "jobs"
pytestmark = pytest.mark.slow


def board(path):
    return pq.read_table(path / "leaderboard.parquet").to_pylist()


def test_three_families_on_the_digits_stand_on_one_leaderboard(folder, cli):
    less = ["validation.folds=2", "searches.0.space.n_neighbors=3"]
    for number, n_trials in ((1, 2), (2, 1)):
        less += [f"searches.{number}.trials={n_trials}", f"searches.{number}.space.epochs=2"]
    settings = [word for one in less for word in ("--set", one)]
    outcome = cli("run", JOBS / "digits_mixed.py", "--out", "run", *settings)
    assert outcome.code == 0, outcome.err
    rows = board(folder / "run")
    counts = {name: sum(row["family"] == name for row in rows) for name in ("knn", "mlp", "image", "dummy")}
    assert counts == {"knn": 8, "mlp": 2, "image": 1, "dummy": 1}
    assert all(row["state"] == "completed" for row in rows)
    dummy = next(row["score"] for row in rows if row["family"] == "dummy")
    assert all(row["score"] > dummy for row in rows if row["family"] != "dummy")


def test_mnist_is_halved_by_epochs_and_scored_on_its_own_test_rows(folder, cli):
    generator = np.random.default_rng(0)
    label = np.arange(400) % 2
    pixels = generator.integers(0, 100, (400, 784), dtype=np.uint8)
    pixels[label == 1, 300:400] += 150
    values = {
        "image": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 784),
        "label": label.astype(np.int8),
        "split": ["test" if i % 4 == 0 else "train" for i in range(400)],
    }
    write(folder / "mnist.parquet", values)
    outcome = cli("run", JOBS / "mnist_image.py", "--set", f"data.path={folder / 'mnist.parquet'}", "--out", "run")
    assert outcome.code == 0, outcome.err
    states = [row["state"] for row in board(folder / "run") if row["family"] == "image"]
    assert sorted(states) == ["completed", "pruned", "pruned", "pruned"]
    assert "100 sealed test rows" in outcome.err
