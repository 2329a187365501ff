"""The leaderboard: who stands where, which columns there are, and what each format keeps."""

import csv
import io
import itertools
import json
import math
import random
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.results.leaderboard import (
    FORMATS,
    Leaderboard,
    Row,
    as_csv,
    as_json,
    as_markdown,
    as_table,
    plain_score,
    ranked,
)

COLUMNS = [
    "rank",
    "trial",
    "search",
    "family",
    "state",
    "score",
    "score_std",
    "ci_low",
    "ci_high",
    "ties_leader",
    "fit_time_s",
    "predict_time_s",
    "params",
    "error",
]


def row(number: int, score: float | None = 0.5, **given: Any) -> Row:
    values: dict[str, Any] = {
        "search": "knn",
        "family": "knn",
        "order": 0,
        "state": "failed" if score is None else "completed",
        "score_std": None if score is None else 0.1,
        "fit_time_s": None if score is None else 1.0,
        "predict_time_s": None if score is None else 2.0,
        "params": {"n": number},
        "error": "raised: ValueError" if score is None else None,
    }
    values |= given
    return Row(trial=f"{values['search']}/{number}", number=number, score=score, **values)


DUMMY = row(0, 0.5, search="dummy", family="dummy", order=-1, params={})


def order(*rows: Row) -> list[str]:
    """Return the trials as ranked; the same whatever order they come in."""
    boards = {
        tuple(r.trial for r in ranked(shuffled, "accuracy").rows)
        for shuffled in itertools.islice(itertools.permutations(rows), 200)
    }
    (board,) = boards
    return list(board)


def test_higher_score_ranks_first() -> None:
    assert order(row(0, 0.1), row(1, 0.9), row(2, -0.3), row(3, 0.5)) == ["knn/1", "knn/3", "knn/0", "knn/2"]


def test_completed_rank_before_pruned_before_failed() -> None:
    pruned = row(1, 0.99, state="pruned")
    assert order(row(0, None), pruned, row(2, 0.1)) == ["knn/2", "knn/1", "knn/0"]


def test_failed_trials_rank_last_and_are_tied() -> None:
    board = ranked([row(0, None), row(1, 0.9), row(2, None), row(3, 0.1), row(4, None)], "accuracy")
    assert [r.trial for r in board.rows] == ["knn/1", "knn/3", "knn/0", "knn/2", "knn/4"]
    assert board.ranks == (1, 2, 3, 3, 3)


def test_completed_trials_have_distinct_ranks_even_where_scores_are_equal() -> None:
    assert ranked([row(i, 0.5) for i in range(5)], "accuracy").ranks == (1, 2, 3, 4, 5)


def test_board_of_failures_alone_has_one_rank_and_no_best() -> None:
    board = ranked([row(0, None), row(1, None)], "accuracy")
    assert board.ranks == (1, 1)
    assert board.best is None


def test_equal_scores_go_to_the_simpler_model_then_to_the_earlier_trial() -> None:
    rows = [row(0, complexity=4.0), row(1, complexity=3.0), row(2, complexity=3.0), row(3, 0.6, complexity=9.0)]
    assert order(*rows) == ["knn/3", "knn/1", "knn/2", "knn/0"]


def test_equal_scores_of_searches_go_to_the_one_declared_first_and_to_the_dummy_before_all() -> None:
    other = row(0, search="forest", family="estimator", order=1, complexity=0.0)
    assert order(other, row(7, complexity=9.0), DUMMY) == ["dummy/0", "knn/7", "forest/0"]


@pytest.mark.parametrize(
    ("higher", "are_equal"), [(0.1 + 0.2, True), (0.3 + 1e-13, True), (0.3 + 1e-12, False), (0.3 + 1e-9, False)]
)
def test_scores_compare_after_twelve_decimals(higher: float, are_equal: bool) -> None:
    simple, complex_ = row(1, 0.3, complexity=1.0), row(0, higher, complexity=2.0)
    assert higher > 0.3
    assert order(simple, complex_)[0] == ("knn/1" if are_equal else "knn/0")


def test_scores_are_shown_as_they_were_computed() -> None:
    score = 0.1 + 0.2
    table = ranked([row(0, score)], "accuracy").to_arrow()
    assert table["score"].to_pylist() == [score]
    assert repr(score) in as_csv(table, "accuracy")


def test_negative_zero_is_zero() -> None:
    assert order(row(0, -0.0, complexity=2.0), row(1, 0.0, complexity=1.0)) == ["knn/1", "knn/0"]


def test_best_is_the_first_completed_trial_and_never_the_dummy() -> None:
    board = ranked([DUMMY, row(0, 0.4), row(1, 0.99, state="pruned"), row(2, None)], "accuracy")
    assert board.rows[0] == DUMMY
    assert board.best == row(0, 0.4)


def test_columns_are_those_of_the_contract_then_one_a_parameter() -> None:
    rows = [DUMMY, row(0, params={"n": 1, "b": "x"}), row(1, None, params={"n": 2, "a": 0.5})]
    table = ranked(rows, "accuracy").to_arrow()
    assert table.column_names == [*COLUMNS, "param_a", "param_b", "param_n"]
    assert table["param_n"].to_pylist() == [None, 1, 2]
    assert table["param_a"].to_pylist() == [None, None, 0.5]
    assert [json.loads(text) for text in table["params"].to_pylist()] == [{}, {"n": 1, "b": "x"}, {"n": 2, "a": 0.5}]
    assert table["error"].to_pylist() == [None, None, "raised: ValueError"]
    assert table["score"].to_pylist() == [0.5, 0.5, None]


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        (["a", "b"], pa.string(), ["a", "b"]),
        ([True, False], pa.bool_(), [True, False]),
        ([None, 0.5], pa.float64(), [None, 0.5]),
        ([None, None], pa.string(), [None, None]),
        (["none", 3], pa.string(), ['"none"', "3"]),
        ([True, 3], pa.string(), ["true", "3"]),
    ],
)
def test_parameter_column_is_typed_and_json_where_types_differ(
    values: list[Any], kind: pa.DataType, shown: list[Any]
) -> None:
    table = ranked([row(i, params={"v": value}) for i, value in enumerate(values)], "accuracy").to_arrow()
    assert table["param_v"].type == kind
    assert table["param_v"].to_pylist() == shown


def test_columns_keep_their_types_where_every_trial_failed() -> None:
    full, empty = (ranked(rows, "accuracy").to_arrow().schema for rows in ([row(0)], [row(0, None)]))
    assert [field.type for field in full][: len(COLUMNS)] == [field.type for field in empty][: len(COLUMNS)]


def board() -> Leaderboard:
    rows = [row(i, random.Random(i).random(), params={"n": i, "w": "a|b\nc"}) for i in range(15)]
    return ranked([DUMMY, row(99, None, params={"n": 99}), *rows], "neg_log_loss")


def test_csv_keeps_every_column_and_digit() -> None:
    table = board().to_arrow()
    header, *lines = csv.reader(io.StringIO(as_csv(table, "neg_log_loss")))
    assert header == table.column_names
    scores = [line[header.index("score")] for line in lines]
    assert [float(text) if text else None for text in scores] == table["score"].to_pylist()
    assert [line[header.index("param_w")] for line in lines] == [v or "" for v in table["param_w"].to_pylist()]


def test_json_keeps_every_column_and_gives_params_as_an_object() -> None:
    table = board().to_arrow()
    rows = json.loads(as_json(table, "neg_log_loss"))
    assert [list(one) for one in rows] == [table.column_names] * 17
    assert rows[0]["params"] == json.loads(table["params"][0].as_py())
    assert [one["score"] for one in rows] == table["score"].to_pylist()


def test_table_and_markdown_name_the_metric_plainly_with_its_plain_value() -> None:
    table = ranked([row(0, -0.25)], "neg_log_loss").to_arrow()
    for text in (as_table(table, "neg_log_loss"), as_markdown(table, "neg_log_loss")):
        assert "log_loss" in text
        assert "neg_" not in text
        assert "0.2500" in text
        assert "-0.25" not in text


def test_markdown_rows_are_one_line_each_with_as_many_cells_as_the_header() -> None:
    lines = as_markdown(board().to_arrow(), "accuracy").splitlines()
    assert len(lines) == 2 + 17
    assert {line.replace("\\|", "").count("|") for line in lines} == {lines[0].count("|")}


def test_table_has_one_line_a_trial() -> None:
    assert len(as_table(board().to_arrow(), "accuracy").splitlines()) == 1 + 17


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("top", [1, 3, 1000])
def test_every_format_shows_the_top_rows_alone(name: str, top: int) -> None:
    table = board().to_arrow()
    whole, part = FORMATS[name](table, "accuracy", None), FORMATS[name](table, "accuracy", top)
    shown = [trial for trial in table["trial"].to_pylist() if trial in part.replace("|", " ").replace('"', " ").split()]
    if name == "csv":
        shown = [line[1] for line in csv.reader(io.StringIO(part))][1:]
    if name == "json":
        shown = [one["trial"] for one in json.loads(part)]
    assert shown == table["trial"].to_pylist()[:top]
    assert (part == whole) is (top == 1000)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_shows_an_empty_board(name: str) -> None:
    assert FORMATS[name](ranked([], "accuracy").to_arrow(), "accuracy", None)


@pytest.mark.parametrize(
    ("metric", "score", "expected"),
    [
        ("accuracy", 0.9, ("accuracy", 0.9)),
        ("neg_log_loss", -0.3, ("log_loss", 0.3)),
        ("neg_mean_squared_error", 0.0, ("mean_squared_error", 0.0)),
        ("r2", -1.5, ("r2", -1.5)),
    ],
)
def test_plain_score_has_the_name_and_the_sign_that_people_know(
    metric: str, score: float, expected: tuple[str, float]
) -> None:
    assert plain_score(metric, score) == expected
    assert math.copysign(1.0, plain_score(metric, score)[1]) == math.copysign(1.0, expected[1])


def test_intervals_of_errors_are_shown_as_people_read_them():
    table = ranked([row(0, -3.8, ci_low=-4.25, ci_high=-3.5)], "neg_mean_absolute_error").to_arrow()
    shown = as_table(table, "neg_mean_absolute_error").splitlines()
    cells = dict(zip(shown[0].replace("± std", "std").split(), shown[1].split(), strict=True))
    assert (cells["ci_low"], cells["ci_high"]) == ("3.5", "4.25")
    assert next(csv.DictReader(io.StringIO(as_csv(table, "neg_mean_absolute_error"))))["ci_low"] == "-4.25"
