# What a channel may name and in which shape it arrives: prefixes, manifests, augmented manifests, file systems, instance
# groups; and what is refused. What a container saw is compared with a computation of its own from the same objects, by
# the rules of doc/channels.md.
# SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import json
import struct
import time

import botocore.exceptions
import pytest

MASK = 2**64 - 1


def splitmix64(state):
    state = (state + 0x9e3779b97f4a7c15) & MASK
    z = state
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9 & MASK
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb & MASK
    return state, z ^ (z >> 31)


def shuffled(units, seed, epoch):
    if seed is None:
        return list(units)
    v = list(units)
    state = splitmix64((splitmix64(seed & MASK)[1] + epoch) & MASK)[1]
    for i in range(len(v), 1, -1):
        limit, x = MASK - MASK % i, MASK
        while x >= limit:
            state, x = splitmix64(state)
        v[i - 1], v[x % i] = v[x % i], v[i - 1]
    return v


def record(data):
    return struct.pack("<II", 0xCED7230A, len(data)) + data + bytes(-len(data) % 4)


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ---- the data: a folder, a manifest that takes some of it in its own order, lines with attributes ----

KEYS = ["a", "b/1.csv", "b/2.csv", "c d", "empty", "z\u00fc"]
ENTRIES = ["z\u00fc", "a", "b/2.csv", "empty"]
ATTRIBUTES = ["label", "x-ref", "name"]


@pytest.fixture(scope="module")
def elsewhere(server, rootfs):
    """A second Bloomery, whose S3 is the first's."""
    import pathlib
    import shutil
    import tempfile
    import conftest
    base = tempfile.mkdtemp(prefix="bloomery-sources-")
    s = conftest.Server(pathlib.Path(base) / "data", conf=(
        f"stop_grace_seconds = 3\ncapacity_cpus = 8\ncapacity_memory = 68719476736\ns3_endpoint = {server.url}\n"
        f"s3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\ns3_secret_key = {server.exports['AWS_SECRET_ACCESS_KEY']}\n")).start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    yield s
    left = s.leftovers()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


@pytest.fixture(scope="module")
def data(server):
    raw = {k: b"" if k == "empty" else (k.encode() + b"\n") * (3 + 1000 * i) for i, k in enumerate(KEYS)}
    # several gzip members in one object are one stream
    zipped = {k: gzip.compress(v[:7], mtime=0) + gzip.compress(v[7:], mtime=0) for k, v in raw.items()}
    for folder, objects in (("plain", raw), ("gz", zipped)):
        server.put(f"shapes/{folder}/", objects)
        manifest = "[" + json.dumps({"prefix": f"s3://bucket/shapes/{folder}/"}) + "".join(",\n " + json.dumps(k) for k in ENTRIES) + "]\n"
        lines = [{"x-ref": f"s3://bucket/shapes/{folder}/{k}", "other": [k], "name": k, "label": {"n": i, "f": [0.5, None]}}
                 for i, k in enumerate(ENTRIES)]
        server.put(f"shapes/{folder}-", {"manifest": manifest.encode(),
                                         "lines": "\n".join(json.dumps(x) for x in lines).encode()})
    return raw


def units(kind, raw):
    """The channel's units, each a list of what stands between seams."""
    if kind == "S3Prefix":
        return [[raw[k]] for k in KEYS]
    if kind == "ManifestFile":
        return [[raw[k]] for k in ENTRIES]
    return [[b'{"n":%d,"f":[0.5,null]}' % i, raw[k], k.encode()] for i, k in enumerate(ENTRIES)]


def channel(kind, mode, zipped=False, wrapped=False, seed=None, distribution=None):
    name = "shapes/" + ("gz" if zipped else "plain")
    s3 = {"S3DataType": kind, "S3Uri": f"s3://bucket/{name}" + {"S3Prefix": "/", "ManifestFile": "-manifest"}.get(kind, "-lines")}
    if kind == "AugmentedManifestFile":
        s3["AttributeNames"] = ATTRIBUTES
    if distribution:
        s3["S3DataDistributionType"] = distribution
    c = {"ChannelName": "train", "InputMode": mode, "DataSource": {"S3DataSource": s3}}
    if zipped:
        c["CompressionType"] = "Gzip"
    if wrapped:
        c["RecordWrapperType"] = "RecordIO"
    if seed is not None:
        c["ShuffleConfig"] = {"Seed": seed}
    return c


def hashes(s, script, c):
    r = s.request(script)
    r["InputDataConfig"] = [c]
    s.sm.create_training_job(**r)
    d = s.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    return [line for line in s.logs(r["TrainingJobName"]) if not line.startswith("channel '")]   # told by the server


EPOCHS = 3
PIPES = "cd /opt/ml/input/data; for i in 0 1 2; do sha256sum < train_$i; done"
FILES = "cd /opt/ml/input/data/train; find . -type f | sort | while read -r f; do sha256sum \"$f\"; done"

SHAPES = [(kind, zipped, wrapped, seed, dist) for kind in ("S3Prefix", "ManifestFile", "AugmentedManifestFile")
          for zipped, wrapped, seed, dist in ((False, False, None, None), (True, False, None, "ShardedByS3Key"), (False, True, 7, None),
                                              (True, True, -1, "ShardedByS3Key"))
          if not (kind == "AugmentedManifestFile" and zipped)]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("kind,zipped,wrapped,seed,dist", SHAPES)
def test_a_pipe_gives_every_epoch_byte_for_byte(server, elsewhere, data, where, kind, zipped, wrapped, seed, dist):
    s = {"here": server, "elsewhere": elsewhere}[where]
    got = hashes(s, PIPES, channel(kind, "Pipe", zipped, wrapped, seed, dist))
    want = []
    for epoch in range(EPOCHS):
        parts = [p for u in shuffled(units(kind, data), seed, epoch) for p in u]
        want.append(sha(b"".join(record(p) for p in parts) if wrapped else b"".join(parts)) + "  -")
    assert got == want
    assert len(set(got)) == (1 if seed is None else EPOCHS), "the seed of this test is to give different orders"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("kind,mode", [("S3Prefix", "File"), ("ManifestFile", "File"), ("S3Prefix", "FastFile")])
@pytest.mark.parametrize("dist,seed", [(None, None), ("ShardedByS3Key", 3)])
def test_files_are_the_objects(server, elsewhere, data, where, kind, mode, dist, seed):
    s = {"here": server, "elsewhere": elsewhere}[where]
    got = hashes(s, FILES, channel(kind, mode, seed=seed, distribution=dist))
    keys = KEYS if kind == "S3Prefix" else ENTRIES
    assert sorted(got) == sorted(f"{sha(data[k])}  ./{k}" for k in keys)


def test_a_manifests_files_lie_relative_to_its_prefix(server, data):
    server.put("shapes/", {"cut": b'[{"prefix":"s3://bucket/sha"},"pes/plain/a"]', "whole": b'[{"prefix":"s3://bucket"},"/shapes/plain/a"]'})
    for name, want in (("cut", "./shapes/plain/a"), ("whole", "./shapes/plain/a")):
        c = channel("ManifestFile", "File")
        c["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://bucket/shapes/{name}"
        assert hashes(server, FILES, c) == [f"{sha(data['a'])}  {want}"]


def test_the_manifest_beside_a_channel_names_all_of_it(server, data):
    c = channel("ManifestFile", "File")
    got = hashes(server, "cat /opt/ml/input/data/train-manifest", c)
    assert got == ["shapes/plain-manifest"] + [f"s3://bucket/shapes/plain/{k}" for k in ENTRIES]


# ---- manifests that are wrong ----

@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("text,why", [
    (b'[{"prefix":"s3://bucket/shapes/plain/"},\n"a",\n"nothing"]', ["entry 2 (line 3)", "s3://bucket/shapes/plain/nothing", "does not exist"]),
    (b'[{"prefix":"s3://bucket/shapes/plain/"},"a"', ["is not JSON"]),
    (b'{"prefix":"s3://bucket/shapes/plain/"}', ["is not a JSON array"]),
    (b'[{"prefix":""},"a"]', ["its first element (line 1)", "s3://bucket/some/prefix/"]),
    (b'[{"prefix":"s3://bucket/shapes/plain/"}]', ["names no objects"]),
    (b'[{"prefix":"s3://bucket/shapes/plain/"}, "a", 5]', ["entry 2 (line 1)", "no string"]),
    (b'[{"prefix":"s3://bucket/"}, "s3://other/x"]', ["entry 1 (line 1)", "one manifest for each bucket"]),
    (b'[{"prefix":"s3://buck"}, "et/shapes/plain/a", "ets/x"]', ["entry 2 (line 1)", '"buckets"', "one bucket"]),
    (b"", ["is not JSON"]),
])
def test_a_wrong_manifest_fails_the_job_and_says_where(server, elsewhere, data, where, text, why):
    s = {"here": server, "elsewhere": elsewhere}[where]
    server.put("shapes/", {"bad": text})
    c = channel("ManifestFile", "File")
    c["DataSource"]["S3DataSource"]["S3Uri"] = "s3://bucket/shapes/bad"
    r = s.request("true")
    r["InputDataConfig"] = [c]
    s.sm.create_training_job(**r)
    reason = s.wait(r["TrainingJobName"])["FailureReason"]
    assert reason.startswith("ClientError: Data download failed:") and "s3://bucket/shapes/bad" in reason, reason
    assert all(w in reason for w in why), reason


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("line,why", [
    ('{"x-ref": "s3://bucket/shapes/plain/a", "name": "x"}', ["line 2", '"label"']),
    ('{"x-ref": "s3://bucket/shapes/plain/none", "name": "x", "label": 1}', ["line 2", '"x-ref"', "s3://bucket/shapes/plain/none"]),
    ('{"x-ref": "not a uri", "name": "x", "label": 1}', ["line 2", '"x-ref"', "not a uri"]),
    ("not json", ["line 2"]),
])
def test_a_wrong_line_fails_the_job_and_says_where(server, elsewhere, data, where, line, why):
    s = {"here": server, "elsewhere": elsewhere}[where]
    good = '{"x-ref": "s3://bucket/shapes/plain/a", "name": "x", "label": 1}'
    server.put("shapes/", {"badlines": f"{good}\n{line}\n{good}\n".encode()})
    c = channel("AugmentedManifestFile", "Pipe")
    c["DataSource"]["S3DataSource"]["S3Uri"] = "s3://bucket/shapes/badlines"
    r = s.request("cat /opt/ml/input/data/train_0 > /dev/null")
    r["InputDataConfig"] = [c]
    s.sm.create_training_job(**r)
    reason = s.wait(r["TrainingJobName"])["FailureReason"]
    assert reason.startswith("ClientError: Data download failed:") and "s3://bucket/shapes/badlines" in reason, reason
    assert all(w in reason for w in why), reason


# ---- what is refused at once ----

def refusal(server, *channels, **kw):
    r = server.request("true", **kw)
    r["InputDataConfig"] = list(channels)
    try:
        server.sm.create_training_job(**r)
    except botocore.exceptions.ClientError as ex:
        assert ex.response["Error"]["Code"] == "ValidationException", ex
        with pytest.raises(botocore.exceptions.ClientError, match="Requested resource not found"):
            server.describe(r["TrainingJobName"])
        return ex.response["Error"]["Message"]
    raise AssertionError("it was taken")


def named(c, name):
    return {**c, "ChannelName": name}


EFS = {"FileSystemId": "fs-00000000000000009", "FileSystemAccessMode": "ro", "FileSystemType": "EFS", "DirectoryPath": "/"}


def test_combinations_that_the_service_refuses(server, data):
    for mode in ("File", "FastFile"):
        assert refusal(server, channel("S3Prefix", mode, zipped=True)) == \
            f"Invalid compression type for channel train: {mode} mode only supports NONE, got Gzip instead"
        assert refusal(server, channel("S3Prefix", mode, wrapped=True)) == \
            f"Invalid record wrapper type for channel train: {mode} mode only supports NONE, got RecordIO instead"
        assert "AugmentedManifestFile" in refusal(server, channel("AugmentedManifestFile", mode))
    assert "FastFile mode only supports S3Prefix, got ManifestFile instead" in refusal(server, channel("ManifestFile", "FastFile"))
    c = channel("AugmentedManifestFile", "Pipe")
    del c["DataSource"]["S3DataSource"]["AttributeNames"]
    assert "AttributeNames" in refusal(server, c)
    c = channel("S3Prefix", "Pipe")
    c["DataSource"]["S3DataSource"]["AttributeNames"] = ["x"]
    assert "AttributeNames" in refusal(server, c)


def test_the_jobs_mode_counts_where_the_channel_has_none(server, data):
    c = channel("S3Prefix", "File", zipped=True)
    del c["InputMode"]
    assert "FastFile mode only supports NONE" in refusal(server, c, AlgorithmSpecification={"TrainingInputMode": "FastFile"})
    r = server.request("sha256sum < /opt/ml/input/data/train_0", AlgorithmSpecification={"TrainingInputMode": "Pipe"})
    r["InputDataConfig"] = [c]
    server.sm.create_training_job(**r)
    assert server.wait(r["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    assert sha(b"".join(data[k] for k in KEYS)) + "  -" in server.logs(r["TrainingJobName"])


def test_sources_that_are_none(server, data):
    good = channel("S3Prefix", "File")
    assert "no data source" in refusal(server, {**good, "DataSource": {}})
    assert "both S3DataSource and FileSystemDataSource" in refusal(
        server, {**good, "DataSource": {**good["DataSource"], "FileSystemDataSource": EFS}})
    assert "'fs-00000000000000009'" in refusal(server, {**good, "DataSource": {"FileSystemDataSource": EFS}})
    for mode in ("Pipe", "FastFile"):
        assert "FileSystemDataSource only supports File" in refusal(
            server, {**good, "InputMode": mode, "DataSource": {"FileSystemDataSource": EFS}})
    assert "DirectoryPath" in refusal(server, {**good, "DataSource": {"FileSystemDataSource": {**EFS, "DirectoryPath": "x"}}})
    for kind in ("ManifestFile", "AugmentedManifestFile"):
        c = channel(kind, "Pipe")
        c["DataSource"]["S3DataSource"]["S3Uri"] = "s3://bucket/shapes/plain"
        assert "No S3 objects found under S3 URL" in refusal(server, c)


def test_members_that_belong_to_a_hub(server, data):
    """Debian's client does not know them, so the requests are our own."""
    import urllib.error
    for member, value in (("ModelAccessConfig", {"AcceptEula": True}),
                          ("HubAccessConfig", {"HubContentArn": "arn:aws:sagemaker:us-east-1:aws:hub-content/h/Model/m"})):
        r = server.request("true")
        r["InputDataConfig"] = [channel("S3Prefix", "File")]
        r["InputDataConfig"][0]["DataSource"]["S3DataSource"][member] = value
        with pytest.raises(urllib.error.HTTPError) as ex:
            server.call("CreateTrainingJob", r)
        assert ex.value.code == 400 and f"{member} is refused: " in json.loads(ex.value.read())["message"]
    for source in ({"S3DataSource": {"S3DataType": "Converse", "S3Uri": "s3://bucket/x"}},
                   {"DatasetSource": {"DatasetArn": "arn:aws:sagemaker:us-east-1:000000000000:hub-content/h/DataSet/d/1.0.0"}}):
        r = server.request("true")
        r["InputDataConfig"] = [{"ChannelName": "train", "DataSource": source}]
        with pytest.raises(urllib.error.HTTPError) as ex:
            server.call("CreateTrainingJob", r)
        assert ex.value.code == 400 and "refused" in json.loads(ex.value.read())["message"]


def test_names_that_would_be_one_path(server, data):
    pipe, file = channel("S3Prefix", "Pipe"), channel("S3Prefix", "File")
    assert "FIFO" in refusal(server, pipe, named(file, "train_0"))
    assert "FIFO" in refusal(server, named(pipe, "train_12"), pipe)
    assert "train-manifest" in refusal(server, file, named(file, "train-manifest"))
    assert "duplicate" in refusal(server, file, pipe)
    assert "20" in refusal(server, *[named(file, f"c{i}") for i in range(21)])


def test_a_fastfile_prefix_within_a_name(server, elsewhere):
    server.put("names/", {"train-01/x": b"1", "train-02/x": b"2", "one": b"3", "two/x": b"4"})
    c = channel("S3Prefix", "FastFile")
    c["DataSource"]["S3DataSource"]["S3Uri"] = "s3://bucket/names/train"
    assert "ends within a name" in refusal(server, c)
    r = elsewhere.request("true")
    r["InputDataConfig"] = [c]
    elsewhere.sm.create_training_job(**r)
    assert "ends within a name" in elsewhere.wait(r["TrainingJobName"])["FailureReason"]
    for uri, want in (("s3://bucket/names/train-01", "./x"), ("s3://bucket/names/one", "./one"), ("s3://bucket/names/two/", "./x")):
        c["DataSource"]["S3DataSource"]["S3Uri"] = uri
        for s in (server, elsewhere):
            assert hashes(s, "cd /opt/ml/input/data/train; find . -type f", c) == [want]


# ---- instance groups and file systems ----

def test_instance_groups_of_one_host(server, data):
    r = server.request("cat /opt/ml/input/config/resourceconfig.json; echo; ls /opt/ml/input/data")
    r["ResourceConfig"] = {"VolumeSizeInGB": 1, "InstanceGroups": [
        {"InstanceGroupName": "none", "InstanceType": "ml.m5.large", "InstanceCount": 0},
        {"InstanceGroupName": "one", "InstanceType": "ml.m5.large", "InstanceCount": 1}]}
    here, away = channel("S3Prefix", "File"), named(channel("S3Prefix", "File"), "away")
    here["DataSource"]["S3DataSource"]["InstanceGroupNames"] = ["one"]
    away["DataSource"]["S3DataSource"]["InstanceGroupNames"] = ["none"]
    r["InputDataConfig"] = [here, away]
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed" and d["ResourceConfig"] == r["ResourceConfig"]
    lines = server.logs(r["TrainingJobName"])
    config = json.loads(next(line for line in lines if line.startswith("{")))
    assert config["current_group_name"] == "one" and config["hosts"] == ["algo-1"]
    assert "train" in lines and not any("away" in line for line in lines)
    r["ResourceConfig"]["InstanceGroups"][0]["InstanceCount"] = 250
    r["TrainingJobName"] += "-2"
    with pytest.raises(botocore.exceptions.ClientError, match="251 hosts are too many for one machine"):
        server.sm.create_training_job(**r)
    here["DataSource"]["S3DataSource"]["InstanceGroupNames"] = ["tpu"]
    assert "'tpu'" in refusal(server, here)


# ---- objects that change while a job reads them ----

@pytest.mark.parametrize("mode,links", [("Pipe", 5000), ("FastFile", 5000), ("FastFile", 0), ("File", 5000)])
def test_what_is_replaced_or_deleted_stays_as_it_was_for_a_running_job(make_server, mode, links):
    """Over a sweep of the store, and a kill of the server in between."""
    s = make_server(f"stop_grace_seconds = 3\nfastfile_links_max = {links}\n")
    s.put("old/", {"a": b"first a\n" * 5, "b": b"first b\n" * 5})
    read = "cat train_1" if mode == "Pipe" else "cat train/a train/b"
    first = "cat train_0 > /dev/null;" if mode == "Pipe" else ""
    r = s.request(f"cd /opt/ml/input/data; {first} sleep 20; {read} | sha256sum")
    r["InputDataConfig"] = [{"ChannelName": "train", "InputMode": mode, "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": "s3://bucket/old/"}}}]
    s.sm.create_training_job(**r)
    s.wait(r["TrainingJobName"], until={"Training"})
    s.put("old/", {"a": b"second\n"})
    s.s3.delete_object(Bucket="bucket", Key="old/b")
    s.stop()
    time.sleep(0.2)
    s.start()
    time.sleep(12)     # the first sweep is ten seconds after the start
    d = s.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    assert sha(b"first a\n" * 5 + b"first b\n" * 5) + "  -" in s.logs(r["TrainingJobName"])
