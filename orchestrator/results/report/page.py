"""The page: sections put into HTML, with its style and its script inside, so that one file is all there is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.results.report.parts import Section
from orchestrator.results.report.verdict import Verdict
from orchestrator.version import __version__

FOLDER = "page"


def html(name: str, eyebrow: str, verdict: Verdict, sections: Sequence[Section]) -> str:
    """Return the page.

    Whatever comes from a run is escaped. Beyond that the page carries a policy that lets it load nothing and run no
    script but its own, which is known by its hash.

    Args:
        name: The job's name.
        eyebrow: A line above the headline.
        verdict: The first screen.
        sections: The rest, in order.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(resource), trim_blocks=True
    )
    script = resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        name=name,
        eyebrow=eyebrow,
        verdict=verdict,
        sections=sections,
        version=__version__,
        style=Markup(resource("report.css")),  # noqa: S704  ours
        script=Markup(script),  # noqa: S704  ours
        script_hash=f"sha256-{digest}",
    )


def resource(name: str) -> str:
    """Return a file that lies beside this one in the package."""
    return (files(__package__) / FOLDER / name).read_text(encoding="utf-8")
