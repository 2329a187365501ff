"""Zip archives that hold models: looked at before anything in them is read, since a file may come from anywhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

SMALL_BYTES = 64 << 20
"""What an archive may always unpack to."""
MOST_TIMES = 20
"""How many times its own size an archive may unpack to; models are stored all but uncompressed."""


def members(content: bytes, name: str) -> tuple[str, ...]:
    """Return the names of an archive's members.

    Args:
        content: The archive.
        name: What it is called in messages.

    Raises:
        ValueError: It is no archive, a member lies outside of it or is there twice, or it unpacks to far more than
            its size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        kind = "a pickle" if content[:1] == b"\x80" else "no zip archive"
        raise ValueError(f"{name} cannot be read: it is {kind}; expected the archive that the run wrote") from None
    names = tuple(info.filename for info in infos)
    for one in names:
        if one.startswith("/") or "\\" in one or ":" in one or ".." in PurePosixPath(one).parts:
            raise ValueError(f"{name} has a member that lies outside of it, {one!r}; expected plain names")
    if len(set(names)) < len(names):
        raise ValueError(f"{name} has members of one name; expected each once")
    unpacked, allowed = sum(info.file_size for info in infos), max(SMALL_BYTES, MOST_TIMES * len(content))
    if unpacked > allowed:
        raise ValueError(
            f"{name} has {len(content)} bytes and unpacks to {unpacked}; expected at most {allowed}, so it is no model"
        )
    return names
