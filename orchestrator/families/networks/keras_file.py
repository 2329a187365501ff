"""Keras files: looked at before Keras makes anything of them, then loaded in its safe mode."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from orchestrator.families import archives

_MEMBERS = re.compile(r"metadata\.json|config\.json|model\.weights\.h5")
_MODULES = re.compile(
    r"keras(\.(src\.)?(layers|initializers|regularizers|constraints|activations|models|ops|dtype_policies)(\.\w+)*)?"
)
"""Where the classes of models come from; `keras.utils`, `keras.saving` and the like have no place in one."""
_RUNS = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_READS = frozenset({"IndexLookup", "StringLookup", "IntegerLookup", "TextVectorization"})
"""Layers that run code of the file's, and those that may read further files that it names."""
_PLAIN = frozenset({"__numpy__", "__tensor__", "__keras_tensor__", "__ellipsis__", "__bytes__", "__slice__"})


def load(path: Path) -> keras.Model:
    """Load a model of Keras's own layers; nothing that the file holds is run.

    Raises:
        ValueError: It is damaged, or holds what is not Keras's own, or what runs code or reads other files.
        FileNotFoundError: It is missing.
    """
    content, name = path.read_bytes(), path.name
    for member in archives.members(content, name):
        if not _MEMBERS.fullmatch(member):
            raise ValueError(f"{name} has a member {member!r}; expected metadata, config and weights alone")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = json.loads(archive.read("config.json"))
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be read ({type(error).__name__})") from None
    for made in _made(config):
        _check(made, name)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001  Keras raises whatever the file leads it to
        raise ValueError(f"{name} cannot be read ({type(error).__name__})") from None
    if not isinstance(model, keras.Model):
        raise ValueError(f"{name} holds {type(model).__name__}; expected a Keras model")
    return model


def _made(config: Any) -> Iterator[dict[str, Any]]:
    """Yield all that the config would make an object of."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "class_name" in one:
                yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _check(made: dict[str, Any], name: str) -> None:
    kind, module = str(made["class_name"]), made.get("module")
    if kind in _PLAIN and module is None:
        return
    if kind in _RUNS | _READS:
        raise ValueError(f"{name} holds a layer {kind}, which runs code of the file or reads others; it is not loaded")
    is_of_keras = isinstance(module, str) and _MODULES.fullmatch(module) is not None
    if not is_of_keras or kind == "function" or made.get("registered_name") not in (None, kind):
        raise ValueError(
            f"{name} holds {kind} of {module or made.get('registered_name')}, which is not one of Keras's own layers; "
            "expected those alone, since others run code"
        )
