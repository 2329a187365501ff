"""The saved model: predicts on tables as the pipeline does on matrices, and a file that is not ours is refused."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.metrics import get_scorer

import orchestrator
from orchestrator import Data, DataError, Job, JobError, Model, Search
from orchestrator.data.encode import Column, Features
from orchestrator.data.load import TestSet, TrainingSet
from orchestrator.data.parquet import BUNDLED
from orchestrator.families.knn import KNN
from orchestrator.families.pipelines import FILE as MODEL_FILE
from orchestrator.results.model import SIGNATURE_FILE, RefitUnit


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


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    job = Job(
        "digits",
        Data("dataset:digits", target="label"),
        (Search("knn", space={"n_neighbors": [3], "scaler": ["standard"], "pca": [20]}),),
        comparators=(orchestrator.Comparator("knn", {"n_neighbors": 1}),),
    )
    return orchestrator.run(job, tmp_path_factory.mktemp("digits") / "run", executor="inline")


def test_a_model_over_vectors_is_scored_saved_and_loaded_as_scikit_learn_has_it(digits):
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.model_selection import train_test_split
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pixels, labels = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=42, stratify=labels)
    train, test = np.sort(train), np.sort(test)
    steps = StandardScaler(), PCA(20, random_state=42), KNeighborsClassifier(3)
    expected = make_pipeline(*steps).fit(pixels[train], labels[train])
    table = pq.read_table(BUNDLED / "digits.parquet")
    model = Model.load(digits.path / "best")
    assert np.array_equal(model.predict(table.take(test)), expected.predict(pixels[test]))
    assert np.array_equal(model.predict_proba(table), expected.predict_proba(pixels))
    assert digits.test_scores["best"] == expected.score(pixels[test], labels[test])
    nearest = KNeighborsClassifier(1).fit(pixels[train], labels[train])
    assert digits.test_scores["knn(n_neighbors=1)"] == nearest.score(pixels[test], labels[test])


def test_a_model_over_vectors_takes_lists_and_frames_and_names_what_is_no_vector(digits):
    table, model = pq.read_table(BUNDLED / "digits.parquet").slice(0, 50), digits.best
    expected = model.predict(table)
    assert np.array_equal(model.predict(table.select(["image"])), expected)
    assert np.array_equal(model.predict(table.to_pandas()), expected)
    for values, said in (
        (pa.array([[1, 2]] * 50), "row 0 .*has 2 numbers; expected 64"),
        (pa.array(["a"] * 50), "'image' is of type string; the model was trained on fixed_size_list"),
        (pa.nulls(50), "row 0 .*is null"),
    ):
        with pytest.raises(DataError, match=said):
            model.predict(pa.table({"image": values}))


def test_a_model_says_of_which_family_it_is(digits, tmp_path):
    described = json.loads((digits.path / "best" / SIGNATURE_FILE).read_text())
    assert (described["family"], described["files"], described["epochs"]) == ("knn", [MODEL_FILE], None)
    (tmp_path / SIGNATURE_FILE).write_text(json.dumps({**described, "family": "kn"}))
    with pytest.raises(JobError, match=f"{SIGNATURE_FILE}: family: no family 'kn'"):
        Model.load(tmp_path)
    (tmp_path / SIGNATURE_FILE).write_text(json.dumps(described))
    with pytest.raises(JobError, match=f"{MODEL_FILE} is missing"):
        Model.load(tmp_path)


@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "r2", "neg_mean_absolute_error"])
def test_a_fitted_model_meets_scikit_learns_scorers_as_its_pipeline_does(metric):
    generator = np.random.default_rng(0)
    features = Features(np.empty((80, 0)), {"v": generator.normal(size=(80, 3)).astype(np.float32)})
    task = "classification" if metric in ("roc_auc", "neg_log_loss") else "regression"
    target = features.arrays["v"].sum(axis=1)
    target = (target > 0).astype(np.int64) if task == "classification" else target.astype(np.float64)
    columns = (Column("v", "fixed_size_list", "vector", shape=(3,)),)
    data = TrainingSet("key", features, target, (), columns, task, metric, 0)
    fitted = KNN().fit({"n_neighbors": 5, "scaler": "standard"}, data, None)
    scorer, flat = get_scorer(metric), features.flat()
    assert scorer(fitted, features, target) == scorer(fitted.pipeline, flat, target)
    refit = RefitUnit("refit/best", KNN(), {"n_neighbors": 5}, None, keep=False)
    output = refit.compute(data, [TestSet(features, target)]).payload
    assert (output.files, output.problem) == ({}, None)
    assert output.test_score == scorer(KNN().fit({"n_neighbors": 5}, data, None), features, target)


def test_a_refit_trains_for_the_epochs_that_it_is_told_in_the_process_its_family_needs():
    class Noted:
        name, engine = "noted", "tensorflow"

        def fit(self, params, data, epochs):
            fitted.append((params, epochs))
            return KNN().fit({}, data, None)

    fitted = []
    data = TrainingSet(
        "key", Features(np.eye(9)), np.arange(9.0), (), (Column("a", "double", "number"),) * 9, "regression", "r2", 0
    )
    unit = RefitUnit("refit/best", Noted(), {"width": 3}, 7, keep=True)
    assert unit.engine == "tensorflow"
    assert list(unit.compute(data, [None]).payload.files) == [MODEL_FILE]
    assert fitted == [({"width": 3}, 7)]
