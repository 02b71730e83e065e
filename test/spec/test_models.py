# Models: made, shown, listed, removed; and what is refused when they are made.
# SPDX-License-Identifier: Apache-2.0
import datetime
import json
import os
import signal
import time
import urllib.error
import uuid

import botocore.exceptions
import pytest

ACCOUNT = "arn:aws:sagemaker:us-east-1:000000000000:"
ROLE = "arn:aws:iam::000000000000:role/r"


def refusal(call, *words, code="ValidationException", **kw):
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        call(**kw)
    error = ex.value.response["Error"]
    assert error["Code"] == code, error
    for word in words:
        assert word in error["Message"], error["Message"]
    return error["Message"]


def call(server, operation, **body):
    """As newer clients would: Debian's does not know all members."""
    try:
        return server.call(operation, body)
    except urllib.error.HTTPError as ex:
        answer = json.loads(ex.read())
        raise botocore.exceptions.ClientError({"Error": {"Code": answer["__type"], "Message": answer["message"]}}, operation)


def create(server, **body):
    return call(server, "CreateModel", ExecutionRoleArn=ROLE, **body)


def describe(server, name):
    return call(server, "DescribeModel", ModelName=name)


@pytest.fixture(scope="module")
def data(server):
    server.put("models/", {"model.tar.gz": b"not looked into", "tree/a": b"a", "tree/b/c": b"c"})
    return "s3://bucket/models/"


def container(data, **kw):
    return {"Image": "busy", "ModelDataUrl": data + "model.tar.gz", "Environment": {"KEY": "value"}, **kw}


def named(word="Model"):
    return word + "-" + uuid.uuid4().hex[:10]


def make(server, name, *containers, **kw):
    what = {"PrimaryContainer": containers[0]} if len(containers) == 1 else {"Containers": list(containers)}
    return create(server, ModelName=name, **what, **kw)["ModelArn"]


def test_describe_echoes_as_the_service_does(server, data):
    name = named()
    arn = make(server, name, container(data, ContainerHostname="ignored"), Tags=[{"Key": "team", "Value": "a"}])
    assert arn == ACCOUNT + "model/" + name.lower()
    assert server.sm.describe_model(ModelName=name.upper())["PrimaryContainer"]["Mode"] == "SingleModel"
    d = describe(server, name)
    assert abs(d.pop("CreationTime") - time.time()) < 600
    assert d == {
        "ModelName": name, "ModelArn": arn, "ExecutionRoleArn": ROLE, "EnableNetworkIsolation": False,
        "PrimaryContainer": container(data, ContainerHostname="ignored", Mode="SingleModel", ModelDataSource={"S3DataSource": {
            "S3Uri": data + "model.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}),
        "DeploymentRecommendation": {"RecommendationStatus": "NOT_APPLICABLE", "RealTimeInferenceRecommendations": []}}
    again = named()                                                    # what Describe says makes the same model
    make(server, again, d["PrimaryContainer"])
    assert describe(server, again)["PrimaryContainer"] == d["PrimaryContainer"]

    assert server.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    server.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "b"}])
    server.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert server.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "more", "Value": "b"}]
    server.sm.delete_model(ModelName=name)
    for call in (server.sm.describe_model, server.sm.delete_model):
        assert refusal(call, ModelName=name) == f'Could not find model "{arn}".'
    refusal(server.sm.list_tags, "not found", ResourceArn=arn)


def test_a_pipeline_and_a_prefix_of_data(server, data):
    tree = {"S3DataSource": {"S3Uri": data + "tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}}
    one = {"S3DataSource": {"S3Uri": data + "tree/a", "S3DataType": "S3Object", "CompressionType": "None"}}
    name = named()
    containers = [{"Image": "busy", "ContainerHostname": "first", "ModelDataSource": tree},
                  {"Image": "registry.example/x:1", "ContainerHostname": "second", "ModelDataSource": one,
                   "ImageConfig": {"RepositoryAccessMode": "Platform"}},
                  {"Image": "busy", "ContainerHostname": "third"}]
    make(server, name, *containers, InferenceExecutionConfig={"Mode": "Serial"}, EnableNetworkIsolation=True)
    d = describe(server, name)
    assert d["Containers"] == [{**c, "Mode": "SingleModel"} for c in containers] and "PrimaryContainer" not in d
    assert d["EnableNetworkIsolation"] is True and d["InferenceExecutionConfig"] == {"Mode": "Serial"}
    make(server, named(), *[{"Image": "busy"}] * 15)
    with pytest.raises(botocore.exceptions.ClientError, match="less than or equal to 15"):
        make(server, named(), *[{"Image": "busy"}] * 16)


@pytest.mark.parametrize("request_, words", [
    ({}, ["Neither PrimaryContainer nor Containers"]),
    ({"Containers": []}, ["Neither PrimaryContainer nor Containers"]),
    ({"PrimaryContainer": {"Image": "busy"}, "Containers": [{"Image": "busy"}]}, ["exclude each other"]),
    ({"PrimaryContainer": {"ModelDataUrl": "s3://bucket/models/model.tar.gz"}}, ["PrimaryContainer: ", "Image"]),
    ({"PrimaryContainer": {"Image": "nowhere"}}, ["Requested image nowhere not found", "no local image"]),
    ({"PrimaryContainer": {"Image": "example.com/Upper"}}, ["Requested image example.com/Upper not found", "is not the name of an image"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataUrl": "s3://bucket/models/none.tar.gz"}},
     ["Could not find model data at s3://bucket/models/none.tar.gz."]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataUrl": "s3://no-bucket/m.tar.gz"}}, ["Could not find model data at s3://no-bucket/m.tar.gz."]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataUrl": "https://example.com/m.tar.gz"}}, ["s3://bucket/key"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataUrl": "s3://bucket/models/"}}, ["one object"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataSource": {"S3DataSource": {
        "S3Uri": "s3://bucket/models/tree", "S3DataType": "S3Prefix", "CompressionType": "None"}}}}, ["forward slash"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataSource": {"S3DataSource": {
        "S3Uri": "s3://bucket/models/tree/", "S3DataType": "S3Prefix", "CompressionType": "Gzip"}}}}, ["CompressionType Gzip"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataSource": {"S3DataSource": {
        "S3Uri": "s3://bucket/models/empty/", "S3DataType": "S3Prefix", "CompressionType": "None"}}}}, ["Could not find model data at"]),
    ({"PrimaryContainer": {"Image": "busy", "ModelDataUrl": "s3://bucket/models/model.tar.gz", "ModelDataSource": {"S3DataSource": {
        "S3Uri": "s3://bucket/models/tree/", "S3DataType": "S3Prefix", "CompressionType": "None"}}}}, ["say different things"]),
    ({"Containers": [{"Image": "busy", "ContainerHostname": "a"}, {"Image": "busy"}]}, ["1 of 2 containers have a ContainerHostname"]),
    ({"Containers": [{"Image": "busy", "ContainerHostname": "a"}, {"Image": "busy", "ContainerHostname": "A"}]},
     ["Containers.1 and Containers.2 have the same"]),
    ({"Containers": [{"Image": "busy"}, {"Image": "busy", "ModelDataUrl": "s3://bucket"}]}, ["Containers.2: "]),
    ({"PrimaryContainer": {"Image": "busy"}, "InferenceExecutionConfig": {"Mode": "Serial"}}, ["InferenceExecutionConfig"]),
    ({"Containers": [{"Image": "busy"}], "InferenceExecutionConfig": {"Mode": "Direct"}}, ["InferenceExecutionConfig.Mode", "Serial"]),
    ({"PrimaryContainer": {"Image": "busy", "Mode": "MultiModel"}}, ["PrimaryContainer.Mode", "SingleModel"]),
    ({"PrimaryContainer": {"Image": "busy", "ImageConfig": {"RepositoryAccessMode": "Vpc", "RepositoryAuthConfig": {
        "RepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:000000000000:function:none"}}}}, ["registry_credentials"]),
    ({"PrimaryContainer": {"Image": "busy"}, "VpcConfig": {"Subnets": ["subnet-none"], "SecurityGroupIds": ["sg-none"]}}, ["subnet-none"]),
    ({"PrimaryContainer": {"Image": "busy"}, "Tags": [{"Key": "aws:x", "Value": ""}]}, ["reserved"]),
])
def test_what_cannot_be_is_refused_and_leaves_nothing(server, data, request_, words):
    name = named()
    refusal(create, *words, server=server, ModelName=name, **request_)
    refusal(server.sm.describe_model, "Could not find model", ModelName=name)


def test_names(server, data):
    name = named()
    arn = make(server, name, container(data))
    assert refusal(create, server=server, ModelName=name.lower(), PrimaryContainer=container(data)) == \
        f'Cannot create already existing model "{arn}".'
    refusal(create, "at 'modelName' failed to satisfy constraint", server=server, ModelName="no_name", PrimaryContainer=container(data))


def test_lists_are_filtered_sorted_and_paged(server, data):
    word = uuid.uuid4().hex[:8]
    names = [f"{letter}-{word}" for letter in "cab"]
    for n in names:
        make(server, n, container(data))
        time.sleep(0.002)                                               # so that they are not of one millisecond
    listing = lambda **kw: server.sm.list_models(NameContains=word, **kw)
    got = listing()["Models"]
    assert [m["ModelName"] for m in got] == names[::-1] and "NextToken" not in listing()   # the newest first
    assert sorted(got[0]) == ["CreationTime", "ModelArn", "ModelName"] and got[0]["ModelArn"] == ACCOUNT + "model/" + names[2]
    assert [m["ModelName"] for m in listing(SortBy="Name", SortOrder="Ascending")["Models"]] == sorted(names)
    pages = server.sm.get_paginator("list_models").paginate(NameContains=word, SortBy="Name", PaginationConfig={"PageSize": 1})
    assert [m["ModelName"] for p in pages for m in p["Models"]] == sorted(names)[::-1]
    assert listing(CreationTimeAfter=got[0]["CreationTime"] + datetime.timedelta(seconds=1))["Models"] == []
    assert len(listing(CreationTimeBefore=got[0]["CreationTime"] + datetime.timedelta(seconds=1))["Models"]) == 3
    refusal(server.sm.list_algorithms, "NextToken", NextToken=listing(MaxResults=1)["NextToken"])
    for n in names:
        server.sm.delete_model(ModelName=n)
    assert listing()["Models"] == []


def test_roles_and_sessions(make_server):
    s = make_server()
    s.stop()
    with open(s.data / "bloomery.conf", "a") as f:
        f.write(f"\nroles = strict\nrole.{ROLE} = narrow.json\nrole.{ROLE}-any = any.json\nrole.{ROLE}-s3 = any.json\nrole.{ROLE}-lists = lists.json\n")
    (s.data / "narrow.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::bucket/models/*"},
        {"Effect": "Allow", "Action": ["sagemaker:CreateModel", "sagemaker:DescribeModel"], "Resource": ACCOUNT + "model/mine-*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": [ROLE, ROLE + "-s3"]}]}))
    (s.data / "any.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
    (s.data / "lists.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["sagemaker:*", "iam:PassRole"], "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bucket"}]}))
    s.start()
    s.put("models/", {"model.tar.gz": b"x"})
    s.put("others/", {"model.tar.gz": b"x"})
    good, bad = container("s3://bucket/models/"), container("s3://bucket/others/")
    sm = s.sm
    refusal(sm.create_model, "Could not access model data at s3://bucket/others/model.tar.gz", ROLE, "s3:GetObject",
            ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=bad)
    refusal(sm.create_model, "Could not assume role", ModelName="m", ExecutionRoleArn=ROLE + "-none", PrimaryContainer=good)
    sm.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=good)
    c = s.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="xy")["Credentials"]
    mine = s.client("sagemaker", aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"],
                    aws_session_token=c["SessionToken"])
    mine.create_model(ModelName="MINE-1", ExecutionRoleArn=ROLE, PrimaryContainer=good)
    assert mine.describe_model(ModelName="mine-1")["ModelName"] == "MINE-1"
    denied = dict(code="AccessDeniedException")
    refusal(mine.create_model, "sagemaker:CreateModel", "model/other", ModelName="other", ExecutionRoleArn=ROLE, PrimaryContainer=good, **denied)
    refusal(mine.create_model, "iam:PassRole", ModelName="mine-2", ExecutionRoleArn=ROLE + "-any", PrimaryContainer=good, **denied)
    refusal(mine.create_model, "s3:GetObject", ModelName="mine-2", ExecutionRoleArn=ROLE + "-s3", PrimaryContainer=bad, **denied)
    bare = s.client("sts").assume_role(RoleArn=ROLE + "-lists", RoleSessionName="xy")["Credentials"]
    lists = s.client("sagemaker", aws_access_key_id=bare["AccessKeyId"], aws_secret_access_key=bare["SecretAccessKey"],
                     aws_session_token=bare["SessionToken"])
    tree = lambda uri: {"Image": "busy", "ModelDataSource": {"S3DataSource": {
        "S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}}}
    package = lambda uri: s.call("CreateModelPackage", {"ModelPackageName": named("p"), "InferenceSpecification": {"Containers": [tree(uri)]}})
    s.s3.create_bucket(Bucket="another")
    s.put("models/", {"a": b"x"}, bucket="another")
    may, may_not = (package(f"s3://{b}/models/")["ModelPackageArn"] for b in ("bucket", "another"))
    lists.create_model(ModelName="mine-3", ExecutionRoleArn=ROLE + "-any", PrimaryContainer={"ModelPackageName": may})
    refusal(lists.create_model, "s3:ListBucket", ModelName="mine-4", ExecutionRoleArn=ROLE + "-any",
            PrimaryContainer={"ModelPackageName": may_not}, **denied)
    refusal(mine.create_model, "sagemaker:AddTags", ModelName="mine-2", ExecutionRoleArn=ROLE, PrimaryContainer=good, Tags=[{"Key": "a", "Value": "b"}], **denied)
    refusal(mine.delete_model, "sagemaker:DeleteModel", ModelName="mine-1", **denied)
    refusal(mine.describe_model, "sagemaker:DescribeModel", ModelName="m", **denied)


def test_what_was_answered_outlives_a_kill(make_server):
    s = make_server()
    s.put("models/", {"model.tar.gz": b"x"})
    make(s, "kept", container("s3://bucket/models/"))
    version = s.call("CreateModelPackageGroup", {"ModelPackageGroupName": "g"}) and s.call("CreateModelPackage", {
        "ModelPackageGroupName": "g", "InferenceSpecification": {"Containers": [container("s3://bucket/models/")]}})["ModelPackageArn"]
    ask = lambda: (describe(s, "kept"), call(s, "DescribeModelPackage", ModelPackageName=version))
    before = ask()
    s.call("UpdateModelPackage", {"ModelPackageArn": version, "ModelApprovalStatus": "Approved"})
    for pid in s.pids("bloomeryd"):
        os.kill(pid, signal.SIGKILL)
    assert s.up.wait(60) != 0                                           # the service manager's turn
    s.up = None
    s.start()
    after = ask()
    assert after[0] == before[0] and after[1]["ModelApprovalStatus"] == "Approved"
    assert after[1]["InferenceSpecification"] == before[1]["InferenceSpecification"]
    assert s.call("CreateModelPackage", {"ModelPackageGroupName": "g"})["ModelPackageArn"] == version[:-1] + "2"
    make(s, "again", container("s3://bucket/models/"))
    assert [m["ModelName"] for m in s.sm.list_models()["Models"]] == ["again", "kept"]


def test_model_data_in_another_s3(server, make_server, data):
    here = lambda key: (f"s3_endpoint = {server.url}\ns3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\n"
                        f"s3_secret_key = {key}\n")
    s = make_server(here(server.exports["AWS_SECRET_ACCESS_KEY"]))
    tree = lambda uri: {"S3DataSource": {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}}
    make(s, "there", container(data), {"Image": "busy", "ModelDataSource": tree(data + "tree/")})
    for what in ({"ModelDataUrl": data + "none"}, {"ModelDataUrl": data + "model"}, {"ModelDataSource": tree(data + "none/")},
                 {"ModelDataUrl": "s3://no-such-bucket-here/x"}):
        uri = what.get("ModelDataUrl") or data + "none/"
        assert refusal(create, server=s, ModelName="none", PrimaryContainer={"Image": "busy", **what}) == f"Could not find model data at {uri}."
    assert [m["ModelName"] for m in s.sm.list_models()["Models"]] == ["there"]
    denied = make_server(here("wrong"))
    refusal(create, "Could not access model data at " + data + "model.tar.gz", "403", server=denied, ModelName="m",
            PrimaryContainer=container(data))
    gone = make_server("s3_endpoint = http://127.0.0.1:9\ns3_access_key = a\ns3_secret_key = b\n")
    refusal(create, "127.0.0.1", server=gone, ModelName="m", PrimaryContainer=container(data))
