"""Optimizers and learning-rate schedules as numbers a member, so that members with different ones train as one program.

One update rule covers SGD with momentum, RMSprop, Adam and AdamW as Keras computes them, by its coefficients:

    first  = first_keep * first + first_gain * gradient
    second = second_keep * second + second_gain * gradient**2
    weight = weight - weight * decay - rate * first / (sqrt(second + inner) + outer)

Plain SGD is the one whose `second` stays 0 under an `inner` of 1; RMSprop the one whose `first` is the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.data.encode import Floats
from orchestrator.space import Params

OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "warmup", "warmup_cosine")
WARM_UP = 0.1
"""The share of all steps in which a warm-up rises linearly to the learning rate."""
BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7
"""Keras's defaults."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The update rule of each member at each step of an epoch; arrays of shape (members, steps), float32."""

    first_keep: Floats
    first_gain: Floats
    second_keep: Floats
    second_gain: Floats
    inner: Floats
    outer: Floats
    rate: Floats
    decay: Floats

    def stacked(self) -> Floats:
        """Return all of them as one array of shape (8, members, steps), float32."""
        parts = [getattr(self, name) for name in self.__dataclass_fields__]
        return np.stack(parts).astype(np.float32)


def learning_rates(params: Params, steps: Floats, n_steps: int) -> Floats:
    """Return the learning rate at each of `steps` (counted from 0) of a training of `n_steps`."""
    schedule, rate = params.get("schedule", "constant"), float(params["learning_rate"])
    warm = max(1.0, np.floor(WARM_UP * n_steps)) if schedule.startswith("warmup") else 0.0
    risen = np.minimum(1.0, (steps + 1) / warm) if warm else np.ones_like(steps)
    if not schedule.endswith("cosine"):
        return np.asarray(rate * risen)
    progress = np.clip((steps - warm) / max(1.0, n_steps - warm), 0.0, 1.0)
    return np.asarray(rate * np.where(steps < warm, risen, 0.5 * (1 + np.cos(np.pi * progress))))


def coefficients(members: Sequence[Params], first_step: int, n_steps: int, steps_per_epoch: int) -> Coefficients:
    """Return the coefficients of some steps of an epoch.

    Args:
        members: The members' configurations.
        first_step: How many steps have gone before.
        n_steps: How many steps.
        steps_per_epoch: Steps of this epoch, and of every other one.
    """
    rows = [_of_member(params, first_step, n_steps, steps_per_epoch) for params in members]
    return Coefficients(*(np.stack(column) for column in zip(*rows, strict=True)))


def _of_member(params: Params, first_step: int, n_steps: int, steps_per_epoch: int) -> tuple[Floats, ...]:
    steps = np.arange(first_step, first_step + n_steps, dtype=np.float64)
    rate = learning_rates(params, steps, steps_per_epoch * int(params["epochs"]))
    one, nothing = np.ones_like(rate), np.zeros_like(rate)
    decay = rate * float(params.get("weight_decay", 0.0))
    optimizer = params.get("optimizer", "adam")
    if optimizer == "sgd":
        return one * float(params.get("momentum", 0.0)), rate, nothing, nothing, one, nothing, one, decay
    if optimizer == "rmsprop":
        return nothing, one, one * RHO, one * (1 - RHO), one * EPSILON, nothing, rate, decay
    corrected = rate * np.sqrt(1 - BETA_2 ** (steps + 1)) / (1 - BETA_1 ** (steps + 1))
    return (
        one * BETA_1,
        one * (1 - BETA_1),
        one * BETA_2,
        one * (1 - BETA_2),
        nothing,
        one * EPSILON,
        corrected,
        decay,
    )
