"""The file that says what a model is, sealed with a hash of itself and of every file beside it.

The hashes tell damage and later changes. They are no signature: who can write all files can write their hashes too,
and so whatever reads the files must be safe by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import rundir
from orchestrator.errors import DataError, JobError, shown

SIGNATURE_FILE, SCHEMA_VERSION = rundir.MODEL, 1
_AGAIN = "make it again with `orchestrator resume RUN`, or load it with the version that made it"


def seal(folder: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write a model's files, and the signature file over them with `facts`."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: _hash(files[name]) for name in sorted(files)}
    described = {**facts, "schema_version": SCHEMA_VERSION, "files": hashes}
    text = json.dumps({**described, "hash": _hash(_canonical(described))}, indent=2, ensure_ascii=False) + "\n"
    (folder / SIGNATURE_FILE).write_text(text, encoding="utf-8")


def unsealed(folder: Path) -> dict[str, Any]:
    """Return what the signature file says, once it and all files that it names are known to be as they were written.

    Raises:
        JobError: There is no such file, or one of those that it names is missing.
        DataError: It is of another version of the format, is damaged, or a file has changed.
    """
    path = folder / SIGNATURE_FILE
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise JobError(f"{folder} holds no model: {SIGNATURE_FILE} is missing") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder} holds no usable model: {SIGNATURE_FILE} is no JSON ({error})") from None
    if not isinstance(described, dict):
        raise DataError(f"{folder} holds no usable model: {SIGNATURE_FILE} holds no keys; expected what a run wrote")
    _check_version(path, described)
    said = described.pop("hash", None)
    if said != _hash(_canonical(described)):
        raise DataError(f"{path} has changed since it was written; restore it from a copy, or {_AGAIN}")
    _check_files(folder, described.get("files"))
    return described


def _check_version(path: Path, described: Mapping[str, Any]) -> None:
    found = described.get("schema_version")
    if found == SCHEMA_VERSION and not isinstance(found, bool):
        return
    is_newer = isinstance(found, int) and found > SCHEMA_VERSION
    what = "none, so an older version of orchestrator made the model" if found is None else shown(found)
    way = "load it with the version that made it, or a newer one" if is_newer else _AGAIN
    raise DataError(f"{path}: schema_version: found {what}; expected {SCHEMA_VERSION}: {way}")


def _check_files(folder: Path, hashes: Any) -> None:
    if not isinstance(hashes, dict) or not all(isinstance(name, str) for name in hashes):
        raise DataError(f"{folder / SIGNATURE_FILE}: files: expected names and their hashes, found {shown(hashes)}")
    for name, expected in hashes.items():
        if Path(name).name != name or "\\" in name:
            raise DataError(f"{folder / SIGNATURE_FILE}: files: {name!r} lies outside of the folder; expected a name")
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            raise JobError(f"{folder} holds no model: {name} is missing; restore it from a copy, or {_AGAIN}") from None
        if _hash(content) != expected:
            raise DataError(
                f"{folder / name} has changed since it was written: found hash {_hash(content)}, expected {expected}; "
                f"restore it from a copy, or {_AGAIN}"
            )


def _canonical(described: Mapping[str, Any]) -> bytes:
    return json.dumps(described, sort_keys=True, ensure_ascii=False).encode()


def _hash(content: bytes) -> str:
    return f"blake2b:{hashlib.blake2b(content, digest_size=32).hexdigest()}"
