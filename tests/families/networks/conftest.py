"""Small populations over made-up data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from orchestrator.families.networks.mlp import MLP
from orchestrator.families.networks.program import Program
from orchestrator.families.networks.records import Block, Progressed
from orchestrator.families.networks.structure import Input, Member, Signature, Structure, member
from orchestrator.families.networks.training import Trainer
from orchestrator.space import Space, dimensions

N_ROWS, N_COLUMNS, N_CLASSES = 4096, 11, 7


@dataclass(frozen=True)
class Population:
    """A trainer, and members to train with it."""

    trainer: Trainer
    members: Sequence[Member]
    block: Block

    def train(self, which: Sequence[int], until: int | None = None) -> list[Progressed]:
        """Train some of the members together, in the order given."""
        return self.trainer.train([self.members[i] for i in which], [None] * len(which), until)


def block(task: str = "classification", n_classes: int = N_CLASSES) -> Block:
    """Return one fold of made-up rows: 3,200 to fit on, 400 inside, the rest scored."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    said = rows @ generator.normal(size=(N_COLUMNS, n_classes))
    target = said.argmax(axis=1).astype(np.int32) if task == "classification" else said[:, 0].astype(np.float32)
    order = generator.permutation(N_ROWS)
    return Block({"numbers": rows}, target, order[:3200], order[3200:3600], order[3600:])


@pytest.fixture
def population() -> Callable[..., Population]:
    """Make members of one `mlp` structure: `space` is what they may be like, `each` the configuration of each one."""

    def make(space: Space, each: Sequence[Mapping[str, Any]], task: str = "classification", classes: int = N_CLASSES):
        family = MLP()
        signature = Signature.of([Input("numbers", (N_COLUMNS,))], task, classes)

        class Fixed(MLP):
            def signature(self, params: Any, shape: Any) -> Signature:
                return signature

        members = [member("mlp", family.settings(dict(params), task), 0) for params in each]
        structures = {Fixed().structure_of(m.params, None, dimensions(space)) for m in members}  # type: ignore[arg-type]
        (structure,) = structures
        made = block(task, classes)
        key = family.block_key(members[0])
        metric = "accuracy" if task == "classification" else "r2"
        trainer = Trainer(Program(structure, family.build), {key: made}, lambda one: key, len(made.fit), metric, 42)
        return Population(trainer, members, made)

    return make


__all__ = ["Population", "Structure", "block", "population"]
