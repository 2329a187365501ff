"""Files that a space names, word vectors or pretrained weights: carried to workers with the data, known by content.

A trial is known by its params, so a file is part of them as `name@hash`: the same wherever the file lies, and another
one once it changes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.errors import JobError, shown
from orchestrator.space import Params, Space

DIGITS = 12
"""Hexadecimal digits of the content's SHA-256 in a file's name."""
Content = npt.NDArray[np.uint8]


class Attachments:
    """The files of one job.

    Args:
        known: The paths of files that the job knows by name already: of a run that goes on.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self.paths: dict[str, str] = {}
        self._known = known

    def by_path(self, space: Space, key: str) -> Space:
        """Return a space with the paths of the files that it names by `name@hash`.

        Raises:
            JobError: One is gone, or has changed.
        """
        return _replaced(space, lambda name, value: self._path(value, f"{key}.{name}"))

    def by_name(self, space: Space) -> Space:
        """Return a space with files in place of their absolute paths as `name@hash`, and remember them."""
        return _replaced(space, lambda _, value: self._name(value))

    def contents(self) -> dict[str, Content]:
        """Return the bytes of every file, by name."""
        return {name: np.fromfile(path, np.uint8) for name, path in self.paths.items()}

    def _path(self, value: str, key: str) -> str:
        path = self._known.get(value)
        if path is None:
            return value
        if not Path(path).is_file():
            raise JobError(f"{key}: {path} is not there any more; expected the file that the run began with")
        if _named(path) != value:
            raise JobError(
                f"{key}: {path} has changed since the run began ({shown(value)} was its content, and is "
                f"{_named(path)}); restore it, or start a new run"
            )
        return path

    def _name(self, value: str) -> str:
        if not (Path(value).is_absolute() and Path(value).is_file()):
            return value
        name = _named(value)
        self.paths[name] = value
        return name


def _replaced(space: Space, replace: Callable[[str, str], str]) -> Space:
    def one(name: str, value: Any) -> Any:
        return replace(name, value) if isinstance(value, str) else value

    return {
        name: [one(name, value) for value in entry] if isinstance(entry, list) else one(name, entry)
        for name, entry in space.items()
    }


def _named(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{Path(path).name}@{digest.hexdigest()[:DIGITS]}"


def written(params: Params, files: Mapping[str, Content]) -> Params:
    """Return params with each attached file as a path that this process can read."""
    return {
        name: _written(value, files[value]) if isinstance(value, str) and value in files else value
        for name, value in params.items()
    }


def path_of(name: str, files: Mapping[str, Content]) -> Path:
    """Return the path of one attached file in this process."""
    return Path(_written(name, files[name]))


def _written(name: str, content: Content) -> str:
    file, _, digest = name.rpartition("@")
    path = _folder() / digest / file
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f"{file}.{threading.get_ident()}.partial")
        content.tofile(partial)
        os.replace(partial, path)
    return str(path)


@cache
def _folder() -> Path:
    """Return this process's own folder, gone when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="orchestrator-files-")
    _folders.append(folder)
    return Path(folder.name)


_folders: list[tempfile.TemporaryDirectory[str]] = []
