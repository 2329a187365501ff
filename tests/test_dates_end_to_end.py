"""Jobs over dates, from a file to predictions: every family that takes them, reports, exports."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, write

from orchestrator.data.columns import Column
from orchestrator.data.load import load
from orchestrator.families.base import Shape
from orchestrator.families.graph.base import NoConverter
from orchestrator.families.graph.inputs import input_of
from orchestrator.families.networks.custom import Custom
from orchestrator.families.networks.mlp import MLP
from orchestrator.job import Data, Validation

N = 60


def dated(**others):
    generator = np.random.default_rng(0)
    days = generator.integers(0, 700, N)
    weekend = (days + 3) % 7 >= 5
    when = pa.array(np.where(generator.random(N) < 0.1, None, days * 86_400 + 3600 * generator.integers(0, 24, N)))
    made = {**columns(N), "y": pa.array([("no", "yes")[int(i)] for i in weekend]), "when": when.cast(pa.timestamp("s"))}
    return {**made, **others}


def test_a_job_over_dates_with_nulls(cli, make_job, folder):
    write(folder / "data.parquet", dated())
    search = {"family": "knn", "space": {"n_neighbors": [1, 3], "scaler": ["standard", "none"]}}
    outcome = cli("run", make_job(searches=[search], validation={"folds": 2}), "--out", "run")
    assert outcome.code == 0, outcome.err
    explained = json.loads((folder / "run" / "explained.json").read_text())
    assert explained["columns"] == ["a", "b", "when"]
    assert "when" in (folder / "run" / "report.html").read_text()
    write(folder / "new.parquet", {**dated(), "when": pa.nulls(N)})
    assert cli("predict", "run", "new.parquet", "--out", "p.parquet", "--executor", "inline").code == 0
    assert pq.read_table("p.parquet").num_rows == N
    assert cli("export", "run", "--format", "native", "--out", "native").code == 0


@pytest.mark.parametrize("family", [MLP(), Custom()], ids=lambda family: family.name)
def test_networks_see_parts_of_dates_beside_numbers_without_gaps(family, folder):
    vectors = pa.array([[1.0, i] for i in range(N)], pa.list_(pa.float32(), 2))
    path = write(
        folder / "data.parquet", dated(v=vectors, flag=pa.array([True, None] * (N // 2)), c=["p", "q"] * (N // 2))
    )
    train = load(Data(str(path), target="y"), Validation(folds=2), None, 3).train
    params = {"scaler": "standard", "embedding_width": 8}
    preparation = family.prepare(params, train, train.folds[0].train)
    found = preparation.transform(train.features)
    for one in family.inputs(params, Shape.of(train)):
        assert found[one.name].shape == (len(train.features), *one.shape)
        assert np.isfinite(found[one.name]).all()
    assert found["numbers"].shape[1] == 2 + 2 + 11 + (2 if family.name == "mlp" else 0)


def test_dates_have_no_converter():
    with pytest.raises(NoConverter, match=r"'when' has dates \(date32\), and these formats have no calendar"):
        input_of(Column("when", "date32", "date", shape=(8,)))


def test_dates_without_nulls_are_ready_for_nulls(cli, make_job, folder):
    write(folder / "data.parquet", columns(when=pa.array(np.arange(40), pa.int32()).cast(pa.date32())))
    assert cli("run", make_job(validation={"folds": 2}), "--out", "run").code == 0
    write(folder / "new.parquet", columns(when=pa.nulls(40, pa.date32())))
    outcome = cli("predict", "run", "new.parquet", "--out", "p.parquet", "--executor", "inline")
    assert outcome.code == 0, outcome.err
    assert "'when' is null, which it never was in the training rows" in outcome.err


def test_a_draft_names_dates(cli, folder):
    write(folder / "data.parquet", dated())
    outcome = cli("init", "data.parquet", "--target", "y", "--out", "job.yaml")
    assert outcome.code == 0, outcome.err
    assert "2 numeric, 1 date" in (folder / "job.yaml").read_text()
