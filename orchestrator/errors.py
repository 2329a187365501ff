"""What can go wrong, and the exit code that says so. Every message is one or two lines, meant for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OrchestratorError(Exception):
    """The base of all errors that the user is meant to read.

    Attributes:
        exit_code: What the command line exits with.
    """

    exit_code = 1


class RunError(OrchestratorError):
    """The run itself failed, or found no model (exit code 1)."""


class FinalFitError(RunError):
    """The best trial could not be fitted on all rows; board, statistics and report are written (exit code 1)."""


class JobError(OrchestratorError):
    """The job or the command is wrong (exit code 2)."""

    exit_code = 2


class DataError(OrchestratorError):
    """The data failed a check (exit code 3)."""

    exit_code = 3


class Interrupted(OrchestratorError):
    """The run was told to stop and has saved what it had (exit code 130)."""

    exit_code = 130


def shown(value: object) -> str:
    """Return a value as messages show it: on one line, and not too long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `known`, or the list of them where none is near."""
    choices = sorted(known)
    folded = {choice.lower(): choice for choice in reversed(choices)}
    near = difflib.get_close_matches(str(name).lower(), folded, n=2, cutoff=0.55)
    if near:
        return " Did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
    if not choices:
        return ""
    listed = [choice if choice.isidentifier() and len(choice) <= 60 else shown(choice) for choice in choices[:12]]
    return f" Known: {', '.join(listed)}{', …' if len(choices) > 12 else ''}."
