"""Text networks: a member's bits and weights, its plain model, and whole runs over raw text."""

import json

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import write
from companies import by_hand, company

from orchestrator import Model
from orchestrator.families.networks.program import Program
from orchestrator.families.networks.records import Block
from orchestrator.families.networks.structure import Input
from orchestrator.families.networks.text import Text
from orchestrator.space import Range

N_ROWS, LENGTH, N_WORDS = 900, 24, 50
OPTIMIZERS = ["sgd", "rmsprop", "adam", "adamw"]


def fold():
    """Return texts of which every tenth is empty; a word's number tells the class."""
    generator = np.random.default_rng(0)
    ids = np.sort(generator.zipf(1.3, size=(N_ROWS, LENGTH)) % N_WORDS, axis=1).astype(np.int32)
    ids[::10] = 0
    target = (ids.sum(axis=1) > np.median(ids.sum(axis=1))).astype(np.int32)
    order = generator.permutation(N_ROWS)
    return Block({"words": ids}, target, order[:640], order[640:740], order[740:])


def texts(space, each):
    """Make a company of text networks."""
    base = {"vocabulary": N_WORDS, "length": LENGTH, "batch_size": 64, "epochs": 2}
    fixed = {**base, **{name: value for name, value in space.items() if not isinstance(value, list | Range)}}
    members = [{**fixed, **one} for one in each]
    return company(Text(), [Input("words", (LENGTH,), "int32", N_WORDS)], fold(), {**fixed, **space}, members)


def varied(n_members):
    return [
        {
            "width_1": [16, 40, 8][i % 3],
            "activation": ["relu", "tanh"][i % 2],
            "normalization": ["none", "batch", "layer"][(i // 2) % 3],
            "dropout": [0.0, 0.3][(i // 3) % 2],
            "optimizer": OPTIMIZERS[i % 4],
            "learning_rate": 1e-3 * (1 + i),
            "weight_decay": [0.0, 1e-3][i % 2],
        }
        for i in range(n_members)
    ]


WIDE = {
    "width_1": [16, 40, 8],
    "activation": ["relu", "tanh"],
    "normalization": ["none", "batch", "layer"],
    "dropout": Range(0.0, 0.5),
}
ENCODERS = [
    {"encoder": "average", "pooling": "masked"},
    {"encoder": "average", "pooling": "average", "embedding_width": 10},
    {"encoder": "average", "pooling": "max", "embedding_width": 8},
    {"encoder": "conv", "filters": [24, 16], "kernel_size": 3, "embedding_width": 5},
    {"encoder": "conv", "filters": [24, 16], "kernel_size": 40},
]


def with_filters(encoder, each):
    return [{**one, **({"filters": [24, 16][i % 2]} if "filters" in encoder else {})} for i, one in enumerate(each)]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_bits_do_not_depend_on_company(encoder):
    made = texts({**WIDE, **encoder}, with_filters(encoder, varied(64)))
    alone = made.bits(range(64))
    for others in ([0], [5, 0], list(range(16)), list(range(63, -1, -1)), [40, 3, 17]):
        assert made.bits(others) == [alone[i] for i in others]


@pytest.mark.parametrize("encoder", ENCODERS[:4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_are_those_of_keras_with_dense_gradients(encoder, optimizer):
    rate = 0.01 if optimizer == "sgd" else 2e-3
    one = {"optimizer": optimizer, "momentum": 0.9, "learning_rate": rate, "activation": "tanh", "epochs": 4}
    rest = {"width_1": 24, "dropout": 0.0, "normalization": "none", "weight_decay": 1e-2, "patience": "none"}
    made = texts(
        {**encoder, "width_1": [24, 40]}, with_filters(encoder, [{**one, **rest}, {**one, **rest, "width_1": 40}])
    )
    settings = {"learning_rate": rate, "weight_decay": 1e-2, **({"momentum": 0.9} if optimizer == "sgd" else {})}
    names = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
    expected = by_hand(made, 0, getattr(keras.optimizers, names[optimizer])(**settings))
    state = made.train([0, 1])[0]
    learned = {v.path: v.numpy() for v in made.trainer.program.plain(made.members[0].params, *parts(state)).variables}
    begun = made.trainer.begin(made.members[0])
    first = {v.path: v.numpy() for v in made.trainer.program.plain(made.members[0].params, *parts(begun)).variables}
    assert expected.keys() == learned.keys()
    for path, values in expected.items():
        assert np.abs(values - learned[path]).max() < 1e-5, path
        assert np.abs(values - first[path]).max() > 1e-4, path


def parts(state):
    return state.now.flat, state.now.state


@pytest.mark.parametrize(
    "encoder", [*ENCODERS, {"encoder": "lstm", "units": 5, "bidirectional": True}, {"encoder": "gru"}]
)
def test_a_member_says_what_its_plain_model_says(encoder):
    made = texts({**WIDE, **encoder} if encoder["encoder"] in ("average", "conv") else encoder, varied_of(encoder))
    for which, state in enumerate(made.train(range(len(made.members)))):
        told, plain = made.said(state, which)
        assert np.isfinite(plain).all()  # empty texts too
        assert np.abs(told - plain).max() < 1e-6


def varied_of(encoder):
    if encoder["encoder"] in ("average", "conv"):
        return with_filters(encoder, varied(6))
    return [{"learning_rate": rate} for rate in (1e-3, 1e-2)]


def test_recurrent_members_begin_as_their_seed_says():
    encoder = {"encoder": "lstm", "units": 4, "bidirectional": True}
    made = texts(encoder, [{"learning_rate": 1e-2}, {"learning_rate": 1e-3}])
    again = Program(made.trainer.program.structure, Text().build)
    generators = [np.random.default_rng(1), np.random.default_rng(1), np.random.default_rng(2)]
    first, same, other = (
        program.initial(made.members[0].params, generator)[0]
        for program, generator in zip((made.trainer.program, again, again), generators, strict=True)
    )
    assert first.tobytes() == same.tobytes()
    params = made.members[0].params
    state = again.initial(params, generators[0])[1]
    plain = {v.path: v.numpy() for v in again.plain(params, first, state).variables}
    kernels = [v for path, v in plain.items() if path.endswith("recurrent_kernel")]
    biases = [v for path, v in plain.items() if path.endswith("cell/bias")]
    assert len(kernels) == len(biases) == 2
    for kernel, bias in zip(kernels, biases, strict=True):
        assert np.abs(kernel @ kernel.T - np.eye(4)).max() < 1e-5  # orthogonal, as Keras draws it
        assert bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8  # it forgets nothing at first
    assert (first != other).any()


GOOD, BAD = ["splendid", "lovely", "fine"], ["dreadful", "poor", "dull"]


def reviews(n_rows=240):
    """Return reviews, some of them empty or null, and what they say of a film."""
    generator = np.random.default_rng(3)
    said = [
        " ".join(
            generator.permutation([*generator.choice(good, 2), *generator.choice(["a", "the", "film", "so", "it"], 6)])
        )
        for good in (GOOD if i % 2 else BAD for i in range(n_rows))
    ]
    said[4], said[9] = None, ""
    return {"review": pa.array(said), "y": pa.array([("bad", "good")[i % 2] for i in range(n_rows)])}


@pytest.fixture
def job(folder, make_job):
    write(folder / "data.parquet", reviews())

    def make(**space):
        fixed = {"epochs": 12, "batch_size": 16, "learning_rate": 0.03, "vocabulary": 100, "length": 10, "width_1": 8}
        search = {"family": "text", "sampler": "random", "trials": 3, "batch_size": 3, "space": {**fixed, **space}}
        return make_job(
            data__test={"fraction": 0.25}, validation={"kind": "holdout", "fraction": 0.25}, searches=[search]
        )

    return make


def test_a_run_learns_and_its_model_takes_raw_text(cli, job, folder):
    done = cli("run", job(width_1=[8, 16, 20], activation=["relu", "tanh"]), "--out", "out")
    assert done.code == 0, done.err
    manifest = json.loads((folder / "out/manifest.json").read_text())
    (opening,) = manifest["test"]["openings"]
    assert opening["scores"]["best"] > 0.9
    assert opening["scores"]["best"] > opening["scores"]["dummy"] + 0.3
    fresh = pa.table(
        {"review": pa.array(["SO lovely, a fine film!", "poor, poor: dull...", None, "", "unheard words"])}
    )
    model = Model.load(folder / "out/best")
    said = model.predict(fresh)
    assert list(said[:2]) == ["good", "bad"]
    pq.write_table(fresh, folder / "fresh.parquet")
    predicted = cli("predict", "out", "fresh.parquet", "--out", "said.parquet")
    if "invalid choice" not in predicted.err:
        assert predicted.code == 0, predicted.err


def test_vectors_are_where_known_words_begin(folder, job, cli):
    lines = [f"{word} {sign} {sign}" for good, sign in ((GOOD, 2.0), (BAD, -2.0)) for word in good]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = cli("run", job(vectors="vectors.txt", embedding_width=2, learning_rate=1e-6, epochs=1), "--out", "out")
    assert done.code == 0, done.err
    table = Model.load(folder / "out/best").fitted.model.get_layer("embedding").get_weights()[0]
    read = json.loads((folder / "out/best/vocabulary.json").read_text())["words"]
    for word, sign in ((GOOD[0], 2.0), (BAD[2], -2.0)):
        assert table[read.index(word) + 2] == pytest.approx([sign, sign], abs=1e-3)
    assert np.abs(table[read.index("film") + 2]).max() < 0.06  # drawn at random, as Keras does


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"vectors": "nowhere.txt"}, "searches.0.space.vectors: expected a file, or none; found 'nowhere.txt'"),
        ({"vectors": "data.parquet"}, "searches.0.space.vectors: "),
        ({"vectors": "two.txt"}, "searches.0.space.embedding_width: "),
        ({"vectors": "two.txt", "embedding_width": [2, 3]}, "has vectors of 2 numbers; expected 2"),
        ({"bidirectional": ["yes"]}, "searches.0.space.bidirectional: expected true or false, found 'yes'"),
        ({"encoder": "transformer"}, "searches.0.space.encoder: no such value 'transformer'"),
        ({"vocabulary": 2}, "searches.0.space.vocabulary: expected whole numbers from 3"),
    ],
)
def test_a_wrong_space_is_refused_before_the_run(cli, job, folder, space, message):
    (folder / "two.txt").write_text("word 1.0 2.0\n", encoding="utf-8")
    done = cli("run", job(**space))
    assert done.code == 2
    assert message in done.err
