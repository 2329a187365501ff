"""Features of several values a row, in which the target stands: a word of a text, a place of a vector, a list's end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.leaks import GIVEN_AWAY, given_away, likeliest
from orchestrator.data.checks.looked import Integers, Looked, explained, some_rows
from orchestrator.data.encode import Floats

_MOST_ROWS = 4_000
_LEAST = 40
_MOST_PLACES = 4_096
"""Larger vectors and images are left out: what stands in them is a picture."""
_TRIED = 30
_LEAST_ROWS_OF_WORD = 0.01


def inside_findings(looked: Looked) -> list[Finding]:
    """Look for texts, vectors and lists of which few words or places predict the target almost perfectly."""
    rows = some_rows(len(looked.target), _MOST_ROWS)
    if len(rows) < _LEAST:
        return []
    answers, found = looked.answers(rows), []
    for column in looked.columns:
        array = looked.features.arrays.get(column.name)
        if array is None or column.kind == "date":
            continue
        places = _places(array, rows)
        if places is not None and (skill := _of_few(places, answers)) >= GIVEN_AWAY:
            found.append(given_away(looked, column, skill, " by few of its words or places"))
    return found


def _places(array: Any, rows: Integers) -> Floats | None:
    """Return numbers that tell of what stands in a feature, shape (rows, places), or None where there are none."""
    if isinstance(array, np.ndarray):
        flat = array[rows].reshape(len(rows), -1) if array[0].size <= _MOST_PLACES else None
        return None if flat is None else flat.astype(np.float64)
    if isinstance(array, pa.LargeStringArray):
        return _words(array.take(pa.array(rows)))
    return _ends(array.take(pa.array(rows)))


def _words(texts: pa.LargeStringArray) -> Floats | None:
    """Return whether each word that is in some texts is in a text."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        binary=True,
        token_pattern=r"(?u)\w+",  # noqa: S106  no password
        min_df=_LEAST_ROWS_OF_WORD,
        max_features=2_000,
        dtype=np.float64,
    )
    try:
        counts: npt.NDArray[np.float64] = counter.fit_transform(pc.fill_null(texts, "").to_pylist()).toarray()
    except ValueError:  # no word is in so many
        return None
    return counts


def _ends(lists: pa.LargeListArray) -> Floats | None:
    """Return the first and the last number of each list, nan where there is none."""
    if pa.types.is_fixed_size_list(lists.type.value_type):
        return None
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    after = np.cumsum(lengths)
    ends = np.full((len(lists), 2), np.nan)
    filled = lengths > 0
    ends[filled, 0], ends[filled, 1] = values[(after - lengths)[filled]], values[after[filled] - 1]
    return ends


def _of_few(places: Floats, answers: Floats) -> float:
    """Return what the places that go with the answers most explain, on rows that neither choice nor fit looked at."""
    from sklearn.tree import DecisionTreeRegressor

    order = np.random.default_rng(0).permutation(len(places))
    fit, score = order[: len(places) // 2], order[len(places) // 2 :]
    few = likeliest(places[fit], answers[fit], _TRIED)
    filled = np.nan_to_num(places[:, few], nan=-1e30)
    tree = DecisionTreeRegressor(max_leaf_nodes=64, min_samples_leaf=2, random_state=0)
    tree.fit(filled[fit], answers[fit])
    return explained(answers[score], tree.predict(filled[score]).reshape(len(score), -1))
