"""Sequence networks: preparation, a member's bits and plain model, and whole runs."""

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml
from builders import write
from companies import company

from orchestrator import Model
from orchestrator.data.encode import column_of, encode
from orchestrator.families.networks.records import Block
from orchestrator.families.networks.sequence import Sequences, StepPreparation
from orchestrator.families.networks.structure import Input
from orchestrator.space import Range

LISTS = pa.array([[1.0, 3.0], None, [], [5.0, 7.0, 9.0, 11.0]], pa.list_(pa.float64()))


def features(values):
    table = pa.table({"s": values})
    column = column_of("s", table.column("s"))
    return encode(table, [column]), column


def test_a_column_knows_its_longest_sequence():
    assert features(LISTS)[1].longest == 4
    assert features(pa.array([None, []], pa.list_(pa.float32())))[1].longest == 0


def test_steps_are_scaled_and_padded_or_cut_at_the_end():
    rows, _ = features(LISTS)
    prepared = StepPreparation("s", 3, [3.0], [2.0])
    expected = [[-1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert prepared.transform(rows)["steps"][..., 0].tolist() == expected


def test_each_channel_is_scaled_by_itself():
    rows, column = features(pa.array([[[1.0, 10.0], [3.0, 30.0]], [[5.0, 50.0]]], pa.list_(pa.list_(pa.float32(), 2))))
    assert column.shape == (2,)
    found = StepPreparation("s", 2, [1.0, 10.0], [2.0, 20.0]).transform(rows)["steps"]
    assert found.tolist() == [[[0, 0], [1, 1]], [[2, 2], [0, 0]]]


def test_vectors_are_sequences_of_one_channel(tmp_path):
    rows, _ = features(pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.uint8(), 3)))
    prepared = StepPreparation("s", 3, [2.0], [1.0])
    assert prepared.transform(rows)["steps"].tolist() == [[[-1], [0], [1]], [[2], [3], [4]]]
    for name, content in prepared.files().items():
        (tmp_path / name).write_bytes(content)
    loaded = Sequences().load_preparation(tmp_path)
    assert loaded.transform(rows)["steps"].tolist() == prepared.transform(rows)["steps"].tolist()


WIDE = {
    "filters_1": [16, 8],
    "filters_2": [24, 16],
    "width_1": [16, 40, 8],
    "activation": ["relu", "tanh"],
    "normalization": ["none", "batch", "layer"],
    "dropout": Range(0.0, 0.5),
}


def steps(space, each, n_channels=3):
    """Make a company over waves whose frequency tells the class."""
    generator = np.random.default_rng(0)
    target = np.arange(600, dtype=np.int32) % 2
    waves = np.sin(np.arange(20) * (0.5 + 0.4 * target[:, None]) + generator.uniform(0, 6, size=(600, 1)))
    rows = waves[..., None] + generator.normal(0, 0.3, size=(600, 20, n_channels))
    order = generator.permutation(600)
    made = Block({"steps": rows.astype(np.float32)}, target, order[:400], order[400:480], order[480:])
    base = {"batch_size": 32, "epochs": 2, "length": "none"}
    fixed = {**base, **{name: value for name, value in space.items() if not isinstance(value, list | Range)}}
    inputs = [Input("steps", (20, n_channels))]
    return company(Sequences(), inputs, made, {**fixed, **space}, [{**fixed, **one} for one in each])


def varied(n_members):
    return [
        {
            "filters_1": [16, 8][i % 2],
            "filters_2": [24, 16][(i // 2) % 2],
            "width_1": [16, 40, 8][i % 3],
            "activation": ["relu", "tanh"][i % 2],
            "normalization": ["none", "batch", "layer"][(i // 2) % 3],
            "dropout": [0.0, 0.3][(i // 3) % 2],
            "optimizer": ["sgd", "rmsprop", "adam", "adamw"][i % 4],
            "learning_rate": 1e-3 * (1 + i),
        }
        for i in range(n_members)
    ]


@pytest.mark.parametrize(("pooling", "n_channels"), [("average", 1), ("max", 3)])
def test_bits_do_not_depend_on_company(pooling, n_channels):
    space = {**WIDE, "encoder": "conv", "depth": 2, "pooling": pooling, "kernel_size": 25}  # wider than the sequences
    made = steps(space, varied(16), n_channels)
    alone = made.bits(range(16))
    for others in ([0], [5, 0], list(range(15, -1, -1))):
        assert made.bits(others) == [alone[i] for i in others]


@pytest.mark.parametrize(
    "encoder",
    [{"encoder": "conv", "depth": 2}, {"encoder": "lstm"}, {"encoder": "gru", "units": 6, "bidirectional": True}],
)
def test_a_member_says_what_its_plain_model_says(encoder):
    each = varied(6) if encoder["encoder"] == "conv" else [{"learning_rate": rate} for rate in (1e-3, 1e-2)]
    made = steps({**WIDE, **encoder} if encoder["encoder"] == "conv" else encoder, each)
    for which, state in enumerate(made.train(range(len(each)))):
        told, plain = made.said(state, which)
        assert np.abs(told - plain).max() < 1e-6


def test_scaling_is_of_the_fold_and_lengths_of_the_training_rows(cli, folder, make_job):
    generator = np.random.default_rng(0)
    lists = [(generator.normal(size=5 + i % 4) * 0.5 + 3 * (i % 2)).tolist() for i in range(120)]
    write(folder / "data.parquet", {"s": pa.array(lists, pa.list_(pa.float32())), "y": np.arange(120) % 2})
    fixed = {"epochs": 5, "batch_size": 16, "learning_rate": 0.02, "filters_1": 8, "width_1": 8, "depth": 1}
    recurrent = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02, "units": 4, "encoder": "gru"}
    done = cli(
        "run",
        make_job(
            data__test={"fraction": 0.25},
            validation={"kind": "kfold", "folds": 2},
            searches=[
                {"family": "sequence", "sampler": "grid", "space": {**fixed, "kernel_size": [3, 5]}},
                {"family": "sequence", "sampler": "grid", "space": recurrent, "name": "recurrent"},
            ],
        ),
        "--out",
        "out",
    )
    assert done.code == 0, done.err
    (opening,) = json.loads((folder / "out/manifest.json").read_text())["test"]["openings"]
    assert opening["scores"]["best"] > 0.9
    longer = pa.table({"s": pa.array([[3.0] * 40, [0.0], [], None], pa.list_(pa.float32()))})
    said = Model.load(folder / "out/best").predict(longer)
    assert said[0] == 1
    assert len(said) == 4


def test_two_list_columns_are_refused(cli, folder, make_job):
    lists = pa.array([[float(i)] * 3 for i in range(40)], pa.list_(pa.float32(), 3))
    write(folder / "data.parquet", {"one": lists, "two": lists[::-1], "y": np.arange(40) % 2})
    done = cli("run", make_job(searches=[{"family": "sequence"}]))
    assert done.code == 2
    assert "searches.0.family: sequence learns from one list column, found 'one', 'two'" in done.err


def test_gunpoint_is_learned(cli, folder, real_dataset):
    job = {
        "name": "gunpoint",
        "data": {"path": str(real_dataset("ucr_GunPoint")), "target": "label", "exclude": ["split"]},
        "validation": {"kind": "stratified", "folds": 3},
        "searches": [
            {
                "family": "sequence",
                "sampler": "random",
                "trials": 4,
                "space": {
                    "depth": 2,
                    "kernel_size": 9,
                    "pooling": "max",
                    "batch_size": 8,
                    "epochs": 60,
                    "patience": "none",
                    "learning_rate": {"low": 0.002, "high": 0.01, "log": True},
                },
            }
        ],
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    done = cli("run", "job.yaml", "--out", "out")
    assert done.code == 0, done.err
    (opening,) = json.loads((folder / "out/manifest.json").read_text())["test"]["openings"]
    assert opening["scores"]["best"] > 0.9
