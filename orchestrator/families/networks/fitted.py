"""A network trained on all rows, with its preparation: predicts, is saved as a Keras file, is loaded in safe mode."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from orchestrator.data import encode
from orchestrator.data.encode import Features
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import RunError
from orchestrator.families.base import Fitted, Shape
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures, places
from orchestrator.families.networks import keras_file
from orchestrator.families.networks.compute import on_this_device
from orchestrator.families.networks.plan import standardised
from orchestrator.families.networks.program import program_of
from orchestrator.families.networks.records import Array, Block
from orchestrator.families.networks.stream import Stream, is_streamed, streamed_block
from orchestrator.families.networks.structure import Signature, member
from orchestrator.families.networks.training import Trainer
from orchestrator.space import Params, dimensions

if TYPE_CHECKING:
    from orchestrator.families.networks.family import NetworkFamily, Preparation

MODEL_FILE, PARAMS_FILE = "model.keras", "network.json"
PREDICTED_ROWS = 1024
"""Rows of a chunk of prediction."""
LEAST_PREDICTED_ROWS = 64


class _Network(BaseEstimator):  # type: ignore[misc]
    """What both kinds of network have."""

    def __init__(self, model: keras.Model, preparation: Preparation, params: Params, inputs: tuple[str, ...]) -> None:
        self.model = model
        self.preparation = preparation
        self.params = params
        self.inputs = inputs

    @cached_property
    def _program(self) -> Callable[[Sequence[Array]], Any]:
        """The model as one graph over chunks of any number of rows; call by call, Keras would take longer than it."""
        signature = [tf.TensorSpec([None, *one.shape[1:]], one.dtype) for one in self.model.inputs]
        return tf.function(lambda rows: self.model(rows, training=False), input_signature=[signature])  # type: ignore[no-any-return]

    def _outputs(self, features: Features) -> Array:
        prepared = self.preparation.transform(features)
        chunks = []
        for start in range(0, max(1, len(features)), PREDICTED_ROWS):
            rows = [prepared[name][start : start + PREDICTED_ROWS] for name in self.inputs]
            padded = [_padded(one, into.dtype) for one, into in zip(rows, self.model.inputs, strict=True)]
            chunks.append(np.asarray(self._program(padded)[: len(rows[0])], np.float64))
        return np.concatenate(chunks)

    def _traced_outputs(self, graph: Graph, features: TracedFeatures) -> Tensor:
        prepared = self.preparation.traced(graph, features)
        return graph.cast(graph.network(self.model, [prepared[name] for name in self.inputs]), "float64")

    def files(self) -> Mapping[str, bytes]:
        """Return the Keras model, its preparation and its configuration as files."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MODEL_FILE
            self.model.save(path)
            model = path.read_bytes()
        described = json.dumps({"params": self.params, "inputs": list(self.inputs)}, indent=2) + "\n"
        return {MODEL_FILE: model, PARAMS_FILE: described.encode(), **self.preparation.files()}


def _padded(rows: Array, dtype: str) -> Array:
    """Return rows with zeros after them, up to a power of two: few shapes, and of each the same for every row."""
    n_rows = max(LEAST_PREDICTED_ROWS, 1 << max(0, len(rows) - 1).bit_length())
    padded = np.zeros((n_rows, *rows.shape[1:]), dtype)
    padded[: len(rows)] = rows
    return padded


class NetworkClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network for classification; its model gives class probabilities, or that of the second of two classes."""

    @property
    def classes_(self) -> Array:
        """The class codes."""
        n_outputs = int(self.model.output_shape[-1])
        return np.arange(max(2, n_outputs))

    def predict_proba(self, X: Features) -> Array:
        """Return class probabilities, shape (rows, classes)."""
        given = self._outputs(X)
        if given.shape[1] == 1:
            return np.concatenate([1.0 - given, given], axis=1)
        normalised: Array = given / given.sum(axis=1, keepdims=True)
        return normalised

    def traced(self, graph: Graph, features: TracedFeatures) -> Tensor:
        """Return class probabilities, shape (rows, classes), as operations of a graph."""
        given = self._traced_outputs(graph, features)
        if int(self.model.output_shape[-1]) == 1:
            return graph.joined([graph.apply("Sub", graph.constant(1.0), given), given], 1)
        return graph.apply("Div", given, graph.total(given, 1))

    def predict(self, X: Features) -> Array:
        """Return class codes, shape (rows,)."""
        return self.predict_both(X)[0]

    def predict_both(self, X: Features) -> tuple[Array, Array]:
        """Return what `predict` and `predict_proba` give."""
        probabilities = self.predict_proba(X)
        return probabilities.argmax(axis=1), probabilities


class NetworkRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network for regression."""

    def predict(self, X: Features) -> Array:
        """Return numbers, shape (rows,)."""
        return self._outputs(X)[:, 0]

    def traced(self, graph: Graph, features: TracedFeatures) -> Tensor:
        """Return numbers, shape (rows, 1), as operations of a graph."""
        return graph.taken(self._traced_outputs(graph, features), graph.constant(places([0])), 1)


def fit_all(family: NetworkFamily, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
    """Train a configuration on all rows of the training set.

    Raises:
        RunError: It diverged.
    """
    shape = Shape.of(data)
    one = member(family.name, params, -1)
    structure = on_this_device(family, family.structure_of(params, shape, dimensions(params)), one)
    block, preparation = _all_rows(family, params, data)
    blocks = {family.block_key(one): block}
    program = program_of(structure, lambda: family.program(structure, data))
    stream = Stream(data, blocks, family.block_key) if is_streamed(data) else None
    trainer = Trainer(program, blocks, family.block_key, len(data.target), data.metric, data.seed, stream=stream)
    (reached,) = trainer.train([one], [None], epochs)
    if reached.failure is not None:
        raise RunError(f"the network {reached.failure.code} when it was trained on all rows: {reached.failure.message}")
    plain = trainer.program.plain(params, reached.now.flat, reached.now.state)
    model = finished(plain, structure.signature, block.center, block.scale)
    names = tuple(i.name for i in structure.signature.inputs)
    kind = NetworkRegressor if data.task == "regression" else NetworkClassifier
    return kind(model, preparation, params, names)


def _all_rows(family: NetworkFamily, params: Params, data: TrainingSet) -> tuple[Block, Preparation]:
    """Return all rows as one fold whose rows are all trained on, and how they were prepared."""
    if is_streamed(data):
        block = streamed_block(family, params, data, -1)
        assert block.preparation is not None
        return block, block.preparation
    rows, nothing = np.arange(len(data.target)), np.arange(0)
    preparation = family.prepare(params, data, rows)
    target, center, scale = standardised(data, rows)
    inputs = preparation.transform(data.features)
    return Block(inputs, target, rows, nothing, nothing, center, scale, preparation.initial()), preparation


def finished(model: keras.Model, signature: Signature, center: float, scale: float) -> keras.Model:
    """Return a model that gives probabilities, or numbers in the target's own units, for one that gives logits."""
    if signature.gives_probabilities:
        return model
    if signature.goal == "regression":
        last: Any = keras.layers.Rescaling(scale, center, dtype="float32", name="units")
    else:
        kind = "sigmoid" if signature.goal == "binary" else "softmax"
        last = keras.layers.Activation(kind, dtype="float32", name="probabilities")
    return keras.Model(model.inputs, last(model.outputs[0]))


def load(family: NetworkFamily, folder: Path, signature: encode.Signature) -> Fitted:
    """Load what `files` gave.

    Raises:
        ValueError: A file is damaged, or holds what Keras does not load in safe mode.
        FileNotFoundError: A file is missing.
    """
    described = json.loads((folder / PARAMS_FILE).read_text(encoding="utf-8"))
    model, preparation = keras_file.load(folder / MODEL_FILE), family.load_preparation(folder)
    named = tuple(c.name for c in signature.columns if c.kind in family.kinds)
    if sorted(preparation.reads) != sorted(named):
        raise ValueError(f"the preparation reads {sorted(preparation.reads)}, and the signature has {sorted(named)}")
    kind = NetworkRegressor if signature.task == "regression" else NetworkClassifier
    return kind(model, preparation, described["params"], tuple(described["inputs"]))
