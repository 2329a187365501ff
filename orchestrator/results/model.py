"""The best model: refitted, scored once on the test rows, saved without pickle, loaded without running its code."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer, get_scorer_names

from orchestrator import families, remote
from orchestrator.data.decode import blank, decode
from orchestrator.data.encode import Features, Signature, encode
from orchestrator.data.profile import Profile
from orchestrator.data.sets import LoadedData, TestSet, TrainingSet
from orchestrator.errors import DataError, JobError, OrchestratorError, did_you_mean
from orchestrator.families.base import Engine, Failure, Family, Fitted, UnitOutput, WorkUnit, mean_and_std
from orchestrator.families.limits import one_thread
from orchestrator.families.scoring import AnsweredClassifier, AnsweredRegressor
from orchestrator.objects import is_uri
from orchestrator.results import sealed
from orchestrator.results.sealed import SIGNATURE_FILE
from orchestrator.results.threshold import Threshold, labels_at, tuned

CARD_FILE, PROFILE_FILE = "README.md", "profile.json"
SAMPLE_FILE, SAMPLE_ROWS = "sample.parquet", 200

FITTING = {
    "classification": "accuracy, f1_macro, roc_auc (two classes), roc_auc_ovr or neg_log_loss",
    "regression": "r2, neg_root_mean_squared_error or neg_mean_absolute_error",
}


class Dummy:
    """The baseline, refitted as a family's models are: the majority class, or the mean. It looks at no feature."""

    engine: Engine = "sklearn"

    def fit(self, params: Mapping[str, Any], data: TrainingSet, epochs: int | None) -> Any:
        """Fit on all rows."""
        return _dummy(data.task, data.target)


def _dummy(task: str, target: np.ndarray[Any, Any]) -> DummyClassifier | DummyRegressor:
    model = DummyClassifier(strategy="prior") if task == "classification" else DummyRegressor()
    return model.fit(np.zeros((len(target), 1)), target)


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
            try:
                scores.append(float(scorer(_dummy(data.task, train), np.zeros((len(valid), 1)), valid)))
            except (ValueError, TypeError, AttributeError):
                if _scored(data.metric, _dummy(data.task, data.target), data.target)[0] is None:
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
class TestAnswers:
    """What a model says of the test rows.

    Attributes:
        said: Class codes or numbers, shape (rows,).
        probabilities: Class probabilities, float32, shape (rows, classes); None for regression.
        score: The metric's value, or None.
        problem: Why there is none.
    """

    __test__ = False

    said: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any] | None
    score: float | None
    problem: str | None


def test_table(truth: np.ndarray[Any, Any], answers: Mapping[str, TestAnswers]) -> pa.Table:
    """Return the test rows' targets and what models say of them: by name, and probabilities as `<name>_proba`."""
    columns: dict[str, Any] = {"target": pa.array(truth)}
    for name, one in answers.items():
        columns[name] = pa.array(one.said)
        if one.probabilities is not None:
            values = pa.array(one.probabilities.ravel())
            columns[f"{name}_proba"] = pa.FixedSizeListArray.from_arrays(values, one.probabilities.shape[1])
    return pa.table(columns)


def read_test(path: Path, scores: Mapping[str, float | None]) -> tuple[np.ndarray[Any, Any], dict[str, TestAnswers]]:
    """Read what `test_table` gave: the targets, and the answers of those models of `scores` that have any.

    Raises:
        FileNotFoundError: It is not there.
    """
    table = pq.read_table(path)
    found = {}
    for name, score in scores.items():
        if name in table.column_names:
            probabilities = None
            if f"{name}_proba" in table.column_names:
                lists = table[f"{name}_proba"].combine_chunks()
                probabilities = lists.flatten().to_numpy().reshape(len(lists), lists.type.list_size)
            found[name] = TestAnswers(table[name].to_numpy(), probabilities, score, None)
    return table["target"].to_numpy(), found


@dataclass(frozen=True, slots=True)
class Refitted:
    """A model fitted on all training rows: itself as files, if it is kept, and its answers, if there are test rows.

    A model that could not be fitted has a `problem` in their place.
    """

    files: Mapping[str, bytes]
    fit_time_s: float
    predict_time_s: float
    test: TestAnswers | None = None
    problem: str | None = None
    threshold: Threshold | None = None

    @property
    def test_score(self) -> float | None:
        """Its score on the test rows."""
        return None if self.test is None else self.test.score


@dataclass(frozen=True, slots=True)
class RefitUnit:
    """A work unit: fit on all training rows, score the test rows, which (or None) are its only input.

    Where it tunes, it chooses the decision threshold as well, see `threshold`. It takes the family along and not its
    name, since a worker may not know a family that the user registered.
    """

    id: str
    family: Family | Dummy
    params: Mapping[str, Any]
    epochs: int | None
    keep: bool
    tunes: bool = False
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    cost: float = 0.0
    keeps_payload: ClassVar[bool] = False

    @property
    def engine(self) -> Engine:
        """The kind of process that the family needs."""
        return self.family.engine

    def halves(self) -> Sequence[WorkUnit]:
        """Return nothing: one fit cannot be split."""
        return ()

    def compute(self, data: TrainingSet, inputs: Sequence[TestSet | None]) -> UnitOutput:
        """Fit and score; the payload is a `Refitted`."""
        train, (test,) = data, inputs
        with one_thread():
            started = time.perf_counter()
            model = self.family.fit(dict(self.params), train, self.epochs)
            fitted = time.perf_counter()
            threshold = tuned(self.family, self.params, self.epochs, train) if self.tunes else None  # type: ignore[arg-type]
            chosen = time.perf_counter()
            answers = None if test is None else _answers(train, model, test, threshold)
            scored = time.perf_counter()
            files = dict(model.files()) if self.keep else {}
        refitted = Refitted(files, fitted - started, scored - chosen, answers, threshold=threshold)
        return UnitOutput(payload=refitted)


def _answers(train: TrainingSet, model: Any, test: TestSet, threshold: Threshold | None) -> TestAnswers:
    if train.task == "regression":
        said = np.concatenate([np.asarray(model.predict(part)) for part in test.features.parts()])
        return TestAnswers(said, None, *_scored(train.metric, AnsweredRegressor(said), test.target))
    parts = [_both(model, part) for part in test.features.parts()]
    said, probabilities = (np.concatenate(one) for one in zip(*parts, strict=True))
    said = said if threshold is None else threshold.labels(probabilities)
    scored = _scored(train.metric, AnsweredClassifier(probabilities, said), test.target)
    return TestAnswers(said, probabilities.astype(np.float32), *scored)


def _both(model: Any, rows: Features) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if hasattr(model, "predict_both"):
        said, probabilities = model.predict_both(rows)
        return said, probabilities
    return np.asarray(model.predict(rows)), np.asarray(model.predict_proba(rows))


def _scored(metric: str, model: Any, truth: np.ndarray[Any, Any]) -> tuple[float | None, str | None]:
    try:
        score = float(get_scorer(metric)(model, np.zeros((len(truth), 1)), truth))
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
        family: The model family that made it.
        fitted: The fitted model with its preparation, over encoded features.
        params: Its configuration.
        metric: The scorer it was chosen by.
        score: Its cross-validation score.
        test_score: Its score on the sealed test rows, or None.
        threshold: From which probability of the second of two classes on `predict` says it; None for the likeliest.
    """

    signature: Signature
    family: str
    fitted: Fitted
    params: Mapping[str, Any]
    metric: str
    score: float | None
    test_score: float | None
    threshold: float | None = None

    def predict(self, table: Any) -> np.ndarray[Any, Any]:
        """Return predictions, shape (rows,): the classes as the data names them, or numbers.

        Args:
            table: An Arrow table or record batch, or a pandas or polars frame, with the signature's columns in any
                order.

        Raises:
            DataError: A column is missing or of another type.
        """
        features = self._encoded(table)
        if self.threshold is not None:
            return self.score_rows(features)[0]
        return self._named(self._quietly("predict", features))

    def predict_proba(self, table: Any) -> np.ndarray[Any, Any]:
        """Return class probabilities, shape (rows, classes), in the order of `signature.classes`.

        Raises:
            DataError: As for `predict`; or the model is one for regression.
        """
        if self.signature.task == "regression":
            raise DataError("predict_proba needs classes, and the model is one for regression")
        probabilities: np.ndarray[Any, Any] = self._quietly("predict_proba", self._encoded(table))
        return probabilities

    def score_rows(self, features: Features) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
        """Return for encoded rows what `predict` and, for classes, `predict_proba` give; in one go where that is so.

        Args:
            features: Encoded by the signature's columns.
        """
        if self.signature.task == "regression":
            return self._quietly("predict", features), None
        if self.threshold is not None:
            probabilities = self._quietly("predict_proba", features)
            return self._named(labels_at(self.threshold, probabilities[:, 1])), probabilities
        if hasattr(self.fitted, "predict_both"):
            codes, probabilities = self._quietly("predict_both", features)
        else:
            codes, probabilities = (self._quietly(method, features) for method in ("predict", "predict_proba"))
        return self._named(codes), probabilities

    def _encoded(self, table: Any) -> Features:
        return encode(_as_arrow(table), self.signature.columns)

    def _named(self, predicted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self.signature.task == "regression":
            return predicted
        named: np.ndarray[Any, Any] = np.asarray(self.signature.classes)[predicted]
        return named

    def _quietly(self, method: str, features: Features) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # unseen categories are encoded as such
            return getattr(self.fitted, method)(features)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Load from a run's `best/`, or its URI. Nothing that the files hold is run: families make known types alone.

        Raises:
            JobError: There is no model at `folder`, a file of it is missing, or it is of a family that is not known.
            DataError: A file is damaged or has changed since it was written, holds types that are not known to be
                harmless, is of another version of the format, or does not fit the signature.
        """
        folder = remote.folder(str(folder)) if is_uri(folder) else Path(folder)
        described = sealed.unsealed(folder)
        try:
            signature = Signature.from_dict(described["signature"])
            family = families.find(described["family"], f"{folder / SIGNATURE_FILE}: family")
            facts = {name: described[name] for name in ("params", "metric", "score", "test_score")}
            fitted = family.load(folder, signature)
            _check_fit(fitted, signature)
            return cls(signature, family.name, fitted, **facts, threshold=_threshold_of(described, signature))
        except FileNotFoundError as error:
            raise JobError(f"{folder} holds no model: {Path(str(error.filename)).name} is missing") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else error
            raise DataError(f"{folder} holds no usable model: {what}") from None


def _threshold_of(described: Mapping[str, Any], signature: Signature) -> float | None:
    given = described.get("threshold")
    if given is None:
        return None
    value = float(given["value"])
    if len(signature.classes) != 2 or not 0.0 <= value <= 1.0:
        raise ValueError(f"threshold: {value} of {len(signature.classes)} classes; expected 0 to 1 of two")
    return value


def _check_fit(fitted: Fitted, signature: Signature) -> None:
    """Refuse a signature that is not the model's own, by what the model gives for one blank row of it."""
    is_numbers = signature.task == "regression"
    if not is_numbers and len(set(signature.classes)) < max(2, len(signature.classes)):
        raise ValueError(f"signature: classes: expected at least two, each once, found {signature.classes}")
    try:
        row = blank(signature.columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            given = np.shape(fitted.predict(row) if is_numbers else fitted.predict_proba(row))
    except Exception as error:  # noqa: BLE001  whatever a model raises over columns that are not its own
        raise ValueError(f"the model does not take the signature's columns ({Failure.of(error).message})") from None
    expected = (1,) if is_numbers else (1, len(signature.classes))
    if given != expected:
        raise ValueError(f"the model gives {given} for a row, and its signature says {expected}")


def check_is_there(folder: str, key: str) -> None:
    """Refuse a folder without a model, without loading one; what is at a URI is seen when it is loaded.

    Raises:
        JobError: `key` is its place in the job.
    """
    if not is_uri(folder) and not (Path(folder) / SIGNATURE_FILE).is_file():
        raise JobError(f"{key}: {folder} holds no model; expected a folder such as best/ of a run")


def compared(folder: str, data: LoadedData, metric: str) -> Refitted:
    """Return what a saved model says of a dataset's test rows, in terms of that dataset's classes.

    Args:
        folder: Where the model is, or its URI.
        data: The dataset, with its test rows as they were read.
        metric: A scikit-learn scorer's name.
    """
    assert data.test is not None
    started = time.perf_counter()
    try:
        answers = _compared(Model.load(folder), data, metric)
    except OrchestratorError as error:
        return Refitted({}, 0.0, 0.0, problem=str(error))
    return Refitted({}, 0.0, time.perf_counter() - started, answers, answers.problem)


def _compared(model: Model, data: LoadedData, metric: str) -> TestAnswers:
    assert data.test is not None
    here, there = data.signature, model.signature
    if there.task != here.task:
        raise DataError(f"it is a model for {there.task}, and the data's task is {here.task}")
    said = model.predict(data.test_table)
    if here.task == "regression":
        return TestAnswers(said, None, *_scored(metric, AnsweredRegressor(said), data.test.target))
    unknown = [one for one in there.classes if one not in here.classes]
    if unknown:
        raise DataError(f"it knows the class {unknown[0]!r}, which the training rows lack")
    probabilities = np.zeros((len(said), len(here.classes)))
    probabilities[:, [here.classes.index(one) for one in there.classes]] = model.predict_proba(data.test_table)
    codes = np.asarray([here.classes.index(one) for one in said.tolist()], np.int64)
    scored = _scored(metric, AnsweredClassifier(probabilities, codes), data.test.target)
    return TestAnswers(codes, probabilities.astype(np.float32), *scored)


def _as_arrow(table: Any) -> pa.Table:
    """Return as one Arrow table what anybody may hold: Arrow's own, pandas, what speaks Arrow, columns by name."""
    if isinstance(table, pa.Table):
        return table
    try:
        if hasattr(table, "iloc"):
            return pa.Table.from_pandas(table, preserve_index=False)
        if isinstance(table, pa.RecordBatch):
            return pa.Table.from_batches([table])
        if isinstance(table, Mapping) or hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
    except (TypeError, ValueError, pa.ArrowInvalid) as error:
        raise DataError(f"the {type(table).__name__} cannot be read as a table: {error}") from None
    way = "; collect() it first" if hasattr(table, "collect") else ""
    raise DataError(f"expected an Arrow, pandas or polars table, found {type(table).__name__}{way}")


def saved_trial(folder: Path) -> str | None:
    """Return the trial that the model at `folder` was refitted from, or None where there is no whole model."""
    try:
        trial: str = sealed.unsealed(folder)["trial"]
    except (OrchestratorError, OSError, KeyError):
        return None
    return trial


def sample_of(data: TrainingSet, signature: Signature) -> pa.Table:
    """Return some training rows, features alone, that exports are checked on; the same ones for the same job."""
    n_rows = len(data.target)
    chosen = np.random.default_rng(data.seed).permutation(n_rows)[:SAMPLE_ROWS]
    return decode(data.features.take(np.sort(chosen)), signature.columns)


def save(
    folder: Path,
    files: Mapping[str, bytes],
    signature: Signature,
    facts: Mapping[str, Any],
    card: str,
    profile: Profile | None = None,
    sample: pa.Table | None = None,
) -> None:
    """Write a run's `best/`: the model, its signature with `facts`, and its card.

    Args:
        folder: Created; its parent exists.
        files: The model, as its family's `Fitted.files` gives it.
        signature: What it takes and gives.
        facts: trial, family, params, epochs, metric, score and test_score.
        card: The model card, Markdown.
        profile: How the training rows are spread, for whoever asks whether others have drifted from them.
        sample: Rows that exports are checked on. It is no part of the model, and may be deleted.
    """
    folder.mkdir(exist_ok=True)
    sealed.seal(folder, files, {"signature": signature.to_dict(), **facts})
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    if profile is not None:
        (folder / PROFILE_FILE).write_text(json.dumps(profile.to_dict()) + "\n", encoding="utf-8")
    if sample is not None:
        pq.write_table(sample, folder / SAMPLE_FILE, compression="zstd")
