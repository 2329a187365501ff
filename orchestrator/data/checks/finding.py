"""What a check found, and the error that ends a run because of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import DataError, shown


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    column: str | None = None

    @property
    def name(self) -> str:
        """What `checks.silence` calls it: the code, with the column where it is of one."""
        return self.code if self.column is None else f"{self.code}:{self.column}"


def summed_up(findings: Sequence[Finding]) -> list[str]:
    """Return findings as sentences, more than three of one code as one."""
    texts = []
    for code in dict.fromkeys(f.code for f in findings):
        same = [f for f in findings if f.code == code]
        others = [str(f.column) for f in same[1:]]
        if len(same) <= 3:
            texts += [f.message for f in same]
        else:
            listed = ", ".join(map(shown, others[:5])) + (", …" if len(others) > 5 else "")
            texts.append(f"{same[0].message} (and the same of {len(others)} more: {listed}; see `orchestrator check`)")
    return texts


class CheckFailed(DataError):
    """A check found an error; `findings` has all that was found."""

    def __init__(self, message: str, findings: Sequence[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise the first error, if there is one.

    Raises:
        CheckFailed: A finding is of severity error; the message says how many more there are.
    """
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: see `orchestrator check`)" if len(errors) > 1 else ""
        raise CheckFailed(errors[0].message + more, findings)
