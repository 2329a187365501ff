"""The repository's cluster.yaml, brought up against a stand-in for AWS as far as a head that has been launched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hosts import REPOSITORY, missing

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
if lack := missing():
    pytestmark.append(pytest.mark.skip(reason=lack))


def test_launcher_starts_the_head_that_the_file_describes(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))
    config["provider"]["use_internal_ips"] = True  # the stand-in makes public addresses up, and they may be somebody's
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    done = subprocess.run(
        ["unshare", "--net", sys.executable, Path(__file__).with_name("moto_aws.py"), file],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (head,) = json.loads(done.stdout.splitlines()[-1])
    tags = {tag["Key"]: tag["Value"] for tag in head["Tags"]}
    wanted = config["available_node_types"]["head"]["node_config"]
    assert (head["InstanceType"], head["ImageId"]) == (wanted["InstanceType"], wanted["ImageId"])
    assert head["State"]["Name"] == "running"
    assert head.get("InstanceLifecycle") != "spot"
    assert tags["ray-cluster-name"] == config["cluster_name"]
    assert tags["ray-node-type"] == "head"
    assert tags["ray-user-node-type"] == "head"
    assert head["SecurityGroups"]
    assert head["IamInstanceProfile"]
