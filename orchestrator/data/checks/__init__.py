"""What is looked at before anything is trained. A finding has a code and a severity; an error stops the run.

`basics` says whether a dataset can be learnt from at all; the other files have a theme each, and look at training rows
alone for all that has to do with the target. None of them looks at more rows than it needs.
"""

from __future__ import annotations

import numpy as np

from orchestrator.data.checks.basics import (
    accuracy_findings,
    all_null_finding,
    class_findings,
    column_findings,
    constant_finding,
    copied_finding,
    dependence_findings,
    fold_findings,
    is_empty,
    random_folds_findings,
    sample_finding,
    target_findings,
    value_findings,
)
from orchestrator.data.checks.codes import CODES
from orchestrator.data.checks.drift import drift_findings
from orchestrator.data.checks.duplicates import copied_findings, duplicate_findings
from orchestrator.data.checks.finding import CheckFailed, Finding, refuse_errors, summed_up
from orchestrator.data.checks.ids import id_findings, text_like_findings
from orchestrator.data.checks.inside import inside_findings
from orchestrator.data.checks.kin import kin_findings
from orchestrator.data.checks.leaks import leak_findings
from orchestrator.data.checks.literals import literal_findings
from orchestrator.data.checks.looked import Looked
from orchestrator.data.checks.silence import check_silence, heard


def data_findings(looked: Looked) -> list[Finding]:
    """Look at a dataset that can be learnt from."""
    with np.errstate(over="ignore", invalid="ignore"):  # numbers may be the largest that there are
        ids = id_findings(looked)
        return [
            *ids,
            *text_like_findings(looked.columns, len(looked.target)),
            *literal_findings(looked),
            *accuracy_findings(looked),
            *leak_findings(looked),
            *inside_findings(looked),
            *duplicate_findings(looked, {f.column for f in ids if f.column}),
            *drift_findings(looked),
            *kin_findings(looked),
        ]


__all__ = [
    "CODES",
    "CheckFailed",
    "Finding",
    "Looked",
    "all_null_finding",
    "check_silence",
    "class_findings",
    "column_findings",
    "constant_finding",
    "copied_finding",
    "copied_findings",
    "data_findings",
    "dependence_findings",
    "fold_findings",
    "heard",
    "is_empty",
    "random_folds_findings",
    "refuse_errors",
    "sample_finding",
    "summed_up",
    "target_findings",
    "value_findings",
]
