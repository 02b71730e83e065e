# Algorithm resources: made, shown, listed, removed; and what they do to the jobs that name them.
# SPDX-License-Identifier: Apache-2.0
import datetime
import io
import json
import subprocess
import tarfile
import time
import urllib.error
import uuid

import botocore.exceptions
import pytest

ACCOUNT = "arn:aws:sagemaker:us-east-1:000000000000:"


def integer(name, low, high, **kw):
    return {"Name": name, "Type": "Integer",
            "Range": {"IntegerParameterRangeSpecification": {"MinValue": str(low), "MaxValue": str(high)}}, **kw}


def specification(**kw):
    return {
        "TrainingImage": "busy",
        "SupportedHyperParameters": [
            {"Name": "script", "Type": "FreeText", "IsRequired": True},
            integer("epochs", 1, 100, DefaultValue="10", IsTunable=True, Description="times"),
            {"Name": "rate", "Type": "Continuous", "Range": {"ContinuousParameterRangeSpecification": {
                "MinValue": "0.001", "MaxValue": "1"}}},
            {"Name": "optimizer", "Type": "Categorical", "DefaultValue": "adam", "Range": {
                "CategoricalParameterRangeSpecification": {"Values": ["adam", "sgd"]}}},
        ],
        "SupportedTrainingInstanceTypes": ["ml.m5.large", "ml.m5.xlarge"],
        "SupportsDistributedTraining": False,
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        "SupportedTuningJobObjectiveMetrics": [{"Type": "Minimize", "MetricName": "loss"}],
        "TrainingChannels": [
            {"Name": "train", "IsRequired": True, "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File", "Pipe"],
             "SupportedCompressionTypes": ["None"]},
            {"Name": "test", "SupportedContentTypes": [], "SupportedInputModes": ["File"]},
        ], **kw}


def make(server, name=None, image="busy", **kw):
    name = name or "alg-" + uuid.uuid4().hex[:10]
    request = {"AlgorithmName": name, "TrainingSpecification": specification(TrainingImage=image, **kw.pop("spec", {})), **kw}
    return name, server.sm.create_algorithm(**request)["AlgorithmArn"]


def refusal(call, *words, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        call(**kw)
    error = ex.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    for word in words:
        assert word in error["Message"], error["Message"]
    return error["Message"]


@pytest.fixture(scope="module")
def data(server):
    return server.put("algorithms/", {"x.csv": b"1,2\n"})


@pytest.fixture(scope="module")
def algorithm(server):
    name, arn = make(server, AlgorithmDescription="counts", Tags=[{"Key": "team", "Value": "a"}])
    return name, arn


def job(server, algorithm, data, script="true", hyperparameters=None, **kw):
    r = server.request(script, channels={"train": data}, **kw)
    r["AlgorithmSpecification"].pop("TrainingImage")
    r["AlgorithmSpecification"]["AlgorithmName"] = algorithm
    r["InputDataConfig"][0]["ContentType"] = "text/csv"
    r["HyperParameters"].update(hyperparameters or {})
    return r


def test_describe_shows_all_of_it_and_the_digest(server, algorithm):
    name, arn = algorithm
    assert arn == ACCOUNT + "algorithm/" + name
    d = server.sm.describe_algorithm(AlgorithmName=name)
    assert server.sm.describe_algorithm(AlgorithmName=arn)["AlgorithmArn"] == arn
    [digest] = [i["digest"] for i in json.loads(server.bloomery("image", "list", "--json").stdout) if i["reference"].startswith("busy:")]
    assert d["TrainingSpecification"] == specification(TrainingImageDigest=digest)
    assert d["AlgorithmStatus"] == "Completed" and d["AlgorithmDescription"] == "counts"
    assert d["AlgorithmStatusDetails"] == {"ValidationStatuses": [], "ImageScanStatuses": []}
    assert d["CertifyForMarketplace"] is False and abs(d["CreationTime"].timestamp() - time.time()) < 600
    assert server.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    server.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "b"}])
    assert len(server.sm.list_tags(ResourceArn=arn)["Tags"]) == 2


def test_lists_are_filtered_sorted_and_paged(server):
    word = uuid.uuid4().hex[:8]
    names = [make(server, f"{letter}-{word}", AlgorithmDescription=letter)[0] for letter in "cab"]
    listing = lambda **kw: server.sm.list_algorithms(NameContains=word, **kw)
    got = listing()["AlgorithmSummaryList"]
    assert [a["AlgorithmName"] for a in got] == names and "NextToken" not in listing()
    assert got[0]["AlgorithmStatus"] == "Completed" and got[0]["AlgorithmDescription"] == "c"
    assert [a["AlgorithmName"] for a in listing(SortBy="Name", SortOrder="Descending")["AlgorithmSummaryList"]] == sorted(names)[::-1]
    pages = server.sm.get_paginator("list_algorithms").paginate(NameContains=word, SortBy="Name", PaginationConfig={"PageSize": 1})
    assert [a["AlgorithmName"] for p in pages for a in p["AlgorithmSummaryList"]] == sorted(names)
    after = got[2]["CreationTime"] + datetime.timedelta(seconds=1)      # boto3 sends whole seconds
    assert listing(CreationTimeAfter=after)["AlgorithmSummaryList"] == []
    token = listing(MaxResults=1)["NextToken"]
    refusal(server.sm.list_training_jobs, "NextToken", NextToken=token)
    for n in names:
        server.sm.delete_algorithm(AlgorithmName=n)
    assert listing()["AlgorithmSummaryList"] == []


def test_names(server, algorithm):
    name, arn = algorithm
    refusal(make, "already exists", name, server=server, name=name.upper())
    for missing in ("never-made", ACCOUNT + "algorithm/never-made", "arn:aws:sagemaker:us-east-1:999999999999:algorithm/" + name):
        assert refusal(server.sm.describe_algorithm, AlgorithmName=missing).endswith("does not exist.")
    assert refusal(server.sm.delete_algorithm, AlgorithmName="never-made").endswith("does not exist.")
    short, its = make(server, "again")
    server.sm.delete_algorithm(AlgorithmName=short)
    refusal(server.sm.list_tags, "not found", ResourceArn=its)
    make(server, "again")
    server.sm.delete_algorithm(AlgorithmName=short)


def test_all_that_is_wrong_is_said_at_once(server):
    text = refusal(
        server.sm.create_algorithm, "5 validation errors detected", "duplicate Name 'a'", "MinValue '9' is larger than MaxValue '1'",
        "SupportedHyperParameters.b.DefaultValue: Invalid value: '5' Supported range: integers from 1 to 4",
        "MetricName 'loss' is not among MetricDefinitions", "MetricDefinitions.m.Regex: Invalid value: '('",
        AlgorithmName="wrong", TrainingSpecification=specification(
            SupportedHyperParameters=[integer("a", 9, 1), {"Name": "a", "Type": "FreeText"}, integer("b", 1, 4, DefaultValue="5")],
            MetricDefinitions=[{"Name": "m", "Regex": "("}]))
    assert text.count("; ") >= 4
    with pytest.raises(botocore.exceptions.ClientError, match="does not exist"):
        server.sm.describe_algorithm(AlgorithmName="wrong")


def test_an_image_that_is_not_there(server, data):
    name, _ = make(server, image="nowhere")
    d = server.sm.describe_algorithm(AlgorithmName=name)
    assert d["AlgorithmStatus"] == "Failed", d
    status = d["AlgorithmStatusDetails"]["ValidationStatuses"][0]
    assert status["Status"] == "Failed" and "nowhere" in status["FailureReason"]
    refusal(server.sm.create_training_job, "is in status Failed", "nowhere", **job(server, name, data))
    server.sm.delete_algorithm(AlgorithmName=name)


def test_a_job_gets_defaults_metrics_and_the_image_by_digest(server, algorithm, data):
    name, arn = algorithm
    r = job(server, name, data, "echo loss=0.25; cat /opt/ml/input/config/hyperparameters.json; echo", {"rate": "1e-2"})
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d
    assert d["AlgorithmSpecification"] == {"AlgorithmName": arn, "TrainingInputMode": "File", "EnableSageMakerMetricsTimeSeries": True,
                                           "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]}
    want = {"script": r["HyperParameters"]["script"], "rate": "1e-2", "epochs": "10", "optimizer": "adam"}
    assert d["HyperParameters"] == want
    assert want == next(json.loads(line) for line in server.logs(r["TrainingJobName"]) if line.startswith("{"))
    assert [(m["MetricName"], m["Value"]) for m in d["FinalMetricDataList"]] == [("loss", 0.25)]
    again = job(server, arn, data, AlgorithmSpecification={"MetricDefinitions": d["AlgorithmSpecification"]["MetricDefinitions"]})
    server.sm.create_training_job(**again)
    server.wait(again["TrainingJobName"])


def test_a_job_that_breaks_every_rule(server, algorithm, data):
    name, _ = algorithm
    r = job(server, name, data, hyperparameters={"epochs": "0", "rate": "nan", "optimizer": "lion", "depth": "3"})
    del r["HyperParameters"]["script"]
    r["ResourceConfig"].update(InstanceType="ml.c5.xlarge", InstanceCount=2)
    r["InputDataConfig"][0].update(ChannelName="validation")
    r["InputDataConfig"].append({**r["InputDataConfig"][0], "ChannelName": "test", "InputMode": "Pipe"})
    r["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "mine", "Regex": "x=(.*)"}]
    refusal(server.sm.create_training_job, "11 validation errors detected",
            f"Unknown input channel: validation is not supported by: {name}", "Required input channel: train Was not provided.",
            "InputDataConfig.test.InputMode: Invalid value: 'Pipe' Supported input modes: 'File'",
            f"Invalid hyperparameter: depth is not supported by {name}", "Required hyperparameter: script is not set",
            "HyperParameters.epochs: Invalid value: '0' Supported range: integers from 1 to 100",
            "HyperParameters.rate: Invalid value: 'nan' Supported range: numbers from 0.001 to 1",
            "HyperParameters.optimizer: Invalid value: 'lion' Supported range: one of 'adam', 'sgd'",
            "ResourceConfig.InstanceType: Invalid value: 'ml.c5.xlarge'", "ResourceConfig.InstanceCount: Invalid value: '2'",
            "AlgorithmSpecification.MetricDefinitions: 'mine'", **r)
    refusal(server.describe, "not found", name=r["TrainingJobName"])
    r = job(server, name, data)
    r["InputDataConfig"][0].update(ContentType="image/png", InputMode="Pipe", CompressionType="Gzip")
    refusal(server.sm.create_training_job, "2 validation errors", "InputDataConfig.train.ContentType: Invalid value: 'image/png'",
            "InputDataConfig.train.CompressionType: Invalid value: 'Gzip' Supported compression types: 'None'", **r)


def test_exactly_one_of_name_and_image(server, algorithm, data):
    r = job(server, algorithm[0], data, AlgorithmSpecification={})
    r["AlgorithmSpecification"]["TrainingImage"] = "busy"
    refusal(server.sm.create_training_job, "TrainingImage and AlgorithmName exclude each other", **r)
    r["AlgorithmSpecification"] = {"TrainingInputMode": "File"}
    refusal(server.sm.create_training_job, "neither TrainingImage nor AlgorithmName", **r)
    refusal(server.sm.create_training_job, "algorithm/no-such does not exist.", **job(server, "no-such", data))


def test_an_image_stays_as_long_as_an_algorithm_or_a_model_names_it(server, rootfs, data, tmp_path):
    def bring(word):
        root = tmp_path / word
        subprocess.run(["cp", "-a", rootfs, root], check=True)
        (root / "etc/word").write_text(word)
        assert server.bloomery("image", "import", "changing", root).returncode == 0

    def there(digest):
        return (server.data / "images" / digest.replace(":", "-")).is_dir()
    bring("first")
    name, _ = make(server, image="changing")
    digest = server.sm.describe_algorithm(AlgorithmName=name)["TrainingSpecification"]["TrainingImageDigest"]
    removed = server.bloomery("image", "remove", "changing")
    assert removed.returncode != 0 and "an algorithm or a model names it" in removed.stderr, removed
    bring("second")
    assert there(digest)
    r = job(server, name, data, "cat /etc/word; echo")
    server.sm.create_training_job(**r)
    assert server.wait(r["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    assert server.logs(r["TrainingJobName"])[0] == "first"
    model = "model-" + uuid.uuid4().hex[:10]
    server.sm.create_model(ModelName=model, ExecutionRoleArn="arn:aws:iam::000000000000:role/r", PrimaryContainer={"Image": "changing@" + digest})
    server.sm.delete_algorithm(AlgorithmName=name)
    bring("third")
    assert there(digest)
    server.sm.delete_model(ModelName=model)
    bring("fourth")
    assert not there(digest)
    assert server.bloomery("image", "remove", "changing").returncode == 0


def bring(server, kind, uri, **kw):
    """By hand: Debian's client does not know the member."""
    name = "brings-" + uuid.uuid4().hex[:10]
    server.call("CreateAlgorithm", {"AlgorithmName": name, "TrainingSpecification": specification(
        SupportsDistributedTraining=True, AdditionalS3DataSource={"S3DataType": kind, "S3Uri": uri, **kw})})
    return name


SHOW = "cd $SAGEMAKER_ADDITIONAL_S3_DATA_PATH; pwd; find . -type f | sort | while read f; do echo $f $(cat $f); done"


def shown(server, name, data, hosts=1):
    r = job(server, name, data, SHOW)
    r["ResourceConfig"]["InstanceCount"] = hosts
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    lines = server.logs(r["TrainingJobName"])
    assert lines[0] == "/opt/ml/additional_s3_data"
    return [l for l in lines[1:] if l.startswith("./")]


def test_what_an_algorithm_brings_along(server, data):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as t:
        for path, text in {"w/1": b"one", "2": b"two"}.items():
            info = tarfile.TarInfo(path)
            info.size = len(text)
            t.addfile(info, io.BytesIO(text))
    base = server.put("brought/", {"a": b"A", "sub/b": b"B", "w.tar.gz": archive.getvalue(), "w.tar.gz.not": b"x"})
    assert shown(server, bring(server, "S3Prefix", "s3://bucket/brought/sub"), data) == ["./b B"]
    name = bring(server, "S3Object", base + "w.tar.gz", CompressionType="Gzip")
    assert shown(server, name, data) == ["./2 two", "./w/1 one"]
    assert sorted(shown(server, name, data, hosts=2)) == ["./2 two"] * 2 + ["./w/1 one"] * 2
    etag = server.s3.head_object(Bucket="bucket", Key="brought/a")["ETag"]
    name = bring(server, "S3Object", base + "a", ETag=etag)
    assert server.call("DescribeAlgorithm", {"AlgorithmName": name})["TrainingSpecification"]["AdditionalS3DataSource"] == {
        "S3DataType": "S3Object", "S3Uri": base + "a", "ETag": etag}
    assert shown(server, name, data) == ["./a A"]
    server.put("brought/", {"a": b"changed"})
    r = job(server, name, data, SHOW)
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Failed" and "AdditionalS3DataSource" in d["FailureReason"] and "ETag" in d["FailureReason"], d


def test_what_an_algorithm_cannot_bring_along(server):
    def refused(words, **kw):
        with pytest.raises(urllib.error.HTTPError) as ex:
            bring(server, **kw)
        assert words in json.loads(ex.value.read())["message"]
    refused("S3Uri: there is nothing at 's3://bucket/no-such/'", kind="S3Prefix", uri="s3://bucket/no-such/")
    refused("S3Uri: there is nothing at", kind="S3Object", uri="s3://no-such-bucket/x")
    refused("S3Uri: Invalid value: 's3://bucket/algorithms/' it is to have the form s3://bucket/key", kind="S3Object", uri="s3://bucket/algorithms/")
    refused("CompressionType: 'Gzip' needs S3DataType S3Object", kind="S3Prefix", uri="s3://bucket/x.tar.gz", CompressionType="Gzip")
    refused("CompressionType: 'Gzip' needs S3DataType S3Object", kind="S3Object", uri="s3://bucket/x.zip", CompressionType="Gzip")
    server.put("brought/", {"e": b"E"})
    refused("ETag: 'abc' is given", kind="S3Object", uri="s3://bucket/brought/e", ETag="abc")
    refused("only one object has an ETag", kind="S3Prefix", uri="s3://bucket/brought/", ETag="abc")


def test_by_the_aws_cli(server, tmp_path):
    def aws(*args):
        done = server.aws("sagemaker", *args)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(specification()))
    arn = aws("create-algorithm", "--algorithm-name", "by-cli", "--training-specification", f"file://{file}")["AlgorithmArn"]
    assert aws("describe-algorithm", "--algorithm-name", arn)["AlgorithmStatus"] == "Completed"
    assert [a["AlgorithmArn"] for a in aws("list-algorithms", "--name-contains", "by-cli")["AlgorithmSummaryList"]] == [arn]
    aws("delete-algorithm", "--algorithm-name", "by-cli")
    assert aws("list-algorithms", "--name-contains", "by-cli")["AlgorithmSummaryList"] == []
