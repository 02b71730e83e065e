"""Jobs of several hosts: what more of them cost, and what their network carries. SPDX-License-Identifier: Apache-2.0"""
import json
import pathlib
import re
import shutil
import socket
import subprocess
import time

import kit
from kit import need, row, say

HOSTS = 8


def add_iperf(s, rootfs, base):
    root = base / "iperf"
    shutil.copytree(rootfs, root, symlinks=True)
    shutil.copy("/usr/bin/iperf3", root / "bin/iperf3")
    for lib in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", "/usr/bin/iperf3"], capture_output=True, text=True, check=True).stdout):
        (root / lib[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lib, root / lib[1:])
    subprocess.run(["chmod", "1777", root / "tmp"], check=True)
    done = s.bloomery("image", "import", "iperf", root)
    if done.returncode:
        raise RuntimeError(done.stderr)


def bits(text):
    return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 8


def loopback(seconds):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", port], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            done = subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", port, "-t", str(seconds), "-J"], capture_output=True, text=True)
            if done.returncode == 0 and "sum_received" in done.stdout:   # with -J it may fail with 0
                return bits(done.stdout)
            time.sleep(0.1)
        raise RuntimeError(done.stdout)
    finally:
        server.kill()
        server.wait()


def between_hosts(s, seconds, **kw):
    """algo-2 sends to algo-1, whose name it looks up."""
    script = ("cd /tmp; if [ $(hostname) = algo-1 ]; then iperf3 -s >/dev/null & echo over | nc -l -p 7000; kill $!; else "
              f"until timeout {seconds + 15} iperf3 -c algo-1 -t {seconds} -J >out && grep -q sum_received out; do sleep 0.1; done; tr -d ' \\t\\n' <out; echo; "
              "until nc -w 5 algo-1 7000 </dev/null | grep -q over; do sleep 0.1; done; fi; true")
    name = s.create(script, image="iperf", ResourceConfig={"InstanceCount": 2}, **kw)
    d = s.wait(name, timeout=120)
    if d["TrainingJobStatus"] != "Completed":
        raise RuntimeError(d.get("FailureReason"))
    lines = s.logs(name)
    found = [x for x in lines if x.startswith("{") and "sum_received" in x]
    if not found:
        raise RuntimeError(f"{name}: " + "\n".join(x[:200] for x in lines[-5:]))
    return bits(found[0])


def network_seconds(s):
    """How long the network phase took of each job of one host that has run here, as its supervisor's log has it."""
    found = []
    for p in pathlib.Path(s.data / "jobs").glob("*/supervisor.log"):
        if json.loads((p.parent / "spec.json").read_text())["host_count"] > 1:
            continue
        found += [int(n) / 1000 for n in re.findall(r"phase network: (\d+) ms", p.read_text(errors="replace"))]
    return found


def bench_hosts(s, base, rootfs, quick, one_job, wire):
    need("iperf3")
    for i in range(5):
        say(f"networks, {i}")
        one_job(s, wire)
        time.sleep(0.5)   # what the kernel still removes of the last is not in the way of the next
    networks = network_seconds(s)
    one, many = [], []
    for i in range(5 if quick else 15):
        say(f"jobs of 1 and of {HOSTS} hosts, {i}")
        one.append(one_job(s, wire))
        many.append(one_job(s, wire, ResourceConfig={"InstanceCount": HOSTS}))
    row(f"trivial job of {HOSTS} hosts, p50", kit.median(many[1:]), kit.median(one[1:]), "a job of 1 host", "< 3", "s")
    row("network of a host, p50", kit.median(networks), 0.005, "5 ms", "< 1", "s")
    add_iperf(s, rootfs, base)
    seconds = 1 if quick else 4
    rounds = []
    for i in range(3):
        say(f"TCP between hosts, {i}")
        rounds.append((between_hosts(s, seconds), loopback(seconds)))
    row("TCP between two hosts of a job", *(kit.median(r) for r in zip(*rounds)), "TCP by the loopback", ">= 0.5", "B/s")
    plain = kit.median([r[0] for r in rounds])
    try:
        say("TCP between hosts, encrypted")
        row("the same, encrypted", between_hosts(s, seconds, EnableInterContainerTrafficEncryption=True), plain, "not encrypted", "", "B/s")
    except Exception as ex:  # what cannot be encrypted here is refused, and there is nothing to measure
        kit.missing.append(f"EnableInterContainerTrafficEncryption: {str(ex)[:200]}")
