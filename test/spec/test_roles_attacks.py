# A container's session tries to get at another job's output, by every way there is: the built-in default policy.
# SPDX-License-Identifier: Apache-2.0
import json
import urllib.error
import urllib.request

import botocore.config
import pytest

from conftest import ROLE
from test_roles import assume, delete, fails, get, keys, ours, spec, transform, transform_failed  # noqa: F401 (ours is a fixture)

OTHER = "arn:aws:iam::000000000000:role/other"
LOOP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def victim(ours):
    name = ours.create("echo secret > /opt/ml/model/weights", name="victim-1")
    assert ours.wait(name)["TrainingJobStatus"] == "Completed"
    return name, f"out/{name}/output/model.tar.gz"


class Attacker:
    """A job that runs, and its session's clients."""

    def __init__(self, server, sm=None, **kw):
        r = server.request(LOOP, **kw)
        (sm or server.sm).create_training_job(**r)
        self.server, self.name = server, r["TrainingJobName"]
        server.wait(self.name, {"Training"})
        code, c = get(server, spec(server, self.name)["credentials_path"])
        assert code == 200
        self.keys = keys(c)
        self.s3, self.sm, self.sts = (server.client(x, **self.keys) for x in ("s3", "sagemaker", "sts"))

    def end(self):
        self.server.sm.stop_training_job(TrainingJobName=self.name)
        self.server.wait(self.name)


@pytest.fixture(scope="module")
def attacker(ours, victim):
    a = Attacker(ours)
    yield a
    a.end()


def cannot(s3, key, bucket="bucket"):
    """Neither read, nor written, nor listed."""
    fails("AccessDenied", s3.get_object, Bucket=bucket, Key=key)
    fails("AccessDenied", s3.put_object, Bucket=bucket, Key=key, Body=b"other weights")
    fails("AccessDenied", s3.list_objects_v2, Bucket=bucket, Prefix=key.rsplit("/", 1)[0])


def test_s3_itself(ours, attacker, victim):
    s3, key = attacker.s3, victim[1]
    mine = f"out/{attacker.name}/output/mine"
    cannot(s3, key)
    fails("403", s3.head_object, Bucket="bucket", Key=key)
    fails("AccessDenied", s3.get_object, Bucket="bucket", Key=key, Range="bytes=0-0")
    fails("AccessDenied", s3.delete_object, Bucket="bucket", Key=key)
    fails("AccessDenied", s3.copy_object, Bucket="bucket", Key=mine, CopySource=f"bucket/{key}")
    up = s3.create_multipart_upload(Bucket="bucket", Key=mine)["UploadId"]
    fails("AccessDenied", s3.upload_part_copy, Bucket="bucket", Key=mine, UploadId=up, PartNumber=1, CopySource=f"bucket/{key}")
    s3.abort_multipart_upload(Bucket="bucket", Key=mine, UploadId=up)
    fails("AccessDenied", s3.create_multipart_upload, Bucket="bucket", Key=key)
    got = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})
    assert [x["Code"] for x in got["Errors"]] == ["AccessDenied"]
    signer = ours.client("s3", **attacker.keys, config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    for verb in ("get_object", "put_object"):
        url = signer.generate_presigned_url(verb, {"Bucket": "bucket", "Key": key})
        with pytest.raises(urllib.error.HTTPError) as ex:
            urllib.request.urlopen(urllib.request.Request(url, b"x" if verb == "put_object" else None,
                                                          method="PUT" if verb == "put_object" else "GET"))
        assert ex.value.code == 403
    s3.put_object(Bucket="bucket", Key=mine, Body=b"")
    assert s3.get_object(Bucket="bucket", Key=mine)["Body"].read() == b""


def test_another_role_is_the_same_job(ours, attacker, victim):
    c = attacker.sts.assume_role(RoleArn=OTHER, RoleSessionName="more")["Credentials"]
    cannot(ours.client("s3", **keys(c)), victim[1])
    c = ours.client("sts", **keys(c)).assume_role(RoleArn=ROLE, RoleSessionName="back", DurationSeconds=43200)["Credentials"]
    cannot(ours.client("s3", **keys(c)), victim[1])
    assert c["Expiration"].timestamp() <= __import__("time").time() + 3600     # no longer than what it came from
    assert delete(ours, victim[0], attacker.keys) == "AccessDeniedException"


def test_a_channel_of_a_job_of_its_own(ours, attacker, victim):
    refused = fails("AccessDeniedException", attacker.sm.create_training_job,
                    **ours.request("true", channels={"c": f"s3://bucket/out/{victim[0]}/"}))
    assert "s3:ListBucket" in refused and "other jobs" in refused
    ours.put("lists/", {"m": json.dumps([{"prefix": "s3://bucket/out/"}, victim[1][len("out/"):]]).encode()})
    for what in ({"c": "s3://bucket/out/vic"}, {"c": "s3://bucket/out/"}, {"c": "s3://bucket/"}, {"c": "s3://bucket/lists/m"}):
        r = ours.request("sleep 600", channels=what)
        r["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile" if what["c"].endswith("/m") else "S3Prefix"
        attacker.sm.create_training_job(**r)
        d = ours.wait(r["TrainingJobName"])
        assert d["TrainingJobStatus"] == "Failed" and "is another training job's output" in d["FailureReason"], d
        assert f":assumed-role/trainer/{attacker.name} created this job" in d["FailureReason"]
        assert "Creator" not in json.dumps(d, default=str)
    # who has the server's key may say so
    assert ours.completed("test -f /opt/ml/input/data/c/victim-1/output/model.tar.gz", channels={"c": "s3://bucket/out/vic"})


def test_a_transform_job_of_its_own(ours, attacker, victim):
    for prefix in ("s3://bucket/out/vic", "s3://bucket/out/", "s3://bucket/"):
        why = transform_failed(ours, transform(ours, ROLE, prefix, "s3://bucket/mine", attacker.sm), attacker.sm)
        assert "is another training job's output" in why and f"{attacker.name} created this job" in why
    refused = fails("AccessDeniedException", attacker.sm.create_transform_job,
                    **transform(ours, ROLE, "s3://bucket/in/a", f"s3://bucket/out/{victim[0]}/output", attacker.sm))
    assert "s3:PutObject" in refused and "other jobs" in refused
    # who has the server's key may say so
    r = transform(ours, ROLE, "s3://bucket/out/vic", "s3://bucket/mine")
    assert "AlgorithmError" in transform_failed(ours, r)        # the data was no fault


def test_a_channel_that_gets_an_output_later(ours, attacker):
    ours.put("heap/", {"data": b"d"})
    child = Attacker(ours, attacker.sm, channels={"c": "s3://bucket/heap/"})
    own = Attacker(ours, channels={"c": "s3://bucket/heap/"})
    d = ours.completed("echo x > /opt/ml/model/x", OutputDataConfig={"S3OutputPath": "s3://bucket/heap"})
    key = f"heap/{d['TrainingJobName']}/output/model.tar.gz"
    cannot(child.s3, key)
    assert child.s3.get_object(Bucket="bucket", Key="heap/data")["Body"].read() == b"d"
    assert own.s3.get_object(Bucket="bucket", Key=key)["ContentLength"] > 0      # its request names it, and its creator might
    fails("AccessDenied", own.s3.put_object, Bucket="bucket", Key=key, Body=b"")
    child.end()
    own.end()


def test_a_name_that_is_a_folder(ours, attacker, victim):
    said = fails("AccessDeniedException", attacker.sm.create_training_job,
                 **ours.request("true", name="out", OutputDataConfig={"S3OutputPath": "s3://bucket/"}))
    assert 'there are objects in "s3://bucket/out/' in said
    # nor does it when it is meant: what is in there stays others'
    d = ours.completed("echo x > /opt/ml/model/x", OutputDataConfig={"S3OutputPath": "s3://bucket/shelf"})
    child = Attacker(ours, name="shelf", OutputDataConfig={"S3OutputPath": "s3://bucket/"})
    cannot(child.s3, f"shelf/{d['TrainingJobName']}/output/model.tar.gz")
    child.s3.put_object(Bucket="bucket", Key="shelf/output/notes", Body=b"")
    child.end()


def test_places_for_debugging(ours, attacker, victim):
    for sm, where in ((attacker.sm, f"s3://bucket/out/{victim[0]}"), (attacker.sm, "s3://bucket/out"), (None, "s3://bucket/out/"),
                      (None, "s3://bucket")):
        child = Attacker(ours, sm, DebugHookConfig={"S3OutputPath": where}, TensorBoardOutputConfig={"S3OutputPath": where})
        cannot(child.s3, victim[1])
        child.end()
    # said in so many words by who may
    child = Attacker(ours, TensorBoardOutputConfig={"S3OutputPath": f"s3://bucket/out/{victim[0]}/tensorboard"})
    cannot(child.s3, victim[1])
    child.s3.put_object(Bucket="bucket", Key=f"out/{victim[0]}/tensorboard/x", Body=b"x")
    child.end()


def test_an_update_of_itself(ours, attacker, victim):
    for by in (attacker.sm, ours.sm):
        by.update_training_job(TrainingJobName=attacker.name, ProfilerConfig={"S3OutputPath": f"s3://bucket/out/{victim[0]}"})
        cannot(attacker.s3, victim[1])


def test_a_tag_by_another_spelling(ours):
    sm = ours.client("sagemaker", **keys(assume(ours, "arn:aws:iam::000000000000:role/path/reader")["Credentials"]))
    for arn in ("arn:aws:sagemaker:us-east-1:000000000000:training-job/MINE-1", "arn:aws:sagemaker:us-east-1:000000000000:training-job/mine-1"):
        fails("AccessDeniedException", sm.list_tags, ResourceArn=arn)
