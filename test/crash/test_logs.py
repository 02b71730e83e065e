# kill -9 of each process while containers print as fast as they can: every line that was accepted is there, once, in order.
# SPDX-License-Identifier: Apache-2.0
import os
import random
import shutil
import signal
import tempfile
import pathlib
import time

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
    name = s.create(PRINT)
    before = wait_for_lines(s, name)["algo-1"]
    time.sleep(random.uniform(0, 0.5))
    kill(s, "bloomery-job", s.job_id(name))
    d = s.wait(name, timeout=90)
    assert d["TrainingJobStatus"] == "Failed", d
    lines = [x for x in streams(s, name)["algo-1"] if x.startswith("line ")]
    assert len(lines) >= len([x for x in before if x.startswith("line ")])
    assert lines == [f"line {i + 1} of many" for i in range(len(lines))]
