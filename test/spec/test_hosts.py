# Jobs of several hosts: data, names, artifacts, failures and logs of each. SPDX-License-Identifier: Apache-2.0
import gzip
import io
import json
import re
import subprocess
import tarfile
import time

import pytest

HOST = 'me=$(hostname); '


def hosts(n, **kw):
    return {"InstanceType": "ml.m5.large", "InstanceCount": n, "VolumeSizeInGB": 1, **kw}


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as t:
        return {m.name: t.extractfile(m).read().decode() for m in t if m.isfile()}


def streams(s, name):
    """Lines by host."""
    logs, found = s.cached("logs"), {}
    for st in logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs",
                                        logStreamNamePrefix=name + "/")["logStreams"]:
        m = re.fullmatch(re.escape(name) + r"/(algo-\d+)-\d{10}", st["logStreamName"])
        got = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=st["logStreamName"],
                                  startFromHead=True)
        found[m[1]] = [e["message"] for e in got["events"]]
    return found


def job_dirs(s, name):
    return {p for p in (s.data / "jobs").iterdir() if (p / "spec.json").exists() and
            json.loads((p / "spec.json").read_text())["name"] == name}


def test_two_hosts_have_their_share_and_a_common_model(server):
    data = {f"{i:02d}": b"%d" % i for i in range(7)}
    uri = server.put("shard2/", data)
    everywhere = server.put("all2/", {"x": b"x"})
    channels = [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "ShardedByS3Key"}}},
        {"ChannelName": "val", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": everywhere}}}]
    d = server.completed(HOST + 'ls /opt/ml/input/data/train > /opt/ml/model/$me; cat /opt/ml/input/data/val/x; echo; '
                         'mkdir -p /opt/ml/output/data; echo $me > /opt/ml/output/data/$me; '
                         'cp /opt/ml/input/config/resourceconfig.json /opt/ml/model/rc-$me; '
                         'cp /opt/ml/input/config/init-config.json /opt/ml/model/ic-$me; '
                         'for h in algo-1 algo-2; do grep -q "[[:space:]]$h$" /etc/hosts || exit 3; done; echo from $me',
                         InputDataConfig=channels, ResourceConfig=hosts(2))
    raw = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
    got = members(raw)
    # contract 14.2: keys in order, dealt to the hosts in turn
    assert got["algo-1"].split() == ["00", "02", "04", "06"]
    assert got["algo-2"].split() == ["01", "03", "05"]
    assert gzip.decompress(raw)[-1024:] == bytes(1024)
    listed = subprocess.run(["tar", "tzf", "-"], input=raw, capture_output=True)
    assert listed.returncode == 0 and listed.stderr == b""
    for n in (1, 2):
        rc, ic = json.loads(got[f"rc-algo-{n}"]), json.loads(got[f"ic-algo-{n}"])
        assert rc["current_host"] == f"algo-{n}" and rc["hosts"] == ["algo-1", "algo-2"]
        assert rc["instance_groups"] == [{"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large",
                                          "hosts": ["algo-1", "algo-2"]}]
        assert ic["hostConfig"] == {"clusterSize": 2, "hostNumber": n}
    # contract 4.2, as observed: the first host's output only
    out = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz"))
    assert members(out) == {"algo-1": "algo-1\n"}
    logs = streams(server, d["TrainingJobName"])
    assert sorted(logs) == ["algo-1", "algo-2"]
    assert "from algo-1" in logs["algo-1"] and "from algo-2" in logs["algo-2"]
    words = [t["Status"] for t in d["SecondaryStatusTransitions"]]
    assert words == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert len(job_dirs(server, d["TrainingJobName"])) == 2
    assert server.leftovers() == []
    server.bloomery("logs", d["TrainingJobName"])
