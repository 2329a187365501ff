"""One structure as one TensorFlow program: an epoch of training and an evaluation, over members stacked along axis 0.

All trainable weights of a member lie in one flat row, so that the update is a few operations whatever the layers. A
member's loss and gradient come from `model.stateless_call`, mapped over members by `tf.vectorized_map`; those that are
not fused go through it one at a time. Weights, optimizer state and traits are arguments and results: a program holds
nothing of its members, and serves any number of them.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from orchestrator.families.networks.kit import MemberDropout, PlainKit, PopulationKit, corner
from orchestrator.families.networks.losses import hyper_shapes, loss_of
from orchestrator.families.networks.structure import Structure
from orchestrator.space import Params

MOST_PROGRAMS = 12
"""Programs that a process keeps; the least recently used goes first."""
MOST_PLAIN = 256
"""Configurations of a structure whose initializers a program remembers."""
EVALUATED_ROWS = 512
"""Rows of a chunk of evaluation."""


class Program:
    """What the members of one structure run.

    Args:
        structure: The structure.
        build: The family's architecture: takes a kit, the structural parameters and the signature, returns a model.
    """

    def __init__(self, structure: Structure, build: Any) -> None:
        self.structure = structure
        self.build = build
        self.kit = PopulationKit(structure)
        self.template: keras.Model = build(self.kit, dict(structure.fixed), structure.signature)
        self.weights = list(self.template.trainable_variables)
        self.state = list(self.template.non_trainable_variables)
        self.shapes = [tuple(int(n) for n in v.shape) for v in self.weights]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.n_weights = sum(self.sizes)
        self._initial: OrderedDict[Any, list[tuple[str, tuple[int, ...], Any]]] = OrderedDict()
        self.train_epoch = tf.function(self._train_epoch, self._train_signature(), autograph=False)
        self.evaluate = tf.function(self._evaluate, self._evaluate_signature(), autograph=False)

    def _train_signature(self) -> list[Any]:
        """Return what an epoch takes, so that one trace serves any number of members, steps and rows."""
        signature, members = self.structure.signature, tf.TensorSpec([None, self.n_weights], tf.float32)
        target = tf.TensorSpec([None], tf.float32 if signature.goal == "regression" else tf.int32)
        hyper = {name: tf.TensorSpec([None, *size], tf.float32) for name, size in hyper_shapes(signature).items()}
        rule, rows = tf.TensorSpec([8, None, None], tf.float32), tf.TensorSpec([None, None, None], tf.int32)
        carried = (members, members, members, self._state_signature())
        return [carried, hyper, rule, rows, self._inputs_signature(), target, tf.TensorSpec([2], tf.int32)]

    def _evaluate_signature(self) -> list[Any]:
        members, rows = tf.TensorSpec([None, self.n_weights], tf.float32), tf.TensorSpec([None, None, None], tf.int32)
        return [members, self._state_signature(), rows, self._inputs_signature()]

    def _state_signature(self) -> list[Any]:
        return [tf.TensorSpec([None, *v.shape], v.dtype) for v in self.state]

    def _inputs_signature(self) -> dict[str, Any]:
        return {one.name: tf.TensorSpec([None, *one.shape], one.dtype) for one in self.structure.signature.inputs}

    def initial(self, params: Params, generator: np.random.Generator) -> tuple[Any, list[Any]]:
        """Return a member's first weights, shape (n_weights,), and its state, one array a variable.

        Each weight is drawn as the plain model of its configuration would draw it, into the corner of its padded place.
        """
        drawn = {}
        for path, shape, initializer in self._plain_initializers(params):
            drawn[self.kit.aliases.get(path, path)] = _drawn(initializer, shape, int(generator.integers(2**31)))
        flat = np.zeros(self.n_weights, np.float32)
        for variable, shape, part in zip(
            self.weights, self.shapes, np.split(flat, np.cumsum(self.sizes)[:-1]), strict=True
        ):
            if variable.path in drawn:
                value = drawn[variable.path]
                corner(part.reshape(shape), value.shape)[...] = value
            else:
                part[...] = np.asarray(variable.numpy()).ravel()
        state = []
        for variable in self.state:
            trait = self.kit.traits.get(variable.path)
            value = variable.numpy() if trait is None else trait(params, generator)
            state.append(np.broadcast_to(np.asarray(value, variable.dtype), variable.shape))
        return flat, state

    def put(self, flat: Any, path: str, values: Any) -> None:
        """Write values into the corner of one variable of a member's flat weights; nan leaves what is there."""
        for variable, shape, part in zip(
            self.weights, self.shapes, np.split(flat, np.cumsum(self.sizes)[:-1]), strict=True
        ):
            if variable.path == path:
                place = corner(part.reshape(shape), values.shape)
                place[...] = np.where(np.isnan(values), place, values)

    def _plain_initializers(self, params: Params) -> list[tuple[str, tuple[int, ...], Any]]:
        one = self.structure
        # A selected activation has no weights and changes no initializer: without it there are fewer models to build.
        options = (name for name in one.options if name != "activation")
        names = (*one.fixed, *one.pads, *options, *one.initializing)
        structural = {name: params[name] for name in names if name in params}
        key = repr(sorted(structural.items()))
        if key not in self._initial:
            while len(self._initial) >= MOST_PLAIN:
                self._initial.popitem(last=False)
            model = self.build(PlainKit(structural), structural, one.signature)
            self._initial[key] = [(v.path, tuple(v.shape), initializer) for v, initializer in _initializers(model)]
        return self._initial[key]

    def plain(self, params: Params, flat: Any, state: Sequence[Any]) -> keras.Model:
        """Return a member as the plain Keras model of its configuration."""
        model = self.build(PlainKit(params), params, self.structure.signature)
        parts = np.split(np.asarray(flat), np.cumsum(self.sizes)[:-1])
        values = {v.path: p.reshape(s) for v, p, s in zip(self.weights, parts, self.shapes, strict=True)}
        values.update({v.path: np.asarray(value) for v, value in zip(self.state, state, strict=True)})
        for variable in model.variables:
            path = variable.path if variable.path in values else self.kit.aliases.get(variable.path)
            if path in values:
                variable.assign(corner(values[path], variable.shape))
        return model

    def _taken(self, flat: Any, inputs: Mapping[str, Any], rows: Any) -> tuple[list[Any], list[Any]]:
        """Return one member's weights, one array a variable, and its rows of the inputs."""
        weights = [tf.reshape(p, s) for p, s in zip(tf.split(flat, self.sizes), self.shapes, strict=True)]
        return weights, [tf.gather(inputs[i.name], rows) for i in self.structure.signature.inputs]

    def _logits(self, flat: Any, state: Sequence[Any], inputs: Mapping[str, Any], rows: Any, training: bool) -> Any:
        weights, taken = self._taken(flat, inputs, rows)
        return self.template.stateless_call(weights, list(state), taken, training=training)

    def _loss(self, flat: Any, state: Any, hyper: Any, inputs: Any, target: Any, rows: Any) -> tuple[Any, Any]:
        """Return one member's loss over a batch, and its new state."""
        logits, new_state = self._logits(flat, state, inputs, rows, training=True)
        return loss_of(self.structure.signature, logits, tf.gather(target, rows), hyper), new_state

    def _gradient(self, flat: Any, state: Any, hyper: Any, inputs: Any, target: Any, rows: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(flat)
            loss, new_state = self._loss(flat, state, hyper, inputs, target, rows)
        return loss, tf.convert_to_tensor(tape.gradient(loss, flat)), new_state

    def _step(self, flat: Any, state: Any, hyper: Any, inputs: Any, target: Any, rows: Any, key: Any) -> Any:
        """Return loss, gradient and new state of every member."""
        MemberDropout.step = key
        return self._mapped(
            lambda v: self._gradient(v[0], v[1], v[2], inputs, target, v[3]), (flat, state, hyper, rows)
        )

    def _mapped(self, function: Any, values: Any) -> Any:
        """Return `function` of every member, stacked: all at once, or of the only one."""
        if self.structure.is_fused:
            with _quiet():
                return tf.vectorized_map(function, values, fallback_to_while_loop=self.kit.has_loops)
        only = tf.nest.map_structure(lambda value: value[0], values)
        return tf.nest.map_structure(lambda value: value[tf.newaxis], function(only))

    def _train_epoch(
        self, carried: Any, hyper: Any, rule: Any, rows: Any, inputs: Any, target: Any, key: Any
    ) -> tuple[Any, Any]:
        """Train one epoch.

        Args:
            carried: weights, first and second moments, each (members, n_weights), and the state's variables.
            hyper: What the loss takes, by name, one a member.
            rule: Coefficients of the update, shape (8, members, steps).
            rows: Places in the inputs, shape (members, steps, batch).
            inputs: The inputs by name, rows along axis 0.
            target: The targets.
            key: The job's seed and the number of steps gone before, shape (2,).

        Returns:
            What is carried on, and each member's mean loss.
        """
        n_steps = tf.shape(rows)[1]

        def step(i: Any, carried: Any, total: Any) -> Any:
            flat, first, second, state = carried
            losses, gradient, state = self._step(flat, state, hyper, inputs, target, rows[:, i], key + tf.stack([0, i]))
            at = rule[:, :, i, tf.newaxis]
            first = at[0] * first + at[1] * gradient
            second = at[2] * second + at[3] * gradient * gradient
            flat = flat - flat * at[7] - at[6] * first / (tf.sqrt(second + at[4]) + at[5])
            return i + 1, (flat, first, second, state), total + losses

        begun = (tf.constant(0), carried, tf.zeros(tf.shape(rows)[:1]))
        _, carried, total = tf.while_loop(lambda i, *_: i < n_steps, step, begun, parallel_iterations=1)
        return carried, total / tf.cast(n_steps, total.dtype)

    def _evaluate(self, flat: Any, state: Any, rows: Any, inputs: Any) -> Any:
        """Return the logits of `rows` (members, chunks, rows a chunk): (members, chunks * rows, outputs)."""

        def chunk(places: Any) -> Any:
            return self._mapped(
                lambda v: tf.cast(self._logits(v[0], v[1], inputs, v[2], training=False)[0], tf.float32),
                (flat, state, places),
            )

        logits = tf.map_fn(chunk, tf.transpose(rows, [1, 0, 2]), fn_output_signature=tf.float32, parallel_iterations=1)
        joined = tf.transpose(logits, [1, 0, 2, 3])
        n_logits, n_outputs = int(self.template.output_shape[-1]), self.structure.signature.n_outputs
        return tf.reshape(joined, [tf.shape(joined)[0], -1, n_logits])[..., :n_outputs]


_programs: OrderedDict[Structure, Program] = OrderedDict()


def program_of(structure: Structure, make: Callable[[], Program]) -> Program:
    """Return the program of a structure, from this process's memory where it is one of the last that were used."""
    found = _programs.pop(structure, None)
    if found is None and len(_programs) >= MOST_PROGRAMS:
        while len(_programs) >= MOST_PROGRAMS:
            _programs.popitem(last=False)
        gc.collect()  # a program refers to itself, and Python does not see the tens of megabytes that it holds
    _programs[structure] = found or make()
    return _programs[structure]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow from warning of operations that are meant to run one member after another."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _initializers(model: keras.Model) -> list[tuple[Any, Any]]:
    """Return each trainable variable with the initializer that its layer gave it, or with its value."""
    found: dict[str, Any] = {}
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            name = variable.name.removesuffix("_kernel") if variable.name == "recurrent_kernel" else variable.name
            if name != "bias" or not getattr(layer, "unit_forget_bias", False):  # which is no initializer's, but fixed
                found[variable.path] = getattr(layer, f"{name}_initializer", None)
    return [(v, found.get(v.path) or np.asarray(v.numpy())) for v in model.trainable_variables]


def _drawn(initializer: Any, shape: tuple[int, ...], seed: int) -> Any:
    if isinstance(initializer, np.ndarray):
        return initializer
    config = initializer.get_config()
    if "seed" in config:
        initializer = type(initializer).from_config({**config, "seed": seed})
    return np.asarray(initializer(shape))
