"""What is said of a run while it goes."""

import pytest

from orchestrator.progress import LiveTable, summary
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
