# CloudWatch in all the protocols its clients use: query by Debian's boto3 and aws CLI, JSON 1.0 and CBOR as the newer
# SDKs send them (raw, so that the test needs none of those), gzip bodies. SPDX-License-Identifier: Apache-2.0
import datetime
import gzip
import json
import os
import signal
import time
import urllib.error
import urllib.request
import uuid

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

import cbor

UTC = datetime.timezone.utc
TARGET = "GraniteServiceVersion20100801"


@pytest.fixture(scope="module")
def cw(server):
    return server.client("cloudwatch")


@pytest.fixture
def ns():
    return "test/" + uuid.uuid4().hex[:12]


def minute(ago=10):
    """The beginning of a minute some minutes ago."""
    return datetime.datetime.fromtimestamp(int(time.time()) // 60 * 60 - 60 * ago, UTC)


def signed(server, path, body, headers, service="monitoring", method="POST"):
    request = botocore.awsrequest.AWSRequest(method, server.url + path, data=body, headers=headers)
    key = botocore.credentials.Credentials(server.exports["AWS_ACCESS_KEY_ID"], server.exports["AWS_SECRET_ACCESS_KEY"])
    botocore.auth.SigV4Auth(key, service, server.exports["AWS_REGION"]).add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, body, dict(request.headers), method=method)) as r:
            return r.status, dict(r.headers), r.read()
    except urllib.error.HTTPError as e:
        return e.code, dict(e.headers), e.read()


def json10(server, op, body, **headers):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{TARGET}.{op}", "x-amzn-query-mode": "true",
               **headers}
    status, head, text = signed(server, "/", body if isinstance(body, bytes) else json.dumps(body).encode(), headers)
    return status, head, json.loads(text) if text else {}


def rpc_cbor(server, op, body, **headers):
    headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "Accept": "application/cbor", **headers}
    status, head, data = signed(server, f"/service/{TARGET}/operation/{op}",
                                body if isinstance(body, bytes) else cbor.dumps(body), headers)
    assert head["smithy-protocol"] == "rpc-v2-cbor"
    return status, head, cbor.loads(data) if data else {}


def code(call, *args, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(*args, **kw)
    return e.value.response["Error"]["Code"], e.value.response["Error"]["Message"]


def statistics(cw, ns, name="m", start=None, minutes=10, **kw):
    start = start or minute()
    kw.setdefault("Statistics", ["SampleCount", "Average", "Sum", "Minimum", "Maximum"])
    return cw.get_metric_statistics(**{"Namespace": ns, "MetricName": name, "StartTime": start, "Period": 60,
                                       "EndTime": start + datetime.timedelta(minutes=minutes), **kw})


# ---- PutMetricData, GetMetricStatistics ----

def test_values_are_put_together_by_minute(cw, ns):
    t = minute()
    cw.put_metric_data(Namespace=ns, MetricData=[
        {"MetricName": "m", "Value": 1.5, "Timestamp": t, "Unit": "Count"},
        {"MetricName": "m", "Value": 2.5, "Timestamp": t + datetime.timedelta(seconds=59.9), "Unit": "Count"},
        {"MetricName": "m", "Value": 0.1, "Timestamp": t + datetime.timedelta(minutes=2), "Unit": "Count"}])
    got = statistics(cw, ns, start=t)
    assert got["Label"] == "m"
    assert got["Datapoints"] == [
        {"Timestamp": t, "SampleCount": 2.0, "Average": 2.0, "Sum": 4.0, "Minimum": 1.5, "Maximum": 2.5, "Unit": "Count"},
        {"Timestamp": t + datetime.timedelta(minutes=2), "SampleCount": 1.0, "Average": 0.1, "Sum": 0.1, "Minimum": 0.1,
         "Maximum": 0.1, "Unit": "Count"}]


def test_values_with_counts_and_statistic_sets(cw, ns):
    t = minute()
    cw.put_metric_data(Namespace=ns, MetricData=[
        {"MetricName": "m", "Values": [1, 2, 10], "Counts": [1, 97, 2], "Timestamp": t},
        {"MetricName": "set", "Timestamp": t,
         "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}}])
    point, = statistics(cw, ns, start=t, ExtendedStatistics=["p50", "p99", "tm98", "TC(0%:50%)", "PR(:2)"])["Datapoints"]
    assert (point["SampleCount"], point["Sum"]) == (100, 215)
    assert point["ExtendedStatistics"]["p50"] == 2 and point["ExtendedStatistics"]["p99"] == 10
    assert point["ExtendedStatistics"]["tm98"] == pytest.approx((1 + 2 * 97) / 98)
    assert point["ExtendedStatistics"]["TC(0%:50%)"] == 50 and point["ExtendedStatistics"]["PR(:2)"] == 98
    point, = statistics(cw, ns, "set", start=t, ExtendedStatistics=["p50"])["Datapoints"]
    assert point["Average"] == 2.5 and "ExtendedStatistics" not in point, "a statistic set tells no percentile"


def test_dimensions_and_units_are_apart(cw, ns):
    t = minute()
    for host, unit, value in (("a", "Percent", 1), ("b", "Percent", 2), ("a", "Count", 3)):
        cw.put_metric_data(Namespace=ns, MetricData=[{"MetricName": "m", "Value": value, "Timestamp": t, "Unit": unit,
                                                      "Dimensions": [{"Name": "Host", "Value": host}]}])
    of = lambda **kw: sorted((p["Unit"], p["Sum"]) for p in statistics(cw, ns, start=t, **kw)["Datapoints"])
    a = [{"Name": "Host", "Value": "a"}]
    assert of(Dimensions=a) == [("Count", 3), ("Percent", 1)]
    assert of(Dimensions=a, Unit="Percent") == [("Percent", 1)]
    assert of() == [], "without dimensions it is another metric"


def test_seconds_are_there_where_they_were_asked_for(cw, ns):
    t = minute(1)
    for name, resolution in (("fine", 1), ("coarse", 60)):
        cw.put_metric_data(Namespace=ns, MetricData=[
            {"MetricName": name, "Value": i, "Timestamp": t + datetime.timedelta(seconds=i), "StorageResolution": resolution}
            for i in range(20)])
    fine = statistics(cw, ns, "fine", start=t, minutes=1, Period=10)["Datapoints"]
    assert [(p["SampleCount"], p["Sum"]) for p in fine] == [(10, 45), (10, 145)]
    assert statistics(cw, ns, "coarse", start=t, minutes=1, Period=10)["Datapoints"] == []
    assert statistics(cw, ns, "coarse", start=t, minutes=1)["Datapoints"][0]["SampleCount"] == 20


def test_what_is_refused(cw, ns):
    now = datetime.datetime.now(UTC)
    put = lambda **kw: code(cw.put_metric_data, Namespace=kw.pop("ns", ns), MetricData=[{"MetricName": "m", **kw}])
    assert put(Value=1, ns="AWS/EC2") == ("InvalidParameterValue", "The value AWS/EC2 for parameter Namespace is invalid.")
    assert put(Value=float("nan"))[0] == "InvalidParameterValue"
    assert "Infinity for parameter MetricData.member.1.Value" in put(Value=float("inf"))[1]
    assert put(Value=1e200)[0] == "InvalidParameterValue"
    assert put()[0] == "MissingParameter"
    assert put(Value=1, Values=[1])[0] == "InvalidParameterCombination"
    assert "same size" in put(Values=[1, 2], Counts=[1])[1]
    assert "two weeks in the past" in put(Value=1, Timestamp=now - datetime.timedelta(days=15))[1]
    assert "two hours in the future" in put(Value=1, Timestamp=now + datetime.timedelta(hours=3))[1]
    assert put(Value=1, StorageResolution=7)[0] == "InvalidParameterValue"
    assert put(Value=1, Unit="Furlongs")[0] == "ValidationError"
    assert put(Values=[1.0] * 151)[0] == "InvalidParameterValue"
    assert code(cw.put_metric_data, Namespace=ns, MetricData=[{"MetricName": "m", "Value": 1}] * 1001)[0] == "InvalidParameterValue"
    get = lambda **kw: code(statistics, cw, ns, **kw)
    assert get(minutes=0) == ("InvalidParameterCombination", "The parameter StartTime must be less than the parameter EndTime.")
    assert get(minutes=1441) == (
        "InvalidParameterCombination", "You have requested up to 1,441 datapoints, which exceeds the limit of 1,440. You may "
        "reduce the datapoints requested by increasing Period, or decreasing the time range.")
    assert get(Period=61)[0] == "InvalidParameterValue"
    assert get(ExtendedStatistics=["p101"])[0] == "InvalidParameterValue"
    assert statistics(cw, ns)["Datapoints"] == [], "nothing of what was refused is there"


def test_one_bad_datum_refuses_all(cw, ns):
    assert code(cw.put_metric_data, Namespace=ns, MetricData=[{"MetricName": "m", "Value": 1},
                                                              {"MetricName": "m", "Value": float("nan")}])[1] == \
        "The value NaN for parameter MetricData.member.2.Value is invalid."
    assert statistics(cw, ns, start=minute(1))["Datapoints"] == []


# ---- ListMetrics ----

def test_metrics_are_listed_by_filter_and_page(cw, ns):
    for i in range(0, 1100, 100):
        cw.put_metric_data(Namespace=ns, MetricData=[
            {"MetricName": f"m{k % 2}", "Value": 1, "Dimensions": [{"Name": "Host", "Value": f"h{k:04}"}]} for k in range(i, i + 100)])
    pages = list(cw.get_paginator("list_metrics").paginate(Namespace=ns))
    assert [len(p["Metrics"]) for p in pages] == [500, 500, 100] and "NextToken" not in pages[-1]
    assert {m["Dimensions"][0]["Value"] for p in pages for m in p["Metrics"]} == {f"h{k:04}" for k in range(1100)}
    count = lambda **kw: sum(len(p["Metrics"]) for p in cw.get_paginator("list_metrics").paginate(Namespace=ns, **kw))
    assert count(MetricName="m1") == 550
    assert count(Dimensions=[{"Name": "Host", "Value": "h0007"}]) == 1
    assert count(Dimensions=[{"Name": "Host"}]) == 1100
    assert count(Dimensions=[{"Name": "Kind"}]) == 0
    assert count(RecentlyActive="PT3H") == 1100
    cw.put_metric_data(Namespace=ns, MetricData=[{"MetricName": "old", "Value": 1, "Timestamp": minute(300)}])
    assert count(RecentlyActive="PT3H") == 1100 and count(MetricName="old") == 1
    assert code(cw.list_metrics, NextToken="nonsense")[0] == "InvalidParameterValue"


# ---- GetMetricData ----

def stat(ns, name="m", stat="Sum", period=60, **dims):
    return {"Metric": {"Namespace": ns, "MetricName": name, "Dimensions": [{"Name": k, "Value": v} for k, v in dims.items()]},
            "Period": period, "Stat": stat}


def data(cw, queries, start, minutes=10, **kw):
    return cw.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=start + datetime.timedelta(minutes=minutes), **kw)


@pytest.fixture
def hosts(cw, ns):
    """Two hosts with two metrics each: values 1, 2, 3 and 10, 20, 30 in three minutes."""
    t = minute()
    cw.put_metric_data(Namespace=ns, MetricData=[
        {"MetricName": name, "Value": factor * (i + 1), "Timestamp": t + datetime.timedelta(minutes=i),
         "Dimensions": [{"Name": "Host", "Value": f"job/{host}"}]}
        for host, factor in (("algo-1", 1), ("algo-2", 10)) for name in ("CPUUtilization", "MemoryUtilization") for i in range(3)])
    return t


def test_metrics_and_expressions(cw, ns, hosts):
    r = data(cw, [{"Id": "m1", "MetricStat": stat(ns, "CPUUtilization", Host="job/algo-1"), "ReturnData": False},
                  {"Id": "m2", "MetricStat": stat(ns, "CPUUtilization", Host="job/algo-2"), "Label": "two: ${PROP('Dim.Host')} ${MAX}"},
                  {"Id": "e1", "Expression": "(m1 + m2) / 2 - e2"},
                  {"Id": "e2", "Expression": "MIN(m1)", "ReturnData": False},
                  {"Id": "e3", "Expression": "SUM(METRICS())", "Label": "all of ${LABEL}"}], hosts, ScanBy="TimestampAscending")
    got = {x["Id"]: x for x in r["MetricDataResults"]}
    assert list(got) == ["m2", "e1", "e3"]
    assert got["m2"]["Label"] == "two: job/algo-2 30" and got["m2"]["Values"] == [10, 20, 30]
    assert got["m2"]["Timestamps"] == [hosts + datetime.timedelta(minutes=i) for i in range(3)]
    assert got["e1"]["Values"] == [4.5, 10, 15.5] and got["e1"]["Label"] == "e1"
    assert got["e3"]["Values"] == [11, 22, 33] and got["e3"]["Label"] == "all of e3"
    assert {x["StatusCode"] for x in got.values()} == {"Complete"}
    assert data(cw, [{"Id": "m1", "MetricStat": stat(ns, "CPUUtilization", Host="job/algo-1")}], hosts)[
        "MetricDataResults"][0]["Values"] == [3, 2, 1], "the newest first, unless told otherwise"


def test_search(cw, ns, hosts):
    r = data(cw, [{"Id": "s", "Expression": f"SEARCH('{{{ns},Host}} Host=job/algo-', 'Average', 60)"}], hosts)
    assert sorted((x["Label"], x["Values"][0]) for x in r["MetricDataResults"]) == [
        ("job/algo-1 CPUUtilization", 3), ("job/algo-1 MemoryUtilization", 3),
        ("job/algo-2 CPUUtilization", 30), ("job/algo-2 MemoryUtilization", 30)]
    r = data(cw, [{"Id": "s", "Expression": f"SUM(SEARCH('{{{ns},Host}} MetricName=\"CPUUtilization\"', 'Sum', 60))"}], hosts)
    assert [x["Values"] for x in r["MetricDataResults"]] == [[33, 22, 11]]


def test_pages_of_data(cw, ns, hosts):
    queries = [{"Id": f"m{i}{name[0].lower()}", "MetricStat": stat(ns, name, Host=f"job/algo-{i}")}
               for i in (1, 2) for name in ("CPUUtilization", "MemoryUtilization")]
    queries.insert(1, {"Id": "empty", "MetricStat": stat(ns, "nothing")})
    whole = {x["Id"]: x["Values"] for x in data(cw, queries, hosts)["MetricDataResults"]}
    assert len(whole) == 5
    for most in 1, 2, 3, 5, 100:
        got, pages = {}, 0
        for page in cw.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries, StartTime=hosts, EndTime=hosts + datetime.timedelta(minutes=10),
                PaginationConfig={"PageSize": most}):
            pages += 1
            assert sum(len(x["Values"]) for x in page["MetricDataResults"]) <= most
            for x in page["MetricDataResults"]:
                got.setdefault(x["Id"], []).extend(x["Values"])
        assert got == whole and pages == -(-12 // most)
    token = data(cw, queries, hosts, MaxDatapoints=2)["NextToken"]
    assert code(data, cw, queries[1:], hosts, NextToken=token)[0] == "InvalidNextToken"


def test_data_that_is_refused(cw, ns):
    t, one = minute(), {"Id": "m1", "MetricStat": stat(ns)}
    say = lambda *queries, **kw: code(data, cw, list(queries), t, **kw)
    for got in (say({**one, "Id": "M1"}), say(one, one), say({"Id": "x"}), say({**one, "Expression": "1"}), say(one, minutes=0),
                say({"Id": "m1", "MetricStat": stat(ns, stat="Mean")}), say({"Id": "m1", "MetricStat": stat(ns, period=61)}),
                say(one, MaxDatapoints=0), say(*[{**one, "Id": f"m{i}"} for i in range(501)])):
        assert got[0] == "ValidationError", got
    assert say({"Id": "e1", "Expression": "m1 + nope"}, one)[1] == "Error in expression 'e1': The following ids are undefined: [nope]"
    assert say({"Id": "e1", "Expression": "e2"}, {"Id": "e2", "Expression": "e1"})[1].endswith("Circular reference")
    assert "time series" in say({"Id": "e1", "Expression": "1 + 1"})[1]
    assert "'IF'" in say({"Id": "e1", "Expression": "IF(m1, 1)"}, one)[1]
    assert "'e1'" in say({"Id": "e1", "Expression": "SEARCH('{', 'Sum')"})[1]


# ---- the other protocols ----

def test_json_and_cbor_say_the_same(server, cw, ns):
    t = minute()
    at = t.timestamp()
    datum = lambda v, at=at: {"MetricName": "m", "Value": v, "Timestamp": at, "Unit": "None"}
    assert json10(server, "PutMetricData", {"Namespace": ns, "MetricData": [datum(0.1)]})[0] == 200
    assert rpc_cbor(server, "PutMetricData", {"Namespace": ns, "MetricData": [datum(0.2, cbor.Time(at))]})[0] == 200
    # half and single floats, and maps and lists without a length
    raw = (b"\xbf" + cbor.dumps("Namespace") + b"\x7f" + cbor.dumps(ns[:3]) + cbor.dumps(ns[3:]) + b"\xff" +
           cbor.dumps("MetricData") + b"\x9f\xbf" + cbor.dumps("MetricName") + cbor.dumps("m") + cbor.dumps("Timestamp") +
           b"\xc1" + cbor.dumps(int(at)) + cbor.dumps("Values") + b"\x82\xf9\x3c\x00\xfa\x40\x00\x00\x00\xff\xff\xff")
    status, _, answer = rpc_cbor(server, "PutMetricData", raw)
    assert status == 200, answer
    ask = {"Namespace": ns, "MetricName": "m", "Period": 60, "Statistics": ["Sum", "SampleCount"]}
    _, head, a = json10(server, "GetMetricStatistics", {**ask, "StartTime": at, "EndTime": at + 60})
    assert head["Content-Type"] == "application/x-amz-json-1.0"
    _, head, b = rpc_cbor(server, "GetMetricStatistics", {**ask, "StartTime": cbor.Time(at), "EndTime": cbor.Time(at + 60)})
    assert head["Content-Type"] == "application/cbor"
    point = {"Timestamp": at, "Sum": 0.1 + 0.2 + 1 + 2, "SampleCount": 4, "Unit": "None"}
    assert a == {"Label": "m", "Datapoints": [point]} == b
    assert isinstance(b["Datapoints"][0]["Timestamp"], cbor.Time)
    assert statistics(cw, ns, start=t)["Datapoints"][0]["Sum"] == point["Sum"]


def test_errors_keep_their_query_codes(server, ns):
    bad = {"Namespace": "AWS/x", "MetricData": [{"MetricName": "m", "Value": 1.0}]}
    for call in json10, rpc_cbor:
        status, head, answer = call(server, "PutMetricData", bad)
        assert status == 400 and head["x-amzn-query-error"] == "InvalidParameterValue;Sender"
        assert answer == {"__type": "InvalidParameterValueException", "message": "The value AWS/x for parameter Namespace is invalid."}
        status, head, answer = call(server, "PutMetricData", {"Namespace": ns, "MetricData": [{"Value": 1.0}]})
        assert head["x-amzn-query-error"] == "ValidationError;Sender" and "metricData.1.member.metricName" in answer["message"]
        status, head, answer = call(server, "NoSuchThing", {})
        assert status == 400 and head["x-amzn-query-error"].startswith("InvalidAction")


def test_gzip_bodies(server, cw, ns):
    t = minute()
    body = {"Namespace": ns, "MetricData": [{"MetricName": f"metric-{i}", "Value": i, "Timestamp": t.timestamp()} for i in range(500)]}
    assert json10(server, "PutMetricData", gzip.compress(json.dumps(body).encode()), **{"Content-Encoding": "gzip"})[0] == 200
    assert rpc_cbor(server, "PutMetricData", gzip.compress(cbor.dumps(body)), **{"Content-Encoding": "gzip"})[0] == 200
    assert statistics(cw, ns, "metric-499", start=t)["Datapoints"][0]["Sum"] == 998
    status, _, answer = json10(server, "PutMetricData", gzip.compress(bytes(64 << 20)), **{"Content-Encoding": "gzip"})
    assert status == 413, answer
    status, _, answer = json10(server, "PutMetricData", gzip.compress(b"{}")[:-4], **{"Content-Encoding": "gzip"})
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_hostile_cbor(server):
    for body in (b"\xa1", b"\xff", b"\xbf", b"\x9f" * 10000, b"\xd8\x1e" * 5000, b"\xa1\x61a\x9b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8,
                 b"\x81\x00", b"\xa1\x01\x02", b"\xa2\x61a\x01\x61a\x02", b"\xa1\x61\xff\x01", b"\xa0\xa0", b"\xa1\x61a\xc2\x41\x01",
                 b"\x7b" + b"\x7f" + b"\xff" * 7, b"\xa1\x61a\x9a\x00\x40\x00\x00" + b"\xf6" * (1 << 20)):
        status, head, answer = rpc_cbor(server, "PutMetricData", body)
        assert status == 400 and answer["__type"] == "SerializationException" and answer["message"], body[:20]


def test_aws_cli(server, ns):
    t = minute()
    r = server.aws("cloudwatch", "put-metric-data", "--namespace", ns, "--metric-name", "m", "--value", "7", "--timestamp",
                   t.isoformat(), "--dimensions", "Host=x,Kind=y")
    assert r.returncode == 0, r.stderr
    r = server.aws("cloudwatch", "get-metric-statistics", "--namespace", ns, "--metric-name", "m", "--start-time", t.isoformat(),
                   "--end-time", (t + datetime.timedelta(minutes=1)).isoformat(), "--period", "60", "--statistics", "Sum",
                   "--dimensions", "Name=Kind,Value=y", "Name=Host,Value=x")
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout)["Datapoints"][0]["Sum"] == 7


def test_what_was_answered_survives_kill_9(make_server):
    s = make_server()
    t = minute()
    for i in range(30):
        s.client("cloudwatch").put_metric_data(Namespace="kill", MetricData=[{"MetricName": "m", "Value": i, "Timestamp": t}])
    for pid in s.pids("bloomeryd"):
        os.kill(pid, signal.SIGKILL)
    s.up.wait(30)
    s.up = None
    s.start()
    assert statistics(s.client("cloudwatch"), "kill", start=t)["Datapoints"][0]["Sum"] == sum(range(30))


# ---- sagemaker-metrics ----

def metrics_api(server, op, body, method="POST"):
    status, _, text = signed(server, "/" + op, json.dumps(body).encode(), {"Content-Type": "application/json"}, "sagemaker", method)
    return status, json.loads(text)


def test_metrics_of_trial_components(server):
    job = "Metrics-" + uuid.uuid4().hex[:8]
    server.completed("exit 0", name=job)
    now = int(time.time())
    put = lambda name, *data: metrics_api(server, "BatchPutMetrics", {"TrialComponentName": name, "MetricData": data}, "PUT")
    value = lambda v, step=None, at=now, name="loss": {"MetricName": name, "Timestamp": at, "Value": v,
                                                      **({} if step is None else {"Step": step})}
    assert put(job.lower() + "-aws-training-job", value(3.5, 3), value(1.5, 1), value(1.25, 1)) == (200, {})
    assert put(job.lower(), value("NaN"), value(2, 2), value(2, at=now - 15 * 86400)) == (
        200, {"Errors": [{"Code": "VALIDATION_ERROR", "MetricIndex": 0}, {"Code": "VALIDATION_ERROR", "MetricIndex": 2}]})
    assert put("no-such-component", value(1)) == (400, {"__type": "ResourceNotFound",
                                                        "Message": "Trial component 'no-such-component' does not exist."})
    assert put("A_b", value(1))[1]["__type"] == "ValidationException"
    arn = server.describe(job)["TrainingJobArn"]
    ask = lambda stat="Last", period="IterationNumber", axis="IterationNumber", resource=arn, **kw: metrics_api(
        server, "BatchGetMetrics", {"MetricQueries": [{"MetricName": "loss", "ResourceArn": resource, "MetricStat": stat,
                                                       "Period": period, "XAxisType": axis, **kw}]})[1]["MetricQueryResults"][0]
    assert ask() == {"Status": "Complete", "XAxisValues": [1, 2, 3], "MetricValues": [1.25, 2, 3.5]}
    assert ask("Avg")["MetricValues"] == [1.375, 2, 3.5] and ask("StdDev")["MetricValues"] == [0.125, 0, 0]
    assert ask("Count", Start=2, End=2) == {"Status": "Complete", "XAxisValues": [2], "MetricValues": [1]}
    whole = ask("Max", "OneHour", "Timestamp")
    assert whole == {"Status": "Complete", "XAxisValues": [now // 3600 * 3600], "MetricValues": [3.5]}
    assert ask(period="OneMinute")["Status"] == "ValidationError"
    assert ask(resource=arn + "x")["Status"] == "ValidationError"
    component = arn.replace("training-job", "experiment-trial-component") + "-aws-training-job"
    assert ask(resource=component)["MetricValues"] == [1.25, 2, 3.5]
    assert "FinalMetricDataList" not in server.describe(job), "those are of the job's log alone"
    server.call("DeleteTrainingJob", {"TrainingJobName": job})
    assert ask()["Status"] == "ValidationError"
