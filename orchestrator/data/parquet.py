"""Reading Parquet: which files a path means, which columns are needed, and what they hold. No splitting, no fitting."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.errors import DataError, JobError, did_you_mean

BUNDLED = Path(__file__).parent / "datasets"


def open_dataset(path: str, key: str = "data.path") -> ds.Dataset:
    """Open the Parquet dataset that `path` means, its files in the order of their names.

    Args:
        path: A file, a directory (hive partitions become columns), a glob, a URI, or `dataset:NAME`.
        key: The key of the job that named it, for messages.

    Raises:
        JobError: There is nothing at `path`.
        DataError: What is there is not Parquet, or cannot be read.
    """
    source = _source(path, key)
    try:
        dataset = ds.dataset(source, format="parquet", partitioning="hive")
        if isinstance(dataset, ds.FileSystemDataset) and not dataset.files:
            raise DataError(f"{key}: {path} holds no Parquet file")
        _ = dataset.schema
    except FileNotFoundError:
        raise JobError(f"{key}: {path} does not exist; expected a Parquet file, directory or glob") from None
    except PermissionError:
        raise DataError(f"{key}: {path} cannot be read: permission denied") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise _unreadable(path, key, error) from None
    twice = sorted({n for n in dataset.schema.names if dataset.schema.names.count(n) > 1})
    if twice:
        raise DataError(f"{key}: {path} has {_quoted(twice)} more than once among its columns; names must differ")
    return dataset


def read(dataset: ds.Dataset, columns: Sequence[str], path: str, key: str = "data.path") -> pa.Table:
    """Read `columns` of all rows, in the order of the files and of the rows in them.

    Raises:
        DataError: A file is damaged, or its columns are of another type than the first file's.
    """
    try:
        return dataset.to_table(columns=list(columns)).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise _unreadable(path, key, error) from None


def columns_in_use(
    names: Sequence[str],
    target: str,
    features: Sequence[str] | None,
    exclude: Sequence[str],
    reserved: Sequence[str] = (),
) -> list[str]:
    """Return the feature columns, in the file's order.

    Args:
        names: The dataset's columns.
        target: The column to predict.
        features: The columns asked for, or None for all.
        exclude: Columns to leave out.
        reserved: Columns with another role, never features.

    Raises:
        JobError: A named column does not exist, or none is left.
    """
    for key, wanted in (("target", [target]), ("features", features or []), ("exclude", exclude)):
        for name in wanted:
            if name not in names:
                raise JobError(f"data.{key}: no column {name!r} in the dataset.{did_you_mean(name, names)}")
    if target in (features or []):
        raise JobError(f"data.features: holds the target {target!r}; a model must not see what it predicts")
    chosen = set(names if features is None else features) - {target, *exclude, *reserved}
    if not chosen:
        raise JobError("data.features: no column is left to learn from; expected at least one beside the target")
    return [name for name in names if name in chosen]


def _source(path: str, key: str) -> str | list[str]:
    if path.startswith("dataset:"):
        name = path.removeprefix("dataset:")
        known = [file.stem for file in BUNDLED.glob("*.parquet")]
        if name not in known:
            raise JobError(f"{key}: no dataset {name!r} comes with the package.{did_you_mean(name, known)}")
        return str(BUNDLED / f"{name}.parquet")
    if "://" in path:
        return path
    if not Path(path).exists() and any(c in path for c in "*?["):
        files = sorted(f for f in glob.glob(path, recursive=True) if Path(f).is_file())
        if not files:
            raise JobError(f"{key}: no file matches {path}")
        return files
    if not Path(path).exists():
        near = did_you_mean(Path(path).name, (f.name for f in Path(path).parent.glob("*"))) if path else ""
        hint = near if near.startswith(" Did") else ""
        raise JobError(f"{key}: {path} does not exist; expected a Parquet file, directory or glob.{hint}")
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise DataError(f"{key}: {path} is empty (0 bytes); expected a Parquet file")
    return path


def _unreadable(path: str, key: str, error: BaseException) -> DataError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].removeprefix("Error creating dataset. ")
    if "magic bytes" in str(error) or "Parquet file size is" in str(error):
        reason = "it does not have the marks of a Parquet file (another format, or cut off)"
    return DataError(f"{key}: {path} cannot be read as Parquet: {reason[:200]}")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
