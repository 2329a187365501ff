"""k nearest neighbours over vector columns: each element counts as a numeric column does."""

import numpy as np
import pytest

from orchestrator.data.encode import Column, Features
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.errors import JobError
from orchestrator.families.base import Shape
from orchestrator.families.knn import KNN

FOLD = Fold(np.arange(60), np.arange(60, 90))
NUMBERS = tuple(Column(name, "float", "number") for name in "abcde")
COLOUR = Column("colour", "string", "category", ("p", "q"))
VECTOR = Column("v", "fixed_size_list<element: float>[3]", "vector", shape=(3,))
OTHERS = (Column("i", "binary", "image", shape=(2, 2, 1)),)


@pytest.fixture
def pair():
    """The same numbers twice: as scalar columns, and with the last three in a vector, beside columns of other kinds."""
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 50, (90, 6)).astype(np.float64)
    matrix[:, 2] = generator.integers(0, 2, 90)
    target = (matrix.sum(axis=1) > 130).astype(np.int64)
    arrays = {"v": matrix[:, 3:].astype(np.float32), "i": np.zeros((90, 2, 2, 1), np.uint8)}
    columns = (*NUMBERS[:2], COLOUR, VECTOR, *OTHERS)
    fixed = (target, (FOLD,))
    return (
        TrainingSet(
            "scalars", Features(matrix), *fixed, (*NUMBERS[:2], COLOUR, *NUMBERS[2:]), "classification", "accuracy", 0
        ),
        TrainingSet("vector", Features(matrix[:, :3], arrays), *fixed, columns, "classification", "accuracy", 0),
    )


@pytest.mark.parametrize("scaler", ["none", "standard", "quantile"])
@pytest.mark.parametrize("pca", ["none", 4])
def test_a_vector_scores_as_its_elements_do_in_columns_of_their_own(scaler, pca, pair):
    space = {"n_neighbors": [1, 5, 9], "scaler": scaler, "pca": pca}
    params = [{"n_neighbors": k, "scaler": scaler, "pca": pca} for k in (1, 5, 9)]
    found = []
    for data in pair:
        plan = KNN().plan(KNN().checked_space(space, Shape.of(data), "space"), Shape.of(data), exhaustive=True)
        names = [name for one in params for name in plan.answers_of(one)]
        units = plan.units_for(params, frozenset(names))
        answers = {name: answer for unit in units for name, answer in unit.compute(data, []).answers.items()}
        found.append([answers[name].score for name in names])
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


def test_the_shape_counts_elements_of_vectors_and_not_what_knn_does_not_see(pair):
    scalars, vector = map(Shape.of, pair)
    assert vector.columns[3:] == (VECTOR, *OTHERS)
    assert scalars.width == vector.width == 7


def test_as_many_components_as_a_vector_has_elements(pair):
    columns = (VECTOR, *OTHERS)
    shape = Shape("key", ((60, 30),), columns, "classification", "accuracy")
    assert KNN().checked_space({"pca": [3]}, shape, "space") == {"pca": [3]}
    with pytest.raises(JobError, match="pca: 4 components of 3 columns"):
        KNN().checked_space({"pca": [4]}, shape, "space")
