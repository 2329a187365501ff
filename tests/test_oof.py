"""What trials said out of fold: kept for every completed trial, within a bound, whatever happens to the run."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import columns, write
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.neighbors import KNeighborsClassifier

import orchestrator
from orchestrator import Data, Job, Search
from orchestrator.errors import JobError
from orchestrator.families.base import OutOfFold
from orchestrator.families.scoring import said_by
from orchestrator.job import Resources
from orchestrator.oof import Kept, OutOfFoldFiles, Predictions

KNN = Search(
    "knn", space={"n_neighbors": [1, 3, 8], "weights": ["uniform", "distance"], "scaler": ["none", "standard"]}
)
MLP = Search("mlp", trials=3, space={"epochs": [4], "width_1": [16], "depth": [1]})


def negative_log_loss(truth, said):
    said = said.astype(float)
    return -log_loss(truth, said / said.sum(axis=1, keepdims=True))


def fold_means(predictions, said, scored):
    folds = [predictions.fold == fold for fold in range(predictions.fold.max() + 1)]
    return float(np.mean([scored(predictions.truth[rows], said[rows]) for rows in folds]))


@pytest.mark.parametrize(
    ("path", "target", "metric", "scored"),
    [
        ("dataset:iris", "species", "accuracy", accuracy_score),
        ("dataset:iris", "species", "neg_log_loss", negative_log_loss),
        ("numbers.parquet", "b", "r2", r2_score),
    ],
)
def test_scores_can_be_computed_again_from_what_trials_said(folder, path, target, metric, scored):
    write(folder / "numbers.parquet", columns(200))
    job = Job("small", Data(path, target=target), (KNN, MLP), metric=metric)
    result = orchestrator.run(job, folder / "run", executor="inline")
    predictions = Predictions.read(result.path)
    rows = [row for row in result.leaderboard.rows if row.family != "dummy"]
    said = predictions.of(row.trial for row in rows)
    assert set(said) == {row.trial for row in rows}
    for row in rows:
        assert fold_means(predictions, said[row.trial], scored) == pytest.approx(row.score, abs=2e-6), row.trial
    if metric == "accuracy":
        assert {one.dtype for one in said.values()} == {np.dtype(np.uint8)}
    assert [len(curve) for curve in predictions.curves("mlp/0")] == [4] * 5
    assert predictions.curves("knn/0") == []


def test_rows_that_no_fold_scores_say_so(folder, cli, make_job):
    job = make_job(validation={"kind": "holdout", "fraction": 0.25})
    assert cli("run", job, "--out", "run", "--executor", "inline").code == 0
    fold = Predictions.read(folder / "run").fold
    assert sorted(set(fold.tolist())) == [-1, 0]
    assert (fold == 0).sum() == 8  # a quarter of 32


def test_a_class_that_a_fold_does_not_train_on_has_probability_zero():
    model = KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 2])
    assert said_by("neg_log_loss", model, [[0.0], [1.0]], 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert said_by("f1_macro", model, [[0.0], [1.0]], 4).tolist() == [0, 2]


def test_the_bound_drops_the_bottom_of_the_board(folder):
    def board():
        return [Kept(f"s/{number}", "s", [f"answer{number}"]) for number in (2, 0, 1, 3)]

    files = OutOfFoldFiles(folder, 250, board)
    files.write_rows(np.zeros(100, np.int16), np.zeros(100, np.int64))
    for number in range(4):
        files.append("s", {f"answer{number}": OutOfFold(np.full(100, number, np.uint8))})
    files.append("s", {"running": OutOfFold(np.full(100, 9, np.uint8))})
    files.settle(board())
    predictions = Predictions.read(folder)
    found = predictions.of(["s/0", "s/1", "s/2", "s/3"])
    assert {trial: set(said.tolist()) for trial, said in found.items()} == {"s/2": {2}, "s/0": {0}}
    names = [name for part in (folder / "oof" / "s").glob("*") for name in pq.read_table(part)["answer"].to_pylist()]
    assert sorted(names) == ["answer0", "answer2"]


def test_what_a_merge_left_half_done_counts_once(folder):
    files = OutOfFoldFiles(folder, 1000, list)
    files.write_rows(np.zeros(10, np.int16), np.zeros(10, np.int64))
    for _ in range(2):
        files.append("s", {"a": OutOfFold(np.ones(10, np.uint8))})
    again = OutOfFoldFiles(folder, 15, list)
    again.append("s", {"b": OutOfFold(np.zeros(10, np.uint8))})
    again.settle([Kept("s/0", "s", ["a"])])
    assert Predictions.read(folder).of(["s/0"])["s/0"].tolist() == [1] * 10
    assert sum(pq.read_metadata(part).num_rows for part in (folder / "oof" / "s").glob("*")) == 1


def test_a_run_may_keep_nothing(folder):
    job = Job("small", Data("dataset:iris", target="species"), (KNN,), resources=Resources(predictions_mb=0))
    result = orchestrator.run(job, folder / "run", executor="inline")
    assert not list(result.path.glob("oof/*/*"))
    with pytest.raises(JobError, match="predictions_mb"):
        Predictions.read(result.path)


def test_test_answers_give_the_test_scores(folder):
    job = Job("small", Data("dataset:iris", target="species"), (KNN,), metric="neg_log_loss")
    result = orchestrator.run(job, folder / "run", executor="inline")
    table = pq.read_table(result.path / "test.parquet")
    assert table.column_names == ["target", "best", "best_proba", "dummy", "dummy_proba"]
    said = np.array(table["best_proba"].to_pylist())
    assert negative_log_loss(table["target"].to_numpy(), said) == pytest.approx(result.test_scores["best"], abs=1e-6)
    assert (said.argmax(axis=1) == table["best"].to_numpy()).all()


def test_test_rows_stay_closed_for_another_winner_unless_forced(folder, caplog):
    space = {"n_neighbors": [30], "weights": ["uniform"], "scaler": ["none"], "metric": ["euclidean"]}
    job = Job("small", Data("dataset:iris", target="species"), (Search("knn", space=space),))
    first = orchestrator.run(job, folder / "run", executor="inline")
    wider = ["searches.0.space.n_neighbors=[30, 10]"]
    second = orchestrator.resume(first.path, wider, executor="inline")
    assert second.leaderboard.best.trial == "knn/1"
    assert second.test_scores == {"best": None}
    assert second.best.test_score is None
    assert "orchestrator resume --force" in caplog.text
    assert "opened for knn/0" in caplog.text
    assert len(orchestrator.runs.rundir.read_manifest(first.path)["test"]["openings"]) == 1
    third = orchestrator.resume(first.path, executor="inline", force=True)
    assert third.test_scores["best"] == third.best.test_score > 0.9
    openings = orchestrator.runs.rundir.read_manifest(first.path)["test"]["openings"]
    assert [opening["best"] for opening in openings] == ["knn/0", "knn/1"]


def test_what_a_power_cut_took_is_computed_again_and_no_score_changes(folder):
    space = {"epochs": 3, "width_1": [8, 16, 32], "depth": 1}
    searches = (KNN, Search("mlp", trials=3, space=space))
    job = Job("small", Data("dataset:iris", target="species"), searches)
    path = orchestrator.run(job, folder / "run", executor="inline").path
    before = Predictions.read(path).of(["knn/3", "mlp/1"])
    files = {name: (path / name).read_bytes() for name in ("leaderboard.csv", "statistics.json")}
    (part,) = (path / "oof" / "knn").glob("*")
    part.write_bytes(part.read_bytes()[:100])  # torn
    (part,) = (path / "oof" / "mlp").glob("*")
    part.unlink()
    orchestrator.resume(path, executor="inline")
    after = Predictions.read(path).of(["knn/3", "mlp/1"])
    assert {trial: said.tobytes() for trial, said in before.items()} == {t: said.tobytes() for t, said in after.items()}
    assert {name: (path / name).read_bytes() for name in files} == files
