# kill -9 of the daemons in each step of an algorithm's validation: it goes on where it was, and nothing is made twice.
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import time
import uuid

import pytest
from house import ROOT, Server

CONF = "stop_grace_seconds = 4\ncapacity_cpus = 2\n"
ROLE = "arn:aws:iam::000000000000:role/validator"
VICTIMS = {"bloomeryd": ["bloomeryd"], "both": ["bloomeryd", "bloomery-host"]}


@pytest.fixture(scope="module")
def s(rootfs, tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("crash") / "data", conf=CONF).start()
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run(["cp", "-a", rootfs, root], check=True)
    subprocess.run(["gcc", "-static", "-O1", "-D_GNU_SOURCE", "-pthread", "-o", root / "usr/local/bin/server", ROOT / "test/bench/serve.c"], check=True)
    (root / "usr/local/bin/serve").write_text("#!/bin/sh\nsleep 0.5\nexec /usr/local/bin/server 8080\n")
    (root / "usr/local/bin/serve").chmod(0o755)
    assert s.bloomery("image", "import", "both", root).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    s.put("crash/", {"x.csv": b"1\n22\n333\n"})
    yield s
    s.stop()
    assert s.leftovers() == []


def make(s):
    name = "v-" + uuid.uuid4().hex[:10]
    place = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/crash/"}
    request = dict(
        AlgorithmName=name,
        TrainingSpecification={
            "TrainingImage": "both", "SupportedTrainingInstanceTypes": ["ml.m5.large"],
            "TrainingChannels": [{"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"]}]},
        InferenceSpecification={"Containers": [{"Image": "both"}], "SupportedContentTypes": ["text/csv"],
                                "SupportedResponseMIMETypes": ["text/csv"], "SupportedTransformInstanceTypes": ["ml.m5.large"],
                                "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"]},
        ValidationSpecification={"ValidationRole": ROLE, "ValidationProfiles": [{
            "ProfileName": "p",
            "TrainingJobDefinition": {
                "TrainingInputMode": "File", "HyperParameters": {"script": "echo m > /opt/ml/model/m; sleep 1"},
                "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": place}}],
                "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
                "StoppingCondition": {"MaxRuntimeInSeconds": 600}},
            "TransformJobDefinition": {
                "TransformInput": {"DataSource": {"S3DataSource": place}, "ContentType": "text/csv", "SplitType": "Line"},
                "TransformOutput": {"S3OutputPath": f"s3://bucket/{name}"},
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}}}]})
    s.sm.create_algorithm(**request)
    return name


def training_jobs(s, name):
    return s.sm.list_training_jobs(NameContains=name + "-")["TrainingJobSummaries"]


def models(s, name):
    return s.sm.list_models(NameContains=name + "-")["Models"]


def transform_jobs(s, name):
    return s.sm.list_transform_jobs(NameContains=name + "-")["TransformJobSummaries"]


def secondary(s, name):
    return [s.describe(j["TrainingJobName"])["SecondaryStatus"] for j in training_jobs(s, name)]


# when it is time: what can be seen of the step that is taken, or was just taken
MOMENTS = {
    "asked": lambda s, name: True,
    "training job made": training_jobs,
    "training": lambda s, name: secondary(s, name) == ["Training"],
    "uploading": lambda s, name: secondary(s, name)[:1] in (["Uploading"], ["Completed"]),
    "trained": lambda s, name: secondary(s, name) == ["Completed"],
    "model made": models,
    "transform job made": transform_jobs,
    "serving": lambda s, name: s.drivers(),
    "transformed": lambda s, name: [j["TransformJobStatus"] for j in transform_jobs(s, name)] == ["Completed"],
}


def kill(s, programs):
    for pid in [pid for program in programs for pid in s.pids(program)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert s.up.wait(60) != 0
    s.up = None
    s.start()


@pytest.mark.parametrize("moment, victim", [(m, "bloomeryd") for m in MOMENTS] + [
    (m, "both") for m in ("asked", "training", "serving", "transformed")])
def test_a_validation_goes_on(s, moment, victim):
    name = make(s)
    end = time.monotonic() + 180
    while not MOMENTS[moment](s, name):
        d = s.sm.describe_algorithm(AlgorithmName=name)
        assert d["AlgorithmStatus"] != "Failed", d
        if d["AlgorithmStatus"] == "Completed":      # it was too fast to be seen there
            break
        assert time.monotonic() < end, (d, s.tail())
    kill(s, VICTIMS[victim])
    while (d := s.sm.describe_algorithm(AlgorithmName=name))["AlgorithmStatus"] == "InProgress":
        assert time.monotonic() < end, (d, s.tail())
        time.sleep(0.05)
    assert d["AlgorithmStatus"] == "Completed", d
    assert [st["Status"] for st in d["AlgorithmStatusDetails"]["ValidationStatuses"]] == ["Completed"]
    [job], [model], [transform] = training_jobs(s, name), models(s, name), transform_jobs(s, name)
    assert job["TrainingJobName"] == model["ModelName"] == transform["TransformJobName"]
    assert transform["TransformJobStatus"] == "Completed"
    keys = [o["Key"] for o in s.s3.list_objects_v2(Bucket="bucket", Prefix=name)["Contents"]]
    assert keys == [f"{name}/x.csv.out"]
    assert s.s3.get_object(Bucket="bucket", Key=keys[0])["Body"].read().count(b"\n") == 3
    s.sm.delete_algorithm(AlgorithmName=name)
    assert s.leftovers() == []
