"""Which rows a bootstrap draws together, and how often: cells of rows, and the counts with which they are drawn.

A **cell** is what is drawn as a whole: a row, a block of rows that depend on one another, or, of many rows, some that
were put together at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MOST_CELLS = 50_000
"""More rows than these are put together at random: an interval is as good, and costs no more."""
LEAST_OF_FOLD = 10
"""Cells of a fold; drawn among fewer, they would vary too little."""
COUNTS_AT_ONCE = 1 << 22
"""Counts in memory at once, 16 MiB of them."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What is drawn.

    Attributes:
        of_row: The cell of each row, shape (rows,), numbered from 0.
        sizes: The number of rows in each, shape (cells,).
        stratum: The fold of each, shape (cells,), where cells are drawn fold by fold; else 0.
        n_repeats: How often each row is there, since folds were repeated; all of them in one cell.
    """

    of_row: Ints
    sizes: Floats
    stratum: Ints
    n_repeats: int = 1

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def are_rows(self) -> bool:
        """Whether each row is a cell of its own."""
        return len(self.sizes) == len(self.of_row)

    def sums(self, values: npt.NDArray[Any]) -> Floats:
        """Return the sum of a number a row over each cell, shape (cells,)."""
        if self.are_rows:
            return np.asarray(values, dtype=np.float64)
        return np.bincount(self.of_row, values, len(self.sizes)).astype(np.float64)


def cells(fold: npt.NDArray[Any], blocks: npt.NDArray[Any] | None, seed: int, n_repeats: int = 1) -> Cells:
    """Return the cells of rows.

    They are drawn fold by fold, since a score is a mean over folds and what differs between these is no news of a
    trial: unless there are few in a fold, or some lie in several.

    Args:
        fold: The fold that scores each row, shape (rows,).
        blocks: The block of each row, shape (rows,), where rows of a block are drawn together; None where each row
            stands for itself.
        seed: What decides which rows or blocks share a cell where there are more than `MOST_CELLS`.
        n_repeats: How often each row is there; blocks then put the same ones together.
    """
    n_rows = len(fold)
    of_row: Ints = np.arange(n_rows, dtype=np.int64)
    if blocks is not None:
        of_row = np.unique(blocks, return_inverse=True)[1].astype(np.int64)
        if (n_blocks := int(of_row.max(initial=-1)) + 1) > MOST_CELLS:
            of_row = (np.random.default_rng([seed, 1]).permutation(n_blocks) % MOST_CELLS)[of_row]
    elif n_rows > MOST_CELLS:
        of_row = np.random.default_rng([seed, 1]).permutation(n_rows) % MOST_CELLS
    if n_rows == int(of_row.max(initial=-1)) + 1:
        of_row = np.arange(n_rows, dtype=np.int64)
    stratum = np.zeros(int(of_row.max(initial=-1)) + 1, dtype=np.int64)
    stratum[of_row] = np.unique(fold, return_inverse=True)[1]
    are_whole = bool((fold == fold[np.unique(of_row, return_index=True)[1]][of_row]).all())
    if not are_whole or np.bincount(stratum).min() < LEAST_OF_FOLD:
        stratum[:] = 0
    return Cells(of_row, np.bincount(of_row).astype(np.float64), stratum, n_repeats)


def contiguous_blocks(n_rows: int) -> Ints:
    """Return blocks of neighbouring rows, shape (rows,), for rows whose order is that of time.

    A block has about the cube root of the rows, the rate that is best for a mean's variance (Hall, Horowitz and Jing,
    Biometrika 1995).
    """
    blocks: Ints = np.arange(n_rows, dtype=np.int64) // max(1, round(n_rows ** (1 / 3)))
    return blocks


def counts(cells: Cells, n_draws: int, seed: int) -> Iterator[Singles]:
    """Yield how often each cell is drawn, shape (some draws, cells): as many cells as there are, with replacement."""
    generator = np.random.default_rng([seed, 2])
    strata = [np.flatnonzero(cells.stratum == one) for one in np.unique(cells.stratum)]
    step = max(1, COUNTS_AT_ONCE // len(cells))
    for start in range(0, n_draws, step):
        some = min(step, n_draws - start)
        times = np.empty((some, len(cells)), dtype=np.float32)
        for those in strata:
            n = len(those)
            drawn = generator.integers(0, n, (some, n), dtype=np.int32)
            drawn += np.arange(0, some * n, n, dtype=np.int32)[:, np.newaxis]
            times[:, those] = np.bincount(drawn.ravel(), minlength=some * n).reshape(some, n)
        yield times
