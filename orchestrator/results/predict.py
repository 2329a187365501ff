"""Predictions for a dataset, part by part: what a worker computes for one part. Needs no Ray, and asks for none."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from orchestrator.data import profile as profiles
from orchestrator.data.columns import scalars
from orchestrator.data.encode import Signature, encode
from orchestrator.data.incoming import PREDICTION, output_names, surprises
from orchestrator.data.prepare import MAX_CATEGORIES
from orchestrator.data.profile import Counts, Profile
from orchestrator.data.stream import Piece, batches
from orchestrator.errors import DataError, JobError
from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit
from orchestrator.families.limits import one_thread
from orchestrator.objects import reason
from orchestrator.results.model import Model
from orchestrator.results.parts import MARK, Parts

BATCH_BYTES = 64 << 20
"""What one batch takes in memory about, as encoded rows and as predictions."""
FEWEST_ROWS, MOST_ROWS = 1 << 6, 1 << 16
_TEXT_BYTES, _STEP_BYTES = 2048, 8
UNFIT, UNWRITTEN = "data", "write"
"""Codes of failures: rows that the model cannot take, and parts that cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What the units of a prediction share.

    Attributes:
        model: The model's files.
        model_id: A hash of them.
        signature: What the model takes and gives.
        filesystem: The dataset's.
        schema: The dataset's.
        keys: Columns that are handed on.
        out: Where the parts go, an absolute path or a URI.
        batch_rows: How many rows are in memory at once.
        profile: What the rows are compared with, or None.
    """

    model: Mapping[str, bytes]
    model_id: str
    signature: Signature
    filesystem: fs.FileSystem
    schema: pa.Schema
    keys: tuple[str, ...]
    out: str
    batch_rows: int
    profile: Profile | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(dict.fromkeys([*self.keys, *(column.name for column in self.signature.columns)]))


@dataclass(frozen=True, slots=True)
class PredictUnit:
    """A work unit: predict for one piece of the dataset, and write it as a part. It is the only one that does."""

    id: str
    piece: Piece
    engine: Engine
    cost: float
    answers: tuple[str, ...] = ()
    needs: tuple[WorkUnit, ...] = ()
    keeps_payload: ClassVar[bool] = False

    def halves(self) -> Sequence[WorkUnit]:
        """Return nothing: memory follows from the batch, not from the part."""
        return ()

    def compute(self, data: Scoring, inputs: Sequence[Any]) -> UnitOutput:
        """Write the part; the only answer, where there is one, says why that could not be."""
        try:
            with one_thread():
                _write(self, data)
        except (DataError, JobError) as error:
            return UnitOutput({self.id: Failure(UNFIT, str(error))})
        except OSError as error:
            return UnitOutput({self.id: Failure(UNWRITTEN, f"{self.id}: {error.strerror or reason(error)}")})
        return UnitOutput()


def default_batch_rows(signature: Signature) -> int:
    """Return how many rows to have in memory at once, so that they take BATCH_BYTES about."""
    row_bytes = 24 * len(signature.classes)
    for column in signature.columns:
        if column.kind == "category":
            row_bytes += 16 * min(len(column.categories), MAX_CATEGORIES)
        elif column.kind in ("text", "sequence"):
            row_bytes += _TEXT_BYTES + _STEP_BYTES * column.longest * math.prod(column.shape)
        else:
            row_bytes += 24 * math.prod(column.shape)
    power_of_two = 1 << (BATCH_BYTES // max(1, row_bytes)).bit_length() >> 1  # as networks and searches cut rows
    return max(FEWEST_ROWS, min(MOST_ROWS, power_of_two))


def output_schema(signature: Signature, schema: pa.Schema, keys: Sequence[str]) -> pa.Schema:
    """Return the columns of the predictions: keys, the prediction, and for classes the probability of each."""
    kind = pa.float64() if signature.task == "regression" else pa.array(list(signature.classes)).type
    names = output_names(signature)
    given = [pa.field(name, schema.field(name).type) for name in keys]
    return pa.schema([*given, pa.field(PREDICTION, kind), *(pa.field(name, pa.float64()) for name in names[1:])])


def writer_options(signature: Signature, schema: pa.Schema) -> dict[str, Any]:
    """Return how predictions are written: probabilities hardly repeat, so that dictionaries of them are in vain."""
    floats = (
        {PREDICTION, *output_names(signature)} if signature.task == "regression" else set(output_names(signature)[1:])
    )
    return {"compression": "snappy", "use_dictionary": [name for name in schema.names if name not in floats]}


def _write(unit: PredictUnit, data: Scoring) -> None:
    model, signature, parts = _model(data), data.signature, Parts.at(data.out, "--out")
    schema = output_schema(signature, data.schema, data.keys)
    found: dict[str, Counter[str]] = {"unseen": Counter(), "nulls": Counter()}
    counts: Counts = {}
    n_rows = 0
    with parts.writing(unit.id) as path:
        with pq.ParquetWriter(path, schema, **writer_options(signature, schema)) as writer:
            for first_row, table in batches(data.filesystem, unit.piece, data.columns, data.schema, data.batch_rows):
                try:
                    places = np.arange(first_row, first_row + len(table))
                    features = encode(table, signature.columns, places)
                except DataError as error:
                    raise DataError(f"{unit.piece.path}: {error}") from None
                for what, n in surprises(table, features, signature).items():
                    found[what].update(n)
                if data.profile is not None:
                    counts = merged(counts, profiles.count(data.profile, features, signature.columns))
                writer.write_table(_predicted(model, features, table, schema, data.keys))
                n_rows += len(table)
            mark = {"model": data.model_id, "rows": n_rows, **found}
            if data.profile is not None:
                mark["counts"] = {name: n.tolist() for name, n in counts.items()}
            writer.add_key_value_metadata({MARK.decode(): json.dumps(mark)})
        if n_rows != unit.piece.n_rows:
            raise DataError(f"{unit.piece.path} has changed: {n_rows} rows; expected {unit.piece.n_rows}")


def merged(one: Counts, other: Mapping[str, Any]) -> Counts:
    """Return the counts of the rows of both."""
    return {name: np.asarray(n, dtype=np.int64) + one.get(name, 0) for name, n in other.items()}


def _predicted(model: Model, features: Any, table: pa.Table, schema: pa.Schema, keys: Sequence[str]) -> pa.Table:
    predicted, probabilities = model.score_rows(features)
    columns = [table.column(name) for name in keys]
    columns.append(pa.array(predicted, schema.field(len(keys)).type))
    if probabilities is not None:
        columns += [pa.array(np.ascontiguousarray(one)) for one in probabilities.T]
    return pa.Table.from_arrays(columns, schema=schema)


_loaded: dict[str, Model] = {}
"""The model that this process predicts with, by its hash."""


def _model(data: Scoring) -> Model:
    if data.model_id not in _loaded:
        _loaded.clear()
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
            for name, content in data.model.items():
                (Path(folder) / name).write_bytes(content)
            _loaded[data.model_id] = Model.load(folder)
    return _loaded[data.model_id]


def cost_of(piece: Piece, signature: Signature) -> float:
    """Return seconds of one core, about; what matters is that pieces of as many rows cost alike."""
    return piece.n_rows * (1 + len(scalars(signature.columns))) * 1e-7
