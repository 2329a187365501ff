"""Text as words: how it is split, which words a fold knows, and word vectors from a file. Knows no TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.encode import Features
from orchestrator.data.sets import TrainingSet
from orchestrator.errors import JobError
from orchestrator.families.graph.base import Graph, Tensor, TracedFeatures
from orchestrator.families.networks.family import Preparation

PUNCTUATION = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
"""What Keras's TextVectorization strips."""
WHITE = " \t\n\r\f\v"
N_SPECIAL = 2
"""Ids that are no word: 0 is padding, 1 an unknown word."""
WORDS, EMBEDDING = "words", "embedding/embeddings"
FILE = "vocabulary.json"
_ROWS = 8192
"""Texts that are split at once: enough for speed, few enough for memory."""


def _table(characters: str) -> np.ndarray[Any, Any]:
    return np.isin(np.arange(256), [ord(c) for c in characters])


_IS_PUNCTUATION, _IS_WHITE = _table(PUNCTUATION), _table(WHITE)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts split into words.

    Attributes:
        codes: Each word's place in `known`, text after text, shape (words,).
        starts: Where each text begins in `codes`, and the end, shape (texts + 1,).
        known: The distinct words, sorted.
    """

    codes: np.ndarray[Any, Any]
    starts: np.ndarray[Any, Any]
    known: pa.LargeStringArray


def joined(features: Features, names: Sequence[str]) -> pa.LargeStringArray:
    """Return one text a row: the columns `names` with a space between them, null as nothing."""
    columns = [features.arrays[name].fill_null("") for name in names]
    space = pa.scalar(" ", pa.large_string())
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, space)


def split(texts: pa.LargeStringArray) -> Texts:
    """Return texts in lower case, without punctuation, split where white space is."""
    parts, counts = [pa.array([], pa.large_string())], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), _ROWS):
        found, n_words = _split(pc.utf8_lower(texts.slice(start, _ROWS)))
        parts.append(found)
        counts.append(n_words)
    encoded = pa.concat_arrays(parts).dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return Texts(places[encoded.indices.to_numpy()], np.cumsum(np.concatenate(counts)), encoded.dictionary.take(order))


def _split(texts: pa.LargeStringArray) -> tuple[pa.LargeStringArray, np.ndarray[Any, Any]]:
    """Return all words of some texts, one after another, and how many each text has.

    It works on the bytes: in UTF-8 the bytes of punctuation and white space are part of no other letter.
    """
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]]
    kept = ~_IS_PUNCTUATION[letters]
    ends = np.concatenate([[0], np.cumsum(kept)])[ends - ends[0]]
    letters = letters[kept]
    is_letter = ~_IS_WHITE[letters]
    goes_on = np.concatenate([[False], is_letter[:-1]])
    goes_on[ends[:-1][ends[:-1] < len(letters)]] = False
    begins = np.flatnonzero(is_letter & ~goes_on)
    n_before = np.concatenate([[0], np.cumsum(is_letter)])
    bounds = n_before[np.append(begins, len(letters))]
    buffers = [None, pa.py_buffer(bounds.astype(np.int64)), pa.py_buffer(letters[is_letter])]
    words = pa.Array.from_buffers(pa.large_string(), len(begins), buffers)
    return words, np.diff(np.searchsorted(begins, ends))


def most_frequent(texts: Texts, rows: np.ndarray[Any, Any], n_words: int) -> pa.LargeStringArray:
    """Return the most frequent words of some of the texts, the most frequent first, equals by alphabet."""
    chosen = np.zeros(len(texts.starts) - 1, bool)
    chosen[rows] = True
    counts = np.bincount(texts.codes[np.repeat(chosen, np.diff(texts.starts))], minlength=len(texts.known))
    order = np.argsort(-counts, kind="stable")[:n_words]
    return texts.known.take(pa.array(order[counts[order] > 0]))


class WordPreparation(Preparation):
    """Texts as ids of words, all of one length.

    Args:
        columns: The text columns.
        vocabulary: The words that are known, the first of them with id 2.
        length: Words of a text; shorter ones are padded with 0 before their first word.
        truncate: What is cut off longer ones, `head` or `tail`.
        vectors: Vectors of some words, shape (words, width), with nan for the others; None for none.
    """

    def __init__(
        self,
        columns: Sequence[str],
        vocabulary: pa.LargeStringArray,
        length: int,
        truncate: str,
        vectors: np.ndarray[Any, Any] | None = None,
    ) -> None:
        self.columns, self.vocabulary, self.length, self.truncate = tuple(columns), vocabulary, length, truncate
        self.vectors = vectors

    @property
    def reads(self) -> Sequence[str]:
        """The columns that it reads."""
        return self.columns

    def transform(self, features: Features) -> dict[str, np.ndarray[Any, Any]]:
        """Return `words` (rows, length) int32."""
        texts = _split_already(features) or split(joined(features, self.columns))
        places = pc.fill_null(pc.index_in(texts.known, self.vocabulary), -1).to_numpy(zero_copy_only=False)
        ids = np.where(places < 0, 1, places + N_SPECIAL).astype(np.int32)
        return {WORDS: self._padded(texts, ids)}

    def traced(self, graph: Graph, features: TracedFeatures) -> dict[str, Tensor]:
        """Return the same as operations of a graph.

        Raises:
            NoConverter: Its format has none for text.
        """
        texts = [features.arrays[name] for name in self.columns]
        return {WORDS: graph.word_ids(texts, self.vocabulary.to_pylist(), self.length, self.truncate)}

    def _padded(self, texts: Texts, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        lengths = np.minimum(np.diff(texts.starts), self.length)
        first = texts.starts[:-1] if self.truncate == "tail" else texts.starts[1:] - lengths
        padded = np.zeros((len(lengths), self.length), np.int32)
        for start in range(0, len(lengths), _ROWS):
            rows = slice(start, start + _ROWS)
            offsets = np.arange(self.length) - self.length + lengths[rows, np.newaxis]
            padded[rows][offsets >= 0] = ids[texts.codes[(first[rows, np.newaxis] + offsets)[offsets >= 0]]]
        return padded

    def initial(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """Return the vectors that words begin with."""
        return {} if self.vectors is None else {EMBEDDING: self.vectors}

    def files(self) -> Mapping[str, bytes]:
        """Return vocabulary and settings in one file."""
        described = {"columns": self.columns, "length": self.length, "truncate": self.truncate}
        content = json.dumps({**described, "words": self.vocabulary.to_pylist()}, ensure_ascii=False, indent=0)
        return {FILE: content.encode()}

    @classmethod
    def load(cls, folder: Path) -> WordPreparation:
        """Read what `files` gave."""
        read = json.loads((folder / FILE).read_text(encoding="utf-8"))
        words = pa.array(read["words"], pa.large_string())
        return cls(read["columns"], words, int(read["length"]), str(read["truncate"]))


_split_last: dict[str, tuple[Features, Texts]] = {}


def texts_of(data: TrainingSet, columns: Sequence[str]) -> Texts:
    """Return the training rows' texts, split once a process: splitting learns nothing, so all folds share it."""
    known = _split_last.get(data.key)
    texts = split(joined(data.features, columns)) if known is None else known[1]
    _split_last.clear()
    _split_last[data.key] = data.features, texts
    return texts


def _split_already(features: Features) -> Texts | None:
    return next((texts for known, texts in _split_last.values() if known is features), None)


def vector_width(path: Path, key: str) -> int:
    """Return how many numbers a file of word vectors has a word.

    Raises:
        JobError: There is none, or it is no such file.
    """
    try:
        width = next((len(vector) for _, vector in _vectors(path)), 0)
    except OSError:
        raise JobError(f"{key}: {path} cannot be read; expected a file of word vectors") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        width = 0
    if not width:
        raise JobError(
            f"{key}: {path} holds no word vectors; expected a word and its numbers a line (GloVe's format), or .npz "
            "with `words` and `vectors`"
        )
    return width


def vectors_of(path: Path, vocabulary: pa.LargeStringArray, n_ids: int) -> np.ndarray[Any, Any]:
    """Return the vectors of a vocabulary's words by their ids, nan where the file has none: (n_ids, width) float32."""
    ids = {word: place + N_SPECIAL for place, word in enumerate(vocabulary.to_pylist())}
    found = np.full((n_ids, vector_width(path, "vectors")), np.nan, np.float32)
    for word, vector in _vectors(path):
        if word in ids:
            found[ids[word]] = np.asarray(vector, np.float32)
    return found


def _vectors(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".npz":
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            yield from zip(file["words"].tolist(), np.asarray(file["vectors"], np.float32), strict=True)
        return
    with path.open(encoding="utf-8") as lines:
        width = 0
        for line in lines:
            word, *numbers = line.rstrip().rsplit(" ", width or -1)  # a word may have spaces in it
            if len(numbers) > 1:  # word2vec's format begins with a line of two sizes
                width = width or len(numbers)
                yield word, np.array(numbers, np.float32)
