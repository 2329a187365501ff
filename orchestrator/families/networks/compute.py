"""What a worker does for a unit of members: set up TensorFlow, train, score."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from orchestrator.data.sets import TrainingSet
from orchestrator.families.base import Answer, Failure, OutOfFold, UnitOutput, notify
from orchestrator.families.networks.plan import TrainUnit, block_of, inner_split, standardised
from orchestrator.families.networks.program import program_of
from orchestrator.families.networks.records import Array, Block, BlockKey, Progressed
from orchestrator.families.networks.stream import Stream, is_streamed
from orchestrator.families.networks.structure import Member, Structure
from orchestrator.families.networks.training import Trainer
from orchestrator.families.scoring import AnsweredClassifier, AnsweredRegressor, said_by, score_of

if TYPE_CHECKING:
    from orchestrator.families.networks.family import NetworkFamily


def train_unit(
    unit: TrainUnit,
    family: NetworkFamily,
    data: TrainingSet,
    blocks: Mapping[BlockKey, Block],
    states: Mapping[str, Progressed],
) -> UnitOutput:
    """Train a unit's members from where they are and score them; the payload, at a rung, is how far they are."""
    structure = on_this_device(family, unit.structure, unit.members[0])
    blocks = _all_blocks(unit, family, data, blocks)
    program = program_of(structure, lambda: family.program(structure, data))
    stream = Stream(data, blocks, family.block_key) if is_streamed(data) else None
    trainer = Trainer(program, blocks, family.block_key, unit.n_fit, data.metric, data.seed, notify, stream)
    started = time.perf_counter()
    reached = trainer.train(unit.members, [states.get(m.name) for m in unit.members], unit.until)
    trained = time.perf_counter()
    sound = [i for i, state in enumerate(reached) if state.failure is None]
    said = trainer.answers([unit.members[i] for i in sound], [reached[i].kept for i in sound]) if sound else []
    answered = time.perf_counter()
    share = 1.0 / len(unit.members)
    times = (trained - started) * share, (answered - trained) * share
    by_place = dict(zip(sound, said, strict=True))
    answers = {
        m.answer(unit.until): _answer(state, by_place.get(i), data, m.fold, times)
        for i, (m, state) in enumerate(zip(unit.members, reached, strict=True))
    }
    if unit.until:
        return UnitOutput(answers, {m.name: state for m, state in zip(unit.members, reached, strict=True)})
    n_classes = data.n_classes
    out_of_fold = {
        unit.members[i].answer(None): OutOfFold(_compact(data.metric, one, n_classes), reached[i].curve)
        for i, one in by_place.items()
    }
    return UnitOutput(answers, None, out_of_fold)


def _compact(metric: str, answers: Array, n_classes: int) -> Array:
    model = AnsweredClassifier(answers) if n_classes else AnsweredRegressor(answers)
    return said_by(metric, model, None, n_classes)


def _answer(
    state: Progressed, said: Array | None, data: TrainingSet, fold: int, times: tuple[float, float]
) -> Answer | Failure:
    if said is None:
        return state.failure or Failure("no_answer", "the network gave no answer")
    try:
        score = score_of(data.metric, said, data.target[data.folds[fold].valid])
    except ValueError as error:  # a class that the fold lacks, say
        return Failure.of(error)
    inner = None
    if state.best is not None:  # where the metric has no meaning on the inner rows, the loss is all there is
        inner = state.best.score if np.isfinite(state.best.score) else -state.best.loss
    return Answer(score, *times, inner_score=inner, epochs=state.kept_epoch)


def on_this_device(family: NetworkFamily, structure: Structure, member: Member) -> Structure:
    """Return the structure as this process's device trains it."""
    if tf.config.list_physical_devices("GPU"):
        return replace(structure, is_fused=family.is_fused_on_gpu(member.params))
    return structure


def _all_blocks(
    unit: TrainUnit, family: NetworkFamily, data: TrainingSet, given: Mapping[BlockKey, Block]
) -> dict[BlockKey, Block]:
    """Return the prepared folds; those that were not given are prepared here."""
    blocks: dict[BlockKey, Block] = {}
    shared: dict[object, Block] = {}
    for member in unit.members:
        key = family.block_key(member)
        if key in blocks:
            continue
        if key in given:
            blocks[key] = given[key]
        elif family.shares_inputs(data.columns) and not is_streamed(data):
            blocks[key] = _by_reference(family, member, data, shared)
        else:
            blocks[key] = block_of(family, member.params, data, member.fold)
    return blocks


def _by_reference(family: NetworkFamily, member: Member, data: TrainingSet, shared: dict[object, Block]) -> Block:
    """Return a fold whose inputs depend on no rows, so that all folds share them."""
    rows = data.folds[member.fold]
    fit, inner = inner_split(data, rows.train)
    items, _ = family.block_key(member)
    if items not in shared or data.task == "regression":  # whose target is standardised by the fold
        inputs = family.prepare(member.params, data, np.arange(0)).transform(data.features)
        target, center, scale = standardised(data, rows.train)
        shared[items] = Block(inputs, target, fit, inner, rows.valid, center, scale)
    return replace(shared[items], fit=fit, inner=inner, scored=rows.valid)
