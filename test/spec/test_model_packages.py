# Groups of model packages, packages in them and without, and the models that are made of them.
# SPDX-License-Identifier: Apache-2.0
import json
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


@pytest.fixture(scope="module")
def call(server):
    """As newer clients would: Debian's does not know all members."""
    def call(operation, **body):
        try:
            return server.call(operation, body)
        except urllib.error.HTTPError as ex:
            answer = json.loads(ex.read())
            text = answer.get("message", answer.get("Message"))
            raise botocore.exceptions.ClientError({"Error": {"Code": answer["__type"], "Message": text}}, operation)
    return call


@pytest.fixture(scope="module")
def data(server):
    server.put("packages/", {"model.tar.gz": b"not looked into", "tree/a": b"a"})
    return "s3://bucket/packages/"


@pytest.fixture(scope="module")
def digest(server):
    return next(i["digest"] for i in json.loads(server.bloomery("image", "list", "--json").stdout) if i["reference"].startswith("busy:"))


def named(word):
    return word + "-" + uuid.uuid4().hex[:10]


def specification(*containers, **kw):
    return {"Containers": list(containers) or [{"Image": "busy", "ModelDataUrl": "s3://bucket/packages/model.tar.gz"}],
            "SupportedTransformInstanceTypes": ["ml.m5.large"], "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
            "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"], **kw}


@pytest.fixture(scope="module")
def group(server):
    name = named("Group")
    arn = server.sm.create_model_package_group(ModelPackageGroupName=name, ModelPackageGroupDescription="what it is",
                                               Tags=[{"Key": "team", "Value": "a"}])["ModelPackageGroupArn"]
    assert arn == ACCOUNT + "model-package-group/" + name.lower()
    return name, arn


def test_a_group(server, group):
    name, arn = group
    for one in (name, name.lower(), arn):
        d = server.sm.describe_model_package_group(ModelPackageGroupName=one)
        assert (d["ModelPackageGroupName"], d["ModelPackageGroupArn"], d["ModelPackageGroupDescription"]) == (name, arn, "what it is")
        assert d["ModelPackageGroupStatus"] == "Completed" and "CreatedBy" in d
        assert abs(d["CreationTime"].timestamp() - time.time()) < 600
    assert server.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    refusal(server.sm.create_model_package_group, "already exists", arn, ModelPackageGroupName=name.upper())
    found = server.sm.list_model_package_groups(NameContains=name)["ModelPackageGroupSummaryList"]
    assert [g["ModelPackageGroupName"] for g in found] == [name] and found[0]["ModelPackageGroupDescription"] == "what it is"
    for missing in ("never-made", ACCOUNT + "model-package-group/never-made", ACCOUNT.replace("000", "999", 1) + "model-package-group/" + name):
        assert refusal(server.sm.describe_model_package_group, ModelPackageGroupName=missing).endswith("does not exist.")
        assert refusal(server.sm.delete_model_package_group, ModelPackageGroupName=missing).endswith("does not exist.")


def test_groups_are_listed_in_pages(server, call):
    word = uuid.uuid4().hex[:8]
    for letter in "cab":
        server.sm.create_model_package_group(ModelPackageGroupName=f"{letter}-{word}")
        time.sleep(0.002)                                               # so that they are not of one millisecond
    names = lambda **kw: [g["ModelPackageGroupName"][0] for g in server.sm.list_model_package_groups(NameContains=word, **kw)["ModelPackageGroupSummaryList"]]
    assert names() == ["c", "a", "b"] and names(SortOrder="Descending") == ["b", "a", "c"] and names(SortBy="Name") == ["a", "b", "c"]
    pages = server.sm.get_paginator("list_model_package_groups").paginate(NameContains=word, PaginationConfig={"PageSize": 2})
    assert [g["ModelPackageGroupName"][0] for p in pages for g in p["ModelPackageGroupSummaryList"]] == ["c", "a", "b"]
    assert call("ListModelPackageGroups", CrossAccountFilterOption="CrossAccount") == {"ModelPackageGroupSummaryList": []}


def test_versions_of_a_group(server, call, data, digest):
    group = named("Versions")
    server.sm.create_model_package_group(ModelPackageGroupName=group)
    make = lambda **kw: server.sm.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification(), **kw)["ModelPackageArn"]
    base = ACCOUNT + "model-package/" + group.lower()
    first = make(ModelPackageDescription="the first", MetadataProperties={"CommitId": "c0ffee"}, CustomerMetadataProperties={"a": "1", "b": "2"},
                 ModelMetrics={"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://bucket/packages/tree/a"}}})
    second = make(ModelApprovalStatus="Approved")
    assert (first, second) == (base + "/1", base + "/2")

    d = call("DescribeModelPackage", ModelPackageName=first)
    assert (d["ModelPackageGroupName"], d["ModelPackageVersion"], d["ModelPackageArn"]) == (group, 1, first)
    assert (d["ModelPackageStatus"], d["ModelApprovalStatus"]) == ("Completed", "PendingManualApproval")
    assert d["ModelPackageStatusDetails"] == {"ValidationStatuses": [], "ImageScanStatuses": []} and d["CertifyForMarketplace"] is False
    container = {"Image": "busy", "ImageDigest": digest, "ModelDataUrl": data + "model.tar.gz", "ModelDataSource": {"S3DataSource": {
        "S3Uri": data + "model.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}}
    assert d["InferenceSpecification"] == specification(container)
    assert d["ModelPackageDescription"] == "the first" and d["MetadataProperties"] == {"CommitId": "c0ffee"}
    assert d["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] == "s3://bucket/packages/tree/a"
    assert d["CreatedBy"]["IamIdentity"]["Arn"].startswith("arn:aws:sts::000000000000:") and "LastModifiedTime" not in d
    assert server.sm.describe_model_package(ModelPackageName=f"{group.upper()}/2")["ModelPackageArn"] == second

    assert server.sm.update_model_package(
        ModelPackageArn=first, ModelApprovalStatus="Rejected", ApprovalDescription="too slow", CustomerMetadataProperties={"b": "3", "c": "4"},
        CustomerMetadataPropertiesToRemove=["a"],
        AdditionalInferenceSpecificationsToAdd=[{"Name": "fast", **specification()}])["ModelPackageArn"] == first
    after = call("DescribeModelPackage", ModelPackageName=first)
    assert (after["ModelApprovalStatus"], after["ApprovalDescription"]) == ("Rejected", "too slow")
    assert after["CustomerMetadataProperties"] == {"b": "3", "c": "4"} and after["LastModifiedTime"] >= after["CreationTime"]
    assert after["AdditionalInferenceSpecifications"] == [{"Name": "fast", **specification(container)}] and "LastModifiedBy" in after
    refusal(call, "'fast' already", operation="UpdateModelPackage", ModelPackageArn=first,
            AdditionalInferenceSpecificationsToAdd=[{"Name": "fast", **specification()}])
    refusal(call, "Could not find model data", operation="UpdateModelPackage", ModelPackageArn=first,
            InferenceSpecification={"Containers": [{"Image": "busy", "ModelDataUrl": data + "none"}]})
    refusal(server.sm.update_model_package, "does not exist", ModelPackageArn=base + "/9", ModelApprovalStatus="Approved")

    listed = lambda **kw: [(p.get("ModelPackageVersion"), p["ModelApprovalStatus"]) for p in
                           server.sm.list_model_packages(ModelPackageGroupName=group, **kw)["ModelPackageSummaryList"]]
    assert listed() == listed(ModelPackageType="Both") == [(1, "Rejected"), (2, "Approved")]
    assert listed(SortOrder="Descending", ModelApprovalStatus="Approved") == [(2, "Approved")] and listed(ModelPackageType="Unversioned") == []
    pages = server.sm.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group, SortBy="Name", PaginationConfig={"PageSize": 1})
    assert [p["ModelPackageVersion"] for page in pages for p in page["ModelPackageSummaryList"]] == [1, 2]

    b = call("BatchDescribeModelPackage", ModelPackageArnList=[first, base + "/7", second, second])
    assert sorted(b["ModelPackageSummaries"]) == [first, second] and list(b["BatchDescribeModelPackageErrorMap"]) == [base + "/7"]
    assert b["ModelPackageSummaries"][second]["ModelPackageVersion"] == 2
    assert b["ModelPackageSummaries"][second]["InferenceSpecification"] == specification(container)
    assert b["BatchDescribeModelPackageErrorMap"][base + "/7"]["ErrorResponse"].endswith("does not exist.")

    server.sm.delete_model_package(ModelPackageName=second)
    assert make() == base + "/3"                                        # a number is never given twice
    refusal(server.sm.delete_model_package_group, "has 2 model packages", code="ConflictException", ModelPackageGroupName=group)
    for arn in (first, base + "/3"):
        server.sm.delete_model_package(ModelPackageName=arn)
    refusal(server.sm.delete_model_package, "does not exist", ModelPackageName=first)
    server.sm.delete_model_package_group(ModelPackageGroupName=group)


def test_packages_in_no_group(server, call):
    name = named("Alone")
    arn = server.sm.create_model_package(ModelPackageName=name, InferenceSpecification=specification(), Tags=[{"Key": "k", "Value": "v"}],
                                         ClientToken="token-" + name)["ModelPackageArn"]
    assert arn == ACCOUNT + "model-package/" + name.lower()
    assert server.sm.create_model_package(ModelPackageName=name, InferenceSpecification=specification(),
                                          ClientToken="token-" + name)["ModelPackageArn"] == arn
    refusal(server.sm.create_model_package, "was used", code="ConflictException", ModelPackageName=named("other"),
            InferenceSpecification=specification(), ClientToken="token-" + name)
    refusal(server.sm.create_model_package, "already exists", arn, ModelPackageName=name.lower(), InferenceSpecification=specification())
    d = server.sm.describe_model_package(ModelPackageName=name)
    assert d["ModelPackageName"] == name and "ModelPackageVersion" not in d and "ModelApprovalStatus" not in d
    assert server.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    listed = lambda **kw: server.sm.list_model_packages(NameContains=name, **kw)["ModelPackageSummaryList"]
    assert [p["ModelPackageName"] for p in listed()] == [name] == [p["ModelPackageName"] for p in listed(ModelPackageType="Both")]
    assert listed(ModelPackageType="Versioned") == []
    server.sm.delete_model_package(ModelPackageName=arn)
    for what in (name, arn):
        assert refusal(server.sm.describe_model_package, ModelPackageName=what) == f"ModelPackage {arn} does not exist."
    refusal(server.sm.list_tags, "not found", ResourceArn=arn)


@pytest.mark.parametrize("body, words", [
    ({}, ["Neither ModelPackageName nor ModelPackageGroupName"]),
    ({"ModelPackageName": "a", "ModelPackageGroupName": "b"}, ["Both ModelPackageName and ModelPackageGroupName are provided"]),
    ({"ModelPackageGroupName": "never-made"}, ["model-package-group/never-made does not exist."]),
    ({"ModelPackageGroupName": "x", "Tags": [{"Key": "a", "Value": "b"}]}, ["Tags cannot be given"]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification({"Image": "nowhere"})}, ["Requested image nowhere not found"]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification({"Image": "busy", "ImageDigest": "sha256:" + "0" * 64})},
     ["Requested image busy@sha256:000", "not found"]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification({"ModelDataUrl": "s3://bucket/packages/model.tar.gz"})},
     ["InferenceSpecification.Containers.1: Image is missing"]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification({"Image": "busy", "ModelDataUrl": "s3://bucket/packages/none"})},
     ["Could not find model data at s3://bucket/packages/none."]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification({"Image": "busy"}, {"Image": "busy", "ContainerHostname": "a"})},
     ["1 of 2 containers have a ContainerHostname"]),
    ({"ModelPackageName": "x", "AdditionalInferenceSpecifications": [{"Name": "a", **specification()}, {"Name": "a", **specification()}]},
     ["AdditionalInferenceSpecifications.2", "given twice"]),
    ({"ModelPackageName": "x", "CertifyForMarketplace": True}, ["CertifyForMarketplace"]),
    ({"ModelPackageName": "x", "ValidationSpecification": {"ValidationRole": ROLE, "ValidationProfiles": []}}, ["ValidationSpecification"]),
    ({"ModelPackageName": "x", "SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "never-made"}]}}, ["algorithm/never-made does not exist."]),
    ({"ModelPackageName": "x", "InferenceSpecification": specification(),
      "SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a"}]}}, ["exclude each other"]),
])
def test_what_cannot_be_is_refused_and_leaves_nothing(server, call, data, body, words):
    refusal(call, *words, operation="CreateModelPackage", **body)
    refusal(server.sm.describe_model_package, "does not exist", ModelPackageName="x")


def test_models_of_packages(server, call, data, group, digest):
    name, _ = group
    two = specification({"Image": "busy", "ContainerHostname": "a", "Environment": {"X": "1", "Y": "1"}},
                        {"Image": "busy", "ContainerHostname": "b", "ModelDataUrl": data + "model.tar.gz"})
    version = call("CreateModelPackage", ModelPackageGroupName=name, InferenceSpecification=specification(),
                   AdditionalInferenceSpecifications=[{"Name": "pipeline", **two}])["ModelPackageArn"]
    model = named("model")
    make = lambda **kw: call("CreateModel", ModelName=model, ExecutionRoleArn=ROLE, **kw)
    make(PrimaryContainer={"ModelPackageName": version, "Environment": {"K": "v"}})
    d = call("DescribeModel", ModelName=model)
    assert d["PrimaryContainer"] == {"ModelPackageName": version, "Environment": {"K": "v"}, "Mode": "SingleModel"}
    call("DeleteModel", ModelName=model)
    make(PrimaryContainer={"ModelPackageName": version, "InferenceSpecificationName": "pipeline"}, EnableNetworkIsolation=True)
    assert call("DescribeModel", ModelName=model)["EnableNetworkIsolation"] is True
    call("DeleteModel", ModelName=model)
    short = name + version[version.rindex("/"):]
    make(Containers=[{"Image": "busy", "ContainerHostname": "x"}, {"ModelPackageName": short, "ContainerHostname": "y"}])
    assert [c.get("ModelPackageName") for c in call("DescribeModel", ModelName=model)["Containers"]] == [None, version]
    call("DeleteModel", ModelName=model)
    one = {"ModelPackageName": version}
    refusal(make, "Image cannot be given with ModelPackageName", PrimaryContainer={**one, "Image": "busy"})
    refusal(make, "a pipeline of its own", Containers=[{"Image": "busy"}, {**one, "InferenceSpecificationName": "pipeline"}])
    refusal(make, "no inference specification 'none'", PrimaryContainer={**one, "InferenceSpecificationName": "none"})
    refusal(make, "InferenceSpecificationName is one of a model package", PrimaryContainer={"Image": "busy", "InferenceSpecificationName": "x"})
    refusal(make, "model-package/never-made does not exist.", PrimaryContainer={"ModelPackageName": "never-made"})
    call("UpdateModelPackage", ModelPackageArn=version, ModelApprovalStatus="Rejected")
    refusal(make, "is Rejected", PrimaryContainer=one)
    bare = call("CreateModelPackage", ModelPackageGroupName=name, SourceUri="somewhere")["ModelPackageArn"]
    refusal(make, "has no InferenceSpecification", PrimaryContainer={"ModelPackageName": bare})
    refusal(server.sm.describe_model, "Could not find model", ModelName=model)


def test_a_package_of_an_algorithm(server, call, data, digest):
    algorithm = named("algorithm")
    training = {"TrainingImage": "busy", "SupportedTrainingInstanceTypes": ["ml.m5.large"], "TrainingChannels": [
        {"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"]}]}
    server.sm.create_algorithm(AlgorithmName=algorithm, TrainingSpecification=training, InferenceSpecification=specification(
        {"Image": "busy", "Environment": {"A": "b"}}))
    package = named("package")
    source = {"SourceAlgorithms": [{"AlgorithmName": algorithm, "ModelDataUrl": data + "model.tar.gz"}]}
    arn = call("CreateModelPackage", ModelPackageName=package, SourceAlgorithmSpecification=source)["ModelPackageArn"]
    d = call("DescribeModelPackage", ModelPackageName=arn)
    served = d["InferenceSpecification"]["Containers"]
    assert [(c["Image"], c["ModelDataUrl"], c["Environment"], c["ImageDigest"]) for c in served] == [
        ("busy", data + "model.tar.gz", {"A": "b"}, digest)]
    assert d["SourceAlgorithmSpecification"]["SourceAlgorithms"][0]["AlgorithmName"] == ACCOUNT + "algorithm/" + algorithm
    call("CreateModel", ModelName=package, PrimaryContainer={"ModelPackageName": arn}, ExecutionRoleArn=ROLE)
    silent = named("silent")
    server.sm.create_algorithm(AlgorithmName=silent, TrainingSpecification=training)
    source["SourceAlgorithms"][0]["AlgorithmName"] = silent
    refusal(call, "has no InferenceSpecification", operation="CreateModelPackage", ModelPackageName=silent, SourceAlgorithmSpecification=source)


def test_sessions(make_server):
    s = make_server()
    s.stop()
    with open(s.data / "bloomery.conf", "a") as f:
        f.write(f"\nrole.{ROLE} = narrow.json\n")
    (s.data / "narrow.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sagemaker:*", "Resource": [ACCOUNT + "model/*", ACCOUNT + "model-package/mine/*"]},
        {"Effect": "Deny", "Action": "sagemaker:*", "Resource": ACCOUNT + "model-package/mine/2"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE}]}))
    s.start()
    for group in ("mine", "other"):
        s.sm.create_model_package_group(ModelPackageGroupName=group)
        for _ in range(2):
            s.sm.create_model_package(ModelPackageGroupName=group, InferenceSpecification={
                "Containers": [{"Image": "busy"}], "SupportedContentTypes": ["a/b"], "SupportedResponseMIMETypes": ["a/b"]})
    c = s.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="session")["Credentials"]
    mine = s.client("sagemaker", aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"],
                    aws_session_token=c["SessionToken"])
    base, denied = ACCOUNT + "model-package/", dict(code="AccessDeniedException")
    assert mine.describe_model_package(ModelPackageName="mine/1")["ModelPackageVersion"] == 1
    for other in ("other/1", base + "other/1", "mine/2", base + "mine/2", base + "MINE/2"):
        refusal(mine.describe_model_package, "sagemaker:DescribeModelPackage", ModelPackageName=other, **denied)
        refusal(mine.create_model, "sagemaker:DescribeModelPackage", ModelName="m", ExecutionRoleArn=ROLE,
                PrimaryContainer={"ModelPackageName": other}, **denied)
    asked = mine.batch_describe_model_package(ModelPackageArnList=[base + "mine/1", base + "mine/2", base + "other/1"])
    assert list(asked["ModelPackageSummaries"]) == [base + "mine/1"]
    errors = asked["BatchDescribeModelPackageErrorMap"]
    assert {k: v["ErrorCode"] for k, v in errors.items()} == dict.fromkeys([base + "mine/2", base + "other/1"], "AccessDeniedException")
    mine.update_model_package(ModelPackageArn=base + "mine/1", ModelApprovalStatus="Approved")
    refusal(mine.update_model_package, ModelPackageArn=base + "other/1", ModelApprovalStatus="Approved", **denied)
    refusal(mine.create_model_package_group, ModelPackageGroupName="new", **denied)
    refusal(mine.create_model_package, ModelPackageGroupName="other", **denied)
    arn = mine.create_model_package(ModelPackageGroupName="mine")["ModelPackageArn"]
    assert arn == base + "mine/3"
    assert "assumed-role/r/session" in s.call("DescribeModelPackage", {"ModelPackageName": arn})["CreatedBy"]["IamIdentity"]["Arn"]
    mine.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": base + "mine/1"})
