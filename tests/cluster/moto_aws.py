"""Launches a cluster file against a stand-in for AWS, in a network of its own: prints the instances that came of it.

    unshare --net python moto_aws.py FILE

FILE is a cluster file for AWS. `ray up` gets as far as a machine that runs, and then waits for its SSH, which nobody
answers; it is ended there.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WITHIN_S = 90.0


def main(file: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as home:
        token = Path(home) / ".ray" / "auth_token"
        token.parent.mkdir()
        token.write_text("secret")
        os.environ.update(
            HOME=home,
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_DEFAULT_REGION="us-east-1",
            MOTO_IAM_LOAD_MANAGED_POLICIES="true",
            RAY_USAGE_STATS_ENABLED="0",
        )
        import boto3
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        launcher = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "up", "-y", "--no-config-cache", file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        assert launcher.stdout is not None
        reader = threading.Thread(target=lambda: said.extend(launcher.stdout), daemon=True)
        reader.start()
        try:
            print(json.dumps(launched(boto3.client("ec2"), launcher, said), default=str))
        finally:
            launcher.kill()
            launcher.wait()
            reader.join()
            server.stop()


def launched(ec2: object, launcher: "subprocess.Popen[str]", said: list[str]) -> list[object]:
    """Wait until the launcher waits for a machine's SSH; return the machines."""
    until = time.monotonic() + WITHIN_S
    while not any("SSH" in line for line in said):
        if launcher.poll() is not None or time.monotonic() > until:
            raise SystemExit("".join(said))
        threading.Event().wait(0.2)
    reservations = ec2.describe_instances()["Reservations"]  # type: ignore[attr-defined]
    return [one for reservation in reservations for one in reservation["Instances"]]


if __name__ == "__main__":
    main(sys.argv[1])
