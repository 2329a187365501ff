"""Runs in object stores: how their objects make up a run, and the working copies of them on this machine.

A run at a URI has the files of a run directory as objects, but for the ledger: its bytes lie in segments that are never
changed, `ledger/records-<offset>.jsonl`. `writer.json` tells who writes there, and changes as long as that goes on.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator import ledger
from orchestrator.errors import JobError, RunError
from orchestrator.objects import Objects, name_of, reason

URI_FILE, WRITER = "uri", "writer.json"
WATCH_S = 6.0
"""How long a writer may be silent before it counts as gone."""
_SEGMENT = re.compile(rf"{ledger.FOLDER}/records-(\d{{16}})\.jsonl")


@dataclass(frozen=True, slots=True)
class Segment:
    """An object that holds the ledger's bytes from `start` to `end`."""

    name: str
    start: int
    end: int


def is_segment(name: str) -> bool:
    """Tell whether an object holds a part of the ledger."""
    return _SEGMENT.fullmatch(name) is not None


def segment_name(start: int) -> str:
    """Return the name of the segment that begins at a byte of the ledger."""
    return f"{ledger.FOLDER}/records-{start:016d}.jsonl"


def segments(uri: str, sizes: Mapping[str, int]) -> list[Segment]:
    """Return a ledger's segments in order.

    Args:
        uri: The run's.
        sizes: Its objects.

    Raises:
        RunError: Bytes are missing, or there twice.
    """
    found: list[Segment] = []
    end = 0
    for name in sorted(sizes):
        if match := _SEGMENT.fullmatch(name):
            start = int(match[1])
            if start != end:
                what = f"lacks bytes {end} to {start}" if start > end else f"has bytes {start} to {end} twice"
                raise RunError(
                    f"{uri}: the ledger {what}; expected segments that follow one another. Restore "
                    f"{ledger.FOLDER}/ from a copy, or start a new run"
                )
            end = start + sizes[name]
            found.append(Segment(name, start, end))
    return found


def uri_of(path: Path) -> str | None:
    """Return the URI of the run that `path` is the working copy of, or None where it is a run by itself."""
    try:
        return (path / URI_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def new_copy(uri: str) -> Path:
    """Return where a new working copy of a run may be made."""
    return next(place for place in _places(uri) if not os.path.lexists(place))


def publish(uri: str, files: Mapping[str, str]) -> None:
    """Write a new run's first files, in their order.

    Raises:
        JobError: They cannot be written.
    """
    with _named(uri, "--out"):
        run = Objects.at(uri, "--out")
        for name, content in files.items():
            run.write(name, content.encode())


def names(uri: str, key: str) -> set[str]:
    """Return the names of all objects at a URI, where there may be none.

    Raises:
        JobError: The URI cannot be used.
    """
    with _named(uri, key):
        return set(Objects.at(uri, key).sizes())


def runs_in(uri: str) -> list[str]:
    """Return the names of the runs below a URI, the oldest first by the time in their names.

    Raises:
        JobError: The URI cannot be used.
    """

    def began(name: str) -> tuple[str, int, str]:
        stamp = re.search(r"-(\d{8}T\d{6}Z)(?:-(\d+))?$", name)
        return (stamp[1], int(stamp[2] or 1), name) if stamp else ("", 0, name)

    with _named(uri, "ORCHESTRATOR_HOME"):
        return sorted(Objects.at(uri, "ORCHESTRATOR_HOME").folders(), key=began)


def fetch(uri: str, marks: Iterable[str]) -> Path:
    """Fetch a run into its working copy, to go on there.

    A copy that holds more than the run at the URI, since not all of it was sent, is returned as it is.

    Args:
        uri: The run's.
        marks: The files that make it a run.

    Raises:
        JobError: There is no run, or it cannot be read.
        RunError: Its ledger is not whole, or its copy is in use.
    """
    with _named(uri, "RUN"):
        run, sizes = _run_at(uri, marks)
        records = _records(run, sizes)
        for place in _places(uri):
            if not os.path.lexists(place):
                break
            if ledger.is_held(place / ledger.FOLDER):
                raise RunError(f"{uri} is in use by another process; wait for it to end, or stop it")
            known = _whole_lines(_content(place / ledger.FOLDER / ledger.FILE))
            if known.startswith(records) and len(known) > len(records):
                return place
            if records.startswith(known):
                shutil.rmtree(place)
                break
        if not os.path.lexists(place):
            _download(run, (name for name in sizes if not is_segment(name)), place)
            _write_records(place, records)
            (place / URI_FILE).write_text(uri, encoding="utf-8")
        return place


def view(uri: str, marks: Iterable[str], also: Iterable[str] = ()) -> Path:
    """Fetch what tells how far a run is, into a folder that is removed when this process ends.

    Args:
        uri: The run's.
        marks: The files to fetch beside the ledger.
        also: Files to fetch where they are there.

    Raises:
        JobError: There is no run, or it cannot be read.
        RunError: Its ledger is not whole.
    """
    with _named(uri, "RUN"):
        run, sizes = _run_at(uri, marks)
        place = _temporary()
        _write_records(place, _records(run, sizes))
        _download(run, [*marks, *(name for name in also if name in sizes)], place)
        (place / URI_FILE).write_text(uri, encoding="utf-8")
        return place


def folder(uri: str) -> Path:
    """Fetch all objects below a URI, into a folder that is removed when this process ends.

    Raises:
        JobError: There are none, or they cannot be read.
    """
    with _named(uri, "RUN"):
        found = Objects.at(uri, "RUN")
        sizes = found.sizes()
        if not sizes:
            raise JobError(f"RUN: there is nothing at {uri}; expected a model, such as best/ of a run")
        place = _temporary()
        _download(found, sizes, place)
        return place


def is_written(path: Path) -> bool:
    """Tell whether a process writes to the run that `path` is a copy of; watches for seconds where that is not plain.

    Raises:
        JobError: The run cannot be read.
    """
    uri = uri_of(path)
    if uri is None:
        return False
    with _named(uri, "RUN"):
        run = Objects.at(uri, "RUN")
        first, pause, until = writer(run), threading.Event(), time.monotonic() + WATCH_S
        now = first
        while now == first and not now.get("ended", True) and time.monotonic() < until:
            pause.wait(0.2)
            now = writer(run)
        return now != first and not now.get("ended", True)


def writer(run: Objects) -> dict[str, object]:
    """Return what is known of who writes to a run; nothing where nobody ever has."""
    try:
        found: dict[str, object] = json.loads(run.read(WRITER))
    except FileNotFoundError:
        return {}
    return found


def _run_at(uri: str, marks: Iterable[str]) -> tuple[Objects, dict[str, int]]:
    run = Objects.at(uri, "RUN")
    sizes = run.sizes()
    for name in marks:
        if name not in sizes:
            raise JobError(f"RUN: {uri} has no {name}; expected a run made by `orchestrator run JOB --out URI`")
    return run, sizes


def _records(run: Objects, sizes: Mapping[str, int]) -> bytes:
    with ThreadPoolExecutor(16) as pool:
        return _whole_lines(b"".join(pool.map(run.read, [one.name for one in segments(run.uri, sizes)])))


def _write_records(place: Path, records: bytes) -> None:
    (place / ledger.FOLDER).mkdir(parents=True, exist_ok=True)
    (place / ledger.FOLDER / ledger.FILE).write_bytes(records)


def _download(run: Objects, names: Iterable[str], place: Path) -> None:
    def take(name: str) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(run.read(name))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, (name for name in names if name != WRITER)))


def _places(uri: str) -> Iterator[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "orchestrator" / "runs" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    name = name_of(uri) or "run"
    return itertools.chain([kept / name], (kept / f"{name}-{n}" for n in itertools.count(2)))


def _temporary() -> Path:
    place = Path(tempfile.mkdtemp(prefix="orchestrator-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


@contextmanager
def _named(uri: str, key: str) -> Iterator[None]:
    """Tell of failures as errors that name the URI, and the key or flag that named it."""
    try:
        yield
    except OSError as error:
        raise JobError(f"{key}: {uri} cannot be used: {reason(error)}") from None
