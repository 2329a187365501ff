"""From a job to its parts: its data, its searches as a ledger left them, and the leaderboard of their results."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator import defaults, families
from orchestrator import job as jobs
from orchestrator.data.checks import Finding, heard
from orchestrator.data.columns import Column, Kind, excluding
from orchestrator.data.load import load
from orchestrator.data.sets import LoadedData, TooLarge
from orchestrator.errors import JobError, RunError, shown
from orchestrator.families.attached import Attachments
from orchestrator.families.base import Family, Shape, Sized
from orchestrator.families.code import BUILD, Code
from orchestrator.families.code import read as read_code
from orchestrator.families.estimators.family import ESTIMATOR
from orchestrator.families.estimators.trusted import check_packages
from orchestrator.job import Job, Search
from orchestrator.ledger import BatchProposed, Record, SpaceOpened, UnitFailed, UnitFinished, answers_in
from orchestrator.oof import Kept
from orchestrator.results import leaderboard, model
from orchestrator.results.leaderboard import Leaderboard, Row
from orchestrator.results.threshold import check as check_threshold
from orchestrator.search.plan import Outcome
from orchestrator.search.pruning import Pruning, rungs
from orchestrator.search.state import Generation, SearchSpec, SearchState, allocate
from orchestrator.search.trial import Result as TrialResult
from orchestrator.space import Params, Space, dimensions, grid, point, size

DEFAULT_TRIALS = 64
"""Trials of a search that says nothing, and whose job has no budget."""
_SPACE = TypeAdapter(Space)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that fits its data: the job with all defaults filled in, its data, and the baseline's score."""

    job: Job
    data: LoadedData
    shape: Shape
    dummy: tuple[float, float]


def prepare(job: Job) -> Prepared:
    """Fit a job to its data: read, split, check, and fill in every default.

    Raises:
        JobError: The job is wrong, by itself or for these data.
        DataError: The data failed a check.
    """
    job = dataclasses.replace(job, data=jobs.honest_test(job.data, job.validation))
    for number, search in enumerate(job.searches):
        families.find(search.family, f"searches.{number}.family")
    _check_trusted(job)
    if job.metric is not None:
        model.checked_scorer(job.metric)
    data = _loaded(job)
    shape = Shape.of(data.train)
    if not job.searches:
        job = dataclasses.replace(job, searches=defaults.searches(shape.columns))
    codes: dict[str, str] = {}
    attachments = Attachments(job.files)
    searches = []
    for number, (search, name) in enumerate(zip(job.searches, jobs.search_names(job), strict=True)):
        family = families.find(search.family)
        _check_kinds(family, shape.columns, f"searches.{number}.family")
        key = f"searches.{number}.space"
        code, given = _code(search, family, f"searches.{number}")
        given = attachments.by_path(_with_estimator(search, given or family.default_space(shape)), key)
        space = attachments.by_name(family.checked_space(given, shape, key))
        if code is not None:
            codes[code.name] = code.source
            space = {BUILD: code.name, **space}
        sampler = (search.sampler or family.default_sampler).lower().removesuffix("sampler")
        size(space, family.conditions)
        batch_size = search.batch_size or family.default_batch_size
        if search.enqueue and sampler == "grid":
            raise JobError(
                f"searches.{number}.enqueue: a grid tries every point; expected another sampler, or none of it"
            )
        enqueue = tuple(
            _point(params, space, family, attachments, f"searches.{number}.enqueue.{place}")
            for place, params in enumerate(search.enqueue)
        )
        filled = dataclasses.replace(
            search, name=name, sampler=sampler, space=space, batch_size=batch_size, enqueue=enqueue
        )
        # an unknown sampler, a grid without end, a pruner that has nothing to look at
        _opened(filled, 0, shape, job, f"searches.{number}")
        searches.append(filled)
    comparators = []
    for number, comparator in enumerate(job.comparators):
        if comparator.model is not None:
            model.check_is_there(comparator.model, f"comparators.{number}.model")
            comparators.append(comparator)
            continue
        assert comparator.family is not None
        family = families.find(comparator.family, f"comparators.{number}.family")
        if getattr(family, "takes_build", False):
            raise JobError(f"comparators.{number}.family: {family.name} needs a function, which searches alone have")
        _check_kinds(family, shape.columns, f"comparators.{number}.family")
        key = f"comparators.{number}.params"
        given = attachments.by_path(dict(comparator.params), key)
        space = attachments.by_name(family.checked_space(given, shape, key))
        only = {name: values[0] for name, values in dimensions(space).items() if isinstance(values, tuple)}
        comparators.append(dataclasses.replace(comparator, params=only))
    if job.threshold == "tuned":
        check_threshold(data.train.metric, shape.n_classes)
    dummy = model.dummy_scores(data.train)
    if not math.isfinite(dummy[0]):
        raise JobError(
            f"metric: {data.train.metric} is no finite number on some of the {len(data.train.folds)} folds, whatever "
            "the model: they have too few rows, or lack a class. Set fewer validation.folds, or another metric"
        )
    resolved = dataclasses.replace(
        job,
        searches=tuple(searches),
        comparators=tuple(comparators),
        metric=data.train.metric,
        validation=data.validation or job.validation,
        files=attachments.paths,
    )
    unused = _unused_columns([families.find(search.family) for search in searches], shape.columns)
    train = dataclasses.replace(data.train, code=codes, files=attachments.contents())
    told, silenced = heard(unused, job.checks.silence)
    data = dataclasses.replace(
        data, train=train, findings=(*data.findings, *told), silenced=(*data.silenced, *silenced)
    )
    return Prepared(resolved, data, shape, dummy)


def _loaded(job: Job) -> LoadedData:
    """Return a job's data: in memory, or where they are too large and all families can, as rows to stream.

    Raises:
        JobError: They are too large, and something needs them in memory.
    """
    keeps_table = any(comparator.model is not None for comparator in job.comparators)
    most_mb = job.resources.data_mb
    try:
        return load(
            job.data,
            job.validation,
            job.metric,
            job.seed,
            keeps_test_table=keeps_table,
            silence=job.checks.silence,
            most_bytes=most_mb << 20,
        )
    except TooLarge as found:
        too_large = found
    names = [search.family for search in job.searches] + [one.family or "model" for one in job.comparators]
    held = sorted({name for name in names if name == "model" or not getattr(families.find(name), "streams", False)})
    if held:
        n_rows = too_large.n_rows * (most_mb << 20) // too_large.n_bytes
        raise JobError(
            f"resources.data_mb: {too_large} (about {too_large.n_bytes / 2**20:.0f} MB), {most_mb} MB are allowed, and "
            f"{' and '.join(held)} needs them in memory; expected fewer data.features, at most {n_rows} rows, a larger "
            "resources.data_mb where machines have several times that, or families that stream rows from a file: mlp, "
            "text, image, sequence, keras"
        )
    from orchestrator.data import streamed  # which few runs need

    return streamed.load(job.data, job.validation, job.metric, job.seed, job.checks.silence)


@contextmanager
def rows_in_file(prepared: Prepared, folder: Path) -> Iterator[Prepared]:
    """Give a job whose data are streamed with its rows written into a folder, which is there meanwhile alone.

    Raises:
        RunError: They cannot be written.
    """
    data = prepared.data
    if data.streamed is None:
        yield prepared
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        try:
            train, test = data.streamed.write(folder)
        except OSError as error:
            raise RunError(f"{folder}: the rows cannot be written: {error.strerror or error}") from None
        sealed = None if data.test is None or test is None else dataclasses.replace(data.test, features=test)
        data = dataclasses.replace(data, train=dataclasses.replace(data.train, features=train), test=sealed)
        yield dataclasses.replace(prepared, data=data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _point(params: Params, space: Space, family: Family, attachments: Attachments, key: str) -> Params:
    """Return a configuration of a checked space that is tried first, complete."""
    return point(space, family.conditions, attachments.by_name(attachments.by_path(dict(params), key)), key)


def _code(search: Search, family: Family, key: str) -> tuple[Code | None, Space | None]:
    """Return the user's function that a search names, for families that take one, and the space without its name.

    Raises:
        JobError: It is missing, not there, not wanted, or another one than when the run began.
    """
    takes_build = getattr(family, "takes_build", False)
    if search.build is None or not takes_build:
        if takes_build:
            raise JobError(f"{key}.build: missing; {family.name} needs FILE.py:FUNCTION, which builds the network")
        if search.build is not None:
            raise JobError(f"{key}.build: {family.name} takes no function; expected family: keras, or no build")
        return None, search.space
    code = read_code(search.build, f"{key}.build")
    space = dict(search.space or {})
    before = space.pop(BUILD, code.name)
    if before != code.name:
        file = search.build.rpartition(":")[0]
        raise JobError(
            f"{key}.build: {file} has changed since the run began ({shown(before)} was its code, and is {code.name}); "
            "restore it from the run's code/, or start a new run"
        )
    return code, space or None


def _check_trusted(job: Job) -> None:
    """Refuse estimators of packages that the job does not trust, before anything is read or imported.

    Raises:
        JobError: There is one, or a key that names a class where the family takes none.
    """
    check_packages(job.trusted_packages)
    for number, search in enumerate(job.searches):
        family, key = families.find(search.family), f"searches.{number}.estimator"
        if not getattr(family, "takes_estimator", False):
            if search.estimator is not None:
                raise JobError(f"{key}: {family.name} takes no class; expected family: estimator, or no estimator")
            continue
        family.check_trusted(_with_estimator(search, search.space or {}), job.trusted_packages, key)  # type: ignore[attr-defined]
    for number, comparator in enumerate(job.comparators):
        if comparator.family is None:
            continue
        family, key = families.find(comparator.family, f"comparators.{number}.family"), f"comparators.{number}.params"
        if getattr(family, "takes_estimator", False):
            family.check_trusted(comparator.params, job.trusted_packages, f"{key}.{ESTIMATOR}")  # type: ignore[attr-defined]


def _with_estimator(search: Search, space: Space) -> Space:
    """Return a search's space with the class that it names as one more parameter."""
    if search.estimator is None:
        return space
    return {ESTIMATOR: search.estimator, **{name: entry for name, entry in space.items() if name != ESTIMATOR}}


def _check_kinds(family: Family, columns: Sequence[Column], key: str) -> None:
    found = {column.kind for column in columns}
    if not found & family.kinds:
        raise JobError(
            f"{key}: {family.name} learns from {_listed(family.kinds)} columns, and the features are "
            f"{_listed(found)} columns; expected a family for those, or other data.features"
        )


def _unused_columns(used_by: Sequence[Family], columns: Sequence[Column]) -> list[Finding]:
    kinds = frozenset[Kind]().union(*(family.kinds for family in used_by))
    return [
        Finding(
            "unused_column",
            "warning",
            f"data.features: column {column.name!r} is {column.kind}, and no search learns from that; "
            f"leave it out with {excluding(column.name)}, or add a search for it",
            column.name,
        )
        for column in columns
        if column.kind not in kinds
    ]


def _listed(kinds: Iterable[str]) -> str:
    *others, last = sorted(kinds)
    return f"{', '.join(others)} and {last}" if others else last


def _opened(
    search: Search, generation: int, shape: Shape, job: Job, key: str, space: Space | None = None
) -> Generation:
    """Return a generation of a resolved search, over `space` or its own."""
    family, used = families.find(search.family), space if space is not None else search.space
    assert used is not None
    assert search.sampler is not None
    assert search.name is not None
    is_grid = search.sampler == "grid"
    minimised = _minimised(job, search, shape, key)
    proposer = None
    if is_grid:
        if size(used, family.conditions) is None:
            try:
                next(grid(used, family.conditions))
            except JobError as error:
                raise JobError(f"{key}.{error}") from None
    else:
        from orchestrator.search.study import proposer as make_proposer  # Optuna, which a grid can do without

        proposer = make_proposer(
            search.sampler,
            used,
            family.conditions,
            seed=job.seed,
            search=search.name,
            generation=generation,
            key=f"{key}.sampler",
            structure=family.structure,
            minimised=minimised,
        )
    pruning = _pruning(search, family, used, key)
    return Generation(used, family.plan(used, shape, exhaustive=is_grid), proposer, pruning)


def _minimised(job: Job, search: Search, shape: Shape, key: str) -> Callable[[TrialResult], float] | None:
    """Return what a search keeps small beside the score, of a completed trial.

    Raises:
        JobError: It is not known, or would make proposals follow from a clock.
    """
    second = job.objectives[1:]
    if not second:
        return None
    if search.pruner.kind != "none":
        raise JobError(f"{key}.pruner: {search.pruner.kind} compares scores alone; expected none, or objectives: score")
    family = families.find(search.family)
    if second == ("model_size",):
        if _size(family, dict(search.enqueue[0]) if search.enqueue else {}, shape) is None:
            raise JobError(
                f"objectives: the model_size of {family.name} is not known; expected predict_time, or score alone"
            )
        return lambda result: _size(family, result.trial.params, shape) or 0.0
    if looks_back(search) and search.schedule == "batch":
        raise JobError(
            f"objectives: predict_time is measured, so that proposals of {search.sampler} would follow from a clock; "
            f"expected model_size, {key}.schedule: async, or a sampler such as random"
        )
    return lambda result: result.predict_time_s or 0.0


def _size(family: Family, params: Params, shape: Shape) -> float | None:
    return family.size(params, shape) if isinstance(family, Sized) else None


def _pruning(search: Search, family: Family, space: Space, key: str) -> Pruning | None:
    """Return how a search prunes its trials.

    Raises:
        JobError: They do not learn by epochs, or for too few of them, or not all for as many.
    """
    pruner = search.pruner
    if pruner.kind == "none":
        return None
    try:
        max_epochs = family.max_epochs(space)
    except JobError as error:
        raise JobError(f"{key}.{error}") from None
    key += ".pruner"
    if max_epochs is None:
        raise JobError(f"{key}: {search.family} does not learn by epochs, found {pruner.kind!r}; expected none")
    if pruner.min_epochs >= max_epochs:
        raise JobError(
            f"{key}.min_epochs: {pruner.min_epochs}, and trials of this space train for at most {max_epochs} epochs; "
            f"expected fewer than {max_epochs}"
        )
    factor = pruner.reduction_factor
    return Pruning(pruner.kind, rungs(pruner.min_epochs, factor, max_epochs), factor)


def _limits(job: Job) -> list[float]:
    """Return the most trials of each search of a resolved job."""
    wanted = []
    for search in job.searches:
        family = families.find(search.family)
        n_points = size(search.space or {}, family.conditions)
        has_budget = job.budget.trials is not None or job.budget.time_s is not None
        asked = search.trials or (math.inf if search.sampler == "grid" or has_budget else DEFAULT_TRIALS)
        wanted.append(min(asked, math.inf if n_points is None else n_points))
    return allocate(job.budget.trials, wanted)


def looks_back(search: Search) -> bool:
    """Tell whether a resolved search's proposals follow from earlier results, so that it has barriers."""
    return search.sampler not in ("grid", "random")


def states_of(job: Job, shape: Shape, records: Sequence[Record]) -> list[SearchState]:
    """Return a resolved job's searches as its ledger left them.

    Args:
        job: The resolved job.
        shape: What planning knows of the data.
        records: The ledger.
    """
    states = []
    for number, (search, limit) in enumerate(zip(job.searches, _limits(job), strict=True)):
        assert search.name is not None
        spec = SearchSpec(
            search.name,
            families.find(search.family),
            limit,
            search.batch_size or families.find(search.family).default_batch_size,
            looks_back(search),
            looks_back(search) and search.schedule == "async",
            search.enqueue,
            _minimised(job, search, shape, f"searches.{number}"),
        )
        state = SearchState(spec)
        for record in records:
            if isinstance(record, SpaceOpened) and record.search == search.name:
                space = _SPACE.validate_python(record.space)
                state.begin(_opened(search, record.generation, shape, job, f"searches.{number}", space), record.first)
            elif isinstance(record, BatchProposed) and record.search == search.name:
                state.remember(record)
        states.append(state)
    return states


def answers_of(records: Sequence[Record]) -> dict[str, Outcome]:
    """Return every answer that a ledger holds, by name."""
    answers: dict[str, Outcome] = {}
    for record in records:
        if isinstance(record, UnitFinished | UnitFailed):
            for name, answer in answers_in(record).items():
                answers.setdefault(name, answer)
    return answers


def first_generations(job: Job) -> list[Record]:
    """Return the records that open a resolved job's searches."""
    return [SpaceOpened(search.name or "", 0, 0, _plain(search.space)) for search in job.searches]


def _plain(space: Space | None) -> dict[str, Any]:
    plain: dict[str, Any] = _SPACE.dump_python(space or {}, mode="json")
    return plain


def n_made(job: Job, records: Sequence[Record]) -> list[int]:
    """Return how many trials each search of a resolved job has asked for so far."""
    proposed = {r.search: r.first + len(r.proposals) for r in records if isinstance(r, BatchProposed)}
    return [int(min(limit, proposed.get(s.name or "", 0))) for s, limit in zip(job.searches, _limits(job), strict=True)]


def new_generations(job: Job, made: Sequence[int], records: Sequence[Record]) -> list[Record]:
    """Return a record for each search whose space is not the one that it was last opened with.

    Args:
        job: The resolved job from now on.
        made: How many trials each search has asked for so far.
        records: The ledger.

    Raises:
        JobError: A search may make fewer trials than it has made.
    """
    opened: list[Record] = []
    for number, (search, limit, n) in enumerate(zip(job.searches, _limits(job), made, strict=True)):
        if limit < n:
            raise JobError(
                f"searches.{number}.trials: {limit:.0f} trials from now on (by trials or budget.trials), and {n} "
                "are made; expected no fewer"
            )
        space = _plain(search.space)
        generations = [r for r in records if isinstance(r, SpaceOpened) and r.search == search.name]
        if not generations or generations[-1].space != space:
            opened.append(SpaceOpened(search.name or "", len(generations), n, space))
    return opened


def kept_of(board: Leaderboard, states: Sequence[SearchState]) -> list[Kept]:
    """Return the completed trials of a board, best first, with the answers that make them up."""
    of_search = {state.spec.name: state for state in states}
    kept = []
    for row in board.rows:
        if row.state == "completed" and row.search in of_search:
            state = of_search[row.search]
            trial = state.results[row.number].trial
            answers = state.generations[trial.generation].plan.answers_of(trial.params)
            kept.append(Kept(row.trial, row.search, answers))
    return kept


def board_of(job: Job, results: Sequence[TrialResult], dummy: tuple[float, float], shape: Shape) -> Leaderboard:
    """Return the leaderboard of a resolved job's results, with the baseline's mean score and its deviation."""
    order = {search.name: i for i, search in enumerate(job.searches)}
    families_of = {search.name: search.family for search in job.searches}
    rows = [Row("dummy/0", "dummy", "dummy", -1, 0, "completed", dummy[0], dummy[1], 0.0, 0.0, {}, size=0.0)]
    for result in results:
        trial, family = result.trial, families_of[result.trial.search]
        rows.append(
            Row(
                trial.id,
                trial.search,
                family,
                order[trial.search],
                trial.number,
                result.state,
                result.score,
                result.score_std,
                result.fit_time_s,
                result.predict_time_s,
                trial.params,
                f"{result.failure.code}: {result.failure.message}" if result.failure else None,
                families.find(family).complexity(trial.params),
                result.epochs,
                _size(families.find(family), trial.params, shape),
            )
        )
    return leaderboard.ranked(rows, job.metric or "")
