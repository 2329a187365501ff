"""Trains members of one structure together, each with its own rows, rate, early stopping and best weights.

A member ends when its epochs are over, when it has not improved for as long as its patience, or when it diverges; it is
taken out of the stack, and the others go on as if it had never been there. A population never has fewer than two: one
that is left trains as two copies of itself, since a stack of one would round otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from orchestrator.families.base import Failure
from orchestrator.families.networks import losses
from orchestrator.families.networks.plan import n_inner
from orchestrator.families.networks.program import EVALUATED_ROWS, Program
from orchestrator.families.networks.records import Array, Best, Block, BlockKey, Progressed, Weights
from orchestrator.families.networks.schedule import coefficients
from orchestrator.families.networks.stream import Stream, Stretch
from orchestrator.families.networks.structure import Member, seed_of
from orchestrator.families.scoring import score_of

DECIMALS = 12


@dataclass(slots=True)
class Trainer:
    """Trains members of one structure.

    Attributes:
        program: What they run.
        blocks: The prepared folds.
        key_of: Which of them a member trains on.
        n_fit: Rows of an epoch, at most: the fewest that any fold has, so that all members take as many steps.
        metric: A scikit-learn scorer's name.
        seed: The job's seed.
        notify: Told how far the training is.
        stream: Where the rows come from if the blocks do not hold them.
    """

    program: Program
    blocks: Mapping[BlockKey, Block]
    key_of: Callable[[Member], BlockKey]
    n_fit: int
    metric: str
    seed: int
    notify: Callable[[str], None] = lambda text: None
    stream: Stream | None = None
    _offsets: dict[BlockKey, int] = field(init=False)
    _inputs: dict[str, Any] = field(init=False)
    _target: Any = field(init=False)

    def __post_init__(self) -> None:
        parts = {id(block.target): block for block in self.blocks.values()}  # folds may share one array
        starts = itertools.accumulate([0, *(len(block.target) for block in parts.values())])
        places = dict(zip(parts, starts, strict=False))
        self._offsets = {key: places[id(block.target)] for key, block in self.blocks.items()}
        names = [one.name for one in self.program.structure.signature.inputs]
        self._inputs = {name: _joined([block.inputs[name] for block in parts.values()]) for name in names}
        self._target = _joined([block.target for block in parts.values()])

    def begin(self, member: Member) -> Progressed:
        """Return a member that has not trained yet."""
        generator = np.random.default_rng([*seed_of(self.seed, member), 0])
        flat, state = self.program.initial(member.params, generator)
        for path, values in self._block(member).initial.items():
            self.program.put(flat, path, values)
        return Progressed(0, Weights(flat, tuple(state)), np.zeros((2, len(flat)), np.float32))

    def train(
        self, members: Sequence[Member], states: Sequence[Progressed | None], until: int | None
    ) -> list[Progressed]:
        """Train each member from its state, or from the beginning, up to epoch `until` or its own last one."""
        reached = [self.begin(m) if s is None else s for m, s in zip(members, states, strict=True)]
        if not self.program.structure.is_fused:
            return [self._train([m], [s], until)[0] for m, s in zip(members, reached, strict=True)]
        for epoch in sorted({state.epoch for state in reached}):  # those behind catch up by themselves
            chosen = [i for i, state in enumerate(reached) if state.epoch == epoch and not state.is_over]
            ended = self._train([members[i] for i in chosen], [reached[i] for i in chosen], until)
            for i, state in zip(chosen, ended, strict=True):
                reached[i] = state
        return reached

    def _train(self, members: Sequence[Member], states: Sequence[Progressed], until: int | None) -> list[Progressed]:
        reached = list(states)
        last = [min(int(m.params["epochs"]), until or int(m.params["epochs"])) for m in members]
        active = [i for i, s in enumerate(reached) if s.failure is None and not s.is_over and s.epoch < last[i]]
        if not active:
            return reached
        slots = self._slots(active)
        stack = self._stacked([reached[i] for i in slots])
        for epoch in range(reached[active[0]].epoch, max(last)):
            stack, losses_now = self._epoch(stack, [members[i] for i in slots], epoch)
            ended = self._look(members, reached, active, slots, stack, losses_now, epoch)
            remaining = [i for i in active if not ended[i] and epoch + 1 < last[i]]
            for i in set(active) - set(remaining):
                reached[i] = self._taken(reached[i], stack, slots.index(i), epoch + 1)
            if not remaining:
                break
            if remaining != active:
                fewer = self._slots(remaining)
                places = [slots.index(i) for i in fewer]
                stack = tf.nest.map_structure(lambda part: tf.gather(part, places), stack)  # noqa: B023
                slots = fewer
            active = remaining
        return reached

    def _slots(self, active: Sequence[int]) -> list[int]:
        """Return which member is at each place of the stack."""
        return [*active, *active] if self.program.structure.is_fused and len(active) == 1 else list(active)

    def _stacked(self, states: Sequence[Progressed]) -> Any:
        flat = np.stack([s.now.flat for s in states])
        first, second = np.stack([s.moments for s in states]).transpose(1, 0, 2)
        state = [np.stack(parts) for parts in zip(*(s.now.state for s in states), strict=True)]
        return tf.nest.map_structure(tf.convert_to_tensor, (flat, first, second, state))

    def _epoch(self, stack: Any, members: Sequence[Member], epoch: int) -> tuple[Any, Array]:
        n_steps, stretches = self.stream.epoch(members, epoch) if self.stream else self._held(members, epoch)
        hyper, step = self._hyper(members), epoch * n_steps
        total = np.zeros(len(members), np.float32)
        for one in stretches:
            n_here = one.rows.shape[1]
            rule = coefficients([m.params for m in members], step, n_here, n_steps).stacked()
            key = np.array([self.seed % 2**31, step], np.int32)
            stack, loss = self.program.train_epoch(stack, hyper, rule, one.rows, one.inputs, one.target, key)
            total, step = total + loss.numpy() * n_here, step + n_here
        return stack, total / n_steps

    def _held(self, members: Sequence[Member], epoch: int) -> tuple[int, list[Stretch]]:
        """Return an epoch over rows in memory: how many steps, and all of them at once."""
        batch = min(int(members[0].params["batch_size"]), self.n_fit)
        n_steps = self.n_fit // batch
        rows = np.stack([self._order(m, epoch, n_steps * batch) for m in members]).reshape(-1, n_steps, batch)
        return n_steps, [Stretch(self._inputs, self._target, rows)]

    def _order(self, member: Member, epoch: int, n_rows: int) -> Array:
        generator = np.random.default_rng([*seed_of(self.seed, member), epoch + 1])
        key = self.key_of(member)
        rows = generator.permutation(self.blocks[key].fit)[:n_rows]
        return (rows + self._offsets[key]).astype(np.int32)

    def _hyper(self, members: Sequence[Member]) -> Any:
        signature = self.program.structure.signature
        each = [losses.hyper_of(m.params, signature, self._counts(m)) for m in members]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}

    def _block(self, member: Member) -> Block:
        return self.blocks[self.key_of(member)]

    def _counts(self, member: Member) -> Array:
        if self.stream is not None:
            return self.stream.counts[member.fold]
        block, signature = self._block(member), self.program.structure.signature
        if signature.goal == "regression":
            return np.zeros(1)
        return np.bincount(block.target[block.fit], minlength=max(2, signature.n_outputs))

    def _look(
        self,
        members: Sequence[Member],
        reached: list[Progressed],
        active: Sequence[int],
        slots: Sequence[int],
        stack: Any,
        losses_now: Array,
        epoch: int,
    ) -> dict[int, bool]:
        """Judge each active member by its inner rows; tell which have come to their end."""
        flat, state = stack[0].numpy(), [part.numpy() for part in stack[3]]
        sound = np.isfinite(losses_now) & np.isfinite(flat).all(axis=1)
        judged = self._judged([members[i] for i in slots], stack[0], stack[3], "inner")
        ended = dict.fromkeys(active, False)
        for i in active:
            place = slots.index(i)
            if not sound[place]:
                message = f"the loss is not a finite number in epoch {epoch + 1}"
                reached[i] = replace(reached[i], failure=Failure("diverged", message), best=None)
                ended[i] = True
            elif judged is not None:
                score, loss = judged[place]
                best = reached[i].best
                if best is None or (round(score, DECIMALS), -loss) > (round(best.score, DECIMALS), -best.loss):
                    weights = Weights(flat[place].copy(), tuple(part[place].copy() for part in state))
                    best = Best(epoch + 1, score, loss, weights)
                    reached[i] = replace(reached[i], best=best)
                patience = members[i].params.get("patience", "none")
                over = patience not in (None, "none") and epoch + 1 - best.epoch >= int(patience)
                curve = (*reached[i].curve, score if np.isfinite(score) else np.nan)
                reached[i] = replace(reached[i], is_over=over, curve=curve)
                ended[i] = over
        scores = [s.best.score for s in reached if s.best is not None and np.isfinite(s.best.score)]
        best_of_all = f", best {max(scores):.4f}" if scores else ""
        self.notify(f"epoch {epoch + 1}, {len(active)} networks{best_of_all}")
        return ended

    def _taken(self, state: Progressed, stack: Any, place: int, epoch: int) -> Progressed:
        flat, first, second, parts = stack
        now = Weights(flat[place].numpy(), tuple(part[place].numpy() for part in parts))
        return replace(state, epoch=epoch, now=now, moments=np.stack([first[place].numpy(), second[place].numpy()]))

    def _judged(self, members: Sequence[Member], flat: Any, state: Any, which: str) -> list[tuple[float, float]] | None:
        """Return score and loss of each member on its inner rows; None where there are none."""
        if not len(self._block(members[0]).inner):
            return None
        judged = []
        for member, answers in zip(members, self._answers(members, flat, state, which), strict=True):
            block = self._block(member)
            truth = block.target[block.inner]
            loss = float(losses.mean_losses(self.program.structure.signature, answers[None], truth[None])[0])
            try:
                score = score_of(
                    self.metric,
                    answers * block.scale + block.center if answers.ndim == 1 else answers,
                    truth * block.scale + block.center if answers.ndim == 1 else truth,
                )
            except ValueError:  # a class that the inner rows lack, say
                score = np.nan
            judged.append((score if np.isfinite(score) else -np.inf, loss))
        return judged

    def answers(self, members: Sequence[Member], weights: Sequence[Weights]) -> list[Array]:
        """Return what members say of their scored rows: probabilities (rows, classes), or numbers (rows,)."""
        places = self._slots(range(len(members)))
        if not self.program.structure.is_fused:
            return [self._of([m], [w])[0] for m, w in zip(members, weights, strict=True)]
        return self._of([members[i] for i in places], [weights[i] for i in places])[: len(members)]

    def _of(self, members: Sequence[Member], weights: Sequence[Weights]) -> list[Array]:
        flat = np.stack([w.flat for w in weights])
        state = [np.stack(parts) for parts in zip(*(w.state for w in weights), strict=True)]
        found = self._streamed(members, flat, state) if self.stream else self._answers(members, flat, state, "scored")
        blocks = [self._block(m) for m in members]
        return [a * b.scale + b.center if a.ndim == 1 else a for a, b in zip(found, blocks, strict=True)]

    def _answers(self, members: Sequence[Member], flat: Any, state: Any, which: str) -> list[Array]:
        wanted = [getattr(self._block(m), which) + self._offsets[self.key_of(m)] for m in members]
        n_rows = len(self._block(members[0]).target)  # a chunk follows from the data, not from company
        size = min(EVALUATED_ROWS, n_inner(n_rows) if which == "inner" else n_rows)
        n_chunks = -(-max(len(rows) for rows in wanted) // size)
        rows = np.stack([np.resize(one, n_chunks * size) for one in wanted]).reshape(-1, n_chunks, size)
        logits = self.program.evaluate(flat, state, rows.astype(np.int32), self._inputs).numpy()
        signature = self.program.structure.signature
        return [losses.probabilities(signature, one[: len(r)]) for one, r in zip(logits, wanted, strict=True)]

    def _streamed(self, members: Sequence[Member], flat: Any, state: Any) -> list[Array]:
        """Return what members say of their scored rows, which are in a file."""
        assert self.stream is not None
        signature, said = self.program.structure.signature, [[] for _ in members]  # type: ignore[var-annotated]
        for one in self.stream.scored(members, EVALUATED_ROWS):
            logits = self.program.evaluate(flat, state, one.rows, one.inputs).numpy()
            for parts, answers, n in zip(said, logits, one.n_wanted, strict=True):
                if n:
                    parts.append(losses.probabilities(signature, answers[:n]))
        return [np.concatenate(parts) for parts in said]


def _joined(parts: Sequence[Array]) -> Any:
    return tf.convert_to_tensor(parts[0] if len(parts) == 1 else np.concatenate(parts))
