# The logs service with real clients: jobs' streams as they grow, groups of users, searches. SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import threading
import time

import botocore.exceptions
import pytest

from conftest import FINAL, GROUP, ROOT


@pytest.fixture(scope="module")
def logs(server):
    return server.cached("logs")


def refused(code, call, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(**kw)
    assert e.value.response["Error"]["Code"] == code, e.value
    return e.value.response["Error"]["Message"]


def stream_of(logs, job):
    (one,) = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=job + "/")["logStreams"]
    return one["logStreamName"]


def read_all(logs, stream, forward=True, group=GROUP, **kw):
    """All pages until the token comes back, as SDKs do; and no page beside the last may repeat it."""
    token, pages = {}, []
    while True:
        got = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=forward, **token, **kw)
        pages.append([(e["timestamp"], e["message"]) for e in got["events"]])
        now = {"nextToken": got["nextForwardToken" if forward else "nextBackwardToken"]}
        if now == token:
            return pages
        token = now


def search(logs, group=GROUP, **kw):
    events = []
    for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, **kw):
        events += page["events"]
    return events


# ---- what containers print ----

EVERY = r"""printf 'plain\n\ttab\nbar 10%%\rbar 20%%\r\n'; printf 'bin\001\377\n'; printf '\n'; """ \
    r"""head -c 1000000 /dev/zero | tr '\0' w; printf '\n'; printf 'to stderr\n' >&2; sleep 0.2; printf 'no newline'"""


@pytest.fixture(scope="module")
def every(server):
    return server.completed(EVERY)["TrainingJobName"]


def test_every_byte_is_shown_once(logs, every):
    (page, *rest) = read_all(logs, stream_of(logs, every), limit=10000)
    text = [m for _, m in page] + [m for p in rest for _, m in p]
    assert text[:3] == ["plain", "#011tab", "bar 10%#015bar 20%#015"]
    assert text[3] == "bin#001\ufffd" and text[4] == ""
    wide = [m for m in text if m.startswith("w")]
    assert "".join(wide) == "w" * 1000000 and max(map(len, wide)) <= 256 << 10, "a line of 1 MB is whole, in events of 256 KiB"
    assert text[-1] == "no newline" and text.count("to stderr") == 1    # the two pipes are read as they come


def test_pages_go_both_ways_and_end(logs, every):
    stream = stream_of(logs, every)
    forward = [e for p in read_all(logs, stream, limit=2) for e in p]
    backward = [e for p in reversed(read_all(logs, stream, forward=False, limit=2)) for e in p]
    assert forward == backward and len(forward) >= 10
    assert [t for t, _ in forward] == sorted(t for t, _ in forward)
    half = forward[len(forward) // 2][0]
    early = [e for p in read_all(logs, stream, endTime=half) for e in p]
    late = [e for p in read_all(logs, stream, startTime=half) for e in p]
    assert early + late == forward
    assert "nextToken" in refused("InvalidParameterException", logs.get_log_events, logGroupName=GROUP, logStreamName=stream,
                                  nextToken="f/99999999")


def test_search_of_jobs(server, logs, every):
    assert [e["message"] for e in search(logs, logStreamNamePrefix=every + "/", filterPattern="bar")] == \
        ["bar 10%#015bar 20%#015"]
    assert [e["message"] for e in search(logs, logStreamNames=[stream_of(logs, every)], filterPattern='"to stderr"')] == ["to stderr"]
    assert search(logs, logStreamNamePrefix="no-such-job/", filterPattern="bar") == []
    refused("ResourceNotFoundException", logs.filter_log_events, logGroupName=GROUP, logStreamNames=["no/such"])
    refused("InvalidParameterException", logs.filter_log_events, logGroupName=GROUP, filterPattern="{ $.a = ")
    refused("InvalidParameterException", logs.filter_log_events, logGroupName=GROUP, nextToken="x")
    out = server.aws("logs", "filter-log-events", "--log-group-name", GROUP, "--log-stream-name-prefix", every + "/",
                     "--filter-pattern", "plain", "--query", "events[].message", "--output", "text")
    assert out.stdout.split() == ["plain"], out


def test_groups_of_jobs(logs, every):
    (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Training")["logGroups"]
    assert group["logGroupName"] == GROUP and group["arn"].endswith(f":log-group:{GROUP}:*")
    refused("ResourceNotFoundException", logs.describe_log_streams, logGroupName="/no/such")
    refused("ResourceAlreadyExistsException", logs.create_log_group, logGroupName=GROUP)
    message = refused("InvalidParameterException", logs.put_log_events, logGroupName=GROUP, logStreamName=stream_of(logs, every),
                      logEvents=[{"timestamp": int(time.time() * 1000), "message": "mine"}])
    assert "training job" in message


def test_deleted_stream_is_gone(server, logs):
    name = server.completed("echo once")["TrainingJobName"]
    stream = stream_of(logs, name)
    logs.delete_log_stream(logGroupName=GROUP, logStreamName=stream)
    refused("ResourceNotFoundException", logs.get_log_events, logGroupName=GROUP, logStreamName=stream)
    assert not logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")["logStreams"]
    assert server.describe(name)["TrainingJobStatus"] == "Completed"


# ---- groups of users ----

@pytest.fixture
def group(logs):
    name = f"/mine/{time.monotonic_ns()}"
    logs.create_log_group(logGroupName=name, tags={"team": "a"})
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    logs.create_log_stream(logGroupName=name, logStreamName="two/x")
    yield name
    logs.delete_log_group(logGroupName=name)
    refused("ResourceNotFoundException", logs.describe_log_streams, logGroupName=name)


def put(logs, group, stream, *events):
    return logs.put_log_events(logGroupName=group, logStreamName=stream,
                               logEvents=[{"timestamp": t, "message": m} for t, m in events])


def test_put_events_come_back(logs, group):
    now = int(time.time() * 1000)
    assert "rejectedLogEventsInfo" not in put(logs, group, "one", (now, "b"), (now, "c"), (now + 5, "d\n\ttab"))
    put(logs, group, "one", (now - 5, "a"))
    put(logs, group, "two/x", (now, "B"), (now + 1, "C"))
    assert read_all(logs, "one", group=group, limit=3) == [[(now - 5, "a"), (now, "b"), (now, "c")], [(now + 5, "d\n\ttab")], []]
    assert read_all(logs, "one", group=group, forward=False, limit=3)[0] == [(now, "b"), (now, "c"), (now + 5, "d\n\ttab")]
    got = search(logs, group, PaginationConfig={"PageSize": 2})
    assert [(e["logStreamName"], e["message"]) for e in got] == [("one", "a"), ("one", "b"), ("one", "c"), ("two/x", "B"),
                                                                 ("two/x", "C"), ("one", "d\n\ttab")]
    assert len({e["eventId"] for e in got}) == 6
    assert [e["message"] for e in search(logs, group, logStreamNamePrefix="two")] == ["B", "C"]
    assert [e["message"] for e in search(logs, group, startTime=now + 1, endTime=now + 5)] == ["C", "d\n\ttab"]
    (one, two) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert (one["firstEventTimestamp"], one["lastEventTimestamp"]) == (now - 5, now + 5)
    assert two["logStreamName"] == "two/x"
    logs.delete_log_stream(logGroupName=group, logStreamName="one")
    assert {e["logStreamName"] for e in search(logs, group)} == {"two/x"}


def test_put_events_has_the_service_s_limits(logs, group):
    now, day = int(time.time() * 1000), 24 * 3600 * 1000
    got = put(logs, group, "one", (now - 14 * day - 1000, "too old"), (now - 14 * day + 60000, "old"))
    assert got["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    got = put(logs, group, "one", (now, "fine"), (now + 3 * 3600 * 1000, "too new"))
    assert got["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    logs.put_retention_policy(logGroupName=group, retentionInDays=3)
    got = put(logs, group, "one", (now - 3 * day - 1000, "expired"), (now - 3 * day + 60000, "not"))
    assert got["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert [e["message"] for e in search(logs, group)] == ["old", "not", "fine"]
    assert "chronological" in refused("InvalidParameterException", put_, logs=logs, group=group, events=[(now, "b"), (now - 1, "a")])
    assert "24 hours" in refused("InvalidParameterException", put_, logs=logs, group=group, events=[(now - day - 1, "a"), (now, "b")])
    assert "too large" in refused("InvalidParameterException", put_, logs=logs, group=group, events=[(now, "x" * (1 << 20))])
    assert "too large" in refused("InvalidParameterException", put_, logs=logs, group=group, events=[(now, "x" * 600000)] * 2)
    refused("ResourceNotFoundException", logs.put_log_events, logGroupName=group, logStreamName="none",
            logEvents=[{"timestamp": now, "message": "x"}])


def put_(logs, group, events):
    put(logs, group, "one", *events)


def test_groups_streams_policies_and_tags(logs, group):
    refused("ResourceAlreadyExistsException", logs.create_log_group, logGroupName=group)
    refused("ResourceAlreadyExistsException", logs.create_log_stream, logGroupName=group, logStreamName="one")
    refused("InvalidParameterException", logs.put_retention_policy, logGroupName=group, retentionInDays=2)
    refused("ResourceNotFoundException", logs.put_retention_policy, logGroupName="/no/such", retentionInDays=3)
    logs.put_retention_policy(logGroupName=group, retentionInDays=30)
    (got,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert got["retentionInDays"] == 30
    logs.delete_retention_policy(logGroupName=group)
    (got,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert "retentionInDays" not in got
    arn = got["arn"].removesuffix(":*")
    logs.tag_resource(resourceArn=arn, tags={"b": "2"})
    logs.tag_log_group(logGroupName=group, tags={"c": "3"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "a", "b": "2", "c": "3"}
    logs.untag_resource(resourceArn=arn, tagKeys=["b"])
    logs.untag_log_group(logGroupName=group, tags=["c"])
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {"team": "a"}
    names = [g["logGroupName"] for page in logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
             for g in page["logGroups"]]
    assert group in names and names == sorted(set(names))


def test_search_of_much_is_paged(logs, group):
    now = int(time.time() * 1000)
    for i in range(3):
        put(logs, group, "one", *[(now + i, f'{{"n": {i * 1000 + j}, "t": "x"}}') for j in range(1000)])
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern="{ $.n >= 1500 && $.t = x* }",
                                                                  PaginationConfig={"PageSize": 100}))
    got = [json.loads(e["message"])["n"] for p in pages for e in p["events"]]
    assert got == list(range(1500, 3000)) and len(pages) >= 15


# ---- a running job ----

def sdk_logs_for_job(server, logs, name):
    """What sagemaker.Session.logs_for_job does: streams by prefix on every turn, a token and a place in the last millisecond
    for each, lines of all of them in the order of time, and one more turn when the job has ended."""
    positions, lines, streams = {}, [], []
    hosts = server.describe(name)["ResourceConfig"]["InstanceCount"]

    def events_of(stream):
        start, skip = positions[stream]
        token, first = {}, True
        while True:
            got = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startTime=start, startFromHead=True, **token)
            events = got["events"]
            token = {"nextToken": got["nextForwardToken"]}
            if not events:
                return
            drop, skip = (skip, max(0, skip - len(events))) if skip else (0, 0)
            yield from events[drop:]
    while True:
        ended = server.describe(name)["TrainingJobStatus"] in FINAL
        if len(streams) < hosts:
            try:
                found = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/", orderBy="LogStreamName",
                                                  limit=min(hosts, 50))
                assert "nextToken" not in found, "the SDK would ask for ever"
                streams = [s["logStreamName"] for s in found["logStreams"]]
                for s in streams:
                    positions.setdefault(s, (0, 0))
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] == "ResourceNotFoundException"
        for s in streams:     # they appear one by one, so their order changes
            for e in events_of(s):
                lines.append((s.split("/")[1].split("-")[1], e["message"]))
                t, n = positions[s]
                positions[s] = (t, n + 1) if t == e["timestamp"] else (e["timestamp"], 1)
        if ended:
            return lines
        time.sleep(0.05)


def test_sdk_sees_every_line_of_every_host_once(server, logs):
    name = server.create("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; [ $((i % 30)) = 0 ] && sleep 0.1; done; true",
                         ResourceConfig={"InstanceCount": 2})
    lines = sdk_logs_for_job(server, logs, name)
    for host in "12":
        assert [m for h, m in lines if h == host and m.startswith("line")] == [f"line {i + 1}" for i in range(300)]


def test_aws_logs_tail_follows(server, logs):
    name = server.create("echo begins; while [ ! -e /opt/ml/go ]; do sleep 0.1; [ $((n=n+1)) = 60 ] && touch /opt/ml/go; "
                         "echo still $n; done; echo ends; sleep 3")
    while not server.logs_or_nothing(name):
        time.sleep(0.05)
    tail = subprocess.Popen(["/usr/bin/aws", "--endpoint-url", server.url, "logs", "tail", GROUP, "--follow", "--since", "5m",
                             "--log-stream-name-prefix", name + "/"], env={**server.env, "PYTHONUNBUFFERED": "1"},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watchdog = threading.Timer(90, tail.kill)
    watchdog.start()
    seen = []
    for line in tail.stdout:
        seen.append(line.rstrip("\n").split(" ", 2)[-1])
        if seen[-1] == "ends":
            break
    tail.kill()
    tail.wait()
    watchdog.cancel()
    assert seen and seen[0] == "begins" and seen[-1] == "ends", seen
    assert [s for s in seen if s.startswith("still")] == [f"still {i + 1}" for i in range(60)]


def elsewhere(program):
    """The program of a Python beside Debian's, which has newer libraries of the service."""
    for path in os.environ.get("PATH", "").split(":"):
        found = os.path.join(path, program)
        if os.path.exists(found) and os.path.realpath(path) not in ("/usr/bin", "/bin"):
            return found
    pytest.skip(f"there is no other {program} on this machine")


def test_the_other_aws_cli_pages(server, logs, group):
    """Version 1, which has no `logs tail`."""
    aws, now = elsewhere("aws"), int(time.time() * 1000)

    def run(*args):
        out = subprocess.run([aws, "--endpoint-url", server.url, "--output", "json", "logs", *args], env=server.env,
                             capture_output=True, text=True, timeout=120)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout) if out.stdout.strip() else None
    run("put-log-events", "--log-group-name", group, "--log-stream-name", "one", "--log-events",
        json.dumps([{"timestamp": now + i, "message": f"n={i} \u00e9"} for i in range(30)]))
    got = run("filter-log-events", "--log-group-name", group, "--filter-pattern", "%n=[0-9]*[05] %", "--page-size", "4")
    assert [e["message"] for e in got["events"]] == [f"n={i} \u00e9" for i in range(0, 30, 5)]
    got = run("get-log-events", "--log-group-name", group, "--log-stream-name", "one", "--limit", "3")
    assert [e["timestamp"] for e in got["events"]] == [now + 27, now + 28, now + 29]
    got = run("describe-log-streams", "--log-group-name", group)
    assert [x["logStreamName"] for x in got["logStreams"]] == ["one", "two/x"]


NEW_BOTO3 = """
import sys, boto3
logs, group, now = boto3.client('logs', endpoint_url=sys.argv[1]), sys.argv[2], int(sys.argv[3])
logs.put_log_events(logGroupName=group, logStreamName='one', logEvents=[{'timestamp': now + i, 'message': f'm {i}'} for i in range(25)])
got = [e['message'] for p in logs.get_paginator('filter_log_events').paginate(logGroupName=group, filterPattern='m', PaginationConfig={'PageSize': 7}) for e in p['events']]
assert got == [f'm {i}' for i in range(25)], got
back, token = [], {}
while True:
    p = logs.get_log_events(logGroupName=group, logStreamName='one', limit=10, **token)
    back = [e['message'] for e in p['events']] + back
    if p['nextBackwardToken'] == token.get('nextToken'):
        break
    token = {'nextToken': p['nextBackwardToken']}
assert back == got, back
try:
    logs.get_log_events(logGroupName=group, logStreamName='none')
except logs.exceptions.ResourceNotFoundException:
    print('as it should be')
"""


def test_the_other_boto3(server, logs, group):
    python = elsewhere("python3")
    if subprocess.run([python, "-c", "import boto3"], capture_output=True).returncode:
        pytest.skip("the other Python has no boto3")
    out = subprocess.run([python, "-B", "-c", NEW_BOTO3, server.url, group, str(int(time.time() * 1000))], capture_output=True,
                         text=True, timeout=120, env={**server.env, "AWS_DEFAULT_REGION": "us-east-1"})
    assert out.stdout == "as it should be\n", out.stderr


# ---- the command line ----

def test_bloomery_logs(server, logs):
    name = server.completed("echo early; sleep 2.1; echo late $(hostname); echo \"err or\" >&2",
                            ResourceConfig={"InstanceCount": 2})["TrainingJobName"]

    def lines(*args):
        out = server.bloomery("logs", name, *args)
        assert out.returncode == 0, out.stderr
        return out.stdout.splitlines()
    assert sorted(lines()) == sorted(f"algo-{h}: {t}" for h in (1, 2) for t in ("early", "err or", f"late algo-{h}"))
    assert sorted(lines("-f")) == sorted(lines())
    assert sorted(lines("--host", "algo-2")) == ["early", "err or", "late algo-2"]
    assert sorted(lines("--grep", "^late .*[2-9]$|^e.* o")) == ["algo-1: err or", "algo-2: err or", "algo-2: late algo-2"]
    events = [json.loads(x) for x in lines("--json", "--host", "algo-1")]
    assert {e["host"] for e in events} == {"algo-1"} and events[0]["message"] == "early"
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(events[0]["timestamp"] // 1000 + 1)) + "Z"
    assert lines("--since", since, "--grep", "early") == [] and len(lines("--since", since)) == 4
    assert len(lines("--since", "10m")) == 6
    for args, says in ((("--since", "5"), "5m"), (("--grep", "("), "--grep"), (("--host", "algo-3"), "algo-1 to algo-2")):
        out = server.bloomery("logs", name, *args)
        assert out.returncode != 0 and says in out.stderr, out
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        out = subprocess.run(["script", "-qec", f"{server_program(server)} logs {name} --data {server.data}", "/dev/null"],
                             env={**server.env, **env}, capture_output=True, text=True, timeout=60)
        assert ("\x1b[36malgo-1:\x1b[0m early" in out.stdout) == coloured and "early" in out.stdout, out


def server_program(server):
    from conftest import BLOOMERY
    return BLOOMERY


def test_line_is_readable_soon(server, logs):
    """A container prints its clock every 50 ms; how long after that GetLogEvents has the line. What it is on a machine that
    has nothing else to do is in doc/logs.md; here it only must not be what a poll or a buffer in between would make of it."""
    n = 40
    name = server.create(f"i=0; while [ $i -lt {n} ]; do i=$((i+1)); read up rest </proc/uptime; echo up $up; sleep 0.05; done")
    while not server.logs_or_nothing(name):
        time.sleep(0.005)
    stream, token, late, end = stream_of(logs, name), {}, [], time.monotonic() + 90
    while len(late) < n:
        assert time.monotonic() < end, late
        got = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **token)
        token = {"nextToken": got["nextForwardToken"]}
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        late += [now - float(e["message"].split()[1]) for e in got["events"] if e["message"].startswith("up ")]
    assert len(late) == n and sorted(late)[n // 2] < 2, late
    server.wait(name)
