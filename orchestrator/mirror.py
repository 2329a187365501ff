"""Keeps a run at a URI as its working copy is: finished work is there within seconds, in an order that can be resumed.

The working copy is a run directory like any other; nothing here changes it. One process writes to a run: it says so in
`writer.json`, and leaves off where another one has said so since.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from orchestrator import oof, remote, rundir
from orchestrator.errors import Interrupted, RunError
from orchestrator.ledger import FILE
from orchestrator.objects import Objects, reason

EVERY_S = 1.0
LAST_TRY_S = 20.0
"""How long the end of a run waits for a store that cannot be reached."""
_LAST = (f"{rundir.BEST}/signature.json", rundir.MANIFEST)
"""What says that a model, and a run, are whole."""
_LOG = logging.getLogger(__name__)
_Stamp = tuple[int, int, int]


def mirrored(path: Path, on_lost: Callable[[], None]) -> AbstractContextManager[object]:
    """Return what keeps the run of a working copy as the copy is while it is entered; for other runs, nothing.

    Args:
        path: A run directory, whose ledger this process holds.
        on_lost: Called where another process has taken the run over, which is raised at the end.
    """
    uri = remote.uri_of(path)
    return nullcontext() if uri is None else Mirror(path, uri, on_lost)


class Mirror:
    """Sends what changes in a working copy to its URI, from a thread of its own.

    Args:
        path: The working copy.
        uri: Where the run lies.
        on_lost: As for `mirrored`.
    """

    def __init__(self, path: Path, uri: str, on_lost: Callable[[], None]) -> None:
        self._path, self._uri, self._on_lost = path, uri, on_lost
        self._run = Objects.at(uri, "RUN")
        self._writer = uuid.uuid4().hex
        self._beats = 0
        self._sent: dict[str, _Stamp | None] = {}
        self._sent_bytes = 0
        self._lost: RunError | None = None
        self._is_over = threading.Event()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, name="mirror", daemon=True)
        self._beat = threading.Thread(target=self._keep_beating, name="mirror-beat", daemon=True)

    def __enter__(self) -> Mirror:
        """Take the run over, and begin to send.

        Raises:
            RunError: Another process writes there, has gone on from another state, or the store cannot be used.
        """
        if remote.is_written(self._path):
            raise self._in_use("is in use by another process; wait for it to end, or stop it")
        try:
            self._say_who_writes()
            self._beat.start()
            sizes = self._run.sizes()
            self._sent = {name: None for name in sizes if name != remote.WRITER and not remote.is_segment(name)}
            self._sent_bytes = self._agreed_bytes(sizes)
            self._send()
        except OSError as error:
            self._has_ended.set()
            raise RunError(f"{self._uri} cannot be used: {reason(error)}") from None
        except BaseException:
            self._has_ended.set()
            raise
        self._thread.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        """Send the rest.

        Raises:
            RunError: It could not be sent, or another process has taken the run over; where another error is under way,
                what could not be sent is a warning.
            Interrupted: Somebody would not wait for that.
        """
        try:
            self._is_over.set()
            self._thread.join()
            self._send_rest()
        except KeyboardInterrupt:
            raise Interrupted(f"stopped before all of {self._uri} was written; {self._unsent()}") from None
        except RunError as problem:
            if kind is None or self._lost is not None:
                raise
            _LOG.warning("warning: %s", problem)
        finally:
            self._has_ended.set()

    def _send_rest(self) -> None:
        until = time.monotonic() + LAST_TRY_S
        while self._lost is None:
            try:
                self._check_writer()
                self._send()
                self._has_ended.set()
                self._beat.join()
                self._say_who_writes(ended=True)
                return
            except RunError as lost:
                self._lost = lost
            except OSError as error:
                if time.monotonic() > until:
                    problem = f"{self._uri} cannot be written: {reason(error)}; {self._unsent()}"
                    raise RunError(problem) from None
                threading.Event().wait(EVERY_S)
        raise self._lost from None

    def _unsent(self) -> str:
        return f"{self._path} holds the whole run. Send it with: orchestrator resume {shlex.quote(str(self._path))}"

    def _keep_sending(self) -> None:
        is_warned = False
        while not self._is_over.wait(EVERY_S):
            try:
                self._check_writer()
                self._send()
                is_warned = False
            except RunError as lost:
                self._lost = lost
                self._on_lost()
                return
            except Exception as error:  # noqa: BLE001  nothing may end this thread without a word
                if not is_warned:
                    _LOG.warning(
                        "warning: %s cannot be written: %s; the run goes on in %s, and is sent once it can be",
                        self._uri,
                        reason(error),
                        self._path,
                    )
                is_warned = True

    def _keep_beating(self) -> None:
        """Say every second who writes, however long an upload takes."""
        while not self._has_ended.wait(EVERY_S):
            with suppress(OSError, ValueError):  # what sends finds it out, and says so
                if remote.writer(self._run).get("writer") == self._writer and not self._has_ended.is_set():
                    self._say_who_writes()

    def _check_writer(self) -> None:
        if remote.writer(self._run).get("writer") != self._writer:
            raise self._in_use("was taken over by another process")

    def _say_who_writes(self, *, ended: bool = False) -> None:
        self._beats += 1
        state = {"writer": self._writer, "beat": self._beats, "ended": ended}
        self._run.write(remote.WRITER, json.dumps(state).encode())

    def _in_use(self, what: str) -> RunError:
        return RunError(f"{self._uri} {what}; what was finished here is in {self._path}")

    def _agreed_bytes(self, sizes: dict[str, int]) -> int:
        """Return how much of the ledger is there, which must be as it is here."""
        found = remote.segments(self._uri, sizes)
        if not found:
            return 0
        last, content = found[-1], self._run.read(found[-1].name)
        if not content.endswith(b"\n"):  # torn, on a file system that shows what is not yet whole
            self._run.delete(last.name)
            return last.start
        if self._records(last.start)[: len(content)] != content:
            raise self._in_use(f"has gone on from another state; resume {self._uri}")
        return last.end

    def _records(self, start: int) -> bytes:
        """Return the whole lines of the ledger from a byte on."""
        with open(self._path / rundir.LEDGER / FILE, "rb") as file:
            file.seek(start)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def _send(self) -> None:
        """Send what has changed.

        A job that was changed goes before the records that are made under it, as it is written here, and so does what
        trials said; the manifest, which says how a run ended, goes last.
        """
        records, stamps = self._records(self._sent_bytes), self._stamps()
        if stamps.get(rundir.JOB) != self._sent.get(rundir.JOB):
            for name in (rundir.MANIFEST, rundir.JOB):
                if name in stamps:
                    self._send_file(name, stamps[name])
        for name in sorted(stamps):
            if name.startswith(f"{oof.FOLDER}/"):
                self._send_file(name, stamps[name])
        self._send_records(records)
        for name in sorted(stamps, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name)):
            self._send_file(name, stamps[name])
        for name in self._sent.keys() - stamps.keys() - {rundir.JOB, rundir.MANIFEST}:
            if not os.path.lexists(self._path / name):
                self._run.delete(name)
                del self._sent[name]

    def _send_records(self, content: bytes) -> None:
        while content:
            name = remote.segment_name(self._sent_bytes)
            sent = content
            if self._run.exists(name):  # ours, where an answer was lost on its way; else another process's
                sent = self._run.read(name)
                if not sent or not content.startswith(sent):
                    raise self._in_use("is in use by another process")
            else:
                self._run.write(name, content)
            self._sent_bytes += len(sent)
            content = content[len(sent) :]

    def _send_file(self, name: str, stamp: _Stamp) -> None:
        if self._sent.get(name) == stamp:
            return
        try:
            content = (self._path / name).read_bytes()
        except FileNotFoundError:  # replaced as a whole just now; the next time finds what came instead
            return
        self._run.write(name, content)
        self._sent[name] = stamp

    def _stamps(self) -> dict[str, _Stamp]:
        """Return what tells a file's versions apart, by its name, of all files that are sent whole."""
        found = {}
        for folder, folders, files in os.walk(self._path):
            folders[:] = [name for name in folders if not name.endswith(".partial")]
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self._path)
                if file.endswith(".partial") or name == remote.URI_FILE or name.startswith(f"{rundir.LEDGER}/"):
                    continue
                try:
                    status = os.stat(self._path / name)
                except FileNotFoundError:
                    continue
                found[name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found
