"""The rows of a dataset that a job asks for, in order: scanned with what can be pushed down, then filtered exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.clauses import Filters
from orchestrator.data.filters import columns_of, expression, of_scan
from orchestrator.data.plain import plain_table
from orchestrator.job import Sample

Places = npt.NDArray[np.int64]


class Rows:
    """The rows of a dataset that filters let through.

    Args:
        dataset: What `parquet.open_dataset` gave.
        filters: What must hold of the rows.

    Raises:
        JobError: A filter does not fit the dataset.
    """

    def __init__(self, dataset: ds.Dataset, filters: Filters) -> None:
        self._dataset, self._looked_at = dataset, columns_of(filters)
        self._exact = expression(filters, dataset.schema)
        self._pushed = of_scan(filters, dataset.schema)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Read all of them, in plain types."""
        return self.filtered(self._dataset.to_table(columns=self.needed(columns), filter=self._pushed), columns)

    def count(self) -> int:
        """Count them; without filters by the files' footers alone."""
        if self._exact is None:
            return int(self._dataset.count_rows())
        return sum(table.num_rows for table in self._tables([]))

    def taken(self, columns: Sequence[str], places: Places) -> pa.Table:
        """Read some of them by their places among all, ascending; no others stay in memory."""
        n_before, found = 0, [self.filtered(self._dataset.schema.empty_table(), columns)]
        for table in self._tables(columns):
            first, last = np.searchsorted(places, [n_before, n_before + len(table)])
            if last > first:
                found.append(table.take(pa.array(places[first:last] - n_before)))
            n_before += len(table)
        return pa.concat_tables(found)

    def needed(self, columns: Sequence[str]) -> list[str]:
        """Return columns, and those that filters look at."""
        return list(dict.fromkeys([*columns, *self._looked_at]))

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for batch in self._dataset.to_batches(columns=self.needed(columns), filter=self._pushed):
            yield self.filtered(pa.table(batch), columns)

    def filtered(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Return those rows of a table that are asked for, in plain types; it has the columns that filters look at."""
        plain = plain_table(table)
        if self._exact is not None:
            scanned = ds.dataset(plain).to_table(columns={"holds": self._exact})  # keeps the order of the rows
            plain = plain.filter(scanned["holds"])
        return plain.select(list(columns))


def drawn(n_rows: int, sample: Sample, seed: int) -> Places:
    """Return the places of rows that are drawn, ascending; all of them where no more are asked for."""
    wanted = sample.rows if sample.rows is not None else math.ceil((sample.fraction or 1.0) * n_rows)
    if wanted >= n_rows:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, wanted, replace=False))
