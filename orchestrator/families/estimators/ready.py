"""Ready-made searches: linear models, a tree, forests and boosting, so that others can be seen to earn their place."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.data.encode import Task
from orchestrator.families.base import Shape
from orchestrator.families.estimators.family import EstimatorFamily, Ready
from orchestrator.space import Params, Range, Space


def _with_weights(space: Space, shape: Shape) -> Space:
    return {**space, "class_weight": ["none", "balanced"]} if shape.task == "classification" else space


def _linear(shape: Shape) -> Space:
    if shape.task == "classification":
        return _with_weights({"C": Range(1e-4, 1e3, log=True), "scaler": ["standard", "quantile"]}, shape)
    return {
        "model": ["ridge", "elastic_net"],
        "alpha": Range(1e-4, 1e3, log=True),
        "l1_ratio": Range(0.05, 1.0),
        "scaler": ["standard", "quantile"],
    }


def _tree(shape: Shape) -> Space:
    space: Space = {
        "max_leaf_nodes": Range(4, 1024, log=True),
        "min_samples_leaf": Range(1, 64, log=True),
        "max_features": [0.5, 1.0],
    }
    return _with_weights({**space, **_criterion(shape)}, shape)


def _forest(shape: Shape) -> Space:
    space: Space = {
        "n_estimators": 100,
        "max_features": ["sqrt", 0.3, 0.6, 1.0],
        "min_samples_leaf": Range(1, 32, log=True),
    }
    return _with_weights({**space, **_criterion(shape)}, shape)


def _criterion(shape: Shape) -> Space:
    return {"criterion": ["gini", "entropy"]} if shape.task == "classification" else {}


def _boosting(shape: Shape) -> Space:
    space: Space = {
        "learning_rate": Range(0.02, 0.3, log=True),
        "max_iter": [50, 100, 200, 400],
        "max_leaf_nodes": Range(4, 127, log=True),
        "min_samples_leaf": Range(5, 100, log=True),
        "l2_regularization": Range(1e-3, 10.0, log=True),
        "max_features": [0.3, 0.6, 1.0],
    }
    return _with_weights(space, shape)


def _leaves(settings: Params, n_rows: int) -> float:
    """Return the most leaves that one tree may have."""
    nodes, depth, least = (settings.get(name) for name in ("max_leaf_nodes", "max_depth", "min_samples_leaf"))
    bounds = [n_rows / (least if isinstance(least, int) else 1)]
    bounds += [nodes] if isinstance(nodes, int) else []
    bounds += [2.0**depth] if isinstance(depth, int) else []
    return max(1.0, min(bounds))


def _tree_size(settings: Params, n_rows: int, n_columns: int, n_outputs: int) -> float:
    return _leaves(settings, n_rows) * (3 + n_outputs)  # column, threshold, children; and what each leaf says


def _forest_size(settings: Params, n_rows: int, n_columns: int, n_outputs: int) -> float:
    return settings.get("n_estimators", 100) * _tree_size(settings, n_rows, n_columns, n_outputs)  # type: ignore[no-any-return]


def _boosting_size(settings: Params, n_rows: int, n_columns: int, n_outputs: int) -> float:
    trees = settings.get("max_iter", 100) * (n_outputs if n_outputs > 2 else 1)
    return trees * _leaves({"max_leaf_nodes": 31, "min_samples_leaf": 20, **settings}, n_rows) * 4  # type: ignore[no-any-return]


def _linear_size(settings: Params, n_rows: int, n_columns: int, n_outputs: int) -> float:
    return float((n_columns + 1) * (n_outputs if n_outputs > 2 else 1))


def _models(classifier: Mapping[str, str], regressor: Mapping[str, str]) -> Mapping[Task, Mapping[str, str]]:
    return {"classification": classifier, "regression": regressor}


def _both(path: str) -> Mapping[Task, Mapping[str, str]]:
    return _models({"default": f"{path}Classifier"}, {"default": f"{path}Regressor"})


_LINEAR = "sklearn.linear_model."


def linear() -> EstimatorFamily:
    """Return logistic regression, or ridge regression and elastic nets."""
    models = _models(
        {"logistic": f"{_LINEAR}LogisticRegression"},
        {"ridge": f"{_LINEAR}Ridge", "elastic_net": f"{_LINEAR}ElasticNet"},
    )
    return EstimatorFamily(
        Ready(
            "linear",
            models,
            _linear,
            defaults={"scaler": "standard", "max_iter": 1000},
            conditions={"l1_ratio": ("model", frozenset({"elastic_net"}))},
            size=_linear_size,
        )
    )


def tree() -> EstimatorFamily:
    """Return decision trees."""
    return EstimatorFamily(Ready("tree", _both("sklearn.tree.DecisionTree"), _tree, fit_s=_tree_s, size=_tree_size))


def forest() -> EstimatorFamily:
    """Return random forests."""
    return EstimatorFamily(
        Ready("forest", _both("sklearn.ensemble.RandomForest"), _forest, fit_s=_forest_s, size=_forest_size)
    )


def boosting() -> EstimatorFamily:
    """Return histogram gradient boosting, which reads nulls and categories itself."""
    return EstimatorFamily(
        Ready(
            "boosting",
            _both("sklearn.ensemble.HistGradientBoosting"),
            _boosting,
            reads_values=True,
            fit_s=_boosting_s,
            size=_boosting_size,
        )
    )


def _tree_s(n_trees: int, n_rows: int, n_columns: int) -> float:
    return 1e-3 + 2e-8 * n_rows * math.log2(n_rows + 2) * n_columns


def _forest_s(n_trees: int, n_rows: int, n_columns: int) -> float:
    return n_trees * (2e-3 + 1e-8 * n_rows * math.log2(n_rows + 2) * n_columns)


def _boosting_s(n_trees: int, n_rows: int, n_columns: int) -> float:
    return 0.05 + n_trees * (2e-3 + 2e-9 * n_rows * n_columns)
