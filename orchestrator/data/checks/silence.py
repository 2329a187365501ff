"""Which findings a job does not want to hear of: `checks.silence` has codes, or codes of one column."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.data.checks.codes import CODES
from orchestrator.data.checks.finding import Finding
from orchestrator.errors import JobError, did_you_mean


def check_silence(silence: Sequence[str]) -> None:
    """Refuse what names no check, or one that cannot be silenced.

    Raises:
        JobError: It is so; the message has the nearest code.
    """
    for given in silence:
        name, _, column = given.partition(":")
        if name not in CODES:
            raise JobError(f"checks.silence: no check has the code {name!r}.{did_you_mean(name, CODES)}")
        if not CODES[name].is_silenceable:
            raise JobError(
                f"checks.silence: {name} cannot be silenced, since nothing can be learnt where "
                f"{CODES[name].finds.replace('`', '')}; expected the data mended: {CODES[name].mend.replace('`', '')}"
            )
        if ":" in given and not column:
            raise JobError(f"checks.silence: {given!r} names no column; expected CODE or CODE:COLUMN")


def heard(findings: Sequence[Finding], silence: Sequence[str]) -> tuple[list[Finding], list[Finding]]:
    """Return the findings to tell of, and those that the job silences."""
    silenced = [f for f in findings if f.code in silence or f.name in silence]
    return [f for f in findings if f not in silenced], silenced
