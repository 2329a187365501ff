"""scikit-learn pipelines as fitted models: over encoded features, saved by skops, loaded without running code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.neighbors import KNeighborsClassifier

from orchestrator.data.encode import Features, Task

FILE = "model.skops"
_AS_GOOD_AS_EQUAL = 1e-9

_METRICS = "sklearn.metrics._dist_metrics."
HARMLESS = frozenset(
    {"numpy.dtype", "sklearn.neighbors._kd_tree.KDTree"}
    | {f"{_METRICS}{name}Distance64" for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski")}
)
"""What a neighbours index is made of, beside the types that skops trusts by itself. None runs code when it is made."""


class _FittedPipeline(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A fitted pipeline over `Features.flat`."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class codes or numbers, shape (rows,)."""
        predicted: np.ndarray[Any, Any] = self.pipeline.predict(X.flat())
        return predicted

    def predict_proba(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class probabilities, shape (rows, classes)."""
        probabilities: np.ndarray[Any, Any] = self.pipeline.predict_proba(X.flat())
        return probabilities

    def files(self) -> Mapping[str, bytes]:
        """Return the pipeline in one file."""
        return {FILE: dumps(self.pipeline)}


class FittedClassifier(ClassifierMixin, _FittedPipeline):  # type: ignore[misc]
    """A fitted pipeline that tells classes, by their codes."""

    @property
    def classes_(self) -> np.ndarray[Any, Any]:
        """The codes of the classes, in the order of the columns of `predict_proba`."""
        classes: np.ndarray[Any, Any] = self.pipeline.classes_
        return classes

    def predict_both(self, X: Features) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return what `predict` and `predict_proba` give.

        Of neighbours the search is what costs. Their vote is the most probable class, but where two are as good as
        equal: what scikit-learn says of those rows is asked for.
        """
        matrix = X.flat()
        probabilities: np.ndarray[Any, Any] = self.pipeline.predict_proba(matrix)
        if not isinstance(self.pipeline[-1], KNeighborsClassifier):
            return self.pipeline.predict(matrix), probabilities
        codes: np.ndarray[Any, Any] = self.classes_[probabilities.argmax(axis=1)]
        if probabilities.shape[1] > 1:
            best = np.partition(probabilities, -2, axis=1)[:, -2:]
            doubtful = np.flatnonzero(best[:, 1] - best[:, 0] < _AS_GOOD_AS_EQUAL)
            if len(doubtful):
                codes[doubtful] = self.pipeline.predict(matrix[doubtful])
        return codes, probabilities


class FittedRegressor(RegressorMixin, _FittedPipeline):  # type: ignore[misc]
    """A fitted pipeline that tells numbers."""


def fitted(pipeline: Any, task: Task) -> FittedClassifier | FittedRegressor:
    """Return a fitted pipeline as what scikit-learn's scorers take, over features."""
    return FittedClassifier(pipeline) if task == "classification" else FittedRegressor(pipeline)


def load(folder: Path, task: Task) -> FittedClassifier | FittedRegressor:
    """Load what `files` gave. Nothing in the file is run: only scikit-learn's and numpy's own types are made.

    Raises:
        ValueError: The file is damaged, or holds types that are not known to be harmless.
        FileNotFoundError: It is missing.
    """
    return fitted(loads((folder / FILE).read_bytes(), FILE), task)


def dumps(value: Any) -> bytes:
    """Return a fitted estimator, or a dict or list of such and of plain values, as skops bytes."""
    import skops.io  # here, since it imports all of scikit-learn, and the driver has no use for it

    content: bytes = skops.io.dumps(value)
    return content


def loads(content: bytes, name: str) -> Any:
    """Load what `dumps` gave. Nothing in it is run.

    Raises:
        ValueError: It is damaged, or holds types that are not known to be harmless; `name` says what was read.
    """
    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - HARMLESS)
        value = None if unknown else skops.io.loads(content, trusted=sorted(HARMLESS))
    except Exception as error:  # noqa: BLE001  skops raises whatever its file leads it to
        raise ValueError(f"{name} cannot be read ({type(error).__name__})") from None
    if unknown:
        raise ValueError(f"{name} holds types that are not known to be harmless: {', '.join(unknown[:3])}")
    return value
