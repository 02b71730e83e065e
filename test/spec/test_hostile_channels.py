# Manifests that mean harm, and containers that tamper with the channels they are fed through: the job fails with a
# sentence or goes on, the machine's own files stay what they are, and nothing is left behind.
# SPDX-License-Identifier: Apache-2.0
import glob
import gzip
import json
import os
import signal
import subprocess
import time

import conftest
import pytest

from feed_reader import House, channel, epochs_of, lines_of, listed, model_files, said, sha, some_bytes, tree_of

DATA = {f"h/data/{i}": some_bytes(400_000 + i, f"h{i}") for i in range(6)}
WHOLE = b"".join(DATA[k] for k in listed(DATA, "h/data/"))


@pytest.fixture(scope="module")
def house(rootfs):
    h = House(rootfs)
    h.put(DATA)
    h.links.s3.create_bucket(Bucket="another")
    h.links.s3.put_object(Bucket="another", Key="there/x", Body=b"another bucket's")
    yield h
    h.close()


@pytest.fixture(params=["links", "other"])
def store(request):
    return request.param


def run(house, store, script, channels, timeout=60, **kw):
    server = house.all[store]
    r = server.request(script.replace("\n", " "), image="feeder", **kw)
    r["InputDataConfig"] = channels
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"], timeout=timeout)
    assert server.leftovers() == []
    return d


def completed(house, store, script, channels, **kw):
    d = run(house, store, script, channels, **kw)
    assert d["TrainingJobStatus"] == "Completed", (d["FailureReason"], house.all[store].logs_or_nothing(d["TrainingJobName"])[-20:])
    return model_files(house.store(store), d)


def resident(server):
    """The largest that any daemon of the server has been, in MiB."""
    peak = 0
    for pid in server.pids("bloomeryd") + server.pids("bloomery-host"):
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]) >> 10)
    return peak


# ---- manifests ----

GOOD = '"s3://bucket/h/data/"'
MANIFESTS = {
    "empty": b"", "blank": b" \n", "null": b"null", "an object": b"{}", "a string": b'"x"', "an empty array": b"[]",
    "no prefix": b'["0"]', "an empty first": b"[{}]", "a prefix that is empty": b'[{"prefix": ""}, "0"]',
    "a prefix that is a number": b'[{"prefix": 5}, "0"]', "a prefix of another service": b'[{"prefix": "http://x/y/"}, "0"]',
    "a prefix without bucket": b'[{"prefix": "s3://"}, "0"]', "a prefix in no bucket": b'[{"prefix": "s3://no-such-bucket-anywhere/"}, "0"]',
    "a bucket name that climbs": b'[{"prefix": "s3://../../etc/"}, "passwd"]',
    "an entry that is a number": b'[{"prefix": ' + GOOD.encode() + b"}, 5]",
    "an entry that is an array": b'[{"prefix": ' + GOOD.encode() + b'}, ["0"]]',
    "a second prefix": b'[{"prefix": ' + GOOD.encode() + b'}, {"prefix": "s3://bucket/h/"}, "0"]',
    "an object that is not there": b'[{"prefix": ' + GOOD.encode() + b'}, "0", "nothing"]',
    "cut short": b'[{"prefix": ' + GOOD.encode() + b'}, "0"', "cut short in a string": b'[{"prefix": ' + GOOD.encode() + b'}, "0',
    "more after it": b'[{"prefix": ' + GOOD.encode() + b'}, "0"] []', "bad UTF-8": b'[{"prefix": ' + GOOD.encode() + b'}, "\xff\xfe"]',
    "overlong UTF-8": b'[{"prefix": ' + GOOD.encode() + b'}, "\xc0\xaf"]', "half a pair": b'[{"prefix": ' + GOOD.encode() + b'}, "\\ud800"]',
    "NUL": b'[{"prefix": ' + GOOD.encode() + b'}, "0\x00"]', "a NUL by name": b'[{"prefix": ' + GOOD.encode() + b'}, "0\\u0000"]',
    "deep": b"[" * 1_000_000, "deep objects": b'{"a":' * 1_000_000, "deep entry": b'[{"prefix": ' + GOOD.encode() + b"}, " + b"[" * 500_000 + b"]" * 500_000 + b"]",
    "a long string": b'[{"prefix": ' + GOOD.encode() + b'}, "' + b"x" * 30_000_000 + b'"]', "a long key": b'[{"prefix": ' + GOOD.encode() + b'}, "' + b"x" * 1025 + b'"]',
    "all blanks": b" " * 30_000_000, "binary": os.urandom(1_000_000), "comments": b'/* x */ [{"prefix": ' + GOOD.encode() + b'}, "0"]',
    "no comma": b'[{"prefix": ' + GOOD.encode() + b'} "0"]', "a comma too many": b'[{"prefix": ' + GOOD.encode() + b'}, "0",]',
}


def start_or_refuse(house, store, c):
    """Many jobs are made at once: the name of the job, or the words of the refusal."""
    import botocore.exceptions
    server = house.all[store]
    r = server.request("feed_reader epochs train 0 1 block", image="feeder")
    r["InputDataConfig"] = [c]
    try:
        server.sm.create_training_job(**r)
    except botocore.exceptions.ClientError as ex:
        assert ex.response["Error"]["Code"] == "ValidationException", ex
        return None, ex.response["Error"]["Message"]
    return r["TrainingJobName"], None


def fail_all(house, store, kind, texts, make):
    server, wrong, began = house.all[store], [], time.monotonic()
    jobs = {}
    for what, text in texts.items():
        key = f"h/{kind}/{what}"
        house.links.s3.put_object(Bucket="bucket", Key=key, Body=text)
        jobs[what] = start_or_refuse(house, store, make(key))
    for what, (name, why) in jobs.items():
        if name:
            d = server.wait(name, timeout=100)
            why = d.get("FailureReason", "")
            if d["TrainingJobStatus"] != "Failed":
                wrong.append(f"{what}: {d['TrainingJobStatus']}")
            elif not why.startswith("ClientError: "):
                wrong.append(f"{what}: not the client's fault? {why}")
        if not why or len(why) > 1024 or "train" not in why and kind not in why and "h/data/" not in why and "no-such" not in why:
            wrong.append(f"{what}: {why!r}")
        print(f"{what}: {why}")
    assert not wrong, "\n".join(wrong)
    assert server.leftovers() == []
    assert time.monotonic() - began < 100
    assert resident(server) < 700
    assert server.sm.list_training_jobs(MaxResults=1)["TrainingJobSummaries"]


def test_hostile_manifests(house, store):
    fail_all(house, store, "manifests", MANIFESTS, lambda key: channel("train", f"s3://bucket/{key}", "Pipe", "ManifestFile"))


REF = '{"a-ref": "s3://bucket/h/data/0", "n": 1}\n'
LINES = {
    "no JSON": b"hello\n", "an array": b"[]\n", "a number": b"5\n", "an attribute that is missing": b'{"n": 1}\n',
    "a second line without": REF.encode() + b'{"a-ref": "s3://bucket/h/data/0"}\n', "another case": b'{"A-ref": "s3://bucket/h/data/0", "N": 1}\n',
    "a reference that is a number": b'{"a-ref": 7, "n": 1}\n', "a reference to nothing": b'{"a-ref": "s3://bucket/h/data/none", "n": 1}\n',
    "a reference to no address": b'{"a-ref": "h/data/0", "n": 1}\n', "a reference to a file": b'{"a-ref": "file:///etc/passwd", "n": 1}\n',
    "a reference that climbs": b'{"a-ref": "s3://../../../etc/passwd", "n": 1}\n', "a reference to a prefix": b'{"a-ref": "s3://bucket/h/data/", "n": 1}\n',
    "a reference to a bucket": b'{"a-ref": "s3://bucket", "n": 1}\n', "an empty reference": b'{"a-ref": "", "n": 1}\n',
    "cut short": REF.encode() + REF.encode()[:20], "two on a line": REF.strip().encode() * 2, "bad UTF-8": b'{"a-ref": "s3://bucket/h/data/0", "n": "\xff"}\n',
    "half a pair": b'{"a-ref": "s3://bucket/h/data/0", "n": "\\udc00"}\n', "NUL": b'{"a-ref": "s3://bucket/h/data/0", "n": "\x00"}\n',
    "deep": b'{"a-ref": "s3://bucket/h/data/0", "n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n", "one endless line": b'{"n": "' + b"x" * 100_000_000,
    "binary": os.urandom(1_000_000), "empty": b"", "blank lines only": b"\n\n \n",
}


def test_hostile_augmented_manifests(house, store):
    fail_all(house, store, "lines", LINES, lambda key: channel("train", f"s3://bucket/{key}", "Pipe", "AugmentedManifestFile", attributes=["n", "a-ref"]))


def test_lines_that_are_odd_and_right(house, store):
    lines = [b'{"n": "\\u0000\\u001f", "a-ref": "s3://bucket/h/data/0"}', b'', b'  {"n":1,"a-ref":"s3://another/there/x"}  \r', b'\t',
             b'{"n": "\\ud83d\\ude00", "a-ref": "s3://bucket/h/data/1", "more": {"n": 2}}', b'{"a-ref": "s3:\\/\\/bucket\\/h\\/data\\/2", "n": ""}']
    house.links.s3.put_object(Bucket="bucket", Key="h/odd.jsonl", Body=b"\n".join(lines))
    got = completed(house, store, "feed_reader epochs train 0 1 block >/opt/ml/model/t",
                    [channel("train", "s3://bucket/h/odd.jsonl", "Pipe", "AugmentedManifestFile", attributes=["n", "a-ref"])])
    data = (b"\0\x1f" + DATA["h/data/0"] + b"1another bucket's" + "\U0001f600".encode() + DATA["h/data/1"] + DATA["h/data/2"])
    assert epochs_of(got["t"]) == {0: (len(data), sha(data))}


def test_a_prefix_in_another_bucket(house, store):
    house.links.s3.put_object(Bucket="bucket", Key="h/another.manifest", Body=b'[{"prefix": "s3://another/the"}, "re/x"]')
    got = completed(house, store, "feed_reader epochs p 0 1 block >/opt/ml/model/p; feed_reader tree /opt/ml/input/data/f >/opt/ml/model/f",
                    [channel("p", "s3://bucket/h/another.manifest", "Pipe", "ManifestFile"),
                     channel("f", "s3://bucket/h/another.manifest", "File", "ManifestFile")])
    assert epochs_of(got["p"]) == {0: (16, sha(b"another bucket's"))}
    assert list(tree_of(got["f"])[0].values()) == [(16, sha(b"another bucket's"))]


def test_one_object_a_hundred_thousand_times(house, store):
    count = 100_000
    house.links.s3.put_object(Bucket="bucket", Key="h/tiny", Body=b"tiny")
    house.links.s3.put_object(Bucket="bucket", Key="h/often.manifest", Body=json.dumps([{"prefix": "s3://bucket/h/"}] + ["tiny"] * count).encode())
    house.links.s3.put_object(Bucket="bucket", Key="h/often.jsonl", Body=b'{"n": "line", "m": {"x": 1}}\n' * count)
    got = completed(house, store, "feed_reader epochs p 0 1 block >/opt/ml/model/p; feed_reader epochs l 0 1 block >/opt/ml/model/l",
                    [channel("p", "s3://bucket/h/often.manifest", "Pipe", "ManifestFile"),
                     channel("l", "s3://bucket/h/often.jsonl", "Pipe", "AugmentedManifestFile", attributes=["n"], seed=3)], timeout=200)
    assert epochs_of(got["p"]) == {0: (4 * count, sha(b"tiny" * count))}
    assert epochs_of(got["l"]) == {0: (4 * count, sha(b"line" * count))}
    assert resident(house.all[store]) < 700


def test_objects_that_are_no_gzip(house, store):
    whole = gzip.compress(b"x" * 100_000)
    bad = {"plain": b"hello", "cut": whole[:-9], "crc": whole[:-8] + b"\0\0\0\0" + whole[-4:], "more": whole + b"garbage", "one": b"\x1f"}
    for what, data in bad.items():
        house.links.s3.put_object(Bucket="bucket", Key=f"h/gz/{what}/o", Body=data)
        for wrapped in (False, True):
            d = run(house, store, "feed_reader epochs train 0 1 block; sleep 20",
                    [channel("train", f"s3://bucket/h/gz/{what}/", "Pipe", gz=True, wrapped=wrapped)])
            assert d["TrainingJobStatus"] == "Failed", what
            assert "train" in d["FailureReason"] and f"h/gz/{what}/o" in d["FailureReason"], (what, d["FailureReason"])
            assert d["FailureReason"].startswith("ClientError: "), d["FailureReason"]


# ---- containers ----

# What is done in the container between epoch 0 and the next: the job may fail for it, with the channel's name, or go on.
TAMPER = {
    "the FIFO is a link to the machine's file": "rm -f train_1; ln -s %s train_1",
    "the FIFO is a link that climbs": "rm -f train_1; ln -s ../../../../../../../../../../../..%s train_1",
    "every name is a link": "i=0; while [ $i -lt 40 ]; do ln -sf %s train_$i; i=$((i+1)); done",
    "the FIFO is a file": "rm -f train_1; echo mine >train_1",
    "the FIFO is a directory": "rm -f train_1; mkdir -p train_1/x",
    "the FIFO is a device": "rm -f train_1; mknod train_1 c 1 5",
    "the FIFO is another": "rm -f train_1; mkfifo train_1",
    "the FIFO is gone": "rm -f train_*",
    "the FIFO has moved": "mv train_1 ../moved",
    "the next names are directories": "i=2; while [ $i -lt 40 ]; do mkdir -p train_$i/x; i=$((i+1)); done",
    "the directory is gone": "cd /; rm -rf /opt/ml/input/data",
    "the directory has moved": "cd /; mv /opt/ml/input/data /opt/ml/input/d2; ln -s /etc /opt/ml/input/data",
    "the directory is a link to the machine": "cd /; rm -rf /opt/ml/input; ln -s %s /opt/ml/input",
    "nothing may be done": "chmod 0 . train_*; chown 1234 . train_*",
    "a writer of its own": "(exec 9<>train_1; echo mine >&9; sleep 2) & sleep 0.3",
    "a reader that reads nothing": "(exec 9<>train_1; sleep 1000) & sleep 0.3",
    "no room for another name": "dd if=/dev/zero of=/tmp/big bs=1M 2>/dev/null; cd /tmp; seq 1 80000 | xargs touch 2>/dev/null; cd /opt/ml/input/data",
}


@pytest.fixture
def treasure(tmp_path):
    """A file of the machine that nobody may write to."""
    path = tmp_path / "treasure"
    path.write_bytes(b"of the machine")
    os.chmod(path, 0o666)
    for p in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(p, 0o777)
    yield path
    assert path.read_bytes() == b"of the machine"


def test_containers_that_tamper_with_their_fifos(house, store, treasure):
    server, before, jobs, wrong = house.all[store], set(os.listdir("/etc")), {}, []
    for what, how in TAMPER.items():
        r = server.request(f"cd /opt/ml/input/data; feed_reader epochs train 0 1 block; {how.replace('%s', str(treasure))}; for e in 1 2 3; do "
                           "timeout 1 feed_reader epochs train $e 1 block; timeout 1 head -c 100 /opt/ml/input/data/train_$e >/dev/null; done; "
                           "timeout 3 feed_reader epochs safe 0 2 block; rm -rf /tmp/* 2>/dev/null; exit 0", image="feeder")
        r["InputDataConfig"] = [channel("train", "s3://bucket/h/data/", "Pipe"), channel("safe", "s3://bucket/h/data/", "Pipe")]
        server.sm.create_training_job(**r)
        jobs[what] = r["TrainingJobName"]
    for what, name in jobs.items():
        d = server.wait(name, timeout=120)
        if d["TrainingJobStatus"] == "Failed" and "train" not in d["FailureReason"] and "safe" not in d["FailureReason"]:
            wrong.append(f"{what}: {d['FailureReason']}")
        lines = [lines_of(l)[0] for l in server.logs_or_nothing(name) if l.startswith('{"channel"')]
        if not lines or (lines[0]["bytes"], lines[0]["sha256"]) != (len(WHOLE), sha(WHOLE)):
            wrong.append(f"{what}: the first epoch is {lines[:1]}")
    assert not wrong, "\n".join(wrong)
    assert server.leftovers() == []
    assert set(os.listdir("/etc")) == before


@pytest.mark.parametrize("fast", ("links", "fuse", "other"))
def test_a_container_that_holds_on_to_its_files(house, fast):
    """Open, mapped and read from by processes that stay behind."""
    d = run(house, fast, "cd /opt/ml/input/data/train; for i in 0 1 2 3; do (exec 5<$i; cd /opt/ml/input/data/train; sleep 1000) & done; "
            "(while :; do cat * >/dev/null; done) & (tail -f 0 >/dev/null) & sleep 0.5; exit 0", [channel("train", "s3://bucket/h/data/", "FastFile")])
    assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]


@pytest.mark.parametrize("fast", ("links", "fuse", "other"))
def test_a_container_that_renames_what_is_mounted(house, fast):
    got = completed(house, fast, "cd /; mv /opt/ml/input/data/train /tmp/ 2>/dev/null; mv /opt/ml/input/data /opt/ml/input/d 2>/dev/null; "
                    "mv /opt/ml/input /opt/ml/i 2>/dev/null; mv /opt /opt2 2>/dev/null; rm -rf /opt/ml/input /opt2/ml/input 2>/dev/null; "
                    "for d in /opt /opt2; do for f in $d/ml/*/d*/train/0; do test -e $f && sha256sum <$f; done; done >/tmp/s; "
                    "mkdir -p /opt/ml/model; cp /tmp/s /opt/ml/model/ || cp /tmp/s /opt2/ml/model; exit 0",
                    [channel("train", "s3://bucket/h/data/", "FastFile")])
    for key, data in DATA.items():
        assert house.store(fast).s3.get_object(Bucket="bucket", Key=key)["Body"].read() == data
    assert all(line.split()[0].decode() == sha(DATA["h/data/0"]) for line in got.get("s", b"").splitlines())


# ---- the programs that feed are killed ----

def feeders(server, program):
    return [p for p in glob.glob("/proc/[0-9]*") if is_feeder(p, program, server)]


def is_feeder(proc, program, server):
    try:
        if os.path.basename(os.readlink(proc + "/exe")) != program:
            return False
        status = open(proc + "/status").read()
        parent = int(status.split("PPid:")[1].split()[0])
        return parent in server.pids("bloomery-job")
    except OSError:
        return False


@pytest.mark.parametrize("mode,where,program", [("Pipe", "links", "bloomery-fetch"), ("Pipe", "other", "bloomery-fetch"),
                                                ("FastFile", "fuse", "bloomery-fuse"), ("FastFile", "other", "bloomery-fuse")])
@pytest.mark.parametrize("sig", (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM))
def test_a_feeder_is_killed(house, mode, where, program, sig):
    server = house.all[where]
    path = "/opt/ml/input/data/train_0" if mode == "Pipe" else "/opt/ml/input/data/train/0"
    r = server.request(f"feed_reader hold {path} 10 /nothing", image="feeder")
    r["InputDataConfig"] = [channel("train", "s3://bucket/h/data/", mode)]
    server.sm.create_training_job(**r)
    said(server, r["TrainingJobName"], '"held"')
    found = feeders(server, program)
    assert found, f"no {program} runs"
    for p in found:
        os.kill(int(p.split("/")[2]), sig)
    d = server.wait(r["TrainingJobName"], timeout=30)
    assert d["TrainingJobStatus"] == "Failed"
    assert "train" in d["FailureReason"], d["FailureReason"]
    assert server.leftovers() == []


def test_a_record_that_does_not_fit(house, store):
    """Six GiB of zeros in six MiB: its length has to be known before its first byte, and the volume has one GiB."""
    house.links.s3.put_object(Bucket="bucket", Key="h/bomb/z", Body=gzip.compress(bytes(1 << 20), 9) * 6000)
    bomb = channel("train", "s3://bucket/h/bomb/", "Pipe", gz=True, wrapped=True)
    why = run(house, store, "feed_reader records train 0; sleep 60", [bomb])["FailureReason"]
    assert why.startswith("ClientError: Data download failed:channel 'train': epoch 0: s3://bucket/h/bomb/z: Insufficient disk space"), why
    assert "VolumeSizeInGB" in why


def test_an_object_is_no_bloomery_conf(make_server):
    """Containers find their input to be root's, and bloomeryd's user may rename objects: none may become what root acts on."""
    s = make_server()
    text = b"file_system.fs-0123456789abcdef0 = mount /bin/touch /tmp/nobody-asked-for-it %d\n"
    s.s3.put_object(Bucket="bucket", Key="conf/x", Body=text)
    r = s.request("cp /opt/ml/input/data/train/x /opt/ml/model/y", channels={"train": "s3://bucket/conf/"})
    r["OutputDataConfig"]["CompressionType"] = "NONE"
    s.call("CreateTrainingJob", r)     # boto3 of Debian does not know the member
    d = s.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d
    user, conf = str(s.data.stat().st_uid), s.data / "bloomery.conf"
    s.data.parent.chmod(0o755)
    found = [p for p in (s.data / "objects").rglob("*") if p.is_file() and p.read_bytes() == text]
    assert len(found) == 2, "one is the input, one the artifact"
    assert 0 in {p.stat().st_uid for p in found}, "the input is root's"
    until = time.monotonic() + 20
    while any(p.stat().st_nlink > 1 for p in found) and time.monotonic() < until:
        time.sleep(0.05)
    s.stop()
    for p in found:
        subprocess.run(["setpriv", "--reuid", user, "--clear-groups", "mv", "-f", p, conf], check=True)
        assert conf.stat().st_nlink == 1
        up = subprocess.run([conftest.BLOOMERY, "up", "--data", s.data, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
        assert up.returncode != 0
        assert "is an object of the store" in up.stderr or "make it root's" in up.stderr, up.stderr
