"""What a worker's process holds after hundreds of trials."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import environment

from orchestrator import Data, Job, Range, Search, Validation
from orchestrator.execution.environment import tensorflow_environment
from orchestrator.execution.memory import private_bytes
from orchestrator.job import Resources

N_PROGRAMS, N_WARMING, N_MEASURED, N_TRIALS = 4, 6, 8, 504
SPACE = {
    "depth": [1, 2],
    "batch_size": list(range(8, 22, 2)),
    "width_1": [16, 24, 32],
    "width_2": [16, 24, 32],
    "activation": ["relu", "tanh"],
    "normalization": ["none", "batch"],
    "dropout": Range(0.0, 0.4),
    "learning_rate": Range(1e-4, 1e-1, log=True),
    "epochs": 2,
}


def train() -> None:
    """Train trials of many structures, one after another; print what the process holds of its own before and after."""
    from orchestrator.compose import prepare
    from orchestrator.execution.base import run_unit
    from orchestrator.families import find
    from orchestrator.families.base import UnitOutput
    from orchestrator.families.networks import program

    program.MOST_PROGRAMS = N_PROGRAMS  # so that they are exchanged often
    job = Job("memory", Data("dataset:iris", target="species"), (Search("mlp", space=SPACE),), (), Validation(folds=2))
    one = prepare(job)
    plan = find("mlp").plan(one.job.searches[0].space or {}, one.shape, exhaustive=False)
    generator = np.random.default_rng(0)
    structures = [{"depth": depth, "batch_size": size} for size in SPACE["batch_size"] for depth in (1, 2)]  # type: ignore[attr-defined]
    assert len(structures) == N_WARMING + N_MEASURED

    def run(structure: dict[str, int], n_trials: int = N_TRIALS // N_MEASURED) -> None:
        names = ("width_1", "width_2", "activation", "normalization")
        drawn = [{name: generator.choice(SPACE[name]).item() for name in names} for _ in range(n_trials)]  # type: ignore[call-overload]
        rates = generator.random((n_trials, 2)).tolist()
        trials = [
            {**structure, **chosen, "learning_rate": 10 ** (-4 + 3 * rate), "dropout": 0.4 * dropout}
            for chosen, (rate, dropout) in zip(drawn, rates, strict=True)
        ]
        missing = frozenset(name for params in trials for name in plan.answers_of(params))
        for unit in plan.units_for(trials, missing):
            inputs = [need.compute(one.data.train, []).payload for need in unit.needs]
            assert isinstance(run_unit(unit, one.data.train, inputs, None), UnitOutput)

    for structure in structures[:N_WARMING]:
        run(structure)
    before = private_bytes()
    for structure in structures[N_WARMING:]:
        run(structure)
    print(before, private_bytes())


@pytest.mark.slow
def test_500_trials_of_many_structures_grow_a_process_by_less_than_a_tenth() -> None:
    variables = {**environment(), **tensorflow_environment(Resources(), has_gpu=False)}
    variables["TF_ENABLE_ONEDNN_OPTS"] = "0"  # whose cache of 1,024 compiled operations is full after some 400 trials
    variables["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, __file__], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after < 1.1 * before, f"{before / 2**20:.0f} MiB, then {after / 2**20:.0f} MiB"


if __name__ == "__main__":
    train()
