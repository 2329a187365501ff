"""The driver's end of one worker process: started when it is needed, kept warm, replaced when it is lost."""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from orchestrator.execution.base import timed_out
from orchestrator.execution.messages import Compute, Ended, Noted, Prepare, Share, Started, dumps, loads
from orchestrator.families.base import Engine, Failure, UnitOutput, WorkUnit

ATTEMPTS = 2
"""How many processes a unit may lose."""
_NOTHING = object()


@dataclass(slots=True)
class _Computing:
    """The unit that was started: as it is sent, with its data, its limit, and what is known of it."""

    request: bytes
    data: Any
    limit_s: float | None
    attempt: int = 1
    deadline: float = math.inf
    note: str | None = None


class WorkerProcess:
    """Computes one unit at a time in a process of its own, with an environment of its own.

    A unit over its time ends with the process, wherever it is stuck. A unit whose process is lost has another attempt
    in a new one.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[bytes, bytes] | None = None
        self._data: Any = _NOTHING
        self._unit: _Computing | None = None

    @property
    def is_computing(self) -> bool:
        """Whether a unit was started and has not ended."""
        return self._unit is not None

    @property
    def note(self) -> str | None:
        """What the unit last told of how far it is."""
        return self._unit.note if self._unit else None

    def prepare(self, engine: Engine) -> None:
        """Start the process, if there is none, and let it load what units of an engine compute with."""
        with suppress(OSError):  # it died; the first unit finds it out
            self._send(dumps(Prepare(engine)))

    def start(self, unit: WorkUnit, data: Any, inputs: Sequence[Any], limit_s: float | None) -> None:
        """Start a unit, in the time limit if there is one; data that were sent already are not sent again.

        Raises:
            Exception: The unit or the data cannot be pickled.
        """
        self._unit = None
        computing = _Computing(dumps(Compute(unit, inputs)), data, limit_s)
        self._request(computing)
        self._unit = computing

    def wait(self, timeout_s: float) -> UnitOutput | Failure | None:
        """Return the outcome of the unit that was started; None where it has not ended within `timeout_s`."""
        until = time.monotonic() + timeout_s
        while (unit := self._unit) is not None:
            outcome: UnitOutput | Failure | None = None
            try:
                message = self._receive(min(until, unit.deadline))
            except (EOFError, OSError):
                outcome = self._lost(unit)
            else:
                if isinstance(message, Ended):
                    outcome = message.outcome
                elif time.monotonic() >= unit.deadline:
                    self.stop()
                    outcome = timed_out(unit.limit_s or 0.0)
                elif message is None:
                    return None
            if outcome is not None:
                self._unit = None
                return outcome
        return None

    def _receive(self, until: float) -> Any:
        """Take in a message, if one comes in time, and return it."""
        assert self._connection is not None
        assert self._unit is not None
        if not self._connection.poll(max(0.0, until - time.monotonic())):
            return None
        message = loads(self._connection.recv_bytes())
        if isinstance(message, Started) and self._unit.limit_s is not None:
            self._unit.deadline = time.monotonic() + self._unit.limit_s
        elif isinstance(message, Noted):
            self._unit.note = message.text
        elif isinstance(message, Ended) and message.leaves:
            self.stop()
        return message

    def _lost(self, unit: _Computing) -> Failure | None:
        self.stop()
        if unit.attempt == ATTEMPTS:
            return Failure("worker_lost", f"the worker was lost, {ATTEMPTS} times over")
        unit.attempt += 1
        unit.deadline, unit.note = math.inf, None
        self._request(unit)
        return None

    def _request(self, unit: _Computing) -> None:
        with suppress(OSError):  # it died, which `wait` finds out when it reads
            if self._data is not unit.data:
                self._send(dumps(Share(unit.data)))
                self._data = unit.data
            self._send(unit.request)

    def _send(self, content: bytes) -> None:
        if self._connection is None:
            self._connection = self._open()
        self._connection.send_bytes(content)

    def _open(self) -> Connection[bytes, bytes]:
        ours, theirs = multiprocessing.Pipe()
        path = os.pathsep.join(one or os.getcwd() for one in sys.path)
        # Not by `multiprocessing`, which runs the script that called us once more, to find its classes.
        self._process = subprocess.Popen(  # noqa: S603  (this interpreter, our own module)
            [sys.executable, "-P", "-m", "orchestrator.execution.worker", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": path, **self._environment},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the driver's to answer
        )
        theirs.close()
        return ours

    def stop(self) -> None:
        """End the process, and with it what it computes; the next unit starts another."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection, self._process, self._data = None, None, _NOTHING

    def abandon(self) -> None:
        """Forget the unit that was started, if there is one, together with the process."""
        if self._unit is not None:
            self._unit = None
            self.stop()
