"""What the driver and its worker process say to each other.

Classes of the script that runs travel by value, as on Ray: the worker process does not run the script.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle

from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load what units of an engine compute with."""

    engine: Engine


@dataclass(frozen=True, slots=True)
class Share:
    """Keep the data that the units from here on compute with."""

    data: Any


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute a unit."""

    unit: WorkUnit
    inputs: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Started:
    """Everything is loaded, and the unit computes."""


@dataclass(frozen=True, slots=True)
class Noted:
    """How far the unit is."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The unit ended; the process leaves too if it has grown."""

    outcome: UnitOutput | Failure
    leaves: bool


def dumps(message: object) -> bytes:
    """Return a message as bytes."""
    content: bytes = cloudpickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return content


def loads(content: bytes) -> Any:
    """Return the message that `dumps` was given, by the process at the other end of our own pipe."""
    return pickle.loads(content)  # noqa: S301
