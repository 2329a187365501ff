"""Saved networks: what a row gets does not depend on the rows that it is predicted with."""

import numpy as np
import pytest

from orchestrator import families
from orchestrator.data.columns import Column
from orchestrator.data.encode import Features
from orchestrator.data.sets import TrainingSet

N_ROWS = 1500


@pytest.fixture(scope="module", params=["classification", "regression"])
def fitted(request):
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(N_ROWS, 5))
    target = matrix.sum(axis=1)
    if request.param == "classification":
        target = (target > 0).astype(np.int64) + (target > 2)
    columns = tuple(Column(f"c{i}", "double", "number") for i in range(5))
    metric = "accuracy" if request.param == "classification" else "r2"
    data = TrainingSet("key", Features(matrix), target, (), columns, request.param, metric, 0)
    params = {"depth": 2, "width_1": 32, "width_2": 48, "epochs": 1, "batch_size": 128}
    return families.find("mlp").fit(params, data, 1), matrix


def outputs(model, rows):
    return model.predict_proba(Features(rows)) if hasattr(model, "predict_proba") else model.predict(Features(rows))


def test_a_row_is_predicted_the_same_in_any_company(fitted):
    model, rows = fitted
    whole = outputs(model, rows)
    for start, stop in ((0, 1), (7, 70), (3, 67), (100, 229), (400, 1424), (1, 1500), (1499, 1500)):
        assert np.array_equal(outputs(model, rows[start:stop]), whole[start:stop])


def test_outputs_are_those_of_the_keras_model(fitted):
    model, rows = fitted
    inputs = model.preparation.transform(Features(rows))
    called = np.asarray(model.model([inputs[name] for name in model.inputs], training=False), np.float64)
    called = called / called.sum(axis=1, keepdims=True) if hasattr(model, "predict_proba") else called[:, 0]
    assert np.allclose(outputs(model, rows), called, rtol=0, atol=1e-6)
