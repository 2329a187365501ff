"""The saved model: predicts on tables as the pipeline does on matrices, and a file that is not ours is refused."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io

import orchestrator
from orchestrator import Data, DataError, Job, JobError, Model, Search
from orchestrator.families.pipelines import FILE as MODEL_FILE
from orchestrator.results.model import SIGNATURE_FILE


class Harmful:
    """A type that no model is made of."""


@pytest.fixture(scope="module")
def mixed_table():
    generator = np.random.default_rng(3)
    size = generator.normal(size=200)
    colour = generator.choice(["red", "green", None], 200)
    label = np.where((size > 0) ^ (colour == "red"), "yes", "no")
    return pa.table(
        {
            "size": pa.array([None if i % 17 == 0 else v for i, v in enumerate(size)]),
            "colour": pa.array(colour, pa.string()),
            "is_new": pa.array([None if i % 13 == 0 else bool(i % 2) for i in range(200)]),
            "label": label,
        }
    )


@pytest.fixture(scope="module")
def result(mixed_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    pq.write_table(mixed_table, folder / "mixed.parquet")
    space = {"n_neighbors": [3, 7], "weights": ["distance"], "scaler": ["standard"]}
    job = Job("mixed", Data(str(folder / "mixed.parquet"), target="label"), (Search("knn", space=space),))
    return orchestrator.run(job, folder / "run", executor="inline")


def test_predicts_classes_as_the_data_names_them(result, mixed_table):
    model = result.best
    predicted = model.predict(mixed_table)
    assert set(predicted) == {"yes", "no"}
    assert np.mean(predicted == mixed_table["label"].to_numpy(zero_copy_only=False)) > 0.8
    probabilities = model.predict_proba(mixed_table)
    assert probabilities.shape == (200, 2)
    assert np.array_equal(np.asarray(model.signature.classes)[probabilities.argmax(axis=1)], predicted)


def test_takes_columns_in_any_order_pandas_frames_and_unseen_categories(result, mixed_table):
    model = result.best
    shuffled = mixed_table.select(["label", "is_new", "colour", "size"])
    assert np.array_equal(model.predict(shuffled), model.predict(mixed_table))
    assert np.array_equal(model.predict(mixed_table.to_pandas()), model.predict(mixed_table))
    unseen = mixed_table.set_column(1, "colour", pa.array(["violet"] * 200))
    assert len(model.predict(unseen)) == 200


def test_a_missing_or_wrong_column_is_named(result, mixed_table):
    with pytest.raises(DataError, match="'size' is missing"):
        result.best.predict(mixed_table.drop_columns(["size"]))
    with pytest.raises(DataError, match="'size' is of type string"):
        result.best.predict(mixed_table.set_column(0, "size", pa.array(["a"] * 200)))


def test_a_folder_without_a_model_is_said_to_have_none(tmp_path):
    with pytest.raises(JobError, match=f"{SIGNATURE_FILE} is missing"):
        Model.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps(Harmful())], ids=["empty", "text", "pickle"])
def test_a_damaged_model_is_refused(content, result, tmp_path):
    (tmp_path / SIGNATURE_FILE).write_bytes((result.path / "best" / SIGNATURE_FILE).read_bytes())
    (tmp_path / MODEL_FILE).write_bytes(content)
    with pytest.raises(DataError, match="no usable model"):
        Model.load(tmp_path)


def test_a_model_of_unknown_types_is_refused(result, tmp_path):
    (tmp_path / SIGNATURE_FILE).write_bytes((result.path / "best" / SIGNATURE_FILE).read_bytes())
    (tmp_path / MODEL_FILE).write_bytes(skops.io.dumps(Harmful()))
    with pytest.raises(DataError, match="not known to be harmless"):
        Model.load(tmp_path)


def test_the_test_rows_are_scored_once_and_as_anybody_can_check(result, mixed_table):
    from sklearn.model_selection import train_test_split

    labels = mixed_table["label"].to_numpy(zero_copy_only=False)
    _, test = train_test_split(np.arange(200), test_size=0.2, random_state=42, stratify=labels)
    expected = float(np.mean(result.best.predict(mixed_table.take(test)) == labels[test]))
    assert result.test_scores["best"] == expected
    openings = json.loads((result.path / "manifest.json").read_text())["test"]["openings"]
    assert [opening["scores"]["best"] for opening in openings] == [expected]
