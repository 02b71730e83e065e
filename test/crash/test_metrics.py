# Metrics under kill -9: whatever dies, each value that a container printed is there, once. SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
import pathlib
import random
import re
import signal
import time

import pytest

spec = importlib.util.spec_from_file_location(
    "metrics_of_jobs", pathlib.Path(__file__).resolve().parents[1] / "spec/test_metrics.py")
metrics = importlib.util.module_from_spec(spec)
spec.loader.exec_module(metrics)
counts, defined, in_file, samples, values = metrics.counts, metrics.defined, metrics.in_file, metrics.samples, metrics.values


@pytest.fixture(scope="module")
def s(rootfs, tmp_path_factory):
    import house
    base = tmp_path_factory.mktemp("metrics")
    os.chmod(base, 0o755)
    s = house.Server(base / "data", conf=house.ROOM + "stop_grace_seconds = 3\n").start()
    assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers(30)
    s.stop()
    assert left == []


LINES = 60000
SCRIPT = (f"i=0; while [ $i -lt {LINES} ]; do echo \"step $i loss=0.$i\"; [ $((i % 9)) = 0 ] && echo \"loss=nan\"; i=$((i+1)); done; "
          "printf 'step 70000 loss=0.5'")
FILES = ("d=/opt/ml/output/metrics/sagemaker; mkdir -p $d; ( i=0; while [ $i -lt 400 ]; do echo '{\"MetricName\":\"own\",\"Value\":'$i'}'; "
         "i=$((i+1)); [ $((i % 50)) = 0 ] && sleep 0.2; done > $d/1.json ) & ")


def kill_one(s, job, end):
    """kill -9 of the job's bloomery-metric: the pid, or None when there was none up to `end`."""
    while time.monotonic() < end:
        for pid in s.pids("bloomery-metric", job):
            try:
                os.kill(pid, signal.SIGKILL)
                return pid
            except ProcessLookupError:
                pass
        time.sleep(0.005)
    return None


@pytest.mark.parametrize("round", range(3))
def test_each_value_once(s, round):
    rand = random.Random(round)
    name = s.create(FILES + SCRIPT + "; wait", AlgorithmSpecification=defined(
        ("step", r"step (\d+) "), ("loss", r"loss=(\S+)"), ("never", r"Loss is (\S+)")))
    s.wait(name, until={"Training"})
    job, killed = s.job_id(name), 0
    for _ in range(6):
        time.sleep(rand.random() * 0.5)
        if kill_one(s, job, time.monotonic() + 2):
            killed += 1
        if s.describe(name)["TrainingJobStatus"] != "InProgress":
            break
    d = s.wait(name, timeout=180)
    assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason")
    assert killed >= 1
    assert [v for _, v in values(s, name, "step")] == [*map(float, range(LINES)), 70000.0]
    assert [v for _, v in values(s, name, "loss")] == [*(float(f"0.{i}") for i in range(LINES)), 0.5]
    assert [v for _, v in values(s, name, "own")] == [float(i) for i in range(400)]
    lines = LINES + (LINES + 8) // 9 + 1
    step, loss, never = counts(s, name)
    assert [step["lines"], step["matched"], step["refused"]] == [lines, LINES + 1, 0]
    assert [loss["lines"], loss["matched"], loss["refused"]] == [lines, LINES + 1, (LINES + 8) // 9]
    assert never["matched"] == 0 and never["lines"] == lines
    assert any(re.search(r"metric 'never': 0 of [\d,]+ lines matched", line) for line in s.logs(name)[-40:])


def test_a_supervisor_that_dies_takes_it_along(s):
    name = s.create("echo loss=1; sleep 60", AlgorithmSpecification=defined(("loss", r"loss=(\S+)")))
    s.wait(name, until={"Training"})
    job, end = s.job_id(name), time.monotonic() + 30
    while not values(s, name):
        assert time.monotonic() < end
        time.sleep(0.05)
    [pid] = s.pids("bloomery-metric", job)
    for supervisor in s.pids("bloomery-job", job):
        os.kill(supervisor, signal.SIGKILL)
    assert s.wait(name)["TrainingJobStatus"] == "Failed"
    while os.path.exists(f"/proc/{pid}") and "bloomery-metric" in open(f"/proc/{pid}/cmdline").read():
        assert time.monotonic() < end + 30
        time.sleep(0.05)
    assert values(s, name) == [("loss", 1.0)]


def test_a_job_ends_without_it(s):
    """Whatever kills it again and again, the job goes on to its end, and its log says what is missing."""
    name = s.create("sleep 4; echo loss=1", AlgorithmSpecification=defined(("loss", r"loss=(\S+)")))
    s.wait(name, until={"Training"})
    job, end = s.job_id(name), time.monotonic() + 120
    while s.describe(name)["TrainingJobStatus"] == "InProgress":
        kill_one(s, job, time.monotonic() + 0.2)
        assert time.monotonic() < end
    assert s.describe(name)["TrainingJobStatus"] == "Completed"
    assert values(s, name) in ([], [("loss", 1.0)])
    assert values(s, name) or any("metrics of this host are not complete" in line for line in s.logs(name))
    assert in_file(s, name) is not None and samples(s, name, "CPUUtilization") is not None
