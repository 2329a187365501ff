"""Proposals by Optuna's samplers, as a pure function; and the journal that Optuna reads back."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.errors import JobError
from orchestrator.families.base import Failure
from orchestrator.ledger import BatchProposed
from orchestrator.search.state import Generation, SearchSpec, SearchState
from orchestrator.search.study import Proposer, proposer, write_journal
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


def make(sampler: str = "tpe", *, seed: int = 0, search: str = "s", generation: int = 0) -> Proposer:
    return proposer(
        sampler, SPACE, CONDITIONS, seed=seed, search=search, generation=generation, key="searches.0.sampler"
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
