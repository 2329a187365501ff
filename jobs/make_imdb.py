"""Makes the Parquet file of film reviews that `imdb_text.py` reads: columns text, label (1 is positive), split.

python jobs/make_imdb.py aclImdb_v1.tar.gz                    the public archive, packed or unpacked
python jobs/make_imdb.py keras --out data/imdb_reviews.parquet    what Keras downloads: lower case, no punctuation
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Row = tuple[str, int, str]
_PLACE = re.compile(r"(?:^|/)(train|test)/(pos|neg)/[^/]+\.txt$")
_FIRST_WORD = 3
"""Keras's numbers below are padding, start and unknown words."""


def _row(place: str, content: bytes) -> Row | None:
    found = _PLACE.search(place)
    return (content.decode("utf-8"), int(found[2] == "pos"), found[1]) if found else None


def from_folder(folder: Path) -> Iterator[Row]:
    """Read the unpacked archive."""
    for path in folder.rglob("*.txt"):
        place = path.relative_to(folder.parent).as_posix()
        if _PLACE.search(place) and (row := _row(place, path.read_bytes())):
            yield row


def from_archive(path: Path) -> Iterator[Row]:
    """Read the packed archive, without unpacking it."""
    with tarfile.open(path) as archive:
        for member in archive:
            if _PLACE.search(member.name) and (opened := archive.extractfile(member)):
                row = _row(member.name, opened.read())
                if row:
                    yield row


def from_keras() -> Iterator[Row]:
    """Download the reviews as Keras has them, and write their words out again."""
    from keras.datasets import imdb

    words = {number + _FIRST_WORD: word for word, number in imdb.get_word_index().items()}
    for split, (texts, labels) in zip(("train", "test"), imdb.load_data(index_from=_FIRST_WORD), strict=True):
        for text, label in zip(texts, labels, strict=True):
            yield " ".join(words[i] for i in text if i in words), int(label), split


def table_of(rows: Iterator[Row]) -> pa.Table:
    """Return the rows in an order that follows from them alone."""
    texts, labels, splits = zip(*sorted(rows, key=lambda row: (row[2] != "train", row[1], row[0])), strict=True)
    return pa.table({"text": texts, "label": pa.array(labels, pa.int8()), "split": splits})


def main(arguments: list[str] | None = None) -> int:
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="aclImdb_v1.tar.gz, the folder aclImdb, or the word keras")
    parser.add_argument("--out", type=Path, default=Path("data/imdb_reviews.parquet"))
    options = parser.parse_args(arguments)
    path = Path(options.source)
    if options.source != "keras" and not path.exists():
        parser.error(f"{path} does not exist; expected the archive, its folder, or keras")
    rows = list(from_keras() if options.source == "keras" else (from_folder if path.is_dir() else from_archive)(path))
    if {row[2] for row in rows} != {"train", "test"}:
        parser.error(f"{path} holds {len(rows)} reviews; expected some in train/pos, train/neg, test/pos and test/neg")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(iter(rows)), options.out, compression="zstd")
    sys.stdout.write(f"{len(rows)} reviews: {options.out}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
