"""Drafting a job: every kind of column has its place in it, and what cannot be read is left out."""

import numpy as np
import pyarrow as pa
import pytest
import yaml
from builders import N_ROWS, columns, image, write

KINDS = {
    "text": pa.array([f"{i} is the number of this row" for i in range(N_ROWS)]),
    "vector": pa.array([[i, 2] for i in range(N_ROWS)], pa.list_(pa.uint8(), 2)),
    "image": pa.array([image(np.zeros((2, 2)))] * N_ROWS),
    "sequence": pa.array([[1.0, 2.0], None] * (N_ROWS // 2)),
}


@pytest.mark.parametrize(("kind", "values"), KINDS.items(), ids=KINDS)
def test_columns_of_every_kind_are_drafted(kind, values, folder, cli):
    write(folder / "data.parquet", columns(c=values))
    outcome = cli("init", "data.parquet", "--target", "y", "--out", "-")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"# 40 rows; features: 2 numeric, 1 {kind}.\n")
    assert "exclude" not in yaml.safe_load(outcome.out)["data"]
    alone = cli("init", str(write(folder / "d.parquet", {"c": values, "y": columns()["y"]})), "--target", "y")
    assert (alone.code, alone.err) == (0, "")
    assert f"fit to run. classification of 'y', {N_ROWS * 4 // 5} training" in cli("check", "d.yaml").out


@pytest.mark.parametrize(
    "values",
    [pa.array([b"1"] * N_ROWS), pa.array([None] * N_ROWS, pa.binary()), pa.array([["p"]] * N_ROWS)],
    ids=["bytes", "null bytes", "lists of strings"],
)
def test_what_cannot_be_read_is_left_out(values, folder, cli):
    write(folder / "data.parquet", columns(c=values))
    outcome = cli("init", "data.parquet", "--target", "y", "--out", "-")
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load(outcome.out)["data"]["exclude"] == ["c"]


def test_a_target_that_is_no_scalar_is_refused(folder, cli):
    write(folder / "data.parquet", columns(y=KINDS["vector"]))
    outcome = cli("init", "data.parquet", "--target", "y")
    assert outcome.code == 3
    assert "'y' has type fixed_size_list" in outcome.err
