"""One job of neighbours and pruned networks has one answer: whatever runs it, and whatever dies meanwhile.

As in `test_same_answer`, with processes that take seconds to load TensorFlow, so that there are fewer of everything.
"""

import dataclasses
import json
import random
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sameness import (
    SEED,
    Reference,
    Start,
    assert_whole,
    board,
    finishing_time_s,
    kill_again_and_again,
    killing_workers,
    local_ray,
    marked,
    n_records,
    records,
    reference_of,
    start,
    unit_ids,
    until,
)

import orchestrator
from orchestrator import Comparator, Data, Job, Model, Pruner, Range, Search, Validation, runs
from orchestrator.data import parquet
from orchestrator.ledger import TestOpened, UnitFailed

pytestmark = pytest.mark.usefixtures("no_process_is_left")
N_KILLS_SEARCHING, N_KILLS_FINISHING = 8, 2
SPACE: dict[str, Any] = {
    "depth": [1, 2],
    "width_1": [16, 32],
    "width_2": [16, 24, 32],
    "activation": ["relu", "tanh"],
    "normalization": ["none", "batch"],
    "dropout": Range(0.0, 0.4),
    "optimizer": ["adam", "sgd"],
    "learning_rate": Range(1e-3, 1e-1, log=True),
    "schedule": ["constant", "cosine"],
    "batch_size": 16,
    "epochs": 9,
    "patience": [2, "none"],
    "scaler": ["standard", "quantile"],
}


def network(kind: Any, trials: int, **changes: Any) -> Search:
    search = Search("mlp", name=kind, sampler="tpe", trials=trials, space=SPACE, batch_size=16, pruner=Pruner(kind))
    return dataclasses.replace(search, **changes)


def mixed_job() -> Job:
    """Return neighbours too many to win, and networks under each of the pruners."""
    neighbours = {"n_neighbors": Range(50, 60), "metric": ["euclidean", "manhattan"], "scaler": ["none", "standard"]}
    return Job(
        name="mixed",
        data=Data("dataset:iris", target="species"),
        validation=Validation(folds=2),
        searches=(
            Search("knn", sampler="grid", space=neighbours),
            network("successive_halving", 40),
            network("hyperband", 24, batch_size=12),
            network("median", 16, sampler="random", batch_size=8),
        ),
        comparators=(Comparator("mlp", {"depth": 1, "width_1": 16, "epochs": 2, "batch_size": 16}),),
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return reference_of(mixed_job(), "mixed", tmp_path_factory.mktemp("reference"))


def answers_of(path: Path) -> bytes:
    """Return what a run's model says of all rows, to the last bit."""
    model = Model.load(path / "best")
    columns = [column.name for column in model.signature.columns]
    return model.predict_proba(parquet.read(parquet.open_dataset("dataset:iris"), columns, "iris")).tobytes()


def assert_same(path: Path, reference: Reference, **how: Any) -> None:
    """Assert that a finished run has the board and the model of the reference."""
    assert_whole(path, reference.board, **how)
    assert answers_of(path) == answers_of(reference.path)
    (opened,) = {json.dumps(one.scores) for one in records(path) if isinstance(one, TestOpened)}
    assert opened == json.dumps(next(o.scores for o in records(reference.path) if isinstance(o, TestOpened)))


# The same board from whatever runs it.


def test_job_prunes_and_a_network_wins(reference: Reference) -> None:
    board, states = runs.board_of(reference.path)
    assert len(set(unit_ids(reference.path))) >= 24
    for state in states[1:]:
        ends = Counter(result.state for result in state.results.values())
        assert ends["completed"] > 1, state.spec.name
        assert ends["pruned"] > 1, state.spec.name
        assert not ends["failed"], state.spec.name
    assert board.best is not None
    assert board.best.family == "mlp"
    assert_same(reference.path, reference)


def test_resuming_a_finished_run_changes_nothing(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(reference.path, path)
    ledger = (path / "ledger" / "records.jsonl").read_bytes()
    orchestrator.resume(path, executor="inline")
    assert_same(path, reference)
    assert (path / "ledger" / "records.jsonl").read_bytes() == ledger


@pytest.mark.parametrize(
    "n_workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_answer_is_the_same_with_any_number_of_ray_workers(
    reference: Reference, tmp_path: Path, n_workers: int
) -> None:
    with local_ray(n_workers):
        orchestrator.run(reference.job, tmp_path / "run", executor="ray")
    assert_same(tmp_path / "run", reference)


# The same board whatever dies.


@pytest.mark.slow
def test_run_killed_at_random_moments_and_resumed_ends_with_the_same_answer(
    reference: Reference, fork: Start, tmp_path: Path
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    path, draw = tmp_path / "run", random.Random(f"{SEED} networks")
    n_searching = n_records(reference.path) - 1  # the last one opens the test rows
    moments = sorted((draw.uniform(3, n_searching), draw.uniform(0, 0.3)) for _ in range(N_KILLS_SEARCHING))
    n_killed = kill_again_and_again(path, reference.file, moments, fork, "--executor", "inline")
    finishing_s = finishing_time_s(reference, fork, tmp_path / "timed")
    while n_killed < N_KILLS_SEARCHING + N_KILLS_FINISHING:
        moment = (n_searching, draw.uniform(0, finishing_s))
        was_killed = kill_again_and_again(path, reference.file, [moment], fork, "--executor", "inline")
        n_killed += was_killed
        finishing_s *= 1.0 if was_killed else 0.7  # less is left to do than there was
    assert fork("resume", path, "--executor", "inline").wait() == 0
    assert_same(path, reference, may_open_again=True)


@pytest.mark.slow
def test_run_killed_under_ray_and_resumed_ends_with_the_same_answer_and_leaves_no_process(
    reference: Reference, tmp_path: Path
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    path, draw = tmp_path / "run", random.Random(f"{SEED} networks ray")
    moment = draw.uniform(5, n_records(reference.path) - 1), draw.uniform(0, 0.3)
    assert kill_again_and_again(path, reference.file, [moment], start, "--executor", "ray")
    until(lambda: not marked(), "the end of the Ray of a killed driver", 60.0)
    orchestrator.resume(path, executor="inline")
    assert_same(path, reference)


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "n_kills"), [("inline", 2), ("ray", 3)])
def test_answer_is_the_same_though_worker_processes_are_killed(
    reference: Reference, tmp_path: Path, executor: Any, n_kills: int
) -> None:
    print(f"ORCHESTRATOR_TEST_SEED={SEED}")
    path, draw = tmp_path / "run", random.Random(f"{SEED} networks workers {executor}")
    n_searching = n_records(reference.path) - 1
    moments = sorted(draw.uniform(5, 0.8 * n_searching) for _ in range(n_kills))
    with local_ray(2) if executor == "ray" else nullcontext(), killing_workers(path, moments, draw) as killed:
        orchestrator.run(reference.job, path, executor=executor)
    assert killed
    assert_same(path, reference)
    assert not [record for record in records(path) if isinstance(record, UnitFailed)]


# Budgets.


@pytest.mark.slow
def test_fewer_trials_and_then_more_give_the_board_of_all_at_once(tmp_path: Path) -> None:
    def job(n_trials: int) -> Job:
        pruned = (network(kind, n_trials, batch_size=8) for kind in ("successive_halving", "hyperband"))
        return dataclasses.replace(mixed_job(), searches=tuple(pruned))

    at_once, in_two = tmp_path / "at_once", tmp_path / "in_two"
    orchestrator.run(job(24), at_once, executor="inline")
    orchestrator.run(job(12), in_two, executor="inline")  # half of the second batch
    orchestrator.resume(in_two, ["searches.0.trials=24", "searches.1.trials=24"], executor="inline", force=True)
    assert_whole(in_two, board(at_once), may_open_again=True)
    assert answers_of(in_two) == answers_of(at_once)
