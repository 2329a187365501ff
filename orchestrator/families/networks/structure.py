"""Which trials can train together: what a population has in common, and how its members differ. Knows no TensorFlow."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.families.base import Shape
from orchestrator.space import Dimension, Params, Range, key_of

PADS = (128, 512, 2048, 8192)
"""A width is padded to the smallest of these, or to the space's widest where that is less: never by who else trains."""
LOSSES = ("mse", "mae", "huber")
"""Of regression, whose target is standardised by the training rows."""
Goal = Literal["multiclass", "binary", "regression"]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a network: its name, the shape of one row, its dtype, and how many values its codes may have."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    n_values: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """What a network takes and gives: a row's inputs, what is predicted, and how many outputs that takes."""

    inputs: tuple[Input, ...]
    goal: Goal
    n_outputs: int
    gives_probabilities: bool = False

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        return "regression" if self.goal == "regression" else "classification"

    @property
    def n_classes(self) -> int:
        """How many classes there are; 0 for regression."""
        return {"regression": 0, "binary": 2}.get(self.goal, self.n_outputs)

    @classmethod
    def of(cls, inputs: Iterable[Input], task: str, n_classes: int) -> Signature:
        """Describe a network for a task: one logit for two classes, one a class for more, one number for regression."""
        if task == "regression":
            return cls(tuple(inputs), "regression", 1)
        return cls(tuple(inputs), "binary", 1) if n_classes == 2 else cls(tuple(inputs), "multiclass", n_classes)


@dataclass(frozen=True, slots=True)
class Structure:
    """What the members of one population have in common.

    Attributes:
        family: The family's name.
        signature: Inputs and outputs.
        fixed_items: The structural parameters.
        pad_items: Padded widths, by parameter.
        option_items: The values that members choose from, by parameter, where there are several.
        has_dropout: Whether any member may have dropout.
        is_fused: Whether members train as one program; else one after another, by a program that they share.
        initializing: Other parameters that the first weights depend on.
    """

    family: str
    signature: Signature
    fixed_items: tuple[tuple[str, Any], ...]
    pad_items: tuple[tuple[str, int], ...]
    option_items: tuple[tuple[str, tuple[Any, ...]], ...]
    has_dropout: bool
    is_fused: bool
    initializing: tuple[str, ...] = ()

    @property
    def fixed(self) -> Mapping[str, Any]:
        """The structural parameters."""
        return dict(self.fixed_items)

    @property
    def pads(self) -> Mapping[str, int]:
        """Padded widths, by parameter."""
        return dict(self.pad_items)

    @property
    def options(self) -> Mapping[str, tuple[Any, ...]]:
        """The values that members choose from, by parameter."""
        return dict(self.option_items)


LANES = 16
"""What fused widths are multiples of: TensorFlow sums over rows in vectors of so many columns, and a vector that holds
columns of two members would round by who they are."""


def padded(width: int, widest: int) -> int:
    """Return the width that a layer of `width` units is padded to."""
    return in_lanes(min(widest, next((pad for pad in PADS if pad >= width), width)))


def in_lanes(width: int) -> int:
    """Return the next multiple of LANES."""
    return -(-width // LANES) * LANES


def widest(dimension: Dimension) -> int:
    """Return the largest value of a width's dimension."""
    return int(dimension.high if isinstance(dimension, Range) else max(dimension))  # type: ignore[type-var,arg-type]


@dataclass(frozen=True, slots=True)
class Member:
    """One trial on one fold: the name of its answer at the end, its configuration, the fold (-1 for all rows)."""

    name: str
    items: tuple[tuple[str, Any], ...]
    fold: int

    @property
    def params(self) -> Params:
        """The configuration."""
        return dict(self.items)

    def answer(self, epochs: int | None) -> str:
        """Return the name of its answer at a rung, or at the end."""
        return self.name if epochs is None else f"{self.name}@{epochs}"


def member(family: str, params: Params, fold: int, structure: Structure | None = None) -> Member:
    """Return the member that a trial has in a fold; where it trains with others, `structure` is part of its name.

    Searches over other spaces pad a configuration to other widths, which rounds otherwise and drops other units out, so
    that its answer there is another one.
    """
    key = key_of(params)
    named = key if structure is None else (key, structure.pad_items, structure.option_items, structure.has_dropout)
    digest = hashlib.blake2b(repr(named).encode(), digest_size=10).hexdigest()
    return Member(f"{family}/{digest}/fold{fold}", tuple(sorted(params.items())), fold)


def seed_of(seed: int, member: Member) -> list[int]:
    """Return what seeds all that is random of a member: the job's seed, its configuration and its fold."""
    digest = hashlib.blake2b(member.name.encode(), digest_size=8).digest()
    return [seed, int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]


def balanced(items: Sequence[Member], most: int) -> list[Sequence[Member]]:
    """Cut a sequence into pieces of nearly equal length, none above `most`."""
    n_pieces = max(1, math.ceil(len(items) / most))
    cuts = [round(i * len(items) / n_pieces) for i in range(n_pieces + 1)]
    return [items[a:b] for a, b in itertools.pairwise(cuts) if b > a]


def n_columns(shape: Shape, kinds: frozenset[str]) -> int:
    """Return how many columns of `kinds` the data have."""
    return sum(column.kind in kinds for column in shape.columns)
