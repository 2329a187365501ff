"""A process that computes units for the driver at the other end of a pipe.

It is started as `python -m orchestrator.execution.worker FD`, where FD is the pipe, and computes one unit at a time, in
its main thread. It ends with the driver, whatever it computes then.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from orchestrator.execution.base import run_unit, set_up, sparing
from orchestrator.execution.memory import MemoryWatch
from orchestrator.execution.messages import Compute, Ended, Noted, Prepare, Share, Started, dumps, loads
from orchestrator.families.base import Failure


def main(descriptor: int) -> None:
    """Do what the driver asks for, until it has gone."""
    connection: Connection[bytes, bytes] = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    _silence()
    data: Any = None
    memory = MemoryWatch()
    while True:
        try:
            message = loads(inbox.get())
            if isinstance(message, Prepare):
                with suppress(Exception):  # the first unit says it
                    set_up(message.engine)
            elif isinstance(message, Share):
                data, memory = message.data, MemoryWatch()
            else:
                ended = _computed(message, data, connection, memory)
                connection.send_bytes(_pickled(ended))
                if ended.leaves:
                    return
        except Exception as error:  # noqa: BLE001  what cannot be read here is an outcome like any other
            connection.send_bytes(dumps(Ended(Failure.of(error), leaves=False)))


def _listen(connection: Connection[bytes, bytes], inbox: SimpleQueue[bytes]) -> None:
    """Take in what the driver sends; when it has gone, nobody wants what is computed here."""
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def _silence() -> None:
    """Send to nowhere what libraries print: as with Ray, what matters is in outcomes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _computed(message: Compute, data: Any, connection: Connection[bytes, bytes], memory: MemoryWatch) -> Ended:
    unit = message.unit
    set_up(unit.engine)
    leaves = memory.has_grown()
    connection.send_bytes(dumps(Started()))
    report = sparing(lambda text: connection.send_bytes(dumps(Noted(text))))
    return Ended(run_unit(unit, data, message.inputs, None, report), leaves)


def _pickled(ended: Ended) -> bytes:
    try:
        return dumps(ended)
    except Exception as error:  # noqa: BLE001  an outcome that cannot travel
        return dumps(Ended(Failure.of(error), ended.leaves))


if __name__ == "__main__":
    main(int(sys.argv[1]))
