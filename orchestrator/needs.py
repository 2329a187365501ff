"""What a run needs of memory, about, known before it: from numbers of rows and columns alone."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import families
from orchestrator.compose import Prepared
from orchestrator.data.columns import SCALARS
from orchestrator.data.store import SAMPLE_BYTES, STRETCH_BYTES

PROCESS_BYTES = 300e6
"""A process with scikit-learn and Arrow loaded, or the driver."""
NETWORK_BYTES = 1300e6
"""A process in which TensorFlow has compiled, trained and predicted; libraries are more than a third of it."""
COPIES = 4
"""How often a worker holds its fold at most: prepared, on its way there, and the one before, which neighbours keep."""
COPIES_OF_NETWORKS = 5
"""The same of networks, whose preparations share a program."""
COPIES_OF_DRIVER = 5
"""How often the driver holds the rows at most, while it reads: as Arrow has them, split, and encoded; inline, what a
worker of scikit-learn holds comes on top."""
STREAMED_ROW_BYTES = 28
"""What a worker holds of each row in a file: its target and its place, both once more while they arrive."""
STREAMING_BYTES = 800e6
"""The driver, with the buffers through which rows go to their file."""
DRIVER_ROW_BYTES = 25
"""What the driver holds of each, while it draws test rows and folds."""
STRETCHES = 12


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of memory, about.

    Attributes:
        shared: What each node holds once, for all of its workers.
        worker: What a worker holds at most, whichever search it computes for.
        driver: What the driver holds at most.
        on_disk: What the rows take in the run directory, where they are streamed.
    """

    shared: float
    worker: float
    driver: float
    on_disk: float = 0.0


def needs_of(prepared: Prepared) -> Needs:
    """Return what a job needs."""
    train = prepared.data.train
    n_rows = len(train.target)
    engines = [families.find(search.family).engine for search in prepared.job.searches]
    if prepared.data.streamed is not None:
        worker = NETWORK_BYTES + STREAMED_ROW_BYTES * n_rows + STRETCHES * STRETCH_BYTES
        worker += SAMPLE_BYTES / 2 if any(column.kind not in SCALARS for column in train.columns) else 0
        driver = STREAMING_BYTES + DRIVER_ROW_BYTES * n_rows + STRETCHES * STRETCH_BYTES
        shared = train.target.nbytes + sum(fold.train.nbytes + fold.valid.nbytes for fold in train.folds)
        return Needs(shared, worker, driver, train.features.nbytes)
    fold = max(len(one.train) for one in train.folds) * prepared.shape.width * 8
    workers = [
        NETWORK_BYTES + COPIES_OF_NETWORKS * fold if engine == "tensorflow" else PROCESS_BYTES + COPIES * fold
        for engine in engines
    ]
    shared = train.features.nbytes + train.target.nbytes
    return Needs(shared, max(workers), PROCESS_BYTES + COPIES_OF_DRIVER * shared)
