"""Distributed batch training: a search is compiled, not enumerated, and its result can be trusted.

Importing this package loads neither Ray nor scikit-learn; each name brings what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.version import __version__

if TYPE_CHECKING:
    from orchestrator.cli import main
    from orchestrator.errors import DataError, Interrupted, JobError, OrchestratorError, RunError
    from orchestrator.job import Budget, Comparator, Data, Job, Pruner, Resources, Search, Test, Validation
    from orchestrator.results.model import Model
    from orchestrator.runs import Result, resume, run
    from orchestrator.scoring import Predicted, predict
    from orchestrator.space import Range

_HOMES = {
    "main": "cli",
    **dict.fromkeys(("DataError", "Interrupted", "JobError", "OrchestratorError", "RunError"), "errors"),
    **dict.fromkeys(
        ("Budget", "Comparator", "Data", "Job", "Pruner", "Resources", "Search", "Test", "Validation"), "job"
    ),
    "Model": "results.model",
    **dict.fromkeys(("Result", "resume", "run"), "runs"),
    **dict.fromkeys(("Predicted", "predict"), "scoring"),
    "Range": "space",
}
__all__ = [
    "Budget",
    "Comparator",
    "Data",
    "DataError",
    "Interrupted",
    "Job",
    "JobError",
    "Model",
    "OrchestratorError",
    "Predicted",
    "Pruner",
    "Range",
    "Resources",
    "Result",
    "RunError",
    "Search",
    "Test",
    "Validation",
    "__version__",
    "main",
    "predict",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"orchestrator.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
