"""Row filters: how they are written, what they let through, which values are refused, and what is not opened."""

import datetime as dt
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from builders import columns, write

from orchestrator import job as jobs
from orchestrator.clauses import alternatives
from orchestrator.data import parquet
from orchestrator.data.load import load
from orchestrator.errors import DataError, JobError
from orchestrator.job import Data, Sample, Validation

TABLE = pa.table(
    {
        "n": pa.array([1, 2, 3, None, 5]),
        "x": [0.5, np.nan, 1.5, None, 2.5],
        "s": pa.array(["p", "q", None, "r", "p"]),
        "c": pa.array(["p", "q", None, "r", "p"]).dictionary_encode(),
        "v": pa.array(["p", "q", None, "r", "p"], pa.string_view()),
        "b": pa.array([True, False, None, True, True]),
        "d": pa.array([dt.date(2024, 1, i) for i in range(1, 6)]),
        "t": pa.array([dt.datetime(2024, 1, i) for i in range(1, 6)], pa.timestamp("us")),
        "z": pa.array([dt.datetime(2024, 1, i, 23, 30) for i in range(1, 6)], pa.timestamp("ms", "Europe/Berlin")),
        "m": pa.array(["1.50", "2.50", None, "3.50", "4.50"]).cast(pa.decimal128(6, 2)),
        "o": pa.array([dt.time(i) for i in range(5)], pa.time32("s")),
        "u": pa.array([dt.timedelta(minutes=i) for i in range(5)], pa.duration("ms")),
        "l": pa.array([[1], None, [1], [2], [3]]),
    }
)


def chosen(path, filters):
    filters = alternatives(filters)
    dataset = parquet.open_dataset(str(path), filters=filters)
    return parquet.choose(dataset, ["d"], str(path), filters=filters).table["d"].to_pylist()


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (["n", ">", 1], [2, 3, 5]),
        ([["n", ">", 1.5], ["n", "<=", 3]], [2, 3]),
        ([[["n", "=", 1]], [["s", "==", "r"], ["b", "==", True]]], [1, 4]),
        (["n", "!=", 1], [2, 3, 5]),
        (["n", "in", [1, 5, 9]], [1, 5]),
        (["n", "not in", [1, 5]], [2, 3]),
        (["n", "is null"], [4]),
        (["x", "is null"], [2, 4]),
        (["x", "is not null"], [1, 3, 5]),
        (["x", "!=", 0.5], [3, 5]),
        (["x", "not in", [0.5]], [3, 5]),
        (["x", "<", 2], [1, 3]),
        (["s", "!=", "p"], [2, 4]),
        (["c", "==", "p"], [1, 5]),
        (["c", "in", ["q", "r"]], [2, 4]),
        (["v", "not in", ["q", "r"]], [1, 5]),
        (["b", "==", False], [2]),
        (["d", ">=", "2024-01-04"], [4, 5]),
        (["d", "in", [dt.date(2024, 1, 4)]], [4]),
        (["t", ">", "2024-01-03T12:00:00"], [4, 5]),
        (["t", "<", dt.datetime(2024, 1, 2)], [1]),
        (["z", ">=", "2024-01-05"], [4, 5]),
        (["z", ">=", "2024-01-05T00:00:00Z"], [5]),
        (["m", ">", 2], [2, 4, 5]),
        (["m", "in", [1.5]], [1]),
        (["o", "<", "02:00:00"], [1, 2]),
        (["u", ">=", 180], [4, 5]),
        (["l", "is null"], [2]),
        ([], [1, 2, 3, 4, 5]),
    ],
    ids=str,
)
def test_rows_that_filters_let_through_keep_their_order(filters, rows, folder):
    pq.write_table(TABLE, folder / "d.parquet", row_group_size=2)
    assert [day.day for day in chosen(folder / "d.parquet", filters)] == rows


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        (["n", "==", "one"], "'one' cannot stand in column 'n' of type int64; expected a number"),
        (["n", "in", [1.5]], "1.5 cannot stand in column 'n' of type int64"),
        (["n", "==", True], "True cannot stand in column 'n'"),
        (["s", "==", 3], "3 cannot stand in column 's' of type string; expected text"),
        (["c", "==", 3], "3 cannot stand in column 'c' of type string"),
        (["b", "==", 1], "1 cannot stand in column 'b' of type bool; expected true or false"),
        (
            ["d", ">", "last year"],
            "'last year' cannot stand in column 'd' of type .*; expected a date such as 2024-01-31",
        ),
        (["d", ">", 2024], "2024 cannot stand in column 'd'"),
        (["t", ">", "2024-13-01"], "expected a date or time such as 2024-01-31 or 2024-01-31T18:00:00"),
        (["t", ">", "2024-01-01T00:00:00Z"], "cannot stand in column 't'"),
        (["z", ">", "soon"], "'soon' cannot stand in column 'z' of type .*T18:00:00Z"),
        (["m", "==", 1.555], "1.555 cannot stand in column 'm'"),
        (["m", "==", float("inf")], "inf cannot stand in column 'm'"),
        (["o", "==", "noon"], "'noon' cannot stand in column 'o' of type .*; expected a time of day such as 18:00:00"),
        (["u", "==", "1h"], "'1h' cannot stand in column 'u' of type .*; expected seconds"),
        (["l", "==", 1], "1 cannot stand in column 'l' of type .*; expected is null or is not null"),
        (["nn", "==", 1], r"no column 'nn' in the dataset\. Did you mean"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_column_is_refused(filters, problem, folder):
    pq.write_table(TABLE, folder / "d.parquet")
    with pytest.raises(JobError, match=f"^data.filters: .*{problem}|^data.filters: {problem}"):
        chosen(folder / "d.parquet", filters)


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        (["n"], r"expected \[column, operator, value\].*found \['n'\]"),
        ("n > 1", "found 'n > 1'"),
        (3, "found 3"),
        ([[]], r"found \[\]"),
        ([[["n", ">", 1], 5]], "found 5"),
        (["n", "=>", 1], r"no operator '=>' in .*\. Did you mean"),
        (["n", ">"], "expected one value after '>'"),
        (["n", ">", 1, 2], "expected one value after '>'"),
        (["n", "is null", 1], "expected no value after 'is null'"),
        (["n", "in", 1], "expected a list of values after 'in'"),
        (["n", "in", []], "expected a list of values after 'in'"),
        (["n", "==", None], "expected a number, text, true, false or 'is null'; found null"),
        (["n", "in", [{"p": 1}]], "expected a number"),
        ({"n": 1}, "found {'n': 1}"),
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused_with_its_key(filters, problem):
    values = {"name": "j", "data": {"path": "d", "target": "y", "filters": filters}, "searches": [{"family": "knn"}]}
    with pytest.raises(JobError, match=f"^the job: data.filters: .*{problem}"):
        jobs.from_dict(values)


def test_filters_are_in_the_job_as_it_is_kept():
    values = {"name": "j", "data": {"path": "d", "target": "y"}, "searches": [{"family": "knn"}]}
    values["data"] |= {"filters": [["day", ">=", dt.date(2024, 1, 1)], ["n", "in", [1, 2]]], "sample": {"rows": 5}}
    job = jobs.from_dict(values)
    assert job.data.filters == ((("day", ">=", "2024-01-01"), ("n", "in", (1, 2))),)
    assert jobs.from_dict(jobs.parse_yaml(jobs.to_yaml(job), "x")) == job
    assert jobs.from_dict(jobs.as_written(job)) == job
    assert "is not null" in str(jobs.json_schema())


@pytest.mark.parametrize("sample", [{}, {"rows": 5, "fraction": 0.5}, {"rows": 0}, {"fraction": 1.5}, {"n": 5}, 5])
def test_what_is_no_sample_is_refused_with_its_key(sample):
    values = {"name": "j", "data": {"path": "d", "target": "y", "sample": sample}, "searches": [{"family": "knn"}]}
    with pytest.raises(JobError, match=r"data\.sample|'data.sample.n'"):
        jobs.from_dict(values)


def partitioned(folder):
    values = columns(40, year=pa.array([2020 + i // 10 for i in range(40)]), k=pa.array(["u", "u", "v", "v"] * 10))
    ds.write_dataset(
        pa.table(values),
        folder / "d",
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("year", pa.int32()), ("k", pa.string())]), flavor="hive"),
    )
    return folder / "d"


def test_files_that_partitions_rule_out_are_not_opened(folder):
    path = partitioned(folder)
    for file in path.glob("year=202[013]/*/*"):
        file.write_bytes(b"not Parquet")
    for file in path.glob("year=2022/k=u/*"):
        file.write_bytes(b"not Parquet")
    data = load(
        Data(str(path), target="y", test=None, filters=[["year", "==", 2022], ["k", "==", "v"], ["a", "<", 1e9]]),
        Validation(folds=2),
        None,
        3,
    )
    assert len(data.train.target) == 4
    with pytest.raises(DataError, match=r"(2020|2021|2023).*cannot be read as Parquet"):
        load(Data(str(path), target="y", filters=[[["year", "==", 2022]], [["a", "<", 1]]]), Validation(), None, 3)


def test_filters_that_leave_nothing_are_refused(folder):
    path = partitioned(folder)
    with pytest.raises(JobError, match=r"^data.filters: no file is left of 8; expected values such as .*'year': 2020"):
        load(Data(str(path), target="y", filters=["year", "==", 1999]), Validation(), None, 3)
    with pytest.raises(DataError, match=r"^data.filters: no row is left"):
        load(Data(str(path), target="y", filters=["a", ">", 1e9]), Validation(), None, 3)


def test_a_sample_is_the_same_for_a_seed_and_keeps_order(folder):
    path = write(folder / "d.parquet", columns(500, number=np.arange(500)))
    dataset = parquet.open_dataset(str(path))
    one, same, other = (
        parquet.choose(dataset, ["number"], "d", sample=Sample(rows=20), seed=seed).table["number"].to_pylist()
        for seed in (1, 1, 2)
    )
    assert one == same == sorted(one)
    assert one != other
    assert len(set(one)) == 20
    share = parquet.choose(
        dataset, ["number"], "d", sample=Sample(fraction=0.1), seed=1, filters=alternatives(["number", ">=", 100])
    )
    assert (share.table.num_rows, share.n_rows, share.places.tolist()) == (
        40,
        400,
        [n - 100 for n in share.table["number"].to_pylist()],
    )
    everything = parquet.choose(dataset, ["number"], "d", sample=Sample(rows=10**6))
    assert everything.table.num_rows == everything.n_rows == 500


def test_a_sample_names_rows_as_the_dataset_has_them(folder):
    images = [b"no image"] * 500
    path = write(folder / "d.parquet", columns(500, c=pa.array(images)))
    with pytest.raises(DataError, match="'c', row ") as caught:
        load(Data(str(path), target="y", sample=Sample(rows=10), test=None), Validation(), None, 3)
    places = parquet.choose(parquet.open_dataset(str(path)), ["a"], "d", sample=Sample(rows=10), seed=3).places
    assert int(re.search(r"row (\d+)", str(caught.value))[1]) == places[0] > 0


def test_a_run_on_a_sample_says_so_everywhere(cli, make_job, folder):
    write(folder / "data.parquet", columns(400))
    job = make_job(data__sample={"rows": 50}, data__filters=["b", "<", 100], validation={"folds": 2})
    outcome = cli("run", job, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "data.sample: 50 of 400 rows were drawn" in outcome.err
    assert "on a sample: 50 of 400 rows" in outcome.out
    assert "50 of 400 rows were drawn" in (folder / "run" / "report.html").read_text()
    assert "rows: 50" in (folder / "run" / "job.yaml").read_text()
    write(folder / "data.parquet", columns(400))
    assert cli("predict", "run", "data.parquet", "--out", "p.parquet", "--executor", "inline").code == 0
    assert pq.read_metadata("p.parquet").num_rows == 400
