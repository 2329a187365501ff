"""Whether a worker's process has grown so much that another should take its place."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

GROWTH_BYTES = 2**30
"""How much a process may grow: a process with TensorFlow loaded holds about 0.3 GiB of its own, and another 0.3 once it
has trained, so that a bound of 1 GiB is passed by what piles up alone. A new process costs the seconds of an import."""


class MemoryWatch:
    """Measures the process between units, when it holds nothing of one; the first measurement is what it may hold."""

    def __init__(self) -> None:
        self._first: int | None = None

    def has_grown(self) -> bool:
        """Tell whether the process holds `GROWTH_BYTES` more than at first, also once it gave back what it can."""
        if self._first is None:
            self._first = private_bytes()
            return False
        if not self._is_above():
            return False
        _give_back()
        return self._is_above()

    def _is_above(self) -> bool:
        return private_bytes() - (self._first or 0) > GROWTH_BYTES


def private_bytes() -> int:
    """Return the memory that is this process's alone: no libraries' files, no data shared on the node; 0 off Linux."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    gc.collect()
    trim = getattr(
        ctypes.CDLL(None), "malloc_trim", None
    )  # glibc keeps what was freed; other libraries have no such call
    if trim is not None:
        trim(0)
