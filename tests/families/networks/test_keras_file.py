"""Keras files that are not ours: each is refused before anything in it is made or run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from orchestrator.families.networks import keras_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


@keras.saving.register_keras_serializable(package="tests")
class Registered(keras.layers.Layer):
    """A layer that this process knows by its registered name, and that is still not Keras's own."""


def model(*more: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="gelu"), *more, keras.layers.Dense(1)])


@pytest.fixture
def saved(tmp_path) -> Callable[..., Path]:
    """Save a model, its config changed by `change`, with `others` beside its own members."""

    def save(made: keras.Model, change: Callable[[Any], Any] = lambda config: config, **others: bytes) -> Path:
        made.save(tmp_path / "whole.keras")
        with zipfile.ZipFile(tmp_path / "whole.keras") as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()
        with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**members, **others}.items():
                archive.writestr(name, content)
        return tmp_path / "model.keras"

    return save


def layer(whole: Any, **changes: Any) -> Any:
    """Change the first dense layer of a whole config."""
    next(one for one in whole["config"]["layers"] if one["class_name"] == "Dense").update(changes)
    return whole


def test_a_model_of_keras_own_layers_predicts_as_before(saved):
    made, rows = model(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)), np.eye(3, dtype=np.float32)
    assert np.array_equal(keras_file.load(saved(made))(rows), made(rows))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (keras.layers.Lambda(lambda x: x + 1), "holds a layer Lambda, which runs code"),
        (Registered(), "holds Registered of .*, which is not one of Keras's own"),
    ],
    ids=["lambda", "registered"],
)
def test_layers_that_run_code_are_refused(more, said, saved):
    with pytest.raises(ValueError, match=said):
        keras_file.load(saved(model(more)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": "os", "class_name": "system"}, "holds system of os"),
        ({"module": "keras.utils", "class_name": "get_file"}, "holds get_file of keras.utils"),
        ({"module": "keras.config", "class_name": "enable_unsafe_deserialization"}, "of keras.config"),
        ({"module": "builtins", "class_name": "function", "config": "eval"}, "holds function of builtins"),
        ({"module": "keras.layers", "class_name": "TextVectorization"}, "reads others"),
        ({"module": None, "class_name": "__lambda__"}, "holds __lambda__"),
        ({"registered_name": "tests>Registered"}, "holds Dense of keras.layers"),
        ({"class_name": "NoSuchLayer"}, r"model\.keras cannot be read"),
        ({"config": {"units": "many"}}, r"model\.keras cannot be read"),
    ],
)
def test_configs_that_name_other_than_layers_are_refused(changes, said, saved):
    with pytest.raises(ValueError, match=said):
        keras_file.load(saved(model(), lambda config: layer(config, **changes)))


def test_hidden_lambdas_are_found_wherever_they_are(saved):
    hidden = {"class_name": "__lambda__", "config": {"value": "x"}}
    with pytest.raises(ValueError, match="holds __lambda__"):
        keras_file.load(saved(model(), lambda config: layer(config, build_config={"input_shape": [[hidden]]})))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("../../evil.py", b"", "lies outside of it"),
        ("/evil.py", b"", "lies outside of it"),
        ("assets/vocabulary.txt", b"", "expected metadata, config and weights alone"),
        ("model.weights.h5", bytes(100 << 20), "unpacks to"),
        ("model.weights.h5", b"no weights", "cannot be read"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[" * 100_000, "cannot be read"),
    ],
    ids=["above", "absolute", "asset", "bomb", "weights", "config", "nested"],
)
def test_archives_with_other_than_a_model_are_refused(name, content, said, saved):
    with pytest.raises(ValueError, match=said):
        keras_file.load(saved(model(), **{name: content}))


class Raising:
    """Would end in an error of its own if it were unpickled."""

    def __reduce__(self):
        return io.open, ("/nowhere/unpickled",)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps(Raising())], ids=["empty", "text", "pickle"])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read: it is"):
        keras_file.load(tmp_path / "model.keras")
