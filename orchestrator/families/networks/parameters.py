"""What hyperparameters networks have, what values they may take, and the space of a search that names none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.families.networks.schedule import OPTIMIZERS, SCHEDULES
from orchestrator.families.networks.structure import LOSSES
from orchestrator.space import Conditions, Dimension, Range, Space, dimensions

NORMALIZATIONS = ("none", "batch", "layer")
ACTIVATIONS = ("relu", "tanh", "gelu", "silu", "elu", "selu", "leaky_relu", "sigmoid")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words; `none` may be written as null."""

    default: str
    values: tuple[str, ...]

    def checked(self, key: str, dimension: Dimension) -> list[Any]:
        """Return the values of a dimension.

        Raises:
            JobError: One of them is unknown.
        """
        if isinstance(dimension, Range):
            raise JobError(f"{key}: expected a list of {', '.join(self.values)}, found low and high")
        given = ["none" if value is None else value for value in dimension]
        for value in given:
            if value not in self.values:
                raise JobError(f"{key}: no such value {shown(value)}.{did_you_mean(value, self.values)}")
        return given


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`; `or_none` where `none` is a value too; `multiple_of` some whole number."""

    default: Any
    low: float
    high: float
    is_whole: bool = False
    or_none: bool = False
    multiple_of: int = 1

    def checked(self, key: str, dimension: Dimension) -> Range | list[Any]:
        """Return the dimension, null written as `none`.

        Raises:
            JobError: A value is out of range, or no number.
        """
        values: list[Any] = [dimension.low, dimension.high] if isinstance(dimension, Range) else list(dimension)
        if self.is_whole and isinstance(dimension, Range) and not dimension.is_integer:
            raise JobError(f"{key}: expected whole numbers for low, high and step, found {shown(dimension.low)}")
        if self.or_none:
            values = ["none" if value is None else value for value in values]
        for value in values:
            if self.or_none and value == "none":
                continue
            kinds = int if self.is_whole else (int, float)
            is_one = isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high
            if not is_one or (self.is_whole and value % self.multiple_of):
                what = "whole numbers" if self.is_whole else "numbers"
                what = f"multiples of {self.multiple_of}" if self.multiple_of > 1 else what
                also = ", or none" if self.or_none else ""
                raise JobError(f"{key}: expected {what} from {self.low:g} to {self.high:g}{also}; found {shown(value)}")
        return dimension if isinstance(dimension, Range) else values


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    default: bool = False

    def checked(self, key: str, dimension: Dimension) -> list[Any]:
        """Return the values of a dimension.

        Raises:
            JobError: One of them is neither.
        """
        values: list[Any] = [dimension.low] if isinstance(dimension, Range) else list(dimension)
        for value in values:
            if not isinstance(value, bool):
                raise JobError(f"{key}: expected true or false, found {shown(value)}")
        return values


@dataclass(frozen=True, slots=True)
class File:
    """The path of a file, made absolute, or `none`; a trial has the file's name and hash in its place."""

    default: str = "none"

    def checked(self, key: str, dimension: Dimension) -> list[Any]:
        """Return the paths of a dimension.

        Raises:
            JobError: There is no such file.
        """
        values: list[Any] = [dimension.low] if isinstance(dimension, Range) else list(dimension)
        for value in values:
            if value not in (None, "none") and not (isinstance(value, str) and Path(value).is_file()):
                raise JobError(f"{key}: expected a file, or none; found {shown(value)}, which is no file")
        return ["none" if value in (None, "none") else str(Path(value).resolve()) for value in values]


Parameter = Choice | Number | Flag | File
ROWS_SEEN = 400_000
"""How often a default space lets a network look at rows, all in all: few rows are looked at more often, in bounds."""
TRAINING: Mapping[str, Parameter] = {
    "optimizer": Choice("adam", OPTIMIZERS),
    "momentum": Number(0.9, 0.0, 0.9999),
    "learning_rate": Number(1e-3, 1e-12, 1e6),
    "schedule": Choice("constant", SCHEDULES),
    "weight_decay": Number(0.0, 0.0, 1.0),
    "batch_size": Number(128, 1, 65536, is_whole=True),
    "epochs": Number(30, 1, 100_000, is_whole=True),
    "patience": Number(5, 1, 100_000, is_whole=True, or_none=True),
}
"""What every network has."""
CLASSIFYING: Mapping[str, Parameter] = {
    "label_smoothing": Number(0.0, 0.0, 0.99),
    "class_weight": Choice("none", ("none", "balanced")),
}
REGRESSING: Mapping[str, Parameter] = {"loss": Choice("mse", LOSSES)}
HIDDEN: Mapping[str, Parameter] = {
    "activation": Choice("relu", ACTIVATIONS),
    "normalization": Choice("none", NORMALIZATIONS),
    "dropout": Number(0.0, 0.0, 0.95),
}
"""What every network of ours has beside."""


def of_task(task: str) -> Mapping[str, Parameter]:
    """Return the parameters that only a task's networks have."""
    return REGRESSING if task == "regression" else CLASSIFYING


def checked(family: str, table: Mapping[str, Parameter], space: Space, key: str) -> Space:
    """Return a space in canonical form.

    Raises:
        JobError: A parameter is unknown, or a value of one does not fit.
    """
    found: Space = {}
    for name, dimension in dimensions(space).items():
        if name not in table:
            raise JobError(f"{key}: {family} has no parameter {name!r}.{did_you_mean(name, table)}")
        found[name] = table[name].checked(f"{key}.{name}", dimension)
    return found


def with_parents(table: Mapping[str, Parameter], conditions: Conditions, space: Space) -> Space:
    """Return a space with what its parameters hang on, at its default: `width_1` alone means nothing without `depth`.

    Args:
        table: All parameters.
        conditions: Which of them mean something only under certain values of another.
        space: A checked space.
    """
    found = dict(space)
    for name in space:
        parent, values = conditions.get(name, (name, frozenset()))
        if parent not in space and table[parent].default in values:
            found[parent] = [table[parent].default]
    return found


def widths(n_layers: int, default: int = 64) -> Mapping[str, Parameter]:
    """Return a width a layer: `width_1` and so on."""
    return {f"width_{i}": Number(default, 1, 65536, is_whole=True) for i in range(1, n_layers + 1)}


def width_conditions(
    n_layers: int, parent: str = "depth", name: str = "width"
) -> dict[str, tuple[str, frozenset[Any]]]:
    """Return that a width means something only where its layer is there."""
    return {f"{name}_{i}": (parent, frozenset(range(i, n_layers + 1))) for i in range(2, n_layers + 1)}


def epochs_for(n_rows: int) -> int:
    """Return the epochs of a default space for `n_rows` training rows."""
    return max(20, min(100, ROWS_SEEN // n_rows))


def training_space(rates: Range, batch_sizes: Sequence[int], epochs: int, task: str) -> Space:
    """Return the part of a default space that is about training."""
    space: Space = {
        "optimizer": ["adamw", "rmsprop", "sgd"],  # weight decay is decoupled here, so that adam is adamw
        "momentum": [0.9],
        "learning_rate": rates,
        "schedule": ["constant", "cosine", "warmup_cosine"],
        "weight_decay": Range(1e-6, 1e-2, log=True),
        "batch_size": list(batch_sizes),
        "epochs": epochs,
        "patience": max(5, epochs // 6),
    }
    if task == "classification":
        space["label_smoothing"] = [0.0, 0.1]
    return space
