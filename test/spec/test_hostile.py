# A trainer that is root in its container and means harm: what it can reach, and what it can make of the end of its job.
# SPDX-License-Identifier: Apache-2.0
import tarfile

import pytest

# Each line is tried by a shell that is root in the container; one that succeeds is a way out.
FORBIDDEN = r"""
mount -t tmpfs none /mnt
mount -o remount,rw /sys
mount -o bind /proc /mnt
umount /proc/sys
unshare -U true
unshare -m true
unshare -n true
unshare -p true
nsenter -t 1 -m true
mknod /tmp/sda b 8 0 && dd if=/tmp/sda of=/dev/null bs=512 count=1
mknod /tmp/vda b 254 0 && dd if=/tmp/vda of=/dev/null bs=512 count=1
mknod /tmp/loop b 7 0 && dd if=/tmp/loop of=/dev/null bs=512 count=1
mknod /tmp/lc c 10 237 && echo x >/tmp/lc
mknod /tmp/mem c 1 1 && dd if=/tmp/mem of=/dev/null bs=1 count=1
mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg of=/dev/null bs=1 count=1
dmesg
echo h >/proc/sysrq-trigger
echo x >/proc/sys/kernel/core_pattern
echo x >/proc/sys/kernel/hostname
echo 1 >/sys/kernel/mm/transparent_hugepage/enabled
mkdir /sys/fs/cgroup/memory/x || (grep -q ' /sys/fs/cgroup cgroup2' /proc/mounts && mkdir /sys/fs/cgroup/x)
hostname other
ifconfig lo down
iptables -F || ip addr add 10.9.9.9/32 dev lo
test "$(ps | wc -l)" -gt 30
swapoff -a && swapon /tmp/x
nice -n -20 true
"""


def in_container(server, script, **kw):
    d = server.run(script, **kw)
    return d, server.bloomery("logs", d["TrainingJobName"]).stdout


def test_nothing_of_the_machine_can_be_reached(server):
    lines = [l for l in FORBIDDEN.strip().splitlines()]
    for part in (lines[i:i + 12] for i in range(0, len(lines), 12)):
        script = "; ".join(f"({l}) >/dev/null 2>&1 && echo 'OPEN {l.replace(chr(39), '')}'" for l in part) + "; echo tried"
        d, out = in_container(server, script)
        assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
        assert "tried" in out
        assert "OPEN" not in out, out


# What is put in the place of what the platform looks at when the trainer has ended.
ENDS = {
    "model is a link to the machine's files": "rm -rf /opt/ml/model; ln -s /etc /opt/ml/model",
    "model is a FIFO": "rm -rf /opt/ml/model; mkfifo /opt/ml/model",
    "model is a file": "rm -rf /opt/ml/model; echo x >/opt/ml/model",
    "model is a device": "rm -rf /opt/ml/model; mknod /opt/ml/model c 1 5",
    "/opt is a link": "mv /opt /opt2; ln -s opt2 /opt; echo x >/opt2/ml/model/m",
    "/opt is away": "rm -rf /opt",
    "input is away": "rm -rf /opt/ml/input",
    "all of it is away": "cd /; rm -rf /etc /opt /tmp /usr /var 2>/dev/null; true",
}


@pytest.mark.parametrize("what", ENDS)
def test_a_hostile_end(server, what):
    server.completed(ENDS[what] + "; exit 0")


def model_of(server, d, tmp_path):
    bucket, key = d["ModelArtifacts"]["S3ModelArtifacts"][5:].split("/", 1)
    server.s3.download_file(bucket, key, str(tmp_path / "m.tgz"))
    return tarfile.open(tmp_path / "m.tgz")


def test_a_model_of_every_kind_of_file(server, tmp_path):
    d = server.completed(r"""cd /opt/ml/model
ln -s /etc/shadow link; ln -s ../../../../etc/passwd up; mkfifo fifo; mknod zero c 1 5; mknod disk b 254 0
printf x >"$(printf 'new\nline')"; printf x >"$(printf '\377\376')"; printf x >-rf; printf x >...
dd if=/dev/zero of=sparse bs=1 count=1 seek=200M 2>/dev/null
echo hard >a; ln a b; chmod 6755 a
i=0; p=.; while [ $i -lt 700 ]; do mkdir d && cd d || break; i=$((i+1)); done; echo deep >leaf
cd /opt/ml/model; mkdir many; cd many; seq 1 3000 | xargs touch
(sleep 1000 &) ; (setsid sleep 1000 &)
exit 0""".replace("\n", "; "), timeout=180)
    tar = model_of(server, d, tmp_path)
    members = {m.name: m for m in tar}
    assert not any(m.isdev() or m.isfifo() for m in members.values())
    assert members["new\nline"].size == 1 and members["-rf"].size == 1 and members["..."].size == 1
    assert not any(m.name.startswith("/") or ".." in m.name.split("/") for m in members.values())
    assert members["sparse"].size == (200 << 20) + 1
    assert sum(1 for n in members if n.startswith("many/")) == 3000
    assert members["d/" * 700 + "leaf"].size == 5


@pytest.mark.parametrize("failure", ["ln -s /etc/shadow /opt/ml/output/failure", "mkfifo /opt/ml/output/failure",
                                     "mknod /opt/ml/output/failure c 1 5", "mkdir /opt/ml/output/failure",
                                     "ln -s /proc/kmsg /opt/ml/output/failure", "ln -s /dev/zero /opt/ml/output/failure",
                                     "dd if=/dev/urandom of=/opt/ml/output/failure bs=1M count=8 2>/dev/null"])
def test_a_failure_file_that_is_none(server, failure):
    reason = server.failed(failure + "; exit 3")
    assert "AlgorithmError" in reason and "exit code: 3" in reason
    assert len(reason) <= 1024 and "root:" not in reason


def test_a_full_volume_has_no_inodes_left_either(server):
    d = server.completed("cd /tmp; mkdir t; cd t; i=0; while mkdir $i 2>/dev/null && cd $i; do i=$((i+1)); "
                         "[ $i -lt 1500 ] || break; done; cd /tmp; seq 1 200000 | xargs touch 2>/dev/null; exit 0",
                         timeout=180)
    assert "BillableTimeInSeconds" in d
