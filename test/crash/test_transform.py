# kill -9 around a transform job: of the daemons as its containers serve and as its outputs become objects, of the
# supervisor and of the driver. SPDX-License-Identifier: Apache-2.0
import os
import signal
import sys
import time

import pytest
from house import FINAL, ROOT

sys.path.append(str(ROOT / "test/spec"))
import serving as transforms  # noqa: E402

OBJECTS = 200


@pytest.fixture(scope="module")
def s(rootfs, tmp_path_factory):
    from house import ROOM, Server
    base = tmp_path_factory.mktemp("transform")
    s = Server(base / "data", conf=ROOM).start()
    s.s3.create_bucket(Bucket="bucket")
    transforms.import_serving(s, rootfs, base)
    s.put("many/", {f"{i:03d}.csv": b"row,%d\n" % i for i in range(OBJECTS)})
    yield s
    s.stop()
    assert s.leftovers() == []


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def restart(s):
    assert s.up.wait(60) != 0
    s.up = None
    s.start()


def until(what, limit=60):
    end = time.monotonic() + limit
    while not (got := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return got


def begin(s, **kw):
    r = transforms.request(transforms.model(s), "s3://bucket/many/", **kw)
    s.sm.create_transform_job(**r)
    return r["TransformJobName"]


def directory(s, name):
    try:
        return s.job_id(name)
    except AssertionError:
        return None


def serves(s, name):
    return any("serving as" in line for lines in transforms.streams(s, name).values() for line in lines)


def check_whole(s, name):
    d = transforms.wait(s, name)
    assert d["TransformJobStatus"] == "Completed", (d, s.tail())
    listed = [o for page in s.s3.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", Prefix=d["TransformOutput"]["S3OutputPath"].removeprefix("s3://bucket/") + "/") for o in page["Contents"]]
    assert len(listed) == OBJECTS and sum(o["Size"] for o in listed) == sum(len(b"row,%d\n" % i) for i in range(OBJECTS))
    lines = [line for stream in transforms.streams(s, name).values() for line in stream]
    assert sum("serving as" in line for line in lines) == d["TransformResources"]["InstanceCount"], "each container ran once"


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("victims", [["bloomeryd"], ["bloomery-host"], ["bloomeryd", "bloomery-host"]], ids="+".join)
def test_a_daemon_dies_as_records_are_sent(s, victims, hosts):
    name = begin(s, TransformResources={"InstanceCount": hosts})
    until(lambda: serves(s, name))
    kill([pid for program in victims for pid in s.pids(program)])
    restart(s)
    check_whole(s, name)


def left_in(staged):
    try:
        return len(os.listdir(staged))
    except FileNotFoundError:      # all of it became objects, faster than we look
        return 0


@pytest.mark.parametrize("more", [0, 1, OBJECTS // 2])
def test_bloomeryd_dies_as_outputs_become_objects(s, more):
    name = begin(s)
    staged = s.data / "jobs" / until(lambda: directory(s, name)) / "staged"
    until(lambda: (staged / "outputs").exists() or transforms.describe(s, name)["TransformJobStatus"] in FINAL)
    until(lambda: left_in(staged) <= OBJECTS + 1 - more)
    kill(s.pids("bloomeryd"))
    restart(s)
    check_whole(s, name)


def test_the_supervisor_dies(s):
    r = transforms.request(transforms.model(s, mode="slow"), "s3://bucket/many/")
    s.sm.create_transform_job(**r)
    name = r["TransformJobName"]
    until(lambda: serves(s, name))
    kill(s.pids("bloomery-job", s.job_id(name)))
    d = transforms.wait(s, name)
    assert d["TransformJobStatus"] == "Failed" and d["FailureReason"].startswith("InternalServerError: "), d
    assert transforms.outputs(s, d) == {} and s.leftovers() == []
