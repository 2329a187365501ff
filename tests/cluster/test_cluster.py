"""A cluster from beginning to end, on private hosts: `ray up`, `ray submit`, hosts that die, `ray down`.

The cluster file is the repository's `clusters/onprem.yaml` with its three marked places edited: addresses, user and
key, and the version of Python. What `ray submit` runs must give the leaderboard of the same job run inline on this
machine.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hosts import ADDRESSES, CLIENT, GPU_WORKER, HEAD, REPOSITORY, WORKER, Hosts, hosts, missing
from sameness import board, n_records, until

import orchestrator
from orchestrator.jobfile import read_job

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
if lack := missing():
    pytestmark.append(pytest.mark.skip(reason=lack))
JOB = Path(__file__).parent / "mixed.py"
ON_CPUS = "resources.device=cpu"
NOTICED_AND_RETRIED_S = 20.0
CLIENT_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_UP_enable_autoscaler_v2": "0"}


@dataclass(frozen=True)
class Submitted:
    """A job under way, by `ray submit`."""

    process: "subprocess.Popen[str]"
    path: Path
    began: float

    def n_records(self) -> int:
        return n_records(self.path)

    def end(self) -> tuple[str, float]:
        """Wait for its end; return what it printed, and how long it took."""
        out, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, out
        return out, time.monotonic() - self.began


class Cluster:
    """What a user does, on the client; and where the cluster's own files are, for a look at them."""

    def __init__(self, machines: Hosts, file: Path) -> None:
        self.hosts = machines
        self.file = file

    def ray(self, *words: object, within_s: float = 120.0, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.hosts.run(CLIENT, "ray", *words, within_s=within_s, check=check, **CLIENT_ENVIRONMENT)

    def start(self, *words: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.hosts.command(CLIENT, "ray", *words, **CLIENT_ENVIRONMENT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submit(self, name: str, *settings: str) -> Submitted:
        """Submit the mixed job; its run directory is `~/name` on the head."""
        options = [word for one in settings for word in ("--set", one)]
        began = time.monotonic()
        process = self.start("submit", self.file, JOB, "--", "--out", name, *options)
        return Submitted(process, self.hosts.home(HEAD) / name, began)

    def nodes(self) -> list[str]:
        """Return the addresses of the nodes that Ray believes to be alive."""
        words = ["ray", "list", "nodes", "--format", "json", "--filter", "state=ALIVE"]
        done = self.hosts.run(HEAD, *words, check=False, RAY_AUTH_MODE="token", RAY_ADDRESS=f"{ADDRESSES[HEAD]}:6379")
        found = re.search(r"^\[.*\]$", done.stdout, re.DOTALL | re.MULTILINE)
        return sorted(node["node_ip"] for node in json.loads(found[0])) if found else []

    def await_nodes(self, within_s: float = 90.0) -> None:
        everybody = sorted(ADDRESSES[one] for one in (HEAD, WORKER, GPU_WORKER))
        until(lambda: self.nodes() == everybody, f"a cluster of {everybody}", within_s)


def edited(machines: Hosts) -> str:
    """Return the repository's file with what a user edits."""
    config = yaml.safe_load((REPOSITORY / "clusters" / "onprem.yaml").read_text(encoding="utf-8"))
    config["provider"]["head_ip"] = ADDRESSES[HEAD]
    config["provider"]["worker_ips"] = [ADDRESSES[WORKER], ADDRESSES[GPU_WORKER]]
    config["auth"]["ssh_user"] = "root"
    version = "{}.{}".format(*sys.version_info)
    config["setup_commands"] = [re.sub(r" 3\.\d+$", f" {version}", line) for line in config["setup_commands"]]
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with hosts(tmp_path_factory.mktemp("hosts")) as machines:
        file = machines.home(CLIENT) / "cluster.yaml"
        file.write_text(edited(machines))
        made = Cluster(machines, Path("/root/cluster.yaml"))
        machines.run(CLIENT, "bash", "-c", "umask 077; ray get-auth-token --generate >/dev/null")
        made.ray("up", "-y", made.file, within_s=180.0)
        made.await_nodes()
        yield made
        made.ray("down", "-y", made.file)
        assert made.nodes() == []


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The leaderboard of an inline run, without its times."""
    path = tmp_path_factory.mktemp("inline") / "run"
    job, folder = read_job(JOB, [])
    orchestrator.run(job, path, executor="inline", base=folder)
    return board(path)


@dataclass(frozen=True)
class Undisturbed:
    """A run on CPUs that nothing disturbed."""

    seconds: float
    n_records: int
    out: str
    path: Path


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Undisturbed:
    run = cluster.submit("undisturbed", ON_CPUS)
    out, seconds = run.end()
    return Undisturbed(seconds, run.n_records(), out, run.path)


def test_setup_leaves_the_token_to_its_owner_alone(cluster: Cluster) -> None:
    for one in (HEAD, WORKER, GPU_WORKER):
        token = cluster.hosts.home(one) / ".ray" / "auth_token"
        assert token.stat().st_mode & 0o777 == 0o600
        assert token.read_text() == (cluster.hosts.home(CLIENT) / ".ray" / "auth_token").read_text()


def test_submitted_job_has_the_leaderboard_of_an_inline_run(undisturbed: Undisturbed, expected: bytes) -> None:
    assert board(undisturbed.path) == expected
    assert "\x1b[2K" not in undisturbed.out, "progress was drawn, not printed in lines"
    assert re.search(r"knn: \d+ of 24 trials.*; mlp: \d+ of 24 trials", undisturbed.out)
    assert re.search(r"rank +trial +accuracy", undisturbed.out)


def test_results_are_fetched_as_the_documents_say(cluster: Cluster, undisturbed: Undisturbed) -> None:
    cluster.ray("rsync-down", cluster.file, "~/undisturbed/", "/root/fetched/")
    assert board(cluster.hosts.home(CLIENT) / "fetched") == board(undisturbed.path)


def test_host_that_lost_its_power_and_got_it_back_changes_nothing(
    cluster: Cluster, undisturbed: Undisturbed, expected: bytes
) -> None:
    run = cluster.submit("power")
    until(lambda: run.n_records() > undisturbed.n_records * 0.5, "the middle of the run")
    cluster.hosts.kill(GPU_WORKER)
    until(lambda: ADDRESSES[GPU_WORKER] not in cluster.nodes(), "the loss to be noticed", 60.0)
    assert run.process.poll() is None, "the run was over before its host was lost"
    cluster.hosts.boot(GPU_WORKER)
    run.end()
    cluster.await_nodes()
    assert board(run.path) == expected


def test_host_cut_off_in_silence_costs_its_work_and_seconds(
    cluster: Cluster, undisturbed: Undisturbed, expected: bytes
) -> None:
    run = cluster.submit("cut", ON_CPUS)
    until(lambda: run.n_records() > undisturbed.n_records * 0.5, "the middle of the run")
    lost_s = time.monotonic() - run.began
    cluster.hosts.cut(WORKER)
    _, seconds = run.end()
    cluster.hosts.join(WORKER)
    assert board(run.path) == expected
    assert seconds < undisturbed.seconds + lost_s + NOTICED_AND_RETRIED_S
