# Metrics of a job: definitions applied to what real containers print, samples of the instance, files of metrics.
# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import time

import botocore.exceptions
import pytest


def in_file(s, name, host="algo-1"):
    """The objects in the file of a host's metrics, whole lines of it in their order."""
    path = s.data / "jobs" / s.job_id(name) / "metrics" / host
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(m) for m in re.findall(rb'\{"(?:t|at|counts|files)":[^\n]*\}(?=\n)', data)]


def values(s, name, metric=None):
    return [(o["n"], o["v"]) for o in in_file(s, name) if "n" in o and metric in (None, o["n"])]


def samples(s, name, metric):
    return [o["v"] for o in in_file(s, name) if o.get("i") == metric]


def counts(s, name):
    return [o["counts"] for o in in_file(s, name) if "counts" in o][-1]


def shell(text):
    """A script on one line, as hyperparameters have none more."""
    return "; ".join(line.strip() for line in text.strip().splitlines())


def defined(*definitions, **more):
    return {"MetricDefinitions": [{"Name": n, "Regex": r} for n, r in definitions], **more}


def test_values_are_exactly_what_was_printed(server):
    script = r"""
        printf 'Train_error=0.138318;  Valid_error=0.324557;\n'
        printf 'lr 7E-5\nlr 1e-3\nlr -.5\nlr 5.\nlr nan\nlr inf\nlr 0x10\nlr 1,234\n'
        printf '[0]\tvalidation-rmse:0.25\n[1]\tvalidation-rmse:0.125\n' >&2
        printf 'progress 10%%\r progress 20%%\r acc=0.75\n'
        printf 'bytes \377\376\000 acc=0.5\n'
        printf 'acc=1 acc=2'
    """
    d = server.completed(shell(script), AlgorithmSpecification=defined(
        ("train:error", "Train_error=(.*?);"), ("valid:error", "Valid_error=(.*?);"), ("lr", r"lr (\S+)"),
        ("validation:rmse", r".*\[[0-9]+\].*#011validation-rmse:(\S+)"), ("acc", r"acc=([0-9\.]+)"), ("no group", r"lr 7E")))
    name = d["TrainingJobName"]
    got = values(server, name)
    assert [v for n, v in got if n == "train:error"] == [0.138318]
    assert [v for n, v in got if n == "valid:error"] == [0.324557]
    assert [v for n, v in got if n == "lr"] == [0.00007, 0.001, -0.5, 5.0]
    assert [v for n, v in got if n == "validation:rmse"] == [0.25, 0.125]
    assert [v for n, v in got if n == "acc"] == [0.75, 0.5, 1.0]
    by = dict(zip(["train", "valid", "lr", "rmse", "acc", "none"], counts(server, name)))
    assert by["lr"]["matched"] == 4 and by["lr"]["refused"] == 4
    assert by["none"]["matched"] == 0 and by["none"]["refused"] == 1
    assert all(c["lines"] == 14 for c in by.values())
    log = server.logs(name)
    assert any(re.match("metric 'lr': '.*: such lines are counted, and have no value", line) for line in log), log
    assert any("metric 'lr': 4 lines gave a value, 4 that matched did not" in line for line in log), log
    told = server.bloomery("describe", name).stdout
    assert "lr by `lr (\\S+)`: 4 values in 14 lines; 4 matched without one, the last: '1,234' is not a number" in told, told
    assert any("metric 'no group': 0 of 14 lines gave a value" in line for line in log), log


def test_a_definition_that_never_matches_says_so_while_the_job_runs(server):
    """After 10,000 lines, with the line that was nearest, and not again for what has matched."""
    name = server.create("i=0; while [ $i -lt 10100 ]; do echo \"step $i Loss: 0.5\"; i=$((i+1)); done; echo ready; "
                         "while [ ! -e /tmp/go ]; do sleep 0.1; [ $((n=n+1)) -gt 600 ] && exit 1; done",
                         AlgorithmSpecification=defined(("loss", r"loss: (\S+)"), ("step", r"step (\d+)")))
    end = time.monotonic() + 60
    want = re.compile(r"metric 'loss': 0 of 10,\d+ lines matched `loss: \(\\S\+\)`; nearest line: step \d+ Loss: 0.5$")
    while not any(want.search(line) for line in server.logs_or_nothing(name)):
        assert time.monotonic() < end, server.logs_or_nothing(name)[-5:]
        time.sleep(0.1)
    assert server.describe(name)["TrainingJobStatus"] == "InProgress"
    assert not any("metric 'step'" in line for line in server.logs(name))
    server.sm.stop_training_job(TrainingJobName=name)
    server.wait(name)
    assert [v for _, v in values(server, name)] == [float(i) for i in range(10100)]
    assert any("metric 'loss': 0 of 10,101 lines matched" in line for line in server.logs(name))


def test_a_short_job_has_samples_of_its_instance(server):
    name = server.completed("head -c 20000000 /dev/zero > /opt/ml/model/x; true")["TrainingJobName"]
    assert len(samples(server, name, "CPUUtilization")) >= 1
    assert all(0 <= v <= 200 for v in samples(server, name, "CPUUtilization"))
    assert all(0 < v <= 100 for v in samples(server, name, "MemoryUtilization"))
    assert samples(server, name, "MemoryUtilization") and samples(server, name, "DiskUtilization")


def test_busy_containers_are_told_from_idle_ones(server):
    busy = server.create("( while :; do :; done ) & p=$!; ( while :; do :; done ) & sleep 3.3; kill $p $!",
                         AlgorithmSpecification=defined(("a", "a=(.)")))        # by bloomery-metric
    idle = server.create("sleep 3.3")                                           # by bloomery-job
    server.wait(busy)
    server.wait(idle)
    assert max(samples(server, busy, "CPUUtilization")) > 30, samples(server, busy, "CPUUtilization")
    assert sorted(samples(server, idle, "CPUUtilization"))[1] < 20, samples(server, idle, "CPUUtilization")
    assert len(samples(server, idle, "CPUUtilization")) >= 3


def tracked(n, v, t=None, **more):
    return json.dumps({"MetricName": n, "Value": v, "Timestamp": t if t is not None else time.time(), **more})


def test_files_of_metrics_are_taken_when_asked_for(server):
    """As the tracker of the service's experiments writes them; and only when time series are enabled."""
    now = 1000 * (int(time.time()) - 100)
    d = "/opt/ml/output/metrics/sagemaker"
    lines = [tracked("loss", 0.5, now / 1000, IterationNumber=7), tracked("loss", 0.25, now / 1000 + 1, Step=8),
             '{"MetricName": "loss", "Value": NaN}', tracked("old", 1, 12), "nonsense", tracked("acc", 1)]
    script = f"mkdir -p {d}; printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + f" > {d}/17.json; " \
             f"printf '%s' '{tracked('last', 3)}' >> {d}/17.json"
    name = server.completed(script, AlgorithmSpecification={"EnableSageMakerMetricsTimeSeries": True})["TrainingJobName"]
    got = [o for o in in_file(server, name) if o.get("src") == "file"]
    assert [(o["n"], o["v"], o.get("s")) for o in got] == [
        ("loss", 0.5, 7), ("loss", 0.25, 8), ("acc", 1.0, None), ("last", 3.0, None)]
    assert [o["t"] for o in got[:2]] == [now, now + 1000]
    assert [o for o in in_file(server, name) if "files" in o][-1]["refused"] == 3
    assert any("17.json is left out, as it is no JSON (NaN and Infinity are not)" in line for line in server.logs(name))
    off = server.completed(script)["TrainingJobName"]
    assert values(server, off) == []


def test_hostile_files_of_metrics_do_no_harm(server):
    d = "/opt/ml/output/metrics/sagemaker"
    good = tracked("good", 1)
    script = f"""
        mkdir -p {d}; cd {d}
        ln -s /etc/passwd link.json; mkfifo fifo.json; mkdir dir.json; ln -s / up; ln -s 17.json again.json
        echo '{good}' > 17.json; touch bin; head -c 3000000 /dev/zero > zero.json; dd if=/dev/zero of=hole.json bs=1 count=0 seek=9G
        i=0; while [ $i -lt 200 ]; do echo '{good}' > "many $i.json"; i=$((i+1)); done
        echo '{good}' > secret.json; chmod 000 secret.json
        sleep 1.5; rm 17.json; mkfifo 17.json; cd ..; mv sagemaker gone; ln -s gone sagemaker
    """
    begin = time.monotonic()
    r = server.completed(shell(script), AlgorithmSpecification={"EnableSageMakerMetricsTimeSeries": True}, timeout=120)
    name = r["TrainingJobName"]
    got = values(server, name)
    assert set(got) == {("good", 1.0)} and 1 <= len(got) <= 128
    assert time.monotonic() - begin < 60
    log = server.logs(name)
    assert any("fifo.json is not read: it is no regular file" in line for line in log) or len(got) >= 100, log


def test_a_regex_that_does_not_compile_is_refused_by_name_and_place(server):
    r = server.request("true", AlgorithmSpecification=defined(("ok", "a=(.)"), ("train:loss", r"loss=(\S+")))
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        server.sm.create_training_job(**r)
    assert ex.value.response["Error"]["Code"] == "ValidationException"
    assert "'train:loss': the regular expression 'loss=(\\S+' is wrong at character 9" in ex.value.response["Error"]["Message"]
    with pytest.raises(botocore.exceptions.ClientError):
        server.describe(r["TrainingJobName"])


def test_an_expression_without_end_does_not_hurt_the_job(server):
    name = server.completed("i=0; while [ $i -lt 120 ]; do head -c 4000 /dev/zero | tr '\\0' a; echo '!'; i=$((i+1)); done; echo acc=1",
                            AlgorithmSpecification=defined(("slow", r"(a+)+$x|(b)"), ("acc", r"acc=(\S+)")))["TrainingJobName"]
    assert values(server, name) == [("acc", 1.0)]
    assert counts(server, name)[0]["limited"] == 100
    assert any("has taken too long on 100 lines, and is not tried any more" in line for line in server.logs(name))


def test_long_lines_and_bursts(server):
    """A line of a megabyte, many lines at once from both streams, none lost and none twice."""
    script = r"""
        head -c 1100000 /dev/zero | tr '\0' x; echo ' big=1'
        ( seq 1 20000 | sed 's/^/out=/' ) & ( seq 1 20000 | sed 's/^/err=/' >&2 ) & wait
    """
    name = server.completed(shell(script), AlgorithmSpecification=defined(
        ("big", r" big=(\d)"), ("out", r"out=(\d+)"), ("err", r"err=(\d+)")))["TrainingJobName"]
    assert values(server, name, "big") == [("big", 1.0)]
    for n in "out", "err":
        assert [v for _, v in values(server, name, n)] == [float(i) for i in range(1, 20001)]
    assert all(c["lines"] == 40001 for c in counts(server, name))


def test_the_program_is_nobody_and_idle(server):
    name = server.create("echo acc=1; sleep 30", AlgorithmSpecification=defined(("acc", r"acc=(\S+)")))
    server.wait(name, until={"Training"})
    end = time.monotonic() + 30
    while not values(server, name) or not samples(server, name, "DiskUtilization"):
        assert time.monotonic() < end
        time.sleep(0.05)
    [pid] = server.pids("bloomery-metric", server.job_id(name))
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    tick = os.sysconf("SC_CLK_TCK")

    def used():
        f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / tick
    before = used()
    time.sleep(3)
    assert used() - before <= 0.06, "more than 2 % of a core"
    server.sm.stop_training_job(TrainingJobName=name)
    server.wait(name)
