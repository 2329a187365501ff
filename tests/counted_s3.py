"""An S3 server on loopback that counts what it serves, and a partitioned dataset in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server

N_COLUMNS, N_GROUPS, GROUP_ROWS = 32, 4, 250
PER_DAY = 10


@dataclass
class Served:
    """Bytes of responses, by object; requests for lists of them have the name of the bucket alone."""

    bytes_of: dict[str, int] = field(default_factory=dict)
    n_requests: int = 0

    def clear(self) -> None:
        """Begin again from nothing."""
        self.bytes_of.clear()
        self.n_requests = 0

    @property
    def objects(self) -> dict[str, int]:
        """The bytes of Parquet files alone."""
        return {name: n for name, n in self.bytes_of.items() if name.endswith(".parquet")}


@contextmanager
def counted_server() -> Iterator[tuple[int, Served]]:
    """Start a server, and yield its port and what it has served."""
    served, application, lock = Served(), DomainDispatcherApplication(create_backend_app), threading.Lock()

    def counted(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = b"".join(application(environ, start_response))
        with lock:
            name = environ["PATH_INFO"].strip("/")
            served.n_requests += 1
            if environ["REQUEST_METHOD"] == "GET":
                served.bytes_of[name] = served.bytes_of.get(name, 0) + len(body)
        return [body]

    server = make_server("127.0.0.1", 0, counted, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_days(filesystem: fs.FileSystem, root: str, n_files: int) -> int:
    """Write files of ten a day below `root`, and return how many bytes they are.

    Each has a target `y`, a column `n` that ascends over its row groups, and columns `c0`, `c1` and so on of noise.
    """
    generator, n_bytes = np.random.default_rng(0), 0
    n_rows = N_GROUPS * GROUP_ROWS
    for i in range(n_files):
        columns = {f"c{j}": generator.normal(size=n_rows) for j in range(N_COLUMNS)}
        table = pa.table({"n": np.arange(n_rows), "y": np.arange(n_rows) % 2, **columns})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=GROUP_ROWS)
        content = sink.getvalue()
        n_bytes += content.size
        with filesystem.open_output_stream(f"{root}/day={i // PER_DAY:03}/{i % PER_DAY}.parquet") as out:
            out.write(content)
    return n_bytes


def needed(filesystem: fs.FileSystem, root: str, days: list[str], columns: list[str], groups: list[int]) -> int:
    """Return the fewest bytes that a reader could do with: footers of the files of `days`, chunks of their columns."""
    total = 0
    for day in days:
        for i in range(PER_DAY):
            with filesystem.open_input_file(f"{root}/day={day}/{i}.parquet") as file:
                found = pq.ParquetFile(file).metadata
            total += found.serialized_size + 8
            for group in (found.row_group(g) for g in groups):
                chunks = (group.column(c) for c in range(group.num_columns))
                total += sum(one.total_compressed_size for one in chunks if one.path_in_schema in columns)
    return total
