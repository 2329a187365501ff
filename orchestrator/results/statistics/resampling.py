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
COUNTS_AT_ONCE = 1 << 22
"""Counts in memory at once, 16 MiB of them."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cell of each row, shape (rows,), numbered from 0; and the number of rows in each, shape (cells,)."""

    of_row: Ints
    sizes: Floats

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


def cells(n_rows: int, blocks: npt.NDArray[Any] | None, seed: int) -> Cells:
    """Return the cells of so many rows.

    Args:
        n_rows: How many rows.
        blocks: The block of each row, shape (rows,), where rows of a block are drawn together; None where each row
            stands for itself.
        seed: What decides which rows share a cell where there are more than `MOST_CELLS`.
    """
    if blocks is not None:
        of_row = np.unique(blocks, return_inverse=True)[1].astype(np.int64)
    elif n_rows > MOST_CELLS:
        of_row = np.random.default_rng([seed, 1]).permutation(n_rows) % MOST_CELLS
    else:
        return Cells(np.arange(n_rows), np.ones(n_rows))
    if n_rows == int(of_row.max(initial=-1)) + 1:
        return Cells(np.arange(n_rows), np.ones(n_rows))
    return Cells(of_row, np.bincount(of_row).astype(np.float64))


def contiguous_blocks(n_rows: int) -> Ints:
    """Return blocks of neighbouring rows, shape (rows,), for rows whose order is that of time.

    A block has about the cube root of the rows, the rate that is best for a mean's variance (Hall, Horowitz and Jing,
    Biometrika 1995).
    """
    blocks: Ints = np.arange(n_rows, dtype=np.int64) // max(1, round(n_rows ** (1 / 3)))
    return blocks


def counts(n_cells: int, n_draws: int, seed: int) -> Iterator[Singles]:
    """Yield how often each cell is drawn, shape (some draws, cells): as many cells as there are, with replacement."""
    generator = np.random.default_rng([seed, 2])
    step = max(1, COUNTS_AT_ONCE // n_cells)
    for start in range(0, n_draws, step):
        some = min(step, n_draws - start)
        drawn = generator.integers(0, n_cells, (some, n_cells), dtype=np.int64)
        drawn += np.arange(0, some * n_cells, n_cells)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=some * n_cells)
        yield times.astype(np.float32).reshape(some, n_cells)
