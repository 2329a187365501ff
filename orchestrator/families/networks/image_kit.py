"""The layers of image networks, as functions over a kit: pixels, convolution, pooling, augmentation."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import layers

from orchestrator.families.networks.kit import MemberDropout, PlainKit, PopulationKit

SHIFT = 0.1
"""How far an image is moved at most, as a share of its height and width."""
TURN = 0.26
"""How far it is turned at most, in radians: 15 degrees."""


def pixels(kit: PlainKit, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """Declare an input of images, shape (height, width, channels); bytes become numbers from 0 to 1."""
    x = kit.input(name, shape, dtype)
    return layers.Rescaling(1.0 / 255.0, name="unit_range")(x) if dtype == "uint8" else x


def convolution(kit: PlainKit, name: str, x: Any, filters: str, kernel: int) -> Any:
    """Add a convolution without activation, which keeps height and width.

    Raises:
        ValueError: The kernel is larger than what it slides over.
    """
    height, width = (int(n) for n in x.shape[1:3])
    if kernel > min(height, width):
        raise ValueError(
            f"kernel_size {kernel} does not fit {name}, whose input has {height} x {width} pixels; expected a smaller "
            "kernel_size, or fewer blocks before it"
        )
    settings: dict[str, Any] = {"use_bias": kit.is_biased, "name": name}
    if isinstance(kit, PopulationKit) and kit.structure.is_fused:
        return UnfoldedConvolution(kit.width(filters), kernel, **settings)(x)
    return layers.Conv2D(kit.width(filters), kernel, padding="same", **settings)(x)


def halved(x: Any, kind: str) -> Any:
    """Pool 2 x 2 pixels into one; a single pixel stays as it is.

    Args:
        x: The images.
        kind: `max` or `average`.
    """
    size = tuple(min(2, int(n)) for n in x.shape[1:3])
    return layers.MaxPooling2D(size)(x) if kind == "max" else layers.AveragePooling2D(size)(x)


def summary(x: Any, kind: str) -> Any:
    """Make one row of numbers of an image: all of them (`none`), or each channel's average or maximum."""
    made = {"none": layers.Flatten, "average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
    return made[kind]()(x)


def added(x: Any, y: Any) -> Any:
    """Add two images, number by number."""
    return layers.Add()([x, y])


def augmented(kit: PlainKit, x: Any, kind: str) -> Any:
    """Change the images at random while members train; the plain model has nothing of it.

    Args:
        kit: The kit.
        x: The images.
        kind: `none`, `shift`, `flip` (left to right) or `shift_rotate`.
    """
    if kind == "none" or not isinstance(kit, PopulationKit):
        return x
    kit.traits["augmentation/offset"] = lambda _, generator: generator.random()
    return Augmentation(kind, name="augmentation")(x)


class UnfoldedConvolution(layers.Layer):  # type: ignore[misc]
    """What Conv2D computes, as a product of matrices: `tf.vectorized_map` has no Conv2D with a kernel a member."""

    def __init__(self, filters: int, size: int, use_bias: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.filters, self.size, self.use_bias = filters, size, use_bias

    def build(self, shape: Sequence[int]) -> None:
        """Make the weights, by the names that Keras gives its own."""
        kernel = (self.size, self.size, shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=kernel, initializer="glorot_uniform")
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Any) -> Any:
        """Convolve."""
        height, width, channels = (int(n) for n in x.shape[1:])
        before = (self.size - 1) // 2
        margin = [before, self.size - 1 - before]
        padded = tf.pad(x, [[0, 0], margin, margin, [0, 0]])
        places = [(i, j) for i in range(self.size) for j in range(self.size)]
        windows = tf.concat([padded[:, i : i + height, j : j + width] for i, j in places], axis=-1)
        rows = tf.reshape(windows, [-1, len(places) * channels])
        made = tf.matmul(rows, tf.reshape(self.kernel, [len(places) * channels, self.filters]))
        return tf.reshape(made + self.bias if self.use_bias else made, [-1, height, width, self.filters])


class Augmentation(layers.Layer):  # type: ignore[misc]
    """Moves, turns or flips each image at random, as `MemberDropout` draws: by job seed, step and member alone."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.kind = kind

    def build(self, shape: Sequence[int]) -> None:
        """Make the trait."""
        self.offset = self.add_weight(name="offset", shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        """Change the images, shape (rows, height, width, channels)."""
        if not training:
            return x
        key = tf.constant([zlib.crc32(self.name.encode()) & 0x7FFFFFFF, 0], tf.int32)
        drawn = tf.random.stateless_uniform(tf.stack([3, tf.shape(x)[0]]), MemberDropout.step + key) + self.offset
        drawn = drawn - tf.floor(drawn)
        if self.kind == "flip":
            return tf.where(drawn[0, :, tf.newaxis, tf.newaxis, tf.newaxis] < 0.5, tf.reverse(x, [2]), x)
        height, width = (int(n) for n in x.shape[1:3])
        down, right = (_whole(drawn[i], max(1, round(SHIFT * n))) for i, n in enumerate((height, width)))
        if self.kind == "shift":
            return _shifted(_shifted(x, down, 1), right, 2)
        return _turned(x, down, right, (2.0 * drawn[2] - 1.0) * TURN)


def _whole(drawn: Any, most: int) -> Any:
    """Return whole numbers from -most to most for numbers from 0 to 1."""
    return tf.cast(tf.floor(drawn * (2 * most + 1)), tf.int32) - most


def _shifted(x: Any, by: Any, axis: int) -> Any:
    """Move each image along an axis; zeros come in."""
    size = int(x.shape[axis])
    places = tf.range(size) - by[:, tf.newaxis]
    taken = tf.gather(x, tf.clip_by_value(places, 0, size - 1), axis=axis, batch_dims=1)
    is_inside = tf.cast((places >= 0) & (places < size), x.dtype)
    shape = [-1, size, 1, 1] if axis == 1 else [-1, 1, size, 1]
    return taken * tf.reshape(is_inside, shape)


def _turned(x: Any, down: Any, right: Any, angle: Any) -> Any:
    """Turn each image about its centre and move it, by bilinear interpolation; zeros come in."""
    height, width, channels = (int(n) for n in x.shape[1:])
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    y = tf.cast(tf.reshape(rows, [1, -1]) - down[:, tf.newaxis], tf.float32) - (height - 1) / 2
    z = tf.cast(tf.reshape(columns, [1, -1]) - right[:, tf.newaxis], tf.float32) - (width - 1) / 2
    cosine, sine = tf.cos(angle)[:, tf.newaxis], tf.sin(angle)[:, tf.newaxis]
    from_row = cosine * y - sine * z + (height - 1) / 2
    from_column = sine * y + cosine * z + (width - 1) / 2
    flat = tf.reshape(x, [-1, height * width, channels])
    total = tf.zeros_like(flat)
    for above in (0, 1):
        for left in (0, 1):
            row, column = tf.floor(from_row) + above, tf.floor(from_column) + left
            share = (1.0 - tf.abs(from_row - row)) * (1.0 - tf.abs(from_column - column))
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = tf.cast(tf.where(is_inside, row * width + column, 0.0), tf.int32)
            taken = tf.gather(flat, place, axis=1, batch_dims=1)
            total += taken * tf.where(is_inside, share, 0.0)[:, :, tf.newaxis]
    return tf.reshape(total, [-1, height, width, channels])
