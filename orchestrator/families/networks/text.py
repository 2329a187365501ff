"""The family `text`: networks over words, with a vocabulary of each fold's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from orchestrator.data.encode import Kind
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.attached import path_of
from orchestrator.families.base import Shape
from orchestrator.families.networks import parameters, words
from orchestrator.families.networks.family import SGD, NetworkFamily, Preparation
from orchestrator.families.networks.parameters import Choice, File, Flag, Number, Parameter
from orchestrator.families.networks.structure import Input, Signature
from orchestrator.space import Conditions, Params, Range, Space, dimensions

RECURRENT = frozenset({"lstm", "gru"})


class Text(NetworkFamily):
    """The family `text`: an embedding, an encoder over all words, a dense layer.

    Several text columns are read as one, with a space between them. Members of `average` and `conv` train together and
    reach the weights of Keras's `fit` on the same batches, with one exception: under adaptive optimizers. On TensorFlow
    Keras gives them an embedding's gradient as rows with repetitions, which it squares one by one; here a word's rows
    are added up first, as the mathematics of those optimizers has it, so that the embeddings part ways.
    """

    name = "text"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    own: ClassVar[Mapping[str, Parameter]] = {
        "vocabulary": Number(10_000, 3, 10_000_000, is_whole=True),
        "length": Number(200, 1, 100_000, is_whole=True),
        "truncate": Choice("head", ("head", "tail")),
        "vectors": File(),
        "embedding_width": Number(16, 1, 4096, is_whole=True),
        "encoder": Choice("average", ("average", "conv", "lstm", "gru")),
        "pooling": Choice("masked", ("average", "masked", "max")),
        "filters": Number(64, 1, 65536, is_whole=True),
        "kernel_size": Number(5, 1, 1024, is_whole=True),
        "units": Number(32, 1, 65536, is_whole=True),
        "bidirectional": Flag(),
        "width_1": Number(16, 1, 65536, is_whole=True),
        **parameters.HIDDEN,
    }
    layers = frozenset(
        {"encoder", "vocabulary", "length", "embedding_width", "pooling", "kernel_size", "units", "bidirectional"}
    )
    fused_widths = frozenset({"filters", "width_1"})
    preparing = frozenset({"vocabulary", "length", "truncate", "vectors"})
    most_fused = 8  # more save nothing, since what takes longest runs member by member; other workers would be idle
    conditions: ClassVar[Conditions] = {
        **SGD,
        "pooling": ("encoder", frozenset({"average"})),
        "filters": ("encoder", frozenset({"conv"})),
        "kernel_size": ("encoder", frozenset({"conv"})),
        "units": ("encoder", RECURRENT),
        "bidirectional": ("encoder", RECURRENT),
    }

    def default_space(self, shape: Shape) -> Space:
        """Return averages over the words of a text's beginning and end."""
        n_rows = shape.n_train_smallest
        return {
            "encoder": ["average"],
            "vocabulary": 20_000 if n_rows > 4000 else 5000,
            "length": [200, 400],
            "pooling": ["masked"],
            "embedding_width": [16],
            "width_1": [16, 32, 64],
            "activation": ["relu", "tanh"],
            "dropout": Range(0.0, 0.6),
            **parameters.training_space(Range(5e-4, 2e-2, log=True), [128 if n_rows > 4000 else 32], 15, shape.task),
        }

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form, paths of vectors absolute.

        Raises:
            JobError: A parameter or a value is unknown, or vectors are not as wide as the embedding.
        """
        found = super().checked_space(space, shape, key)
        dims = dimensions(found)
        widths = dims.get("embedding_width", (self.own["embedding_width"].default,))
        for path in dims.get("vectors", ()):  # type: ignore[union-attr]
            if path == "none":
                continue
            width = words.vector_width(Path(str(path)), f"{key}.vectors")
            if isinstance(widths, Range) or tuple(widths) != (width,):
                raise JobError(f"{key}.embedding_width: {path} has vectors of {width} numbers; expected {width}")
        return found

    def inputs(self, params: Params, shape: Shape) -> Sequence[Input]:
        """Return the ids of words."""
        return [Input(words.WORDS, (int(params["length"]),), "int32", int(params["vocabulary"]))]

    def is_fused(self, params: Params) -> bool:
        """Tell that all but recurrent networks are."""
        return params["encoder"] not in RECURRENT

    def n_weights(self, params: Params, shape: Shape) -> int:
        """Return about how many weights a member has, most of them in the table of words."""
        return self._table(params) + self._beyond(params, shape)

    def _table(self, params: Params) -> int:
        return int(params["vocabulary"]) * int(params["embedding_width"])

    def _beyond(self, params: Params, shape: Shape) -> int:
        width, encoded = int(params["embedding_width"]), self._encoded(params)
        kernels = {"average": 0, "conv": int(params.get("kernel_size", 0)) * width * encoded}
        units = int(params.get("units", 0))
        encoder = kernels.get(str(params["encoder"]), (encoded // (units or 1)) * 4 * units * (units + width))
        return encoder + int(params["width_1"]) * (encoded + max(1, shape.n_classes))

    def _encoded(self, params: Params) -> int:
        """Return how many numbers the encoder gives."""
        if params["encoder"] in RECURRENT:
            return int(params["units"]) * (2 if params.get("bidirectional") else 1)
        return int(params["filters"] if params["encoder"] == "conv" else params["embedding_width"])

    def row_floats(self, params: Params, shape: Shape) -> int:
        """Return about how many numbers a text takes: its ids and places, and each word's vectors if they are kept."""
        a_word = 6
        if params["encoder"] == "conv" or params.get("pooling") == "max":
            a_word += 4 * int(params["embedding_width"]) + 6 * int(params.get("filters", 0))
        return a_word * int(params["length"]) + 8 * (int(params["width_1"]) + self._encoded(params))

    def complexity(self, params: Params) -> float:
        """Return about how many weights there are."""
        settings = self.settings(params, "")
        width = int(settings["width_1"])
        return float(self._table(settings) + width * self._encoded(settings))

    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Fit the vocabulary."""
        columns = [c.name for c in data.columns if c.kind == "text"]
        texts = words.texts_of(data, columns)
        n_ids, file = int(params["vocabulary"]), params.get("vectors", "none")
        known = words.most_frequent(texts, rows, n_ids - words.N_SPECIAL)
        vectors = None if file == "none" else words.vectors_of(path_of(str(file), data.files), known, n_ids)
        return words.WordPreparation(columns, known, int(params["length"]), str(params["truncate"]), vectors)

    def load_preparation(self, folder: Path) -> Preparation:
        """Read the vocabulary."""
        return words.WordPreparation.load(folder)

    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Return the encoder with a dense layer on it."""
        from orchestrator.families.networks import recurrent_kit as steps

        (one,) = signature.inputs
        encoder, width = params["encoder"], int(params["embedding_width"])
        ids = kit.input(one.name, one.shape, one.dtype)
        if encoder == "average" and params["pooling"] != "max":
            x = steps.averaged(kit, "embedding", ids, one.n_values, width, str(params["pooling"]))
        else:
            x = steps.embedded(kit, "embedding", ids, one.n_values, width)
            if encoder in RECURRENT:
                x = steps.recurrent(x, str(encoder), int(params["units"]), bool(params["bidirectional"]))
            elif encoder == "conv":
                x = steps.summary(steps.convolved(kit, 1, x, "filters", int(params["kernel_size"])), "max")
            else:
                x = steps.summary(x, "max")
        x = kit.dropout("dropout_0", x)
        x = kit.hidden(2, kit.dense("dense_2", x, "width_1"), "width_1")
        return kit.model(kit.head(x, signature.n_outputs))
