"""Loading: which strings are text, which row a refusal names, and the dataset of images that the package ships."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, image, write
from sklearn.datasets import load_digits

from orchestrator.data.load import load
from orchestrator.data.parquet import BUNDLED
from orchestrator.errors import DataError
from orchestrator.job import Data, Sample, Test, Validation

WORDS = pa.array([f"{i} is the number of this row" for i in range(40)])


def loaded(path, **others):
    return load(Data(str(path), target="y", **others), Validation(), None, 3)


def kinds(data):
    return {column.name: column.kind for column in data.signature.columns}


def test_text_is_recognised_and_has_no_categories(folder):
    data = loaded(write(folder / "d.parquet", columns(c=WORDS, k=pa.array(["u", "v"] * 20))))
    assert kinds(data) == {"a": "number", "b": "number", "c": "text", "k": "category"}
    assert [column.categories for column in data.signature.columns] == [(), (), (), ("u", "v")]
    assert data.schema["c"] == "string"
    assert data.train.matrix.shape == (32, 3)
    rows = [int(text.split()[0]) for text in data.train.features.arrays["c"].to_pylist()]
    tested = [int(text.split()[0]) for text in data.test.features.arrays["c"].to_pylist()]
    assert sorted(rows + tested) == list(range(40))
    truth = columns()["y"].to_pylist()
    assert [data.signature.classes[y] for y in data.train.target] == [truth[row] for row in rows]


def test_columns_named_as_text_are_text(folder):
    path = write(folder / "d.parquet", columns(k=pa.array(["u", None] * 20)))
    assert kinds(loaded(path))["k"] == "category"
    data = loaded(path, text="k")
    assert kinds(data)["k"] == "text"
    assert data.train.features.arrays["k"].null_count == 16
    assert data.fingerprint != loaded(path).fingerprint


@pytest.mark.parametrize("test", [Test(fraction=0.2), Test(column="part"), None], ids=["drawn", "marked", "none"])
@pytest.mark.parametrize("row", [0, 17, 39])
def test_a_refusal_names_the_row_as_the_dataset_has_it(test, row, folder):
    images = [image(np.zeros((2, 2)))] * 40
    images[row] = b"no image"
    part = pa.array(["train", "test", "train", "train"] * 10)
    path = write(folder / "d.parquet", columns(c=pa.array(images), part=part))
    with pytest.raises(DataError, match=f"'c', row {row} "):
        loaded(path, test=test)


def test_test_rows_of_their_own_are_read_as_the_training_rows_are(folder):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(80), pa.uint8()), 2)
    write(folder / "d.parquet", columns(v=vectors, c=WORDS))
    one = loaded(
        write(folder / "t.parquet", columns(v=vectors, c=WORDS.slice(0, 1).take([0] * 40))), features=("v", "c")
    )
    assert kinds(one)["c"] == "category"
    data = loaded(folder / "d.parquet", test=Test(path=str(folder / "t.parquet")))
    assert data.test.features.arrays["c"].to_pylist() == [WORDS[0].as_py()] * 40
    assert np.array_equal(data.test.features.arrays["v"], data.train.features.arrays["v"])
    wider = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(120), pa.uint8()), 3)
    write(folder / "t.parquet", columns(v=wider, c=WORDS))
    with pytest.raises(DataError, match=r"'v', row 0 .*has 3 numbers; expected 2"):
        loaded(folder / "d.parquet", test=Test(path=str(folder / "t.parquet")))


def test_a_class_of_one_row_in_a_sample_is_learnt_from(folder):
    y = [*["u"] * 30, *["v"] * 9, "w"]
    data = loaded(write(folder / "d.parquet", columns(y=y)), sample=Sample(rows=39))
    assert sum(data.train.target == 2) + sum(data.test.target == 2) <= 1
    alone = [i for i in range(20) if _of_seed(folder, i).train.n_classes == 3]
    assert alone
    for seed in alone:
        assert 2 in _of_seed(folder, seed).train.target
        assert 2 not in _of_seed(folder, seed).test.target


def _of_seed(folder, seed):
    return load(Data(str(folder / "d.parquet"), "y", sample=Sample(rows=38)), Validation(folds=2), None, seed)


def test_columns_that_tell_nothing_are_left_out_unless_the_job_names_them(folder):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(80), pa.uint8()), 2)
    same = {"one": [7] * 40, "w": vectors, "when": pa.array([3] * 40, pa.date32())}
    copies = {"b2": pa.array(columns()["b"]).cast(pa.float64()), "c": WORDS, "c2": WORDS}
    write(folder / "d.parquet", columns(v=vectors, none=pa.nulls(40), **same, **copies))
    data = loaded(folder / "d.parquet")
    assert list(kinds(data)) == ["a", "b", "v", "c"]
    assert data.train.matrix.shape[1] == data.test.matrix.shape[1] == 2
    assert list(data.train.features.arrays) == list(data.test.features.arrays) == ["v", "c"]
    found = {(f.code, f.column) for f in data.findings if f.code != "id_like_column"}
    assert found >= {("constant_column", "one"), ("constant_column", "when"), ("all_null_column", "none")}
    assert found >= {("copied_column", name) for name in ("w", "b2", "c2")}
    named = loaded(folder / "d.parquet", features=("a", "b", "one", "b2", "w", "v"))
    assert sorted(kinds(named)) == ["a", "b", "b2", "one", "v", "w"]


def test_arrays_are_read_only_as_on_a_worker(folder):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(80), pa.uint8()), 2)
    data = loaded(write(folder / "d.parquet", columns(v=vectors)))
    with pytest.raises(ValueError, match="read-only"):
        data.train.features.arrays["v"][0, 0] = 1


def test_the_digits_are_those_of_scikit_learn():
    table, digits = pq.read_table(BUNDLED / "digits.parquet"), load_digits()
    assert str(table.schema.field("image").type) == "fixed_size_list<element: uint8>[64]"
    assert table.schema.field("label").type == pa.int64()
    assert np.array_equal(np.stack(table["image"].to_numpy()), digits.data)
    assert np.array_equal(table["label"], digits.target)
    data = load(Data("dataset:digits", target="label"), Validation(), None, 3)
    assert (data.train.features.arrays["image"].shape, data.train.task) == ((1437, 64), "classification")


@pytest.mark.parametrize(
    ("name", "target", "others", "kind", "shape"),
    [
        ("imdb_reviews", "label", {"features": "text", "test": Test(column="split")}, "text", ()),
        ("mnist", "label", {"test": Test(column="split")}, "vector", (784,)),
        ("ucr_GunPoint", "label", {"test": Test(column="split")}, "vector", (150,)),
        ("ag_news_test", "class", {"features": "description"}, "text", ()),
    ],
)
def test_real_files_are_read_as_what_they_are(name, target, others, kind, shape, real_dataset):
    data = load(Data(str(real_dataset(name)), target=target, **others), Validation(), None, 3)
    assert [(column.kind, column.shape, column.categories) for column in data.signature.columns] == [(kind, shape, ())]
    assert len(data.train.features) == len(data.train.target) > 0
    assert len(repr(data.signature)) < 1000
