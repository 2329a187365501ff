"""The keys below `resources` that say what networks compute with."""

import pytest

from orchestrator import jobfile


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resources__gpu_fraction": 0}, "resources.gpu_fraction: expected a number above 0.0, found 0"),
        ({"resources__gpu_fraction": 1.5}, "resources.gpu_fraction: expected a number up to 1.0, found 1.5"),
        ({"resources__device": "tpu"}, "resources.device: expected 'auto', 'cpu' or 'gpu', found 'tpu'"),
        ({"resources__threads": 0}, "resources.threads: expected a number from 1 up, found 0"),
        ({"resources__mixed_precision": "yes"}, "resources.mixed_precision: expected true or false, found 'yes'"),
    ],
)
def test_value_out_of_range_is_refused(cli, make_job, changes, said):
    outcome = cli("check", make_job(**changes))
    assert outcome.code == 2
    assert said in outcome.err


def test_defaults_use_one_thread_and_a_quarter_of_a_gpu_if_there_is_one(make_job):
    resources = jobfile.read_job(make_job())[0].resources
    assert (resources.threads, resources.device, resources.gpu_fraction) == (1, "auto", 0.25)
    assert resources.mixed_precision is False


@pytest.mark.parametrize("change", ["resources.threads=2", "resources.mixed_precision=true"])
def test_resumed_run_keeps_what_results_depend_on(cli, make_job, change):
    assert cli("run", make_job(), "--out", "run").code == 0
    outcome = cli("resume", "run", "--set", change)
    assert outcome.code == 2
    assert f"--set {change.split('=')[0]}: a resumed run keeps it" in outcome.err


def test_resumed_run_may_compute_elsewhere(cli, make_job):
    assert cli("run", make_job(), "--out", "run").code == 0
    assert cli("resume", "run", "--set", "resources.device=cpu").code == 0
