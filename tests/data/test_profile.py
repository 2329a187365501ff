"""Profiles of training rows: counts that merge, no drift of these rows themselves, and drift where there is some."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.columns import Column
from orchestrator.data.encode import column_of, encode
from orchestrator.data.profile import MOST_BINS, MOST_CATEGORIES, Profile, count, drift_of, profile_of

GENERATOR = np.random.default_rng(5)
N = 2000


def table(n_rows=N, shift=0.0, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, n_rows)
    return pa.table(
        {
            "number": pa.array(np.where(generator.random(n_rows) < 0.1, None, generator.normal(shift, 1, n_rows))),
            "tied": generator.integers(0, 3, n_rows),
            "flag": pa.array(generator.random(n_rows) < 0.3),
            "colour": pa.array(generator.choice(["red", "green", None], n_rows), pa.string()),
            "text": [" ".join(["word"] * int(n)) + f" {i} a b c" for i, n in enumerate(lengths)],
            "vector": pa.FixedSizeListArray.from_arrays(generator.normal(shift, 1, 4 * n_rows).astype(np.float32), 4),
            "sequence": [[1.0] * int(n) for n in lengths],
        }
    )


def described(rows):
    columns = tuple(column_of(name, rows[name]) for name in rows.column_names)
    return columns, profile_of(encode(rows, columns), columns)


def drifts(profile, columns, rows):
    return {one.name: one for one in drift_of(profile, count(profile, encode(rows, columns), columns))}


def test_training_rows_have_not_drifted_from_themselves():
    columns, profile = described(table())
    assert [column.kind for column in columns] == [
        *("number", "number", "boolean", "category", "text", "vector", "sequence")
    ]
    for one in drifts(profile, columns, table()).values():
        assert one.psi == 0
        assert one.ks in (0, None)
        assert one.nulls[0] == one.nulls[1]


def test_rows_of_the_same_kind_drift_by_chance_alone():
    columns, profile = described(table())
    for one in drifts(profile, columns, table(seed=1)).values():
        assert 0 < one.psi < 2 * one.by_chance
        assert not one.exceeds(0.0) or one.psi < 0.05


def test_shifted_numbers_and_vectors_have_drifted_and_nothing_else_has():
    columns, profile = described(table())
    found = drifts(profile, columns, table(shift=1.5, seed=1))
    assert {name for name, one in found.items() if one.exceeds(0.25)} == {"number", "vector"}
    assert found["number"].ks > 0.4


def test_other_categories_unseen_ones_and_nulls_are_drift():
    rows = table()
    columns, profile = described(rows)
    for values in (["red"] * N, ["violet"] * N, [None] * N):
        changed = rows.set_column(3, "colour", pa.array(values, pa.string()))
        found = drifts(profile, columns, changed)
        assert [name for name, one in found.items() if one.exceeds(0.25)] == ["colour"]
    assert found["colour"].nulls[1] == 1.0
    changed = rows.set_column(0, "number", pa.nulls(N))
    assert drifts(profile, columns, changed)["number"].exceeds(0.25)
    assert drifts(profile, columns, changed)["number"].ks is None


def test_the_stability_index_is_the_textbook_sum():
    columns, profile = described(pa.table({"flag": [False] * 600 + [True] * 400}))
    one = drifts(profile, columns, pa.table({"flag": [False] * 300 + [True] * 700}))["flag"]
    a, e = 0.3, 0.6
    expected = (a - e) * np.log(a / e) + ((1 - a) - (1 - e)) * np.log((1 - a) / (1 - e))
    assert one.psi == pytest.approx(expected, rel=0.01)


def test_few_rows_are_no_proof_of_drift():
    columns, profile = described(table().select(["number"]))
    few = drifts(profile, columns, table(12, seed=3).select(["number"]))["number"]
    assert few.psi > 0.25
    assert not few.exceeds(0.25)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=200),
    st.lists(st.floats(-100, 100), min_size=1, max_size=200),
)
def test_the_largest_gap_of_distributions_is_found_but_for_the_width_of_a_bin(before, now):
    columns, profile = described(pa.table({"x": pa.array(before, pa.float64())}))
    found = drifts(profile, columns, pa.table({"x": pa.array(now, pa.float64())}))["x"].ks
    exact = max(abs(np.mean(np.array(before) <= x) - np.mean(np.array(now) <= x)) for x in [*before, *now])
    assert found <= exact + 1e-12
    assert found >= exact - 1 / MOST_BINS - 1e-12


def test_counts_of_parts_add_up_to_those_of_the_whole():
    columns, profile = described(table())
    rows = table(777, seed=2)
    whole = count(profile, encode(rows, columns), columns)
    parts = [count(profile, encode(rows.slice(i, 100), columns), columns) for i in range(0, 777, 100)]
    for name, counts in whole.items():
        assert np.array_equal(counts, sum(part[name] for part in parts))
        assert counts.sum() == 777


def test_many_categories_are_bounded_and_the_most_frequent_are_kept():
    values = [f"c{i:03d}" for i in range(300) for _ in range(1 + 9 * (i >= 200))]
    _, profile = described(pa.table({"c": values}))
    (one,) = profile.columns
    assert len(one.categories) == MOST_CATEGORIES
    assert min(one.categories) == "c200"
    assert one.counts[-3] == 200
    assert sum(one.counts) == len(values)


def test_a_profile_is_the_same_after_json():
    _, profile = described(table())
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


@pytest.mark.parametrize(
    "values",
    [
        *({}, [], None, {"columns": 3}, {"columns": [{"name": "a"}]}),
        {"columns": [{"name": "a", "measure": "value", "edges": [1.0], "categories": [], "counts": [1]}]},
    ],
)
def test_what_is_no_profile_is_refused(values):
    with pytest.raises(ValueError, match=r"profile|counts"):
        Profile.from_dict(values)


def test_a_column_without_values_has_a_profile_too():
    columns = (Column("x", "double", "number", (), True),)
    profile = profile_of(encode(pa.table({"x": pa.nulls(5, pa.float64())}), columns), columns)
    assert profile.columns[0].counts == (0, 5)
    assert drifts(profile, columns, pa.table({"x": [1.0, 2.0]}))["x"].ks is None
