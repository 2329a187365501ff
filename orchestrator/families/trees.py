"""Whether the trees of a loaded model stay within themselves: scikit-learn follows their nodes without looking.

A tree is an array of nodes that name other nodes and columns by number. Those that scikit-learn grew name later nodes
and columns that there are; in a file that somebody has changed, they could lead outside of the array, or in circles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.pipeline import Pipeline
from sklearn.tree._tree import Tree


def check_trees(value: Any, n_columns: float = math.inf) -> None:
    """Look at every tree that a model holds, however deep.

    Args:
        value: A model, or what one is made of.
        n_columns: How many columns it is given.

    Raises:
        ValueError: A node names a node or a column that there is not, or one that stands before it.
    """
    if isinstance(value, Tree):
        inner = value.children_left >= 0
        _check(inner, value.children_left, value.children_right, value.feature, n_columns)
    elif isinstance(value, TreePredictor):
        nodes = value.nodes
        inner = nodes["is_leaf"] == 0
        _check(inner, nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), nodes["feature_idx"], n_columns)
        chosen = inner & (nodes["is_categorical"] != 0)
        if (nodes["bitset_idx"][chosen].astype(np.int64) >= len(value.raw_left_cat_bitsets)).any():
            raise ValueError("a tree names categories that it does not hold")
    elif isinstance(value, BaseEstimator):
        is_pipeline = isinstance(value, Pipeline)  # whose steps are given what those before them make
        n_columns = math.inf if is_pipeline else min(n_columns, getattr(value, "n_features_in_", math.inf))
        for part in vars(value).values():
            check_trees(part, n_columns)
    elif isinstance(value, Mapping):
        for part in value.values():
            check_trees(part, n_columns)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for part in value:
            check_trees(part, n_columns)


def _check(inner: Any, left: Any, right: Any, column: Any, n_columns: float) -> None:
    places = np.arange(len(inner))
    for child in (left, right):
        if not ((child > places) & (child < len(inner)))[inner].all():
            raise ValueError("a tree's node names a node that does not come after it")
    if not ((column >= 0) & (column < n_columns))[inner].all():
        raise ValueError("a tree's node names a column that the model does not have")
