"""Every Arrow type: what it means as a feature and as a target, or how it is refused."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
from builders import columns, write

from orchestrator.data.columns import flat
from orchestrator.data.encode import column_of, encode, kind_of
from orchestrator.data.load import load
from orchestrator.errors import DataError
from orchestrator.job import Data, Validation

DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0)
HALVES = [decimal.Decimal("1.5"), None]
DICTIONARY_WITH_NULL = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["u", None]))
POINT = pa.fixed_shape_tensor(pa.float32(), (1, 2))
READ = {
    "int8": (pa.array([1, None], pa.int8()), "number", [1, np.nan]),
    "uint64": (pa.array([2**63, None], pa.uint64()), "number", [2.0**63, np.nan]),
    "float16": (pa.array([1.5, None], pa.float16()), "number", [1.5, np.nan]),
    "float32": (pa.array([1.5, np.nan], pa.float32()), "number", [1.5, np.nan]),
    "decimal32": (pa.array(HALVES, pa.decimal32(5, 2)), "number", [1.5, np.nan]),
    "decimal64": (pa.array(HALVES, pa.decimal64(10, 2)), "number", [1.5, np.nan]),
    "decimal128": (pa.array(HALVES, pa.decimal128(30, 2)), "number", [1.5, np.nan]),
    "decimal256": (pa.array(HALVES, pa.decimal256(50, 2)), "number", [1.5, np.nan]),
    "bool": (pa.array([True, None]), "boolean", [1, np.nan]),
    "bool8": (pa.array([1, None], pa.int8()).cast(pa.bool8()), "boolean", [1, np.nan]),
    "time32": (pa.array([dt.time(0, 1), None], pa.time32("ms")), "number", [60, np.nan]),
    "time64": (pa.array([dt.time(0, 1), None], pa.time64("ns")), "number", [60, np.nan]),
    "duration": (pa.array([dt.timedelta(hours=1), None], pa.duration("us")), "number", [3600, np.nan]),
    "string": (pa.array(["u", None]), "category", [0, -1]),
    "large_string": (pa.array(["u", None], pa.large_string()), "category", [0, -1]),
    "string_view": (pa.array(["u", None], pa.string_view()), "category", [0, -1]),
    "json": (pa.array(["u", None], pa.json_()), "category", [0, -1]),
    "dictionary of strings": (pa.array(["u", None]).dictionary_encode(), "category", [0, -1]),
    "dictionary with a null value": (DICTIONARY_WITH_NULL, "category", [0, -1]),
    "dictionary of views": (
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(["u"], pa.string_view())),
        "category",
        [0, -1],
    ),
    "dictionary of numbers": (pa.array([1.5, np.nan]).dictionary_encode(), "number", [1.5, np.nan]),
    "run-end encoded": (pa.RunEndEncodedArray.from_arrays([1, 2], [1.5, None]), "number", [1.5, np.nan]),
}
ARRAYS = {
    "fixed_size_list": (pa.array([[1, 2]] * 2, pa.list_(pa.uint8(), 2)), "vector", [[1, 2]] * 2),
    "fixed_size_list of halves": (pa.array([[1, 2]] * 2, pa.list_(pa.float16(), 2)), "vector", [[1, 2]] * 2),
    "tensor": (
        pa.ExtensionArray.from_storage(POINT, pa.array([[1, 2]] * 2, pa.list_(pa.float32(), 2))),
        "vector",
        [[1, 2]] * 2,
    ),
    "list": (pa.array([[1], None]), "sequence", [[1], []]),
    "large_list": (pa.array([[1], None], pa.large_list(pa.int8())), "sequence", [[1], []]),
    "list_view": (pa.array([[1], None], pa.list_view(pa.int8())), "sequence", [[1], []]),
    "large_list_view": (pa.array([[1], None], pa.large_list_view(pa.float64())), "sequence", [[1], []]),
}
DATES = {
    "date32": pa.array([DAY, None], pa.date32()),
    "date64": pa.array([DAY, None], pa.date64()),
    **{f"timestamp[{unit}]": pa.array([NOON, None], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    "timestamp with a zone": pa.array(
        [dt.datetime(2024, 2, 29, 11, tzinfo=dt.UTC), None], pa.timestamp("us", "Europe/Berlin")
    ),
    "timestamp with an offset": pa.array(
        [dt.datetime(2024, 2, 29, 10, tzinfo=dt.UTC), None], pa.timestamp("us", "+02:00")
    ),
    "dictionary of dates": pa.array([DAY, None], pa.date32()).dictionary_encode(),
}
UNWRITTEN = (
    "run-end encoded",
    "dictionary of views",
    "dictionary with a null value",
)  # nothing writes these to Parquet
REFUSED = {
    "struct": (pa.array([{"p": 1, "q": 2}] * 2), r"SELECT x\.p, x\.q …, or pyarrow.Table.flatten\(\)"),
    "map": (pa.array([[("p", 1)]] * 2, pa.map_(pa.string(), pa.int8())), "a column of each key"),
    "union": (
        pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()), [pa.array([1, 2])]),
        "Cast it to one type",
    ),
    "interval": (pa.array([(1, 2, 3)] * 2, pa.month_day_nano_interval()), "a number, such as of days"),
    "null": (pa.nulls(2), "null in every row"),
    "list of strings": (pa.array([["p"]] * 2), "a string of each"),
    "fixed_size_binary": (pa.array([b"ab"] * 2, pa.binary(2)), "where it is no id"),
    "uuid": (pa.array([b"a" * 16] * 2, pa.uuid()), "where it is no id"),
}


def encoded(array):
    values = pa.chunked_array([array])
    column = column_of("x", values)
    return column, encode(pa.table({"x": values}), (column,))


@pytest.mark.parametrize("name", READ)
def test_a_type_that_is_one_number_a_row(name):
    array, kind, expected = READ[name]
    column, features = encoded(array)
    assert (column.kind, column.has_nulls) == (kind, True)
    assert np.array_equal(features.matrix[:, 0], expected, equal_nan=True)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_type_that_is_many_numbers_a_row(name):
    array, kind, expected = ARRAYS[name]
    column, features = encoded(array)
    assert column.kind == kind
    assert features.arrays["x"].tolist() == expected


@pytest.mark.parametrize("name", DATES)
def test_a_type_that_is_a_date(name):
    column, features = encoded(DATES[name])
    has_times = name.startswith("timestamp")
    assert (column.kind, column.has_nulls) == ("date", True)
    assert np.isnan(features.flat()[1]).all()
    found = dict(zip((c.name for c in flat((column,))), features.flat()[0], strict=True))
    sixth = 2 * np.pi / 12
    expected = {
        "x.year": 2024,
        "x.month_sin": np.sin(sixth),
        "x.month_cos": np.cos(sixth),
        "x.day_sin": np.sin(2 * np.pi * 28 / 29),
        "x.day_cos": np.cos(2 * np.pi * 28 / 29),
        "x.weekday_sin": np.sin(2 * np.pi * 3 / 7),
        "x.weekday_cos": np.cos(2 * np.pi * 3 / 7),
        "x.elapsed_days": 19782 + 0.5 * has_times,
        **({"x.hour_sin": 0, "x.hour_cos": -1} if has_times else {}),
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_a_type_without_a_meaning_is_refused_by_its_name_and_what_to_do(name):
    array, words = REFUSED[name]
    with pytest.raises(DataError, match=rf"^data\.features: column 'x' has type .*{words}.*data\.exclude: \[\"x\"\]"):
        kind_of("x", array.type)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (pa.array([DAY] * 40), r"column 'y' has type date32\[day\]; expected .*the days since some date"),
        (pa.array([{"p": 1}] * 40), "column 'y' has type struct"),
        (pa.array([[1.0]] * 40), "column 'y' has type list"),
    ],
)
def test_a_target_of_another_type_is_refused(array, problem, folder):
    path = write(folder / "d.parquet", {"a": np.arange(40), "y": array})
    with pytest.raises(DataError, match=rf"^data\.target: {problem}"):
        load(Data(str(path), target="y"), Validation(), None, 3)


@pytest.mark.parametrize(
    ("array", "task", "first"),
    [
        (pa.array([dt.timedelta(minutes=i) for i in range(40)], pa.duration("ms")), "regression", {0, 60}),
        (pa.array([decimal.Decimal(i % 2) for i in range(40)], pa.decimal64(4, 1)), "classification", {0, 1}),
        (pa.array(["u", "v"] * 20).dictionary_encode(), "classification", {0, 1}),
        (pa.array([0.5 * i for i in range(40)], pa.float16()), "regression", {0, 0.5}),
    ],
)
def test_a_target_that_is_one_value_a_row(array, task, first, folder):
    path = write(folder / "d.parquet", {"a": np.arange(40) % 7, "y": array})
    data = load(Data(str(path), target="y", test=None), Validation(), None, 3)
    assert data.train.task == task
    assert set(data.train.target[:2]) == first


def test_all_types_that_parquet_has_are_read_from_a_file(folder):
    made = {**{n: a for n, (a, _, _) in (READ | ARRAYS).items() if n not in UNWRITTEN}, **DATES}
    table = pa.table({name: pa.concat_arrays([array] * 20) for name, array in made.items()})
    path = write(
        folder / "d.parquet", pa.table({**columns(), **dict(zip(table.column_names, table.columns, strict=True))})
    )
    data = load(Data(str(path), target="y", features=tuple(table.column_names)), Validation(), None, 3)
    kinds = {column.name: column.kind for column in data.signature.columns}
    assert {name: kinds[name] for name in table.column_names} == {
        name: "date" if name in DATES else (READ | ARRAYS)[name][1] for name in table.column_names
    }


def test_many_whole_numbers_of_which_one_is_alone_are_no_classes(folder):
    percentages = [*range(20), *(i % 19 for i in range(300))]
    table = pa.table({"x": [float(i) for i in range(320)], "y": percentages})
    assert (
        load(Data(str(write(folder / "data.parquet", table)), target="y"), Validation(), None, 0).train.task
        == "regression"
    )
    table = table.set_column(1, "y", pa.array([min(p, 4) + (i == 0) * 9 for i, p in enumerate(percentages)]))
    with pytest.raises(DataError, match=r"class 9 of 'y' has one row.*or data\.task: regression where it is a number"):
        load(Data(str(write(folder / "data.parquet", table)), target="y"), Validation(), None, 0)
