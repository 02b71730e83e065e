# Data that are read while the trainer runs: odd keys, read-only, objects that are replaced or deleted meanwhile, objects
# of any size, and a store that goes away for a while.
# SPDX-License-Identifier: Apache-2.0
import glob
import json
import os
import signal
import sqlite3
import threading
import time
import uuid

import pytest

import conftest
from feed_reader import (House, SplitMix, channel, epoch_bytes, epochs_of, files_of, lines_of, listed, model_files, said, sha, some_bytes, tree_of, tree_wanted)

BLOCK = some_bytes(1 << 20, "block")


@pytest.fixture(scope="module")
def house(rootfs):
    h = House(rootfs)
    yield h
    h.close()


@pytest.fixture(params=["links", "fuse", "other"])
def store(request):
    return request.param


def start(house, store, script, channels, **kw):
    server = house.all[store]
    r = server.request(script.replace("\n", " "), image="feeder", **kw)
    r["InputDataConfig"] = channels
    server.sm.create_training_job(**r)
    return r["TrainingJobName"]


def finished(house, store, name, want="Completed", timeout=120):
    server = house.all[store]
    d = server.wait(name, timeout=timeout)
    assert d["TrainingJobStatus"] == want, (d.get("FailureReason"), server.logs_or_nothing(name)[-20:])
    assert server.leftovers() == []
    return d


def job(house, store, script, channels, timeout=120, **kw):
    return model_files(house.store(store), finished(house, store, start(house, store, script, channels, **kw), timeout=timeout))


def let_go(go, count=1):
    """Makes the file `go` in the container of whoever has it among its arguments."""
    done = 0
    for p in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            argv = open(p, "rb").read().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"feed_reader") and go.encode() in argv:
            open(f"{os.path.dirname(p)}/root{go}", "w").close()
            done += 1
    assert done == count, f"{done} processes wait for {go}"


def new_go():
    return "/tmp/go-" + uuid.uuid4().hex


# ---- keys ----

ODD = {k: some_bytes(10 + 7 * i, k) for i, k in enumerate([
    " leading", "trailing ", "two  spaces", "é", "e\u0301", "日本/語", "\U0001f600", "'single'", '"double"', "`back`", "$HOME", "a&b<c>d",
    "semi;colon", "back\\slash", "per%20cent", "plus+plus", "question?mark", "hash#tag", "star*", "[brackets]", "{braces}", "~tilde",
    ".hidden", "..two", "...", ".dir/.file", "-rf", "--", "new\nline", "tab\there", "a=b,c@d:e|f", "dir/file", "dir.txt", "dir-x",
    "deep/" * 40 + "leaf", "x" * 255, "é" * 127, "CASE", "case"])}
LONGEST = "/".join(["k" * 255] * 3) + "/"
ODD[LONGEST + "k" * (1024 - len("odd/" + LONGEST))] = b"the longest key there is"
EMPTY = {"zero": b"", "sub/zero": b"", "folder/": b"", "folder/in/": b"", "just/folder/": b""}


@pytest.fixture(scope="module")
def odd(house):
    objects = {"odd/" + k: v for k, v in {**ODD, **EMPTY}.items()}
    assert max(len(k.encode()) for k in objects) == 1024
    house.put(objects)
    return objects


def test_odd_keys(house, store, odd):
    got = job(house, store, "cd /opt/ml/model; for m in file fast; do feed_reader tree /opt/ml/input/data/$m >$m || exit 9; done; "
              "feed_reader epochs pipe 0 1 block >pipe && feed_reader epochs records 0 1 block >records",
              [channel("file", "s3://bucket/odd/", "File"), channel("fast", "s3://bucket/odd/", "FastFile"),
               channel("pipe", "s3://bucket/odd/", "Pipe"), channel("records", "s3://bucket/odd/", "Pipe", wrapped=True)])
    keys = listed(odd, "odd/")
    wanted = tree_wanted(*files_of(odd, keys, "odd/"))
    assert tree_of(got["file"]) == wanted
    assert tree_of(got["fast"]) == wanted
    data = b"".join(odd[k] for k in keys)
    assert epochs_of(got["pipe"]) == {0: (len(data), sha(data))}
    data = epoch_bytes([[odd[k]] for k in keys], 0, wrapped=True)
    assert epochs_of(got["records"]) == {0: (len(data), sha(data))}


def test_keys_in_manifests(house, store, odd):
    keys = listed(odd, "odd/")[::-1]
    lines = [{"x-ref": f"s3://bucket/{k}"} for k in keys]
    house.put({"odd.manifest": json.dumps([{"prefix": "s3://bucket/odd/"}] + [k[4:] for k in keys]).encode(),
               "odd.jsonl": "\n".join(json.dumps(l) for l in lines).encode()})      # the last line has no newline
    got = job(house, store, "cd /opt/ml/model; feed_reader tree /opt/ml/input/data/file >file || exit 9; "
              "feed_reader epochs pipe 0 1 block >pipe && feed_reader epochs lines 0 1 block >lines",
              [channel("file", "s3://bucket/odd.manifest", "File", "ManifestFile"),
               channel("pipe", "s3://bucket/odd.manifest", "Pipe", "ManifestFile"),
               channel("lines", "s3://bucket/odd.jsonl", "Pipe", "AugmentedManifestFile", attributes=["x-ref"])])
    assert tree_of(got["file"]) == tree_wanted(*files_of(odd, keys, "odd/"))
    data = b"".join(odd[k] for k in keys)
    assert epochs_of(got["pipe"]) == epochs_of(got["lines"]) == {0: (len(data), sha(data))}


@pytest.mark.parametrize("mode", ("File", "FastFile"))
def test_a_key_that_is_no_path_fails_the_job(house, store, mode):
    house.put({"slashes/a//b": b"1", "slashes/ok": b"2"})
    d = finished(house, store, start(house, store, "true", [channel("train", "s3://bucket/slashes/", mode)]), want="Failed")
    assert "s3://bucket/slashes/a//b has an illegal char sub-sequence '//' in it" in d["FailureReason"]


def test_a_key_that_is_no_path_can_be_piped(house, store):
    objects = {"strange/a//b": b"1", "strange/../up": b"2", "strange/./x": b"3", "strange/" + "n" * 300: b"4"}
    house.put(objects)
    got = job(house, store, "feed_reader epochs p 0 1 block >/opt/ml/model/p", [channel("p", "s3://bucket/strange/", "Pipe")])
    data = b"".join(objects[k] for k in listed(objects, "strange/"))
    assert epochs_of(got["p"]) == {0: (len(data), sha(data))}


def test_a_file_and_a_folder_of_one_name(house, store):
    house.put({"clash/a": b"1", "clash/a/b": b"2"})
    for mode in ("File", "FastFile"):
        d = finished(house, store, start(house, store, "true", [channel("train", "s3://bucket/clash/", mode)]), want="Failed")
        assert "clash/a" in d["FailureReason"] and "clash/a/b" in d["FailureReason"], d["FailureReason"]


# ---- FastFile is read-only and complete ----

WRITES = """rm a; rm -f a; rm -rf sub; mv a z; mkdir new; rmdir sub; touch new; touch a; echo x >a; echo x >>a; chmod 777 a; chmod 777 .;
chown 1 a; ln a hard; ln -s a soft; mkfifo f; truncate -s 0 a; dd if=/dev/zero of=a conv=notrunc bs=1 count=1;
mv /tmp/mine sub; cp /tmp/mine new; mv sub z; mv a sub/a; ln /opt/ml/input/data/train/a /tmp/hard; mv . ../away; rm -rf .;
mount -o remount,rw .; mount -o remount,rw,bind /opt/ml/input/data/train; umount /opt/ml/input/data/train; mv ../train ../t2; rmdir ../train;
chattr -i a; setfattr -n user.x -v y a"""


def test_fast_file_is_read_only(house, store):
    objects = {"ro/a": b"first", "ro/sub/b": b"second"}
    house.put(objects)
    script = "cd /opt/ml/input/data/train; echo >/tmp/mine; "
    script += "; ".join(f"({w.strip()}) 2>>/tmp/err && echo \"DONE {w.strip()}\"" for w in WRITES.replace("\n", "").split(";") if w.strip())
    script += "; grep -c 'Read-only file system' /tmp/err >/opt/ml/model/n; feed_reader tree /opt/ml/input/data/train >/opt/ml/model/t"
    name = start(house, store, script, [channel("train", "s3://bucket/ro/", "FastFile")])
    got = model_files(house.store(store), finished(house, store, name))
    assert [l for l in house.all[store].logs(name) if "DONE" in l] == []
    assert int(got["n"]) >= 15
    assert tree_of(got["t"]) == tree_wanted(*files_of(objects, listed(objects, "ro/"), "ro/"))
    for key, data in objects.items():
        assert house.store(store).s3.get_object(Bucket="bucket", Key=key)["Body"].read() == data


def test_a_listing_is_complete_at_once(house, store):
    objects = {f"many/{i % 7}/{i:05d}": b"%d" % i for i in range(1200)}
    for name in ("links", "fuse"):
        threads = [threading.Thread(target=house.put, args=(part, (name,))) for part in
                   [dict(list(objects.items())[i::4]) for i in range(4)]]
        [t.start() for t in threads]
        [t.join() for t in threads]
    got = job(house, store, "cd /opt/ml/input/data/train; find . -type f | sort >/opt/ml/model/l; ls 3 | wc -l >/opt/ml/model/n; "
              "find . -type f -exec cat {} + | wc -c >/opt/ml/model/c; ls -ld . 3 3/00003 >/opt/ml/model/modes; "
              "test ! -e nothing && test ! -e 3/nothing && test ! -e 3/00003/x", [channel("train", "s3://bucket/many/", "FastFile")])
    assert got["l"].decode().split() == ["./" + k[5:] for k in listed(objects, "many/")]
    assert int(got["n"]) == len(range(3, 1200, 7))
    assert int(got["c"]) == sum(map(len, objects.values()))
    for line, kind in zip(got["modes"].decode().splitlines(), "dd-"):
        assert line[0] == kind and line.split()[2:4] == ["root", "root"], line
        assert line.startswith(("drwxr-xr-x", "-rw-r--r--", "dr-xr-xr-x", "-r--r--r--")), line


def test_random_access(house, store):
    data = BLOCK * 40
    house.put({"random/big": data})
    got = job(house, store, "f=/opt/ml/input/data/train/big; feed_reader random $f 42 500 131072 >/opt/ml/model/r; "
              "dd if=$f bs=1M 2>/dev/null | sha256sum >/opt/ml/model/s; tail -c 1000 $f | sha256sum >/opt/ml/model/t; "
              "feed_reader at $f 41943040 10 >/opt/ml/model/end; feed_reader at $f 41943030 4096 >/opt/ml/model/last",
              [channel("train", "s3://bucket/random/", "FastFile")])
    rng = SplitMix(42)
    places = [rng.next() % len(data) for _ in range(500)]
    seen = b"".join(data[at:at + 131072] for at in places)
    assert lines_of(got["r"])[0]["sha256"] == sha(seen)
    assert got["s"].split()[0].decode() == sha(data)
    assert got["t"].split()[0].decode() == sha(data[-1000:])
    assert lines_of(got["end"])[0]["hex"] == "" and lines_of(got["last"])[0]["hex"] == data[-10:].hex()


# ---- one object of a terabyte ----

TERABYTE = 1 << 40


@pytest.fixture(scope="module")
def terabyte(house):
    """A sparse object in each store: put small, then its file and its row are made larger while the server is down."""
    for name in ("links", "fuse"):
        s = house.all[name]
        s.s3.put_object(Bucket="bucket", Key="tera/byte", Body=b"first bytes")
        s.stop()
        path = glob.glob(str(s.data / "**/objects.db"), recursive=True)[0]
        with sqlite3.connect(path) as db:
            object_id, = db.execute("SELECT id FROM object WHERE key = ?", (b"tera/byte",)).fetchone()
            db.execute("UPDATE object SET size = ? WHERE key = ?", (TERABYTE, b"tera/byte"))
        db.close()
        file, = glob.glob(str(s.data / f"objects/{object_id[:2]}/{object_id}"))
        os.truncate(file, TERABYTE)
        with open(file, "r+b") as f:
            f.seek(TERABYTE - 10)
            f.write(b"last bytes")
        s.start()


def test_a_terabyte(house, store, terabyte):
    got = job(house, store, f"f=/opt/ml/input/data/train/byte; o=/opt/ml/model; feed_reader at $f 0 11 >$o/a; feed_reader at $f {TERABYTE - 10} 100 >$o/b; "
              f"feed_reader at $f {TERABYTE // 2} 16 >$o/c; stat -c %s $f >$o/size; feed_reader epochs p 0 1 block 11 >$o/p",
              [channel("train", "s3://bucket/tera/", "FastFile"), channel("p", "s3://bucket/tera/", "Pipe")])
    assert int(got["size"]) == TERABYTE
    wanted = {"a": b"first bytes", "b": b"last bytes", "c": bytes(16)}
    for f, data in wanted.items():
        line, = lines_of(got[f])
        assert line["hex"] == data.hex()
        assert line["seconds"] < 1
    assert epochs_of(got["p"]) == {0: (11, sha(b"first bytes"))}


# ---- objects that are replaced and deleted meanwhile ----

def test_replaced_between_epochs(house, store):
    """Epochs after a change show the first version, or (another S3, which keeps none) the job fails and says why."""
    prefix = f"change-{store}/"
    first = {prefix + f"{i}": some_bytes(300_000, f"{store} {i}") for i in range(8)}
    house.put(first, [store if store == "fuse" else "links"])
    s3, go = house.store(store).s3, new_go()
    name = start(house, store, "feed_reader epochs train 0 1 block >/opt/ml/model/a; "
                 f"feed_reader hold /dev/null 0 {go}; feed_reader epochs train 1 2 block >/opt/ml/model/b",
                 [channel("train", f"s3://bucket/{prefix}", "Pipe", seed=5)])
    said(house.all[store], name, '"held"')
    s3.put_object(Bucket="bucket", Key=prefix + "3", Body=some_bytes(300_000, "second"))
    s3.put_object(Bucket="bucket", Key=prefix + "4", Body=b"short")
    s3.delete_object(Bucket="bucket", Key=prefix + "5")
    time.sleep(1)
    let_go(go)
    d = house.all[store].wait(name, timeout=90)
    units = [[first[k]] for k in listed(first, prefix)]
    if d["TrainingJobStatus"] == "Failed" and store == "other":
        assert "train" in d["FailureReason"] and prefix in d["FailureReason"], d["FailureReason"]
    else:
        assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
        files = model_files(house.store(store), d)
        got = {**epochs_of(files["a"]), **epochs_of(files["b"])}
        for e in range(3):
            assert got[e][1] == sha(epoch_bytes(units, e, 5)), f"epoch {e}"
    assert house.all[store].leftovers() == []


@pytest.mark.parametrize("how", ("replaced", "deleted"))
def test_changed_while_a_file_is_read(house, store, how):
    """A file that is open, and one that is opened only afterwards: their first versions, or an error, and never a mixture."""
    prefix, go = f"{how}-{store}/", new_go()
    first = {prefix + n: some_bytes(64 << 20, how + n) for n in ("open", "later")}
    house.put(first, [store if store == "fuse" else "links"])
    s3 = house.store(store).s3
    name = start(house, store, f"cd /opt/ml/input/data/train; feed_reader hold $PWD/open 100000 {go} >/tmp/open & while ! grep -q held /tmp/open; do sleep 0.05; "
                 "done; echo is-held; wait; feed_reader hold $PWD/later 0 /tmp >/tmp/later; cat /tmp/open /tmp/later; cp /tmp/open /tmp/later /opt/ml/model/; "
                 "if grep -q EIO /tmp/open /tmp/later; then echo failing >&2; exit 1; fi",
                 [channel("train", f"s3://bucket/{prefix}", "FastFile")])
    said(house.all[store], name, "is-held")
    for key, data in first.items():
        if how == "replaced":
            s3.put_object(Bucket="bucket", Key=key, Body=data[::-1])
        else:
            s3.delete_object(Bucket="bucket", Key=key)
    time.sleep(1)
    let_go(go)
    d = house.all[store].wait(name, timeout=90)
    files = [l for l in house.all[store].logs(name) if '"path"' in l]
    assert len(files) == 2
    wanted = {k.split("/")[1]: sha(v) for k, v in first.items()}
    for line in map(lambda l: lines_of(l)[0], files):
        leaf = line["path"].split("/")[-1]
        if store == "other":
            assert line["error"] == "EIO" or line["sha256"] == wanted[leaf], line
            whole = first[prefix + leaf]
            assert line["sha256"] == sha(whole[:line["bytes"]]), "what was given is of the first version"
        else:
            assert line["error"] == "" and line["sha256"] == wanted[leaf], line
    if store == "other":
        assert d["TrainingJobStatus"] == "Failed" and prefix in d["FailureReason"], d
    else:
        assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    assert house.all[store].leftovers() == []


# ---- a store that is gone for a while ----

@pytest.fixture
def elsewhere(house, make_server):
    """A store of its own, and a server that takes its data from there."""
    far = make_server("stop_grace_seconds = 3\n")
    key = far.exports
    near = conftest.Server(house.base / ("near-" + uuid.uuid4().hex[:6]), conf=House.BASE + f"s3_endpoint = {far.url}\n"
                           f"s3_access_key = {key['AWS_ACCESS_KEY_ID']}\ns3_secret_key = {key['AWS_SECRET_ACCESS_KEY']}\n").start()
    assert near.bloomery("image", "import", "feeder", house.image).returncode == 0
    yield far, near
    assert near.leftovers() == []
    near.stop()


def kill(server):
    for pid in server.pids("bloomeryd"):
        os.kill(pid, signal.SIGKILL)
    server.up.wait(60)


def test_the_store_is_gone_for_ten_seconds(elsewhere):
    far, near = elsewhere
    objects = {"gone/big": BLOCK * 200, "gone/small": b"small"}
    files = {f"gonefile/{i:04d}": some_bytes(20_000, i) for i in range(6000)}
    far.put("", objects)
    parts = [dict(list(files.items())[i::8]) for i in range(8)]
    threads = [threading.Thread(target=far.put, args=("", p)) for p in parts]
    [t.start() for t in threads]
    [t.join() for t in threads]
    go, names = new_go(), {}

    def create(kind, script, c):
        r = near.request(script, image="feeder")
        r["InputDataConfig"] = [c]
        near.sm.create_training_job(**r)
        names[kind] = r["TrainingJobName"]
    create("pipe", f"feed_reader hold /opt/ml/input/data/train_0 100000 {go}; feed_reader epochs train 1 1 block",
           channel("train", "s3://bucket/gone/", "Pipe"))
    create("fast", f"feed_reader hold /opt/ml/input/data/train/big 100000 {go}; feed_reader tree /opt/ml/input/data/train",
           channel("train", "s3://bucket/gone/", "FastFile"))
    for kind in ("pipe", "fast"):
        said(near, names[kind], '"held"')
    create("file", "feed_reader tree /opt/ml/input/data/train >/opt/ml/model/t", channel("train", "s3://bucket/gonefile/", "File"))
    near.wait(names["file"], until={"Downloading"})
    time.sleep(0.2)
    assert near.describe(names["file"])["SecondaryStatus"] == "Downloading", "the outage is to be in the middle"
    kill(far)
    let_go(go, 2)
    time.sleep(10)
    for name in names.values():
        assert near.describe(name)["TrainingJobStatus"] == "InProgress", near.describe(name)
    far.start()
    for name in names.values():
        d = near.wait(name, timeout=120)
        assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    whole = objects["gone/big"] + objects["gone/small"]
    held, epoch = [lines_of(l)[0] for l in near.logs(names["pipe"]) if '"sha256"' in l]
    assert held["sha256"] == epoch["sha256"] == sha(whole) and held["error"] == ""
    held, *tree = [lines_of(l)[0] for l in near.logs(names["fast"]) if '"sha256"' in l]
    assert held["sha256"] == sha(objects["gone/big"]) and held["error"] == ""
    assert {l["sha256"] for l in tree} == {sha(v) for v in objects.values()}
    got = tree_of(model_files(far, near.describe(names["file"]))["t"])
    assert got == tree_wanted(*files_of(files, listed(files, "gonefile/"), "gonefile/"))


def test_the_store_stays_away(elsewhere):
    """Not for ever: the job ends, and says which channel could not be fed."""
    far, near = elsewhere
    far.put("", {"away/big": BLOCK * 200})
    go = new_go()
    r = near.request(f"feed_reader hold /opt/ml/input/data/train/big 100000 {go}; exit 1", image="feeder")
    r["InputDataConfig"] = [channel("train", "s3://bucket/away/", "FastFile")]
    near.sm.create_training_job(**r)
    said(near, r["TrainingJobName"], '"held"')
    kill(far)
    let_go(go)
    time.sleep(3)
    near.sm.stop_training_job(TrainingJobName=r["TrainingJobName"])
    d = near.wait(r["TrainingJobName"], timeout=60)       # a reader that hangs in a read does not keep the job
    assert d["TrainingJobStatus"] == "Stopped", d
    assert near.leftovers() == []
    far.start()
