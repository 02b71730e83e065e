# A container can be watched being fed: `bloomery describe`, GET /metrics, `bloomery metrics`.
# SPDX-License-Identifier: Apache-2.0
import base64
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import ROOT

FEED = {"epoch": 3, "epochs": 4, "objects": 480, "bytes": 4800000000, "stalls_reader": 34, "stalls_store": 1,
        "wait_reader_ms": 12345, "wait_store_ms": 7, "active_ms": 14100}
TOLD = {"at": 1700000000123, "host": "algo-1", "channels": [
    {"channel": "train", "mode": "Pipe", "way": "piped", "objects": 120, "bytes": 1200000000, "feed": FEED,
     "bottleneck": "trainer"}]}


def get(server, path, user=None, password=None, headers=None):
    """Status, headers and text of an answer, whatever the status."""
    req = urllib.request.Request(server.url + path, headers=headers or {})
    if user is not None:
        req.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(req, timeout=30) as got:
            return got.status, got.headers, got.read().decode()
    except urllib.error.HTTPError as ex:
        return ex.code, ex.headers, ex.read().decode()


def key(server):
    return server.exports["AWS_ACCESS_KEY_ID"], server.exports["AWS_SECRET_ACCESS_KEY"]


def parse(text):
    """The samples of the text exposition format, strictly: {(name, ((label, value), ...)): number}."""
    samples, family, kind = {}, None, None
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if m := re.fullmatch(r"# HELP ([a-z_]+) [^\n]+", line):
            family, kind = m[1], None
        elif m := re.fullmatch(r"# TYPE ([a-z_]+) (counter|gauge)", line):
            assert m[1] == family
            kind = m[2]
        else:
            m = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? ([0-9.]+)', line)
            assert m and m[1] == family and kind, line
            labels = tuple(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', m[2] or ""))
            assert (m[1], labels) not in samples, line
            samples[m[1], labels] = float(m[3])
    return samples


def metrics(server):
    status, headers, text = get(server, "/metrics", *key(server))
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(text)


def of_channel(samples, name, job, channel, **more):
    for (n, labels), value in samples.items():
        labels = dict(labels)
        if n == name and (labels.get("training_job"), labels.get("channel")) == (job, channel) and \
                all(labels.get(k.rstrip("_")) == v for k, v in more.items()):
            return value
    return None


def feeds_path(server, name):
    return server.data / "jobs" / server.job_id(name) / "feeds.json"


def tell(server, name, told):
    """What the job's supervisor told last, in other words: its last word is spoken."""
    path = feeds_path(server, name)
    path.with_suffix(".part").write_text(told if isinstance(told, str) else json.dumps(told))
    path.with_suffix(".part").rename(path)


@pytest.fixture
def ended(server):
    uri = server.put("watch/", {"a": b"1"})
    return server.completed("true", channels={"train": uri})["TrainingJobName"]


# ---- who may look ----

def test_nothing_unsigned_gets_numbers(server):
    user, secret = key(server)
    for kw in ({}, {"user": user, "password": secret[:-1]}, {"user": user, "password": ""}, {"user": "", "password": secret},
               {"user": user.lower(), "password": secret}, {"headers": {"Authorization": "Bearer " + secret}},
               {"headers": {"Authorization": "Basic"}}, {"headers": {"Authorization": "Basic ???"}}):
        status, headers, text = get(server, "/metrics", **kw)
        assert status == 401 and headers["WWW-Authenticate"].startswith('Basic realm="bloomery"'), kw
        assert "bloomery_up" not in text and "message" in json.loads(text)
    assert get(server, "/metrics", user, secret)[0] == 200
    assert get(server, "/metrics?x=1", user, secret)[0] == 200


def test_curl_signs_as_prometheus_and_as_aws_do(server):
    user, secret = key(server)
    region = server.exports["AWS_REGION"]
    for how in (["--basic"], ["--aws-sigv4", f"aws:amz:{region}:sagemaker"], ["--aws-sigv4", f"aws:amz:{region}:bloomery"]):
        done = subprocess.run(["curl", "-sS", "-f", "--noproxy", "*", *how, "-u", f"{user}:{secret}", server.url + "/metrics"],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and parse(done.stdout)["bloomery_up", ()] == 1, (how, done.stderr)


def test_a_bucket_may_be_called_metrics_or_bloomery(server):
    import botocore.config
    signer = server.client("s3", config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    for bucket in ("metrics", "bloomery"):
        server.s3.create_bucket(Bucket=bucket)
        server.s3.put_object(Bucket=bucket, Key="jobs/x/feeds", Body=b"mine")
        assert server.s3.list_objects(Bucket=bucket)["Contents"][0]["Key"] == "jobs/x/feeds"
        assert server.s3.get_object(Bucket=bucket, Key="jobs/x/feeds")["Body"].read() == b"mine"
        url = signer.generate_presigned_url("list_objects", Params={"Bucket": bucket})
        with urllib.request.urlopen(url, timeout=30) as got:
            assert b"jobs/x/feeds" in got.read()


@pytest.mark.parametrize("name", ["nobody", "..", "%2e%2e", "..%2f..", "a%00", "%ff", "", "a/b", "a" * 64, "a" * 7000, "a'%20or%20'1", "a%0a"])
def test_odd_names_of_jobs(server, name):
    status, _, text = get(server, f"/bloomery/jobs/{name}/feeds", *key(server))
    assert status == 404 and json.loads(text)["__type"] == "ResourceNotFound"


# ---- numbers ----

def test_the_server_and_its_jobs(server, ended):
    got = metrics(server)
    assert got["bloomery_up", ()] == 1
    assert got["bloomery_jobs", (("status", "Completed"),)] >= 1
    assert got["bloomery_jobs", (("status", "Stopping"),)] == 0
    assert 0 < got["process_start_time_seconds", ()] <= time.time() + 1
    assert got["process_resident_memory_bytes", ()] > 1 << 20 and got["process_open_fds", ()] > 3
    assert got["bloomery_data_size_bytes", ()] >= got["bloomery_data_free_bytes", ()] > 0
    name = server.create("while [ ! -e /tmp/go ]; do sleep 0.1; done")
    server.wait(name, {"Training"})
    assert metrics(server)["bloomery_jobs_unfinished", (("secondary_status", "Training"),)] >= 1
    server.sm.stop_training_job(TrainingJobName=name)
    server.wait(name)
    done = server.bloomery("metrics")
    assert done.returncode == 0 and set(parse(done.stdout)) == set(metrics(server))


def test_what_a_supervisor_told_is_in_metrics_and_describe(server, ended):
    tell(server, ended, TOLD)
    got = metrics(server)
    assert of_channel(got, "bloomery_channel_bytes_total", ended, "train", host="algo-1") == 4800000000
    assert of_channel(got, "bloomery_channel_objects_total", ended, "train") == 480
    assert of_channel(got, "bloomery_channel_epoch", ended, "train") == 3
    assert of_channel(got, "bloomery_channel_wait_seconds_total", ended, "train", for_="trainer") == 12.345
    assert of_channel(got, "bloomery_channel_wait_seconds_total", ended, "train", for_="data") == 0.007
    assert of_channel(got, "bloomery_channel_stalls_total", ended, "train", for_="trainer") == 34
    assert of_channel(got, "bloomery_channel_active_seconds_total", ended, "train") == 14.1
    assert of_channel(got, "bloomery_channel_info", ended, "train", mode="Pipe", way="piped") == 1

    done = server.bloomery("describe", ended)
    assert done.returncode == 0 and done.stderr == ""
    assert "Pipe, written into FIFOs while it is read: 120 objects, 1.1 GiB\n" in done.stdout
    assert "The trainer is the bottleneck: data waited for it 88 % of that time.\n" in done.stdout
    done = json.loads(server.bloomery("describe", ended, "--json").stdout)
    assert done.pop("Bloomery") == {"Feeds": [TOLD]}
    raw = server.call("DescribeTrainingJob", {"TrainingJobName": ended})
    assert done == raw, "the API's members are as they were"


def test_members_that_are_not_known_are_passed_over(server, ended):
    tell(server, ended, {**TOLD, "later": {"x": [1]}})
    assert json.loads(server.bloomery("describe", ended, "--json").stdout)["Bloomery"] == {"Feeds": [TOLD]}


@pytest.mark.parametrize("what", ["torn", "huge", "deep", "name", "link", "hard link", "fifo", "directory"])
def test_a_feeds_file_is_not_trusted(server, ended, what, tmp_path):
    path = feeds_path(server, ended)
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(TOLD))
    if path.exists():
        path.unlink()
    if what == "link":
        path.symlink_to(secret)
    elif what == "hard link":
        other = server.data / "other"
        other.write_text(json.dumps(TOLD))
        os.link(other, path)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        tell(server, ended, {"torn": json.dumps(TOLD)[:-1], "huge": json.dumps(TOLD) + " " * (64 << 10),
                             "deep": "[" * 60000, "name": json.dumps(TOLD).replace('"train"', '"a\\"} 1\\nx"')}[what])
    got = metrics(server)
    assert of_channel(got, "bloomery_channel_bytes_total", ended, "train") is None
    assert got["bloomery_feeds_unreadable", ()] >= 1
    done = server.bloomery("describe", ended)
    assert done.returncode == 0 and "Completed" in done.stdout, "the rest of it is there all the same"
    assert "how the channels are fed: " in done.stderr
    (path.rmdir if what == "directory" else path.unlink)()
    assert server.bloomery("describe", ended).stderr == ""


def test_a_deleted_job_is_gone_from_here_too(server, ended):
    tell(server, ended, TOLD)
    server.call("DeleteTrainingJob", {"TrainingJobName": ended})
    assert of_channel(metrics(server), "bloomery_channel_bytes_total", ended, "train") is None
    assert get(server, f"/bloomery/jobs/{ended}/feeds", *key(server))[0] == 404


# ---- real jobs ----

def described(server, name):
    """What describe says of channel `train`, as text and as the first host's entry."""
    text = server.bloomery("describe", name).stdout
    feeds = json.loads(server.bloomery("describe", name, "--json").stdout)["Bloomery"]["Feeds"]
    return text, next((c for f in feeds for c in f["channels"] if c["channel"] == "train"), {})


def wait_for(look, what, timeout=30):
    end = time.monotonic() + timeout
    while not (got := look()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return got


WAIT = "while [ ! -e /opt/ml/input/data/go ]; do sleep 0.1; done"


@pytest.mark.parametrize("mode,way,says", [
    ("File", "placed", "File, in place before the container started: 2 objects, 5 bytes, in "),
    ("FastFile", "linked", "FastFile, links to the store's files, nothing copied: 2 objects, 5 bytes, in ")])
def test_channels_that_are_in_place(server, mode, way, says):
    uri = server.put("watch-place/", {"a": b"12", "b/c": b"345"})
    name = server.create("echo up; " + WAIT, channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": mode})
    server.wait(name, {"Training"})
    text, channel = wait_for(lambda: says in (d := described(server, name))[0] and d, "the supervisor told nothing")
    assert (channel["way"], channel["objects"], channel["bytes"]) == (way, 2, 5) and "feed" not in channel
    got = metrics(server)
    assert of_channel(got, "bloomery_channel_info", name, "train", host="algo-1", mode=mode, way=way) == 1
    assert of_channel(got, "bloomery_channel_share_bytes", name, "train") == 5
    server.sm.stop_training_job(TrainingJobName=name)
    server.wait(name)
    assert described(server, name)[0].count(says) == 1, "it is told after the end as well"


def test_a_file_system_in_user_space_is_counted(make_server):
    s = make_server("fastfile_links_max = 0\nstop_grace_seconds = 3\n")
    uri = s.put("watch-fuse/", {"a": b"x" * 3000000, "unread": b"y"})
    d = s.completed("echo up; cat /opt/ml/input/data/train/a | wc -c", channels={"train": uri},
                    AlgorithmSpecification={"TrainingInputMode": "FastFile"})
    name = d["TrainingJobName"]
    text, channel = described(s, name)
    assert "FastFile, served on demand by a file system in user space: 2 objects, 2.9 MiB\n" in text
    assert channel["feed"]["bytes"] >= 3000000 and channel["feed"]["objects"] == 1, channel
    assert of_channel(metrics(s), "bloomery_channel_bytes_total", name, "train") >= 3000000
    assert any("channel 'train'" in line for line in s.logs(name))


def big(server, prefix, objects=20, size=8 << 20):
    return server.put(prefix, {f"{i:03}": os.urandom(1 << 16) * (size >> 16) for i in range(objects)})


def test_a_slow_trainer_is_the_bottleneck(server):
    uri = big(server, "watch-slow/")
    script = ("exec 3< /opt/ml/input/data/train_0; while [ "
              "$(dd bs=4M count=1 iflag=fullblock <&3 2>/dev/null | wc -c) -gt 0 ]; do sleep 0.1; done; echo read; " + WAIT)
    name = server.create(script, channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": "Pipe"})
    # while it reads
    text, channel = wait_for(lambda: "is the bottleneck" in (d := described(server, name))[0] and d, "no bottleneck is named")
    assert "The trainer is the bottleneck" in text and channel["bottleneck"] == "trainer"
    first = metrics(server)
    assert 0 < of_channel(first, "bloomery_channel_bytes_total", name, "train") <= 160 << 20
    assert of_channel(first, "bloomery_channel_epochs_total", name, "train") == 1
    wait_for(lambda: "read" in server.logs_or_nothing(name), "the trainer did not come to the end")
    server.sm.stop_training_job(TrainingJobName=name)
    server.wait(name)
    # and when it has ended
    text, channel = described(server, name)
    assert "The trainer is the bottleneck" in text and channel["objects"] == 20
    last, feed = metrics(server), channel["feed"]
    assert (feed["bytes"], feed["objects"], feed["epoch"], feed["epochs"]) == (160 << 20, 20, 0, 1)
    assert of_channel(last, "bloomery_channel_bytes_total", name, "train") == 160 << 20
    waited = of_channel(last, "bloomery_channel_wait_seconds_total", name, "train", for_="trainer")
    assert waited > 0.5 * of_channel(last, "bloomery_channel_active_seconds_total", name, "train") > 1
    for (metric, labels), value in first.items():      # counters only go up
        if metric.endswith("_total") and (metric, labels) in last:
            assert last[metric, labels] >= value, metric
    lines = [line for line in server.logs(name) if "channel 'train'" in line]
    assert len(lines) >= 2 and "Pipe, 20 objects" in lines[0] and "The bottleneck was the trainer" in lines[-1]


def test_a_fast_trainer_does_not_wait_for_itself(server):
    uri = big(server, "watch-fast/")
    script = "for e in 0 1 2; do cat /opt/ml/input/data/train_$e; done | wc -c"
    name = server.completed(script, channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": "Pipe"})["TrainingJobName"]
    text, channel = described(server, name)
    assert str(3 * (160 << 20)) in server.logs(name)
    assert (channel["feed"]["bytes"], channel["feed"]["epochs"], channel["feed"]["epoch"]) == (3 * (160 << 20), 3, 2)
    assert "480 MiB, 60 objects, 3 epochs opened, the newest is 2" in text


class SlowLine:
    """Relays TCP to a server; all answers together get so many bytes a second."""

    def __init__(self, port, rate):
        self.to, self.rate = port, rate
        self.lock, self.free_at = threading.Lock(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.to))
                threading.Thread(target=self.relay, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self.relay, args=(far, near, True), daemon=True).start()
        except OSError:
            pass      # closed

    def relay(self, a, b, slowly):
        try:
            while piece := a.recv(16384):
                if slowly:
                    with self.lock:
                        now = time.monotonic()
                        self.free_at = max(now, self.free_at) + len(piece) / self.rate
                        wait = self.free_at - now
                    time.sleep(wait)
                b.sendall(piece)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.mark.parametrize("mode", ["Pipe", "FastFile"])
def test_a_slow_store_is_the_bottleneck(server, make_server, mode):
    uri = big(server, f"watch-far-{mode}/", objects=4, size=4 << 20)
    line = SlowLine(int(server.url.rsplit(":", 1)[1]), 4 << 20)
    user, secret = key(server)
    s = make_server(f"stop_grace_seconds = 3\ns3_endpoint = {line.url}\ns3_access_key = {user}\ns3_secret_key = {secret}\n")
    script = "cat /opt/ml/input/data/train_0 | wc -c" if mode == "Pipe" else "cat /opt/ml/input/data/train/* | wc -c"
    d = s.completed(script, channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": mode})
    text, channel = described(s, d["TrainingJobName"])
    assert "The data is the bottleneck: the trainer waited for it " in text, text
    assert channel["bottleneck"] == "data" and channel["feed"]["bytes"] >= 16 << 20
    assert channel["feed"]["wait_store_ms"] > channel["feed"]["active_ms"] / 2 > 1000
    got = metrics(s)
    assert of_channel(got, "bloomery_channel_wait_seconds_total", d["TrainingJobName"], "train", for_="data") > 1
    assert of_channel(got, "bloomery_channel_info", d["TrainingJobName"], "train", mode=mode,
                      way="piped" if mode == "Pipe" else "fused") == 1
    line.listener.close()


def test_nobody_has_read_it(server):
    uri = server.put("watch-unread/", {"a": b"1"})
    name = server.completed("true", channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": "Pipe"})["TrainingJobName"]
    text, channel = described(server, name)
    assert "Nobody has read it.\n" in text and channel["feed"]["epochs"] == 0


def test_follow_prints_the_channels_lines(server, tmp_path):
    (tmp_path / "x").write_text("12345")
    done = server.bloomery("train", "--image", "busy", "--channel", f"train={tmp_path}/x", "--input-mode", "Pipe", "--follow",
                           "--hp", "script=cat /opt/ml/input/data/train_0", "--output", "s3://bucket/out")
    assert done.returncode == 0, done.stderr
    assert "channel 'train': Pipe, 1 object, 5 bytes" in done.stdout and "channel 'train': 1 epoch begun, 1 object" in done.stdout


def test_the_guide_computes_what_a_job_reads(server):
    text = (ROOT / "doc/channels.md").read_text()
    rule = {}
    exec(re.search(r"```python\n(MASK.*?)```", text, re.S)[1], rule)
    assert rule["order"](10, 7, 0) == [2, 0, 5, 7, 3, 9, 8, 1, 4, 6] and "2 0 5 7 3 9 8 1 4 6" in text
    assert rule["order"](10, 7, 1) == [7, 4, 5, 6, 1, 2, 0, 8, 3, 9] and "7 4 5 6 1 2 0 8 3 9" in text
    assert sorted(rule["order"](10, -3, 4, 0, 3) + rule["order"](10, -3, 4, 1, 3) + rule["order"](10, -3, 4, 2, 3)) == list(range(10))
    uri = server.put("watch-order/", {f"{i:02}": b"%d " % i for i in range(30)})
    r = server.request("for e in 0 1 2; do cat /opt/ml/input/data/train_$e; echo; done", channels={"train": uri},
                       AlgorithmSpecification={"TrainingInputMode": "Pipe"})
    r["InputDataConfig"][0]["ShuffleConfig"] = {"Seed": -987654321}
    server.sm.create_training_job(**r)
    assert server.wait(r["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    lines = [line for line in server.logs(r["TrainingJobName"]) if re.fullmatch(r"(\d+ )+", line)]
    assert [[int(n) for n in line.split()] for line in lines] == [rule["order"](30, -987654321, e) for e in range(3)]


def test_an_epoch_that_is_opened_twice_is_given_twice(server):
    """What doc/channels.md promises: the second reader of a name gets all of it, while the first still reads."""
    uri = server.put("watch-twice/", {"a": b"x" * (4 << 20)})
    script = ("cd /opt/ml/input/data; exec 3< train_0; dd bs=1000 count=1 <&3 2>/dev/null | wc -c; cat train_0 | wc -c; cat <&3 | wc -c; "
              "ls | grep train_ | tr '\\n' ' '; echo; cat train_0 | wc -c")
    name = server.completed(script, channels={"train": uri}, AlgorithmSpecification={"TrainingInputMode": "Pipe"})["TrainingJobName"]
    lines = [line for line in server.logs(name) if not line.startswith("channel ")]
    assert lines == ["1000", str(4 << 20), str((4 << 20) - 1000), "train_0 train_1 ", str(4 << 20)]
    text, channel = described(server, name)
    assert channel["feed"]["bytes"] == 3 * (4 << 20) and channel["feed"]["epochs"] == 3 and channel["feed"]["epoch"] == 0
