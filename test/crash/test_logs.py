# kill -9 of each process while containers print as fast as they can: every line that was accepted is there, once, in order.
# SPDX-License-Identifier: Apache-2.0
import os
import random
import shutil
import signal
import tempfile
import pathlib
import threading
import time

import botocore.exceptions
import pytest
from house import FINAL, GROUP, Server

LAST = 120000
# Bursts of 20,000 lines, faster than one each microsecond, with a pause in which the rest of the world does something.
PRINT = (f"i=1; while [ $i -lt {LAST} ]; do awk -v a=$i 'BEGIN {{ for (n = a; n < a + 20000; n++) print \"line \" n \" of many\" }}'; "
         "i=$((i+20000)); sleep 0.3; done; printf end")


@pytest.fixture(scope="module")
def s(rootfs):
    base = tempfile.mkdtemp(prefix="bloomery-logs-")
    os.chmod(base, 0o755)
    s = Server(pathlib.Path(base) / "data", conf="capacity_cpus = 32\ncapacity_memory = 274877906944\nstop_grace_seconds = 2\n")
    s.start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    yield s
    s.stop()
    left = s.leftovers()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


def streams(s, name):
    logs, found = s.cached("logs"), {}
    for st in logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")["logStreams"]:
        lines, kw = found.setdefault(st["logStreamName"].split("/")[1].rsplit("-", 1)[0], []), {}
        while True:
            got = logs.get_log_events(logGroupName=GROUP, logStreamName=st["logStreamName"], startFromHead=True, **kw)
            if not got["events"]:
                break
            lines += [e["message"] for e in got["events"]]
            kw = {"nextToken": got["nextForwardToken"]}
    return found


def wait_for_lines(s, name, timeout=90):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        got = streams(s, name)
        if any("line 1 of many" in lines for lines in got.values()):
            return got
        time.sleep(0.05)
    raise AssertionError("nothing was printed; " + s.tail())


def kill(s, program, job=""):
    pids = s.pids(program, job)
    assert pids, f"no {program}; " + s.tail()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_daemons_die_and_eight_hosts_lose_nothing(s):
    name = s.create(PRINT, ResourceConfig={"InstanceCount": 8})
    wait_for_lines(s, name)
    for program in ("bloomeryd", "bloomery-host"):
        kill(s, program)
        s.up.wait(60)
        s.start()
        time.sleep(random.uniform(0, 0.5))
    d = s.wait(name, timeout=120)
    assert d["TrainingJobStatus"] == "Completed", d
    got = streams(s, name)
    assert sorted(got) == [f"algo-{n + 1}" for n in range(8)]
    want = [f"line {i + 1} of many" for i in range(LAST)] + ["end"]
    for host, lines in got.items():
        mine = [x for x in lines if x.startswith("line ") or x == "end"]
        assert mine == want, (host, len(mine), next(((a, b) for a, b in zip(mine, want) if a != b), None))


def test_supervisor_dies_and_what_it_took_is_there(s):
    name = s.create(PRINT + "; sleep 600")      # it is there to be killed however slow we are
    before = wait_for_lines(s, name)["algo-1"]
    time.sleep(random.uniform(0, 0.5))
    kill(s, "bloomery-job", s.job_id(name))
    d = s.wait(name, timeout=90)
    assert d["TrainingJobStatus"] == "Failed", d
    lines = [x for x in streams(s, name)["algo-1"] if x.startswith("line ")]
    assert len(lines) >= len([x for x in before if x.startswith("line ")])
    want = [f"line {i + 1} of many" for i in range(len(lines))]
    assert lines[:-1] == want[:-1] and want[-1].startswith(lines[-1]), (lines[-1], "the last one may have no end yet")


def wait_for_bytes(s, name, text, timeout=60):
    """Until they are in the log's file, whether or not a reader sees them."""
    s.wait(name, {"Training"})
    path, end = s.data / "jobs" / s.job_id(name) / "log/algo-1", time.monotonic() + timeout
    while not (path.exists() and text in path.read_bytes()):
        assert time.monotonic() < end, "nothing was printed; " + s.tail()
        time.sleep(0.02)


def test_supervisor_dies_and_an_unfinished_line_is_there(s):
    name = s.create("echo begins; printf abc; printf 'a warning, 7 of' >&2; sleep 0.3; printf def; sleep 600")
    for text in (b"abc", b"a warning", b"def"):
        wait_for_bytes(s, name, text)
    got = streams(s, name)["algo-1"]
    assert "begins" in got and not [x for x in got if "abc" in x or "warning" in x], "what has no end yet is no event"
    kill(s, "bloomery-job", s.job_id(name))
    d = s.wait(name, timeout=90)
    assert d["TrainingJobStatus"] == "Failed", d
    assert [x for x in streams(s, name)["algo-1"] if x[:1] in "ab"] == ["begins", "abcdef", "a warning, 7 of"]


def test_daemon_dies_and_what_clients_put_is_there_once(s):
    """Events are put one by one while bloomeryd is killed three times: what was acknowledged is there, and nothing twice."""
    logs, group, acknowledged, begin = s.cached("logs"), "/ours/crash", [], int(time.time() * 1000)
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    stop, n = threading.Event(), 0

    def put():
        nonlocal n
        while not stop.is_set():
            n += 1
            try:
                logs.put_log_events(logGroupName=group, logStreamName="one",
                                    logEvents=[{"timestamp": begin + n, "message": f"event {n} {part}"} for part in "ab"])
                acknowledged.append(n)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                time.sleep(0.02)        # it is down; nothing is tried twice
    thread = threading.Thread(target=put)
    thread.start()
    try:
        for _ in range(3):
            have, end = len(acknowledged), time.monotonic() + 60
            while len(acknowledged) < have + 20:
                assert time.monotonic() < end, "nothing is acknowledged; " + s.tail()
                time.sleep(0.01)
            kill(s, "bloomeryd")
            s.up.wait(60)
            s.start()
    finally:
        stop.set()
        thread.join(130)
    got, kw = [], {}
    while True:
        page = logs.get_log_events(logGroupName=group, logStreamName="one", startFromHead=True, **kw)
        if not page["events"]:
            break
        got += [e["message"] for e in page["events"]]
        kw = {"nextToken": page["nextForwardToken"]}
    want = [f"event {i} {part}" for i in acknowledged for part in "ab"]
    assert len(want) >= 120 and len(got) == len(set(got)) and [m for m in got if m in set(want)] == want
    assert {m.split()[1] for m in got} <= {str(i) for i in range(1, n + 1)} and len(got) % 2 == 0, "a request is there whole or not at all"
    logs.delete_log_group(logGroupName=group)
