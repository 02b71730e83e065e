# Hosts of transform jobs: networks of their containers, GPUs, images of a private registry, another S3, and what dies.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import signal
import time

import pytest

from conftest import ROLE
from serving import HANDLER, completed, describe, outputs, request, run, streams, unique, wait
from test_another_s3 import elsewhere  # noqa: F401
from test_gpus import LOOK, machine  # noqa: F401
from test_registry import PASSWORD, PROVIDER, docker_archive, private  # noqa: F401

# A container does what its environment says before it serves.
SERVE = "#!/bin/sh\neval \"$SCRIPT\"\nexec nc -ll -p 8080 -e /bin/handler\n"


def serving_root(rootfs, root):
    shutil.copytree(rootfs, root, symlinks=True)
    for leaf, text in (("bin/handler", HANDLER), ("usr/local/bin/serve", SERVE)):
        (root / leaf).write_text(text)
        (root / leaf).chmod(0o755)
    return root


@pytest.fixture(scope="session")
def root(rootfs, tmp_path_factory):
    return serving_root(rootfs, tmp_path_factory.mktemp("scripted") / "root")


def have_image(s, root):
    done = s.bloomery("image", "import", "scripted", root)
    assert done.returncode == 0, done.stderr
    return s


@pytest.fixture(scope="module")
def scripted(server, root):
    return have_image(server, root)


@pytest.fixture(scope="module")
def two(scripted):
    return scripted.put("transform/two/", {"a.csv": b"a,1\n", "b.csv": b"b,2\n"})


WHOLE = {"a.csv.out": b"A,1\n", "b.csv.out": b"B,2\n"}


def model(s, script="", mode="", containers=1, image="scripted", **kw):
    name = unique("model")
    one = {"Image": image, "Environment": {"SCRIPT": script or "true", "MODE": mode}, **kw.pop("container", {})}
    if containers > 1:
        kw["Containers"] = [dict(one) for _ in range(containers)]
    else:
        kw["PrimaryContainer"] = one
    # Debian's client does not know all of its members.
    s.call("CreateModel", {"ModelName": name, "ExecutionRoleArn": ROLE, **kw})
    return name


def lines(s, name):
    """What the containers of a job printed, each as a list."""
    return [got for stream, got in sorted(streams(s, name).items()) if not stream.endswith("/data-log")]


# ---- networks ----

REACH = ("wget -q -O- http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI | grep -q AccessKeyId && echo credentials;"
         "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 169.254.170.2 ${AWS_ENDPOINT_URL##*:} | grep -q HTTP/1 && echo API;"
         "ip route | grep -q default && echo a way out; echo looked;")


def test_a_container_reaches_what_it_may(scripted, two):
    d = completed(scripted, model(scripted, REACH), two)
    got, = lines(scripted, d["TransformJobName"])
    assert got == ["credentials", "API", "a way out", "looked"], got


def test_so_does_each_of_a_pipeline(scripted, two):
    d = completed(scripted, model(scripted, REACH, containers=3), two)
    got = lines(scripted, d["TransformJobName"])
    assert got == [["credentials", "API", "a way out", "looked"]] * 3, got
    assert outputs(scripted, d) == WHOLE


@pytest.mark.parametrize("containers", [1, 2])
def test_an_isolated_one_reaches_nothing(scripted, two, containers):
    look = ("env | grep -e ^AWS_CONT -e ^AWS_ENDP; ip -o addr | grep -v ' lo ' ; ip route; "
            "nc -w 1 169.254.170.2 80 < /dev/null > /dev/null 2>&1 && echo reached; echo looked;")
    d = completed(scripted, model(scripted, look, containers=containers, EnableNetworkIsolation=True), two)
    assert lines(scripted, d["TransformJobName"]) == [["looked"]] * containers
    assert outputs(scripted, d) == WHOLE


def test_without_networks_each_still_has_its_own_port(make_server, root):
    s = have_image(make_server("network_pool = none\n"), root)
    data = s.put("in/", {"a.csv": b"a,1\n", "b.csv": b"b,2\n"})
    names = [request(model(s, REACH, containers=2), data) for _ in range(2)]
    for r in names:
        s.sm.create_transform_job(**r)
    for r in names:
        d = wait(s, r["TransformJobName"])
        assert d["TransformJobStatus"] == "Completed", (d, s.tail())
        assert outputs(s, d) == WHOLE
        for got in lines(s, r["TransformJobName"]):
            assert [x for x in got if not x.startswith("The container reaches the API and nothing else")] == [
                "credentials", "API", "looked"], got
    assert s.leftovers() == []


# ---- GPUs, images, another S3 ----

def test_containers_have_the_gpus_of_their_host(machine, root):
    s = have_image(machine(), root)
    data = s.put("in/", {"a.csv": b"a,1\n"})
    look = LOOK.replace("/opt/ml/model/$(hostname)", "/dev/stdout")
    d = completed(s, model(s, look, containers=2), data,
                  TransformResources={"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1})
    for got in lines(s, d["TransformJobName"]):
        assert len([x for x in got if x.startswith("FAKE_GPU_")]) == 1, got
        assert len([x for x in got if x.startswith("nvidia") and x[6:].isdigit()]) == 1, got
    assert s.leftovers() == []


def test_an_image_of_a_private_registry(private, rootfs, tmp_path):
    s = private.server
    root = serving_root(rootfs, tmp_path / "root")
    private.tls.push(docker_archive(tmp_path / "a.tar", "serve:1", root, Env=["PATH=/usr/local/bin:/bin"]), "team/serve:1",
                     "--dest-creds", "puller:" + PASSWORD)
    data = s.put("in/", {"a.csv": b"a,1\n"})
    access = {"RepositoryAccessMode": "Vpc", "RepositoryAuthConfig": {"RepositoryCredentialsProviderArn": PROVIDER + "good"}}
    name = model(s, image=f"{private.tls.address}/team/serve:1", container={"ImageConfig": access})
    assert outputs(s, completed(s, name, data)) == {"a.csv.out": b"A,1\n"}
    name = model(s, image=f"{private.tls.address}/team/other:1", container={"ImageConfig": access})
    d = run(s, name, data)
    assert d["TransformJobStatus"] == "Failed" and "Cannot pull" in d["FailureReason"], d


def test_all_of_it_with_another_s3(server, elsewhere, root):
    s = have_image(elsewhere, root)
    data = server.put("transform/there/", {"a.csv": b"a,1\n", "sub/b.csv": b"b,2\n"})
    server.put("transform/model/", {"x/w.txt": b"42"})
    source = {"S3DataSource": {"S3Uri": "s3://bucket/transform/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}}
    d = completed(s, model(s, "cat /opt/ml/model/x/w.txt; echo; ls /opt/ml", container={"ModelDataSource": source}), data)
    assert outputs(server, d) == {"a.csv.out": b"A,1\n", "sub/b.csv.out": b"B,2\n"}
    got, = lines(s, d["TransformJobName"])
    assert got == ["42", "model"], got
    assert s.leftovers() == []


# ---- what dies ----

def kill(pids, sig=signal.SIGKILL):
    assert pids
    for pid in pids:
        os.kill(pid, sig)


def at_work(s, **kw):
    """A job whose requests are under way and are not answered."""
    data = s.put("transform/work/", {"a.csv": b"a,1\n"})
    r = request(model(s, mode="slow", **kw), data)
    name = r["TransformJobName"]
    s.sm.create_transform_job(**r)
    end = time.monotonic() + 60
    while not any("MaxConcurrentTransforms" in x for got in streams(s, name).values() for x in got):
        assert time.monotonic() < end, (describe(s, name), s.tail())
        time.sleep(0.05)
    return name


def processes(s, name, program):
    """Of the containers of a job, by their cgroup."""
    found = []
    for p in os.listdir("/proc"):
        try:
            if p.isdigit() and "/bloomery/" + s.job_id(name) in open(f"/proc/{p}/cgroup").read() and \
                    program in open(f"/proc/{p}/cmdline").read():
                found.append(int(p))
        except OSError:
            continue
    return found


def driver(s, name):
    job, = s.pids("bloomery-job", s.job_id(name))
    children = open(f"/proc/{job}/task/{job}/children").read().split()
    return [int(c) for c in children if "bloomery-transf" in open(f"/proc/{c}/comm").read()]


def ended(s, name, status):
    d = wait(s, name)
    assert d["TransformJobStatus"] == status and outputs(s, d) == {}, (d, s.tail())
    assert s.leftovers() == []
    return d.get("FailureReason", "")


def test_the_driver_is_killed(scripted):
    name = at_work(scripted)
    kill(driver(scripted, name))
    assert ended(scripted, name, "Failed").startswith("InternalServerError: ")


@pytest.mark.parametrize("containers", [1, 2])
def test_the_supervisor_is_killed(scripted, containers):
    name = at_work(scripted, containers=containers)
    kill(scripted.pids("bloomery-job", scripted.job_id(name)))
    assert ended(scripted, name, "Failed").startswith("InternalServerError: ")


@pytest.mark.parametrize("containers", [1, 2])
def test_a_container_is_killed(scripted, containers):
    name = at_work(scripted, containers=containers)
    pids = processes(scripted, name, "nc")
    listening = [p for p in pids if open(f"/proc/{p}/stat").read().split()[3] not in map(str, pids)]
    assert len(listening) == containers
    kill(listening[-1:])
    why = ended(scripted, name, "Failed")
    assert why.startswith("AlgorithmError: The container container-") and "SIGKILL" in why, why


def test_a_container_that_ends_when_it_is_told_to(scripted):
    name = at_work(scripted, script="trap 'echo bye; exit 0' TERM; nc -ll -p 8080 -e /bin/handler & while :; do sleep 0.1; done")
    scripted.sm.stop_transform_job(TransformJobName=name)
    ended(scripted, name, "Stopped")
    assert any("bye" in got for got in lines(scripted, name))
