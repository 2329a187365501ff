"""What nodes of a cluster could compute: how many units at once now, and how many once all that may come is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Resources = Mapping[str, float]
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where Ray's launcher leaves a cluster's configuration on its head, which its autoscaler reads."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one work unit takes of a node."""

    cpus: float
    gpus: float = 0.0

    def fits(self, node: Resources) -> int:
        """Return how many units a node has room for at once."""
        n_units = node.get("CPU", 0.0) / self.cpus
        if self.gpus:
            n_units = min(n_units, node.get("GPU", 0.0) / self.gpus)
        return math.floor(n_units + 1e-6)

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} of a GPU" if self.gpus else ""
        return f"{self.cpus:g} CPU{'s' if self.cpus != 1 else ''}{gpus}"


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node that an autoscaler may start, and how many of it at most."""

    resources: Resources
    most: int


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a cluster.

    Attributes:
        alive: What each living node has.
        may_come: The kinds of nodes that an autoscaler starts when they are asked for; none where none is known.
    """

    alive: Sequence[Resources]
    may_come: Sequence[NodeType] = ()

    def n_now(self, demand: Demand) -> int:
        """Return how many units living nodes compute at once."""
        return sum(demand.fits(node) for node in self.alive)

    def n_at_most(self, demand: Demand) -> int:
        """Return how many units all nodes would compute at once, those that may come among them.

        Kinds with a GPU count for units that need none where no other kind has room for them.
        """
        kinds = [kind for kind in self.may_come if demand.fits(kind.resources)]
        without = [kind for kind in kinds if not kind.resources.get("GPU")]
        chosen = kinds if demand.gpus else without or kinds
        return max(self.n_now(demand), sum(demand.fits(kind.resources) * kind.most for kind in chosen))

    def has(self, resource: str) -> bool:
        """Tell whether a node has some of a resource, or one that may come would."""
        return any(node.get(resource) for node in (*self.alive, *(kind.resources for kind in self.may_come)))

    def most(self, resource: str) -> float:
        """Return the most of a resource that one node has, or one that may come would have."""
        kinds = (*self.alive, *(kind.resources for kind in self.may_come))
        return max((node.get(resource, 0.0) for node in kinds), default=0.0)


def node_types(path: Path = BOOTSTRAP) -> list[NodeType]:
    """Return the kinds of nodes that this machine's cluster may start; none where it is no head of such a cluster."""
    try:
        config: Any = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
        kinds = config["available_node_types"].items()
        most = int(config.get("max_workers", 0))
        return [
            NodeType({**kind["resources"]}, min(most, int(kind.get("max_workers", most))))
            for name, kind in kinds
            if kind.get("resources") and name != config.get("head_node_type")
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError):
        return []
