"""Reading Parquet: which files a path means, which columns are needed, and what they hold. No splitting, no fitting."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from orchestrator.clauses import Filters
from orchestrator.data import delta
from orchestrator.data.columns import DATE_PARTS, SCALARS, is_usable, kind_of
from orchestrator.data.filters import columns_of, of_partitions
from orchestrator.data.plain import plain_type, scanned_type
from orchestrator.data.rows import Rows, drawn
from orchestrator.errors import DataError, JobError, did_you_mean
from orchestrator.job import Sample
from orchestrator.objects import Objects, is_uri, reason

BUNDLED = Path(__file__).parent / "datasets"


def open_dataset(path: str, key: str = "data.path", filters: Filters = ()) -> ds.Dataset:
    """Open the Parquet dataset that `path` means, its files in the order of their names.

    Its schema has the columns of all files, as wide as the widest of them: int64 where some have int32.

    Args:
        path: A file, a directory (hive partitions become columns), a glob, a URI, or `dataset:NAME`.
        key: The key of the job that named it, for messages.
        filters: Files whose partitions they rule out are not even opened.

    Raises:
        JobError: There is nothing at `path`, or the filters leave no file of it.
        DataError: What is there is not Parquet, or cannot be read.
    """
    filesystem, source, base = _at_uri(path, key) if is_uri(path) else _local(path, key)
    try:
        if isinstance(source, str) and delta.is_table(filesystem or fs.LocalFileSystem(), source):
            dataset = delta.open_table(path, filesystem or fs.LocalFileSystem(), source, key)
        else:
            dataset = _discovered(filesystem or fs.LocalFileSystem(), source, base)
        if isinstance(dataset, ds.FileSystemDataset) and not dataset.files:
            raise DataError(f"{key}: {path} holds no Parquet file; expected at least one")
        return _with_all_columns(dataset, _fragments(dataset, filters))
    except FileNotFoundError:
        raise JobError(f"{key}: {path} does not exist; expected a Parquet file, directory or glob") from None
    except PermissionError:
        raise DataError(f"{key}: {path} cannot be read: permission denied") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise _unreadable(path, key, error) from None


def _discovered(filesystem: fs.FileSystem, source: str | list[str], base: str | None) -> ds.Dataset:
    """Return a dataset by the names of its files alone; its schema has their partitions' columns."""
    files = [source] if isinstance(source, str) else source
    if isinstance(source, str) and not filesystem.get_file_info(source).is_file:
        files = fs.FileSelector(source, recursive=True)
    options = ds.FileSystemFactoryOptions(partitioning=ds.HivePartitioning.discover(), partition_base_dir=base)
    factory = ds.FileSystemDatasetFactory(filesystem, files, ds.ParquetFileFormat(), options)
    return factory.finish(factory.inspect(fragments=0))


def _fragments(dataset: ds.Dataset, filters: Filters) -> list[ds.Fragment]:
    fragments = list(dataset.get_fragments())
    partitions = list(ds.get_partition_keys(fragments[0].partition_expression))
    needed = of_partitions(filters, dataset.schema, partitions)
    if needed is None:
        return fragments
    kept = list(dataset.get_fragments(filter=needed))
    if not kept:
        found = dict.fromkeys(str(ds.get_partition_keys(one.partition_expression)) for one in fragments)
        some = ", ".join(list(found)[:3]) + (", …" if len(found) > 3 else "")
        raise JobError(f"data.filters: no file is left of {len(fragments)}; expected values such as {some}")
    return kept


def _with_all_columns(dataset: ds.Dataset, fragments: list[ds.Fragment]) -> ds.Dataset:
    with ThreadPoolExecutor(16) as pool:  # each keeps its schema from here on
        schemas = list(pool.map(lambda fragment: fragment.physical_schema, fragments))
    types: dict[str, pa.DataType] = {}
    for place, schema in enumerate([schemas[0], dataset.schema, *schemas[1:]]):
        if place < 2 or not schema.equals(schemas[0]):
            if len(set(schema.names)) < len(schema):
                raise pa.ArrowInvalid(f"duplicate field names in '{fragments[max(0, place - 1)].path}'")
            for field in schema:
                known = types.get(field.name, field.type)
                types[field.name] = _wider(known, field.type) or known
    return ds.FileSystemDataset(fragments, pa.schema(types.items()), dataset.format, dataset.filesystem)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both, or None where there is none."""
    if scanned_type(one) == scanned_type(other):
        return scanned_type(one)
    if any(pa.types.is_list_view(t) or pa.types.is_large_list_view(t) for t in (one, other)):
        return None  # a scan would have to cast, see `scanned_type`
    if all(pa.types.is_fixed_size_list(t) for t in (one, other)) and one.list_size != other.list_size:
        return None  # Arrow would make lists of any size of them
    plain = [t.value_type if pa.types.is_dictionary(t) else t for t in map(plain_type, (one, other))]
    try:
        schemas = [pa.schema([("both", t)]) for t in plain]
        return pa.unify_schemas(schemas, promote_options="permissive").field("both").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a dataset: all, or those that filters let through, or a sample of either.

    Attributes:
        table: The rows.
        places: Where each of them is among those that the filters let through, ascending.
        n_rows: How many those are.
    """

    table: pa.Table
    places: npt.NDArray[np.int64]
    n_rows: int


def read(dataset: ds.Dataset, columns: Sequence[str], path: str, key: str = "data.path") -> pa.Table:
    """Read `columns` of all rows, in the order of the files and of the rows in them, in plain types.

    Raises:
        DataError: A file is damaged, lacks a column, or has one of another type than the others have.
    """
    return choose(dataset, columns, path, key).table


def choose(
    dataset: ds.Dataset,
    columns: Sequence[str],
    path: str,
    key: str = "data.path",
    filters: Filters = (),
    sample: Sample | None = None,
    seed: int = 0,
) -> Chosen:
    """Read `columns` of some rows, in the order of the files and of the rows in them, in plain types.

    Raises:
        JobError: A filter does not fit the dataset.
        DataError: A file is damaged, lacks a column, or has one of another type than the others have.
    """
    rows = Rows(dataset, filters)
    check_files(dataset, [*columns, *columns_of(filters)], key)
    try:
        if sample is None:
            table = rows.table(columns).combine_chunks()
            return Chosen(table, np.arange(table.num_rows), table.num_rows)
        n_rows = rows.count()
        places = drawn(n_rows, sample, seed)
        return Chosen(rows.taken(columns, places).combine_chunks(), places, n_rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise _unreadable(path, key, error) from None


def bytes_in_memory(dataset: ds.Dataset, columns: Sequence[str]) -> int:
    """Return what `columns` of all rows take in memory once encoded, about, by what the files say of themselves.

    A scalar takes 8 bytes, and a part of a date. What strings, which may be text, and other columns take in the files,
    uncompressed, comes on top.
    """
    numbers = {name: _numbers(dataset.schema.field(name).type) for name in columns}
    n_bytes = 8 * sum(n for n, _ in numbers.values()) * int(dataset.count_rows())
    others = {name for name, (_, has_more) in numbers.items() if has_more}
    if others:
        for fragment in dataset.get_fragments():
            groups = (fragment.metadata.row_group(i) for i in range(fragment.metadata.num_row_groups))
            chunks = (group.column(i) for group in groups for i in range(group.num_columns))
            n_bytes += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in others)
    return n_bytes


def _numbers(kind: pa.DataType) -> tuple[int, bool]:
    """Return how many numbers a value becomes, and whether there is more to it."""
    read_as = kind_of("", kind) if is_usable(kind) else None
    if read_as == "date":
        return len(DATE_PARTS), False
    return int(read_as in SCALARS), read_as not in ("number", "boolean")


def check_files(dataset: ds.Dataset, columns: Sequence[str], key: str) -> None:
    """Look whether all files of a dataset have `columns`, of one type.

    Raises:
        DataError: A file lacks a column, or has one of another type than the others have.
    """
    schema = dataset.schema
    for fragment in dataset.get_fragments():
        own = fragment.physical_schema
        if schema.equals(own):
            continue
        partitions = ds.get_partition_keys(fragment.partition_expression)
        for name in columns:
            if name not in own.names and name not in partitions:
                raise DataError(
                    f"{key}: {fragment.path} has no column {name!r}, which other files have; expected the same columns "
                    "in all files (data.exclude leaves a feature out)"
                )
            if name in own.names and _wider(schema.field(name).type, own.field(name).type) != schema.field(name).type:
                raise DataError(
                    f"{key}: column {name!r} is of type {own.field(name).type} in {fragment.path}, and of type "
                    f"{schema.field(name).type} in other files; expected one type (data.exclude leaves a feature out)"
                )


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
    if not os.path.exists(path) and glob.has_magic(path):
        files = sorted(f for f in glob.glob(path, recursive=True) if Path(f).is_file())
        if not files:
            raise JobError(f"{key}: no file matches {path}; expected a Parquet file, directory or glob")
        return files
    if not os.path.exists(path):
        near = did_you_mean(Path(path).name, (f.name for f in Path(path).parent.glob("*"))) if path else ""
        hint = near if near.startswith(" Did") else ""
        raise JobError(f"{key}: {path} does not exist; expected a Parquet file, directory or glob.{hint}")
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise DataError(f"{key}: {path} is empty (0 bytes); expected a Parquet file")
    return path


def _at_uri(path: str, key: str) -> tuple[fs.FileSystem, str, str]:
    """Return a URI's file system, its path there, and the folder below which `key=value` folders are partitions."""
    found = Objects.at(path, key)
    try:
        info = found.filesystem.get_file_info(found.root)
    except OSError as error:
        raise DataError(f"{key}: {path} cannot be read: {reason(error)}") from None
    if info.type == fs.FileType.NotFound:
        globs = "; globs are for local paths" if glob.has_magic(found.root) else ""
        raise JobError(f"{key}: {path} does not exist; expected a Parquet file or directory{globs}")
    if info.is_file and info.size == 0:
        raise DataError(f"{key}: {path} is empty (0 bytes); expected a Parquet file")
    return found.filesystem, found.root, found.root.rpartition("/")[0] if info.is_file else found.root


def _local(path: str, key: str) -> tuple[None, str | list[str], str | None]:
    """Return the same of a path on this machine."""
    source = _source(path, key)
    if not path.startswith("dataset:"):
        delta.refuse_part(path, key)
    return None, source, _base(path, source)


def _base(path: str, source: str | list[str]) -> str | None:
    """Return the folder below which `key=value` folders are partitions; those above the dataset are none of its."""
    if isinstance(source, list):
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(path).parts)
        return str(Path(*fixed))
    return None if Path(source).is_dir() else str(Path(source).parent)


def _unreadable(path: str, key: str, error: BaseException) -> DataError:
    text = str(error).strip()
    reason = (text.splitlines() or [type(error).__name__])[0].removeprefix("Error creating dataset. ")[:200]
    if "magic bytes" in text or "Parquet file size is" in text:
        reason = "it does not have the marks of a Parquet file (another format, or cut off)"
    elif "duplicate field names" in text:
        reason = "two of its columns have the same name; expected names that differ"
    elif re.match(r"Integer value \d+ not in range", text):
        reason = (
            "a column holds whole numbers in one file and other numbers in another, which have no common type "
            f"({reason}); expected one type, such as strings where they are ids"
        )
    file = re.search(r"(?:from|source|names in) '(.+?)'", text)
    return DataError(f"{key}: {file[1] if file else path} cannot be read as Parquet: {reason}")
