"""The operations that a model is written in, so that it can be a TensorFlow function and an ONNX graph alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from orchestrator.data.encode import Column
from orchestrator.errors import JobError

Tensor = Any
"""A tensor of the graph; its first axis is the rows."""
Elementwise = (
    Literal["Abs", "Add", "Div", "Equal", "GreaterOrEqual", "IsInf", "IsNaN", "MatMul", "Max", "Min", "Mul"]
    | Literal["Pow", "Sqrt", "Sub", "Where"]
)
"""Operations without attributes, by their names in ONNX, which also says what they do."""


class NoConverter(JobError):
    """A part of a model cannot be written in a format; the message says which (exit code 2)."""


class Graph(Protocol):
    """A graph that operations are added to. Shapes broadcast as NumPy's do; both operands have one type."""

    def constant(self, value: Any) -> Tensor:
        """Return a constant: numbers, or an object array of strings."""

    def apply(self, name: Elementwise, *operands: Tensor) -> Tensor:
        """Apply an operation element by element, or a product of matrices."""

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Return `x` as another type, by NumPy's name of it."""

    def joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenate tensors."""

    def taken(self, x: Tensor, places: Tensor, axis: int) -> Tensor:
        """Return the elements of `x` at `places`, int64, along an axis."""

    def reshaped(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshape; -1 stands for the rest."""

    def total(self, x: Tensor, axis: int) -> Tensor:
        """Return the sum over an axis, which stays with length 1."""

    def largest_place(self, x: Tensor) -> Tensor:
        """Return the place of the largest number of each row, the first of equal ones, int64, shape (rows,)."""

    def smallest(self, x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the `n` smallest numbers of each row and their places, int64; of equal ones the first."""

    def codes(self, strings: Tensor, known: Mapping[str, int], default: int) -> Tensor:
        """Return each string's code, int64."""

    def of_length(self, x: Tensor, length: int, value: float) -> Tensor:
        """Cut axis 1 to a length, or fill it up with `value`."""

    def word_ids(self, columns: Sequence[Tensor], known: Sequence[str], length: int, truncate: str) -> Tensor:
        """Return ids of words of text columns as `words.WordPreparation` gives them, int32, shape (rows, length).

        Raises:
            NoConverter: The format has no such operations.
        """

    def network(self, model: Any, inputs: Sequence[Tensor]) -> Tensor:
        """Return what a Keras model gives."""


@dataclass(frozen=True, slots=True)
class TracedFeatures:
    """Rows of encoded features in a graph, as `data.encode.Features` has them.

    Attributes:
        columns: What the columns are, scalar ones and others.
        matrix: The scalar columns, float64, shape (rows, columns); None where there are none.
        arrays: The other columns by name: strings; vectors and images as numbers; sequences as float32, shape (rows,
            steps) or (rows, steps, channels), nan after the last step.
    """

    columns: Sequence[Column]
    matrix: Tensor | None
    arrays: Mapping[str, Tensor]

    def flat(self, graph: Graph) -> Tensor:
        """Return scalar columns and the elements of vectors as one matrix, float64."""
        vectors = [graph.cast(self.arrays[c.name], "float64") for c in self.columns if c.kind == "vector"]
        parts = [part for part in (self.matrix, *vectors) if part is not None]
        return parts[0] if len(parts) == 1 else graph.joined(parts, 1)


def places(numbers: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return places as `Graph.taken` takes them."""
    return np.asarray(numbers, np.int64)
