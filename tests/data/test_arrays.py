"""Columns of more than one number a row: what each kind becomes, and which row is named where one does not fit."""

import io
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from builders import image
from PIL import Image

from orchestrator.data.encode import (
    Column,
    Features,
    Signature,
    column_of,
    encode,
    fingerprint,
    flat,
    kind_of,
    scalars,
)
from orchestrator.errors import DataError

BYTES = pa.list_(pa.uint8(), 3)
FLOATS = pa.list_(pa.float64(), 2)
PAIRS = pa.large_list(pa.list_(pa.int16(), 2))
REVIEWS = ["a film that is long enough", "another one of five words", None, "and one more of those now", "x"]


def encoded(values, kind=None, rows=None):
    """Return the column of training values and what they become."""
    table = pa.table({"c": pa.array(values, kind)})
    column = column_of("c", table.column("c"), rows=rows)
    return column, encode(table, [column], rows).arrays["c"]


def again(column, values, kind=None):
    """Return what later values of a column become."""
    return encode(pa.table({"c": pa.array(values, kind)}), [column]).arrays["c"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int8(), "number"),
        (pa.decimal128(9, 2), "number"),
        (pa.bool_(), "boolean"),
        (pa.large_string(), "category"),
        (pa.dictionary(pa.int8(), pa.string()), "category"),
        (BYTES, "vector"),
        (pa.binary(), "image"),
        (pa.large_binary(), "image"),
        (pa.list_(pa.float32()), "sequence"),
        (pa.large_list(pa.int64()), "sequence"),
        (PAIRS, "sequence"),
        (pa.list_(FLOATS, 7), "sequence"),
    ],
    ids=str,
)
def test_the_type_says_how_a_column_is_read(kind, expected):
    assert kind_of("c", kind) == expected


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string()), pa.list_(pa.bool_(), 3), pa.list_(pa.list_(pa.int8())), pa.binary(4)], ids=str
)
def test_other_types_are_refused(kind):
    with pytest.raises(DataError, match=r"'c' has type .*; expected numbers"):
        kind_of("c", kind)


def test_vectors_of_bytes_stay_bytes_and_others_become_float32():
    column, array = encoded([[0, 1, 255], [4, 5, 6]], BYTES)
    assert (column.kind, column.shape, array.dtype) == ("vector", (3,), np.uint8)
    assert array.tolist() == [[0, 1, 255], [4, 5, 6]]
    column, array = encoded([[0.5, 1.0], [4.0, -5.0]], FLOATS)
    assert (column.shape, array.dtype) == ((2,), np.float32)
    assert array.tolist() == [[0.5, 1.0], [4.0, -5.0]]


def test_a_vector_column_takes_later_lists_without_a_fixed_size():
    column, _ = encoded([[0, 1, 255]], BYTES)
    assert again(column, [[7, 8, 9], [1, 2, 3]], pa.list_(pa.int64())).dtype == np.uint8
    with pytest.raises(DataError, match=r"row 1 .*has 2 numbers; expected 3"):
        again(column, [[7, 8, 9], [1, 2]], pa.list_(pa.int64()))
    for wrong in ([[1, 2, 256]], [[1, 2, -1]], [[1, 2, 0.5]]):
        with pytest.raises(DataError, match="whole ones from 0 to 255"):
            again(column, wrong)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[1.0, 2.0], None, [3.0, 4.0]], "row 11 .*is null; expected 2 numbers"),
        ([[1.0, 2.0], [3.0, 4.0], [3.0, None]], "row 12 .*has null in it"),
        ([[1.0, 2.0], [3.0, float("nan")], [3.0, 1.0]], "row 11 .*nan in it; expected finite"),
        ([[1.0, 2.0], [3.0, 1.0], [-float("inf"), 1.0]], "row 12 .*infinite values"),
    ],
)
def test_vectors_with_holes_are_refused_with_their_row(values, found):
    with pytest.raises(DataError, match=found) as refused:
        encoded(values, FLOATS, rows=np.array([10, 11, 12]))
    assert 'data.exclude: ["c"]' in str(refused.value)


def test_vectors_of_nothing_are_refused():
    with pytest.raises(DataError, match="'c' has no numbers"):
        encoded([[], []], pa.list_(pa.int8(), 0))


@pytest.mark.parametrize("kind", [pa.list_(pa.int8()), pa.large_list(pa.float64()), pa.list_(pa.float32())], ids=str)
def test_sequences_become_float32_and_null_an_empty_one(kind):
    column, array = encoded([[1, 2, 3], None, [], [4]], kind)
    assert (column.kind, column.shape, column.has_nulls) == ("sequence", (), True)
    assert array.type == pa.large_list(pa.float32())
    assert array.to_pylist() == [[1, 2, 3], [], [], [4]]
    assert array.null_count == 0


def test_sequences_of_several_channels_keep_them():
    column, array = encoded([[[1, 2], [3, 4]], None, [[5, 6]]], PAIRS)
    assert (column.kind, column.shape) == ("sequence", (2,))
    assert array.type == pa.large_list(pa.list_(pa.float32(), 2))
    assert array.to_pylist() == [[[1, 2], [3, 4]], [], [[5, 6]]]
    _, fixed = encoded([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int16(), 2), 2))
    assert fixed.to_pylist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    with pytest.raises(DataError, match="expected steps of 2 numbers"):
        again(column, [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([[1.0], [], [2.0, None]], pa.list_(pa.float64()), "row 2 .*null in it"),
        ([[1.0], [], [2.0, float("nan")]], pa.list_(pa.float64()), "row 2 .*nan in it"),
        ([[[1, 2]], [[3, 4], None]], PAIRS, "row 1 .*null in it"),
        ([[[1, 2]], [], [[3, 4], [None, 5]]], PAIRS, "row 2 .*null in it"),
    ],
)
def test_sequences_with_holes_are_refused_with_their_row(values, kind, found):
    with pytest.raises(DataError, match=found):
        encoded(values, kind)


PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_images_are_decoded():
    column, array = encoded([image(PIXELS), image(PIXELS + 100)])
    assert (column.kind, column.shape, array.dtype) == ("image", (2, 4, 3), np.uint8)
    assert np.array_equal(array, [PIXELS, PIXELS + 100])
    _, grey = encoded([image(PIXELS[:, :, 0])], pa.large_binary())
    assert np.array_equal(grey[0, :, :, 0], PIXELS[:, :, 0])
    _, photo = encoded([image(np.full((8, 8, 3), 90), "JPEG")])
    assert np.abs(photo.astype(int) - 90).max() <= 2


def test_black_and_white_and_palettes_become_grey_and_colours():
    for mode, channels in (("1", 1), ("P", 3)):
        content = io.BytesIO()
        Image.fromarray(PIXELS).convert(mode).save(content, "PNG")
        assert encoded([content.getvalue()])[0].shape == (2, 4, channels)


def sixteen_bits():
    content = io.BytesIO()
    Image.fromarray(np.zeros((2, 4), np.uint16)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (None, "is null; expected an image"),
        (b"no image", "is not a PNG or JPEG image"),
        (b"", "is not a PNG or JPEG image"),
        (image(PIXELS)[:-30], "is damaged or too large for a PNG or JPEG image"),
        (image(PIXELS, "BMP"), "is not a PNG or JPEG image"),
        (sixteen_bits(), "is an image of mode I;16; expected one of L, RGB"),
        (image(PIXELS[:, :2]), "is 2 x 2 pixels of 3 channels; expected 4 x 2 pixels of 3 channels"),
        (image(PIXELS[:, :, 0]), "is 4 x 2 pixels of 1 channel; expected 4 x 2 pixels of 3 channels"),
    ],
    ids=["null", "text", "nothing", "cut off", "BMP", "16 bits", "another size", "another mode"],
)
@pytest.mark.parametrize("in_training", [True, False], ids=["in training", "later"])
def test_what_is_no_image_like_the_first_is_refused_with_its_row(second, found, in_training):
    column, _ = encoded([image(PIXELS)])
    values = pa.array([image(PIXELS), second], pa.binary())
    with pytest.raises(DataError, match="row 1 .*" + found):
        _ = encoded(values) if in_training else again(column, values)


def test_text_is_told_from_categories_by_its_spaces_and_its_distinct_values():
    column, array = encoded(REVIEWS[:4], pa.string())
    assert (column.kind, column.categories, column.has_nulls) == ("text", (), True)
    assert isinstance(array, pa.LargeStringArray)
    assert array.to_pylist() == REVIEWS[:4]
    few_spaces = pa.chunked_array([["one two three four", "five six seven eight"]])
    repeated = pa.chunked_array([[REVIEWS[0]] * 4 + [REVIEWS[1]] * 4])
    half = pa.chunked_array([[*REVIEWS[:2], *REVIEWS[:2]]])
    for values in (few_spaces, repeated, half, pa.chunked_array([pa.array([None], pa.string())])):
        column = column_of("c", values)
        assert (column.kind, column.shape) == ("category", ())
    assert column_of("c", repeated, is_text=True) == Column("c", "string", "text")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_text_of_every_string_type_reads_the_same(kind):
    values = pa.array(REVIEWS).cast(kind)
    assert again(Column("c", "string", "text"), values).to_pylist() == REVIEWS


def test_scalar_columns_and_vectors_lie_flat_in_one_matrix():
    table = pa.table(
        {
            "v": pa.array([[1, 2, 3], [4, 5, 6]], BYTES),
            "n": [0.5, None],
            "s": [[1.0], []],
            "w": pa.array([[0.5, 1.5], [2.5, 3.5]], FLOATS),
            "k": ["q", "p"],
        }
    )
    columns = [column_of(name, table.column(name)) for name in table.column_names]
    features = encode(table, columns)
    assert len(features) == 2
    assert [column.name for column in scalars(columns)] == ["n", "k"]
    assert [column.name for column in flat(columns)] == ["n", "k", "v[0]", "v[1]", "v[2]", "w[0]", "w[1]"]
    expected = np.array([[0.5, 1, 1, 2, 3, 0.5, 1.5], [np.nan, 0, 4, 5, 6, 2.5, 3.5]])
    assert np.array_equal(features.flat(), expected, equal_nan=True)
    assert np.array_equal(features.flat(np.array([1])), expected[1:], equal_nan=True)
    turned = features.take(np.array([1, 0]))
    assert np.array_equal(turned.flat(), expected[::-1], equal_nan=True)
    assert turned.arrays["s"].to_pylist() == [[], [1.0]]


def test_rows_of_scalar_columns_alone_lie_flat_without_a_copy():
    features = Features(np.zeros((3, 2)))
    assert features.flat() is features.matrix


def big_table(n_rows=4000):
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(n_rows, 8))
    return pa.table(
        {
            "t": [f"{i} and five more words of text" if i % 7 else None for i in range(n_rows)],
            "v": pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel(), pa.float32()), 8),
            "s": [list(row[: i % 8]) for i, row in enumerate(numbers)],
            "p": [[[1.0, 2.0]] * (i % 5) for i in range(n_rows)],
        }
    ).cast(
        pa.schema([("t", pa.string()), ("v", pa.list_(pa.float32(), 8)), ("s", pa.list_(pa.float64())), ("p", PAIRS)])
    )


def test_arrays_travel_without_copies_and_without_what_they_are_cut_from():
    table = big_table()
    columns = [column_of(name, table.column(name)) for name in table.column_names]
    part = encode(table.slice(1000, 1000), columns)
    buffers = []
    head = pickle.dumps(part, protocol=5, buffer_callback=buffers.append)
    n_bytes = sum(buffer.raw().nbytes for buffer in buffers)
    assert len(head) < 4000
    assert n_bytes < 1.05 * part.nbytes
    back = pickle.loads(head, buffers=buffers)
    assert back.arrays["s"].equals(part.arrays["s"])
    address = back.arrays["t"].buffers()[2].address
    assert any(np.frombuffer(buffer, np.uint8).ctypes.data == address for buffer in buffers)


def changed(name, row, value):
    table = big_table(20)
    values = table.column(name).to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


def hash_of(table, slice_of=slice(None)):
    columns = tuple(
        Column(f.name, str(f.type), kind, (), False, shape)
        for f, kind, shape in zip(
            table.schema, ["text", "vector", "sequence", "sequence"], [(), (8,), (), (2,)], strict=True
        )
    )
    return fingerprint(Signature(columns, "y", "regression"), encode(table, columns))


def test_a_fingerprint_follows_from_every_value_and_from_nothing_else():
    whole = hash_of(big_table(20))
    assert hash_of(pa.concat_tables([big_table(20).slice(0, 3), big_table(20).slice(3)])) == whole
    others = [
        changed("t", 0, ""),  # a null there
        changed("t", 19, "another text"),
        changed("v", 19, [0.0] * 8),
        changed("s", 8, [0.0]),  # an empty one there
        changed("p", 19, [[1.0, 2.0]]),
        big_table(20).take([1, 0, *range(2, 20)]),
    ]
    assert len({whole, *map(hash_of, others)}) == 1 + len(others)


def test_a_signature_with_shapes_comes_back_from_json():
    column, _ = encoded([[0, 1, 255]], BYTES)
    signature = Signature((column,), "y", "classification", ("a", "b"))
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


ROWS = {
    "text": REVIEWS[:4],
    "vector": pa.array([[1, 2, 3]], BYTES),
    "image": [image(PIXELS)],
    "sequence": pa.array([[1.0]]),
    "channels": pa.array([[[1, 2]]], PAIRS),
}


@pytest.mark.parametrize("values", ROWS.values(), ids=ROWS)
def test_no_rows_are_encoded_as_no_rows(values):
    table = pa.table({"c": values})
    column = column_of("c", table.column("c"))
    assert len(encode(table.slice(0, 0), [column]).arrays["c"]) == 0
    assert len(encode(table.schema.empty_table(), [column]).arrays["c"]) == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_column_of_the_type_null_is_text_or_sequences_of_null_and_refused_elsewhere(name):
    table = pa.table({"c": ROWS[name]})
    column = column_of("c", table.column("c"))
    if name in ("vector", "image"):
        with pytest.raises(DataError, match=r"row 0 .*is null"):
            again(column, [None, None])
    else:
        assert again(column, [None, None]).to_pylist() == ([None, None] if name == "text" else [[], []])
