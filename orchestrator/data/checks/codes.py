"""Every code that a check before a run may give: what it means, how it is mended, and whether it may be silenced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding.

    Attributes:
        name: What `checks.silence` calls it.
        severity: An error stops the run, unless it is silenced.
        finds: What is so.
        mend: What to do about it.
        is_silenceable: False where nothing could be learnt, whatever one thinks of it.
    """

    name: str
    severity: Literal["error", "warning"]
    finds: str
    mend: str
    is_silenceable: bool = True


def _fatal(name: str, finds: str, mend: str) -> Code:
    return Code(name, "error", finds, mend, is_silenceable=False)


def _warning(name: str, finds: str, mend: str) -> Code:
    return Code(name, "warning", finds, mend)


_ALL = (
    _fatal("no_rows", "the dataset has no rows", "another `data.path`"),
    _fatal("no_test_rows", "`data.test.path` has no rows", "another `data.test.path`"),
    _fatal("target_nulls", "the target is null in some rows", "remove these rows"),
    _fatal("target_infinite", "the target is infinite in some rows", "remove these rows"),
    _fatal("target_constant", "the target is the same in all rows", "another `data.target`"),
    _fatal(
        "class_of_one_row",
        "a class has one row, and a stratified draw of test rows needs two",
        "remove or merge it, or `data.test.stratify: false`",
    ),
    Code(
        "target_copy",
        "error",
        "a feature says what the target is, value for value, under another encoding",
        "`data.exclude`",
    ),
    _warning("many_classes", "the target has more than 1,000 classes", "`data.task: regression`"),
    _warning("on_a_sample", "`data.sample` makes the job look at some of the rows alone", "leave it out"),
    _warning("class_rarer_than_folds", "a class has fewer training rows than there are folds", "fewer folds"),
    _warning(
        "accuracy_of_rare_class",
        "the metric is accuracy, and one class has less than 1 % of the rows, or another at least 95 %",
        "`metric: balanced_accuracy`, `average_precision` or `matthews_corrcoef`",
    ),
    _warning("all_null_column", "a feature is null in every training row; it is left out", "`data.exclude`"),
    _warning(
        "constant_column",
        "a feature has one value in all training rows; it is left out unless the job names it",
        "`data.exclude`",
    ),
    _warning(
        "copied_column",
        "a feature is an exact copy of another; it is left out unless the job names it",
        "`data.exclude`",
    ),
    _warning("unused_column", "no search learns from a feature's kind", "`data.exclude`, or a family that does"),
    _warning(
        "id_like_column",
        "a feature names rows: nearly unique strings, unique whole numbers, row numbers, hashes, numbered names",
        "`data.exclude`, or `data.text` where it is text",
    ),
    _warning(
        "text_like_category",
        "a feature's strings are read as categories, and are hundreds of short texts",
        "`data.text`",
    ),
    _warning(
        "gives_away_target",
        "a feature, or few of its words or places, predicts the target almost perfectly, on rows that it was not "
        "fitted on",
        "`data.exclude`, unless it is known when predictions are made",
    ),
    _warning(
        "nulls_give_away_target",
        "whether a feature is null says almost perfectly what the target is",
        "`data.exclude`, unless it is known when predictions are made",
    ),
    _warning(
        "missing_as_value",
        "a feature or the target holds `?`, `unknown`, `NA`, empty strings, numbers such as -999 or dates such as "
        "1900-01-01, which stand for missing values",
        "`data.missing`, which lists what is read as null; rows without a target removed",
    ),
    _warning(
        "mixed_types",
        "a feature's strings are mostly numbers or dates, and some are not",
        "clean it, or `data.missing`",
    ),
    _warning(
        "numbers_as_strings",
        "a feature's strings are all numbers, maybe with units, and are read as categories",
        "cast the column",
    ),
    _warning("dates_as_strings", "a feature's strings are all dates, and are read as categories", "cast the column"),
    _warning("category_variants", "categories or classes differ by case or spaces alone", "clean the column"),
    _warning(
        "rows_in_both", "test rows are copies of training rows, to ten digits and but for ids", "remove the copies"
    ),
    _warning("conflicting_rows", "training rows have equal features and other classes", "more features, or fewer rows"),
    _warning("target_drift", "the target of the test rows is spread otherwise than in training", "other test rows"),
    _warning(
        "feature_drift",
        "a feature of given test rows is spread otherwise than in training",
        "`data.exclude`, other rows",
    ),
    _warning("groups_across_test", "groups of the test rows are learnt from, too", "`data.test.group`"),
    _warning("test_before_training", "test rows are no later than all training rows", "`data.test.time`"),
    _warning(
        "random_folds",
        "test rows go by groups or by time, and folds are drawn at random",
        "`validation.kind: group` or `time`",
    ),
    _warning(
        "random_split_over_time",
        "there are times, rows near in time are alike, and rows are split at random",
        "`validation.kind: time`",
    ),
    _warning(
        "random_split_of_groups",
        "rows come in groups of few rows with much the same target, and rows are split at random",
        "`validation.kind: group`",
    ),
)
CODES = {code.name: code for code in _ALL}
