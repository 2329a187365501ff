"""What a result came from: time and hardware, job, seeds, versions and data, and the openings of the test rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator import job as jobs
from orchestrator.data.columns import Column
from orchestrator.data.prepare import described
from orchestrator.data.recipe import Recipe
from orchestrator.results.report.parts import Cell, Section, Table, cell, number
from orchestrator.results.report.run import Run
from orchestrator.results.report.words import OPENED_AGAIN, counted, seconds

PREPARED_BY_RECIPE = ("knn", "linear", "tree", "forest", "estimator")
"""Families whose models always read what a recipe makes of columns."""


def time_section(run: Run) -> Section:
    """Return the time and the hardware that the run used."""
    timings, hardware = run.manifest["timings"], run.manifest["hardware"]
    by_search: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.trials:
        by_search.setdefault(row["search"], []).append(row)
    rows = [
        [
            Cell(name),
            cell(len(found)),
            *(_total(found, key) for key in ("fit_time_s", "predict_time_s")),
            Cell(seconds(_sum(found) / len(found)), _sum(found) / len(found)),
        ]
        for name, found in by_search.items()
    ]
    table = Table(
        ["search", "trials", "fitting", "predicting", "a trial"],
        rows,
        "Where it went",
        "Seconds of one worker, each trial with its share of what it had computed together with others.",
    )
    known = {name: str(value) for name, value in hardware.items()}
    said = (
        f"The search took {seconds(timings['search_s'])} in {counted(len(timings['sessions']), 'session')}, on the "
        f"executor {run.manifest['executor']}. The driver had {known.get('cpus', '?')} CPUs ({known.get('cpu', '?')}, "
        f"{known.get('machine', '?')}, {known.get('system', '?')})."
    )
    return Section("time", "Time and hardware", [said], tables=[table] if rows else [])


def _sum(rows: list[Mapping[str, Any]]) -> float:
    return sum((row["fit_time_s"] or 0.0) + (row["predict_time_s"] or 0.0) for row in rows)


def _total(rows: list[Mapping[str, Any]], key: str) -> Cell:
    total = sum(row[key] or 0.0 for row in rows)
    return Cell(seconds(total), total)


def job_section(run: Run) -> Section:
    """Return the job, seeds, versions, data and openings."""
    data = run.manifest["data"]
    facts = [
        ("run", run.path.name),
        ("began", when(run.manifest.get("created"))),
        ("state", str(run.manifest["state"])),
        ("seed", str(run.job.seed)),
        ("repeats exactly", "yes" if run.manifest.get("reproducible") else "no"),
        ("data", run.job.data.path),
        ("data fingerprint", data["fingerprint"]),
        ("rows", f"{data['rows']['train']:,} training, {data['rows']['test']:,} test"),
        ("target", f"{run.signature.target} ({run.signature.task})"),
        ("orchestrator", str(run.manifest["orchestrator"])),
        *((name, str(version)) for name, version in run.manifest["versions"].items()),
        *((f"code of {name}", f"sha256 {value}") for name, value in run.manifest.get("code", {}).items()),
    ]
    tables = [Table(["what", "value"], [[Cell(name), Cell(value)] for name, value in facts], "The record")]
    if run.openings:
        tables.append(_openings(run))
    tables.append(_columns(run))
    warnings = [f"Warning when the run began: {text}" for text in run.manifest.get("warnings", [])]
    warnings += [f"Silenced by the job: {text}" for text in run.manifest.get("silenced", [])]
    return Section("job", "The job and its record", warnings, tables=tables, code=jobs.to_yaml(run.job))


def _columns(run: Run) -> Table:
    """Return the columns, what they are read as, and what the best model's preparation makes of them."""
    best, schema = run.best, run.manifest["data"]["schema"]
    header, recipe = ["column", "type", "read as"], None
    if best is not None and best["family"] in PREPARED_BY_RECIPE:
        recipe = Recipe.of(best["params"])
        header.append(f"prepared for {best['trial']} by")
    n_classes, known = len(run.signature.classes), {column.name: column for column in run.signature.columns}
    rows = []
    for name, kind in schema.items():
        column = known.get(name)
        row = [Cell(name), Cell(kind), Cell(_read_as(column) if column else _role_of(name, run))]
        if recipe is not None:
            row.append(Cell("" if column is None else described(column, recipe, n_classes)))
        rows.append(row)
    return Table(header, rows, "Columns", is_folded=True)


def _role_of(name: str, run: Run) -> str:
    return "target" if name == run.signature.target else "left out: it says nothing that others do not"


def _read_as(column: Column) -> str:
    of = f" of {counted(len(column.categories), 'value')}" if column.kind == "category" else ""
    said = [f"{column.kind}{of}", *(["as data.columns says"] if column.is_cast or column.prepared else [])]
    return ", ".join([*said, *(["with nulls"] if column.has_nulls else [])])


def _openings(run: Run) -> Table:
    rows = []
    for place, one in enumerate(run.openings, 1):
        scores = ", ".join(f"{name} {number(run.plain(score))}" for name, score in one["scores"].items())
        mark = "" if place == 1 else " (again)"
        rows.append([Cell(f"{place}{mark}", float(place)), Cell(when(one["time"])), Cell(one["best"]), Cell(scores)])
    caption = f"Opened {len(rows)} times, {OPENED_AGAIN}." if len(rows) > 1 else "Opened once."
    return Table(["opening", "when", "model", "scores"], rows, "Openings of the test rows", caption)


def when(text: object) -> str:
    """Return a time of the manifest as people read it."""
    try:
        return f"{datetime.fromisoformat(str(text)):%-d %B %Y, %H:%M %Z}"
    except ValueError:
        return str(text)
