"""Populations whose rows are in a file: what each member takes, and whole runs."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator import Data, Job, Search, Validation, compose, families
from orchestrator.data import store, streamed
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.networks import stream
from orchestrator.families.networks.structure import member
from orchestrator.job import Comparator, Resources
from orchestrator.replay import replay

SPACE = {"depth": 1, "width_1": 16, "epochs": 2, "batch_size": 64, "learning_rate": [0.003, 0.01], "scaler": "standard"}
N_ROWS = 20_000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    generator = np.random.default_rng(0)
    label = np.sort(generator.integers(0, 3, N_ROWS))  # each row group holds one class
    numbers = generator.normal(label[:, np.newaxis], 1.0, (N_ROWS, 7)).astype(np.float32)
    file = tmp_path_factory.mktemp("data") / "sorted.parquet"
    content = pa.table({**{f"x{i}": numbers[:, i] for i in range(7)}, "label": label})
    pq.write_table(content, file, row_group_size=2000)
    return str(file)


def _job(path, **changes):
    searches = (Search("mlp", sampler="grid", space=SPACE),)
    job = Job("streamed", Data(path, target="label"), searches, resources=Resources(data_mb=1))
    return dataclasses.replace(job, **changes)


@pytest.fixture
def in_stretches(path, tmp_path, monkeypatch):
    """A training set in a file, three folds, in stretches of 1,536 rows; the same for all members of two scalers."""
    monkeypatch.setattr(store, "STRETCH_BYTES", 1536 * 7 * 8)
    data = streamed.load(Data(path, target="label"), Validation("kfold", folds=3), None, 0)
    train, _ = data.streamed.write(tmp_path / "rows")
    data = dataclasses.replace(data.train, features=train)
    mlp, shape = families.find("mlp"), Shape.of(data)
    members = [
        member("mlp", settings, fold, mlp.structure_of(settings, shape, {}))
        for scaler in ("standard", "none")
        for fold in range(3)
        for settings in [mlp.settings({**SPACE, "learning_rate": 0.01, "scaler": scaler}, "classification")]
    ]
    blocks = {mlp.block_key(m): stream.streamed_block(mlp, m.params, data, m.fold) for m in members}
    return data, members, blocks, mlp.block_key


def test_an_epoch_takes_each_row_of_a_fold_at_most_once_and_nearly_all_of_them(in_stretches):
    data, members, blocks, key_of = in_stretches
    n_steps, stretches = stream.Stream(data, blocks, key_of).epoch(members, 0)
    taken, n_taken = [[] for _ in members], 0
    for one in stretches:
        n_taken += one.rows.shape[1]
        for place, m in enumerate(members):
            rows = one.rows[place].ravel()
            block = blocks[key_of(m)]
            raw = one.inputs["numbers"][rows]
            if m.params["scaler"] == "standard":
                raw = block.preparation.numbers.named_transformers_["numbers"][-1].inverse_transform(raw)
            taken[place].append(np.column_stack([raw, one.target[rows]]))
    assert n_taken == n_steps
    for m, parts in zip(members, taken, strict=True):
        found = np.round(np.concatenate(parts), 4)
        fit, inner = stream.rows_of(data, m.fold)
        assert len(np.intersect1d(fit, inner)) == len(np.intersect1d(data.folds[m.fold].valid, fit)) == 0
        allowed = np.round(np.column_stack([data.features.take(fit).matrix, data.target[fit]]), 4)
        known = {tuple(row) for row in allowed.astype(np.float32)}
        rows = {tuple(row) for row in found.astype(np.float32)}
        assert len(rows) > 0.999 * len(found)  # no row twice, but for equal ones
        assert len(rows & known) > 0.99 * len(rows)  # rounding apart, none of another fold
        assert len(found) > 0.85 * len(fit)


def test_what_a_member_takes_does_not_depend_on_its_company(in_stretches):
    data, members, blocks, key_of = in_stretches
    alone = {key_of(members[4]): blocks[key_of(members[4])]}
    n_steps, together = stream.Stream(data, blocks, key_of).epoch(members, 1)
    n_alone, by_itself = stream.Stream(data, alone, key_of).epoch(members[4:5], 1)
    assert n_steps == n_alone
    for one, other in zip(together, by_itself, strict=True):
        for name in one.inputs:
            np.testing.assert_array_equal(one.inputs[name][one.rows[4]], other.inputs[name][other.rows[0]])
        np.testing.assert_array_equal(one.target[one.rows[4]], other.target[other.rows[0]])


def test_what_goes_wrong_while_reading_ahead_is_raised():
    def items():
        yield 1
        raise ValueError("torn")

    found = stream.ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="torn"):
        next(found)


@pytest.fixture(scope="module")
def run(path, tmp_path_factory):
    return orchestrator.run(_job(path), tmp_path_factory.mktemp("run") / "run", executor="inline")


def test_a_streamed_run_scores_as_one_in_memory_does(run, path, tmp_path):
    validation = Validation("holdout", fraction=0.2)
    held = _job(path, validation=validation, resources=Resources())
    other = orchestrator.run(held, tmp_path / "held", executor="inline")
    best = run.leaderboard.best
    assert best.score > 0.8
    assert "kind: holdout" in (run.path / "job.yaml").read_text()
    assert abs(best.score - other.leaderboard.best.score) < 0.02
    assert abs(run.test_scores["best"] - other.test_scores["best"]) < 0.02


def test_its_end_is_that_of_any_run(run):
    names = {path.name for path in run.path.iterdir()}
    assert {"best", "report.html", "explained.json", "test.parquet", "statistics.json"} <= names
    assert "rows.partial" not in names
    table = pq.read_table(run.path / "best" / "sample.parquet")
    assert len(run.best.predict(table)) == 200
    assert (
        "problem" not in (run.path / "explained.json").read_text()
        or '"problem": ""' in (run.path / "explained.json").read_text()
    )


def test_it_comes_out_the_same_again(run, path):
    assert replay(run.path, "mlp/1", executor="inline").is_same


def _many(n_rows=4000):
    """Rows sorted by class, with a text, steps and pixels that each say what class it is."""
    generator, label = np.random.default_rng(1), np.sort(np.random.default_rng(0).integers(0, 2, 4000))
    words = np.array([f"word{i}" for i in range(400)])
    said = [
        " ".join([*words[generator.integers(0, 400, 60)], ("good", "bad")[one] if i % 10 else "so so"])
        for i, one in enumerate(label)
    ]
    pixels = generator.integers(0, 90, (n_rows, 12, 12, 3))
    pixels[:, 3:6, 3:6] += 100 * label[:, np.newaxis, np.newaxis, np.newaxis]
    steps = generator.normal(0.5 * label[:, np.newaxis], 1.0, (n_rows, 70))
    return pa.table(
        {
            "said": said,
            "steps": [row[: generator.integers(60, 70)].tolist() for row in steps],
            "pixels": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel(), pa.uint8()), 432),
            "label": label,
        }
    )


@pytest.mark.parametrize(
    ("family", "column", "space"),
    [
        ("text", "said", {"vocabulary": 500, "length": 70, "epochs": 4}),
        ("sequence", "steps", {"depth": 1, "filters_1": 8, "epochs": 3}),
        ("image", "pixels", {"blocks": 1, "filters_1": 4, "width_1": 8, "height": 12, "channels": 3, "epochs": 2}),
        ("mlp", "pixels", {"depth": 1, "width_1": 8, "epochs": 2}),
    ],
)
def test_other_columns_than_numbers_are_streamed_to_the_same_scores(family, column, space, tmp_path):
    pq.write_table(_many(), tmp_path / "many.parquet", row_group_size=500)
    space = {**space, "learning_rate": 0.01, "batch_size": 32}
    searches = (Search(family, sampler="grid", space=space),)
    data, validation = Data(str(tmp_path / "many.parquet"), "label", (column,)), Validation("holdout", fraction=0.2)
    job = Job("many", data, searches, validation=validation, resources=Resources(data_mb=1))
    assert compose.prepare(job).data.streamed is not None
    result = orchestrator.run(job, tmp_path / "streamed", executor="inline")
    other = orchestrator.run(dataclasses.replace(job, resources=Resources()), tmp_path / "held", executor="inline")
    found, expected = (one.leaderboard.best.score for one in (result, other))
    assert expected > 0.8
    assert abs(found - expected) < 0.04
    assert abs(result.test_scores["best"] - other.test_scores["best"]) < 0.04
    test = pq.read_table(tmp_path / "many.parquet").slice(1000, 2000)
    assert np.mean(result.best.predict(test) == test["label"].to_numpy()) > 0.75


def test_families_that_need_all_rows_are_refused_with_what_would_fit(path):
    job = _job(path, searches=(Search("knn"), Search("mlp")))
    with pytest.raises(
        JobError, match=r"resources\.data_mb: 20000 rows of 8 columns .* knn needs .* at most 16384 rows"
    ):
        compose.prepare(job)
    with pytest.raises(JobError, match="knn needs them in memory"):
        compose.prepare(_job(path, comparators=(Comparator("knn"),)))
