"""`python -m orchestrator` is the same as `orchestrator`."""

from orchestrator.cli import entry

if __name__ == "__main__":
    raise SystemExit(entry())
