"""What is read of a partitioned dataset in an object store, counted by the server."""

import pyarrow as pa
import pytest
from builders import columns
from counted_s3 import PER_DAY, counted_server, needed, write_days
from pyarrow import fs

from orchestrator.data.load import load
from orchestrator.job import Data, Validation

FOOTER_BYTES = 1 << 16
"""What Arrow reads of a file's end to find its footer."""


@pytest.fixture
def stored(folder, monkeypatch):
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "user"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    with counted_server() as (port, served):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        filesystem = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        filesystem.create_dir("counted")
        n_bytes = write_days(filesystem, "counted/days", 4 * PER_DAY)
        yield filesystem, served, n_bytes


def test_filters_and_projection_touch_the_needed_bytes_alone(stored):
    filesystem, served, n_bytes = stored
    served.clear()
    data = Data(
        "s3://counted/days",
        target="y",
        features=["c3", "c20"],
        filters=[["day", "==", 2], ["n", "<", 250]],
        test=None,
    )
    loaded = load(data, Validation(folds=2), None, 3)
    assert len(loaded.train.target) == 250 * PER_DAY
    objects = dict(served.objects)
    assert {name.split("/")[2] for name in objects} == {"day=002"}
    least = needed(filesystem, "counted/days", ["002"], ["n", "y", "c3", "c20"], [0])
    assert least < sum(objects.values()) < least + PER_DAY * FOOTER_BYTES
    assert sum(objects.values()) < n_bytes / 10


def test_a_delta_table_in_a_store_is_read_by_its_log(stored, folder):
    deltalake = pytest.importorskip("deltalake")
    filesystem, served, _ = stored
    for _ in range(2):
        deltalake.write_deltalake(str(folder / "t"), pa.table(columns()), mode="overwrite")
    fs.copy_files(str(folder / "t"), "counted/table", destination_filesystem=filesystem)
    served.clear()
    loaded = load(Data("s3://counted/table", target="y", test=None), Validation(folds=2), None, 3)
    assert len(loaded.train.target) == 40
    assert len(served.objects) == 1
