"""Rows that stand several times: in training and in test, or with other classes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.data.checks.basics import copied_finding
from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Looked
from orchestrator.data.columns import SCALARS, Column, scalars
from orchestrator.data.encode import Features, plain_arrays

IN_BOTH, CONFLICTING = 0.01, 0.05
_MOSTLY_COPIES = 0.5
"""Where fewer rows than these are distinct, there are few possible rows, and copies say nothing."""
_BY_CHANCE = 1.3
"""Copies come about by chance where leaving out one column or another gives so many more."""
_MOST_COLUMNS = 12
Hashes = npt.NDArray[np.uint64]


def duplicate_findings(looked: Looked, ids: Collection[str] = ()) -> list[Finding]:
    """Look for copies, unless there are so few possible rows that equal ones come about by chance.

    Numbers that differ in their tenth digit are equal, as other sums and formats leave them. `ids` are columns that
    name rows: they do not tell copies apart, unless there is nothing else.
    """
    columns = [c for c in looked.columns if c.name not in ids] or looked.columns
    if not columns or any(c.kind == "sequence" for c in columns) or len(looked.target) < 20:
        return []
    parts = [looked.features, *([] if looked.test is None else [looked.test])]
    hashes = [np.zeros(len(part), dtype=np.uint64) for part in parts]
    for terms in _terms(parts, looked.columns, columns):
        for one, term in zip(hashes, terms, strict=True):
            one += term
    return [*_in_both(looked, columns, parts, hashes), *_conflicting(looked, hashes[0])]


def _in_both(
    looked: Looked, columns: Sequence[Column], parts: list[Features], hashes: list[Hashes]
) -> Iterator[Finding]:
    if looked.test_target is None or not len(looked.test_target):
        return
    if len(np.unique(hashes[0])) < _MOSTLY_COPIES * len(hashes[0]):
        return
    seen = _seen(hashes, looked.target, looked.test_target)
    if seen.mean() < IN_BOTH or seen.sum() < 3:
        return
    n_without = []
    for terms in _terms(parts, looked.columns, _richest(columns)):
        rest = [one - term for one, term in zip(hashes, terms, strict=True)]
        n_without.append(int(_seen(rest, looked.target, looked.test_target).sum()))
        if sum(n > _BY_CHANCE * seen.sum() for n in n_without) > 1:
            return
    message = (
        f"{seen.sum()} of {len(seen)} test rows are copies of training rows, target included, so that the test "
        "score is partly of rows that were learnt by heart; remove the copies from the dataset"
    )
    yield Finding("rows_in_both", "warning", message)


def _conflicting(looked: Looked, hashes: Hashes) -> Iterator[Finding]:
    kinds, place = np.unique(hashes, return_inverse=True)
    if not looked.n_classes or len(kinds) < _MOSTLY_COPIES * len(place):
        return
    pairs = np.unique(np.stack([place, looked.target], axis=1), axis=0)
    is_mixed = np.bincount(pairs[:, 0], minlength=len(kinds)) > 1
    n_mixed = int(is_mixed[place].sum())
    if n_mixed >= CONFLICTING * len(place):
        message = (
            f"{n_mixed} of {len(place)} training rows have the features of another row and another class than it: "
            "no model tells them apart"
        )
        yield Finding("conflicting_rows", "warning", message)


def _seen(hashes: list[Hashes], target: npt.NDArray[Any], test_target: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell which test rows stand in training, their target included."""
    train, test = (
        one + _scrambled(_bits(y.astype(np.float64))) for one, y in zip(hashes, (target, test_target), strict=True)
    )
    return np.isin(test, train)


def _richest(columns: Sequence[Column]) -> list[Column]:
    """Return columns that are most likely to tell rows apart: numbers and the categories of the most values."""
    kept = [c for c in columns if c.kind in SCALARS]
    return sorted(kept, key=lambda c: (c.kind != "number", -len(c.categories)))[:_MOST_COLUMNS]


def copied_findings(
    columns: Sequence[Column], features: Features, constant: Collection[str | None], kept: Collection[str] = ()
) -> list[Finding]:
    """Look for features that are exact copies of others, of numbers in another type too.

    Args:
        columns: The features.
        features: The training rows.
        constant: Columns that hold one value or none, of which there is nothing more to say.
        kept: Columns that the job names, which are learnt from although they are copies.
    """
    first: dict[bytes, str] = {}
    found = []
    places = {column.name: place for place, column in enumerate(scalars(columns))}
    for column in columns:
        if column.name in constant:
            continue
        is_scalar = column.name in places
        content = features.matrix[:, places[column.name]] + 0.0 if is_scalar else features.arrays[column.name]
        digest = hashlib.blake2b(repr((column.kind, column.categories, column.shape)).encode(), digest_size=16)
        for part in plain_arrays(content):
            digest.update(np.ascontiguousarray(part).data)
        original = first.setdefault(digest.digest(), column.name)
        if original != column.name:
            found.append(copied_finding(column.name, original, is_kept=column.name in kept))
    return found


def _terms(parts: list[Features], columns: Sequence[Column], some: Sequence[Column]) -> Iterator[list[Hashes]]:
    """Yield what some columns add to the hash of each row of some sets of rows, the same for the same values."""
    salts = {column.name: place for place, column in enumerate(columns)}
    places = {column.name: place for place, column in enumerate(scalars(columns))}
    for column in some:
        if column.kind in SCALARS:
            found = [_bits(_ten_digits(part.matrix[:, places[column.name]])) for part in parts]
        else:
            found = list(_of_arrays([part.arrays[column.name] for part in parts]))
        salt = _scrambled(np.array([salts[column.name]], dtype=np.uint64))
        yield [_scrambled(_scrambled(bits) + salt) for bits in found]


def _of_arrays(arrays: list[Any]) -> Iterator[Hashes]:
    if isinstance(arrays[0], np.ndarray):
        for array in arrays:
            rows = array.reshape(len(array), -1)
            if np.issubdtype(rows.dtype, np.floating):
                rows = np.ascontiguousarray(rows).view(f"u{rows.dtype.itemsize}")
            weights = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) | np.uint64(1)
            blocks = [rows[at : at + 1024].astype(np.uint64) @ weights for at in range(0, len(rows), 1024)]
            yield np.concatenate([*blocks, np.zeros(0, np.uint64)])
        return
    codes = pa.chunked_array(arrays).dictionary_encode()
    codes = codes.unify_dictionaries().combine_chunks()
    numbers = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.uint64)
    ends = np.cumsum([len(array) for array in arrays])[:-1]
    yield from np.split(numbers, ends)


def _ten_digits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return numbers rounded to 33 bits, which is ten digits."""
    mantissas, exponents = np.frexp(values)
    rounded: npt.NDArray[np.float64] = np.ldexp(np.rint(np.ldexp(mantissas, 33)), exponents - 33)
    return rounded


def _bits(values: npt.NDArray[np.float64]) -> Hashes:
    return np.ascontiguousarray(np.where(np.isnan(values), np.nan, values + 0.0)).view(np.uint64)


def _scrambled(bits: Hashes) -> Hashes:
    """Return well-mixed bits: the finalizer of splitmix64 (Steele, Lea and Flood 2014, OOPSLA)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
