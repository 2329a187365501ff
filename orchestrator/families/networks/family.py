"""What the network families share: their spaces, and how trials become populations. Knows no TensorFlow."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from orchestrator.data import encode
from orchestrator.data.encode import Column, Features, Kind
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.base import Engine, Fitted, Shape
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures
from orchestrator.families.networks import parameters
from orchestrator.families.networks.parameters import Parameter
from orchestrator.families.networks.plan import MOST_FUSED, MOST_IN_TURN, NetworkPlan
from orchestrator.families.networks.records import BlockKey
from orchestrator.families.networks.structure import Input, Member, Signature, Structure, padded, widest
from orchestrator.space import Conditions, Dimension, Params, Range, Space, active, dimensions

SGD: Conditions = {"momentum": ("optimizer", frozenset({"sgd"}))}


class Preparation(ABC):
    """What turns encoded rows into a network's inputs, fitted on the rows of one fold."""

    @property
    @abstractmethod
    def reads(self) -> Sequence[str]:
        """The columns that it reads."""

    @abstractmethod
    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return the inputs by name, rows along axis 0."""

    @abstractmethod
    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph."""

    @abstractmethod
    def files(self) -> Mapping[str, bytes]:
        """Return what `NetworkFamily.load_preparation` reads."""

    def initial(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """Return weights that are not drawn at random, by their variables' paths; nan where they are all the same."""
        return {}


class NetworkFamily(ABC):
    """A family of Keras networks.

    A subclass says what its parameters are, how rows become inputs, and what the layers are; see `mlp`.

    Attributes:
        name: What jobs call it.
        kinds: The kinds of columns that it learns from.
        own: Its parameters beside those of training.
        layers: Names of parameters that decide the graph, so that trials which differ in them do not train together.
        fused_widths: Widths that are padded and masked where members train together.
        fused_choices: Choices that are selected by member there.
        preparing: Parameters that the preparation depends on.
        most_fused: How many members train as one program at most.
        initializing: Parameters that the first weights depend on, beside those of the graph.
        prepares: Whether the preparation is worth a work unit of its own, whose payload all who train on a fold share.
        streams: Whether it learns from rows in a file too.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    own: ClassVar[Mapping[str, Parameter]]
    layers: ClassVar[frozenset[str]]
    fused_widths: ClassVar[frozenset[str]] = frozenset()
    fused_choices: ClassVar[frozenset[str]] = frozenset({"activation", "normalization"})
    preparing: ClassVar[frozenset[str]] = frozenset()
    most_fused: ClassVar[int] = MOST_FUSED
    initializing: ClassVar[tuple[str, ...]] = ()
    prepares: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    conditions: ClassVar[Conditions] = SGD
    default_sampler: ClassVar[str] = "tpe"
    default_batch_size: ClassVar[int] = 64
    engine: ClassVar[Engine] = "tensorflow"

    @property
    def structure(self) -> frozenset[str]:
        """The parameters whose values decide which trials can train together."""
        return self.layers | {"batch_size"}

    def table(self, task: str) -> Mapping[str, Parameter]:
        """Return all parameters for a task."""
        return {**self.own, **parameters.TRAINING, **parameters.of_task(task)}

    def settings(self, params: Params, task: str) -> Params:
        """Return a configuration with what it leaves out at its default, and nothing that means nothing."""
        return active({**{name: p.default for name, p in self.table(task).items()}, **params}, self.conditions)

    def max_epochs(self, space: Space) -> int | None:
        """Return the epochs of a trial.

        Raises:
            JobError: They are not the same for all trials.
        """
        values = dimensions(space).get("epochs", (parameters.TRAINING["epochs"].default,))
        if isinstance(values, Range) or len(values) != 1:
            raise JobError("space.epochs: a pruner needs one number of epochs for all trials")
        return int(values[0])

    @abstractmethod
    def default_space(self, shape: Shape) -> Space:
        """Return the space of a search that names none."""

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form.

        Raises:
            JobError: A parameter or a value is unknown or does not fit the data.
        """
        table = self.table(shape.task)
        return parameters.with_parents(table, self.conditions, parameters.checked(self.name, table, space, key))

    def plan(self, space: Space, shape: Shape, *, exhaustive: bool) -> NetworkPlan:
        """Return the plan of a checked space."""
        return NetworkPlan(self, space, shape)

    def complexity(self, params: Params) -> float:
        """Return about how many weights the hidden layers have."""
        sizes = [int(v) for k, v in sorted(params.items()) if k.startswith(("width_", "filters_"))]
        return float(sum(a * b for a, b in itertools.pairwise([1, *sizes])))

    def size(self, params: Params, shape: Shape) -> float | None:
        """Return about how many weights a network has."""
        return float(self.n_weights(self.settings(params, shape.task), shape))

    def companions(self, member: Member) -> object:
        """Return what a member has in common with those of its unit, beside their structure; None for no more."""
        return None

    def shares_inputs(self, columns: Sequence[Column]) -> bool:
        """Tell whether inputs depend on no rows, so that all folds of a unit share them."""
        return not self.prepares

    def block_key(self, member: Member) -> BlockKey:
        """Return what names the prepared fold that a member trains on."""
        return tuple((n, v) for n, v in member.items if n in self.preparing), member.fold

    def is_fused(self, params: Params) -> bool:
        """Tell whether members of a configuration's structure train as one program on a CPU."""
        return True

    def is_fused_on_gpu(self, params: Params) -> bool:
        """Tell the same for a GPU."""
        return self.is_fused(params)

    def most_in_turn(self, params: Params, shape: Shape) -> int:
        """Return how many members a unit has at most where they train one after another."""
        return MOST_IN_TURN

    @abstractmethod
    def inputs(self, params: Params, shape: Shape) -> Sequence[Input]:
        """Return the network's inputs."""

    @abstractmethod
    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Fit the preparation on some rows of the training set."""

    @abstractmethod
    def load_preparation(self, folder: Path) -> Preparation:
        """Read what `Preparation.files` wrote."""

    @abstractmethod
    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Return the Keras model from the inputs to the logits, made of the kit's layers."""

    def program(self, structure: Structure, data: TrainingSet) -> Any:
        """Return the program of a structure, on a worker."""
        from orchestrator.families.networks.program import Program

        return Program(structure, self.build)

    def signature(self, params: Params, shape: Shape) -> Signature:
        """Return what the network takes and gives."""
        return Signature.of(self.inputs(params, shape), shape.task, shape.n_classes)

    def structure_of(self, params: Params, shape: Shape, dims: Mapping[str, Dimension]) -> Structure:
        """Return the structure that a configuration of a space belongs to.

        Args:
            params: Its settings.
            shape: Of the data.
            dims: The space, single values among them, which says what other members may be like.
        """
        fused = self.is_fused(params)
        pads = {
            name: padded(int(params[name]), widest(dims.get(name, (params[name],))))
            for name in sorted(self.fused_widths)
            if fused and name in params
        }
        options = {
            name: _listed(dims[name])
            for name in sorted(self.fused_choices)
            if fused and name in dims and len(_listed(dims[name])) > 1
        }
        graph = self.structure | self.fused_widths | self.fused_choices
        fixed = {n: v for n, v in sorted(params.items()) if n in graph and n not in pads and n not in options}
        dropout = dims.get("dropout", (params.get("dropout", 0.0),))
        return Structure(
            self.name,
            self.signature(params, shape),
            tuple(fixed.items()),
            tuple(pads.items()),
            tuple(options.items()),
            isinstance(dropout, Range) or any(float(rate) > 0 for rate in dropout),  # type: ignore[arg-type]
            fused,
            self.initializing,
        )

    def n_weights(self, params: Params, shape: Shape) -> int:
        """Return about how many weights a member has, for the bound on a population's memory."""
        flat = sum(math.prod(one.shape) for one in self.inputs(params, shape) if one.dtype != "int32")
        sizes = [flat, *(int(v) for k, v in sorted(params.items()) if k.startswith(("width_", "filters_")))]
        sizes.append(max(1, shape.n_classes))
        return sum(a * b for a, b in itertools.pairwise(sizes))

    def row_floats(self, params: Params, shape: Shape) -> int:
        """Return about how many numbers one row of a batch takes on its way through a member."""
        inputs = sum(math.prod(one.shape) for one in self.inputs(params, shape))
        return inputs + 8 * sum(int(v) for k, v in params.items() if k.startswith(("width_", "filters_")))

    def fit(self, params: Params, data: TrainingSet, epochs: int | None) -> Fitted:
        """Train a configuration on all rows, without early stopping."""
        from orchestrator.families.networks.fitted import fit_all

        return fit_all(self, self.settings(params, data.task), data, epochs)

    def load(self, folder: Path, signature: encode.Signature) -> Fitted:
        """Load a fitted network."""
        from orchestrator.families.networks.fitted import load

        return load(self, folder, signature)


def _listed(dimension: Dimension) -> tuple[Any, ...]:
    return tuple(dimension.values() or ()) if isinstance(dimension, Range) else tuple(dimension)
