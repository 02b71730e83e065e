# Pipe mode as its readers use it (contract 3.1 to 3.4): every way of opening a FIFO, readers that stop early, die, mix
# channels, overlap epochs, or never read. What they saw is compared with what an epoch is to hold.
# SPDX-License-Identifier: Apache-2.0
import re
import time

import pytest

from feed_reader import (House, channel, epoch_bytes, epochs_of, gzip_objects, lines_of, listed, members, model_files,
                         plain_objects, sha, some_bytes)

SEED = 7
# An epoch is larger than any pipe, so that a writer is in the middle of it when a reader goes.
DATA = plain_objects("r/data/", [5, 0, 700_000, 3, 1 << 20, 65536, 2_000_000, 1, 4097, 300_000])
SMALL = {f"r/small/{i}": some_bytes(40 + i, f"small {i}") for i in range(30)}
ZIPPED = gzip_objects("r/zipped/")


@pytest.fixture(scope="module")
def house(rootfs):
    h = House(rootfs)
    h.put({**DATA, **SMALL, **ZIPPED}, stores=("links",))
    yield h
    h.close()


@pytest.fixture(params=["links", "other"])
def store(request):
    return request.param


def pipe(name, uri="s3://bucket/r/data/", seed=SEED, **kw):
    return channel(name, uri, "Pipe", seed=seed, **kw)


def epoch(number, objects=DATA, prefix="r/data/", seed=SEED, limit=None, **kw):
    data = epoch_bytes([[objects[k]] for k in listed(objects, prefix)], number, seed, **kw)[:limit]
    return len(data), sha(data)


def job(house, store, script, channels, image="feeder", want="Completed", timeout=120, **kw):
    """Runs it; the files of its model."""
    server = house.all[store]
    r = server.request(script.replace("\n", " "), image=image, **kw)
    r["InputDataConfig"] = channels
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"], timeout=timeout)
    assert d["TrainingJobStatus"] == want, (d.get("FailureReason"), server.logs_or_nothing(r["TrainingJobName"])[-20:])
    assert server.leftovers() == []
    return model_files(house.store(store), d) if "model" in script else {}


OUT = "cd /opt/ml/model; set -e; "


def test_ways_of_opening(house, store):
    ways = ("block", "nonblock", "stat", "poll")
    got = job(house, store, OUT + "".join(f"feed_reader epochs {w} 0 4 {w} >{w}; " for w in ways), [pipe(w) for w in ways])
    for w in ways:
        assert epochs_of(got[w]) == {e: epoch(e) for e in range(4)}, w


def test_epochs_differ_only_when_shuffled(house, store):
    got = job(house, store, OUT + "feed_reader epochs train 0 3 block >train", [pipe("train", seed=None)])
    assert set(epochs_of(got["train"]).values()) == {epoch(0, seed=None)}
    assert len({epoch(e) for e in range(4)}) == 4


def test_the_example_that_brings_its_own_container(house, store):
    """Five epochs, each polled for, SIGTERM trapped; then it leaves the rest unread."""
    got = job(house, store, OUT + "trap 'exit 0' TERM; for i in 0 1 2 3 4; do feed_reader epochs train $i 1 poll >>train; done",
              [pipe("train")])
    assert epochs_of(got["train"]) == {e: epoch(e) for e in range(5)}


def test_ordinary_tools(house, store):
    got = job(house, store, OUT + "d=/opt/ml/input/data; cat $d/train_0 | sha256sum >a; sha256sum <$d/train_1 >b; "
              "head -c 10 $d/train_2 >c; dd if=$d/train_3 bs=999 2>/dev/null | sha256sum >d", [pipe("train")])
    assert [got[f].split()[0].decode() for f in "abd"] == [epoch(e)[1] for e in (0, 1, 3)]
    assert len(got["c"]) == 10


def test_early_close(house, store):
    got = job(house, store, OUT + "for n in 1 100 70000 1500000; do feed_reader epochs train $((e)) 1 block $n >>train; "
              "e=$((e+1)); done; feed_reader epochs train 4 2 block >>train", [pipe("train")])
    wanted = {e: epoch(e, limit=n) for e, n in enumerate((1, 100, 70000, 1500000))}
    assert epochs_of(got["train"]) == {**wanted, 4: epoch(4), 5: epoch(5)}


def test_many_early_closes(house, store):
    """As fast as can be: whoever makes the next FIFO only afterwards, or hangs on an old one, does not survive this."""
    got = job(house, store, OUT + "feed_reader epochs train 0 300 block 10 >train; feed_reader epochs train 300 1 block >>train",
              [pipe("train")])
    assert epochs_of(got["train"]) == {**{e: epoch(e, limit=10) for e in range(300)}, 300: epoch(300)}


def test_many_short_epochs(house, store):
    got = job(house, store, OUT + "feed_reader epochs train 0 300 nonblock >train", [pipe("train", "s3://bucket/r/small/")])
    assert epochs_of(got["train"]) == {e: epoch(e, SMALL, "r/small/") for e in range(300)}


def test_a_reader_that_dies(house, store):
    """Killed in the middle: the same name gives the epoch from its start, the next name the next epoch."""
    got = job(house, store, OUT + "set +e; feed_reader dies train 0 100000; feed_reader epochs train 0 1 block >train; "
              "feed_reader dies train 1 1500000; feed_reader epochs train 2 1 nonblock >>train; "
              "feed_reader dies train 3 1; feed_reader dies train 3 5000; feed_reader epochs train 3 2 stat >>train", [pipe("train")])
    assert epochs_of(got["train"]) == {e: epoch(e) for e in (0, 2, 3, 4)}


def test_one_channel_to_its_end_before_the_other(house, store):
    got = job(house, store, OUT + "feed_reader epochs train 0 2 block >a; feed_reader epochs validation 0 2 block >b; "
              "feed_reader epochs train 2 1 block >>a", [pipe("train"), pipe("validation", seed=None)])
    assert epochs_of(got["a"]) == {e: epoch(e) for e in range(3)}
    assert epochs_of(got["b"]) == {e: epoch(e, seed=None) for e in range(2)}


@pytest.mark.parametrize("seed", (1, 2))
def test_ten_channels_in_any_order(house, store, seed):
    names = [f"c{i}" for i in range(10)]
    got = job(house, store, OUT + f"feed_reader mix {seed} 3 {' '.join(names)} >mix", [pipe(n, seed=i) for i, n in enumerate(names)])
    lines = lines_of(got["mix"])
    assert len(lines) == 30
    for line in lines:
        assert (line["bytes"], line["sha256"]) == epoch(line["epoch"], seed=names.index(line["channel"])), line


def test_the_next_epoch_before_this_one_is_finished(house, store):
    got = job(house, store, OUT + "feed_reader overlap train 0 >train; feed_reader overlap train 2 >>train", [pipe("train")])
    assert epochs_of(got["train"]) == {e: epoch(e) for e in range(4)}


def test_never_read(house, store):
    began = time.monotonic()
    job(house, store, "true", [pipe(f"c{i}") for i in range(20)])
    assert time.monotonic() - began < 20


def test_left_open(house, store):
    """A trainer that goes with FIFOs open in it, and in a process that it leaves behind."""
    job(house, store, "exec 3</opt/ml/input/data/a_0; head -c 10 <&3 >/dev/null; (exec 4</opt/ml/input/data/b_0; sleep 1000) & "
        "sleep 0.3; exit 0", [pipe("a"), pipe("b")])


def test_the_name_tells_that_a_channel_is_piped(house, store):
    """XGBoost's way: looks late whether <channel>_0 is there; and there is no directory of the channel's name."""
    got = job(house, store, OUT + "sleep 3; test -e /opt/ml/input/data/train_0; test -p /opt/ml/input/data/train_0; "
              "test ! -e /opt/ml/input/data/train; feed_reader epochs train 0 2 nonblock >train; "
              "test -e /opt/ml/input/data/train_0; ls /opt/ml/input/data >ls", [pipe("train")])
    assert epochs_of(got["train"]) == {e: epoch(e) for e in range(2)}


def test_another_user(house, store):
    server = house.all[store]
    done = server.bloomery("image", "import", "feeder-as-user", house.image, "--user", "trainer")
    assert done.returncode == 0, done.stderr
    r = server.request("id -u; feed_reader epochs train 0 3 block || exit 7", image="feeder-as-user")
    r["InputDataConfig"] = [pipe("train")]
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    said = server.logs(r["TrainingJobName"])
    assert "1234" in said
    assert epochs_of("\n".join(l for l in said if l.startswith("{"))) == {e: epoch(e) for e in range(3)}


def test_endless_epochs_until_it_is_stopped(house, store):
    server = house.all[store]
    r = server.request("feed_reader epochs train 0 -1 block", image="feeder")
    r["InputDataConfig"] = [pipe("train", "s3://bucket/r/small/")]
    server.sm.create_training_job(**r)
    name = r["TrainingJobName"]
    server.wait(name, until={"Training"})
    end = time.monotonic() + 30
    while len(got := [l for l in server.logs_or_nothing(name) if '"epoch"' in l]) < 20 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(got) >= 20
    server.sm.stop_training_job(TrainingJobName=name)
    assert server.wait(name, timeout=30)["TrainingJobStatus"] == "Stopped"
    for e, line in enumerate(got):
        assert re.search(r'"sha256": "(\w+)"', line)[1] == epoch(e, SMALL, "r/small/")[1]
    assert server.leftovers() == []


def test_a_trainer_that_fails_with_its_channels_open(house, store):
    server = house.all[store]
    r = server.request("feed_reader dies train 0 1000; echo broken >/opt/ml/output/failure; exit 3", image="feeder")
    r["InputDataConfig"] = [pipe("train")]
    server.sm.create_training_job(**r)
    assert server.wait(r["TrainingJobName"])["FailureReason"].startswith("AlgorithmError: broken")
    assert server.leftovers() == []


# ---- RecordIO, taken apart by a reader in the container ----

def test_records(house, store):
    got = job(house, store, OUT + "feed_reader records plain 0 >plain; feed_reader records zipped 0 >zipped",
              [pipe("plain", seed=None, wrapped=True), pipe("zipped", "s3://bucket/r/zipped/", seed=None, gz=True, wrapped=True)])
    wanted = [(len(DATA[k]), sha(DATA[k])) for k in listed(DATA, "r/data/")]
    assert [(l["bytes"], l["sha256"]) for l in lines_of(got["plain"])] == wanted
    plain = plain_objects("r/zipped/")
    assert [(l["bytes"], l["sha256"]) for l in lines_of(got["zipped"])] == \
        [(len(plain[k]), sha(plain[k])) for k in listed(plain, "r/zipped/")]


@pytest.fixture(scope="module")
def big(house):
    """The longest whole record, the shortest that is split, and one whose inflated length is past any memory limit."""
    block = some_bytes(1 << 20, "big")
    data = {"whole": (block * 512)[:-1], "split": block * 512 + b"yz"}
    for name, bytes_ in data.items():
        house.links.s3.put_object(Bucket="bucket", Key=f"r/big/{name}", Body=bytes_)
    zipped = members(block, 1) * 512 + members(b"yz", 1)
    house.links.s3.put_object(Bucket="bucket", Key="r/bigzip/z", Body=zipped)
    return [(1, len(data[n]), sha(data[n])) if n == "whole" else (2, len(data[n]), sha(data[n])) for n in ("split", "whole")]


def test_records_of_half_a_gibibyte(house, store, big):
    got = job(house, store, OUT + "feed_reader records big 0 >big; feed_reader records zip 0 >zip",
              [pipe("big", "s3://bucket/r/big/", seed=None, wrapped=True),
               pipe("zip", "s3://bucket/r/bigzip/", seed=None, wrapped=True, gz=True)], timeout=200)
    assert [(l["parts"], l["bytes"], l["sha256"]) for l in lines_of(got["big"])] == big
    assert [(l["parts"], l["bytes"], l["sha256"]) for l in lines_of(got["zip"])] == big[:1]


def test_odd_names_of_channels(house, store):
    names = [".a", "...", "-rf", "--", "_", "a" * 64, "train", "Train", "train_00", "train-manifest", "1"]
    got = job(house, store, OUT + "feed_reader mix 9 2 " + " ".join(names) + " >mix", [pipe(n, "s3://bucket/r/small/") for n in names])
    lines = lines_of(got["mix"])
    assert sorted((l["channel"], l["epoch"]) for l in lines) == sorted((n, e) for n in names for e in (0, 1))
    for line in lines:
        assert (line["bytes"], line["sha256"]) == epoch(line["epoch"], SMALL, "r/small/"), line
