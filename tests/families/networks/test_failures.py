"""What goes wrong with one network is its own row with a reason; those that train beside it do not notice."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sameness import board, workers

import orchestrator
from orchestrator import Data, Job, Search, Validation
from orchestrator.job import Resources
from orchestrator.results.leaderboard import Row
from orchestrator.search.loop import Progress

FAMILY = '''
import os

import tensorflow as tf

from orchestrator.families.networks.mlp import MLP
from orchestrator.families.networks.parameters import Choice


class Troubled(MLP):
    """`mlp` with members that get into trouble where their own models are built; they share the others' program."""

    name = "troubled"
    own = {**MLP.own, "trouble": Choice("none", ("none", "memory", "error", "death"))}
    fused_choices = MLP.fused_choices | {"trouble"}

    def build(self, kit, params, signature):
        trouble = params.get("trouble", "none") if os.environ.get("TROUBLE") else "none"
        if trouble == "memory":
            tf.zeros((2**25, 2**25))
        if trouble == "error":
            raise ValueError(f"no layer {object()} in {__file__}, says process {os.getpid()}")
        if trouble == "death":
            os.abort()
        return super().build(kit, params, signature)
'''
SMALL: dict[str, Any] = {
    "depth": 1,
    "width_1": [16, 32],
    "optimizer": "sgd",
    "batch_size": 16,
    "epochs": 3,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="module", autouse=True)
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install a family, as another package would, for the processes to come as well."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "troubled.py").write_text(FAMILY)
    described = folder / "troubled-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: troubled\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[orchestrator.families]\ntroubled = troubled:Troubled\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("TROUBLE", "1")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # whose allocator waits ten seconds for memory to come free
        yield


def job(space: Mapping[str, Any], family: str = "troubled", folds: int = 2, **changes: Any) -> Job:
    return Job(
        name="troubled",
        data=Data("dataset:iris", target="species"),
        validation=Validation(folds=folds) if folds > 1 else Validation(kind="holdout"),
        searches=(Search(family, sampler="grid", space={**SMALL, **space}),),
        **changes,
    )


def rows_of(board: Any) -> dict[str, Row]:
    """Return a board's trials by what sets them apart."""
    return {
        " ".join(str(row.params.get(name)) for name in ("trouble", "learning_rate", "width_1", "epochs")): row
        for row in board.rows
        if row.family != "dummy"
    }


def outcome_of(row: Row) -> tuple[Any, ...]:
    return row.state, row.score, row.score_std, row.epochs, row.error


TROUBLES = ["none", "memory", "error"]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Row]:
    """Trials that nothing is wrong with, whatever they are called."""
    path = tmp_path_factory.mktemp("runs") / "healthy"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TROUBLE")
        found = rows_of(orchestrator.run(job({"trouble": TROUBLES}), path, executor="inline").leaderboard)
    assert {row.state for row in found.values()} == {"completed"}
    return found


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Row]:
    """The same in one population with others that diverge; those that are called something have what it says."""
    path = tmp_path_factory.mktemp("runs") / "mixed"
    space = {"trouble": TROUBLES, "learning_rate": [0.01, 1e6]}
    return rows_of(orchestrator.run(job(space), path, executor="inline").leaderboard)


NO_MEMORY = "ResourceExhaustedError: OOM when allocating tensor with shape[33554432,33554432] and type float"


@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        ("none 1000000.0 ", r"diverged: the loss is not a finite number in epoch [12]"),
        ("memory 0.01 ", re.escape(f"out_of_memory: {NO_MEMORY}")),
        ("error 0.01 ", r"raised: ValueError: no layer <object object at …> in …, says …"),
    ],
)
def test_reason_is_a_stable_text(mixed: Mapping[str, Row], chosen: str, error: str) -> None:
    found = [row for name, row in mixed.items() if name.startswith(chosen)]
    assert len(found) == 2
    for row in found:
        assert (row.state, row.score) == ("failed", None)
        assert re.fullmatch(error, row.error or "")


def test_mates_of_networks_that_fail_score_as_without_them(
    healthy: Mapping[str, Row], mixed: Mapping[str, Row]
) -> None:
    mates = {name: outcome_of(row) for name, row in healthy.items() if name.startswith("none ")}
    assert len(mates) == 2
    assert {name: outcome_of(row) for name, row in mixed.items() if row.state == "completed"} == mates
    assert len(mixed) == 12


@pytest.mark.slow
def test_network_that_ends_its_process_is_told_apart(tmp_path: Path) -> None:
    space = {"trouble": ["none", "death"], "width_1": 16}
    found = rows_of(orchestrator.run(job(space, folds=1), tmp_path / "run", executor="inline").leaderboard)
    assert found["death 0.01 16 3"].error == "worker_lost: the worker was lost, 2 times over"
    assert found["none 0.01 16 3"].state == "completed"


@pytest.mark.slow
def test_network_that_never_ends_is_a_timeout_and_its_mates_are_not(tmp_path: Path) -> None:
    space = {"epochs": [3, 100_000], "patience": "none", "width_1": 16}
    endless = job(space, "mlp", folds=1, resources=Resources(trial_timeout_s=20.0))
    found = rows_of(orchestrator.run(endless, tmp_path / "run", executor="inline").leaderboard)
    ended = rows_of(
        orchestrator.run(job({**space, "epochs": 3}, "mlp", folds=1), tmp_path / "ended", executor="inline").leaderboard
    )
    assert found["None 0.01 16 100000"].error == "timeout: over 20 s (resources.trial_timeout_s)"
    assert outcome_of(found["None 0.01 16 3"]) == outcome_of(ended["None 0.01 16 3"])


def test_worker_killed_within_a_unit_is_replaced_and_the_unit_gives_what_it_would_have(tmp_path: Path) -> None:
    space = {"epochs": 400, "patience": "none"}
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.notes and not killed:
            (worker,) = workers()
            worker.kill()
            killed.append(worker.pid)

    orchestrator.run(job(space, "mlp"), tmp_path / "whole", executor="inline")
    orchestrator.run(job(space, "mlp"), tmp_path / "killed", executor="inline", on_progress=kill)
    assert killed
    assert board(tmp_path / "killed") == board(tmp_path / "whole")
