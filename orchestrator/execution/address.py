"""Which Ray is meant, and whether anything answers there: Ray itself takes minutes to say that nothing does."""

from __future__ import annotations

import math
import os
import socket
import time

from orchestrator.errors import JobError, RunError

ANSWER_WITHIN_S = 10.0
CONNECT_WITHIN_S = 2.0
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
RECONNECT_S = 60.0
"""After how long without the cluster's head Ray ends its processes, where that variable does not say otherwise."""
CLIENT_PORT = 10001


def cluster_address(address: str | None) -> str | None:
    """Return the address of the cluster to join, or None to start Ray on this machine.

    Args:
        address: `host:port`, `ray://host:port`, `auto`, `local`, or None for what RAY_ADDRESS says.

    Raises:
        JobError: Nothing answers there.
    """
    given = address or os.environ.get("RAY_ADDRESS") or None
    if given in (None, "local", "auto"):
        return None if given == "local" else given
    host, _, port = given.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        if not given.startswith("ray://"):
            raise JobError(f"--address: {given!r}; expected host:port, such as 10.0.0.1:6379, ray://host:port, or auto")
        host, port = given.removeprefix("ray://"), str(CLIENT_PORT)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        named = "--address" if address else "RAY_ADDRESS"
        raise JobError(f"{named}: nothing answers at {given} ({reason}); expected the head of a Ray cluster") from None
    return given


class Head:
    """The head of a cluster, which may fall silent.

    Ray ends a process whose cluster has no head any more, from a thread in C++ and without a word to Python; and until
    then it lets whoever asks the head wait. So it is asked only while it answers, and given up before Ray does.

    Args:
        address: Its `host:port`; None for one that cannot be watched, and is taken to answer.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._silent_since: float | None = None
        self._asked_at = -math.inf
        self._patience_s = 0.75 * float(os.environ.get(RECONNECT) or RECONNECT_S)
        self.is_given_up = False

    def answers(self) -> bool:
        """Tell whether it can be asked something now.

        Raises:
            RunError: It has been silent for so long that it will not come back.
        """
        if self._address is None:
            return True
        if self._silent_since is not None and time.monotonic() - self._asked_at < CONNECT_WITHIN_S:
            return False
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_WITHIN_S).close()
        except OSError:
            self._asked_at = time.monotonic()
            if self._silent_since is None:
                self._silent_since = self._asked_at
            silent_s = self._asked_at - self._silent_since
            if silent_s > self._patience_s:
                self.is_given_up = True
                raise RunError(
                    f"the head of the Ray cluster at {self._address} has not answered for {silent_s:.0f} s; "
                    "start it again, or another cluster, then resume"
                ) from None
            return False
        self._silent_since = None
        return True
