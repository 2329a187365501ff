"""Trials on their way from proposal to result, rung after rung. Runs nothing: a loop or a ledger gives the answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.families.base import Answer
from orchestrator.search.plan import Outcome, WorkPlan
from orchestrator.search.state import Generation, SearchState
from orchestrator.search.trial import Result, Trial, mean_inner_score, result_of


class Cohort:
    """Trials of one batch that are judged together: those of one bracket, or all where nothing is pruned.

    Args:
        state: Their search.
        generation: The generation of its space that they belong to.
        trials: The trials in the order of their numbers.
        rungs: The epochs at which they are judged before their end.
    """

    def __init__(
        self, state: SearchState, generation: Generation, trials: Sequence[Trial], rungs: Sequence[int]
    ) -> None:
        self.state = state
        self.generation = generation
        self.running = {trial.number: trial for trial in trials}
        self._rungs = list(rungs)
        self._n_entered = len(trials)
        self._before: dict[int, Result] = {}
        self._here: dict[int, Result] = {}
        self._scores: dict[int, float] = {}

    @property
    def epochs(self) -> int | None:
        """The rung that the trials run to now; None for their end."""
        return self._rungs[0] if self._rungs else None

    def take(self, trial: Trial, names: Sequence[str], answers: Mapping[str, Outcome]) -> tuple[list[Result], bool]:
        """Take in a trial's answers at the present rung.

        Returns:
            The results that are final now, and whether the survivors of the rung go on to the next one.
        """
        result = result_of(trial, names, answers, self.epochs, self._before.get(trial.number))
        is_final = result.state in ("completed", "failed")
        if is_final:
            del self.running[trial.number]
        else:
            given = [answer for name in names if isinstance(answer := answers[name], Answer)]
            self._here[trial.number] = result
            self._scores[trial.number] = mean_inner_score(given)
        final = [result] if is_final else []
        if self.epochs is None or len(self._here) < len(self.running):
            return final, False
        final += self._judge()
        return final, bool(self.running)

    def _judge(self) -> list[Result]:
        """Go on to the next rung with the survivors; return the results of the others."""
        pruning = self.generation.pruning
        assert pruning is not None
        chosen = pruning.survivors(self._scores, self._n_entered)
        pruned = [self._here[number] for number in sorted(self._here) if number not in chosen]
        self._before = {number: self._here[number] for number in chosen}
        self.running = {number: self.running[number] for number in chosen}
        self._here, self._scores, self._n_entered = {}, {}, len(chosen)
        del self._rungs[0]
        return pruned


@dataclass(frozen=True, slots=True, eq=False)
class _OpenTrial:
    """A trial whose answers at its cohort's rung are not all known."""

    cohort: Cohort
    trial: Trial
    names: Sequence[str]
    missing: set[str]


class Course:
    """Takes the trials of searches from one rung to the next, and their results to the searches.

    What it decides follows from proposals and answers alone, so that a replayed ledger leads to where the run was.

    Args:
        states: The searches.
        answers: The answers known so far, by name; filled as units finish.
    """

    def __init__(self, states: Sequence[SearchState], answers: dict[str, Outcome]) -> None:
        self.work = WorkPlan(answers)
        self._states = states
        self._waiting: dict[str, list[_OpenTrial]] = {}

    def take_up(self) -> bool:
        """Plan the trials that were proposed and not taken up, batch by batch; tell whether there were any.

        What is known already is answered at once.
        """
        fresh = [(state, trial) for state in self._states for trial in state.activate()]
        batches = itertools.groupby(fresh, key=lambda one: (one[0], one[1].generation, one[1].batch))
        for (state, number, _), batch in batches:
            generation, trials = state.generations[number], [trial for _, trial in batch]
            if generation.pruning is None:
                self._want(Cohort(state, generation, trials, ()))
                continue
            for bracket in generation.pruning.brackets(len(trials)):
                self._want(Cohort(state, generation, [trials[offset] for offset in bracket.offsets], bracket.rungs))
        return bool(fresh)

    def learn(self, names: Iterable[str]) -> None:
        """Tell the trials that wait for them that answers are known now."""
        for name in names:
            for waiting in self._waiting.pop(name, []):
                waiting.missing.discard(name)
                if not waiting.missing:
                    self._report(waiting)

    def search_of(self, names: Iterable[str]) -> str | None:
        """Return the search of the first trial that waits for any of some answers; None where no trial does."""
        waiting = (self._waiting.get(name) for name in names)
        return next((some[0].cohort.state.spec.name for some in waiting if some), None)

    def _want(self, cohort: Cohort) -> None:
        """Plan a cohort up to its next rung; the payloads of the rung before go to the units that need them."""
        plan, epochs = cohort.generation.plan, cohort.epochs
        trials = list(cohort.running.values())
        wanted = [(trial.params, plan.answers_of(trial.params, epochs)) for trial in trials]
        self.work.want(plan, wanted, epochs, (cohort, epochs))
        for trial, (_, names) in zip(trials, wanted, strict=True):
            waiting = _OpenTrial(cohort, trial, names, {name for name in names if name not in self.work.answers})
            for name in waiting.missing:
                self._waiting.setdefault(name, []).append(waiting)
            if not waiting.missing:
                self._report(waiting)

    def _report(self, waiting: _OpenTrial) -> None:
        cohort, epochs = waiting.cohort, waiting.cohort.epochs
        results, goes_on = cohort.take(waiting.trial, waiting.names, self.work.answers)
        for result in results:
            cohort.state.take(result)
        if goes_on:
            self._want(cohort)
        if goes_on or not cohort.running:
            self.work.release((cohort, epochs))
