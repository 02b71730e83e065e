# Batch transform: models that serve with busybox, jobs made with boto3, outputs, logs and metrics where the service has
# them. SPDX-License-Identifier: Apache-2.0
import datetime
import json
import re
import time

import botocore.exceptions
import pytest

from serving import GROUP, ROLE, completed, describe, import_serving, model, outputs, request, run, streams, unique, wait

ACCOUNT = "arn:aws:sagemaker:us-east-1:000000000000:"

@pytest.fixture(scope="module")
def serving(server, rootfs, tmp_path_factory):
    import_serving(server, rootfs, tmp_path_factory.mktemp("serving"))
    return server


def refusal(call, *words, code="ValidationException", **kw):
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        call(**kw)
    error = ex.value.response["Error"]
    assert error["Code"] == code, error
    for word in words:
        assert word in error["Message"], error["Message"]


@pytest.fixture(scope="module")
def three(serving):
    """A prefix with three objects, and what a console leaves of a folder."""
    return serving.put("transform/three/", {"": b"", "a.csv": b"a,1\nb,2\n", "sub/b.csv": b"c,3\n", "z.csv": b"d,4\n"})


@pytest.fixture(scope="module")
def done(serving, three):
    """One job that has ended well, and its answer."""
    tags = [{"Key": "team", "Value": "blue"}]
    return completed(serving, model(serving), three, name=unique("Whole"), Tags=tags, MaxPayloadInMB=1, BatchStrategy="MultiRecord")


# ---- one job, from all sides ----

def test_outputs_are_in_order_and_beside_nothing_else(serving, done):
    assert outputs(serving, done) == {"a.csv.out": b"A,1\nB,2\n", "sub/b.csv.out": b"C,3\n", "z.csv.out": b"D,4\n"}
    bucket, prefix = done["TransformOutput"]["S3OutputPath"].removeprefix("s3://").split("/", 1)
    assert serving.s3.head_object(Bucket=bucket, Key=prefix + "/a.csv.out")["ContentType"] == "application/octet-stream"


def test_describe_shows_the_request_with_defaults(serving, three, done):
    name = done["TransformJobName"]
    assert done["TransformJobArn"] == ACCOUNT + "transform-job/" + name.lower()
    assert done["TransformInput"] == {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": three}},
                                      "ContentType": "text/csv", "CompressionType": "None", "SplitType": "Line"}
    assert done["TransformOutput"] == {"S3OutputPath": done["TransformOutput"]["S3OutputPath"], "AssembleWith": "Line",
                                       "KmsKeyId": ""}
    assert done["TransformResources"] == {"InstanceType": "ml.m5.large", "InstanceCount": 1}
    assert done["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    assert done["MaxPayloadInMB"] == 1 and done["BatchStrategy"] == "MultiRecord"
    assert not {"MaxConcurrentTransforms", "Environment", "FailureReason", "ModelClientConfig"} & done.keys()
    assert done["CreationTime"] <= done["TransformStartTime"] <= done["TransformEndTime"]
    assert not any(k.startswith("bloomery") or k == "RoleArn" for k in done)


def test_the_streams_of_its_log(serving, done):
    name, epoch = done["TransformJobName"], int(done["CreationTime"].timestamp())
    got = streams(serving, name)
    own, = [s for s in got if not s.endswith("/data-log")]
    assert re.fullmatch(rf"{name}/i-0[0-9a-f]{{16}}-{epoch}", own) and set(got) == {own, own + "/data-log"}
    assert any("serving as" in line for line in got[own])
    assert any("MaxConcurrentTransforms=1, MaxPayloadInMB=1, BatchStrategy=MULTI_RECORD" in line for line in got[own + "/data-log"])
    logs = serving.cached("logs")
    assert GROUP in [g["logGroupName"] for g in logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Trans")["logGroups"]]
    found = logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix=name, filterPattern='"serving as"')["events"]
    assert [ev["logStreamName"] for ev in found] == [own]
    for stream in (own + "x", f"{name}/algo-1-{epoch}", f"{name}/../{own}", own.lower() + "/data-log/x"):
        with pytest.raises(botocore.exceptions.ClientError) as ex:
            logs.get_log_events(logGroupName=GROUP, logStreamName=stream)
        assert ex.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(botocore.exceptions.ClientError):
        logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=own)


def test_the_samples_of_its_host(serving, done):
    own, = [s for s in streams(serving, done["TransformJobName"]) if not s.endswith("/data-log")]
    host = own.rsplit("-", 1)[0]        # JOB/INSTANCE
    cloudwatch = serving.cached("cloudwatch")
    dimensions = [{"Name": "Host", "Value": host}]
    end = time.monotonic() + 60
    while not {"CPUUtilization", "MemoryUtilization"} <= (names := {
            m["MetricName"] for m in cloudwatch.list_metrics(Namespace=GROUP, Dimensions=dimensions)["Metrics"]}):
        assert time.monotonic() < end, names
        time.sleep(0.05)
    assert "DiskUtilization" not in names
    now = datetime.datetime.now(datetime.timezone.utc)
    got = cloudwatch.get_metric_statistics(
        Namespace=GROUP, MetricName="MemoryUtilization", Dimensions=dimensions, StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(minutes=1), Period=60, Statistics=["Maximum"])["Datapoints"]
    assert got and all(0 < p["Maximum"] <= 100 and p["Unit"] == "Percent" for p in got)


def test_its_tags(serving, done):
    arn = done["TransformJobArn"]
    serving.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "1"}])
    assert serving.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "blue"}, {"Key": "more", "Value": "1"}]
    serving.sm.delete_tags(ResourceArn=arn, TagKeys=["more"])
    assert serving.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "blue"}]


def test_it_is_in_its_list_alone(serving, done):
    name = done["TransformJobName"]
    one, = serving.sm.list_transform_jobs(NameContains=name)["TransformJobSummaries"]
    assert one["TransformJobArn"] == done["TransformJobArn"] and one["TransformJobStatus"] == "Completed"
    assert one["TransformEndTime"] == done["TransformEndTime"] and "FailureReason" not in one
    assert serving.sm.list_training_jobs(NameContains=name)["TrainingJobSummaries"] == []
    with pytest.raises(botocore.exceptions.ClientError):
        serving.sm.describe_training_job(TrainingJobName=name)


def test_names_are_unique_among_transform_jobs(serving, three, done):
    name = done["TransformJobName"]
    refusal(serving.sm.create_transform_job, "and a transform job with this name already exists", done["TransformJobArn"],
            code="ResourceInUse", **request(done["ModelName"], three, name=name.upper()))
    assert serving.completed("true", name=name)["TrainingJobName"] == name   # another kind, another name


def test_stopping_what_has_ended(serving, done):
    refusal(serving.sm.stop_transform_job, "The request was rejected because the transform job is in status Completed",
            TransformJobName=done["TransformJobName"])


# ---- what is refused ----

def test_jobs_that_are_not_there(serving):
    refusal(serving.sm.describe_transform_job, "Could not find requested job with name", TransformJobName="nothing")
    refusal(serving.sm.stop_transform_job, "Could not find job to update with name", TransformJobName="nothing")


@pytest.mark.parametrize("change, words", [
    ({"MaxPayloadInMB": 101}, ["MaxPayloadInMB", "100", "101"]),
    ({"MaxPayloadInMB": 51, "MaxConcurrentTransforms": 2}, ["MaxConcurrentTransforms times MaxPayloadInMB", "2 times 51"]),
    ({"MaxPayloadInMB": 1, "MaxConcurrentTransforms": 2 ** 31 - 1}, ["MaxConcurrentTransforms times MaxPayloadInMB"]),
    ({"TransformOutput": {"S3OutputPath": "https://x.example/out"}}, ["TransformOutput", "s3://bucket/prefix"]),
    ({"TransformOutput": {"S3OutputPath": "s3://no-such-bucket/out"}}, ["no-such-bucket", "does not exist"]),
    ({"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/nothing/"}}}},
     ["No S3 objects found under S3 URL", "s3://bucket/nothing/"]),
    ({"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "AugmentedManifestFile", "S3Uri": "s3://bucket/x"}}}},
     ["S3DataType", "AugmentedManifestFile"]),
    ({"DataProcessing": {"InputFilter": "$[0"}}, ["DataProcessing.InputFilter"]),
    ({"DataProcessing": {"JoinSource": "Input"}, "TransformOutput": {"Accept": "application/json"}}, ["Join"]),
    ({"DataCaptureConfig": {"DestinationS3Uri": "s3://bucket/x", "GenerateInferenceId": True}},
     ["GenerateInferenceId needs TransformOutput.Accept"]),
    ({"TransformResources": {"InstanceCount": 251}}, ["250"]),
    ({"TransformResources": {"InstanceType": "ml.nothing"}}, ["instanceType"]),
    ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, ["a"]),
])
def test_requests_that_make_no_sense(serving, three, done, change, words):
    refusal(serving.sm.create_transform_job, *words, **request(done["ModelName"], three, **change))


def test_a_model_that_is_not_there(serving, three):
    refusal(serving.sm.create_transform_job, f'Could not find model "{ACCOUNT}model/nothing".', **request("Nothing", three))


# ---- models, hosts, pipelines ----

def test_a_deleted_model_matters_to_no_job(serving, three):
    name = model(serving, mode="model")
    r = request(name, three)
    serving.sm.create_transform_job(**r)
    serving.sm.delete_model(ModelName=name)
    d = wait(serving, r["TransformJobName"])
    assert d["TransformJobStatus"] == "Completed", (d, serving.tail())
    assert outputs(serving, d)["sub/b.csv.out"] == b"c,3,42\n" and d["ModelName"] == name


def test_the_jobs_environment_goes_over_the_models(serving, three):
    name = model(serving, mode="env", environment={"A": "model", "B": "model"})
    d = completed(serving, name, three, Environment={"B": "job"}, MaxPayloadInMB=2)
    assert d["Environment"] == {"B": "job"}
    assert outputs(serving, d)["z.csv.out"] == b"model,job,true,2,\n"


def test_hosts_deal_the_objects_among_them(serving, three):
    d = completed(serving, model(serving), three, TransformResources={"InstanceCount": 2})
    assert outputs(serving, d) == {"a.csv.out": b"A,1\nB,2\n", "sub/b.csv.out": b"C,3\n", "z.csv.out": b"D,4\n"}
    got = streams(serving, d["TransformJobName"])
    assert len(got) == 4 and len({s.split("/")[1] for s in got}) == 2


def test_a_pipeline(serving, three):
    parts = [{"Image": "serving", "ContainerHostname": n, "Environment": {"MODE": m}} for n, m in (("upper", ""), ("plus", "add"))]
    d = completed(serving, model(serving, Containers=parts), three)
    assert outputs(serving, d)["a.csv.out"] == b"A,1,+\nB,2,+\n"
    name, epoch = d["TransformJobName"], int(d["CreationTime"].timestamp())
    got = streams(serving, name)
    instance, = {s.split("/")[1] for s in got if s.endswith("/data-log")}
    assert set(got) == {f"{name}/upper/{instance}", f"{name}/plus/{instance}", f"{name}/{instance}/data-log"}
    assert instance.endswith(f"-{epoch}") and any("serving as plus" in line for line in got[f"{name}/plus/{instance}"])


def test_an_isolated_model_of_no_role(serving, three):
    name = unique("model")
    serving.call("CreateModel", {"ModelName": name, "PrimaryContainer": {"Image": "serving"}, "EnableNetworkIsolation": True})
    d = completed(serving, name, three)
    assert outputs(serving, d)["z.csv.out"] == b"D,4\n"


def test_a_manifest_names_the_objects(serving, three):
    serving.put("transform/", {"list.manifest": json.dumps([{"prefix": three}, "z.csv", "sub/b.csv"]).encode()})
    r = request(model(serving), "s3://bucket/transform/list.manifest")
    r["TransformInput"]["DataSource"]["S3DataSource"]["S3DataType"] = "ManifestFile"
    serving.sm.create_transform_job(**r)
    d = wait(serving, r["TransformJobName"])
    assert d["TransformJobStatus"] == "Completed", d
    assert outputs(serving, d) == {"sub/b.csv.out": b"C,3\n", "z.csv.out": b"D,4\n"}


def test_filters_and_joins(serving, three):
    d = completed(serving, model(serving), three, TransformOutput={"Accept": "text/csv"},
                  DataProcessing={"InputFilter": "$[0]", "JoinSource": "Input", "OutputFilter": "$[1,-1]"})
    assert outputs(serving, d)["a.csv.out"] == b"1,A\n2,B\n"


def test_what_is_captured(serving, three):
    if not any(b["Name"] == "captured" for b in serving.s3.list_buckets()["Buckets"]):
        serving.s3.create_bucket(Bucket="captured")
    d = completed(serving, model(serving), three, DataCaptureConfig={"DestinationS3Uri": "s3://captured/c/"})
    assert d["DataCaptureConfig"]["DestinationS3Uri"] == "s3://captured/c/"
    found = [o["Key"] for o in serving.s3.list_objects_v2(Bucket="captured", Prefix="c/")["Contents"]]
    kinds = {k.split("/")[1]: json.loads(serving.artifact("s3://captured/" + k)) for k in found}
    assert kinds["input"] == [{"prefix": "s3://bucket/"}, *("transform/three/" + k for k in ("a.csv", "sub/b.csv", "z.csv"))]
    assert kinds["output"][1:] == ["a.csv.out", "sub/b.csv.out", "z.csv.out"]
    assert len(outputs(serving, d)) == 3


def test_ids_of_records(serving, three):
    d = completed(serving, model(serving), three, TransformOutput={"Accept": "text/csv"},
                  DataCaptureConfig={"DestinationS3Uri": "s3://bucket/ids", "GenerateInferenceId": True})
    assert re.fullmatch(rb"([AB],[12],[0-9a-f-]{36},20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n){2}", outputs(serving, d)["a.csv.out"])


# ---- what goes wrong ----

def test_what_went_well_is_kept_when_another_object_fails(serving):
    prefix = serving.put("transform/bad/", {"a.csv": b"a,1\n", "b.csv": b"b,2\nBAD,3\n", "c.csv": b"c,4\n"})
    d = run(serving, model(serving), prefix)
    assert d["TransformJobStatus"] == "Failed", d
    assert d["FailureReason"].startswith("ClientError: ") and "b.csv" in d["FailureReason"], d["FailureReason"]
    assert outputs(serving, d) == {"a.csv.out": b"A,1\n", "c.csv.out": b"C,4\n"}
    one, = serving.sm.list_transform_jobs(NameContains=d["TransformJobName"], StatusEquals="Failed")["TransformJobSummaries"]
    assert one["FailureReason"] == d["FailureReason"]


def test_keys_that_lead_into_the_output_of_another_job(serving):
    victim = serving.completed("true", name=unique("victim"), OutputDataConfig={"S3OutputPath": "s3://bucket/deep"})["TrainingJobName"]
    prefix = serving.put("transform/keys/", {victim + "/output/x": b"a\n"})
    c = serving.cached("sts").assume_role(RoleArn=ROLE, RoleSessionName="somebody")["Credentials"]
    sm = serving.client("sagemaker", aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"],
                        aws_session_token=c["SessionToken"])
    r = request(model(serving), prefix, TransformOutput={"S3OutputPath": "s3://bucket/deep"})
    sm.create_transform_job(**r)
    d = wait(serving, r["TransformJobName"])
    assert d["TransformJobStatus"] == "Failed" and "it would lie in another training job's output" in d["FailureReason"], d
    assert not [k for k in outputs(serving, d) if k.endswith(".out")]
    again = completed(serving, r["ModelName"], prefix, TransformOutput={"S3OutputPath": "s3://bucket/deep"})
    assert victim + "/output/x.out" in outputs(serving, again)      # who has the server's key may


def test_a_container_that_dies(serving, three):
    d = run(serving, model(serving, mode="dies"), three)
    assert d["TransformJobStatus"] == "Failed" and outputs(serving, d) == {}
    assert d["FailureReason"].startswith("AlgorithmError: ") and "7" in d["FailureReason"], d["FailureReason"]


def test_a_stopped_job_stores_nothing(serving, three):
    r = request(model(serving, mode="slow"), three)
    name = r["TransformJobName"]
    serving.sm.create_transform_job(**r)
    end = time.monotonic() + 60
    while "TransformStartTime" not in describe(serving, name) or not any("serving as" in line for lines in streams(serving, name).values() for line in lines):
        assert time.monotonic() < end, describe(serving, name)
        time.sleep(0.05)
    serving.sm.stop_transform_job(TransformJobName=name)
    assert describe(serving, name)["TransformJobStatus"] in ("Stopping", "Stopped")
    d = wait(serving, name)
    assert d["TransformJobStatus"] == "Stopped" and "FailureReason" not in d and outputs(serving, d) == {}
    refusal(serving.sm.stop_transform_job, "transform job is in status Stopped", TransformJobName=name)


# ---- lists ----

def test_pages_in_every_order(serving, done):
    make = unique("page")
    names = [f"{make}-{i}" for i in range(3)]
    prefix = serving.put("transform/page/", {"a.csv": b"a\n"})
    for n in names:
        serving.sm.create_transform_job(**request(done["ModelName"], prefix, name=n))
    pages = serving.sm.get_paginator("list_transform_jobs")

    def listed(**kw):
        got = pages.paginate(NameContains=make, PaginationConfig={"PageSize": 2}, **kw)
        return [s["TransformJobName"] for page in got for s in page["TransformJobSummaries"]]
    assert listed() == names[::-1]      # the newest first
    assert listed(SortOrder="Ascending") == listed(SortBy="Name", SortOrder="Ascending") == names
    assert listed(CreationTimeBefore=done["CreationTime"]) == []
    assert listed(CreationTimeAfter=done["CreationTime"] - datetime.timedelta(seconds=1)) == names[::-1]
    for n in names:
        assert wait(serving, n)["TransformJobStatus"] == "Completed"
    assert sorted(listed(StatusEquals="Completed")) == names and listed(StatusEquals="Failed") == []
