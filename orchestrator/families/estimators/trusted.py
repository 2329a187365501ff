"""Which classes a job may name by import path: scikit-learn's, and those of packages whose models load safely."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sklearn.base import ClassifierMixin, RegressorMixin

from orchestrator.data.encode import Task
from orchestrator.errors import JobError, did_you_mean, shown
from orchestrator.space import Params

ALWAYS = "sklearn"
PACKAGES: Mapping[str, Params] = {
    ALWAYS: {},
    "lightgbm": {"n_jobs": 1, "verbose": -1},
    "xgboost": {"n_jobs": 1, "verbosity": 0},
}
"""The packages that can be trusted, with what keeps their estimators to one thread, as scikit-learn's are anyway,
and from printing. Models of others could not be saved in a form that loads without running code."""
REQUIRED = inspect.Parameter.empty


def check_package(path: object, trusted: Iterable[str], key: str) -> None:
    """Refuse a class by its package alone, before anything is imported.

    Args:
        path: The import path.
        trusted: The packages that the job trusts beside scikit-learn.
        key: The path's place in the job.

    Raises:
        JobError: It is no import path, or of a package that is not trusted.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise JobError(f"{key}: expected an import path such as sklearn.svm.SVC, found {shown(path)}")
    package = path.partition(".")[0]
    if package not in (ALWAYS, *trusted):
        raise JobError(
            f"{key}: {path} is of the package {package}, which the job does not trust; expected one of scikit-learn "
            f"(sklearn.…), or trusted_packages: [{package}]"
        )


def check_packages(trusted: Iterable[str]) -> None:
    """Refuse packages that cannot be trusted, or are not installed.

    Raises:
        JobError: One of them is such.
    """
    for package in trusted:
        if package not in PACKAGES:
            raise JobError(
                f"trusted_packages: {package!r} cannot be trusted: its models could not be loaded without running "
                f"code.{did_you_mean(package, PACKAGES)}"
            )
        if find_spec(package) is None:
            raise JobError(f"trusted_packages: {package} is not installed; pip install {package}")


@cache
def class_of(path: str, key: str = "estimator") -> type[Any]:
    """Import a class.

    Raises:
        JobError: There is none, or of no package that can be trusted; `key` is its place in the job.
    """
    check_package(path, PACKAGES, key)
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise JobError(f"{key}: {path} cannot be imported ({error})") from None
    if isinstance(found, type) and issubclass(found, ClassifierMixin | RegressorMixin):
        return found
    names = [n for n, one in vars(import_module(module)).items() if _is_public_estimator(n, one)]
    raise JobError(f"{key}: {path} is no classifier or regressor.{did_you_mean(name, names)}")


def _is_public_estimator(name: str, value: object) -> bool:
    return not name.startswith("_") and isinstance(value, type) and issubclass(value, ClassifierMixin | RegressorMixin)


def check_task(path: str, task: Task, key: str) -> None:
    """Refuse a class that is for another task.

    Raises:
        JobError: It is.
    """
    expected, what = (ClassifierMixin, "classifier") if task == "classification" else (RegressorMixin, "regressor")
    if not issubclass(class_of(path, key), expected):
        raise JobError(f"{key}: {path} is no {what}, and the task is {task}; expected a {what}")


@cache
def parameters_of(path: str) -> Params:
    """Return the parameters of a class's constructor, each with its default or REQUIRED."""
    made = class_of(path)
    try:
        found: Params = made().get_params(deep=False)
    except TypeError:
        of_constructor = inspect.signature(made.__init__).parameters
        found = {n: p.default for n, p in of_constructor.items() if n != "self" and p.kind != p.VAR_KEYWORD}
    return found
