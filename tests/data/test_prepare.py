"""Preparation learns from the rows that it is fitted on alone, and does what its recipe says."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.data.columns import Column
from orchestrator.data.encode import Features
from orchestrator.data.prepare import described, fitting, input_of, preparation
from orchestrator.data.recipe import CHOICES, NAMES, Recipe, checked
from orchestrator.errors import JobError
from orchestrator.families import pipelines
from orchestrator.space import Range

COLUMNS = (
    Column("number", "double", "number", has_nulls=True),
    Column("whole", "int64", "number"),
    Column("flag", "bool", "boolean", has_nulls=True),
    Column("few", "string", "category", tuple("abc"), has_nulls=True),
    Column("many", "string", "category", tuple(f"{i:03}" for i in range(90))),
    Column("note", "string", "text", has_nulls=True),
)
RECIPES = [
    *(Recipe(**{name: value}) for name, values in CHOICES.items() for value in values),
    Recipe("standard", "clip", "indicator", "target", "letters", "polynomial", 0.3, 5),
    Recipe("power", "clip", "median", "one_hot", "words", "clusters", 7, 0.9),
]
WORDS = ["good", "bad", "fine", "poor", "film", "actor", "plot", "scene"]


@pytest.fixture(scope="module")
def rows() -> tuple[Features, np.ndarray]:
    generator = np.random.default_rng(0)
    n = 200
    number = np.where(generator.random(n) < 0.2, np.nan, generator.exponential(size=n))
    flag = np.where(generator.random(n) < 0.1, np.nan, generator.integers(0, 2, n))
    matrix = [number, generator.integers(0, 9, n), flag, generator.integers(-1, 3, n), generator.integers(0, 90, n)]
    notes = [None if i % 17 == 0 else " ".join(generator.choice(WORDS, 6)) for i in range(n)]
    features = Features(np.column_stack(matrix), {"note": pa.array(notes, pa.large_string())})
    return features, generator.integers(0, 3, n)


def prepared(recipe, features, fit, asked, target, columns=COLUMNS, n_classes=3):
    first, second = input_of(features, columns, fit), input_of(features, columns, asked)
    with fitting():
        for _, step in preparation(columns, recipe, n_classes, 0):
            first = step.fit_transform(first, target[fit])
            second = step.transform(second)
    return first, second


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)
def test_rows_that_are_asked_about_change_nothing_of_the_fit(recipe, rows):
    features, target = rows
    fit, asked = np.arange(150), np.arange(150, 200)
    matrix, notes = features.matrix.copy(), features.arrays["note"].to_pylist()
    matrix[150:, :2] = 1e9
    matrix[150:, 2:] = [1, -2, -2]
    poisoned = Features(matrix, {"note": pa.array([*notes[:150], *["zzz zzz"] * 50], pa.large_string())})
    other = np.concatenate([target[:150], 2 - target[150:]])
    before, answers = prepared(recipe, features, fit, asked, target)
    after, others = prepared(recipe, poisoned, fit, asked, other)
    np.testing.assert_array_equal(before, after)
    assert np.isfinite(answers).all()
    assert np.isfinite(others).all()
    again, _ = prepared(recipe, features, fit, fit[:20], target)
    np.testing.assert_array_equal(before, again)


def test_target_encoding_gives_a_row_the_mean_of_others():
    generator = np.random.default_rng(1)
    codes, target = np.arange(400) % 200, generator.integers(0, 2, 400)
    column = Column("id", "string", "category", tuple(f"{i:03}" for i in range(200)))
    features = Features(codes[:, None].astype(np.float64))
    (_, encode), *_ = preparation([column], Recipe(), 2, 0)
    own = encode.fit_transform(features.flat(), target)[:, 0]
    naive = encode.transform(features.flat())[:, 0]
    assert abs(np.corrcoef(naive, target)[0, 1]) > 0.5
    assert abs(np.corrcoef(own, target)[0, 1]) < 0.2


def test_few_categories_have_a_column_each_and_many_their_target_means(rows):
    features, target = rows
    everything = np.arange(200)
    columns, alone = (COLUMNS[3], COLUMNS[4]), Features(features.matrix[:, 3:5])
    few, _ = prepared(Recipe(), alone, everything, everything, target, columns)
    assert few.shape[1] == 4 + 3
    wide, _ = prepared(Recipe(), alone, everything, everything, target, columns, n_classes=11)
    assert wide.shape[1] == 4 + len(np.unique(features.matrix[:, 4]))
    numbers, _ = prepared(Recipe(), alone, everything, everything, target.astype(float), columns, n_classes=0)
    assert numbers.shape[1] == 4 + 1


def test_an_indicator_says_where_a_number_was_missing(rows):
    features, target = rows
    fit, columns = np.arange(150), COLUMNS[:2]
    alone = Features(features.matrix[:, :2])
    first, _ = prepared(Recipe(), alone, fit, fit, target, columns)
    np.testing.assert_array_equal(first[:, 2], np.isnan(features.matrix[:150, 0]))
    assert prepared(Recipe(missing="median"), alone, fit, fit, target, columns)[0].shape[1] == 2


def test_outliers_stand_at_the_fences():
    numbers = np.append(np.arange(101.0), [1e6, np.nan])[:, None]
    columns = (Column("n", "double", "number", has_nulls=True),)
    found, _ = prepared(Recipe(outliers="clip"), Features(numbers), np.arange(103), [0], np.zeros(103, int), columns)
    assert found[:, 0].max() < 300
    assert found[102, 0] == np.median(np.append(np.arange(101.0), found[101, 0]))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)
def test_a_saved_preparation_does_the_same(recipe, rows):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline

    features, target = rows
    pipeline = Pipeline([*preparation(COLUMNS, recipe, 3, 0), ("model", KNeighborsClassifier())])
    with fitting():
        pipeline.fit(input_of(features, COLUMNS), target)
    loaded = pipelines.loads(pipelines.dumps(pipeline), "model")
    np.testing.assert_array_equal(loaded.predict_proba(features), pipeline.predict_proba(features))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scaler", ["standart"], "no scaler 'standart'. Did you mean 'standard'?"),
        ("features", Range(1, 3), "expected a list of none, polynomial, interactions, clusters, found low and high"),
        ("select", [0], "expected none, a number of columns, or a share between 0 and 1; found 0"),
        ("pca", [True], "expected none, a number of components, or a share between 0 and 1; found True"),
    ],
)
def test_values_that_no_recipe_has_are_refused(name, value, message):
    with pytest.raises(JobError, match=f"space.{name}: ") as error:
        checked(f"space.{name}", name, value, COLUMNS, 100)
    assert message in str(error.value)


def test_products_of_too_many_columns_are_refused():
    columns = [Column(f"c{i}", "double", "number") for i in range(200)]
    with pytest.raises(JobError, match="polynomial of 200 columns makes 20300; expected at most 5000"):
        checked("space.features", "features", ["polynomial"], columns, 100)


def test_a_recipe_is_named_by_what_it_changes():
    assert Recipe().id == "plain"
    assert Recipe.of({"scaler": "standard", "n_neighbors": 3, "pca": 2}).id == "scaler='standard',pca=2"
    assert set(NAMES) >= set(CHOICES)


def test_what_is_made_of_a_column_is_said_in_words():
    recipe = Recipe("standard", outliers="clip")
    assert [described(column, recipe, 3) for column in COLUMNS] == [
        "outliers clipped; the median for nulls, and a column that says so; scaler standard",
        "outliers clipped; scaler standard",
        "the most frequent value for nulls",
        "a column a category",
        "the mean target of each category",
        "tf-idf of words, 30 numbers by a truncated SVD",
    ]
    assert described(COLUMNS[1], Recipe(), 3) == "as it is"
