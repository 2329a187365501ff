"""Exports give the native predictions on rows that the model has not seen, or say which part has no converter."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from builders import write

from orchestrator import Data, DataError, Job, JobError, Model, RunError, Search, compose, families
from orchestrator import job as jobs
from orchestrator.data.decode import decode
from orchestrator.data.encode import encode
from orchestrator.data.profile import profile_of
from orchestrator.results import export as exports
from orchestrator.results import model as models
from orchestrator.results.export import TOLERANCE, export
from orchestrator.results.formats import input_names

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves

LAYERS = """
import keras

def build(params, signature):
    inputs = [keras.Input(one.shape, name=one.name, dtype=one.dtype) for one in signature.inputs]
    flat = [keras.layers.Rescaling(1 / 16)(x) if x.dtype == "uint8" else x for x in inputs]
    x = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    x = keras.layers.Dense(params["units"], activation="gelu")(x)
    return keras.Model(inputs, keras.layers.Dense(signature.n_outputs, activation="softmax")(x))
"""


@dataclass(frozen=True)
class Saved:
    """A model's folder, and rows that it was not fitted on."""

    folder: Path
    rows: pa.Table


def saved(folder: Path, data: object, target: str, family: str, params: dict[str, Any], **search: Any) -> Saved:
    """Fit one configuration on the training rows of a job, and save it as a run does."""
    job = Job("exported", Data(str(data), target=target), (Search(family, space=params, **search),))
    loaded = compose.prepare(jobs.located(job, folder)).data
    if "build" in search:
        params = {**params, "build": next(iter(loaded.train.code))}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_quantiles")
        files = families.find(family).fit(params, loaded.train, 1).files()
    facts = {"family": family, "trial": f"{family}/0", "params": params, "epochs": 1, "metric": "accuracy"}
    facts |= {"score": 0.5, "test_score": None}
    kept = {"profile": profile_of(loaded.train.features, loaded.train.columns)}
    kept["sample"] = models.sample_of(loaded.train, loaded.signature)
    models.save(folder / "best", files, loaded.signature, facts, "# A card\n", **kept)
    assert loaded.test is not None
    return Saved(folder / "best", decode(loaded.test.features, loaded.signature.columns))


def fed(table: pa.Table, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a table's columns as arrays, by what an export says of its inputs, as whoever serves it would."""
    found = {}
    for name, one in inputs.items():
        values = table.column(one["column"]).combine_chunks()
        if one["type"] == "string":
            found[name] = values.fill_null(one["null"]).to_numpy(zero_copy_only=False).astype(object)
        elif one["shape"] == [None]:
            found[name] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        elif one["shape"][1:] == [None]:
            rows = values.to_pylist()
            found[name] = np.full((len(rows), max(map(len, rows))), np.nan, np.float32)
            for i, row in enumerate(rows):
                found[name][i, : len(row)] = row
        else:
            found[name] = np.array(values.to_pylist(), one["type"])
    return found


def by_onnx(path: Path, table: pa.Table) -> dict[str, Any]:
    """Predict by an ONNX file, and nothing of ours."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = json.loads(session.get_modelmeta().custom_metadata_map["orchestrator"])
    assert [one.name for one in session.get_inputs()] == list(said["inputs"])
    names = [one.name for one in session.get_outputs()]
    given = session.run(names, fed(table, said["inputs"]))
    return {said["outputs"][name]["is"]: values for name, values in zip(names, given, strict=True)}


def by_tensorflow(path: Path, table: pa.Table) -> dict[str, Any]:
    """Predict by a SavedModel."""
    import tensorflow as tf

    said = json.loads((path / "assets.extra" / "orchestrator.json").read_text())
    served = tf.saved_model.load(path).signatures["serving_default"]
    arrays = fed(table, said["inputs"])
    tensors = {name: tf.constant(array.tolist() if array.dtype == object else array) for name, array in arrays.items()}
    given = {said["outputs"][name]["is"]: tensor.numpy() for name, tensor in served(**tensors).items()}
    if "label" in given and given["label"].dtype == object:
        given["label"] = np.array([one.decode() for one in given["label"]])
    return given


def assert_equal(given: dict[str, Any], model: Model, table: pa.Table) -> None:
    """Compare with the native predictions, but for rows whose neighbours tie."""
    settled = np.ones(table.num_rows, bool)
    if hasattr(model.fitted, "left_open"):
        settled = ~model.fitted.left_open(encode(table, model.signature.columns))
        assert settled.mean() > 0.8
    if model.signature.task == "regression":
        expected = model.predict(table)
        assert given["prediction"].shape == expected.shape
        np.testing.assert_allclose(given["prediction"][settled], expected[settled], rtol=TOLERANCE, atol=TOLERANCE)
        return
    expected = model.predict_proba(table)
    np.testing.assert_allclose(given["probabilities"][settled], expected[settled], rtol=0, atol=TOLERANCE)
    two = np.sort(expected, axis=1)[:, -2:]
    is_clear = settled & (two[:, 1] - two[:, 0] > TOLERANCE)
    assert np.array_equal(given["label"][is_clear], model.predict(table)[is_clear])


def assert_exports(one: Saved, tmp_path: Path, *, onnx: bool = True) -> None:
    model = Model.load(one.folder)
    export(one.folder, "savedmodel", tmp_path / "served")
    assert_equal(by_tensorflow(tmp_path / "served", one.rows), model, one.rows)
    if onnx:
        export(one.folder, "onnx", tmp_path / "model.onnx")
        assert_equal(by_onnx(tmp_path / "model.onnx", one.rows), model, one.rows)


def mixed(path: Path, n_rows: int = 300) -> Path:
    """Write rows of every scalar kind, with nulls, rare categories, hostile names and an empty string among values."""
    generator = np.random.default_rng(4)
    size = generator.normal(size=n_rows)
    colour = generator.choice(["red", "green", "", None], n_rows)
    rare = np.where(generator.random(n_rows) < 0.5, "common", [f"rare {i}" for i in range(n_rows)])
    return write(
        path,
        {
            "size (cm)": pa.array([None if i % 17 == 0 else v for i, v in enumerate(size)]),
            "<b>colour</b>": pa.array(colour, pa.string()),
            "größe": pa.array(generator.integers(0, 4, n_rows)),
            "label": pa.array(rare),
            "is_new": pa.array([None if i % 13 == 0 else bool(i % 2) for i in range(n_rows)]),
            "y": np.where((size > 0) ^ (colour == "red"), 7, 3),
        },
    )


@pytest.mark.parametrize(
    "params",
    [
        {"n_neighbors": 5, "weights": "uniform", "scaler": "standard"},
        {"n_neighbors": 6, "weights": "distance", "metric": "cosine"},
        {"n_neighbors": 3, "weights": "distance", "metric": "minkowski", "p": 3, "scaler": "minmax", "pca": 2},
    ],
    ids=["uniform", "cosine", "minkowski"],
)
def test_neighbours_of_iris(params, tmp_path):
    assert_exports(saved(tmp_path, "dataset:iris", "species", "knn", params), tmp_path)


@pytest.mark.parametrize(
    "params",
    [
        {"n_neighbors": 3, "weights": "distance", "metric": "manhattan"},
        {"n_neighbors": 4, "scaler": "robust", "pca": 0.9, "metric": "chebyshev"},
        {"n_neighbors": 4, "weights": "distance", "scaler": "standard"},
    ],
    ids=["manhattan", "chebyshev", "euclidean"],
)
def test_neighbours_of_digits(params, tmp_path):
    assert_exports(saved(tmp_path, "dataset:digits", "label", "knn", params), tmp_path)


@pytest.mark.parametrize("scaler", ["quantile", "robust"])
@pytest.mark.parametrize("family", ["knn", "mlp"])
def test_categories_nulls_and_names_of_columns_that_are_in_the_way(family, scaler, tmp_path):
    params = {
        "knn": {"weights": "distance"},
        "mlp": {"normalization": "batch", "activation": "gelu", "frequencies": 16},
    }
    one = saved(tmp_path, mixed(tmp_path / "mixed.parquet"), "y", family, {"scaler": scaler, **params[family]})
    colours = one.rows["<b>colour</b>"].to_pylist()
    assert {None, ""} <= set(colours)
    unseen = pa.array(["violet" if i % 5 == 0 else c for i, c in enumerate(colours)])
    assert_exports(Saved(one.folder, one.rows.set_column(1, "<b>colour</b>", unseen)), tmp_path)


def test_neighbours_of_passengers(real_dataset, tmp_path):
    path = write(tmp_path / "titanic.parquet", pq.read_table(real_dataset("titanic")).slice(0, 500))
    params = {"n_neighbors": 5, "weights": "distance", "scaler": "standard"}
    assert_exports(saved(tmp_path, path, "Survived", "knn", params), tmp_path)


@pytest.mark.parametrize(
    ("family", "params"),
    [("knn", {"n_neighbors": 4, "weights": "distance", "scaler": "quantile"}), ("mlp", {"scaler": "robust"})],
)
def test_regression(family, params, real_dataset, tmp_path):
    assert_exports(saved(tmp_path, real_dataset("pmlb_reg_560_bodyfat"), "target", family, params), tmp_path)


def test_dense_networks(tmp_path):
    assert_exports(saved(tmp_path, "dataset:iris", "species", "mlp", {"depth": 1, "width_1": 32}), tmp_path)


def test_networks_over_images(tmp_path):
    params = {"filters_1": 4, "filters_2": 4, "width_1": 8, "residual": "skip", "normalization": "batch"}
    assert_exports(saved(tmp_path, "dataset:digits", "label", "image", params), tmp_path)


def test_networks_of_the_users_own(tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS)
    one = saved(tmp_path, "dataset:digits", "label", "keras", {"units": 8}, build="layers.py:build")
    assert_exports(one, tmp_path)


@pytest.mark.parametrize(
    "params", [{"filters_1": 4, "depth": 1, "width_1": 8}, {"encoder": "lstm", "units": 4, "width_1": 8}]
)
def test_networks_over_sequences(params, real_dataset, tmp_path):
    table = pq.read_table(real_dataset("ucr_GunPoint"))
    name = next(n for n in table.column_names if pa.types.is_nested(table.schema.field(n).type))
    rows = [row[: 12 + i % 9] for i, row in enumerate(table[name].to_pylist())]
    target = next(n for n in table.column_names if n in ("target", "label", "class"))
    path = write(tmp_path / "series.parquet", {"steps": pa.array(rows, pa.list_(pa.float32())), "y": table[target]})
    assert_exports(saved(tmp_path, path, "y", "sequence", {"epochs": 1, **params}), tmp_path)


@pytest.fixture
def reviews(real_dataset, tmp_path) -> Path:
    """Film reviews, with letters that lower in other ways than one by one, and nothing in some."""
    table = pq.read_table(real_dataset("imdb_reviews"), columns=["text", "label"])
    table = table.take(np.random.default_rng(0).permutation(table.num_rows)[:200])
    texts = pc.binary_join_element_wise(table["text"], "ΣΟΦΟΣ İstanbul... naïve\u00a0ÉCOLE", " ").to_pylist()
    return write(tmp_path / "reviews.parquet", {"text": pa.array([None, " ", *texts[2:]]), "label": table["label"]})


@pytest.mark.parametrize("params", [{"truncate": "tail"}, {"encoder": "conv", "filters": 4}], ids=["tail", "head"])
def test_text_is_served_by_tensorflow_and_refused_by_onnx(params, reviews, tmp_path):
    settings = {"vocabulary": 300, "length": 40, "embedding_width": 4, "width_1": 4, **params}
    one = saved(tmp_path, reviews, "label", "text", settings)
    assert_exports(one, tmp_path, onnx=False)
    with pytest.raises(JobError, match="no operators for how the family text splits texts into words"):
        export(one.folder, "onnx", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.fixture(scope="module")
def iris(tmp_path_factory) -> Saved:
    return saved(tmp_path_factory.mktemp("iris"), "dataset:iris", "species", "knn", {"n_neighbors": 3})


def test_a_native_export_is_a_model_without_training_rows_beside_it(iris, tmp_path):
    export(iris.folder, "native", tmp_path / "shipped")
    assert sorted(os.listdir(tmp_path / "shipped")) == ["README.md", "model.skops", "profile.json", "signature.json"]
    shipped = Model.load(tmp_path / "shipped")
    assert np.array_equal(shipped.predict(iris.rows), Model.load(iris.folder).predict(iris.rows))
    with pytest.raises(DataError, match=r"sample\.parquet is missing.*--sample"):
        export(tmp_path / "shipped", "onnx", tmp_path / "model.onnx")
    pq.write_table(iris.rows, tmp_path / "rows.parquet")
    done = export(tmp_path / "shipped", "onnx", tmp_path / "model.onnx", tmp_path / "rows.parquet")
    assert done.n_rows + done.n_open == 2 * iris.rows.num_rows + 4


@pytest.mark.parametrize("kind", ["native", "onnx", "savedmodel"])
def test_an_export_that_differs_is_refused_and_leaves_nothing(kind, iris, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "TOLERANCE", -1.0)
    with pytest.raises(RunError, match=r"differs by .* from the model on \d+ sample rows; expected at most -1"):
        export(iris.folder, kind, tmp_path / "out.onnx")
    assert os.listdir(tmp_path) == []


def test_what_is_at_out_is_never_overwritten(iris, tmp_path):
    (tmp_path / "there.onnx").write_text("mine")
    for out, said in (
        (tmp_path / "there.onnx", "exists; expected a new path"),
        (tmp_path / "model", r"ends in \.onnx"),
        (tmp_path / "no" / "model.onnx", "there is no folder"),
        ("s3://bucket/model.onnx", "expected a local path"),
    ):
        with pytest.raises(JobError, match=f"--out: .*{said}"):
            export(iris.folder, "onnx", out)
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_rows_to_check_on_that_are_none_are_refused(iris, tmp_path):
    (tmp_path / "no.parquet").write_text("no")
    pq.write_table(iris.rows.slice(0, 0), tmp_path / "empty.parquet")
    pq.write_table(iris.rows.select([0]), tmp_path / "narrow.parquet")
    for name, said in (("no", "cannot be read"), ("empty", "has no rows"), ("narrow", "is missing")):
        with pytest.raises(DataError, match=said):
            export(iris.folder, "native", tmp_path / "out", tmp_path / f"{name}.parquet")
    assert not (tmp_path / "out").exists()


def test_tensorflow_gets_plain_names_each_once():
    names = input_names(["size (cm)", "size [cm]", "plain", "größe", "_", "size__cm_"])
    assert names["plain"] == "plain"
    assert names["size__cm_"] == "size__cm_"
    assert len(set(names.values())) == len(names)
    assert all(name.replace("_", "a").isascii() and name.replace("_", "a").isalnum() for name in names.values())


def test_the_command_line_exports_runs_and_folders_of_models(cli, make_job, folder):
    run = cli("run", make_job(), "--out", "run")
    assert run.code == 0
    done = cli("export", "run", "--format", "onnx", "--out", "model.onnx")
    assert (done.code, done.out) == (0, f"onnx: {folder / 'model.onnx'}\n")
    assert "checked on" in done.err
    assert cli("export", "run/best", "--format", "native", "--out", "shipped").code == 0
    again = cli("export", "run", "--format", "native", "--out", "shipped")
    assert (again.code, "exists" in again.err) == (2, True)
    assert cli("export", "shipped", "--format", "native", "--out", "other").code == 3
    assert cli("export", "run", "--format", "pickle", "--out", "other").code == 2
    assert "neither a run directory" in cli("export", "nowhere", "--format", "native", "--out", "other").err
