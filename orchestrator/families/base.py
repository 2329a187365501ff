"""What a model family supplies, and what passes between the driver and a worker.

A family says which trials share work: it turns each trial into the names of the **answers** that it needs (one a
fold), and a set of wanted answers into **work units** that give them. The search loop asks for an answer once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from orchestrator.data.encode import Column, Features, Kind, Signature, Task, flat
from orchestrator.data.prepare import MAX_CATEGORIES
from orchestrator.data.sets import TrainingSet
from orchestrator.space import Conditions, Params, Space


@dataclass(frozen=True, slots=True)
class Answer:
    """A trial's result on one fold.

    Attributes:
        score: What the metric's scorer gave, higher is better.
        fit_time_s: Seconds of fitting, this answer's share of its unit's.
        predict_time_s: Seconds of predicting, likewise.
        inner_score: What the metric's scorer gave on rows held back inside the fold's training rows, for families that
            learn by epochs: what rungs compare, never the scored fold.
        epochs: The epoch whose weights were kept, counted from 1, for such families.
    """

    score: float
    fit_time_s: float
    predict_time_s: float
    inner_score: float | None = None
    epochs: int | None = None


_OF_ONE_MACHINE = re.compile(
    r"0x[0-9a-f]+"  # an address in memory
    r"|(?<![\w.])/[\w./-]+"  # a path
    r"|\b(?:pid|process)[=: ]+\d+"
    r"|\[[0-9a-f:]+\]:\d+|\d+\.\d+\.\d+\.\d+(?::\d+)?|\b[\w-]+(?:\.[\w-]+)+:\d+|\blocalhost:\d+",
    re.IGNORECASE,
)
"""What differs from one machine or run to the next, and so has no place on a leaderboard."""

_OF_TENSORFLOW = re.compile(
    r"\{\{(?:function_)?node [^}]*\}\} ?"  # which function, by a number that counts up in a process
    r"| on /job:\S+ by allocator \S+"
    r"|\s*\[Op:.*"
)
"""What TensorFlow adds of its own inside, which differs likewise."""

_OUT_OF_MEMORY = frozenset({"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"})
"""Names of classes, since TensorFlow's is not loaded where this is read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result: a stable code and a message without pid, address or path."""

    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception."""
        names = {one.__name__ for one in type(error).__mro__}
        code = "out_of_memory" if names & _OUT_OF_MEMORY else "raised"
        lines = _OF_TENSORFLOW.sub("", str(error)).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        return cls(code, _OF_ONE_MACHINE.sub("…", text)[:300])


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What the model behind an answer said of its fold's scored rows, in their order; kept beside the score.

    Attributes:
        said: Where the metric asks for labels, class codes of the smallest unsigned type, shape (rows,); else float32:
            class probabilities, shape (rows, classes), or numbers, shape (rows,).
        curve: The inner score after each epoch, for families that learn by epochs; nan where it has no meaning.
    """

    said: np.ndarray[Any, Any]
    curve: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitOutput:
    """What a unit gives.

    Attributes:
        answers: By name.
        payload: What other units take from it, which stays where it was made.
        out_of_fold: What the models of its answers said, by the answers' names.
    """

    answers: Mapping[str, Answer | Failure] = field(default_factory=dict)
    payload: Any = None
    out_of_fold: Mapping[str, OutOfFold] = field(default_factory=dict)


Engine = Literal["sklearn", "tensorflow"]
"""What a worker's process has loaded, and is set up for before it starts."""


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def notify(text: str) -> None:
    """Tell whoever follows the run how far this unit is, such as `epoch 3 of 20, best 0.91`; cheap, and may be lost."""
    listener = _listener.get()
    if listener is not None:
        listener(text)


@contextmanager
def listening(listener: Callable[[str], None] | None) -> Iterator[None]:
    """Give `listener` what `notify` is told meanwhile, in this thread alone."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Unit:
    """What most work units have in common."""

    __slots__ = ()
    engine: ClassVar[Engine] = "sklearn"
    keeps_payload: ClassVar[bool] = False

    def halves(self) -> Sequence[WorkUnit]:
        """Return nothing: the unit cannot be split."""
        return ()


class WorkUnit(Protocol):
    """A piece of work that runs on one worker. Frozen, small, and a pure function of itself and the shared data."""

    @property
    def keeps_payload(self) -> bool:
        """Whether its payload is kept for units that are planned after it has ended."""

    @property
    def engine(self) -> Engine:
        """The kind of process that it needs."""

    def halves(self) -> Sequence[WorkUnit]:
        """Return smaller units that together give the same answers, for when memory ran out; or nothing."""

    @property
    def id(self) -> str:
        """The unit's name, unique in a run and the same in every run of the job."""

    @property
    def answers(self) -> Sequence[str]:
        """The names of the answers that it gives."""

    @property
    def needs(self) -> Sequence[WorkUnit]:
        """The units whose payloads it takes."""

    @property
    def cost(self) -> float:
        """Seconds of one core that it takes, about: costly units go first, and a plan adds them up."""

    def compute(self, data: Any, inputs: Sequence[Any]) -> UnitOutput:
        """Do the work on a worker; `data` is what the run shares, `inputs` the payloads of `needs`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What planning may know of the data, and nothing else: it follows from the job alone."""

    key: str
    fold_rows: tuple[tuple[int, int], ...]
    columns: tuple[Column, ...]
    task: Task
    metric: str
    n_classes: int = 0
    n_training_rows: int | None = None

    @classmethod
    def of(cls, data: TrainingSet) -> Shape:
        """Describe the training rows."""
        rows = tuple((len(f.train), len(f.valid)) for f in data.folds)
        n_classes = data.n_classes
        return cls(data.key, rows, data.columns, data.task, data.metric, n_classes, len(data.target))

    @property
    def width(self) -> int:
        """How many columns scalar columns and vectors make once categories are one-hot, about."""
        categories = [min(len(c.categories) + c.has_nulls, MAX_CATEGORIES) for c in self.columns if c.categories]
        return sum(categories) + sum(column.kind != "category" for column in flat(self.columns))

    @property
    def n_rows(self) -> int:
        """The training rows, of which a fold may leave some out."""
        return self.n_training_rows or sum(self.fold_rows[0])

    @property
    def n_train_smallest(self) -> int:
        """The rows of the smallest training fold."""
        return min(train for train, _ in self.fold_rows)


class Plan(Protocol):
    """A family's plan for one space."""

    def answers_of(self, params: Params, epochs: int | None = None) -> Sequence[str]:
        """Return the names of the answers whose mean is this trial's score, one a fold.

        Args:
            params: The trial's configuration.
            epochs: The rung, in epochs, at which the trial is looked at; None for its end.
        """

    def units_for(
        self, wanted: Sequence[Params], missing: frozenset[str], epochs: int | None = None
    ) -> Sequence[WorkUnit]:
        """Return units that give the `missing` answers of the `wanted` trials, without those that they need.

        Called for one batch of trials at a time. A unit for a later rung needs the units of the rung before it and goes
        on from their payloads, if this plan made them; else it begins at the beginning, to the same result.
        """


class Fitted(Protocol):
    """A fitted model with its preparation, over encoded rows; fits scikit-learn's scorers."""

    def predict(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class codes or numbers, shape (rows,)."""

    def predict_proba(self, X: Features) -> np.ndarray[Any, Any]:
        """Return class probabilities, shape (rows, classes)."""

    def files(self) -> Mapping[str, bytes]:
        """Return the model as files, by name."""


class Family(Protocol):
    """A model family: a kind of model with a search space and a way to share work."""

    @property
    def name(self) -> str:
        """What jobs call it."""

    @property
    def default_sampler(self) -> str:
        """Who proposes where a search does not say."""

    @property
    def default_batch_size(self) -> int:
        """How many trials are proposed at once where a search does not say."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of columns that it learns from; it does not see others."""

    @property
    def structure(self) -> frozenset[str]:
        """The parameters whose values decide which trials can train together; few values of them go into a batch."""

    @property
    def conditions(self) -> Conditions:
        """Which parameters mean something only under certain values of another."""

    def max_epochs(self, space: Space) -> int | None:
        """Return the epochs that a trial of a checked space trains for at most; None if it does not learn by epochs."""

    def default_space(self, shape: Shape) -> Space:
        """Return the space of a search that names none."""

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form; `key` is its place in the job, for messages.

        Raises:
            JobError: A parameter or a value is unknown or does not fit the data.
        """

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> Plan:
        """Return the plan for a checked space; `exhaustive` says that all of its points will be asked for."""

    def complexity(self, params: Params) -> float:
        """Return how complex a configuration is beside others of the family; ties go to the simpler one."""

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        """Fit a configuration on all rows of `data`, on a worker.

        Args:
            params: The configuration.
            data: The training rows; its folds are not looked at.
            epochs: How many epochs to train, None for as many as the configuration says.
        """

    def load(self, folder: Path, signature: Signature) -> Fitted:
        """Load what `Fitted.files` gave, from a folder; nothing that it holds is run.

        Raises:
            ValueError: The files are damaged, or hold types that are not known to be harmless.
            FileNotFoundError: A file is missing.
        """

    @property
    def engine(self) -> Engine:
        """The kind of process that `fit` needs."""


@runtime_checkable
class Sized(Protocol):
    """What a family may have beside `Family`: the size of its models, for the objective `model_size`."""

    def size(self, params: Params, shape: Shape) -> float | None:
        """Return about how many numbers a fitted model holds, weights or rows; None where that is not known."""


@runtime_checkable
class LeavesOneOut(Protocol):
    """What a family may have beside `Family`: scores with each row left out alone, at little cost.

    They say how much the refitted winner gains from the rows that a fold holds back.
    """

    def leave_one_out_plan(self, space: Space, shape: Shape) -> Plan:
        """Return a plan for a checked space by which a trial has one answer, its score on `left_out_rows`."""


MOST_LEFT_OUT = 2000
"""So many rows tell a mean difference of two scores well enough."""


def left_out_rows(scored: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which of the rows that folds score are left out one at a time: at most MOST_LEFT_OUT, ascending.

    Args:
        scored: Their positions in the training rows, in any order, those that several folds score as often.
    """
    rows = np.unique(scored)
    if len(rows) <= MOST_LEFT_OUT:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_LEFT_OUT, replace=False))


def mean_and_std(scores: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (ddof=0) over folds, as `GridSearchCV` computes them."""
    values = np.asarray(scores, dtype=np.float64)
    mean = values.mean()
    return float(mean), float(np.sqrt(((values - mean) ** 2).mean()))
