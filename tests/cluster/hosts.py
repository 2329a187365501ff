"""Private hosts on one Linux machine: a client, and three that answer SSH, on a network of their own.

Each has its own namespaces of network, processes, mounts, names and IPC, and its own /tmp, /root and /dev/shm, so that
what happens on one reaches no other, nor the machine. They reach each other and nothing else.

Having no network, they cannot download packages: each comes with the virtual environment that clusters/node_setup.sh
would make, whose packages are those of the tests' own. pip finds every requirement satisfied, and installs this package
alone.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
from sameness import until

CLIENT, HEAD, WORKER, GPU_WORKER = 0, 1, 2, 3
ADDRESSES = {CLIENT: "10.77.0.100", HEAD: "10.77.0.1", WORKER: "10.77.0.2", GPU_WORKER: "10.77.0.3"}
ROUTER = "10.77.0.254"
RESOURCES = {WORKER: '{"CPU": 2}', GPU_WORKER: '{"CPU": 2, "GPU": 1}'}
"""What workers tell Ray that they have; the GPU is pretended."""
PROGRAMS = ("ip", "unshare", "nsenter", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd")
REPOSITORY = Path(__file__).parents[2]
INTERPRETER = Path(sys.base_prefix)
VENV = ".batch-orchestrator/venv"
SSHD = """Port 22
ListenAddress {address}
HostKey /root/host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
"""
# What process 1 of a host does first. Of what /root and /tmp hide, a host sees what it needs.
BEGIN = """set -e
mount --make-rprivate /
hostname {name}
mount --bind {host}/hosts /etc/hosts
mount --bind {host}/resolv.conf /etc/resolv.conf
for path in {shown}; do mkdir -p {host}$path; mount --bind $path {host}$path; done
mount -t tmpfs -o size=4g,mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
cp {host}/sshd_config /run
mount --rbind {host}/root /root
mount --rbind {host}/tmp /tmp
cd /root
exec {program}
"""


def missing() -> str | None:
    """Return what hosts need and this machine lacks."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return "private hosts need root on Linux"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"private hosts need {', '.join(absent)} (Debian: openssh-server openssh-client rsync iproute2)"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "mount", "--make-rprivate", "/"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"private hosts need namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Hosts:
    """The hosts, by number. To be closed, or made by `hosts`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"host-{uuid4().hex[:6]}"
        self._switch = f"{self._prefix}-switch"
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        """Make the network and the hosts."""
        key = self._folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._connect()
        for number in ADDRESSES:
            self._furnish(number, key)
            self.boot(number)

    def home(self, number: int) -> Path:
        """Return a host's home directory as this process sees it."""
        return self._folder / str(number) / "root"

    def boot(self, number: int) -> None:
        """Switch a host on; it has its disk, and no process from before."""
        host = self._folder / str(number)
        program = "sleep infinity" if number == CLIENT else "/usr/sbin/sshd -D -e -f /run/sshd_config"
        begin = BEGIN.format(
            name=f"{self._prefix}-{number}", host=host, shown=" ".join(map(str, _hidden())), program=program
        )
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        with open(host / "log", "ab") as log:
            self._running[number] = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace(number), "unshare", *namespaces, "bash", "-c", begin],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: self._is_up(number), f"the start of host {number} ({host / 'log'})", 20.0)

    def kill(self, number: int) -> None:
        """Take a host's power away."""
        process = self._running.pop(number)
        process.kill()  # and with it the host's process 1, and with that every other
        process.wait()

    def cut(self, number: int) -> None:
        """Let a host's packets vanish; nobody is told."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "down")

    def join(self, number: int) -> None:
        """Let its packets through again."""
        _ip("-n", self._switch, "link", "set", f"port{number}", "up")

    def command(self, number: int, *words: object, **environment: str) -> list[str]:
        """Return the command that runs another on a host, in the repository, which all of them see."""
        variables = {"HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "PATH": self._path(number), **environment}
        enter = ["nsenter", "-t", str(self._first(number)), "-m", "-p", "-u", "-i", "-n"]
        settings = [f"{name}={value}" for name, value in variables.items()]
        inside = ["bash", "-c", f"cd {shlex.quote(str(REPOSITORY))} && exec {shlex.join(map(str, words))}"]
        return [*enter, "env", "-i", *settings, *inside]

    def run(
        self, number: int, *words: object, within_s: float = 60.0, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host; stdout and stderr come together."""
        done = subprocess.run(
            self.command(number, *words, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words} gave {done.returncode}:\n{done.stdout}"
        return done

    def close(self) -> None:
        """End all, and leave nothing behind."""
        for number in list(self._running):
            self.kill(number)
        found = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for line in found.splitlines():
            if line.startswith(self._prefix):
                _ip("netns", "del", line.split()[0])

    def _namespace(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def _path(self, number: int) -> str:
        own = [f"{sys.prefix}/bin"] if number == CLIENT else [f"/root/{VENV}/bin"]
        return ":".join([*own, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])

    def _first(self, number: int) -> int:
        (first,) = psutil.Process(self._running[number].pid).children()
        return int(first.pid)

    def _is_up(self, number: int) -> bool:
        process = self._running[number]
        assert process.poll() is None, (self._folder / str(number) / "log").read_text()
        names = [child.name() for child in psutil.Process(process.pid).children()]
        return names in (["sleep"], ["sshd"])

    def _connect(self) -> None:
        """Make a switch and a cable to each host; a default route that leads nowhere, or Ray would choose 127.0.0.1."""
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "set", "lo", "up")
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        _ip("-n", self._switch, "addr", "add", f"{ROUTER}/24", "dev", "bridge")
        _ip("-n", self._switch, "route", "add", "unreachable", "default")
        for number, address in ADDRESSES.items():
            name = self._namespace(number)
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            far = ["peer", "name", f"port{number}", "netns", self._switch]
            _ip("-n", name, "link", "add", "eth0", "type", "veth", *far)
            _ip("-n", self._switch, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "route", "add", "default", "via", ROUTER)

    def _furnish(self, number: int, key: Path) -> None:
        """Write a host's disk."""
        host, home = self._folder / str(number), self.home(number)
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        (host / "tmp").mkdir()
        (host / "tmp").chmod(0o1777)
        known = [f"{address} {self._prefix}-{one}" for one, address in ADDRESSES.items()]
        (host / "hosts").write_text("\n".join(["127.0.0.1 localhost", *known, ""]))
        (host / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # look-ups fail at once; slow ones cost 10 s each
        (host / "sshd_config").write_text(SSHD.format(address=ADDRESSES[number]))
        lines = [f"export PATH={INTERPRETER}/bin:$PATH"]
        if number in RESOURCES:
            lines.append(f"export RAY_OVERRIDE_RESOURCES='{RESOURCES[number]}'")
        (home / ".bashrc").write_text("\n".join([*lines, ""]))
        if number == CLIENT:
            shutil.copy(key, home / ".ssh" / "id_ed25519")
            return
        shutil.copy(f"{key}.pub", home / ".ssh" / "authorized_keys")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "host_key"], check=True)
        _install(home / VENV)


def _install(place: Path) -> None:
    """Make a host's virtual environment, whose packages are those of this one."""
    venv.create(place, symlinks=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(place)})
    Path(packages, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("ray", "ray.scripts.scripts")):
        script = place / "bin" / name
        script.write_text(f"#!/root/{VENV}/bin/python\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n")
        script.chmod(0o755)


def _hidden() -> list[Path]:
    """Return what hosts must see and lies below what each has of its own."""
    needed = (REPOSITORY, Path(sys.prefix), INTERPRETER)
    own = [path for path in needed if path.is_relative_to("/root") or path.is_relative_to("/tmp")]
    return [path for path in own if not any(path.is_relative_to(other) for other in own if other != path)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Give the hosts, and leave nothing behind of them but their disks in `folder`."""
    made = Hosts(folder)
    try:
        made.start_all()
        yield made
    finally:
        made.close()
