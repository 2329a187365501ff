"""Text as words: splitting, a fold's vocabulary, ids of one length, vectors from a file."""

import json

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.data.encode import Features
from orchestrator.errors import JobError
from orchestrator.families.networks import words

TEXTS = [
    "A good, GOOD film!",
    "",
    None,
    " \t\n ",
    "don't -- stop.me\nnow <br />",
    "Ünï ÉCOLE straße 日本 naïve",
    "the the the good bad",
    "...",
]


def array(texts):
    return pa.array(texts, pa.large_string())


def split(texts):
    found = words.split(array(texts).fill_null(""))
    known = found.known.to_pylist()
    bounds = zip(found.starts[:-1], found.starts[1:], strict=True)
    return [[known[code] for code in found.codes[a:b]] for a, b in bounds]


def test_texts_are_split_at_white_space_in_lower_case_without_punctuation():
    assert split(TEXTS) == [
        ["a", "good", "good", "film"],
        [],
        [],
        [],
        ["dont", "stopme", "now", "br"],
        ["ünï", "école", "straße", "日本", "naïve"],
        ["the", "the", "the", "good", "bad"],
        [],
    ]


def test_words_are_those_of_keras():
    keras = pytest.importorskip("keras")
    texts = ["".join(map(chr, range(32, 127))), *(t or "" for t in TEXTS if (t or "").isascii())]
    layer = keras.layers.TextVectorization(split="whitespace", output_mode="int", ragged=True)
    layer.adapt(texts)
    known = layer.get_vocabulary()
    assert [[known[i] for i in row] for row in layer(texts).to_list()] == split(texts)


def test_many_texts_are_split_as_few_are():
    texts = [f"{'x' * (i % 7)} y{i % 13}!" for i in range(2 * words._ROWS + 5)]
    assert split(texts) == [[*(["x" * (i % 7)] if i % 7 else []), f"y{i % 13}"] for i in range(len(texts))]


def test_no_texts_at_all():
    assert split([]) == []
    found = words.WordPreparation(["t"], array(["a"]), 3, "head").transform(
        Features(np.zeros((0, 0)), {"t": array([])})
    )
    assert found["words"].shape == (0, 3)


def test_slices_are_split_like_copies():
    whole = array(["not me", "a b", "c"])
    assert words.split(whole[1:]).known.to_pylist() == ["a", "b", "c"]


def test_the_vocabulary_is_of_the_chosen_rows_alone():
    texts = words.split(array(["rare rare rare rare", "b a a", "b a c", "rare"]))
    assert words.most_frequent(texts, np.array([1, 2]), 10).to_pylist() == ["a", "b", "c"]
    assert words.most_frequent(texts, np.array([1, 2]), 2).to_pylist() == ["a", "b"]
    assert words.most_frequent(texts, np.array([2, 1]), 2).to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("truncate", "long"), [("head", [3, 1, 2]), ("tail", [2, 3, 1])]
)  # of "a b what a", the last or the first three
def test_ids_are_padded_before_the_first_word_and_cut_where_asked(truncate, long):
    rows = Features(np.zeros((4, 0)), {"t": array(["a b what a", "B", None, "?"])})
    prepared = words.WordPreparation(["t"], array(["a", "b"]), 3, truncate)
    assert prepared.transform(rows)["words"].tolist() == [long, [0, 0, 3], [0, 0, 0], [0, 0, 0]]
    assert prepared.transform(rows)["words"].dtype == np.int32


def test_several_columns_are_read_as_one():
    rows = Features(np.zeros((2, 0)), {"head": array(["a", None]), "tail": array(["b", "b"])})
    prepared = words.WordPreparation(["head", "tail"], array(["a", "b"]), 3, "head")
    assert prepared.transform(rows)["words"].tolist() == [[0, 2, 3], [0, 0, 3]]


def test_a_saved_preparation_is_the_same(tmp_path):
    prepared = words.WordPreparation(["t"], array(["naïve", "日本", '"']), 4, "tail")
    for name, content in prepared.files().items():
        (tmp_path / name).write_bytes(content)
    loaded = words.WordPreparation.load(tmp_path)
    rows = Features(np.zeros((1, 0)), {"t": array(["Naïve 日本 x naïve y"])})
    assert loaded.transform(rows)["words"].tolist() == prepared.transform(rows)["words"].tolist() == [[2, 3, 1, 2]]
    assert json.loads((tmp_path / words.FILE).read_text(encoding="utf-8"))["words"][0] == "naïve"


@pytest.mark.parametrize("kind", ["txt", "vec", "npz"])
def test_vectors_are_read_for_known_words(tmp_path, kind):
    path = tmp_path / f"vectors.{kind}"
    if kind == "npz":
        np.savez(path, words=np.array(["b", "z"]), vectors=np.array([[1.0, 2.0], [3.0, 4.0]]))
    else:
        path.write_text("2 2\n" * (kind == "vec") + "b 1.0 2.0\nz 3.0 4.0\n", encoding="utf-8")
    assert words.vector_width(path, "key") == 2
    found = words.vectors_of(path, array(["a", "b"]), 5)
    assert found.shape == (5, 2)
    assert np.isnan(found[[0, 1, 2, 4]]).all()
    assert found[3].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "content", [b"", b"just one line of prose\n", b"\x00\xff\xfe", b"word\n", b"PK\x03\x04 no zip"]
)
def test_a_file_without_vectors_is_refused(tmp_path, content):
    for name in ("a.txt", "a.npz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JobError, match=r"space\.vectors: .* holds no word vectors; expected"):
            words.vector_width(tmp_path / name, "space.vectors")
