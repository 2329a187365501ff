"""The cluster files, as far as they can be checked without a cloud: by Ray's own validation, and against each other."""

import itertools
import logging
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.runtime_env import packaging
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

REPOSITORY = Path(__file__).parents[2]
LAUNCHED = ("cluster.yaml", "clusters/onprem.yaml", "clusters/gcp.yaml")
LOCKS = ("requirements.lock", "requirements-cluster.lock", "requirements-gpu.lock")
CLOUDS = ("cluster.yaml", "clusters/gcp.yaml")
HEALTH = (
    "RAY_health_check_initial_delay_ms=1000",
    "RAY_health_check_period_ms=1000",
    "RAY_health_check_timeout_ms=2000",
    "RAY_health_check_failure_threshold=3",
)


def read(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


def rayjob() -> Any:
    documents = yaml.safe_load_all((REPOSITORY / "clusters/kuberay.yaml").read_text(encoding="utf-8"))
    (job,) = [one for one in documents if one["kind"] == "RayJob"]
    return job


def pins(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", LAUNCHED)
def test_token_is_shipped_and_asked_for_on_every_node(name: str) -> None:
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for kind in ("head", "worker"):
        *_, start = config[f"{kind}_start_ray_commands"]
        assert "RAY_AUTH_MODE=token" in start
    assert "export RAY_AUTH_MODE=token" in (REPOSITORY / "clusters/environment.sh").read_text()
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("name", LAUNCHED)
def test_lost_nodes_are_noticed_in_seconds(name: str) -> None:
    assert set(HEALTH) <= set(read(name)["head_start_ray_commands"][-1].split())
    environment = (REPOSITORY / "clusters/environment.sh").read_text()
    assert "RAY_grpc_client_keepalive_time_ms=5000 RAY_grpc_client_keepalive_timeout_ms=5000" in environment


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_mounted_is_all_that_an_installation_needs(name: str) -> None:
    mounts = {there: here for there, here in read(name)["file_mounts"].items() if "batch-orchestrator" in there}
    assert all((REPOSITORY / here).exists() for here in mounts.values())
    assert set(mounts) == {f"~/batch-orchestrator/{here}" for here in mounts.values()}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*build, project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "clusters"}
    assert needed | {"requirements-cluster.lock", "requirements-gpu.lock"} == set(mounts.values())


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_are_spot_machines_that_come_from_nothing_and_the_head_is_none(name: str) -> None:
    config = read(name)
    head, *workers = (config["available_node_types"][kind] for kind in ("head", "cpu_worker", "gpu_worker"))
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert not re.search("spot|preemptible", str(head["node_config"]))
    for worker in workers:
        assert worker["min_workers"] == 0 < worker["max_workers"]
        assert re.search("'spot'|'preemptible': True", str(worker["node_config"]))
    assert "GPU" not in workers[0]["resources"]
    assert workers[1]["resources"]["GPU"] == 1


@pytest.mark.parametrize("name", [*LAUNCHED, "clusters/kuberay.yaml"])
def test_two_or_three_places_are_marked_for_the_user(name: str) -> None:
    marks = re.findall(r"# (EDIT \d):", (REPOSITORY / name).read_text(encoding="utf-8"))
    assert marks == ["EDIT 1", "EDIT 2", "EDIT 3"]


def test_variants_differ_from_the_main_file_in_nothing_but_what_they_must() -> None:
    main, onprem, gcp = map(read, LAUNCHED)
    for other in (gcp, onprem):
        for key in ("file_mounts", "rsync_exclude", "head_setup_commands", "worker_start_ray_commands"):
            assert other[key] == main[key], key
    assert gcp["head_start_ray_commands"] == main["head_start_ray_commands"]
    own = (" --num-cpus=0", " AUTOSCALER_HEARTBEAT_TIMEOUT_S=10")
    *_, start = onprem["head_start_ray_commands"]
    assert all(part in start for part in own)
    assert start.replace(own[0], "").replace(own[1], "") == main["head_start_ray_commands"][-1]


def test_kuberay_manifest_gives_groups_that_ray_can_scale() -> None:
    spec = rayjob()["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"name": "cluster", "namespace": "default"}, "spec": spec}
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert types["cpu"]["resources"]["CPU"] == 8
    assert types["gpu"]["resources"]["GPU"] == 1
    assert [types[kind]["min_workers"] for kind in ("cpu", "gpu")] == [0, 0]
    assert spec["authOptions"] == {"mode": "token"}


def test_kuberay_manifest_names_the_locked_ray_and_notices_lost_nodes() -> None:
    spec = rayjob()["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == pins("requirements-cluster.lock")["ray"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    containers = [one for pod in pods for one in pod["template"]["spec"]["containers"]]
    assert len({container["image"] for container in containers}) == 1
    for container in containers:
        values = {f"{one['name']}={one['value']}" for one in container["env"]}
        assert {"RAY_grpc_client_keepalive_time_ms=5000", "RAY_grpc_client_keepalive_timeout_ms=5000"} <= values
        assert {"livenessProbe", "readinessProbe"} <= set(container)
    assert set(HEALTH) <= {f"{one['name']}={one['value']}" for one in containers[0]["env"]}


@pytest.mark.parametrize(("fewer", "more"), [*itertools.pairwise(LOCKS)])
def test_nodes_have_the_versions_that_everybody_has(fewer: str, more: str) -> None:
    assert pins(fewer).items() <= pins(more).items()


def test_tests_have_the_versions_that_nodes_have() -> None:
    assert pins("requirements-cluster.lock").items() <= pins("requirements-dev.lock").items()
    assert metadata.version("ray") == pins("requirements-cluster.lock")["ray"]


def setup(home: Path, version: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(REPOSITORY / "clusters/node_setup.sh"), version]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_node_without_the_wanted_python_says_so_and_changes_nothing(tmp_path: Path) -> None:
    done = setup(tmp_path, "3.99")
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: \S+: found (Python [\d.]+|no python3); expected python3\.99, .*setup_commands\n", done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_upload_of_a_submitted_job_is_small_and_has_jobs_and_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("orchestrator", "jobs", "clusters", "docs", ".rayignore", ".gitignore", "pyproject.toml", *LOCKS):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, tree / name)
    for big in (".git/objects/pack", ".venv/lib/big", "runs/iris/big", "tests/big"):
        (tree / big).parent.mkdir(parents=True, exist_ok=True)
        (tree / big).write_bytes(os.urandom(2_000_000))
    packaging.create_package(str(tree), tmp_path / "package.zip", include_gitignore=True, logger=logging.getLogger())
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        packed = {name for name in package.namelist() if not name.endswith("/")}
    assert {"jobs/iris_knn.py", "orchestrator/cli.py", "orchestrator/data/datasets/iris.parquet"} <= packed
    assert {name.partition("/")[0] for name in packed} <= {
        "orchestrator",
        "jobs",
        "pyproject.toml",
        ".rayignore",
        ".gitignore",
    }
    assert (tmp_path / "package.zip").stat().st_size < 1_500_000
