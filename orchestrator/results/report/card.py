"""The model card: Markdown in the layout of the Hugging Face hub, with its metadata as a YAML header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from orchestrator.objects import is_uri
from orchestrator.results.report import words
from orchestrator.results.report.certainty import Certainty
from orchestrator.results.report.page import resource
from orchestrator.results.report.parts import Table
from orchestrator.results.report.run import Run
from orchestrator.results.report.verdict import verdict

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")
_PIPELINES = {"text": "text-classification", "image": "image-classification"}


def _name_of(path: str) -> str:
    """Return what a dataset is called: cards are published, and where it lies on a machine is nobody's business."""
    return path if is_uri(path) else PurePath(path.rstrip("/")).name


class _AsItIs(str):
    """Text that is Markdown already."""

    __slots__ = ()


def card(run: Run, sure: Certainty, tables: Sequence[Table]) -> str:
    """Return a run's model card.

    Names and values from the data are escaped: they stand there as they are, and format nothing.

    Args:
        run: The run.
        sure: How sure it is.
        tables: Of the evaluation: scores by class, by groups.
    """
    best, data = run.best, run.manifest["data"]
    environment = Environment(  # noqa: S701  Markdown, which `_escaped` escapes
        undefined=StrictUndefined, finalize=_escaped, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    shown = verdict(run, sure)
    return environment.from_string(resource("model-card.md.j2")).render(
        header=_AsItIs(yaml.safe_dump(_header(run, sure), sort_keys=False, allow_unicode=True, width=110)),
        name=run.job.name,
        family=best["family"] if best else "no model",
        headline=shown.headline,
        target=run.signature.target,
        task=run.signature.task,
        columns=run.signature.columns,
        classes=run.class_names,
        has_model=best is not None,
        trial=best["trial"] if best else "–",
        params=shown.params,
        metric=run.metric_name,
        data_path=_name_of(run.job.data.path),
        n_train=f"{data['rows']['train']:,}",
        n_test=f"{data['rows']['test']:,}",
        fingerprint=data["fingerprint"],
        answers=shown.answers,
        warning=shown.warning,
        tables=tables,
        limitations=_limitations(run, sure),
        seed=run.job.seed,
        version=run.manifest["orchestrator"],
        versions=", ".join(f"{name} {version}" for name, version in run.manifest["versions"].items()),
    )


def _escaped(value: Any) -> str:
    """Return a value as Markdown that shows it as it is, in one line."""
    if isinstance(value, _AsItIs):
        return str(value)
    line = " ".join(str(value).split()) if str(value).strip() else str(value)
    escaped = _SPECIAL.sub(r"\\\1", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _header(run: Run, sure: Certainty) -> dict[str, Any]:
    best, task = run.best, run.signature.task
    kinds = {column.kind for column in run.signature.columns}
    named = [_PIPELINES[kind] for kind in ("image", "text") if kind in kinds and task == "classification"]
    pipeline = named[0] if named else f"tabular-{task}"
    metrics: list[dict[str, Any]] = []
    if best is not None:
        metrics.append(_metric(run, "cross-validation, the best of many", run.plain(best["score"])))
    if sure.corrected is not None:
        metrics.insert(0, _metric(run, "corrected for selection, 95 % interval in the text", sure.corrected.value))
    if run.opening is not None:
        metrics.append(_metric(run, "sealed test rows", run.plain(run.opening["scores"].get("best"))))
    return {
        "library_name": "batch-orchestrator",
        "pipeline_tag": pipeline,
        "tags": [pipeline, *([best["family"]] if best else [])],
        "metrics": [run.metric_name],
        "model-index": [
            {
                "name": run.job.name,
                "results": [
                    {
                        "task": {"type": pipeline},
                        "dataset": {"name": _name_of(run.job.data.path), "type": "parquet"},
                        "metrics": [metric for metric in metrics if metric["value"] is not None],
                    }
                ],
            }
        ],
    }


def _metric(run: Run, name: str, value: float | None) -> dict[str, Any]:
    return {"type": run.metric_name, "name": f"{run.metric_name} ({name})", "value": value}


def _limitations(run: Run, sure: Certainty) -> list[str]:
    found = [
        "It knows the rows that it was trained on: where new rows differ from them, its scores do not hold.",
        "Categories that the training rows do not have are read as unseen.",
    ]
    if sure.corrected is None:
        found.append("Its score is the best of many and flatters; no corrected score was computed.")
    if len(run.openings) > 1:
        found.append(f"The test rows were opened {len(run.openings)} times, {words.OPENED_AGAIN}.")
    if not run.job.data.sensitive:
        found.append("No groups of people were compared: the job names none in data.sensitive.")
    return found
