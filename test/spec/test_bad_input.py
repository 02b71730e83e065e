# Bad input gets the service's own error and changes nothing.
# SPDX-License-Identifier: Apache-2.0
import http.client
import json
import socket
import time
import urllib.error

import botocore.exceptions
import pytest


def refused(server, code, match, **kw):
    r = server.request("true", **kw)
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        server.sm.create_training_job(**r)
    error = ex.value.response["Error"]
    assert error["Code"] == code, error
    assert match in error["Message"], error
    with pytest.raises(botocore.exceptions.ClientError, match="Requested resource not found"):
        server.describe(r["TrainingJobName"] if r["TrainingJobName"].isascii() and "_" not in r["TrainingJobName"] else "x")
    return error["Message"]


def test_constraints_are_worded_as_the_service_does(server):
    assert refused(server, "ValidationException", "failed to satisfy constraint", name="a_b") == (
        "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
    text = refused(server, "ValidationException", "2 validation errors detected", RoleArn="arn:aws:iam::1:role/x-------",
                   ResourceConfig={"InstanceType": "ml.nothing"})
    assert "at 'roleArn'" in text and "at 'resourceConfig.instanceType'" in text and "enum value set: [" in text


def test_names(server):
    name = server.completed("true")["TrainingJobName"]
    for again in (name, name.upper()):
        with pytest.raises(botocore.exceptions.ClientError) as ex:
            server.create("true", name=again)
        assert ex.value.response["Error"]["Code"] == "ResourceInUse"
        assert "Job name must be unique within an AWS account and region" in str(ex.value)
    for op in (server.sm.describe_training_job, server.sm.stop_training_job):
        with pytest.raises(botocore.exceptions.ClientError, match="Requested resource not found.") as ex:
            op(TrainingJobName="never-heard-of")
        assert ex.value.response["Error"]["Code"] == "ValidationException"


def test_data_that_is_not_there(server):
    text = refused(server, "ValidationException", 'No S3 objects found under S3 URL "s3://bucket/nothing/here"',
                   channels={"train": "s3://bucket/nothing/here"})
    assert "given in input data source" in text
    refused(server, "ValidationException", "no-such-bucket", channels={"train": "s3://no-such-bucket/x"})
    refused(server, "ValidationException", "no-such-bucket", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/x"})


def test_channels(server):
    uri = server.put("some/", {"x": b"1"})
    for name in ("..", "."):
        refused(server, "ValidationException", name, channels={name: uri})
    refused(server, "ValidationException", "at 'inputDataConfig.1.member.channelName'", channels={"a/b": uri})
    r = server.request("true", channels={"a": uri})
    r["InputDataConfig"] *= 2
    with pytest.raises(botocore.exceptions.ClientError, match="(?i)duplicate|unique"):
        server.sm.create_training_job(**r)
    r["InputDataConfig"] = [{**r["InputDataConfig"][0], "CompressionType": "Gzip"}]
    with pytest.raises(botocore.exceptions.ClientError,
                       match="Invalid compression type for channel a: File mode only supports NONE, got Gzip instead"):
        server.sm.create_training_job(**r)


@pytest.mark.parametrize("kw", [
    {"EnableManagedSpotTraining": True, "StoppingCondition": {"MaxWaitTimeInSeconds": 900}},
    {"CheckpointConfig": {"S3Uri": "s3://bucket/ck"}}, {"VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}},
    {"ResourceConfig": {"InstanceCount": 251}}, {"RetryStrategy": {"MaximumRetryAttempts": 2}},
])
def test_what_is_not_acted_on_is_refused_by_name(server, kw):
    name = next(iter(kw))
    refused(server, "ValidationException", list(kw[name])[0] if name == "ResourceConfig" else name, **kw)


def test_wait_time_without_spot(server):
    refused(server, "ValidationException", "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
            StoppingCondition={"MaxWaitTimeInSeconds": 900})


# ---- bytes instead of clients ----

def signed(server, body, operation="CreateTrainingJob", region=None, service="sagemaker", secret=None, when=None, **headers):
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import datetime
    req = botocore.awsrequest.AWSRequest("POST", server.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"SageMaker.{operation}", **headers})
    creds = botocore.credentials.Credentials(server.exports["AWS_ACCESS_KEY_ID"], secret or server.exports["AWS_SECRET_ACCESS_KEY"])
    auth = botocore.auth.SigV4Auth(creds, service, region or server.exports["AWS_REGION"])
    if when:
        real = botocore.auth.datetime
        class Then(datetime.datetime):
            @classmethod
            def utcnow(cls):
                return datetime.datetime.utcnow() + datetime.timedelta(seconds=when)
        botocore.auth.datetime = type("m", (), {"datetime": Then})
        try:
            auth.add_auth(req)
        finally:
            botocore.auth.datetime = real
    else:
        auth.add_auth(req)
    return dict(req.headers)


def post(server, body, headers):
    host, port = server.url[7:].split(":")
    c = http.client.HTTPConnection(host, int(port), timeout=20)
    c.request("POST", "/", body, headers)
    r = c.getresponse()
    text = r.read()
    return r, json.loads(text) if text.startswith(b"{") else text


@pytest.mark.parametrize("body,code", [
    (b"", "SerializationException"), (b"{", "SerializationException"), (b"[]", "SerializationException"),
    (b'{"TrainingJobName": "x"', "SerializationException"), (b'{"TrainingJobName": "\xff\xfe"}', "SerializationException"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "SerializationException"), (b'{"TrainingJobName": 7}', "SerializationException"),
    (b'{"InputDataConfig": {}}', "SerializationException"), (b"{}", "ValidationException"), (b'{"RoleArn": null}', "ValidationException"),
    (b'{"ResourceConfig": {"InstanceCount": "1"}}', "SerializationException"),
    (b'{"ResourceConfig": {"InstanceCount": 1e999}}', "SerializationException"), (b"\0\1\2", "SerializationException"),
])
def test_bad_json(server, body, code):
    if code == "SerializationException" and body == b"":
        code = "ValidationException"      # an absent body is an empty request: what is missing is named
    r, answer = post(server, body, signed(server, body))
    assert r.status == 400 and answer["__type"] == code, answer
    assert r.headers["x-amzn-ErrorType"] == code and len(r.headers["x-amzn-RequestId"]) == 36


def test_a_body_that_is_too_large(server):
    body = b'{"TrainingJobName": "' + b"x" * (16 << 20) + b'"}'
    try:
        r, answer = post(server, body, signed(server, body))
        assert r.status == 413
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
        pass                                # cut off while still sending
    assert server.sm.list_training_jobs(MaxResults=1)


def test_signatures(server):
    def code(body=b"{}", **kw):
        r, answer = post(server, body, signed(server, kw.pop("signed_body", body), "ListTrainingJobs", **kw))
        return answer.get("__type", r.status)
    assert code() == 200
    assert code(secret="x" * 40) == "InvalidSignatureException"
    assert code(signed_body=b'{"MaxResults":1}') == "InvalidSignatureException"
    assert code(when=-16 * 60) == "InvalidSignatureException" and code(when=16 * 60) == "InvalidSignatureException"
    assert code(when=-14 * 60) == 200
    assert code(region="eu-west-1") in ("InvalidSignatureException", "UnrecognizedClientException")
    h = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.ListTrainingJobs"}
    r, answer = post(server, b"{}", h)
    assert answer["__type"] == "MissingAuthenticationTokenException"
    r, answer = post(server, b"{}", {**h, "Authorization": "AWS4-HMAC-SHA256 nonsense"})
    assert answer["__type"] == "IncompleteSignatureException"
    stranger = {**signed(server, b"{}", "ListTrainingJobs")}
    stranger["Authorization"] = stranger["Authorization"].replace(server.exports["AWS_ACCESS_KEY_ID"], "AKIA" + "A" * 16)
    r, answer = post(server, b"{}", stranger)
    assert answer["__type"] == "UnrecognizedClientException"
    assert answer.get("message") == "The security token included in the request is invalid."


def test_operations(server):
    for op, want in (("CreateNothing", "UnknownOperationException"), ("CreateFeatureGroup", None), ("ListModelMetadata", "NotImplementedException")):
        try:
            server.call(op, {})
            raise AssertionError(op)
        except urllib.error.HTTPError as ex:
            answer = json.loads(ex.read())
            assert answer["__type"] == want or want is None, answer
            if want:
                assert op in answer["message"]


def test_a_request_cut_in_the_middle_changes_nothing(server):
    r = server.request("true")
    body = json.dumps(r).encode()
    head = signed(server, body)
    host, port = server.url[7:].split(":")
    for cut in (1, len(body) // 2, len(body) - 1):
        s = socket.create_connection((host, int(port)))
        s.sendall(b"POST / HTTP/1.1\r\nHost: " + f"{host}:{port}".encode() + b"\r\nContent-Length: %d\r\n" % len(body) +
                  "".join(f"{k}: {v}\r\n" for k, v in head.items() if k.lower() != "host").encode() + b"\r\n" + body[:cut])
        s.close()
    time.sleep(0.3)
    with pytest.raises(botocore.exceptions.ClientError, match="Requested resource not found"):
        server.describe(r["TrainingJobName"])


def test_junk_on_the_wire(server):
    host, port = server.url[7:].split(":")
    for junk in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                 b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                 b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        s = socket.create_connection((host, int(port)), timeout=5)
        try:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass
        s.close()
    assert server.sm.list_training_jobs(MaxResults=1)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_two_servers_on_one_data_directory(server):
    import subprocess
    import conftest
    second = subprocess.run([conftest.BLOOMERY, "up", "--data", server.data, "--listen", "127.0.0.1:0"],
                            capture_output=True, text=True, timeout=20)
    assert second.returncode != 0 and "listening" not in second.stdout
    assert str(server.data) in second.stderr
    assert server.sm.list_training_jobs(MaxResults=1)


def test_headers_every_client_needs(server):
    r = server.sm.list_training_jobs(MaxResults=1)["ResponseMetadata"]["HTTPHeaders"]
    assert r["content-type"] == "application/x-amz-json-1.1" and len(r["x-amzn-requestid"]) == 36
    assert abs(time.mktime(time.strptime(r["date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.mktime(time.gmtime())) < 5


def test_other_users_of_the_machine_see_nothing(server):
    import subprocess
    server.put("private/", {"x": b"secret"})
    name = server.completed("echo private output", channels={"train": "s3://bucket/private/"})["TrainingJobName"]
    assert name
    server.data.parent.chmod(0o755)      # the data directory's own doing, not that of the directory above
    seen = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "find", server.data, "-type", "f",
                           "-readable"], capture_output=True, text=True).stdout.split()
    assert {p.rsplit("/", 1)[1] for p in seen} <= {"bloomery.conf", "endpoint", "lock", "runtime.json"}, seen
