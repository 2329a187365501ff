"""The end of a run: the winner refitted, the test rows opened once, and the files that the run is for."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import families, rundir
from orchestrator.compose import Prepared
from orchestrator.data.profile import profile_of
from orchestrator.data.store import StoredFeatures
from orchestrator.errors import FinalFitError, Interrupted, RunError
from orchestrator.execution.base import Executor, Handle
from orchestrator.families.base import Failure
from orchestrator.honest import Sureness, TestScore, assessment, test_scores
from orchestrator.job import comparator_names
from orchestrator.ledger import Ledger, Record, TestOpened
from orchestrator.oof import as_parquet
from orchestrator.results import leaderboard, model
from orchestrator.results.explain import Explained, ExplainUnit
from orchestrator.results.leaderboard import Leaderboard, Row
from orchestrator.results.model import Refitted, RefitUnit
from orchestrator.search.state import SearchState
from orchestrator.space import dimensions

EXPLAINED = "the columns"
"""What the unit that looks at the columns is called among those of models; no comparator can be called so."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run.

    Attributes:
        prepared: The job and its data.
        path: The run directory.
        ledger: Where the opening of the test rows is recorded.
        records: What the ledger held when the search began.
        executor: Where the models fit.
        train: The executor's handle of the training set.
        states: The searches.
        board: Their leaderboard.
        manifest: Gains the openings.
        should_stop: Whether to leave off.
        may_open_again: Whether the test rows may be opened for one trial after they were for another.
    """

    prepared: Prepared
    path: Path
    ledger: Ledger
    records: Sequence[Record]
    executor: Executor
    train: Handle
    states: Sequence[SearchState]
    board: Leaderboard
    manifest: dict[str, Any]
    should_stop: Callable[[], bool]
    may_open_again: bool = False

    def finish(self) -> tuple[Leaderboard, Sureness]:
        """Refit the winner, open the test rows, and write what the run is for.

        Returns:
            The board with its intervals and ties, and how sure it is; without scores on the test rows where there are
            none, or they stay closed.

        Raises:
            RunError: No trial completed.
            FinalFitError: The winner's final fit failed. What is known of the trials is written; the test rows stay
                closed, as a resumed run may find another winner.
            Interrupted: It was told to leave off.
        """
        best = self._best()
        openings = [record for record in self.records if isinstance(record, TestOpened)]
        known = openings[-1] if openings and openings[-1].best == best.trial else None
        opens = self.prepared.data.test is not None and (not openings or known is not None or self.may_open_again)
        has_model = known is not None and model.saved_trial(self.path / rundir.BEST) == best.trial
        units: dict[str, RefitUnit | ExplainUnit] = {}
        if not has_model:
            units |= self._units(best, opens=opens)
            units[EXPLAINED] = ExplainUnit("refit/columns", families.find(best.family), best.params, best.epochs)
        gathered = assessment(
            self.prepared, self.path, self.board, self.states, self.executor, self.train, self.should_stop
        )
        test = self.executor.share(self.prepared.data.test if opens else None)
        for name, unit in units.items():
            self.executor.submit(unit, self.train, [test], is_limited=name == EXPLAINED)
        of_board = None if gathered is None else gathered.statistics()  # while the models fit
        sureness = Sureness(len(self.board), of_board, {}, None if gathered is None else gathered.ensemble())
        board = sureness.on(self.board)
        write_board(self.path, board)
        write_journals(self.path, self.states)
        try:
            refitted, explained = self._collected(units)
        except FinalFitError:
            sureness.write(self.path)
            raise
        refitted |= self._models() if units and opens else {}
        if known is None and (opens or not openings):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            known = TestOpened(now, best.trial, {name: one.test_score for name, one in refitted.items()})
            self._write_test(refitted)
            self.ledger.append([known])
            openings.append(known)
        if explained is not None:
            rundir.write(self.path / rundir.EXPLAINED, explained.to_json())
        if not has_model:
            _write_best(self.path, self.prepared, best, refitted["best"])
            threshold = refitted["best"].threshold
            self.manifest.update({"threshold": threshold.to_dict()} if threshold else {})
        if self.prepared.data.test is not None:
            self.manifest["test"]["openings"] = [asdict(opening) for opening in openings]
        if known is None:
            _LOG.warning(
                "warning: the test rows were opened for %s and stay closed for %s, the best now; to open them again: "
                "orchestrator resume --force %s",
                openings[-1].best,
                best.trial,
                shlex.quote(rundir.called(self.path)),
            )
        elif self.prepared.data.test is not None:
            sureness = replace(sureness, test=self._test_scores(known))
        sureness.write(self.path)
        return board, sureness

    def _test_scores(self, known: TestOpened) -> Mapping[str, TestScore]:
        try:
            truth, answers = model.read_test(self.path / rundir.TEST, known.scores)
        except FileNotFoundError:  # a run of an earlier version
            return {name: TestScore(score) for name, score in known.scores.items()}
        test = self.prepared.data.test
        blocks = None if test is None or test.dependence is None else test.dependence.blocks()
        scores = test_scores(self.prepared.data.train.metric, truth, answers, self.prepared.job.seed, blocks)
        return {name: scores.get(name, TestScore(None)) for name in known.scores}

    def _best(self) -> Row:
        best = self.board.best
        if best is not None and best.score is not None:
            return best
        write_board(self.path, self.board)
        write_journals(self.path, self.states)
        errors = [row.error for row in self.board.rows if row.error]
        reason = (
            f"all {len(errors)} trials failed, first with {errors[0]}"
            if errors
            else "no batch of trials finished in time; `orchestrator resume` with --set budget.time_s=MORE goes on"
        )
        raise RunError(
            f"no model was found: {reason}. See `orchestrator leaderboard {shlex.quote(rundir.called(self.path))}`"
        )

    def _units(self, best: Row, *, opens: bool) -> dict[str, RefitUnit]:
        job = self.prepared.job
        units = {"best": RefitUnit("refit/best", families.find(best.family), best.params, best.epochs, keep=True)}
        units["best"] = replace(units["best"], tunes=job.threshold == "tuned")
        if not opens:
            return units
        units["dummy"] = RefitUnit("refit/dummy", model.Dummy(), {}, None, keep=False)
        for name, comparator in zip(comparator_names(job), job.comparators, strict=True):
            if comparator.family is None:
                continue
            family = families.find(comparator.family)
            units[name] = RefitUnit(f"refit/{name}", family, comparator.params, None, keep=False)
        return units

    def _models(self) -> dict[str, Refitted]:
        """Return what the comparators that are models already say of the test rows."""
        found = {}
        for name, comparator in zip(comparator_names(self.prepared.job), self.prepared.job.comparators, strict=True):
            if comparator.model is not None:
                found[name] = model.compared(comparator.model, self.prepared.data, self.prepared.job.metric or "")
                if found[name].problem:
                    _LOG.warning("warning: no score of %s on the test rows: %s", name, found[name].problem)
        return found

    def _collected(self, units: Mapping[str, RefitUnit | ExplainUnit]) -> tuple[dict[str, Refitted], Explained | None]:
        """Return the models by name, and what was found of the best one's columns, which may be that it failed."""
        names = {unit.id: name for name, unit in units.items()}
        found: dict[str, Refitted] = {}
        explained: Explained | None = None
        n_ended = 0
        while n_ended < len(units):
            if self.should_stop():
                raise Interrupted("interrupted while the winner was refitted")
            for done in self.executor.completed(0.5):
                n_ended += 1
                name, outcome = names[done.unit_id], done.outcome
                if name == EXPLAINED:
                    problem = outcome.message if isinstance(outcome, Failure) else ""
                    explained = Explained(problem=problem) if problem else self.executor.fetch(done.payload)
                elif not isinstance(outcome, Failure):
                    found[name] = self.executor.fetch(done.payload)
                elif name == "best":
                    raise FinalFitError(self._no_model(outcome))
                else:
                    found[name] = Refitted({}, 0.0, 0.0, problem=outcome.message)
        for name, one in found.items():
            if why := one.problem or (one.test.problem if one.test is not None else None):
                _LOG.warning("warning: no score of %s on the test rows: %s", name, why)
        return {name: found[name] for name in units if name != EXPLAINED}, explained

    def _no_model(self, why: Failure) -> str:
        """Return what is said where the winner cannot be fitted on all rows: what is kept, and how to go on."""
        best, where = self._best(), shlex.quote(rundir.called(self.path))
        names = [state.spec.name for state in self.states]
        number = names.index(best.search)
        is_grid = self.prepared.job.searches[number].sampler == "grid"
        change = f"searches.{number}.{'space.KEY=WIDER' if is_grid else 'trials=MORE'}"
        return (
            f"the final fit of {best.trial}, the best trial, on all training rows failed: {why.code}: {why.message}\n"
            f"The leaderboard and the report are written, and the test rows stay closed. Try the fit again with "
            f"`orchestrator resume {where}`, or search on for another best with `--set {change}`"
        )

    def _write_test(self, refitted: Mapping[str, Refitted]) -> None:
        test = self.prepared.data.test
        if test is not None:
            said = {name: one.test for name, one in refitted.items() if one.test is not None}
            rundir.write(self.path / rundir.TEST, as_parquet(model.test_table(test.target, said)))


def write_board(path: Path, board: Leaderboard) -> None:
    """Write the leaderboard's three files, and `trials.parquet`, the same rows in the order they were proposed."""
    table = board.to_arrow()
    by_number = [(row.order, row.number, i) for i, row in enumerate(board.rows)]
    trials = table.take([i for _, _, i in sorted(by_number)]).drop_columns(["rank", "ci_low", "ci_high", "ties_leader"])
    rundir.write(path / "trials.parquet", as_parquet(trials))
    rundir.write(path / "leaderboard.parquet", as_parquet(table))
    rundir.write(path / "leaderboard.csv", leaderboard.as_csv(table, board.metric))
    rundir.write(path / "leaderboard.md", leaderboard.as_markdown(table, board.metric))


def write_journals(path: Path, states: Sequence[SearchState]) -> None:
    """Write each search as a journal that optuna-dashboard opens."""
    from orchestrator.search.study import write_journal  # Optuna, which `results` and a quick start do without

    for state in states:
        results = [state.results[n] for n in sorted(state.results)]
        spaces = [dimensions(generation.space) for generation in state.generations]
        write_journal(
            path / rundir.STUDY / f"{state.spec.name}.journal", state.spec.name, results, spaces, state.spec.minimised
        )


def _write_best(path: Path, prepared: Prepared, best: Row, refitted: Refitted) -> None:
    facts = {
        "family": best.family,
        "trial": best.trial,
        "params": dict(best.params),
        "epochs": best.epochs,
        "metric": prepared.job.metric,
        "score": best.score,
        "test_score": refitted.test_score,
        "threshold": refitted.threshold.to_dict() if refitted.threshold else None,
    }
    partial = path / (rundir.BEST + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    train, signature = prepared.data.train, prepared.data.signature
    described = (
        train.features.take(np.arange(train.features.sample_rows))
        if isinstance(train.features, StoredFeatures)
        else train.features
    )
    profile, sample = profile_of(described, train.columns), model.sample_of(train, signature)
    model.save(partial, refitted.files, signature, facts, _card(prepared, best, refitted), profile, sample)
    shutil.rmtree(path / rundir.BEST, ignore_errors=True)
    partial.rename(path / rundir.BEST)


def _card(prepared: Prepared, best: Row, refitted: Refitted) -> str:
    job, signature = prepared.job, prepared.data.signature
    name, value = leaderboard.plain_score(job.metric or "", best.score or 0.0)
    tested = ""
    if refitted.test_score is not None:
        shown = leaderboard.plain_score(job.metric or "", refitted.test_score)[1]
        tested = (
            f"- {name} on {len(prepared.data.test.target) if prepared.data.test else 0} sealed test rows: {shown:.4f}\n"
        )
    tuned = ""
    if refitted.threshold is not None:
        tuned = f"- decision threshold: {refitted.threshold.sentence(signature.classes[1], name)}\n"
    columns = "".join(f"- `{c.name}` ({c.type})\n" for c in signature.columns)
    return (
        f"# {job.name}: {best.family}\n\n"
        f"Predicts `{signature.target}` ({signature.task}). Chosen as trial `{best.trial}` of {job.name}, refitted on "
        f"{len(prepared.data.train.target)} training rows.\n\n"
        f"- configuration: `{leaderboard.params_json(best.params)}`\n"
        f"- {name} in cross-validation: {value:.4f} ± {best.score_std or 0.0:.4f} (standard deviation over folds; the "
        f"best of many, so it flatters)\n{tested}{tuned}"
        f"- data fingerprint: `{prepared.data.fingerprint}`\n\n## Inputs\n\n{columns}\n"
        '## Use\n\n```python\nfrom orchestrator import Model\n\nmodel = Model.load("best")\n'
        "model.predict(table)  # Arrow, pandas or polars\n```\n\n"
        f"`{model.SAMPLE_FILE}` holds up to {model.SAMPLE_ROWS} training rows, on which exports are checked. It is no "
        "part of the model: delete it where those rows must not be passed on.\n"
    )
