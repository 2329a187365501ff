"""From trials to populations: which members train together, and the work units that do it. Knows no TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.model_selection import train_test_split

from orchestrator import families
from orchestrator.data.dependence import Dependence
from orchestrator.data.sets import TrainingSet
from orchestrator.families.base import Engine, Shape, Unit, UnitOutput, WorkUnit
from orchestrator.families.limits import one_thread
from orchestrator.families.networks.records import Block, Progressed
from orchestrator.families.networks.stream import is_streamed, streamed_block
from orchestrator.families.networks.structure import Member, Structure, balanced, member
from orchestrator.space import Params, Space, dimensions

if TYPE_CHECKING:
    from orchestrator.families.networks.family import NetworkFamily

MOST_FUSED = 32
"""Members of one program: from there on more of them save nothing, and fewer leave other workers idle."""
FEWEST_FUSED = 7
"""Members of each half of a population that is all that goes on from a rung: with fewer, a half takes as long."""
MOST_IN_TURN = 10
"""Members of a unit that trains one after another."""
POPULATION_BYTES = 512 * 2**20
"""What the members of one unit may take: weights, optimizer state and best weights, and one batch on its way."""
INNER_FRACTION = 0.1
"""The share of a fold's training rows that early stopping and rungs look at."""
_MEMBER_STEP_S = 1e-4
"""Seconds of one core that a step of a small member takes, about: for the order of units and for estimates."""


def n_inner(n_train: int) -> int:
    """Return how many of a fold's training rows are held back inside it."""
    return int(np.ceil(INNER_FRACTION * n_train))


def inner_split(data: TrainingSet, rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the rows to fit on and those to look at, drawn from a fold's training rows by their classes' shares.

    Where the job's splits go by groups, whole groups are looked at, as many as there is room for; where by time, the
    latest rows. Groups that are all larger than a tenth of the rows are drawn from as if they were none.
    """
    if data.dependence is not None:
        inner = _dependent(data.dependence, rows, data.seed)
        if inner.size:
            return np.setdiff1d(rows, inner), inner
    strata = None
    if data.task == "classification":
        counts = np.bincount(data.target[rows].astype(np.int64))
        present = counts[counts > 0]
        if present.min() >= 2 and len(present) <= n_inner(len(rows)):
            strata = data.target[rows]
    fit, inner = train_test_split(rows, test_size=n_inner(len(rows)), random_state=data.seed, stratify=strata)
    return np.sort(fit), np.sort(inner)


def _dependent(dependence: Dependence, rows: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Return the rows to look at, ascending, at most `n_inner` of them: the latest, or groups in the seed's order."""
    codes, room = dependence.codes[rows], n_inner(len(rows))
    if dependence.kind == "time":
        return np.sort(rows[np.argsort(codes, kind="stable")[-room:]])
    groups, sizes = np.unique(codes, return_counts=True)
    chosen = []
    for i in np.random.default_rng(seed).permutation(len(groups)):
        if sizes[i] <= room:
            chosen.append(groups[i])
            room -= sizes[i]
    return np.sort(rows[np.isin(codes, chosen)])


def block_of(family: NetworkFamily, params: Params, data: TrainingSet, fold: int) -> Block:
    """Prepare one fold."""
    if is_streamed(data):
        return streamed_block(family, params, data, fold)
    rows = data.folds[fold]
    fit, inner = inner_split(data, rows.train)
    prepared = family.prepare(params, data, rows.train)
    target, center, scale = standardised(data, rows.train)
    inputs = prepared.transform(data.features)
    return Block(inputs, target, fit, inner, rows.valid, center, scale, prepared.initial())


def standardised(data: TrainingSet, rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float, float]:
    """Return the target as networks learn it, with centre and scale by some rows: class codes are left as they are."""
    if data.task == "classification":
        return data.target.astype(np.int32), 0.0, 1.0
    center, scale = float(data.target[rows].mean()), float(data.target[rows].std()) or 1.0
    return ((data.target - center) / scale).astype(np.float32), center, scale


@dataclass(frozen=True, slots=True)
class PrepareUnit(Unit):
    """A work unit: one fold prepared as some parameters ask; its payload is shared by all who train on it."""

    family: str
    items: tuple[tuple[str, Any], ...]
    fold: int
    cost: float
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    keeps_payload: ClassVar[bool] = True

    @property
    def id(self) -> str:
        """The unit's name."""
        return f"{self.family}/prepare/{_digest(self.items)}/fold{self.fold}"

    def compute(self, data: TrainingSet, inputs: Sequence[Any]) -> UnitOutput:
        """Prepare."""
        with one_thread():
            return UnitOutput(payload=block_of(_family(self.family), dict(self.items), data, self.fold))


@dataclass(frozen=True, slots=True)
class TrainUnit(Unit):
    """A work unit: members of one structure, trained together up to a rung or to their end.

    Attributes:
        structure: What they have in common.
        members: The members.
        until: The rung, in epochs; None for the end.
        n_fit: Rows of an epoch.
        prepared: The folds' preparations, the first of `needs`.
        earlier: The units that trained the members up to the rung before, the rest of `needs`.
        cost: Seconds of one core, about.
    """

    structure: Structure
    members: tuple[Member, ...]
    until: int | None
    n_fit: int
    prepared: tuple[PrepareUnit, ...]
    earlier: tuple[TrainUnit, ...]
    cost: float
    engine: ClassVar[Engine] = "tensorflow"

    @property
    def keeps_payload(self) -> bool:  # type: ignore[override]  # of a rung alone
        """Whether members may go on from here: at a rung."""
        return self.until is not None

    @property
    def id(self) -> str:
        """The unit's name."""
        return f"{self.structure.family}/train/{_digest(tuple(m.name for m in self.members))}@{self.until}"

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the answers that it gives."""
        return tuple(m.answer(self.until) for m in self.members)

    @property
    def needs(self) -> tuple[WorkUnit, ...]:
        """Prepared folds, and the units of the rung before."""
        return (*self.prepared, *self.earlier)

    def halves(self) -> Sequence[WorkUnit]:
        """Return two units of half the members."""
        if len(self.members) < 2:
            return ()
        cut = len(self.members) // 2
        return [self._with(self.members[:cut]), self._with(self.members[cut:])]

    def _with(self, members: tuple[Member, ...]) -> TrainUnit:
        folds = {m.fold for m in members}
        kept = tuple(p for p in self.prepared if p.fold in folds)
        return replace(self, members=members, prepared=kept, cost=self.cost / 2)

    def compute(self, data: TrainingSet, inputs: Sequence[Any]) -> UnitOutput:
        """Train, and score each member on its fold's validation rows."""
        from orchestrator.families.networks.compute import train_unit

        blocks = {(p.items, p.fold): block for p, block in zip(self.prepared, inputs, strict=False) if block}
        states: dict[str, Progressed] = {}
        for payload in inputs[len(self.prepared) :]:
            states.update(payload or {})
        return train_unit(self, _family(self.structure.family), data, blocks, states)


def _family(name: str) -> NetworkFamily:
    return families.find(name)  # type: ignore[return-value]


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=10).hexdigest()


class NetworkPlan:
    """Which members a space's trials have, and which of them train together."""

    def __init__(self, family: NetworkFamily, space: Space, shape: Shape) -> None:
        self._family, self._shape = family, shape
        self._dims = dimensions(space)
        self._n_fit = min(train - n_inner(train) for train, _ in shape.fold_rows)
        self._home: dict[str, TrainUnit] = {}

    def _members(self, params: Params) -> tuple[Structure, list[Member]]:
        settings = self._family.settings(params, self._shape.task)
        structure = self._family.structure_of(settings, self._shape, self._dims)
        folds = range(len(self._shape.fold_rows))
        return structure, [member(self._family.name, settings, fold, structure) for fold in folds]

    def answers_of(self, params: Params, epochs: int | None = None) -> list[str]:
        """Return the answers of a trial, one a fold."""
        return [one.answer(epochs) for one in self._members(params)[1]]

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> list[TrainUnit]:
        """Return the populations that give the missing answers.

        Members of a structure are taken fold by fold and cut into pieces of nearly equal size. Where those that go on
        from a rung would be one piece, they are cut in two, or other workers would have nothing to do.
        """
        groups: dict[tuple[Structure, object], dict[str, Member]] = {}
        for params in wanted:
            structure, members_of_trial = self._members(params)
            for one in members_of_trial:
                if one.answer(epochs) in missing:
                    groups.setdefault((structure, self._family.companions(one)), {})[one.name] = one
        units = []
        for (structure, _), members in groups.items():
            by_fold = sorted(members.values(), key=lambda m: m.fold)
            most = self._most(structure, by_fold[0].params)
            goes_on_alone = len(groups) == 1 and by_fold[0].name in self._home
            if goes_on_alone and structure.is_fused and 2 * FEWEST_FUSED <= len(by_fold) <= most:
                most = -(-len(by_fold) // 2)
            for piece in balanced(by_fold, most):
                units.append(self._unit(structure, tuple(piece), epochs))
        if epochs is not None:
            homes = [replace(unit, earlier=()) for unit in units]  # a later unit needs these, and not all before them
            self._home.update({m.name: unit for unit in homes for m in unit.members})
        return units

    def _most(self, structure: Structure, params: Params) -> int:
        if not structure.is_fused:
            return self._family.most_in_turn(params, self._shape)
        weights = self._family.n_weights({**params, **structure.pads}, self._shape)
        row = self._family.row_floats({**params, **structure.pads}, self._shape)
        said = max(valid for _, valid in self._shape.fold_rows) * max(1, self._shape.n_classes)
        member_bytes = 4 * (8 * weights + int(params["batch_size"]) * row + said)
        return max(2, min(self._family.most_fused, POPULATION_BYTES // member_bytes))

    def _unit(self, structure: Structure, members: tuple[Member, ...], until: int | None) -> TrainUnit:
        prepared = {self._prepare(m): None for m in members} if self._family.prepares else {}
        earlier = {unit.id: unit for m in members if (unit := self._home.get(m.name)) is not None}
        epochs = sum(min(until or 10**9, int(m.params["epochs"])) for m in members)
        steps = epochs * self._n_fit / int(members[0].params["batch_size"])
        cost = 1.0 + steps * _MEMBER_STEP_S
        return TrainUnit(structure, members, until, self._n_fit, tuple(prepared), tuple(earlier.values()), cost)

    def _prepare(self, member: Member) -> PrepareUnit:
        items, fold = self._family.block_key(member)
        return PrepareUnit(self._family.name, items, fold, 0.1)
