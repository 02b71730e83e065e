# Channels from and artifacts to another S3 (s3_endpoint in bloomery.conf): here, the store of a second Bloomery.
# SPDX-License-Identifier: Apache-2.0
import hashlib
import subprocess

import pytest


@pytest.fixture
def elsewhere(server, make_server):
    return make_server("stop_grace_seconds = 3\n"
                       f"s3_endpoint = {server.url}\ns3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\n"
                       f"s3_secret_key = {server.exports['AWS_SECRET_ACCESS_KEY']}\n")


def test_data_comes_from_there_and_artifacts_go_there(server, elsewhere):
    uri = server.put("remote/data", {"/one": b"1", "/sub/two": b"two", "set/three": b"3", "/folder/": b""})
    d = elsewhere.completed("cd /opt/ml/input/data; cp train-manifest /opt/ml/model/; cd train; find . | sort > /opt/ml/model/tree; "
                            "cat sub/two > /opt/ml/output/data/two; stat -c '%a %U' one sub > /opt/ml/model/modes",
                            channels={"train": uri})
    got = subprocess.run(["tar", "xzO", "tree"], input=server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]), capture_output=True)
    assert got.stdout.decode().split() == [".", "./dataset", "./dataset/three", "./folder", "./one", "./sub", "./sub/two"]
    got = subprocess.run(["tar", "xzO", "train-manifest"], input=server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]),
                         capture_output=True)
    assert got.stdout.decode().splitlines() == ["remote/data", "s3://bucket/remote/data/folder/", "s3://bucket/remote/data/one",
                                                "s3://bucket/remote/data/sub/two", "s3://bucket/remote/dataset/three"]
    got = subprocess.run(["tar", "xzO", "modes"], input=server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]), capture_output=True)
    assert got.stdout == b"644 root\n755 root\n"
    out = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz"))
    assert subprocess.run(["tar", "xzO", "two"], input=out, capture_output=True).stdout == b"two"
    assert elsewhere.leftovers() == []


def test_uncompressed_artifacts_go_there_too(server, elsewhere):
    d = elsewhere.call("DescribeTrainingJob", {"TrainingJobName": elsewhere_uncompressed(elsewhere)})
    assert d["TrainingJobStatus"] == "Completed", d
    prefix = f"out/{d['TrainingJobName']}/output/"
    keys = [o["Key"] for o in server.s3.list_objects_v2(Bucket="bucket", Prefix=prefix)["Contents"]]
    assert keys == [prefix + "model/a/b", prefix + "output/o"]


def elsewhere_uncompressed(s):
    """Debian's client does not know CompressionType of OutputDataConfig."""
    r = s.request("mkdir /opt/ml/model/a; echo b > /opt/ml/model/a/b; echo o > /opt/ml/output/data/o")
    r["OutputDataConfig"]["CompressionType"] = "NONE"
    s.call("CreateTrainingJob", r)
    s.wait(r["TrainingJobName"])
    return r["TrainingJobName"]


def test_a_bad_key_there_fails_with_the_services_words(server, elsewhere):
    uri = server.put("remote-odd/", {"a//b": b"1"})
    assert elsewhere.failed("true", channels={"train": uri}).startswith(
        "ClientError: Data download failed:Failed to download data. S3 key: s3://bucket/remote-odd/a//b has an illegal char "
        "sub-sequence '//' in it")


def test_a_bucket_that_is_not_there(elsewhere):
    why = elsewhere.failed("echo m > /opt/ml/model/m", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket-here/x"})
    assert why.startswith("ClientError: Artifact upload failed:") and "no-such-bucket-here" in why, why
    assert elsewhere.leftovers() == []


def test_a_large_object_comes_whole(server, elsewhere):
    big = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(1 << 20))      # 32 MiB: several ranges
    uri = server.put("remote-big/", {"big": big, "empty": b""})
    d = elsewhere.completed("cd /opt/ml/input/data/train; sha256sum < big; wc -c < empty; echo more >> big; wc -c < big",
                            channels={"train": uri})
    assert elsewhere.logs(d["TrainingJobName"])[1:] == [hashlib.sha256(big).hexdigest() + "  -", "0", str(len(big) + 5)]
    assert len(server.artifact(uri + "big")) == len(big)
    assert elsewhere.leftovers() == []


@pytest.mark.parametrize("prefix,keys,why", [
    ("remote-clash/", ["a", "a-b", "a/b"], ["s3://bucket/remote-clash/a and s3://bucket/remote-clash/a/b"]),
    ("remote-up/", ["../up"], ["remote-up/../up", "'..'"]),
    ("remote-none/", [], ['No S3 objects found under S3 URL "s3://bucket/remote-none/"']),
])
def test_data_that_cannot_be_placed_fail_the_job(server, elsewhere, prefix, keys, why):
    server.put(prefix, {k: b"x" for k in keys})
    reason = elsewhere.failed("true", channels={"train": f"s3://bucket/{prefix}"})
    assert reason.startswith("ClientError: Data download failed:")
    assert all(w in reason for w in why), reason
    assert elsewhere.leftovers() == []


def test_a_stop_ends_the_download(server, elsewhere):
    server.put("remote-slow/", {f"{i:05d}": b"x" * 1000 for i in range(3000)})
    name = elsewhere.create("sleep 60", channels={"train": "s3://bucket/remote-slow/"})
    elsewhere.wait(name, until={"Downloading"})
    elsewhere.sm.stop_training_job(TrainingJobName=name)
    assert elsewhere.wait(name, timeout=30)["TrainingJobStatus"] == "Stopped"
    assert elsewhere.leftovers() == []
