"""What many tests need: a folder to work in, a dataset and a job in it, and the command line in this process."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import columns, job_values, write
from sameness import Start, leaving_no_process, server

from orchestrator.cli import entry


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, empty; runs go below `home/` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


@pytest.fixture
def cli(folder, capsys) -> Callable[..., Outcome]:
    """Call the command line; `run` and `resume` compute in this process."""

    def call(verb: object = None, *arguments: object) -> Outcome:
        capsys.readouterr()
        words = [str(word) for word in (verb, *arguments) if word is not None]
        if verb in ("run", "resume") and "--executor" not in words:
            words += ["--executor", "inline"]
        try:
            code = entry(words)
        except SystemExit as exit_of_argparse:
            code = int(exit_of_argparse.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def make_job(folder) -> Callable[..., Path]:
    """Write `data.parquet`, unless it is there, and a job file over it, changed as `job_values` says."""

    def make(**changes: Any) -> Path:
        if not (folder / "data.parquet").exists():
            write(folder / "data.parquet", columns())
        path = folder / "job.yaml"
        path.write_text(yaml.safe_dump(job_values(**changes), sort_keys=False), encoding="utf-8")
        return path

    return make


@pytest.fixture
def real_dataset() -> Callable[[str], Path]:
    """Find a dataset by name in the folder that ORCHESTRATOR_TEST_DATA names; the test is skipped where it is not."""

    def find(name: str) -> Path:
        given = os.environ.get("ORCHESTRATOR_TEST_DATA")
        if not given:
            pytest.skip("ORCHESTRATOR_TEST_DATA is not set; it names a folder of real datasets as Parquet files")
        path = Path(given) / f"{name}.parquet"
        if not path.is_file():
            pytest.skip(f"ORCHESTRATOR_TEST_DATA holds no {name}.parquet")
        return path.resolve()

    return find


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = folder / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts a disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def no_process_is_left() -> Iterator[None]:
    """Look at the end for whatever the module started."""
    with leaving_no_process():
        yield


@pytest.fixture(scope="module")
def fork(no_process_is_left: None) -> Iterator[Start]:
    """Start a driver, with the arguments of a command line, within milliseconds."""
    with server() as start:
        yield start
