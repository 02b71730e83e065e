# How channels get into the container: Pipe, FastFile by links and by FUSE, file systems.
# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
from conftest import Server

DATA = "/opt/ml/input/data"


def channel(name, uri, mode=None, **kw):
    c = {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri,
                                                              "S3DataDistributionType": "FullyReplicated"}}}
    if mode:
        c["InputMode"] = mode
    c.update(kw)
    return c


def run(s, script, channels, **kw):
    """Runs a job and returns its description and what it printed (without the platform's lines about channels)."""
    script = "; ".join(line.strip().rstrip(";") for line in script.splitlines() if line.strip())
    d = s.run(script, InputDataConfig=channels, **kw)
    return d, [line for line in s.logs(d["TrainingJobName"]) if not line.startswith("channel '")]


def feeds(s, name):
    return {c["channel"]: c for c in json.loads((s.data / "jobs" / s.job_id(name) / "feeds.json").read_text())["channels"]}


def digest(data):
    return hashlib.sha256(data).hexdigest()


OBJECTS = {f"d{i % 3}/o{i:02d}": os.urandom(1000 + i) for i in range(20)} | {"top": b"top", "empty": b"", "folder/": b""}
LIST = ("cd " + DATA + "/train; find . -type f | sort | xargs sha256sum; find . -type d | sort; "
        "ls -ld . top; ")


def listing():
    want = [f"{digest(v)}  ./{k}" for k, v in sorted(OBJECTS.items()) if not k.endswith("/")]
    return want + [".", "./d0", "./d1", "./d2", "./folder"]


def fastfile(s, way):
    uri = s.put("fast/", OBJECTS)
    d, said = run(s, LIST + """
        id; (echo no > new) 2>&1; (echo no >> top) 2>&1; (rm top) 2>&1; (rmdir folder) 2>&1; (chmod 777 top) 2>&1
        ls /opt/ml/input/data; dd if=d0/o03 bs=1 skip=900 count=103 2>/dev/null | sha256sum
        cat /opt/ml/input/data/train-manifest 2>&1; mount | grep -c 'data/train .*ro'""",
                 [channel("train", uri, "FastFile")])
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    want = listing()
    assert said[:len(want)] == want
    rest = said[len(want):]
    assert re.match(r"dr[w-]xr-xr-x", rest[0]) and re.match(r"-r[w-]-r--r--", rest[1]), rest
    errors = "\n".join(rest)
    assert errors.count("Read-only file system") >= 4, errors
    assert rest[-4] == "train" and rest[-3] == digest(OBJECTS["d0/o03"][900:1003]) + "  -", rest
    assert "No such file" in rest[-2] and rest[-1] == "1"
    f = feeds(s, d["TrainingJobName"])["train"]
    assert (f["mode"], f["way"], f["objects"], f["bytes"]) == ("FastFile", way, len(OBJECTS), sum(map(len, OBJECTS.values())))
    assert any(line.startswith("channel 'train': FastFile, 23 objects, ") for line in s.logs(d["TrainingJobName"]))
    assert s.leftovers() == []
    # the store's own files are as they were
    assert s.artifact(uri + "top") == b"top"
    return f


def test_fastfile_by_links(server):
    f = fastfile(server, "linked")
    assert "feed" not in f and f["seconds"] < 5


@pytest.fixture(scope="module")
def fuse(rootfs):
    """A server that links nothing."""
    base = tempfile.mkdtemp(prefix="bloomery-modes-")
    os.chmod(base, 0o755)
    s = Server(pathlib.Path(base) / "data", conf="fastfile_links_max = 0\nstop_grace_seconds = 3\n").start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == [], "jobs left something behind"


def test_fastfile_by_fuse(fuse):
    f = fastfile(fuse, "fused")
    assert f["feed"]["bytes"] > 0 and f["bottleneck"] in ("neither", "trainer", "data")


@pytest.mark.parametrize("way", ["linked", "fused"])
def test_fastfile_for_another_user(server, fuse, way):
    """Whoever the container runs as can read."""
    s = server if way == "linked" else fuse
    uri = s.put("other/", {"a/b": b"bytes"})
    d, said = run(s, "su -s /bin/sh trainer -c 'id -u; ls -R " + DATA + "/train; cat " + DATA + "/train/a/b'",
                  [channel("train", uri, "FastFile")])
    assert d["TrainingJobStatus"] == "Completed" and said[0] == "1234" and said[-1] == "bytes", said


# ---- Pipe ----

def test_pipe_epochs(server):
    """Two epochs, each the whole data in order; the directory is not there; FIFOs may stay unread."""
    parts = {f"k{i:03d}": os.urandom(3000 + 17 * i) for i in range(40)}
    uri = server.put("pipe/", parts)
    whole = digest(b"".join(v for _, v in sorted(parts.items())))
    d, said = run(server, "cd " + DATA + """
        ls -l | grep -c '^p'; ls; sha256sum < train_0; sha256sum < train_1; test -p train_2 && echo next
        test -e train || echo none; test -e train-manifest || echo none; head -c 10 train_2 | wc -c""",
                  [channel("train", uri, "Pipe")])
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    assert said[0] in "12" and "train_0" in said
    assert said[-6:] == [whole + "  -", whole + "  -", "next", "none", "none", "10"], said
    f = feeds(server, d["TrainingJobName"])["train"]
    total = sum(map(len, parts.values()))
    assert (f["way"], f["objects"], f["bytes"]) == ("piped", 40, total)
    assert f["feed"]["epochs"] == 3 and f["feed"]["bytes"] >= 2 * total
    lines = [l for l in server.logs(d["TrainingJobName"]) if l.startswith("channel 'train'")]
    assert lines[0].startswith("channel 'train': Pipe, 40 objects, ") and "3 epochs begun" in lines[-1], lines
    assert server.leftovers() == []


def test_pipe_unread(server):
    uri = server.put("one/", {"k": b"x" * 100})
    d, said = run(server, "echo ran", [channel(f"c{i}", uri, "Pipe") for i in range(10)])
    assert d["TrainingJobStatus"] == "Completed" and said == ["ran"]
    assert "channel 'c9': nothing of it was read." in server.logs(d["TrainingJobName"])


def test_modes_together(server):
    uri = server.put("one/", {"k": b"bytes\n"})
    d, said = run(server, "cd " + DATA + "; cat a/k; cat b/k; cat c_0; ls | sort",
                  [channel("a", uri), channel("b", uri, "FastFile"), channel("c", uri, "Pipe")])
    assert d["TrainingJobStatus"] == "Completed"
    assert said[:3] == ["bytes"] * 3 and {"a", "a-manifest", "b"} < set(said[3:]), said
    assert {n: c["way"] for n, c in feeds(server, d["TrainingJobName"]).items()} == {"a": "placed", "b": "linked", "c": "piped"}


def test_a_stop_with_open_pipes(server):
    uri = server.put("one/", {"k": b"x" * 1000000})
    name = server.create("exec 3< " + DATA + "/train_0; head -c 10 <&3 > /dev/null; echo up; "
                         "trap 'exit 0' TERM; while :; do sleep 0.1; done", InputDataConfig=[channel("train", uri, "Pipe")])
    while "up" not in server.logs_or_nothing(name):
        pass
    server.sm.stop_training_job(TrainingJobName=name)
    assert server.wait(name)["TrainingJobStatus"] == "Stopped"
    assert server.leftovers() == []


# ---- file systems ----

FS, BY_COMMAND, BROKEN, NOWHERE, SERVED = "fs-0123456789abcdef0", "fs-00000001", "fs-00000002", "fs-00000003", "fs-00000004"


@pytest.fixture(scope="module")
def disk(rootfs):
    """A server with file systems: a directory, one that a command mounts, a command that fails, a directory that is not there."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-disk-"))
    os.chmod(base, 0o755)
    root = base / "export"
    (root / "sets/deep").mkdir(parents=True)
    (root / "sets/file").write_text("bytes of the file")
    (base / "secret").mkdir()
    (base / "secret/file").write_text("a secret")
    (root / "absolute").symlink_to(base / "secret")
    (root / "relative").symlink_to("../secret")
    (root / "inside").symlink_to("/sets")
    mounter = base / "mounter"      # as those do that serve a file system from a process that they leave behind
    mounter.write_text(f"""#!/bin/sh
mount -t tmpfs -o $1 none $2
(setsid sh -c 'echo $$ > {base}/server; exec sleep 3600'; true) &
while ! test -s {base}/server; do :; done
""")
    mounter.chmod(0o755)
    s = Server(base / "data", conf=f"""stop_grace_seconds = 3
file_system.{SERVED} = mount {mounter} %o %d
file_system.{FS} = {root}
file_system.{BY_COMMAND} = mount mount --bind -o %o {root} %d
file_system.{BROKEN} = mount ls /not/there %d
file_system.{NOWHERE} = {base}/nowhere
""").start()
    s.root, s.base = root, base
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == [], "jobs left something behind"


def file_system(name, path, id=FS, access="ro", kind="EFS"):
    return {"ChannelName": name, "DataSource": {"FileSystemDataSource": {
        "FileSystemId": id, "FileSystemAccessMode": access, "FileSystemType": kind, "DirectoryPath": path}}}


@pytest.mark.parametrize("id", [FS, BY_COMMAND])
def test_file_system_read_only(disk, id):
    d, said = run(disk, "cd " + DATA + "/x; cat file; echo; ls; (echo no > new) 2>&1; (rm file) 2>&1; ls " + DATA,
                  [file_system("x", "/sets", id)])
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    assert said[:3] == ["bytes of the file", "deep", "file"] and said[-1] == "x", said
    assert "\n".join(said).count("Read-only file system") == 2, said
    f = feeds(disk, d["TrainingJobName"])["x"]
    assert (f["mode"], f["way"]) == ("File", "mounted")
    assert f"channel 'x': File, /sets of the file system {id}, read-only" in disk.logs(d["TrainingJobName"])
    assert disk.leftovers() == []


@pytest.mark.parametrize("id", [FS, BY_COMMAND])
def test_file_system_to_write(disk, id):
    """What is written is there afterwards, and what was there stays when the job is cleaned up."""
    new = disk.root / "sets/deep/new"
    d, said = run(disk, "echo m > /opt/ml/model/m; echo written > " + DATA + "/x/deep/new; ln -s / " + DATA + "/x/deep/link",
                  [file_system("x", "/sets", id, access="rw")])
    assert d["TrainingJobStatus"] == "Completed", (d.get("FailureReason"), said)
    assert new.read_text() == "written\n"
    new.unlink()
    (disk.root / "sets/deep/link").unlink()
    assert (disk.root / "sets/file").read_text() == "bytes of the file"
    got = subprocess.run(["tar", "tz"], input=disk.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]), capture_output=True)
    assert got.stdout == b"m\n"


@pytest.mark.parametrize("path", ["/absolute", "/relative", "/sets/file", "/no", "/../secret", "/sets/../../secret"])
def test_file_system_is_not_left(disk, path):
    try:
        d = disk.run("cat " + DATA + "/x/file", InputDataConfig=[file_system("x", path)])
    except disk.sm.exceptions.ClientError as ex:
        assert ".." in path and "DirectoryPath" in str(ex)
        return
    assert d["TrainingJobStatus"] == "Failed"
    assert d["FailureReason"] == ("ClientError: Data download failed:channel 'x': there is no directory "
                                  f"{path} in the file system {FS}")


def test_file_system_links_within(disk):
    d, said = run(disk, "cat " + DATA + "/x/file", [file_system("x", "/inside")])
    assert said == ["bytes of the file"], (said, d.get("FailureReason"))


def test_lustre_mount_name(disk):
    """The path of FSx for Lustre begins with a mount name, which a directory here does not have."""
    d, said = run(disk, "cat " + DATA + "/x/file", [file_system("x", "/mntname/sets", kind="FSxLustre")])
    assert said == ["bytes of the file"], d.get("FailureReason")
    d, said = run(disk, "cat " + DATA + "/x/file", [file_system("x", "/sets", kind="FSxLustre")])
    assert said == ["bytes of the file"], d.get("FailureReason")


def test_file_system_command_fails(disk):
    d = disk.run("true", InputDataConfig=[file_system("x", "/", BROKEN)])
    assert d["TrainingJobStatus"] == "Failed"
    assert f"mounting the file system {BROKEN}: `ls /not/there %d` of bloomery.conf ended with status 2 and said: " in d["FailureReason"]
    assert "/not/there" in d["FailureReason"].split("said:")[1]
    d = disk.run("true", InputDataConfig=[file_system("x", "/", NOWHERE)])
    assert d["TrainingJobStatus"] == "Failed"
    assert "nowhere, which bloomery.conf has for the file system" in d["FailureReason"]
    assert disk.leftovers() == []


def test_who_serves_a_file_system_ends_with_the_job(disk):
    d, said = run(disk, "echo w > " + DATA + "/x/f; cat " + DATA + "/x/f", [file_system("x", "/", SERVED, access="rw")])
    assert d["TrainingJobStatus"] == "Completed" and said == ["w"], (d, said)
    pid = int((disk.base / "server").read_text())
    assert disk.leftovers() == []
    assert not os.path.exists(f"/proc/{pid}"), open(f"/proc/{pid}/status").read()


def test_file_systems_are_roots(rootfs, tmp_path):
    """Root acts on bloomery.conf only when nobody else can have written it."""
    data = tmp_path / "data"
    data.mkdir()
    conf = data / "bloomery.conf"
    for spoil, says in [(lambda: os.chown(conf, 1234, 1234), "root"), (lambda: os.chmod(conf, 0o666), "write"),
                        (lambda: os.link(conf, data / "other"), "another name")]:
        for f in data.glob("*"):
            if f.is_file():
                f.unlink()
        conf.write_text(f"file_system.{FS} = /srv\n")
        spoil()
        done = subprocess.run([os.environ.get("BLOOMERY_BUILD", "build") + "/bloomery", "up", "--data", data, "--listen",
                               "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
        assert done.returncode != 0 and says in done.stderr, done.stderr
