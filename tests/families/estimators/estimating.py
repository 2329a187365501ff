"""A training set of all kinds of columns, and what a family makes of it without a run."""

import numpy as np

from orchestrator.data.encode import MISSING, Column, Features
from orchestrator.data.sets import TrainingSet
from orchestrator.data.split import Fold
from orchestrator.families.base import Shape


def training_set(task="classification", metric=None, n_rows=90, n_folds=3, n_classes=2):
    """Return rows of two numbers, one with nulls, a boolean and a category, which tell something of the target."""
    generator = np.random.default_rng(0)
    target = np.arange(n_rows) % n_classes
    a = generator.normal(size=n_rows) + target
    b = np.where(generator.random(n_rows) < 0.2, np.nan, generator.normal(size=n_rows))
    c = (generator.random(n_rows) < 0.5).astype(float)
    d = np.where(generator.random(n_rows) < 0.1, MISSING, (target + generator.integers(0, 2, n_rows)) % 3)
    columns = (
        Column("a", "double", "number"),
        Column("b", "double", "number", (), True),
        Column("c", "bool", "boolean"),
        Column("d", "string", "category", ("x", "y", "z"), True),
    )
    numbers = a + target + generator.normal(size=n_rows) / 4
    rows = np.arange(n_rows)
    folds = tuple(
        Fold(rows[rows // n_classes % n_folds != f], rows[rows // n_classes % n_folds == f]) for f in range(n_folds)
    )
    return TrainingSet(
        "key",
        Features(np.stack([a, b, c, d], axis=1)),
        target.astype(np.int64) if task == "classification" else numbers,
        folds,
        columns,
        task,
        metric or ("accuracy" if task == "classification" else "r2"),
        7,
    )


def scores(family, data, *trials):
    """Return the answers of trials, a list a trial, with what was said, as units of one batch give them."""
    shape = Shape.of(data)
    plan = family.plan(family.default_space(shape), shape, exhaustive=False)
    names = [plan.answers_of(params) for params in trials]
    answers, said = {}, {}
    for unit in plan.units_for(trials, frozenset(name for one in names for name in one)):
        output = unit.compute(data, ())
        assert set(output.answers) == set(unit.answers)
        answers |= output.answers
        said |= output.out_of_fold
    return [[answers[name] for name in one] for one in names], [[said.get(name) for name in one] for one in names]
