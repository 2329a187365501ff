"""Whether the test rows are spread as the training rows are: the target always, features where test rows are given."""

from __future__ import annotations

import numpy as np

from orchestrator.data.checks.finding import Finding
from orchestrator.data.checks.looked import Looked, some_rows
from orchestrator.data.columns import Column, excluding
from orchestrator.data.encode import Features
from orchestrator.data.profile import ColumnDrift, count, drift_of, profile_of

TARGET_LIMIT, FEATURE_LIMIT = 0.1, 0.25
"""Population stability indices: from the first a shift is told of, from the second it is great (Siddiqi 2006)."""
_LEAST = 20


def drift_findings(looked: Looked) -> list[Finding]:
    """Compare test rows with training rows."""
    if looked.test is None or looked.test_target is None or min(len(looked.target), len(looked.test_target)) < _LEAST:
        return []
    found = []
    if looked.n_classes:
        column = Column("target", "", "category", tuple(map(str, range(looked.n_classes))))
    else:
        column = Column("target", "", "number")
    train, test = (Features(target[:, np.newaxis].astype(np.float64)) for target in (looked.target, looked.test_target))
    (drift,) = _drifts(train, test, (column,))
    if drift.exceeds(TARGET_LIMIT):
        message = (
            f"data.test: {looked.target_name!r} is spread otherwise in the test rows than in training (population "
            f"stability index {drift.psi:.2f}); the test score is of other rows than those that trials are scored on"
        )
        found.append(Finding("target_drift", "warning", message))
    if looked.test_is_given:
        train, test = (part.take(some_rows(len(part))) for part in (looked.features, looked.test))
        for drift in _drifts(train, test, looked.columns):
            if drift.exceeds(FEATURE_LIMIT):
                message = (
                    f"data.test: column {drift.name!r} is spread otherwise in the test rows than in training "
                    f"(population stability index {drift.psi:.2f}); consider {excluding(drift.name)}"
                )
                found.append(Finding("feature_drift", "warning", message, drift.name))
    return found


def _drifts(train: Features, test: Features, columns: tuple[Column, ...]) -> tuple[ColumnDrift, ...]:
    profile = profile_of(train, columns)
    return drift_of(profile, count(profile, test, columns))
