"""The user's own code: found by name without being run, named by its content, and run from its text alone."""

import pytest

from orchestrator.errors import JobError
from orchestrator.families import code

SOURCE = "SCALE = 3\n\n\ndef build(params, signature):\n    return SCALE * params['x']\n"


def written(folder, text=SOURCE):
    (folder / "net.py").write_text(text, encoding="utf-8")
    return folder / "net.py"


def test_a_function_is_named_by_its_file_and_what_is_in_it(tmp_path):
    path = written(tmp_path)
    found = code.read(f"{path}:build", "key")
    assert found.name == f"net.py:build@{found.sha256[:12]}"
    assert code.copy_name(found.name) == f"net-{found.sha256[:12]}.py"
    moved = written(tmp_path / ".." / tmp_path.name)
    assert code.read(f"{moved}:build", "key") == found
    written(tmp_path, SOURCE + "# more\n")
    assert code.read(f"{path}:build", "key").name != found.name


def test_it_runs_from_its_text_alone(tmp_path):
    path = written(tmp_path)
    found = code.read(f"{path}:build", "key")
    path.unlink()
    assert code.function_of(found.name, found.source)({"x": 2}, None) == 6


def test_looking_for_it_runs_nothing(tmp_path):
    path = written(tmp_path, "raise SystemExit(3)\n" + SOURCE)
    found = code.read(f"{path}:build", "key")
    with pytest.raises(RuntimeError, match=r"net\.py called exit\(3\)"):
        code.function_of(found.name, found.source)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("build = lambda params, signature: None\n", r"'build' in .*net\.py is a lambda; expected `def build\("),
        ("def outer():\n    def build(p, s): ...\n    return build\n", "is inside another function or class"),
        ("async def build(p, s): ...\n", "is inside another function or class, or async"),
        ("from keras import Model as build\n", "has no function 'build'"),
        ("def biuld(params, signature): ...\n", "Did you mean 'biuld'"),
        ("import functools\nbuild = functools.partial(print)\n", "is no def"),
        ("def build(:\n", "line 1: invalid syntax"),
    ],
)
def test_what_workers_could_not_find_by_its_name_is_refused(text, said, tmp_path):
    with pytest.raises(JobError, match=f"^searches.0.build: .*{said}"):
        code.read(f"{written(tmp_path, text)}:build", "searches.0.build")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"searches.0.build: .*none\.py cannot be read: No such file"):
        code.read(f"{tmp_path / 'none.py'}:build", "searches.0.build")
