"""What is around every verb that computes: an executor that is closed at the end, and signals that ask it to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

from orchestrator.errors import JobError
from orchestrator.execution.base import Executor
from orchestrator.job import Resources

ExecutorName = Literal["ray", "inline"]


def executor_of(name: ExecutorName, address: str | None, resources: Resources) -> Executor:
    """Return the executor called `name`; what Ray needs is loaded only where Ray is asked for.

    Raises:
        JobError: There is none of that name.
    """
    if name == "inline":
        from orchestrator.execution.inline import InlineExecutor

        return InlineExecutor(resources)
    if name != "ray":
        raise JobError(f"--executor: no executor {name!r}; expected ray or inline")
    from orchestrator.execution.ray_executor import RayExecutor

    return RayExecutor(address, resources)


@contextmanager
def closing(executor: Executor) -> Iterator[Executor]:
    """Close an executor at the end."""
    try:
        yield executor
    finally:
        executor.close()


class StopSignals:
    """Turns the first SIGINT or SIGTERM into a request to stop; a second one acts as it did before.

    Outside the main thread, where Python allows no handlers, nothing is turned.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Request a stop, as a signal does."""
        self._asked.set()

    def install(self) -> None:
        """Take the signals; again after Ray has started, which takes SIGTERM for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask()
        signal.signal(number, self._before[number])

    def __enter__(self) -> StopSignals:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
