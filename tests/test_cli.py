"""The command line's good paths: what each verb prints and where, what it leaves, and what it exits with."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from builders import columns, job_values, process, write

from orchestrator import job as jobs
from orchestrator.jobfile import read_job
from orchestrator.version import __version__

SHIPPED = [path for path in sorted((Path(__file__).parents[1] / "jobs").iterdir()) if path.is_file()]
SHIPPED = [path for path in SHIPPED if not path.name.startswith("make_")]  # a tool beside them
REAL = {"imdb_text.py": "imdb_reviews", "mnist_image.py": "mnist"}
"""Shipped jobs over a file that their users bring."""
BOARD = ["rank", "trial", "search", "family", "state", "score", "score_std", "ci_low", "ci_high", "ties_leader"]
BOARD += ["fit_time_s", "predict_time_s", "params", "error"]


@pytest.fixture
def finished(make_job, cli):
    """The path of a finished run of ten trials."""
    job = make_job(searches__0__space__weights=["uniform", "distance"], comparators=[{"family": "knn", "name": "five"}])
    outcome = cli("run", job, "--out", "run")
    assert outcome.code == 0, outcome.err
    return Path("run").absolute()


def untimed(row):
    return {name: value for name, value in row.items() if not name.endswith("_time_s")}


def rows_of(cli, run):
    return [untimed(row) for row in json.loads(cli("leaderboard", run, "--format", "json").out)]


# ---- run


def test_run_prints_results_on_stdout_and_remarks_on_stderr(folder, make_job, cli):
    outcome = cli("run", make_job())
    assert outcome.code == 0
    run = next((folder / "home" / "runs").iterdir())
    assert outcome.out.splitlines()[0].split()[:3] == ["rank", "trial", "accuracy"]
    assert re.search(r"^best: knn/\d \{", outcome.out, re.M)
    assert "accuracy on the sealed test rows, opened once: best 0." in outcome.out
    assert f"model: {run / 'best'}" in outcome.out
    assert "classification of 'y', 32 training rows, 8 sealed test rows, 2 columns, 5 folds, accuracy" in outcome.err
    assert f"run directory: {run}" in outcome.err
    assert "5 of 5 trials" in outcome.err
    assert not re.search("run directory|5 of 5 trials|classification of", outcome.out)


def test_run_leaves_the_documented_files(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        *("job.yaml", "manifest.json", "ledger", "log.jsonl", "trials.parquet", "study", "best"),
        *(
            "leaderboard.parquet",
            "leaderboard.csv",
            "leaderboard.md",
            "oof",
            "test.parquet",
            "statistics.json",
            "report.html",
        ),
        "explained.json",
    }
    manifest = json.loads((finished / "manifest.json").read_text())
    assert (manifest["state"], manifest["exit_code"], manifest["orchestrator"]) == ("finished", 0, __version__)


def test_runs_of_one_second_get_directories_of_their_own(folder, make_job, cli):
    job = make_job()
    assert [cli("run", job).code for _ in range(3)] == [0, 0, 0]
    assert len(list((folder / "home" / "runs").iterdir())) == 3


def test_a_run_goes_below_the_working_directory_by_default(folder, make_job, cli, monkeypatch):
    monkeypatch.delenv("ORCHESTRATOR_HOME")
    assert cli("run", make_job()).code == 0
    assert len(list((folder / "runs").iterdir())) == 1


def test_set_overrides_keys_and_items_at_any_depth(make_job, cli):
    overrides = ["seed=7", "searches.0.space.n_neighbors.high=3", "data.test=null", "budget.time_s=1e3", "metric=f1"]
    arguments = [word for override in overrides for word in ("--set", override)]
    outcome = cli("run", make_job(), "--out", "run", *arguments)
    assert outcome.code == 0, outcome.err
    job = yaml.safe_load(Path("run/job.yaml").read_text())
    assert (job["seed"], job["metric"], job["data"]["test"], job["budget"]["time_s"]) == (7, "f1", None, 1000.0)
    assert job["searches"][0]["space"]["n_neighbors"] == {"low": 1, "high": 3, "step": None, "log": False}
    assert "3 of 3 trials" in outcome.err
    assert "sealed test rows, opened" not in outcome.out


def test_paths_resolve_against_the_job_file_and_then_the_working_directory(folder, make_job, cli, monkeypatch):
    make_job().rename(folder / "here.yaml")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert cli("check", "../here.yaml").code == 0
    monkeypatch.chdir(folder)
    (folder / "here.yaml").rename(folder / "elsewhere" / "there.yaml")
    assert cli("check", "elsewhere/there.yaml").code == 0


def test_a_run_that_finds_no_model_exits_with_1(make_job, cli):
    outcome = cli("run", make_job(budget__time_s=1e-9), "--out", "run")
    assert outcome.code == 1
    assert "error: no model was found" in outcome.err.splitlines()[-1]


# ---- plan, check


def test_plan_tells_trials_units_and_memory_and_writes_nothing(folder, make_job, cli):
    job = make_job(
        searches__0__space__weights=["uniform", "distance"], searches__0__space__metric=["cosine", "euclidean"]
    )
    before = set(folder.rglob("*"))
    outcome = cli("plan", job)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.splitlines()[0] == "knn: grid, 20 trials in 10 work units"
    assert re.match(r"in all: 20 trials of 5 folds each; .* MB a worker", outcome.out.splitlines()[-1])
    assert set(folder.rglob("*")) == before


def test_plan_prints_what_the_checks_found(folder, make_job, cli):
    write(folder / "data.parquet", columns(c=[1.0] * 40))
    outcome = cli("plan", make_job())
    assert outcome.code == 0
    assert outcome.err.startswith("warning: column 'c' has one value in all training rows")


def test_check_prints_its_findings_and_a_verdict(folder, make_job, cli):
    write(folder / "data.parquet", columns(c=[1.0] * 40))
    outcome = cli("check", make_job())
    assert outcome.code == 0
    finding, splits, verdict = outcome.out.splitlines()
    assert splits == "splits: test rows drawn at random, stratified (0.2 of the rows); StratifiedKFold, 5 folds"
    assert finding.startswith("warning: constant_column: column 'c'")
    assert verdict.startswith("small: fit to run. classification of 'y', 32 training and 8 test rows, 2 columns")
    assert not (folder / "home").exists()


# ---- resume, status, leaderboard, latest


def test_resume_extends_a_run_to_what_a_longer_one_would_have_found(make_job, cli):
    job = make_job(searches__0__sampler="tpe", searches__0__space__n_neighbors__high=20)
    assert cli("run", job, "--set", "searches.0.trials=4", "--out", "short").code == 0
    outcome = cli("resume", "short", "--set", "searches.0.trials=9")
    assert outcome.code == 0, outcome.err
    assert "9 of 9 trials" in outcome.err
    assert cli("run", job, "--set", "searches.0.trials=9", "--out", "long").code == 0
    assert rows_of(cli, "short") == rows_of(cli, "long")


def test_resume_of_a_finished_run_trains_nothing(finished, cli):
    before = rows_of(cli, finished)
    outcome = cli("resume", finished)
    assert outcome.code == 0
    assert "0 work units done" in outcome.err
    assert rows_of(cli, finished) == before


def test_resume_takes_a_wider_space(finished, cli):
    outcome = cli("resume", finished, "--set", "searches.0.space.n_neighbors={low: 1, high: 8}")
    assert outcome.code == 0, outcome.err
    assert {row["params"].get("n_neighbors") for row in rows_of(cli, finished)} == {None, *range(1, 9)}


def test_status_tells_how_far_a_run_is(finished, cli):
    outcome = cli("status", finished)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:3] == [f"run: {finished}", "state: finished", "knn: 10 of 10 trials"]
    assert lines[3].startswith("best so far: knn/")


def test_status_of_a_run_whose_process_died_says_how_to_go_on(finished, cli):
    path = finished / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    lines = cli("status", finished).out.splitlines()
    assert "state: killed" in lines
    assert lines[-1] == f"go on with: orchestrator resume {finished}"


def test_latest_is_the_run_that_began_last(folder, make_job, cli):
    job = make_job()
    for _ in range(2):
        cli("run", job)
    first, last = sorted((folder / "home" / "runs").iterdir(), key=lambda run: (run / "ledger").stat().st_ctime_ns)
    assert cli("status", "latest").out.splitlines()[0] == f"run: {last}"
    assert cli("status", first.name).out.splitlines()[0] == f"run: {first}"
    assert cli("resume", first.name).code == 0
    assert cli("status", "latest").out.splitlines()[0] == f"run: {last}"


def test_the_leaderboard_has_its_columns_in_order_in_csv_and_json(finished, cli):
    comma = cli("leaderboard", finished, "--format", "csv")
    lines = list(csv.reader(io.StringIO(comma.out)))
    params = ["param_n_neighbors", "param_scaler", "param_weights"]
    assert (comma.code, comma.err) == (0, "")
    assert lines[0] == [*BOARD, *params]
    assert len(lines) == 1 + 10 + 1
    rows = json.loads(cli("leaderboard", finished, "--format", "json").out)
    assert list(rows[0]) == lines[0]
    assert [row["trial"] for row in rows] == [line[1] for line in lines[1:]]
    assert [float(line[5]) for line in lines[1:]] == [row["score"] for row in rows]
    assert rows[0]["params"].keys() == {"n_neighbors", "scaler", "weights"}
    assert rows[0]["score"] == max(row["score"] for row in rows)


def test_the_leaderboard_reads_as_a_table_and_as_markdown(finished, cli):
    table = cli("leaderboard", finished).out
    lines = table.splitlines()
    assert table == cli("leaderboard", finished, "--format", "table").out
    assert re.split("  +", lines[0].strip())[:6] == ["rank", "trial", "accuracy", "± std", "n_neighbors", "scaler"]
    assert len(lines) == 1 + 10 + 1
    markdown = cli("leaderboard", finished, "--format", "md").out.splitlines()
    assert markdown[0].startswith("| rank | trial | accuracy |")
    assert set(markdown[1]) <= set("| -")
    assert [line.split("|")[2].strip() for line in markdown[2:]] == [line.split()[1] for line in lines[1:]]


@pytest.mark.parametrize(("format_name", "n_lines"), [("table", 4), ("csv", 4), ("md", 5)])
def test_top_keeps_the_first_rows(format_name, n_lines, finished, cli):
    whole = cli("leaderboard", finished, "--format", "csv").out.splitlines()
    top = cli("leaderboard", finished, "--format", format_name, "--top", "3").out.splitlines()
    assert len(top) == n_lines
    assert all(line.split(",")[1] in shown for line, shown in zip(whole[1:], top[-3:], strict=False))


def test_the_files_of_a_run_say_what_the_command_prints(finished, cli):
    assert (finished / "leaderboard.csv").read_text() == cli("leaderboard", finished, "--format", "csv").out
    assert (finished / "leaderboard.md").read_text() == cli("leaderboard", finished, "--format", "md").out


# ---- init


@pytest.mark.parametrize("target", ["y", "b"], ids=["classes", "numbers"])
def test_a_job_that_init_wrote_runs(target, folder, make_job, cli):
    make_job()
    write(folder / "data.parquet", columns(id=[f"id {i}" for i in range(40)], empty=[None] * 40))
    outcome = cli("init", "data.parquet", "--target", target)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "wrote data.yaml; run it with: orchestrator run data.yaml\n"
    job, _ = read_job(Path("data.yaml"))
    assert job.data.exclude == ("id", "empty")
    outcome = cli("run", "data.yaml", "--set", "searches.0.space.scaler=none")
    assert outcome.code == 0, outcome.err
    assert "80 of 80 trials" in outcome.err


def test_init_prints_the_job_where_asked(folder, make_job, cli):
    make_job()
    outcome = cli("init", "data.parquet", "--target", "y", "--out", "-")
    assert (outcome.code, outcome.err) == (0, "")
    assert yaml.safe_load(outcome.out)["data"] == {
        "path": str(folder / "data.parquet"),
        "target": "y",
        "task": "classification",
        "test": {"fraction": 0.2},
    }
    assert "#" in outcome.out
    assert not (folder / "data.yaml").exists()


# ---- schema, help, version


def test_schema_accepts_the_shipped_jobs_and_refuses_an_unknown_key(cli):
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    outcome = cli("schema")
    assert (outcome.code, outcome.err) == (0, "")
    schema = json.loads(outcome.out)
    validator.check_schema(schema)
    assert SHIPPED
    for path in SHIPPED:
        values = jobs.to_dict(read_job(path)[0])
        validator(schema).validate(values)
        assert not validator(schema).is_valid({**values, "sead": 1})
        assert not validator(schema).is_valid({**values, "searches": [{"family": "knn", "space": {"p": {"low": 1}}}]})


def test_schema_knows_the_keys_of_a_job(cli):
    schema = json.loads(cli("schema").out)
    assert schema["properties"].keys() == jobs.to_dict(read_job(SHIPPED[0])[0]).keys()
    assert schema["required"] == ["name", "data"]
    assert schema["additionalProperties"] is False


def test_help_names_every_verb_and_exits_with_0(cli):
    outcome = cli("--help")
    assert (outcome.code, outcome.err) == (0, "")
    for verb in ("init", "run", "plan", "check", "resume", "status", "leaderboard", "schema"):
        assert re.search(rf"^ +{verb}\b", outcome.out, re.M)
        assert cli(verb, "--help").code == 0


def test_version_is_the_packages(cli):
    assert cli("--version").out == f"orchestrator {__version__}\n"


# ---- job files


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_job_is_fit_to_run(path, cli, real_dataset):
    changes = ["--set", f"data.path={real_dataset(REAL[path.name])}"] if path.name in REAL else []
    outcome = cli("check", path, *changes)
    assert outcome.code == 0, outcome.err
    assert "fit to run" in outcome.out


PYTHON = """
import orchestrator
from orchestrator import Budget, Comparator, Data, Job, Range, Search, Test, Validation

job = Job(
    name="small",
    data=Data("data.parquet", "y", exclude="b", test=Test(fraction=0.25, stratify=False)),
    searches=[
        Search("knn", space={"n_neighbors": Range(1, 5), "scaler": ["none", "standard"]}),
        Search("knn", trials=3),
    ],
    comparators=[Comparator("knn", {"n_neighbors": 3})],
    validation=Validation(folds=3),
    budget=Budget(time_s=60),
)
if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
"""
YAML = """
name: small
data: {path: data.parquet, target: y, exclude: [b], test: {fraction: 0.25, stratify: false}}
searches:
  - {family: knn, space: {n_neighbors: {low: 1, high: 5}, scaler: [none, standard]}}
  - {family: knn, trials: 3}
comparators: [{family: knn, params: {n_neighbors: 3}}]
validation: {folds: 3}
budget: {time_s: 6e+1}
"""


@pytest.fixture
def twins(folder, make_job):
    """The same job in Python and in YAML."""
    make_job()
    (folder / "job.py").write_text(PYTHON)
    (folder / "job.yaml").write_text(YAML)


def test_python_and_yaml_mean_the_same_job(twins, cli):
    assert read_job(Path("job.py")) == read_job(Path("job.yaml"))
    for name in ("job.py", "job.yaml"):
        assert cli("run", name, "--out", f"run of {name}").code == 0
    assert Path("run of job.py/job.yaml").read_text() == Path("run of job.yaml/job.yaml").read_text()
    assert rows_of(cli, "run of job.py") == rows_of(cli, "run of job.yaml")


def test_an_override_of_a_default_means_the_same_for_python_and_yaml(folder):
    (folder / "short.py").write_text(
        'from orchestrator import *\njob = Job("a", Data("data.parquet", "y"), [Search("knn")])\n'
    )
    (folder / "short.yaml").write_text("{name: a, data: {path: data.parquet, target: y}, searches: [{family: knn}]}")
    changes = ["data.test.column=part", "validation.kind=holdout", "validation.fraction=0.5"]
    jobs = [read_job(folder / name, changes)[0] for name in ("short.py", "short.yaml")]
    assert jobs[0] == jobs[1]
    assert jobs[0].data.test.column == "part"
    assert jobs[0].data.test.fraction is None


def test_the_resolved_job_of_a_run_is_a_job_file_that_resolves_to_itself(twins, cli):
    cli("run", "job.yaml", "--out", "one")
    cli("run", "one/job.yaml", "--out", "two")
    assert Path("one/job.yaml").read_text() == Path("two/job.yaml").read_text()


def test_a_python_job_that_is_run_by_itself_takes_the_options_of_run(twins, folder):
    done = process("job.py", "--executor", "inline", "--out", "run", "--set", "searches.0.space.n_neighbors.high=2")
    assert done.returncode == 0, done.stderr
    assert "rank  trial" in done.stdout
    assert "run directory" in done.stderr
    assert "run directory" not in done.stdout
    assert (folder / "run" / "best").is_dir()


def test_yaml_reads_what_people_mean(folder, cli):
    write(folder / "data.parquet", columns(day=["2024-01-31", "2024-02-01", "2024-02-01", "2024-01-31"] * 10))
    text = yaml.safe_dump(job_values(data__path="data.parquet"))
    (folder / "job.yaml").write_text(f"{text}\nbudget: {{time_s: 1e3}}\n".replace("name: small", "name: 2024-01-31"))
    job, _ = read_job(Path("job.yaml"), ["data.test={column: day, value: 2024-02-01}", "data.target=y"])
    assert (job.name, job.budget.time_s, job.data.test.value) == ("2024-01-31", 1000.0, "2024-02-01")
    assert cli("check", "job.yaml", "--set", "data.test={column: day, value: 2024-02-01}").code == 0


def test_yaml_merges_keys(folder):
    (folder / "job.yaml").write_text(
        "name: x\ndata: {path: p, target: on}\n"
        "searches:\n  - &one {family: knn, trials: 3}\n  - {<<: *one, trials: 4}\n"
    )
    job, _ = read_job(Path("job.yaml"))
    assert [(search.family, search.trials) for search in job.searches] == [("knn", 3), ("knn", 4)]
    assert job.data.target == "on"


# ---- imports


def test_importing_the_package_loads_no_large_library():
    large = ("ray", "sklearn", "optuna", "tensorflow", "scipy", "pandas")
    program = f"import sys, orchestrator; print([name for name in {large} if name in sys.modules])"
    assert process("-c", program).stdout == "[]\n"


def test_a_yaml_job_of_a_grid_is_checked_without_ray_and_optuna(make_job):
    program = (
        "import sys; from orchestrator.cli import entry; code = entry(['check', 'job.yaml']);"
        "print(code, [name for name in ('ray', 'optuna', 'tensorflow') if name in sys.modules])"
    )
    make_job()
    assert process("-c", program).stdout.splitlines()[-1] == "0 []"
