"""What makes scikit-learn compute the same on every machine: one thread, and chunks of a fixed size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import sklearn
from threadpoolctl import ThreadpoolController

WORKING_MEMORY_MB = 64
"""scikit-learn's bound on a chunk of distances where it makes them explicitly (cosine). A constant, since the chunk's
shape can change last bits, and a small one, since a worker holds several chunks at once."""


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, whatever the machine: workers share its cores, and results must not depend on them.

    Warnings are silenced: what matters of them is a finding of the checks, or an outcome.
    """
    with (
        _controller().limit(limits=1),
        sklearn.config_context(working_memory=WORKING_MEMORY_MB),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
