"""The layers that architectures are made of, in two kits: plain Keras, and what a whole population shares.

An architecture is written once, against the kit. `PlainKit` makes the Keras model of one configuration, as it is saved.
`PopulationKit` makes the template that all members of one structure train: widths padded to the widest and masked,
activation and normalisation selected, dropout at each member's own rate. What differs from member to member is a
non-trainable variable of the template, a **trait**; trainable variables have the same paths in both kits, and a plain
one is the corner of its padded one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from orchestrator.families.networks.parameters import NORMALIZATIONS
from orchestrator.families.networks.structure import Structure, in_lanes
from orchestrator.space import Params

BATCH_MOMENTUM = 0.9
"""Of moving statistics: searches train for few steps, in which Keras's 0.99 would not get far from where it began."""

IMPOSSIBLE = -1e9
"""A logit of no probability."""

NOTHING_DROPPED = -1.0
"""The reach of a rate of 0: even noise that equals the interval's middle is beyond it."""


class Mask(layers.Layer):  # type: ignore[misc]
    """Multiplies units by a member's mask: a masked unit gives nothing, and so learns nothing."""

    def build(self, shape: Sequence[int]) -> None:
        """Make the trait."""
        self.mask = self.add_weight(name="mask", shape=(shape[-1],), initializer="ones", trainable=False)

    def call(self, x: Any) -> Any:
        """Mask the last axis."""
        return x * self.mask


class Choice(layers.Layer):  # type: ignore[misc]
    """Gives the one of its inputs that a member has chosen."""

    def __init__(self, n_options: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.choice = self.add_weight(name="choice", shape=(n_options,), initializer="zeros", trainable=False)

    def call(self, options: Sequence[Any]) -> Any:
        """Select."""
        chosen = options[0]
        for number, option in enumerate(options[1:], 1):
            # Over all members this copies whole rows, where `tf.where` asks the condition number by number.
            chosen = tf.raw_ops.Select(condition=self.choice[number] > 0.5, x=option, y=chosen)
        return chosen


class MemberDropout(layers.Layer):  # type: ignore[misc]
    """Dropout at a member's own rate.

    All members share one draw of noise a step, and each drops what falls into an interval of its own, as long as its
    rate. For each member by itself that is as random as a draw of its own; it costs one, and follows from job seed,
    step and member alone.
    """

    step: ClassVar[Any] = None
    """The step that is traced, set by the trainer: shape (2,), the job's seed and the step's number."""

    def build(self, shape: Sequence[int]) -> None:
        """Make the traits: where the interval's middle is, the square of half its length, what the others grow by."""
        self.middle = self.add_weight(name="middle", shape=(), initializer="zeros", trainable=False)
        nothing = keras.initializers.Constant(NOTHING_DROPPED)
        self.reach = self.add_weight(name="reach", shape=(), initializer=nothing, trainable=False)
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        """Drop."""
        if not training:
            return x
        noise = self.noise(tf.shape(x))  # float32, whatever the layers compute in
        middle, reach, scale = (tf.cast(trait, noise.dtype) for trait in (self.middle, self.reach, self.scale))
        beyond = tf.math.squared_difference(noise, middle) - reach
        # The scale where `beyond` is positive, else 0, in one pass; to compare, cast and divide takes three.
        kept = tf.raw_ops.ReluGrad(gradients=tf.broadcast_to(scale, tf.shape(noise)), features=beyond)
        return x * tf.cast(kept, x.dtype)

    def noise(self, shape: Any) -> Any:
        """Return the step's draw."""
        key = tf.constant([zlib.crc32(self.name.encode()) & 0x7FFFFFFF, 0], tf.int32)
        return tf.random.stateless_uniform(shape, MemberDropout.step + key, alg="philox")


class MemberNormalization(layers.Layer):  # type: ignore[misc]
    """Batch, layer or no normalisation, as each member has chosen, at the cost of one.

    All of them are a scale and a shift, a column or a row; what is not chosen scales by 1 and shifts by 0. Without
    normalisation `beta` is the bias that the layer before would have had.
    """

    epsilon = 1e-3  # Keras's

    def __init__(self, options: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.options = tuple(options)

    def build(self, shape: Sequence[int]) -> None:
        """Make weights and traits, by the names that Keras gives its own."""
        size = (shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=size, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=size, initializer="zeros")
        self.moving_mean = self.add_weight(name="moving_mean", shape=size, initializer="zeros", trainable=False)
        self.moving_variance = self.add_weight(name="moving_variance", shape=size, initializer="ones", trainable=False)
        self.choice = self.add_weight(name="choice", shape=(3,), initializer="zeros", trainable=False)
        self.mask = self.add_weight(name="mask", shape=size, initializer="ones", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        """Normalise the last axis."""
        scale, shift = tf.ones_like(self.gamma), self.beta
        if "layer" in self.options:
            is_layer = self.choice[NORMALIZATIONS.index("layer")] > 0.5
            n_units = tf.reduce_sum(self.mask)
            mean = tf.reduce_sum(x * self.mask, axis=-1, keepdims=True) / n_units
            variance = tf.reduce_sum(tf.square((x - mean) * self.mask), axis=-1, keepdims=True) / n_units
            factor = tf.math.rsqrt(variance + self.epsilon)
            x = x * tf.where(is_layer, factor, 1.0) - tf.where(is_layer, mean * factor, 0.0)
            scale = tf.where(is_layer, self.gamma, scale)
        if "batch" in self.options:
            is_batch = self.choice[NORMALIZATIONS.index("batch")] > 0.5
            mean, variance = self._moments(x) if training else (self.moving_mean, self.moving_variance)
            factor = tf.math.rsqrt(variance + self.epsilon) * self.gamma
            scale, shift = tf.where(is_batch, factor, scale), tf.where(is_batch, self.beta - mean * factor, shift)
        return x * scale + shift

    def _moments(self, x: Any) -> tuple[Any, Any]:
        axes = list(range(len(x.shape) - 1))
        mean = tf.reduce_mean(x, axis=axes)
        variance = tf.reduce_mean(tf.square(x - mean), axis=axes)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * BATCH_MOMENTUM + now * (1.0 - BATCH_MOMENTUM))
        return mean, variance


Trait = Callable[[Params, np.random.Generator], Any]
"""Gives a trait's value for a configuration; the generator is the member's own."""


class PlainKit:
    """Makes the Keras model of one configuration."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.inputs: dict[str, Any] = {}

    def input(self, name: str, shape: tuple[int | None, ...], dtype: str = "float32") -> Any:
        """Declare an input; `shape` is that of one row."""
        self.inputs[name] = keras.Input(shape, name=name, dtype=dtype)
        return self.inputs[name]

    def width(self, name: str) -> int:
        """Return how many units the parameter `name` gives a layer."""
        return int(self.params[name])

    def dense(self, name: str, x: Any, width: str) -> Any:
        """Add a dense layer without activation."""
        return layers.Dense(self.width(width), use_bias=self.is_biased, name=name)(x)

    @property
    def is_biased(self) -> bool:
        """Whether layers before a normalisation have a bias; not where it would take the bias out again."""
        return bool(self.params.get("normalization", "none") == "none")

    def conv1d(self, name: str, x: Any, width: str, kernel: int, padding: str = "same") -> Any:
        """Add a convolution over steps without activation."""
        return layers.Conv1D(self.width(width), kernel, padding=padding, use_bias=self.is_biased, name=name)(x)

    def embedding(self, name: str, x: Any, n_values: int, width: int) -> Any:
        """Add a table of vectors, one a code."""
        return layers.Embedding(n_values, width, name=name)(x)

    def waves(self, name: str, x: Any, n_waves: int) -> list[Any]:
        """Add sines and cosines of each number at learned frequencies, drawn by a scale first; two parts."""
        scale = 2 * np.pi * float(self.params.get("frequency_scale", 1.0))
        phase = layers.EinsumDense(
            "bd,dn->bdn",
            (x.shape[-1], n_waves),
            kernel_initializer=keras.initializers.RandomNormal(stddev=scale),
            name=name,
        )(x)
        return [keras.ops.sin(phase), keras.ops.cos(phase)]

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Put parts side by side, each flat."""
        flat = [part if len(part.shape) == 2 else layers.Flatten()(part) for part in parts]
        return flat[0] if len(flat) == 1 else layers.Concatenate()(flat)

    def hidden(self, number: int, x: Any, width: str) -> Any:
        """Add what follows a hidden layer: normalisation, activation, dropout."""
        return self.dropout(f"dropout_{number}", self.activated(number, x, width))

    def activated(self, number: int, x: Any, width: str) -> Any:
        """Add normalisation and activation alone."""
        kind, name = self.params.get("normalization", "none"), f"normalization_{number}"
        if kind == "batch":
            x = layers.BatchNormalization(momentum=BATCH_MOMENTUM, name=name)(x)
        elif kind == "layer":
            x = layers.LayerNormalization(name=name)(x)
        return layers.Activation(self.params.get("activation", "relu"))(x)

    def dropout(self, name: str, x: Any) -> Any:
        """Add dropout."""
        rate = float(self.params.get("dropout", 0.0))
        return layers.Dropout(rate, name=name)(x) if rate else x

    def head(self, x: Any, n_outputs: int) -> Any:
        """Add the layer that gives the logits."""
        return layers.Dense(n_outputs, dtype="float32", name="head")(x)

    def model(self, logits: Any) -> keras.Model:
        """Return the model from the declared inputs to its logits."""
        return keras.Model(list(self.inputs.values()), logits)


@dataclass
class PopulationKit(PlainKit):
    """Makes the template of one structure, and knows what its traits are."""

    structure: Structure
    inputs: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Trait] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    """For a weight of the plain model, the one of the template that stands for it, where names differ."""
    has_loops: bool = False
    """Whether a layer has an operation that is faster one member after another, in the same program."""

    @property
    def is_biased(self) -> bool:
        """Whether layers have a bias; where some members normalise, what shifts after it is the bias of the others."""
        return list(self._of("normalization")) == ["none"]

    @property
    def params(self) -> Params:  # type: ignore[override]
        """The structural parameters."""
        return dict(self.structure.fixed)

    def width(self, name: str) -> int:
        """Return the padded width."""
        return self.structure.pads.get(name) or int(self.params[name])

    def hidden(self, number: int, x: Any, width: str) -> Any:
        """Add what follows a hidden layer; a mask only where padded units, whose weights are 0, would not give 0."""
        stays_0 = "sigmoid" not in self._of("activation") and "layer" not in self._of("normalization")
        add = self._selected if stays_0 else self.activated
        return self.dropout(f"dropout_{number}", add(number, x, width))

    def activated(self, number: int, x: Any, width: str) -> Any:
        """Add normalisation, activation and mask, each as far as members of the structure differ."""
        return self._masked(f"mask_{number}", self._selected(number, x, width), width)

    def _selected(self, number: int, x: Any, width: str) -> Any:
        x = self._normalized(number, x, width)
        return self._chosen(
            f"activation_{number}",
            "activation",
            [layers.Activation(a, name=f"activation_{number}_{a}")(x) for a in self._of("activation")],
        )

    def _normalized(self, number: int, x: Any, width: str) -> Any:
        if self.is_biased:
            return x
        name = f"normalization_{number}"
        self.aliases[f"{x._keras_history.operation.name}/bias"] = f"{name}/beta"
        self.traits[f"{name}/choice"] = lambda params, _: _one_hot(NORMALIZATIONS, params.get("normalization", "none"))
        self.traits[f"{name}/mask"] = _mask_of(width, self.width(width))
        return MemberNormalization(self._of("normalization"), name=name)(x)

    def _of(self, name: str) -> Sequence[Any]:
        return self.structure.options.get(name) or [self.params.get(name, {"activation": "relu"}.get(name, "none"))]

    def _chosen(self, layer: str, name: str, options: Sequence[Any]) -> Any:
        if len(options) == 1:
            return options[0]
        known = list(self._of(name))
        self.traits[f"{layer}/choice"] = lambda params, _: _one_hot(known, params[name])
        return Choice(len(options), name=layer)(options)

    def head(self, x: Any, n_outputs: int) -> Any:
        """Add the layer that gives the logits; of many, padded ones that no row can have."""
        if n_outputs == 1 or not self.structure.is_fused:
            return super().head(x, n_outputs)
        x = layers.Dense(in_lanes(n_outputs), dtype="float32", name="head")(x)
        return x + tf.constant([0.0 if i < n_outputs else IMPOSSIBLE for i in range(in_lanes(n_outputs))])

    def dropout(self, name: str, x: Any) -> Any:
        """Add dropout at each member's own rate, if any member may have one."""
        if not self.structure.has_dropout:
            return x
        self.traits[f"{name}/middle"] = lambda params, generator: _middle(_rate(params), generator.random())
        self.traits[f"{name}/reach"] = lambda params, _: _reach(_rate(params))
        self.traits[f"{name}/scale"] = lambda params, _: 1.0 / (1.0 - _rate(params))
        return MemberDropout(name=name)(x)

    def _masked(self, name: str, x: Any, width: str) -> Any:
        if width not in self.structure.pads:
            return x
        self.traits[f"{name}/mask"] = _mask_of(width, self.width(width))
        return Mask(name=name)(x)


def _one_hot(known: Sequence[Any], value: Any) -> Any:
    return np.eye(len(known))[list(known).index(value)]


def _mask_of(name: str, padded: int) -> Trait:
    return lambda params, _: np.arange(padded) < int(params[name])


def _rate(params: Params) -> float:
    return float(params.get("dropout", 0.0))


def _middle(rate: float, place: float) -> float:
    """Return the middle of an interval of `rate` whose place between 0 and 1 is drawn."""
    return rate / 2 + place * (1.0 - rate)


def _reach(rate: float) -> float:
    return (rate / 2) ** 2 if rate else NOTHING_DROPPED


def corner(padded: Any, shape: Sequence[int]) -> Any:
    """Return the corner of a padded array that has `shape`."""
    return padded[tuple(slice(0, n) for n in shape)]


def by_path(variables: Sequence[Any]) -> Mapping[str, Any]:
    """Return variables by their paths in the model."""
    return {variable.path: variable for variable in variables}
