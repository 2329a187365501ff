"""A resumed run's networks train on the kind of device that it began on; whether there is a GPU is pretended."""

import json

import pytest

from orchestrator.errors import JobError
from orchestrator.execution import inline
from orchestrator.execution.inline import InlineExecutor
from orchestrator.job import Resources

SPACE = {"depth": 1, "width_1": 16, "batch_size": 32, "epochs": 1}


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has so many GPUs."""
    return lambda n_gpus: monkeypatch.setattr(inline, "n_gpus_here", lambda: n_gpus)


@pytest.mark.parametrize(("asked", "n_gpus", "expected"), [("auto", 0, "cpu"), ("auto", 1, "gpu"), ("cpu", 1, "cpu")])
def test_networks_use_a_gpu_where_there_is_one_and_the_job_lets_them(gpus, asked, n_gpus, expected):
    gpus(n_gpus)
    executor = InlineExecutor(Resources(device=asked))
    assert executor.device("tensorflow") == expected
    assert executor.device("sklearn") == "cpu"


def test_a_gpu_that_is_asked_for_must_be_there(gpus):
    gpus(0)
    with pytest.raises(JobError, match=r"resources\.device: found gpu"):
        InlineExecutor(Resources(device="gpu")).device("tensorflow")


def test_networks_do_not_go_on_on_another_kind_of_device(folder, cli, make_job, gpus):
    gpus(0)
    job = make_job(searches=[{"family": "mlp", "sampler": "random", "trials": 1, "space": SPACE}])
    assert cli("run", job, "--out", "run").code == 0
    path = folder / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["device"] == "cpu"

    gpus(1)
    refused = cli("resume", "run", "--set", "searches.0.trials=2")
    assert refused.code == 2
    assert "resources.device: the run's networks train on a CPU, here they would on a GPU" in refused.err
    assert "--set resources.device=cpu" in refused.err

    path.write_text(json.dumps({**manifest, "device": "gpu"}))
    refused = cli("resume", "run", "--set", "resources.device=cpu")
    assert refused.code == 2
    assert "resume it where there is a GPU, with `--set resources.device=auto`" in refused.err

    path.write_text(json.dumps(manifest))
    assert cli("resume", "run", "--set", "resources.device=cpu", "--set", "searches.0.trials=2").code == 0


def test_neighbours_do_not_care(folder, cli, make_job, gpus):
    gpus(0)
    assert cli("run", make_job(), "--out", "run").code == 0
    assert "device" not in json.loads((folder / "run" / "manifest.json").read_text())
    gpus(1)
    assert cli("resume", "run").code == 0
