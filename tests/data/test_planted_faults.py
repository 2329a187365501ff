"""Each check finds what is planted for it in generated rows, and nothing in the rows as they were."""

import ast
import itertools
import re
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import write

import orchestrator
from orchestrator.data.checks import CODES, CheckFailed
from orchestrator.data.load import load
from orchestrator.errors import JobError
from orchestrator.job import Data, Test, Validation

N = 600
RNG = np.random.default_rng(1)
Y = RNG.integers(0, 3, N)
CLEAN = {
    "number": RNG.normal(size=N) + Y,
    "count": RNG.poisson(4, N),
    "colour": [("red", "green", "blue")[(c + (r > 0.6)) % 3] for c, r in zip(Y, RNG.random(N), strict=True)],
    "yes": RNG.random(N) < 0.4,
    "y": [("a", "b", "c")[c] for c in Y],
}
GROUP = RNG.integers(0, 100, N)
OF_GROUP = RNG.integers(0, 3, 100)[GROUP]
IDS = RNG.permutation(N)
SOME = np.arange(N) % 10 == 0
TEST = np.array(["test" if i % 4 == 0 else "train" for i in range(N)])


def look(folder, values=None, test=None, silence=(), metric=None, **data):
    """Return the names of what is found in the clean rows with some columns added or replaced."""
    table = values if isinstance(values, pa.Table) else pa.table({**CLEAN, **(values or {})})
    data = Data(str(write(folder / "rows.parquet", table)), target="y", test=test or Test(fraction=0.25), **data)
    try:
        return [f.name for f in load(data, Validation(), metric, 42, silence=silence).findings]
    except CheckFailed as failed:
        return [f.name for f in failed.findings]


def test_nothing_is_found_in_clean_rows(tmp_path):
    assert look(tmp_path) == []
    assert look(tmp_path, {"y": CLEAN["number"] * 2 + RNG.normal(size=N)}) == []


PLANTED = {
    "target_copy": {"p": Y * 1.5 + 3},
    "target_copy:q": {"q": [f"class {c}" for c in Y]},
    "gives_away_target": {"p": Y + RNG.normal(0, 0.05, N)},
    "gives_away_target:q": {"q": [f"{c}-{i % 4}" for i, c in enumerate(Y)]},
    "nulls_give_away_target": {"p": [None if c else float(i % 7) for i, c in enumerate(Y == 1)], "y": Y == 1},
    "id_like_column": {"p": IDS},
    "id_like_column:row": {"row": np.arange(N) * 7},
    "id_like_column:q": {"q": [str(uuid.UUID(int=int(i) ** 9)) for i in IDS]},
    "id_like_column:r": {"r": [f"{i // 3 * 2654435761 % 2**32:08x}" for i in IDS]},
    "id_like_column:s": {"s": [None if i < 9 else float(i) for i in IDS]},
    "text_like_category": {"p": [f"the part number {i % 120} is here" for i in IDS]},
    "copied_column": {"p": CLEAN["number"]},
    "constant_column": {"p": ["x"] * N},
    "all_null_column": {"p": pa.nulls(N, pa.string())},
    "conflicting_rows": {"number": CLEAN["number"].round(2), **dict.fromkeys(("count", "colour", "yes"), [1] * N)},
    "mixed_types": {"p": [f"{i % 50}" if not s else "many" for i, s in enumerate(SOME)]},
    "numbers_as_strings": {"p": [f"{i % 50}.5" for i in IDS]},
    "dates_as_strings": {"p": [f"2024-01-{1 + i % 28:02}" for i in IDS]},
    "missing_as_value": {"colour": [c if not s else "?" for c, s in zip(CLEAN["colour"], SOME, strict=True)]},
    "missing_as_value:number": {"number": np.where(SOME, -999.0, CLEAN["number"])},
    "missing_as_value:p": {"p": [("N/A", "", "x", "z")[i % 4] for i in IDS]},
    "category_variants": {"colour": [f"{c} " if s else c.title() for c, s in zip(CLEAN["colour"], SOME, strict=True)]},
    "class_rarer_than_folds": {"y": ["rare"] * 4 + CLEAN["y"][4:]},
    "accuracy_of_rare_class": {"y": ["rare"] * 5 + CLEAN["y"][5:]},
    "gives_away_target:r": {"r": [None if i % 5 == 0 else f"class {c}" for i, c in enumerate(Y)]},
    "gives_away_target:s": {"s": np.where(np.arange(N) % 11 == 0, (Y + 1) % 3, Y)},
    "gives_away_target:t": {"t": [f"on day {i} they all said: {('bad', 'so so', 'fine')[c]}" for i, c in enumerate(Y)]},
    "gives_away_target:u": {"u": pa.array([[0.5, float(c), i] for i, c in enumerate(Y)], pa.list_(pa.float64(), 3))},
    "gives_away_target:v": {"v": [[*range(i % 3), float(c)] for i, c in enumerate(Y)]},
    "id_like_column:t": {"t": 2**60 + IDS},
    "id_like_column:u": {"u": (IDS + 0.5) / N},
    "id_like_column:v": {"v": [f"C{i // 3:04}" for i in IDS]},
    "numbers_as_strings:q": {"q": [f"{i % 50} kg" for i in IDS]},
    "numbers_as_strings:r": {"r": [f"{1000 + i % 50:,}" if i % 2 else f"€ {i % 50}" for i in IDS]},
    "dates_as_strings:q": {"q": [f"{1 + i % 28} Jan 2024" if i % 2 else f"{1 + i % 28:02}.01.24" for i in IDS]},
    "missing_as_value:q": {"q": np.where(SOME, float(np.finfo(np.float32).min), CLEAN["number"])},
    "missing_as_value:r": {"r": np.where(SOME, -1, np.abs(CLEAN["number"]))},
    "missing_as_value:s": {"s": pa.array(np.where(SOME, -25567, 19000 + IDS).astype("datetime64[D]"))},
    "missing_as_value:y": {"y": np.where(SOME, "?", CLEAN["y"])},
    "category_variants:y": {"y": np.where(SOME, "A ", CLEAN["y"])},
    "random_split_of_groups": {"p": [f"P{g}" for g in GROUP], "y": OF_GROUP.astype(str)},
    "random_split_of_groups:q": {"q": GROUP * 13, "y": OF_GROUP.astype(str)},
    "random_split_of_groups:r": {"r": 2**60 + GROUP, "y": OF_GROUP.astype(str)},
    "random_split_over_time:q": {"q": 1_700_000_000 + 86_400 * (200 * Y + np.arange(N) % 199)},
    "random_split_over_time": {"p": [str(np.datetime64("2024-01-01") + 200 * c + i % 199) for i, c in enumerate(Y)]},
}  # fmt: skip


@pytest.mark.parametrize(("expected", "values"), PLANTED.items(), ids=PLANTED)
def test_a_planted_fault_is_found_and_can_be_silenced(expected, values, tmp_path):
    found = look(tmp_path, values)
    code, _, column = expected.partition(":")
    assert any(name == expected or (not column and name.partition(":")[0] == code) for name in found)
    if CODES[code].is_silenceable:
        assert code not in {name.partition(":")[0] for name in look(tmp_path, values, silence=[code])}


def test_copies_of_training_rows_among_the_test_rows_are_found(tmp_path):
    table = pa.table(CLEAN)
    assert look(tmp_path, pa.concat_tables([table, table.slice(0, 100)])) == ["rows_in_both"]
    noisy = table.slice(0, 100).set_column(0, "number", pa.array(CLEAN["number"][:100] * (1 + 1e-13)))
    assert look(tmp_path, pa.concat_tables([table, noisy])) == ["rows_in_both"]
    numbered = pa.concat_tables([table, table.slice(0, 100)]).append_column("id", pa.array(RNG.permutation(N + 100)))
    assert look(tmp_path, numbered) == ["id_like_column:id", "rows_in_both"]
    few = table.select(["colour", "yes", "y"])
    assert look(tmp_path, few) == []  # equal by chance


def test_missing_targets_by_another_name_and_huge_numbers_are_told_of(tmp_path):
    numbers = CLEAN["number"] * 2 + RNG.normal(size=N)
    assert look(tmp_path, {"y": np.where(SOME, -999.0, numbers)}) == ["missing_as_value:y"]
    assert look(tmp_path, {"p": np.where(SOME, 3e38, -3e38), "y": numbers}) == []


def test_drifts_of_given_test_rows_are_found(tmp_path):
    marks = Test(column="split")
    assert look(tmp_path, {"split": TEST}, marks) == []
    assert look(tmp_path, {"split": np.where(np.arange(N) % 6 == Y, "test", "train")}, marks) == []
    assert look(tmp_path, {"split": np.where((Y == 0) & (IDS < 400), "test", "train")}, marks)[0] == "target_drift"
    shifted = {"split": TEST, "p": RNG.normal(size=N) + 2.0 * (TEST == "test")}
    assert look(tmp_path, shifted, marks) == ["feature_drift:p"]


def test_groups_and_times_that_are_left_out_are_looked_at_too(tmp_path):
    group = {"p": [f"P{g}" for g in GROUP], "y": OF_GROUP.astype(str)}
    assert look(tmp_path, group, exclude=("p",)) == ["random_split_of_groups:p"]
    numbered = {"p": GROUP.astype(float), "y": OF_GROUP.astype(str)}
    assert look(tmp_path, numbered, exclude=("p",)) == ["random_split_of_groups:p"]
    unsigned = {"p": pa.array([None, *map(int, GROUP[1:])], pa.uint8()), "y": OF_GROUP.astype(str)}
    assert look(tmp_path, unsigned, exclude=("p",)) == ["random_split_of_groups:p"]
    days = pa.array(np.datetime64("2024-01-01") + (Y * 200 + np.arange(N) % 199))
    assert look(tmp_path, {"p": days}, exclude=("p",)) == ["random_split_over_time:p"]
    assert look(tmp_path, {"p": pa.array(np.datetime64("2024-01-01") + IDS)}, exclude=("p",)) == []


def test_silence_names_a_code_or_a_code_of_one_column(tmp_path):
    values = {"p": IDS, "q": IDS[::-1].copy()}
    assert look(tmp_path, values) == ["id_like_column:p", "id_like_column:q"]
    assert look(tmp_path, values, silence=["id_like_column:q"]) == ["id_like_column:p"]
    with pytest.raises(JobError, match="no check has the code 'id_like'\\. Did you mean 'id_like_column'"):
        look(tmp_path, values, silence=["id_like"])
    with pytest.raises(JobError, match="target_nulls cannot be silenced"):
        look(tmp_path, values, silence=["target_nulls"])
    with pytest.raises(JobError, match="'id_like_column:' names no column; expected CODE or CODE:COLUMN"):
        look(tmp_path, values, silence=["id_like_column:"])


def test_every_code_is_registered_and_in_the_docs():
    package = Path(orchestrator.__file__).parent
    files = itertools.chain(
        (package / "data" / "checks").glob("*.py"), [package / "compose.py", package / "data/held_out.py"]
    )
    said = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                said |= {n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)}
    assert said - {"_as_strings"} <= set(CODES)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \| (yes|no) \|$", _docs(), re.M)
    told = [(c.name, c.severity, c.finds, c.mend, "yes" if c.is_silenceable else "no") for c in CODES.values()]
    assert rows == told


def _docs():
    path = Path(orchestrator.__file__).parents[1] / "docs" / "checks.md"
    if not path.exists():
        pytest.skip("the documents are not here")
    return path.read_text(encoding="utf-8")
