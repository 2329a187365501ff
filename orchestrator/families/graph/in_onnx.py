"""Graphs in ONNX. Networks are converted by tf2onnx and put in; all else is written here, in double precision.

tf2onnx would convert the rest of a TensorFlow function, too, but sorts and slices doubles as floats, and knows few
operations on strings.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from orchestrator.families.graph.base import Elementwise, NoConverter, Tensor

OPSET, ML_OPSET, IR_VERSION = 18, 3, 9
"""Of ONNX's own operators, of those for classical machine learning, and of the file: what tf2onnx knows at most."""
_TYPES = {
    "bool": TensorProto.BOOL,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
    "uint8": TensorProto.UINT8,
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output: its name, its type, and the shape of one row; None is any length."""

    name: str
    dtype: str
    shape: Sequence[int | None]

    def declared(self) -> Any:
        """Return it as ONNX declares it."""
        return helper.make_tensor_value_info(self.name, _TYPES[self.dtype], ["rows", *self.shape])


class OnnxGraph:
    """A graph in ONNX; tensors are the names of their values."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._numbers = itertools.count()

    def model(self, inputs: Sequence[Port], outputs: Mapping[str, Port]) -> Any:
        """Return the whole model; `outputs` says by tensor what it is called and is like."""
        ends = [helper.make_node("Identity", [tensor], [port.name]) for tensor, port in outputs.items()]
        takes, gives = [port.declared() for port in inputs], [port.declared() for port in outputs.values()]
        graph = helper.make_graph([*self.nodes, *ends], "model", takes, gives, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, producer_name="orchestrator", ir_version=IR_VERSION)

    def _node(self, kind: str, *operands: Tensor, n_outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [self._name(kind) for _ in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, list(operands), names, domain=domain, **attributes))
        return names[0] if n_outputs == 1 else tuple(names)

    def _name(self, kind: str) -> str:
        return f"//{kind}_{next(self._numbers)}"  # columns may have any name but hardly such a one

    def constant(self, value: Any) -> Tensor:
        """Return a constant."""
        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def apply(self, name: Elementwise, *operands: Tensor) -> Tensor:
        """Apply an operation."""
        return self._node(name, *operands)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Cast."""
        return self._node("Cast", x, to=_TYPES[dtype])

    def joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenate."""
        return self._node("Concat", *parts, axis=axis)

    def taken(self, x: Tensor, places: Tensor, axis: int) -> Tensor:
        """Gather."""
        return self._node("Gather", x, places, axis=axis)

    def reshaped(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshape."""
        return self._node("Reshape", x, self.constant(np.asarray(shape, np.int64)))

    def total(self, x: Tensor, axis: int) -> Tensor:
        """Sum."""
        return self._node("ReduceSum", x, self.constant(np.array([axis], np.int64)), keepdims=1)

    def largest_place(self, x: Tensor) -> Tensor:
        """Return where the largest number of a row is."""
        return self._node("ArgMax", x, axis=1, keepdims=0)

    def smallest(self, x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the smallest numbers of a row and their places."""
        found: tuple[Tensor, Tensor] = self._node(
            "TopK", x, self.constant(np.array([n], np.int64)), n_outputs=2, axis=1, largest=0, sorted=1
        )
        return found

    def codes(self, strings: Tensor, known: Mapping[str, int], default: int) -> Tensor:
        """Look strings up."""
        keys, values = list(known), list(known.values())
        return self._node(
            "LabelEncoder",
            strings,
            domain="ai.onnx.ml",
            keys_strings=keys,
            values_int64s=values,
            default_int64=default,
        )

    def of_length(self, x: Tensor, length: int, value: float) -> Tensor:
        """Cut or fill up."""
        ends = self.constant(np.array([0, length], np.int64))
        filled = self._node("Pad", x, ends, self.constant(np.float32(value)), self.constant(np.array([1], np.int64)))
        return self.taken(filled, self.constant(np.arange(length)), 1)

    def word_ids(self, columns: Sequence[Tensor], known: Sequence[str], length: int, truncate: str) -> Tensor:
        """Refuse: ONNX's own operators neither replace nor split in the way that words are found."""
        raise NoConverter(
            "ONNX has no operators for how the family text splits texts into words (lower case without punctuation); "
            "expected --format savedmodel or native for it"
        )

    def network(self, model: Any, inputs: Sequence[Tensor]) -> Tensor:
        """Convert a Keras model, and put its nodes in.

        Raises:
            NoConverter: tf2onnx has none for one of its layers.
        """
        converted = _converted(model)
        prefix = self._name("network")
        named = dict(zip((one.name for one in converted.input), inputs, strict=True))

        def within(name: str) -> str:
            return named.get(name, f"{prefix}/{name}") if name else ""

        _rename(converted, within)
        self.nodes += converted.node
        self.constants += converted.initializer
        return within(converted.output[0].name)


def _rename(graph: Any, within: Any) -> None:
    for node in graph.node:
        node.input[:] = [within(name) for name in node.input]
        node.output[:] = [within(name) for name in node.output]
        node.name = within(node.name)
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename(inner, within)
                for value in (*inner.input, *inner.output):
                    value.name = within(value.name)
                del inner.value_info[:]
    for constant in graph.initializer:
        constant.name = within(constant.name)


def _converted(model: Any) -> Any:
    import tensorflow as tf
    import tf2onnx

    specs = [tf.TensorSpec([None, *one.shape[1:]], one.dtype, name=f"input_{i}") for i, one in enumerate(model.inputs)]
    function = tf.function(lambda *inputs: model(list(inputs), training=False), input_signature=specs, autograph=False)
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        made, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
        _write_out_erfc(made.graph)
        onnx.checker.check_model(made)
    except Exception as error:  # noqa: BLE001  tf2onnx raises whatever it meets
        raise NoConverter(f"tf2onnx has no converter for a layer of the network: {_first_line(error)}") from None
    return made.graph


def _write_out_erfc(graph: Any) -> None:
    """Write 1 - erf(x) for erfc(x), which gelu is made of, and tf2onnx leaves as it is."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        name = node.output[0]
        nodes.append(helper.make_node("Constant", [], [f"{name}/one"], value_float=1.0))
        nodes.append(helper.make_node("Erf", list(node.input), [f"{name}/erf"]))
        nodes.append(helper.make_node("Sub", [f"{name}/one", f"{name}/erf"], [name]))
    del graph.node[:]
    graph.node.extend(nodes)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
