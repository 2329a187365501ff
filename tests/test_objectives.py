"""Two objectives: what samplers propose for, and the front that no trial beats."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import orchestrator
from orchestrator import Data, Job, Search, runs
from orchestrator.results.leaderboard import Row, pareto_front, ranked

NETWORKS = Search("mlp", trials=6, batch_size=3, space={"width_1": [16, 32, 64], "epochs": 2, "depth": 1})


def row(number, score, size):
    return Row(f"s/{number}", "s", "mlp", 0, number, "completed", score, 0.0, 0.0, 0.0, {}, size=size)


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7]), st.sampled_from([1.0, 2.0, 3.0])), min_size=1))
def test_the_front_is_what_no_trial_beats(points):
    board = ranked([row(number, *point) for number, point in enumerate(points)], "accuracy")
    front = {(one.score, one.size) for one in pareto_front(board, "model_size").rows}

    def is_beaten(score, size):
        return any(s >= score and z <= size and (s, z) != (score, size) for s, z in points)

    assert front == {point for point in points if not is_beaten(*point)}


def test_a_sampler_learns_from_both_and_the_dashboard_shows_both(folder):
    job = Job("two", Data("dataset:iris", target="species"), (NETWORKS,), objectives=("score", "model_size"))
    result = orchestrator.run(job, folder / "run", executor="inline")
    backend = JournalFileBackend(str(result.path / "study" / "mlp.journal"))
    study = optuna.load_study(study_name="mlp", storage=JournalStorage(backend))
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    sizes = {trial.params["width_1"]: trial.values[1] for trial in study.trials}
    assert sizes == {16: 4 * 16 + 16 * 3, 32: 4 * 32 + 32 * 3, 64: 4 * 64 + 64 * 3}
    front = pareto_front(result.leaderboard, "model_size")
    assert {one.trial for one in front.rows} == {f"mlp/{trial.number}" for trial in study.best_trials}
    again, _ = runs.board_of(result.path)
    assert [one.trial for one in pareto_front(again, "model_size").rows] == [one.trial for one in front.rows]


def test_the_command_line_shows_the_front(folder, cli, make_job):
    job = make_job(objectives=["score", "model_size"], searches__0__sampler="nsgaii", searches__0__trials=4)
    done = cli("run", job, "--out", "run")
    assert "Pareto front of accuracy and model_size: 1 trials" in done.out
    table = cli("leaderboard", "run", "--pareto", "model_size").out.splitlines()
    assert len(table) == 2
    assert table[0].endswith("model_size")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": ["model_size"]},
            "objectives: expected score, and maybe model_size or predict_time; found model_size",
        ),
        ({"objectives": ["score", "size"]}, "objectives.1: expected 'score', 'model_size' or 'predict_time'"),
        (
            {"objectives": ["score", "predict_time"], "searches__0__sampler": "tpe", "searches__0__trials": 4},
            "objectives: predict_time is measured, so that proposals of tpe would follow from a clock",
        ),
        (
            {"objectives": ["score", "model_size"], "searches__0__sampler": "cmaes", "searches__0__trials": 4},
            "searches.0.sampler: sampler 'cmaes' takes one objective",
        ),
    ],
)
def test_what_cannot_be_an_objective_is_refused(changes, message, cli, make_job):
    outcome = cli("check", make_job(**changes))
    assert outcome.code == 2
    assert message in outcome.err


def test_a_measured_time_may_be_an_objective_without_barriers(folder, cli, make_job):
    job = make_job(
        objectives=["score", "predict_time"],
        searches__0__sampler="tpe",
        searches__0__schedule="async",
        searches__0__trials=4,
    )
    assert cli("run", job, "--out", "run").code == 0
    assert cli("leaderboard", "run", "--pareto", "predict_time").code == 0


def test_an_ensemble_of_predictions_that_are_not_kept_is_refused(cli, make_job):
    outcome = cli("check", make_job(ensemble__size=3, resources__predictions_mb=0))
    assert outcome.code == 2
    assert "ensemble: found resources.predictions_mb 0; expected room" in outcome.err
