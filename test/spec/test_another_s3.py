# Channels from and artifacts to another S3 (s3_endpoint in bloomery.conf): here, the store of a second Bloomery.
# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import pathlib
import signal
import subprocess
import time

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


def test_several_hosts_put_one_model_there(server, elsewhere):
    uri = server.put("remote-shards/", {f"{i}": b"x" for i in range(5)})
    d = elsewhere.completed("ls /opt/ml/input/data/train > /opt/ml/model/$(hostname)", ResourceConfig={"InstanceCount": 2},
                            InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": {
                                "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "ShardedByS3Key"}}}])
    got = subprocess.run(["tar", "xzO", "algo-1", "algo-2"], capture_output=True,
                         input=server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    assert got.returncode == 0 and got.stdout.decode().split() == ["0", "2", "4", "1", "3"]
    assert elsewhere.leftovers() == []
    why = elsewhere.failed("echo m > /opt/ml/model/m", ResourceConfig={"InstanceCount": 2},
                           OutputDataConfig={"S3OutputPath": "s3://no-such-bucket-here/x"})
    assert why.startswith("ClientError: Artifact upload failed:") and "no-such-bucket-here" in why, why
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
    assert elsewhere.logs(d["TrainingJobName"]) == [hashlib.sha256(big).hexdigest() + "  -", "0", str(len(big) + 5)]
    assert len(server.artifact(uri + "big")) == len(big)
    assert elsewhere.leftovers() == []


@pytest.mark.parametrize("prefix,keys,why", [
    ("remote-clash/", ["a", "a-b", "a/b"], ["s3://bucket/remote-clash/a and s3://bucket/remote-clash/a/b"]),
    ("remote-up/", ["../up"], ["remote-up/../up", "'..'"]),
])
def test_data_that_cannot_be_placed_fail_the_job(server, elsewhere, prefix, keys, why):
    server.put(prefix, {k: b"x" for k in keys})
    reason = elsewhere.failed("true", channels={"train": f"s3://bucket/{prefix}"})
    assert reason.startswith("ClientError: Data download failed:")
    assert all(w in reason for w in why), reason
    assert elsewhere.leftovers() == []


def test_what_is_not_there_is_refused_at_once(server, elsewhere):
    import botocore.exceptions
    server.put("remote-there/", {"x": b"1"})
    for uri, kind in (("s3://bucket/remote-none/", "S3Prefix"), ("s3://no-such-bucket-here/x", "S3Prefix"),
                      ("s3://bucket/remote-there/", "ManifestFile"), ("s3://bucket/remote-there/y", "ManifestFile")):
        r = elsewhere.request("true", channels={"train": uri})
        r["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] = kind
        with pytest.raises(botocore.exceptions.ClientError) as ex:
            elsewhere.sm.create_training_job(**r)
        assert ex.value.response["Error"]["Code"] == "ValidationException"
        assert f'No S3 objects found under S3 URL "{uri}" given in input data source' in str(ex.value)
    assert elsewhere.sm.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_store_that_is_gone_is_told_at_once(make_server):
    import botocore.exceptions
    import time
    alone = make_server("s3_endpoint = http://127.0.0.1:9\ns3_access_key = a\ns3_secret_key = b\n")
    begun = time.monotonic()
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        alone.create("true", channels={"train": "s3://bucket/x"})
    assert time.monotonic() - begun < 12
    assert ex.value.response["Error"]["Code"] == "ValidationException"
    assert "127.0.0.1" in str(ex.value) and "train" in str(ex.value), ex.value


def test_a_wrong_key_is_told_as_the_service_does(server, make_server):
    import botocore.exceptions
    denied = make_server(f"s3_endpoint = {server.url}\ns3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\ns3_secret_key = wrong\n")
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        denied.create("true", channels={"train": "s3://bucket/x"})
    assert ex.value.response["Error"]["Code"] == "ValidationException"
    assert "s3://bucket/x" in str(ex.value) and "SignatureDoesNotMatch" in str(ex.value), ex.value


def test_data_that_does_not_fit_is_not_even_fetched(server, elsewhere):
    """A gigabyte and a bit, of one object that a manifest names many times."""
    server.put("remote-room/", {"mega": b"x" * (8 << 20),
                                "list": b'[{"prefix":"s3://bucket/remote-room/"}' + b',"mega"' * 140 + b"]"})
    r = elsewhere.request("true", channels={"train": "s3://bucket/remote-room/list"})
    r["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile"
    elsewhere.sm.create_training_job(**r)
    d = elsewhere.wait(r["TrainingJobName"])
    assert d["FailureReason"].startswith("ClientError: Data download failed:Insufficient disk space. The input data is 1.09 GB, "
                                         "the volume 1.00 GB"), d
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]] == ["Starting", "Failed"]


def test_a_stop_ends_the_download(server, elsewhere):
    server.put("remote-slow/", {f"{i:05d}": b"x" * 1000 for i in range(3000)})
    name = elsewhere.create("sleep 60", channels={"train": "s3://bucket/remote-slow/"})
    elsewhere.wait(name, until={"Downloading"})
    elsewhere.sm.stop_training_job(TrainingJobName=name)
    assert elsewhere.wait(name, timeout=30)["TrainingJobStatus"] == "Stopped"
    assert elsewhere.leftovers() == []


class Sluice:
    """In front of a store: passes on what it is asked, until it is told to hold what has `word` in its first line."""

    def __init__(self, url):
        import socket
        import threading
        self.to, self.word, self.held = url.split("/")[2].split(":"), None, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        import threading
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(client,), daemon=True).start()

    def pass_on(self, client):
        import socket
        import threading
        store = socket.create_connection((self.to[0], int(self.to[1])))
        threading.Thread(target=self.copy, args=(store, client), daemon=True).start()
        while data := client.recv(65536):
            if self.word and self.word in data.split(b"\r\n")[0]:
                self.held.set()
                continue
            store.sendall(data)
        store.close()

    @staticmethod
    def copy(store, client):
        try:
            while data := store.recv(65536):
                client.sendall(data)
        except OSError:
            pass


@pytest.fixture
def held(server, make_server):
    sluice = Sluice(server.url)
    s = make_server("stop_grace_seconds = 3\n"
                    f"s3_endpoint = {sluice.url}\ns3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\n"
                    f"s3_secret_key = {server.exports['AWS_SECRET_ACCESS_KEY']}\n")
    s.sluice = sluice
    yield s
    sluice.socket.close()


def test_a_store_that_does_not_answer_is_not_waited_for_at_creation(server, held):
    import botocore.exceptions
    import time
    server.put("held/", {"x": b"1"})
    held.sluice.word = b"max-keys=1"
    begun = time.monotonic()
    with pytest.raises(botocore.exceptions.ClientError, match="cannot be asked"):
        held.create("true", channels={f"c{i}": "s3://bucket/held/" for i in range(20)})
    assert 4 < time.monotonic() - begun < 60      # 20 channels, one after the other, would take 100 s
    assert held.pids("bloomery-fetch") == []
    begun = time.monotonic()
    assert held.sm.list_training_jobs()["TrainingJobSummaries"] == [] and time.monotonic() - begun < 30


def test_a_job_whose_data_is_being_listed_can_be_stopped_and_holds_nobody_up(server, held):
    server.put("held/", {"x": b"1"})
    held.sluice.word = b"list-type=2&prefix=held"      # the list itself; that there is something was asked with max-keys
    name = held.create("true", channels={"train": "s3://bucket/held/"})
    assert held.sluice.held.wait(60), "the list was not asked for"
    second = held.create("echo second")
    held.sm.stop_training_job(TrainingJobName=name)
    assert held.wait(name, timeout=60)["TrainingJobStatus"] == "Stopped"
    assert held.wait(second)["TrainingJobStatus"] == "Completed"
    held.sluice.word = None
    third = held.create("cat /opt/ml/input/data/train/x", channels={"train": "s3://bucket/held/"})
    assert held.wait(third)["TrainingJobStatus"] == "Completed"
    assert held.leftovers() == []


def test_the_server_ends_while_data_is_being_listed_and_lists_it_again(server, held):
    server.put("held/", {"x": b"1"})
    held.sluice.word = b"list-type=2&prefix=held"
    name = held.create("cat /opt/ml/input/data/train/x", channels={"train": "s3://bucket/held/"})
    assert held.sluice.held.wait(60)
    held.stop()
    held.sluice.word = None
    held.start()
    assert held.wait(name)["TrainingJobStatus"] == "Completed"


def put_file(s, key, size):
    """One object of `size` random bytes, and their hash."""
    data = os.urandom(1 << 20) * (size >> 20)
    s.s3.put_object(Bucket="bucket", Key=key, Body=data)
    return hashlib.sha256(data).hexdigest()


def fetcher_of(s):
    """The process that downloads for a job of this server, once it is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                argv = (p / "cmdline").read_bytes().split(b"\0")
                if argv[0].endswith(b"/bloomery-fetch") and argv[1] == b"get" and any(
                        os.readlink(f).startswith(str(s.data) + "/jobs/") for f in (p / "fd").iterdir()):
                    return int(p.name)
            except (OSError, IndexError):
                pass
        time.sleep(0.01)
    raise AssertionError("nothing is downloading")


def test_a_store_that_is_restarted_in_the_middle(make_server, tmp_path):
    """It is gone for 10 s and comes back at the same address: the download goes on from where it was."""
    store = make_server()
    store.s3.create_bucket(Bucket="bucket")
    want = put_file(store, "cut/big", 768 << 20)
    small = {f"{i:03d}": b"%d" % i for i in range(200)}
    store.put("cut/small/", small)
    s = make_server("stop_grace_seconds = 3\n"
                    f"s3_endpoint = {store.url}\ns3_access_key = {store.exports['AWS_ACCESS_KEY_ID']}\n"
                    f"s3_secret_key = {store.exports['AWS_SECRET_ACCESS_KEY']}\n")
    name = s.create("cd /opt/ml/input/data/train; sha256sum < big; cat small/* | sha256sum; find . -type f | wc -l",
                    channels={"train": "s3://bucket/cut/"}, ResourceConfig={"VolumeSizeInGB": 2})
    fetcher = fetcher_of(s)
    os.kill(fetcher, signal.SIGSTOP)           # so that it is in the middle for sure
    store.stop()
    os.kill(fetcher, signal.SIGCONT)
    time.sleep(13)
    assert s.sm.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Downloading"
    store.start()
    d = s.wait(name, timeout=90)
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    lines = s.logs(name)
    assert [x for x in lines if not x.startswith("channel ")] == [
        want + "  -", hashlib.sha256(b"".join(small[k] for k in sorted(small))).hexdigest() + "  -", "201"]
    waiting = [x for x in lines if "trying again" in x]
    assert waiting and waiting[0].startswith("channel 'train': ") and " of 768 MiB, " in waiting[0] and " of 201 objects, " in waiting[0]
    assert s.leftovers() == []


def test_data_larger_than_the_volume_are_refused_before_the_download(server, elsewhere):
    put_file(server, "remote-room/a/x", 700 << 20)
    put_file(server, "remote-room/b/x", 700 << 20)
    name = elsewhere.create("true", channels={"one": "s3://bucket/remote-room/a/", "two": "s3://bucket/remote-room/b/"})
    d = elsewhere.wait(name)
    assert d["TrainingJobStatus"] == "Failed"
    assert d["FailureReason"].startswith("ClientError: Data download failed:Insufficient disk space."), d["FailureReason"]
    assert "raise ResourceConfig.VolumeSizeInGB" in d["FailureReason"]
    assert elsewhere.leftovers() == []


def test_a_download_that_is_killed_fails_the_job(server, elsewhere):
    put_file(server, "remote-kill/big", 700 << 20)
    name = elsewhere.create("true", channels={"train": "s3://bucket/remote-kill/"})
    os.kill(fetcher_of(elsewhere), signal.SIGKILL)
    d = elsewhere.wait(name)
    assert d["TrainingJobStatus"] == "Failed"
    assert "train" in d["FailureReason"] and "bloomery-fetch was ended by signal 9" in d["FailureReason"], d["FailureReason"]
    assert elsewhere.leftovers() == []
