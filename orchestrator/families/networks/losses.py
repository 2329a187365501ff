"""The losses, as Keras computes them, with each member's own label smoothing and class weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from orchestrator.families.networks.schedule import EPSILON
from orchestrator.families.networks.structure import LOSSES, Signature
from orchestrator.space import Params


def hyper_shapes(signature: Signature) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what a member's loss takes, by name."""
    if signature.goal == "regression":
        return {"loss": (len(LOSSES),)}
    return {"smoothing": (), "class_weight": (max(2, signature.n_outputs),)}


def hyper_of(params: Params, signature: Signature, class_counts: Any) -> dict[str, Any]:
    """Return what a member's loss takes.

    Args:
        params: The configuration.
        signature: Of the network.
        class_counts: Rows of each class in the training rows, shape (classes,); of no meaning for regression.
    """
    if signature.goal == "regression":
        return {"loss": np.eye(len(LOSSES), dtype=np.float32)[LOSSES.index(params.get("loss", "mse"))]}
    n_classes = max(2, signature.n_outputs)
    weights = np.ones(n_classes, np.float32)
    if params.get("class_weight", "none") == "balanced":
        weights = (class_counts.sum() / (n_classes * np.maximum(class_counts, 1))).astype(np.float32)
    return {"smoothing": np.float32(params.get("label_smoothing", 0.0)), "class_weight": weights}


def loss_of(signature: Signature, outputs: Any, target: Any, hyper: Mapping[str, Any]) -> Any:
    """Return one member's mean loss over a batch; outputs are logits, numbers, or probabilities where they say so."""
    outputs = tf.cast(outputs, tf.float32)  # a model of the user's may give bfloat16
    logits = _logarithms(outputs) if signature.gives_probabilities else outputs
    if signature.goal == "regression":
        error = logits[:, 0] - target
        size = tf.abs(error)
        huber = tf.where(size <= 1.0, 0.5 * error * error, size - 0.5)
        options = tf.stack([tf.reduce_mean(error * error), tf.reduce_mean(size), tf.reduce_mean(huber)])
        return tf.reduce_sum(options * hyper["loss"])
    weight = tf.gather(hyper["class_weight"], target)
    if signature.goal == "binary":
        smooth = tf.cast(target, logits.dtype) * (1.0 - hyper["smoothing"]) + 0.5 * hyper["smoothing"]
        return tf.reduce_mean(weight * tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits[:, 0]))
    n_logits = logits.shape[-1]  # padded ones among them
    labels = tf.one_hot(target, n_logits, dtype=logits.dtype)
    real = tf.constant([float(i < signature.n_outputs) for i in range(n_logits)], logits.dtype)
    smooth = labels * (1.0 - hyper["smoothing"]) + real * (hyper["smoothing"] / signature.n_outputs)
    return tf.reduce_mean(weight * tf.nn.softmax_cross_entropy_with_logits(smooth, logits))


def _logarithms(outputs: Any) -> Any:
    """Return logits of probabilities, as far as they can be told from 0 and 1; of one, those of both classes."""
    both = tf.concat([1.0 - outputs, outputs], axis=-1) if outputs.shape[-1] == 1 else outputs
    return tf.math.log(tf.clip_by_value(both, EPSILON, 1.0 - EPSILON))


def probabilities(signature: Signature, outputs: Any) -> Any:
    """Return class probabilities, shape (..., classes), float64; numbers themselves for regression."""
    x = np.asarray(outputs, np.float64)
    if signature.gives_probabilities:
        both = np.concatenate([1.0 - x, x], axis=-1) if x.shape[-1] == 1 else x
        return both / both.sum(axis=-1, keepdims=True)
    if signature.goal == "regression":
        return x[..., 0]
    if signature.goal == "binary":
        positive = 1.0 / (1.0 + np.exp(-np.clip(x[..., 0], -500, 500)))
        return np.stack([1.0 - positive, positive], axis=-1)
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def mean_losses(signature: Signature, answers: Any, target: Any) -> Any:
    """Return the plain loss of answers (members, rows, classes) or (members, rows): shape (members,)."""
    if signature.goal == "regression":
        return np.square(answers - target).mean(axis=1)
    picked = np.take_along_axis(answers, target[..., np.newaxis].astype(np.int64), axis=2)[..., 0]
    return -np.log(np.maximum(picked, 1e-12)).mean(axis=1)
