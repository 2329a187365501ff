"""How often a trial's 95 % interval holds the truth where rows depend on each other: by blocks, and as if they did not.

A model is right where a normal number is below a threshold; the numbers of a group have a correlation of 0.3, those of
neighbours in time one of 0.6. Prints a table for `docs/splits.md`: `python benchmarks/dependent_rows.py`, a minute.
"""

from __future__ import annotations

import argparse
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from orchestrator.data.dependence import Dependence
from orchestrator.results.statistics import Candidate, assess

Array = npt.NDArray[Any]
ACCURACY, OF_GROUP, ROWS_OF_GROUP, OF_NEIGHBOURS = 0.75, 0.3, 10, 0.6


def codes_of(kind: Literal["group", "time"], n_rows: int) -> Array:
    """Return the group or the time of each row, shape (rows,)."""
    return np.arange(n_rows) // (ROWS_OF_GROUP if kind == "group" else 1)


def is_right(kind: Literal["group", "time"], n_rows: int, generator: np.random.Generator) -> Array:
    """Return which rows a model of known accuracy is right on, shape (rows,)."""
    own = generator.normal(size=n_rows)
    if kind == "group":
        shared = generator.normal(size=n_rows // ROWS_OF_GROUP + 1)[codes_of(kind, n_rows)]
        values = np.sqrt(OF_GROUP) * shared + np.sqrt(1 - OF_GROUP) * own
    else:
        values = own.copy()
        for row in range(1, n_rows):
            values[row] = OF_NEIGHBOURS * values[row - 1] + np.sqrt(1 - OF_NEIGHBOURS**2) * own[row]
    return np.asarray(values < norm.ppf(ACCURACY))


def coverage(kind: Literal["group", "time"], n_rows: int, n_draws: int, *, by_blocks: bool) -> float:
    """Return the share of intervals that hold the truth."""
    blocks = Dependence(kind, "c", codes_of(kind, n_rows)).blocks() if by_blocks else None
    n_held = 0
    for seed in range(n_draws):
        generator = np.random.default_rng(seed)
        right, truth = is_right(kind, n_rows, generator), generator.integers(0, 2, n_rows)
        said = np.where(right, truth, 1 - truth)
        board = [Candidate("one", float(right.mean()), ())]
        one = assess(
            "accuracy", "classification", truth, np.zeros(n_rows), board, {"one": said}.__getitem__, blocks=blocks
        )
        low, high = one.trials["one"].ci_low, one.trials["one"].ci_high
        n_held += low is not None and high is not None and low <= ACCURACY <= high
    return n_held / n_draws


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300)
    n_draws = parser.parse_args().draws
    print("| rows | depend by | intervals that hold, by blocks | as if independent |\n|---|---|---|---|")
    kinds: tuple[Literal["group", "time"], ...] = ("group", "time")
    for n_rows in (300, 1000, 3000):
        for kind in kinds:
            shares = [coverage(kind, n_rows, n_draws, by_blocks=by_blocks) for by_blocks in (True, False)]
            print(f"| {n_rows} | {kind} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
