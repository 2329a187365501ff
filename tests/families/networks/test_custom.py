"""The family `keras`: what the user's function may give, what it is given, and that it harms no trial but its own."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, digits, write

from orchestrator import Data, Job, Search, compose, rundir
from orchestrator import job as jobs
from orchestrator.errors import JobError
from orchestrator.families.base import Answer
from orchestrator.families.networks.structure import Input, Signature
from orchestrator.results.model import Model

NET = '''
import keras
import numpy as np
from keras import layers


def body(signature):
    inputs = {i.name: keras.Input(i.shape, name=i.name, dtype=i.dtype) for i in signature.inputs}
    x = inputs["numbers"]
    if "codes" in inputs:
        n_values = next(i.n_values for i in signature.inputs if i.name == "codes")
        x = layers.Concatenate()([x, layers.Flatten()(layers.Embedding(n_values, 4)(inputs["codes"]))])
    return inputs, x


def build(params, signature):
    kind = params.get("kind", "good")
    inputs, x = body(signature)
    if kind == "raises":
        raise KeyError("no such thing")
    if kind == "exits":
        raise SystemExit(4)
    if kind == "nothing":
        return None
    if kind == "lambda":
        x = layers.Lambda(lambda v: 2 * v)(x)
    if kind == "own_layer":
        x = Twice()(x)
    x = layers.Dropout(0.1)(layers.Dense(8, activation="relu")(x))
    if kind == "two":
        return keras.Model([inputs[i.name] for i in signature.inputs], layers.Dense(2, activation="softmax")(x))
    end = {"wide": (3, "softmax"), "logits": (1, None)}.get(kind, (1, "sigmoid"))
    return keras.Model(inputs, layers.Dense(end[0], activation=end[1])(x))


def regression(params, signature):
    inputs, x = body(signature)
    return keras.Model(inputs, layers.Dense(1)(x))


def images(params, signature):
    """Use the vectors of a file, which do not learn."""
    model = keras.Sequential([
        keras.Input((64,)),
        layers.Rescaling(1 / 16),
        layers.Dense(16, use_bias=False, trainable=False, name="given"),
        layers.Dense(16, activation="relu"),
        layers.Dense(signature.n_classes, activation="softmax"),
    ])
    model.get_layer("given").set_weights([np.load(params["vectors"])])
    return model


class Twice(layers.Layer):
    def call(self, x):
        return 2 * x
'''


@pytest.fixture
def net(folder):
    (folder / "net.py").write_text(NET, encoding="utf-8")
    return folder / "net.py"


def job(build="net.py:build", **space):
    space = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, **space}
    search = {"family": "keras", "sampler": "grid", "build": build, "space": space}
    return {"searches": [search], "validation__folds": 2}


def board(path):
    return [row for row in pq.read_table(path / "leaderboard.parquet").to_pylist() if row["family"] == "keras"]


@pytest.mark.slow
def test_what_is_wrong_with_one_model_is_the_failure_of_its_trial(folder, cli, make_job, net):
    kinds = ["good", "two", "raises", "exits", "nothing", "lambda", "own_layer", "wide", "logits"]
    outcome = cli("run", make_job(**job(kind=kinds)), "--out", "run")
    assert outcome.code == 0, outcome.err
    found = {row["param_kind"]: row for row in board(folder / "run")}
    assert {kind for kind in kinds if found[kind]["state"] == "completed"} == {"good", "two"}
    said = {
        "raises": "raised: RuntimeError: build in net.py, line 20, raised KeyError: 'no such thing'",
        "exits": "raised: RuntimeError: build in net.py, line 22, raised SystemExit: 4",
        "nothing": "raised: ValueError: build gave NoneType; expected a keras.Model",
        "lambda": "raised: ValueError: build uses Lambda, which a saved model could not be loaded with",
        "own_layer": "raised: ValueError: build uses Twice, which a saved model could not be loaded with",
        "wide": "raised: ValueError: build gave a model with outputs of shape (None, 3); expected 2 probabilities",
        "logits": "raised: ValueError: build gave a model whose outputs are no probabilities; expected sigmoid",
    }
    for kind, text in said.items():
        assert found[kind]["error"].startswith(text), found[kind]["error"]


@pytest.mark.slow
def test_a_rate_that_diverges_is_a_failure_of_its_trial(folder, cli, make_job, net):
    rates = {"learning_rate": [0.01, 1e6], "optimizer": "sgd", "momentum": 0.99, "epochs": 20}
    outcome = cli(
        "run", make_job(**job("net.py:regression", **rates), data__target="b", data__exclude=["y"]), "--out", "run"
    )
    assert outcome.code == 0, outcome.err
    found = {row["param_learning_rate"]: row for row in board(folder / "run")}
    assert found[0.01]["state"] == "completed"
    assert found[1e6]["error"].startswith("diverged: the loss is not a finite number")


@pytest.mark.slow
def test_tables_come_as_numbers_and_codes_and_the_model_predicts_from_its_files_alone(folder, cli, make_job, net):
    values = columns(120, c=pa.array([None if i % 7 == 0 else "rgb"[i % 3] for i in range(120)]))
    values["a"] = pa.array([None if i % 11 == 0 else a for i, a in enumerate(values["a"])])
    path = write(folder / "data.parquet", values)
    assert cli("run", make_job(**job(epochs=10)), "--out", "run").code == 0
    net.unlink()
    model, table = Model.load(folder / "run" / rundir.BEST), pq.read_table(path)
    assert np.mean(model.predict(table) == np.array(table["y"])) > 0.8
    probabilities = model.predict_proba(table)
    assert probabilities.shape == (120, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


@pytest.mark.slow
def test_a_regression_predicts_in_the_targets_own_units(folder, cli, make_job, net):
    a, noise = np.random.default_rng(0).normal(size=(2, 200))
    path = write(folder / "data.parquet", {"a": a, "z": 1000.0 + 50.0 * a + 0.3 * noise})
    space = {"epochs": 30, "learning_rate": 0.05}
    assert cli("run", make_job(**job("net.py:regression", **space), data__target="z"), "--out", "run").code == 0
    predicted = Model.load(folder / "run" / rundir.BEST).predict(pq.read_table(path))
    assert np.abs(predicted - (1000.0 + 50.0 * a)).max() < 5.0


@pytest.mark.slow
def test_given_vectors_are_found_from_the_job_file_and_kept(folder, cli, make_job, net, monkeypatch):
    place = folder / "jobs"
    place.mkdir()
    digits(place / "digits.parquet")
    vectors = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    np.save(place / "vectors.npy", vectors)
    path = make_job(**job("net.py:images", vectors="vectors.npy"), data__path="digits.parquet", data__target="label")
    shutil.move(path, place / "job.yaml")
    shutil.move(net, place / "net.py")
    outcome = cli("run", place / "job.yaml", "--out", "run")
    assert outcome.code == 0, outcome.err
    model = Model.load(folder / "run" / rundir.BEST)
    assert np.array_equal(model.fitted.model.get_layer("given").get_weights()[0], vectors)
    assert len(model.predict(pq.read_table(place / "digits.parquet"))) == 120
    (name,) = {row["param_vectors"] for row in board(folder / "run")}
    assert name == f"vectors.npy@{hashlib.sha256((place / 'vectors.npy').read_bytes()).hexdigest()[:12]}"
    np.save(place / "vectors.npy", vectors + 1)
    refused = cli("resume", "run")
    assert refused.code == 2
    assert "searches.0.space.vectors: " in refused.err
    assert "vectors.npy has changed since the run began" in refused.err


@pytest.mark.slow
def test_the_file_is_kept_with_the_run_which_does_not_go_on_with_another(folder, cli, make_job, net):
    assert cli("run", make_job(**job(dropout=[0.1])), "--out", "run").code == 0
    (name,) = {row["param_build"] for row in board(folder / "run")}
    (copy,) = (folder / "run" / rundir.CODE).iterdir()
    assert copy.read_text(encoding="utf-8") == NET
    assert copy.name == f"net-{name.rpartition('@')[2]}.py"
    (known,) = json.loads((folder / "run" / "manifest.json").read_text())["code"].items()
    assert known[0] == name
    assert known[1].startswith(name.rpartition("@")[2])
    wider = ("--set", "searches.0.space.dropout=[0.1, 0.2]")
    net.write_text(NET + "\n", encoding="utf-8")
    refused = cli("resume", "run", *wider)
    assert refused.code == 2
    assert f"searches.0.build: {net} has changed since the run began" in refused.err
    net.write_text(NET, encoding="utf-8")
    resumed = cli("resume", "run", *wider)
    assert resumed.code == 0, resumed.err
    assert len(board(folder / "run")) == 2


def test_workers_get_the_text_and_never_the_path(folder, net):
    write(folder / "data.parquet", columns())
    searches = (Search("keras", sampler="grid", build=str(net) + ":build", space={"epochs": 1, "batch_size": 8}),)
    prepared = compose.prepare(Job("j", Data("data.parquet", target="y"), searches))
    net.unlink()
    search = prepared.job.searches[0]
    plan = compose.families.find("keras").plan(search.space, prepared.shape, exhaustive=True)
    (params,) = compose.grid(search.space, {})
    (unit,) = plan.units_for([params], frozenset(plan.answers_of(params)))
    assert str(folder) not in repr(unit)
    assert all(isinstance(answer, Answer) for answer in unit.compute(prepared.data.train, []).answers.values())


def test_trials_do_not_share_units(folder, net):
    write(folder / "data.parquet", columns())
    space = {"epochs": 1, "batch_size": 8, "learning_rate": [0.1, 0.2, 0.3]}
    searches = (Search("keras", sampler="grid", build=f"{net}:build", space=space),)
    prepared = compose.prepare(Job("j", Data("data.parquet", target="y"), searches))
    space = prepared.job.searches[0].space
    plan = compose.families.find("keras").plan(space, prepared.shape, exhaustive=True)
    points = list(compose.grid(space, {}))
    names = [name for point in points for name in plan.answers_of(point)]
    units = plan.units_for(points, frozenset(names))
    assert sorted(len(unit.members) for unit in units) == [5, 5, 5]
    assert all(len({m.items for m in unit.members}) == 1 for unit in units)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"build": None}, "searches.0.build: missing; keras needs FILE.py:FUNCTION"),
        ({"build": "net.py"}, "searches.0.build: expected FILE.py:FUNCTION, such as networks.py:build, found 'net.py'"),
        ({"build": "net.py:bild"}, "Did you mean 'build'"),
        ({"family": "knn"}, "searches.0.build: knn takes no function"),
        ({"space": {"loss": "mse"}}, "searches.0.space.loss: classification has no such parameter"),
        ({"space": {"epochs": 0}}, "searches.0.space.epochs: expected whole numbers from 1"),
    ],
)
def test_a_job_that_cannot_be_is_refused(changes, said, cli, make_job, net):
    search = {"family": "keras", "build": "net.py:build", **changes}
    outcome = cli("run", make_job(searches=[search]))
    assert outcome.code == 2
    assert said in outcome.err


def test_a_function_itself_is_refused():
    with pytest.raises(JobError, match=r"expected FILE\.py:FUNCTION as text, .* found a lambda"):
        jobs.from_dict(
            {
                "name": "j",
                "data": {"path": "d", "target": "y"},
                "searches": [{"family": "keras", "build": lambda p, s: None}],
            }
        )


def test_a_comparator_has_no_function(cli, make_job, net):
    outcome = cli("run", make_job(comparators=[{"family": "keras"}]))
    assert outcome.code == 2
    assert "comparators.0.family: keras needs a function, which searches alone have" in outcome.err


SIGNATURE = Signature((Input("numbers", (5,)),), "multiclass", 3, gives_probabilities=True)


def program(function, signature=SIGNATURE, **params):
    from orchestrator.families.networks.custom_program import UserProgram
    from orchestrator.families.networks.structure import Structure

    structure = Structure("keras", signature, tuple(params.items()), (), (), False, False)
    return UserProgram(structure, function, params)


def dense(params, signature):
    import keras
    from keras import layers

    x = keras.Input(signature.inputs[0].shape)
    hidden = layers.Dropout(0.5)(layers.Dense(4, kernel_regularizer=params.get("penalty"))(x))
    return keras.Model(x, layers.Dense(signature.n_outputs, activation="softmax")(hidden))


def test_a_member_begins_where_its_own_seed_says_whatever_was_built_before():
    made = program(dense)
    first, state = made.initial({}, np.random.default_rng(1))
    other, other_state = made.initial({}, np.random.default_rng(2))
    again, state_again = program(dense).initial({}, np.random.default_rng(1))
    assert np.array_equal(first, again)
    assert [s.tolist() for s in state] == [s.tolist() for s in state_again]
    assert not np.array_equal(first, other)
    assert [s.tolist() for s in state] != [s.tolist() for s in other_state]


def test_what_layers_add_to_the_loss_counts():
    import tensorflow as tf

    losses = []
    for penalty in (None, "l2"):
        made = program(dense, penalty=penalty)
        flat, state = made.initial({}, np.random.default_rng(1))
        hyper = {"smoothing": tf.constant(0.0), "class_weight": tf.ones(3)}
        inputs = {"numbers": tf.ones((6, 5))}
        loss, _ = made._loss(
            tf.constant(flat), [tf.constant(s) for s in state], hyper, inputs, tf.zeros(6, tf.int32), [0, 1]
        )
        losses.append(float(loss))
    kernel = flat[: 5 * 4]
    assert losses[1] - losses[0] == pytest.approx(0.01 * np.square(kernel).sum(), rel=1e-4)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_loss_of_probabilities_is_that_of_their_logits(n_classes):
    import tensorflow as tf

    from orchestrator.families.networks.losses import loss_of, probabilities

    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20, n_classes)).astype(np.float32)
    target = tf.constant(generator.integers(0, n_classes, 20), tf.int32)
    hyper = {"smoothing": tf.constant(0.1), "class_weight": tf.constant(np.linspace(1, 2, n_classes), tf.float32)}
    given = replace(SIGNATURE, n_outputs=n_classes)
    plain = replace(given, gives_probabilities=False)
    softmax = tf.nn.softmax(logits)
    assert float(loss_of(given, softmax, target, hyper)) == pytest.approx(
        float(loss_of(plain, tf.constant(logits), target, hyper)), rel=1e-5
    )
    np.testing.assert_allclose(probabilities(given, softmax), probabilities(plain, logits), atol=1e-6)
    if n_classes == 2:
        one = softmax[:, 1:]
        assert float(loss_of(given, one, target, hyper)) == pytest.approx(
            float(loss_of(given, softmax, target, hyper)), rel=1e-5
        )
        np.testing.assert_allclose(probabilities(given, one), probabilities(given, softmax), atol=1e-6)


def test_inputs_are_matched_by_name_and_those_that_are_not_used_may_be_left_out():
    import keras
    from keras import layers

    from orchestrator.families.networks.custom_program import as_expected

    signature = replace(SIGNATURE, inputs=(Input("a", (2,)), Input("b", (3,)), Input("c", (4,), "uint8")))
    b, a = keras.Input((3,), name="b"), keras.Input((2,), name="a")
    x = layers.Concatenate()([layers.Dense(2)(b), a])
    model = as_expected(keras.Model([b, a], layers.Dense(3)(x)), signature)
    rows = [np.ones((1, 2), np.float32), np.ones((1, 3), np.float32), np.ones((1, 4), np.uint8)]
    assert model(rows).shape == (1, 3)
    z, long = keras.Input((3,), name="z"), keras.Input((5,), name="b")
    for refused, said in (
        (keras.Model(z, layers.Dense(3)(z)), "input 'z'; expected names among a, b, c"),
        (keras.Model(long, layers.Dense(3)(long)), r"input 'b' has shape \(5,\); expected \(3,\)"),
        (keras.Sequential([layers.Dense(3)]), "inputs are not known"),
    ):
        with pytest.raises(ValueError, match=said):
            as_expected(refused, signature)
