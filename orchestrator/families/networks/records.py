"""What passes between units that prepare, train and go on training: prepared folds, and how far members are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.families.base import Failure

if TYPE_CHECKING:
    from orchestrator.families.networks.family import Preparation

Array = np.ndarray[Any, Any]
BlockKey = tuple[tuple[tuple[str, Any], ...], int]
"""What names a prepared fold: the parameters that it was prepared by, and its number (-1 for all rows)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fold, prepared: the inputs of all rows, and which of them are for what.

    Where the rows are in a file, the block holds those to look at (`inner`) alone, and how the others are prepared.

    Attributes:
        inputs: Arrays by name, rows along axis 0.
        target: Class codes (int32) or standardised numbers (float32), shape (rows,).
        fit: Places of the rows to train on.
        inner: Places of the rows held back inside the training rows; empty where nothing is chosen by them.
        scored: Places of the rows whose answers are asked for.
        center: What a standardised target is short of, by `scale`.
        scale: What one unit of a standardised target is.
        initial: Weights that are not drawn at random, by their variables' paths; nan where they are all the same.
        preparation: What makes inputs of rows in a file.
    """

    inputs: Mapping[str, Array]
    target: Array
    fit: Array
    inner: Array
    scored: Array
    center: float = 0.0
    scale: float = 1.0
    initial: Mapping[str, Array] = field(default_factory=dict)
    preparation: Preparation | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A member's weights and what else the model holds."""

    flat: Array
    state: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch whose weights are kept so far, counted from 1, with what the inner rows said of it.

    `score` is minus infinity where the metric has no meaning there; such an epoch is kept by its loss, until one has.
    """

    epoch: int
    score: float
    loss: float
    weights: Weights


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a member is: enough to go on from.

    Attributes:
        epoch: Epochs trained.
        now: Its weights.
        moments: First and second moments, shape (2, n_weights).
        best: The best epoch so far.
        is_over: Whether it has stopped early.
        failure: Why it diverged.
        curve: The inner score after each epoch, nan where the metric has no meaning there.
    """

    epoch: int
    now: Weights
    moments: Array
    best: Best | None = None
    is_over: bool = False
    failure: Failure | None = None
    curve: tuple[float, ...] = ()

    @property
    def kept(self) -> Weights:
        """The weights that count."""
        return self.best.weights if self.best is not None else self.now

    @property
    def kept_epoch(self) -> int:
        """The epoch that they are from."""
        return self.best.epoch if self.best is not None else self.epoch
