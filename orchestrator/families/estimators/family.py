"""What the families of estimators share: their spaces, their fits, and how their models are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import InvalidParameterError

from orchestrator.data import recipe as recipes
from orchestrator.data.encode import Column, Kind, Signature, Task
from orchestrator.data.prepare import fitting, input_of
from orchestrator.data.recipe import Recipe
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.families import pipelines
from orchestrator.families.base import Engine, Fitted, Shape
from orchestrator.families.estimators import trusted
from orchestrator.families.estimators.plan import Estimator, EstimatorPlan
from orchestrator.families.estimators.preparing import Preparing
from orchestrator.families.estimators.resample import RESAMPLINGS, resampled
from orchestrator.space import Conditions, Dimension, Params, Range, Space, dimensions

ESTIMATOR, MODEL, RESAMPLE = "estimator", "model", "resample"
_CHOICES = frozenset({ESTIMATOR, MODEL})
"""Parameters that say which class is meant, and are none of its own."""
MOST_CATEGORIES = 255
"""So many values a column of codes has at most for histogram gradient boosting, unless `max_bins` says fewer."""
_THREADS = frozenset({"n_jobs", "nthread"})


@dataclass(frozen=True, slots=True)
class Ready:
    """A search that is ready made: what it fits, and over which space.

    Attributes:
        name: What jobs call the family.
        models: For each task the classes' import paths, by the word that the parameter `model` has for them; the first
            one is the default.
        space: The default space.
        defaults: Values of parameters that a configuration does not name, where they are not the constructor's own.
        conditions: Which parameters mean something only under certain values of another.
        reads_values: Whether the model takes nulls and codes of categories as they are.
        fit_s: Seconds of one core that a fit takes, about, for a number of trees, of rows and of columns.
        size: About how many numbers a model holds, for its settings, its rows, its columns and its outputs.
    """

    name: str
    models: Mapping[Task, Mapping[str, str]]
    space: Callable[[Shape], Space]
    defaults: Params = field(default_factory=dict)
    conditions: Conditions = field(default_factory=dict)
    reads_values: bool = False
    fit_s: Callable[[int, int, int], float] = lambda n_trees, n_rows, n_columns: 2e-6 * n_rows * n_columns
    size: Callable[[Params, int, int, int], float | None] = lambda settings, n_rows, n_columns, n_outputs: None


class EstimatorFamily:
    """A family of scikit-learn's estimators, or of those that speak like them.

    Its parameters are the preparation's, `resample` for classification, and those of the constructors, `none` for null.
    `random_state` is the job's seed where the space does not name it.
    """

    default_sampler: ClassVar[str] = "tpe"
    default_batch_size: ClassVar[int] = 16
    engine: ClassVar[Engine] = "sklearn"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"number", "boolean", "category", "date", "text", "vector"})
    structure: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    @property
    def name(self) -> str:
        """What jobs call it."""
        return self._ready.name

    @property
    def conditions(self) -> Conditions:
        """Which parameters mean something only under certain values of another."""
        return self._ready.conditions

    def max_epochs(self, space: Space) -> int | None:
        """Return None: nothing is learnt by epochs."""
        return None

    def default_space(self, shape: Shape) -> Space:
        """Return the space of a search that names none."""
        return self._ready.space(shape)

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space with null written as `none`, after a look at every value.

        Raises:
            JobError: A parameter or a value is unknown or does not fit the data.
        """
        dims = dimensions(space)
        paths, found = self._paths(dims, shape.task, key)
        of_constructors = {name for path in paths for name in trusted.parameters_of(path)} - _THREADS
        for name, dimension in dims.items():
            if name in found:
                continue
            here = f"{key}.{name}"
            if name in recipes.NAMES:
                found[name] = recipes.checked(here, name, dimension, shape.columns, shape.n_train_smallest)
            elif name == RESAMPLE and shape.task == "classification":
                found[name] = _checked_words(here, name, dimension, RESAMPLINGS)
            elif name in of_constructors:
                found[name] = _checked(here, name, dimension, paths)
            else:
                self._refuse(name, key, shape.task, paths, of_constructors)
        self._check_required(paths, found, key)
        return {name: found[name] for name in (*dims, *(n for n in found if n not in dims))}

    def _paths(self, dims: Mapping[str, Dimension], task: Task, key: str) -> tuple[list[str], Space]:
        """Return the classes that a space may fit, with those of its parameters that choose among them, checked."""
        models = self._ready.models[task]
        if MODEL not in dims and len(models) == 1:
            return list(models.values()), {}
        words = next(iter(models))
        chosen = _checked_words(f"{key}.{MODEL}", MODEL, dims.get(MODEL, (words,)), list(models))
        found: Space = {MODEL: chosen} if MODEL in dims else {}
        for name, (parent, values) in self.conditions.items():
            if name in dims and parent == MODEL and not values & set(chosen):
                raise JobError(
                    f"{key}.{name}: it belongs to {MODEL} {', '.join(sorted(values))}; add it to {key}.{MODEL}"
                )
        return [models[word] for word in chosen], found

    def _refuse(self, name: str, key: str, task: Task, paths: Sequence[str], known: Iterable[str]) -> None:
        if name in _THREADS:
            raise JobError(f"{key}.{name}: a work unit computes with one thread; leave it out")
        if name == RESAMPLE:
            raise JobError(f"{key}.{name}: it balances classes, and the task is {task}; leave it out")
        choice = {MODEL} if len(self._ready.models.get(task, ())) > 1 else set()
        every = {*known, *recipes.NAMES, *choice, *([RESAMPLE] if task == "classification" else [])}
        what = self.name if len(paths) != 1 else f"{self.name} ({paths[0]})"
        raise JobError(f"{key}: {what} has no parameter {name!r}.{did_you_mean(name, every)}")

    def _check_required(self, paths: Sequence[str], found: Space, key: str) -> None:
        for path in paths:
            for name, default in trusted.parameters_of(path).items():
                if default is trusted.REQUIRED and (name not in found or name in _CHOICES):
                    raise JobError(f"{key}.{name}: missing; {path} needs it, and no space can hold another estimator")

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> EstimatorPlan:
        """Return the plan of a checked space."""
        return EstimatorPlan(self, shape)

    def path_of(self, params: Params, task: Task) -> str:
        """Return the import path of a configuration's class."""
        models = self._ready.models[task]
        return models[params.get(MODEL, next(iter(models)))]

    def estimator_of(self, params: Params, task: Task) -> Estimator:
        """Return what a configuration fits."""
        path = self.path_of(params, task)
        known = trusted.parameters_of(path)
        given = {**self._ready.defaults, **{n: v for n, v in params.items() if n not in _CHOICES}}
        settings = {n: None if v == "none" else v for n, v in given.items() if n in known and n not in recipes.NAMES}
        recipe, resample = Recipe.of(given), given.get(RESAMPLE, "none")
        most = None
        if self._ready.reads_values and recipe == Recipe() and resample != "smote":
            most = min(MOST_CATEGORIES, int(settings.get("max_bins") or MOST_CATEGORIES))
        grown = {n: known[n] for n in ("n_estimators", "max_iter") if isinstance(known.get(n), int)}
        return Estimator(path, tuple(sorted({**grown, **settings}.items())), resample, Preparing(recipe, most))

    def made(self, one: Estimator, columns: Sequence[Column], seed: int) -> Any:
        """Return an unfitted estimator over the prepared rows of features with the given columns."""
        known = trusted.parameters_of(one.path)
        settings: Params = {"random_state": seed} if "random_state" in known else {}
        settings |= trusted.PACKAGES[one.path.partition(".")[0]]
        codes = one.preparing.codes(columns)
        settings |= {"categorical_features": codes} if codes else {}
        return trusted.class_of(one.path)(**{**settings, **dict(one.settings)})

    def fit_s(self, one: Estimator, n_rows: int, n_columns: int) -> float:
        """Return the seconds of one core that a fit takes, about."""
        return self._ready.fit_s(one.n_trees or 1, n_rows, n_columns)

    def complexity(self, params: Params) -> float:
        """Return how complex a configuration is beside others of the family: the size of its trees, if it has any."""
        return self._ready.size({**self._ready.defaults, **params}, 10**6, 1, 1) or 0.0

    def size(self, params: Params, shape: Shape) -> float | None:
        """Return about how many numbers a model holds, of trees at most; None where that is not known."""
        settings = {**self._ready.defaults, **params}
        return self._ready.size(settings, shape.n_rows, shape.width, max(1, shape.n_classes))

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        """Fit preparation and model on all rows."""
        one = self.estimator_of(params, data.task)
        n_classes = data.n_classes
        steps = one.preparing.steps(data.columns, n_classes, data.seed)
        matrix: Any = input_of(data.features, data.columns)
        with fitting():
            for _, step in steps:
                matrix = step.fit_transform(matrix, data.target)
            model = self.made(one, data.columns, data.seed)
            model.fit(*resampled(matrix, data.target, one.resample, data.seed))
        return pipelines.fitted(Pipeline([*steps, (self.name, model)]), data.task)

    def load(self, folder: Path, signature: Signature) -> Fitted:
        """Load preparation and model; nothing that the file holds is run.

        Raises:
            ValueError: The file is damaged, or holds types that are not known to be harmless.
            FileNotFoundError: It is missing.
        """
        return pipelines.load(folder, signature.task)


def _checked_words(key: str, name: str, dimension: Dimension, allowed: Sequence[str]) -> list[Any]:
    if isinstance(dimension, Range):
        raise JobError(f"{key}: expected a list of {', '.join(allowed)}, found low and high")
    values = ["none" if value is None and "none" in allowed else value for value in dimension]
    for value in values:
        if value not in allowed:
            raise JobError(f"{key}: no {name} {shown(value)}.{did_you_mean(value, allowed)}")
    return values


def _checked(key: str, name: str, dimension: Dimension, paths: Sequence[str]) -> Range | list[Any]:
    """Return a constructor parameter's dimension, after scikit-learn's own look at each value."""
    values: list[Any] = (
        ["none" if value is None else value for value in dimension] if isinstance(dimension, tuple) else []
    )
    if isinstance(dimension, Range):
        ends = [dimension.low, dimension.high]
        values = ends if dimension.is_integer else [float(end) for end in ends]
    for path in paths:
        made = trusted.class_of(path)
        if name not in trusted.parameters_of(path) or not hasattr(made, "_validate_params"):
            continue
        for value in values:
            try:
                made(**{name: None if value == "none" else value})._validate_params()
            except InvalidParameterError as error:
                if f"'{name}'" in str(error):
                    raise JobError(f"{key}: {error}") from None
            except TypeError:  # of a constructor that needs more
                break
    return dimension if isinstance(dimension, Range) else values
