"""Datasets that are larger than a process may hold: the same columns, splits and values as those in memory have."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.data import array_file, draw, store, streamed
from orchestrator.data.array_file import ArrayFile, ShuffledArrays
from orchestrator.data.load import load
from orchestrator.data.sets import TooLarge
from orchestrator.data.store import ShuffledFile, StoredFeatures
from orchestrator.errors import DataError, JobError, RunError
from orchestrator.job import ColumnRole, Data, Sample, Test, Validation

HOLDOUT = Validation("holdout", fraction=0.2)


def table(n_rows=5000):
    """Rows of every kind, sorted by class."""
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [n_rows // 2, n_rows // 4, n_rows - n_rows // 2 - n_rows // 4])
    numbers, lengths = generator.normal(size=(n_rows, 3)), generator.integers(0, 4, n_rows)
    days = np.datetime64("2020-01-01", "D") + generator.integers(0, 900, n_rows)
    return pa.table(
        {
            "a": pa.array(numbers[:, 0], mask=generator.random(n_rows) < 0.1),
            "b": pa.array(generator.integers(0, 9, n_rows), mask=generator.random(n_rows) < 0.1),
            "c": pa.array(np.array(["x", "y", None])[generator.integers(0, 3, n_rows)], pa.string()),
            "d": pa.array(generator.random(n_rows) < 0.5),
            "when": pa.array(days, mask=generator.random(n_rows) < 0.1),
            "said": pa.array([None if i % 7 == 0 else f"word {i} of a long text" for i in range(n_rows)]),
            "drawn": pa.FixedSizeListArray.from_arrays(pa.array(generator.integers(0, 255, 2 * n_rows), pa.uint8()), 2),
            "steps": pa.array([row[:n].tolist() for row, n in zip(numbers, lengths, strict=True)]),
            "label": pa.array(label),
            "same": pa.array(["x"] * n_rows),
            "none": pa.nulls(n_rows, pa.float32()),
            "said again": pa.array([None if i % 7 == 0 else f"word {i} of a long text" for i in range(n_rows)]),
        }
    )


def plain_rows(features, target, places):
    """All that features hold of some rows, as values that can be compared, in an order that rows decide."""
    taken = features.take(places)
    columns = [taken.matrix.tolist(), target[places].tolist(), *(array.tolist() for array in taken.arrays.values())]
    return sorted(map(repr, zip(*columns, strict=True)))


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
    left_out = {"all_null_column", "constant_column", "copied_column"}
    told, expected = ({f for f in one.findings if f.code in left_out} for one in (found, held))
    assert told == expected
    assert {f.column for f in told} == {"same", "none", "said again"}

    for one, other in zip(found.train.folds, held.train.folds, strict=True):
        for part in ("train", "valid"):
            here = plain_rows(train, found.train.target, getattr(one, part))
            assert here == plain_rows(held.train.features, held.train.target, getattr(other, part))
    every = np.arange(len(test))  # in the dataset's order
    assert repr([array.tolist() for array in test.take(every).arrays.values()]) == repr(
        [array.tolist() for array in held.test.features.arrays.values()]
    )
    np.testing.assert_array_equal(test.take(every).matrix, held.test.matrix)
    np.testing.assert_array_equal(found.test.target, held.test.target)


@pytest.mark.parametrize(
    "more",
    [
        {"filters": ((("b", ">", 3), ("c", "==", "x")),)},
        {"sample": Sample(rows=700)},
        {"filters": ((("b", ">", 3),),), "sample": Sample(fraction=0.5), "missing": ("x", 5)},
        {"columns": {"b": ColumnRole(kind="category"), "c": ColumnRole(kind="text")}, "features": ("b", "c")},
    ],
)
def test_the_rows_that_a_job_asks_for_are_those_of_a_run_in_memory(path, tmp_path, more):
    data = Data(path, target="label", test=Test(fraction=0.2), **more)
    held, found = load(data, HOLDOUT, None, 7), streamed.load(data, HOLDOUT, None, 7)
    train, test = _written(found, tmp_path / "rows")
    assert found.signature == held.signature
    assert found.schema == held.schema
    assert found.sampled_of == held.sampled_of
    rows, held_rows = (np.arange(len(one.train.target)) for one in (found, held))
    assert plain_rows(train, found.train.target, rows) == plain_rows(held.train.features, held.train.target, held_rows)
    rows = np.arange(len(test))
    assert plain_rows(test, found.test.target, rows) == plain_rows(held.test.features, held.test.target, rows)


def test_images_are_those_of_a_run_in_memory(tmp_path):
    generator, pictures = np.random.default_rng(0), []
    for pixels in generator.integers(0, 255, (60, 5, 4, 3), np.uint8):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        pictures.append(content.getvalue())
    pq.write_table(pa.table({"picture": pictures, "label": [0, 1] * 30}), tmp_path / "p.parquet")
    data = Data(str(tmp_path / "p.parquet"), target="label")
    held, found = load(data, HOLDOUT, None, 7), streamed.load(data, HOLDOUT, None, 7)
    train, _ = _written(found, tmp_path / "rows")
    assert found.signature == held.signature
    every = np.arange(len(train))
    assert plain_rows(train, found.train.target, every) == plain_rows(held.train.features, held.train.target, every)


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
    for name, value in {"a": 1.0, "said": "other words", "drawn": [9, 9], "steps": [7.0] * 3}.items():
        column = pa.array([value, *table()[name].to_pylist()[1:]], table()[name].type)
        other = table().set_column(table().schema.get_field_index(name), name, column)
        pq.write_table(other, tmp_path / "other.parquet")
        changed = streamed.load(Data(str(tmp_path / "other.parquet"), target="label"), HOLDOUT, None, 7)
        assert changed.fingerprint != one.fingerprint, name


def test_a_holdout_is_what_a_streamed_run_has_where_the_job_does_not_say(path, monkeypatch):
    monkeypatch.setattr(streamed, "MOST_SCORED", 100)
    data = streamed.load(Data(path, target="label"), Validation(), None, 7)
    assert [len(fold.valid) for fold in data.train.folds] == [100]


def test_numbers_that_float32_would_round_are_kept_whole(path, tmp_path):
    found = streamed.load(Data(path, target="label"), HOLDOUT, None, 7)
    assert found.train.features.dtype == "float64"
    found = streamed.load(Data(path, target="label", features=("b", "c", "d")), HOLDOUT, None, 7)
    assert found.train.features.dtype == "float32"


def test_what_is_too_large_is_told_by_its_number_of_rows_and_columns(tmp_path):
    path = str(tmp_path / "scalars.parquet")
    pq.write_table(table().select(["a", "b", "c", "d", "label"]), path)
    with pytest.raises(TooLarge, match="5000 rows of 5 columns") as found:
        load(Data(path, target="label"), HOLDOUT, None, 7, most_bytes=100_000)
    assert 5000 * 5 * 8 < found.value.n_bytes < 5000 * 5 * 8 + 5000  # what strings take in the file comes on top


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
        (pa.array([[1.0, np.inf]] * 40), DataError, "'v', row 0 .* has infinite values"),
        (pa.array([b"no picture"] * 40), DataError, "'v', row 0 .* is not a PNG or JPEG image"),
        (pa.array([np.inf] * 40), DataError, "'v' holds infinite values"),
        (pa.array([None] * 40, pa.float64()), DataError, "no column is left to learn from"),
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


def test_arrays_come_to_their_places_whatever_the_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr(array_file, "BUCKET_BYTES", 300)
    generator = np.random.default_rng(0)
    places, pairs = generator.permutation(100).astype(np.int32), generator.integers(0, 255, (100, 2, 1), np.uint8)
    words = pa.array([None if i % 9 == 0 else f"word {i}" for i in range(100)], pa.large_string())
    file = ArrayFile(str(tmp_path / "rows"), (("words", ()), ("pairs", (2, 1))), 20, 100)
    writer = ShuffledArrays(file)
    for start in range(0, 100, 17):
        stop = min(100, start + 17)
        writer.add(places[start:stop], {"words": words[start:stop], "pairs": pairs[start:stop]})
    writer.finish()
    came_from = np.argsort(places)
    for rows in (np.arange(100), np.array([5, 3, 90, 5]), np.arange(7, 40), np.arange(0)):
        found = file.take(rows)
        assert found["words"].to_pylist() == [words[i].as_py() for i in came_from[rows]]
        np.testing.assert_array_equal(found["pairs"], pairs[came_from[rows]], strict=True)
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
