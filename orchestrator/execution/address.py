"""Which Ray is meant, and whether anything answers there: Ray itself takes minutes to say that nothing does."""

from __future__ import annotations

import os
import socket

from orchestrator.errors import JobError

ANSWER_WITHIN_S = 10.0
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
