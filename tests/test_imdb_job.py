"""The job over film reviews, and the tool that makes its file."""

import runpy
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import orchestrator

JOBS = Path(orchestrator.__file__).parents[1] / "jobs"
REVIEWS = {
    "train/pos/0_9.txt": "lovely, naïve <br />",
    "train/pos/1_10.txt": "a fine film",
    "train/neg/0_1.txt": "dull",
    "test/neg/0_2.txt": "poor",
    "test/pos/0_8.txt": "splendid",
    "train/unsup/0_0.txt": "no label",
    "train/urls_pos.txt": "http://",
}


@pytest.fixture
def tool(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["make_imdb.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(JOBS / "make_imdb.py"), run_name="__main__")
        return ended.value.code

    return call


@pytest.fixture
def archive(folder):
    for name, text in REVIEWS.items():
        path = folder / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "aclImdb"


@pytest.mark.parametrize("packed", [False, True])
def test_the_archive_becomes_a_file_of_reviews(tool, archive, folder, packed):
    source = archive
    if packed:
        source = folder / "packed.tar.gz"
        with tarfile.open(source, "w:gz") as file:
            file.add(archive, "aclImdb")
    assert tool(source, "--out", folder / "made/reviews.parquet") == 0
    assert pq.read_table(folder / "made/reviews.parquet").to_pylist() == [
        {"text": "dull", "label": 0, "split": "train"},
        {"text": "a fine film", "label": 1, "split": "train"},
        {"text": "lovely, naïve <br />", "label": 1, "split": "train"},
        {"text": "poor", "label": 0, "split": "test"},
        {"text": "splendid", "label": 1, "split": "test"},
    ]


def test_what_is_no_archive_is_refused(tool, folder, capsys):
    assert tool(folder / "nowhere") == 2
    assert "does not exist" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert tool(folder / "empty") == 2
    assert "holds 0 reviews; expected some in train/pos" in capsys.readouterr().err


@pytest.mark.slow
def test_the_job_runs_on_real_reviews(cli, folder, real_dataset):
    whole = pq.read_table(real_dataset("imdb_reviews"))
    pq.write_table(whole.take(list(range(0, whole.num_rows, 20))), folder / "few.parquet")
    changes = ["data.path=few.parquet", "searches.0.trials=8", "searches.0.space.epochs=4", "searches.0.batch_size=8"]
    done = cli(
        "run", JOBS / "imdb_text.py", *(word for change in changes for word in ("--set", change)), "--out", "out"
    )
    assert done.code == 0, done.err
    assert "published" in done.out
