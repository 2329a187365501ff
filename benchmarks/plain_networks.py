"""Networks trained one after another by plain Keras: the peers of `keras_population.py`. TensorFlow is imported late.

Each is the network of a configuration of ours: the same layers, optimizer, learning rates, batch size, epochs and rows.
Those of `mlp` are written out here; those of other families are what the family itself saves, as plain Keras layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator import families
from orchestrator.data.sets import TrainingSet
from orchestrator.families.base import Shape
from orchestrator.families.networks.plan import inner_split
from orchestrator.families.networks.structure import Signature

Params = Mapping[str, Any]
Array = np.ndarray[Any, Any]
Rows = tuple[list[Array], Array]
"""Inputs and target."""
PREDICTED_ROWS = 512


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold, prepared: the rows to train on, those that choose the epoch, and those that are scored."""

    fit: Rows
    inner: Rows
    scored: Rows


@dataclass(frozen=True, slots=True)
class Problem:
    """What a family's networks are trained for, with the folds as one configuration's preparation makes them.

    Attributes:
        family: The family's name.
        signature: What the networks take and give.
        folds: The folds.
    """

    family: str
    signature: Signature
    folds: tuple[Fold, ...]

    @classmethod
    def of(cls, family: str, params: Params, data: TrainingSet) -> Problem:
        """Prepare all folds as a configuration asks."""
        one: Any = families.find(family)
        folds = []
        for rows in data.folds:
            fit, inner = inner_split(data, rows.train)
            inputs = list(one.prepare(params, data, rows.train).transform(data.features).values())
            parts = [([x[places] for x in inputs], data.target[places]) for places in (fit, inner, rows.valid)]
            folds.append(Fold(*parts))
        return cls(family, one.signature(params, Shape.of(data)), tuple(folds))


def score(problem: Problem, params: Params, fold: int) -> float:
    """Build, compile, train and score one network on one fold: its accuracy with the weights of its best epoch."""
    import keras

    keras.backend.clear_session()
    model = compiled(problem, params, fold)
    fit(model, problem, params, fold)
    return accuracy(model, problem, fold)


def compiled(problem: Problem, params: Params, fold: int) -> Any:
    """Return the network of a configuration, ready to be trained."""
    import keras

    signature = problem.signature
    n_steps = len(problem.folds[fold].fit[1]) // int(params["batch_size"]) * int(params["epochs"])
    smoothing = float(params.get("label_smoothing", 0.0))
    if signature.goal == "binary":
        loss: Any = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
        metric: Any = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    elif smoothing:
        loss, metric = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing), "accuracy"
    else:
        loss, metric = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    model = built(problem, params)
    model.compile(optimizer(params, n_steps), loss, metrics=[metric])
    return model


def built(problem: Problem, params: Params) -> Any:
    """Return the network of a configuration, up to its logits."""
    if problem.family == "mlp":
        return mlp(params, problem.signature.inputs[0].shape[0], problem.signature.n_outputs)
    from orchestrator.families.networks.kit import PlainKit

    one: Any = families.find(problem.family)
    return one.build(PlainKit(params), params, problem.signature)


def mlp(params: Params, n_inputs: int, n_outputs: int) -> Any:
    """Return dense layers over numbers."""
    import keras

    normalization = params.get("normalization", "none")
    x = inputs = keras.Input((n_inputs,))
    for number in range(1, int(params["depth"]) + 1):
        x = keras.layers.Dense(int(params[f"width_{number}"]), use_bias=normalization == "none")(x)
        if normalization == "batch":
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
        elif normalization == "layer":
            x = keras.layers.LayerNormalization()(x)
        x = keras.layers.Activation(params["activation"])(x)
        if params.get("dropout"):
            x = keras.layers.Dropout(float(params["dropout"]))(x)
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(x))


def optimizer(params: Params, n_steps: int) -> Any:
    """Return Keras's optimizer for a training of `n_steps`."""
    import keras

    kind, decay = params["optimizer"], float(params.get("weight_decay", 0.0))
    settings: dict[str, Any] = {"learning_rate": learning_rate(params, n_steps), "weight_decay": decay or None}
    if kind == "sgd":
        return keras.optimizers.SGD(**settings, momentum=float(params["momentum"]))
    if kind == "adamw":
        return keras.optimizers.AdamW(**{**settings, "weight_decay": decay})
    return {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}[kind](**settings)


def learning_rate(params: Params, n_steps: int) -> Any:
    """Return the learning rate, or Keras's schedule of it; Keras's warm-up begins at zero, ours one step later."""
    import keras

    schedule, rate = params.get("schedule", "constant"), float(params["learning_rate"])
    if schedule == "constant":
        return rate
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, n_steps)
    if schedule == "warmup_cosine":
        n_warm = max(1, n_steps // 10)
        return keras.optimizers.schedules.CosineDecay(0.0, n_steps - n_warm, warmup_target=rate, warmup_steps=n_warm)
    raise ValueError(f"no peer for the schedule {schedule!r}")


def fit(model: Any, problem: Problem, params: Params, fold: int, callbacks: Sequence[Any] = ()) -> None:
    """Train on one fold, looking at the inner rows after each epoch; leaves the weights of the best epoch."""
    import keras

    rows = problem.folds[fold]
    epochs = int(params["epochs"])
    keeps_best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=epochs, restore_best_weights=True)
    is_coded = problem.signature.goal == "multiclass" and float(params.get("label_smoothing", 0.0))

    def target(y: Array) -> Array:
        return np.eye(problem.signature.n_outputs, dtype=np.float32)[y] if is_coded else y

    model.fit(
        rows.fit[0],
        target(rows.fit[1]),
        batch_size=int(params["batch_size"]),
        epochs=epochs,
        validation_data=(rows.inner[0], target(rows.inner[1])),
        validation_batch_size=PREDICTED_ROWS,
        callbacks=[keeps_best, *callbacks],
        verbose=0,
    )


def accuracy(model: Any, problem: Problem, fold: int) -> float:
    """Return the accuracy on the fold's scored rows."""
    inputs, target = problem.folds[fold].scored
    logits = model.predict(inputs, batch_size=PREDICTED_ROWS, verbose=0)
    labels = logits.argmax(axis=1) if logits.shape[1] > 1 else logits[:, 0] > 0
    return float((labels == target).mean())
