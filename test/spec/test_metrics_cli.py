# `bloomery metrics JOB`, `try` and `refit`, on real jobs.
# SPDX-License-Identifier: Apache-2.0
import csv
import datetime
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from conftest import BLOOMERY
from test_metrics import defined

SCRIPT = (r"i=0; while [ $i -lt 200 ]; do [ $((i % 50)) = 49 ] && sleep 1; echo step $i loss=0.$((900 - i)) Acc: $i; "
          r"i=$((i + 1)); done; printf 'loss=nan\nloss=12,5\nend of 1\tepoch\n'")
DEFINITIONS = (("loss", r"loss=(\S+)"), ("accuracy", r"acc=(\d+)"))


@pytest.fixture(scope="module")
def job(server):
    d = server.completed(SCRIPT, AlgorithmSpecification=defined(*DEFINITIONS))
    return d["TrainingJobName"]


def run(server, *args):
    done = server.bloomery("metrics", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(server, *args, status=1):
    done = server.bloomery("metrics", *args)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stdout == ""
    return done.stderr


def rows(server, *args):
    return list(csv.DictReader(io.StringIO(run(server, *args, "--csv"))))


def finals(server, job):
    d = server.describe(job)
    return {m["MetricName"]: m["Value"] for m in d.get("FinalMetricDataList", [])}


def statistics(server, job, metric):
    """What CloudWatch knows of the whole job."""
    d = server.describe(job)
    cw = server.client("cloudwatch")
    points = cw.get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs", MetricName=metric, Dimensions=[{"Name": "TrainingJobName", "Value": job}],
        StartTime=d["CreationTime"] - datetime.timedelta(hours=1), EndTime=d["CreationTime"] + datetime.timedelta(hours=2),
        Period=60, Statistics=["SampleCount", "Sum", "Minimum", "Maximum"])["Datapoints"]
    if not points:
        return None
    return (sum(p["SampleCount"] for p in points), round(sum(p["Sum"] for p in points), 6),
            min(p["Minimum"] for p in points), max(p["Maximum"] for p in points))


def test_a_table_with_curves_and_what_definitions_have_matched(server, job):
    text = run(server, job)
    assert re.search(r"^metric +last +min +max +count +first +until$", text, re.M), text
    assert re.search(r"^loss +0\.701 +0\.701 +0\.9 +200 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\S+.*█[▁-█]+▁$", text, re.M), text
    assert "loss: 200 of 203 lines; 2 refused (last: '12,5' " in text
    assert "accuracy: 0 of 203 lines matched `acc=(\\d+)`; nearest line: " in text
    picture = run(server, job, "--metric", "loss", "--plot")
    assert "0.9 ┤" in picture and "0.701 ┤" in picture
    assert len(re.findall("[\u2801-\u28ff]", picture)) > 40
    assert "┤" not in run(server, job, "--metric", "loss")      # a pipe gets no picture that was not asked for


def test_what_hosts_used(server, job):
    text = run(server, job, "--instance")
    for metric in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        assert re.search(rf"^{metric} +algo-1 ", text, re.M), text
    assert not re.search("^loss ", text, re.M)


def test_every_value_as_csv_and_json(server, job):
    got = rows(server, job)
    assert [r["metric"] for r in got] == ["loss"] * 200
    assert [float(r["value"]) for r in got] == [float(f"0.{900 - i}") for i in range(200)]
    assert {(r["host"], r["step"], r["source"]) for r in got} == {("algo-1", "", "log")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", r["time"]) for r in got)
    told = json.loads(run(server, job, "--json"))
    assert [(m["Name"], m["Count"], m["Last"], m["Min"], m["Max"]) for m in told["Metrics"]] == [("loss", 200, 0.701, 0.701, 0.9)]
    assert told["TrainingJobStatus"] == "Completed" and "Values" not in told
    one = json.loads(run(server, job, "--json", "--metric", "loss"))
    assert [v["Value"] for v in one["Values"]] == [float(r["value"]) for r in got]
    assert json.loads(run(server, job, "--json", "--metric", "nothing"))["Metrics"] == []


def test_several_hosts_have_a_line_each(server):
    d = server.completed(r"echo loss=$(hostname | tr -dc 0-9)", AlgorithmSpecification=defined(("loss", r"loss=(\d+)")),
                         ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1})
    name = d["TrainingJobName"]
    text = run(server, name)
    assert re.search(r"^loss +algo-1 +1 +1 +1 +1 ", text, re.M) and re.search(r"^loss +algo-2 +2 +2 +2 +1 ", text, re.M), text
    assert sorted((r["host"], r["value"]) for r in rows(server, name)) == [("algo-1", "1"), ("algo-2", "2")]
    assert run(server, "refit", name).startswith("2 values\n")
    assert sorted((r["host"], r["value"]) for r in rows(server, name)) == [("algo-1", "1"), ("algo-2", "2")]


def test_a_picture_in_a_file(server, job, tmp_path):
    out = tmp_path / "it's one.png"
    if shutil.which("gnuplot"):
        run(server, job, "--png", out)
        assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and out.stat().st_size > 2000
    else:
        assert "apt-get install gnuplot-nox" in refused(server, job, "--png", out)
        assert not out.exists()


def test_watching_draws_until_the_job_has_ended(server):
    """On a terminal again and again; into a pipe once."""
    name = server.create("while true; do echo loss=1; sleep 1; done", AlgorithmSpecification=defined(("loss", r"loss=(\d+)")))
    piped = {}
    thread = threading.Thread(target=lambda: piped.update(text=run(server, name, "--watch")))
    thread.start()
    here, there = pty.openpty()
    watching = subprocess.Popen([BLOOMERY, "metrics", name, "--watch", "--data", str(server.data)], stdout=there)
    os.close(there)
    seen, stopped = b"", False
    try:
        while chunk := os.read(here, 4096):
            seen += chunk
            if not stopped and re.search(rb"InProgress.*\x1b\[H\x1b\[2J.*InProgress.*\nloss +1 ", seen, re.S):
                server.sm.stop_training_job(TrainingJobName=name)
                stopped = True
    except OSError:      # the other end has gone
        pass
    os.close(here)
    assert watching.wait(60) == 0
    thread.join(60)
    assert stopped and f"{name}: Stopped".encode() in seen.split(b"\x1b[2J")[-1], seen
    assert piped["text"].startswith(f"{name}: Stopped\n") and "\x1b" not in piped["text"]
    assert re.search(r"^loss +1 +1 +1 +\d+ ", piped["text"], re.M), piped["text"]


def test_trying_an_expression(server, job):
    text = run(server, "try", job, r"Acc: (\S+)")
    assert text.startswith("203 lines: 200 gave a value, 0 matched and were refused\n") and "  and 190 more" in text
    assert "  from: step 0 loss=0.900 Acc: 0\n" in text
    text = run(server, "try", job, r"loss=(\S+)")
    assert "200 gave a value, 2 matched and were refused" in text
    assert re.search(r"^  'nan' is .*, from: loss=nan$", text, re.M) and re.search(r"^  '12,5' is ", text, re.M), text
    text = run(server, "try", job, r"loss: (\S+)")
    assert "No line matched `loss: (\\S+)`.\nnearest line: step 0 loss=0.900 Acc: 0\n" in text
    assert "1 gave a value" in run(server, "try", job, r"of (\d)#011epoch")
    told = json.loads(run(server, "try", job, r"Acc: (\d+)", "--json"))
    assert told["Lines"] == 203 and [v["Value"] for v in told["Values"]] == list(range(200))
    assert "at character 7" in refused(server, "try", job, "acc=(\\d")
    assert "ResourceNotFound" in refused(server, "try", "nobody", "x")
    refused(server, "try", job, status=2)
    assert statistics(server, job, "accuracy") is None      # nothing of it is kept


def test_trying_while_the_job_runs(server):
    name = server.create("echo loss=1; echo here; sleep 600", AlgorithmSpecification=defined(("loss", r"loss: (\d+)")))
    end = time.monotonic() + 60
    while "here" not in server.logs_or_nothing(name):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "1 gave a value" in run(server, "try", name, r"loss=(\d+)")
    assert "has not ended" in refused(server, "refit", name, "--definition", r"loss=loss=(\d+)")
    assert server.bloomery("stop", name, "--wait").returncode == 0
    assert finals(server, name) == {}
    run(server, "refit", name, "--definition", r"loss=loss=(\d+)")
    assert finals(server, name) == {"loss": 1.0}


def test_refit_replaces_what_every_api_tells(server, job):
    before = server.describe(job)
    assert finals(server, job) == {"loss": 0.701} and statistics(server, job, "accuracy") is None
    losses = statistics(server, job, "loss")
    assert losses[0] == 200
    text = run(server, "refit", job, "--definition", r"accuracy=Acc: (\d+)", "--definition", r"step=step (\d+)")
    assert text == "400 values\nloss: 200 of 203 lines; 2 refused (last: '12,5' is not a number)\n" \
                   "accuracy: 200 of 203 lines\nstep: 200 of 203 lines\n"
    assert finals(server, job) == {"loss": pytest.approx(0.701), "accuracy": 199, "step": 199}
    assert statistics(server, job, "accuracy") == (200, 19900, 0, 199)
    assert statistics(server, job, "loss") == losses        # which was not named
    assert len(rows(server, job)) == 600
    after = server.describe(job)
    assert after["AlgorithmSpecification"] == before["AlgorithmSpecification"]
    # again, now with an expression that is narrower: values are replaced, not added
    run(server, "refit", job, "--definition", r"accuracy=Acc: (1\d\d)$", "--definition", "step=no such line (.)")
    assert statistics(server, job, "accuracy") == (100, 14950, 100, 199)
    assert statistics(server, job, "step") is None
    assert finals(server, job) == {"loss": pytest.approx(0.701), "accuracy": 199}
    # without any, as it was created
    run(server, "refit", job)
    assert finals(server, job) == {"loss": pytest.approx(0.701)}
    assert statistics(server, job, "accuracy") is None and statistics(server, job, "loss") == losses
    assert "extracted again" not in run(server, job)


def test_refit_refuses_what_it_cannot_do(server, job):
    assert "metric 'a'" in refused(server, "refit", job, "--definition", "a=(") and finals(server, job) == {"loss": pytest.approx(0.701)}
    assert "NAME=VALUE" in refused(server, "refit", job, "--definition", "a", status=2)
    many = [x for i in range(41) for x in ("--definition", f"m{i}=x")]
    assert "at most 40" in refused(server, "refit", job, *many)
    assert "for `bloomery metrics refit JOB`" in refused(server, job, "--definition", "a=b", status=2)
    assert "give one of them" in refused(server, job, "--csv", "--json", status=2)


def test_kill_9_in_the_middle_leaves_the_old_values_or_the_new(make_server):
    s = make_server()
    lines = 60000
    d = s.completed(f"i=0; while [ $i -lt {lines} ]; do echo a=1 b=2; i=$((i + 1)); done",
                    AlgorithmSpecification=defined(("a", "a=(.)"), ("b", "b=(.)")))
    name = d["TrainingJobName"]
    old, new = (lines, lines, 1, 1), (lines, 2 * lines, 2, 2)
    assert statistics(s, name, "a") == old
    for wait in (0, 0.03, 0.1, 0.2, 0.4, 0.8):
        asking = subprocess.Popen([BLOOMERY, "metrics", "refit", name, "--definition", "a=b=(.)", "--data", str(s.data)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(wait)       # any moment will do
        os.kill(s.pids("bloomeryd")[0], signal.SIGKILL)
        asking.communicate()
        s.up.wait(60)
        s.start()
        got = statistics(s, name, "a")
        assert got in (old, new), wait
        assert finals(s, name) == {"a": got[3], "b": 2.0}
        values = [float(r["value"]) for r in rows(s, name, "--metric", "a")]
        assert values == [got[3]] * lines, wait
        if got == new:
            run(s, "refit", name)
            assert statistics(s, name, "a") == old
    # and of who reads the log
    refit = [BLOOMERY, "metrics", "refit", name, "--definition", "a=b=(.)", "--data", str(s.data)]
    for _ in range(50):
        asking = subprocess.Popen(refit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while asking.poll() is None and not (pids := s.pids("bloomery-metric")):
            pass
        killed = False
        if asking.poll() is None:
            try:
                os.kill(pids[0], signal.SIGKILL)
                killed = True
            except ProcessLookupError:
                pass
        said = asking.communicate()[1]
        if killed and asking.returncode:
            assert "bloomery-metric was ended by signal 9" in said
            assert statistics(s, name, "a") == old
            break
        run(s, "refit", name)      # it was faster than we are
        assert statistics(s, name, "a") == old
    else:
        raise AssertionError("it was never caught")
    run(s, "refit", name, "--definition", "a=b=(.)")
    assert statistics(s, name, "a") == new and finals(s, name) == {"a": 2.0, "b": 2.0}
    assert statistics(s, name, "b") == (lines, 2 * lines, 2, 2)


def test_without_a_job_it_is_the_numbers_of_the_server(server):
    assert "# TYPE bloomery_" in run(server)
