"""Features that say what the target is. Training rows alone are looked at, half of them to fit and half to score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Integers, Looked, explained, some_rows
from orchestrator.data.columns import DATE_PARTS, Column, excluding
from orchestrator.data.encode import Floats

GIVEN_AWAY = 0.92
"""The share of the target's variance that a feature explains alone, from which on it is told: above iris's petals and
the weight of diamonds, below a copy in which one class in a hundred is wrong."""
TWIN = 0.85
"""The least share of each class's rows that have one value, from which on a feature of as many values as there are
classes is told of, though it explains less of a rare class."""
_LEAST = 40
_MOST_COLUMNS = 400
_LEAVES = 64


def leak_findings(looked: Looked) -> list[Finding]:
    """Look for copies of the target, and for features or their nulls that predict it almost perfectly alone."""
    rows = some_rows(len(looked.target))
    if len(rows) < _LEAST:
        return []
    order = np.random.default_rng(0).permutation(len(rows))
    fit, score = order[: len(rows) // 2], order[len(rows) // 2 :]
    answers, target = looked.answers(rows), looked.target[rows]
    found = []
    for column, values in _measured(looked, rows, answers):
        is_null = np.isnan(values)
        is_category = column.kind in ("category", "boolean") or len(np.unique(values)) <= 2
        skill = alone(values, answers, fit, score, is_category=is_category)
        if skill > 0.5 and is_copy(values, target, is_classification=looked.n_classes > 0):
            message = f"data.target: column {column.name!r} is {looked.target_name!r} under another encoding"
            found.append(Finding("target_copy", "error", f"{message}; set {excluding(column.name)}", column.name))
        elif is_null.any() and alone(np.where(is_null, 1.0, 0.0), answers, fit, score, is_category=True) >= GIVEN_AWAY:
            message = f"whether column {column.name!r} is null says what {looked.target_name!r} is; "
            found.append(Finding("nulls_give_away_target", "warning", message + _unless(column), column.name))
        elif skill >= GIVEN_AWAY:
            found.append(given_away(looked, column, skill))
        elif is_null.any() and (known := _where_known(values, answers, fit, score, is_category)) >= GIVEN_AWAY:
            found.append(given_away(looked, column, known, " where it is not null"))
        elif looked.n_classes and (share := twin(values, target)) >= TWIN:
            message = (
                f"column {column.name!r} has a value for each class of {looked.target_name!r}, the right one in "
                f"{100 * share:.0f} % of each class's rows or more; "
            )
            found.append(Finding("gives_away_target", "warning", message + _unless(column), column.name))
    return found


def given_away(looked: Looked, column: Column, skill: float, where: str = "") -> Finding:
    """Return that a feature predicts the target almost perfectly."""
    message = (
        f"column {column.name!r} alone explains {100 * skill:.2f} % of {looked.target_name!r}{where} on rows that it "
        f"was not fitted on; "
    )
    return Finding("gives_away_target", "warning", message + _unless(column), column.name)


def _unless(column: Column) -> str:
    return f"unless it is known before the answer is, set {excluding(column.name)}"


def alone(values: Floats, answers: Floats, fit: Integers, score: Integers, *, is_category: bool) -> float:
    """Return what a feature explains of the target by itself, on rows that it was not fitted on.

    A category predicts the mean of its rows, a number what a decision tree of few leaves does; null is a value.

    Args:
        values: One number or code a row, nan for null.
        answers: See `Looked.answers`, of the same rows.
        fit: Places of the rows to fit on.
        score: Places of the rows to score on.
        is_category: Whether the values are codes.
    """
    if is_category:
        codes = np.where(np.isnan(values), -1.0, values)
        known, codes = np.unique(codes, return_inverse=True)
        sums = np.stack([np.bincount(codes[fit], a, minlength=len(known)) for a in answers[fit].T], axis=1)
        n_rows = np.bincount(codes[fit], minlength=len(known))[:, np.newaxis]
        means = np.where(n_rows > 0, sums / np.maximum(n_rows, 1), answers[fit].mean(axis=0))
        return explained(answers[score], means[codes[score]])
    from sklearn.tree import DecisionTreeRegressor

    present = values[~np.isnan(values)]
    filled = np.where(np.isnan(values), present.min(initial=0.0) - 1.0, values)[:, np.newaxis]
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=2, random_state=0)
    tree.fit(filled[fit], answers[fit])
    return explained(answers[score], tree.predict(filled[score]).reshape(len(score), -1))


def is_copy(values: Floats, target: npt.NDArray[Any], *, is_classification: bool) -> bool:
    """Tell whether each value stands for one answer and each answer for one value; numbers in the same order, too."""
    if np.isnan(values).any():
        return False
    n_values, n_answers = len(np.unique(values)), len(np.unique(target))
    if n_values != n_answers or n_values < 2:
        return False
    order = np.lexsort((values, target))
    steps, answers = np.diff(values[order]), np.diff(target[order])
    if not np.array_equal(steps != 0, answers != 0):
        return False
    return is_classification or bool((steps >= 0).all() or (steps <= 0).all())


def _where_known(values: Floats, answers: Floats, fit: Integers, score: Integers, is_category: bool) -> float:
    """Return what a feature explains of the target in the rows where it is not null."""
    is_known = ~np.isnan(values)
    fit, score = fit[is_known[fit]], score[is_known[score]]
    if min(len(fit), len(score)) < _LEAST:
        return 0.0
    return alone(values, answers, fit, score, is_category=is_category)


def twin(values: Floats, target: npt.NDArray[Any]) -> float:
    """Return the least share of a class's rows that have its own value; 0 where classes and values are no pairs."""
    is_known = ~np.isnan(values)
    known, codes = np.unique(values[is_known], return_inverse=True)
    classes, of = np.unique(target[is_known], return_inverse=True)
    if len(known) != len(classes) or len(classes) < 2 or is_known.sum() < _LEAST:
        return 0.0
    counts = np.bincount(codes * len(classes) + of, minlength=len(classes) ** 2).reshape(len(classes), -1)
    best = counts.argmax(axis=1)
    if len(np.unique(best)) < len(classes):
        return 0.0
    return float((counts[np.arange(len(classes)), best] / counts.sum(axis=0)[best]).min())


def _measured(looked: Looked, rows: Integers, answers: Floats) -> Iterator[tuple[Column, Floats]]:
    """Yield columns that may give the target away, as a number or code a row.

    Of text and lists it is the length, of dates the day.
    """
    scalar = [(column, values[rows]) for column, values in looked.scalar_columns()]
    if len(scalar) > _MOST_COLUMNS:
        matrix = np.stack([values for _, values in scalar], axis=1)
        scalar = [scalar[place] for place in likeliest(matrix, answers, _MOST_COLUMNS)]
    for column, values in scalar:
        yield column, _as_numbers(column, values)
    for column in looked.columns:
        array = looked.features.arrays.get(column.name)
        if column.kind == "date" and array is not None:
            yield column, np.asarray(array[rows, DATE_PARTS.index("elapsed_days")], dtype=np.float64)
        if isinstance(array, pa.LargeStringArray | pa.LargeListArray):
            lengths = pc.utf8_length(array) if column.kind == "text" else pc.list_value_length(array)
            yield column, np.asarray(lengths.cast(pa.float64()).to_numpy(zero_copy_only=False)[rows], dtype=np.float64)


def _as_numbers(column: Column, values: Floats) -> Floats:
    """Return codes of categories; nan for null."""
    return np.where(values < 0, np.nan, values) if column.kind == "category" else values


def likeliest(matrix: Floats, answers: Floats, most: int) -> Integers:
    """Return the places of the `most` columns that go with the answers most, by rank."""
    filled = np.where(np.isnan(matrix), -np.inf, matrix)
    ranks = np.argsort(np.argsort(filled, axis=0, kind="stable"), axis=0, kind="stable").astype(np.float64)
    ranks -= ranks.mean(axis=0)
    centred = answers - answers.mean(axis=0)
    spread = np.linalg.norm(ranks, axis=0) * np.linalg.norm(centred, axis=0)[:, np.newaxis]
    correlations = np.abs(centred.T @ ranks) / np.maximum(spread, 1e-300)
    return np.sort(np.argsort(-correlations.max(axis=0), kind="stable")[:most])
