"""The program of networks that the user's own function builds: the plain model is the template.

Layers may be named by Keras, by how many there were before, so variables are matched by their order.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from orchestrator.families.networks.losses import loss_of
from orchestrator.families.networks.program import Program
from orchestrator.families.networks.structure import Input, Signature, Structure
from orchestrator.space import Params

PROBED_ROWS = 32
TOLERANCE = 1e-3


class UserProgram(Program):
    """What the members of one trial run.

    Args:
        structure: The structure.
        function: The user's.
        params: What it is given.
    """

    def __init__(self, structure: Structure, function: Callable[..., Any], params: Params) -> None:
        self._function, self._params = function, params
        super().__init__(structure, lambda kit, params, signature: self._built())
        if not self.weights:
            raise ValueError("build gave a model without weights to train")
        if structure.signature.gives_probabilities:
            _check_probabilities(self.template, structure.signature)

    def _built(self) -> keras.Model:
        return as_expected(called(self._function, self._params, self.structure.signature), self.structure.signature)

    def _loss(self, flat: Any, state: Any, hyper: Any, inputs: Any, target: Any, rows: Any) -> tuple[Any, Any]:
        """Return the loss, with those that the model's own layers add, and the new state."""
        signature = self.structure.signature
        weights, taken = self._taken(flat, inputs, rows)
        said, new_state, more = self.template.stateless_call(
            weights, list(state), taken, training=True, return_losses=True
        )
        loss = loss_of(signature, said, tf.gather(target, rows), hyper)
        return tf.add_n([loss, *(tf.cast(one, loss.dtype) for one in more)]), new_state

    def initial(self, params: Params, generator: np.random.Generator) -> tuple[Any, list[Any]]:
        """Return what the function gives for a member, its random numbers seeded by the member's own."""
        model = self._seeded(int(generator.integers(2**32, dtype=np.uint32)))
        flat = np.concatenate([np.asarray(v.numpy(), np.float32).ravel() for v in model.trainable_variables])
        return flat, [np.asarray(v.numpy()) for v in model.non_trainable_variables]

    def plain(self, params: Params, flat: Any, state: Sequence[Any]) -> keras.Model:
        """Return a member as the model that the function builds."""
        model = self._seeded(0)
        parts = np.split(np.asarray(flat), np.cumsum(self.sizes)[:-1])
        for variable, part in zip(model.trainable_variables, parts, strict=True):
            variable.assign(part.reshape(variable.shape))
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(np.asarray(value))
        return model

    def _seeded(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self._built()
        for found, expected in ((model.trainable_variables, self.weights), (model.non_trainable_variables, self.state)):
            if [tuple(v.shape) for v in found] != [tuple(v.shape) for v in expected]:
                raise ValueError(
                    "build gave a model with other weights than when it was called before with these params"
                )
        return model


def called(function: Callable[..., Any], params: Params, signature: Signature) -> Any:
    """Call the user's function.

    Raises:
        RuntimeError: It raised; the message says where.
    """
    try:
        return function(dict(params), signature)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        file = function.__code__.co_filename
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        text = str(error).strip().splitlines()
        what = f"{type(error).__name__}{': ' + text[0] if text else ''}"
        raise RuntimeError(
            f"{function.__name__} in {file}, line {lines[-1] if lines else '?'}, raised {what}"
        ) from error


def as_expected(model: Any, signature: Signature) -> keras.Model:
    """Return the user's model as one that takes the signature's inputs in order, those too that it does not look at.

    Raises:
        ValueError: It is no model that could be trained, saved and loaded here.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"build gave {type(model).__name__}; expected a keras.Model")
    try:
        inputs, outputs = list(model.inputs), list(model.outputs)
    except (AttributeError, ValueError, TypeError):
        raise ValueError(
            "build gave a model whose inputs are not known; expected a functional or Sequential one that begins with "
            "keras.Input"
        ) from None
    _check_outputs(outputs, signature)
    foreign = sorted(set(_foreign(model.get_config())))
    if foreign:
        raise ValueError(
            f"build uses {', '.join(foreign)}, which a saved model could not be loaded with; expected Keras's own "
            "layers and functions, Lambda not among them"
        )
    given = _by_name(inputs, signature)
    ordered = [given.get(i.name, keras.Input(i.shape, name=i.name, dtype=i.dtype)) for i in signature.inputs]
    return keras.Model(ordered, outputs[0])


def _check_outputs(outputs: Sequence[Any], signature: Signature) -> None:
    shapes = [tuple(one.shape) for one in outputs]
    sizes = {signature.n_outputs, 1 if signature.n_outputs == 2 else signature.n_outputs}
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] not in sizes:
        wanted = {1: "one number", 2: "2 probabilities a row, or 1"}.get(
            signature.n_outputs, f"{signature.n_outputs} probabilities"
        )
        found = " and ".join(str(shape) for shape in shapes)
        raise ValueError(f"build gave a model with outputs of shape {found}; expected {wanted} a row")


def _by_name(inputs: Sequence[Any], signature: Signature) -> dict[str, Any]:
    known = {one.name: one for one in signature.inputs}
    names = [one.name for one in inputs]
    if len(inputs) == len(known) == 1:  # there is no mistaking it
        names = list(known)
    for name, tensor in zip(names, inputs, strict=True):
        if name not in known:
            raise ValueError(f"build gave a model with an input {name!r}; expected names among {', '.join(known)}")
        found, expected = tuple(tensor.shape[1:]), known[name].shape
        if len(found) != len(expected) or any(n not in (None, m) for n, m in zip(found, expected, strict=True)):
            raise ValueError(f"build gave a model whose input {name!r} has shape {found}; expected {expected}")
    return dict(zip(names, inputs, strict=True))


def _foreign(config: Any) -> Iterator[str]:
    """Yield the classes and functions of a configuration that are not Keras's own, or run what they hold."""
    if isinstance(config, dict):
        name = config.get("class_name")
        if name in ("Lambda", "__lambda__"):
            yield "Lambda"
        elif "module" in config and not str(config["module"]).startswith("keras"):
            yield str(config["config"]) if name == "function" else str(name)
        for value in config.values():
            yield from _foreign(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _foreign(value)


def _check_probabilities(model: keras.Model, signature: Signature) -> None:
    """Refuse a model that gives logits, as far as a few random rows show it."""
    generator = np.random.default_rng(0)
    said = np.asarray(model([_random(one, generator) for one in signature.inputs], training=False))
    if not np.isfinite(said).all():
        return
    sums = said.sum(axis=1) if said.shape[1] > 1 else np.ones(len(said))
    if said.min() < 0 or said.max() > 1 + TOLERANCE or np.abs(sums - 1).max() > TOLERANCE:
        end = "softmax" if said.shape[1] > 1 else "sigmoid"
        raise ValueError(
            f"build gave a model whose outputs are no probabilities; expected {end} as its last activation"
        )


def _random(one: Input, generator: np.random.Generator) -> Any:
    shape = (PROBED_ROWS, *one.shape)
    if one.dtype == "float32":
        return 3.0 * generator.normal(size=shape).astype(np.float32)
    return generator.integers(0, one.n_values or 256, shape).astype(one.dtype)
