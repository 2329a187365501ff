"""Predicting for a dataset of any size with a run's best model: from RUN and DATA to parts, whole or begun before."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import families, remote, rundir
from orchestrator.data import incoming, parquet, stream
from orchestrator.data.checks import Finding
from orchestrator.data.encode import Signature
from orchestrator.data.profile import ColumnDrift, Profile, drift_of
from orchestrator.errors import DataError, Interrupted, JobError, OrchestratorError, RunError
from orchestrator.execution.address import cluster_address
from orchestrator.families.base import Engine, Failure
from orchestrator.job import Resources
from orchestrator.objects import below, is_uri, reason
from orchestrator.results import sealed
from orchestrator.results.destination import Destination
from orchestrator.results.model import CARD_FILE, PROFILE_FILE
from orchestrator.results.parts import Parts
from orchestrator.results.predict import (
    UNFIT,
    UNWRITTEN,
    PredictUnit,
    Scoring,
    cost_of,
    default_batch_rows,
    merged,
    output_schema,
    writer_options,
)
from orchestrator.results.sealed import SIGNATURE_FILE
from orchestrator.runs import stored_job
from orchestrator.session import ExecutorName, StopSignals, closing, executor_of

DRIFT_LIMIT = 0.25
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PredictProgress:
    """How far a prediction is."""

    n_parts: int
    n_parts_done: int
    n_rows: int
    n_rows_done: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a prediction gave.

    Attributes:
        path: The folder of parts, or the file: a path or a URI.
        n_rows: How many rows there are.
        n_parts: How many parts there are; 0 where they were made into one file.
        n_kept: How many of them an earlier call had written.
        findings: Warnings: of columns, unseen categories and nulls.
        drift: How far each column has drifted, or None where that was not asked for.
        drift_limit: The population stability index above which a column has drifted.
    """

    path: str
    n_rows: int
    n_parts: int
    n_kept: int
    findings: tuple[Finding, ...]
    drift: tuple[ColumnDrift, ...] | None
    drift_limit: float

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that have drifted beyond the limit, the furthest first."""
        beyond = [one for one in self.drift or () if one.exceeds(self.drift_limit)]
        return tuple(sorted(beyond, key=lambda one: -one.psi))


@dataclass(frozen=True, slots=True)
class _Source:
    """A model as files, and what its run said of resources."""

    files: Mapping[str, bytes]
    signature: Signature
    engine: Engine
    resources: Resources

    @property
    def id(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}:{len(content)}:".encode() + content)
        return digest.hexdigest()


def predict(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    keys: Sequence[str] | None = None,
    drift: bool = False,
    drift_limit: float = DRIFT_LIMIT,
    batch_rows: int | None = None,
    executor: ExecutorName = "ray",
    address: str | None = None,
    on_finding: Callable[[Finding], None] = lambda finding: None,
    on_progress: Callable[[PredictProgress], None] = lambda progress: None,
) -> Predicted:
    """Predict for a Parquet dataset of any size with a run's best model.

    The predictions have the dataset's rows in its order: the key columns, `prediction`, and for classes a column
    `probability_<class>` each. Whole parts of an earlier call with the same model and data are kept.

    Args:
        run: A run directory or its URI, a name below `runs/`, `latest`, or a folder that holds a model.
        data: A Parquet file, directory, glob or URI.
        out: A new directory for parts, or one that an earlier call has begun; one file where it ends in `.parquet`.
            A path or a URI.
        keys: Columns of the dataset to hand on; by default all that are no features, the target among them.
        drift: Whether to compare the rows with those that the model was trained on.
        drift_limit: The population stability index above which a column counts as drifted.
        batch_rows: How many rows a worker has in memory at once; by default as many as take 64 MiB about.
        executor: `ray`, or `inline` for this process.
        address: A Ray cluster, as for `run`.
        on_finding: Told warnings: of columns before anything is computed, of values at the end.
        on_progress: Told how far it is.

    Raises:
        JobError: There is no model, or `out` is something else's.
        DataError: The rows are not what the model was trained on.
        RunError: Parts could not be written, or workers were lost.
        Interrupted: SIGINT or SIGTERM came; whole parts are kept.
    """
    if executor == "ray":
        cluster_address(address)
    source = _source(str(run))
    profile = _profile(source, str(run)) if drift else None
    located = _located(str(data))
    dataset = parquet.open_dataset(located, "DATA")
    pieces = stream.pieces_of(dataset, "DATA")
    if not pieces:
        raise DataError(f"DATA: {data} has no rows; expected at least one")
    found = incoming.check(dataset.schema, source.signature, keys, "DATA")
    with _writing(out):
        destination = Destination.of(out)
        if destination.out.startswith(f"{located.rstrip('/')}/"):
            raise JobError(f"--out: {out} lies in DATA, {data}; expected a place that is not read as more of it")
        scoring = Scoring(
            source.files,
            source.id,
            source.signature,
            dataset.filesystem,
            dataset.schema,
            found.keys,
            destination.parts.where,
            batch_rows or default_batch_rows(source.signature),
            profile,
        )
        parquet.check_files(dataset, scoring.columns, "DATA")
        units = [
            PredictUnit(f"part-{number:05d}.parquet", piece, source.engine, cost_of(piece, source.signature))
            for number, piece in enumerate(pieces)
        ]
        marker = {
            "schema_version": SCHEMA_VERSION,
            "model": source.id,
            "data": stream.identity(dataset, pieces),
            "keys": list(found.keys),
            "rows": sum(piece.n_rows for piece in pieces),
            "parts": len(units),
        }
        with destination.begun(marker) as is_new:
            for finding in found.findings:
                on_finding(finding)
            kept = _whole(destination.parts, units, scoring)
            try:
                _compute(units, kept, scoring, source.resources, executor, address, on_progress)
            except (DataError, JobError):
                if is_new and not destination.parts.names():  # begun for nothing
                    destination.parts.remove()
                raise
            findings, drifts = _summary(units, scoring, destination)
            for finding in findings:
                on_finding(finding)
            schema = output_schema(source.signature, dataset.schema, found.keys)
            destination.join([unit.id for unit in units], schema, writer_options(source.signature, schema))
            n_parts = 0 if destination.file else len(units)
            findings = (*found.findings, *findings)
            done = Predicted(destination.out, _n_rows(units), n_parts, len(kept), findings, drifts, drift_limit)
            destination.conclude(_finished(marker, done), _drift_values(done))
    return done


def _n_rows(units: Sequence[PredictUnit]) -> int:
    return sum(unit.piece.n_rows for unit in units)


def _located(data: str) -> str:
    """Return DATA as workers find it, wherever they run."""
    return data if is_uri(data) or data.startswith("dataset:") else os.path.abspath(os.path.expanduser(data))


def _finished(marker: Mapping[str, Any], done: Predicted) -> dict[str, Any]:
    return {**marker, "warnings": [f"{one.code}: {one.message}" for one in done.findings]}


def _drift_values(done: Predicted) -> dict[str, Any] | None:
    if done.drift is None:
        return None
    columns = [{**asdict(one), "exceeds": one.exceeds(done.drift_limit)} for one in done.drift]
    return {"limit": done.drift_limit, "rows": done.n_rows, "columns": columns}


def _source(run: str) -> _Source:
    """Find the model that RUN means, and what its job says of resources."""
    resources = Resources()
    if not is_uri(run) and (Path(run).expanduser() / SIGNATURE_FILE).is_file():
        folder, called = Path(run).expanduser(), run
    else:
        path = rundir.find(run, whole=False)
        resources, called, uri = stored_job(path).resources, rundir.called(path), remote.uri_of(path)
        folder = path / rundir.BEST
        if uri is not None:
            folder = remote.folder(below(uri, rundir.BEST))
    try:
        (folder / SIGNATURE_FILE).stat()
        described = sealed.unsealed(folder)
        signature = Signature.from_dict(described["signature"])
        engine = families.find(described["family"], f"{folder / SIGNATURE_FILE}: family").engine
        found = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != CARD_FILE)
        files = {path.name: path.read_bytes() for path in found}
    except FileNotFoundError:
        again = f"; go on with: orchestrator resume {shlex.quote(called)}"
        raise JobError(f"RUN: {called} has no model yet; expected a run that has finished{again}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no usable model: {error}") from None
    return _Source(files, signature, engine, resources)


def _profile(source: _Source, run: str) -> Profile:
    try:
        return Profile.from_dict(json.loads(source.files[PROFILE_FILE]))
    except KeyError:
        raise JobError(
            f"--drift: the model of {run} has no {PROFILE_FILE}, which runs of earlier versions did not write; "
            "leave --drift out, or run the job again"
        ) from None
    except ValueError as error:
        raise DataError(f"{run}: {PROFILE_FILE} cannot be read: {error}") from None


@contextmanager
def _writing(out: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        again = "mend that (a full disk needs room), then give the same command again"
        raise RunError(f"--out: {out} cannot be written: {error.strerror or reason(error)}; {again}") from None


def _whole(parts: Parts, units: Sequence[PredictUnit], scoring: Scoring) -> dict[str, dict[str, Any]]:
    """Return what the parts say that are there, whole, and say all that is asked for."""
    there = parts.objects.sizes()
    wanted = [unit for unit in units if unit.id in there]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda unit: parts.mark_of(unit.id), wanted))
    return {
        unit.id: mark[1]
        for unit, mark in zip(wanted, found, strict=True)
        if mark is not None
        and mark[0] == unit.piece.n_rows
        and mark[1].get("model") == scoring.model_id
        and (scoring.profile is None or "counts" in mark[1])
    }


def _compute(
    units: Sequence[PredictUnit],
    kept: Mapping[str, object],
    scoring: Scoring,
    resources: Resources,
    executor_name: ExecutorName,
    address: str | None,
    on_progress: Callable[[PredictProgress], None],
) -> None:
    rows = {unit.id: unit.piece.n_rows for unit in units}
    waiting = deque(unit for unit in units if unit.id not in kept)
    engine = units[0].engine
    done, n_running = set(kept), 0
    if not waiting:
        return
    with StopSignals() as should_stop, closing(executor_of(executor_name, address, resources)) as executor:
        should_stop.install()
        executor.prewarm(engine)
        shared = executor.share(scoring)
        while waiting or n_running:
            while waiting and n_running < executor.capacity(engine):
                executor.submit(waiting.popleft(), shared, [], is_limited=False)
                n_running += 1
            if should_stop():
                raise Interrupted(
                    f"interrupted after {len(done)} of {len(units)} parts, which are kept; the same command goes on"
                )
            for ended in executor.completed(0.5):
                n_running -= 1
                outcome = ended.outcome
                for failure in [outcome] if isinstance(outcome, Failure) else outcome.answers.values():
                    if isinstance(failure, Failure):
                        raise _error(failure, ended.unit_id)
                done.add(ended.unit_id)
                on_progress(
                    PredictProgress(len(units), len(done), sum(rows.values()), sum(rows[name] for name in done))
                )


def _error(failure: Failure, part: str) -> OrchestratorError:
    if failure.code == UNFIT:
        return DataError(failure.message)
    again = "whole parts are kept, and the same command goes on"
    if failure.code == UNWRITTEN:
        return RunError(f"{failure.message}; mend that (a full disk needs room): {again}")
    smaller = "give a smaller --batch-rows; " if failure.code == "out_of_memory" else ""
    return RunError(f"{part} failed: {failure.code}: {failure.message}; {smaller}{again}")


def _summary(
    units: Sequence[PredictUnit], scoring: Scoring, destination: Destination
) -> tuple[tuple[Finding, ...], tuple[ColumnDrift, ...] | None]:
    """Return what all parts together say of their rows.

    Raises:
        RunError: A part is not there.
    """
    marks = _whole(destination.parts, units, scoring)
    if len(marks) < len(units):
        raise RunError(f"--out: {destination.out} lacks parts that were written; expected that nothing else changes it")
    found: dict[str, Counter[str]] = {"unseen": Counter(), "nulls": Counter()}
    counts: dict[str, Any] = {}
    for mark in marks.values():
        for what, counted in found.items():
            counted.update(mark[what])
        counts = merged(counts, mark.get("counts", {}))
    findings = incoming.surprise_findings(found, _n_rows(units))
    return findings, None if scoring.profile is None else drift_of(scoring.profile, counts)
