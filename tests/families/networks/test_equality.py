"""A member's weights: the same bits in any company, and those of `model.fit` on the same batches within 1e-5."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from orchestrator.families.networks.kit import MemberDropout, PlainKit, corner
from orchestrator.space import Range

OPTIMIZERS = ["sgd", "rmsprop", "adam", "adamw"]
WIDE = {
    "width_1": [16, 40, 64],
    "width_2": [24, 32],
    "activation": ["relu", "tanh", "gelu"],
    "normalization": ["none", "batch", "layer"],
    "dropout": Range(0.0, 0.5),
    "optimizer": OPTIMIZERS,
    "batch_size": 64,
    "epochs": 3,
}


def mixed(n_members: int) -> list[dict[str, Any]]:
    """Return members that differ in everything that a population may differ in."""
    return [
        {
            "width_1": WIDE["width_1"][i % 3],
            "width_2": WIDE["width_2"][i % 2],
            "activation": WIDE["activation"][i % 3],
            "normalization": WIDE["normalization"][(i // 3) % 3],
            "dropout": [0.0, 0.2, 0.5][(i // 2) % 3],
            "optimizer": OPTIMIZERS[i % 4],
            "learning_rate": 1e-3 * (1 + i / 10),
            "schedule": ["constant", "cosine", "warmup_cosine"][i % 3],
            "weight_decay": [0.0, 1e-3][i % 2],
            "label_smoothing": [0.0, 0.1][(i // 2) % 2],
            "class_weight": ["none", "balanced"][(i // 4) % 2],
            "batch_size": 64,
            "epochs": 3,
            "patience": [1, 2, "none"][i % 3],
        }
        for i in range(n_members)
    ]


def bits(state: Any) -> tuple[bytes, ...]:
    """Return all that a member has learned."""
    return (state.now.flat.tobytes(), state.kept.flat.tobytes(), *(part.tobytes() for part in state.kept.state))


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.95])
def test_dropout_drops_its_share_of_the_units_anew_each_step(population, monkeypatch, rate):
    many = population(WIDE, [{**one, "dropout": rate} for one in mixed(2)])
    program = many.trainer.program
    traits = {v.path: t for v, t in zip(program.state, many.trainer.begin(many.members[0]).now.state, strict=True)}
    layer = MemberDropout(name="dropout_1")
    ones, said = tf.ones([400, 50]), []
    for step in (0, 1):
        monkeypatch.setattr(MemberDropout, "step", tf.constant([42, step], tf.int32))
        layer(ones, training=True)
        for variable in layer.variables:
            variable.assign(traits[variable.path])
        said.append(layer(ones, training=True).numpy())
    assert set(np.unique(said)) <= {np.float32(0), np.float32(1 / (1 - rate))}
    dropped = [one == 0 for one in said]
    assert np.allclose([d.mean() for d in dropped], rate, atol=0.015)
    assert np.isclose((dropped[0] & dropped[1]).mean(), rate**2, atol=0.015)  # as if by chance
    assert (layer(ones) == ones).numpy().all()


def test_no_noise_is_dropped_at_a_rate_of_0():
    layer = Middle(name="dropout_1")
    assert (layer(tf.ones([4, 4]), training=True) == 1).numpy().all()


class Middle(MemberDropout):
    """Dropout whose noise is the very middle of what it drops."""

    def noise(self, shape: Any) -> Any:
        return tf.fill(shape, tf.constant(0.0))


@pytest.mark.parametrize("classes", [2, 7, 16])
def test_bits_do_not_depend_on_company(population, classes):
    many = population(WIDE, mixed(64), classes=classes)
    alone = {i: bits(state) for i, state in enumerate(many.train(range(64)))}
    for company in ([0], [5, 0], [0, 1], list(range(16)), list(range(63, -1, -1)), [40, 3, 17, 3 + 30, 8]):
        for i, state in zip(company, many.train(company), strict=True):
            assert bits(state) == alone[i], f"member {i} among {company}"


def test_bits_of_regression_do_not_depend_on_company(population):
    each = [{**one, "loss": ["mse", "mae", "huber"][i % 3]} for i, one in enumerate(mixed(16))]
    each = [{k: v for k, v in one.items() if k not in ("label_smoothing", "class_weight")} for one in each]
    many = population({**WIDE, "loss": ["mse", "mae", "huber"]}, each, task="regression")
    alone = [bits(state) for state in many.train(range(16))]
    assert [bits(state) for state in many.train(range(15, -1, -1))] == alone[::-1]


def test_members_that_go_on_from_a_rung_end_as_if_there_were_none(population):
    many = population(WIDE, mixed(12))
    whole = many.train(range(12))
    halfway = many.train(range(12), until=1)
    chosen = [7, 2, 11]
    went_on = many.trainer.train([many.members[i] for i in chosen], [halfway[i] for i in chosen], None)
    assert [bits(state) for state in went_on] == [bits(whole[i]) for i in chosen]


def test_masked_units_stay_as_they_are(population):
    many = population(WIDE, mixed(6))
    program = many.trainer.program
    for one, state in zip(many.members, many.train(range(6)), strict=True):
        parts = np.split(state.now.flat, np.cumsum(program.sizes)[:-1])
        values = {v.path: p.reshape(s) for v, p, s in zip(program.weights, parts, program.shapes, strict=True)}
        width = one.params["width_1"]
        assert not values["dense_1/kernel"][:, width:].any()
        assert not values["normalization_1/beta"][width:].any()
        assert not values["dense_2/kernel"][width:].any()


class PaddedNoise(MemberDropout):
    """Dropout whose noise is the corner of the padded layer's."""

    padded: int = 0

    def noise(self, shape: Any) -> Any:
        return super().noise([shape[0], self.padded])[:, : shape[1]]


class ReferenceKit(PlainKit):
    """Plain Keras but for dropout, whose noise must be the member's."""

    def __init__(self, params: Any, traits: Any) -> None:
        super().__init__(params)
        self.traits = traits

    def dropout(self, name: str, x: Any) -> Any:
        if not self.params.get("dropout"):
            return x
        layer = PaddedNoise(name=name)
        layer.padded = {"dropout_1": 64, "dropout_2": 32}[name]
        out = layer(x, training=True)
        for variable in layer.variables:
            variable.assign(self.traits[variable.path])
        return out


class Steps(keras.callbacks.Callback):
    """Tells the noise which step it is."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        MemberDropout.step.assign([42, batch])


def optimizer_of(params: Any) -> keras.optimizers.Optimizer:
    """Return Keras's own optimizer of a configuration."""
    settings = {"learning_rate": params["learning_rate"], "weight_decay": params["weight_decay"] or None}
    if params["optimizer"] == "sgd":
        return keras.optimizers.SGD(**settings, momentum=params["momentum"])
    makers = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}
    if params["optimizer"] == "adamw":
        settings["weight_decay"] = params["weight_decay"]
    return makers[params["optimizer"]](**settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("normalization", "dropout", "width"),
    [("none", 0.0, 64), ("batch", 0.0, 64), ("layer", 0.3, 40), ("batch", 0.3, 24), ("none", 0.0, 16)],
)
def test_weights_are_those_of_fit(population, monkeypatch, optimizer, normalization, dropout, width):
    params = {
        "width_1": width,
        "width_2": 32,
        "activation": "tanh",
        "normalization": normalization,
        "dropout": dropout,
        "optimizer": optimizer,
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "batch_size": 64,
        "epochs": 4,
        "patience": "none",
    }
    space = {**WIDE, "width_1": [16, 24, 40, 64]}
    many = population(space, [params, {**params, "learning_rate": 2e-3, "width_1": 64}])
    one, trainer = many.members[0], many.trainer
    begun = trainer.begin(one)
    trained = many.train([0, 1])[0]

    program = trainer.program
    traits = {v.path: np.asarray(value) for v, value in zip(program.state, begun.now.state, strict=True)}
    kit = ReferenceKit(one.params, traits)
    monkeypatch.setattr(MemberDropout, "step", tf.Variable([42, 0], dtype=tf.int32))
    reference = program.build(kit, one.params, program.structure.signature)
    parts = np.split(begun.now.flat, np.cumsum(program.sizes)[:-1])
    values = {v.path: p.reshape(s) for v, p, s in zip(program.weights, parts, program.shapes, strict=True)}
    for variable in reference.trainable_variables:
        path = variable.path if variable.path in values else program.kit.aliases[variable.path]
        variable.assign(corner(values[path], variable.shape))
    begun_as = {v.path: v.numpy() for v in reference.trainable_variables}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    reference.compile(optimizer_of(one.params), loss)
    rows = np.concatenate([trainer._order(one, epoch, 3200) for epoch in range(4)])
    reference.fit(
        [many.block.inputs["numbers"][rows]],
        many.block.target[rows],
        batch_size=64,
        shuffle=False,
        verbose=0,
        callbacks=[Steps()],
    )
    plain = program.plain(one.params, trained.now.flat, trained.now.state)
    learned = {v.path: v.numpy() for v in plain.variables}
    assert len(rows) // 64 == 200
    moved = 0.0
    for variable in reference.trainable_variables:
        difference = np.abs(variable.numpy() - learned[variable.path]).max()
        assert difference < 1e-5, variable.path
        moved = max(moved, np.abs(variable.numpy() - begun_as[variable.path]).max())
    assert moved > 1e-2
