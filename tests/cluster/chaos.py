"""Runs a job again and again on a cluster in which something breaks every few seconds, and says whether it mattered.

    python tests/cluster/chaos.py [--faults 100] [--minutes 30] [--seed N]

The job searches neighbours and pruned networks. Its leaderboard is known from a run that nothing disturbs; each run on
the cluster must end with the same one, whatever died, stopped, slowed down or filled up meanwhile. A ledger may only
grow, and holds nothing twice. When a run is over, no store must keep an object of it; when all is over, no process and
no temporary folder is left. The exit code is 1 where any of this did not hold. Copies that a store drops for room, as
Ray leaves them where a worker was killed in the midst of a unit, are counted and allowed.

The seed draws kinds, moments and victims. What a fault meets follows from how fast the machine is, too, so that a seed
repeats the plan and not every detail.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= {
    # A node that says nothing is dead after some seconds, and a head that is gone is given up.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    "RAY_idle_worker_killing_time_threshold_ms": "3600000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from builders import environment
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from sameness import MARK, assert_whole, board, leaving_no_process, records

from orchestrator import Comparator, Data, Job, Pruner, Range, Search, Validation
from orchestrator import job as jobs
from orchestrator.ledger import BatchProposed, UnitFailed, UnitFinished

N_HOSTS = 3
STORE_BYTES = 80 * 2**20
"""What an object store holds: about the least that Ray allows."""
MOST_A_RUN = 10
"""How many faults a run meets, so that it ends some time."""
STALLED_S = 240.0
"""How long a ledger may stand still under a living driver."""
GIVEN_UP_S = 120.0
"""How long a driver may live without its head."""
FREED_S = 30.0
"""How long objects may stay in a store after the run that made them."""
DISK_FROM_BYTES = 20_000
"""How long a ledger is before its disk is full: longer than the small files beside it."""
UNIT = "ray::orchestrator.unit"


def write_job(folder: Path) -> Path:
    """Write a dataset and a job over it that takes half a minute."""
    draw = np.random.default_rng(7)
    centres, place = draw.normal(size=(6, 8)), draw.integers(6, size=6000)
    features = np.round(centres[place] + draw.normal(scale=1.2, size=(6000, 8)), 3)
    columns = {f"x{i}": features[:, i] for i in range(8)}
    pq.write_table(pa.table({**columns, "kind": pa.array([f"kind {p % 3}" for p in place])}), folder / "blobs.parquet")
    neighbours = {
        "scaler": ["none", "standard", "quantile"],
        "metric": ["euclidean", "manhattan", "chebyshev", "minkowski"],
        "p": [1.5, 3.0],
        "weights": ["uniform", "distance"],
        "n_neighbors": Range(1, 12),
    }
    networks = {
        "depth": [1, 2],
        "width_1": [16, 32],
        "width_2": [16, 32],
        "activation": ["relu", "tanh"],
        "dropout": Range(0.0, 0.4),
        "optimizer": ["adam", "sgd"],
        "learning_rate": Range(1e-3, 1e-1, log=True),
        "batch_size": 32,
        "epochs": 9,
        "scaler": ["standard", "quantile"],
    }
    halving = Pruner("successive_halving")
    job = Job(
        name="chaos",
        data=Data(str(folder / "blobs.parquet"), target="kind"),
        validation=Validation(folds=3),
        searches=(
            Search("knn", sampler="grid", space=neighbours),
            Search("mlp", sampler="tpe", trials=24, space=networks, batch_size=8, pruner=halving),
        ),
        comparators=(Comparator("knn", {"n_neighbors": 3}),),
    )
    file = folder / "job.yaml"
    file.write_text(jobs.to_yaml(job), encoding="utf-8")
    return file


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those processes that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Host:
    """A node of the cluster, with every process below it; `is_whole` while nothing is wrong with it."""

    def __init__(self, node: Any, name: str) -> None:
        self.node, self.name, self.is_whole = node, name, True
        self.id: str = node.node_id

    @property
    def raylet(self) -> subprocess.Popen[bytes]:
        return self.node.all_processes["raylet"][0].process  # type: ignore[no-any-return]

    def processes(self) -> list[psutil.Process]:
        """Return its processes, parents before children."""
        found: list[psutil.Process] = []
        for info in itertools.chain(*self.node.all_processes.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                top = psutil.Process(info.process.pid)
                found += [top, *top.children(recursive=True)]
        return found

    def workers(self, *titles: str) -> list[psutil.Process]:
        """Return the workers below its raylet that have one of these titles."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.raylet.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[:1] and process.cmdline()[0] in titles:
                        found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def end(self) -> None:
        """Kill whatever is left of it, at once, and take its disk away."""
        send(self.processes(), signal.SIGKILL)
        self.node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self.node.destroy_external_storage()


class Slowed:
    """Lets a process compute a tenth of the time, until `over` is set or it has gone."""

    def __init__(self, process: psutil.Process, seconds: float) -> None:
        self._process, self._until = process, time.monotonic() + seconds
        self.over = threading.Event()
        self.was_relieved = False
        self.thread = threading.Thread(target=self._slow_down, daemon=True)
        self.thread.start()

    def _slow_down(self) -> None:
        try:
            while time.monotonic() < self._until and not self.over.is_set():
                self._process.send_signal(signal.SIGSTOP)
                self.over.wait(0.45)
                self._process.send_signal(signal.SIGCONT)
                time.sleep(0.05)
                if self._process.status() == psutil.STATUS_ZOMBIE:
                    raise psutil.NoSuchProcess(self._process.pid)
        except psutil.NoSuchProcess:
            self.was_relieved = True  # its unit has an answer from elsewhere, or something else killed it
        finally:
            send([self._process], signal.SIGCONT)


class Chaos:
    """Breaks things while runs of one job go on; keeps what did not hold in `violations`."""

    def __init__(self, folder: Path, seed: int, n_faults: int, seconds: float) -> None:
        self._folder, self._n_faults = folder, n_faults
        self._draw = random.Random(seed)
        self._began = time.monotonic()
        self._last_fault_by = self._began + seconds
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.n_runs = self.n_resumed = self.n_relieved = self.n_nodes_lost = self.n_said = 0
        self.spilled_bytes = self.most_copies = self._n_copies = 0
        self._numbers = itertools.count(1)
        self._hosts: list[Host] = []
        self._cluster: Any = None
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._slowed: list[Slowed] = []
        self._fillers: list[subprocess.Popen[bytes]] = []
        self._bag: list[str] = []
        self._file = write_job(folder)
        self._path = folder
        self._driver: subprocess.Popen[bytes] | None = None
        self._excuses: set[str] = set()
        self._durable = b""
        self._n_broken = 0
        self._kinds: dict[str, Callable[[], str | None]] = {
            "worker killed": self._kill_worker,
            "straggler": self._slow_a_worker,
            "raylet killed": self._kill_raylet,
            "power lost": self._cut_power,
            "cut off and back": self._cut_off,
            "spot notice": self._give_notice,
            "driver killed": self._kill_driver,
            "head died": self._kill_head,
            "store full": self._fill_stores,
            "disk full": self._fill_disk,
        }

    # What is said.

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{time.monotonic() - self._began:8.1f} s  {text}", flush=True)

    def violate(self, text: str) -> None:
        """Keep and print what did not hold."""
        self.violations.append(text)
        self.say(f"VIOLATED: {text}")

    # The cluster.

    def _make_cluster(self) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES},
        )
        self._head = Host(self._cluster.head_node, "head")
        self._hosts = []
        for _ in range(N_HOSTS):
            self._add_host()

    def _add_host(self) -> None:
        node = self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        self._hosts.append(Host(node, f"host {next(self._numbers)}"))

    def _replace(self, host: Host) -> None:
        """Let another host come for one that is gone."""
        if host in self._hosts:
            host.end()
            self._cluster.worker_nodes.discard(host.node)
            self._hosts.remove(host)
            self.n_nodes_lost += 1
            self._add_host()

    def _end_cluster(self) -> None:
        for host in (*self._hosts, self._head):
            host.end()
        self._hosts = []

    def _alive(self) -> dict[str, Any]:
        return {one["NodeID"]: one for one in self._cluster.global_state.node_table() if one["Alive"]}

    def _in_stores(self) -> dict[str, int]:
        """Return how many objects the stores of healthy hosts must keep, and count copies that give way to others."""
        alive, found, self._n_copies = self._alive(), {}, 0
        for host in (self._head, *self._hosts):
            if host.is_whole and host.id in alive:
                one = alive[host.id]
                stats = node_stats(one["NodeManagerAddress"], one["NodeManagerPort"], False).store_stats
                found[host.name] = stats.num_object_store_primary_copies
                self._n_copies += stats.num_local_objects - stats.num_object_store_primary_copies
                self.spilled_bytes = max(self.spilled_bytes, stats.spilled_bytes_total)
        return found

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), action))

    def _do_what_is_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    # The faults: each returns what it did, or None where there is nothing to do it to.

    def _a_host(self) -> Host | None:
        whole = [host for host in self._hosts if host.is_whole]
        return self._draw.choice(whole) if whole else None

    def _kill_worker(self) -> str | None:
        found = [(host, p) for host in self._hosts if host.is_whole for p in host.workers(UNIT, "ray::IDLE")]
        if not found:
            return None
        host, process = self._draw.choice(found)
        send([process], signal.SIGKILL)
        return f"pid {process.pid} on {host.name}"

    def _slow_a_worker(self) -> str | None:
        found = [(host, p) for host in self._hosts if host.is_whole for p in host.workers(UNIT)]
        if not found:
            return None
        host, process = self._draw.choice(found)
        seconds = self._draw.uniform(15, 40)
        self._slowed.append(Slowed(process, seconds))
        return f"pid {process.pid} on {host.name}, ten times slower for {seconds:.0f} s"

    def _kill_raylet(self) -> str | None:
        if (host := self._a_host()) is None:
            return None
        host.is_whole = False
        host.raylet.kill()
        self._after(self._draw.uniform(1, 6), lambda: self._replace(host))
        return f"on {host.name}"

    def _cut_power(self) -> str | None:
        """Stop a host's processes, so that nobody is told, and kill them then."""
        if (host := self._a_host()) is None:
            return None
        host.is_whole = False
        send(host.processes(), signal.SIGSTOP)
        self._after(seconds := self._draw.uniform(9, 14), lambda: self._replace(host))
        return f"{host.name}, and another one in {seconds:.0f} s"

    def _cut_off(self) -> str | None:
        if (host := self._a_host()) is None:
            return None
        host.is_whole = False
        stopped = host.processes()
        seconds = self._draw.uniform(3, 16)

        def is_back() -> None:
            send(stopped, signal.SIGCONT)
            self._after(8, look)

        def look() -> None:
            if host not in self._hosts:
                return
            if host.raylet.poll() is None and host.id in self._alive():
                host.is_whole = True
                self.say(f"          {host.name} was not missed")
            else:
                self._replace(host)

        send(stopped, signal.SIGSTOP)
        self._after(seconds, is_back)
        return f"{host.name} for {seconds:.0f} s"

    def _give_notice(self) -> str | None:
        if (host := self._a_host()) is None:
            return None
        seconds = self._draw.uniform(2, 8)
        reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        deadline_ms = int((time.time() + seconds) * 1000)
        client = ray._raylet.GcsClient(address=self._cluster.address)
        is_accepted, problem = client.drain_node(host.id, reason, "spot", deadline_ms)
        if not is_accepted:
            self.say(f"          {host.name} does not drain: {problem}")
            return None
        host.is_whole = False
        self._after(seconds, lambda: self._replace(host))
        return f"{host.name} leaves in {seconds:.0f} s"

    def _kill_driver(self) -> str | None:
        assert self._driver is not None
        self._excuses.add("killed")
        self._driver.kill()
        return f"after {len(self._durable.splitlines())} records"

    def _kill_head(self) -> str | None:
        self._excuses.add("head")
        self._head.is_whole = False
        send(self._head.processes(), signal.SIGKILL)
        self._due.clear()  # a new cluster comes, with hosts of its own
        return "with GCS, raylet and what else ran there"

    def _fill_stores(self) -> str | None:
        if self._fillers:
            return None
        command = [sys.executable, __file__, "--fill", self._cluster.address]
        filler = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        self._fillers.append(filler)
        self._after(seconds := self._draw.uniform(12, 20), self._end_fillers)
        return f"for {seconds:.0f} s, by objects of another driver"

    def _end_fillers(self) -> None:
        if self._fillers and self._head.is_whole:
            self._in_stores()  # how much was spilled
        for filler in self._fillers:
            assert filler.stdin is not None
            filler.stdin.close()
            try:
                filler.wait(20)
            except subprocess.TimeoutExpired:
                filler.kill()
                filler.wait()
        self._fillers = []

    def _fill_disk(self) -> str | None:
        assert self._driver is not None
        size = self._ledger_size()
        if size < DISK_FROM_BYTES or "disk" in self._excuses:
            return None
        self._excuses.add("disk")
        _, hard = psutil.Process(self._driver.pid).rlimit(psutil.RLIMIT_FSIZE)
        psutil.Process(self._driver.pid).rlimit(psutil.RLIMIT_FSIZE, (size, hard))
        return f"no file of the driver's grows beyond {size} bytes"

    def _break_something(self) -> bool:
        for _ in range(2 * len(self._kinds)):
            if not self._bag:
                self._bag = [*self._kinds]
                self._draw.shuffle(self._bag)
            for kind in self._bag:
                assert self._driver is not None
                self._note_durable()
                if self._driver.poll() is None and (what := self._kinds[kind]()) is not None:
                    self._bag.remove(kind)
                    self.counts[kind] += 1
                    self.say(f"{self.counts.total():3} {self._path.name}  {kind}: {what}")
                    return True
            return False
        return False

    # The runs.

    @property
    def is_over(self) -> bool:
        """Whether no more is to be broken."""
        return self.counts.total() >= self._n_faults or time.monotonic() > self._last_fault_by

    def _ledger_size(self) -> int:
        try:
            return (self._path / "ledger" / "records.jsonl").stat().st_size
        except FileNotFoundError:
            return 0

    def _note_durable(self) -> None:
        """Look at the whole lines of the ledger, which may only have become more."""
        try:
            content = (self._path / "ledger" / "records.jsonl").read_bytes()
        except FileNotFoundError:
            content = b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole.startswith(self._durable):
            self.violate(f"{self._path.name}: records that were durable are gone")
        self._durable = whole

    def _start_driver(self) -> None:
        verb = (
            ["resume", self._path] if (self._path / "job.yaml").exists() else ["run", self._file, "--out", self._path]
        )
        self.n_resumed += verb[0] == "resume"
        command = [sys.executable, "-m", "orchestrator", *map(str, verb), "--address", self._cluster.address]
        self._excuses.clear()
        with open(self._log, "ab") as log:
            self._log_from = log.tell()
            self._driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment())

    @property
    def _log(self) -> Path:
        return self._path.with_suffix(".log")

    def run_once(self) -> None:
        """Take one run to its end, however often it must be resumed."""
        self.n_runs += 1
        self._path, self._durable, self._n_broken = self._folder / f"run-{self.n_runs}", b"", 0
        began, n_unexcused = time.monotonic(), 0
        while True:
            self._start_driver()
            code = self._until_driver_ends()
            self._note_durable()
            if code == 0:
                break
            self._log_end(code)
            if not self._is_excused(code):
                n_unexcused += 1
                self.violate(f"{self._path.name}: the driver ended with exit code {code}; expected {self._excuses}")
                if n_unexcused > 2:
                    return
            if "head" in self._excuses:
                self.n_said += "the head of the Ray cluster" in self._said()
                self._rebuild()
        self._check(time.monotonic() - began)

    def _rebuild(self) -> None:
        self._settle(is_gone=True)
        self._end_cluster()
        self._make_cluster()
        self.say("          a new cluster")

    def _log_end(self, code: int) -> None:
        lines = [line for line in self._said().splitlines() if line.strip()]
        last = [line for line in lines if "error" in line.lower() or "Failed" in line][-1:] or lines[-1:]
        self.say(f"          driver: exit code {code}: {last[0][:200] if last else ''}")

    def _said(self) -> str:
        return self._log.read_bytes()[self._log_from :].decode(errors="replace")

    def _is_excused(self, code: int) -> bool:
        if "killed" in self._excuses and code == -signal.SIGKILL:
            return True
        if "disk" in self._excuses and code == 1 and "make room, then resume" in self._said():
            return True
        return "head" in self._excuses

    def _until_driver_ends(self) -> int:
        """Break things until the driver ends; return its exit code."""
        assert self._driver is not None
        next_fault = time.monotonic() + self._draw.uniform(3, 15)
        grown, size, headless_since = time.monotonic(), 0, None
        while (code := self._driver.poll()) is None:
            now = time.monotonic()
            if "head" not in self._excuses:
                self._do_what_is_due()
                if now > next_fault and self._n_broken < MOST_A_RUN and not self.is_over:
                    self._n_broken += self._break_something()
                    next_fault = now + self._draw.uniform(1, 8)
            headless_since = headless_since or (now if "head" in self._excuses else None)
            if self._ledger_size() != size:
                grown, size = now, self._ledger_size()
            if headless_since and now - headless_since > GIVEN_UP_S:
                self.violate(f"{self._path.name}: the driver lives on without a head for {GIVEN_UP_S:g} s")
                self._driver.kill()
            elif now - grown > STALLED_S:
                self.violate(f"{self._path.name}: nothing was recorded for {STALLED_S:g} s\n{self._said()[-2000:]}")
                self._excuses.add("killed")
                self._driver.kill()
            time.sleep(0.05)
        return code

    def _settle(self, *, is_gone: bool = False) -> None:
        """End what is under way: slow workers, fillers and hosts that are to be replaced."""
        for one in self._slowed:
            self.n_relieved += one.was_relieved
            one.over.set()
            one.thread.join()
        self._slowed = []
        if is_gone:
            for filler in self._fillers:
                filler.kill()
        self._end_fillers()
        if is_gone:
            self._due.clear()
        while self._due:
            self._do_what_is_due()
            time.sleep(0.05)

    def _check(self, seconds: float) -> None:
        name = self._path.name
        try:
            assert_whole(self._path, self._expected, may_open_again=True)
        except AssertionError as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.violate(f"{name}: {frame.line} {error}")
        for what in twice(self._path):
            self.violate(f"{name}: recorded twice: {what}")
        failed = [record for record in records(self._path) if isinstance(record, UnitFailed)]
        if failed:
            self.violate(f"{name}: {len(failed)} units failed, first {failed[0].unit}: {failed[0].message}")
        self._settle()
        deadline = time.monotonic() + FREED_S
        while any((found := self._in_stores()).values()) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.most_copies = max(self.most_copies, self._n_copies)
        if any(found.values()):
            self.violate(f"{name}: objects are left in the stores: {found}")
        self.say(f"          {name} is whole after {seconds:.0f} s")

    def summary(self) -> str:
        """Return what happened in numbers."""
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.counts.items()))
        return (
            f"{self.counts.total()} faults ({kinds}) in {self.n_runs} runs, resumed {self.n_resumed} times, "
            f"{self.n_nodes_lost} hosts replaced, {self.n_relieved} stragglers relieved, "
            f"the head's death said by {self.n_said} drivers, "
            f"at most {self.spilled_bytes / 2**20:.0f} MiB spilled on a host, "
            f"at most {self.most_copies} unpinned copies left in all stores after a run"
        )

    def __enter__(self) -> Chaos:
        command = [sys.executable, "-m", "orchestrator", "run", str(self._file), "--executor", "inline"]
        with open(self._folder / "expected.log", "wb") as log:
            inline = subprocess.Popen(
                [*command, "--out", str(self._folder / "expected")],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment(),
            )
            self._make_cluster()
            assert inline.wait() == 0, (self._folder / "expected.log").read_text()
        self._expected = board(self._folder / "expected")
        self.say("the expected leaderboard is known, and the cluster stands")
        return self

    def __exit__(self, *error: object) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        self._settle(is_gone=True)
        self._end_cluster()


def twice(path: Path) -> list[str]:
    """Return the names of answers, units and batches that a ledger holds more than once."""
    found: list[str] = []
    for record in records(path):
        if isinstance(record, UnitFinished | UnitFailed):
            found += [f"unit {record.unit}", *(f"answer {name}" for name in record.answers)]
        elif isinstance(record, BatchProposed):
            found.append(f"batch {record.search}/{record.generation}/{record.batch}")
            numbers = range(record.first, record.first + len(record.proposals))
            found += [f"trial {record.search}/{number}" for number in numbers]
            found += [f"proposal {record.search} {json.dumps(one, sort_keys=True)}" for one in record.proposals]
    return [name for name, n in Counter(found).items() if n > 1]


def fill(address: str) -> None:
    """Hold more objects on each node than its store has room for, until stdin ends."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, max_retries=0)
    def hold() -> list[Any]:
        return [ray.put(np.random.default_rng(i).bytes(25 * 2**20)) for i in range(5)]

    ray.init(address=address, log_to_driver=False, logging_level="error")
    nodes = [one["NodeID"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU")]
    held = [hold.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote() for one in nodes]
    for ref in held:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(ref)
    sys.stdin.read()
    ray.shutdown()


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Give a folder where Ray and the runs leave what they leave; its name is short, for the sake of Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ |= {"RAY_TMPDIR": str(folder), "TMPDIR": str(temporary)}
    tempfile.tempdir = None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--fill", metavar="ADDRESS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        fill(given.fill)
        return 0
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    with own_folder() as folder:
        chaos = Chaos(folder, given.seed, given.faults, 60 * given.minutes)
        try:
            with leaving_no_process(), chaos:
                while not chaos.is_over:
                    chaos.run_once()
        except AssertionError as error:
            os.environ.pop(MARK, None)
            chaos.violate(str(error))
        left = [path.name for path in (folder / "tmp").iterdir() if path.name.startswith("orchestrator")]
        if left:
            chaos.violate(f"temporary folders are left: {left}")
    print(f"{'violated' if chaos.violations else 'whole'}: {chaos.summary()}, {time.monotonic() - began:.0f} s")
    for text in chaos.violations:
        print(f"violated: {text}")
    return 1 if chaos.violations else 0


if __name__ == "__main__":
    sys.exit(main())
