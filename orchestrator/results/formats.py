"""The formats that models are exported in: how each is written, and how it predicts."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import families
from orchestrator.data.columns import Column
from orchestrator.data.encode import Features
from orchestrator.errors import JobError
from orchestrator.families.graph.base import Graph, NoConverter, Tensor
from orchestrator.families.graph.inputs import Input, encoded, fed, input_of
from orchestrator.results import sealed
from orchestrator.results.model import CARD_FILE, PROFILE_FILE, Model
from orchestrator.version import __version__

MOST_BYTES = 1_900_000_000
"""Of a model's files: both formats are protocol buffers, which end at 2 GiB."""
DESCRIPTION = "orchestrator.json"
Given = dict[str, np.ndarray[Any, Any]]
Predict = Callable[[Features], Given]


@dataclass(frozen=True, slots=True)
class Output:
    """What an export gives: a tensor, what it is called, its type, and the shape of one row."""

    name: str
    tensor: Tensor
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        suffix: What its file's name ends with; empty for a folder.
        packages: What it needs beside the main dependencies.
        write: Writes a model, from its folder, to a path, and returns what predicts by what was written.
    """

    suffix: str
    packages: Sequence[str]
    write: Callable[[Model, Path, Path], Predict]

    def check_packages(self) -> None:
        """Refuse a format whose packages are missing.

        Raises:
            JobError: One is.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise JobError(f"--format: {', '.join(missing)} is missing; pip install 'batch-orchestrator[onnx]'")


def _native(model: Model, folder: Path, out: Path) -> Predict:
    described = sealed.unsealed(folder)
    hashes = described.pop("files")
    del described["schema_version"]
    out.mkdir()
    sealed.seal(out, {name: (folder / name).read_bytes() for name in hashes}, described)
    for name in (CARD_FILE, PROFILE_FILE):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    written = Model.load(out)

    def predict(rows: Features) -> Given:
        if model.signature.task == "regression":
            return {"prediction": written.fitted.predict(rows)}
        labels = np.asarray(written.signature.classes)[written.fitted.predict(rows)]
        return {"label": labels, "probabilities": written.fitted.predict_proba(rows)}

    return predict


def _onnx(model: Model, folder: Path, out: Path) -> Predict:
    import onnx
    import onnxruntime

    from orchestrator.families.graph.in_onnx import OnnxGraph, Port

    columns = _columns(model)
    inputs, graph = [input_of(column) for column in columns], OnnxGraph()
    outputs = _outputs(graph, model, columns, {column.name: column.name for column in columns})
    ports = {one.tensor: Port(one.name, one.dtype, one.shape) for one in outputs.values()}
    made = graph.model([Port(one.column.name, one.dtype, one.shape) for one in inputs], ports)
    described = _description(model, {one.column.name: one for one in inputs}, outputs)
    onnx.helper.set_model_props(made, {"orchestrator": json.dumps(described, ensure_ascii=False)})
    onnx.checker.check_model(made)
    out.write_bytes(made.SerializeToString())
    names = [one.name for one in outputs.values()]

    def predict(rows: Features) -> Given:
        try:
            session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
            found = session.run(names, fed(rows, model.signature.columns, columns))
        except Exception as error:  # noqa: BLE001  onnxruntime has a class of its own for each way to fail
            raise NoConverter(f"onnxruntime cannot run it: {str(error).splitlines()[0][:200]}") from None
        return dict(zip(outputs, found, strict=True))

    return predict


def _saved_model(model: Model, folder: Path, out: Path) -> Predict:
    import tensorflow as tf

    from orchestrator.families.graph.in_tensorflow import TensorFlowGraph

    columns = _columns(model)
    names, graph = input_names([column.name for column in columns]), TensorFlowGraph()
    inputs = {names[column.name]: input_of(column) for column in columns}
    specs = [tf.TensorSpec([None, *one.shape], one.dtype, name=name) for name, one in inputs.items()]
    outputs: dict[str, Output] = {}

    def serve(*tensors: Any) -> dict[str, Any]:
        given = {column.name: tensor for column, tensor in zip(columns, tensors, strict=True)}
        outputs.update(_outputs(graph, model, columns, given))
        return {one.name: one.tensor for one in outputs.values()}

    signature = tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()
    module = tf.Module()
    module.kept = tuple(graph.kept)
    tf.saved_model.save(module, out, signatures=signature)
    extra = out / "assets.extra"  # TensorFlow's own place for what it does not read
    extra.mkdir()
    described = json.dumps(_description(model, inputs, outputs), indent=2, ensure_ascii=False) + "\n"
    (extra / DESCRIPTION).write_text(described, encoding="utf-8")
    served = tf.saved_model.load(out).signatures["serving_default"]

    def predict(rows: Features) -> Given:
        arrays = fed(rows, model.signature.columns, columns)
        tensors = {
            name: tf.constant(arrays[one.column.name].tolist() if one.dtype == "string" else arrays[one.column.name])
            for name, one in inputs.items()
        }
        given = served(**tensors)
        found = {name: given[one.name].numpy() for name, one in outputs.items()}
        is_text = "label" in outputs and outputs["label"].dtype == "string"
        return {**found, "label": np.array([one.decode() for one in found["label"]])} if is_text else found

    return predict


FORMATS: Mapping[str, Format] = {
    "native": Format("", (), _native),
    "onnx": Format(".onnx", ("onnx", "onnxruntime", "tf2onnx"), _onnx),
    "savedmodel": Format("", (), _saved_model),
}


def _columns(model: Model) -> list[Column]:
    """Return the columns that the model's family reads, once it is clear that it can be converted at all.

    Raises:
        NoConverter: It cannot.
    """
    if not hasattr(model.fitted, "traced"):
        raise NoConverter(f"the family {model.family} has no converter; expected --format native for it")
    n_bytes = sum(len(content) for content in model.fitted.files().values())
    if n_bytes > MOST_BYTES:
        raise NoConverter(f"the model has {n_bytes / 1e9:.1f} GB; expected at most {MOST_BYTES / 1e9} in such a file")
    kinds = families.find(model.family).kinds
    return [column for column in model.signature.columns if column.kind in kinds]


def _outputs(graph: Graph, model: Model, columns: Sequence[Column], tensors: Mapping[str, Tensor]) -> dict[str, Output]:
    """Return the outputs by what they are; where a column has that name, theirs has `_` after it."""

    def named(what: str) -> str:
        while what in tensors:
            what += "_"
        return what

    given = model.fitted.traced(graph, encoded(graph, tensors, columns))  # type: ignore[attr-defined]
    if model.signature.task == "regression":
        return {"prediction": Output(named("prediction"), graph.reshaped(given, [-1]), "float64", ())}
    classes = np.asarray(model.signature.classes)
    dtype = "string" if classes.dtype.kind == "U" else classes.dtype.name
    values = graph.constant(classes.astype(object) if dtype == "string" else classes)
    label = graph.taken(values, graph.largest_place(given), 0)
    return {
        "label": Output(named("label"), label, dtype, ()),
        "probabilities": Output(named("probabilities"), given, "float64", (len(classes),)),
    }


def _description(model: Model, inputs: Mapping[str, Input], outputs: Mapping[str, Output]) -> dict[str, Any]:
    return {
        "schema_version": sealed.SCHEMA_VERSION,
        "orchestrator": __version__,
        "family": model.family,
        "params": dict(model.params),
        "task": model.signature.task,
        "target": model.signature.target,
        "classes": list(model.signature.classes),
        "inputs": {name: one.described() for name, one in inputs.items()},
        "outputs": {
            one.name: {"is": what, "type": one.dtype, "shape": [None, *one.shape]} for what, one in outputs.items()
        },
    }


def input_names(columns: Sequence[str]) -> dict[str, str]:
    """Return a name that TensorFlow takes for each column: its own, with `_` for letters that it refuses."""
    names: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", column)
        plain = plain if plain[:1].isalnum() else f"column{plain}"
        name, number = plain, 2
        while name in names.values() or (name != column and name in columns):
            name, number = f"{plain}_{number}", number + 1
        names[column] = name
    return names
