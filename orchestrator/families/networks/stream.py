"""Where a population's rows come from when they are in a file: stretch by stretch, prepared while the last one trains.

An epoch goes through the file in stretches, in an order of its own, and through each stretch in an order of each
member's own. As the file is in a random order already, a batch is drawn from rows of the whole dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from orchestrator.data.encode import Features
from orchestrator.data.sets import TrainingSet
from orchestrator.data.store import StoredFeatures
from orchestrator.families.networks.records import Array, Block, BlockKey
from orchestrator.families.networks.structure import Member, seed_of
from orchestrator.space import Params

if TYPE_CHECKING:
    from orchestrator.families.networks.family import NetworkFamily

MOST_INNER = 20_000
"""Rows that early stopping and rungs look at, which stay in memory."""
_ALL_ROWS = -1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some rows on their way through a program.

    Attributes:
        inputs: Arrays by name, rows along axis 0.
        target: The targets.
        rows: Which rows each member takes, shape (members, steps, batch).
        n_wanted: How many of them each member takes where the rest is there for the shape alone.
    """

    inputs: Mapping[str, Any]
    target: Any
    rows: Array
    n_wanted: tuple[int, ...] = ()


def is_streamed(data: TrainingSet) -> bool:
    """Tell whether the rows are in a file."""
    return isinstance(data.features, StoredFeatures)


def stored(data: TrainingSet) -> StoredFeatures:
    """Return the features of a training set whose rows are in a file."""
    assert isinstance(data.features, StoredFeatures)
    return data.features


def rows_of(data: TrainingSet, fold: int) -> tuple[Array, Array]:
    """Return the rows to fit on and those to look at, of a fold or of all rows (-1), which looks at none.

    Rows are in a random order, so that the first of a fold are a sample of it.
    """
    if fold == _ALL_ROWS:
        return np.arange(len(data.target), dtype=np.int32), np.arange(0)
    train = data.folds[fold].train
    n_inner = min(MOST_INNER, stored(data).sample_rows // 4, -(-len(train) // 10))
    return train[n_inner:], train[:n_inner]


def streamed_block(family: NetworkFamily, params: Params, data: TrainingSet, fold: int) -> Block:
    """Prepare a fold by a sample of its training rows; the block holds the rows to look at alone."""
    fit, inner = rows_of(data, fold)
    learnt = np.concatenate([inner, fit[: max(0, stored(data).sample_rows - len(inner))]])
    key = f"{data.key}/sample of {fold}"
    sample = replace(data, key=key, features=data.features.take(learnt), target=data.target[learnt], folds=())
    preparation = family.prepare(params, sample, np.arange(len(learnt)))
    center, scale = 0.0, 1.0
    if data.task == "regression":
        rows = data.target if fold == _ALL_ROWS else data.target[data.folds[fold].train]
        center, scale = float(rows.mean()), float(rows.std()) or 1.0
    held = inner if len(inner) else fit[:1]  # one row, where none are looked at, for its shape
    places, nothing = np.arange(len(inner)), np.arange(0)
    target = _standardised(data.target[held], data.task, center, scale)
    inputs = preparation.transform(data.features.take(held))
    return Block(inputs, target, nothing, places, nothing, center, scale, preparation.initial(), preparation)


def _standardised(target: Array, task: str, center: float, scale: float) -> Array:
    return target.astype(np.int32) if task == "classification" else ((target - center) / scale).astype(np.float32)


class Stream:
    """The rows of a training set in a file, as members of one structure take them.

    Args:
        data: The training set.
        blocks: The prepared folds, by what names them.
        key_of: Which of them a member trains on.
    """

    def __init__(
        self, data: TrainingSet, blocks: Mapping[BlockKey, Block], key_of: Callable[[Member], BlockKey]
    ) -> None:
        self._data, self._blocks, self._key_of = data, blocks, key_of
        self._step = stored(data).stretch_rows
        folds = [_ALL_ROWS] if any(fold == _ALL_ROWS for _, fold in blocks) else list(range(len(data.folds)))
        self._fit = {fold: rows_of(data, fold)[0] for fold in folds}  # of all folds, whoever trains here
        first, last = min(rows[0] for rows in self._fit.values()), max(rows[-1] for rows in self._fit.values()) + 1
        self._edges = np.linspace(first, last, -(-(last - first) // self._step) + 1).astype(np.int64)
        ends = np.stack([np.searchsorted(rows, self._edges) for rows in self._fit.values()])
        self._n_fit = np.diff(ends, axis=1).min(axis=0)  # so that all members take as many steps
        self.counts = {fold: self._counted(rows) for fold, rows in self._fit.items()}

    def _counted(self, rows: Array) -> Array:
        if self._data.task == "regression":
            return np.zeros(1)
        target, n_classes = self._data.target, self._data.n_classes
        counts = np.zeros(n_classes, np.int64)
        for start in range(0, len(rows), self._step):
            counts += np.bincount(target[rows[start : start + self._step]], minlength=n_classes)
        return counts

    def epoch(self, members: Sequence[Member], epoch: int) -> tuple[int, Iterator[Stretch]]:
        """Return how many steps an epoch has, and its stretches."""
        batch = min(int(members[0].params["batch_size"]), max(1, int(self._n_fit.max())))
        n_steps = self._n_fit // batch
        order = np.random.default_rng([self._data.seed, epoch]).permutation(np.flatnonzero(n_steps))
        stretches = (self._stretch(members, epoch, int(one), int(n_steps[one]), batch) for one in order)
        return int(n_steps.sum()), ahead(stretches)

    def _stretch(self, members: Sequence[Member], epoch: int, number: int, n_steps: int, batch: int) -> Stretch:
        start, stop = int(self._edges[number]), int(self._edges[number + 1])
        inputs, target, offsets = self._prepared(members, np.arange(start, stop))
        rows = []
        for member in members:
            fit = self._fit[member.fold]
            low, high = np.searchsorted(fit, [start, stop])
            generator = np.random.default_rng([*seed_of(self._data.seed, member), epoch + 1, number])
            taken = generator.permutation((fit[low:high] - start).astype(np.int32))[: n_steps * batch]
            rows.append(taken + offsets[self._key_of(member)])
        return Stretch(inputs, target, np.stack(rows).reshape(len(members), n_steps, batch).astype(np.int32))

    def scored(self, members: Sequence[Member], chunk: int) -> Iterator[Stretch]:
        """Return the rows whose answers are asked for, `chunk` at a time, in stretches."""
        valid = {m.fold: self._data.folds[m.fold].valid for m in members}
        step = max(chunk, self._step // chunk * chunk)
        starts = range(0, max(len(rows) for rows in valid.values()), step)
        return ahead(
            self._asked(members, {f: rows[start : start + step] for f, rows in valid.items()}, chunk)
            for start in starts
        )

    def _asked(self, members: Sequence[Member], wanted: Mapping[int, Array], chunk: int) -> Stretch:
        every = np.unique(np.concatenate(list(wanted.values())))
        inputs, target, offsets = self._prepared(members, every)
        n_chunks = -(-max(len(rows) for rows in wanted.values()) // chunk)
        rows = []
        for member in members:
            places = np.searchsorted(every, wanted[member.fold]) + offsets[self._key_of(member)]
            rows.append(np.resize(places if len(places) else np.zeros(1, np.int64), n_chunks * chunk))
        shaped = np.stack(rows).reshape(len(members), n_chunks, chunk).astype(np.int32)
        return Stretch(inputs, target, shaped, tuple(len(wanted[m.fold]) for m in members))

    def _prepared(self, members: Sequence[Member], rows: Array) -> tuple[dict[str, Array], Array, dict[BlockKey, int]]:
        """Return some rows as each preparation makes them, one after another, and where each begins."""
        features: Features = self._data.features.take(rows)
        keys = list(dict.fromkeys(self._key_of(member) for member in members))
        parts: list[Mapping[str, Array]] = []
        targets = []
        for key in keys:
            block = self._blocks[key]
            assert block.preparation is not None
            parts.append(block.preparation.transform(features))
            targets.append(_standardised(self._data.target[rows], self._data.task, block.center, block.scale))
        inputs = {name: _joined([part[name] for part in parts]) for name in parts[0]}
        return inputs, _joined(targets), {key: i * len(rows) for i, key in enumerate(keys)}


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items of an iterator, the next one of which is made meanwhile."""
    with ThreadPoolExecutor(1, "prefetch") as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
