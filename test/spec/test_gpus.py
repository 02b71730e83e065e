# GPUs, of a fake device table: a CDI file whose "GPUs" are ordinary device nodes. SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import stat
import time

import botocore.exceptions
import pytest

from test_hosts import members, streams

# What a container without a GPU could have made by itself and not open: /dev/loop-control. The rest tells them apart.
NODES = {"0": (10, 237), "1": (1, 5), "2": (1, 7), "3": (1, 9)}


def cdi(base, names=NODES):
    """A CDI file for these GPUs, as nvidia-ctk would write it."""
    devices = []
    for n in names:
        node = base / f"gpu{n}"
        if not node.exists():
            os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(*NODES[n]))
        devices.append({"name": n, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{n}", "hostPath": str(node)}],
                                                      "env": [f"FAKE_GPU_{n}=yes"]}})
    driver = base / "driver"
    driver.mkdir(exist_ok=True)
    (driver / "nvidia-smi").write_text("#!/bin/sh\nls /dev | grep ^nvidia[0-9]\n")
    (driver / "nvidia-smi").chmod(0o755)
    return {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": devices, "containerEdits": {
        "deviceNodes": [{"path": "/dev/nvidiactl", "hostPath": "/dev/null"}], "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "mounts": [{"hostPath": str(driver), "containerPath": "/opt/driver", "options": ["ro", "nosuid", "nodev", "rbind"]}]}}


@pytest.fixture
def machine(make_server, tmp_path):
    """A server on a machine with these GPUs; its directory of CDI files is .cdi"""
    def make(names=NODES, conf=""):
        base = tmp_path / "cdi"
        base.mkdir()
        (base / "fake.json").write_text(json.dumps(cdi(base, names)))
        s = make_server(f"cdi_dirs = /nonexistent {base}\ncapacity_cpus = 64\ncapacity_memory = 68719476736\n"
                        f"stop_grace_seconds = 3\n{conf}")
        s.cdi = base
        return s
    return make


def gpus(n=1, kind="ml.g4dn.xlarge"):
    return {"InstanceType": kind, "InstanceCount": n, "VolumeSizeInGB": 1}


LOOK = '{ /opt/driver/nvidia-smi; env | grep -e ^FAKE -e ^NVIDIA_V -e ^SM_NUM; } | sort > /opt/ml/model/$(hostname)'
HOLD = LOOK + '; echo up; trap "exit 0" TERM; while :; do sleep 0.1; done'


def seen(s, d):
    return {host: text.split() for host, text in members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])).items()}


def numbers(s, d):
    """By host: which GPUs it had; all that it saw of them must be of the same."""
    found = {}
    for host, words in seen(s, d).items():
        found[host] = [w.removeprefix("nvidia") for w in words if w.startswith("nvidia")]
        assert sorted(words) == sorted([f"nvidia{n}" for n in found[host]] + [f"FAKE_GPU_{n}=yes" for n in found[host]] + [
            "NVIDIA_VISIBLE_DEVICES=all", f"SM_NUM_GPUS={len(found[host])}"]), words
    return found


def up(s, name, hosts=1):
    end = time.monotonic() + 60
    while sum("up" in lines for lines in s_streams(s, name).values()) < hosts:
        assert time.monotonic() < end, s.describe(name)
        time.sleep(0.05)


def s_streams(s, name):
    try:
        return streams(s, name)
    except botocore.exceptions.ClientError as ex:
        assert ex.response["Error"]["Code"] == "ResourceNotFoundException", ex
        return {}


def orders(s, *names):
    """The GPUs in the work orders of these jobs."""
    specs = [json.loads(p.read_text()) for p in (s.data / "jobs").glob("*/spec.json")]
    return sorted(g for spec in specs if spec["name"] in names for g in spec.get("gpus", []))


def test_a_container_has_its_own_and_no_other(machine):
    s = machine()
    one = s.completed(": <>/dev/nvidia0 || exit 3; : >/dev/nvidiactl || exit 4; (: > /opt/driver/x) 2>/dev/null && exit 5; " + LOOK,
                      ResourceConfig=gpus())
    assert numbers(s, one) == {"algo-1": ["0"]}
    assert "This host has 1 GPU: nvidia.com/gpu=0." in s.logs(one["TrainingJobName"])
    four = s.completed(LOOK, ResourceConfig=gpus(kind="ml.g4dn.12xlarge"), Environment={"NVIDIA_VISIBLE_DEVICES": "7"})
    assert numbers(s, four) == {"algo-1": ["0", "1", "2", "3"]}
    none = s.completed("mknod /tmp/g c 10 237; (: <>/tmp/g) 2>/dev/null && exit 3; [ -e /opt/driver ] && exit 4; "
                       "[ -e /dev/nvidiactl ] && exit 5; env | grep -e ^NVIDIA_V -e ^SM_NUM | sort > /opt/ml/model/env",
                       Environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert seen(s, none) == {"env": ["NVIDIA_VISIBLE_DEVICES=void", "SM_NUM_GPUS=0"]}
    assert s.leftovers() == []


def test_hosts_and_jobs_share_none_and_kills_change_nothing(machine):
    s = machine()
    a = s.create(HOLD, ResourceConfig=gpus(2))
    up(s, a, 2)
    b = s.create(HOLD, ResourceConfig=gpus(2))
    up(s, b, 2)
    c = s.create(HOLD, ResourceConfig=gpus())
    assert s.wait(c, {"Pending"})["SecondaryStatus"] == "Pending"
    for pid in s.pids("bloomeryd") + s.pids("bloomery-host"):
        os.kill(pid, signal.SIGKILL)
    s.up.wait(30)
    s.start()
    assert s.wait(c, {"Pending"})["SecondaryStatus"] == "Pending"
    assert len(set(orders(s, a, b))) == 4 and orders(s, c) == []
    s.sm.stop_training_job(TrainingJobName=a)
    freed = numbers(s, s.wait(a))
    up(s, c)
    for name in (b, c):
        s.sm.stop_training_job(TrainingJobName=name)
    kept, waited = numbers(s, s.wait(b)), numbers(s, s.wait(c))
    assert sorted(sum([*freed.values(), *kept.values()], [])) == ["0", "1", "2", "3"]
    assert waited["algo-1"][0] in sum(freed.values(), [])
    assert s.leftovers() == []


def test_fewer_than_the_type_has(machine):
    s = machine("01")
    d = s.completed(LOOK, ResourceConfig=gpus(2, "ml.g4dn.12xlarge"))
    assert numbers(s, d) == {"algo-1": ["0"], "algo-2": ["1"]}
    assert any("The 2 hosts of this job want 8 GPUs together; this server has 2, of which this host gets 1." in line
               for line in s.logs(d["TrainingJobName"]))


def test_without_any_it_runs_with_none_or_is_refused(server, make_server):
    d = server.completed("echo $SM_NUM_GPUS $NVIDIA_VISIBLE_DEVICES", ResourceConfig=gpus(kind="ml.p3.8xlarge"))
    lines = server.logs(d["TrainingJobName"])
    assert any("ml.p3.8xlarge has 4 GPUs; this server has none, and the job runs without." in line for line in lines)
    assert "0 void" in lines
    s = make_server("gpus = none\ngpu_shortage = refuse\n")
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        s.create("true", ResourceConfig=gpus(kind="ml.p3.8xlarge"))
    assert ex.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    assert "has 4 GPUs together; this server has 0" in str(ex.value)
    s.completed("true")


def test_files_that_go_or_go_bad_fail_the_job_by_name(machine):
    s = machine("0")
    (s.cdi / "fake.json").write_text("{")
    reason = s.failed("true", ResourceConfig=gpus())
    assert "the device nvidia.com/gpu=0 is not described in any file of /nonexistent " in reason
    assert f"{s.cdi}/fake.json describes no devices: line 1, column 1" in reason
    (s.cdi / "fake.json").write_text(json.dumps(cdi(s.cdi, "0")))
    (s.cdi / "gpu0").unlink()
    assert f"the device node {s.cdi}/gpu0 cannot be looked at: No such file or directory" in s.failed("true", ResourceConfig=gpus())
    cdi(s.cdi, "0")
    (s.cdi / "fake.json").chmod(0o666)
    assert "others than root can write it" in s.failed("true", ResourceConfig=gpus())
    (s.cdi / "fake.json").chmod(0o644)
    assert numbers(s, s.completed(LOOK, ResourceConfig=gpus())) == {"algo-1": ["0"]}
    assert s.leftovers() == []


def test_nvidias_own_hook_is_told_which(make_server, tmp_path, monkeypatch):
    """The hook, were it there, would mount what NVIDIA_VISIBLE_DEVICES of the container's configuration names."""
    hook = tmp_path / "nvidia-container-runtime-hook"
    hook.write_text(f"#!/bin/sh\nbundle=$(sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\n[ $1 = prestart ] || exit 1\n"
                    f"grep -o 'NVIDIA_VISIBLE_DEVICES=[^\"]*' $bundle/config.json >> {tmp_path}/told\n")
    hook.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    s = make_server("gpus = GPU-aa GPU-bb\ncapacity_cpus = 64\ncapacity_memory = 68719476736\nstop_grace_seconds = 3\n")
    d = s.completed("echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES $SM_NUM_GPUS; sleep 1", ResourceConfig=gpus(2),
                    Environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert sorted(line for lines in streams(s, d["TrainingJobName"]).values() for line in lines if line.startswith("GPU-")) == [
        "GPU-aa compute,utility 1", "GPU-bb compute,utility 1"]
    s.completed("true")
    assert sorted((tmp_path / "told").read_text().split()) == ["NVIDIA_VISIBLE_DEVICES=GPU-aa", "NVIDIA_VISIBLE_DEVICES=GPU-bb"]
