"""Where predictions go: a folder of parts that can be gone on with, or one file that is made of such a folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.objects import is_uri, reason
from orchestrator.results.parts import Parts

MANIFEST, DRIFT, SUFFIX = "_predictions.json", "_drift.json", ".parquet"
"""What begins with an underscore is left out by whoever reads the folder as a dataset."""
_KEY = "--out"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where predictions go. Failures are OSErrors.

    Attributes:
        out: What the user named, as an absolute path or a URI.
        parts: The folder of parts: `out`, or one beside it that is removed when the file is made.
        file: The folder and the name of the one file, or None.
    """

    out: str
    parts: Parts
    file: tuple[Parts, str] | None

    @classmethod
    def of(cls, out: str | Path) -> Destination:
        """Find it.

        Raises:
            JobError: A URI is not of a kind that is known, or its server does not answer.
        """
        named = str(out) if is_uri(str(out)) else os.path.abspath(Path(out).expanduser())
        place, mark, options = named.partition("?") if is_uri(named) else (named, "", "")
        if not place.endswith(SUFFIX):
            return cls(named, Parts.at(named, _KEY), None)
        folder, _, name = place.rpartition("/")
        parts = Parts.at(f"{place}.parts{mark}{options}", _KEY)
        return cls(named, parts, (Parts.at(f"{folder or '/'}{mark}{options}", _KEY), name))

    @contextmanager
    def begun(self, marker: Mapping[str, Any]) -> Iterator[bool]:
        """Make the folder of parts, or find it again, and keep others out of it meanwhile.

        Args:
            marker: What the predictions are of: their `model`, `data` and `keys`.

        Yields:
            Whether it is new.

        Raises:
            JobError: There is something else, or another process writes there.
        """
        path = self.parts.path
        with self._making():
            names = self._found(marker)
            if path is not None:
                path.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            self.parts.tidy()
            if not names:
                with self._making():
                    self.parts.objects.write(MANIFEST, _json({**marker, "state": "running"}))
            yield not names

    @contextmanager
    def _making(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or reason(error)
            raise JobError(f"{_KEY}: {self.out} cannot be made: {why}; choose another place") from None

    def _found(self, marker: Mapping[str, Any]) -> dict[str, int]:
        """Return what is there already, and may be gone on with."""
        if self.file is not None and self.file[0].objects.exists(self.file[1]):
            raise JobError(f"{_KEY}: {self.out} exists; expected a new file, or a directory")
        path = self.parts.path
        if path is not None and path.exists() and not path.is_dir():
            raise JobError(f"{_KEY}: {path} is a file; expected a directory, or a name that ends in {SUFFIX}")
        names = self.parts.objects.sizes()
        if names:
            self._check(marker, names)
        return names

    def _check(self, marker: Mapping[str, Any], names: Mapping[str, int]) -> None:
        where, another = self.parts.where, "choose another place for these predictions, or remove it"
        if MANIFEST not in names:
            raise JobError(f"{_KEY}: {where} holds something else; expected a new directory, or one begun by predict")
        try:
            before = json.loads(self.parts.objects.read(MANIFEST))
            for key, what in (("model", "another model"), ("data", "other data, or these before they changed")):
                if before[key] != marker[key]:
                    raise JobError(f"{_KEY}: {where} holds predictions of {what}; {another}")
            if before["keys"] != marker["keys"]:
                keys = ",".join(before["keys"]) or "none"
                raise JobError(
                    f"--keys: {where} holds predictions with the keys {keys}; expected the same, or {another}"
                )
        except (ValueError, KeyError, TypeError):
            raise JobError(f"{_KEY}: {where}/{MANIFEST} is damaged; {another}") from None

    def join(self, names: Sequence[str], schema: pa.Schema, options: Mapping[str, Any]) -> None:
        """Make the one file of the parts, if there shall be one."""
        if self.file is not None:
            folder, name = self.file
            self.parts.join(names, folder, name, schema, options)

    def conclude(self, marker: Mapping[str, Any], drift: Mapping[str, Any] | None) -> None:
        """Write how far the rows have drifted beside the predictions, and that these are whole."""
        if drift is not None:
            folder, name = (self.parts, DRIFT) if self.file is None else self.file
            folder.objects.write(name.removesuffix(SUFFIX) + ".drift.json" if self.file else name, _json(drift))
        if self.file is None:
            self.parts.objects.write(MANIFEST, _json({**marker, "state": "finished"}))
        else:
            self.parts.remove()


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Hold a local folder for this process; in an object store whoever writes must see to that."""
    if path is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(f"{_KEY}: {path} is in use by another process; wait for it to end, or stop it") from None
        yield
    finally:
        os.close(descriptor)


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
