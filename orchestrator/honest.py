"""How sure a finished run is of its board: what its statistics need, from its directory and from a last few units."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator import families, rundir
from orchestrator.compose import Prepared
from orchestrator.data.encode import Task
from orchestrator.errors import RunError
from orchestrator.execution.base import Executor, Handle
from orchestrator.families.base import Answer, LeavesOneOut, left_out_rows, mean_and_std
from orchestrator.families.limits import one_thread
from orchestrator.families.scoring import scores_labels
from orchestrator.oof import Kept, OutOfFoldFiles, Predictions
from orchestrator.results import statistics
from orchestrator.results.ensemble import MOST_MEMBERS, ensemble
from orchestrator.results.leaderboard import NO_TRIALS, Leaderboard, Row, ranked
from orchestrator.results.model import TestAnswers
from orchestrator.results.statistics import Candidate, Difference, Statistics
from orchestrator.search.loop import work_off
from orchestrator.search.plan import WorkPlan
from orchestrator.search.state import SearchState

ENSEMBLE = "ensemble/0"
CHUNK_BYTES = 64 << 20
"""How much of the predictions is read at once."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TestScore:
    """A model's score on the test rows, its 95 % interval, and how far the best model is ahead of it."""

    __test__ = False

    score: float | None
    low: float | None = None
    high: float | None = None
    behind_best: Difference | None = None


@dataclass(frozen=True, slots=True)
class EnsembleRow:
    """The ensemble on the board, and how far it is ahead of the best trial."""

    row: Row
    ahead: Difference | None


@dataclass(frozen=True, slots=True)
class Sureness:
    """What `statistics.json` holds.

    Attributes:
        n_trials: The rows of the board that it is of.
        board: Its statistics; None where no predictions were kept.
        test: The scores on the test rows by model.
        ensemble: The row of the ensemble, where the job asks for one, and how far it is ahead of the best.
    """

    n_trials: int
    board: Statistics | None
    test: Mapping[str, TestScore]
    ensemble: EnsembleRow | None = None

    def write(self, path: Path) -> None:
        """Write it into a run directory."""
        values = {
            "schema_version": 1,
            "n_trials": self.n_trials,
            "board": None if self.board is None else self.board.to_dict(),
            "test": {name: asdict(score) for name, score in self.test.items()},
            "ensemble": None if self.ensemble is None else asdict(self.ensemble),
        }
        rundir.write(path / rundir.STATISTICS, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Sureness | None:
        """Read it from a run directory; None where there is none yet.

        Raises:
            RunError: It is damaged.
        """
        try:
            values = json.loads((path / rundir.STATISTICS).read_text(encoding="utf-8"))
            board = None if values["board"] is None else Statistics.from_dict(values["board"])
            test = {name: _test_score(one) for name, one in values["test"].items()}
            return cls(values["n_trials"], board, test, _ensemble_row(values["ensemble"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            what = f"{path / rundir.STATISTICS} is damaged ({type(error).__name__}: {error})"
            raise RunError(f"{what}; remove it and resume the run, which makes it again") from None

    def on(self, board: Leaderboard) -> Leaderboard:
        """Return a board with its intervals and ties, where it is the board that these are of."""
        best = board.best
        if self.board is None or best is None or (len(board), best.trial) != (self.n_trials, self.board.winner):
            return board
        board = board.with_statistics(self.board.trials)
        if self.ensemble is None:
            return board
        return ranked([*board.rows, self.ensemble.row], board.metric)


def _ensemble_row(values: Mapping[str, Any] | None) -> EnsembleRow | None:
    if values is None:
        return None
    ahead = values["ahead"]
    return EnsembleRow(Row(**values["row"]), None if ahead is None else Difference(**ahead))


def _test_score(values: Mapping[str, Any]) -> TestScore:
    behind = values["behind_best"]
    return TestScore(values["score"], values["low"], values["high"], None if behind is None else Difference(**behind))


class _InChunks:
    """Gives the predictions of trials that are asked for about in order, and reads many of them at once."""

    def __init__(self, predictions: Predictions, names: Sequence[str]) -> None:
        self._predictions, self._names = predictions, list(names)
        self._place = {name: i for i, name in enumerate(names)}
        self._known: dict[str, Array] = {}
        self._n = 1

    def __call__(self, name: str) -> Array:
        if name not in self._known:
            start = self._place[name]
            self._known = self._predictions.of(self._names[start : start + self._n])
            self._n = max(1, CHUNK_BYTES // max(1, self._known[name].nbytes))
        return self._known[name]


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the statistics of a board are computed from.

    Attributes:
        prepared: The job and its data.
        candidates: The trials that have predictions, best first.
        board: The leaderboard.
        predictions: What the trials said.
        shift: What training on all rows adds to the winner's score; None where nobody knows.
    """

    prepared: Prepared
    board: Leaderboard
    candidates: Sequence[Candidate]
    predictions: Predictions
    shift: float | None

    def statistics(self) -> Statistics:
        """Compute the statistics, on the driver."""
        train = self.prepared.data.train
        return statistics.assess(
            train.metric,
            train.task,
            self.predictions.truth,
            self.predictions.fold,
            self.candidates,
            _InChunks(self.predictions, [one.name for one in self.candidates]),
            blocks=self.predictions.blocks,
            n_repeats=self.predictions.n_repeats,
            shift=self.shift,
            n_trials=sum(row.state == "completed" and row.family not in NO_TRIALS for row in self.board.rows),
            seed=train.seed,
        )

    def ensemble(self) -> EnsembleRow | None:
        """Choose the ensemble that the job asks for; None where it asks for none, or the metric has no value."""
        train, wanted = self.prepared.data.train, self.prepared.job.ensemble
        if wanted is None:
            return None
        names = [one.name for one in self.candidates[:MOST_MEMBERS]]
        said = self.predictions.of(names)
        truth, fold, blocks = self.predictions.truth, self.predictions.fold, self.predictions.blocks
        n_classes = self.prepared.shape.n_classes
        with one_thread():
            found = ensemble(train.metric, truth, fold, said, wanted.size, n_classes, train.seed, blocks)
        if found is None:
            return None
        score, std = mean_and_std(found.scores)
        members = [row for row in self.board.rows if row.trial in found.weights]
        alone = [Candidate(ENSEMBLE, score, ())]
        own = statistics.assess(
            train.metric,
            train.task,
            truth,
            fold,
            alone,
            lambda name: found.said,
            blocks=blocks,
            n_repeats=self.predictions.n_repeats,
            seed=train.seed,
        ).trials[ENSEMBLE]
        row = Row(
            ENSEMBLE,
            "ensemble",
            "ensemble",
            len(self.prepared.job.searches),
            0,
            "completed",
            score,
            std,
            sum(row.fit_time_s or 0.0 for row in members),
            sum(row.predict_time_s or 0.0 for row in members),
            {"members": ", ".join(f"{trial} x{times}" for trial, times in found.weights.items())},
            ci_low=own.ci_low,
            ci_high=own.ci_high,
        )
        scored = fold >= 0
        kind = np.int64 if found.said.dtype.kind in "iub" else np.float64
        pair = [one[scored].astype(kind) for one in (found.said, said[names[0]])]
        drawn = None if blocks is None else blocks[scored]
        ahead = statistics.difference(train.metric, truth[scored], *pair, blocks=drawn, seed=train.seed)
        return EnsembleRow(row, ahead)


def assessment(
    prepared: Prepared,
    path: Path,
    board: Leaderboard,
    states: Sequence[SearchState],
    executor: Executor,
    train: Handle,
    should_stop: Callable[[], bool],
) -> Assessment | None:
    """Gather what the statistics of a board need, and compute what is missing on workers.

    Args:
        prepared: The job and its data.
        path: The run directory, whose predictions are settled.
        board: The leaderboard.
        states: The searches.
        executor: Where units compute; nothing else is submitted there.
        train: Its handle of the training set.
        should_stop: Whether to leave off.

    Returns:
        It; None where the winner's predictions were not kept.
    """
    best = board.best
    if best is None or not prepared.job.resources.predictions_mb:
        return None
    predictions = Predictions.read(path)
    names = predictions.kept
    rows = [row for row in board.rows if row.trial in names and row.score is not None]
    if not rows or rows[0] != best:
        return None
    order = {search.name: float(i) for i, search in enumerate(prepared.job.searches)}
    candidates = [
        Candidate(row.trial, row.score or 0.0, (order[row.search], row.complexity, row.number)) for row in rows
    ]
    shift = _shift(prepared, rows, candidates, predictions, states, executor, train, should_stop)
    return Assessment(prepared, board, candidates, predictions, shift)


def restore(
    files: OutOfFoldFiles,
    board: Sequence[Kept],
    states: Sequence[SearchState],
    executor: Executor,
    train: Handle,
    should_stop: Callable[[], bool],
) -> None:
    """Compute again what trials said where it was lost, or never kept; scores stay as the ledger has them.

    Args:
        files: The run's predictions.
        board: The completed trials, best first.
        states: The searches.
        executor: Where units compute; nothing else is submitted there.
        train: Its handle of the training set.
        should_stop: Whether to leave off.
    """
    lost = {one.trial: one for one in files.lost(board)}
    for state in states:
        for number, generation in enumerate(state.generations):
            results = (state.results[n] for n in sorted(state.results))
            trials = [r.trial for r in results if r.trial.generation == number and r.trial.id in lost]
            work = WorkPlan({})
            work.want(generation.plan, [(trial.params, lost[trial.id].answers) for trial in trials])
            work_off(work, executor, train, should_stop, partial(files.append, state.spec.name))


def _shift(
    prepared: Prepared,
    rows: Sequence[Row],
    candidates: Sequence[Candidate],
    predictions: Predictions,
    states: Sequence[SearchState],
    executor: Executor,
    train: Handle,
    should_stop: Callable[[], bool],
) -> float | None:
    """Return what the winner gains by training on all rows, where its family can tell at little cost.

    A row that is left out alone leaves those behind that depend on it, so nobody can tell where the job keeps them
    together; a column of folds may do that as well.
    """
    if prepared.data.train.dependence is not None or prepared.job.validation.kind == "predefined":
        return None
    family = families.find(rows[0].family)
    if not isinstance(family, LeavesOneOut):
        return None
    same = [one for one, row in zip(candidates, rows, strict=True) if row.family == rows[0].family]
    said = _InChunks(predictions, [one.name for one in same])
    data, metric = prepared.data.train, prepared.data.train.metric
    worth = set(statistics.worth_leaving_one_out(metric, predictions.truth, predictions.first, same, said))
    work, asked = WorkPlan({}), {}
    for state in states:
        if state.spec.family.name == family.name:
            plan = family.leave_one_out_plan(state.generations[-1].space, prepared.shape)
            params = {row.trial: row.params for row in rows if row.trial in worth and row.search == state.spec.name}
            names = {trial: plan.answers_of(dict(one))[0] for trial, one in params.items()}
            work.want(plan, [(dict(params[trial]), [name]) for trial, name in names.items()])
            asked.update(names)
    work_off(work, executor, train, should_stop)
    answers = {trial: work.answers.get(name) for trial, name in asked.items()}
    alone = {trial: answer.score for trial, answer in answers.items() if isinstance(answer, Answer)}
    if not alone:
        return None
    left_out = left_out_rows(np.concatenate([fold.valid for fold in data.folds]))
    ordered = {one.name: alone[one.name] for one in same if one.name in alone}
    in_order = _InChunks(predictions, list(ordered))
    return statistics.refit_shift(metric, predictions.truth, left_out, in_order, ordered)


def test_scores(
    metric: str, truth: Array, answers: Mapping[str, TestAnswers], seed: int, blocks: Array | None
) -> dict[str, TestScore]:
    """Return the scores of models on the test rows, with intervals, and how far the best is ahead of the others.

    Args:
        metric: A scorer's name.
        truth: Class codes or numbers, shape (rows,).
        answers: What the models say, by name.
        seed: What decides the draws.
        blocks: The block of each row, shape (rows,), where rows depend on others.
    """
    said = {name: _asked_for(metric, one) for name, one in answers.items()}
    found = {}
    for name, one in answers.items():
        if one.score is None:
            found[name] = TestScore(None)
            continue
        task: Task = "regression" if one.probabilities is None else "classification"
        alone = [Candidate(name, one.score, ())]
        fold = np.zeros(len(truth), np.int16)
        own = statistics.assess(metric, task, truth, fold, alone, said.__getitem__, blocks=blocks, seed=seed).trials[
            name
        ]
        behind = None
        if name != "best" and "best" in answers:
            behind = statistics.difference(metric, truth, said["best"], said[name], blocks=blocks, seed=seed)
        found[name] = TestScore(one.score, own.ci_low, own.ci_high, behind)
    return found


def _asked_for(metric: str, answers: TestAnswers) -> Array:
    if answers.probabilities is None:
        return np.asarray(answers.said, np.float64)
    if scores_labels(metric):
        return np.asarray(answers.said, np.int64)
    return answers.probabilities.astype(np.float64)
