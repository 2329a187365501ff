"""Job files: reading one (Python or YAML), and drafting one for a dataset."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator import job as jobs
from orchestrator.errors import DataError, JobError, OrchestratorError, did_you_mean
from orchestrator.job import Job

if TYPE_CHECKING:
    from pyarrow import Table

    from orchestrator.data.columns import Column


def read_job(path: Path, overrides: Sequence[str] = ()) -> tuple[Job, Path]:
    """Read a job file.

    Args:
        path: A .py file that defines `job`, or a .yaml file.
        overrides: Changes as `KEY=VALUE`.

    Returns:
        The job, and the folder that its relative paths resolve against.

    Raises:
        JobError: There is no such file, it defines no job, or the job is wrong.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise JobError(f"{path} {what}; expected a job file, .py or .yaml")
    if path.suffix == ".py":
        job = _from_python(path)
        values: object = jobs.as_written(job)
    elif path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise JobError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise JobError(f"{path} is not text in UTF-8 (byte {error.start}); save it as such") from None
        values = jobs.parse_yaml(text, str(path))
    else:
        raise JobError(f"{path} is no job file; expected one that ends in .py or .yaml")
    return jobs.from_dict(values, str(path), overrides), path.resolve().parent


def _from_python(path: Path) -> Job:
    sys.path.insert(0, str(path.resolve().parent))
    try:
        found = runpy.run_path(str(path), run_name="__orchestrator_job__")
    except ValidationError as error:
        raise jobs.explain(error, f"{path}{_line_of(error, path)}".removesuffix(",")) from None
    except OrchestratorError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        line = _line_of(error, path)
        text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().splitlines()
        what = f"{type(error).__name__}{': ' + text[0] if text else ''}"
        raise JobError(f"{path}{line} raised {what}; expected it to define `job`") from error
    finally:
        sys.path.pop(0)
    if "job" not in found:
        raise JobError(f"{path} defines no `job`; expected job = orchestrator.Job(…) at its top level")
    if not isinstance(found["job"], Job):
        raise JobError(f"{path}: `job` is of type {type(found['job']).__name__}; expected orchestrator.Job(…)")
    return found["job"]


def _line_of(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, getattr(error, "lineno", None)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}," if line else ""


_WORDS = {
    "number": "numeric",
    "boolean": "boolean",
    "category": "categorical",
    "date": "date",
    "text": "text",
    "vector": "vector",
    "image": "image",
    "sequence": "sequence",
}


def draft(data: str, target: str) -> tuple[str, str]:
    """Return a name and a commented YAML job for a dataset, after a look at it.

    Raises:
        JobError: There is no such dataset or column.
        DataError: It cannot be used.
    """
    from orchestrator.data import checks, parquet
    from orchestrator.data import columns as kinds_of
    from orchestrator.data import target as targets

    path = jobs.resolved_path(data, Path.cwd())
    dataset = parquet.open_dataset(path, "DATA")
    if target not in dataset.schema.names:
        raise JobError(f"--target: no column {target!r} in {path}.{did_you_mean(target, dataset.schema.names)}")
    features = parquet.columns_in_use(dataset.schema.names, target, None, ())
    usable = [n for n in features if kinds_of.is_usable(dataset.schema.field(n).type)]
    kinds_of.check_target(target, dataset.schema.field(target).type)
    table = parquet.read(dataset, [*usable, target], path, "DATA")
    answers = targets.plain_target(table.column(target))
    task = targets.infer_task(answers)
    findings = checks.target_findings(target, answers, task == "classification")
    checks.refuse_errors(findings)
    full = [name for name in usable if not checks.is_empty(table.column(name))]
    columns = [column for name in full if (column := _column(name, table)) is not None]
    odd = {f.column for f in checks.column_findings(columns, table) if f.code == "id_like_column"}
    kept = [c for c in columns if c.name not in odd]
    excluded = [name for name in features if name not in {c.name for c in kept}]
    if not kept:
        raise DataError(f"DATA: {path} has no column to learn from: all are ids, empty, or of unread types")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(data.removeprefix("dataset:")).stem).strip("-.")[:60] or "job"
    n_rows = table.num_rows
    kinds = ", ".join(f"{n} {word}" for kind, word in _WORDS.items() if (n := sum(c.kind == kind for c in kept)))
    shown = data if data.startswith("dataset:") or "://" in data else path
    exclude = f"  exclude: {_flow(excluded)}        # no use as features: ids, empty, types that are not read\n"
    text = (
        f"# {n_rows} rows; features: {kinds or 'none'}.\n"
        "schema_version: 1\n"
        f"name: {name}\n"
        "data:\n"
        f"  path: {_flow(shown)}\n"
        f"  target: {_flow(target)}\n"
        f"{exclude if excluded else ''}"
        f"  task: {task}          # inferred from the target; classification or regression\n"
        "  test: {fraction: 0.2}         # set aside first, scored once; or {column: …, value: …}, or {path: …}\n"
        f"validation: {{kind: {'stratified' if task == 'classification' else 'kfold'}, folds: 5}}\n"
        f"metric: {'accuracy' if task == 'classification' else 'r2'}          # any of scikit-learn's scorers\n"
        "seed: 42\n"
        "searches:\n"
        f"{_searches({c.kind for c in kept}, n_rows)}"
        "budget: {trials: null, time_s: null}      # stop after so many trials, or seconds\n"
    )
    return name, text


def _searches(kinds: set[str], n_rows: int) -> str:
    """Return the searches of a draft: what fits the kinds of columns."""
    found = [f"  - {{family: {name}, trials: 32}}\n" for name in ("text", "image", "sequence") if name in kinds]
    if kinds - {"text", "image", "sequence"}:
        found += [
            "  - family: knn\n"
            "    sampler: grid               # or random, tpe, …; then add trials: 64\n"
            "    space:\n"
            f"      n_neighbors: {{low: 1, high: {max(1, min(50, int(n_rows * 0.5)))}}}\n"
            "      weights: [uniform, distance]\n"
            "      metric: [euclidean, manhattan]      # also chebyshev, cosine, and minkowski with p\n"
            "      scaler: [standard, quantile, none]  # also minmax and robust\n"
            "  # - {family: mlp, trials: 64}           # dense networks, on the same leaderboard\n"
        ]
    return "".join(found)


def _column(name: str, table: Table) -> Column | None:
    """Describe a feature; None where its values are not what its type promises."""
    from orchestrator.data import encode

    try:
        return encode.column_of(name, table.column(name))
    except DataError:
        return None


def _flow(value: object) -> str:
    import yaml

    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    )
