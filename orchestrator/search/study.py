"""Proposals by Optuna's samplers, and the journal that optuna-dashboard opens. The only file that knows Optuna.

A batch of proposals is a pure function of the job's seed, the search's name, the batch's number and the results of
earlier batches: each batch has a sampler of its own, seeded from those. Nothing is stored by Optuna.

Trials that differ in a structural parameter cannot train together. So a batch draws few structures, if there are any,
and many members of each: the sampler proposes whole configurations for their structure, and the members with it given.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.errors import JobError, did_you_mean
from orchestrator.search.history import History
from orchestrator.search.trial import Proposal, Result
from orchestrator.space import Conditions, Dimension, Params, Range, dimensions, key_of, values_of

MOST_REMEMBERED = 128
"""Results that a sampler is fitted on: TPE's cost grows with them, and so it is the same at 10,000 trials as at 128."""
BEST_REMEMBERED = 32
STRUCTURES_A_BATCH = 4
MEMBERS_A_STRUCTURE = 8
"""A batch draws fewer structures where each would have fewer members than these."""
CANDIDATES = 12
"""Points that TPE weighs for a proposal. Optuna's 24 cost a sixth more, and searches of 200 trials ended no better."""
WIDE = 32
"""Whole numbers from which on TPE is given floats instead."""
_STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_PROBE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
_UNUSABLE = {"GridSampler", "PartialFixedSampler", "BruteForceSampler", "BaseSampler", "BaseGASampler"}


@dataclass(frozen=True, slots=True)
class Proposer:
    """Who proposes for one search.

    Attributes:
        sampler: `random`, `tpe`, or the name of a sampler of Optuna.
        dimensions: The space.
        conditions: Which parameters mean something only under certain values of another.
        entropy: What seeds it: the job's seed, the search's name and the generation of its space.
        structure: The parameters that few values of go into a batch.
        minimised: What is kept small beside the score, of a completed trial; None where the score is all.
    """

    sampler: str
    dimensions: Mapping[str, Dimension]
    conditions: Conditions
    entropy: tuple[int, ...]
    structure: frozenset[str] = frozenset()
    minimised: Callable[[Result], float] | None = None

    def propose(self, batch: int, n_proposals: int, history: Sequence[Result]) -> list[Proposal]:
        """Return a batch of proposals, duplicates and all.

        Args:
            batch: The batch's number in its generation.
            n_proposals: How many.
            history: The results of earlier batches in the order of their numbers; a `History` where there are many.
        """
        generator = np.random.default_rng([*self.entropy, batch])
        seed = int(generator.integers(2**32))
        order = _parents_first(self.dimensions, self.conditions)
        distributions = {name: _distribution(self.dimensions[name]) for name in order}
        if self.sampler == "tpe":
            distributions = {name: _smooth(distribution) for name, distribution in distributions.items()}
        told = _remembered(history, generator) if self.sampler != "random" else []
        if not self._has_two_levels:
            return self._drawn(seed, told, distributions, [{}] * n_proposals)
        n_structures = max(1, min(STRUCTURES_A_BATCH, n_proposals // MEMBERS_A_STRUCTURE))
        without_notes = [_with_trial(result, notes=None) for result in told]  # those are of the members' space
        seeds = int(generator.integers(2**32))
        found: dict[object, Params] = {}
        for whole in self._drawn(seeds, without_notes, distributions, [{}] * n_structures):
            chosen = {name: value for name, value in whole.params.items() if name in self.structure}
            found.setdefault(key_of(chosen), chosen)
        structures = itertools.islice(itertools.cycle(found.values()), n_proposals)
        members = [_with_trial(result, params=self._free(result.trial.params)) for result in told]
        return self._drawn(seed, members, distributions, list(structures))

    @property
    def _has_two_levels(self) -> bool:
        """Whether a structure leaves something to be drawn for its members."""
        free = self._free(self.dimensions)
        return len(free) < len(self.dimensions) and any(len(values_of(d) or (0, 1)) > 1 for d in free.values())

    def _free(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in self.structure}

    def _drawn(
        self,
        seed: int,
        told: Sequence[Result],
        distributions: Mapping[str, BaseDistribution],
        given: Sequence[Params],
    ) -> list[Proposal]:
        """Return a proposal for each of `given`, which are parts of configurations."""
        if self.sampler == "random":
            return self._random(seed, distributions, given)
        drawn = self._free(distributions) if any(given) else distributions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = _make(self.sampler, seed, is_conditional=bool(self.conditions.keys() & drawn))
            study = _study(sampler, has_two=self.minimised is not None)
            study.add_trials([_frozen(result, distributions, self.minimised) for result in told])
            return [self._asked(study, distributions, fixed) for fixed in given]

    def _random(
        self, seed: int, distributions: Mapping[str, BaseDistribution], given: Sequence[Params]
    ) -> list[Proposal]:
        # An independent sampler looks neither at the study nor at the trial, and a study costs more than the draw.
        sampler, nothing = RandomSampler(seed=seed), _study(RandomSampler())
        trial = create_trial(value=0.0)

        def draw(name: str, distribution: BaseDistribution) -> Any:
            return sampler.sample_independent(nothing, trial, name, distribution)

        return [Proposal(self._completed(fixed, distributions, draw)) for fixed in given]

    def _asked(self, study: optuna.Study, distributions: Mapping[str, BaseDistribution], given: Params) -> Proposal:
        trial = study.ask()

        def draw(name: str, distribution: BaseDistribution) -> Any:
            return self._whole(name, trial._suggest(name, distribution))  # what suggest_int and its siblings call

        drawn = self._completed(given, distributions, draw)
        attributes = trial.storage.get_trial(trial._trial_id).system_attrs
        # TPE's serve trials that run side by side in one study; a batch here has a study of its own.
        notes = {name: value for name, value in attributes.items() if not name.startswith("tpe:")}
        return Proposal(drawn, notes or None)

    def _completed(
        self,
        given: Params,
        distributions: Mapping[str, BaseDistribution],
        draw: Callable[[str, BaseDistribution], Any],
    ) -> Params:
        """Return a configuration with the given values, as far as they apply, and draws for all that is not given."""
        params = Params()
        for name, distribution in distributions.items():
            if self._applies(name, params):
                params[name] = given[name] if name in given else draw(name, distribution)
        return params

    def _whole(self, name: str, value: Any) -> Any:
        """Return the whole number that a value from a `_smooth` distribution stands for."""
        dimension = self.dimensions[name]
        if isinstance(value, float) and isinstance(dimension, Range) and dimension.is_integer:
            return min(max(round(value), int(dimension.low)), int(dimension.high))
        return value

    def _applies(self, name: str, drawn: Params) -> bool:
        return name not in self.conditions or drawn.get(self.conditions[name][0]) in self.conditions[name][1]


def proposer(
    sampler: str,
    space: Mapping[str, Any],
    conditions: Conditions,
    *,
    seed: int,
    search: str,
    generation: int,
    key: str,
    structure: frozenset[str] = frozenset(),
    minimised: Callable[[Result], float] | None = None,
) -> Proposer:
    """Return the proposer of a search.

    Raises:
        JobError: There is no such sampler, or it lacks a package; `key` is its place in the job.
    """
    if sampler != "random":
        _checked_sampler(sampler, key, has_two=minimised is not None)
    entropy = (seed, zlib.crc32(search.encode()), generation)
    return Proposer(sampler, dimensions(space), conditions, entropy, structure, minimised)


def _checked_sampler(name: str, key: str, *, has_two: bool) -> None:
    known = {n.removesuffix("Sampler").lower(): n for n in optuna.samplers.__all__ if n.endswith("Sampler")}
    usable = [short for short, full in known.items() if full not in _UNUSABLE]
    if name.lower().removesuffix("sampler") not in usable:
        raise JobError(f"{key}: no sampler {name!r}.{did_you_mean(name, [*usable, 'grid'])}")
    try:
        # Some samplers import what they need only when they are used.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = _study(_make(name, 0), has_two=has_two)
            for value in np.linspace(0.0, 1.0, 12).tolist():
                values = [value, value] if has_two else [value]
                study.add_trial(create_trial(values=values, params={"x": value}, distributions=_PROBE))
            study.ask(_PROBE)
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error).splitlines()[0]
        raise JobError(f"{key}: sampler {name!r} needs the package {missing!r}, which is not installed") from None
    except ValueError as error:
        if not has_two:
            raise
        raise JobError(f"{key}: sampler {name!r} takes one objective; expected one such as tpe or nsgaii") from error


def _make(name: str, seed: int, *, is_conditional: bool = False) -> BaseSampler:
    if name.lower() == "tpe":
        return TPESampler(
            seed=seed, multivariate=True, group=is_conditional, constant_liar=True, n_ei_candidates=CANDIDATES
        )
    names = {n.removesuffix("Sampler").lower(): n for n in optuna.samplers.__all__ if n.endswith("Sampler")}
    maker = getattr(optuna.samplers, names[name.lower().removesuffix("sampler")])
    wanted = {"warn_independent_sampling": False, "scramble": True}  # unscrambled, every batch would be the same
    accepted = inspect.signature(maker).parameters
    made: BaseSampler = maker(seed=seed, **{k: v for k, v in wanted.items() if k in accepted})
    return made


def _study(sampler: BaseSampler, *, has_two: bool = False) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=_directions(has_two=has_two), sampler=sampler)


def _directions(*, has_two: bool) -> list[str]:
    return ["maximize", "minimize"] if has_two else ["maximize"]


def _parents_first(dims: Mapping[str, Dimension], conditions: Conditions) -> list[str]:
    def depth(name: str, below: tuple[str, ...] = ()) -> int:
        parent = conditions[name][0] if name in conditions and name not in below else None
        return 0 if parent is None else 1 + depth(parent, (*below, name))

    return sorted(dims, key=depth)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension)
    if dimension.is_integer:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(float(dimension.low), float(dimension.high), dimension.log, dimension.step)


def _smooth(distribution: BaseDistribution) -> BaseDistribution:
    """Return a distribution of many whole numbers as one of floats, to be rounded.

    TPE weighs each whole number against each remembered one in pure Python, at milliseconds a proposal; floats it
    weighs as arrays. Among so many values the difference in what it proposes is small.
    """
    if not isinstance(distribution, IntDistribution) or distribution.step != 1:
        return distribution
    if distribution.high - distribution.low < WIDE:
        return distribution
    return FloatDistribution(distribution.low - 0.5, distribution.high + 0.5, distribution.log)


def _remembered(history: Sequence[Result], generator: np.random.Generator) -> list[Result]:
    """Return at most MOST_REMEMBERED results: the best ones and a draw of the others, in the order of their numbers."""
    history = history if isinstance(history, History) else History(history)
    if len(history) <= MOST_REMEMBERED or history.has_notes:
        return list(history)  # a sampler that leaves notes needs all of them, and its cost does not grow
    by_score = history.by_score()
    best, rest = by_score[:BEST_REMEMBERED], by_score[BEST_REMEMBERED:]
    drawn = generator.choice(rest, MOST_REMEMBERED - BEST_REMEMBERED, replace=False)
    return [history[i] for i in sorted([*best.tolist(), *drawn.tolist()])]


class _Told(FrozenTrial):  # type: ignore[misc]
    """A finished trial, whose copies share what it holds.

    A study copies every trial that it is told, deeply, which costs as much as a third of a proposal.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> _Told:
        return copy.copy(self)


def _frozen(
    result: Result, distributions: Mapping[str, BaseDistribution], minimised: Callable[[Result], float] | None = None
) -> FrozenTrial:
    """Return a result as Optuna's own trial, with what of its parameters still lies in the space."""
    params = {
        name: value
        for name, value in result.trial.params.items()
        if name in distributions and _contains(distributions[name], value)
    }
    now = datetime.now()
    values = None
    if result.state == "completed" and result.score is not None:
        values = [result.score] if minimised is None else [result.score, minimised(result)]
    return _Told(
        number=-1,  # this and the next are the study's to give
        trial_id=-1,
        state=_STATES[result.state],
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs=dict(result.trial.notes or {}),
        intermediate_values=dict(result.reports),
    )


def _with_trial(result: Result, **changes: Any) -> Result:
    return replace(result, trial=replace(result.trial, **changes))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


class _Lines(BaseJournalBackend):  # type: ignore[misc]
    """A journal in memory, so that a view is written at once and not with one fsync a line."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the lines from a number on."""
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep lines."""
        self.logs.extend(logs)


def write_journal(
    path: Path,
    name: str,
    results: Sequence[Result],
    spaces: Sequence[Mapping[str, Dimension]],
    minimised: Callable[[Result], float] | None = None,
) -> None:
    """Write results as an Optuna journal file, in one piece.

    Args:
        path: The file; replaced as a whole.
        name: The study's name.
        results: Results in the order of their numbers.
        spaces: The space of each generation.
        minimised: What is kept small beside the score.
    """
    lines = _Lines()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directions = _directions(has_two=minimised is not None)
        study = optuna.create_study(storage=JournalStorage(lines), study_name=name, directions=directions)
        known = [{n: _distribution(d) for n, d in space.items()} for space in spaces]
        for result in results:
            study.add_trial(_frozen(result, known[result.trial.generation], minimised))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines.logs), encoding="utf-8")
    os.replace(partial, path)
