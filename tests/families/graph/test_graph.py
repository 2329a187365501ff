"""Both graphs compute what scikit-learn and numpy do: one suite for TensorFlow and ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Binarizer, OneHotEncoder

from orchestrator.data.columns import Column
from orchestrator.data.prepare import MAX_CATEGORIES, SCALERS, fitting, preparation, scaler_of
from orchestrator.data.recipe import Recipe
from orchestrator.families.graph.base import NoConverter
from orchestrator.families.graph.preparation import transformed

Compute = Callable[[Callable[[Any, Any], Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def in_tensorflow(build: Callable[[Any, Any], Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    from orchestrator.families.graph.in_tensorflow import TensorFlowGraph

    given = tf.constant(x.tolist()) if x.dtype == object else tf.constant(x)
    return tf.function(lambda: build(TensorFlowGraph(), given), autograph=False)().numpy()


def in_onnx(build: Callable[[Any, Any], Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import onnxruntime
    from onnx import TensorProto

    from orchestrator.families.graph.in_onnx import OnnxGraph, Port

    graph = OnnxGraph()
    tensor = build(graph, "x")
    kind = "string" if x.dtype == object else x.dtype.name
    model = graph.model([Port("x", kind, x.shape[1:])], {tensor: Port("y", "float64", ())})
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for dtype in (TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64):
        model.graph.output[0].type.tensor_type.elem_type = dtype
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception as error:
            if "Type Error" not in str(error):
                raise
        else:
            return session.run(None, {"x": x})[0]
    raise AssertionError("no type fits")


@pytest.fixture(params=[in_tensorflow, in_onnx], ids=["tensorflow", "onnx"])
def compute(request) -> Compute:
    return request.param


@pytest.fixture(scope="module")
def rows() -> np.ndarray[Any, Any]:
    """Numbers with repetitions, a constant, and values far out."""
    generator = np.random.default_rng(1)
    return np.column_stack(
        [
            generator.normal(size=400) * 1e3,
            generator.integers(0, 4, 400),
            np.full(400, 3.0),
            generator.exponential(size=400),
        ]
    )


@pytest.mark.parametrize("scaler", [name for name in SCALERS if name != "none"])
def test_scalers_transform_as_fitted_and_beyond_what_they_saw(scaler, rows, compute):
    step = scaler_of(scaler, 0)
    if scaler == "quantile":
        step.set_params(n_quantiles=100)
    step.fit(rows[:300])
    new = np.concatenate([rows, rows[:50] * 3 - 4, rows[:300].min(axis=0)[None], rows[:300].max(axis=0)[None]])
    given = compute(lambda graph, x: transformed(graph, step, x), new)
    np.testing.assert_allclose(given, step.transform(new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe("power", outliers="clip", categories="target", features="interactions"),
        Recipe("standard", categories="target", features="clusters", select=0.5),
        Recipe("robust", missing="median", features="polynomial", select=4, pca=3),
    ],
    ids=lambda recipe: recipe.id,
)
def test_a_recipe_prepares_as_fitted_and_beyond_what_it_saw(recipe, n_classes, rows, compute):
    columns = [
        Column("a", "double", "number"),
        Column("b", "double", "number", has_nulls=True),
        Column("c", "string", "category", tuple("uvwxyz")),
        Column("d", "string", "category", ("p", "q"), has_nulls=True),
        Column("e", "bool", "boolean"),
    ]
    generator = np.random.default_rng(3)
    x = np.column_stack(
        [rows[:, 0], rows[:, 3], generator.integers(0, 6, 400), generator.integers(-1, 2, 400), rows[:, 1] > 1]
    )
    x[::7, 1] = np.nan
    target = x[:, 2] + generator.normal(size=400)
    target = target if not n_classes else np.digitize(target, np.quantile(target, np.arange(1, n_classes) / n_classes))
    new = x[300:].copy()
    new[::5, 2], new[1::5, 1], new[2::5, 0] = -2, np.nan, 9e4
    with fitting():
        pipeline = Pipeline(preparation(columns, recipe, n_classes, 0)).fit(x[:300], target[:300])
    given = compute(lambda graph, t: transformed(graph, pipeline, t), new)
    np.testing.assert_allclose(given, pipeline.transform(new), rtol=1e-9, atol=1e-9)


def test_medians_fill_gaps(rows, compute):
    gaps = np.where(np.arange(rows.size).reshape(rows.shape) % 7 == 0, np.nan, rows)
    gaps[:, 2] = np.nan
    step = SimpleImputer(strategy="median", keep_empty_features=True).fit(gaps)
    given = compute(lambda graph, x: transformed(graph, step, x), gaps)
    assert np.array_equal(given, step.transform(gaps))


def test_rare_and_unseen_categories_share_a_column(compute):
    codes = np.concatenate([np.arange(150), np.arange(-1, 40), np.arange(20)]).astype(float)
    step = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False)
    step.fit(np.column_stack([codes, codes % 3]))
    new = np.column_stack([np.arange(-2.0, 150), np.resize([-2.0, -1.0, 0, 1, 2], 152)])
    given = compute(lambda graph, x: transformed(graph, step, x), new)
    assert np.array_equal(given, step.transform(new))


def test_of_equal_numbers_the_first_is_the_smallest(compute):
    x = np.array([[2.0, 1.0, 1.0, 0.0, 0.0], [1 + 1e-15, 1.0, 3.0, 2.0, 2.0]])
    assert compute(lambda graph, t: graph.smallest(t, 3)[1], x).tolist() == [[3, 4, 1], [1, 0, 3]]


def test_strings_have_codes_and_others_the_default(compute):
    x = np.array(["b", "", "ä", "c"], object)
    assert compute(lambda graph, t: graph.codes(t, {"": -1, "b": 0, "ä": 1}, -2), x).tolist() == [0, -1, 1, -2]


@pytest.mark.parametrize("length", [2, 5])
def test_steps_are_cut_or_filled_up(length, compute):
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    expected = np.full((2, length, 2), np.nan, np.float32)
    expected[:, : min(3, length)] = x[:, :length]
    np.testing.assert_array_equal(compute(lambda graph, t: graph.of_length(t, length, np.nan), x), expected)


def test_a_transformer_without_converter_is_named(rows, compute):
    step = Binarizer().fit(rows[:, :2])
    with pytest.raises(NoConverter, match="no converter for Binarizer"):
        compute(lambda graph, x: transformed(graph, step, x), rows[:, :2])
