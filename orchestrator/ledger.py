"""The append-only truth of a run: what was proposed, and every answer. All else is made from it.

One JSON object a line in `ledger/records.jsonl`. Records that become known together are appended by one write and made
durable by one fsync, before anything is decided from them. A torn last line, which a kill can leave, is cut off.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import JobError, RunError
from orchestrator.families.base import Answer, Failure

FOLDER, FILE = "ledger", "records.jsonl"


@dataclass(frozen=True, slots=True)
class SpaceOpened:
    """A search begins a generation: its space from now on, and the number of the first trial in it."""

    search: str
    generation: int
    first: int
    space: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchProposed:
    """A batch of distinct new proposals, numbered from `first`; `notes` is what the sampler left on each, if it did."""

    search: str
    generation: int
    batch: int
    first: int
    proposals: list[dict[str, Any]]
    notes: list[dict[str, Any] | None] | None = None


@dataclass(frozen=True, slots=True)
class UnitFinished:
    """A work unit's answers: name -> score (None where the metric gave no finite number), with each one's times.

    Attributes:
        unit: The unit's name.
        answers: Scores by name.
        fit_time_s: Seconds of fitting, the same for each.
        predict_time_s: Seconds of predicting, likewise.
        inner: Inner scores in the order of `answers`, None where it is no finite number; left out where none has one.
        epochs: The epochs that were kept, likewise.
        failures: Name -> code and message, of the answers that it failed to give; left out where there are none.
    """

    unit: str
    answers: dict[str, float | None]
    fit_time_s: float
    predict_time_s: float
    inner: list[float | None] | None = None
    epochs: list[int | None] | None = None
    failures: dict[str, list[str]] | None = None


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A work unit that gave no answer: the answers that were expected, and why there are none."""

    unit: str
    answers: list[str]
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TestOpened:
    """The test rows were scored: model -> score, for the chosen model, the dummy and the comparators."""

    __test__ = False

    time: str
    best: str
    scores: dict[str, float | None]


Record = SpaceOpened | BatchProposed | UnitFinished | UnitFailed | TestOpened
_KINDS: dict[str, type[Record]] = {
    "space": SpaceOpened,
    "batch": BatchProposed,
    "unit": UnitFinished,
    "failure": UnitFailed,
    "test": TestOpened,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_LEFT_OUT = ("inner", "epochs", "failures")
"""Fields that only some families fill: a line has them where they hold something."""


class Ledger:
    """The ledger of one run, open for appending. One process holds it at a time.

    Args:
        folder: The run's `ledger/`; created where it is missing.

    Raises:
        RunError: Another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  (closed by close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunError(f"{folder.parent} is in use by another process; wait for it to end, or stop it") from None
        whole = _whole_length(self.path)
        if whole < self._file.seek(0, os.SEEK_END):
            os.truncate(self.path, whole)

    def append(self, records: Sequence[Record]) -> None:
        """Append records and make them durable; one write, one fsync.

        Raises:
            RunError: The disk is full or cannot be written; what was durable before still is.
        """
        if not records:
            return
        data = memoryview("".join(_line(record) for record in records).encode())
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}; make room, then resume") from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(folder: Path) -> Iterator[Record]:
    """Yield a ledger's records in order; a torn last line is left out.

    Raises:
        JobError: There is no ledger at `folder`.
        RunError: A line that is not the last is damaged, or of an unknown kind.
    """
    path = folder / FILE
    if not path.exists():
        raise JobError(f"{folder.parent} has no ledger; expected a run directory")
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield _parsed(line, path, number)


def is_held(folder: Path) -> bool:
    """Tell whether a process holds the ledger at `folder` now."""
    try:
        with open(folder / FILE, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _line(record: Record) -> str:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    kept = {name: value for name, value in values.items() if value is not None or name not in _LEFT_OUT}
    return json.dumps({"is": _NAMES[type(record)], **kept}, separators=(",", ":")) + "\n"


def _parsed(line: bytes, path: Path, number: int) -> Record:
    try:
        values = json.loads(line)
        return _KINDS[values.pop("is")](**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path}, line {number}, is damaged; restore the file from a copy, or start a new run") from None


def _whole_length(path: Path) -> int:
    """Return the length of the file up to the end of its last whole line."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def unit_finished(unit_id: str, answers: Mapping[str, Answer | Failure]) -> UnitFinished:
    """Return the record of a unit's answers, which share its times evenly, so that one pair of times stands for all."""
    given = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    one = next(iter(given.values()), Answer(0.0, 0.0, 0.0))
    inner = [_finite(answer.inner_score) for answer in given.values()]
    epochs = [answer.epochs for answer in given.values()]
    return UnitFinished(
        unit_id,
        {name: _finite(answer.score) for name, answer in given.items()},
        one.fit_time_s,
        one.predict_time_s,
        inner if any(answer.inner_score is not None for answer in given.values()) else None,
        epochs if any(epoch is not None for epoch in epochs) else None,
        {n: [a.code, a.message] for n, a in answers.items() if isinstance(a, Failure)} or None,
    )


def answers_in(record: UnitFinished | UnitFailed) -> dict[str, Answer | Failure]:
    """Return the answers, and the failures in their place, that a record tells of; scores of None are NaN again."""
    if isinstance(record, UnitFailed):
        return dict.fromkeys(record.answers, Failure(record.code, record.message))
    none = [None] * len(record.answers)
    inner = none if record.inner is None else [math.nan if score is None else score for score in record.inner]
    found: dict[str, Answer | Failure] = {
        name: Answer(math.nan if score is None else score, record.fit_time_s, record.predict_time_s, inside, epochs)
        for (name, score), inside, epochs in zip(record.answers.items(), inner, record.epochs or none, strict=True)
    }
    return found | {name: Failure(*why) for name, why in (record.failures or {}).items()}


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
