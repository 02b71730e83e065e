# kill -9 of one host's supervisor, and of the daemons, while a job of four hosts is at work.
# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import random
import signal
import tarfile
import time

import pytest

HOSTS = 4
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": HOSTS, "VolumeSizeInGB": 1}
VICTIMS = {"bloomeryd": ["bloomeryd"], "bloomery-host": ["bloomery-host"], "both": ["bloomeryd", "bloomery-host"]}


def kill(pids, sig=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


@pytest.fixture(scope="module")
def s(rootfs, tmp_path_factory):
    from house import Server
    s = Server(tmp_path_factory.mktemp("crash") / "data", conf="stop_grace_seconds = 4\ncapacity_cpus = 8\n").start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    for i in range(20):
        s.put("many/", {f"{i:03d}": b"x"})
    yield s
    s.stop()
    assert s.leftovers() == []


def restart(s):
    assert s.up.wait(60) != 0
    s.up = None
    s.start()


def directory(s, name, number):
    for p in (s.data / "jobs").glob("*/spec.json"):
        spec = json.loads(p.read_text())
        if spec["name"] == name and spec["host_number"] == number:
            return p.parent.name
    raise AssertionError(f"no host {number} of {name}")


def wait_for_lines(s, name, line, count):
    end = time.monotonic() + 60
    while s.logs_or_nothing(name).count(line) < count:
        assert time.monotonic() < end, s.logs_or_nothing(name)
        time.sleep(0.02)


def model(s, d):
    with tarfile.open(fileobj=io.BytesIO(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])), mode="r:gz") as t:
        return {m.name: t.extractfile(m).read() for m in t if m.isfile()}


@pytest.mark.parametrize("number", [1, 3])
def test_one_of_four_supervisors_dies(s, number):
    name = s.create("echo $(hostname) > /opt/ml/model/$(hostname); trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done",
                    ResourceConfig=RESOURCES)
    wait_for_lines(s, name, "up", HOSTS)
    kill(s.pids("bloomery-job", directory(s, name, number)))
    d = s.wait(name, timeout=60)
    assert d["TrainingJobStatus"] == "Failed"
    assert d["FailureReason"].startswith("InternalServerError:")
    assert f"algo-{number} was the first of 4 hosts to fail; the others were stopped" in d["FailureReason"]
    assert sorted(model(s, d)) == [f"algo-{n}" for n in range(1, 5) if n != number], "the others' are kept"
    assert s.leftovers() == []


def test_those_who_miss_it_are_not_the_first(s):
    """What breaks because a peer went is later than its going, however long it took to clean up after it."""
    name = s.create("if [ $(hostname) = algo-3 ]; then nc -ll -p 5000 -e cat; else mkfifo /tmp/f; exec 3<>/tmp/f; echo hi >&3; "
                    "until nc algo-3 5000 <&3 >/tmp/out 2>/tmp/err; [ -s /tmp/out ]; do sleep 0.05; done & "
                    "until [ -s /tmp/out ]; do sleep 0.05; done; echo up; wait; echo missed; exit 5; fi", ResourceConfig=RESOURCES)
    wait_for_lines(s, name, "up", HOSTS - 1)
    time.sleep(0.5)
    kill(s.pids("bloomery-job", directory(s, name, 3)))
    d = s.wait(name, timeout=60)
    assert d["TrainingJobStatus"] == "Failed"
    assert "algo-3 was the first of 4 hosts to fail" in d["FailureReason"], d["FailureReason"]
    assert s.leftovers() == []


SCRIPT = ("me=$(hostname); echo m > /opt/ml/model/$me; ls /opt/ml/input/data/train | wc -l > /opt/ml/model/n-$me; "
          "sleep 0.7; echo ran")


STATES = ["Starting", "Downloading", "Training", "Uploading"]


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("state", STATES)
def test_a_daemon_dies_while_four_hosts_are_at_work(s, state, victim):
    extra = "; head -c 60000000 /dev/urandom > /opt/ml/model/big-$me" if state == "Uploading" else ""
    name = s.create(SCRIPT + extra, channels={"train": "s3://bucket/many/"}, ResourceConfig=RESOURCES)
    s.wait(name, {*STATES[STATES.index(state):], "Completed"}, timeout=40)      # who looks too late kills in the next one
    kill([pid for program in VICTIMS[victim] for pid in s.pids(program)])
    restart(s)
    check_whole(s, name)


def check_whole(s, name):
    d = s.wait(name, timeout=90)
    assert d["TrainingJobStatus"] == "Completed", d
    ts = d["SecondaryStatusTransitions"]
    assert len({t["Status"] for t in ts}) == len(ts), "no phase is told twice"
    got = model(s, d)
    for n in range(1, HOSTS + 1):
        assert got[f"algo-{n}"] == b"m\n" and got[f"n-algo-{n}"] == b"20\n"
    assert s.logs(name).count("ran") == HOSTS
    assert s.leftovers() == []


@pytest.mark.parametrize("round", range(10))
def test_a_daemon_dies_at_any_moment_of_four_hosts(s, round):
    rng = random.Random(round)
    name = s.create(SCRIPT, channels={"train": "s3://bucket/many/"}, ResourceConfig=RESOURCES)
    for _ in range(2):
        time.sleep(rng.uniform(0, 1.5))
        kill([pid for program in rng.choice(list(VICTIMS.values())) for pid in s.pids(program)])
        restart(s)
    check_whole(s, name)


def test_a_stop_before_the_daemons_die_reaches_all(s):
    name = s.create("trap 'echo ran; exit 0' TERM; echo up; while :; do sleep 0.1; done", ResourceConfig=RESOURCES)
    wait_for_lines(s, name, "up", HOSTS)
    s.sm.stop_training_job(TrainingJobName=name)
    kill([pid for program in VICTIMS["both"] for pid in s.pids(program)])
    restart(s)
    assert s.wait(name, timeout=60)["TrainingJobStatus"] == "Stopped"
    assert s.logs(name).count("ran") == HOSTS
    assert s.leftovers() == []
