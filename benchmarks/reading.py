"""How many bytes of a partitioned dataset in an object store are read for a job with filters and few features.

    python benchmarks/reading.py [--files 1000] [--days 5]

An S3 server on loopback (moto) counts the bytes of its responses. The dataset has ten files a day, each of 34 columns
and four row groups; the job takes two columns beside the target, some of the days, and a quarter of the row groups.
Shown are the bytes that were served of Parquet files, beside the fewest that any reader could do with (the footers of
the days' files, and the chunks of the columns in the row groups), and those of the whole dataset. Arrow reads the last
64 KiB of a file to find its footer, which is most of the difference.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from pyarrow import fs

from orchestrator.data.load import load
from orchestrator.job import Data, Validation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from counted_s3 import PER_DAY, counted_server, needed, write_days


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--days", type=int, default=5)
    options = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID="user",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    with counted_server() as (port, served):
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        filesystem = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        filesystem.create_dir("counted")
        n_bytes = write_days(filesystem, "counted/days", options.files)
        for words, filters, features in (
            ("filters and projection", [["day", "<", options.days], ["n", "<", 250]], ["c3", "c20"]),
            ("projection alone", [], ["c3", "c20"]),
        ):
            served.clear()
            begun = time.perf_counter()
            data = Data("s3://counted/days", target="y", features=features, filters=filters, test=None)
            loaded = load(data, Validation(folds=2), None, 3)
            took = time.perf_counter() - begun
            objects, n_requests = dict(served.objects), served.n_requests
            listed = sum(served.bytes_of.values()) - sum(objects.values())
            days = [f"{day:03}" for day in range(options.days if filters else options.files // PER_DAY)]
            groups = [0] if filters else [0, 1, 2, 3]
            least = needed(filesystem, "counted/days", days, ["y", *features, *(["n"] if filters else [])], groups)
            n_served = sum(objects.values())
            print(
                f"{words}: {len(loaded.train.target):,} rows of {len(objects)} of {options.files} files, {took:.1f} s, "
                f"{n_requests} requests\n"
                f"  served {n_served / 1e6:.2f} MB, needed {least / 1e6:.2f} MB, dataset {n_bytes / 1e6:.1f} MB: "
                f"{n_served / least:.2f} of what is needed, {n_served / n_bytes:.4f} of the dataset; "
                f"ends of files {len(objects) * 65536 / 1e6:.2f} MB; lists {listed / 1e6:.2f} MB"
            )


if __name__ == "__main__":
    main()
