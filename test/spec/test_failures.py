# Failures end the search: a gallery of broken and hostile containers, each with the sentence it must end in.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import time

import pytest


def test_failure_file_and_exit_code(server):
    assert server.failed("echo 'bad label' > /opt/ml/output/failure; exit 7") == "AlgorithmError: bad label\n, exit code: 7" \
        or server.failed("printf 'bad label' > /opt/ml/output/failure; exit 7") == "AlgorithmError: bad label, exit code: 7"


def test_failure_file_is_cut_to_fit(server):
    why = server.failed("yes 'é and so on' | head -c 100000 > /opt/ml/output/failure; exit 1")
    assert why.startswith("AlgorithmError: é and so on\n") and why.endswith(", exit code: 1") and len(why) <= 1024


def test_failure_file_is_ignored_on_success(server):
    d = server.completed("echo no > /opt/ml/output/failure")
    assert "FailureReason" not in d


@pytest.mark.parametrize("make", ["mkfifo /opt/ml/output/failure", "ln -s /etc/passwd /opt/ml/output/failure",
                                  "ln -s /proc/1/environ /opt/ml/output/failure", "mkdir /opt/ml/output/failure",
                                  "rm -rf /opt/ml/output; ln -s /etc /opt/ml/output",
                                  "head -c 3000 /dev/urandom > /opt/ml/output/failure"])
def test_a_hostile_failure_file_cannot_harm(server, make):
    why = server.failed(make + "; echo last words; exit 3")
    assert why.startswith("AlgorithmError: ") and "exit code: 3" in why
    assert "root:" not in why or "trainer:" in why, "nothing of the machine's own files is told"


def test_exit_code_and_last_lines(server):
    why = server.failed("echo step one; echo 'ValueError: the label column is missing' >&2; exit 4")
    assert why.startswith("AlgorithmError: ") and "exit code: 4" in why
    assert "ValueError: the label column is missing" in why


@pytest.mark.parametrize("sig,name", [("SEGV", "SIGSEGV"), ("ABRT", "SIGABRT"), ("KILL", "SIGKILL")])
def test_signal_by_name(server, sig, name):
    why = server.failed(AlgorithmSpecification={"ContainerEntrypoint": ["/bin/sh", "-c", f"sh -c 'kill -{sig} $$'; exit $?"]})
    assert name in why or "exit code: 1" in why, why
    assert name in why


def test_out_of_memory_names_the_limit_and_the_peak(make_server):
    s = make_server("capacity_memory = 268435456\nstop_grace_seconds = 2\n")
    why = s.failed("tail /dev/zero", timeout=120)
    assert why.startswith("ClientError: ") and "memory" in why.lower()
    assert "256" in why and "peak" in why.lower(), why
    assert s.leftovers() == []


def test_disk_full_says_so(server):
    why = server.failed("dd if=/dev/zero of=/opt/ml/model/big bs=1M count=3000 2>&1; exit 1", timeout=180)
    assert "disk" in why.lower() or "No space" in why, why
    assert "VolumeSizeInGB" in why and "/opt/ml/model" in why, why


def test_disk_full_stays_in_the_job(server):
    d = server.completed("dd if=/dev/zero of=/tmp/big bs=1M count=3000 2>/dev/null; rm -f /tmp/big; echo alive", timeout=180)
    assert "alive" in server.logs(d["TrainingJobName"])


def image_with(server, tmp_path, name, train, mode=0o755, where="usr/local/bin/train", busy=True):
    root = tmp_path / name
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "bin").mkdir()
    if busy:
        shutil.copy("/bin/busybox", root / "bin/sh")
    if train is not None:
        path = root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(train, bytes):
            path.write_bytes(train)
        else:
            train(path)
        path.chmod(mode)
    done = server.bloomery("image", "import", name, root)
    assert done.returncode == 0, done.stderr
    return name


@pytest.mark.parametrize("name,train,mode,words", [
    ("no-train", None, 0, ["train", "PATH"]),
    ("not-executable", b"#!/bin/sh\ntrue\n", 0o644, ["train", "execut"]),
    ("crlf", b"#!/bin/sh\r\ntrue\r\n", 0o755, ["train", "carriage"]),
    ("no-interpreter", b"#!/usr/bin/python9\nprint()\n", 0o755, ["train", "/usr/bin/python9"]),
    ("empty", b"", 0o755, ["train", "empty"]),
    ("wrong-machine", b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xb7\0\x01\0\0\0" + b"\0" * 40, 0o755, ["train", "aarch64"]),
])
def test_an_image_whose_train_cannot_run(server, tmp_path, name, train, mode, words):
    if os.uname().machine != "x86_64" and name == "wrong-machine":
        words = ["train"]
    image = image_with(server, tmp_path, name, train, mode)
    why = server.failed(image=image)
    assert all(w.lower() in why.lower() for w in words), why


def test_a_missing_loader(server, tmp_path):
    image = image_with(server, tmp_path, "no-loader", lambda p: shutil.copy("/bin/true", p))
    why = server.failed(image=image)
    assert "ld-linux" in why, why


def test_no_such_image(server):
    why = server.failed(image="nobody-has-this:1")
    assert why.startswith("ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions "
                          "are incorrect.") and "nobody-has-this:1" in why and "bloomery image import" in why


def test_a_registry_that_is_not_there(server):
    why = server.failed(image="127.0.0.1:1/x:1", timeout=120)
    assert why.startswith("ClientError: Cannot pull algorithm container.") and "127.0.0.1:1" in why, why


def test_illegal_keys_fail_with_the_services_words(server):
    uri = server.put("odd/", {"a//b": b"1"})
    assert server.failed("true", channels={"train": uri}).startswith(
        "ClientError: Data download failed:Failed to download data. S3 key: s3://bucket/odd/a//b has an illegal char sub-sequence '//' in it")


def test_keys_that_would_leave_the_channel(server):
    for key in ("x/../../../../etc/cron.d/evil", "../../up", "..", "x/./y"):
        uri = server.put("escape-%d/" % abs(hash(key)), {key: b"evil"})
        why = server.failed("true", channels={"train": uri})
        assert why.startswith("ClientError: Data download failed:"), why
    assert not os.path.exists("/etc/cron.d/evil")


def test_a_key_of_1024_bytes_and_folders(server):
    key = "/".join(["d" * 100] * 9) + "/" + "f" * 60
    uri = server.put("long/", {key: b"far down", "folder/": b"", "zero": b""})
    d = server.completed("cd /opt/ml/input/data/train; cat $(find . -name 'f*' -type f); ls -d folder zero", channels={"train": uri})
    assert server.logs(d["TrainingJobName"]) == ["far down", "folder", "zero"] \
        or server.logs(d["TrainingJobName"])[0].startswith("far down")


def test_a_file_that_is_also_a_folder(server):
    uri = server.put("both/", {"a": b"file", "a/b": b"below"})
    why = server.failed("true", channels={"train": uri})
    assert why.startswith("ClientError: Data download failed:") and "both/a" in why, why


# ---- hostile trainers: each ends, and leaves nothing ----

def test_a_gigabyte_on_stdout(server):
    d = server.completed("yes 'a line of sixty-three bytes that says nothing to anybody......' | head -c 1073741824", timeout=240)
    name = d["TrainingJobName"]
    rss = [int(open(f"/proc/{pid}/status").read().split("VmRSS:")[1].split()[0]) for pid in server.pids("bloomeryd")]
    assert rss and max(rss) < 200_000, "the log is not held in memory"
    got = server.cached("logs").get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", startFromHead=True,
                                               logStreamName=stream(server, name))
    assert got["events"][0]["message"].startswith("a line of sixty-three")
    server.call("DeleteTrainingJob", {"TrainingJobName": name})


def stream(server, name):
    return server.cached("logs").describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs",
                                                      logStreamNamePrefix=name + "/")["logStreams"][0]["logStreamName"]


def test_children_left_behind_are_ended(server):
    d = server.completed("(trap '' TERM HUP; while :; do sleep 1; done) & (setsid sleep 1000 &) ; echo parent leaves", timeout=40)
    assert "parent leaves" in server.logs(d["TrainingJobName"])
    assert server.leftovers() == []


def test_a_fork_bomb_hits_its_own_limit(server):
    d = server.run("for i in $(seq 1 40); do (while :; do (sleep 100 &) || break; done) & done 2>/dev/null; sleep 2; exit 5",
                   timeout=120)
    assert d["TrainingJobStatus"] == "Failed"
    assert subprocess.run(["true"]).returncode == 0
    assert server.leftovers() == []


def test_a_trainer_that_deletes_opt_ml(server):
    d = server.completed("rm -rf /opt/ml; echo done")
    assert "done" in server.logs(d["TrainingJobName"])


@pytest.mark.parametrize("trick", ["rm -rf /opt/ml/model; ln -s /etc /opt/ml/model", "rm -rf /opt; ln -s / /opt; true",
                                   "rm -rf /opt/ml; ln -s ../etc /opt/ml", "ln -s /etc/shadow /opt/ml/model/shadow; mkfifo /opt/ml/model/p"])
def test_a_model_directory_that_points_elsewhere(server, trick):
    d = server.run(trick)
    key = d["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
    found = server.s3.list_objects_v2(Bucket="bucket", Prefix=key).get("Contents", [])
    if found:
        blob = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
        names = subprocess.run(["tar", "tvz"], input=blob, capture_output=True).stdout.decode()
        assert "root:x:0:0" not in subprocess.run(["tar", "xzO"], input=blob, capture_output=True).stdout.decode() or \
            "trainer" in names, "files of the machine itself are never packed"
        assert "sudoers" not in names and "debian_version" not in names


def test_nothing_is_left_after_all_this(server):
    assert server.leftovers() == []
