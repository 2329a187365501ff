"""Files that a space names: known by content, carried as bytes, found again when a run goes on."""

from pathlib import Path

import pytest

from orchestrator.errors import JobError
from orchestrator.families.attached import Attachments, path_of, written
from orchestrator.space import Range


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"word 1.0\n")
    return path


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "words.txt"
    other.write_bytes(place.read_bytes())
    one, two = Attachments({}), Attachments({})
    space = one.by_name({"vectors": [str(place), "none"], "rate": Range(0.1, 1.0), "n": 3})
    assert space == two.by_name({"vectors": [str(other), "none"], "rate": Range(0.1, 1.0), "n": 3})
    other.write_bytes(b"word 2.0\n")
    assert two.by_name({"vectors": str(other)})["vectors"] != space["vectors"][0]


def test_its_bytes_are_written_where_the_process_can_read_them(place):
    attachments = Attachments({})
    (name,) = attachments.by_name({"vectors": [str(place)]})["vectors"]
    contents = attachments.contents()
    place.unlink()
    assert path_of(name, contents).read_bytes() == b"word 1.0\n"
    assert path_of(name, contents).suffix == ".txt"
    params = written({"vectors": name, "n": 3, "other": "words.txt"}, contents)
    assert Path(params["vectors"]).read_bytes() == b"word 1.0\n"
    assert (params["n"], params["other"]) == (3, "words.txt")


def test_a_run_that_goes_on_finds_its_files_and_refuses_changed_and_missing_ones(place):
    begun = Attachments({})
    space = begun.by_name({"vectors": str(place)})
    later = Attachments(begun.paths)
    assert later.by_path(space, "space") == {"vectors": str(place)}
    place.write_bytes(b"word 2.0\n")
    with pytest.raises(JobError, match=r"space\.vectors: .* has changed since the run began"):
        later.by_path(space, "space")
    place.unlink()
    with pytest.raises(JobError, match=r"space\.vectors: .* is not there any more"):
        later.by_path(space, "space")
