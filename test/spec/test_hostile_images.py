# What an image's program may ask of the kernel, and images that mean harm.
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess

from conftest import ROOT

DENIED = """mount umount2 pivot_root fsopen open_tree unshare_user unshare_ns setns clone_user clone_net bpf perf_event_open
    kexec_load init_module finit_module delete_module open_by_handle_at add_key keyctl request_key userfaultfd
    io_uring_setup quotactl swapon swapoff reboot syslog acct sethostname settimeofday fanotify_init mbind kcmp vhangup
    personality_norandom socket_alg socket_vsock socket_raw socket_packet""".split()
ALLOWED = """thread fork trace_child epoll inotify timerfd memfd mlock getaffinity setaffinity personality_linux personality_ask
    tcp unix""".split()


def test_system_calls_of_a_trainer(server, rootfs, tmp_path):
    root = tmp_path / "probe"
    shutil.copytree(rootfs, root, symlinks=True)
    subprocess.run(["gcc", "-static", "-O1", "-pthread", "-o", root / "usr/local/bin/train",
                    ROOT / "test/spec/syscalls.c"], check=True)
    done = server.bloomery("image", "import", "probe", root)
    assert done.returncode == 0, done.stderr
    job = server.completed(image="probe")["TrainingJobName"]
    said = dict(line.split() for line in server.logs(job) if len(line.split()) == 2)
    assert {n: said.get(n) for n in DENIED if said.get(n) != "EPERM"} == {}
    assert {n: said.get(n) for n in ALLOWED if said.get(n) != "ok"} == {}
    assert said["clone3"] == "ENOSYS"            # so that C libraries fall back to clone
    assert said["tiocsti"] != "ok"               # there is no terminal
    assert said["open_disk"] != "ok"
    if os.uname().machine == "x86_64":
        assert {n: said[n] for n in ("iopl", "ioperm")} == {"iopl": "EPERM", "ioperm": "EPERM"}
        assert said["nfsservctl"] in ("EPERM", "ENOSYS")


def test_an_image_in_use_is_not_removed_and_may_be_replaced(server, rootfs, tmp_path):
    root = tmp_path / "held"
    shutil.copytree(rootfs, root, symlinks=True)
    (root / "held").write_text("another image than busy\n")
    assert server.bloomery("image", "import", "held", root).returncode == 0
    job = server.create("sleep 3; cat /which || echo first; test -x /bin/busybox && echo whole", image="held")
    server.wait(job, until={"Training"})
    done = server.bloomery("image", "remove", "held")
    assert done.returncode != 0 and "a running job uses the image" in done.stderr, done.stderr
    (root / "which").write_text("second\n")
    done = server.bloomery("image", "import", "held", root)
    assert done.returncode == 0, done.stderr
    second = server.completed("cat /which", image="held")["TrainingJobName"]
    assert server.wait(job)["TrainingJobStatus"] == "Completed"
    assert "first" in server.logs(job) and "whole" in server.logs(job)
    assert "second" in server.logs(second)
    done = server.bloomery("image", "remove", "held")
    assert done.returncode == 0, done.stderr
