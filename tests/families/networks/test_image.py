"""The family `image`: what its pixels are, what its trials fail of, and that members train alike in any company."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import digits

from orchestrator import families, rundir
from orchestrator.data.columns import Column
from orchestrator.data.encode import Features
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.networks.image import FILE, Image, PixelPreparation
from orchestrator.families.networks.structure import member
from orchestrator.results.model import Model

SIDE, N_ROWS, N_CLASSES = 8, 96, 3
FAMILY = Image()


def vector(size, kind="uint8"):
    return Column("x", f"fixed_size_list<element: {kind}>[{size}]", "vector", shape=(size,))


def shape_of(*columns):
    return Shape("key", ((64, 32),), columns, "classification", "accuracy", N_CLASSES)


def layout(column, **space):
    checked = FAMILY.checked_space(space, shape_of(column), "space")
    (one,) = FAMILY.inputs({name: values[0] for name, values in checked.items()}, shape_of(column))
    return one.shape, one.dtype


def test_a_vector_is_a_square_of_one_channel_or_of_three_or_what_the_space_says():
    assert layout(vector(784)) == ((28, 28, 1), "uint8")
    assert layout(vector(3 * 64, "float")) == ((8, 8, 3), "float32")
    assert layout(vector(6), height=[2]) == ((2, 3, 1), "uint8")
    assert layout(vector(144), height=[4], channels=[4]) == ((4, 9, 4), "uint8")
    assert layout(Column("x", "binary", "image", shape=(5, 7, 3))) == ((5, 7, 3), "uint8")


@pytest.mark.parametrize(
    ("columns", "space", "said"),
    [
        ([vector(50)], {}, "space.height: column 'x' has 50 numbers a row, which do not make squares"),
        ([vector(64)], {"height": [7]}, "space.height: column 'x' has 64 numbers a row, which do not make height 7"),
        ([vector(64)], {"height": [4, 8]}, "space.height: expected one number for all trials"),
        ([Column("x", "binary", "image", shape=(5, 7, 3))], {"height": [5]}, "space.height: column 'x' holds images"),
        ([vector(64), replace(vector(64), name="z")], {}, r"one column of images or vectors, found 'x', 'z'"),
        ([vector(64)], {"filters": [8]}, "image has no parameter 'filters'"),
    ],
)
def test_what_makes_no_image_is_refused_by_the_key_that_changes_it(columns, space, said):
    with pytest.raises(JobError, match=said):
        FAMILY.checked_space(space, shape_of(*columns), "space")


def test_the_default_space_has_blocks_as_far_as_its_kernels_fit():
    assert FAMILY.default_space(shape_of(vector(784)))["blocks"] == [2, 3]
    assert FAMILY.default_space(shape_of(vector(64)))["blocks"] == [1, 2]
    tiny = FAMILY.default_space(shape_of(vector(4)))
    assert (tiny["blocks"], tiny["kernel_size"]) == ([1], 1)
    for column in (vector(784), vector(64), vector(4)):
        FAMILY.checked_space(FAMILY.default_space(shape_of(column)), shape_of(column), "space")


def test_pixels_are_brightened_by_a_power_of_two_and_left_where_there_is_nothing_to_do(tmp_path):
    pixels = np.array([[0, 16, 3, 1], [200, 31, 32, 8]], np.uint8)
    features = Features(np.empty((2, 0)), {"x": pixels})
    made = PixelPreparation("x", (2, 2, 1), 3)
    (tmp_path / FILE).write_bytes(made.files()[FILE])
    for one in (made, FAMILY.load_preparation(tmp_path)):
        found = one.transform(features)["pixels"]
        assert found.dtype == np.uint8
        assert found.shape == (2, 2, 2, 1)
        assert found.reshape(2, 4).tolist() == [[0, 128, 24, 8], [248, 248, 248, 64]]
    assert np.shares_memory(PixelPreparation("x", (2, 2, 1), 0).transform(features)["pixels"], pixels)


@pytest.mark.parametrize(
    ("pixels", "exponent"),
    [
        (np.array([[0, 16]], np.uint8), 3),
        (np.array([[0, 255]], np.uint8), 0),
        (np.array([[0, 0]], np.uint8), 0),
        (np.array([[-12.0, 3.0]], np.float32), -4),
        (np.array([[0.1, 0.2]], np.float32), 2),
    ],
)
def test_the_power_of_two_fills_the_range(pixels, exponent):
    data = _training_set(pixels)
    assert FAMILY.prepare({"height": 1}, data, np.arange(0)).exponent == exponent


def _training_set(pixels):
    from orchestrator.data.sets import TrainingSet

    kind = "uint8" if pixels.dtype == np.uint8 else "float"
    features = Features(np.empty((len(pixels), 0)), {"x": pixels})
    target = np.zeros(len(pixels), np.int64)
    return TrainingSet("k", features, target, (), (vector(pixels.shape[1], kind),), "classification", "accuracy", 0)


def trainer(is_fused, **params):
    """Return a trainer over random images and 64 members that differ in rate and dropout, seeds apart."""
    from orchestrator.families.networks.program import program_of
    from orchestrator.families.networks.records import Block
    from orchestrator.families.networks.training import Trainer

    shape = shape_of(vector(SIDE * SIDE))
    base = {"blocks": 1, "width_1": 16, "batch_size": 16, "epochs": 1, "patience": "none", **params}
    trials = [
        FAMILY.settings({**base, "learning_rate": 1e-3 * (1 + i), "dropout": 0.1 * (i % 3)}, shape.task)
        for i in range(64)
    ]
    dims = {**{name: (value,) for name, value in trials[0].items()}, "dropout": (0.0, 0.1, 0.2)}
    structure = replace(FAMILY.structure_of(trials[0], shape, dims), is_fused=is_fused)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (N_ROWS, SIDE, SIDE, 1), dtype=np.uint8)
    target = generator.integers(0, N_CLASSES, N_ROWS).astype(np.int32)
    block = Block({"pixels": pixels}, target, np.arange(48), np.arange(48, 64), np.arange(64, N_ROWS))
    members = [member("image", params, 0) for params in trials]
    blocks = {FAMILY.block_key(members[0]): block}
    program = program_of(structure, lambda: FAMILY.program(structure, None))
    return Trainer(program, blocks, FAMILY.block_key, 48, "accuracy", 0), members


@pytest.mark.slow
def test_members_that_train_together_are_bitwise_the_same_in_any_company():
    made, members = trainer(True, residual="skip", normalization="batch", augmentation="shift_rotate")
    chosen = members[:2]
    pair = [one.now.flat for one in made.train(chosen, [None] * 2, None)]
    assert not np.array_equal(*pair)
    for company in (members[:16], members, members[::-1]):
        states = dict(zip(company, made.train(company, [None] * len(company), None), strict=True))
        for one, flat in zip(chosen, pair, strict=True):
            assert np.array_equal(states[one].now.flat, flat)


@pytest.mark.parametrize("is_fused", [False, True])
def test_the_saved_model_says_what_its_member_says(is_fused):
    made, members = trainer(is_fused, residual="skip", normalization="batch", augmentation="flip")
    states = made.train(members[:2], [None] * 2, None)
    said = made.answers(members[:2], [state.now for state in states])
    for one, state, answers in zip(members, states, said, strict=False):
        plain = made.program.plain(one.params, state.now.flat, state.now.state)
        assert not any("augment" in layer.name for layer in plain.layers)
        pixels = made.blocks[FAMILY.block_key(one)].inputs["pixels"][64:]
        logits = np.asarray(plain([pixels], training=False), np.float64)
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_together_or_in_turn_members_learn_the_same():
    ended = []
    for is_fused in (False, True):
        made, members = trainer(is_fused, normalization="batch")
        states = made.train(members[:2], [None] * 2, None)
        plain = [made.program.plain(m.params, s.now.flat, s.now.state) for m, s in zip(members, states, strict=False)]
        ended.append([variable.numpy() for model in plain for variable in model.weights])
    for alone, together in zip(*ended, strict=True):
        np.testing.assert_allclose(alone, together, atol=1e-5)


def augmented(kind, pixels, offset=0.0, step=0):
    import tensorflow as tf

    from orchestrator.families.networks.image_kit import Augmentation
    from orchestrator.families.networks.kit import MemberDropout

    MemberDropout.step = tf.constant([7, step], tf.int32)
    layer = Augmentation(kind, name="augmentation")
    layer.build(pixels.shape)
    layer.offset.assign(offset)
    return np.asarray(layer(pixels, training=True)), np.asarray(layer(pixels, training=False))


def test_a_shift_moves_by_whole_pixels_and_lets_zeros_in():
    pixels = np.random.default_rng(0).uniform(1, 2, (40, 9, 7, 2)).astype(np.float32)
    moved, unchanged = augmented("shift", pixels)
    assert np.array_equal(unchanged, pixels)
    padded = np.pad(pixels, [(0, 0), (1, 1), (1, 1), (0, 0)])
    places = set()
    for before, after in zip(padded, moved, strict=True):
        options = [(i, j) for i in range(3) for j in range(3) if np.array_equal(before[i : i + 9, j : j + 7], after)]
        assert len(options) == 1
        places.update(options)
    assert len(places) == 9


def test_a_flip_turns_some_images_left_to_right_and_no_others():
    pixels = np.random.default_rng(0).uniform(size=(40, 4, 5, 1)).astype(np.float32)
    turned, _ = augmented("flip", pixels)
    is_turned = [np.array_equal(after, before[:, ::-1]) for before, after in zip(pixels, turned, strict=True)]
    is_kept = [np.array_equal(after, before) for before, after in zip(pixels, turned, strict=True)]
    assert all(a != b for a, b in zip(is_turned, is_kept, strict=True))
    assert 5 < sum(is_turned) < 35


def test_a_rotation_keeps_the_middle_and_moves_the_rest():
    pixels = np.zeros((20, 31, 31, 1), np.float32)
    pixels[:, 10:21, 10:21] = 1.0
    turned, _ = augmented("shift_rotate", pixels)
    assert (turned[:, 15, 15] == 1.0).all()
    assert not np.array_equal(turned, pixels)
    assert np.abs(turned.sum(axis=(1, 2, 3)) - 121).max() < 6
    assert turned.min() >= 0
    assert turned.max() <= 1 + 1e-5


def test_augmentation_follows_from_step_and_member_alone():
    pixels = np.random.default_rng(0).uniform(size=(20, 8, 8, 1)).astype(np.float32)
    first = augmented("shift_rotate", pixels, 0.25, 3)[0]
    assert np.array_equal(first, augmented("shift_rotate", pixels, 0.25, 3)[0])
    assert not np.array_equal(first, augmented("shift_rotate", pixels, 0.5, 3)[0])
    assert not np.array_equal(first, augmented("shift_rotate", pixels, 0.25, 4)[0])


def job(**search):
    return {
        "data__path": "digits.parquet",
        "data__target": "label",
        "validation__folds": 2,
        "searches": [{"family": "image", "sampler": "grid", **search}],
    }


@pytest.mark.slow
def test_a_kernel_that_does_not_fit_and_a_rate_that_diverges_are_failures_of_their_trials(folder, cli, make_job):
    digits(folder / "digits.parquet")
    space = {"blocks": [1, 3], "learning_rate": [0.01, 1e6], "optimizer": "sgd", "epochs": 2, "batch_size": 16}
    space |= {"width_1": 16, "activation": "leaky_relu"}  # whose units cannot die, and stay finite, at such a rate
    outcome = cli("run", make_job(**job(space=space)), "--out", "run")
    assert outcome.code == 0, outcome.err
    rows = pq.read_table(folder / "run" / "leaderboard.parquet").to_pylist()
    found = {(row["param_blocks"], row["param_learning_rate"]): row for row in rows if row["family"] == "image"}
    assert found[1, 0.01]["state"] == "completed"
    assert found[1, 1e6]["error"].startswith("diverged: the loss is not a finite number")
    for rate in (0.01, 1e6):
        assert found[3, rate]["error"].startswith(
            "raised: ValueError: kernel_size 3 does not fit convolution_3, whose input has 2 x 2 pixels"
        )


@pytest.mark.slow
def test_a_model_of_images_is_saved_loaded_and_predicts(folder, cli, make_job):
    path = digits(folder / "digits.parquet", n_rows=600, as_png=True)
    space = {"blocks": 2, "residual": "skip", "augmentation": "shift", "width_1": 32}
    space |= {"epochs": 8, "batch_size": 16, "learning_rate": 0.004, "dropout": 0.1}
    outcome = cli("run", make_job(**job(space=space)), "--out", "run")
    assert outcome.code == 0, outcome.err
    model, table = Model.load(folder / "run" / rundir.BEST), pq.read_table(path)
    truth = np.array(table["label"])
    assert np.mean(model.predict(table) == truth) > 0.6  # of ten classes, most of these rows seen in training
    probabilities = model.predict_proba(table.slice(0, 5))
    assert probabilities.shape == (5, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert np.array_equal(model.predict(table)[:5], model.predict(table.slice(0, 5)))


def test_trials_of_one_structure_share_a_unit_as_far_as_they_are_short():
    family = families.find("image")
    params = family.settings({"epochs": 10}, "classification")
    for n_rows, n_members in ((1_000, 10), (4_000, 2), (50_000, 1)):
        shape = replace(shape_of(vector(64)), fold_rows=((n_rows, 100),))
        assert family.most_in_turn(params, shape) == n_members
