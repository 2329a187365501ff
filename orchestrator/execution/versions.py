"""Versions that results depend on: the same in every process of a run, or the run is refused."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from orchestrator.version import __version__

PACKAGES = ("ray", "numpy", "scipy", "scikit-learn", "pyarrow", "tensorflow", "keras")


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions in this process, by name."""
    found = [("orchestrator", f"{__version__} of source {_source()}"), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, "none"))
    return tuple(found)


def _source() -> str:
    """Return a hash of this package's source."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


@cache
def differences(expected: tuple[tuple[str, str], ...]) -> str | None:
    """Return how this process differs from another one in words; None where it does not."""
    here = dict(versions())
    other = [f"{name} {here.get(name, 'none')} (the driver has {wanted})" for name, wanted in expected]
    changed = [text for text, (name, wanted) in zip(other, expected, strict=True) if here.get(name, "none") != wanted]
    return ", ".join(changed) or None
