# Networks of jobs: what a container reaches, what it does not, and what stays when everything is killed.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest


def skip_without_networks():
    """A job had none of its own: that is right only where the machine cannot make any, asked without us."""
    tried = subprocess.run(["unshare", "-n", "sh", "-c", "ip link add name br9 type bridge && ip link add name ve8 type veth peer name ve9"],
                           capture_output=True, text=True)
    assert tried.returncode != 0, "this machine can make networks, and a job did not get one"
    pytest.skip("jobs cannot have networks of their own on this machine: " + tried.stderr.strip())


def nft():
    """What the kernel has of the sets and chains of jobs, but for whom it has told of lately: that goes by itself."""
    out = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
    return re.sub(r"set told \{.*?\n\t\}", "", out, flags=re.S)


def links(prefix):
    return [n for _, n in socket.if_nameindex() if n.startswith(prefix)]


def gone(server, name, timeout=30):
    """Of a job that has ended nothing stays; the kernel takes a moment for its interfaces."""
    ids = [p.parent.name for p in (server.data / "jobs").glob("*/spec.json") if json.loads(p.read_text())["name"] == name]
    bridge, ports = spec(server, name)["network"]["bridge"], ["blv" + i[:12] for i in ids]
    end = time.monotonic() + timeout
    while left := [x for x in [bridge, *ports] if links(x) or x in nft()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


@pytest.fixture
def networks(server):
    job = server.completed("true")
    if any("shares the network" in x for x in server.logs_or_nothing(job["TrainingJobName"])):
        skip_without_networks()
    return server


def spec(server, name):
    return json.loads((server.data / "jobs" / server.job_id(name) / "spec.json").read_text())


@pytest.fixture
def listener():
    """A TCP service on all addresses of the machine, which says hello."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", 0))
    s.listen(16)
    s.settimeout(0.2)
    over = threading.Event()

    def serve():
        while not over.is_set():
            try:
                c, _ = s.accept()
            except TimeoutError:
                continue
            c.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello\n")
            c.close()
    t = threading.Thread(target=serve)
    t.start()
    yield s.getsockname()[1]
    over.set()
    t.join()
    s.close()


def alive(pid):
    try:
        return not re.search(r"^State:\s+[ZX]", open(f"/proc/{pid}/status").read(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return False


def own_addresses():
    out = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    return [a for n, a in re.findall(r"^\d+: (\S+)\s+inet ([\d.]+)", out, re.M) if not n.startswith(("blm", "blv"))]


def test_the_interface_the_names_and_the_config_agree(networks):
    name = networks.completed("ls /sys/class/net | sort | tr '\\n' ' '; echo; hostname -i; cat /etc/hosts; "
                              "cat /opt/ml/input/config/resourceconfig.json; echo")["TrainingJobName"]
    log = networks.logs(name)
    net = spec(networks, name)["network"]
    assert log[0] == "eth0 lo " and f"{net['address']}#011algo-1" in log
    config = json.loads(next(x for x in log if x.startswith("{")))
    assert config["network_interface_name"] == "eth0" and config["hosts"] == ["algo-1"]
    assert net["kind"] == "bridge" and net["peers"] == [{"name": "algo-1", "address": net["address"]}]


def test_nothing_of_the_machine_is_reached(networks, listener):
    tries = "; ".join(f"nc -w 1 {a} {listener} </dev/null" for a in own_addresses())
    name = networks.completed(tries + "; gw=$(route -n | grep ^0.0.0.0 | tr -s ' ' | cut -d ' ' -f 2); echo via $gw; "
                              f"nc -w 1 $gw {listener} </dev/null; echo done")["TrainingJobName"]
    log = networks.logs(name)
    assert not [x for x in log if "hello" in x] and "done" in log
    assert "via " + spec(networks, name)["network"]["gateway"] in log


def test_the_api_is_reached_at_the_link_address(networks):
    """The address in the environment leads to bloomeryd, which wants a signature as from anybody."""
    name = networks.completed("echo $AWS_ENDPOINT_URL; wget -q -S -O - $AWS_ENDPOINT_URL/bucket 2>&1 | head -3; "
                              "true")["TrainingJobName"]
    log = networks.logs(name)
    assert log[0] == "http://169.254.170.2:8770"
    assert any("403" in x for x in log), log


def test_the_api_with_credentials_from_inside(networks):
    """A request that was signed outside for the address inside: what boto3 in a container would send."""
    import boto3
    from botocore.config import Config
    s3 = boto3.client("s3", endpoint_url="http://169.254.170.2:8770", region_name="us-east-1",
                      aws_access_key_id=networks.exports["AWS_ACCESS_KEY_ID"],
                      aws_secret_access_key=networks.exports["AWS_SECRET_ACCESS_KEY"],
                      config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    networks.put("net/", {"object": b"from the store\n"})
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "net/object"})
    name = networks.completed(f"wget -q -O - '{url}'")["TrainingJobName"]
    assert networks.logs(name)[0] == "from the store"


def test_outside_is_reached_by_nat(networks, tmp_path):
    """Another namespace is the outside world; it sees the machine's address."""
    ns, port = f"blx{os.getpid()}", 8080
    run = lambda c: subprocess.run(c, shell=True, check=True)                               # noqa: E731
    run(f"ip netns add {ns}")
    server = None
    try:
        run(f"ip link add blx0 type veth peer name eth0 netns {ns} && ip addr add 203.0.113.1/24 dev blx0 && "
            f"ip link set blx0 up && ip -n {ns} addr add 203.0.113.2/24 dev eth0 && ip -n {ns} link set eth0 up && "
            f"ip -n {ns} link set lo up")
        code = ("import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(200)\n"
                "  s.end_headers()\n  s.wfile.write(s.client_address[0].encode()+b'\\n')\n"
                f"h.HTTPServer(('0.0.0.0',{port}),H).serve_forever()")
        server = subprocess.Popen(["ip", "netns", "exec", ns, "/usr/bin/python3", "-c", code], stderr=subprocess.DEVNULL)
        get = ("for i in 1 2 3 4 5 6 7 8 9; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 203.0.113.2 "
               f"{port} | grep ^203 && break; sleep 0.3; done; true")
        name = networks.completed(get)["TrainingJobName"]
        assert "203.0.113.1" in networks.logs(name)
        name = networks.completed(get, EnableNetworkIsolation=True)["TrainingJobName"]
        assert "203.0.113.1" not in networks.logs_or_nothing(name)
    finally:
        if server:
            server.kill()
            server.wait()
        run(f"ip netns del {ns}")


def test_two_jobs_do_not_reach_each_other(networks):
    a = networks.create("while [ ! -e /opt/ml/output/stop ]; do echo hi | nc -l -p 7777 -w 1; done", )
    networks.wait(a, {"Training"})
    try:
        address = spec(networks, a)["network"]["address"]
        b = networks.completed(f"for i in 1 2 3; do nc -w 1 {address} 7777 </dev/null && echo REACHED; done; "
                               "nc -w 1 169.254.170.2 7777 </dev/null && echo REACHED; ping -c 1 -W 1 " + address +
                               " && echo REACHED; echo done")["TrainingJobName"]
        log = networks.logs(b)
        assert "done" in log and "REACHED" not in log
        assert spec(networks, b)["network"]["address"] != address
    finally:
        networks.sm.stop_training_job(TrainingJobName=a)
        networks.wait(a)


def test_isolated_has_nothing(networks):
    name = networks.completed("exec 2>/dev/null; cat /proc/net/route | wc -l; nc -w 1 169.254.170.2 8770 </dev/null && echo REACHED; "
                              "nc -w 1 169.254.170.2 80 </dev/null && echo REACHED; env | grep -c AWS_ENDPOINT_URL; "
                              "env | grep -c AWS_CONTAINER_CRED; echo done", EnableNetworkIsolation=True)["TrainingJobName"]
    log = networks.logs(name)
    assert log[0] == "1" and "REACHED" not in log and log[-3:] == ["0", "0", "done"]
    assert "network" not in spec(networks, name) or links(spec(networks, name)["network"]["bridge"]) == []


def test_no_raw_sockets_and_low_ports(networks):
    name = networks.completed("grep CapBnd /proc/self/status; (echo x | timeout 1 nc -l -p 80; echo $?)")["TrainingJobName"]
    log = networks.logs(name)
    assert not int(log[0].split("#011")[1], 16) >> 13 & 1, "CAP_NET_RAW"
    assert not [x for x in log if "ermission" in x]


def test_nothing_stays(networks):
    name = networks.completed("true")["TrainingJobName"]
    gone(networks, name)


def test_kill_of_the_supervisor_leaves_nothing(networks):
    name = networks.create("sleep 600")
    networks.wait(name, {"Training"})
    job = networks.job_id(name)
    port = "blv" + job[:12]
    assert links(port) and port in nft()
    supervisors = networks.pids("bloomery-job", job)
    proxies = [c for p in supervisors for c in open(f"/proc/{p}/task/{p}/children").read().split()
               if open(f"/proc/{c}/comm").read().startswith("bloomery-proxy")]
    for p in supervisors:
        os.kill(p, signal.SIGKILL)
    assert networks.wait(name)["TrainingJobStatus"] == "Failed"
    gone(networks, name)
    end = time.monotonic() + 30
    while (left := [p for p in proxies if alive(p)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert proxies and not left


def test_restart_of_the_daemons_keeps_the_addresses(make_server):
    s = make_server(f"stop_grace_seconds = 1\nnetwork_pool = 10.214.{os.getpid() % 256}.0/29\n")
    a = s.create("sleep 600")
    s.wait(a, {"Training"})
    if "network" not in spec(s, a):
        skip_without_networks()
    b = s.create("sleep 600")
    s.wait(b, {"Training"})
    c = s.create("true")
    time.sleep(0.5)
    assert s.describe(c)["SecondaryStatus"] in ("Starting", "Pending")      # there are two pieces, and both are taken
    s.stop()
    s.start()
    time.sleep(0.5)
    assert s.describe(c)["TrainingJobStatus"] == "InProgress"
    s.sm.stop_training_job(TrainingJobName=a)
    s.wait(a)
    assert s.wait(c)["TrainingJobStatus"] == "Completed"
    assert spec(s, c)["network"]["address"] == spec(s, a)["network"]["address"]
    s.sm.stop_training_job(TrainingJobName=b)
    s.wait(b)
    assert s.leftovers() == []


def test_pool_of_none_is_the_machines(make_server):
    s = make_server("stop_grace_seconds = 1\nnetwork_pool = none\n")
    name = s.completed("echo $AWS_ENDPOINT_URL")["TrainingJobName"]
    assert s.logs(name)[0] == s.url and "network" not in spec(s, name)


def test_credentials_are_where_the_environment_says(networks):
    """What an SDK in the container does: ask the link address for the path of the environment."""
    name = networks.completed("wget -q -O - http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; echo; "
                              "wget -q -O - http://169.254.170.2/v2/credentials/other; true")["TrainingJobName"]
    found = json.loads(next(x for x in networks.logs(name) if x.startswith("{")))
    assert found["AccessKeyId"].startswith("ASIA") and found["SecretAccessKey"] and found["Token"] and found["Expiration"]


def test_names_are_resolved_by_a_server_on_the_loopback(networks):
    """The machine's resolv.conf is what it is: asked only where the proxy has to."""
    if not re.match(r"nameserver\s+127\.", open("/etc/resolv.conf").read()):
        pytest.skip("the machine's resolver is no loopback address")
    name = networks.completed("cat /etc/resolv.conf")["TrainingJobName"]
    assert "nameserver 169.254.170.2" in networks.logs(name)


def said(server, *parts, timeout=60):
    """Waits for a line of the server's log with all of these in it."""
    end = time.monotonic() + timeout
    while True:
        lines = open(str(server.data) + ".log", errors="replace").read().splitlines()
        if found := [x for x in lines if all(p in x for p in parts)]:
            return found
        assert time.monotonic() < end, (parts, server.tail())
        time.sleep(0.05)


def hears(server):
    """Whether the kernel tells this server of what it refuses: another one of the machine may have been first."""
    log = open(str(server.data) + ".log", errors="replace").read()
    return "another server hears" not in log and "will not be in this log" not in log and "will not be in the log" not in log


def test_what_is_refused_is_in_the_log_with_the_job(networks, listener):
    other = networks.create("nc -l -p 7777")
    networks.wait(other, {"Training"})
    try:
        address = spec(networks, other)["network"]["address"]
        name = networks.completed(f"nc -w 1 {own_addresses()[-1]} {listener} </dev/null; nc -w 1 {address} 7777 </dev/null; "
                                  f"nc -w 1 $(route -n | grep ^0.0.0.0 | tr -s ' ' | cut -d ' ' -f 2) {listener} </dev/null; true")["TrainingJobName"]
        if not hears(networks):
            pytest.skip("another server of this machine hears what is refused")
        me = spec(networks, name)["network"]["address"]
        said(networks, f"training job {name} ", "to the machine", f"tcp {me}:", f":{listener}")
        said(networks, f"training job {name} ", "to another job", f"tcp {me}:", f"to {address}:7777")
    finally:
        networks.sm.stop_training_job(TrainingJobName=other)
        networks.wait(other)


# In the network namespace of a host: sends, as a container with CAP_NET_RAW could, what others would send.
FORGE = """
import socket, struct, sys
own, peer, gateway, mac = sys.argv[1:]
mac = bytes.fromhex(mac)
ip = socket.inet_aton
def total(b): s = sum(struct.unpack("!10H", b)); s = (s & 65535) + (s >> 16); return ~(s + (s >> 16)) & 65535
def packet(src, dst):
    h = struct.pack("!BBHHHBBH4s4s", 69, 0, 36, 7, 0, 64, 17, 0, ip(src), ip(dst))
    return h[:10] + struct.pack("!H", total(h)) + h[12:] + struct.pack("!HHHH", 9, 7777, 16, 0) + b"forged!!"
def arp(src, dst, mac): return struct.pack("!HHBBH6s4s6s4s", 1, 2048, 6, 4, 2, mac, ip(src), b"\\xff" * 6, ip(dst))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
every = b"\\xff" * 6
for _ in range(3):
    for kind, body in ((2048, packet(peer, peer)), (2048, packet("192.0.2.7", peer)), (2048, packet(gateway, peer)),
                       (2054, arp(gateway, peer, mac)), (2054, arp(peer, gateway, mac)), (0x86dd, b"\\x60" + bytes(39))):
        s.send(every + mac + struct.pack("!H", kind) + body.ljust(46, b"\\0"))
    s.send(every + b"\\x02\\x42\\0\\0\\0\\1" + struct.pack("!H", 2048) + packet(own, peer).ljust(46, b"\\0"))
s.send(every + mac + struct.pack("!H", 2048) + packet(own, peer).ljust(46, b"\\0"))
"""
LISTEN = """
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 0))
print("ready", flush=True)
while select.select([s], [], [], float(sys.argv[1]))[0]:
    frame, (_, _, kind, *_) = s.recvfrom(2048)
    if kind != 4 and (b"forged!!" in frame or frame[12:14] == b"\\x08\\x06" or frame[12:14] == b"\\x86\\xdd"):
        print(frame[6:12].hex(), frame[12:14].hex(), socket.inet_ntoa(frame[28:32] if frame[12:14] == b"\\x08\\x06" else frame[26:30]), flush=True)
        if b"forged!!" in frame and frame[26:30] == socket.inet_aton(sys.argv[2]) and frame[6:12].hex() == sys.argv[3]:
            break
"""


def mac_of(address):
    return bytes([2, 66, *map(int, address.split("."))]).hex()


def container_of(server, job):
    """The first process of a host's container: the one in its cgroup that is in no namespace of ours."""
    own = os.readlink("/proc/self/ns/net")
    for supervisor in server.pids("bloomery-job", job):
        for p in os.listdir("/proc"):
            try:
                if p.isdigit() and open(f"/proc/{p}/cgroup").read().find(job) >= 0 and os.readlink(f"/proc/{p}/ns/net") != own:
                    return int(p)
            except OSError:
                pass
    raise AssertionError("no container")


def test_senders_are_not_forged(networks):
    """Even who could make any packet, in the network namespace of one host, is heard by its peer only as what it is."""
    name = networks.create("sleep 600", ResourceConfig={"InstanceCount": 2})
    networks.wait(name, {"Training"})
    try:
        ids = {json.loads(p.read_text())["host_name"]: p.parent.name for p in (networks.data / "jobs").glob("*/spec.json")
               if json.loads(p.read_text())["name"] == name}
        net = spec(networks, name)["network"]
        a, b = (p["address"] for p in net["peers"])
        one, two = (["nsenter", f"--net=/proc/{container_of(networks, ids[h])}/ns/net", "/usr/bin/python3", "-c"] for h in ("algo-1", "algo-2"))
        ear = subprocess.Popen([*two, LISTEN, "60", a, mac_of(a)], stdout=subprocess.PIPE, text=True)
        assert ear.stdout.readline() == "ready\n"
        subprocess.run([*one, FORGE, a, b, net["gateway"], mac_of(a)], check=True)
        heard = [tuple(x.split()) for x in ear.communicate(timeout=90)[0].splitlines()]
        assert (mac_of(a), "0800", a) in heard                                    # the last, its own: so the ear hears
        assert not [h for h in heard if h[1] == "86dd"]
        assert not [h for h in heard if h[0] == mac_of(a) and h[2] != a] and not [h for h in heard if h[0] == "024200000001"]
        if hears(networks):
            said(networks, f"training job {name} ", "blv" + ids["algo-1"][:12], "not its own address", "arp of " + net["gateway"])
            said(networks, f"training job {name} ", "blv" + ids["algo-1"][:12], "not its own address", "udp ")
    finally:
        networks.sm.stop_training_job(TrainingJobName=name)
        networks.wait(name)
    gone(networks, name)


def test_a_container_cannot_touch_its_network(networks):
    """Raw and packet sockets, addresses, links, routes, namespaces, mounts: each is refused inside."""
    tries = ["arping -c 1 -w 1 -I eth0 1.1.1.1", "ip link set eth0 down", "ip addr add 10.213.0.99/8 dev eth0", "ip route add default via 1.1.1.1",
             "ip link add x type dummy", "ip neigh add 10.213.9.9 lladdr 02:42:00:00:00:01 dev eth0", "ip link set eth0 address 02:42:00:00:00:01",
             "unshare -n true", "unshare -U true", "unshare -m true", "nsenter -t 1 -n -m true", "mount -t tmpfs x /mnt",
             "mount -t sysfs x /sys", "sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'", "sh -c 'echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6'",
             "chroot /proc/1/root/../../.. ls /sys/class/net/nothing-of-the-machine"]
    script = "mkdir -p /mnt; " + "; ".join(f"{t} >/dev/null 2>&1 && echo WORKED {i}" for i, t in enumerate(tries)) + \
             "; ls /sys/class/net | tr '\\n' ' '; echo; cat /proc/net/if_inet6 | grep -v ' lo$'; echo done"
    log = networks.logs(networks.completed(script)["TrainingJobName"])
    assert [tries[int(x.split()[1])] for x in log if x.startswith("WORKED")] == []
    assert log == ["eth0 lo ", "done"]


def test_two_jobs_with_the_same_host_names(networks):
    """At the same time, and each finds its own peers, by name, on the port that the other uses too."""
    script = ("if [ $(hostname) = algo-1 ]; then echo $WHO | nc -l -p 7000; else "
              "until nc -w 2 algo-1 7000 </dev/null | grep .; do sleep 0.1; done; fi; getent hosts algo-1 || grep algo-1 /etc/hosts")
    names = [networks.create(script, ResourceConfig={"InstanceCount": 2}, Environment={"WHO": f"job-{i}"}) for i in range(2)]
    for n in names:
        networks.wait(n)
    found = [networks.logs(n) for n in names]
    assert ["job-0" in x for x in found] == [True, False] and ["job-1" in x for x in found] == [False, True]
    bridges = {spec(networks, n)["network"]["bridge"] for n in names}
    assert len(bridges) == 2
    for n in names:
        gone(networks, n)


def test_kill_of_everything_of_a_job_of_two_hosts(networks):
    name = networks.create("sleep 600", ResourceConfig={"InstanceCount": 2})
    networks.wait(name, {"Training"})
    ids = [p.parent.name for p in (networks.data / "jobs").glob("*/spec.json") if json.loads(p.read_text())["name"] == name]
    supervisors = [p for i in ids for p in networks.pids("bloomery-job", i)]
    assert len(supervisors) == 2 and links(spec(networks, name)["network"]["bridge"])
    for p in supervisors:
        os.kill(p, signal.SIGKILL)
    assert networks.wait(name)["TrainingJobStatus"] == "Failed"
    gone(networks, name)
    assert [x for x in networks.leftovers(30) if any(i[:8] in x for i in ids)] == []


def test_kill_of_the_proxy_is_made_good(networks):
    name = networks.create("while [ ! -e /opt/ml/output/stop ]; do wget -q -O - http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI "
                           "| cut -c 1-15 && touch /opt/ml/output/stop; sleep 0.1; [ -e /opt/ml/output/first ] || { echo first; "
                           "rm -f /opt/ml/output/stop; touch /opt/ml/output/first; sleep 1; }; done")
    end = time.monotonic() + 60
    while "first" not in networks.logs_or_nothing(name):
        assert time.monotonic() < end
        time.sleep(0.05)
    for p in networks.pids("bloomery-job", networks.job_id(name)):
        for c in open(f"/proc/{p}/task/{p}/children").read().split():
            if open(f"/proc/{c}/comm").read().startswith("bloomery-proxy"):
                os.kill(int(c), signal.SIGKILL)
    assert networks.wait(name)["TrainingJobStatus"] == "Completed"


def test_kill_of_the_host_daemon_at_the_end_leaves_no_network(make_server):
    """bloomery-host is killed while a job of two hosts ends; the next one finds nothing or removes it."""
    s = make_server("stop_grace_seconds = 1\n")
    name = s.create("sleep 600", ResourceConfig={"InstanceCount": 2})
    s.wait(name, {"Training"})
    if "network" not in spec(s, name):
        skip_without_networks()
    s.sm.stop_training_job(TrainingJobName=name)
    ids = [p.parent.name for p in (s.data / "jobs").glob("*/spec.json")]
    for p in s.pids("bloomery-host") + [p for i in ids for p in s.pids("bloomery-job", i)]:
        os.kill(p, signal.SIGKILL)
    s.up.wait(30)
    s.up = None
    s.start()
    s.wait(name)
    gone(s, name)
