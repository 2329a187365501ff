"""The report and the model card, made from run directories of real runs."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import columns, job_values, process, write
from hostile import EVIL, evil_columns
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer, recall_score, roc_auc_score

from orchestrator import compose, families, oof, runs
from orchestrator import job as jobs
from orchestrator.data.encode import Features
from orchestrator.errors import JobError, RunError
from orchestrator.results import report
from orchestrator.results.explain import REPEATS, Explained, ExplainUnit, asked_by_place
from orchestrator.results.report import board, curves, features, groups, quality, record, searches, shap_values, words
from orchestrator.results.report.certainty import Certainty, Estimate, certainty
from orchestrator.results.report.parts import sampled
from orchestrator.results.report.predictions import of_test_rows, out_of_fold
from orchestrator.results.report.run import BOARD, Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.study import importances
from orchestrator.results.report.svg import Plot
from orchestrator.results.report.verdict import verdict
from orchestrator.space import Range

N_ROWS = 160


def made(folder, data, **changes) -> Path:
    """Run a small job over `data` in this process; return the run directory."""
    write(folder / "data.parquet", data)
    job = jobs.from_dict(job_values(data__path=str(folder / "data.parquet"), **changes))
    return runs.run(job, folder / "run", executor="inline").path


@pytest.fixture(scope="module")
def run_path(tmp_path_factory) -> Path:
    """Return a run of two classes, with two sensitive columns, one of which is no feature."""
    generator = np.random.default_rng(1)
    more = {"sex": pa.array([("f", "m")[i] for i in generator.integers(2, size=N_ROWS)]), "age": np.arange(N_ROWS) % 60}
    return made(
        tmp_path_factory.mktemp("report"),
        columns(N_ROWS, **more),
        data__exclude=["sex"],
        data__sensitive=["sex", "age"],
        metric="roc_auc",
        searches__0__space={
            "n_neighbors": {"low": 1, "high": 12},
            "weights": ["uniform", "distance"],
            "scaler": "none",
        },
    )


@pytest.fixture
def run(run_path) -> Run:
    return Run.read(run_path)


@pytest.fixture(scope="module")
def numbers_path(tmp_path_factory) -> Path:
    """Return a run of regression, by an error that scorers negate."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=N_ROWS)
    data = {"x": x, "z": generator.normal(size=N_ROWS), "y": 3 * x + generator.normal(size=N_ROWS)}
    return made(tmp_path_factory.mktemp("numbers"), data, metric="neg_mean_absolute_error")


def text_of(section) -> str:
    """Return all that a section says."""
    tables = [cell.text for table in section.tables for row in table.rows for cell in row]
    return " ".join([section.absent, *section.sentences, *(f.title + f.caption for f in section.figures), *tables])


def with_statistics(path, folder, **changes) -> Run:
    """Return a copy of a run whose statistics of the board are these."""
    copy = folder / "with-statistics"
    shutil.copytree(path, copy)
    values = json.loads((copy / "statistics.json").read_text())
    values["board"] |= {"corrected": {"score": 0.8, "low": 0.7, "high": 0.9}, "refit_shift": None, **changes}
    (copy / "statistics.json").write_text(json.dumps(values))
    return Run.read(copy)


def test_the_first_screen_answers_what_won_and_how_sure_that_is(run_path, tmp_path):
    run = with_statistics(run_path, tmp_path, simplest="knn/3")
    rows = tuple({**row, "ties_leader": row["trial"] in (run.best["trial"], "knn/3")} for row in run.board)
    shown = verdict(dataclasses.replace(run, board=rows), certainty(run))
    answers = dict(shown.answers)
    assert shown.headline == "knn predicts y with roc_auc 0.800 on new data"
    assert "24 completed trials" in answers["What won"]
    assert answers["On new data"].startswith("0.8000 (95 % interval 0.7000 to 0.9000), corrected")
    assert answers["Against the baseline"].startswith("Something was learnt")
    assert "1 other trial cannot be told from the winner; the simplest is knn/3" in answers["A simpler model"]
    assert f"best {run.openings[0]['scores']['best']:.4f} (" in answers["Sealed test rows"]
    assert "opened once" in answers["Sealed test rows"]


def test_trials_that_failed_are_none_that_the_winner_was_chosen_from(run_path, tmp_path):
    run = with_statistics(run_path, tmp_path)
    lost = {**run.trials[-1], "trial": "mlp/0", "family": "mlp", "state": "failed", "score": None}
    run = dataclasses.replace(run, board=(*run.board, lost))
    assert words.won(run) == f"{run.best['trial']} leads 24 completed trials."
    assert "chosen as the best of 24." in words.expected(
        run, dataclasses.replace(certainty(run), is_conservative=False)
    )


def test_without_statistics_the_plain_score_is_said_to_flatter(run_path, tmp_path):
    shutil.copytree(run_path, tmp_path / "run")
    (tmp_path / "run" / "statistics.json").unlink()
    run = Run.read(tmp_path / "run")
    assert certainty(run) == Certainty()
    assert "flatters" in words.expected(run, certainty(run))
    assert "in cross-validation" in words.headline(run, certainty(run))


def test_a_winner_that_does_not_beat_the_baseline_is_no_headline(run):
    sure = Certainty(Estimate(0.5, 0.4, 0.6), dummy="Nothing was learnt.", beats_dummy=False)
    assert words.headline(run, sure) == "No model is shown to predict y better than the baseline"


def test_intervals_of_negated_scores_are_turned(numbers_path, tmp_path):
    run = with_statistics(numbers_path, tmp_path, corrected={"score": -2.0, "low": -3.0, "high": -1.0})
    assert certainty(run).corrected == Estimate(2.0, 1.0, 3.0)


def test_damaged_statistics_are_refused_by_name(run_path, tmp_path):
    run = with_statistics(run_path, tmp_path)
    (run.path / "statistics.json").write_text("{}")
    with pytest.raises(RunError, match=r"statistics\.json is damaged"):
        certainty(run)


def test_a_second_opening_is_marked(run):
    opening = run.openings[0]
    manifest = {**run.manifest, "test": {"openings": [opening, opening]}}
    again = dataclasses.replace(run, manifest=manifest)
    assert "opened 2 times" in verdict(again, Certainty()).warning
    assert "not unseen any more" in dict(verdict(again, Certainty()).answers)["Sealed test rows"]
    assert "2 (again)" in text_of(record.job_section(again))


def test_an_opening_for_another_trial_is_not_the_winners(run):
    manifest = {**run.manifest, "test": {"openings": [{**run.openings[0], "best": "knn/99"}]}}
    other = dataclasses.replace(run, manifest=manifest)
    assert (
        words.tested(other, Certainty())
        == "32 rows were opened for knn/99, the best then, and stay closed for this one."
    )
    assert of_test_rows(other) is None


def test_an_ensemble_stands_beside_the_winner(tmp_path):
    path = made(tmp_path, columns(N_ROWS), ensemble={"size": 5})
    run = Run.read(path)
    shown = verdict(run, certainty(run))
    assert run.best["family"] == "knn"
    assert "score" in dict(shown.answers)["An ensemble"]
    assert "ensemble" in shown.figure.drawing
    assert "ensemble/0" in report.html(path)


def test_out_of_fold_predictions_give_the_leaders_score(run):
    one = out_of_fold(run)
    kept = oof.Predictions.read(run.path)
    scores = [roc_auc_score(one.truth[kept.fold == f], one.probabilities[kept.fold == f, 1]) for f in range(5)]
    assert np.mean(scores) == pytest.approx(run.best["score"], abs=1e-6)
    section = quality.section(run, one, of_test_rows(run))
    assert [figure.title for figure in section.figures] == [
        "Confusion matrix",
        "ROC curve",
        "Precision and recall",
        "Calibration",
    ]
    n_wrong = int((one.said != one.truth).sum())
    assert f"{n_wrong} are wrong" in section.sentences[0]


def test_test_rows_are_read_with_their_probabilities(run):
    one = of_test_rows(run)
    assert one.probabilities.shape == (32, 2)
    assert roc_auc_score(one.truth, one.probabilities[:, 1]) == pytest.approx(
        run.openings[0]["scores"]["best"], abs=1e-6
    )


def test_regression_shows_residuals_and_errors_without_their_sign(numbers_path):
    run = Run.read(numbers_path)
    one = out_of_fold(run)
    section = quality.section(run, one, of_test_rows(run))
    assert {"Truth against prediction", "Residuals", "How residuals spread"} <= {f.title for f in section.figures}
    half = np.median(np.abs(one.truth - one.said))
    assert f"within {half:.4f} of the truth" in section.sentences[0]
    score = board.section(run).tables[0].rows[0][4]
    assert score.number == pytest.approx(-run.best["score"])
    assert "mean_absolute_error" in board.section(run).tables[0].header


def test_many_classes_are_drawn_together(run):
    generator = np.random.default_rng(0)
    truth = generator.integers(50, size=2000)
    one = quality.Predictions("rows", truth, truth, None)
    signature = dataclasses.replace(run.signature, classes=tuple(f"class {i}" for i in range(50)))
    many = dataclasses.replace(
        run, manifest={**run.manifest, "data": {**run.manifest["data"], "signature": signature.to_dict()}}
    )
    names, codes, _ = quality._common(many, one)
    assert len(names) == quality.MOST_CLASSES
    assert names[-1] == "21 others"
    assert codes.max() == 29


def test_groups_have_scikit_learns_scores(run):
    one = out_of_fold(run)
    section = groups.section(run, one)
    sex = pq.read_table(run.path / "oof" / "sensitive.parquet")["sex"].to_numpy()[one.places]
    table = next(table for table in section.tables if table.title == "By sex")
    for row in table.rows:
        mask = sex == row[0].text
        values = dict(zip(table.header, row, strict=True))
        assert values["rows"].number == mask.sum()
        assert values["roc_auc"].number == pytest.approx(roc_auc_score(one.truth[mask], one.probabilities[mask, 1]))
        assert values["finds yes"].number == pytest.approx(recall_score(one.truth[mask], one.said[mask]))


def test_differences_between_groups_are_fairlearns(run):
    metrics = pytest.importorskip("fairlearn.metrics")
    one = out_of_fold(run)
    sex = pq.read_table(run.path / "oof" / "sensitive.parquet")["sex"].to_numpy()[one.places]
    row = groups.section(run, one).tables[0].rows[0]
    expected = metrics.demographic_parity_difference(one.truth, one.said, sensitive_features=sex)
    assert row[0].text == "sex"
    assert row[1].number == pytest.approx(expected)


def test_numbers_are_grouped_by_quarters_and_rare_values_together():
    quarters = groups.grouped(pa.chunked_array([[*map(float, range(100)), None]]))
    assert sorted({*quarters} - {groups.MISSING}, key=lambda g: float(g.split()[0])) == [
        "0 to 24.75",
        "24.75 to 49.5",
        "49.5 to 74.25",
        "74.25 to 99",
    ]
    assert quarters[-1] == groups.MISSING
    rare = groups.grouped(pa.chunked_array([["a"] * 50 + [f"rare {i}" for i in range(40)]]))
    assert len(set(rare)) == groups.MOST_GROUPS + 1
    assert (rare == groups.OTHERS).sum() == 40 - (groups.MOST_GROUPS - 1)


class OverMatrix(ClassifierMixin, BaseEstimator):
    """A fitted model over the plain matrix, as scikit-learn's own functions want it."""

    classes_ = np.arange(2)

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.model.predict_proba(Features(X))


def test_importance_is_scikit_learns_on_rows_that_the_model_has_not_seen(run):
    data = compose.prepare(run.job).data.train
    family, fold = families.find("knn"), data.folds[0]
    found = ExplainUnit("x", family, run.best["params"], None).compute(data, ()).payload
    train = dataclasses.replace(data, features=data.features.take(fold.train), target=data.target[fold.train], folds=())
    model = family.fit(dict(run.best["params"]), train, None)
    unseen, truth = data.features.take(fold.valid), data.target[fold.valid]

    plain = permutation_importance(
        OverMatrix(model), unseen.matrix, truth, scoring="roc_auc", n_repeats=REPEATS, random_state=run.job.seed
    )
    assert found.importance == pytest.approx(plain.importances_mean.tolist())
    assert found.score == pytest.approx(get_scorer("roc_auc")(OverMatrix(model), unseen.matrix, truth))
    assert found.columns[int(np.argmax(found.importance))] == "a"
    assert list(Explained.from_json(found.to_json()).importance) == list(found.importance)


def test_columns_of_any_kind_can_be_shuffled():
    from orchestrator.data.columns import Column

    words_ = pa.array(["one", "two", "three"], pa.large_string())
    rows = Features(np.array([[1.0], [2.0], [3.0]]), {"text": words_, "pixels": np.arange(6).reshape(3, 2)})
    kinds = (Column("text", "string", "text"), Column("x", "double", "number"), Column("pixels", "list", "vector"))
    asked = asked_by_place(None, rows, kinds, "regression")
    assert asked._features(asked.places()).arrays["text"].to_pylist() == ["one", "two", "three"]
    moved = asked._features(np.array([[2, 0, 1]]))
    assert moved.arrays["text"].to_pylist() == ["three"]
    assert moved.matrix.tolist() == [[1.0]]
    assert moved.arrays["pixels"].tolist() == [[2, 3]]


def test_a_run_says_what_its_winner_looks_at(run):
    section = features.section(run, with_shap=False)
    assert section.sentences[0].startswith("Shuffling a costs most: roc_auc falls by")
    assert (run.path / "explained.json").exists()


def test_shap_values_are_those_of_the_shipped_model(run_path, tmp_path):
    pytest.importorskip("shap")
    shutil.copytree(run_path, tmp_path / "run")
    run = Run.read(tmp_path / "run")
    (run.path / "best" / "sample.parquet").unlink()
    assert "keeps no best/sample.parquet" in shap_values.shap_values(run)
    sample = pq.read_table(run.job.data.path).select(["a", "b", "age"]).slice(0, 30)
    pq.write_table(sample, run.path / "best" / "sample.parquet")
    found = shap_values.shap_values(run)
    assert found.values.shape == (30, 3, 2)
    assert np.abs(found.values).mean(axis=(0, 2)).argmax() == found.columns.index("a")
    predicted = runs.Model.load(run.path / "best").predict_proba(sample)[:, 1]
    base = predicted - found.values[:, :, 1].sum(axis=1)
    assert base == pytest.approx(np.full(30, base.mean()))  # what is added, is added to one and the same number
    titles = [figure.title for figure in features.section(run, with_shap=True).figures]
    assert titles[1:] == ["What moves predictions (SHAP)", "Row by row"]


def test_importance_goes_to_the_hyperparameter_that_decides():
    space = {"k": Range(1, 20), "noise": ("a", "b"), "fixed": (1,)}
    results = [({"k": k, "noise": noise, "fixed": 1}, -abs(k - 7.0)) for k in range(1, 21) for noise in ("a", "b")]
    found = importances(space, results)
    assert list(found) == ["k", "noise"]
    assert found["k"] > 0.9
    assert importances(space, results[:5]) == {}
    assert importances(space, [(params, 1.0) for params, _ in results]) == {}


def test_searches_are_drawn_with_a_slice_for_each_hyperparameter_that_varies(run):
    titles = [figure.title for figure in searches.section(run).figures]
    assert titles == ["What mattered", "History", *titles[2:4], "Configurations side by side"]
    assert set(titles[2:4]) == {"n_neighbors", "weights"}


def test_a_second_objective_is_drawn_with_the_front_that_none_beats(run):
    other = dataclasses.replace(run, job=dataclasses.replace(run.job, objectives=("score", "predict_time")))
    figure = searches.section(other).figures[-1]
    rows = [row for row in run.trials if row["state"] == "completed"]
    unbeaten = [
        row
        for row in rows
        if not any(r["score"] >= row["score"] and r["predict_time_s"] < row["predict_time_s"] for r in rows)
    ]
    best = max(unbeaten, key=lambda row: row["score"])
    assert figure.title == "Score and prediction time"
    assert figure.drawing.count('class="dot c0"') <= len(unbeaten)
    assert best["trial"] in figure.drawing


def test_trials_that_ended_early_and_failed_are_told_apart(run):
    rows = list(run.board)
    rows[-2] = {**rows[-2], "state": "failed", "score": None, "error": "raised: ValueError: too wide"}
    rows[-3] = {**rows[-3], "state": "pruned"}
    other = dataclasses.replace(run, board=tuple(rows))
    section = board.failures(other)
    assert "1 of 24 trials failed. 1 trial ended early" in section.sentences[0]
    assert "too wide" in text_of(section)
    assert "Rings ended early" in text_of(searches.section(other))


def test_a_card_without_a_model_does_not_say_how_to_load_it(run_path, tmp_path):
    said = report.markdown(run_path)
    assert "It is trial knn/" in said
    assert "Model.load" in said
    lost = {"state": "failed", "score": None, "score_std": None}
    copy = tmp_path / "failed"
    shutil.copytree(run_path, copy)
    rows = [{**row, **(lost if row["family"] == "knn" else {})} for row in pq.read_table(copy / BOARD).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), copy / BOARD)
    said = report.markdown(copy)
    assert "there is no model to load" in said
    assert "It is trial" not in said
    assert "Model.load" not in said


def test_holdout_is_not_told_as_folds(numbers_path, run_path, tmp_path):
    copy = tmp_path / "holdout"
    shutil.copytree(numbers_path, copy)
    values = yaml.safe_load((copy / "job.yaml").read_text())
    values["validation"] = {"kind": "holdout"}
    (copy / "job.yaml").write_text(yaml.safe_dump(values))
    assert "mean_absolute_error, holdout" in report.html(copy)
    assert "roc_auc, 5 folds" in report.html(run_path)


def test_the_baseline_of_probabilities_says_how_frequent_classes_are(tmp_path):
    path = made(tmp_path, columns(), metric="neg_log_loss", data__test=None)
    run = Run.read(path)
    assert run.dummy["score"] == pytest.approx(-np.log(2))
    assert "always says how frequent each class is" in words.against_dummy(run, certainty(run))


def test_sections_without_data_say_why(tmp_path):
    path = made(tmp_path, columns(), resources__predictions_mb=0, data__test=None)
    run = Run.read(path)
    unseen = out_of_fold(run)
    assert unseen is None
    assert "keeps no predictions" in quality.section(run, unseen, of_test_rows(run)).absent
    assert "keeps no predictions" in curves.section(run).absent
    assert "data.sensitive" in groups.section(run, unseen).absent
    assert words.tested(run, Certainty()) == "None were set aside."
    assert "Left out: no data.sensitive" in report.html(path)


def test_the_report_needs_nothing_but_the_run_directory(tmp_path):
    path = made(tmp_path, columns())
    (tmp_path / "data.parquet").unlink()
    moved = path.rename(tmp_path / "elsewhere")
    code = (
        "import sys; from pathlib import Path; from orchestrator.results import report; "
        "print(report.write(Path(sys.argv[1]))); assert not {'ray', 'tensorflow', 'plotly'} & {*sys.modules}"
    )
    done = process("-c", code, moved)
    assert done.stderr == ""
    assert done.stdout.strip() == str(moved / "report.html")
    assert "<h1>knn predicts y" in (moved / "report.html").read_text()


def test_names_and_values_from_the_data_are_shown_and_not_run(tmp_path):
    path = made(tmp_path, evil_columns(), data__sensitive=[EVIL])
    page = report.html(path)
    assert EVIL not in page
    assert "&lt;script&gt;window.hacked" in page
    assert len(re.findall("<script", page)) == 1
    assert "<img" not in page
    assert 'onerror="' not in page
    text = report.markdown(path)
    body = text.partition("---\n\n")[2]
    assert "<script" not in body
    assert "<img" not in body


def test_the_page_asks_for_nothing_from_elsewhere(run):
    page = report.html(run.path)
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:,)""", page)
    assert "@import" not in page
    assert "url(" not in page


def test_the_model_card_has_the_hubs_metadata(run_path, tmp_path):
    run = with_statistics(run_path, tmp_path)
    text = report.markdown(run.path)
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["pipeline_tag"] == "tabular-classification"
    result = header["model-index"][0]["results"][0]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["roc_auc (corrected for selection, 95 % interval in the text)"] == 0.8
    assert values["roc_auc (sealed test rows)"] == run.openings[0]["scores"]["best"]
    for heading in ("Intended use", "Training data", "Evaluation", "Limitations", "How to load"):
        assert f"\n## {heading}\n" in text
    assert run.manifest["data"]["fingerprint"] in text


def test_a_search_that_has_not_ended_has_no_report_yet(run_path, tmp_path):
    shutil.copytree(run_path, tmp_path / "run")
    (tmp_path / "run" / "leaderboard.parquet").unlink()
    with pytest.raises(JobError, match="expected a run whose search has ended"):
        Run.read(tmp_path / "run")


def test_the_verb_writes_where_it_is_told_and_prints_the_place(cli, make_job, folder):
    cli("run", make_job(), "--out", "run")
    done = cli("report", "run")
    assert (done.code, done.out.strip()) == (0, str(folder / "run" / "report.html"))
    done = cli("report", "run", "--format", "md", "--out", "card.md")
    assert (done.code, done.out.strip()) == (0, str(folder / "card.md"))
    assert (folder / "card.md").read_text().startswith("---\nlibrary_name: batch-orchestrator\n")
    done = cli("report", "nothing")
    assert done.code == 2
    assert "neither a run directory nor a name" in done.err


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"data__sensitive": ["sexx"]}, 2, "data.sensitive: no column 'sexx'"),
        ({"data__sensitive": ["y"]}, 2, "data.sensitive: holds the target 'y'"),
        ({"data__sensitive": ["list"], "data__exclude": ["list"]}, 3, "data.sensitive: column 'list' has type"),
    ],
)
def test_wrong_sensitive_columns_are_refused(cli, make_job, folder, changes, code, message):
    write(folder / "data.parquet", columns(list=pa.array([[1.0, 2.0]] * 40)))
    done = cli("check", make_job(**changes))
    assert done.code == code
    assert message in done.err + done.out


def test_scales_choose_round_ticks():
    assert [label for _, label in Scale(0.0, 1.0).ticks()] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [label for _, label in Scale(1e-5, 1.0, is_log=True).ticks()] == ["1e-5", "0.001", "0.1"]
    assert [label for _, label in Scale(-30.0, 30.0).ticks(3)] == ["−20", "0", "20"]
    assert Scale(names=("a", "b")).at("b") == 0.75
    assert Scale(0.0, 1.0).at(7.0) == 1.0


def test_drawings_escape_all_text():
    plot = Plot(Scale(), Scale(names=(EVIL,)), x_title=EVIL)
    plot.points([0.5], [EVIL], ['" onmouseover="x'], "c0")
    drawing = str(plot.svg(EVIL))
    assert "<script" not in drawing
    assert 'data-tip="&#34; onmouseover=&#34;x"' in drawing


def test_a_bounded_sample_keeps_the_best_and_spreads_over_the_rest():
    assert sampled(5, 10, 2) == [0, 1, 2, 3, 4]
    assert sampled(100, 10, 4) == [0, 1, 2, 3, 4, 20, 36, 52, 68, 84]
