"""Data and runs at `gs://`, by a server on loopback."""

import pyarrow.parquet as pq
import pytest
from gcp_storage_emulator.server import create_server
from pyarrow import fs

import orchestrator
from orchestrator import Data, Job, Search
from orchestrator.data.parquet import BUNDLED


@pytest.fixture
def bucket():
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        place = f"127.0.0.1:{server._api._httpd.server_port}"
        yield fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=place), place
    finally:
        server.stop()


def test_a_run_reads_from_google_and_keeps_its_results_there(bucket):
    filesystem, place = bucket
    with filesystem.open_output_stream("bucket/flowers/iris.parquet") as out:
        pq.write_table(pq.read_table(BUNDLED / "iris.parquet"), out)
    options = f"endpoint_override={place.replace(':', '%3A')}&scheme=http"
    job = Job(
        "flowers",
        Data(f"gs://anonymous@bucket/flowers?{options}", "species"),
        (Search("knn", sampler="grid", space={"n_neighbors": [3, 5]}),),
    )
    result = orchestrator.run(job, f"gs://anonymous@bucket/runs/one?{options}", executor="inline")
    assert result.leaderboard.best.score > 0.9
    table = pq.read_table(BUNDLED / "iris.parquet")
    assert (result.best.predict(table) == table["species"].to_numpy()).mean() > 0.9
    kept = {info.path for info in filesystem.get_file_info(fs.FileSelector("bucket/runs/one", recursive=True))}
    assert {f"bucket/runs/one/{name}" for name in ("leaderboard.parquet", "manifest.json", "best/model.skops")} <= kept
