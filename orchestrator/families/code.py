"""The user's own code: named in a job as `file.py:function`, carried to workers as text, never pickled."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import JobError, did_you_mean

BUILD = "build"
"""The parameter that says by which function a network is built: it is part of what a trial is."""
DIGITS = 12
"""Hexadecimal digits of the file's SHA-256 in the name of its code."""


@dataclass(frozen=True, slots=True)
class Code:
    """A function and the file that it is in.

    Attributes:
        name: `file.py:function@hash`, the same wherever the file lies, and another one once it changes.
        source: The text of the file.
    """

    name: str
    source: str

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return _sha256(self.source)


def _sha256(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def copy_name(name: str) -> str:
    """Return what the copy of a file is called that holds the function called `name`: `file-hash.py`."""
    file, _, rest = name.rpartition(":")
    return f"{file.removesuffix('.py')}-{rest.rpartition('@')[2]}.py"


def read(build: str, key: str) -> Code:
    """Read the function `build`, `path.py:function`, without running anything.

    Args:
        build: The function.
        key: Its place in the job, for messages.

    Raises:
        JobError: There is no such file or function, or it is not one that a worker could find by its name.
    """
    path, _, function = build.rpartition(":")
    try:
        source = Path(path).read_text(encoding="utf-8")
        tree = ast.parse(source)
    except OSError as error:
        raise JobError(f"{key}: {path} cannot be read: {error.strerror}; expected FILE.py:FUNCTION") from None
    except SyntaxError as error:
        raise JobError(f"{key}: {path}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise JobError(f"{key}: {path} is no Python file in UTF-8: {error}") from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in functions:
        raise JobError(f"{key}: {_what_else(tree, function, path)}{did_you_mean(function, functions)}")
    return Code(f"{Path(path).name}:{function}@{_sha256(source)[:DIGITS]}", source)


def _what_else(tree: ast.Module, function: str, path: str) -> str:
    expected = f"expected `def {function}(params, signature):` at the top level of the file."
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == function for target in targets):
            value = "a lambda" if isinstance(node.value, ast.Lambda) else "no def"  # type: ignore[attr-defined]
            return f"{function!r} in {path} is {value}; {expected}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            return f"{function!r} in {path} is inside another function or class, or async; {expected}"
    return f"{path} has no function {function!r}; {expected}"


@cache
def function_of(name: str, source: str) -> Callable[..., Any]:
    """Run a file's text, once a process, and return its function called `name`.

    Raises:
        RuntimeError: The file left off with `SystemExit`.
    """
    file, _, rest = name.rpartition(":")
    module = ModuleType(re.sub(r"\W", "_", file.removesuffix(".py")))
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102  (the user's own code, in the user's own run)
    except SystemExit as error:
        raise RuntimeError(f"{file} called exit({error.code})") from None
    function: Callable[..., Any] = module.__dict__[rest.rpartition("@")[0]]
    return function
