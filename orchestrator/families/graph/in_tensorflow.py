"""Graphs in TensorFlow: operations that are traced while a `tf.function` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from orchestrator.families.graph.base import Elementwise, Tensor
from orchestrator.families.networks import words

_OPERATIONS: Mapping[Elementwise, Callable[..., Any]] = {
    "Abs": tf.abs,
    "Add": tf.add,
    "Div": tf.divide,
    "Equal": tf.equal,
    "GreaterOrEqual": tf.greater_equal,
    "IsInf": tf.math.is_inf,
    "IsNaN": tf.math.is_nan,
    "MatMul": tf.matmul,
    "Max": tf.maximum,
    "Min": tf.minimum,
    "Mul": tf.multiply,
    "Pow": tf.pow,
    "Sqrt": tf.sqrt,
    "Sub": tf.subtract,
    "Where": tf.where,
}


class TensorFlowGraph:
    """A graph in TensorFlow; `kept` holds what a saved model must keep: tables and networks."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def constant(self, value: Any) -> Tensor:
        """Return a constant."""
        array = np.asarray(value)
        return tf.constant(array.tolist(), tf.string) if array.dtype == object else tf.constant(array)

    def apply(self, name: Elementwise, *operands: Tensor) -> Tensor:
        """Apply an operation."""
        return _OPERATIONS[name](*operands)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Cast."""
        return tf.cast(x, dtype)

    def joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenate."""
        return tf.concat(parts, axis)

    def taken(self, x: Tensor, places: Tensor, axis: int) -> Tensor:
        """Gather."""
        return tf.gather(x, places, axis=axis)

    def reshaped(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshape."""
        return tf.reshape(x, shape)

    def total(self, x: Tensor, axis: int) -> Tensor:
        """Sum."""
        return tf.reduce_sum(x, axis=axis, keepdims=True)

    def largest_place(self, x: Tensor) -> Tensor:
        """Return where the largest number of a row is."""
        return tf.argmax(x, axis=1)

    def smallest(self, x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the smallest numbers of a row and their places."""
        found, place = tf.math.top_k(-x, n)
        return -found, tf.cast(place, tf.int64)

    def codes(self, strings: Tensor, known: Mapping[str, int], default: int) -> Tensor:
        """Look strings up."""
        with tf.init_scope():
            pairs = tf.lookup.KeyValueTensorInitializer(list(known), list(known.values()), tf.string, tf.int64)
            table = tf.lookup.StaticHashTable(pairs, default)
        self.kept.append(table)
        return table.lookup(strings)

    def of_length(self, x: Tensor, length: int, value: float) -> Tensor:
        """Cut or fill up."""
        margins = [[0, 0], [0, length], *[[0, 0]] * (len(x.shape) - 2)]
        return tf.ensure_shape(tf.pad(x, margins, constant_values=value)[:, :length], [None, length, *x.shape[2:]])

    def word_ids(self, columns: Sequence[Tensor], known: Sequence[str], length: int, truncate: str) -> Tensor:
        """Split texts, look words up, cut or fill up at the front."""
        texts = tf.strings.join(columns, " ")
        # Arrow lowers letter by letter; TensorFlow knows of a sigma at a word's end, and of a dot above an i.
        for letter, lower in (("Σ", "σ"), ("İ", "i")):
            texts = tf.strings.regex_replace(texts, letter, lower)
        texts = tf.strings.lower(texts, encoding="utf-8")
        texts = tf.strings.regex_replace(texts, "[" + "".join("\\" + one for one in words.PUNCTUATION) + "]", "")
        split = tf.strings.split(texts)
        ids = {word: place + words.N_SPECIAL for place, word in enumerate(known)}
        found = split.with_values(tf.cast(self.codes(split.values, ids, 1), tf.int32))
        found = found[:, :length] if truncate == "tail" else found[:, -length:]
        lengths = tf.cast(found.row_lengths(), tf.int32)
        right = found.to_tensor(0, shape=[None, length])
        place = tf.range(length)[tf.newaxis] - (length - lengths[:, tf.newaxis])
        moved = tf.gather(right, tf.maximum(place, 0), axis=1, batch_dims=1)
        return tf.where(place >= 0, moved, 0)

    def network(self, model: Any, inputs: Sequence[Tensor]) -> Tensor:
        """Call a Keras model."""
        self.kept.append(model)
        return model(list(inputs), training=False)
