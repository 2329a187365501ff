"""Whatever an Arrow table holds: reading keeps its rows, layouts change nothing, and no fit sees a validation row."""

import datetime as dt
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import image
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator import Model
from orchestrator.data.columns import flat
from orchestrator.data.encode import MISSING, UNSEEN, Features, column_of, encode
from orchestrator.data.load import load
from orchestrator.data.prepare import fitting, input_of, preparation
from orchestrator.data.recipe import CHOICES, Recipe
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families.knn import Plane, prepared_plane
from orchestrator.families.networks.mlp import MLP
from orchestrator.job import Data, Test, Validation

N = 24
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(QUICK, max_examples=8)
WHEN = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
SECONDS = st.integers(0, 86_399)
PIXELS = [image(np.full((2, 2), level)) for level in (0, 128, 255)]
TYPES = [
    *((kind, st.integers(-128, 127)) for kind in (pa.int8(), pa.int64(), pa.float16())),
    (pa.uint64(), st.integers(0, 2**63)),
    *((kind, st.floats(allow_infinity=False, width=32)) for kind in (pa.float32(), pa.float64())),
    *((kind, st.decimals(-999, 999, places=2)) for kind in (pa.decimal128(5, 2), pa.decimal256(50, 2))),
    (pa.bool_(), st.booleans()),
    *((kind, st.text("pqé \n", max_size=9)) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    (pa.date32(), WHEN.map(dt.datetime.date)),
    *((pa.timestamp(unit), WHEN.map(lambda when: when.replace(microsecond=0))) for unit in ("s", "ms", "ns")),
    (pa.timestamp("us", "America/New_York"), WHEN),
    (pa.time32("s"), SECONDS.map(lambda s: (dt.datetime(2000, 1, 1) + dt.timedelta(seconds=s)).time())),
    (pa.duration("ms"), SECONDS.map(lambda s: dt.timedelta(seconds=s))),
    (pa.list_(pa.uint8(), 2), st.lists(st.integers(0, 255), min_size=2, max_size=2)),
    (pa.list_(pa.float32(), 3), st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3)),
    (pa.list_(pa.int16()), st.lists(st.integers(-9, 9), max_size=3)),
    (pa.list_view(pa.float64()), st.lists(st.floats(-9, 9, width=32), max_size=3)),
    (pa.large_list(pa.list_(pa.float32(), 2)), st.lists(st.just([1.0, 2.0]), max_size=2)),
    (pa.binary(), st.sampled_from(PIXELS)),
]
NEVER_NULL = (pa.list_(pa.uint8(), 2), pa.list_(pa.float32(), 3), pa.binary())


@st.composite
def tables(draw):
    """Return a table of columns of any types, with nulls, beside a target, the number of each row, and a partition."""
    columns = {"id": pa.array(np.arange(N), pa.int32()), "y": pa.array(["no", "yes"] * (N // 2))}
    for i, (kind, elements) in enumerate(draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))):
        first, few = draw(elements.filter(lambda one: one == one)), draw(st.lists(elements, min_size=1, max_size=5))
        pool = [first, *few, *([] if kind in NEVER_NULL else [None])]
        order = np.random.default_rng(draw(st.integers(0, 99))).integers(0, len(pool), N - 1)
        columns[f"c{i}"] = pa.array([first, *(pool[j] for j in order)], kind)
    return pa.table({**columns, "part": np.arange(N) * 3 // N})


def loaded(path, **others):
    return load(Data(str(path), target="y", **others), Validation(folds=2), None, 7)


@QUICK
@given(table=tables(), group_rows=st.integers(1, N), fraction=st.sampled_from([0.1, 0.3, 0.5]))
def test_reading_and_splitting_keep_rows_and_their_order(table, group_rows, fraction):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.parquet"
        pq.write_table(table, path, row_group_size=group_rows)
        whole, split = loaded(path, test=None), loaded(path, test=Test(fraction=fraction))
    assert whole.train.matrix[:, 0].tolist() == list(range(N))
    train, test = (part.matrix[:, 0].astype(int).tolist() for part in (split.train, split.test))
    assert train == sorted(train)
    assert test == sorted(test)
    assert sorted(train + test) == list(range(N))
    columns = whole.signature.columns
    again = encode(table.select([c.name for c in columns]), columns)
    assert np.array_equal(again.matrix, whole.train.matrix, equal_nan=True)
    for name, values in again.arrays.items():
        same = whole.train.features.arrays[name]
        assert (
            np.array_equal(values, same, equal_nan=values.dtype.kind == "f")
            if isinstance(values, np.ndarray)
            else values.equals(same)
        )
    picked = np.random.default_rng(0).permutation(N)[: N // 2]
    few = encode(table.take(pa.array(picked)) if _takes(table) else table.slice(0, N // 2), columns)
    rows = picked if _takes(table) else np.arange(N // 2)
    assert np.array_equal(few.flat(), whole.train.features.flat(rows), equal_nan=True)
    assert few.flat().shape[1] == len(flat(columns))


def _takes(table):
    """Tell whether Arrow can take rows of a table: of views it cannot."""
    return not any(pa.types.is_string_view(kind) for kind in table.schema.types)


def write_otherwise(table, folder, group_rows):
    """Write a table in other layouts: small row groups, many files, other encodings, folders that are partitions."""
    pq.write_table(
        table, folder / "groups.parquet", row_group_size=group_rows, use_dictionary=False, compression="gzip"
    )
    for place in ("many", "hive"):
        (folder / place).mkdir()
    for start in range(0, N, group_rows):
        pq.write_table(table.slice(start, group_rows), folder / "many" / f"{start:03}.parquet")
    coded = table
    for i, field in enumerate(table.schema):
        if field.type in (pa.string(), pa.large_string()):
            coded = coded.set_column(i, field.name, table.column(i).dictionary_encode())
        elif field.type in (pa.int8(), pa.int32(), pa.bool_()):
            wider = pa.int16() if field.type == pa.int8() else pa.int64()
            coded = coded.set_column(
                i, field.name, table.column(i).cast(field.type if field.type == pa.bool_() else wider)
            )
    pq.write_table(coded, folder / "coded.parquet")
    for part in range(3):
        place = folder / "hive" / f"part={part}"
        place.mkdir()
        pq.write_table(coded.slice(part * N // 3, N // 3).drop_columns("part"), place / "0.parquet")
    return [folder / name for name in ("groups.parquet", "many", "coded.parquet", "hive")]


@QUICK
@given(table=tables(), group_rows=st.integers(1, N))
def test_the_layout_of_files_changes_nothing(table, group_rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "d.parquet")
        expected = loaded(folder / "d.parquet")
        for path in write_otherwise(table, folder, group_rows):
            found = loaded(path)
            assert found.fingerprint == expected.fingerprint, path
            assert found.train.key == expected.train.key
            assert np.array_equal(found.train.target, expected.train.target)
            assert np.array_equal(found.train.features.flat(), expected.train.features.flat(), equal_nan=True)
            assert np.array_equal(found.test.features.flat(), expected.test.features.flat(), equal_nan=True)
            for one, other in zip(found.train.folds, expected.train.folds, strict=True):
                assert np.array_equal(one.train, other.train)
                assert np.array_equal(one.valid, other.valid)


# ---- what fits sees training rows alone


def training_set(*, with_text):
    generator, n_rows = np.random.default_rng(0), 90
    nulls = generator.random(n_rows) < 0.1
    days = pa.array(generator.integers(0, 9000, n_rows), pa.int32(), mask=nulls)
    table = pa.table(
        {
            "n": pa.array(np.where(nulls, np.nan, generator.lognormal(size=n_rows))),
            "m": generator.integers(0, 5, n_rows),
            "b": pa.array(generator.random(n_rows) < 0.3, mask=nulls),
            "few": generator.choice(["p", "q", "r"], n_rows),
            "many": pa.array([f"k{i}" for i in generator.integers(0, 60, n_rows)], mask=nulls),
            "d": days.cast(pa.date32()),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(generator.normal(size=2 * n_rows), pa.float32()), 2),
            **({"t": [f"row {i} has a {'good' if i % 2 else 'bad'} word" for i in range(n_rows)]} if with_text else {}),
        }
    )
    columns = tuple(column_of(name, table[name]) for name in table.column_names)
    rows = np.arange(n_rows)
    fold = Fold(rows[rows % 3 > 0], rows[rows % 3 == 0])
    target = (generator.random(n_rows) < 0.5).astype(np.int64)
    return TrainingSet("set", encode(table, columns), target, (fold,), columns, "classification", "accuracy", 3)


SETS = {with_text: training_set(with_text=with_text) for with_text in (False, True)}
POISON = st.sampled_from([1e9, -1e9, 0.0, np.nan])


def poisoned(data, number, code):
    """Return the same training rows beside validation rows of extreme values, unseen categories and other classes."""
    (fold,), scalars = data.folds, [c for c in data.columns if c.kind in ("number", "boolean", "category")]
    matrix, target = data.features.matrix.copy(), data.target.copy()
    for place, column in enumerate(scalars):
        matrix[fold.valid, place] = code if column.kind == "category" else number
    target[fold.valid] = 1 - target[fold.valid]
    arrays = {
        name: array.copy() if isinstance(array, np.ndarray) else array for name, array in data.features.arrays.items()
    }
    arrays["d"][fold.valid] = number
    arrays["v"][fold.valid] = np.nan_to_num(number)
    if "t" in arrays:
        texts = np.array(arrays["t"].to_pylist(), object)
        texts[fold.valid] = "never seen before in any text"
        arrays["t"] = pa.array(texts, pa.large_string())
    return replace(data, features=Features(matrix, arrays), target=target)


@st.composite
def recipes(draw):
    chosen = {name: draw(st.sampled_from(values)) for name, values in CHOICES.items()}
    chosen["select"] = draw(st.sampled_from(["none", 3, 0.5]))
    chosen["pca"] = draw(st.sampled_from(["none", 2, 0.9]))
    return Recipe(**chosen)


def fitted(data, recipe):
    rows, train = data.folds[0].train, None
    steps = preparation(data.columns, recipe, 2, data.seed)
    train = input_of(data.features, data.columns, rows)
    with fitting():
        for _, step in steps:
            train = step.fit_transform(train, data.target[rows])
    return pickle.dumps(steps), train


@pytest.mark.filterwarnings("ignore")
@FEW
@given(recipe=recipes(), number=POISON, code=st.sampled_from([UNSEEN, MISSING, 0.0]), with_text=st.booleans())
@example(recipe=Recipe(), number=1e9, code=UNSEEN, with_text=True)
@example(recipe=Recipe("power", "clip", "median", "target"), number=-1e9, code=MISSING, with_text=False)
def test_no_preparation_sees_validation_rows(recipe, number, code, with_text):
    data = SETS[with_text]
    other = poisoned(data, number, code)
    (state, train), (other_state, other_train) = fitted(data, recipe), fitted(other, recipe)
    assert state == other_state
    assert np.array_equal(train, other_train)
    plane = Plane(recipe, "euclidean", 2.0, 0, 5)
    one, two = prepared_plane(plane, data), prepared_plane(plane, other)
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.values, two.values)
    assert len(one.queries) == len(two.queries) == len(data.folds[0].valid)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scaler", ["standard", "quantile"])
@pytest.mark.parametrize("number", [1e9, np.nan])
def test_no_preparation_of_networks_does(scaler, number):
    data = SETS[False]
    other = poisoned(data, number, UNSEEN)
    one, two = (MLP().prepare({"scaler": scaler}, each, each.folds[0].train) for each in (data, other))
    assert pickle.dumps(one.numbers) == pickle.dumps(two.numbers)
    some = data.features.take(data.folds[0].train)
    for name, values in one.transform(some).items():
        assert np.array_equal(values, two.transform(some)[name])


# ---- predictions follow their rows


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A table, and a model of it."""
    from orchestrator import Job, Search, run

    generator, folder, n_rows = np.random.default_rng(1), tmp_path_factory.mktemp("known"), 60
    nulls = generator.random(n_rows) < 0.1
    table = pa.table(
        {
            "n": pa.array(generator.normal(size=n_rows), mask=nulls),
            "c": pa.array(generator.choice(["p", "q", "r"], n_rows), mask=nulls),
            "d": pa.array(generator.integers(0, 10**9, n_rows), pa.timestamp("s"), mask=nulls),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(generator.normal(size=2 * n_rows), pa.float32()), 2),
            "y": pa.array(["no", "yes"] * (n_rows // 2)),
        }
    )
    pq.write_table(table, folder / "d.parquet")
    search = Search("knn", sampler="grid", space={"n_neighbors": [3], "scaler": "standard"})
    job = Job("known", Data(str(folder / "d.parquet"), target="y"), (search,), validation=Validation(folds=2))
    return table, run(job, out=folder / "run", executor="inline").best


@FEW
@given(order=st.permutations(range(60)), n_rows=st.integers(1, 60))
def test_predictions_of_shuffled_rows_are_the_shuffled_predictions(order, n_rows, known):
    table, model = known
    rows = list(order)[:n_rows]
    shuffled = table.take(pa.array(rows))
    assert model.predict(shuffled).tolist() == model.predict(table)[rows].tolist()
    assert np.allclose(model.predict_proba(shuffled), model.predict_proba(table)[rows])
    assert isinstance(model, Model)
