"""A folder of Parquet parts, local or in an object store: each is there whole or not at all, and says what it is.

What a part says of itself is in its own footer, so that it can be no older or newer than its rows.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from orchestrator.objects import Objects, is_uri

MARK = b"orchestrator"
"""The key of a part's footer under which it says what it is."""
_COPIED_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Parts:
    """A folder of parts, or where there will be one. Failures are OSErrors.

    Attributes:
        where: Its path or URI.
        objects: What is in it.
    """

    where: str
    objects: Objects

    @classmethod
    def at(cls, where: str, key: str) -> Parts:
        """Find the folder.

        Raises:
            JobError: The URI is not of a kind that is known, or its server does not answer.
        """
        if is_uri(where):
            return cls(where, Objects.at(where, key))
        return cls(where, Objects(where, fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(where))))

    @property
    def path(self) -> Path | None:
        """The folder on this machine, or None where it is in an object store."""
        return Path(self.objects.root) if self.objects.filesystem.type_name == "local" else None

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path to write a part to, which gets its name once it is whole; where that fails, nothing stays."""
        if self.path is not None:
            partial = self.path / f"_{name}.{uuid.uuid4().hex}.partial"  # readers of folders leave out what begins so
            try:
                yield partial
                _sync(partial)
                os.replace(partial, self.path / name)
                _sync(self.path)
            finally:
                partial.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
            partial = Path(folder) / name
            yield partial
            with (
                open(partial, "rb") as source,
                self.objects.filesystem.open_output_stream(f"{self.objects.root}/{name}") as sink,
            ):
                shutil.copyfileobj(source, sink, _COPIED_BYTES)

    def tidy(self) -> None:
        """Remove what earlier writers left half-written."""
        for partial in [] if self.path is None else self.path.glob("_*.partial"):
            partial.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of the parts that are there."""
        return sorted(name for name in self.objects.sizes() if name.endswith(".parquet"))

    def mark_of(self, name: str) -> tuple[int, dict[str, Any]] | None:
        """Return a part's number of rows and what it says of itself, or None where it is no whole part."""
        try:
            with self.objects.filesystem.open_input_file(f"{self.objects.root}/{name}") as source:
                found = pq.read_metadata(source)
            return found.num_rows, json.loads((found.metadata or {})[MARK])
        except (FileNotFoundError, pa.ArrowInvalid, KeyError, ValueError):
            return None

    def join(self, names: Sequence[str], into: Parts, name: str, schema: pa.Schema, options: Mapping[str, Any]) -> None:
        """Write the rows of several parts as one file, in their order."""
        with into.writing(name) as path, pq.ParquetWriter(path, schema, **options) as writer:
            for one in names:
                with self.objects.filesystem.open_input_file(f"{self.objects.root}/{one}") as source:
                    file = pq.ParquetFile(source)
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group).cast(schema))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for name in self.objects.sizes():
            self.objects.delete(name)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
