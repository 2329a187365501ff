"""The family `keras`: networks that the user's own function builds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from orchestrator.data.columns import SCALARS
from orchestrator.data.encode import Column, Features, Kind
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.attached import written
from orchestrator.families.base import Shape
from orchestrator.families.code import BUILD, function_of
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures
from orchestrator.families.networks import parameters
from orchestrator.families.networks.family import NetworkFamily, Preparation
from orchestrator.families.networks.mlp import CODES, MLP, NUMBERS
from orchestrator.families.networks.parameters import Parameter
from orchestrator.families.networks.structure import Input, Member, Signature, Structure
from orchestrator.space import Dimension, Params, Range, Space, dimensions

ARRAYS_FILE = "arrays.json"


class MixedPreparation(Preparation):
    """Scalar columns and dates as the family `mlp` has them; vectors and images as they are, by their names."""

    def __init__(self, table: Preparation | None, arrays: Sequence[str]) -> None:
        self.table, self.arrays = table, tuple(arrays)

    @property
    def reads(self) -> Sequence[str]:
        """The columns that it reads."""
        return [*(self.table.reads if self.table else ()), *self.arrays]

    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return `numbers` and `codes`, as far as there are such columns, and the arrays."""
        found = {} if self.table is None else self.table.transform(features)
        return {**found, **{name: features.arrays[name] for name in self.arrays}}

    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph."""
        found = {} if self.table is None else self.table.traced(graph, features)
        return {**found, **{name: features.arrays[name] for name in self.arrays}}

    def files(self) -> Mapping[str, bytes]:
        """Return the table's files, and the arrays' names."""
        described = {"has_table": self.table is not None, "arrays": list(self.arrays)}
        table = {} if self.table is None else self.table.files()
        return {**table, ARRAYS_FILE: (json.dumps(described) + "\n").encode()}


class Custom(NetworkFamily):
    """The family `keras`.

    A search names the function as `build: file.py:function`; it takes `params` and `signature`, and returns a Keras
    model that gives probabilities, or one number for regression. Parameters that are no training's are its own.
    """

    name = "keras"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"number", "boolean", "category", "date", "vector", "image"})
    own: ClassVar[Mapping[str, Parameter]] = {"scaler": MLP.own["scaler"]}
    layers: ClassVar[frozenset[str]] = frozenset()
    preparing = frozenset({"scaler"})
    prepares = False
    takes_build = True
    default_batch_size = 16
    _table = MLP()

    def default_space(self, shape: Shape) -> Space:
        """Return a space over training alone."""
        return parameters.training_space(Range(1e-4, 1e-2, log=True), [32, 64], 20, shape.task)

    def checked_space(self, space: Space, shape: Shape, key: str) -> Space:
        """Return the space in canonical form; parameters of the user's own as they are."""
        known = self.table(shape.task)
        others = parameters.CLASSIFYING if shape.task == "regression" else parameters.REGRESSING
        for name in space:
            if name in others:
                raise JobError(f"{key}.{name}: {shape.task} has no such parameter")
        for column in shape.columns:
            if column.kind in ("vector", "image") and column.name in (NUMBERS, CODES):
                raise JobError(
                    f"{key}: column {column.name!r} has the name of an input that {self.name} makes; rename it"
                )
        checked = parameters.checked(self.name, known, {n: v for n, v in space.items() if n in known}, key)
        own = {n: d if isinstance(d, Range) else list(d) for n, d in dimensions(space).items() if n not in known}
        return {name: checked[name] if name in known else own[name] for name in space}

    def complexity(self, params: Params) -> float:
        """Return 0: what a user's parameters make of a network is not known."""
        return 0.0

    def size(self, params: Params, shape: Shape) -> float | None:
        """Return None, for the same reason."""
        return None

    def is_fused(self, params: Params) -> bool:
        """Tell that members train one after another."""
        return False

    def companions(self, member: Member) -> object:
        """Return the trial: a function that raises or never ends takes none but its own trial with it."""
        return member.items

    def shares_inputs(self, columns: Sequence[Column]) -> bool:
        """Tell whether there is nothing that is scaled by a fold's rows."""
        return not _tabular(columns)

    def own_params(self, params: Params, task: str) -> Params:
        """Return what the user's function is given."""
        return {name: value for name, value in params.items() if name not in (*self.table(task), BUILD)}

    def inputs(self, params: Params, shape: Shape) -> Sequence[Input]:
        """Return `numbers` and `codes` as `mlp` has them, then each vector and image."""
        table = self._table.inputs(params, replace(shape, columns=_tabular(shape.columns)))
        arrays = [c for c in shape.columns if c.kind in ("vector", "image")]
        return [*table, *(Input(c.name, c.shape, "uint8" if c.holds_bytes else "float32") for c in arrays)]

    def signature(self, params: Params, shape: Shape) -> Signature:
        """Return what the user's model takes and gives: for classification a probability a class."""
        inputs = tuple(self.inputs(params, shape))
        if shape.task == "regression":
            return Signature(inputs, "regression", 1)
        return Signature(inputs, "multiclass", shape.n_classes, gives_probabilities=True)

    def structure_of(self, params: Params, shape: Shape, dims: Mapping[str, Dimension]) -> Structure:
        """Return the structure: the function, what it is given, and the size of a batch."""
        own = {**self.own_params(params, shape.task), BUILD: params.get(BUILD), "batch_size": params["batch_size"]}
        return Structure(self.name, self.signature(params, shape), tuple(sorted(own.items())), (), (), False, False)

    def prepare(self, params: Params, data: TrainingSet, rows: np.ndarray[Any, Any]) -> Preparation:
        """Fit imputation and scaling of the scalar columns and dates."""
        columns = _tabular(data.columns)
        table = self._table.prepare(params, replace(data, columns=columns), rows) if columns else None
        return MixedPreparation(table, [c.name for c in data.columns if c.kind in ("vector", "image")])

    def load_preparation(self, folder: Path) -> Preparation:
        """Read the table's preparation and the arrays' names."""
        read = json.loads((folder / ARRAYS_FILE).read_text(encoding="utf-8"))
        table = self._table.load_preparation(folder) if read["has_table"] else None
        return MixedPreparation(table, read["arrays"])

    def program(self, structure: Structure, data: TrainingSet) -> Any:
        """Return a program of the user's function.

        Raises:
            ValueError: It is not with the data.
        """
        from orchestrator.families.networks.custom_program import UserProgram

        name = str(structure.fixed[BUILD])
        if name not in data.code:
            raise ValueError(f"the code {name} is not with the data")
        params = written({n: v for n, v in structure.fixed.items() if n not in (BUILD, "batch_size")}, data.files)
        return UserProgram(structure, function_of(name, data.code[name]), params)

    def build(self, kit: Any, params: Params, signature: Signature) -> Any:
        """Refuse: the layers are the user's, and no kit's."""
        raise NotImplementedError("networks of the family keras are built by the user's function")


def _tabular(columns: Sequence[Column]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.kind in SCALARS or column.kind == "date")
