"""The searches of a job that names none: every family that learns from its columns, so that none wins unopposed."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.data.columns import Column, Kind
from orchestrator.job import Search

TRIALS = 16
"""Of each search that is no grid."""
_TABLES: frozenset[Kind] = frozenset({"number", "boolean", "category", "vector", "date"})
_NETWORKS: tuple[Kind, ...] = ("text", "image", "sequence")
"""Kinds of columns that are the names of the families that learn from them."""


def searches(columns: Sequence[Column]) -> tuple[Search, ...]:
    """Return what is searched where a job does not say.

    Args:
        columns: The features' columns.
    """
    kinds = {column.kind for column in columns}
    found = [Search(kind, trials=TRIALS) for kind in _NETWORKS if kind in kinds]
    if kinds & _TABLES or "text" in kinds:
        found.append(Search("knn"))
        found += [Search(family, trials=TRIALS) for family in ("linear", "forest", "boosting")]
    if kinds & _TABLES:
        found.append(Search("mlp", trials=TRIALS))
    return tuple(found)
