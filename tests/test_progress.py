"""What is said of a run while it goes."""

import io

import pytest

from orchestrator.progress import LiveTable, PlainLines, summary
from orchestrator.search.loop import Progress, SearchProgress


def progress(*searches: SearchProgress) -> Progress:
    return Progress(searches, 7, 2)


@pytest.mark.parametrize(
    ("n_pruned", "n_failed", "expected"),
    [
        (0, 0, "mlp: 9 of 18 trials, best - "),
        (4, 0, "mlp: 9 of 18 trials (4 pruned), best - "),
        (0, 1, "mlp: 9 of 18 trials (1 failed), best - "),
        (4, 1, "mlp: 9 of 18 trials (4 pruned, 1 failed), best - "),
    ],
)
def test_line_tells_of_pruned_and_failed_trials_where_there_are_any(
    n_pruned: int, n_failed: int, expected: str
) -> None:
    line = summary(progress(SearchProgress("mlp", 9, n_failed, 18, None, n_pruned)))
    assert line == f"{expected.rstrip()}; 7 work units done"


@pytest.mark.parametrize("n_pruned", [0, 4])
def test_table_has_a_column_of_pruned_trials_where_there_are_any(
    n_pruned: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")  # or it draws nothing, as stderr is no terminal here
    table = LiveTable()
    table.start()
    table.update(progress(SearchProgress("mlp", 9, 1, 18, None, n_pruned), SearchProgress("knn", 5, 0, 18, None)))
    table.stop()
    drawn, _, _ = capsys.readouterr().err.rpartition("mlp: 9")
    assert "failed" in drawn
    assert ("pruned" in drawn) is (n_pruned > 0)


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
    monkeypatch.setattr("orchestrator.progress.sys.stderr", stderr)
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = LiveTable()
    table.start()
    table.update(Progress((SEARCH,), 2, 1, NOTES))
    table.stop()
    assert all(note in stderr.getvalue() for note in NOTES)
