"""What a search's results say of its hyperparameters, by Optuna. The only file of the report that knows Optuna.

Optuna stores nothing: the study is made in memory from the results.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from orchestrator.space import Dimension, Range

FEWEST = 10
"""Completed trials below which nothing is said of importance."""


def importances(
    dimensions: Mapping[str, Dimension], results: Sequence[tuple[Mapping[str, Any], float]]
) -> dict[str, float]:
    """Return how much each parameter decides whether a trial is among the best tenth, adding up to 1.

    By PED-ANOVA (Watanabe, Bansal, Hutter 2023, arXiv 2304.10255) as Optuna computes it. Looked at are parameters that
    vary and that all results have; nothing is returned where results are few or all alike.

    Args:
        dimensions: The search's space.
        results: Configuration and score of each completed trial.
    """
    known = {name: _distribution(dimension) for name, dimension in dimensions.items()}
    varied = [
        name
        for name in known
        if all(name in params for params, _ in results) and len({repr(p[name]) for p, _ in results}) > 1
    ]
    if len(results) < FEWEST or not varied or len({score for _, score in results}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        for params, score in results:
            held = {name: params[name] for name in varied}
            study.add_trial(create_trial(value=score, params=held, distributions={n: known[n] for n in varied}))
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(value) for name, value in found.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension)
    if dimension.is_integer:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(float(dimension.low), float(dimension.high), dimension.log, dimension.step)
