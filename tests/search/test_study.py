"""Proposals by Optuna's samplers, as a pure function; and the journal that Optuna reads back."""

import json
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.errors import JobError
from orchestrator.families.base import Failure
from orchestrator.ledger import BatchProposed
from orchestrator.search.state import Generation, SearchSpec, SearchState
from orchestrator.search.study import MOST_REMEMBERED, Proposer, _remembered, proposer, write_journal
from orchestrator.search.trial import Proposal, Result, Trial
from orchestrator.space import Conditions, Range, dimensions

SPACE: dict[str, Any] = {
    "n": Range(1, 50),
    "odd": Range(1, 21, 2),
    "rate": Range(1e-4, 1.0, log=True),
    "share": Range(0.0, 1.0),
    "step": Range(0.0, 1.0, 0.25),
    "weights": ["uniform", "distance"],
    "metric": ["euclidean", "minkowski"],
    "p": Range(1.0, 4.0),
    "fixed": 3,
    "mixed": ["none", 2, 0.5, True, None],
}
CONDITIONS: Conditions = {"p": ("metric", frozenset({"minkowski"}))}
SAMPLERS = ["random", "tpe", "qmc", "TPESampler"]


def make(
    sampler: str = "tpe",
    *,
    seed: int = 0,
    search: str = "s",
    generation: int = 0,
    space: dict[str, Any] = SPACE,
    conditions: Conditions = CONDITIONS,
    structure: frozenset[str] = frozenset(),
) -> Proposer:
    return proposer(
        sampler,
        space,
        conditions,
        seed=seed,
        search=search,
        generation=generation,
        key="searches.0.sampler",
        structure=structure,
    )


def told(proposals: Sequence[Proposal], first: int = 0, batch: int = 0) -> list[Result]:
    """Return results of proposals; every seventh failed."""
    results = []
    for number, proposal in enumerate(proposals, first):
        trial = Trial("s", number, proposal.params, 0, batch, proposal.notes)
        if number % 7 == 6:
            results.append(Result(trial, "failed", failure=Failure("raised", "ValueError: no")))
        else:
            results.append(Result(trial, "completed", -abs(proposal.params["n"] - 20) / 50, 0.1, 1.0, 1.0))
    return results


def history(n: int) -> list[Result]:
    return told(make("random", seed=9).propose(0, n, []))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_follow_from_seed_search_generation_batch_and_history_alone(sampler: str) -> None:
    past = history(40)
    expected = make(sampler).propose(5, 8, past)
    random.seed(1)
    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=3)).ask(
        {"x": optuna.distributions.FloatDistribution(0, 1)}
    )
    again = make(sampler)
    again.propose(4, 3, [])
    assert again.propose(5, 8, past) == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("change", "batch"), [({"seed": 1}, 5), ({"search": "t"}, 5), ({"generation": 1}, 5), ({}, 6)])
def test_each_of_seed_search_generation_and_batch_draws_other_proposals(
    sampler: str, change: dict[str, Any], batch: int
) -> None:
    assert make(sampler).propose(5, 8, []) != make(sampler, **change).propose(batch, 8, [])


def test_tpe_learns_from_history() -> None:
    near = [p.params["n"] for p in make().propose(5, 64, history(100))]
    anywhere = [p.params["n"] for p in make().propose(5, 64, [])]
    assert sum(abs(n - 20) for n in near) < 0.5 * sum(abs(n - 20) for n in anywhere)


def test_tpe_does_not_depend_on_how_long_trials_took() -> None:
    past = history(40)
    slower = [Result(r.trial, r.state, r.score, r.score_std, 99.0, 99.0, r.failure) for r in past]
    assert make().propose(5, 8, past) == make().propose(5, 8, slower)


def test_long_history_is_fitted_on_a_bounded_choice_that_repeats() -> None:
    past = history(1000)
    assert make().propose(5, 4, past) == make().propose(5, 4, past)
    near = [p.params["n"] for p in make().propose(5, 64, past)]
    assert sum(abs(n - 20) for n in near) / 64 < 6  # the best are in the choice


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_lie_in_the_space_and_have_plain_types(sampler: str) -> None:
    for proposal in make(sampler).propose(0, 200, history(20)):
        params = proposal.params
        assert params["n"] in range(1, 51)
        assert params["odd"] in range(1, 22, 2)
        assert 1e-4 <= params["rate"] <= 1.0
        assert 0.0 <= params["share"] <= 1.0
        assert params["step"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        assert params["fixed"] == 3
        assert any(params["mixed"] is v or params["mixed"] == v for v in SPACE["mixed"])
        assert ("p" in params) is (params["metric"] == "minkowski")
        assert 1.0 <= params.get("p", 1.0) <= 4.0
        assert {type(value) for value in params.values()} <= {int, float, str, bool, type(None)}
        assert json.loads(json.dumps(params)) == params


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_results_reach_the_sampler_by_number_whatever_the_order_in_which_they_came(sampler: str) -> None:
    class Fake:
        conditions = CONDITIONS

    def after(order: Sequence[int]) -> BatchProposed | None:
        state = SearchState(SearchSpec("s", Fake(), 1000, 30, True))  # type: ignore[arg-type]
        state.begin(Generation(SPACE, None, make(sampler)), 0)  # type: ignore[arg-type]
        assert state.propose() is not None
        results = told([Proposal(trial.params) for trial in state.activate()])
        for number in order:
            state.take(results[number])
        return state.propose()

    orders = [list(range(30)), list(reversed(range(30))), random.Random(1).sample(range(30), 30)]
    first, *others = [after(order) for order in orders]
    assert first is not None
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("name", "hint"), [("tpee", "Did you mean 'tpe'"), ("bruteforce", ""), ("partialfixed", ""), ("base", "")]
)
def test_sampler_that_is_unknown_or_cannot_be_used_is_refused(name: str, hint: str) -> None:
    with pytest.raises(JobError, match=rf"searches\.0\.sampler: no sampler '{name}'\..*{hint}"):
        make(name)


def test_sampler_whose_package_is_missing_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **options: Any) -> None:
        raise ModuleNotFoundError("No module named 'cmaes'", name="cmaes")

    monkeypatch.setattr(optuna.samplers, "CmaEsSampler", missing)
    with pytest.raises(JobError, match="sampler 'cmaes' needs the package 'cmaes', which is not installed"):
        make("cmaes")


NETWORKS: dict[str, Any] = {
    "pooling": ["none", "max"],  # means something under a kernel alone, and a kernel under one kind of layer
    "kernel": [3, 5, 7],
    "layer": ["dense", "conv"],
    "depth": Range(1, 4),
    "decay": Range(0.0, 0.1),
    "optimizer": ["adam", "sgd"],
    "momentum": Range(0.0, 0.99),
    "n": Range(1, 50),
}
NESTED: Conditions = {
    "pooling": ("kernel", frozenset({5, 7})),
    "kernel": ("layer", frozenset({"conv"})),
    "momentum": ("optimizer", frozenset({"sgd"})),
}
STRUCTURE = frozenset({"layer", "kernel", "depth"})


def networks(sampler: str, **options: Any) -> Proposer:
    return make(sampler, **{"space": NETWORKS, "conditions": NESTED, "structure": STRUCTURE, **options})


def structures(proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    return [{k: v for k, v in p.params.items() if k in STRUCTURE} for p in proposals]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("n", "most"), [(1, 1), (8, 1), (15, 1), (16, 2), (31, 3), (32, 4), (200, 4)])
def test_batch_has_few_structures_and_many_members_of_each(sampler: str, n: int, most: int) -> None:
    past = told(networks("random", seed=9).propose(0, 40, []))
    for batch in range(4):
        proposals = networks(sampler).propose(batch, n, past)
        counts = Counter(str(one) for one in structures(proposals))
        assert len(proposals) == n
        assert 1 <= len(counts) <= most
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len({p.params.get("decay") for p in proposals}) == n


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_structures_of_a_batch_are_a_pure_function_and_change_from_batch_to_batch(sampler: str) -> None:
    past = told(networks("random", seed=9).propose(0, 40, []))
    assert networks(sampler).propose(3, 32, past) == networks(sampler).propose(3, 32, past)
    drawn = [str(structures(networks(sampler).propose(batch, 8, past))[0]) for batch in range(12)]
    assert len(set(drawn)) > 2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("structure", [frozenset(), STRUCTURE, frozenset({"kernel", "momentum"}), frozenset({"layer"})])
def test_parameter_is_there_exactly_where_what_it_depends_on_gives_it_a_meaning(
    sampler: str, structure: frozenset[str]
) -> None:
    past = told(networks("random", seed=9, structure=structure).propose(0, 40, []))
    found = [p.params for batch in range(8) for p in networks(sampler, structure=structure).propose(batch, 16, past)]
    for params in found:
        assert ("kernel" in params) is (params["layer"] == "conv")
        assert ("pooling" in params) is (params.get("kernel") in (5, 7))
        assert ("momentum" in params) is (params["optimizer"] == "sgd")
        assert params["depth"] in range(1, 5)
        assert type(params["n"]) is int
    assert len({params["layer"] for params in found}) == 2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("structure", [frozenset(), frozenset({"unknown"}), frozenset(NETWORKS)])
def test_structure_that_leaves_nothing_to_draw_or_is_empty_changes_no_proposal(
    sampler: str, structure: frozenset[str]
) -> None:
    past = told(networks("random", seed=9, structure=frozenset()).propose(0, 40, []))
    plain = Proposer(sampler, dimensions(NETWORKS), NESTED, (0, zlib.crc32(b"s"), 0))
    assert networks(sampler, structure=structure).propose(5, 32, past) == plain.propose(5, 32, past)


def test_tpe_learns_which_structures_are_good() -> None:
    past = told(networks("random", seed=9, structure=frozenset()).propose(0, 100, []))
    scored = [
        replace(r, score=1.0 if r.trial.params["depth"] == 3 else 0.0) if r.score is not None else r for r in past
    ]
    drawn = [one for batch in range(20) for one in structures(networks("tpe").propose(batch, 32, scored))]
    assert sum(one["depth"] == 3 for one in drawn) > 0.5 * len(drawn)


def pruned(number: int, params: dict[str, Any], reports: tuple[tuple[int, float], ...]) -> Result:
    return Result(Trial("s", number, params, 0, 0), "pruned", 0.9, 0.1, 1.0, 1.0, None, 1, reports)


def test_tpe_prefers_what_completed_to_what_was_pruned_and_what_came_further_to_what_did_not() -> None:
    rungs = ((1, 0.5), (3, 0.6), (9, 0.7))
    completed = [
        Result(Trial("s", i, {"n": 40}, 0, 0), "completed", 0.1, 0.0, 1.0, 1.0, None, 9, rungs) for i in range(15)
    ]
    past = completed + [pruned(i, {"n": 5}, rungs[:1]) for i in range(15, 60)]
    near = [p.params["n"] for p in make(space={"n": Range(1, 50)}).propose(1, 32, past)]
    assert sum(abs(n - 40) < abs(n - 5) for n in near) > 24


def test_long_history_keeps_what_completed_before_what_was_pruned() -> None:
    completed = [Result(Trial("s", i, {"n": 40}, 0, 0), "completed", 0.1, 0.0, 1.0, 1.0) for i in range(20)]
    past = completed + [pruned(i, {"n": 5}, ((1, 0.5),)) for i in range(20, 400)]
    kept = _remembered(past, np.random.default_rng(0))
    assert set(range(20)) < {result.trial.number for result in kept}
    assert len(kept) == MOST_REMEMBERED


def test_journal_has_pruned_trials_and_what_all_reported(tmp_path: Path) -> None:
    trial = Trial("s", 0, {"n": 3}, 0, 0)
    results = [
        Result(trial, "completed", 0.5, 0.0, 1.0, 1.0, None, 7, ((1, 0.25), (3, 0.375))),
        pruned(1, {"n": 4}, ((1, 0.125),)),
        Result(replace(trial, number=2), "failed", failure=Failure("diverged", "no"), reports=((1, 0.5),)),
    ]
    write_journal(tmp_path / "s.journal", "s", results, [dimensions({"n": Range(1, 9)})])
    trials = opened(tmp_path / "s.journal").trials
    assert [one.state for one in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert [one.intermediate_values for one in trials] == [{1: 0.25, 3: 0.375}, {1: 0.125}, {1: 0.5}]


def opened(path: Path, name: str = "s") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))


def test_journal_opens_with_optuna_and_has_every_trial(tmp_path: Path) -> None:
    path, results = tmp_path / "study" / "s.journal", history(50)
    write_journal(path, "s", results, [dimensions(SPACE)])
    study = opened(path)
    assert study.direction.name == "MAXIMIZE"
    assert [trial.number for trial in study.trials] == list(range(50))
    for trial, result in zip(study.trials, results, strict=True):
        assert trial.params == result.trial.params
        assert trial.value == result.score
        assert trial.state == (TrialState.COMPLETE if result.state == "completed" else TrialState.FAIL)
    assert study.best_value == max(r.score for r in results if r.score is not None)


def test_journal_of_a_search_whose_space_grew_has_the_trials_of_both(tmp_path: Path) -> None:
    narrow: dict[str, Any] = {"n": Range(1, 9), "metric": ["a", "b"]}
    wide: dict[str, Any] = {"n": Range(1, 99), "metric": ["a", "b", "c"]}
    results = [
        Result(Trial("s", 0, {"n": 3, "metric": "a"}, 0, 0), "completed", 0.5, 0.0, 1.0, 1.0),
        Result(Trial("s", 1, {"n": 77, "metric": "c"}, 1, 0), "completed", 0.7, 0.0, 1.0, 1.0),
    ]
    path = tmp_path / "s.journal"
    write_journal(path, "s", results, [dimensions(narrow), dimensions(wide)])
    assert [trial.params for trial in opened(path).trials] == [{"n": 3, "metric": "a"}, {"n": 77, "metric": "c"}]


def test_journal_is_written_anew_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    write_journal(path, "s", history(9), [dimensions(SPACE)])
    write_journal(path, "s", history(4), [dimensions(SPACE)])
    assert len(opened(path).trials) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["s.journal"]


def test_journal_of_a_search_without_results_opens(tmp_path: Path) -> None:
    write_journal(tmp_path / "s.journal", "s", [], [dimensions(SPACE)])
    assert opened(tmp_path / "s.journal").trials == []


def test_search_goes_on_in_optuna_from_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    write_journal(path, "s", history(5), [dimensions(SPACE)])
    study = opened(path)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert len(opened(path).trials) == 6
