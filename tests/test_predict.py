"""Predicting for datasets: the same as the model says of the whole table, part by part, whole or gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from builders import environment, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sameness import until

import orchestrator
from orchestrator import Data, Job, Model, RunError, Search
from orchestrator.cli import entry
from orchestrator.data import stream
from orchestrator.results import destination, parts, sealed
from orchestrator.results.destination import DRIFT, MANIFEST

FAILED, JOB, DATA, INTERRUPTED = 1, 2, 3, 130
CLASSES = ["yes", "no", 'a "b",\n<c>', ""]
N_ROWS = 300


def mixed(n_rows=N_ROWS, seed=3):
    """Return rows with nulls and categories, and a target of four classes with odd names."""
    generator = np.random.default_rng(seed)
    size = generator.normal(size=n_rows)
    colour = generator.choice(["red", "green", None], n_rows)
    return pa.table(
        {
            "id": np.arange(n_rows),
            "size": pa.array([None if i % 17 == 0 else v for i, v in enumerate(size)]),
            "colour": pa.array(colour, pa.string()),
            "is_new": pa.array([bool(i % 2) for i in range(n_rows)]),
            "weight": generator.normal(size=n_rows).round(1),
            "label": [CLASSES[2 * int(s > 0) + int(c == "red")] for s, c in zip(size, colour, strict=True)],
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The path of a finished run over `mixed` rows, all of them training rows."""
    folder = tmp_path_factory.mktemp("run")
    write(folder / "mixed.parquet", mixed())
    data = Data(str(folder / "mixed.parquet"), target="label", exclude=["id"], test=None)
    space = {"n_neighbors": [4], "weights": ["distance"], "scaler": ["standard"]}
    orchestrator.run(Job("mixed", data, (Search("knn", space=space),)), folder / "run", executor="inline")
    return folder / "run"


@pytest.fixture
def predict(run, folder, capsys):
    """Call `predict` with the run's model, in this process unless an executor is named."""

    def call(data, out, *arguments, of=run):
        capsys.readouterr()
        words = ["predict", of, data, "--out", out, *arguments]
        if "--executor" not in arguments:
            words += ["--executor", "inline"]
        code = entry([str(word) for word in words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def expected(run, table, keys=("id", "label")):
    """Return what the model says of a whole table."""
    model = Model.load(run / "best")
    probabilities = model.predict_proba(table)
    columns = {name: table[name] for name in keys} | {"prediction": pa.array(model.predict(table))}
    names = [f"probability_{name}" for name in model.signature.classes]
    return pa.table(columns | {name: probabilities[:, i] for i, name in enumerate(names)})


def assert_same(found, wanted):
    assert found.column_names == wanted.column_names
    for name in wanted.column_names:
        if pa.types.is_floating(wanted[name].type):
            assert np.allclose(found[name].to_numpy(), wanted[name].to_numpy(), rtol=0, atol=1e-12), name
        else:
            assert found[name].to_pylist() == wanted[name].to_pylist(), name


def in_files(folder, table, n_rows_each):
    for number, start in enumerate(range(0, len(table), n_rows_each)):
        write(folder / f"{number:04d}.parquet", table.slice(start, n_rows_each))
    return folder


def refused(outcome, code, *said):
    found, out, err = outcome
    assert found == code, err
    assert out == ""
    for words in said:
        assert words in err.splitlines()[-1], err


# ---- rows and their order


def test_predictions_are_the_models_own_with_the_key_columns_before_them(predict, run, folder):
    write(folder / "in.parquet", mixed(500, seed=8))
    code, out, err = predict("in.parquet", "out")
    assert (code, err) == (0, "")
    assert out == f"predictions of 500 rows in 1 part: {folder / 'out'}\n"
    assert_same(pq.read_table("out"), expected(run, mixed(500, seed=8)))
    assert json.loads((folder / "out" / MANIFEST).read_text())["state"] == "finished"
    assert set(os.listdir("out")) == {MANIFEST, "part-00000.parquet"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), min_size=1, max_size=4),
    piece_rows=st.integers(7, 100),
    batch_rows=st.integers(3, 80),
    is_file=st.booleans(),
)
def test_rows_order_and_predictions_follow_from_no_layout(run, tmp_path, sizes, piece_rows, batch_rows, is_file):
    shutil.rmtree(tmp_path / "case", ignore_errors=True)
    rows = mixed(sum(map(sum, sizes)), seed=11)
    start = 0
    for number, file in enumerate(sizes):
        path = tmp_path / "case" / "in" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(path, rows.schema) as writer:
            for n_rows in file:
                writer.write_table(rows.slice(start, n_rows))
                start += n_rows
    out = tmp_path / "case" / ("out.parquet" if is_file else "out")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "PIECE_ROWS", piece_rows)
        if start == 0:
            with pytest.raises(orchestrator.DataError, match="has no rows"):
                orchestrator.predict(run, tmp_path / "case" / "in", out, batch_rows=batch_rows, executor="inline")
            assert not out.exists()
            return
        done = orchestrator.predict(run, tmp_path / "case" / "in", out, batch_rows=batch_rows, executor="inline")
    assert done.n_rows == start
    assert_same(pq.read_table(out), expected(run, rows))
    assert not list((tmp_path / "case").rglob("*.partial"))
    assert not (tmp_path / "case" / "out.parquet.parts").exists()


def test_partitions_globs_and_files_of_narrower_types_are_read_as_one_dataset(predict, run, folder):
    rows = mixed(60, seed=2)
    narrow = rows.set_column(0, "id", rows["id"].cast(pa.int32()))
    write(folder / "in" / "colour=red" / "a.parquet", rows.slice(0, 30).drop_columns(["colour"]))
    write(folder / "in" / "colour=green" / "b.parquet", narrow.slice(30).drop_columns(["colour"]))
    assert predict("in", "out")[0] == 0
    colours = pa.array(["green"] * 30 + ["red"] * 30)  # in the order of the folders' names
    whole = pa.concat_tables([rows.slice(30), rows.slice(0, 30)]).set_column(2, "colour", colours)
    assert_same(pq.read_table("out"), expected(run, whole))
    assert predict("in/*/*.parquet", "again", "--keys", "id,colour")[0] == 0
    assert pq.read_table("again")["colour"].to_pylist() == colours.to_pylist()


def test_one_file_is_made_where_the_path_ends_in_parquet(predict, run, folder, monkeypatch):
    monkeypatch.setattr(stream, "PIECE_ROWS", 100)
    write(folder / "in.parquet", mixed())
    code, out, _ = predict("in.parquet", "some/out.parquet", "--drift")
    assert (code, out.splitlines()[0]) == (0, f"predictions of 300 rows: {folder / 'some' / 'out.parquet'}")
    assert_same(pq.read_table("some/out.parquet"), expected(run, mixed()))
    assert set(os.listdir("some")) == {"out.parquet", "out.drift.json"}
    refused(predict("in.parquet", "some/out.parquet"), JOB, "--out", "exists; expected a new file")


def test_numbers_are_predicted_without_probabilities(predict, folder):
    rows = mixed(seed=4)
    write(folder / "in.parquet", rows)
    data = Data(str(folder / "in.parquet"), target="weight", exclude=["id", "label"], task="regression")
    job = Job("numbers", data, (Search("knn", space={"n_neighbors": [3]}),))
    orchestrator.run(job, folder / "other", executor="inline")
    assert predict("in.parquet", "out.parquet", "--keys", "id", of=folder / "other" / "best")[0] == 0
    found = pq.read_table("out.parquet")
    assert found.column_names == ["id", "prediction"]
    assert np.array_equal(found["prediction"], Model.load(folder / "other" / "best").predict(rows))


@pytest.mark.slow
def test_a_network_predicts_in_its_process_what_it_predicts_here(predict, folder):
    rows = mixed(700)
    write(folder / "in.parquet", rows)
    data = Data(str(folder / "in.parquet"), target="label", exclude=["id"])
    space = {"depth": [1], "width_1": [16], "epochs": [2], "batch_size": [64]}
    job = Job("net", data, (Search("mlp", space=space, trials=1),))
    orchestrator.run(job, folder / "net", executor="inline")
    assert predict("in.parquet", "out", "--batch-rows", "150", of=folder / "net")[0] == 0
    found, wanted = pq.read_table("out"), expected(folder / "net", rows)
    assert found["prediction"].to_pylist() == wanted["prediction"].to_pylist()
    for name in wanted.column_names[3:]:
        assert np.allclose(found[name].to_numpy(), wanted[name].to_numpy(), rtol=0, atol=1e-6)


def test_vectors_of_another_size_are_refused_before_anything_is_written(predict, folder):
    def rows(width):
        numbers = np.random.default_rng(0).normal(size=60 * width).astype(np.float32)
        return {"v": pa.FixedSizeListArray.from_arrays(numbers, width), "y": ["a", "b"] * 30}

    data = Data(str(write(folder / "in.parquet", rows(4))), target="y")
    orchestrator.run(
        Job("v", data, (Search("knn", space={"n_neighbors": [3]}),)), folder / "vectors", executor="inline"
    )
    assert predict("in.parquet", "out", "--drift", of=folder / "vectors")[0] == 0
    write(folder / "wide.parquet", rows(5))
    said = "DATA: column 'v' has 5 numbers a row; the model was trained on 4"
    refused(predict("wide.parquet", "wide", of=folder / "vectors"), DATA, said)
    assert not (folder / "wide").exists()


# ---- Ray


@pytest.mark.slow
def test_ray_gives_what_this_process_gives(predict, run, folder, no_process_is_left):
    in_files(folder / "in", mixed(900, seed=9), 150)
    code, _, err = predict("in", "out", "--executor", "ray", "--drift")
    assert code == 0, err
    assert_same(pq.read_table("out"), expected(run, mixed(900, seed=9)))
    assert predict("in", "here", "--drift")[0] == 0
    assert (folder / "out" / DRIFT).read_text() == (folder / "here" / DRIFT).read_text()
    assert len(list(Path("out").glob("part-*.parquet"))) == 6


# ---- gone on with


def begun(run, folder, *arguments):
    words = ["predict", run, "in", "--out", "out", "--executor", "inline", *arguments]
    command = [sys.executable, "-m", "orchestrator", *map(str, words)]
    return subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def whole_parts(folder):
    return {path.name: path.stat() for path in (folder / "out").glob("part-*.parquet")}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_prediction_that_was_ended_goes_on_and_makes_no_part_twice(number, predict, run, folder):
    rows = mixed(1500, seed=6)
    in_files(folder / "in", rows, 10)
    driver = begun(run, folder, "--drift")
    until(lambda: len(whole_parts(folder)) >= 20 or driver.poll() is not None, "some parts")
    driver.send_signal(number)
    _, said = driver.communicate()
    before = whole_parts(folder)
    assert 20 <= len(before) < 150, said
    assert driver.returncode == (INTERRUPTED if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        assert b"of 150 parts, which are kept; the same command goes on" in said
    (folder / "out" / "_part-00149.parquet.0123.partial").write_bytes(b"torn")
    (folder / "out" / "part-00149.parquet").write_bytes((folder / "out" / "part-00000.parquet").read_bytes()[:500])
    code, out, _ = predict("in", "out", "--drift")
    assert (code, out.splitlines()[0].split(":")[0]) == (
        0,
        f"predictions of 1500 rows in 150 parts, {len(before)} of them kept from before",
    )
    now = whole_parts(folder)
    for name, stat in before.items():
        assert (now[name].st_ino, now[name].st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns), name
    assert_same(pq.read_table("out"), expected(run, rows))
    assert predict("in", "undisturbed", "--drift")[0] == 0
    assert (folder / "out" / DRIFT).read_text() == (folder / "undisturbed" / DRIFT).read_text()
    assert set(os.listdir("out")) == set(os.listdir("undisturbed"))


def test_parts_that_were_made_without_counts_are_made_again_where_drift_is_asked_for(predict, folder):
    write(folder / "in.parquet", mixed())
    assert predict("in.parquet", "out")[0] == 0
    made = (folder / "out" / "part-00000.parquet").stat().st_ino
    assert predict("in.parquet", "out", "--drift")[0] == 0
    assert (folder / "out" / "part-00000.parquet").stat().st_ino != made
    assert "kept from before" in predict("in.parquet", "out", "--drift")[1]


def test_a_directory_of_something_else_is_refused_and_left_as_it_is(predict, run, folder):
    write(folder / "in.parquet", mixed())
    assert predict("in.parquet", "out")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    other = shutil.copytree(run, folder / "other")
    described = sealed.unsealed(other / "best")
    contents = {name: (other / "best" / name).read_bytes() for name in described.pop("files")}
    sealed.seal(other / "best", contents, {**described, "score": 0.5})
    refused(
        predict("in.parquet", "out", of=other), JOB, "--out", "holds predictions of another model", "choose another"
    )
    refused(predict("in.parquet", "out", "--keys", "id"), JOB, "--keys", "with the keys id,label; expected the same")
    write(folder / "in.parquet", mixed(seed=99))
    refused(predict("in.parquet", "out"), JOB, "--out", "holds predictions of other data, or these before they changed")
    (folder / "stuff").mkdir()
    (folder / "stuff" / "notes.txt").write_text("mine")
    refused(predict("in.parquet", "stuff"), JOB, "--out", "holds something else; expected a new directory")
    refused(predict("in.parquet", folder / "stuff" / "notes.txt"), JOB, "is a file; expected a directory")
    refused(predict("in.parquet", folder / "stuff" / "notes.txt" / "out"), JOB, "cannot be made: Not a directory")
    write(folder / "rows" / "in.parquet", mixed())
    refused(predict("rows", "rows/out"), JOB, "--out: rows/out lies in DATA, rows; expected a place that is not read")
    (folder / "out" / MANIFEST).write_text("{")
    refused(predict("in.parquet", "out"), JOB, f"{MANIFEST} is damaged")
    (folder / "empty").mkdir()
    assert predict("in.parquet", "empty")[0] == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir() if path.name != MANIFEST}
    assert after == {path: time for path, time in before.items() if path.name != MANIFEST}


def test_two_processes_do_not_write_to_one_directory(predict, folder):
    write(folder / "in.parquet", mixed())
    (folder / "out").mkdir()
    with destination._alone(folder / "out"):
        refused(predict("in.parquet", "out"), JOB, "--out", "is in use by another process")
    assert predict("in.parquet", "out")[0] == 0


def test_a_full_disk_is_said_and_the_same_command_goes_on(predict, run, folder, tiny_disk, monkeypatch):
    rows = mixed(4000)
    in_files(folder / "in", rows, 500)
    refused(predict("in", tiny_disk / "out"), FAILED, "No space left on device", "whole parts are kept, and the same")
    made = list((tiny_disk / "out").glob("part-*"))
    assert 0 < len(made) < 8
    assert not list((tiny_disk / "out").glob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=4m", tiny_disk], check=True)
    code, out, _ = predict("in", tiny_disk / "out")
    assert (code, f"{len(made)} of them kept from before" in out) == (0, True)
    assert_same(pq.read_table(tiny_disk / "out"), expected(run, rows))


def test_a_lost_part_is_noticed(predict, run, folder, monkeypatch):
    write(folder / "in.parquet", mixed())
    plain = parts.Parts.mark_of
    monkeypatch.setattr(parts.Parts, "mark_of", lambda self, name: None)
    with pytest.raises(RunError, match="lacks parts that were written"):
        orchestrator.predict(run, folder / "in.parquet", folder / "out", executor="inline")
    monkeypatch.setattr(parts.Parts, "mark_of", plain)
    assert predict("in.parquet", "out")[0] == 0


# ---- what is not as it was in training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns(["size"]), "DATA: column 'size' is missing; the model was trained with it as double"),
        (
            lambda t: t.set_column(4, "weight", pa.array(["x"] * N_ROWS)),
            "DATA: column 'weight' is of type string; the model was trained on double",
        ),
        (lambda t: t.set_column(2, "colour", pa.array([1.5] * N_ROWS)), "'colour' is of type double"),
        (lambda t: t.set_column(2, "colour", pa.array([{"a": 1}] * N_ROWS)), "'colour' is of type struct<a: int64>"),
        (lambda t: t.select(["id"]), "'size' is missing; the model was trained with it as double (and 3 more: column"),
        (lambda t: t.slice(0, 0), "has no rows; expected at least one"),
    ],
)
def test_columns_that_are_not_as_in_training_are_refused_before_anything_is_written(change, said, predict, folder):
    write(folder / "in.parquet", change(mixed()))
    refused(predict("in.parquet", "out"), DATA, said)
    refused(predict("in.parquet", "out.parquet"), DATA, said)
    assert os.listdir() == ["in.parquet"]


def test_values_that_the_model_cannot_take_are_named_with_their_file_and_row(predict, folder):
    rows = mixed()
    numbers = np.array(rows["weight"].to_pylist())
    numbers[207] = np.inf
    write(folder / "in.parquet", rows.set_column(4, "weight", pa.array(numbers)))
    refused(predict("in.parquet", "out"), DATA, "in.parquet", "'weight' holds infinite values; expected finite numbers")
    assert not (folder / "out").exists()


def test_new_categories_and_nulls_are_counted_over_all_parts(predict, folder, monkeypatch):
    monkeypatch.setattr(stream, "PIECE_ROWS", 100)
    rows = mixed()
    colours = ["violet" if i % 3 == 0 else value for i, value in enumerate(rows["colour"].to_pylist())]
    news = [None if i % 10 == 0 else bool(i % 2) for i in range(N_ROWS)]
    rows = rows.set_column(2, "colour", pa.array(colours)).set_column(3, "is_new", pa.array(news))
    write(folder / "in.parquet", rows)
    code, _, err = predict("in.parquet", "out")
    assert code == 0
    assert err.splitlines() == [
        "warning: column 'colour' holds categories that the training rows do not have; they are treated as such: "
        "100 of 300 rows",
        "warning: column 'is_new' is null, which it never was in the training rows; nulls are filled in as the model "
        "was fitted to: 30 of 300 rows",
    ]
    assert len(json.loads((folder / "out" / MANIFEST).read_text())["warnings"]) == 2
    assert predict("in.parquet", "out")[2] == err  # parts that are kept say it again


def test_columns_that_are_neither_features_nor_keys_are_warned_of(predict, folder):
    write(folder / "in.parquet", mixed().append_column("note", pa.array(["n"] * N_ROWS)))
    code, _, err = predict("in.parquet", "out", "--keys", "id")
    assert (code, err) == (0, "warning: the model does not use columns 'note'; name them in --keys to hand them on\n")
    assert pq.read_table("out").column_names[:2] == ["id", "prediction"]
    assert predict("in.parquet", "none", "--keys", "")[0] == 0
    assert pq.read_table("none").column_names[0] == "prediction"
    refused(predict("in.parquet", "other", "--keys", "idd"), JOB, "--keys: no column 'idd' in DATA. Did you mean 'id'")
    assert not (folder / "other").exists()


def test_keys_do_not_take_the_names_of_predictions(predict, folder):
    rows = mixed().append_column("prediction", pa.array([1] * N_ROWS))
    write(folder / "in.parquet", rows.append_column("probability_yes", pa.array([1] * N_ROWS)))
    code, _, err = predict("in.parquet", "out")
    assert code == 0
    assert "columns 'prediction', 'probability_yes' are left out: columns of the predictions have these names" in err
    assert pq.read_table("out").column_names[:3] == ["id", "label", "prediction"]
    refused(predict("in.parquet", "b", "--keys", "prediction"), JOB, "--keys: 'prediction' is the name of a column of")


# ---- drift


def test_the_training_rows_have_not_drifted_and_shifted_ones_have(predict, folder):
    rows = mixed()
    write(folder / "in.parquet", rows)
    code, out, _ = predict("in.parquet", "same", "--drift")
    assert code == 0
    assert {one["psi"] for one in json.loads((folder / "same" / DRIFT).read_text())["columns"]} == {0.0}
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["column", "size", "colour", "is_new", "weight"]
    shifted = rows.set_column(4, "weight", pc.add(rows["weight"], 3.0))
    write(folder / "shifted.parquet", shifted)
    code, out, err = predict("shifted.parquet", "far", "--drift")
    assert code == DATA
    assert len(pq.read_table("far")) == N_ROWS
    assert "error: 'weight' (" in err
    assert "expected at most 0.25 (--drift-limit). The predictions are written" in err
    found = {one["name"]: one for one in json.loads((folder / "far" / DRIFT).read_text())["columns"]}
    assert [name for name, one in found.items() if one["exceeds"]] == ["weight"]
    assert found["weight"]["ks"] > 0.7
    assert out.splitlines()[2].split()[0] == "weight"
    assert predict("shifted.parquet", "far", "--drift", "--drift-limit", "100")[0] == 0


def test_a_model_without_a_profile_says_so(predict, run, folder):
    write(folder / "in.parquet", mixed())
    old = shutil.copytree(run, folder / "old")
    (old / "best" / "profile.json").unlink()
    refused(predict("in.parquet", "out", "--drift", of=old), JOB, "--drift: the model of", "has no profile.json")
    assert predict("in.parquet", "out", of=old)[0] == 0
    (old / "best" / "profile.json").write_text("{}")
    refused(predict("in.parquet", "out2", "--drift", of=old), DATA, "profile.json cannot be read: no profile")


# ---- the command


def test_a_run_without_a_model_is_refused(predict, run, folder):
    write(folder / "in.parquet", mixed())
    old = shutil.copytree(run, folder / "old")
    shutil.rmtree(old / "best")
    refused(predict("in.parquet", "out", of=old), JOB, f"RUN: {old} has no model yet", f"orchestrator resume {old}")
    refused(predict("in.parquet", "out", of="nothing"), JOB, "RUN: 'nothing' is neither a run directory nor a name")
    refused(predict("nowhere", "out"), JOB, f"DATA: {folder / 'nowhere'} does not exist")
    assert not (folder / "out").exists()


def test_a_damaged_model_is_refused_and_leaves_nothing(predict, run, folder):
    write(folder / "in.parquet", mixed())
    old = shutil.copytree(run, folder / "old")
    (old / "best" / "model.skops").write_bytes(b"no archive")
    refused(predict("in.parquet", "out", of=old), DATA, "model.skops")
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--drift-limit", "-1"], "argument --drift-limit: expected a number from 0 up, found '-1'"),
        (["--drift-limit", "nan"], "argument --drift-limit: expected a number from 0 up, found 'nan'"),
        (["--batch-rows", "0"], "argument --batch-rows: expected a number from 1 up, found '0'"),
    ],
)
def test_wrong_numbers_are_refused(arguments, said, predict, folder):
    refused(predict("in.parquet", "out", *arguments), JOB, said)


def test_what_python_is_told_is_what_the_command_prints(run, folder):
    write(folder / "in.parquet", mixed().append_column("note", pa.array(["n"] * N_ROWS)))
    told, steps = [], []
    done = orchestrator.predict(
        *(run, folder / "in.parquet", folder / "out"),
        keys=["id"],
        drift=True,
        executor="inline",
        on_finding=told.append,
        on_progress=steps.append,
    )
    assert (done.path, done.n_rows, done.n_parts, done.n_kept, done.drifted) == (str(folder / "out"), 300, 1, 0, ())
    assert Counter(told) == Counter(done.findings)
    assert [(one.n_parts_done, one.n_rows_done) for one in steps] == [(1, 300)]
    assert {one.name for one in done.drift} == {"size", "colour", "is_new", "weight"}


# ---- memory


@pytest.mark.slow
def test_memory_stays_flat_however_large_a_row_group_is(run, folder):
    rows = mixed(1 << 17)
    small, large = folder / "small.parquet", folder / "large.parquet"
    pq.write_table(rows, small, row_group_size=1 << 17)
    with pq.ParquetWriter(large, rows.schema) as writer:
        writer.write_table(pa.concat_tables([rows] * 8), row_group_size=1 << 20)
    peaks = [peak_mb(run, path, folder / path.stem) for path in (small, large)]
    assert peaks[1] < peaks[0] + 60, peaks
    assert ds.dataset(folder / "large").count_rows() == 8 << 17


def peak_mb(run, data, out):
    """Return the most memory that a process had which predicted in itself."""
    code = (
        "import resource, sys\nfrom orchestrator.cli import entry\n"
        "assert entry(sys.argv[1:]) == 0\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    words = ["predict", run, data, "--out", out, "--executor", "inline", "--batch-rows", "4096"]
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return int(done.stdout.splitlines()[-1]) / 1024
