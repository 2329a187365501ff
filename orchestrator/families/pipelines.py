"""scikit-learn pipelines as fitted models: over encoded features, saved by skops, loaded without running code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier, is_regressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline

from orchestrator.data.encode import Features, Task
from orchestrator.data.texts import FromFeatures
from orchestrator.families import archives
from orchestrator.families.graph import neighbours, preparation
from orchestrator.families.graph.base import Graph, NoConverter, Tensor, TracedFeatures
from orchestrator.families.trees import check_trees

FILE = "model.skops"
_AS_GOOD_AS_EQUAL = 1e-9

_METRICS = "sklearn.metrics._dist_metrics."
_KERNELS = "sklearn.gaussian_process.kernels."
HARMLESS = frozenset(
    {
        "numpy.dtype",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "functools.partial",  # of what is trusted itself
        "sklearn.utils.validation.check_array",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
    | {"orchestrator.data.clip.OutlierClipper", "orchestrator.data.texts.FromFeatures"}
    | {f"sklearn.model_selection._split.{name}" for name in ("KFold", "StratifiedKFold")}
    | {f"sklearn.feature_selection._univariate_selection.{name}" for name in ("f_classif", "f_regression")}
    | {f"{_METRICS}{name}Distance64" for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski")}
    | {f"{_KERNELS}{name}" for name in ("ConstantKernel", "Product", "RBF")}
)
"""What models and preparations are made of, beside the types that skops trusts by itself. None runs code that a file
brings when it is made; what the trees of a file say of themselves is looked at, see `trees`."""


class _FittedPipeline(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A fitted pipeline over `Features.flat`."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _input(self, X: Features) -> Any:
        """Return what the first step takes: features where there is text among them, else a matrix."""
        return X if isinstance(self.pipeline[0], FromFeatures) else X.flat()

    def predict(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class codes or numbers, shape (rows,)."""
        predicted: np.ndarray[Any, Any] = self.pipeline.predict(self._input(X))
        return predicted

    def predict_proba(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class probabilities, shape (rows, classes)."""
        return probabilities_of(self.pipeline, self._input(X))

    def traced(self, graph: Graph, features: TracedFeatures) -> Tensor:
        """Return probabilities, shape (rows, classes), or numbers, shape (rows, 1), as operations of a graph.

        Raises:
            NoConverter: A part of the pipeline has none.
        """
        *steps, (_, model) = self.pipeline.steps
        if isinstance(self.pipeline[0], FromFeatures):
            raise NoConverter("no converter for tf-idf, by which text becomes numbers")
        x = features.flat(graph)
        for _, step in steps:
            x = preparation.transformed(graph, step, x)
        if not isinstance(model, KNeighborsClassifier | KNeighborsRegressor):
            raise NoConverter(f"no converter for {type(model).__name__}")
        return neighbours.predicted(graph, model, x)

    def left_open(self, X: Features) -> np.ndarray[Any, Any]:
        """Tell of which rows scikit-learn leaves the prediction open, since neighbours are equally far; (rows,)."""
        if not isinstance(self.pipeline[-1], KNeighborsClassifier | KNeighborsRegressor):
            return np.zeros(len(X), np.bool_)
        is_open: np.ndarray[Any, Any] = neighbours.left_open(
            self.pipeline[-1], self.pipeline[:-1].transform(self._input(X))
        )
        return is_open

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
        matrix = self._input(X)
        probabilities = probabilities_of(self.pipeline, matrix)
        if not isinstance(self.pipeline[-1], KNeighborsClassifier):
            return self.pipeline.predict(matrix), probabilities
        codes: np.ndarray[Any, Any] = self.classes_[probabilities.argmax(axis=1)]
        if probabilities.shape[1] > 1:
            best = np.partition(probabilities, -2, axis=1)[:, -2:]
            doubtful = np.flatnonzero(best[:, 1] - best[:, 0] < _AS_GOOD_AS_EQUAL)
            if len(doubtful):
                some = matrix.take(doubtful) if isinstance(matrix, Features) else matrix[doubtful]
                codes[doubtful] = self.pipeline.predict(some)
        return codes, probabilities


class FittedRegressor(RegressorMixin, _FittedPipeline):  # type: ignore[misc]
    """A fitted pipeline that tells numbers."""


def probabilities_of(model: Any, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a fitted classifier's probabilities, shape (rows, classes).

    Of one that gives none, such as a support vector machine, its decision function between 0 and 1 (logistic function,
    softmax): they order rows as the model does, and are not calibrated.
    """
    if hasattr(model, "predict_proba"):
        given: np.ndarray[Any, Any] = np.asarray(model.predict_proba(matrix))
        return given
    values = np.asarray(model.decision_function(matrix), np.float64)
    if values.ndim == 1:
        second = expit(values)
        return np.stack([1.0 - second, second], axis=1)
    return np.asarray(softmax(values, axis=1))


def fitted(pipeline: Any, task: Task) -> FittedClassifier | FittedRegressor:
    """Return a fitted pipeline as what scikit-learn's scorers take, over features."""
    return FittedClassifier(pipeline) if task == "classification" else FittedRegressor(pipeline)


def load(folder: Path, task: Task) -> FittedClassifier | FittedRegressor:
    """Load what `files` gave. Nothing in the file is run: only scikit-learn's and numpy's own types are made.

    Raises:
        ValueError: The file is damaged, holds types that are not known to be harmless, or no pipeline for the task.
        FileNotFoundError: It is missing.
    """
    pipeline = loads((folder / FILE).read_bytes(), FILE)
    is_expected = is_classifier if task == "classification" else is_regressor
    if not isinstance(pipeline, Pipeline) or not is_expected(pipeline):
        raise ValueError(f"{FILE} holds {type(pipeline).__name__}; expected a pipeline for {task}")
    check_trees(pipeline)
    return fitted(pipeline, task)


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

    archives.members(content, name)
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - HARMLESS)
        value = None if unknown else skops.io.loads(content, trusted=sorted(HARMLESS))
    except Exception as error:  # noqa: BLE001  skops raises whatever its file leads it to
        raise ValueError(f"{name} cannot be read ({type(error).__name__})") from None
    if unknown:
        raise ValueError(f"{name} holds types that are not known to be harmless: {', '.join(unknown[:3])}")
    return value
