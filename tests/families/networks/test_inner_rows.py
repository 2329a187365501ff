"""The rows that early stopping looks at keep groups together and lie after those learnt from, as the folds do."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import columns, write

from orchestrator.data.dependence import Dependence
from orchestrator.data.encode import Features
from orchestrator.data.sets import TrainingSet
from orchestrator.families.networks.plan import inner_split, n_inner

N = 200
ROWS = np.arange(0, N, 2)


def training_set(kind, codes):
    target = np.arange(N) % 4 // 2
    dependence = Dependence(kind, "c", np.asarray(codes))
    matrix = np.zeros((N, 1))
    return TrainingSet("k", Features(matrix), target, (), (), "classification", "accuracy", 3, dependence=dependence)


def test_the_latest_rows_are_looked_at():
    data = training_set("time", np.random.default_rng(0).permutation(N))
    fit, inner = inner_split(data, ROWS)
    codes = data.dependence.codes
    assert codes[fit].max() < codes[inner].min()
    assert len(inner) == n_inner(len(ROWS))
    assert sorted([*fit, *inner]) == ROWS.tolist()


@pytest.mark.parametrize("n_groups", [20, 60])
def test_whole_groups_are_looked_at(n_groups):
    data = training_set("group", np.random.default_rng(1).integers(0, n_groups, N))
    fit, inner = inner_split(data, ROWS)
    codes = data.dependence.codes
    assert not set(codes[fit]) & set(codes[inner])
    assert 1 <= len(inner) <= n_inner(len(ROWS))
    assert sorted([*fit, *inner]) == ROWS.tolist()
    assert np.array_equal(inner, inner_split(data, ROWS)[1])


def test_groups_that_are_too_large_are_drawn_from():
    fit, inner = inner_split(training_set("group", np.arange(N) // 2 % 3), ROWS)
    assert len(inner) == n_inner(len(ROWS))
    assert sorted([*fit, *inner]) == ROWS.tolist()


def test_networks_run_by_time(folder, cli, make_job):
    write(folder / "data.parquet", columns(90, at=np.random.default_rng(2).permutation(90) // 3))
    validation = {"kind": "time", "column": "at", "folds": 3}
    search = {"family": "mlp", "trials": 2, "space": {"epochs": 2, "width_1": [4, 8], "depth": 1}}
    done = cli("run", make_job(validation=validation, searches=[search], ensemble={"size": 2}), "--out", "run")
    assert done.code == 0, done.err
    states = [row["state"] for row in pq.read_table(folder / "run" / "trials.parquet").to_pylist()]
    assert states == ["completed"] * 4
