# VpcConfig: what bloomery.conf says of subnets and security groups is what passes, and nothing else.
# SPDX-License-Identifier: Apache-2.0
import os
import socket
import subprocess
import time

import botocore.exceptions
import pytest
from test_network import gone, nft, skip_without_networks, spec

CONF = """stop_grace_seconds = 1
network.lab = nat blx1 198.51.100.0/28
network.elsewhere = nat blx9
network.shut = none
subnet.subnet-lab = lab
subnet.subnet-elsewhere = elsewhere
subnet.subnet-shut = shut
subnet.subnet-open = nat
security_group.sg-all = out all
security_group.sg-one = out tcp 8080 198.51.100.2/32
security_group.sg-other = out tcp 8081-8082
security_group.sg-in = in tcp 7000 198.51.100.2/32
security_group.sg-nothing =
"""
# As an outside: two ports at an address of the lab, one at another address.
PLACES = [("198.51.100.2", 8080), ("198.51.100.2", 8081), ("198.51.100.100", 8080)]
SERVE = """
import socket, threading
def serve(address, port):
    s = socket.create_server((address, port))
    while True:
        c, peer = s.accept()
        c.sendall(b"from " + peer[0].encode() + b"\\n")
        c.close()
for a in %r:
    threading.Thread(target=serve, args=a).start()
print("ready", flush=True)
""" % (PLACES,)


def tries(wanted):
    """A script that says what it has reached: long tried is what is to be, once what is not, all at the same time."""
    return ("t() { for i in $(seq $3); do nc -w 2 $1 $2 </dev/null | grep -q '^from 198.51.100.1$' && echo reached $1 $2 && break; done; }; "
            + " ".join(f"t {a} {p} {20 if (a, p) in wanted else 1} &" for a, p in PLACES) + " wait; echo done")


def run(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def outside():
    ns = f"blx{os.getpid()}"
    run(f"ip netns add {ns}")
    server = None
    try:
        run(f"ip link add blx1 type veth peer name eth0 netns {ns} && ip addr add 198.51.100.1/24 dev blx1 && ip link set blx1 up && "
            f"ip -n {ns} addr add 198.51.100.2/24 dev eth0 && ip -n {ns} addr add 198.51.100.100/24 dev eth0 && "
            f"ip -n {ns} link set lo up && ip -n {ns} link set eth0 up && ip -n {ns} route add 10.213.0.0/16 via 198.51.100.1")
        server = subprocess.Popen(["ip", "netns", "exec", ns, "/usr/bin/python3", "-c", SERVE], stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"
        yield ns
    finally:
        if server:
            server.kill()
            server.wait()
        run(f"ip netns del {ns}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory, rootfs):
    import conftest
    s = conftest.Server(tmp_path_factory.mktemp("vpc") / "data", conf=CONF + conftest.ROOM).start()
    try:
        assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
        s.s3.create_bucket(Bucket="bucket")
        job = s.completed("true")
        if any("shares the network" in x for x in s.logs_or_nothing(job["TrainingJobName"])):
            skip_without_networks()
        yield s
    finally:
        s.stop()


def config(subnet, *groups):
    return {"VpcConfig": {"Subnets": [subnet], "SecurityGroupIds": list(groups)}}


def reached(s, name):
    log = s.logs(name)
    assert "done" in log
    return sorted((x.split()[1], int(x.split()[2])) for x in log if x.startswith("reached"))


def test_unknown_ids_are_all_named(lab):
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        lab.create("true", VpcConfig={"Subnets": ["subnet-lab", "subnet-x"], "SecurityGroupIds": ["sg-x", "sg-all", "sg-y"]})
    assert ex.value.response["Error"]["Code"] == "ValidationException"
    text = ex.value.response["Error"]["Message"]
    assert "'subnet-x'" in text and "'sg-x'" in text and "'sg-y'" in text and "'sg-all'" not in text and "'subnet-lab'" not in text


def test_a_subnet_is_echoed_and_is_the_way_out(lab, outside):
    d = lab.completed(tries(PLACES), **config("subnet-open", "sg-all"))
    assert d["VpcConfig"] == {"Subnets": ["subnet-open"], "SecurityGroupIds": ["sg-all"]}
    assert reached(lab, d["TrainingJobName"]) == sorted(PLACES)
    gone(lab, d["TrainingJobName"])


@pytest.mark.parametrize("subnet, groups, places", [
    ("subnet-lab", ["sg-all"], PLACES[:2]),                # the ranges of its network
    ("subnet-elsewhere", ["sg-all"], []),                  # the way out is another interface
    ("subnet-shut", ["sg-all"], []),
    ("subnet-open", ["sg-one"], PLACES[:1]),               # address and port
    ("subnet-lab", ["sg-one", "sg-other"], PLACES[:2]),    # groups add up
    ("subnet-open", ["sg-nothing", "sg-in"], []),
])
def test_what_passes_outwards(lab, outside, subnet, groups, places):
    name = lab.completed(tries(places), **config(subnet, *groups))["TrainingJobName"]
    assert reached(lab, name) == sorted(places)


def test_the_api_and_names_come_through_the_machine(lab):
    name = lab.completed("wget -q -S -O - $AWS_ENDPOINT_URL/bucket 2>&1 | head -3; "
                         "wget -q -O - http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI | cut -c 1-5; "
                         "grep nameserver /etc/resolv.conf; true",
                         **config("subnet-shut", "sg-nothing"))["TrainingJobName"]
    log = lab.logs(name)
    assert any("403" in x for x in log) and any(x.startswith('{"Acc') or x.startswith("{") for x in log)
    assert not [x for x in log if "nameserver" in x]


def connect(ns, address, port, timeout):
    code = f"import socket; print(socket.create_connection(({address!r}, {port}), {timeout}).recv(9).decode())"
    return subprocess.run(["ip", "netns", "exec", ns, "/usr/bin/python3", "-c", code], capture_output=True, text=True).stdout.strip()


def test_what_passes_inwards(lab, outside):
    """From the outside, which has a route to the jobs: the port that the group names, and no other, and of no other job."""
    script = "serve() { while :; do echo hi | nc -l -p $1; done; }; serve 7000 & serve 7001 & wait"
    names = [lab.create(script, **config("subnet-shut", "sg-in")), lab.create(script)]
    try:
        for n in names:
            lab.wait(n, {"Training"})
        a, b = (spec(lab, n)["network"]["address"] for n in names)
        end = time.monotonic() + 60
        while connect(outside, a, 7000, 2) != "hi":
            assert time.monotonic() < end
        with socket.create_connection((b, 7000), 30) as s:        # it listens: the machine itself reaches it
            assert s.recv(9) == b"hi\n"
        assert connect(outside, a, 7001, 1) == "" and connect(outside, b, 7000, 1) == ""
        assert "out-blv" + lab.job_id(names[0])[:12] in nft()
    finally:
        for n in names:
            lab.sm.stop_training_job(TrainingJobName=n)
            lab.wait(n)
    gone(lab, names[0])


def test_hosts_of_a_job_reach_each_other_whatever_the_group(lab, outside):
    name = lab.completed("if [ $(hostname) = algo-1 ]; then echo hi | nc -l -p 7000; else "
                         "until nc -w 2 algo-1 7000 </dev/null | grep hi; do sleep 0.1; done; fi; " + tries(PLACES[:1]),
                         ResourceConfig={"InstanceCount": 2}, **config("subnet-open", "sg-one"))["TrainingJobName"]
    log = lab.logs(name)
    assert "hi" in log and log.count("reached 198.51.100.2 8080") == 2 and not [x for x in log if x.startswith("reached") and "8081" in x]
    gone(lab, name)


def test_isolation_is_more_than_a_subnet(lab, outside):
    name = lab.completed(tries([]), EnableNetworkIsolation=True, **config("subnet-open", "sg-all"))["TrainingJobName"]
    assert reached(lab, name) == []
