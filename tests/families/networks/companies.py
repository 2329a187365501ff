"""Populations of any family over one made-up fold, and what their members would be as plain Keras models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from orchestrator.families.networks.family import NetworkFamily
from orchestrator.families.networks.kit import PlainKit
from orchestrator.families.networks.program import Program
from orchestrator.families.networks.records import Block, Progressed
from orchestrator.families.networks.structure import Member, Signature, member
from orchestrator.families.networks.training import Trainer
from orchestrator.space import Space, dimensions


@dataclass(frozen=True)
class Company:
    """A trainer, and members to train with it."""

    trainer: Trainer
    members: Sequence[Member]
    block: Block

    def train(self, which: Sequence[int]) -> list[Progressed]:
        """Train some of the members together, in the order given."""
        return self.trainer.train([self.members[i] for i in which], [None] * len(which), None)

    def bits(self, which: Sequence[int]) -> list[tuple[bytes, ...]]:
        """Return all that members learn when they train together."""
        states = self.train(which)
        return [(s.now.flat.tobytes(), s.kept.flat.tobytes(), *(p.tobytes() for p in s.kept.state)) for s in states]

    def said(self, state: Progressed, which: int) -> tuple[Any, Any]:
        """Return what a trained member says of the scored rows, in its population and as a plain model."""
        (told,) = self.trainer.answers([self.members[which]], [state.now])
        plain = self.trainer.program.plain(self.members[which].params, state.now.flat, state.now.state)
        rows = [self.block.inputs[i.name][self.block.scored] for i in self.trainer.program.structure.signature.inputs]
        return told[:, 1], tf.sigmoid(plain(rows, training=False))[:, 0].numpy()


def company(
    family: NetworkFamily, inputs: Sequence[Any], block: Block, space: Space, each: Sequence[Mapping[str, Any]]
):
    """Make members of one structure: `space` is what they may be like, `each` the configuration of each one."""
    signature = Signature.of(inputs, "classification", 2)

    class Fixed(type(family)):
        def signature(self, params: Any, shape: Any) -> Signature:
            return signature

    members = [member(family.name, family.settings({**dict(params)}, "classification"), 0) for params in each]
    (structure,) = {Fixed().structure_of(m.params, None, dimensions(space)) for m in members}
    key = family.block_key(members[0])
    trainer = Trainer(Program(structure, family.build), {key: block}, lambda one: key, len(block.fit), "accuracy", 42)
    return Company(trainer, members, block)


def by_hand(made: Company, which: int, optimizer: Any) -> dict[str, Any]:
    """Return a member's weights trained as Keras would, by their paths; embeddings' gradients as one dense array."""
    program, one = made.trainer.program, made.members[which]
    begun = made.trainer.begin(one)
    model = program.plain(one.params, begun.now.flat, begun.now.state)
    n_steps = len(made.block.fit) // one.params["batch_size"]

    @tf.function
    def step(rows: Any, target: Any) -> None:
        with tf.GradientTape() as tape:
            logits = model(rows, training=True)[:, 0]
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits))
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]
        optimizer.apply(gradients, model.trainable_variables)

    optimizer.build(model.trainable_variables)
    for epoch in range(one.params["epochs"]):
        order = made.trainer._order(one, epoch, n_steps * one.params["batch_size"])
        for rows in order.reshape(n_steps, -1):
            inputs = [made.block.inputs[i.name][rows] for i in program.structure.signature.inputs]
            step(inputs, made.block.target[rows].astype(np.float32))
    return {v.path: v.numpy() for v in model.trainable_variables}


__all__ = ["Company", "PlainKit", "by_hand", "company"]
