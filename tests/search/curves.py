"""A family whose trials learn by epochs: learning curves that follow from params, computed by units with states."""

import math
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.data.encode import Kind, Signature
from orchestrator.data.sets import TrainingSet
from orchestrator.families import base as units
from orchestrator.families.base import Answer, Engine, Failure, Fitted, Plan, Shape, UnitOutput, WorkUnit
from orchestrator.space import Conditions, Params, Range, Space

FOLDS = 2
EPOCHS = 27
SPACE: Space = {"height": Range(0.0, 1.0), "speed": Range(0.02, 1.0, log=True), "kind": ["a", "b", "c"]}
Member = tuple[float, float, str]


class States(dict[Member, int]):
    """What a rung hands on: how many epochs each member has trained."""


@dataclass
class World:
    """The shared data: what goes wrong, and what was done."""

    most_members: int = 1000
    diverges_above: float = 2.0
    says_nothing_above: float = 2.0
    epochs: Counter[Member] = field(default_factory=Counter)
    preparations: int = 0
    states: "weakref.WeakSet[Any]" = field(default_factory=weakref.WeakSet)


class Held:
    """A payload that a weak set can hold."""

    def __init__(self, states: States) -> None:
        self.states = states


def member(params: Params) -> Member:
    return params["height"], params["speed"], params["kind"]


def score(one: Member, epochs: int) -> float:
    """Return a curve that rises to its height, some sooner and some later, so that early ranks mislead."""
    height, speed, _ = one
    return height * (1 - math.exp(-speed * epochs))


@dataclass(frozen=True, slots=True)
class Preparation(units.Unit):
    """What all units of a kind share over the whole run."""

    keeps_payload: ClassVar[bool] = True
    kind: str
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 1.0

    @property
    def id(self) -> str:
        return f"prepare/{self.kind}"

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        if isinstance(data, World):
            data.preparations += 1
        return UnitOutput(payload=f"prepared {self.kind}")


@dataclass(frozen=True, slots=True)
class EndUnit(units.Unit):
    """Trains members of one kind together up to some epoch."""

    members: tuple[Member, ...]
    epochs: int
    needs: tuple[WorkUnit, ...]

    @property
    def id(self) -> str:
        return f"train{self.epochs}/{'+'.join(f'{h!r}:{s!r}:{kind}' for h, s, kind in self.members)}"

    @property
    def cost(self) -> float:
        return float(len(self.members))

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(name for one in self.members for name in names_of(one, self.epochs))

    def halves(self) -> Sequence[WorkUnit]:
        middle = len(self.members) // 2
        halves = (self.members[:middle], self.members[middle:])
        return [type(self)(half, self.epochs, self.needs) for half in halves] if middle else []

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        data = data if isinstance(data, World) else World()
        if len(self.members) > data.most_members:
            raise MemoryError("too many at once")
        assert inputs[0] == f"prepared {self.members[0][2]}"
        before = {one: n for held in inputs[1:] if held is not None for one, n in held.states.items()}
        answers: dict[str, Answer | Failure] = {}
        for one in self.members:
            data.epochs[one] += self.epochs - before.get(one, 0)
            if one[0] > data.says_nothing_above:
                continue
            for fold, name in enumerate(names_of(one, self.epochs)):
                inner = score(one, self.epochs)
                given = Answer(inner + fold / 100, 1.0, 0.5, inner, min(self.epochs, 5 + 2 * fold))
                answers[name] = given if one[0] <= data.diverges_above else Failure("diverged", "in epoch 1")
        held = Held(States(dict.fromkeys(self.members, self.epochs)))
        data.states.add(held)
        return UnitOutput(answers, held)


@dataclass(frozen=True, slots=True)
class RungUnit(EndUnit):
    """The same, for a rung."""

    keeps_payload: ClassVar[bool] = True


def names_of(one: Member, epochs: int) -> tuple[str, ...]:
    return tuple(f"{one[0]!r}:{one[1]!r}:{one[2]}@{epochs}/{fold}" for fold in range(FOLDS))


class Curves:
    """A plan that trains the members of a kind together, from the states that its own earlier units left."""

    def __init__(self) -> None:
        self._last: dict[Member, EndUnit] = {}

    def answers_of(self, params: Params, epochs: int | None = None) -> tuple[str, ...]:
        return names_of(member(params), epochs or EPOCHS)

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> Sequence[WorkUnit]:
        asked = [m for m in map(member, wanted) if not missing.isdisjoint(names_of(m, epochs or EPOCHS))]
        return [
            self._unit(tuple(one for one in asked if one[2] == kind), epochs) for kind in _in_order(m[2] for m in asked)
        ]

    def _unit(self, members: tuple[Member, ...], epochs: int | None) -> EndUnit:
        before = _in_order(self._last[one] for one in members if one in self._last)
        maker = EndUnit if epochs is None else RungUnit
        unit = maker(members, epochs or EPOCHS, (Preparation(members[0][2]), *before))
        # A unit carries no history: what comes before it is named, and its own needs are nobody's business later.
        self._last.update(dict.fromkeys(members, maker(members, epochs or EPOCHS, unit.needs[:1])))
        return unit


class CurvesFamily:
    """The family `curves`, as far as a search goes: nothing of it can be fitted."""

    name = "curves"
    default_sampler = "random"
    default_batch_size = 18
    kinds: ClassVar[frozenset[Kind]] = frozenset({"number"})
    structure: ClassVar[frozenset[str]] = frozenset({"kind"})
    conditions: ClassVar[Conditions] = {}
    engine: ClassVar[Engine] = "sklearn"

    def max_epochs(self, space: Space) -> int | None:
        return EPOCHS

    def default_space(self, shape: Shape) -> Space:
        return SPACE

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        return space

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> Plan:
        return Curves()

    def complexity(self, params: Params) -> float:
        return 0.0

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        raise NotImplementedError

    def load(self, folder: Path, signature: Signature) -> Fitted:
        raise NotImplementedError


def _in_order(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
