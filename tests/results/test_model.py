"""The saved model: predicts on tables as the pipeline does on matrices, and a file that is not ours is refused."""

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from builders import process
from sklearn.metrics import get_scorer

import orchestrator
from orchestrator import Data, DataError, Job, JobError, Model, Search
from orchestrator.data.encode import Column, Features
from orchestrator.data.parquet import BUNDLED
from orchestrator.data.sets import TestSet, TrainingSet
from orchestrator.families.knn import KNN
from orchestrator.families.pipelines import FILE as MODEL_FILE
from orchestrator.results import sealed
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


def test_takes_record_batches_polars_frames_and_columns_by_name_and_nothing_else(result, mixed_table):
    import polars

    model, expected = result.best, result.best.predict_proba(mixed_table)
    frame = polars.from_arrow(mixed_table)
    for table in (
        frame,
        frame.with_columns(polars.col("colour").cast(polars.Categorical)),
        mixed_table.combine_chunks().to_batches()[0],
        {name: mixed_table[name] for name in mixed_table.column_names},
    ):
        assert np.array_equal(model.predict_proba(table), expected)
    with pytest.raises(DataError, match=r"found LazyFrame; collect\(\) it first"):
        model.predict(frame.lazy())
    with pytest.raises(DataError, match="expected an Arrow, pandas or polars table, found list"):
        model.predict([1, 2])


def test_a_model_loads_and_predicts_without_ray(result, mixed_table, tmp_path):
    pq.write_table(mixed_table, tmp_path / "rows.parquet")
    program = (
        "import sys, pyarrow.parquet as pq; from orchestrator import Model;"
        "print(len(Model.load(sys.argv[1]).predict_proba(pq.read_table(sys.argv[2]))));"
        "print(sorted({'ray', 'optuna', 'tensorflow'} & set(sys.modules)))"
    )
    done = process("-c", program, result.path / "best", tmp_path / "rows.parquet")
    assert done.stdout == "200\n[]\n", done.stderr


def test_a_folder_without_a_model_is_said_to_have_none(tmp_path):
    with pytest.raises(JobError, match=f"{SIGNATURE_FILE} is missing"):
        Model.load(tmp_path)


@pytest.fixture
def copy(result, tmp_path):
    """A copy of the model that may be harmed."""
    return Path(shutil.copytree(result.path / "best", tmp_path / "copy"))


def resealed(folder, files=(), **changes):
    """Change a model and hash it anew, as somebody would who knows how."""
    described = json.loads((folder / SIGNATURE_FILE).read_text())
    names = described.pop("files")
    del described["schema_version"], described["hash"]
    contents = {name: (folder / name).read_bytes() for name in names} | dict(files)
    sealed.seal(folder, contents, {**described, **changes})
    return folder


def test_a_changed_file_is_told_by_its_hash(copy):
    (copy / MODEL_FILE).write_bytes((copy / MODEL_FILE).read_bytes()[:-1] + b"x")
    with pytest.raises(
        DataError, match=rf"{MODEL_FILE} has changed .* found hash blake2b:\w+, expected blake2b:.*resume"
    ):
        Model.load(copy)


def test_a_changed_signature_is_told_by_its_hash(copy):
    text = (copy / SIGNATURE_FILE).read_text()
    (copy / SIGNATURE_FILE).write_text(text.replace('"target": "label"', '"target": "other"'))
    with pytest.raises(DataError, match=f"{SIGNATURE_FILE} has changed since it was written"):
        Model.load(copy)
    (copy / SIGNATURE_FILE).write_text("[" * 100_000)
    with pytest.raises(DataError, match=f"{SIGNATURE_FILE} is no JSON"):
        Model.load(copy)


def test_a_missing_file_is_named(copy):
    (copy / MODEL_FILE).unlink()
    with pytest.raises(JobError, match=f"{MODEL_FILE} is missing; restore it"):
        Model.load(copy)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "found none, so an older .* expected 1: make it again"),
        (0, "found 0; expected 1"),
        (2, "2.* or a newer one"),
    ],
)
def test_another_version_of_the_format_is_refused(version, said, copy):
    described = json.loads((copy / SIGNATURE_FILE).read_text())
    described["schema_version"] = version
    if version is None:
        del described["schema_version"]
    (copy / SIGNATURE_FILE).write_text(json.dumps(described))
    with pytest.raises(DataError, match=f"schema_version: .*{said}"):
        Model.load(copy)


def test_resume_makes_a_model_of_an_older_version_again(result, mixed_table, tmp_path):
    run = Path(shutil.copytree(result.path, tmp_path / "run"))
    described = json.loads((run / "best" / SIGNATURE_FILE).read_text())
    expected = described.pop("schema_version")
    (run / "best" / SIGNATURE_FILE).write_text(json.dumps(described))
    orchestrator.resume(run, executor="inline")
    assert json.loads((run / "best" / SIGNATURE_FILE).read_text())["schema_version"] == expected
    assert np.array_equal(Model.load(run / "best").predict(mixed_table), result.best.predict(mixed_table))
    assert len(json.loads((run / "manifest.json").read_text())["test"]["openings"]) == 1


def signature_with(folder, **changes):
    return {**json.loads((folder / SIGNATURE_FILE).read_text())["signature"], **changes}


def test_a_signature_that_is_not_the_models_is_refused(copy):
    signature = signature_with(copy)
    columns = signature["columns"]
    for changed, said in (
        ({"columns": columns[:2]}, "does not take the signature's columns"),
        ({"columns": [*columns, {**columns[0], "name": "more"}]}, "does not take the signature's columns"),
        ({"classes": ["maybe", "no", "yes"]}, r"gives \(1, 2\) for a row, and its signature says \(1, 3\)"),
        ({"classes": ["no"]}, "expected at least two"),
        ({"task": "regression", "classes": []}, "expected a pipeline for regression"),
        ({"colums": []}, "colums"),
    ):
        resealed(copy, signature={**signature, **changed})
        with pytest.raises(DataError, match=f"no usable model: .*{said}"):
            Model.load(copy)
    described = json.loads((copy / SIGNATURE_FILE).read_text())
    sealed.seal(copy, {}, {name: value for name, value in described.items() if name == "family"})
    with pytest.raises(DataError, match="'signature' is missing"):
        Model.load(copy)


def zipped(*members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


class Raising:
    """Would end in an error of its own if it were unpickled."""

    def __reduce__(self):
        return os.mkdir, ("/nowhere/unpickled",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no zip archive"),
        (b"not a zip", "no zip archive"),
        (pickle.dumps(Raising()), "it is a pickle"),
        (zipped(("../../evil", b"")), "lies outside of it, '../../evil'"),
        (zipped(("/etc/evil", b"")), "lies outside of it"),
        (zipped(("schema.json", bytes(100 << 20))), r"unpacks to 104857600; expected at most 67108864"),
        (zipped(("schema.json", b"{}")), "cannot be read"),
        (skops.io.dumps(Harmful()), "not known to be harmless: .*Harmful"),
        (skops.io.dumps({"knn": [1, 2]}), "holds dict; expected a pipeline"),
    ],
    ids=["empty", "text", "pickle", "above", "absolute", "bomb", "hollow", "untrusted", "plain"],
)
def test_a_malicious_model_is_refused_whatever_its_hashes_say(content, said, copy):
    resealed(copy, {MODEL_FILE: content})
    with pytest.raises(DataError, match=f"no usable model: {MODEL_FILE} .*{said}"):
        Model.load(copy)


def test_files_outside_of_the_folder_are_not_looked_at(copy, tmp_path):
    (tmp_path / "secret").write_text("secret")
    described = json.loads((copy / SIGNATURE_FILE).read_text())
    described["files"]["../secret"] = "blake2b:0"
    del described["hash"]
    described["hash"] = sealed._hash(sealed._canonical(described))
    (copy / SIGNATURE_FILE).write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"'\.\./secret' lies outside of the folder"):
        Model.load(copy)


def test_a_run_of_another_version_of_the_format_is_refused(result, tmp_path):
    run = Path(shutil.copytree(result.path, tmp_path / "run"))
    manifest = json.loads((run / "manifest.json").read_text())
    for version, said in ((None, "found null"), (2, "found 2"), (True, "found True")):
        (run / "manifest.json").write_text(json.dumps({**manifest, "schema_version": version}))
        with pytest.raises(JobError, match=f"schema_version: {said}, expected 1; use the version of orchestrator"):
            orchestrator.resume(run, executor="inline")


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
    assert (described["family"], list(described["files"]), described["epochs"]) == ("knn", [MODEL_FILE], None)
    folder = resealed(Path(shutil.copytree(digits.path / "best", tmp_path / "copy")), family="kn")
    with pytest.raises(JobError, match=f"{SIGNATURE_FILE}: family: no family 'kn'"):
        Model.load(folder)


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
