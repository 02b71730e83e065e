# Roles and sessions: what a job's credentials may, who gets them, and when they are dead.
# SPDX-License-Identifier: Apache-2.0
import glob
import json
import os
import re
import time
import urllib.error
import urllib.request
import uuid

import botocore.exceptions
import pytest

from conftest import ROLE

READER = "arn:aws:iam::000000000000:role/path/reader"
NOBODY = "arn:aws:iam::000000000000:role/nobody"
LOGGER = "arn:aws:iam::000000000000:role/logger"
POLICIES = {
    "reader.json": {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "S3:List*"], "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/in/*"]},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::bucket/out/*"},
        {"Effect": "Allow", "Action": "sagemaker:DescribeTrainingJob", "Resource": "arn:aws:sagemaker:*:*:training-job/mine-*"},
        {"Sid": "no", "Effect": "Deny", "Action": "*", "Resource": ["arn:aws:s3:::bucket/in/secret*", "arn:aws:sagemaker:*:*:training-job/mine-not"]}]},
    "logger.json": {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:Describe*", "logs:FilterLogEvents"],
         "Resource": "arn:aws:logs:*:*:log-group:/mine/*"},
        {"Effect": "Allow", "Action": ["logs:PutLogEvents", "logs:GetLogEvents"],
         "Resource": "arn:aws:logs:*:*:log-group:/mine/*:log-stream:job-*"}]},
    "nobody.json": {"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}},
}
CONF = ("capacity_cpus = 8\ncapacity_memory = 68719476736\nstop_grace_seconds = 3\nrole.arn:aws:iam::000000000000:role/path/reader = reader.json\n"
        "role.arn:aws:iam::000000000000:role/nobody = nobody.json\n"
        "role.arn:aws:iam::000000000000:role/logger = logger.json\n")


@pytest.fixture(scope="module")
def ours(rootfs, tmp_path_factory):
    import pathlib
    import shutil
    import tempfile
    from conftest import Server
    base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-roles-"))
    os.chmod(base, 0o755)
    (base / "data").mkdir()
    for name, policy in POLICIES.items():
        (base / "data" / name).write_text(json.dumps(policy))
    s = Server(base / "data", conf=CONF).start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    s.put("in/", {"a": b"A", "b": b"B", "secret": b"S"})
    yield s
    s.stop()
    shutil.rmtree(base, ignore_errors=True)


def fails(code, call, *a, **kw):
    """The message of a refusal with that code."""
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        call(*a, **kw)
    assert ex.value.response["Error"]["Code"] == code, ex.value
    return ex.value.response["Error"]["Message"]


def keys(c):
    token = c.get("Token") or c["SessionToken"]
    return {"aws_access_key_id": c["AccessKeyId"], "aws_secret_access_key": c["SecretAccessKey"], "aws_session_token": token}


def assume(server, role, session="somebody", **kw):
    return server.cached("sts").assume_role(RoleArn=role, RoleSessionName=session, **kw)


def get(server, path, token=None):
    req = urllib.request.Request(server.url + path, headers={"Authorization": "Bearer " + token} if token else {})
    try:
        with urllib.request.urlopen(req, timeout=30) as got:
            assert got.headers["Cache-Control"] == "no-store"
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as ex:
        return ex.code, json.loads(ex.read())


def delete(server, name, session=None):
    """DeleteTrainingJob, which Debian's client does not know: the error's code, or None."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    own = {"aws_access_key_id": server.exports["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": server.exports["AWS_SECRET_ACCESS_KEY"]}
    who = list((session or own).values())
    data = json.dumps({"TrainingJobName": name}).encode()
    req = botocore.awsrequest.AWSRequest("POST", server.url + "/", data=data, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.DeleteTrainingJob"})
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(*who), "sagemaker", "us-east-1").add_auth(req)
    try:
        urllib.request.urlopen(urllib.request.Request(server.url + "/", data, dict(req.headers)), timeout=60).close()
    except urllib.error.HTTPError as ex:
        return json.loads(ex.read())["__type"]


def spec(server, name):
    """The work order of a job that runs, and where it lies."""
    path = server.data / "jobs" / server.job_id(name) / "spec.json"
    assert os.stat(path).st_mode & 0o777 == 0o600
    return json.loads(path.read_text())


def running(server, **kw):
    name = server.create("while :; do sleep 0.1; done", **kw)
    server.wait(name, {"Training"})
    return name, spec(server, name)


@pytest.fixture(scope="module")
def reader(ours):
    return keys(assume(ours, READER)["Credentials"])


# ---- what a policy allows ----

def test_objects_are_as_the_policy_says(ours, reader):
    s3 = ours.client("s3", **reader)
    assert s3.get_object(Bucket="bucket", Key="in/a")["Body"].read() == b"A"
    assert s3.head_object(Bucket="bucket", Key="in/a")["ContentLength"] == 1
    s3.put_object(Bucket="bucket", Key="out/x", Body=b"x")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket", Prefix="in/")["Contents"]] == ["in/a", "in/b", "in/secret"]
    said = fails("AccessDenied", s3.get_object, Bucket="bucket", Key="in/secret")
    assert said == ('User: arn:aws:sts::000000000000:assumed-role/reader/somebody is not authorized to perform: s3:GetObject on '
                    'resource: "arn:aws:s3:::bucket/in/secret" with an explicit deny in an identity-based policy')
    said = fails("AccessDenied", s3.put_object, Bucket="bucket", Key="in/a", Body=b"no")
    assert said.endswith("because no identity-based policy allows the s3:PutObject action")
    assert ours.s3.get_object(Bucket="bucket", Key="in/a")["Body"].read() == b"A"
    assert "S3 request refused to arn:aws:sts::000000000000:assumed-role/reader/somebody: " in open(str(ours.data) + ".log").read()
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        s3.head_object(Bucket="bucket", Key="out/x")
    assert ex.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_everything_else_of_s3_is_asked_for_too(ours, reader):
    s3 = ours.client("s3", **reader)
    nobody = ours.client("s3", **keys(assume(ours, NOBODY)["Credentials"]))
    obj, bucket = {"Bucket": "bucket", "Key": "in/a"}, {"Bucket": "bucket"}
    up = ours.s3.create_multipart_upload(**obj)["UploadId"]
    refused = [
        ("list_buckets", {}), ("create_bucket", {"Bucket": "another"}), ("delete_bucket", bucket), ("get_bucket_acl", bucket),
        ("get_bucket_versioning", bucket), ("get_bucket_policy", bucket), ("list_multipart_uploads", bucket),
        ("get_bucket_location", bucket), ("get_object_acl", obj), ("get_object_tagging", obj), ("delete_object", obj),
        ("create_multipart_upload", obj), ("upload_part", {**obj, "UploadId": up, "PartNumber": 1, "Body": b"x"}),
        ("complete_multipart_upload", {**obj, "UploadId": up, "MultipartUpload": {"Parts": [{"ETag": '"x"', "PartNumber": 1}]}}),
        ("abort_multipart_upload", {**obj, "UploadId": up}), ("list_parts", {**obj, "UploadId": up}),
        ("copy_object", {**obj, "CopySource": "bucket/in/b"}),
        ("upload_part_copy", {**obj, "UploadId": up, "PartNumber": 1, "CopySource": "bucket/in/b"})]
    for op, args in refused:
        if op not in ("list_multipart_uploads", "get_bucket_location", "list_parts"):     # S3:List* and the like
            fails("AccessDenied", getattr(s3, op), **args)
        fails("AccessDenied", getattr(nobody, op), **args)
    for op, args in [("list_objects_v2", bucket), ("list_objects", bucket), ("get_object", obj),
                     ("put_object", {**obj, "Body": b"x"})]:
        fails("AccessDenied", getattr(nobody, op), **args)
    with pytest.raises(botocore.exceptions.ClientError, match="403"):
        nobody.head_bucket(**bucket)
    ours.s3.abort_multipart_upload(**obj, UploadId=up)
    # a copy must also be allowed to read; into out/ it may write
    fails("AccessDenied", s3.copy_object, Bucket="bucket", Key="out/copy", CopySource="bucket/in/secret")
    fails("AccessDenied", s3.copy_object, Bucket="bucket", Key="out/copy", CopySource={"Bucket": "bucket", "Key": "out/x"})
    s3.copy_object(Bucket="bucket", Key="out/copy", CopySource="bucket/in/b")
    assert ours.artifact("s3://bucket/out/copy") == b"B"


def test_a_batch_of_deletions_is_judged_key_by_key(ours):
    may = keys(assume(ours, ROLE)["Credentials"])
    ours.put("heap/", {"1": b"", "2": b""})
    ours.put("out/job-other/", {"output/model.tar.gz": b""})
    d = ours.client("s3", **may).delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "heap/1"}, {"Key": "heap/2"}]})
    assert sorted(x["Key"] for x in d["Deleted"]) == ["heap/1", "heap/2"]
    ours.put("in/", {"c": b""})
    d = ours.client("s3", **keys(assume(ours, READER)["Credentials"])).delete_objects(
        Bucket="bucket", Delete={"Objects": [{"Key": "in/c"}, {"Key": "in/secret"}]})
    assert "Deleted" not in d and [x["Code"] for x in d["Errors"]] == ["AccessDenied"] * 2
    assert "explicit deny" in d["Errors"][1]["Message"]
    ours.s3.head_object(Bucket="bucket", Key="in/c")
    ours.s3.delete_object(Bucket="bucket", Key="in/c")


def test_who_may_not_list_does_not_hear_what_is_missing(ours, reader):
    fails("NoSuchKey", ours.client("s3", **reader).get_object, Bucket="bucket", Key="in/nothing")
    fails("AccessDenied", ours.client("s3", **keys(assume(ours, NOBODY)["Credentials"])).get_object, Bucket="bucket", Key="in/nothing")


def test_the_other_services(ours, reader):
    sm, logs = ours.client("sagemaker", **reader), ours.client("logs", **reader)
    said = fails("AccessDeniedException", sm.list_training_jobs)
    assert said == ("User: arn:aws:sts::000000000000:assumed-role/reader/somebody is not authorized to perform: "
                    "sagemaker:ListTrainingJobs on resource: * because no identity-based policy allows the "
                    "sagemaker:ListTrainingJobs action")
    assert "not found" in fails("ValidationException", sm.describe_training_job, TrainingJobName="Mine-1")
    said = fails("AccessDeniedException", sm.describe_training_job, TrainingJobName="mine-not")
    assert "training-job/mine-not with an explicit deny" in said
    fails("AccessDeniedException", sm.stop_training_job, TrainingJobName="mine-1")
    assert delete(ours, "mine-1", reader) == "AccessDeniedException"
    fails("AccessDeniedException", sm.create_training_job, **ours.request("true"))
    log = open(str(ours.data) + ".log").read()      # what is refused is on record
    assert "refused, request " in log and "sagemaker:ListTrainingJobs on resource: *" in log
    assert "by arn:aws:sts::000000000000:assumed-role/reader/somebody from 127.0.0.1: 400 AccessDeniedException" in log
    arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/mine-1"
    fails("AccessDeniedException", sm.add_tags, ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    fails("AccessDeniedException", sm.list_tags, ResourceArn=arn)
    fails("AccessDeniedException", logs.describe_log_groups)
    fails("AccessDeniedException", logs.get_log_events, logGroupName="/aws/sagemaker/TrainingJobs", logStreamName="x")
    sts = ours.client("sts", **reader)
    assert fails("AccessDenied", sts.assume_role, RoleArn=ROLE, RoleSessionName="more").startswith("User: arn:aws:sts::")


def test_logs_are_as_the_policy_says(ours):
    import time
    logs, own = ours.client("logs", **keys(assume(ours, LOGGER)["Credentials"])), ours.cached("logs")
    now = [{"timestamp": int(time.time() * 1000), "message": "said"}]
    mine, job = {"logGroupName": "/mine/a"}, {"logGroupName": "/mine/a", "logStreamName": "job-1"}
    logs.create_log_group(**mine)
    logs.create_log_stream(**job)
    own.create_log_stream(**mine, logStreamName="other")
    own.create_log_group(logGroupName="/theirs")
    own.create_log_stream(logGroupName="/theirs", logStreamName="job-1")
    logs.put_log_events(**job, logEvents=now)
    assert [e["message"] for e in logs.get_log_events(**job)["events"]] == ["said"]
    assert [e["message"] for e in logs.filter_log_events(**mine)["events"]] == ["said"]
    assert len(logs.describe_log_streams(**mine)["logStreams"]) == 2
    denied = "AccessDeniedException"
    said = fails(denied, logs.put_log_events, **mine, logStreamName="other", logEvents=now)
    assert "logs:PutLogEvents on resource: arn:aws:logs:us-east-1:000000000000:log-group:/mine/a:log-stream:other" in said, said
    fails(denied, logs.get_log_events, **mine, logStreamName="other")
    fails(denied, logs.put_log_events, logGroupName="/theirs", logStreamName="job-1", logEvents=now)
    fails(denied, logs.filter_log_events, logGroupName="/theirs")
    fails(denied, logs.filter_log_events, logGroupName="/aws/sagemaker/TrainingJobs")
    fails(denied, logs.describe_log_streams, logGroupName="/theirs")
    fails(denied, logs.create_log_group, logGroupName="/theirs-2")
    fails(denied, logs.delete_log_group, **mine)
    fails(denied, logs.delete_log_stream, **job)
    fails(denied, logs.put_retention_policy, **mine, retentionInDays=3)
    assert own.get_log_events(**mine, logStreamName="other")["events"] == []
    assert [e["message"] for e in own.get_log_events(**job)["events"]] == ["said"]


def test_an_answer_that_was_kept_is_not_given_to_who_may_not_have_it(ours):
    name = ours.completed("true")["TrainingJobName"]
    for _ in range(3):
        ours.describe(name)
    sm = ours.client("sagemaker", **keys(assume(ours, NOBODY)["Credentials"]))
    fails("AccessDeniedException", sm.describe_training_job, TrainingJobName=name)


# ---- who one is ----

def test_identity(ours, reader):
    who = ours.client("sts", **reader).get_caller_identity()
    assert who["Arn"] == "arn:aws:sts::000000000000:assumed-role/reader/somebody"
    assert who["UserId"].endswith(":somebody") and who["Account"] == "000000000000"
    got = assume(ours, READER, "x" * 64, DurationSeconds=900)
    assert got["AssumedRoleUser"]["Arn"].endswith("/reader/" + "x" * 64)
    assert re.fullmatch("ASIA[A-Z2-7]{16}", got["Credentials"]["AccessKeyId"]) and len(got["Credentials"]["SecretAccessKey"]) == 40
    assert "managed policies" in fails("ValidationError", ours.cached("sts").assume_role, RoleArn=READER, RoleSessionName="xx",
                                       PolicyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}])
    fails("ValidationError", ours.cached("sts").assume_role, RoleArn="arn:aws:iam::000000000000:user/x", RoleSessionName="xx")


def test_tokens_that_are_none(ours, reader):
    other = keys(assume(ours, READER)["Credentials"])
    swapped = {**reader, "aws_session_token": other["aws_session_token"]}
    torn = {**reader, "aws_session_token": reader["aws_session_token"][:-8] + "AAAAAAA="}
    for bad in (swapped, torn, {**reader, "aws_session_token": "nonsense"}):
        fails("InvalidToken", ours.client("s3", **bad).list_objects_v2, Bucket="bucket")
        fails("UnrecognizedClientException", ours.client("sagemaker", **bad).list_training_jobs)
        fails("InvalidClientTokenId", ours.client("sts", **bad).get_caller_identity)
    without = {**reader, "aws_session_token": None}
    fails("InvalidAccessKeyId", ours.client("s3", **without).list_objects_v2, Bucket="bucket")
    fails("UnrecognizedClientException", ours.client("sagemaker", **without).list_training_jobs)
    wrong = {**reader, "aws_secret_access_key": other["aws_secret_access_key"]}
    fails("SignatureDoesNotMatch", ours.client("s3", **wrong).list_objects_v2, Bucket="bucket")
    fails("InvalidSignatureException", ours.client("sagemaker", **wrong).list_training_jobs)


def test_presigned(ours, reader):
    import botocore.config
    s3 = ours.client("s3", **reader, config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "in/b"})
    assert "X-Amz-Security-Token" in url and urllib.request.urlopen(url).read() == b"B"
    for bad in (s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "in/secret"}),
                re.sub("X-Amz-Security-Token=[^&]*", "X-Amz-Security-Token=AAAA", url)):
        with pytest.raises(urllib.error.HTTPError) as ex:
            urllib.request.urlopen(bad)
        assert ex.value.code in (400, 403)


# ---- a job's credentials ----

def test_a_jobs_credentials_live_as_long_as_the_job(ours):
    name, order = running(ours)
    code, c = get(ours, order["credentials_path"])
    assert code == 200 and c["RoleArn"] == ROLE and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", c["Expiration"])
    code, again = get(ours, "/bloomery/credentials", order["token"])
    assert code == 200 and again["AccessKeyId"] != c["AccessKeyId"]
    s3, sm, sts = (ours.client(x, **keys(c)) for x in ("s3", "sagemaker", "sts"))
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::000000000000:assumed-role/trainer/{name}"
    s3.put_object(Bucket="bucket", Key=f"out/{name}/notes", Body=b"mine")
    assert sm.describe_training_job(TrainingJobName=name)["RoleArn"] == ROLE
    handed_on = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/whatever", RoleSessionName="me-too")["Credentials"]
    s3_too = ours.client("s3", **keys(handed_on))
    s3_too.put_object(Bucket="bucket", Key=f"out/{name}/notes", Body=b"still mine")
    ours.stop()
    ours.start()
    s3, sm, sts = (ours.client(x, **keys(c)) for x in ("s3", "sagemaker", "sts"))       # a restart changes nothing
    s3.put_object(Bucket="bucket", Key=f"out/{name}/notes", Body=b"mine")
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)
    assert "expired" in fails("ExpiredToken", s3.list_objects_v2, Bucket="bucket")
    fails("ExpiredTokenException", sm.list_training_jobs)
    fails("ExpiredToken", sts.get_caller_identity)
    fails("ExpiredToken", ours.client("s3", **keys(handed_on)).list_objects_v2, Bucket="bucket")
    assert get(ours, order["credentials_path"])[0] == get(ours, "/bloomery/credentials", order["token"])[0] == 401
    assert delete(ours, name) is None
    fails("ExpiredToken", s3.list_objects_v2, Bucket="bucket")


def test_credentials_for_whom_they_are(ours):
    name, order = running(ours)
    mac = order["token"].rsplit(".", 1)
    for path, token in (("/bloomery/credentials", order["credentials_path"].rsplit("/", 1)[1]),
                        ("/bloomery/credentials", mac[0] + "." + "0" * 64), ("/bloomery/credentials", "x" * 4000),
                        ("/bloomery/credentials", order["token"].replace(".1.", ".2.")),
                        ("/v2/credentials/" + order["token"], None), ("/v2/credentials/", None), ("/v2/credentials/../x", None)):
        assert get(ours, path, token)[0] == 401, (path, token)
    for headers in ({}, {"Authorization": "Basic QUtJQTp4"}):
        with pytest.raises(urllib.error.HTTPError) as ex:
            urllib.request.urlopen(urllib.request.Request(ours.url + "/bloomery/credentials", headers=headers))
        assert ex.value.code in (401, 403)
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)


def test_an_isolated_job_has_none(ours):
    name, order = running(ours, EnableNetworkIsolation=True)
    assert order["token"] and order.get("credentials_path") is None
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)


def test_other_jobs_output_is_theirs(ours):
    theirs = ours.completed("echo m >/opt/ml/model/m; echo o >/opt/ml/output/data/o")["TrainingJobName"]
    name, order = running(ours)
    chained, its = running(ours, channels={"model": f"s3://bucket/out/{theirs}/output/model.tar.gz"})
    mine = ours.client("s3", **keys(get(ours, order["credentials_path"])[1]))
    model = f"out/{theirs}/output/model.tar.gz"
    for call, args in ((mine.get_object, {"Key": model}), (mine.put_object, {"Key": model, "Body": b""}),
                       (mine.delete_object, {"Key": model}), (mine.list_objects_v2, {"Prefix": f"out/{theirs}/"}),
                       (mine.copy_object, {"Key": "x", "CopySource": "bucket/" + model})):
        assert "belongs to other jobs" in fails("AccessDenied", call, Bucket="bucket", **args)
    d = mine.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": model}, {"Key": "no/such"}]})
    assert [x["Key"] for x in d["Errors"]] == [model] and [x["Key"] for x in d["Deleted"]] == ["no/such"]
    mine.put_object(Bucket="bucket", Key=f"elsewhere/{theirs}/x", Body=b"")          # a name is not an output
    mine.put_object(Bucket="bucket", Key=f"out/{name}/output/x", Body=b"")
    mine.list_objects_v2(Bucket="bucket", Prefix="out/")
    # what its own request names it may read, and nothing but that
    s3 = ours.client("s3", **keys(get(ours, its["credentials_path"])[1]))
    assert s3.get_object(Bucket="bucket", Key=model)["Body"].read()
    fails("AccessDenied", s3.put_object, Bucket="bucket", Key=model, Body=b"")
    fails("AccessDenied", s3.get_object, Bucket="bucket", Key=f"out/{theirs}/output/output.tar.gz")
    # a job is no way around it
    sm = ours.client("sagemaker", **keys(get(ours, order["credentials_path"])[1]))
    fails("AccessDeniedException", sm.create_training_job, **ours.request("true", channels={"c": f"s3://bucket/{model}"}))
    r = ours.request("true", OutputDataConfig={"S3OutputPath": f"s3://bucket/out/{theirs}/"})
    fails("AccessDeniedException", sm.create_training_job, **r)
    assert delete(ours, theirs, keys(get(ours, order["credentials_path"])[1])) == "AccessDeniedException"
    assert "iam:PassRole" in fails("AccessDeniedException", sm.create_training_job, **ours.request("true", RoleArn=READER))
    child = ours.request("true")
    sm.create_training_job(**child)
    assert ours.wait(child["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    for n in (name, chained):
        ours.sm.stop_training_job(TrainingJobName=n)
        ours.wait(n)


# ---- what CreateTrainingJob checks (contract 2.2) ----

def test_the_roles_of_new_jobs(ours):
    create = ours.sm.create_training_job
    said = fails("ValidationException", create, **ours.request("true", RoleArn=NOBODY, channels={"c": "s3://bucket/in/"}))
    assert 'Unauthorized to List objects under S3 URL "s3://bucket/in/"' in said and f'"{NOBODY}" has "s3:ListBucket"' in said
    said = fails("ValidationException", create, **ours.request("true", RoleArn=NOBODY))
    assert 'Access denied to OutputDataConfig S3 bucket "bucket"' in said and "explicit deny" in said
    said = fails("ValidationException", create, **ours.request("true", RoleArn=READER, OutputDataConfig={"S3OutputPath": "s3://bucket/else"}))
    assert "Access denied to OutputDataConfig S3 bucket" in said and "s3:PutObject" in said
    ours.put("in/", {"manifest": json.dumps([{"prefix": "s3://bucket/"}, "in/a"]).encode()})
    ours.put("", {"manifest": json.dumps([{"prefix": "s3://bucket/"}, "in/a"]).encode()})

    def manifest(uri):
        r = ours.request("cat /opt/ml/input/data/c/*; cat /opt/ml/input/data/c/in/a", RoleArn=READER, channels={"c": uri})
        r["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile"
        return r
    assert "Access denied to the manifest" in fails("ValidationException", create, **manifest("s3://bucket/manifest"))
    r = manifest("s3://bucket/in/manifest")
    create(**r)
    assert ours.wait(r["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def transform(server, role, prefix="s3://bucket/in/a", output="s3://bucket/out/t", sm=None, **kw):
    """A request for a transform job of a model with that role; its container would not serve."""
    name = "t-" + uuid.uuid4().hex[:10]
    (sm or server.sm).create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"Image": "busy"})
    return {"TransformJobName": name, "ModelName": name, "TransformOutput": {"S3OutputPath": output},
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": prefix}}},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}, **kw}


def transform_failed(server, r, sm=None):
    (sm or server.sm).create_transform_job(**r)
    end = time.monotonic() + 60
    while (d := server.sm.describe_transform_job(TransformJobName=r["TransformJobName"]))["TransformJobStatus"] == "InProgress":
        assert time.monotonic() < end, d
        time.sleep(0.05)
    assert d["TransformJobStatus"] == "Failed", d
    return d["FailureReason"]


def test_the_roles_of_transform_jobs(ours):
    create = ours.sm.create_transform_job
    said = fails("ValidationException", create, **transform(ours, NOBODY))
    assert 'Unauthorized to List objects under S3 URL "s3://bucket/in/a"' in said and f'"{NOBODY}" has "s3:ListBucket"' in said
    said = fails("ValidationException", create, **transform(ours, READER, output="s3://bucket/else"))
    assert 'Access denied to TransformOutput S3 bucket "bucket"' in said and "arn:aws:s3:::bucket/else/*" in said
    why = transform_failed(ours, transform(ours, READER, prefix="s3://bucket/in/"))
    assert "Unable to download object s3://bucket/in/secret (AccessDenied: Access Denied)" in why and READER in why


def test_sessions_and_transform_jobs(ours, reader):
    sm = ours.client("sagemaker", **reader)
    for call, action in ((sm.describe_transform_job, "Describe"), (sm.stop_transform_job, "Stop")):
        said = fails("AccessDeniedException", call, TransformJobName="Some-Job")
        assert f"sagemaker:{action}TransformJob on resource: arn:aws:sagemaker:us-east-1:000000000000:transform-job/some-job" in said
    assert "sagemaker:CreateTransformJob" in fails("AccessDeniedException", sm.create_transform_job, **transform(ours, READER))
    assert "sagemaker:ListTransformJobs" in fails("AccessDeniedException", sm.list_transform_jobs)


def test_objects_that_the_role_may_not_read_end_the_job(ours):
    why = ours.failed("true", RoleArn=READER, channels={"c": "s3://bucket/in/"})
    assert why.startswith("ClientError: Data download failed:Unable to download object s3://bucket/in/secret (AccessDenied: Access Denied)")
    assert READER in why and "(channel c)" in why
    ours.completed("cat /opt/ml/input/data/c/a", RoleArn=READER, channels={"c": "s3://bucket/in/a"})


# ---- settings ----

def test_strict_roles_and_a_default_policy(make_server):
    s = make_server("stop_grace_seconds = 3\n")
    old = keys(assume(s, ROLE)["Credentials"])
    s.client("s3", **old).list_buckets()
    s.stop()
    (s.data / "reader.json").write_text(json.dumps(POLICIES["reader.json"]))
    (s.data / "bloomery.conf").write_text(f"roles = strict\nrole.{READER} = reader.json\n")
    s.start()
    said = fails("ValidationException", s.sm.create_training_job, **s.request("true"))
    assert said.startswith(f"Could not assume role {ROLE}.")
    assert "sts:AssumeRole" in fails("AccessDenied", assume, s, ROLE)
    fails("InvalidToken", s.client("s3", **old).list_buckets)
    s.completed("true", RoleArn=READER)
    s.stop()
    (s.data / "bloomery.conf").write_text("default_role_policy = reader.json\n")
    s.start()
    fails("AccessDenied", s.client("s3", **old).list_buckets)
    s.client("s3", **old).list_objects_v2(Bucket="bucket")
    os.remove(s.data / "session-key")
    s.stop()
    s.start()
    fails("InvalidToken", s.client("s3", **old).list_objects_v2, Bucket="bucket")
    assert os.stat(s.data / "session-key").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("conf,policy,words", [
    ("role.arn:aws:iam::000000000000:role/x = no.json", None, ["bloomery.conf:1", "no.json"]),
    ("\nrole.arn:aws:iam::12:role/x = p.json", "{}", ["bloomery.conf:2", "is not the ARN of a role"]),
    ("roles = maybe", None, ["bloomery.conf:1", "roles is open or strict"]),
    ("default_role_policy = p.json", "{", ["p.json:1:"]),
    ("default_role_policy = p.json", '{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"allow","Action":"*","Resource":"*"}]}',
     ["p.json", "statement 2", "Effect"]),
    ("default_role_policy = p.json", '{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{}}]}',
     ["bloomery.conf:1", "p.json", "statement 1", "Condition"])])
def test_bad_settings_end_the_start(tmp_path, conf, policy, words):
    import subprocess
    from conftest import BLOOMERY
    os.chmod(tmp_path, 0o755)
    data = tmp_path / "data"
    data.mkdir()
    (data / "bloomery.conf").write_text(conf + "\n")
    if policy:
        (data / "p.json").write_text(policy)
    done = subprocess.run([BLOOMERY, "up", "--data", data, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    for w in words:
        assert w in done.stderr, done.stderr


# ---- secrets ----

def test_secrets_are_in_no_log_and_no_answer(ours):
    name, order = running(ours)
    c = get(ours, order["credentials_path"])[1]
    get(ours, "/v2/credentials/" + order["token"])
    ours.client("s3", **keys(c)).list_objects_v2(Bucket="bucket")
    fails("AccessDenied", ours.client("s3", **keys(assume(ours, NOBODY)["Credentials"])).list_objects_v2, Bucket="bucket")
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)
    assert ours.leftovers() == []     # the container's environment went with work/
    secrets = {"the server's secret": ours.exports["AWS_SECRET_ACCESS_KEY"], "a session's secret": c["SecretAccessKey"],
               "a session's token": c["Token"], "the host's token": order["token"],
               "the container's path": order["credentials_path"].rsplit("/", 1)[1],
               "the key of sessions": (ours.data / "session-key").read_text().strip()}
    places = {str(ours.data) + ".log": None, "describe": json.dumps(ours.describe(name), default=str),
              "bloomery describe": ours.bloomery("describe", name).stdout}
    for path in glob.glob(f"{ours.data}/jobs/*/**", recursive=True):
        if os.path.isfile(path) and os.path.basename(path) != "spec.json":
            places[path] = None
    assert any(p.endswith("/journal") for p in places) and any("supervisor.log" in p for p in places)
    for place, text in places.items():
        text = text if text is not None else open(place, "rb").read().decode(errors="replace")
        for what, secret in secrets.items():
            assert secret not in text, f"{what} is in {place}"


def test_nothing_that_knows_keys_dumps_core(ours):
    name, _ = running(ours)
    for program in ("bloomeryd", "bloomery-job"):
        pids = ours.pids(program)
        assert pids
        for pid in pids:     # what /proc has of a process that may not dump core is root's, whoever it runs as
            assert os.stat(f"/proc/{pid}/status").st_uid == 0
    daemon = ours.pids("bloomeryd")[0]
    assert [x for x in open(f"/proc/{daemon}/status") if x.startswith("Uid:")][0].split()[1] != "0"
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)


def test_each_host_has_its_own_token(ours):
    name = ours.create("while :; do sleep 0.1; done", ResourceConfig={"InstanceCount": 2})
    ours.wait(name, {"Training"})
    orders = [o for o in (json.load(open(p)) for p in glob.glob(f"{ours.data}/jobs/*/spec.json")) if o["name"] == name]
    assert sorted(o["host_number"] for o in orders) == [1, 2]
    assert len({o["token"] for o in orders} | {o["credentials_path"] for o in orders}) == 4
    for o in orders:
        assert get(ours, o["credentials_path"])[0] == get(ours, "/bloomery/credentials", o["token"])[0] == 200
    ours.sm.stop_training_job(TrainingJobName=name)
    ours.wait(name)
    for o in orders:
        assert get(ours, o["credentials_path"])[0] == 401
