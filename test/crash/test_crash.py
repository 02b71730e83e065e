# kill -9 in every state of the job's table. Daemons: start again, and the job ends as if nothing had happened. The
# supervisor: the job ends Failed with a reason. Whatever dies, nothing stays behind.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest
from house import ROOT, make_busy_rootfs  # noqa: F401

CONF = "stop_grace_seconds = 4\ncapacity_cpus = 2\n"
BIG = "head -c 250000000 /dev/urandom > /opt/ml/model/big; "

# state of the table -> how a job gets there and stays long enough to be hit; the word Describe says there; how it ends
STATES = {
    "STARTING":    dict(script="echo ran; echo m > /opt/ml/model/m", hold="host", word="Starting", end="Completed"),
    "LAUNCHING":   dict(script="echo ran; echo m > /opt/ml/model/m", hold="host", word="Starting", end="Completed"),
    "PENDING":     dict(script="echo ran; echo m > /opt/ml/model/m", hold="full", word="Pending", end="Completed"),
    "ADMITTED":    dict(script="echo ran; echo m > /opt/ml/model/m", hold="full-host", word="Pending", end="Completed"),
    "DOWNLOADING": dict(script="echo ran; find /opt/ml/input/data/train -type f | wc -l > /opt/ml/model/m", hold="data",
                        word="Downloading", end="Completed"),
    "TRAINING":    dict(script="echo m > /opt/ml/model/m; for i in $(seq 1 30); do echo line $i; sleep 0.1; done; echo ran",
                        word="Training", end="Completed"),
    "UPLOADING":   dict(script="echo ran; echo m > /opt/ml/model/m; " + BIG, word="Uploading", end="Completed"),
    "SALVAGING":   dict(script="echo ran; echo m > /opt/ml/model/m; " + BIG + "exit 9", word="Uploading", end="Failed"),
    "STOPPING":    dict(script="trap 'sleep 1; echo m > /opt/ml/model/m; echo ran; exit 0' TERM; echo up; while :; do sleep 0.1; done",
                        stop=True, word="Stopping", end="Stopped"),
    "EXPIRING":    dict(script="trap 'sleep 1; echo m > /opt/ml/model/m; echo ran; exit 0' TERM; while :; do sleep 0.1; done",
                        word="Stopping", end="Stopped", StoppingCondition={"MaxRuntimeInSeconds": 1}),
}


def test_every_state_that_is_not_final_is_here():
    rows = re.findall(r"^\tX\((\w+),\s+\"\w+\",\s+\"\w+\",\s+0,", (ROOT / "src/state/state.h").read_text(), re.M)
    assert sorted(rows) == sorted(STATES)


def kill(pids, sig=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


@pytest.fixture(scope="module")
def s(rootfs, tmp_path_factory):
    from house import Server
    s = Server(tmp_path_factory.mktemp("crash") / "data", conf=CONF).start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    for i in range(60):
        s.put("many/", {f"{i:03d}": b"x"})
    yield s
    s.stop()
    assert s.leftovers() == []


def reach(s, row):
    """Brings a job to the row's state; returns its name and the job that fills the machine, if any."""
    extra = {k: row[k] for k in ("StoppingCondition",) if k in row}
    filler, hold = None, row.get("hold", "")
    if "full" in hold:
        filler = s.create("while :; do sleep 0.1; done")
        s.wait(filler, {"Training"})
    if hold == "host":
        kill(s.pids("bloomery-host"), signal.SIGSTOP)
    name = s.create(row["script"], channels={"train": "s3://bucket/many/"} if hold == "data" else None, **extra)
    s.wait(name, {row["word"]} if row["word"] != "Stopping" else {"Training", "Stopping"}, timeout=30)
    if hold == "full-host":
        kill(s.pids("bloomery-host"), signal.SIGSTOP)
        s.sm.stop_training_job(TrainingJobName=filler)
    if row.get("stop"):
        while "up" not in s.logs_or_nothing(name):
            time.sleep(0.02)
        s.sm.stop_training_job(TrainingJobName=name)
    s.wait(name, {row["word"]}, timeout=30)
    return name, filler


def restart(s):
    """After a daemon died `bloomery up` ends by itself; whoever runs it starts it again."""
    assert s.up.wait(60) != 0
    s.up = None
    kill(s.pids("bloomery-host") + s.pids("bloomeryd"), signal.SIGCONT)
    s.start()


VICTIMS = {"bloomeryd": ["bloomeryd"], "bloomery-host": ["bloomery-host"], "both": ["bloomeryd", "bloomery-host"]}


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("state", STATES)
def test_a_daemon_dies(s, state, victim):
    row = STATES[state]
    name, filler = reach(s, row)
    kill([pid for program in VICTIMS[victim] for pid in s.pids(program)])
    kill(s.pids("bloomery-host"), signal.SIGCONT)
    restart(s)
    if filler and s.describe(filler)["TrainingJobStatus"] == "InProgress":
        s.sm.stop_training_job(TrainingJobName=filler)
    d = s.wait(name, timeout=60)
    assert d["TrainingJobStatus"] == row["end"], d
    if state == "EXPIRING":
        assert d["SecondaryStatus"] == "MaxRuntimeExceeded"
    ts = d["SecondaryStatusTransitions"]
    assert len({t["Status"] for t in ts}) == len(ts), "no phase is told twice"
    assert all(a["EndTime"] == b["StartTime"] for a, b in zip(ts, ts[1:]))
    assert "ran" in s.logs(name) and s.logs(name).count("ran") == 1, "it ran once, and its output is all there"
    if state == "TRAINING":
        assert [l for l in s.logs(name) if l.startswith("line")] == [f"line {i}" for i in range(1, 31)]
    blob = s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
    got = subprocess.run(["tar", "xzO", "m"], input=blob, capture_output=True)
    assert got.returncode == 0 and got.stdout == (b"60\n" if state == "DOWNLOADING" else b"m\n"), got.stderr
    assert s.leftovers() == []


@pytest.mark.parametrize("state", [k for k in STATES if k not in ("STARTING", "LAUNCHING", "PENDING", "ADMITTED")])
def test_the_supervisor_dies(s, state):
    row = STATES[state]
    name, _ = reach(s, row)
    pids = s.pids("bloomery-job", s.job_id(name))
    kill(pids)
    d = s.wait(name, timeout=30)
    if d["TrainingJobStatus"] != "Failed":
        # it had said its last word before the signal came: then the job ended as it would have
        assert d["TrainingJobStatus"] == row["end"] and state in ("DOWNLOADING", "UPLOADING"), d
    else:
        assert "FailureReason" in d and len(d["FailureReason"]) > 40
        if state != "SALVAGING":
            assert d["FailureReason"].startswith("InternalServerError:"), d["FailureReason"]
    assert s.leftovers() == []


@pytest.mark.parametrize("round", range(12))
def test_anything_dies_at_any_moment(s, round):
    rng = random.Random(round)
    names = [s.create("echo m > /opt/ml/model/m; sleep 0.3; echo ran", channels={"train": "s3://bucket/many/"}) for _ in range(3)]
    time.sleep(rng.uniform(0, 1.2))
    kill([pid for program in rng.choice(list(VICTIMS.values())) for pid in s.pids(program)])
    restart(s)
    for name in names:
        d = s.wait(name, timeout=60)
        assert d["TrainingJobStatus"] == "Completed", d
        assert s.logs(name).count("ran") == 1
        assert subprocess.run(["tar", "xzO", "m"], input=s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]),
                              capture_output=True).stdout == b"m\n"
    assert s.leftovers() == []


def test_an_acknowledged_object_survives(s):
    body = os.urandom(3 << 20)
    for i in range(10):
        s.s3.put_object(Bucket="bucket", Key=f"kept/{i}", Body=body)
    kill(s.pids("bloomeryd"))
    restart(s)
    for i in range(10):
        assert s.s3.get_object(Bucket="bucket", Key=f"kept/{i}")["Body"].read() == body


def test_up_itself_dies(s):
    name = s.create("sleep 1; echo ran; echo m > /opt/ml/model/m")
    s.wait(name, {"Training"})
    s.up.kill()
    s.up.wait()
    end = time.monotonic() + 60
    while s.pids("bloomeryd") + s.pids("bloomery-host"):
        assert time.monotonic() < end, "the daemons follow"
        time.sleep(0.05)
    s.up = None
    s.start()
    assert s.wait(name)["TrainingJobStatus"] == "Completed"
    assert s.leftovers() == []


def test_a_stop_asked_while_the_host_is_away(s):
    name = s.create("trap 'echo m > /opt/ml/model/m; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    while "up" not in s.logs_or_nothing(name):
        time.sleep(0.02)
    kill(s.pids("bloomery-host"), signal.SIGSTOP)
    s.sm.stop_training_job(TrainingJobName=name)
    kill(s.pids("bloomery-host") + s.pids("bloomeryd"))
    restart(s)
    assert s.wait(name, timeout=30)["TrainingJobStatus"] == "Stopped"
    assert s.leftovers() == []
