"""Datasets that are larger than a process may hold: the same columns, splits and values as those in memory have."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data import draw, store, streamed
from orchestrator.data.load import TooLarge, load
from orchestrator.data.store import ShuffledFile, StoredFeatures
from orchestrator.errors import DataError, JobError, RunError
from orchestrator.job import Data, Test, Validation

HOLDOUT = Validation("holdout", fraction=0.2)


def table(n_rows=5000, seed=0):
    """Rows sorted by class, with nulls, booleans and categories."""
    generator = np.random.default_rng(seed)
    label = np.sort(generator.integers(0, 3, n_rows))
    return pa.table(
        {
            "a": pa.array(generator.normal(label, 1.0)),
            "b": pa.array(generator.integers(0, 9, n_rows), mask=generator.random(n_rows) < 0.1),
            "c": pa.array(np.array(["x", "y", None])[generator.integers(0, 3, n_rows)], pa.string()),
            "d": pa.array(generator.random(n_rows) < 0.5),
            "label": pa.array(label),
        }
    )


@pytest.fixture
def path(tmp_path):
    pq.write_table(table(), tmp_path / "data.parquet", row_group_size=700)
    return str(tmp_path / "data.parquet")


def _written(data, folder):
    assert data.streamed is not None
    return data.streamed.write(folder)


@pytest.mark.parametrize("validation", [HOLDOUT, Validation("stratified", folds=3)])
def test_folds_and_test_rows_are_those_of_a_run_in_memory(path, tmp_path, validation):
    data = Data(path, target="label", test=Test(fraction=0.2))
    held, found = load(data, validation, None, 7), streamed.load(data, validation, None, 7)
    train, test = _written(found, tmp_path / "rows")
    assert found.signature == held.signature
    assert found.schema == held.schema

    def rows(features, target, places):
        whole = np.column_stack([features.take(places).matrix, target[places]])
        return whole[np.lexsort(whole.T)]

    for one, other in zip(found.train.folds, held.train.folds, strict=True):
        for part in ("train", "valid"):
            here = rows(train, found.train.target, getattr(one, part))
            np.testing.assert_array_equal(
                here, rows(held.train.features, held.train.target, getattr(other, part)), strict=True
            )
    np.testing.assert_array_equal(test.take(np.arange(len(test))).matrix, held.test.matrix)  # in the file's order
    np.testing.assert_array_equal(found.test.target, held.test.target)


def test_rows_that_are_trained_on_are_well_mixed_and_come_after_the_others(path, tmp_path):
    found = streamed.load(Data(path, target="label"), HOLDOUT, None, 7)
    (fold,) = found.train.folds
    assert fold.valid.tolist() == list(range(len(fold.valid)))
    assert fold.train.tolist() == list(range(len(fold.valid), len(found.train.target)))
    shares = [np.bincount(part, minlength=3) / len(part) for part in np.array_split(found.train.target[fold.train], 8)]
    assert np.ptp(shares, axis=0).max() < 0.15


def test_the_same_content_in_another_layout_is_the_same_data(tmp_path):
    (tmp_path / "many").mkdir()
    pq.write_table(table(), tmp_path / "one.parquet")
    for number, start in enumerate(range(0, 5000, 900)):
        pq.write_table(table().slice(start, 900), tmp_path / "many" / f"{number}.parquet")
    one, many = (
        streamed.load(Data(str(tmp_path / n), target="label"), HOLDOUT, None, 7) for n in ("one.parquet", "many")
    )
    assert one.fingerprint == many.fingerprint
    assert one.train.key == many.train.key
    other = table().set_column(0, "a", pa.array(np.r_[1.0, table()["a"].to_numpy()[1:]]))
    pq.write_table(other, tmp_path / "other.parquet")
    changed = streamed.load(Data(str(tmp_path / "other.parquet"), target="label"), HOLDOUT, None, 7)
    assert changed.fingerprint != one.fingerprint


def test_a_holdout_is_what_a_streamed_run_has_where_the_job_does_not_say(path, monkeypatch):
    monkeypatch.setattr(streamed, "MOST_SCORED", 100)
    data = streamed.load(Data(path, target="label"), Validation(), None, 7)
    assert [len(fold.valid) for fold in data.train.folds] == [100]


def test_numbers_that_float32_would_round_are_kept_whole(path, tmp_path):
    found = streamed.load(Data(path, target="label"), HOLDOUT, None, 7)
    assert found.train.features.dtype == "float64"
    found = streamed.load(Data(path, target="label", exclude=("a",)), HOLDOUT, None, 7)
    assert found.train.features.dtype == "float32"


def test_what_is_too_large_is_told_by_its_number_of_rows_and_columns(path):
    with pytest.raises(TooLarge, match="5000 rows of 5 columns") as found:
        load(Data(path, target="label"), HOLDOUT, None, 7, most_bytes=100_000)
    assert found.value.n_bytes == 5000 * 5 * 8


@pytest.mark.parametrize(
    ("data", "validation", "message"),
    [
        ({"sensitive": ("c",)}, HOLDOUT, r"data\.sensitive: .* raise resources\.data_mb"),
        ({"test": Test(path="other.parquet")}, HOLDOUT, r"data\.test\.path: .* fraction or column"),
    ],
)
def test_what_needs_the_whole_table_is_refused(path, data, validation, message):
    with pytest.raises(JobError, match=message):
        streamed.load(Data(path, target="label", **data), validation, None, 7)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (pa.array([[1.0, 2.0]] * 40), JobError, "'v' holds sequences.* data.exclude"),
        (pa.array([np.inf] * 40), DataError, "'v' holds infinite values"),
        (pa.array([None] * 40, pa.float64()), DataError, "'v' is null in every training row"),
    ],
)
def test_columns_that_cannot_be_streamed_are_named(tmp_path, values, error, message):
    pq.write_table(pa.table({"v": values, "label": [0, 1] * 20}), tmp_path / "v.parquet")
    with pytest.raises(error, match=message):
        streamed.load(Data(str(tmp_path / "v.parquet"), target="label"), HOLDOUT, None, 7)


def test_a_column_of_too_many_strings_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.data.scan.MOST_DISTINCT", 30)
    pq.write_table(pa.table({"v": [str(i) for i in range(40)], "label": [0, 1] * 20}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"'v' has more than 30 distinct strings.* data\.exclude"):
        streamed.load(Data(str(tmp_path / "v.parquet"), target="label"), HOLDOUT, None, 7)


def test_rows_come_to_their_places_whatever_the_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BUCKET_BYTES", 200)
    generator = np.random.default_rng(0)
    rows, places = generator.normal(size=(100, 3)), generator.permutation(100).astype(np.int32)
    file = ShuffledFile(tmp_path / "rows", 100, 3, "float64")
    for start in range(0, 100, 17):
        file.add(places[start : start + 17], rows[start : start + 17])
    file.finish()
    stored = StoredFeatures(str(tmp_path / "rows"), 100, 3, "float64")
    expected = np.empty_like(rows)
    expected[places] = rows
    np.testing.assert_array_equal(np.concatenate([part.matrix for part in stored.parts()]), expected)
    np.testing.assert_array_equal(stored.take(np.array([5, 3, 90])).matrix, expected[[5, 3, 90]])
    np.testing.assert_array_equal(stored.take(np.arange(7, 20)).matrix, expected[7:20])
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_file_that_is_on_another_machine_is_told(tmp_path):
    with pytest.raises(RunError, match="expected --out on a file system that all nodes share"):
        StoredFeatures(str(tmp_path / "not there"), 100, 3, "float64").take(np.arange(3))


def test_a_draw_of_many_rows_is_that_of_scikit_learn(monkeypatch):
    strata = np.repeat([0, 1, 4], [700, 290, 11])
    for fraction, seed in ((0.2, 0), (0.013, 1), (0.5, 2)):
        expected = draw.draw(len(strata), fraction, seed, strata)
        with monkeypatch.context() as patch:
            patch.setattr(draw, "MOST_IN_LISTS", 100)
            found = draw.draw(len(strata), fraction, seed, strata)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
