"""The report of a run: one offline page, or a model card, made from the run directory alone."""

from __future__ import annotations

from pathlib import Path

from orchestrator import rundir

HTML, CARD = "report.html", "model-card.md"


def write(path: Path, out: Path | None = None) -> Path:
    """Write a run's report, one HTML file that needs nothing else; return where it is.

    Args:
        path: The run directory; the run's search has ended.
        out: The file; `report.html` in the run directory by default.

    Raises:
        JobError: It is no run directory, or its search has not ended.
        RunError: A file of it is damaged, or the report cannot be written.
    """
    out = path / HTML if out is None else out
    rundir.write(out, html(path))
    return out


def html(path: Path) -> str:
    """Return a run's report; raises as `write` does."""
    from orchestrator.results.report import board, page, record, searches, verdict  # Optuna and jinja2 come with them
    from orchestrator.results.report.certainty import certainty
    from orchestrator.results.report.run import Run

    run = Run.read(path)
    sections = [
        board.section(run),
        searches.section(run),
        board.failures(run),
        record.time_section(run),
        record.job_section(run),
    ]
    eyebrow = f"{run.job.name} · {record.when(run.manifest.get('created'))} · {run.metric_name} over {len(run.manifest['data']['fold_rows'])} folds"
    return page.html(run.job.name, eyebrow, verdict.verdict(run, certainty(run)), sections)
