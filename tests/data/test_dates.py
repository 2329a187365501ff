"""Dates as features: their parts in flat matrices, zones, nulls, and the way back to a table."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import dates
from orchestrator.data.columns import DATE_PARTS, Column, flat
from orchestrator.data.decode import blank, decode
from orchestrator.data.encode import Signature, column_of, encode, fingerprint, problem_of
from orchestrator.data.profile import count, drift_of, profile_of
from orchestrator.errors import DataError

MIDNIGHTS = [dt.datetime(2024, 1, 1), None, dt.datetime(1969, 12, 31)]
TIMES = [dt.datetime(2024, 1, 1, 6), None, dt.datetime(1969, 12, 31, 23, 59, 59, 999999)]


def described(table):
    return tuple(column_of(name, table[name]) for name in table.column_names)


def test_the_flat_matrix_has_the_columns_that_it_says():
    vectors = pa.array([[7, 8]] * 3, pa.list_(pa.float32(), 2))
    table = pa.table({"v": vectors, "d": pa.array(TIMES), "n": [5.0, 6.0, 7.0], "e": pa.array(MIDNIGHTS)})
    columns = described(table)
    names = [column.name for column in flat(columns)]
    assert names == ["n", "v[0]", "v[1]", *(f"d.{p}" for p in DATE_PARTS), *(f"e.{p}" for p in DATE_PARTS[:8])]
    first = dict(zip(names, encode(table, columns).flat()[0], strict=True))
    known = {"n": 5, "v[1]": 8, "d.year": 2024, "d.elapsed_days": 19723.25, "d.hour_sin": 1, "e.elapsed_days": 19723}
    assert {name: first[name] for name in known} == pytest.approx(known)
    assert [column.name for column in flat(columns) if column.has_nulls] == [f"d.{DATE_PARTS[0]}", f"e.{DATE_PARTS[0]}"]
    assert {column.kind for column in flat(columns)} == {"number"}


def test_cycles_close_and_begin_with_their_month_day_and_weekday():
    days = pa.array([dt.date(2024, 1, 1), dt.date(2023, 12, 31), dt.date(2024, 2, 1)], pa.date32())
    column = Column("d", "date32[day]", "date", shape=(8,))
    found = dict(zip(DATE_PARTS, dates.parts(pa.chunked_array([days]), column).T, strict=False))
    assert found["weekday_sin"][0] == 0  # a Monday
    assert found["month_cos"][0] == 1
    assert found["day_cos"].tolist() == pytest.approx([1, np.cos(2 * np.pi * 30 / 31), 1])
    assert found["year"].tolist() == [2024, 2023, 2024]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_times_are_those_that_clocks_show_in_the_zone_of_the_training_rows(unit):
    berlin = pa.chunked_array([pa.array([dt.datetime(2024, 7, 1, 22)], pa.timestamp(unit, "Europe/Berlin"))])
    column = column_of("d", berlin)
    expected = encode(pa.table({"d": [dt.datetime(2024, 7, 2)]}), (column,)).flat()
    elsewhere = berlin.cast(pa.timestamp(unit, "America/New_York"))
    for values in (berlin, elsewhere):
        assert np.array_equal(encode(pa.table({"d": values}), (column,)).flat(), expected)
    naive = Column("d", f"timestamp[{unit}]", "date", shape=(10,))
    assert encode(pa.table({"d": elsewhere}), (naive,)).flat()[0, -1] == pytest.approx(np.cos(2 * np.pi * 18 / 24))


def test_an_unknown_zone_is_named():
    values = pa.chunked_array([pa.array([0], pa.timestamp("s", "Mars/Phobos"))])
    with pytest.raises(DataError, match=r"'d' has the time zone 'Mars/Phobos', .*tzdata"):
        column_of("d", values)


def test_rows_to_predict_may_have_other_types_of_dates_and_none_at_all():
    column = column_of("d", pa.chunked_array([pa.array(TIMES)]))
    for kind in (pa.date32(), pa.date64(), pa.timestamp("ns", "UTC"), pa.null()):
        assert problem_of(pa.schema([("d", kind)]), column) is None
    assert "'d' is of type string" in str(problem_of(pa.schema([("d", pa.string())]), column))
    assert np.isnan(encode(pa.table({"d": pa.nulls(2)}), (column,)).flat()).all()


@given(st.lists(st.none() | st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2200, 1, 1)), min_size=1, max_size=5))
def test_decoded_dates_are_encoded_to_the_same(values):
    table = pa.table({"d": pa.array(values, pa.timestamp("us"))})
    columns = described(table)
    again = decode(encode(table, columns), columns)
    assert np.allclose(encode(again, columns).flat(), encode(table, columns).flat(), 0, 1e-9, equal_nan=True)
    days = table.set_column(0, "d", table["d"].cast(pa.date32(), safe=False))
    columns = described(days)
    assert fingerprint(_signature(columns), encode(decode(encode(days, columns), columns), columns)) == fingerprint(
        _signature(columns), encode(days, columns)
    )


def _signature(columns):
    return Signature(columns, "y", "regression")


def test_a_row_that_stands_for_no_data_has_a_date():
    (column,) = described(pa.table({"d": pa.array(TIMES)}))
    assert decode(blank((column,)), (column,)).to_pylist() == [{"d": dt.datetime(1970, 1, 1)}]


def test_later_dates_have_drifted_and_the_same_ones_have_not():
    table = pa.table({"d": pa.array(np.arange(200), pa.int32()).cast(pa.date32())})
    columns = described(table)
    profile = profile_of(encode(table, columns), columns)
    later = pa.table({"d": pa.array(np.arange(100, 300), pa.int32()).cast(pa.date32())})
    for rows, exceeds in ((table, False), (later, True)):
        (found,) = drift_of(profile, count(profile, encode(rows, columns), columns))
        assert (found.measure, found.exceeds(0.25)) == ("value", exceeds)
