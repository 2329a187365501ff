"""What is shown of a run: how far it is, and what its units tell of themselves."""

import io

import pytest

from orchestrator import progress
from orchestrator.progress import LiveTable, PlainLines
from orchestrator.search.loop import Progress, SearchProgress

NOTES = ("epoch 3 of 20, best 0.91", "epoch [1] of 20", "third", "fourth")
SEARCH = SearchProgress("mlp", 1, 0, 4.0, None)


def test_plain_lines_tell_the_notes_of_a_few_units(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    lines.update(Progress((SEARCH,), 2, 1, NOTES))
    assert capsys.readouterr().err.splitlines() == [
        "mlp: 1 of 4 trials, best -; 2 work units done",
        "  epoch 3 of 20, best 0.91; epoch [1] of 20; third",
    ]


def test_plain_lines_come_seldom_whatever_units_note(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    for note in NOTES:
        lines.update(Progress((SEARCH,), 2, 1, (note,)))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_table_shows_a_line_a_note_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", stderr)
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = LiveTable()
    table.start()
    table.update(Progress((SEARCH,), 2, 1, NOTES))
    table.stop()
    assert all(note in stderr.getvalue() for note in NOTES)
