"""What the command line says where Ray's launcher stands between it and its user."""

import pytest

import orchestrator
from orchestrator import jobfile
from orchestrator.progress import LiveTable, PlainLines, shown


def last_line(outcome) -> str:
    return outcome.err.splitlines()[-1]


def test_failed_run_says_its_exit_code_on_a_cluster(cli, make_job, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    outcome = cli("run", make_job(metric="nonsense"))
    assert outcome.code == 2
    assert last_line(outcome) == "exit code 2"


def test_run_at_an_address_says_its_exit_code(cli, make_job):
    outcome = cli("run", make_job(), "--executor", "ray", "--address=127.0.0.1:1")
    assert outcome.code == 2
    assert last_line(outcome) == "exit code 2"


def test_resume_says_its_exit_code_on_a_cluster(cli, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert last_line(cli("resume", "nowhere")) == "exit code 2"


@pytest.mark.parametrize("arguments", [["--set", "data.target=none"], ["--sett", "x=1"]])
def test_job_file_says_its_exit_code_on_a_cluster(make_job, monkeypatch, capsys, arguments):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.chdir(make_job().parent)
    job, _ = jobfile.read_job(make_job(), [])
    code = orchestrator.main(job, [*arguments, "--executor", "inline"])
    assert code in (2, 3)
    assert capsys.readouterr().err.splitlines()[-1] == f"exit code {code}"


def test_exit_code_is_not_said_here_nor_by_other_verbs_nor_of_success(cli, make_job, monkeypatch):
    assert "exit code" not in cli("run", make_job(metric="nonsense")).err
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert "exit code" not in cli("status", "nowhere").err
    outcome = cli("run", make_job())
    assert outcome.code == 0
    assert "exit code" not in outcome.err


@pytest.mark.parametrize(("address", "display"), [(None, LiveTable), ("auto", PlainLines)])
def test_lines_are_plain_on_a_cluster_even_on_a_terminal(monkeypatch, address, display):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with shown() as chosen:
        assert type(chosen) is display
