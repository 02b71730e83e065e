# The pre-flight: `bloomery check` and `bloomery train --dry-run` say of images and requests that are wrong in each way
# what a job then says, and leave nothing behind. SPDX-License-Identifier: Apache-2.0
import base64
import json
import os
import shutil
import struct
import subprocess
import urllib.error
import urllib.request
import uuid

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

SCRIPT = "#!/bin/sh\nexit 0\n"
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/"
AWS_ROLE = "arn:aws:iam::123456789012:role/trainer"


def elf(machine):
    """A 64-bit program of another machine, as far as anybody looks before it is executed."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x400000, 0, 0, 0, 64, 56, 0, 0, 0, 0)
    return head + bytes(64)


def check(server, *args):
    """The exit status and the answer of `bloomery check --json`."""
    done = server.bloomery("check", "--json", *args)
    assert done.returncode in (0, 3, 4), done.stderr
    return done.returncode, json.loads(done.stdout)


def found(report, level, where=None):
    return [f for f in report["Findings"] if f["Level"] == level and where in (None, f["Where"])]


def post(server, path, body):
    """The server's own endpoint, as any client may ask it. Returns the status and the JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    req = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"}, method="POST")
    pair = server.exports["AWS_ACCESS_KEY_ID"] + ":" + server.exports["AWS_SECRET_ACCESS_KEY"]
    req.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    try:
        with urllib.request.urlopen(req, timeout=60) as got:
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as ex:
        return ex.code, json.loads(ex.read() or b"{}")


def fly(server, request, **more):
    status, report = post(server, "/bloomery/preflight/training-job", {"Request": request, **more})
    assert status == 200, report
    return report


@pytest.fixture(scope="module")
def images(server, tmp_path_factory):
    """Makes an image of a few files on top of a busybox: {path: text, bytes, (text, mode) or a link's target}."""
    base = tmp_path_factory.mktemp("images")
    made = {}

    def make(name, files, **options):
        if name in made:
            return name
        root = base / name
        (root / "bin").mkdir(parents=True)
        (root / "etc").mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        os.symlink("busybox", root / "bin/sh")
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ntrainer:x:1234:1235::/:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\ntrainer:x:1235:\n")
        for path, what in files.items():
            at = root / path
            at.parent.mkdir(parents=True, exist_ok=True)
            what, mode = what if isinstance(what, tuple) else (what, 0o755)
            if mode is None:
                os.symlink(what, at)
                continue
            at.write_bytes(what if isinstance(what, bytes) else what.encode())
            at.chmod(mode)
        args = [x for key, values in options.items() for v in values for x in ("--" + key, v)]
        done = server.bloomery("image", "import", *args, name, root)
        assert done.returncode == 0, done.stderr
        made[name] = True
        return name
    yield make
    for name in made:      # other tests look at the list
        assert server.bloomery("image", "remove", name).returncode == 0


TRAIN = "usr/local/bin/train"
# name: files, options of the import, level, where, a part of what is said, and whether a job says the same
WRONG = {
    "no-train": ({}, {}, "fails", "train", "the image has no program 'train' in its PATH", True),
    "no-exec-bit": ({TRAIN: (SCRIPT, 0o644)}, {}, "fails", "train", "there, but not executable", True),
    "crlf": ({TRAIN: "#!/bin/sh\r\nexit 0\r\n"}, {}, "fails", "train", "ends in a carriage return", True),
    "no-interpreter": ({TRAIN: "#!/usr/bin/python9\n"}, {}, "fails", "train",
                       "the interpreter in the first line of /usr/local/bin/train, /usr/bin/python9 does not exist", True),
    "env-without": ({TRAIN: "#!/bin/env python9\n", "bin/env": ("busybox", None)}, {}, "fails", "train",
                    "asks for 'python9', which is not in the image's PATH", False),
    "no-first-line": ({TRAIN: "echo hello\n"}, {}, "fails", "train", "a text without a #! line", True),
    "byte-order-mark": ({TRAIN: "\ufeff" + SCRIPT}, {}, "fails", "train", "byte order mark", False),
    "empty": ({TRAIN: ""}, {}, "fails", "train", "is an empty file", False),
    "dangling": ({TRAIN: ("/opt/gone", None)}, {}, "fails", "train", "symbolic link to /opt/gone", True),
    "foreign": ({TRAIN: elf(183)}, {}, "fails-here", "train", "is built for arm64", True),
    "foreign-at-aws": ({TRAIN: elf(183)}, {}, "fails-on-aws", "Architecture", "the image is for arm64", False),
    "entrypoint-gone": ({TRAIN: SCRIPT}, {"entrypoint": ["/opt/program"]}, "fails", "train",
                        "the program /opt/program does not exist", True),
    "no-such-user": ({TRAIN: SCRIPT}, {"user": ["nobody-here"]}, "fails", "USER", "its /etc/passwd has no user", True),
    "not-for-user": ({TRAIN: (SCRIPT, 0o700)}, {"user": ["trainer"]}, "fails", "USER",
                     "user trainer (1234:1235) may not execute /usr/local/bin/train", False),
    "other-user": ({TRAIN: SCRIPT}, {"user": ["trainer"]}, "warning", "USER", "write neither /opt/ml/model", False),
    "only-interpreter": ({}, {"entrypoint": ["/bin/sh"]}, "fails", "ENTRYPOINT", "is only an interpreter", False),
    "no-script": ({}, {"entrypoint": ["/bin/sh", "/opt/run.sh"]}, "fails", "ENTRYPOINT",
                  "/bin/sh is to run /opt/run.sh, which the image does not have", False),
    "shell-form": ({}, {"entrypoint": ["/bin/sh", "-c", "exit 0"]}, "warning", "ENTRYPOINT", "a shell's command line", False),
    "tini": ({TRAIN: SCRIPT, "bin/tini": SCRIPT}, {"entrypoint": ["/bin/tini", "-g", "--"]}, "warning", "ENTRYPOINT",
             "the entrypoint is tini", False),
    "tini-and-nothing": ({"bin/tini": SCRIPT}, {"entrypoint": ["/bin/tini", "--"]}, "fails", "train",
                         "no program 'train'", False),
    "below-model": ({"opt/ml/model/run": SCRIPT}, {"entrypoint": ["/opt/ml/model/run"]}, "fails-on-aws", "/opt/ml/model",
                    "lies in /opt/ml/model", False),
    "brings-input": ({TRAIN: SCRIPT, "opt/ml/input/data/x": "x"}, {}, "warning", "/opt/ml/input", "the image has files in", False),
    "key": ({TRAIN: SCRIPT}, {"env": ["AWS_SECRET_ACCESS_KEY=secret"]}, "warning", "ENV", "AWS_SECRET_ACCESS_KEY", False),
}


@pytest.mark.parametrize("name", WRONG)
def test_image(server, images, name):
    files, options, level, where, words, job_too = WRONG[name]
    images(name, files, **options)
    status, report = check(server, name)
    hits = [f for f in found(report, level, where) if words in f["What"]]
    assert len(hits) == 1, report["Findings"]
    assert status == (3 if level in ("fails", "fails-here") or found(report, "fails-here") else 0)
    if job_too:
        reason = server.failed(image=name)
        assert hits[0]["What"][:60] in reason, "a job says the same"


def test_loader(server, images, tmp_path):
    (tmp_path / "t.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-o", tmp_path / "t", tmp_path / "t.c", "-Wl,--dynamic-linker=/lib/ld-other.so.1"], check=True)
    images("loader", {TRAIN: (tmp_path / "t").read_bytes()})
    status, report = check(server, "loader")
    assert status == 3 and "needs the loader /lib/ld-other.so.1" in found(report, "fails", "train")[0]["What"]


def test_good_image(server, images):
    images("good", {TRAIN: SCRIPT, "usr/local/bin/serve": SCRIPT})
    status, report = check(server, "good")
    assert status == 0 and [f["Where"] for f in report["Findings"]] == ["TrainingImage"], "a name that AWS does not take"
    assert check(server, "good", "--aws")[0] == 4
    assert report["Program"]["Path"] == "/usr/local/bin/train" and report["Image"]["Digest"].startswith("sha256:")
    status, report = check(server, "good", "--serve")
    assert status == 0 and report["Program"]["Path"] == "/usr/local/bin/serve"
    text = server.bloomery("check", "good").stdout
    assert "program /usr/local/bin/train, a script for /bin/sh" in text and "fails at AWS: TrainingImage" in text
    status, report = check(server, "busy", "--serve")
    assert status == 3 and "no program 'serve'" in found(report, "fails", "serve")[0]["What"]


def test_names(server):
    status, report = check(server, "never-imported")
    assert status == 3 and "there is no image never-imported" in found(report, "fails-here", "TrainingImage")[0]["What"]
    assert server.bloomery("check").returncode == 2
    for name in ("a b", "../../etc/passwd", "x" * 5000):
        status, report = check(server, name)
        assert status == 3 and "is no name of an image" in found(report, "fails", "TrainingImage")[0]["What"]
    status, report = check(server, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/busy")
    assert "registry of region eu-west-1" in found(report, "fails-on-aws", "TrainingImage")[0]["What"]
    status, report = check(server, ECR + "busy", "--aws")
    assert (status, report["Verdict"], report["Findings"]) == (0, "passes", []), "the local image of that name, and all is well"


# ---- dry runs ----

def refusal(server, request):
    with pytest.raises((botocore.exceptions.ClientError, urllib.error.HTTPError)) as ex:
        server.call("CreateTrainingJob", request)
    text = ex.value.read() if isinstance(ex.value, urllib.error.HTTPError) else b""
    j = json.loads(text)
    return j.get("message") or j.get("Message")


def broken(request, where, value):
    *path, last = where.split(".")
    at = request
    for p in path:
        at = at[int(p)] if p.isdigit() else at[p]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return request


BROKEN = {
    "name": ("TrainingJobName", "under_score"),
    "type": ("ResourceConfig.InstanceType", "ml.m5.huge"),
    "no-image": ("AlgorithmSpecification.TrainingImage", None),
    "no-resources": ("ResourceConfig", None),
    "volume": ("ResourceConfig.VolumeSizeInGB", 0),
    "runtime": ("StoppingCondition.MaxRuntimeInSeconds", 2419201),
    "wait": ("StoppingCondition.MaxWaitTimeInSeconds", 7200),
    "regex": ("AlgorithmSpecification.MetricDefinitions", [{"Name": "loss", "Regex": "loss=([0-9"}]),
    "role": ("RoleArn", "arn:aws:iam::1:user/x"),
    "output": ("OutputDataConfig.S3OutputPath", "s3://no-such-bucket/x"),
    "data": ("InputDataConfig.0.DataSource.S3DataSource.S3Uri", "s3://bucket/nothing/here/"),
    "gzip": ("InputDataConfig.0.CompressionType", "Gzip"),
    "file-system": ("InputDataConfig.0.DataSource", {"FileSystemDataSource": {
        "FileSystemId": "fs-0123456789abcdef0", "FileSystemType": "EFS", "FileSystemAccessMode": "ro", "DirectoryPath": "/x"}}),
    "provider": ("AlgorithmSpecification.TrainingImageConfig", {"TrainingRepositoryAccessMode": "Vpc",
        "TrainingRepositoryAuthConfig": {"TrainingRepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:1:function:x"}}),
    "algorithm": ("AlgorithmSpecification", {"AlgorithmName": "no-such-algorithm", "TrainingInputMode": "File"}),
    "vpc": ("VpcConfig", {"SecurityGroupIds": ["sg-00000000"], "Subnets": ["subnet-00000000"]}),
}


@pytest.fixture(scope="module")
def data(server):
    return server.put("preflight/data/", {f"{i}.txt": b"x" * 100 for i in range(5)})


@pytest.mark.parametrize("name", BROKEN)
def test_same_as_create(server, data, name):
    """What CreateTrainingJob refuses a dry run says, in the same words."""
    request = broken(server.request(channels={"train": data}), *BROKEN[name])
    said = refusal(server, request)
    report = fly(server, request)
    failures = found(report, "fails") + found(report, "fails-here")
    assert failures and all(f["What"] in said or said in f["What"] for f in failures), (said, report["Findings"])
    assert report["Verdict"] in ("fails", "fails-here")


def test_all_at_once(server, data):
    request = server.request(channels={"train": data, "b": data})
    for where, value in (BROKEN["name"], BROKEN["type"], ("OutputDataConfig.S3OutputPath", "ftp://x"),
                         ("HyperParameters", {"k": "v" * 2501})):
        broken(request, where, value)
    report = fly(server, request)
    assert {f["Where"] for f in found(report, "fails")} == {
        "TrainingJobName", "ResourceConfig.InstanceType", "OutputDataConfig.S3OutputPath", "HyperParameters"}
    assert not report["Complete"]
    request = server.request(channels={"train": data, "b": data})
    for where, value in (BROKEN["runtime"], BROKEN["regex"], BROKEN["gzip"], ("InputDataConfig.1.ChannelName", "train"),
                         ("ResourceConfig.VolumeSizeInGB", 0)):
        broken(request, where, value)
    wheres = [f["Where"] for f in found(fly(server, request), "fails")]
    assert wheres == ["ResourceConfig", "StoppingCondition", "InputDataConfig[0]", "InputDataConfig[1]",
                      "AlgorithmSpecification.MetricDefinitions[0]"]
    request = server.request(channels={"train": "s3://bucket/no/1", "b": "s3://bucket/no/2"}, image="never-imported")
    broken(request, *BROKEN["output"])
    report = fly(server, request)
    assert [f["Where"] for f in found(report, "fails-here")] == [
        "InputDataConfig[0]", "InputDataConfig[1]", "OutputDataConfig.S3OutputPath", "TrainingImage"]


def everything(server):
    jobs = [j["TrainingJobName"] for j in server.sm.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]]
    buckets = [b["Name"] for b in server.s3.list_buckets()["Buckets"]]
    return jobs, buckets, sorted(os.listdir(server.data / "jobs")), os.listdir(server.data / "probes")


def test_nothing_is_made(server, data, tmp_path):
    fly(server, server.request(channels={"train": data}))
    before = everything(server)
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}").write_bytes(b"y" * 10)
    done = server.bloomery("train", "--dry-run", "--json", "--image", "busy", "-c", f"train={tmp_path}/in", "-t", "ml.m5.large",
                           "--bucket", "a-bucket-to-be")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["Complete"], done.stdout + done.stderr
    [channel] = report["Channels"]
    assert (channel["ChannelName"], channel["Objects"], channel["Bytes"]) == ("train", 3, 30)
    fly(server, server.request(channels={"train": data}))
    assert everything(server) == before and before[3] == []


def test_channels(server, data):
    server.s3.put_object(Bucket="bucket", Key="preflight/m", Body=json.dumps(
        [{"prefix": "s3://bucket/preflight/data/"}, "0.txt", "gone.txt"]))
    request = server.request(channels={"train": data, "m": "s3://bucket/preflight/m"})
    request["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile"
    report = fly(server, request)
    train, manifest = report["Channels"]
    assert (train["Objects"], train["Bytes"]) == (5, 500)
    assert "gone.txt" in manifest["Fault"] and found(report, "fails-here", "InputDataConfig[1]")[0]["What"] == manifest["Fault"]
    request = server.request(channels={"train": data}, ResourceConfig={"InstanceCount": 8})
    request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    report = fly(server, request)
    assert report["Channels"][0]["Shares"] == 8
    assert "some hosts get none" in found(report, "warning", "InputDataConfig[0]")[0]["What"]


def test_room(server):
    """What File mode puts onto a volume at AWS; here the objects of the own store take no room on it."""
    request = server.request(channels={"train": "s3://bucket/to-come/"})
    report = fly(server, request, Uploads={"train": {"Objects": 2, "Bytes": 3 << 30}})
    assert found(report, "fails-on-aws", "ResourceConfig.VolumeSizeInGB") and not found(report, "fails-here")
    request["InputDataConfig"][0]["InputMode"] = "FastFile"
    report = fly(server, request, Uploads={"train": {"Objects": 2, "Bytes": 3 << 30}})
    assert not found(report, "fails-on-aws", "ResourceConfig.VolumeSizeInGB")


def test_aws_and_warnings(server, data):
    request = server.request(channels={"train": data}, HyperParameters={"opt": '"adam"'},
                             ResourceConfig={"InstanceType": "ml.p3.2xlarge", "VolumeSizeInGB": 20000},
                             AlgorithmSpecification={"MetricDefinitions": [
                                 {"Name": "a", "Regex": "a=([0-9\\.]+)"}, {"Name": "b", "Regex": "b=[0-9]+"},
                                 {"Name": "c", "Regex": "c=([-+0-9.eE]+)"}]})
    report = fly(server, request)
    assert not found(report, "fails") and not found(report, "fails-here"), report["Findings"]
    assert report["Verdict"] == "fails-on-aws"
    assert {"TrainingImage", "RoleArn", "ResourceConfig.VolumeSizeInGB"} == {f["Where"] for f in found(report, "fails-on-aws")}
    warned = {f["Where"] for f in found(report, "warning")}
    assert {"HyperParameters.opt", "AlgorithmSpecification.MetricDefinitions[0].Regex",
            "AlgorithmSpecification.MetricDefinitions[1].Regex", "ResourceConfig"} <= warned
    assert "AlgorithmSpecification.MetricDefinitions[2].Regex" not in warned
    request = server.request(channels={"train": data}, EnableManagedSpotTraining=True)
    report = fly(server, request)
    assert "StoppingCondition.MaxWaitTimeInSeconds" in {f["Where"] for f in found(report, "fails-on-aws")}
    assert found(report, "warning", "CheckpointConfig")
    request = server.request(channels={"train": data}, image=ECR + "busy", RoleArn=AWS_ROLE)
    assert fly(server, request)["Verdict"] == "passes"


def test_taken_name(server):
    name = server.create("exit 0")
    report = fly(server, server.request(name=name.upper()))
    assert "already exists" in found(report, "fails-here", "TrainingJobName")[0]["What"]
    server.wait(name)


def test_algorithm(server):
    name = "preflight-" + uuid.uuid4().hex[:8]
    hyper = [{"Name": "epochs", "Type": "Integer", "IsRequired": True,
              "Range": {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "100"}}}]
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification={
        "TrainingImage": "busy", "SupportedTrainingInstanceTypes": ["ml.m5.large"], "SupportedHyperParameters": hyper,
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        "TrainingChannels": [{"Name": "train", "IsRequired": True, "SupportedContentTypes": ["text/csv"],
                              "SupportedInputModes": ["File"]}]})
    request = server.request(HyperParameters={"epochs": "0", "other": "x"})
    request["AlgorithmSpecification"] = {"AlgorithmName": name, "TrainingInputMode": "File"}
    said = refusal(server, request)
    report = fly(server, request)
    faults = found(report, "fails-here", "AlgorithmSpecification.AlgorithmName")
    assert len(faults) == 3 and all(f["What"] in said for f in faults), "each rule by itself"
    status, report = check(server, "busy", "--algorithm", name)
    assert status == 0 and found(report, "warning", "TrainingSpecification.MetricDefinitions[0].Regex")
    status, report = check(server, "--algorithm", name)
    assert status == 0 and report["Program"]["Path"] == "/usr/local/bin/train"
    done = server.bloomery("train", "--dry-run", "--algorithm", name, "-t", "ml.m5.large", "--hp", "epochs=3")
    assert done.returncode == 3 and "train" in done.stdout
    server.sm.delete_algorithm(AlgorithmName=name)
    assert server.bloomery("check", "--algorithm", name).returncode == 1


def test_request_file(server, data, tmp_path):
    request = server.request(channels={"train": data})
    (tmp_path / "r.json").write_text(json.dumps(request))
    done = server.bloomery("train", "--dry-run", "--json", "--request", tmp_path / "r.json")
    assert done.returncode == 0 and json.loads(done.stdout) == fly(server, request)
    assert server.bloomery("train", "--dry-run", "--aws", "--request", tmp_path / "r.json").returncode == 4
    assert server.bloomery("train", "--dry-run", "--image", "x", "--request", tmp_path / "r.json").returncode == 2
    broken(request, *BROKEN["name"])
    (tmp_path / "r.json").write_text(json.dumps(request))
    assert server.bloomery("train", "--dry-run", "--request", tmp_path / "r.json").returncode == 3


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"Request": 5}', b'{"Request": {"HyperParameters": 7}}',
                                  b'{"Request": {}, "Uploads": [], "Buckets": {}}', b'{"Request": ' + b'[' * 3000,
                                  json.dumps({"Request": {"TrainingJobName": "x" * 1000000}}).encode()])
def test_hostile(server, body):
    status, answer = post(server, "/bloomery/preflight/training-job", body)
    assert status in (200, 400), answer
    if status == 200:
        assert answer["Verdict"] == "fails" and not answer["Complete"]
    else:
        assert answer["message"]
    assert post(server, "/bloomery/preflight/image", body)[0] in (200, 400)


def test_entrypoint_of_the_request(server):
    request = server.request(AlgorithmSpecification={"ContainerEntrypoint": ["/opt/none"]})
    assert "/opt/none does not exist" in found(fly(server, request), "fails", "train")[0]["What"]
    request = server.request(AlgorithmSpecification={"ContainerEntrypoint": ["/bin/sh"], "ContainerArguments": ["-c", "exit 0"]})
    assert not found(fly(server, request), "fails")
    request = server.request(AlgorithmSpecification={"ContainerEntrypoint": ["x" * 256] * 100, "ContainerArguments": ["\u0001" * 256] * 100})
    assert "too long" in found(fly(server, request), "warning", "TrainingImage")[0]["What"]


def test_a_role_may_ask_for_what_it_may_create(make_server, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["bloomery:Preflight", "iam:PassRole", "s3:*"], "Resource": "*"},
        {"Effect": "Allow", "Action": "sagemaker:CreateTrainingJob", "Resource": "arn:aws:sagemaker:*:*:training-job/mine-*"}]}))
    tmp_path.chmod(0o755)
    role = "arn:aws:iam::000000000000:role/asks"
    own = make_server(f"role.{role} = {tmp_path}/p.json\n")
    c = own.cached("sts").assume_role(RoleArn=role, RoleSessionName="asks")["Credentials"]
    creds = botocore.credentials.Credentials(c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])

    def ask(path, body):
        data = json.dumps(body).encode()
        req = botocore.awsrequest.AWSRequest("POST", own.url + path, data=data, headers={"Content-Type": "application/json"})
        botocore.auth.SigV4Auth(creds, "bloomery", own.exports["AWS_REGION"]).add_auth(req)
        try:
            with urllib.request.urlopen(urllib.request.Request(own.url + path, data, dict(req.headers)), timeout=60) as got:
                return got.status, json.loads(got.read())
        except urllib.error.HTTPError as ex:
            return ex.code, json.loads(ex.read())

    status, report = ask("/bloomery/preflight/training-job", {"Request": own.request(name="mine-1", RoleArn=role)})
    assert status == 200 and not found(report, "fails-here"), report
    status, refused = ask("/bloomery/preflight/training-job", {"Request": own.request(name="other", RoleArn=role)})
    assert status == 403 and "sagemaker:CreateTrainingJob" in refused["message"]
    status, refused = ask("/bloomery/preflight/image", {"AlgorithmName": "any"})
    assert status == 403 and "sagemaker:DescribeAlgorithm" in refused["message"]


def test_nobody_without_a_key(server):
    req = urllib.request.Request(server.url + "/bloomery/preflight/image", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as ex:
        urllib.request.urlopen(req, timeout=30)
    assert ex.value.code in (400, 401, 403)
