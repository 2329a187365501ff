"""Search spaces: what values a hyperparameter may take, and the grid over them. Knows nothing of samplers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from orchestrator.errors import JobError, did_you_mean, shown


def _native(value: Any) -> Any:
    """Return numpy's scalars as Python's own, so that a space means the same however it was made."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 else value


_Int: TypeAlias = Annotated[int, Strict()]
_Float: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Number: TypeAlias = Annotated[_Int | _Float, BeforeValidator(_native)]
Scalar: TypeAlias = Annotated[Annotated[bool, Strict()] | _Int | _Float | str | None, BeforeValidator(_native)]
Params: TypeAlias = dict[str, Any]
Conditions: TypeAlias = Mapping[str, tuple[str, frozenset[Any]]]
"""For a parameter, the other parameter and the values of it under which the first one means anything."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Range:
    """All numbers from `low` to `high`, both included.

    Whole numbers where `low`, `high` and `step` are whole numbers, else floats.

    Args:
        low: The smallest value.
        high: The largest value.
        step: The distance between neighbouring values; a grid over floats needs it.
        log: Whether values are drawn evenly on a logarithmic scale.
    """

    low: Number
    high: Number
    step: Number | None = None
    log: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} is not above 0")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, found {self.low}")
        if self.log and self.step not in (None, 1):
            raise ValueError("log and step exclude each other")

    @property
    def is_integer(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step or 1, int)

    def values(self) -> list[int] | list[float] | None:
        """Return every value in ascending order, or None for floats without a step."""
        if self.is_integer:
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            return [float(self.low)] if self.low == self.high else None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return [round(self.low + i * self.step, 12) for i in range(count)]


Entry: TypeAlias = Range | Annotated[list[Scalar], Field(min_length=1)] | Scalar
Space: TypeAlias = dict[str, Entry]
Dimension: TypeAlias = Range | tuple[Scalar, ...]


def dimensions(space: Mapping[str, Entry]) -> dict[str, Dimension]:
    """Return the space with single values and lists as tuples, duplicates removed."""
    found: dict[str, Dimension] = {}
    for name, entry in space.items():
        if isinstance(entry, Range):
            found[name] = entry
            continue
        values = entry if isinstance(entry, list) else [entry]
        found[name] = tuple({(type(v), v): v for v in values}.values())
    return found


def values_of(dimension: Dimension) -> Sequence[Any] | None:
    """Return all values of one dimension, or None where there is no end of them."""
    return dimension.values() if isinstance(dimension, Range) else dimension


def active(params: Mapping[str, Any], conditions: Conditions) -> Params:
    """Return `params` without those that another parameter's value, or its lack, makes meaningless."""
    kept = dict(params)
    while gone := [n for n in kept if n in conditions and kept.get(conditions[n][0]) not in conditions[n][1]]:
        for name in gone:
            del kept[name]
    return kept


def key_of(params: Mapping[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    """Return a hashable identity of `params`: equal for equal settings, whatever their order."""
    return tuple(sorted((name, type(value).__name__, value) for name, value in params.items()))


def point(space: Mapping[str, Entry], conditions: Conditions, params: Mapping[str, Any], key: str) -> Params:
    """Return the configuration that `params` name in a space, with what has one value there filled in.

    Raises:
        JobError: A parameter is not in the space, or missing, or a value is outside; `key` is its place in the job.
    """
    dims = dimensions(space)
    for name, value in params.items():
        if name not in dims:
            raise JobError(f"{key}: the space has no parameter {name!r}.{did_you_mean(name, dims)}")
        if not _covers(dims[name], (value,)):
            raise JobError(f"{key}.{name}: {shown(value)} is not in the space; expected {_said(dims[name])}")
    only = {name: values[0] for name, d in dims.items() if (values := values_of(d)) and len(values) == 1}
    whole = active({name: params.get(name, only.get(name)) for name in dims}, conditions)
    missing = [name for name in whole if name not in params and name not in only]
    if missing:
        raise JobError(f"{key}.{missing[0]}: missing; expected {_said(dims[missing[0]])}")
    return whole


def _said(dimension: Dimension) -> str:
    if isinstance(dimension, Range):
        return f"a number from {dimension.low} to {dimension.high}"
    return f"one of {', '.join(shown(value) for value in dimension)}"


def grid(space: Mapping[str, Entry], conditions: Conditions) -> Iterator[Params]:
    """Yield every distinct point in declared order, the last parameter turning fastest.

    Raises:
        JobError: A float range has no step.
    """
    axes: dict[str, Sequence[Any]] = {}
    for name, dimension in dimensions(space).items():
        values = values_of(dimension)
        if values is None:
            raise JobError(
                f"space.{name}: a grid over floats needs a step; found low and high alone. "
                "Add a step, or use sampler: random or tpe"
            )
        axes[name] = values
    conditional = any(name in conditions for name in axes)
    seen: set[tuple[tuple[str, str, Any], ...]] = set()
    for point in itertools.product(*axes.values()):
        params = active(dict(zip(axes, point, strict=True)), conditions)
        if conditional:
            key = key_of(params)
            if key in seen:
                continue
            seen.add(key)
        yield params


def size(space: Mapping[str, Entry], conditions: Conditions) -> int | None:
    """Return how many distinct points the space has, or None where there is no end of them."""
    listed = {name: values_of(d) for name, d in dimensions(space).items()}
    if any(values is None for values in listed.values()):
        return None
    sizes = {name: len(values) for name, values in listed.items() if values is not None}
    dependants = [name for name in sizes if name in conditions]
    if not dependants:
        return math.prod(sizes.values())
    parents = {conditions[name][0] for name in dependants} & sizes.keys()
    free = math.prod(n for name, n in sizes.items() if name not in dependants and name not in parents)
    leaves = [name for name in dependants if name not in parents]
    totals: dict[object, int] = {}  # by what the parents are, as far as they mean anything themselves
    for point in itertools.product(*(listed[parent] or () for parent in sorted(parents))):
        chosen = active(dict(zip(sorted(parents), point, strict=True)), conditions)
        applying = (sizes[name] for name in leaves if chosen.get(conditions[name][0]) in conditions[name][1])
        totals.setdefault(key_of(chosen), math.prod(applying))
    return free * sum(totals.values())


def is_superset(new: Mapping[str, Entry], old: Mapping[str, Entry]) -> bool:
    """Tell whether every point of `old` is a point of `new`."""
    new_dimensions, old_dimensions = dimensions(new), dimensions(old)
    if set(new_dimensions) != set(old_dimensions):
        return False
    return all(_covers(new_dimensions[name], dimension) for name, dimension in old_dimensions.items())


def _covers(new: Dimension, old: Dimension) -> bool:
    old_values, new_values = values_of(old), values_of(new)
    if old_values is not None and new_values is not None:
        return {(type(v), v) for v in old_values} <= {(type(v), v) for v in new_values}
    if not isinstance(new, Range) or new_values is not None:
        return False
    numbers = [old.low, old.high] if isinstance(old, Range) else list(old)
    return all(isinstance(v, float | int) and new.low <= v <= new.high for v in numbers)
