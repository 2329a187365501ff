"""Model families, found by name: those of the package, and those that others register as entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from orchestrator.errors import JobError, did_you_mean

if TYPE_CHECKING:
    from orchestrator.families.base import Family

GROUP = "orchestrator.families"
_NETWORKS = "orchestrator.families.networks"
_ESTIMATORS = "orchestrator.families.estimators"
_BUILT_IN = {
    "knn": "orchestrator.families.knn:KNN",
    "estimator": f"{_ESTIMATORS}.named:Named",
    "linear": f"{_ESTIMATORS}.ready:linear",
    "tree": f"{_ESTIMATORS}.ready:tree",
    "forest": f"{_ESTIMATORS}.ready:forest",
    "boosting": f"{_ESTIMATORS}.ready:boosting",
    "mlp": f"{_NETWORKS}.mlp:MLP",
    "text": f"{_NETWORKS}.text:Text",
    "sequence": f"{_NETWORKS}.sequence:Sequences",
    "image": f"{_NETWORKS}.image:Image",
    "keras": f"{_NETWORKS}.custom:Custom",
}
_registered: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known in this process, beside those of the package and of entry points."""
    _registered[family.name] = family


def known() -> list[str]:
    """Return the names of all families."""
    return sorted({*_BUILT_IN, *_registered, *(entry.name for entry in entry_points(group=GROUP))})


def find(name: str, key: str = "family") -> Family:
    """Return the family called `name`.

    Raises:
        JobError: There is none; `key` is the key of the job that named it.
    """
    if name in _registered:
        return _registered[name]
    return _load(name, key)


@cache
def _load(name: str, key: str) -> Family:
    target = _BUILT_IN.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        found: Family = getattr(import_module(module), attribute)()
        return found
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            loaded: Family = entry.load()()
            return loaded
    raise JobError(f"{key}: no family {name!r}.{did_you_mean(name, known())}")
