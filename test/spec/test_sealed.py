# EnableInterContainerTrafficEncryption: what hosts say to each other cannot be read on the bridge between them.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import subprocess

import botocore.exceptions
import pytest
from test_network import container_of, gone, skip_without_networks, spec

MARK = "PLAINTEXT-THAT-NOBODY-MAY-SEE"
# Hears all that passes a port of the bridge, until it is gone; prints what protocols there were and whether the mark was in.
EAR = """
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
print("ready", flush=True)
seen, found = set(), False
def take(f):
    global found
    found |= sys.argv[2].encode() in f
    if f[12:14] == b"\\x08\\0":
        seen.add({6: "tcp", 17: "udp %d" % int.from_bytes(f[36:38], "big")}.get(f[23], str(f[23])))
over = False
while not over:
    over = sys.stdin in select.select([s, sys.stdin], [], [])[0]
    while True:
        try:
            take(s.recv(65536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            break
        except OSError:     # once, when the job has ended and its interfaces go; what was heard before follows
            pass
print(sorted(seen), "found" if found else "hidden", flush=True)
"""
TALK = ("if [ $(hostname) = algo-1 ]; then while [ ! -e /tmp/go ]; do sleep 0.1; done; " + f"echo {MARK} | nc -l -p 7000; else "
        f"while [ ! -e /tmp/go ]; do sleep 0.1; done; until nc -w 5 algo-1 7000 </dev/null | grep {MARK}; do sleep 0.1; done; "
        "fi; grep interface /opt/ml/input/config/resourceconfig.json | tr -d ' ' | cut -c 1-400; "
        "ls /sys/class/net | tr '\\n' ' '; echo")


def encrypted(server, script, **kw):
    try:
        return server.create(script, EnableInterContainerTrafficEncryption=True, ResourceConfig={"InstanceCount": 2}, **kw)
    except botocore.exceptions.ClientError as ex:
        assert "cannot be encrypted" in str(ex), ex
        pytest.skip("this machine has no WireGuard: " + str(ex))


def text_of(path):
    try:
        return open(path, errors="replace").read()
    except OSError:
        return ""


def ids_of(server, name):
    found = {}
    for p in (server.data / "jobs").glob("*/spec.json"):
        s = json.loads(p.read_text())
        if s["name"] == name:
            found[s["host_name"]] = (p.parent.name, s)
    return found


def sniffed(server, name):
    """Lets the two hosts talk while somebody listens on their bridge."""
    server.wait(name, {"Training"})
    hosts = ids_of(server, name)
    port = "blv" + hosts["algo-1"][0][:12]
    ear = subprocess.Popen(["/usr/bin/python3", "-c", EAR, port, MARK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ear.stdout.readline() == "ready\n"
    for i, _ in hosts.values():
        open(f"/proc/{container_of(server, i)}/root/tmp/go", "w").close()
    d = server.wait(name)
    heard = ear.communicate("end\n", timeout=60)[0]
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    return heard


@pytest.mark.parametrize("isolated", [False, True])
def test_the_bridge_sees_no_plaintext(server, isolated):
    name = encrypted(server, TALK, EnableNetworkIsolation=isolated)
    heard = sniffed(server, name)
    assert "udp 51820" in heard and "hidden" in heard and "tcp" not in heard
    log = server.logs(name)
    assert MARK in log and log.count("eth0 lo wg0 ") == 2 and any('"network_interface_name":"wg0"' in x for x in log)
    assert server.describe(name)["EnableInterContainerTrafficEncryption"] is True
    gone(server, name)


def test_without_it_the_same_ear_hears(server):
    name = server.create(TALK, ResourceConfig={"InstanceCount": 2})
    server.wait(name, {"Training"})
    if "network" not in spec(server, name):
        skip_without_networks()
    heard = sniffed(server, name)
    assert "tcp" in heard and "found" in heard


def test_the_outer_address_takes_nothing_but_wireguard(server):
    name = encrypted(server, "sleep 600")
    server.wait(name, {"Training"})
    try:
        hosts = ids_of(server, name)
        one, two = (container_of(server, hosts[h][0]) for h in ("algo-1", "algo-2"))
        outer = spec(server, name)["network"]["peers"][0]["address"]
        enter = lambda p, code: ["nsenter", f"--net=/proc/{p}/ns/net", "/usr/bin/python3", "-c", code]      # noqa: E731
        listen = subprocess.Popen(enter(one, "import socket\ns = socket.create_server(('0.0.0.0', 7001))\nprint('ready', flush=True)\n"
                                             "while True:\n c, a = s.accept(); c.sendall(b'hi'); c.close()"), stdout=subprocess.PIPE, text=True)
        try:
            assert listen.stdout.readline() == "ready\n"
            reach = "import socket; print(socket.create_connection((%r, 7001), %d).recv(2))"
            assert "hi" in subprocess.run(enter(two, reach % ("198.18.0.1", 60)), capture_output=True, text=True).stdout
            assert "hi" not in subprocess.run(enter(two, reach % (outer, 2)), capture_output=True, text=True).stdout
            # nor the later fragments of a datagram, which have no port
            ear = subprocess.Popen(["nsenter", f"--net=/proc/{one}/ns/net", "/usr/bin/python3", "-c", EAR, "eth0", MARK],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert ear.stdout.readline() == "ready\n"
            send = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto({MARK!r}.encode() * 1000, ({outer!r}, 7002))"
            assert subprocess.run(enter(two, send)).returncode == 0
            assert "hi" in subprocess.run(enter(two, reach % ("198.18.0.1", 60)), capture_output=True, text=True).stdout
            heard = ear.communicate("end\n", timeout=60)[0]
            assert "udp 51820" in heard and "hidden" in heard, heard
        finally:
            listen.kill()
            listen.wait()
        # Each host has its own key, and of the others only what is public; none is anywhere else.
        keys = {h: s["network"]["private_key"] for h, (_, s) in hosts.items()}
        assert len(set(keys.values())) == 2
        everything = "".join(text_of(f"/proc/{p}/{f}") for p in os.listdir("/proc") if p.isdigit() for f in ("cmdline", "environ"))
        logs = open(str(server.data) + ".log", errors="replace").read() + "".join(
            p.read_text(errors="replace") for p in (server.data / "jobs").glob("*/supervisor.log"))
        for h, (i, s) in hosts.items():
            assert keys[h] not in everything and keys[h] not in logs
            others = (server.data / "jobs").glob("*/*")
            assert [p for p in others if p.is_file() and keys[h] in p.read_text(errors="replace")] == [server.data / "jobs" / i / "spec.json"]
            assert oct((server.data / "jobs" / i / "spec.json").stat().st_mode & 0o77) == "0o0"
    finally:
        server.sm.stop_training_job(TrainingJobName=name)
        server.wait(name)
    gone(server, name)


def test_a_killed_wireguard_go_fails_the_job(server):
    name = encrypted(server, "sleep 600")
    server.wait(name, {"Training"})
    sealers = []
    for i, _ in ids_of(server, name).values():
        for p in server.pids("bloomery-job", i):
            sealers += [int(c) for c in open(f"/proc/{p}/task/{p}/children").read().split() if open(f"/proc/{c}/comm").read() == "wireguard-go\n"]
    if not sealers:
        server.sm.stop_training_job(TrainingJobName=name)
        server.wait(name)
        pytest.skip("the kernel does it")
    os.kill(sealers[0], signal.SIGKILL)
    d = server.wait(name)
    assert d["TrainingJobStatus"] == "Failed" and re.search(r"wireguard-go.* was killed by signal 9", d["FailureReason"]), d
    gone(server, name)


def test_one_host_has_nobody_to_talk_to(server):
    d = server.completed("ls /sys/class/net | tr '\\n' ' '", EnableInterContainerTrafficEncryption=True)
    assert d["EnableInterContainerTrafficEncryption"] is True and "wg0" not in server.logs_or_nothing(d["TrainingJobName"])
