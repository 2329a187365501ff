"""Datasets of many files: schemas that differ and are unified or refused, and Delta tables."""

import datetime as dt
import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, write

from orchestrator.data import parquet
from orchestrator.data.load import load
from orchestrator.errors import DataError, JobError
from orchestrator.job import Data, Validation

DAY = dt.datetime(2024, 1, 2)


def read(path, column="c"):
    return parquet.read(parquet.open_dataset(str(path)), [column], str(path))[column]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (pa.array([1]), pa.array([1.5]), "double"),
        (pa.array([1], pa.int8()), pa.array([300], pa.int16()), "int16"),
        (pa.array(["p"]), pa.array(["q"]).dictionary_encode(), "string"),
        (
            pa.array(["p"]).dictionary_encode(),
            pa.array(["q"]).cast(pa.dictionary(pa.int8(), pa.string())),
            "string",
        ),
        (pa.array(["p"], pa.large_string()), pa.array(["q"], pa.string_view()), "large_string"),
        (pa.array(["p"]), pa.nulls(1), "string"),
        (pa.nulls(1), pa.array([1.5], pa.float16()), "float"),
        (pa.nulls(1), pa.array([DAY.date()]), "date32[day]"),
        (pa.array([DAY], pa.timestamp("ms")), pa.array([DAY], pa.timestamp("ns")), "timestamp[ns]"),
        (pa.array([[1]]), pa.array([[1.5]], pa.large_list(pa.float32())), "list"),
        (pa.array([[1]], pa.list_(pa.uint8(), 1)), pa.array([[9]], pa.list_(pa.uint8(), 1)), "fixed_size_list"),
        (pa.array([1]).cast(pa.decimal128(20, 0)), pa.array([1]).cast(pa.decimal128(21, 1)), "decimal128(21, 1)"),
    ],
    ids=lambda values: str(getattr(values, "type", values)),
)
@pytest.mark.parametrize("turned", [False, True])
def test_files_of_types_that_go_together_are_unified(one, other, kind, turned, folder):
    parts = [other, one] if turned else [one, other]
    for i, values in enumerate(parts):  # in another order of columns, too
        names = ["c", "y"] if i else ["y", "c"]
        write(folder / "d" / f"{i}.parquet", pa.table({"c": values, "y": [i]}).select(names))
    found = read(folder / "d")
    assert kind in str(found.type)
    assert len(found) == 2
    assert found.null_count == sum(values.null_count for values in parts)


def test_whole_numbers_that_no_common_type_holds_are_told_of(folder):
    write(folder / "d" / "0.parquet", columns(c=pa.array([2**53 + 1] * 40)))
    write(folder / "d" / "1.parquet", columns(c=pa.array([0.5] * 40)))
    with pytest.raises(DataError, match=r"whole numbers in one file .* expected one type, such as strings"):
        read(folder / "d")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["1"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([DAY], pa.timestamp("s")), pa.array([DAY], pa.timestamp("s", "UTC"))),
        (pa.array([[1, 2]], pa.list_(pa.uint8(), 2)), pa.array([[1]], pa.list_(pa.uint8(), 1))),
        (pa.array([DAY.date()]), pa.array([DAY], pa.timestamp("us"))),
        (pa.array([{"p": 1}]), pa.array([1])),
        (pa.array([[1]], pa.list_view(pa.int8())), pa.array([[1]], pa.list_(pa.int8()))),
    ],
    ids=lambda values: str(values.type),
)
def test_files_of_types_that_do_not_are_refused_with_the_file(one, other, folder):
    for i, values in enumerate([one, other]):
        write(folder / "d" / f"{i}.parquet", {"c": values, "y": [i]})
    with pytest.raises(DataError, match=r"column 'c' is of type .* in .*/d/1.parquet.*data\.exclude"):
        read(folder / "d")
    assert read(folder / "d", "y").to_pylist() == [0, 1]


def test_a_file_without_a_column_is_named_unless_the_column_is_not_needed(folder):
    for i in range(3):
        write(folder / "d" / f"{i}.parquet", {"y": [i], **({} if i == 0 else {"c": [i]})})
    with pytest.raises(DataError, match=r"d/0\.parquet has no column 'c', which other files have"):
        read(folder / "d")
    assert read(folder / "d", "y").to_pylist() == [0, 1, 2]


def test_many_small_files_are_one_dataset_in_the_order_of_their_names(folder):
    for i in range(300):
        write(folder / "d" / f"day={i % 3}" / f"{i:04}.parquet", {"c": np.arange(i, i + 2)})
    files = sorted((folder / "d").rglob("*.parquet"))
    expected = [n for file in files for n in (int(file.stem), int(file.stem) + 1)]
    assert read(folder / "d").to_pylist() == expected


# ---- Delta tables


@pytest.fixture
def table(folder):
    """A table of 40 rows, written over an older version whose files are still there."""
    deltalake = pytest.importorskip("deltalake")
    now = pa.table({**columns(), "k": pa.array(["u", "u", "v", "v"] * 10)})
    for values in (pa.concat_tables([now, now]), now):
        deltalake.write_deltalake(str(folder / "t"), values, mode="overwrite", partition_by=["k"])
    assert len(list((folder / "t").rglob("*.parquet"))) == 4
    return folder / "t"


def test_a_delta_table_has_the_rows_of_its_newest_version(table):
    data = load(Data(str(table), target="y", test=None), Validation(), None, 3)
    assert len(data.train.target) == 40
    assert [(c.name, c.kind) for c in data.signature.columns] == [("a", "number"), ("b", "number"), ("k", "category")]


def test_filters_of_a_delta_table_open_its_partitions_alone(table):
    for file in (table / "k=u").glob("*.parquet"):
        file.write_bytes(b"not Parquet")
    found = load(
        Data(str(table), target="a", features="b", test=None, filters=["k", "==", "v"]), Validation(folds=2), None, 3
    )
    assert sorted(found.train.target) == sorted(columns()["a"][np.arange(40) % 4 > 1])


def test_predictions_of_a_delta_table(table, cli, make_job, folder):
    assert cli("run", make_job(data__path=str(table), validation={"folds": 2}), "--out", "run").code == 0
    outcome = cli("predict", "run", table, "--out", "p.parquet", "--executor", "inline")
    assert outcome.code == 0, outcome.err
    assert pq.read_metadata("p.parquet").num_rows == 40


def test_a_delta_table_without_its_extra_is_refused(folder, monkeypatch):
    write(folder / "t" / "dead.parquet", columns())
    (folder / "t" / "_delta_log").mkdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        JobError, match=r"^data.path: .*/t is a Delta table .*pip install 'batch-orchestrator\[delta\]'"
    ):
        parquet.open_dataset(str(folder / "t"))


@pytest.mark.parametrize("path", ["t/dead.parquet", "t/*.parquet", "t/k=u", "t/**/*.parquet"])
def test_files_of_a_delta_table_are_refused(path, folder):
    for place in ("t", "t/k=u"):
        write(folder / place / "dead.parquet", columns())
    (folder / "t" / "_delta_log").mkdir()
    with pytest.raises(JobError, match=r"lies in the Delta table .*/t, where .*data\.filters"):
        parquet.open_dataset(str(folder / path))


def test_a_delta_table_that_is_damaged_is_refused(folder):
    pytest.importorskip("deltalake")
    (folder / "t" / "_delta_log").mkdir(parents=True)
    (folder / "t" / "_delta_log" / f"{0:020}.json").write_text("{nothing")
    with pytest.raises(DataError, match=r"^data.path: the Delta table .*/t cannot be read: "):
        parquet.open_dataset(str(folder / "t"))
