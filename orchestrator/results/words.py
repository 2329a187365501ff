"""What the statistics of a run say, in sentences: for the command line, the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.data.sets import TrainingSet
from orchestrator.errors import shown
from orchestrator.job import Test, Validation
from orchestrator.results.leaderboard import NO_TRIALS, Leaderboard, plain_score
from orchestrator.results.statistics import Difference, Statistics


def score(metric: str, value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a score with its 95 % interval, as people read the metric: `0.9541 (0.9123 to 0.9823)`."""
    if value is None:
        return "-"
    said = f"{plain_score(metric, value)[1]:.4f}"
    if low is None or high is None:
        return said
    ends = sorted(plain_score(metric, end)[1] for end in (low, high))
    return f"{said} ({ends[0]:.4f} to {ends[1]:.4f})"


def of_board(metric: str, board: Leaderboard, statistics: Statistics | None) -> list[str]:
    """Return how good the best will be on new rows, what ties with it, and whether it beats the dummy.

    Args:
        metric: The scorer's name.
        board: The leaderboard.
        statistics: Of the board; None where no predictions were kept.
    """
    if statistics is None:
        return ["how sure that is, is not known: no out-of-fold predictions of it were kept (resources.predictions_mb)"]
    name, lines = plain_score(metric, 0.0)[0], []
    if (one := statistics.corrected) is not None:
        more = "; conservative, as the refit has more rows to learn from" if statistics.is_conservative else ""
        lines.append(
            f"{name} to expect of it on new rows (95 % interval), corrected for its having been chosen: "
            f"{score(metric, one.score, one.low, one.high)}{more}"
        )
    tied = [row for row in board.rows if row.ties_leader and row.trial != statistics.winner]
    if tied:
        simplest = (
            "" if statistics.simplest == statistics.winner else f"; the simplest of them is {statistics.simplest}"
        )
        many = "1 trial" if len(tied) == 1 else f"{len(tied):,} trials"
        lines.append(f"{many} cannot be told from it{simplest}")
    lines.append(statistics.sentence)
    return lines


def of_sample(rows: Mapping[str, int | None]) -> str:
    """Return that a run looked at a sample alone, or nothing; `rows` is what its manifest says of them."""
    if (n_all := rows.get("sampled_of")) is None:
        return ""
    return f"on a sample: {(rows['train'] or 0) + (rows['test'] or 0):,} of {n_all:,} rows (data.sample)"


SIDE = ("run", "best", "score", "to expect", "test rows", "trials", "search_s")
"""The columns of `of_side`."""


def of_side(
    metric: str, name: str, board: Leaderboard, statistics: Statistics | None, test: str, search_s: float
) -> list[str]:
    """Return one of two runs as a row of a table."""
    best = board.best
    expected = statistics.corrected if statistics is not None else None
    return [
        name,
        "-" if best is None else best.trial,
        score(metric, None if best is None else best.score),
        "-" if expected is None else score(metric, expected.score, expected.low, expected.high),
        test,
        str(sum(row.family not in NO_TRIALS for row in board.rows)),
        f"{search_s:.1f}",
    ]


def of_difference(metric: str, what: str, apart: Difference) -> str:
    """Return how far two models are apart, in a sentence; the first is the better one above 0, whatever the metric."""
    name = plain_score(metric, 0.0)[0]
    verdict = (
        "they cannot be told apart"
        if apart.low <= 0 <= apart.high
        else ("the first is better" if apart.score > 0 else "the second is better")
    )
    sign = -1 if apart.score < 0 else 1
    low, high = sorted((sign * apart.low, sign * apart.high))
    return (
        f"{what}: the first is {'behind' if sign < 0 else 'ahead'} by {sign * apart.score:.4f} of {name} "
        f"(95 % interval {low:.4f} to {high:.4f}, p = {apart.p:.2g}): {verdict}"
    )


def of_splits(test: Test | None, validation: Validation, train: TrainingSet) -> str:
    """Say how the test rows were drawn and the folds made, as `plan` and `check` print it."""
    return f"splits: {_of_test(test, train)}; {_of_folds(validation, train)}"


def _of_test(test: Test | None, train: TrainingSet) -> str:
    if test is None:
        return "no test rows"
    if test.path is not None:
        return "test rows of their own"
    if test.folds is not None:
        return f"test rows are outer fold {test.fold} of {test.folds}"
    if test.column is not None:
        return f"test rows where {test.column!r} is {shown(test.value)}"
    if test.group is not None:
        return f"test rows are whole groups of {test.group!r} (GroupShuffleSplit, {test.fraction:g} of the groups)"
    if test.time is not None:
        return f"test rows are the latest by {test.time!r} ({test.fraction:g} of the rows)"
    is_stratified = train.task == "classification" and test.stratify is not False
    return f"test rows drawn at random{', stratified' if is_stratified else ''} ({test.fraction:g} of the rows)"


_SPLITTERS = {
    "stratified": "StratifiedKFold",
    "kfold": "KFold",
    "holdout": "train_test_split",
    "group": "GroupKFold",
    "stratified_group": "StratifiedGroupKFold",
    "time": "TimeSeriesSplit",
    "predefined": "PredefinedSplit",
}


def _of_folds(validation: Validation, train: TrainingSet) -> str:
    of_task = "stratified" if train.task == "classification" else "kfold"
    name = _SPLITTERS.get(validation.kind) or _SPLITTERS[of_task]
    if validation.kind == "repeated":
        name = f"Repeated{name}"
    by = f" by {validation.column!r}" if validation.column is not None else ""
    n = len(train.folds)
    span = [f"{key} {value}" for key, value in (("window", validation.window), ("gap", validation.gap)) if value]
    return ", ".join([f"{name}{by}", f"{n} fold{'s' if n > 1 else ''}", *span])
