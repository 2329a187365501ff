"""Spaces whose parameters depend on each other: how many points they have, and which."""

from typing import Any

import pytest

from orchestrator.space import Conditions, Range, grid, key_of, size

SPACES: list[tuple[dict[str, Any], Conditions, int]] = [
    ({"a": [1, 2, 3], "b": Range(1, 4)}, {}, 12),
    (
        {"p": [1, 2, 3], "metric": ["euclidean", "minkowski"], "k": Range(1, 5)},
        {"p": ("metric", frozenset({"minkowski"}))},
        20,
    ),
    ({"p": [1, 2, 3], "k": Range(1, 5)}, {"p": ("metric", frozenset({"minkowski"}))}, 5),
    (
        {"pooling": ["none", "max"], "kernel": [3, 5, 7], "layer": ["dense", "conv"], "depth": [1, 2]},
        {"pooling": ("kernel", frozenset({5, 7})), "kernel": ("layer", frozenset({"conv"}))},
        2 * (1 + 1 + 2 + 2),
    ),
    (
        {"a": ["x", "y"], "b": [1, 2], "c": [1, 2], "d": [1, 2, 3]},
        {"b": ("a", frozenset({"x"})), "c": ("b", frozenset({1})), "d": ("a", frozenset({"y"}))},
        (2 + 1) + 3,
    ),
]


@pytest.mark.parametrize(("space", "conditions", "expected"), SPACES)
def test_grid_has_as_many_points_as_the_space_and_each_once(
    space: dict[str, Any], conditions: Conditions, expected: int
) -> None:
    points = list(grid(space, conditions))
    assert len(points) == len({key_of(point) for point in points}) == size(space, conditions) == expected
    for point in points:
        for name, (parent, values) in conditions.items():
            assert name not in point or point.get(parent) in values
