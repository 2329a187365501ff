"""A short chaos run: each kind of fault once; `cluster/chaos.py` does it for longer."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from builders import environment

SCRIPT = Path(__file__).parent / "cluster" / "chaos.py"
KINDS = (
    "worker killed",
    "straggler",
    "raylet killed",
    "power lost",
    "cut off and back",
    "spot notice",
    "driver killed",
    "head died",
    "store full",
    "disk full",
)


@pytest.mark.slow
def test_run_is_whole_whatever_breaks_meanwhile() -> None:
    command = [sys.executable, str(SCRIPT), "--faults", str(len(KINDS)), "--minutes", "5", "--seed", "11"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"^whole: (\d+) faults \((.*)\) in (\d+) runs", done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert int(found[1]) == len(KINDS), done.stdout
