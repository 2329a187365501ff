"""Runs and data in object stores: a real S3 server on loopback, and `file://` where only what is done there matters."""

import itertools
import json
import re
import shutil
import signal
import subprocess

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from builders import columns, job_values, write
from moto.server import ThreadedMotoServer
from pyarrow import fs
from sameness import DEADLINE_S, assert_whole, board, reference_of, start, unit_ids, until

from orchestrator import Model, RunError, ledger, mirror, remote, rundir, runs
from orchestrator import job as jobs
from orchestrator.errors import JobError
from orchestrator.jobfile import read_job
from orchestrator.objects import Objects

FILES = {"job.yaml", "manifest.json", "log.jsonl", "trials.parquet", "writer.json"}
FILES |= {
    "explained.json",
    "report.html",
    "leaderboard.parquet",
    "leaderboard.csv",
    "leaderboard.md",
    "study/knn.journal",
}
FILES |= {"oof/rows.parquet", "oof/trials.parquet", "oof/knn/part-00000.parquet", "test.parquet", "statistics.json"}
FILES |= {f"best/{name}" for name in ("README.md", "model.skops", "profile.json", "sample.parquet", "signature.json")}


class Server:
    """An S3 server on loopback, which can go away and come back with all that it holds."""

    def __init__(self):
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        self.port = self._moto.get_host_and_port()[1]

    def stop(self):
        self._moto.stop()

    def start(self):
        self._moto = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._moto.start()

    def bucket(self, name):
        options = {"endpoint_override": f"127.0.0.1:{self.port}", "scheme": "http", "allow_bucket_creation": True}
        fs.S3FileSystem(access_key="user", secret_key="secret", region="us-east-1", **options).create_dir(name)


@pytest.fixture(scope="module")
def server():
    one = Server()
    yield one
    one.stop()


@pytest.fixture
def machine(folder, monkeypatch):
    """Give this machine a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


@pytest.fixture
def s3(server, machine, monkeypatch, request):
    """The URI of an empty bucket."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "user"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}"),
    ):
        monkeypatch.setenv(name, value)
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")
    server.bucket(name)
    return f"s3://{name}"


@pytest.fixture
def quick(monkeypatch):
    """Let what happens every second happen at once."""
    monkeypatch.setattr(mirror, "EVERY_S", 0.02)
    monkeypatch.setattr(mirror, "LAST_TRY_S", 0.2)
    monkeypatch.setattr(remote, "WATCH_S", 0.5)


@pytest.fixture
def store(machine, quick):
    """The URI of an empty folder."""
    return f"file://{machine / 'store'}"


def contents(uri):
    found = Objects.at(uri, "test")
    return {name: found.read(name) for name in found.sizes()}


def records_at(uri):
    """Return the bytes of the ledger at a URI, joined by hand."""
    found = contents(uri)
    return b"".join(found[name] for name in sorted(found) if name.startswith("ledger/"))


def warnings(caplog):
    """Return what was warned of; the server logs, too."""
    return [record.getMessage() for record in caplog.records if record.name == "orchestrator.mirror"]


def put(uri, name, content):
    Objects.at(uri, "test").write(name, content)


def untimed(board_as_json):
    return [{k: v for k, v in row.items() if not k.endswith("_time_s")} for row in json.loads(board_as_json)]


# ---- on S3


def test_a_run_at_a_uri_is_there_whole_and_is_called_by_its_uri(s3, cli, make_job):
    uri = f"{s3}/some/where/run"
    outcome = cli("run", make_job(), "--out", uri)
    assert outcome.code == 0, outcome.err
    assert f"run directory: {uri}\n" in outcome.err
    assert f"model: {uri}/best\n" in outcome.out
    assert "cache" not in outcome.out + outcome.err
    found = contents(uri)
    assert {name for name in found if not name.startswith("ledger/")} == FILES
    assert json.loads(found["manifest.json"])["state"] == "finished"
    assert cli("run", make_job(), "--out", "local").code == 0
    shown = cli("leaderboard", uri, "--format", "json")
    assert untimed(shown.out) == untimed(cli("leaderboard", "local", "--format", "json").out)
    assert cli("status", uri).out.splitlines()[:3] == [f"run: {uri}", "state: finished", "knn: 5 of 5 trials"]
    table = pa.table(columns())
    assert (Model.load(f"{uri}/best").predict(table) == Model.load("local/best").predict(table)).all()
    resumed = cli("resume", uri)
    assert resumed.code == 0, resumed.err
    assert "0 work units done" in resumed.err


def test_predictions_go_from_store_to_store_and_are_gone_on_with(s3, cli, make_job, monkeypatch):
    from orchestrator.data import stream

    monkeypatch.setattr(stream, "PIECE_ROWS", 15)
    table = pa.table(columns())
    assert cli("run", make_job(), "--out", f"{s3}/run").code == 0
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    put(f"{s3}/in", "part=1/a.parquet", sink.getvalue().to_pybytes())
    call = "predict", f"{s3}/run", f"{s3}/in", "--executor", "inline", "--out"
    outcome = cli(*call, f"{s3}/out", "--drift")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"predictions of 40 rows in 3 parts: {s3}/out\n")
    found = contents(f"{s3}/out")
    assert set(found) == {"_drift.json", "_predictions.json", *(f"part-0000{i}.parquet" for i in range(3))}
    rows = pa.concat_tables(pq.read_table(pa.BufferReader(found[f"part-0000{i}.parquet"])) for i in range(3))
    assert rows["prediction"].to_pylist() == list(Model.load(f"{s3}/run/best").predict(table))
    assert rows["y"].to_pylist() == table["y"].to_pylist()
    Objects.at(f"{s3}/out", "test").delete("part-00001.parquet")
    assert "in 3 parts, 2 of them kept from before" in cli(*call, f"{s3}/out", "--drift").out
    assert cli(*call, f"{s3}/one/all.parquet").code == 0
    assert set(contents(f"{s3}/one")) == {"all.parquet"}
    assert pq.read_table(pa.BufferReader(contents(f"{s3}/one")["all.parquet"])).equals(rows)
    put(f"{s3}/mine", "notes.txt", b"mine")
    outcome = cli(*call, f"{s3}/mine")
    assert (outcome.code, f"--out: {s3}/mine holds something else" in outcome.err) == (2, True)
    outcome = cli(*call, "s3://no-such-bucket-of-ours/out")
    assert (outcome.code, "no such bucket" in outcome.err) == (2, True), outcome.err


def kill_machine(driver):
    """Kill a driver with all that it has started: Ray and its workers."""
    processes = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes[1:], 30)
    return driver.wait()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_killed_run_goes_on_elsewhere_and_trains_no_finished_trial_again(
    executor, s3, machine, cli, monkeypatch, no_process_is_left
):
    monkeypatch.setattr(remote, "WATCH_S", 2.5)
    space = {"n_neighbors": {"low": 1, "high": 5}, "metric": "minkowski", "scaler": "none"}
    space["p"] = [round(1 + n / 100, 2) for n in range(400)]
    values = job_values(name="killed", data={"path": "dataset:iris", "target": "species"}, searches__0__space=space)
    reference = reference_of(jobs.from_dict(values), "reference", machine)
    uri = f"{s3}/run"
    driver = start("run", reference.file, "--out", uri, "--executor", executor)
    until(lambda: driver.poll() is not None or b'{"is":"unit"' in records_at(uri), "a finished unit in the store")
    assert kill_machine(driver) == -signal.SIGKILL
    assert json.loads(contents(uri)["manifest.json"])["state"] == "running"
    before = records_at(uri)
    assert b'"is":"test"' not in before
    shutil.rmtree(machine / "cache")  # the machine is gone

    status = cli("status", uri)
    assert "state: killed" in status.out
    assert status.out.splitlines()[-1] == f"go on with: orchestrator resume {uri}"
    again = start("resume", uri, "--executor", executor, stderr=subprocess.PIPE)
    _, said = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, said
    assert records_at(uri).startswith(before)
    copy = rundir.find(uri)
    assert_whole(copy, reference.board)
    assert sorted(unit_ids(copy)) == sorted(unit_ids(reference.path))
    n_trained = len(unit_ids(copy)) - before.count(b'{"is":"unit"')
    assert 0 < n_trained < len(unit_ids(copy))
    assert f" {n_trained} work units done" in said


@pytest.mark.parametrize("path", ["data/rows.parquet", "data", "hive"])
def test_data_at_a_uri_give_what_local_data_give(path, s3, folder, cli, make_job):
    table = pa.table(columns())
    write(folder / "data" / "rows.parquet", table)
    for part in (0, 1):
        rows = table.append_column("part", pa.array([i % 4 // 2 for i in range(40)]))
        kept = rows.filter(pc.equal(rows["part"], part)).drop_columns("part")
        write(folder / "hive" / f"part={part}" / "rows.parquet", kept)
    fs.copy_files(str(folder / path), f"{s3}/{path}")
    boards = []
    for name, place in (("local", path), ("remote", f"{s3}/{path}")):
        outcome = cli("run", make_job(data__path=place), "--out", name)
        assert outcome.code == 0, outcome.err
        boards.append(board(folder / name))
    assert boards[0] == boards[1]
    assert ("3 columns" in outcome.err) == (path == "hive")
    assert "0 work units done" in cli("resume", "remote").err


def test_test_rows_may_lie_at_a_uri(s3, folder, cli, make_job):
    write(folder / "test.parquet", columns())
    fs.copy_files(str(folder / "test.parquet"), f"{s3}/test.parquet")
    outcome = cli("check", make_job(data__test={"path": f"{s3}/test.parquet"}))
    assert outcome.code == 0, outcome.err
    assert "40 training and 40 test rows" in outcome.out


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("missing.parquet", 2, "/missing.parquet does not exist; expected a Parquet file or directory"),
        ("*.parquet", 2, "does not exist; expected a Parquet file or directory; globs are for local paths"),
        ("text.parquet", 3, "it does not have the marks of a Parquet file"),
        ("empty.parquet", 3, "is empty (0 bytes); expected a Parquet file"),
    ],
)
def test_data_that_a_uri_does_not_give_are_named(path, code, message, s3, cli, make_job):
    put(s3, "text.parquet", b"no Parquet, but long enough for one")
    put(s3, "empty.parquet", b"")
    outcome = cli("check", make_job(data__path=f"{s3}/{path}"))
    assert outcome.code == code
    assert outcome.err.startswith("error: data.path: ")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/run", "there is no such bucket; expected one|has no manifest.json; expected a run"),
        ("ftp://host/run", "expected a URI such as s3://bucket/name or gs://bucket/name"),
        ("s3://bucket/run?colour=red", "colour"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "resume"])
def test_a_place_that_cannot_be_used_is_said_before_anything_is_made(verb, uri, message, s3, folder, cli, make_job):
    outcome = cli("run", make_job(), "--out", uri) if verb == "run" else cli("resume", uri)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {'--out' if verb == 'run' else 'RUN'}: {uri} ")
    assert message.split("|")[verb == "resume" and "|" in message] in outcome.err
    assert not (folder / "cache").exists()


def test_a_server_that_is_down_at_the_start_is_said_and_nothing_is_left(s3, server, folder, cli, make_job):
    server.stop()
    try:
        outcome = cli("run", make_job(), "--out", f"{s3}/run")
    finally:
        server.start()
    assert outcome.code == 2
    assert "the server cannot be reached; expected one there, or another in AWS_ENDPOINT_URL" in outcome.err
    assert not (folder / "cache").exists()


def test_a_server_that_goes_away_for_a_while_gets_all_in_the_end(s3, server, make_job, caplog, monkeypatch):
    monkeypatch.setattr(mirror, "EVERY_S", 0.02)
    uri = f"{s3}/run"
    job, base = read_job(make_job())
    asked = []

    def interrupted(progress):
        if not asked:
            asked.append(progress)
            server.stop()
            until(lambda: warnings(caplog), "a warning")
            server.start()

    result = runs.run(job, uri, executor="inline", base=base, on_progress=interrupted)
    (warning,) = warnings(caplog)
    assert f"{uri} cannot be written: the server cannot be reached" in warning
    assert asked
    assert records_at(uri) == (result.path / "ledger" / "records.jsonl").read_bytes()
    assert {name for name in contents(uri) if not name.startswith("ledger/")} == FILES


def test_the_server_may_be_named_in_the_uri(s3, server, cli, make_job, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    uri = f"{s3}/run?endpoint_override=127.0.0.1:{server.port}&scheme=http"
    outcome = cli("run", make_job(), "--out", uri)
    assert outcome.code == 0, outcome.err
    assert f"model: {uri.replace('/run?', '/run/best?')}" in outcome.out
    assert "state: finished" in cli("status", uri).out
    assert Model.load(uri.replace("/run?", "/run/best?")).family == "knn"


def test_runs_below_a_home_at_a_uri_have_names_and_a_latest(s3, cli, make_job, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_HOME", f"{s3}/home")
    assert "there is no run in" in cli("status", "latest").err
    for _ in range(2):
        assert cli("run", make_job()).code == 0
    first, last = remote.runs_in(f"{s3}/home/runs")
    assert first.startswith("small-")
    assert cli("status", "latest").out.splitlines()[0] == f"run: {s3}/home/runs/{last}"
    assert cli("status", first).out.splitlines()[0] == f"run: {s3}/home/runs/{first}"
    assert f"Did you mean '{first}'" in cli("status", f"{first}x").err or last in cli("status", f"{first}x").err


# ---- what is done at a URI


def test_runs_of_one_second_are_in_the_order_of_their_numbers(store):
    for name in ("a-20260101T000000Z-10", "b-20260101T000000Z-9", "a-20260101T000000Z", "z-20250101T000000Z", "free"):
        put(f"{store}/runs/{name}", "job.yaml", b"")
    assert [name[0] for name in remote.runs_in(f"{store}/runs")] == ["f", "z", "a", "b", "a"]


@pytest.mark.parametrize("name", ["job.yaml", "anything"])
def test_a_place_that_is_taken_is_refused(name, store, cli, make_job):
    put(store, name, b"theirs")
    outcome = cli("run", make_job(), "--out", store)
    assert outcome.code == 2
    assert f"--out: {store} exists; expected a URI below which there is nothing" in outcome.err
    assert (f"orchestrator resume {store}" in outcome.err) == (name == "job.yaml")
    assert contents(store) == {name: b"theirs"}


def test_before_anything_is_trained_the_run_can_be_resumed(store, make_job, cli, machine):
    job, base = read_job(make_job())

    def die(path, prepared):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(job, store, executor="inline", base=base, on_start=die)
    assert contents(store).keys() <= {"job.yaml", "manifest.json", "statistics.json"}
    shutil.rmtree(machine / "cache")
    outcome = cli("resume", store)
    assert outcome.code == 0, outcome.err
    assert "5 of 5 trials" in outcome.err


def sending(monkeypatch):
    """Send nothing but at the beginning and at the end; return the names of what is sent, in order."""
    sent = []
    plain = Objects.write

    def write_and_note(self, name, content):
        if name != "writer.json":
            sent.append(name)
        plain(self, name, content)

    monkeypatch.setattr(Objects, "write", write_and_note)
    monkeypatch.setattr(mirror, "EVERY_S", 60.0)
    return sent


def test_what_says_that_a_model_or_a_run_is_whole_goes_last(store, make_job, cli, monkeypatch):
    sent = sending(monkeypatch)
    assert cli("run", make_job(), "--out", store).code == 0
    assert sent[:2] == ["manifest.json", "job.yaml"]
    end = sent[next(i for i, name in enumerate(sent) if name.startswith("ledger/")) :]
    assert end[-2:] == ["best/signature.json", "manifest.json"]
    assert {"best/model.skops", "leaderboard.csv"} < set(end[:-2])


def test_a_job_that_was_widened_goes_before_the_records_made_under_it(store, make_job, cli, monkeypatch):
    assert cli("run", make_job(), "--out", store).code == 0
    sent = sending(monkeypatch)
    assert cli("resume", store, "--set", "searches.0.space.n_neighbors.high=8").code == 0
    i = next(i for i, name in enumerate(sent) if name.startswith("ledger/"))
    assert [name for name in sent[:i] if not name.startswith("oof/")][-2:] == ["manifest.json", "job.yaml"]
    assert yaml.safe_load(contents(store)["job.yaml"])["searches"][0]["space"]["n_neighbors"]["high"] == 8


def test_a_model_at_a_uri_is_exported(store, cli, make_job, folder, monkeypatch):
    before = cli("run", make_job(), "--out", f"{store}/runs/one")
    assert before.code == 0, before.err
    monkeypatch.setenv("ORCHESTRATOR_HOME", store)
    for number, run in enumerate((f"{store}/runs/one", f"{store}/runs/one/best", "one", "latest")):
        done = cli("export", run, "--format", "native", "--out", f"shipped-{number}")
        assert done.code == 0, done.err
        assert Model.load(folder / f"shipped-{number}").family == "knn"
    put(f"{store}/runs/two", "job.yaml", b"")
    put(f"{store}/runs/two", "manifest.json", Objects.at(f"{store}/runs/one", "test").read("manifest.json"))
    put(f"{store}/runs/two", "ledger/records-0000000000000000.jsonl", b"")
    refused = cli("export", f"{store}/runs/two", "--format", "native", "--out", "none")
    assert (refused.code, f"{store}/runs/two has no model yet; go on with" in refused.err) == (2, True), refused.err


def test_files_that_are_gone_here_go_there(store, cli, make_job):
    assert cli("run", make_job(), "--out", store).code == 0
    put(store, "best/old.weights", b"")
    put(store, "study/old.journal", b"")
    shutil.rmtree(rundir.find(store))
    path = rundir.find(store)
    (path / "best" / "old.weights").unlink()
    (path / "best.partial").mkdir()
    (path / "best.partial" / "new.weights").touch()
    assert cli("resume", path).code == 0
    assert {name for name in contents(store) if not name.startswith("ledger/")} == FILES | {"study/old.journal"}


def broken(monkeypatch, names=("",)):
    """Let nothing be written whose name begins with one of `names`."""
    plain = Objects.write

    def write_or_fail(self, name, content):
        if name.startswith(tuple(names)):
            raise OSError("AWS Error SLOW_DOWN during PutObject operation: later")
        plain(self, name, content)

    monkeypatch.setattr(Objects, "write", write_or_fail)


@pytest.mark.parametrize("way", ["path", "uri"])
def test_a_run_whose_end_could_not_be_sent_is_whole_here_and_is_sent_later(way, store, cli, make_job, monkeypatch):
    with monkeypatch.context() as patched:
        broken(patched, ["ledger/", "best/"])
        outcome = cli("run", make_job(), "--out", store)
    assert outcome.code == 1
    said = re.search(r"holds the whole run\. Send it with: orchestrator resume (\S+)$", outcome.err.strip())
    assert said, outcome.err
    assert f"{store} cannot be written: AWS Error SLOW_DOWN" in outcome.err
    assert not [name for name in contents(store) if name.startswith(("ledger/", "best/"))]
    outcome = cli("resume", said[1] if way == "path" else store)
    assert outcome.code == 0, outcome.err
    assert "0 work units done" in outcome.err
    assert {name for name in contents(store) if not name.startswith("ledger/")} == FILES
    assert records_at(store) == (rundir.find(store) / "ledger" / "records.jsonl").read_bytes()


def test_an_outage_is_warned_of_once(store, make_job, monkeypatch, caplog):
    job, base = read_job(make_job())
    n_failed = []
    plain = Objects.write
    seen = []

    def fail(self, name, content):
        if seen and len(n_failed) < 5:
            n_failed.append(name)
            raise OSError("no way")
        plain(self, name, content)

    monkeypatch.setattr(Objects, "write", fail)

    def wait(progress):
        seen.append(progress)
        until(lambda: len(n_failed) == 5, "an outage")

    runs.run(job, store, executor="inline", base=base, on_progress=wait)
    (warning,) = warnings(caplog)
    assert f"{store} cannot be written: no way; the run goes on in" in warning
    assert json.loads(contents(store)["manifest.json"])["state"] == "finished"


def elsewhere(monkeypatch, machine, call):
    """Make a call as another machine would."""
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(machine / "other cache"))
        return call()


def test_a_run_that_is_written_elsewhere_is_in_use(store, machine, make_job, cli, monkeypatch):
    job, base = read_job(make_job())
    outcomes = []

    def look(progress):
        if not outcomes:
            outcomes.append(elsewhere(monkeypatch, machine, lambda: cli("resume", store)))
            outcomes.append(cli("resume", store))
            outcomes.append(cli("status", store))

    runs.run(job, store, executor="inline", base=base, on_progress=look)
    there, here, status = outcomes
    assert there.code == here.code == 1
    assert f"error: {store} is in use by another process" in there.err
    assert f"error: {store} is in use by another process" in here.err
    assert "state: running" in status.out
    assert json.loads(contents(store)["manifest.json"])["state"] == "finished"


def test_a_run_that_was_taken_over_ends_and_changes_nothing(store, machine, make_job, cli, monkeypatch):
    job, base = read_job(make_job())
    found = {}

    def take_over(progress):
        if not found:
            with monkeypatch.context() as patched:  # it counts as gone, though it is not
                patched.setattr(remote, "is_written", lambda path: False)
                outcome = elsewhere(patched, machine, lambda: cli("resume", store))
                if "has gone on from another state" in outcome.err:  # the first one wrote once more just then
                    outcome = elsewhere(patched, machine, lambda: cli("resume", store))
            assert outcome.code == 0, outcome.err
            found.update(contents(store))

    with pytest.raises(RunError, match="was taken over by another process; what was finished here is in"):
        runs.run(job, store, executor="inline", base=base, on_progress=take_over)
    assert contents(store) == found
    assert json.loads(found["manifest.json"])["state"] == "finished"


def test_a_segment_that_another_process_wrote_is_not_written_over(store, make_job, monkeypatch):
    monkeypatch.setattr(mirror, "EVERY_S", 60.0)  # the next segment is sent at the end
    job, base = read_job(make_job())
    theirs = b'{"is":"failure","unit":"x","answers":[],"code":"raised","message":""}\n'

    def write_between(progress):
        if theirs not in records_at(store):
            put(store, remote.segment_name(len(records_at(store))), theirs)

    with pytest.raises(RunError, match="is in use by another process"):
        runs.run(job, store, executor="inline", base=base, on_progress=write_between)
    assert records_at(store).count(theirs) == 1


def test_a_segment_whose_answer_was_lost_is_not_sent_twice(store, make_job, monkeypatch):
    job, base = read_job(make_job())
    plain = Objects.write
    lost = []

    def lose(self, name, content):
        plain(self, name, content)
        if name.startswith("ledger/") and not lost and b'"is":"unit"' in content:
            lost.append(name)
            raise OSError("no answer")

    monkeypatch.setattr(Objects, "write", lose)
    result = runs.run(job, store, executor="inline", base=base)
    assert lost
    assert records_at(store) == (result.path / "ledger" / "records.jsonl").read_bytes()


def stored_run(store, cli, make_job):
    """A finished run whose ledger is there in three segments."""
    assert cli("run", make_job(), "--out", store).code == 0
    content, found = records_at(store), Objects.at(store, "test")
    for name in [name for name in found.sizes() if remote.is_segment(name)]:
        found.delete(name)
    cuts = [0, *(i + 1 for i, byte in enumerate(content) if byte == 10)]
    cuts = [cuts[0], cuts[2], cuts[4], cuts[-1]]
    for begin, end in itertools.pairwise(cuts):
        put(store, remote.segment_name(begin), content[begin:end])
    shutil.rmtree(rundir.find(store))
    return cuts


@pytest.mark.parametrize("verb", ["status", "leaderboard", "resume"])
def test_a_ledger_with_a_gap_or_an_overlap_is_said(verb, store, cli, make_job):
    cuts = stored_run(store, cli, make_job)
    found = Objects.at(store, "test")
    middle = found.read(remote.segment_name(cuts[1]))
    put(store, remote.segment_name(cuts[1]), middle + b"\n")
    outcome = cli(verb, store)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{store}: the ledger has bytes {cuts[2]} to {cuts[2] + 1} twice; expected segments" in outcome.err
    found.delete(remote.segment_name(cuts[1]))
    outcome = cli(verb, store)
    assert outcome.code == 1
    assert f"{store}: the ledger lacks bytes {cuts[1]} to {cuts[2]}; expected segments" in outcome.err


def test_a_torn_last_segment_is_left_out_and_written_anew(store, cli, make_job):
    cuts = stored_run(store, cli, make_job)
    found = Objects.at(store, "test")
    last = remote.segment_name(cuts[2])
    put(store, last, found.read(last)[:-30])
    assert cli("status", store).code == 0
    outcome = cli("resume", store)
    assert outcome.code == 0, outcome.err
    assert records_at(store) == (rundir.find(store) / "ledger" / "records.jsonl").read_bytes()
    assert len(list(ledger.read(rundir.find(store) / "ledger"))) == len(records_at(store).splitlines())


def test_a_copy_that_has_parted_from_the_run_is_kept_and_not_sent(store, cli, make_job):
    stored_run(store, cli, make_job)
    path = rundir.find(store)
    content = (path / "ledger" / "records.jsonl").read_bytes()
    (path / "ledger" / "records.jsonl").write_bytes(content.replace(b'"fit_time_s":0', b'"fit_time_s":9'))
    before = records_at(store)
    outcome = cli("resume", path)
    assert outcome.code == 1
    assert f"{store} has gone on from another state; resume {store}" in outcome.err
    other = rundir.find(store)
    assert other != path
    assert path.exists()
    assert (other / "ledger" / "records.jsonl").read_bytes() == records_at(store) == before


def test_status_and_leaderboard_fetch_only_what_they_need_and_leave_nothing(store, machine, cli, make_job, monkeypatch):
    stored_run(store, cli, make_job)
    taken = []
    plain = Objects.read
    monkeypatch.setattr(Objects, "read", lambda self, name: (taken.append(name), plain(self, name))[1])
    assert cli("leaderboard", store).code == 0
    assert cli("status", store).code == 0
    assert {name for name in taken if not remote.is_segment(name)} <= {"job.yaml", "manifest.json", "statistics.json"}
    assert not list((machine / "cache").rglob("*.yaml"))


def test_a_second_interruption_does_not_wait_for_the_store(store, cli, make_job, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mirror.Mirror, "_send_rest", interrupt)
        outcome = cli("run", make_job(), "--out", store)
    assert outcome.code == 130
    said = re.search(rf"stopped before all of {store} was written; .*orchestrator resume (\S+)$", outcome.err.strip())
    assert said, outcome.err
    assert cli("resume", said[1]).code == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ACCESS_DENIED", "access is denied; expected credentials that may read and write there"),
        ("INVALID_ACCESS_KEY_ID", "the credentials are refused; expected others in AWS_ACCESS_KEY_ID"),
        ("SIGNATURE_DOES_NOT_MATCH", "the credentials are refused; expected others in AWS_SECRET_ACCESS_KEY"),
        ("UNKNOWN", "When listing objects: AWS Error UNKNOWN"),
    ],
)
def test_what_a_store_refuses_is_said_in_a_line(code, said, store, cli, make_job, monkeypatch):
    def refuse(self, folder=""):
        raise OSError(f"When listing objects: AWS Error {code} during ListObjectsV2 operation: No response body.\nmore")

    monkeypatch.setattr(Objects, "sizes", refuse)
    for outcome in (cli("run", make_job(), "--out", store), cli("status", store)):
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert f"{store} cannot be used: {said}" in line


def test_a_model_that_is_not_there_is_said(store):
    with pytest.raises(JobError, match="there is nothing at file://"):
        Model.load(f"{store}/best")


def test_what_is_no_run_is_said(store, cli):
    put(store, "manifest.json", b"{}")
    outcome = cli("resume", store)
    assert outcome.code == 2
    assert f"RUN: {store} has no job.yaml; expected a run made by `orchestrator run JOB --out URI`" in outcome.err
    with pytest.raises(JobError, match="has no"):
        runs.resume(f"{store}/nothing", executor="inline")


def test_a_run_directory_is_no_copy_of_anything(folder, cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    assert rundir.called(folder / "run") == str(folder / "run")
    assert rundir.called(folder / "run", "best") == str(folder / "run" / "best")
    assert not (folder / "run" / "uri").exists()
