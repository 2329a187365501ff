"""The job: what is asked for, as validated, frozen models with one meaning in Python and in YAML.

Nothing here looks at data, at a model family or at a cluster; what needs them is checked where they are at hand.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from orchestrator.errors import JobError, did_you_mean
from orchestrator.space import Scalar, Space

STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
T = TypeVar("T")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_listed)]


@dataclass(frozen=True, slots=True, config=STRICT)
class Test:
    """Which rows are set aside before anything else looks at the data: give `fraction`, `column` or `path`.

    Args:
        fraction: The share of rows drawn by `train_test_split(random_state=seed)`.
        stratify: Whether the draw keeps the classes' shares; for classification it does unless told otherwise.
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

    def __post_init__(self) -> None:
        given = [name for name in ("fraction", "column", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of fraction, column and path, found {' and '.join(given) or 'none'}")
        if self.stratify is not None and self.fraction is None:
            raise ValueError(f"stratify goes with fraction, found it with {given[0]}")


@dataclass(frozen=True, slots=True, config=STRICT)
class Data:
    """The dataset and the roles of its columns.

    Args:
        path: A Parquet file, a directory (hive-partitioned or not), a glob, or `dataset:NAME` for one that the
            package ships.
        target: The column to predict.
        features: The columns to learn from; all others by default.
        exclude: Columns to leave out.
        task: What kind of target it is; inferred from the column by default.
        test: The rows that are set aside; None to set none aside.
    """

    path: Annotated[str, Field(min_length=1)]
    target: str
    features: Columns | None = None
    exclude: Columns = ()
    task: Literal["auto", "classification", "regression"] = "auto"
    test: Test | None = field(default_factory=lambda: Test(fraction=0.2))


@dataclass(frozen=True, slots=True, config=STRICT)
class Validation:
    """How trials are scored on the training rows.

    Args:
        kind: `auto` is stratified for classification and kfold for regression.
        folds: How many folds; not for holdout.
        fraction: The share of the training rows that holdout scores on.
    """

    kind: Literal["auto", "stratified", "kfold", "holdout"] = "auto"
    folds: Annotated[int, Field(ge=2, strict=True)] | None = None
    fraction: Fraction | None = None

    def __post_init__(self) -> None:
        if self.kind == "holdout" and self.folds is not None:
            raise ValueError("folds does not go with kind: holdout, which takes fraction")
        if self.kind != "holdout" and self.fraction is not None:
            raise ValueError(f"fraction goes with kind: holdout, found kind: {self.kind}, which takes folds")


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
        batch_size: How many trials are proposed at once, before the results of any of them are known.
    """

    family: str
    sampler: str | None = None
    trials: Count | None = None
    space: Space | None = None
    name: Name | None = None
    schedule: Literal["batch", "async"] = "batch"
    batch_size: Count = 16


@dataclass(frozen=True, slots=True, config=STRICT)
class Comparator:
    """A configuration named beforehand, scored on the test rows beside the winner; it never becomes the best."""

    family: str
    params: dict[str, Scalar] = field(default_factory=dict)
    name: Name | None = None


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
    """

    max_concurrent: Count | None = None
    trial_timeout_s: Seconds | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Job:
    """Everything that determines a run."""

    name: Name
    data: Data
    searches: Annotated[tuple[Search, ...], Field(min_length=1)]
    comparators: tuple[Comparator, ...] = ()
    validation: Validation = field(default_factory=Validation)
    metric: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 42
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        names = search_names(self)
        twice = {n for n in names if names.count(n) > 1 or n == "dummy"}
        if twice:
            raise ValueError(f"searches: the name {sorted(twice)[0]!r} is taken; give each search a name of its own")


_JOB = TypeAdapter(Job)


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


def to_yaml(job: Job) -> str:
    """Return the job as YAML, defaults filled in."""
    return yaml.safe_dump(to_dict(job), sort_keys=False, allow_unicode=True, width=110)


def from_dict(values: object, origin: str = "the job") -> Job:
    """Validate plain values.

    Raises:
        JobError: Something is missing, unknown or out of range; `origin` says where it stood.
    """
    if not isinstance(values, Mapping):
        raise JobError(f"{origin}: expected keys such as name, data and searches, found {_shown(values)}")
    try:
        return _JOB.validate_python(values)
    except ValidationError as error:
        raise explain(error, origin) from None


def explain(error: ValidationError, origin: str) -> JobError:
    """Return the first thing that pydantic found wrong as one message with its key."""
    first = min(error.errors(), key=lambda e: e["type"] in ("missing", "missing_argument"))
    # A union reports each alternative; the deepest location says the most.
    same_root = [e for e in error.errors() if e["loc"][:2] == first["loc"][:2]]
    if len(same_root) > 1 and first["type"] not in ("unexpected_keyword_argument",):
        first = max(same_root, key=lambda e: (e["type"] == "value_error", e["type"] != "dataclass_type", len(e["loc"])))
    loc = [part for part in first["loc"] if not _is_union_tag(part)]
    key = ".".join(str(part) for part in loc)
    if first["type"] == "unexpected_keyword_argument":
        fields = _fields_at(loc[:-1], error.title)
        return JobError(f"{origin}: unknown key {key!r}.{did_you_mean(loc[-1], fields)}")
    if first["type"] in ("missing", "missing_argument"):
        return JobError(f"{origin}: {key} is missing; expected a value for it")
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    found = "" if first["type"] == "value_error" else f", found {_shown(first['input'])}"
    return JobError(f"{origin}: {key + ': ' if key else ''}{message}{found}")


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and bool(re.search(r"[\[(]|^(Range|Test|int|float|bool|str)$", part))


def _fields_at(loc: Iterable[str | int], title: str) -> list[str]:
    """Return the known keys of the model at `loc` below the model called `title`."""
    models = {
        "data": Data,
        "test": Test,
        "validation": Validation,
        "searches": Search,
        "comparators": Comparator,
        "budget": Budget,
        "resources": Resources,
    }
    names = [part for part in loc if isinstance(part, str)]
    if "space" in names:
        return ["low", "high", "step", "log"]
    roots = {model.__name__: model for model in (*models.values(), Job)}
    model: Any = models[names[-1]] if names and names[-1] in models else roots.get(title, Job)
    return [f.name for f in dataclasses.fields(model)]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: 1e-3 is a number, and a key given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


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
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise JobError(f"{origin}{where}: not valid YAML: {problem}") from None
    except (ValueError, UnicodeDecodeError) as error:
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
        *parents, last = path.strip().split(".")
        place: Any = changed
        for part in parents:
            place = _step(place, part, override)
        value = parse_yaml(text, f"--set {override}")
        if isinstance(place, list):
            place[_index(place, last, override)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise JobError(f"--set {override}: {'.'.join(parents)} holds {_shown(place)}, which has no keys")
    return changed


def _step(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    if not isinstance(place, dict):
        raise JobError(f"--set {override}: nothing lies below {part!r}, found {_shown(place)}")
    if place.get(part) is None:
        place[part] = {}
    return place[part]


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise JobError(f"--set {override}: expected a number from 0 to {len(place) - 1}, found {part!r}")
    return int(part)


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
    given = Path(path).expanduser()
    candidates = [given] if given.is_absolute() else [base / given, Path.cwd() / given]
    for candidate in candidates:
        parent, pattern = _split_glob(candidate)
        if candidate.exists() or (pattern and any(parent.glob(pattern))):
            return str(candidate.absolute())
    return str(candidates[0].absolute())


def _split_glob(path: Path) -> tuple[Path, str]:
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), len(parts))
    return Path(*parts[:first]), "/".join(parts[first:])


def located(job: Job, base: Path) -> Job:
    """Return the job with its relative paths resolved."""
    data = dataclasses.replace(job.data, path=resolved_path(job.data.path, base))
    if data.test is not None and data.test.path is not None:
        test = dataclasses.replace(data.test, path=resolved_path(data.test.path, base))
        data = dataclasses.replace(data, test=test)
    return dataclasses.replace(job, data=data)
