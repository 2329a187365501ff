"""What `check` prints, what a job silences, and values that are read as null."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import columns, write

N = 80
BASE = columns(N)
IDS = np.random.default_rng(0).permutation(N)


@pytest.fixture
def job(folder, make_job):
    """A job over rows with an id, and a copy of the target."""
    copy = ["Y" if one == "yes" else "N" for one in BASE["y"].to_pylist()]
    write(folder / "data.parquet", {**BASE, "row": IDS, "copy": copy})
    return make_job(searches__0__space__n_neighbors=[1, 2])


def test_a_finding_says_its_code_its_column_and_how_to_silence_it(job, cli):
    outcome = cli("check", job)
    assert outcome.code == 3
    error, warning = sorted(outcome.out.splitlines())
    assert error.startswith("error: target_copy: data.target: column 'copy' is 'y' under another encoding; set data.ex")
    assert error.endswith('(checks.silence: ["target_copy:copy"])')
    assert warning.startswith(
        "warning: id_like_column: column 'row' numbers the 64 training rows from 2 to 78, as an id"
    )
    assert cli("run", job).code == 3


def test_findings_as_json(job, cli):
    outcome = cli("check", job, "--format", "json", "--set", "checks.silence=[id_like_column]")
    said = json.loads(outcome.out)
    assert (outcome.code, said["job"], said["fit"]) == (3, "small", False)
    (found,) = said["findings"]
    assert found["silence"] == "target_copy:copy"
    assert found["mend"] == "`data.exclude`"
    outcome = cli("check", job, "--format", "json", "--set", "checks.silence=[target_copy, 'id_like_column:row']")
    said = json.loads(outcome.out)
    assert (outcome.code, said["fit"], said["findings"]) == (0, True, [])
    assert [one["code"] for one in said["silenced"]] == ["id_like_column", "target_copy"]


def test_a_silenced_error_does_not_stop_the_run_which_says_so(job, cli, folder):
    outcome = cli("run", job, "--set", "checks.silence=target_copy", "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "silenced by checks.silence: target_copy:copy" in outcome.err
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert [text.partition(":")[0] for text in manifest["silenced"]] == ["target_copy"]
    assert [text.partition(":")[0] for text in manifest["warnings"]] == ["id_like_column"]
    assert "Silenced by the job: target_copy" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    outcome = cli("resume", "run", "--set", "checks.silence=[target_copy, id_like_column]")
    assert outcome.code == 0, outcome.err
    assert "id_like_column:row" in outcome.err


def test_many_warnings_of_one_code_are_one_line_of_a_run(folder, make_job, cli):
    write(folder / "data.parquet", {**BASE, **{f"c{i}": [i] * N for i in range(9)}})
    outcome = cli("run", make_job(searches__0__space__n_neighbors=[1]))
    (line,) = [line for line in outcome.err.splitlines() if "has one value in all training rows" in line]
    assert "(and the same of 8 more: 'c1', 'c2', 'c3', 'c4', 'c5', …; see `orchestrator check`)" in line
    assert cli("check", "job.yaml").out.count("constant_column: ") == 9


def test_an_unknown_code_is_refused_with_the_nearest(make_job, cli):
    outcome = cli("check", make_job(checks__silence=["target_copies"]))
    assert outcome.code == 2
    assert "checks.silence: no check has the code 'target_copies'. Did you mean 'target_copy'" in outcome.err
    assert "unknown key 'checks.silences'. Did you mean 'silence'?" in cli("check", make_job(checks__silences=[])).err


def missing_rows(mark, number, n=N):
    colours = [mark if i % 5 == 0 else "rg"[i % 2] for i in range(n)]
    sizes = [number if i % 7 == 0 else float(i % 13) for i in range(n)]
    return {**columns(n), "colour": pa.array(colours, pa.string()), "size": pa.array(sizes)}


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_values_that_mean_missing_are_nulls_in_training_and_in_predictions(kind, folder, make_job, cli):
    marked, plain = missing_rows("?", -999.0), missing_rows(None, None)
    for values in (marked, plain):
        values["colour"] = values["colour"].cast(kind) if kind != pa.string() else values["colour"]
        values["size"] = values["size"] if values is plain else values["size"].cast(pa.int16())
    write(folder / "data.parquet", marked)
    write(folder / "plain.parquet", plain)
    job = make_job(searches__0__space__n_neighbors=[3])
    assert "missing_as_value" in cli("check", job).out
    missing = yaml.safe_dump(["?", -999], default_flow_style=True).strip()
    assert "missing_as_value" not in cli("check", job, "--set", f"data.missing={missing}").out
    assert cli("run", job, "--set", f"data.missing={missing}", "--out", "run").code == 0
    assert cli("run", job, "--set", "data.path=plain.parquet", "--out", "expected").code == 0
    boards = [pq.read_table(folder / run / "leaderboard.parquet")["score"].to_pylist() for run in ("run", "expected")]
    assert boards[0] == boards[1]
    for run, data in (("run", "data.parquet"), ("run", "plain.parquet"), ("expected", "plain.parquet")):
        assert cli("predict", run, data, "--out", f"{run}-{data}", "--executor", "inline").code == 0
    said = [
        pq.read_table(folder / name) for name in ("run-data.parquet", "run-plain.parquet", "expected-plain.parquet")
    ]
    answers = [table.select([n for n in table.column_names if n.startswith("pr")]) for table in said]
    assert answers[0].equals(answers[1])
    assert answers[0].equals(answers[2])
