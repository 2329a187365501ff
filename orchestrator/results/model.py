"""The best model: refitted, scored once on the test rows, saved without pickle, loaded without running its code."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer, get_scorer_names

from orchestrator.data.encode import Signature, encode
from orchestrator.data.load import TestSet, TrainingSet
from orchestrator.errors import DataError, JobError, did_you_mean
from orchestrator.families.base import Failure, Unit, UnitOutput, WorkUnit, mean_and_std
from orchestrator.families.limits import one_thread

MODEL_FILE, SIGNATURE_FILE, CARD_FILE = "model.skops", "signature.json", "README.md"

_METRICS = "sklearn.metrics._dist_metrics."
HARMLESS = frozenset(
    {"numpy.dtype", "sklearn.neighbors._kd_tree.KDTree"}
    | {f"{_METRICS}{name}Distance64" for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski")}
)
"""What a neighbours index is made of, beside the types that skops trusts by itself. None runs code when it is made."""

FITTING = {
    "classification": "accuracy, f1_macro, roc_auc (two classes), roc_auc_ovr or neg_log_loss",
    "regression": "r2, neg_root_mean_squared_error or neg_mean_absolute_error",
}


def dummy(task: str) -> DummyClassifier | DummyRegressor:
    """Return the baseline: the majority class, or the mean."""
    return DummyClassifier(strategy="most_frequent") if task == "classification" else DummyRegressor()


def dummy_scores(data: TrainingSet) -> tuple[float, float]:
    """Return the baseline's mean score over the folds and its standard deviation; nan where a fold has no score.

    Raises:
        JobError: The metric is unknown, or does not go with the task or with the number of classes.
    """
    scorer = checked_scorer(data.metric)
    n_classes = len(np.unique(data.target))
    what = f"{data.task} of {n_classes} classes" if data.task == "classification" else data.task
    unfit = JobError(f"metric: {data.metric} cannot score {what}; expected one such as {FITTING[data.task]}")
    is_for_numbers = scorer._score_func.__module__.endswith("_regression")
    if is_for_numbers != (data.task == "regression"):
        raise unfit
    scores = []
    for fold in data.folds:
        train, valid = data.target[fold.train], data.target[fold.valid]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = dummy(data.task).fit(np.zeros((len(train), 1)), train)
            try:
                scores.append(float(scorer(model, np.zeros((len(valid), 1)), valid)))
            except (ValueError, TypeError, AttributeError):
                if _scored(data.metric, dummy(data.task).fit(data.matrix, data.target), data)[0] is None:
                    raise unfit from None
                return math.nan, math.nan  # it goes with the task, and not with this fold
    return mean_and_std(scores)


def checked_scorer(metric: str) -> Any:
    """Return scikit-learn's scorer.

    Raises:
        JobError: There is none of that name.
    """
    if metric not in get_scorer_names():
        raise JobError(f"metric: no scorer {metric!r} in scikit-learn.{did_you_mean(metric, get_scorer_names())}")
    return get_scorer(metric)


@dataclass(frozen=True, slots=True)
class Refitted:
    """A model fitted on all training rows: its test score (or None, and why), and itself as skops bytes."""

    test_score: float | None
    model: bytes | None
    fit_time_s: float
    predict_time_s: float
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RefitUnit(Unit):
    """A work unit: fit on all training rows, score the test rows, which (or None) are its only input."""

    id: str
    estimator: Any
    keep: bool
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 0.0

    def compute(self, data: TrainingSet, inputs: Sequence[TestSet | None]) -> UnitOutput:
        """Fit and score; the payload is a `Refitted`."""
        train, (test,) = data, inputs
        with one_thread():
            started = time.perf_counter()
            model = self.estimator.fit(train.matrix, train.target)
            fitted = time.perf_counter()
            score, problem = (None, None) if test is None else _scored(train.metric, model, test)
            scored = time.perf_counter()
            saved = None
            if self.keep:
                import skops.io  # here, since it imports all of scikit-learn, and the driver has no use for it

                saved = skops.io.dumps(model)
        return UnitOutput(payload=Refitted(score, saved, fitted - started, scored - fitted, problem))


def _scored(metric: str, model: Any, test: TestSet | TrainingSet) -> tuple[float | None, str | None]:
    try:
        score = float(get_scorer(metric)(model, test.matrix, test.target))
    except (
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # a class that the test rows lack, say: no reason to lose the model
        return None, Failure.of(error).message
    return (score, None) if math.isfinite(score) else (None, f"{metric} is no finite number on these rows")


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model with its preparation. Takes tables with the signature's columns; needs no Ray.

    Attributes:
        signature: What it takes and gives.
        pipeline: The fitted scikit-learn pipeline over encoded matrices.
        params: Its configuration.
        metric: The scorer it was chosen by.
        score: Its cross-validation score.
        test_score: Its score on the sealed test rows, or None.
    """

    signature: Signature
    pipeline: Any
    params: Mapping[str, Any]
    metric: str
    score: float | None
    test_score: float | None

    def predict(self, table: Any) -> np.ndarray[Any, Any]:
        """Return predictions, shape (rows,): the classes as the data names them, or numbers.

        Args:
            table: An Arrow table, or a pandas frame, with the signature's columns in any order.

        Raises:
            DataError: A column is missing or of another type.
        """
        predicted = self._quietly("predict", table)
        if self.signature.task == "regression":
            return predicted
        classes = np.asarray(self.signature.classes)
        named: np.ndarray[Any, Any] = classes[predicted]
        return named

    def predict_proba(self, table: Any) -> np.ndarray[Any, Any]:
        """Return class probabilities, shape (rows, classes), in the order of `signature.classes`.

        Raises:
            DataError: As for `predict`; or the model is one for regression.
        """
        if self.signature.task == "regression":
            raise DataError("predict_proba needs classes, and the model is one for regression")
        return self._quietly("predict_proba", table)

    def _quietly(self, method: str, table: Any) -> np.ndarray[Any, Any]:
        matrix = encode(_as_arrow(table), self.signature.columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # unseen categories are encoded as such
            result: np.ndarray[Any, Any] = getattr(self.pipeline, method)(matrix)
        return result

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Load from a run's `best/`. Nothing in the file is run: only scikit-learn's and numpy's own types are made.

        Raises:
            JobError: There is no model at `folder`.
            DataError: The file is damaged, or holds types that are not known to be harmless.
        """
        folder = Path(folder)
        try:
            described = json.loads((folder / SIGNATURE_FILE).read_text(encoding="utf-8"))
            signature = Signature.from_dict(described["signature"])
            pipeline = _loads((folder / MODEL_FILE).read_bytes())
            return cls(signature, pipeline, **{k: described[k] for k in ("params", "metric", "score", "test_score")})
        except FileNotFoundError as error:
            raise JobError(f"{folder} holds no model: {Path(str(error.filename)).name} is missing") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} holds no usable model: {error}") from None


def _as_arrow(table: Any) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    try:
        return pa.table(table) if not hasattr(table, "iloc") else pa.Table.from_pandas(table, preserve_index=False)
    except (TypeError, ValueError, pa.ArrowInvalid):
        raise DataError(f"expected an Arrow table or a pandas frame, found {type(table).__name__}") from None


def _loads(content: bytes) -> Any:
    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - HARMLESS)
        if unknown:
            raise DataError(f"{MODEL_FILE} holds types that are not known to be harmless: {', '.join(unknown[:3])}")
        return skops.io.loads(content, trusted=sorted(HARMLESS))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  skops raises whatever its file leads it to
        raise ValueError(f"{MODEL_FILE} cannot be read ({type(error).__name__})") from None


def saved_trial(folder: Path) -> str | None:
    """Return the trial that the model at `folder` was refitted from, or None where there is no whole model."""
    try:
        trial: str = json.loads((folder / SIGNATURE_FILE).read_text(encoding="utf-8"))["trial"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return trial if (folder / MODEL_FILE).exists() else None


def save(folder: Path, content: bytes, signature: Signature, facts: Mapping[str, Any], card: str) -> None:
    """Write a run's `best/`: the model, its signature with `facts`, and its card.

    Args:
        folder: Created; its parent exists.
        content: The model as skops bytes.
        signature: What it takes and gives.
        facts: params, metric, score and test_score.
        card: The model card, Markdown.
    """
    folder.mkdir(exist_ok=True)
    described = {"signature": signature.to_dict(), **facts}
    (folder / MODEL_FILE).write_bytes(content)
    (folder / SIGNATURE_FILE).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
