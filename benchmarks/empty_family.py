"""A model family whose trials compute next to nothing, so that what a trial costs is the orchestrator's own.

A module of its own and not part of `overhead.py`, so that its units travel to workers as any family's do: by the name
of their class. (What is defined in `__main__` is sent along with every unit.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.data.encode import Kind, Signature
from orchestrator.data.sets import TrainingSet
from orchestrator.families import pipelines
from orchestrator.families.base import Answer, Engine, Fitted, Shape, Unit, UnitOutput, WorkUnit
from orchestrator.space import Conditions, Params, Range, Space, key_of

SPACE: Space = {
    "a": Range(0.0, 1.0),
    "b": Range(0.0, 1.0),
    "c": Range(0.0, 1.0),
    "d": Range(0.0, 1.0),
    "n": Range(1, 1000),
    "kind": ["one", "two", "three"],
}
"""Four floats, one whole number, one choice."""


def objective(params: Mapping[str, Any]) -> float:
    """Return the score of a configuration: a few additions."""
    return float(sum(params[name] for name in "abcd") - abs(params["n"] - 500) / 500 + (params["kind"] == "two"))


@dataclass(frozen=True, slots=True)
class EmptyUnit(Unit):
    """A work unit: one trial."""

    id: str
    params: tuple[tuple[str, Any], ...]
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 1.0

    @property
    def answers(self) -> tuple[str, ...]:
        """The one answer that it gives."""
        return (self.id,)

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        """Score the trial."""
        return UnitOutput({self.id: Answer(objective(dict(self.params)), 0.0, 0.0)})


class EmptyPlan:
    """One unit and one answer a trial; nothing is shared."""

    def answers_of(self, params: Params, epochs: int | None = None) -> tuple[str, ...]:
        """Return the trial's answer."""
        return (f"empty/{hashlib.blake2b(repr(key_of(params)).encode(), digest_size=8).hexdigest()}",)

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> list[EmptyUnit]:
        """Return one unit for each trial whose answer is missing."""
        named = {self.answers_of(params)[0]: params for params in wanted}
        return [EmptyUnit(name, tuple(params.items())) for name, params in named.items() if name in missing]


class Empty:
    """The family `empty`."""

    name = "empty"
    default_sampler = "random"
    default_batch_size = 16
    engine: Engine = "sklearn"
    kinds: frozenset[Kind] = frozenset({"number", "boolean", "category"})
    structure: frozenset[str] = frozenset()
    conditions: ClassVar[Conditions] = {}

    def max_epochs(self, space: Space) -> int | None:
        """Return None: nothing is learnt by epochs."""
        return None

    def default_space(self, shape: Shape) -> Space:
        """Return four floats, one whole number and one choice."""
        return SPACE

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space as it is."""
        return space

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> EmptyPlan:
        """Return the plan, which is the same for every space."""
        return EmptyPlan()

    def complexity(self, params: Params) -> float:
        """Return the same for all."""
        return 0.0

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        """Fit scikit-learn's baseline, for the refit at the end."""
        from sklearn.dummy import DummyClassifier

        return pipelines.fitted(DummyClassifier().fit(data.features.flat(), data.target), "classification")

    def load(self, folder: Path, signature: Signature) -> Fitted:
        """Load what `fit` gave."""
        return pipelines.load(folder, signature.task)
