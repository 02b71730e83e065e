# kill -9 of what feeds a channel, and of who runs it, in the middle: the job fails with the channel's name or goes on, and
# no process, mount, FIFO or cgroup stays. SPDX-License-Identifier: Apache-2.0
import glob
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from house import Server

DATA = "/opt/ml/input/data"


@pytest.fixture(scope="module")
def s(rootfs):
    """A server whose FastFile channels are all served by FUSE."""
    base = tempfile.mkdtemp(prefix="bloomery-feeders-")
    os.chmod(base, 0o755)
    disk = pathlib.Path(base) / "disk"
    disk.mkdir()
    (disk / "kept").write_text("kept")
    s = Server(pathlib.Path(base) / "data", conf="fastfile_links_max = 0\nstop_grace_seconds = 2\n"
               f"file_system.fs-00000001 = {disk}\nfile_system.fs-00000002 = mount mount --bind {disk} %d\n").start()
    s.disk = disk
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    s.big = os.urandom(64 << 20)
    s.put("big/", {"a": s.big, "b": b"last"})
    yield s
    s.stop()
    left = s.leftovers()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


@pytest.fixture(scope="module")
def remote(rootfs, s):
    """A server that has its data in the other one."""
    base = tempfile.mkdtemp(prefix="bloomery-remote-")
    os.chmod(base, 0o755)
    e = s.exports
    r = Server(pathlib.Path(base) / "data", conf=f"""s3_endpoint = {s.url}
s3_region = {e['AWS_REGION']}
s3_access_key = {e['AWS_ACCESS_KEY_ID']}
s3_secret_key = {e['AWS_SECRET_ACCESS_KEY']}
stop_grace_seconds = 2
""").start()
    assert r.bloomery("image", "import", "busy", rootfs).returncode == 0
    yield r
    r.stop()
    left = r.leftovers()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


def create(s, mode, script):
    return s.create(script, InputDataConfig=[{"ChannelName": "train", "InputMode": mode, "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": "s3://bucket/big/"}}}])


def children(pid):
    """Of a process, and of those."""
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            pids = [int(p) for p in open(path).read().split()]
        except OSError:
            continue
        for child in pids:
            yield child
            yield from children(child)


def program(pid):
    try:
        return os.path.basename(open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[0].decode())
    except OSError:
        return ""


def find(s, name, what, timeout=60):
    """The processes of that program that work for the job."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        jobs = glob.glob(str(s.data / "jobs/*/spec.json"))
        job = next((p.split("/")[-2] for p in jobs if json.load(open(p))["name"] == name), "none")
        for job in s.pids("bloomery-job", job):
            if found := [pid for pid in children(job) if program(pid) == what]:
                return found
        time.sleep(0.01)
    raise AssertionError(f"no {what} for {name}\n{s.tail()}")


def wait_for_line(s, name, line):
    end = time.monotonic() + 30
    while line not in s.logs_or_nothing(name):
        d = s.describe(name)
        assert time.monotonic() < end and d["TrainingJobStatus"] != "Failed", d
        time.sleep(0.02)


def kill(pids, sig=signal.SIGKILL):
    for pid in pids:
        os.kill(pid, sig)


def who_sees(job):
    """Processes in whose mount namespace something of the job is mounted."""
    found = []
    for path in glob.glob("/proc/[0-9]*/mountinfo"):
        try:
            if f"/jobs/{job}/" in open(path).read():
                found.append(f"{path} {program(path.split('/')[2])}")
        except OSError:
            pass
    return found


def check_nothing_stays(s, name, feeders=()):
    job = s.job_id(name)
    assert s.leftovers() == []
    assert who_sees(job) == []
    assert [pid for pid in feeders if program(pid).startswith("bloomery")] == []
    assert [str(p) for p in (s.data / "jobs" / job).rglob("*") if p.is_fifo()] == []


READ_PIPE = "exec 3< " + DATA + "/train_0; head -c 100000 <&3 | wc -c; echo up; sleep 2; cat <&3 | wc -c; echo read; "
READ_FILE = "head -c 100000 " + DATA + "/train/a | wc -c; echo up; while :; do cat " + DATA + "/train/* > /dev/null || exit 5; done"


@pytest.mark.parametrize("mode, what, script", [
    ("Pipe", "bloomery-fetch", READ_PIPE + "sleep 60"),
    ("Pipe", "bloomery-fetch", READ_PIPE),           # sees the end of the data, and is content
    ("FastFile", "bloomery-fuse", READ_FILE),
    ("FastFile", "bloomery-fuse", "echo up; sleep 60"),
])
@pytest.mark.parametrize("where", ["s", "remote"])
def test_a_feeder_dies(request, s, mode, what, script, where):
    s = request.getfixturevalue(where)
    name = create(s, mode, script)
    wait_for_line(s, name, "up")
    feeders = find(s, name, what)
    start = time.monotonic()
    kill(feeders)
    d = s.wait(name, timeout=30)
    assert time.monotonic() - start < 10
    assert d["TrainingJobStatus"] == "Failed", d
    assert "channel 'train'" in d["FailureReason"] and f"{what}, which fed it, was killed by SIGKILL" in d["FailureReason"], d
    assert any("channel 'train'" in line and "killed" in line for line in s.logs(name))
    check_nothing_stays(s, name, feeders)


def test_a_download_dies(remote):
    name = create(remote, "File", "echo ran")
    feeders = find(remote, name, "bloomery-fetch")
    kill(feeders)
    d = remote.wait(name, timeout=30)
    if d["TrainingJobStatus"] == "Completed":
        pytest.skip("it was done before the signal came")
    assert d["TrainingJobStatus"] == "Failed" and "train" in d["FailureReason"], d
    check_nothing_stays(remote, name, feeders)


def blocked(s, name):
    """A job whose container waits, in the kernel, for a FUSE server that does not answer: its `cat` does not end."""
    wait_for_line(s, name, "up")
    feeders = find(s, name, "bloomery-fuse")
    kill(feeders, signal.SIGSTOP)
    since = {}
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for job in s.pids("bloomery-job", s.job_id(name)):
            for pid in children(job):
                if program(pid) == "cat" and time.monotonic() - since.setdefault(pid, time.monotonic()) > 1:
                    return feeders
        time.sleep(0.02)
    kill(feeders, signal.SIGCONT)
    s.sm.stop_training_job(TrainingJobName=name)
    raise AssertionError("nobody waits")


# A name that was not asked for before: the kernel remembers what it was told of the others.
BLOCK = "trap 'exit 0' TERM; i=0; echo up; while :; do i=$((i + 1)); cat " + DATA + "/train/none$i 2> /dev/null; done"


def test_the_supervisor_dies_with_a_process_that_waits_for_fuse(s):
    name = create(s, "FastFile", BLOCK)
    feeders = blocked(s, name)
    kill(s.pids("bloomery-job", s.job_id(name)))
    d = s.wait(name, timeout=30)
    assert d["TrainingJobStatus"] == "Failed" and d["FailureReason"].startswith("InternalServerError:"), d
    check_nothing_stays(s, name, feeders)


@pytest.mark.parametrize("id", ["fs-00000001", "fs-00000002"])
def test_the_supervisor_dies_with_a_file_system_mounted(s, id):
    """Nothing of it is removed with what the job leaves."""
    name = s.create("echo new > " + DATA + "/x/new; echo up; sleep 60", InputDataConfig=[{"ChannelName": "x", "DataSource": {
        "FileSystemDataSource": {"FileSystemId": id, "FileSystemAccessMode": "rw", "FileSystemType": "EFS",
                                 "DirectoryPath": "/"}}}])
    wait_for_line(s, name, "up")
    kill(s.pids("bloomery-job", s.job_id(name)))
    assert s.wait(name, timeout=30)["TrainingJobStatus"] == "Failed"
    check_nothing_stays(s, name)
    assert sorted(p.name for p in s.disk.iterdir()) == ["kept", "new"] and (s.disk / "kept").read_text() == "kept"


def test_a_stop_ends_a_process_that_waits_for_fuse(s):
    name = create(s, "FastFile", BLOCK)
    feeders = blocked(s, name)
    start = time.monotonic()
    s.sm.stop_training_job(TrainingJobName=name)
    d = s.wait(name, timeout=40)
    assert d["TrainingJobStatus"] == "Stopped", d
    assert time.monotonic() - start < 15, "grace, and two seconds for the feeder"
    check_nothing_stays(s, name, feeders)


@pytest.mark.parametrize("victims", [["bloomeryd"], ["bloomery-host"], ["bloomeryd", "bloomery-host"]])
def test_daemons_die_and_the_pipe_goes_on(s, victims):
    name = create(s, "Pipe", "cd " + DATA + "; exec 3< train_0; dd bs=1 count=10 <&3 > /tmp/h 2> /dev/null; echo up; sleep 3; "
                  "(cat /tmp/h; cat <&3) | sha256sum; sha256sum < train_1; echo ran")
    wait_for_line(s, name, "up")
    kill([pid for v in victims for pid in s.pids(v)])
    assert s.up.wait(60) != 0
    s.up = None
    s.start()
    d = s.wait(name, timeout=60)
    assert d["TrainingJobStatus"] == "Completed", d
    want = hashlib.sha256(s.big + b"last").hexdigest() + "  -"
    assert [l for l in s.logs(name) if not l.startswith("channel '")] == ["up", want, want, "ran"]
    check_nothing_stays(s, name)
