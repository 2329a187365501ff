# ruff: noqa: E501  (a variant a line)
"""Do the checks find planted faults, and leave clean data alone?

    ORCHESTRATOR_TEST_DATA=FOLDER python benchmarks/spoiled.py

Real datasets are spoiled in one way each: a copy of the target, an id, rows that stand twice, question marks, and so on.
Each variant says which code has to be found, and of which column. Then all datasets are looked at as they are; those
with a documented leak lose that column, and rows without a target are removed. No finding of severity error may come up
there; warnings are counted.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.data.checks import CheckFailed, Finding
from orchestrator.data.load import load
from orchestrator.job import Data, Test, Validation

Spoil = Callable[[pa.Table, np.random.Generator], pa.Table]
SPLIT = Test(column="split")
CLEAN: Mapping[str, Mapping[str, Any]] = {
    "imdb_reviews": {"exclude": ("rating",), "test": SPLIT},
    "ag_news_test": {"exclude": ("class",)},
    "ts_beijing_pm25": {"exclude": ("timestamp",)},
    "ts_airline_passengers": {"exclude": ("month",)},
    **{name: {"test": SPLIT} for name in ("adult", "adult_raw_qmark", "mnist", "ucr_GunPoint")},
}
"""What a job says of a dataset beside its path and target."""


@dataclass(frozen=True)
class Variant:
    """A dataset, what is done to it, and what has to be found: `CODE` or `CODE:COLUMN`."""

    dataset: str
    expected: str
    what: str
    spoil: Spoil
    data: Mapping[str, Any] = field(default_factory=dict)


def added(name: str, values: Callable[[pa.Table, np.random.Generator], Any]) -> Spoil:
    """Return what adds a column."""
    return lambda table, rng: table.append_column(name, pa.array(values(table, rng)))


def changed(name: str, values: Callable[[np.ndarray, np.random.Generator], Any]) -> Spoil:
    """Return what changes a column, given as objects."""

    def change(table: pa.Table, rng: np.random.Generator) -> pa.Table:
        old = np.array(table[name].to_pylist(), dtype=object)
        return table.set_column(table.schema.get_field_index(name), name, pa.array(list(values(old, rng))))

    return change


def somewhere(share: float, new: Any) -> Callable[[np.ndarray, np.random.Generator], Any]:
    """Return what puts a value into a share of the rows."""
    return lambda old, rng: [new if hit else v for v, hit in zip(old, rng.random(len(old)) < share, strict=True)]


def codes(table: pa.Table, name: str) -> np.ndarray:
    return table[name].combine_chunks().dictionary_encode().indices.to_numpy()


def numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].cast(pa.float64()).to_numpy()


def flipped(table: pa.Table, rng: np.random.Generator, name: str, share: float) -> np.ndarray:
    """Return the classes as codes, a share of them redrawn."""
    found = codes(table, name)
    return np.where(rng.random(len(found)) < share, rng.permutation(found), found)


def repeated(share: float) -> Spoil:
    """Return what appends copies of a share of the rows."""
    return lambda table, rng: pa.concat_tables(
        [table, table.take(rng.permutation(len(table))[: int(share * len(table))])]
    )


def patients(n_times: int, name: str, of: Callable[[int], Any]) -> Spoil:
    """Return what makes each row several measurements of one patient, in mixed order."""

    def spoil(table: pa.Table, rng: np.random.Generator) -> pa.Table:
        rows = rng.permutation(np.repeat(np.arange(len(table)), n_times))
        taken = table.take(rows)
        for place, one in enumerate(table.schema):
            if pa.types.is_floating(one.type):
                values = taken.column(place).to_numpy()
                noisy = values + rng.normal(0, 0.05 * values.std(), len(values))
                taken = taken.set_column(place, one.name, pa.array(noisy))
        renamed = rng.permutation(len(table))
        return taken.append_column(name, pa.array([of(int(renamed[row])) for row in rows]))

    return spoil


def marked(test_rows: Callable[[pa.Table, np.random.Generator], np.ndarray]) -> Spoil:
    """Return what marks rows as test rows."""
    return added("split", lambda table, rng: np.where(test_rows(table, rng), "test", "train"))


def with_copies_in_test(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    table = marked(lambda t, r: np.arange(len(t)) >= 0.8 * len(t))(table, rng)
    copies = table.slice(0, 100)
    copies = copies.set_column(copies.schema.get_field_index("split"), "split", pa.array(["test"] * 100))
    return pa.concat_tables([table, copies])


def with_conflicts(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    some = table.take(rng.permutation(len(table))[: len(table) // 5])
    other = (some["target"].to_numpy() + 1) % 3
    place = table.schema.get_field_index("target")
    return pa.concat_tables([table, some.set_column(place, "target", pa.array(other.astype(np.int8)))])


def thinned(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    is_spam = table["target"].to_numpy() == 1
    return table.filter(pa.array(~is_spam | (rng.random(len(table)) < 0.008)))


def in_time_order(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    order = np.argsort(table["target"].to_numpy() + rng.normal(0, 1.0, len(table)), kind="stable")
    days = np.empty(len(table), dtype=np.int64)
    days[order] = np.arange(len(table))
    return table.append_column("day", pa.array(days.astype("datetime64[D]")))


def hashes(n_distinct: int) -> Callable[[pa.Table, np.random.Generator], list[str]]:
    return lambda table, rng: [
        f"{n * 2654435761 % 2**32:08x}c0ffee{n:06x}" for n in rng.integers(0, n_distinct, len(table))
    ]


def dated(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    table = table.filter(pc.is_valid(table["pm2_5"]))
    return table.append_column("date", pc.strftime(table["timestamp"], "%Y-%m-%d"))


def as_it_is(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    return table


def known(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Leave out rows without a target, and give a series of one column another."""
    if "pm2_5" in table.column_names:
        return table.filter(pc.is_valid(table["pm2_5"]))
    if "passengers" in table.column_names:
        return table.append_column("month_of_year", pc.month(table["month"]))
    return table


VARIANTS = (
    Variant("adult", "target_copy:paid", "the target as floats", added("paid", lambda t, r: codes(t, "income") * 2.5 + 1), {"test": SPLIT}),
    Variant("penguins", "target_copy:kind", "the target as other strings", added("kind", lambda t, r: [f"<{v.upper()}>" for v in t["species"].to_pylist()])),
    Variant("pmlb_cls_credit_g", "target_copy:risk", "the target as words", added("risk", lambda t, r: np.array(["bad", "good"])[codes(t, "target")])),
    Variant("california_housing", "target_copy:in_euro", "the target in another currency", added("in_euro", lambda t, r: numbers(t, "median_house_value") * 0.92)),
    Variant("diamonds", "target_copy:rebate", "the target, negative", added("rebate", lambda t, r: -numbers(t, "price"))),
    Variant("ag_news_test", "target_copy:class", "the name of the class, as published", as_it_is),
    Variant("mammography", "gives_away_target:risk", "the target with noise", added("risk", lambda t, r: numbers(t, "target") + r.normal(0, 0.05, len(t)))),
    Variant("pmlb_cls_mushroom", "gives_away_target:eaten", "the target, 1 % redrawn", added("eaten", lambda t, r: flipped(t, r, "target", 0.01))),
    Variant("pmlb_cls_magic", "gives_away_target:seen", "the target, 2 % redrawn, as words", added("seen", lambda t, r: np.array(["p", "q"])[flipped(t, r, "target", 0.02)])),
    Variant("pmlb_reg_537_houses", "gives_away_target:tax", "the target with 1 % of noise", added("tax", lambda t, r: numbers(t, "target") * (1 + r.normal(0, 0.01, len(t))))),
    Variant("pmlb_reg_564_fried", "gives_away_target:rounded", "the target, rounded", added("rounded", lambda t, r: np.round(numbers(t, "target")))),
    Variant("pmlb_cls_letter", "gives_away_target:glyph", "a finer category than the target", added("glyph", lambda t, r: [f"{c}-{n}" for c, n in zip(codes(t, "target"), r.integers(0, 5, len(t)), strict=True)])),
    Variant("imdb_reviews", "gives_away_target:rating", "the stars of a review, as published", as_it_is, {"test": SPLIT}),
    Variant("pmlb_cls_churn", "nulls_give_away_target:reason", "null unless churned", added("reason", lambda t, r: [float(n) if y else None for y, n in zip(t["target"].to_pylist(), r.integers(0, 9, len(t)), strict=True)])),
    Variant("pmlb_cls_churn", "gives_away_target:guess", "a rare class, 5 % redrawn", added("guess", lambda t, r: flipped(t, r, "target", 0.05))),
    Variant("titanic", "gives_away_target:alive", "the target as words, a tenth null", added("alive", lambda t, r: [None if r.random() < 0.1 else ("no ", "yes")[c] for c in codes(t, "Survived")])),
    Variant("imdb_reviews", "gives_away_target:note", "a word of a text", added("note", lambda t, r: [f"review {i} was said to be {('bad', 'good')[y]} by its reader" for i, y in enumerate(t["label"].to_pylist())]), {"exclude": ("rating", "text")}),
    Variant("pmlb_cls_churn", "gives_away_target:recent", "the end of a list", added("recent", lambda t, r: [[*r.normal(size=3 + i % 3), float(y)] for i, y in enumerate(t["target"].to_pylist())])),
    Variant("pmlb_cls_vowel", "id_like_column:tweet", "ids beyond what a float holds", added("tweet", lambda t, r: 2**60 + r.permutation(len(t)))),
    Variant("pmlb_cls_magic", "id_like_column:night", "numbered names, of three rows each", added("night", lambda t, r: [f"N{n // 3:05}" for n in r.permutation(len(t))])),
    Variant("pmlb_cls_magic", "id_like_column:pair", "numbers of two rows each", added("pair", lambda t, r: r.permutation(len(t)) // 2)),
    Variant("pmlb_cls_iris", "id_like_column:row", "row numbers", added("row", lambda t, r: np.arange(len(t)))),
    Variant("adult", "id_like_column:person", "shuffled row numbers", added("person", lambda t, r: r.permutation(len(t))), {"test": SPLIT}),
    Variant("pmlb_cls_wdbc", "id_like_column:case", "UUIDs", added("case", lambda t, r: [str(uuid.UUID(bytes=r.bytes(16))) for _ in range(len(t))])),
    Variant("pmlb_cls_magic", "id_like_column:event", "hashes, each of some three rows", added("event", hashes(6000))),
    Variant("pmlb_cls_spambase", "id_like_column:customer", "numbers of ten digits, a few twice", added("customer", lambda t, r: np.where(r.random(len(t)) < 0.005, 10**9, r.integers(10**9, 10**10, len(t))))),
    Variant("pmlb_cls_satimage", "id_like_column:pixel", "ids as floats, some null", added("pixel", lambda t, r: [None if v % 50 == 0 else float(v) for v in r.permutation(len(t))])),
    Variant("pmlb_cls_phoneme", "copied_column:Aa_again", "a copy of a column", added("Aa_again", lambda t, r: t["Aa"].to_pylist())),
    Variant("titanic", "copied_column:Gender", "a copy of a category", added("Gender", lambda t, r: t["Sex"].to_pylist())),
    Variant("pmlb_cls_vowel", "constant_column:version", "a constant column", added("version", lambda t, r: ["v1"] * len(t))),
    Variant("pmlb_cls_yeast", "all_null_column:nothing", "an empty column", added("nothing", lambda t, r: pa.nulls(len(t), pa.float64()))),
    Variant("pmlb_cls_pendigits", "rows_in_both", "a fifth of the rows twice", repeated(0.2)),
    Variant("ag_news_test", "rows_in_both", "a tenth of the texts twice", repeated(0.1), {"exclude": ("class",)}),
    Variant("pmlb_cls_magic", "rows_in_both", "copies under other ids", lambda t, r: (lambda u: u.append_column("id", pa.array(r.permutation(len(u)))))(repeated(0.2)(t, r))),
    Variant("pmlb_cls_waveform_40", "rows_in_both", "training rows among the marked test rows", with_copies_in_test, {"test": SPLIT}),
    Variant("pmlb_cls_waveform_40", "conflicting_rows", "copies of rows with another class", with_conflicts),
    Variant("california_housing", "mixed_types:total_rooms", "numbers as strings with n/a", changed("total_rooms", lambda v, r: [("n/a" if x else str(a)) for a, x in zip(v, r.random(len(v)) < 0.03, strict=True)])),
    Variant("adult", "mixed_types:hours_per_week", "numbers and words in one column", changed("hours_per_week", lambda v, r: [f"about {a}" if x else str(a) for a, x in zip(v, r.random(len(v)) < 0.0005, strict=True)]), {"test": SPLIT}),
    Variant("california_housing", "numbers_as_strings:population", "numbers with a unit", changed("population", lambda v, r: [f"{int(a):,} p" for a in v])),
    Variant("bank_marketing", "numbers_as_strings:age", "numbers as strings", changed("age", lambda v, r: [str(a) for a in v])),
    Variant("ts_beijing_pm25", "dates_as_strings:date", "dates as strings", dated, {"exclude": ("timestamp",)}),
    Variant("adult_raw_qmark", "missing_as_value:occupation", "question marks, as published", as_it_is, {"test": SPLIT}),
    Variant("titanic", "missing_as_value:Embarked", "question marks", changed("Embarked", lambda v, r: ["?" if x is None or r.random() < 0.02 else x for x in v])),
    Variant("pmlb_cls_wdbc", "missing_as_value:Texture1", "-999 for missing", changed("Texture1", somewhere(0.04, -999.0))),
    Variant("california_housing", "missing_as_value:median_income", "the least float for missing", changed("median_income", somewhere(0.04, float(np.finfo(np.float32).min)))),
    Variant("california_housing", "missing_as_value:median_house_value", "-999 for a missing target", changed("median_house_value", somewhere(0.04, -999.0))),
    Variant("pmlb_cls_churn", "missing_as_value:since", "1900-01-01 for a missing date", added("since", lambda t, r: np.where(r.random(len(t)) < 0.1, -25567, 19000 + r.integers(0, 900, len(t))).astype("datetime64[D]"))),
    Variant("adult", "category_variants:income", "another spelling of a class", changed("income", lambda v, r: [x.lower() + " " if r.random() < 0.03 else x for x in v]), {"test": SPLIT}),
    Variant("penguins", "missing_as_value:sex", "empty strings", changed("sex", lambda v, r: [x or "" for x in v])),
    Variant("diamonds", "missing_as_value:cut", "the word Unknown", changed("cut", somewhere(0.01, "Unknown"))),
    Variant("adult", "category_variants:sex", "another spelling", changed("sex", lambda v, r: [x.lower() + " " if r.random() < 0.03 else x for x in v]), {"test": SPLIT}),
    Variant("pmlb_cls_segmentation", "target_constant", "one class", lambda t, r: t.filter(pc.equal(t["target"], t["target"][0]))),
    Variant("ts_beijing_pm25", "target_nulls", "rows without a target, as published", as_it_is, {"exclude": ("timestamp",)}),
    Variant("pmlb_reg_560_bodyfat", "target_infinite", "infinite targets", changed("target", somewhere(0.02, float("inf")))),
    Variant("pmlb_cls_iris", "class_of_one_row", "a class of one row", changed("target", lambda v, r: [*v[:-1], 9])),
    Variant("pmlb_cls_vowel", "class_rarer_than_folds", "a class of four rows", changed("target", lambda v, r: [*v[:-4], *[99] * 4])),
    Variant("pmlb_cls_spambase", "accuracy_of_rare_class", "few positives, and accuracy", thinned),
    Variant("pmlb_cls_credit_g", "target_drift", "test rows of mostly one class", marked(lambda t, r: r.random(len(t)) < np.where(t["target"].to_numpy() == 1, 0.1, 0.5)), {"test": SPLIT}),
    Variant("pmlb_reg_537_houses", "target_drift", "test rows of high targets", marked(lambda t, r: numbers(t, "target") > 350_000), {"test": SPLIT}),
    Variant("pmlb_cls_magic", "feature_drift:FSize", "test rows of another range", marked(lambda t, r: numbers(t, "FSize") + r.normal(0, 0.2, len(t)) > 3.2), {"test": SPLIT}),
    Variant("pmlb_cls_wdbc", "random_split_of_groups:patient", "five measurements a patient", patients(5, "patient", "P{:04d}".format)),
    Variant("pmlb_cls_sonar", "random_split_of_groups:object", "six echoes an object, its number left out", patients(6, "object", int), {"exclude": ("object",)}),
    Variant("imdb_reviews", "random_split_of_groups:movie_id", "reviews by film, as published", as_it_is, {"exclude": ("rating", "movie_id")}),
    Variant("ts_beijing_pm25", "random_split_over_time:timestamp", "hours that follow one another", known, {"exclude": ("timestamp",)}),
    Variant("pmlb_cls_churn", "random_split_over_time:day", "a target that changes with time", in_time_order, {"exclude": ("day",)}),
)  # fmt: skip


def findings(table: pa.Table, target: str, folder: Path, **data: Any) -> tuple[Finding, ...]:
    """Return what the checks say of a table."""
    path = folder / "spoiled.parquet"
    pq.write_table(table, path)
    try:
        return load(Data(str(path), target=target, **data), Validation(), None, 42).findings
    except CheckFailed as failed:
        return failed.findings


def read(name: str) -> tuple[pa.Table, str]:
    """Return a dataset and its target, which its metadata names."""
    table = pq.read_table(Path(os.environ["ORCHESTRATOR_TEST_DATA"]) / f"{name}.parquet")
    return table, json.loads(table.schema.metadata[b"dataset"])["target"]


def names_of(found: tuple[Finding, ...]) -> set[str]:
    return {f.code for f in found} | {f.name for f in found}


def spoiled(folder: Path) -> Iterator[tuple[Variant, tuple[Finding, ...]]]:
    """Yield each variant with what was found."""
    for variant in VARIANTS:
        table, target = read(variant.dataset)
        yield variant, findings(variant.spoil(table, np.random.default_rng(0)), target, folder, **variant.data)


def clean(folder: Path) -> Iterator[tuple[str, tuple[Finding, ...], float]]:
    """Yield each dataset as it is, with what was found and the seconds that reading, splitting and looking took."""
    for file in sorted(Path(os.environ["ORCHESTRATOR_TEST_DATA"]).glob("*.parquet")):
        table, target = read(file.stem)
        table = known(table, np.random.default_rng(0))
        start = time.perf_counter()
        found = findings(table, target, folder, **CLEAN.get(file.stem, {}))
        yield file.stem, found, time.perf_counter() - start


def main() -> int:
    n_missed, n_errors, counts = 0, 0, Counter()
    with tempfile.TemporaryDirectory() as name:
        for variant, found in spoiled(Path(name)):
            is_found = variant.expected in names_of(found)
            n_missed += not is_found
            others = sorted({f.code for f in found} - {variant.expected.partition(":")[0]})
            print(
                f"{'found ' if is_found else 'MISSED'} {variant.expected:40} {variant.dataset}: {variant.what}; also {', '.join(others) or 'nothing'}"
            )
        print(f"{len(VARIANTS) - n_missed} of {len(VARIANTS)} planted faults found\n")
        n_datasets = 0
        for dataset, found, seconds in clean(Path(name)):
            n_datasets += 1
            n_errors += sum(f.severity == "error" for f in found)
            codes_found = Counter(f.code for f in found)
            counts += codes_found
            print(
                f"{dataset:32} {seconds:5.1f} s  {', '.join(f'{n} {code}' for code, n in sorted(codes_found.items())) or '-'}"
            )
    print(
        f"{n_datasets} clean datasets: {n_errors} errors, {sum(counts.values())} warnings: {dict(counts.most_common())}"
    )
    return 1 if n_missed or n_errors else 0


if __name__ == "__main__":
    sys.exit(main())
