"""A trial's result: the mean over folds, and how long a refit trains."""

import pytest

from orchestrator.families.base import Answer
from orchestrator.search.trial import Trial, result_of


@pytest.mark.parametrize(
    ("kept", "expected"),
    [([4, 9, 2], 4), ([8, 2, 6, 3], 3), ([5], 5), ([None, None], None)],
    ids=["the middle one", "the lower of two in the middle", "one fold", "no epochs"],
)
def test_a_refit_trains_for_the_median_of_the_epochs_that_the_folds_kept(kept, expected):
    answers = {str(fold): Answer(0.5, 0.0, 0.0, epochs=epochs) for fold, epochs in enumerate(kept)}
    result = result_of(Trial("mlp", 0, {}, 0, 0), list(answers), answers)
    assert (result.state, result.epochs) == ("completed", expected)
