"""What trials said out of fold, on disk: `oof/` of a run directory.

`rows.parquet` has a row for each training row, and so has `sensitive.parquet`, of the columns that `data.sensitive`
names. `trials.parquet` says which answers make up a trial, and `<search>/part-*.parquet` hold the answers. A part is
written before the ledger knows its answers, so that no kill loses any; what a machine loses with its power is computed
again when the search is over. Together the parts stay below a bound: the trials at the bottom of the board go first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import JobError
from orchestrator.families.base import OutOfFold
from orchestrator.rundir import write

FOLDER, ROWS, TRIALS, SENSITIVE = "oof", "rows.parquet", "trials.parquet", "sensitive.parquet"
OVERDRAFT = 1.25
"""By how much the bound may be passed before trials are dropped, so that it does not happen with every part."""
PART_BYTES, PART_ANSWERS = 1 << 20, 512
"""What a part grows to, written anew with each answer, before the next one begins: few files, whole at any time."""
SMALL_PART_BYTES = 32 << 20
"""Parts of a search below that become one when the run ends."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A completed trial, with the names of its answers, one a fold."""

    trial: str
    search: str
    answers: Sequence[str]


class OutOfFoldFiles:
    """Writes what trials of a run said.

    Args:
        run: The run directory.
        max_bytes: How many bytes of answers are kept, before compression; 0 to keep none.
        board: Returns the completed trials, the best first; asked where some must go.
    """

    def __init__(self, run: Path, max_bytes: int, board: Callable[[], Sequence[Kept]]) -> None:
        self._folder, self._max_bytes, self._board = run / FOLDER, max_bytes, board
        self._n_bytes = sum(int(size) for _, size in self._sizes())
        self._growing: dict[str, tuple[Path, dict[str, OutOfFold]] | None] = {}

    def write_rows(
        self, fold: npt.NDArray[np.int16], target: npt.NDArray[Any], block: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Write which fold scores each training row, its target, and the block that it is drawn with.

        Args:
            fold: Shape (rows,), or (repeats, rows) where folds score rows several times; -1 for none.
            target: Shape (rows,).
            block: Shape (rows,), where rows depend on others.
        """
        first, *more = np.atleast_2d(fold)
        columns = {"fold": first, "target": target} | {f"fold_{i}": one for i, one in enumerate(more, 2)}
        if block is not None:
            columns["block"] = block
        write(self._folder / ROWS, as_parquet(pa.table(columns)))

    def append(self, search: str, answers: Mapping[str, OutOfFold]) -> None:
        """Add answers that a search asked for.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        if not answers or not self._max_bytes:
            return
        path, known = self._growing.get(search) or (self._next_part(search), {})
        known = {**known, **answers}
        write(path, as_parquet(_table(known)), survives_power_loss=False)
        is_full = len(known) >= PART_ANSWERS or sum(one.said.nbytes for one in known.values()) >= PART_BYTES
        self._growing[search] = None if is_full else (path, known)
        self._n_bytes += sum(one.said.nbytes for one in answers.values())
        if self._n_bytes > OVERDRAFT * self._max_bytes:
            self._drop(self._board(), is_over=False)

    def lost(self, board: Sequence[Kept]) -> list[Kept]:
        """Return the trials of a board, best first, that are not there although there is room for them."""
        if not self._max_bytes:
            return []
        sizes = dict(self._sizes())
        room = self._max_bytes - sum(sizes.values())
        whole = [sum(sizes[name] for name in one.answers) for one in board if sizes.keys() >= set(one.answers)]
        missing = [one for one in board if not sizes.keys() >= set(one.answers)]
        return missing[: room // max(1, max(whole, default=room // max(1, len(missing))))]

    def settle(self, board: Sequence[Kept]) -> None:
        """Keep to the bound, and say which answers make up which of the board's trials; when the search is over."""
        if not self._max_bytes:
            return
        self._drop(board, is_over=True)
        folds = [(one.trial, one.search, fold, name) for one in board for fold, name in enumerate(one.answers)]
        names = ("trial", "search", "fold", "answer")
        columns = [list(column) for column in zip(*folds, strict=True)] or [[], [], [], []]
        types = (pa.string(), pa.string(), pa.int16(), pa.string())
        arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
        write(self._folder / TRIALS, as_parquet(pa.table(dict(zip(names, arrays, strict=True)))))

    def _parts(self, search: str) -> list[Path]:
        return sorted((self._folder / search).glob("part-*.parquet"))

    def _next_part(self, search: str) -> Path:
        numbers = [int(part.stem.partition("-")[2]) for part in self._parts(search)]
        return self._folder / search / f"part-{max(numbers, default=-1) + 1:05d}.parquet"

    def _searches(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("*") if path.is_dir())

    def _sizes(self) -> Iterator[tuple[str, int]]:
        """Yield every answer's name and size in bytes."""
        for search in self._searches():
            for part in self._parts(search):
                try:
                    table = pq.read_table(part, columns=["answer", "n_bytes"])
                except (pa.ArrowInvalid, OSError):  # torn, as a power cut leaves it
                    part.unlink()
                    continue
                yield from zip(table["answer"].to_pylist(), table["n_bytes"].to_pylist(), strict=True)

    def _drop(self, board: Sequence[Kept], *, is_over: bool) -> None:
        """Keep what the best trials need, then what no completed trial needs: all of it, until the search is over."""
        self._growing = {}
        sizes = dict(self._sizes())
        kept: set[str] = set()
        room, is_full = self._max_bytes, False
        for one in board:
            more = [name for name in dict.fromkeys(one.answers) if name in sizes and name not in kept]
            room -= sum(sizes[name] for name in more)
            is_full = is_full or room < 0
            kept |= set() if is_full else set(more)
        needed = {name for one in board for name in one.answers}
        for name in sorted(sizes.keys() - needed):
            room -= sizes[name]
            if room >= 0 or not is_over:
                kept.add(name)
        for search in self._searches():
            parts = self._parts(search)
            names = [name for part in parts for name in _answers(part)]
            has_more = len(names) > len(kept.intersection(names))
            small = [part for part in parts if part.stat().st_size < SMALL_PART_BYTES]
            if has_more:
                self._merge(parts, kept)
            elif is_over and len(small) > 1:
                self._merge(small, kept)
        self._n_bytes = sum(sizes[name] for name in kept)

    def _merge(self, parts: Sequence[Path], kept: set[str]) -> None:
        """Write the kept answers of some parts as one part, then remove those; what a kill leaves is there twice."""
        last = parts[-1]
        path = self._next_part(last.parent.name)
        partial = path.with_name(path.name + ".partial")
        left = set(kept)
        with pq.ParquetWriter(partial, pq.read_schema(last), compression="zstd") as writer:
            for table in _in_groups(parts):
                mask = []
                for name in table["answer"].to_pylist():
                    mask.append(name in left)
                    left.discard(name)
                writer.write_table(table.filter(pa.array(mask, pa.bool_())))
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        for part in parts:
            part.unlink()


def _answers(part: Path) -> list[str]:
    names: list[str] = pq.read_table(part, columns=["answer"])["answer"].to_pylist()
    return names


def _in_groups(parts: Sequence[Path], n_bytes: int = 32 << 20) -> Iterator[pa.Table]:
    """Yield the rows of parts, a few megabytes at a time."""
    tables: list[pa.Table] = []
    for part in parts:
        tables.append(pq.read_table(part))
        if sum(table.nbytes for table in tables) > n_bytes:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


def _table(answers: Mapping[str, OutOfFold]) -> pa.Table:
    said = [np.ascontiguousarray(one.said) for one in answers.values()]
    curves = [list(one.curve) or None for one in answers.values()]
    columns = {
        "answer": pa.array(list(answers), pa.string()),
        "n_bytes": pa.array([one.nbytes for one in said], pa.int64()),
        "prediction": _lists(said),
        "curve": pa.array(curves, pa.list_(pa.float32())),
    }
    return pa.table(columns)


def _lists(arrays: Sequence[npt.NDArray[Any]]) -> pa.Array:
    ends = np.cumsum([0, *(array.size for array in arrays)])
    values = np.concatenate([array.ravel() for array in arrays])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(values))


def scored_by(folds: Sequence[npt.NDArray[np.int64]], n_rows: int) -> npt.NDArray[np.int16]:
    """Return which fold scores each row, -1 for none, shape (repeats, rows): as many repeats as a row is scored times.

    Args:
        folds: The places of the rows that each fold scores.
        n_rows: How many rows there are.
    """
    repeats = [np.full(n_rows, -1, np.int16)]
    for number, rows in enumerate(folds):
        if (repeats[-1][rows] >= 0).any():
            repeats.append(np.full(n_rows, -1, np.int16))
        repeats[-1][rows] = number
    return np.stack(repeats)


def as_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


@dataclass(frozen=True, slots=True)
class Predictions:
    """Reads what a finished run's trials said of the training rows.

    Where folds are repeated, each row is there as often, at first all of them in file order, then again; `blocks` then
    says which are the same. (rows,) below is the number of all of these.

    Attributes:
        folder: `oof/` of the run directory.
        truth: The targets, class codes or numbers, shape (rows,).
        fold: The fold that scores each row, -1 for none, shape (rows,).
        answers: The names of each completed trial's answers, one a fold.
        rows: All columns of `rows.parquet`, a row for each training row.
    """

    folder: Path
    truth: npt.NDArray[Any]
    fold: npt.NDArray[np.int16]
    answers: Mapping[str, Sequence[str]]
    rows: pa.Table

    @classmethod
    def read(cls, run: Path) -> Predictions:
        """Read the tables beside the parts.

        Raises:
            JobError: The run keeps no predictions, or has not finished.
        """
        folder = run / FOLDER
        try:
            rows, trials = pq.read_table(folder / ROWS), pq.read_table(folder / TRIALS).to_pydict()
        except FileNotFoundError as error:
            name = Path(str(error.filename or folder)).name
            raise JobError(
                f"RUN: {run} has no {FOLDER}/{name}; expected a finished run that keeps its predictions "
                "(resources.predictions_mb)"
            ) from None
        answers: dict[str, list[str]] = {}
        for trial, name in zip(trials["trial"], trials["answer"], strict=True):
            answers.setdefault(trial, []).append(name)
        fold = [rows[name].to_numpy() for name in rows.column_names if name.partition("_")[0] == "fold"]
        return cls(folder, np.tile(rows["target"].to_numpy(), len(fold)), np.concatenate(fold), answers, rows)

    @property
    def n_repeats(self) -> int:
        """How often each row is there."""
        return len(self.fold) // max(1, int(self.rows.num_rows))

    @property
    def first(self) -> npt.NDArray[np.int16]:
        """The fold that scores each row for the first time, shape (training rows,)."""
        return self.fold[: self.rows.num_rows]

    @property
    def blocks(self) -> npt.NDArray[np.int64] | None:
        """What a bootstrap draws as wholes, shape (rows,); None where each row stands for itself."""
        if "block" in self.rows.column_names:
            blocks: npt.NDArray[np.int64] = np.tile(self.rows["block"].to_numpy(), self.n_repeats)
            return blocks
        return np.tile(np.arange(self.rows.num_rows), self.n_repeats) if self.n_repeats > 1 else None

    @property
    def kept(self) -> set[str]:
        """The trials whose answers are all there."""
        parts = sorted(self.folder.glob("*/part-*.parquet"))
        there = {name for part in parts for name in _answers(part)}
        return {trial for trial, names in self.answers.items() if there.issuperset(names)}

    def of(self, trials: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Return what trials said of all rows, in file order, by trial; those that are not kept are left out.

        Class codes or numbers have shape (rows,), class probabilities (rows, classes); rows that no fold scores are 0.
        """
        wanted = [trial for trial in trials if trial in self.answers]
        said = self._column("prediction", {name for trial in wanted for name in self.answers[trial]})
        places = [np.flatnonzero(self.fold == fold) for fold in range(int(self.fold.max(initial=-1)) + 1)]
        found = {}
        for trial in wanted:
            parts = [said.get(name) for name in self.answers[trial]]
            if all(part is not None for part in parts):
                found[trial] = self._joined([part for part in parts if part is not None], places)
        return found

    def _joined(self, parts: Sequence[npt.NDArray[Any]], places: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[Any]:
        width = max(1, parts[0].size // max(1, len(places[0])))
        out = np.zeros((len(self.fold), width), parts[0].dtype)
        for part, rows in zip(parts, places, strict=True):
            out[rows] = part.reshape(len(rows), width)
        return out[:, 0] if width == 1 else out

    def curves(self, trial: str) -> list[npt.NDArray[np.float32]]:
        """Return the inner score after each epoch, fold by fold; empty for a trial that does not learn by epochs."""
        names = self.answers.get(trial, ())
        found = self._column("curve", set(names))
        return [found[name] for name in names if name in found]

    def _column(self, column: str, names: set[str]) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {}
        value_set = pa.array(sorted(names), pa.string())
        for part in sorted(self.folder.glob("*/part-*.parquet")):
            table = pq.read_table(part, columns=["answer", column])
            mask = pc.is_in(table["answer"], value_set=value_set)
            for name, value in zip(*(table.filter(mask)[c] for c in ("answer", column)), strict=True):
                if value.is_valid:
                    found.setdefault(name.as_py(), value.values.to_numpy(zero_copy_only=False))
        return found
