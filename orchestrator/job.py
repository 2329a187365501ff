"""The job: what is asked for, as validated, frozen models with one meaning in Python and in YAML.

Nothing here looks at data, at a model family or at a cluster; what needs them is checked where they are at hand.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from orchestrator.clauses import Filters, GivenFilters, alternatives
from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.space import Range, Scalar, Space

STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Objective = Literal["score", "model_size", "predict_time"]
PrunerKind = Literal["none", "median", "successive_halving", "hyperband"]
T = TypeVar("T")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _one_of_many(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_listed)]


@dataclass(frozen=True, slots=True, config=STRICT)
class Test:
    """Which rows are set aside before anything else looks at the data: give `fraction`, `column`, `path` or `folds`.

    Args:
        fraction: The share of rows drawn by `train_test_split(random_state=seed)`; of groups, or of the latest rows,
            where `group` or `time` is given.
        stratify: Whether the draw keeps the classes' shares; for classification it does unless told otherwise. Where it
            is given, rows are drawn at random whatever `validation` says of groups or times.
        group: A column whose rows of one value stay together: whole groups are drawn, by `GroupShuffleSplit`. It is
            `validation.column` where validation goes by groups.
        time: A column of times: the latest rows are the test rows. It is `validation.column` where validation goes by
            time.
        folds: So many outer folds, made as `validation` makes its own, of which one is the test rows; see `nested`.
        fold: Which of them, counted from 0.
        column: A column that says which rows are test rows; it is never a feature.
        value: The value of `column` that marks a test row.
        path: A dataset of its own, with the same columns.
    """

    __test__ = False  # not a test case, whatever its name makes pytest think

    fraction: Fraction | None = None
    stratify: bool | None = None
    column: str | None = None
    value: Scalar = "test"
    path: str | None = None
    group: str | None = None
    time: str | None = None
    folds: Annotated[int, Field(ge=2, strict=True)] | None = None
    fold: Annotated[int, Field(ge=0, strict=True)] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("fraction", "column", "path", "folds") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of fraction, column, path and folds, found {' and '.join(given) or 'none'}")
        if (self.fold is None) != (self.folds is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError(
                f"folds goes with fold, the number of one of them from 0 up, found {self.folds}, {self.fold}"
            )
        if self.stratify is not None and self.fraction is None:
            raise ValueError(f"stratify goes with fraction, found it with {given[0]}")
        ways = [name for name in ("stratify", "group", "time") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"expected one of stratify, group and time, found {' and '.join(ways)}")
        if ways and self.fraction is None:
            raise ValueError(f"{ways[0]} goes with fraction, found it with {given[0]}")


@dataclass(frozen=True, slots=True, config=STRICT)
class Sample:
    """Some rows for a quick look, drawn by the job's seed; they keep their order. Give `rows` or `fraction`.

    Args:
        rows: How many; all where there are no more.
        fraction: Which share of them.
    """

    rows: Count | None = None
    fraction: Fraction | None = None

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.fraction is None):
            raise ValueError(f"expected one of rows and fraction, found {'none' if self.rows is None else 'both'}")


@dataclass(frozen=True, slots=True, config=STRICT)
class ColumnRole:
    """How one feature is read and prepared, whatever it looks like. A string stands for `kind` alone.

    Args:
        kind: What it is read as: numbers in strings as `number`, codes such as postcodes as `category`.
        missing: As of a preparation, for this column alone: `indicator` or `median`.
        outliers: Likewise: `none` or `clip`.
        categories: Likewise: `one_hot` or `target`.
    """

    kind: Literal["number", "category", "text", "date"] | None = None
    missing: Literal["indicator", "median"] | None = None
    outliers: Literal["none", "clip"] | None = None
    categories: Literal["one_hot", "target"] | None = None


def _role(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, config=STRICT)
class Data:
    """The dataset and the roles of its columns.

    Args:
        path: A Parquet file, a directory (hive-partitioned or not), a glob, the URI of a file or directory, or
            `dataset:NAME` for one that the package ships.
        target: The column to predict.
        features: The columns to learn from; all others by default.
        exclude: Columns to leave out.
        text: Columns of strings that are text, whatever they look like. Of the others those are where the training
            rows have at least four spaces on average and more than half of them are distinct; the rest are categories.
        sensitive: Columns whose groups the report compares, such as sex or age, features or not. They are kept in the
            run directory, a value a training row.
        task: What kind of target it is; inferred from the column by default.
        missing: Values of features that are read as null, such as `?` or -999: strings in columns of strings, numbers
            in columns of numbers.
        test: The rows that are set aside; None to set none aside.
        filters: Which rows of `path` there are for this job: a list of [column, operator, value], all of which must
            hold; or a list of such lists, one of which must. Operators are ==, !=, <, <=, >, >=, in, not in, is null
            and is not null; dates are text such as 2024-01-31. Predictions are made for all rows.
        sample: Some of those rows for a quick look; None for all.
        columns: How single features are read and prepared, by name, where their looks mislead.
    """

    path: Annotated[str, Field(min_length=1)]
    target: str
    features: Columns | None = None
    exclude: Columns = ()
    text: Columns = ()
    sensitive: Columns = ()
    task: Literal["auto", "classification", "regression"] = "auto"
    missing: Annotated[tuple[str | int | float, ...], BeforeValidator(_one_of_many)] = ()
    test: Test | None = field(default_factory=lambda: Test(fraction=0.2))
    filters: Annotated[
        Filters, BeforeValidator(alternatives, json_schema_input_type=GivenFilters | list[GivenFilters])
    ] = ()
    sample: Sample | None = None
    columns: dict[str, Annotated[ColumnRole, BeforeValidator(_role, json_schema_input_type=ColumnRole | str)]] = field(
        default_factory=dict
    )


def _span(value: object) -> object:
    """Refuse what is neither a number of times nor a length of time."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    is_text = isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,8}(s|min|h|d|w)", value)
    if value is not None and not is_number and not is_text:
        raise ValueError(
            f"expected a number from 1 up, or a length of time such as 12h, 7d or 4w, found {shown(value)}"
        )
    return value


Span = Annotated[int | str | None, BeforeValidator(_span)]
"""So many distinct times, or a length of time: seconds, minutes, hours, days or weeks."""
_TAKES: Mapping[str, tuple[str, ...]] = {
    "holdout": ("fraction",),
    "group": ("folds", "column"),
    "stratified_group": ("folds", "column"),
    "time": ("folds", "column", "window", "gap"),
    "repeated": ("folds", "repeats"),
    "predefined": ("column",),
}
"""What a kind of validation takes; all others take folds alone."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Checks:
    """What is looked at before a run.

    Args:
        silence: Codes of findings that are not told of, and that do not stop the run; or `CODE:COLUMN`.
    """

    silence: Columns = ()


@dataclass(frozen=True, slots=True, config=STRICT)
class Validation:
    """How trials are scored on the training rows.

    Args:
        kind: `auto` is stratified for classification and kfold for regression; `repeated` is the same several times.
            `group` and `stratified_group` keep rows of one group on one side, `time` scores what is later than what was
            learnt from, `predefined` takes the folds from a column.
        folds: How many folds; not for holdout and predefined.
        fraction: The share of the training rows that holdout scores on.
        column: The column of groups, of times, or of folds. It is no feature, unless `data.features` names it.
        repeats: How often k-fold is repeated; 10 by default.
        window: For time, how far back the training rows go; from the first one by default.
        gap: For time, what is left out between the training rows and those that are scored.
    """

    kind: Literal[
        "auto", "stratified", "kfold", "holdout", "group", "stratified_group", "time", "repeated", "predefined"
    ] = "auto"
    folds: Annotated[int, Field(ge=2, strict=True)] | None = None
    fraction: Fraction | None = None
    column: str | None = None
    repeats: Annotated[int, Field(ge=2, le=100, strict=True)] | None = None
    window: Span = None
    gap: Span = None

    def __post_init__(self) -> None:
        takes = _TAKES.get(self.kind, ("folds",))
        for name in ("folds", "fraction", "column", "repeats", "window", "gap"):
            if getattr(self, name) is not None and name not in takes:
                kinds = [kind for kind, keys in _TAKES.items() if name in keys]
                if name == "folds":
                    raise ValueError(f"folds does not go with kind: {self.kind}, which takes {' and '.join(takes)}")
                raise ValueError(
                    f"{name} goes with kind: {' or '.join(kinds)}, found kind: {self.kind}, which takes "
                    f"{' and '.join(takes)}"
                )
        if "column" in takes and self.column is None:
            what = {"time": "times", "predefined": "folds"}.get(self.kind, "groups")
            raise ValueError(f"kind: {self.kind} needs column, the name of the column of {what}")


def honest_test(data: Data, validation: Validation) -> Data:
    """Return the data with test rows drawn by groups or by time, where validation goes by those and nothing is said.

    A test score of rows whose group was learnt from, or that lie between those learnt from, is no news.
    """
    test = data.test
    if test is None or test.fraction is None or (test.stratify, test.group, test.time) != (None, None, None):
        return data
    if validation.kind in ("group", "stratified_group"):
        return dataclasses.replace(data, test=dataclasses.replace(test, group=validation.column))
    if validation.kind == "time":
        return dataclasses.replace(data, test=dataclasses.replace(test, time=validation.column))
    return data


@dataclass(frozen=True, slots=True, config=STRICT)
class Pruner:
    """Who ends trials early, for families that learn by epochs. A string stands for `kind` alone.

    Trials of a batch are compared after `min_epochs` epochs and then at each multiple by `reduction_factor`, by their
    mean score on rows held back inside each fold's training rows.

    Args:
        kind: `none`; `median` ends those below the median of their batch; `successive_halving` lets the best of them go
            on, one in `reduction_factor`; `hyperband` does so in brackets that begin at later and later epochs.
        min_epochs: The epochs that every trial trains for.
        reduction_factor: See above.
    """

    kind: PrunerKind
    min_epochs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2, strict=True)] = 3


def _named(value: object) -> object:
    """Return a pruner that is given by the name of its kind as its keys; null is none."""
    return {"kind": value or "none"} if value is None or isinstance(value, str) else value


def _function(value: object) -> object:
    """Refuse a function that is not named as text: what is not in a file by its name cannot be carried to workers."""
    if callable(value):
        what = "a lambda" if getattr(value, "__name__", "") == "<lambda>" else "the function itself"
        raise ValueError(f"expected FILE.py:FUNCTION as text, such as networks.py:build, found {what}")
    if isinstance(value, str) and not re.fullmatch(r".*\.py:[A-Za-z_]\w*", value):
        raise ValueError(f"expected FILE.py:FUNCTION, such as networks.py:build, found {shown(value)}")
    return value


@dataclass(frozen=True, slots=True, config=STRICT)
class Search:
    """One search: a model family, its space, and who proposes the trials.

    Args:
        family: The model family, such as `knn`.
        sampler: `grid`, `random`, `tpe`, or any sampler of Optuna by its name; the family's own choice by default.
        trials: How many distinct trials; 64 by default, and all points for a grid.
        space: What values the hyperparameters may take; the family's default space by default.
        name: What the leaderboard calls the search; the family's name by default.
        schedule: `batch` repeats exactly; `async` does not wait for a batch to end, and is not reproducible.
        batch_size: How many trials are proposed at once, before the results of any of them are known; the family's own
            number by default.
        pruner: Who ends trials early; nobody by default.
        build: For the family `keras`, the function that builds its networks: `file.py:function`.
        enqueue: Configurations of the space that are tried first, before the sampler's own proposals.
        estimator: For the family `estimator`, the import path of a classifier or regressor, such as `sklearn.svm.SVC`.
    """

    family: str
    sampler: str | None = None
    trials: Count | None = None
    space: Space | None = None
    name: Name | None = None
    schedule: Literal["batch", "async"] = "batch"
    batch_size: Count | None = None
    pruner: Annotated[Pruner, BeforeValidator(_named, json_schema_input_type=Pruner | PrunerKind | None)] = field(
        default_factory=lambda: Pruner("none")
    )
    build: Annotated[str | None, BeforeValidator(_function)] = None
    enqueue: tuple[dict[str, Scalar], ...] = ()
    estimator: str | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Comparator:
    """Named beforehand, scored on the test rows beside the winner; it never becomes the best.

    Args:
        family: The model family of a configuration, which is fitted on the training rows.
        params: The configuration; the family's defaults by default.
        name: What the scores call it.
        model: In place of a family, the folder or URI of a model that is there already, such as `best/` of a run.
    """

    family: str | None = None
    params: dict[str, Scalar] = field(default_factory=dict)
    name: Name | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if (self.family is None) == (self.model is None):
            raise ValueError(f"expected one of family and model, found {'none' if self.family is None else 'both'}")
        if self.model is not None and self.params:
            raise ValueError("params go with family, found them with model")


@dataclass(frozen=True, slots=True, config=STRICT)
class Ensemble:
    """A weighted average of trials as one more row of the board; it is never the best, and is not refitted.

    Args:
        size: How many trials it is made of, those that come in several times counted so.
    """

    size: Annotated[int, Field(ge=1, le=1000, strict=True)]


@dataclass(frozen=True, slots=True, config=STRICT)
class Budget:
    """When to stop: after so many trials over all searches, or after so many seconds of search."""

    trials: Count | None = None
    time_s: Seconds | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Resources:
    """What the run may use.

    Args:
        max_concurrent: How many work units may run at once; all that the cluster can by default.
        trial_timeout_s: How many seconds one work unit may compute before its trials count as failed.
        threads: How many threads, and so CPUs, a work unit of networks computes with. Results depend on it.
        device: Where networks train: `auto` is a GPU where the cluster has one.
        gpu_fraction: The share of a GPU, and of its memory, that a worker takes.
        join_within_s: How many seconds a node that the job needs may be missing from a cluster before the run gives up;
            where the cluster's own configuration says that one may come, it waits for as long as that takes.
        mixed_precision: Whether networks compute in bfloat16 and keep their weights in float32. Results depend on it.
        predictions_mb: How many megabytes of out-of-fold predictions a run keeps, before compression; the bottom of the
            board goes first. 0 keeps none, and then nothing can be said of how sure a score is.
        data_mb: How many megabytes the encoded rows may take in a process. Of a larger dataset the rows go to a file in
            the run directory, and families that can (`mlp`) learn from there. Results depend on which of the two it is.
    """

    max_concurrent: Count | None = None
    trial_timeout_s: Seconds | None = None
    threads: Count = 1
    device: Literal["auto", "cpu", "gpu"] = "auto"
    gpu_fraction: Share = 0.25
    join_within_s: Seconds = 600.0
    mixed_precision: Annotated[bool, Field(strict=True)] = False
    predictions_mb: Annotated[int, Field(ge=0, strict=True)] = 1024
    data_mb: Count = 2048


@dataclass(frozen=True, slots=True, config=STRICT)
class Job:
    """Everything that determines a run.

    Args:
        searches: What is searched; where none is named, every family that learns from the features' columns.
        objectives: `score`, and maybe a second one that samplers keep small beside it: `model_size`, the numbers that a
            model holds, or `predict_time`. The best model is the one of the best score in any case.
        threshold: `tuned` chooses the winner's decision threshold of two classes out of fold; `none` is one half.
        trusted_packages: Packages beside scikit-learn whose estimators may be imported: lightgbm, xgboost.
        files: Filled in when a run begins: where the files are that its spaces name, by `name@hash`.
    """

    name: Name
    data: Data
    searches: tuple[Search, ...] = ()
    comparators: tuple[Comparator, ...] = ()
    validation: Validation = field(default_factory=Validation)
    checks: Checks = field(default_factory=Checks)
    metric: str | None = None
    ensemble: Ensemble | None = None
    objectives: Annotated[tuple[Objective, ...], BeforeValidator(_listed)] = ("score",)
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 42
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    threshold: Literal["none", "tuned"] = "none"
    trusted_packages: Columns = ()
    files: dict[str, str] = field(default_factory=dict)
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        names = search_names(self)
        twice = {n for n in names if names.count(n) > 1 or n in ("dummy", "ensemble")}
        if twice:
            raise ValueError(f"searches: the name {sorted(twice)[0]!r} is taken; give each search a name of its own")

        if (
            self.objectives[:1] != ("score",)
            or len(self.objectives) > 2
            or len(set(self.objectives)) < len(self.objectives)
        ):
            found = ", ".join(self.objectives) or "none"
            raise ValueError(f"objectives: expected score, and maybe model_size or predict_time; found {found}")
        if self.ensemble is not None and not self.resources.predictions_mb:
            raise ValueError(
                "ensemble: found resources.predictions_mb 0; expected room for what an ensemble is made of"
            )
        names = comparator_names(self)
        taken = [n for n in names if names.count(n) > 1 or n in ("best", "dummy")]
        if taken:
            raise ValueError(f"comparators: the name {taken[0]!r} is taken; give each comparator a name of its own")


_JOB = TypeAdapter(Job)


def comparator_names(job: Job) -> list[str]:
    """Return what the test scores call the comparators, in order: their names, else `family(key=value, …)`."""

    def described(one: Comparator) -> str:
        if one.model is not None:
            return f"model {PurePath(one.model.rstrip('/')).name}"
        return f"{one.family}({', '.join(f'{name}={value}' for name, value in one.params.items())})"

    return [one.name or described(one) for one in job.comparators]


def search_names(job: Job) -> list[str]:
    """Return the searches' names as the leaderboard shows them, in order: `knn`, then `knn-2` for a second one."""
    names: list[str] = []
    for search in job.searches:
        same = sum(1 for other in job.searches[: len(names)] if other.name is None and other.family == search.family)
        names.append(search.name or (search.family if not same else f"{search.family}-{same + 1}"))
    return names


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job file."""
    schema: dict[str, Any] = _JOB.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def to_dict(job: Job) -> dict[str, Any]:
    """Return the job as plain values, defaults filled in."""
    plain: dict[str, Any] = _JOB.dump_python(job, mode="json")
    return {"schema_version": plain.pop("schema_version"), **plain}


def as_written(job: Job) -> dict[str, Any]:
    """Return the job as plain values without defaults, as a YAML file would have it, for overrides to change."""
    plain: dict[str, Any] = _JOB.dump_python(job, mode="json", exclude_defaults=True)
    return plain


def to_yaml(job: Job) -> str:
    """Return the job as YAML, defaults filled in."""
    return yaml.safe_dump(to_dict(job), sort_keys=False, allow_unicode=True, width=110)


def from_dict(values: object, origin: str = "the job", overrides: Sequence[str] = ()) -> Job:
    """Validate plain values, after the changes `KEY=VALUE` of `overrides`.

    Raises:
        JobError: Something is missing, unknown or out of range; `origin` says where it stood.
    """
    if not isinstance(values, Mapping):
        raise JobError(f"{origin}: expected keys such as name, data and searches, found {shown(values)}")
    if overrides:
        values = with_overrides(values, overrides)
        origin = f"{origin} with {' '.join(f'--set {override}' for override in overrides)}"
    try:
        return _JOB.validate_python(values)
    except ValidationError as error:
        raise explain(error, origin) from None


def explain(error: ValidationError, origin: str) -> JobError:
    """Return what pydantic found wrong as one message with its key: the first unknown key, else the deepest error."""
    model = _MODELS.get(error.title, Job)
    found = [(*_key(e, model), e) for e in error.errors()]

    def order(one: tuple[str, type, Any]) -> tuple[bool, int, bool]:
        return one[2]["type"] not in _UNKNOWN, -one[0].count("."), one[2]["type"] not in ("value_error", "too_short")

    key, parent, first = min(found, key=order)
    where = origin if model is Job else f"{origin}, {error.title}"
    if first["type"] in _UNKNOWN:
        near = did_you_mean(key.rpartition(".")[2], (f.name for f in dataclasses.fields(parent)))
        return JobError(f"{where}: unknown key {key!r}.{near}")
    if first["type"] in ("missing", "missing_argument"):
        return JobError(f"{where}: {key} is missing; expected a value for it")
    if first["type"] == "value_error":
        return JobError(f"{where}: {key + ': ' if key else ''}{first['ctx']['error']}")
    # A union reports each of its alternatives at the same key; of a list that is too short, the others say nothing.
    alternatives = [first] if first["type"] == "too_short" else [e for k, _, e in found if k == key]
    texts = list(dict.fromkeys(_expected(e) for e in alternatives))
    if len(texts) > 1 and _EXPECTED["int_type"] in texts:
        texts.remove(_EXPECTED["int_type"])  # floats are among the alternatives
    expected = " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
    return JobError(f"{where}: {key}: expected {expected}, found {shown(first['input'])}")


_MODELS: dict[str, type[Any]] = {
    "data": Data,
    "columns": ColumnRole,
    "test": Test,
    "sample": Sample,
    "validation": Validation,
    "checks": Checks,
    "searches": Search,
    "pruner": Pruner,
    "comparators": Comparator,
    "ensemble": Ensemble,
    "budget": Budget,
    "resources": Resources,
}
_MODELS |= {model.__name__: model for model in (*_MODELS.values(), Range)}
_UNKNOWN = ("unexpected_keyword_argument", "unexpected_positional_argument", "invalid_key")
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "a name of letters, digits, dots, dashes and underscores, at most 64",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge} up",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "names with their values",
}


def _expected(error: Any) -> str:
    context = error.get("ctx", {})
    if error["type"] == "dataclass_type":
        names = [f.name for f in dataclasses.fields(_MODELS[context["class_name"]])]
        return f"keys such as {' and '.join(names[:2])}"
    text = _EXPECTED.get(error["type"])
    return text.format(**context) if text else error["msg"].removeprefix("Input should be ")


def _key(error: Any, model: type[Any]) -> tuple[str, type[Any]]:
    """Return an error's key, without the names of a union's alternatives, and the model that has its last part."""
    names: list[str] = []
    for place, part in enumerate(error["loc"]):
        if isinstance(part, str) and re.search(r"\[|^(Range|int|float|bool|str)$", part):
            continue
        fields = dataclasses.fields(model)
        if place == 0 and isinstance(part, int) and part < len(fields) and error["type"] not in _UNKNOWN:
            part = fields[part].name  # an argument without its name
        if place < len(error["loc"]) - 1:
            model = _MODELS.get(str(part), model)
        names.append(str(part))
    return ".".join(names), Range if "space" in names[:-1] else model


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: 1e-3 is a number, `no` and 2024-01-31 are text, a key given twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as in the base class)
        first: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] not in ("bool", "timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node in (key_node for key_node, _ in node.value if key_node.value != "<<"):
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            keys.append(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, origin: str) -> Any:
    """Parse YAML.

    Raises:
        JobError: The text is no YAML.
    """
    try:
        values: object = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        texts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
        raise JobError(f"{origin}{where}: not valid YAML: {', '.join(text for text in texts if text)}") from None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{origin}: not valid YAML: {error}") from None
    return values


def with_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return `values` with each `a.b=c` of `overrides` set; the value is read as YAML, list items go by number.

    Raises:
        JobError: An override is malformed, or its path leads nowhere.
    """
    changed: dict[str, Any] = _copied(values)
    for override in overrides:
        path, sign, text = override.partition("=")
        if not sign or not path.strip():
            raise JobError(f"--set {override}: expected KEY=VALUE, such as --set budget.trials=100")
        keys = path.strip().split(".")
        value = parse_yaml(text, f"--set {override}")
        place: Any = changed
        for depth, key in enumerate(keys):
            here = ".".join(keys[:depth])
            if not isinstance(place, dict | list):
                raise JobError(f"--set {override}: {here} holds {shown(place)}; expected something that has keys")
            if isinstance(place, list) and not (key.isdigit() and int(key) < len(place)):
                raise JobError(
                    f"--set {override}: expected the number of an item of {here}, from 0 and below {len(place)}, "
                    f"found {key!r}"
                )
            at: Any = int(key) if isinstance(place, list) else key
            if depth == len(keys) - 1:
                place[at] = value
            elif isinstance(place, dict) and place.get(key) is None:
                place[at] = {}
            place = place[at]
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list | tuple) else value


def resolved_path(path: str, base: Path) -> str:
    """Return `path` as it is found from the job file's folder `base`, else from the working directory.

    URIs and `dataset:NAME` stay as they are. A path that exists nowhere resolves against `base`.
    """
    if "://" in path or path.startswith("dataset:"):
        return path
    given = os.path.expanduser(path)
    for folder in (base.absolute(), Path.cwd()):
        if os.path.exists(folder / given):
            return str(folder / given)
        pattern = os.path.join(glob.escape(str(folder)), given)
        if glob.has_magic(given) and any(glob.iglob(pattern, recursive=True)):
            return pattern
    return str(base.absolute() / given)


def located(job: Job, base: Path) -> Job:
    """Return the job with its relative paths resolved."""
    data = dataclasses.replace(job.data, path=resolved_path(job.data.path, base))
    if data.test is not None and data.test.path is not None:
        test = dataclasses.replace(data.test, path=resolved_path(data.test.path, base))
        data = dataclasses.replace(data, test=test)
    searches = tuple(_located(search, base) for search in job.searches)
    comparators = tuple(
        dataclasses.replace(c, params=_with_files(c.params, base), model=c.model and resolved_path(c.model, base))
        for c in job.comparators
    )
    return dataclasses.replace(job, data=data, searches=searches, comparators=comparators)


def _located(search: Search, base: Path) -> Search:
    """Return a search with the paths resolved of its function and of the files that its space names."""
    build = search.build
    if build is not None:
        file, _, function = build.rpartition(":")
        build = f"{resolved_path(file, base)}:{function}"
    space = None if search.space is None else _with_files(search.space, base)
    enqueue = tuple(_with_files(params, base) for params in search.enqueue)
    return dataclasses.replace(search, build=build, space=space, enqueue=enqueue)


def _with_files(space: Mapping[str, Any], base: Path) -> dict[str, Any]:
    return {
        name: [_file(value, base) for value in entry] if isinstance(entry, list) else _file(entry, base)
        for name, entry in space.items()
    }


def _file(value: Any, base: Path) -> Any:
    """Return the path of a file for a text that names one, such as weights.keras."""
    if not isinstance(value, str) or not Path(value).suffix:
        return value
    path = resolved_path(value, base)
    return path if os.path.isfile(path) else value
