"""The family `estimator`: a class that the job names by its import path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.data.encode import Task
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.estimators import trusted
from orchestrator.families.estimators.family import ESTIMATOR, EstimatorFamily, Ready
from orchestrator.space import Dimension, Params, Range, Space


def _space(shape: Shape) -> Space:
    return {"scaler": ["standard", "none"]}


class Named(EstimatorFamily):
    """The family `estimator`. The class is one more parameter, `estimator`, that a search gives as a key of its own."""

    takes_estimator = True

    def __init__(self) -> None:
        super().__init__(Ready("estimator", {}, _space))

    def check_trusted(self, space: Mapping[str, Any], packages: Iterable[str], key: str) -> None:
        """Refuse a class of a package that the job does not trust, before anything is imported.

        Raises:
            JobError: It is one; `key` is the class's place in the job.
        """
        given = space.get(ESTIMATOR)
        if given is None:
            raise JobError(f"{key}: missing; expected an import path such as sklearn.svm.SVC")
        for path in given if isinstance(given, list) else [given]:
            trusted.check_package(path, packages, key)

    def path_of(self, params: Params, task: Task) -> str:
        """Return the import path of a configuration's class."""
        return str(params[ESTIMATOR])

    def _paths(self, dims: Mapping[str, Dimension], task: Task, key: str) -> tuple[list[str], Space]:
        values = dims.get(ESTIMATOR, ())
        if isinstance(values, Range) or len(values) != 1:
            raise JobError(f"{key}.{ESTIMATOR}: expected one import path; give each class a search of its own")
        path = str(values[0])
        trusted.check_task(path, task, f"{key}.{ESTIMATOR}")
        return [path], {ESTIMATOR: [path]}
