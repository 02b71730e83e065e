# ValidationSpecification: what CreateAlgorithm says to it, and the jobs that it makes. SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import time
import urllib.error
import uuid

import botocore.exceptions
import pytest
from conftest import ROOT

ROLE = "arn:aws:iam::000000000000:role/service-role/validator"
ACCOUNT = "arn:aws:sagemaker:us-east-1:000000000000:"


def specification(**kw):
    return {
        "TrainingImage": "busy",
        "SupportedHyperParameters": [
            {"Name": "script", "Type": "FreeText", "IsRequired": True},
            {"Name": "epochs", "Type": "Integer", "DefaultValue": "10",
             "Range": {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "100"}}},
        ],
        "SupportedTrainingInstanceTypes": ["ml.m5.large"],
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        "TrainingChannels": [{"Name": "train", "IsRequired": True, "SupportedContentTypes": ["text/csv"],
                              "SupportedInputModes": ["File"]}], **kw}


def training(data, script="echo loss=0.5; echo m > /opt/ml/model/m", **kw):
    return {"TrainingInputMode": "File", "HyperParameters": {"script": script},
            "InputDataConfig": [{"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": {
                "S3DataType": "S3Prefix", "S3Uri": data}}}],
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/validations"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600}, **kw}


def validation(job, profile="small", **kw):
    return {"ValidationRole": ROLE, "ValidationProfiles": [{"ProfileName": profile, "TrainingJobDefinition": job, **kw}]}


def fresh():
    return "val-" + uuid.uuid4().hex[:10]


def wait(server, name, statuses=("Completed", "Failed"), timeout=120):
    end = time.monotonic() + timeout
    while True:
        d = server.sm.describe_algorithm(AlgorithmName=name)
        if d["AlgorithmStatus"] in statuses:
            return d
        assert time.monotonic() < end, (d, server.tail())
        time.sleep(0.05)


def jobs_of(server, name):
    return [j["TrainingJobName"] for j in server.sm.list_training_jobs(NameContains=name + "-")["TrainingJobSummaries"]]


def refusal(server, *words, **kw):
    name = fresh()
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(), **kw)
    error = ex.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    for word in words:
        assert word in error["Message"], error["Message"]
    with pytest.raises(botocore.exceptions.ClientError, match="does not exist"):
        server.sm.describe_algorithm(AlgorithmName=name)
    assert jobs_of(server, name) == []
    return error["Message"]


@pytest.fixture(scope="module")
def data(server):
    return server.put("validation/", {"x.csv": b"1,2\n"})


def test_a_training_job_is_made_and_tells(server, data):
    name = fresh()
    arn = server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(),
                                     ValidationSpecification=validation(training(data)))["AlgorithmArn"]
    d = server.sm.describe_algorithm(AlgorithmName=name)
    assert d["AlgorithmStatus"] in ("InProgress", "Completed")
    assert d["ValidationSpecification"] == validation(training(data))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Completed", d
    assert d["AlgorithmStatusDetails"] == {"ValidationStatuses": [{"Name": "small", "Status": "Completed"}], "ImageScanStatuses": []}
    [job] = jobs_of(server, name)
    assert job.startswith(name + "-small-") and int(job.rsplit("-", 1)[1]) > 1.7e9
    j = server.describe(job)
    assert j["TrainingJobStatus"] == "Completed" and j["RoleArn"] == ROLE
    assert j["AlgorithmSpecification"]["AlgorithmName"] == arn and j["HyperParameters"]["epochs"] == "10"
    assert [m["Value"] for m in j["FinalMetricDataList"]] == [0.5]
    server.sm.delete_algorithm(AlgorithmName=name)
    assert server.describe(job)["TrainingJobStatus"] == "Completed"


def test_a_job_that_fails(server, data):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(), ValidationSpecification=validation(
        training(data, "echo no such column > /opt/ml/output/failure; exit 3")))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Failed", d
    [job] = jobs_of(server, name)
    [status] = d["AlgorithmStatusDetails"]["ValidationStatuses"]
    assert (status["Name"], status["Status"]) == ("small", "Failed")
    assert job in status["FailureReason"] and "AlgorithmError" in status["FailureReason"] and "no such column" in status["FailureReason"]
    with pytest.raises(botocore.exceptions.ClientError, match="is in status Failed.*no such column"):
        r = server.request("true", channels={"train": data})
        r["AlgorithmSpecification"] = {"AlgorithmName": name, "TrainingInputMode": "File"}
        server.sm.create_training_job(**r)
    server.sm.delete_algorithm(AlgorithmName=name)


def test_while_it_is_validated(server, data):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(),
                               ValidationSpecification=validation(training(data, "while :; do sleep 0.1; done")))
    end = time.monotonic() + 60
    while not jobs_of(server, name) and time.monotonic() < end:
        time.sleep(0.05)
    [job] = jobs_of(server, name)
    d = server.sm.describe_algorithm(AlgorithmName=name)
    assert d["AlgorithmStatus"] == "InProgress"
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"] == [{"Name": "small", "Status": "InProgress"}]
    with pytest.raises(botocore.exceptions.ClientError, match="Cannot delete Algorithm in InProgress status"):
        server.sm.delete_algorithm(AlgorithmName=name)
    server.sm.stop_training_job(TrainingJobName=job)
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Failed"
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"][0]["FailureReason"] == f"training job {job} was stopped"
    server.sm.delete_algorithm(AlgorithmName=name)


def test_a_job_that_takes_too_long(server, data):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(), ValidationSpecification=validation(
        training(data, "sleep 600", StoppingCondition={"MaxRuntimeInSeconds": 1})))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Failed"
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"][0]["FailureReason"].endswith("was stopped after its MaxRuntimeInSeconds")


def test_long_names_are_cut(server, data):
    name = "long-" + uuid.uuid4().hex + "x" * 25
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(),
                               ValidationSpecification=validation(training(data), "p" * 63))
    assert wait(server, name)["AlgorithmStatus"] == "Completed"
    [job] = [j["TrainingJobName"] for j in server.sm.list_training_jobs(NameContains=name[:40])["TrainingJobSummaries"]]
    assert len(job) == 63 and job.startswith(name[:52])


def test_what_its_job_may_not_say(server, data):
    at = "ValidationSpecification.ValidationProfiles.1.TrainingJobDefinition: "
    refusal(server, at, "Required hyperparameter: script is not set", ValidationSpecification=validation(training(data, HyperParameters={})))
    refusal(server, at, "ResourceConfig.InstanceType: Invalid value: 'ml.c5.xlarge'", ValidationSpecification=validation(
        training(data, ResourceConfig={"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1})))
    text = refusal(server, "2 validation errors detected", "s3://bucket/nothing-here/", "no-such-bucket", ValidationSpecification=validation(
        training("s3://bucket/nothing-here/", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/x"})))
    assert text.count(at) == 2


def test_certified_ones_are_validated_in_isolation(server, data):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(), CertifyForMarketplace=True,
                               ValidationSpecification=validation(training(data)))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Completed" and d["CertifyForMarketplace"] is True, d
    assert d["AlgorithmStatusDetails"]["ImageScanStatuses"] == [{"Name": "TrainingImage", "Status": "Completed"}]
    [job] = jobs_of(server, name)
    assert server.describe(job)["EnableNetworkIsolation"] is True


# ---- with a model and a transform job ----

@pytest.fixture(scope="module")
def serving(rootfs, tmp_path_factory):
    """A root that trains and serves; what it serves is a line's length."""
    root = tmp_path_factory.mktemp("both") / "root"
    subprocess.run(["cp", "-a", rootfs, root], check=True)
    subprocess.run(["gcc", "-static", "-O1", "-D_GNU_SOURCE", "-pthread", "-o", root / "usr/local/bin/server", ROOT / "test/bench/serve.c"],
                   check=True)
    serve = root / "usr/local/bin/serve"
    serve.write_text("#!/bin/sh\n[ \"$(cat /opt/ml/model/m)\" != bad ] || { echo this model is bad; exit 3; }\n"
                     "[ \"$(cat /opt/ml/model/m)\" != slow ] || sleep 600\nexec /usr/local/bin/server 8080\n")
    serve.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def both(server, serving):
    assert server.bloomery("image", "import", "both", serving).returncode == 0
    return "both"


def inference(**kw):
    return {"Containers": [{"Image": "both"}], "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"],
            "SupportedTransformInstanceTypes": ["ml.m5.large"], "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"], **kw}


def transform(data, **kw):
    return {"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data}},
                               "ContentType": "text/csv", "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": "s3://bucket/predictions", "Accept": "text/csv"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}, **kw}


def make_both(server, data, model="good", out="predictions", **kw):
    name = fresh()
    job = transform(data, TransformOutput={"S3OutputPath": f"s3://bucket/{out}/{name}", "Accept": "text/csv"})
    server.call("CreateAlgorithm", dict(       # Debian's client does not know all of OutputDataConfig
        AlgorithmName=name, TrainingSpecification=specification(TrainingImage="both"), InferenceSpecification=inference(),
        ValidationSpecification=validation(training(data, f"echo {model} > /opt/ml/model/m", **kw), TransformJobDefinition=job)))
    return name


def transforms_of(server, name):
    return [j["TransformJobName"] for j in server.sm.list_transform_jobs(NameContains=name + "-")["TransformJobSummaries"]]


def predictions(server, name):
    return {o["Key"]: server.s3.get_object(Bucket="bucket", Key=o["Key"])["Body"].read()
            for o in server.s3.list_objects_v2(Bucket="bucket", Prefix=f"predictions/{name}/").get("Contents", [])}


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
def test_all_three(server, data, both, compression):
    name = make_both(server, data, OutputDataConfig={"S3OutputPath": "s3://bucket/validations", "CompressionType": compression})
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Completed", d
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"] == [{"Name": "small", "Status": "Completed"}]
    [job] = jobs_of(server, name)
    assert transforms_of(server, name) == [job]
    model = server.call("DescribeModel", {"ModelName": job})
    assert model["ExecutionRoleArn"] == ROLE and model["PrimaryContainer"]["Image"] == "both"
    source = model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source["S3Uri"].rstrip("/") == server.describe(job)["ModelArtifacts"]["S3ModelArtifacts"].rstrip("/")
    assert source["S3DataType"] == ("S3Object" if compression == "GZIP" else "S3Prefix")
    t = server.sm.describe_transform_job(TransformJobName=job)
    assert t["TransformJobStatus"] == "Completed" and t["ModelName"] == job
    assert predictions(server, name) == {f"predictions/{name}/x.csv.out": b"3\n"}
    server.sm.delete_algorithm(AlgorithmName=name)


def test_a_model_that_does_not_serve(server, data, both):
    name = make_both(server, data, "bad")
    d = wait(server, name)
    [job] = transforms_of(server, name)
    [status] = d["AlgorithmStatusDetails"]["ValidationStatuses"]
    assert d["AlgorithmStatus"] == status["Status"] == "Failed"
    why = server.sm.describe_transform_job(TransformJobName=job)["FailureReason"]
    assert status["FailureReason"] == f"transform job {job} has failed: {why}"
    assert predictions(server, name) == {}
    server.sm.delete_algorithm(AlgorithmName=name)


def test_a_transform_job_that_is_stopped(server, data, both):
    name = make_both(server, data, "slow")
    end = time.monotonic() + 60
    while not transforms_of(server, name) and time.monotonic() < end:
        time.sleep(0.05)
    [job] = transforms_of(server, name)
    server.sm.stop_transform_job(TransformJobName=job)
    d = wait(server, name)
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"][0]["FailureReason"] == f"transform job {job} was stopped"
    server.sm.delete_algorithm(AlgorithmName=name)


def test_without_a_transform_job_there_is_a_model(server, data, both):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(TrainingImage="both"), InferenceSpecification=inference(),
                               ValidationSpecification=validation(training(data)))
    assert wait(server, name)["AlgorithmStatus"] == "Completed"
    [job] = jobs_of(server, name)
    assert server.sm.describe_model(ModelName=job)["ModelName"] == job and transforms_of(server, name) == []


def test_what_its_transform_may_not_say(server, data, both):
    at = "ValidationSpecification.ValidationProfiles.1.TransformJobDefinition"

    def refused(*words, spec=inference(), **kw):
        refusal(server, at, *words, InferenceSpecification=spec, ValidationSpecification=validation(
            training(data), TransformJobDefinition=transform(data, **kw)))
    refused("TransformResources.InstanceType: Invalid value: 'ml.m5.xlarge'", TransformResources={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1})
    refused("no-such-bucket", TransformOutput={"S3OutputPath": "s3://no-such-bucket/x"})
    refused("MaxPayloadInMB", MaxPayloadInMB=90, MaxConcurrentTransforms=4)
    with pytest.raises(botocore.exceptions.ClientError, match="there is no InferenceSpecification"):
        server.sm.create_algorithm(AlgorithmName=fresh(), TrainingSpecification=specification(), ValidationSpecification=validation(
            training(data), TransformJobDefinition=transform(data)))
    refusal(server, "InferenceSpecification: ", "no-such-image", InferenceSpecification=inference(Containers=[{"Image": "no-such-image"}]),
            ValidationSpecification=validation(training(data)))


# ---- who may ----

PASSES = {"Effect": "Allow", "Action": ["sagemaker:*", "s3:*", "iam:PassRole"], "Resource": "*"}
POLICIES = {
    "maker": {"Statement": {"Effect": "Allow", "Action": ["sagemaker:*", "s3:*"], "Resource": "*"}},
    "passer": {"Statement": PASSES},
    "narrow": {"Statement": [
        {"Effect": "Allow", "Action": ["sagemaker:*", "iam:PassRole"], "Resource": "*"},
        {"Effect": "Deny", "Action": "sagemaker:AddTags", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/in/*", "arn:aws:s3:::bucket/validations/*"]}]},
    "reader": {"Statement": {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}},
}


def role(name):
    return "arn:aws:iam::000000000000:role/" + name


@pytest.fixture(scope="module")
def strict(rootfs, serving, tmp_path_factory):
    from conftest import ROOM, Server
    base = tmp_path_factory.mktemp("strict") / "data"
    base.mkdir()
    for name, policy in POLICIES.items():
        (base / (name + ".json")).write_text(json.dumps(policy))
    s = Server(base, conf=ROOM + "stop_grace_seconds = 3\n" + "".join(f"role.{role(n)} = {n}.json\n" for n in POLICIES)).start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    assert s.bloomery("image", "import", "both", serving).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers()
    s.stop()
    assert left == []


def session(server, name):
    c = server.cached("sts").assume_role(RoleArn=role(name), RoleSessionName="somebody")["Credentials"]
    return server.client("sagemaker", aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"],
                         aws_session_token=c["SessionToken"])


def test_roles_are_asked_when_the_algorithm_is_created(strict):
    data = strict.put("in/", {"x.csv": b"1\n"})

    def create(who, validator):
        spec = {**validation(training(data)), "ValidationRole": role(validator)}
        session(strict, who).create_algorithm(AlgorithmName=fresh(), TrainingSpecification=specification(), ValidationSpecification=spec)
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDeniedException.*iam:PassRole.*role/passer"):
        create("maker", "passer")
    with pytest.raises(botocore.exceptions.ClientError, match="ValidationException.*TrainingJobDefinition: Access denied to OutputDataConfig.*role/reader"):
        create("passer", "reader")
    assert strict.sm.list_algorithms()["AlgorithmSummaryList"] == []


def test_a_validation_is_no_way_to_what_its_creator_may_not_get_at(strict):
    """A session that only the built-in policy limits gets no other job's result, not by an algorithm's job either."""
    strict.completed("echo secret > /opt/ml/model/m", name="of-somebody-else")
    maker = session(strict, "without-a-line")

    def create(name, data):
        maker.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(),
                               ValidationSpecification=validation(training(data, "ls -R /opt/ml/input/data")))
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDeniedException.*what belongs to other jobs"):
        create(fresh(), "s3://bucket/out/of-somebody-else/")
    name = fresh()
    create(name, "s3://bucket/out/")          # what is below is looked at object by object, when the job is launched
    d = wait(strict, name)
    why = d["AlgorithmStatusDetails"]["ValidationStatuses"][0].get("FailureReason", "")
    assert d["AlgorithmStatus"] == "Failed" and "out/of-somebody-else/output/model.tar.gz" in why, d


def test_an_algorithm_brings_nothing_along_that_its_creator_may_not_read(strict):
    data = strict.put("in/", {"x.csv": b"1\n"})
    narrow = strict.cached("sts").assume_role(RoleArn=role("narrow"), RoleSessionName="somebody")["Credentials"]
    secret = strict.put("secret/", {"model.tar.gz": b"x"}) + "model.tar.gz"
    own = {**inference(), "Containers": [{"Image": "both", "ModelDataUrl": secret}]}
    source = {"S3DataType": "S3Object", "S3Uri": secret, "ETag": "unlike"}

    def create(**kw):
        body = {"AlgorithmName": fresh(), "TrainingSpecification": specification(), **kw}
        return strict.call("CreateAlgorithm", body, credentials=narrow)

    def refused(*words, **kw):
        with pytest.raises(urllib.error.HTTPError) as ex:
            create(**kw)
        said = ex.value.read().decode()
        assert all(w in said for w in ("AccessDeniedException", *words)), said
    refused("s3:GetObject", "secret/model.tar.gz", InferenceSpecification=own,
            ValidationSpecification={**validation(training(data)), "ValidationRole": role("passer")})
    refused("s3:GetObject", "secret/model.tar.gz", TrainingSpecification=specification(AdditionalS3DataSource=source))
    refused("sagemaker:AddTags", "algorithm/", Tags=[{"Key": "a", "Value": "b"}])
    create()


def test_a_session_validates_what_it_trains(strict):
    data, name = strict.put("in/", {"x.csv": b"1,2\n"}), fresh()
    session(strict, "without-a-line").create_algorithm(
        AlgorithmName=name, TrainingSpecification=specification(TrainingImage="both"), InferenceSpecification=inference(),
        ValidationSpecification=validation(training(data), TransformJobDefinition=transform(
            data, TransformOutput={"S3OutputPath": "s3://bucket/predicted", "Accept": "text/csv"})))
    d = wait(strict, name)
    assert d["AlgorithmStatus"] == "Completed", d


def test_with_all_data_in_another_s3(server, data, serving, make_server):
    away = make_server("stop_grace_seconds = 3\n"
                       f"s3_endpoint = {server.url}\ns3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\n"
                       f"s3_secret_key = {server.exports['AWS_SECRET_ACCESS_KEY']}\n")
    assert away.bloomery("image", "import", "both", serving).returncode == 0
    server.put("brought/", {"one": b"good", "one.not": b"x"})
    name = fresh()
    away.call("CreateAlgorithm", dict(
        AlgorithmName=name, InferenceSpecification=inference(),
        TrainingSpecification=specification(TrainingImage="both", AdditionalS3DataSource={
            "S3DataType": "S3Object", "S3Uri": "s3://bucket/brought/one"}),
        ValidationSpecification=validation(
            training(data, "cd $SAGEMAKER_ADDITIONAL_S3_DATA_PATH; ls; cp one /opt/ml/model/m"), TransformJobDefinition=transform(
                data, TransformOutput={"S3OutputPath": f"s3://bucket/predictions/{name}", "Accept": "text/csv"}))))
    d = wait(away, name)
    assert d["AlgorithmStatus"] == "Completed", d
    [job] = jobs_of(away, name)
    assert [line for line in away.logs(job) if line.startswith("one")] == ["one"]
    assert predictions(server, name) == {f"predictions/{name}/x.csv.out": b"3\n"}
    assert away.leftovers() == []
