"""What the benchmarks share: a Ray that is started and timed, Ray Tune and KerasTuner, and a folder to write in."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import orchestrator.execution.ray_executor  # noqa: F401  (it sets Ray's environment, and so comes before Ray)

import ray  # isort: skip


@contextmanager
def started_ray() -> Iterator[float]:
    """Start Ray on this machine as a run does; gives the seconds that it took."""
    began = time.perf_counter()
    # "local": a Ray that already runs on this machine is somebody else's.
    ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield time.perf_counter() - began
    finally:
        ray.shutdown()


def warm_workers(*modules: str) -> None:
    """Let as many workers as there are CPUs import modules, until all of them have."""
    n_cpus = int(ray.cluster_resources()["CPU"])
    task = ray.remote(num_cpus=1)(_imported)
    while any(ray.get([task.remote(modules) for _ in range(n_cpus)])):
        pass


def _imported(modules: Sequence[str]) -> bool:
    """Import modules; return whether any was new to this process."""
    is_new = any(name not in sys.modules for name in modules)
    for name in modules:
        importlib.import_module(name)
    time.sleep(0.2)  # so that the next task goes to another worker
    return is_new


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Give a new folder below `parent`, or where the system keeps such, that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-benchmark-", dir=parent) as folder:
        yield Path(folder)


def machine() -> str:
    """Return how many CPUs there are and how busy they were before the benchmark."""
    return f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f} over the last minute"


def ray_workers(me: psutil.Process) -> list[psutil.Process]:
    """Return the workers of the Ray that a process has started."""
    found = []
    for raylet in (child for child in me.children() if child.name() == "raylet"):
        for child in raylet.children():
            try:
                if "".join(child.cmdline()[:1]).startswith("ray::"):
                    found.append(child)
            except psutil.Error:
                continue
    return found


def cpu_s() -> float:
    """Return the CPU seconds that this process and Ray's living workers have taken, which other load changes less."""
    total, me = 0.0, psutil.Process()
    for process in (me, *ray_workers(me)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@dataclass(frozen=True, slots=True)
class TuneCost:
    """What Ray Tune did: trials finished, and seconds from its start to the end of the first and of the last one.

    `began_s` is when its first trial began.
    """

    n_trials: int
    first_s: float
    last_s: float
    began_s: float = 0.0

    @property
    def a_trial(self) -> float:
        """Seconds a trial after the first, so that Tune's own start-up does not count."""
        return (self.last_s - self.first_s) / (self.n_trials - 1) if self.n_trials > 1 else self.first_s

    @property
    def a_trial_side_by_side(self) -> float:
        """Seconds a trial from the beginning of the first, for trials so long and so few that their overlap counts."""
        return (self.last_s - self.began_s) / max(1, self.n_trials)


@dataclass(frozen=True, slots=True)
class Each:
    """Values that are tried one after another, each once."""

    values: Sequence[Any]


def tune_cost(
    objective: Callable[..., Mapping[str, float]],
    space: Mapping[str, Any],
    folder: Path,
    *,
    uses_optuna: bool,
    n_trials: int = -1,
    limit_s: float | None = None,
    data: Mapping[str, Any] | None = None,
    reuses_actors: bool = False,
) -> TuneCost | None:
    """Run Ray Tune in the Ray that is up, and return its cost, or None where it is not installed.

    Args:
        objective: Returns `{"score": ...}` for a configuration (and `data` by keyword).
        space: By parameter a list of choices, low and high of whole numbers or of floats, or `Each`.
        folder: Where it keeps its files.
        uses_optuna: Whether OptunaSearch proposes; else Tune's default does, which draws at random.
        n_trials: When to stop; -1 for no bound.
        limit_s: When to stop, in seconds.
        data: What all trials share, put into the object store once.
        reuses_actors: Whether a worker process serves many trials, which Tune does only where it is asked to.
    """
    try:
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        return None

    begins: list[float] = []
    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_start(self, *args: Any, **kwargs: Any) -> None:
            begins.append(time.perf_counter())

        def on_trial_complete(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    began = time.perf_counter()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        tune.Tuner(
            tune.with_parameters(objective, **data) if data else objective,
            param_space={name: _domain(tune, values) for name, values in space.items()},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=n_trials,
                time_budget_s=limit_s,
                search_alg=OptunaSearch() if uses_optuna else None,
                reuse_actors=reuses_actors,
            ),
            run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0, callbacks=[Ends()]),
        ).fit()
    stopped = time.perf_counter()
    first, last = (ends[0], ends[-1]) if ends else (stopped, stopped)
    return TuneCost(len(ends), first - began, last - began, (begins[0] if begins else began) - began)


def _domain(tune: Any, values: Any) -> Any:
    if isinstance(values, Each):
        return tune.grid_search(list(values.values))
    if isinstance(values, list):
        return tune.choice(values)
    low, high = values
    return tune.randint(low, high + 1) if isinstance(low, int) else tune.uniform(low, high)


def keras_tuner_cost(
    build: Callable[[int], Any], train: Callable[[Any, int, Sequence[Any]], float], n_trials: int, folder: Path
) -> float | None:
    """Let KerasTuner run trials one after another; return its seconds a trial, or None where it is not installed.

    Args:
        build: Returns the compiled model of a trial.
        train: Trains a trial's model with KerasTuner's callbacks, and returns the trial's score.
        n_trials: How many trials there are.
        folder: Where it keeps its files.
    """
    try:
        import keras_tuner
    except ImportError:
        return None

    class Given(keras_tuner.HyperModel):  # type: ignore[misc]
        def build(self, hp: Any) -> Any:
            return build(hp.Choice("trial", list(range(n_trials))))

        def fit(self, hp: Any, model: Any, *args: Any, callbacks: Sequence[Any] = (), **kwargs: Any) -> Any:
            return {"val_accuracy": train(model, hp.get("trial"), callbacks)}

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        tuner = keras_tuner.GridSearch(
            Given(),
            objective=keras_tuner.Objective("val_accuracy", "max"),
            max_trials=n_trials,
            directory=str(folder),
            project_name="tuner",
        )
        began = time.perf_counter()
        tuner.search(verbose=0)
        return (time.perf_counter() - began) / max(1, len(tuner.oracle.trials))
