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
        pytest.skip("jobs cannot have networks of their own on this machine")
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
        run(f"ip link add blx0 type veth peer name eth0 netns {ns} && ip addr add 198.51.100.1/24 dev blx0 && "
            f"ip link set blx0 up && ip -n {ns} addr add 198.51.100.2/24 dev eth0 && ip -n {ns} link set eth0 up && "
            f"ip -n {ns} link set lo up")
        code = ("import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(200)\n"
                "  s.end_headers()\n  s.wfile.write(s.client_address[0].encode()+b'\\n')\n"
                f"h.HTTPServer(('0.0.0.0',{port}),H).serve_forever()")
        server = subprocess.Popen(["ip", "netns", "exec", ns, "/usr/bin/python3", "-c", code], stderr=subprocess.DEVNULL)
        get = ("for i in 1 2 3 4 5 6 7 8 9; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 198.51.100.2 "
               f"{port} | grep ^198 && break; sleep 0.3; done; true")
        name = networks.completed(get)["TrainingJobName"]
        assert "198.51.100.1" in networks.logs(name)
        name = networks.completed(get, EnableNetworkIsolation=True)["TrainingJobName"]
        assert "198.51.100.1" not in networks.logs_or_nothing(name)
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
    name = networks.completed("cat /proc/net/route | wc -l; nc -w 1 169.254.170.2 8770 </dev/null && echo REACHED; "
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
        pytest.skip("no networks here")
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
