"""The report of a run: one offline page, or a model card, made from the run directory alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator import rundir

HTML, CARD = "report.html", "model-card.md"


def write(path: Path, out: Path | None = None, *, form: str = "html", with_shap: bool = False) -> Path:
    """Write a run's report, one file that needs nothing else; return where it is.

    Args:
        path: The run directory; the run's search has ended.
        out: The file; `report.html` or `model-card.md` in the run directory by default.
        form: `html`, or `md` for a model card.
        with_shap: Whether to compute SHAP values, where they can be; it loads the model, which takes a while.

    Raises:
        JobError: It is no run directory, or its search has not ended.
        RunError: A file of it is damaged, or the report cannot be written.
    """
    out = path / (CARD if form == "md" else HTML) if out is None else out
    rundir.write(out, FORMS[form](path, with_shap))
    return out


def html(path: Path, with_shap: bool = False) -> str:
    """Return a run's report as a page; raises as `write` does."""
    # Optuna and jinja2 come with these, which a process that writes no report does without.
    from orchestrator.results.report import board, curves, features, groups, page, quality, record, searches, words
    from orchestrator.results.report.certainty import certainty
    from orchestrator.results.report.predictions import of_test_rows, out_of_fold
    from orchestrator.results.report.run import Run
    from orchestrator.results.report.verdict import verdict

    run = Run.read(path)
    unseen = out_of_fold(run)
    sections = [
        board.section(run),
        quality.section(run, unseen, of_test_rows(run)),
        features.section(run, with_shap=with_shap),
        groups.section(run, unseen),
        searches.section(run),
        curves.section(run),
        board.failures(run),
        record.time_section(run),
        record.job_section(run),
    ]
    n_folds = len(run.manifest["data"]["fold_rows"])
    folds = "holdout" if run.job.validation.kind == "holdout" else words.counted(n_folds, "fold")
    eyebrow = f"{run.job.name} · {record.when(run.manifest.get('created'))} · {run.metric_name}, {folds}"
    return page.html(run.job.name, eyebrow, verdict(run, certainty(run)), sections)


def markdown(path: Path, with_shap: bool = False) -> str:
    """Return a run's model card; raises as `write` does."""
    from orchestrator.results.report import groups, quality
    from orchestrator.results.report.card import card
    from orchestrator.results.report.certainty import certainty
    from orchestrator.results.report.predictions import of_test_rows, out_of_fold
    from orchestrator.results.report.run import Run

    run = Run.read(path)
    unseen = out_of_fold(run)
    sections = [quality.section(run, unseen, of_test_rows(run)), groups.section(run, unseen)]
    return card(run, certainty(run), [table for section in sections for table in section.tables])


FORMS: Mapping[str, Callable[[Path, bool], str]] = {"html": html, "md": markdown}
