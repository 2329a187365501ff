"""A run's directory: where it lies, what its files are called, and how they are written without being half-written."""

from __future__ import annotations

import errno
import itertools
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator import ledger, remote
from orchestrator.errors import JobError, OrchestratorError, RunError, did_you_mean, shown
from orchestrator.objects import below, is_uri
from orchestrator.version import __version__

JOB, MANIFEST, LEDGER, LOG = "job.yaml", "manifest.json", ledger.FOLDER, "log.jsonl"
BEST, STUDY, CODE, TEST, STATISTICS = "best", "study", "code", "test.parquet", "statistics.json"
EXPLAINED = "explained.json"
ROWS = "rows.partial"
"""The rows of a streamed run, while it lasts."""
MODEL = "signature.json"
"""The file that makes a folder a model."""
SCHEMA_VERSION = 1
"""Of the run directory: what the manifest and the files beside it are like."""
SPARE_BYTES = 4 << 20
RECORDED_PACKAGES = ("numpy", "scipy", "scikit-learn", "optuna", "pyarrow", "ray", "skops")


def home() -> tuple[str, str | None]:
    """Return the folder or URI that holds `runs/`, and a remark where it is not the obvious one."""
    named = os.environ.get("ORCHESTRATOR_HOME")
    if named:
        return os.path.expanduser(named), None
    here = Path.cwd()
    if "working_dir_files" in here.parts:  # a Ray job's unpacked working directory, which Ray may delete
        return str(Path.home()), f"runs are kept in {Path.home() / 'runs'}, since Ray may delete {here}"
    return str(here), None


def create(job_name: str, out: str | Path | None, needed_bytes: int, files: Mapping[str, str]) -> Path:
    """Make a new run directory with its first files, whole or not at all.

    Args:
        job_name: Names it, together with the time.
        out: Where to make it instead, a directory or a URI; it must not exist.
        needed_bytes: What the run will write, about.
        files: Content by name.

    Returns:
        The directory; of a run at a URI, its working copy.

    Raises:
        JobError: It exists, cannot be made, or the disk has no room.
    """
    uri = _free_uri(job_name, out)
    path = _free_path(job_name, out) if uri is None else remote.new_copy(uri)
    existing = next(parent for parent in path.parents if os.path.exists(parent))
    try:
        path.mkdir(parents=True)
    except OSError as error:
        if os.path.isdir(path):  # another run was faster, and what is there is its own
            raise JobError(f"--out: {path} exists; expected a new directory") from None
        _remove(path, existing)
        raise JobError(f"--out: {path} cannot be made: {error.strerror}; choose another place") from None
    try:
        free = shutil.disk_usage(path).free
        if free < needed_bytes + SPARE_BYTES:
            raise JobError(
                f"--out: {free / 1e6:.1f} MB are free at {path}, and the run needs about "
                f"{(needed_bytes + SPARE_BYTES) / 1e6:.1f} MB; make room or choose another place"
            )
        (path / LEDGER).mkdir()
        for name, content in files.items():
            write(path / name, content)
        if uri is not None:
            write(path / remote.URI_FILE, uri)
            remote.publish(uri, files)
    except OSError as error:
        _remove(path, existing)
        raise JobError(f"--out: {path} cannot be made: {error.strerror}; choose another place") from None
    except OrchestratorError as error:
        _remove(path, existing)
        raise JobError(str(error)) from None
    return path


def _free_uri(job_name: str, out: str | Path | None) -> str | None:
    """Return the URI of a new run, or None where it shall lie in a directory."""
    where = home()[0] if out is None else str(out)
    if not is_uri(where):
        return None
    if out is not None:
        found = remote.names(where, "--out")
        way = f", or `orchestrator resume {shlex.quote(where)}`" if JOB in found else ""
        if found:
            raise JobError(f"--out: {where} exists; expected a URI below which there is nothing{way}")
        return where
    names = _new_names(job_name)
    return next(uri for uri in (below(where, f"runs/{n}") for n in names) if not remote.names(uri, "ORCHESTRATOR_HOME"))


def _new_names(job_name: str) -> Iterator[str]:
    base = f"{job_name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))


def _free_path(job_name: str, out: str | Path | None) -> Path:
    if out is not None:
        path = Path(os.path.expanduser(out)).absolute()
        if os.path.lexists(path):
            way = f", or `orchestrator resume {shlex.quote(str(path))}`" if (path / JOB).exists() else ""
            raise JobError(f"--out: {path} exists; expected a new directory{way}")
        return path
    runs = Path(home()[0]) / "runs"
    return next(runs / name for name in _new_names(job_name) if not os.path.lexists(runs / name))


def _remove(path: Path, existing: Path) -> None:
    """Remove a directory that was just made, with the parents that were made for it."""
    shutil.rmtree(path, ignore_errors=True)
    for parent in path.parents:
        if parent == existing:
            return
        try:
            parent.rmdir()
        except OSError:
            return


def find(run: str, *, whole: bool = True) -> Path:
    """Return the directory that RUN means: a path, a URI, a name below `runs/`, or `latest`.

    Args:
        run: What the user gave.
        whole: Of a run at a URI, whether to fetch it to go on with it, or only what tells how far it is.

    Raises:
        JobError: There is none.
    """
    given = Path(os.path.expanduser(run))
    runs = os.path.join(home()[0], "runs") if not is_uri(home()[0]) else below(home()[0], "runs")
    if not is_uri(run) and (run == "latest" or not os.path.exists(given / JOB)):
        known = _known(runs)
        if run == "latest" and not known:
            raise JobError(f"RUN: there is no run in {runs} yet; expected one made by `orchestrator run JOB`")
        if run != "latest" and run not in known:
            raise JobError(f"RUN: {run!r} is neither a run directory nor a name in {runs}.{did_you_mean(run, known)}")
        name = known[-1] if run == "latest" else run
        run = below(runs, name) if is_uri(runs) else os.path.join(runs, name)
    if not is_uri(run):
        return Path(os.path.expanduser(run)).absolute()
    return remote.fetch(run, (MANIFEST, JOB)) if whole else remote.view(run, (MANIFEST, JOB), (STATISTICS,))


def model_of(run: str) -> Path:
    """Return the folder of the model that RUN means: a run's best, or a folder or URI that holds a model itself.

    Raises:
        JobError: There is none, or the run is of another version of the format.
    """
    given = Path(os.path.expanduser(run))
    if not is_uri(run) and (given / MODEL).is_file():
        return given
    if is_uri(run) and MODEL in remote.names(run, "RUN"):
        return remote.folder(run)
    path = find(run, whole=False)
    read_manifest(path)
    uri = remote.uri_of(path)
    has_model = (path / BEST / MODEL).is_file() if uri is None else f"{BEST}/{MODEL}" in remote.names(uri, "RUN")
    if not has_model:
        where = called(path)
        raise JobError(f"RUN: {where} has no model yet; go on with `orchestrator resume {shlex.quote(where)}`")
    return path / BEST if uri is None else remote.folder(below(uri, BEST))


def _known(runs: str) -> list[str]:
    """Return the names of the runs in a folder or at a URI, the one that began last at the end."""
    if is_uri(runs):
        return remote.runs_in(runs)
    found = [path.parent for path in Path(runs).glob(f"*/{JOB}") if (path.parent / LEDGER).is_dir()]
    return [path.name for path in sorted(found, key=lambda path: (path / LEDGER).stat().st_ctime_ns)]


def called(path: Path, name: str = "") -> str:
    """Return what people call a run directory, or `name` in it: its URI, where it is a working copy of a run there."""
    uri = remote.uri_of(path)
    if uri is None:
        return str(path / name)
    return below(uri, name) if name else uri


def write(path: Path, content: str | bytes, *, survives_power_loss: bool = True) -> None:
    """Write a file so that it is there whole or not at all, whoever is killed.

    Args:
        path: The file; folders above it are made.
        content: What to write.
        survives_power_loss: Whether it is on the disk before this returns; else a machine that loses its power may lose
            the file, or leave it torn, but nothing is waited for.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            if survives_power_loss:
                os.fsync(file.fileno())
        os.replace(partial, path)
        if not survives_power_loss:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        hint = "; make room, then resume" if error.errno == errno.ENOSPC else ""
        raise RunError(f"{path} cannot be written: {error.strerror}{hint}") from None


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Return the manifest as it is written."""
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest as a whole."""
    write(path / MANIFEST, manifest_text(manifest))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest.

    Raises:
        JobError: There is none, or it is of another version of the format.
        RunError: It is damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("it has no keys")
        if "schema_version" in manifest:
            _check_version(path / MANIFEST, manifest)
        for key in ("schema_version", "state", "data", "dummy", "timings", "test"):
            if key not in manifest:
                raise ValueError(f"it has no {key!r}")
    except FileNotFoundError:
        raise JobError(f"RUN: {path} has no {MANIFEST}; expected a run directory") from None
    except ValueError as error:
        raise RunError(f"{path / MANIFEST} is damaged ({error}); restore it from a copy, or start a new run") from None
    return manifest


def _check_version(path: Path, manifest: Mapping[str, Any]) -> None:
    found = manifest.get("schema_version")
    if found != SCHEMA_VERSION or isinstance(found, bool):
        made_by = shown(manifest.get("orchestrator"))
        raise JobError(
            f"{path}: schema_version: found {shown(found)}, expected {SCHEMA_VERSION}; use the version of orchestrator "
            f"that made the run, {made_by} (this is {__version__}), or start a new run"
        )


def log(path: Path, event: str, **facts: object) -> None:
    """Add a line to the run's log. A log that cannot be written stops nothing."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    try:
        with open(path / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    except OSError:
        return


def surroundings() -> dict[str, Any]:
    """Return what a result may depend on beside the job: versions, machine, instruction set."""
    return {
        "versions": {"python": platform.python_version(), **{n: metadata.version(n) for n in RECORDED_PACKAGES}},
        "hardware": {
            "machine": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "cpus": os.cpu_count(),
            "cpu": _cpu_model(),
            "byte_order": sys.byteorder,
        },
    }


def changed_versions(before: Mapping[str, str]) -> list[str]:
    """Return which packages are of another version than they were, as `name before -> now`."""
    now = surroundings()["versions"]
    return [f"{name} {before[name]} -> {now[name]}" for name in before if now.get(name) not in (None, before[name])]


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
