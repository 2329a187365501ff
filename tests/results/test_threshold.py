"""A decision threshold that is chosen out of fold, and by which predictions then go."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import write
from sklearn.metrics import get_scorer

from orchestrator.errors import DataError
from orchestrator.results import sealed
from orchestrator.results.model import Model
from orchestrator.results.threshold import MOST_TRIED, best_threshold

METRICS = ["accuracy", "balanced_accuracy", "f1", "matthews_corrcoef", "precision_macro"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("metric", METRICS)
def test_no_other_threshold_scores_better(metric):
    generator = np.random.default_rng(0)
    truth = (generator.random(120) < 0.2).astype(np.int64)
    second = np.clip(0.3 * truth + 0.4 * generator.random(120), 0, 1)
    found = best_threshold(metric, truth, second)
    scorer = get_scorer(metric)
    everywhere = [scorer._score_func(truth, second >= t, **scorer._kwargs) for t in [*second, 0.0, 1.1]]
    assert found.score == pytest.approx(max(everywhere))
    assert found.score_at_half == pytest.approx(scorer._score_func(truth, second >= 0.5, **scorer._kwargs))


def test_of_equal_thresholds_it_is_the_one_nearest_to_one_half():
    truth = np.array([0, 0, 1, 1])
    assert best_threshold("f1", truth, np.array([0.1, 0.2, 0.8, 0.9])).value == 0.5
    assert best_threshold("f1", truth, np.array([0.1, 0.2, 0.3, 0.9])).value == pytest.approx(0.25)


def test_of_many_probabilities_some_are_tried():
    generator = np.random.default_rng(0)
    second = generator.random(5000)
    truth = (second + generator.normal(0, 0.1, 5000) > 0.8).astype(np.int64)
    assert MOST_TRIED < 5000
    assert best_threshold("accuracy", truth, second).value == pytest.approx(0.8, abs=0.05)


@pytest.fixture
def skewed(folder):
    """Write rows of which one in ten is of the second class, which one feature tells with some noise."""
    generator = np.random.default_rng(1)
    y = np.arange(200) % 10 == 0
    a = generator.normal(size=200) + 1.5 * y
    return write(
        folder / "data.parquet", {"a": a, "b": generator.normal(size=200), "y": pa.array(np.where(y, "yes", "no"))}
    )


def test_a_run_keeps_its_threshold_and_predicts_by_it(cli, make_job, folder, skewed):
    linear = {"family": "linear", "sampler": "grid", "space": {"C": [1.0]}}
    job = make_job(searches=[linear], metric="balanced_accuracy", threshold="tuned", validation__folds=2)
    ran = cli("run", job, "--out", "run")
    assert ran.code == 0, ran.err
    assert "decision threshold: 'yes' is said from a probability of 0." in ran.out
    kept = json.loads((folder / "run" / "best" / "signature.json").read_text())["threshold"]
    assert kept["value"] < 0.5
    assert kept["score"] > kept["score_at_half"]
    model, table = Model.load(folder / "run" / "best"), pq.read_table("data.parquet")
    expected = np.where(model.predict_proba(table)[:, 1] >= kept["value"], "yes", "no")
    np.testing.assert_array_equal(model.predict(table), expected)
    assert (expected != np.where(model.predict_proba(table)[:, 1] >= 0.5, "yes", "no")).any()
    assert cli("predict", "run", "data.parquet", "--out", "said.parquet", "--executor", "inline").code == 0
    np.testing.assert_array_equal(pq.read_table("said.parquet")["prediction"].to_numpy(zero_copy_only=False), expected)
    test = pq.read_table(folder / "run" / "test.parquet").to_pydict()
    assert test["best"] == [int(p[1] >= kept["value"]) for p in test["best_proba"]]
    assert "Decision threshold" in (folder / "run" / "report.html").read_text()
    assert "decision threshold" in (folder / "run" / "best" / "README.md").read_text()
    refused = cli("export", "run", "--format", "onnx", "--out", "model.onnx")
    assert refused.code == 2
    assert "decision threshold" in refused.err
    assert cli("export", "run", "--format", "native", "--out", "copy").code == 0
    assert Model.load(folder / "copy").threshold == kept["value"]


def test_a_threshold_that_is_no_probability_is_refused(cli, make_job, folder, skewed):
    tree = {"family": "tree", "sampler": "grid", "space": {"max_leaf_nodes": [4]}}
    job = make_job(searches=[tree], metric="f1_macro", threshold="tuned", validation__kind="holdout")
    assert cli("run", job, "--out", "run").code == 0
    best = folder / "run" / "best"
    described = json.loads((best / "signature.json").read_text())
    files = {name: (best / name).read_bytes() for name in described.pop("files")}
    for unknown in ("hash", "schema_version"):
        del described[unknown]
    sealed.seal(best, files, {**described, "threshold": {"value": 7.0}})
    with pytest.raises(DataError, match="threshold"):
        Model.load(best)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "roc_auc"}, ["threshold", "roc_auc", "balanced_accuracy"]),
        ({"data__target": "a"}, ["threshold", "two classes", "numbers"]),
        ({"threshold": "tune"}, ["threshold", "'tuned'", "'tune'"]),
    ],
)
def test_a_threshold_is_refused_where_it_means_nothing(cli, make_job, changes, expected):
    outcome = cli("check", make_job(**{"threshold": "tuned", **changes}))
    assert outcome.code == 2
    for part in expected:
        assert part in outcome.err
