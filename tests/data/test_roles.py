"""What a job says of single columns goes before what they look like, in training and for predictions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import Comparator, Job
from orchestrator.data.columns import Column
from orchestrator.data.encode import Signature
from orchestrator.data.load import load
from orchestrator.data.prepare import preparation
from orchestrator.data.recipe import Recipe
from orchestrator.errors import DataError, JobError
from orchestrator.job import ColumnRole, Data, Validation, from_dict


@pytest.fixture
def path(tmp_path):
    generator = np.random.default_rng(0)
    zips = generator.integers(0, 5, 60) + 10_000
    table = {
        "zip": pa.array(zips.astype(np.float64), mask=np.arange(60) % 13 == 0),
        "amount": [f" {i}.5 " if i % 4 else "n/a" for i in range(60)],
        "day": [f"2024-01-{i % 28 + 1:02}" for i in range(60)],
        "note": ["a word or two of it" if i % 2 else "b" for i in range(60)],
        "number": generator.normal(size=60),
        "y": np.where(generator.random(60) < 0.2, 1 - zips % 2, zips % 2),
    }
    pq.write_table(pa.table(table), tmp_path / "data.parquet")
    return tmp_path / "data.parquet"


ROLES = {
    "zip": ColumnRole("category", categories="target"),
    "amount": ColumnRole("number", missing="median"),
    "day": ColumnRole("date"),
    "note": ColumnRole("text"),
    "number": ColumnRole(outliers="clip"),
}


def test_columns_are_read_as_the_job_says(path):
    data = load(Data(str(path), target="y", columns=ROLES, test=None), Validation(), None, 3)
    columns = {column.name: column for column in data.signature.columns}
    kinds = {"zip": "category", "amount": "number", "day": "date", "note": "text", "number": "number"}
    assert {name: column.kind for name, column in columns.items()} == kinds
    assert columns["zip"].categories == ("10000", "10001", "10002", "10003", "10004")
    amounts = data.train.features.matrix[:, 1]
    assert np.isnan(amounts[::4]).all()
    np.testing.assert_array_equal(amounts[1:4], [1.5, 2.5, 3.5])
    assert Signature.from_dict(data.signature.to_dict()) == data.signature


def test_what_a_column_is_prepared_by_goes_before_the_recipe():
    columns = [
        Column("a", "double", "number", has_nulls=True, prepared=(("missing", "median"), ("outliers", "clip"))),
        Column("b", "double", "number", has_nulls=True),
        Column("c", "string", "category", ("u", "v"), prepared=(("categories", "target"),)),
        Column("d", "string", "category", ("u", "v")),
    ]
    ((_, step),) = preparation(columns, Recipe(), 2, 0)
    assert {name: places for name, _, places in step.transformers} == {
        "number": [1],
        "clipped": [0],
        "one_hot": [3],
        "target": [2],
        "missing": [1],
    }


def test_a_model_reads_new_rows_likewise(path, tmp_path):
    job = Job(
        name="roles",
        data=Data(str(path), target="y", columns=ROLES),
        searches=(orchestrator.Search("knn", space={"n_neighbors": [1, 3]}),),
        comparators=(Comparator("boosting"),),
    )
    result = orchestrator.run(job, tmp_path / "run", executor="inline")
    rows = pq.read_table(path).drop_columns("y")
    whole = rows.set_column(0, "zip", rows.column("zip").cast(pa.int64()))
    written = rows.set_column(0, "zip", whole.column("zip").cast(pa.string()))
    said = result.best.predict(rows)
    assert result.best.predict(whole).tolist() == result.best.predict(written).tolist() == said.tolist()
    with pytest.raises(DataError, match=r"data\.columns\.day: column 'day' holds strings that are no dates"):
        result.best.predict(rows.set_column(2, "day", pa.array(["soon"] * 60)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"zap": "category"}, r"data\.columns: 'zap' is no feature\. Did you mean 'zip'"),
        ({"zip": "text"}, r"data\.columns\.zip: column 'zip' has type double, which cannot be read as text"),
        ({"zip": "categorical"}, r"data\.columns\.zip\.kind: expected 'number', 'category', 'text' or 'date'"),
        ({"zip": {"knd": "category"}}, r"unknown key 'data\.columns\.zip\.knd'\. Did you mean 'kind'"),
    ],
)
def test_roles_that_no_column_can_have_are_refused(columns, message, path):
    values = {"name": "n", "data": {"path": str(path), "target": "y", "columns": columns}}
    with pytest.raises(JobError, match=message):
        load(from_dict(values).data, Validation(), None, 3)
