"""How sure a run is of its board, from its beginning to what is printed."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, write

import orchestrator
from orchestrator import Data, Job, Search, runs
from orchestrator.comparison import compare
from orchestrator.errors import JobError, RunError
from orchestrator.honest import Sureness


def test_a_run_says_how_sure_it_is(folder, cli, make_job):
    write(folder / "data.parquet", columns(300))
    done = cli("run", make_job(), "--out", "run")
    assert "accuracy to expect of it on new rows (95 % interval), corrected for its having been chosen: 0." in done.out
    assert "Something was learnt: knn/" in done.out
    sureness = Sureness.read(folder / "run")
    corrected = sureness.board.corrected
    assert corrected.low < corrected.score < corrected.high
    assert sureness.board.refit_shift is not None
    rows = pq.read_table(folder / "run" / "leaderboard.parquet").to_pylist()
    trials = [row for row in rows if row["family"] != "dummy"]
    assert all(row["ci_low"] <= row["score"] <= row["ci_high"] for row in trials)
    assert trials[0]["ties_leader"]
    assert set(sureness.test) == {"best", "dummy"}
    best, dummy = sureness.test["best"], sureness.test["dummy"]
    assert best.low < best.score < best.high
    assert dummy.behind_best.score == pytest.approx(best.score - dummy.score)


def test_noise_does_not_beat_the_dummy(folder):
    generator = np.random.default_rng(5)
    values = {f"c{i}": generator.normal(size=200) for i in range(4)} | {"y": generator.integers(0, 2, 200)}
    write(folder / "data.parquet", values)
    result = orchestrator.run(
        Job("noise", Data("data.parquet", target="y"), (Search("knn"),)), "run", executor="inline"
    )
    assert not result.sureness.board.beats_dummy
    assert result.leaderboard.best.score > 0.55  # the luck of the choice
    assert result.sureness.board.corrected.score < result.leaderboard.best.score - 0.03


def test_networks_are_said_to_be_conservative(folder):
    search = Search("mlp", trials=2, space={"epochs": 3, "width_1": [8, 16], "depth": 1})
    result = orchestrator.run(Job("net", Data("dataset:iris", target="species"), (search,)), "run", executor="inline")
    assert result.sureness.board.is_conservative


@pytest.mark.parametrize("metric", ["f1_macro", "roc_auc", "neg_log_loss", "balanced_accuracy"])
def test_every_kind_of_metric_has_intervals(metric, folder, cli, make_job):
    done = cli("run", make_job(metric=metric), "--out", "run")
    assert done.code == 0, done.err
    board = Sureness.read(folder / "run").board
    assert board.corrected is not None
    assert all(one.ci_low <= one.ci_high for one in board.trials.values())


def test_numbers_have_intervals_too(folder, cli, make_job):
    done = cli("run", make_job(data__target="b", data__exclude=["y"]), "--out", "run")
    assert "r2 to expect of it on new rows" in done.out


def test_statistics_of_another_board_are_not_shown(folder, cli, make_job):
    assert cli("run", make_job(searches__0__sampler="tpe", searches__0__trials=2), "--out", "run").code == 0
    path = folder / "run" / "statistics.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "n_trials": 99}))
    board, _ = runs.board_of(folder / "run")
    assert {row.ci_low for row in board.rows} == {None}
    path.write_text("{")
    with pytest.raises(RunError, match=r"statistics.json is damaged .*; remove it and resume the run"):
        runs.board_of(folder / "run")


def test_two_runs_on_the_same_rows_are_compared(folder, cli, make_job):
    write(folder / "data.parquet", columns(300))
    assert cli("run", make_job(), "--out", "one").code == 0
    assert cli("run", make_job(searches__0__space={"n_neighbors": [100]}), "--out", "two").code == 0
    done = cli("compare", "one", "two")
    assert done.code == 0, done.err
    assert "their bests: the first is ahead by 0." in done.out
    again = compare("one", "one")
    assert (again.of_bests.score, again.of_bests.p) == (0, 1)
    assert cli("run", make_job(seed=1), "--out", "three").code == 0
    assert "have other training rows (240 and 240)" in cli("compare", "one", "three").err
    assert cli("run", make_job(metric="f1_macro"), "--out", "four").code == 0
    with pytest.raises(JobError, match="expected the same metric"):
        compare("one", "four")


def test_board_reaches_pandas_polars_and_duckdb(folder, cli, make_job):
    duckdb = pytest.importorskip("duckdb")
    assert cli("run", make_job(), "--out", "run").code == 0
    board, _ = runs.board_of(folder / "run")
    assert board.to_pandas()["trial"].tolist() == board.to_polars()["trial"].to_list()
    query = """
        select t.trial, count(*) from 'run/oof/trials.parquet' t
        join 'run/oof/*/part-*.parquet' p using (answer) group by 1
    """
    counts = dict(duckdb.sql(query).fetchall())
    assert set(counts.values()) == {5}
    assert set(counts) == set(board.to_arrow()["trial"].to_pylist()) - {"dummy/0"}
    assert isinstance(board.to_arrow(), pa.Table)
