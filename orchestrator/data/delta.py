"""Delta tables: which files are theirs now, as their log says. Those that it has removed are still in the folder."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.dataset as ds
from pyarrow import fs

from orchestrator.errors import DataError, JobError

LOG = "_delta_log"


def is_table(filesystem: fs.FileSystem, root: str) -> bool:
    """Tell whether a folder holds a Delta table."""
    return bool(filesystem.get_file_info(f"{root.rstrip('/')}/{LOG}").type == fs.FileType.Directory)


def open_table(path: str, filesystem: fs.FileSystem, root: str, key: str) -> ds.Dataset:
    """Open the newest version of a Delta table.

    Args:
        path: The table's folder or URI.
        filesystem: Where it is.
        root: Its path there.
        key: The key of the job that named it, for messages.

    Raises:
        JobError: The extra `delta` is not installed.
        DataError: The table cannot be read, or has features that only other readers know (deletion vectors).
    """
    if importlib.util.find_spec("deltalake") is None:
        raise JobError(
            f"{key}: {path} is a Delta table ({LOG}), and deltalake is not installed; its folder also holds files that "
            "are no longer part of it. pip install 'batch-orchestrator[delta]'"
        )
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(path.partition("?")[0], storage_options=_options(path))
        return table.to_pyarrow_dataset(filesystem=fs.SubTreeFileSystem(root, filesystem))
    except (DeltaError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{key}: the Delta table {path} cannot be read: {reason}") from None


def refuse_part(path: str, key: str) -> None:
    """Refuse a local path inside a Delta table: which of the files there are the table's, only its log says.

    Raises:
        JobError: A folder above has a log.
    """
    for folder in Path(os.path.abspath(path)).parents:
        if (folder / LOG).is_dir():
            raise JobError(
                f"{key}: {path} lies in the Delta table {folder}, where files may be that are no longer part of it; "
                f"expected the table itself, with data.filters for a part of it"
            )


def _options(path: str) -> dict[str, str]:
    """Return where the store is, as Arrow's options of a URI or the environment say it."""
    given = {name: values[-1] for name, values in parse_qs(urlsplit(path).query).items()}
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if "endpoint_override" in given:
        endpoint = f"{given.get('scheme', 'https')}://{given['endpoint_override'].rpartition('//')[2]}"
    if endpoint is None:
        return {}
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
