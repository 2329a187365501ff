"""Which networks train together: large populations, whatever there is to run them on. Trains nothing."""

import dataclasses
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Data, Job, Pruner, Search
from orchestrator.compose import Prepared, first_generations, prepare, states_of
from orchestrator.errors import JobError
from orchestrator.execution.base import Completion
from orchestrator.families import find
from orchestrator.families.base import Answer, UnitOutput
from orchestrator.families.networks.plan import MOST_FUSED, TrainUnit
from orchestrator.ledger import BatchProposed, Ledger, read
from orchestrator.search.loop import SearchLoop

TRIALS = 128


def prepared(*searches: Search) -> Prepared:
    return prepare(Job(name="planned", data=Data("dataset:iris", target="species"), searches=searches))


class Oracle:
    """An executor of several slots that trains nothing, and ends its units in an order that a seed decides."""

    def __init__(self, n_slots: int, seed: int) -> None:
        self._n_slots, self._random = n_slots, random.Random(seed)
        self._submitted: list[Any] = []
        self.units: list[Any] = []

    def capacity(self, engine: Any) -> int:
        return self._n_slots

    def submit(self, unit: Any, data: Any, inputs: Sequence[Any]) -> None:
        self._submitted.append(unit)
        self.units.append(unit)

    def completed(self, timeout_s: float) -> list[Completion]:
        unit = self._submitted.pop(self._random.randrange(len(self._submitted)))
        scores = {name: zlib.crc32(name.encode()) / 2**32 for name in unit.answers}
        answers = {name: Answer(score, 0.0, 0.0, score, 1) for name, score in scores.items()}
        return [Completion(unit.id, UnitOutput(answers), None)]

    def notes(self) -> Sequence[str]:
        return []


def ran(one: Prepared, folder: Path, n_slots: int, seed: int = 0) -> list[Any]:
    """Run a search with made-up scores; return its units in the order in which they were submitted."""
    records = first_generations(one.job)
    executor = Oracle(n_slots, seed)
    with Ledger(folder) as ledger:
        ledger.append(records)
        loop = SearchLoop(states_of(one.job, one.shape, records), {}, ledger, executor, None)  # type: ignore[arg-type]
        assert loop.run() == "finished"
    return executor.units


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_default_search_trains_in_large_populations(tmp_path: Path, sampler: str) -> None:
    units = ran(prepared(Search("mlp", sampler=sampler, trials=TRIALS)), tmp_path, 2)
    populations = [unit for unit in units if isinstance(unit, TrainUnit)]
    sizes = [len(unit.members) for unit in populations]
    assert sum(sizes) == TRIALS * 5
    assert max(sizes) <= MOST_FUSED
    assert sum(sizes) / len(sizes) >= 16
    batches = [record for record in read(tmp_path) if isinstance(record, BatchProposed)]
    assert len({unit.structure for unit in populations}) <= 4 * len(batches)


@pytest.mark.parametrize("pruner", ["none", "successive_halving", "hyperband"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_units_are_the_same_whatever_runs_them(tmp_path: Path, sampler: str, pruner: Any) -> None:
    one = prepared(Search("mlp", sampler=sampler, trials=TRIALS, pruner=Pruner(pruner)))
    expected = {unit.id: unit for unit in ran(one, tmp_path / "one", 1)}
    for n_slots, seed in ((2, 1), (10, 2), (100, 3)):
        units = ran(one, tmp_path / str(n_slots), n_slots, seed)
        assert {unit.id: unit for unit in units} == expected
        assert len(units) == len(expected)


def test_searches_share_answers_where_they_train_in_the_same_structures_and_only_there() -> None:
    params = {"depth": 1, "width_1": 16, "learning_rate": 0.01, "batch_size": 32}
    spaces = {
        "same": {"width_1": [16, 32], "learning_rate": [0.01, 0.02]},
        "narrow": {"width_1": [16, 32], "learning_rate": [0.01]},
        "wide": {"width_1": [16, 64]},
        "with dropout": {"width_1": [16, 32], "dropout": [0.0, 0.5]},
        "with choices": {"width_1": [16, 32], "activation": ["relu", "tanh"]},
    }
    one = prepared(*(Search("mlp", name=n.replace(" ", "-"), sampler="random", space=s) for n, s in spaces.items()))
    family = find("mlp")
    plans = [family.plan(search.space or {}, one.shape, exhaustive=False) for search in one.job.searches]
    same, narrow, *others = [set(plan.answers_of(params)) for plan in plans]
    assert same == narrow
    for number, answers in enumerate(others):
        assert answers.isdisjoint(same.union(*others[:number]))


def test_the_few_that_go_on_from_a_rung_are_work_for_two() -> None:
    rates = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3]
    space = {"depth": 1, "width_1": 16, "learning_rate": rates, "epochs": 9}
    one = prepared(Search("mlp", sampler="random", trials=6, space=space, pruner=Pruner("successive_halving")))
    filled = one.job.searches[0].space
    assert filled is not None
    plan: Any = find("mlp").plan(filled, one.shape, exhaustive=False)
    trials = [{"depth": 1, "width_1": 16, "learning_rate": rate, "epochs": 9} for rate in rates]

    def sizes(n_trials: int, epochs: int | None) -> list[int]:
        names = frozenset(name for params in trials[:n_trials] for name in plan.answers_of(params, epochs))
        return [len(unit.members) for unit in plan.units_for(trials[:n_trials], names, epochs)]

    assert sizes(6, 1) == [30]
    assert sizes(3, 3) == [8, 7]
    assert sizes(2, None) == [10]


def test_epochs_may_differ_from_trial_to_trial_where_nothing_prunes() -> None:
    search = Search("mlp", sampler="grid", space={"epochs": [3, 9]})
    (filled,) = prepared(search).job.searches
    assert filled.space == {"epochs": [3, 9]}
    expected = r"^searches\.0\.space\.epochs: a pruner needs one number of epochs for all trials$"
    with pytest.raises(JobError, match=expected):
        prepared(dataclasses.replace(search, pruner=Pruner("median")))
