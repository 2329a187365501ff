"""The ledger: what is appended is durable and whole, one process at a time, and a torn last line is cut off."""

import json
import math
import multiprocessing
import os
import random
from pathlib import Path

import pytest

from orchestrator.compose import answers_of
from orchestrator.errors import JobError, RunError
from orchestrator.families.base import Answer, Failure
from orchestrator.ledger import (
    FILE,
    BatchProposed,
    Ledger,
    Record,
    SpaceOpened,
    TestOpened,
    UnitFailed,
    UnitFinished,
    is_held,
    read,
    unit_finished,
)

RECORDS: list[Record] = [
    SpaceOpened("knn", 0, 0, {"n": {"low": 1, "high": 9, "step": None, "log": False}, "w": ["a", None, True, 2, 0.1]}),
    BatchProposed("knn", 0, 0, 0, [{"n": 1, "w": None}, {"n": 2, "w": 0.1}], [None, {"cma:state": "00ff"}]),
    BatchProposed("knn", 0, 1, 2, [{"n": 3, "w": "ü\u2028\n"}]),
    UnitFinished("plane/fold0", {"a": 0.1 + 0.2, "b": None, "c": -1e-300}, 1.5, 0.25),
    UnitFailed("plane/fold1", ["d", "e"], "raised", "ValueError: …"),
    TestOpened("2026-01-31T12:00:00+00:00", "knn/1", {"best": 0.9, "dummy": None}),
]


def written(folder: Path, records: list[Record] = RECORDS) -> bytes:
    with Ledger(folder) as ledger:
        ledger.append(records)
    return (folder / FILE).read_bytes()


def test_records_are_read_back_as_they_were_appended(tmp_path: Path) -> None:
    written(tmp_path, RECORDS[:2])
    written(tmp_path, RECORDS[2:])
    assert list(read(tmp_path)) == RECORDS


def test_each_record_is_one_line_of_json(tmp_path: Path) -> None:
    lines = written(tmp_path).decode().removesuffix("\n").split("\n")
    assert [json.loads(line)["is"] for line in lines] == ["space", "batch", "batch", "unit", "failure", "test"]


@pytest.mark.parametrize("n_records", [1, 2, 6])
def test_append_is_one_write_and_one_fsync(tmp_path: Path, n_records: int, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append((tmp_path / FILE).read_bytes()), fsync(file)))
    with Ledger(tmp_path) as ledger:
        ledger.append(RECORDS[:n_records])
        assert len(synced) == 1
        assert synced[0].count(b"\n") == n_records
        ledger.append(RECORDS[:n_records])
        assert len(synced) == 2


def test_appending_nothing_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        monkeypatch.setattr(os, "fsync", lambda file: pytest.fail("fsync"))
        ledger.append([])
    assert (tmp_path / FILE).read_bytes() == b""


def test_ledger_torn_at_any_byte_keeps_its_whole_lines_and_takes_new_ones(tmp_path: Path) -> None:
    content = written(tmp_path / "whole")
    for length in range(len(content) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / FILE).write_bytes(content[:length])
        n_whole = content[:length].count(b"\n")
        assert list(read(folder)) == RECORDS[:n_whole]
        written(folder, RECORDS[-1:])
        assert list(read(folder)) == [*RECORDS[:n_whole], RECORDS[-1]]


def test_torn_line_longer_than_what_is_read_at_once_is_cut_off(tmp_path: Path) -> None:
    content = written(tmp_path)
    (tmp_path / FILE).write_bytes(content + b"x" * 300_000)
    written(tmp_path, RECORDS[-1:])
    assert list(read(tmp_path)) == [*RECORDS, RECORDS[-1]]


def test_reading_leaves_a_torn_line_to_the_process_that_may_be_writing_it(tmp_path: Path) -> None:
    content = written(tmp_path)
    (tmp_path / FILE).write_bytes(content + b'{"is":"uni')
    assert list(read(tmp_path)) == RECORDS
    assert (tmp_path / FILE).read_bytes() == content + b'{"is":"uni'


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b'{"is":"other"}', b'{"is":"test"}', b'{"search":"knn"}', b"\xff\xfe", b""]
)
def test_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    content = written(tmp_path).splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(b"".join([content[0], line + b"\n", *content[1:]]))
    with pytest.raises(RunError, match="line 2, is damaged"):
        list(read(tmp_path))


def test_folder_without_a_ledger_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="has no ledger"):
        list(read(tmp_path / "ledger"))


def test_second_holder_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "ledger"
    assert not is_held(folder)
    with Ledger(folder) as ledger:
        ledger.append(RECORDS)
        assert is_held(folder)
        with pytest.raises(RunError, match="run is in use by another process"):
            Ledger(folder)
        ledger.append(RECORDS)
    assert not is_held(folder)
    assert list(read(folder)) == RECORDS * 2
    Ledger(folder).close()


def _hold(folder: Path, is_open: "multiprocessing.synchronize.Event") -> None:
    ledger = Ledger(folder)
    ledger.append(RECORDS)
    is_open.set()
    multiprocessing.Event().wait()
    ledger.close()


def test_ledger_of_a_killed_process_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    is_open = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, is_open))
    holder.start()
    try:
        assert is_open.wait(60)
        assert is_held(tmp_path)
        with pytest.raises(RunError, match="in use"):
            Ledger(tmp_path)
    finally:
        holder.kill()
        holder.join(60)
    assert not is_held(tmp_path)
    assert list(read(tmp_path)) == RECORDS
    written(tmp_path, RECORDS[:1])
    assert len(list(read(tmp_path))) == len(RECORDS) + 1


def test_held_ledger_is_not_inherited_by_other_programs(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert not os.get_inheritable(ledger._file.fileno())


def test_full_disk_is_said_and_what_was_durable_still_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append(RECORDS)

        class Full:
            """Takes ten bytes, and then no more."""

            def __init__(self, file: object) -> None:
                self.file, self.n_writes = file, 0

            def write(self, data: memoryview) -> int:
                self.n_writes += 1
                if self.n_writes > 1:
                    raise OSError(28, "No space left on device")
                return self.file.write(data[:10])  # type: ignore[attr-defined, no-any-return]

        file = ledger._file
        monkeypatch.setattr(ledger, "_file", Full(file))
        with pytest.raises(RunError, match=r"cannot be written: No space left on device; make room, then resume"):
            ledger.append(RECORDS)
        monkeypatch.setattr(ledger, "_file", file)
    written(tmp_path, RECORDS[:1])
    assert list(read(tmp_path)) == [*RECORDS, RECORDS[0]]


def test_failed_fsync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(5, "Input/output error")

    with Ledger(tmp_path) as ledger:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(RunError, match="Input/output error"):
            ledger.append(RECORDS)


def test_answers_of_a_ledger_are_those_that_units_gave(tmp_path: Path) -> None:
    scores = [random.Random(1).uniform(-1, 1) for _ in range(100)]
    given = {f"a{i}": Answer(score, 0.1, 0.2) for i, score in enumerate(scores)}
    failed = UnitFailed("v", ["x", "a0"], "timeout", "over 1 s")
    written(tmp_path, [unit_finished("u", given), failed])
    assert answers_of(list(read(tmp_path))) == {**given, "x": Failure("timeout", "over 1 s")}


def test_answers_with_epochs_and_failures_of_single_members_come_back_as_they_were(tmp_path: Path) -> None:
    given: dict[str, Answer | Failure] = {
        "a": Answer(0.5, 0.1, 0.2, 0.1 + 0.2, 7),
        "b": Failure("diverged", "the loss is no finite number in epoch 3"),
        "c": Answer(-1.5, 0.1, 0.2, -1e-300, 1),
        "d": Failure("no_answer", "ü"),
    }
    written(tmp_path, [unit_finished("u", given)])
    assert answers_of(list(read(tmp_path))) == given


@pytest.mark.parametrize("failed", [{}, {"b": Failure("raised", "ValueError: no")}])
def test_unit_of_failures_alone_or_of_nothing_is_recorded(tmp_path: Path, failed: dict[str, Failure]) -> None:
    written(tmp_path, [unit_finished("u", failed)])
    assert answers_of(list(read(tmp_path))) == failed


def test_inner_score_that_is_no_finite_number_is_nan_after_the_ledger(tmp_path: Path) -> None:
    given = {"a": Answer(0.5, 0.1, 0.2, math.nan, 7), "b": Answer(0.5, 0.1, 0.2, 0.25, 8)}
    assert b"NaN" not in written(tmp_path, [unit_finished("u", given)])
    a, b = answers_of(list(read(tmp_path))).values()
    assert isinstance(a, Answer)
    assert a.inner_score is not None
    assert math.isnan(a.inner_score)
    assert (a.epochs, b) == (7, given["b"])


def test_answers_that_learn_nothing_by_epochs_are_recorded_without_a_word_of_them(tmp_path: Path) -> None:
    content = written(tmp_path, [unit_finished("u", {"a": Answer(0.5, 1.5, 0.25)})])
    assert content == b'{"is":"unit","unit":"u","answers":{"a":0.5},"fit_time_s":1.5,"predict_time_s":0.25}\n'


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_score_that_is_no_finite_number_is_null_in_the_ledger_and_nan_after_it(tmp_path: Path, score: float) -> None:
    content = written(tmp_path, [unit_finished("u", {"a": Answer(score, 0.0, 0.0)})])
    assert b'"answers":{"a":null}' in content
    (answer,) = answers_of(list(read(tmp_path))).values()
    assert isinstance(answer, Answer)
    assert math.isnan(answer.score)
