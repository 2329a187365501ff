"""The layers of text and sequence networks, as functions over a kit: embeddings, convolution over steps, recurrence.

An embedding's gradient adds a row for every word of a batch to a table. TensorFlow's kernels for that, and what
`tf.vectorized_map` makes of them, take several times as long as all the rest of such a network. In a population the
sum is a product with a sparse matrix instead, one member after another: exactly the same numbers to add, in the order
of the batch, whatever the company.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import layers, ops

from orchestrator.families.networks.kit import PlainKit, PopulationKit


class MemberEmbedding(layers.Layer):  # type: ignore[misc]
    """Keras's `Embedding`, and what may follow it at once: the mean over words.

    Args:
        n_values: Rows of the table.
        width: Numbers of a row.
        pooling: `none`; `average` over all places; `masked` over those that are no padding.
    """

    def __init__(self, n_values: int, width: int, pooling: str = "none", **settings: Any) -> None:
        super().__init__(autocast=False, **settings)
        self.pooling = pooling
        self.embeddings = self.add_weight(name="embeddings", shape=(n_values, width), initializer="uniform")

    def call(self, ids: Any) -> Any:
        """Look up."""
        table = tf.convert_to_tensor(self.embeddings)
        if self.pooling == "none":
            return tf.cast(_looked_up(table, ids), self.compute_dtype)
        weights = tf.ones_like(ids, table.dtype) if self.pooling == "average" else tf.cast(ids != 0, table.dtype)
        n_words = tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)
        return tf.cast(_summed(table, ids, weights) / n_words, self.compute_dtype)


def _pairs(rows: Any, columns: Any) -> Any:
    """Return places in a sparse matrix, shape (n, 2), int32: two numbers of 32 bits are written as one of 64."""
    packed = tf.cast(rows, tf.int64) + tf.cast(columns, tf.int64) * 2**32
    return tf.bitcast(packed, tf.int32)


def _product(pairs: Any, weights: Any, shape: Any, dense: Any, is_transposed: bool = False) -> Any:
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=pairs,
        a_values=weights,
        a_shape=tf.cast(tf.stack(shape), tf.int64),
        b=dense,
        adjoint_a=is_transposed,
    )


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _looked_up(table: Any, ids: Any) -> Any:
    """Return the table's rows of `ids`, shape (rows, steps, width)."""
    n_words, (n_values, width) = tf.size(ids), table.shape

    def gradient(upstream: Any) -> Any:
        pairs = _pairs(tf.range(n_words), tf.reshape(ids, [-1]))
        flat = tf.reshape(upstream, [-1, width])
        return _product(pairs, tf.ones([n_words], table.dtype), [n_words, n_values], flat, True), None

    return tf.gather(table, ids), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _summed(table: Any, ids: Any, weights: Any) -> Any:
    """Return the weighted sums of the table's rows over each row of `ids`, shape (rows, width)."""
    shape = tf.shape(ids)[0], table.shape[0]
    rows = tf.repeat(tf.range(shape[0]), ids.shape[1])
    pairs, flat = _pairs(rows, tf.reshape(ids, [-1])), tf.reshape(weights, [-1])

    def gradient(upstream: Any) -> Any:
        return _product(pairs, flat, shape, upstream, True), None, None

    return _product(pairs, flat, shape, table), gradient


def _is_looped(kit: PlainKit) -> bool:
    """Tell whether embeddings are products with sparse matrices, and say so to the kit: in populations, on CPUs."""
    if not isinstance(kit, PopulationKit) or tf.config.list_physical_devices("GPU"):
        return False
    kit.has_loops = True
    return True


def embedded(kit: PlainKit, name: str, ids: Any, n_values: int, width: int) -> Any:
    """Add a table of vectors, one a word: (rows, steps, width)."""
    if _is_looped(kit):
        return MemberEmbedding(n_values, width, name=name)(ids)
    return kit.embedding(name, ids, n_values, width)


def averaged(kit: PlainKit, name: str, ids: Any, n_values: int, width: int, pooling: str) -> Any:
    """Add a table of vectors and their mean, `average` over all places or `masked` over words: (rows, width)."""
    if _is_looped(kit):
        return MemberEmbedding(n_values, width, pooling, name=name)(ids)
    x = kit.embedding(name, ids, n_values, width)
    if pooling == "average":
        return layers.GlobalAveragePooling1D()(x)
    is_word = ops.cast(ops.not_equal(ids, 0), "float32")
    total = ops.sum(ops.multiply(x, ops.expand_dims(is_word, -1)), axis=1)
    return ops.divide(total, ops.maximum(ops.sum(is_word, axis=1, keepdims=True), 1.0))  # a text may have no words


def convolved(kit: PlainKit, number: int, x: Any, width: str, kernel: int) -> Any:
    """Add a convolution over steps with normalisation and activation; it keeps the number of steps.

    Members convolve one after another: written as one product of matrices for all of them it takes four times as long.
    """
    if isinstance(kit, PopulationKit):
        kit.has_loops = True
    return kit.activated(number, kit.conv1d(f"convolution_{number}", x, width, kernel), width)


def summary(x: Any, kind: str) -> Any:
    """Make one row of numbers of all steps: each channel's `average` or `max`."""
    return layers.GlobalMaxPooling1D()(x) if kind == "max" else layers.GlobalAveragePooling1D()(x)


def recurrent(x: Any, kind: str, units: int, is_bidirectional: bool) -> Any:
    """Add an LSTM or a GRU, and what it has in mind after the last step; in both directions, side by side."""
    made = {"lstm": layers.LSTM, "gru": layers.GRU}[kind](units, seed=0, name="recurrent")  # the seed is of dropout
    return (layers.Bidirectional(made, name="both") if is_bidirectional else made)(x)
