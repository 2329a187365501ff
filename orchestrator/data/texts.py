"""Text as numbers for models of tables: tf-idf, projected by a truncated SVD (latent semantic analysis).

Deerwester et al. 1990, Indexing by latent semantic analysis, J. Am. Soc. Inf. Sci. 41(6). Fitted inside each fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from orchestrator.data.columns import Column
from orchestrator.data.encode import Features, Floats

WIDTH = 30
"""Numbers that a column of text becomes."""
MOST_TERMS = 20_000
ANALYSERS = ("words", "letters")


def text_columns(columns: Sequence[Column]) -> list[Column]:
    """Return the columns of text, in order."""
    return [column for column in columns if column.kind == "text"]


def numbers_of(columns: Sequence[Column]) -> list[Column]:
    """Return what `FromFeatures` appends to `columns.flat`: WIDTH numbers a column of text."""
    return [Column(f"{c.name}~{i}", c.type, "number") for c in text_columns(columns) for i in range(WIDTH)]


class FromFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The first step of a pipeline over `Features` that hold text: from features to one matrix.

    Args:
        names: The columns of text.
        analyser: What a term is: `words`, single and in pairs, or `letters`, three to five in a row inside words.
        seed: Of the projection, which is randomised.
    """

    def __init__(self, names: tuple[str, ...] = (), analyser: str = "words", seed: int = 0) -> None:
        self.names = names
        self.analyser = analyser
        self.seed = seed

    def fit(self, X: Features, y: object = None) -> FromFeatures:
        """Find terms and projection of each column; a column without any term becomes zeros."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Features, y: object = None) -> Floats:
        """Return the same as `fit` and then `transform`."""
        self.pipelines_: dict[str, Any] = {}
        parts = []
        for name in self.names:
            texts = _strings(X.arrays[name])
            vectoriser = self._vectoriser()
            try:
                terms = vectoriser.fit_transform(texts)
            except ValueError:  # an empty vocabulary
                parts.append(np.zeros((len(texts), WIDTH)))
                continue
            width = min(WIDTH, terms.shape[1])
            projection = TruncatedSVD(width, random_state=self.seed)
            parts.append(_padded(projection.fit_transform(terms)))
            self.pipelines_[name] = Pipeline([("terms", vectoriser), ("projection", projection)])
        return np.concatenate([X.flat(), *parts], axis=1)

    def transform(self, X: Features) -> Floats:
        """Return `Features.flat` and the numbers of each text, shape (rows, columns)."""
        check_is_fitted(self)
        parts = [self._numbers(name, _strings(X.arrays[name])) for name in self.names]
        return np.concatenate([X.flat(), *parts], axis=1)

    def _numbers(self, name: str, texts: list[str]) -> Floats:
        pipeline = self.pipelines_.get(name)
        return np.zeros((len(texts), WIDTH)) if pipeline is None else _padded(pipeline.transform(texts))

    def _vectoriser(self) -> TfidfVectorizer:
        if self.analyser == "letters":
            return TfidfVectorizer(
                analyzer="char_wb", ngram_range=(3, 5), min_df=2, max_features=MOST_TERMS, sublinear_tf=True
            )
        return TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=MOST_TERMS, sublinear_tf=True)


def _strings(array: pa.LargeStringArray) -> list[str]:
    return ["" if text is None else text for text in array.to_pylist()]


def _padded(numbers: Floats) -> Floats:
    return np.pad(numbers, ((0, 0), (0, WIDTH - numbers.shape[1])))
