# Every combination of mode, source, distribution and shape that the service allows, from every kind of store: a container
# hashes what it saw, and this file works out what it ought to have seen. What is not allowed is refused, and makes nothing.
# SPDX-License-Identifier: Apache-2.0
import itertools
import json

import botocore.exceptions
import pytest

from feed_reader import (House, augmented_units, channel, epoch_bytes, epochs_of, file_system, files_of, gzip_objects, listed,
                         model_files, plain_objects, record, sha, tree_of, tree_wanted)

EPOCHS = 3
SEED = 20240229
SOURCES = ("S3Prefix", "ManifestFile", "AugmentedManifestFile")
DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")


# ---- the data ----

PLAIN = plain_objects("m/plain/")
ZIPPED = gzip_objects("m/zipped/")


def manifest(objects, prefix):
    """Every object but every fourth, in an order of its own."""
    keys = [k[len(prefix):] for i, k in enumerate(listed(objects, prefix)) if i % 4 != 1]
    keys = keys[::-1][3:] + keys[::-1][:3]
    return json.dumps([{"prefix": f"s3://bucket/{prefix}"}] + keys).encode(), [prefix + k for k in keys]


PLAIN_MANIFEST, PLAIN_NAMED = manifest(PLAIN, "m/plain/")
ZIPPED_MANIFEST, ZIPPED_NAMED = manifest(ZIPPED, "m/zipped/")
ATTRIBUTES = ["label", "source-ref", "box", "note", "other-ref"]


def augmented(objects, prefix, references_only):
    lines = []
    for i, key in enumerate(listed(objects, prefix)[:9]):
        line = {"unlisted": {"source-ref": "x"}, "source-ref": f"s3://bucket/{key}", "label": i - 3, "metadata": {"a": [1]},
                "note": ["", "two words", "ü \U0001f600", "a \"quote\" \\ and \n\t\u0001", "1"][i % 5],
                "box": [{"top": 1, "left": [1, 2.5, -7, True, False, None, "é"], "z": {}, "a": []}, [], 2.5, False, "s"][i % 5],
                "other-ref": f"s3://bucket/{listed(objects, prefix)[-1 - i]}"}
        if i % 2:
            line = dict(reversed(line.items()))
        lines.append(json.dumps(line, ensure_ascii=i % 3 == 0))
    return "\n".join(lines).encode() + b"\n"


PLAIN_LINES = augmented(PLAIN, "m/plain/", False)
ZIPPED_LINES = augmented(ZIPPED, "m/zipped/", True)
INDEXES = {"m/plain.manifest": PLAIN_MANIFEST, "m/zipped.manifest": ZIPPED_MANIFEST,
           "m/plain.jsonl": PLAIN_LINES, "m/zipped.jsonl": ZIPPED_LINES}
OBJECTS = {**PLAIN, **ZIPPED, **INDEXES}


@pytest.fixture(scope="module")
def house(rootfs):
    h = House(rootfs)
    h.put(OBJECTS)
    for sub, files in (("efs/set", {"a": b"1" * 5000, "d/e": b"", "d/f/g": b"xyz"}), ("lustre/vol/x", {"l": b"lustre"}),
                       ("mounted/y", {"m": b"mounted"})):
        for name, data in files.items():
            path = h.base / sub / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    yield h
    h.close()


# ---- the combinations ----

def allowed(mode, source, gz, wrapped):
    if mode == "Pipe":
        return True
    if gz or wrapped:
        return False
    return source == "S3Prefix" or (mode == "File" and source == "ManifestFile")


def combinations(wanted):
    for mode, source, dist, gz, wrapped, shuffled in itertools.product(
            ("File", "FastFile", "Pipe"), SOURCES, DISTRIBUTIONS, (False, True), (False, True), (False, True)):
        if allowed(mode, source, gz, wrapped) == wanted:
            name = "-".join([mode, source, dist] + [w for w, on in (("gz", gz), ("rec", wrapped), ("shuf", shuffled)) if on])
            yield name, mode, source, dist, gz, wrapped, shuffled


def make_channel(name, mode, source, dist, gz, wrapped, shuffled):
    base = "m/zipped" if gz else "m/plain"
    uri = {"S3Prefix": base + "/", "ManifestFile": base + ".manifest", "AugmentedManifestFile": base + ".jsonl"}[source]
    attributes = None
    if source == "AugmentedManifestFile":
        attributes = ["source-ref", "other-ref"] if gz else ATTRIBUTES
    return channel(name, f"s3://bucket/{uri}", mode, source, dist, gz, wrapped, SEED if shuffled else None, attributes)


def wanted_units(source, gz):
    objects, prefix = (ZIPPED, "m/zipped/") if gz else (PLAIN, "m/plain/")
    if source == "S3Prefix":
        return [[objects[k]] for k in listed(objects, prefix)]
    if source == "ManifestFile":
        return [[objects[k]] for k in (ZIPPED_NAMED if gz else PLAIN_NAMED)]
    if gz:
        return augmented_units(ZIPPED_LINES, ["source-ref", "other-ref"], objects)
    return augmented_units(PLAIN_LINES, ATTRIBUTES, objects)


def check(files, name, mode, source, dist, gz, wrapped, shuffled):
    if mode == "Pipe":
        got = epochs_of(files[name])
        for epoch in range(EPOCHS):
            data = epoch_bytes(wanted_units(source, gz), epoch, SEED if shuffled else None, gz, wrapped)
            assert got[epoch] == (len(data), sha(data)), f"epoch {epoch}"
        return
    keys = listed(PLAIN, "m/plain/") if source == "S3Prefix" else PLAIN_NAMED
    assert tree_of(files[name]) == tree_wanted(*files_of(PLAIN, keys, "m/plain/"))
    if mode == "File":
        lines = files[name + "-manifest"].decode().splitlines()
        assert lines[1:] == [f"s3://bucket/{k}" for k in keys]
        assert source != "S3Prefix" or lines[0] == "m/plain/"


# The names of channels are short in the script, which has its limits.
SCRIPT = """cd /opt/ml/input/data; o=/opt/ml/model;
for c in %s; do cp $c-manifest $o/ 2>/dev/null; case $c in
p*) feed_reader epochs $c 0 %d block >$o/$c || exit 9;;
*) feed_reader tree /opt/ml/input/data/$c >$o/$c || exit 9;; esac; done"""


def run_matrix(house, store, combos):
    """All of `combos` as channels of as few jobs as can be, at once; every difference is told."""
    server, wrong = house.all[store], []
    jobs = []
    for at in range(0, len(combos), 20):
        part = [(("p" if c[1] == "Pipe" else "f") + f"{i:02d}", c) for i, c in enumerate(combos[at:at + 20])]
        script = SCRIPT.replace("\n", " ") % (" ".join(short for short, _ in part), EPOCHS)
        r = server.request(script, image="feeder")
        r["InputDataConfig"] = [make_channel(short, *c[1:]) for short, c in part]
        server.sm.create_training_job(**r)
        jobs.append((r["TrainingJobName"], part))
    for name, part in jobs:
        d = server.wait(name, timeout=150)
        if d["TrainingJobStatus"] != "Completed":
            wrong.append(f"{[c[0] for _, c in part]}: {d['FailureReason']}")
            continue
        files = model_files(house.store(store), d)
        for short, c in part:
            try:
                check(files, short, *c[1:])
            except (AssertionError, KeyError) as ex:
                wrong.append(f"{c[0]}: {str(ex)[:1500]}")
    assert not wrong, f"{len(wrong)} of {len(combos)} are wrong\n" + "\n".join(wrong)
    assert server.leftovers() == []


ALLOWED = list(combinations(True))


@pytest.mark.parametrize("mode", ("File", "FastFile", "Pipe"))
@pytest.mark.parametrize("store", ("links", "fuse", "other"))
def test_allowed(house, store, mode):
    run_matrix(house, store, [c for c in ALLOWED if c[1] == mode])


@pytest.mark.parametrize("store", ("links", "fuse", "other"))
def test_all_modes_in_one_job(house, store):
    picked = [c for c in ALLOWED if c[1] == "Pipe"][::5]
    rest = [c for c in ALLOWED if c[1] != "Pipe"]
    run_matrix(house, store, (picked + rest)[:20])


def test_the_computation_itself():
    """Shuffles are permutations that differ by epoch and by seed; shapes are what their definitions say."""
    units = [[bytes([i])] for i in range(50)]
    orders = [epoch_bytes(units, e, s) for e in range(3) for s in (0, 1, -1, 2**63 - 1)]
    assert len(set(orders)) == len(orders)
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert record(b"abcde") == bytes.fromhex("0a23d7ce 05000000 6162636465 000000")
    assert epoch_bytes([["x", b"y"]], 0) == b"xy"


# ---- file systems ----

def test_file_systems(house):
    r = house.links.request("cd /opt/ml/input/data; o=/opt/ml/model; for c in efs lustre mounted; do "
                            "feed_reader tree /opt/ml/input/data/$c >$o/$c || exit 9; done; "
                            "touch efs/new 2>/dev/null && exit 8; touch lustre/new && touch mounted/new || exit 7", image="feeder")
    r["InputDataConfig"] = [file_system("efs", house.EFS, "/set"), file_system("lustre", house.LUSTRE, "/mnt/vol/x", "FSxLustre", "rw"),
                            file_system("mounted", house.MOUNTED, "/y", "EFS", "rw", "File")]
    house.links.sm.create_training_job(**r)
    d = house.links.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d["FailureReason"]
    files = model_files(house.links, d)
    assert tree_of(files["efs"]) == tree_wanted({"a": b"1" * 5000, "d/e": b"", "d/f/g": b"xyz"}, {"d", "d/f"})
    assert tree_of(files["lustre"]) == tree_wanted({"l": b"lustre"}, set())
    assert tree_of(files["mounted"]) == tree_wanted({"m": b"mounted"}, set())
    assert not (house.base / "efs/set/new").exists()
    assert (house.base / "lustre/vol/x/new").exists() and (house.base / "mounted/y/new").exists()
    assert house.links.leftovers() == []


# ---- what is not allowed ----

def refused(server, channels, **kw):
    r = server.request("true", image="feeder", **kw)
    r["InputDataConfig"] = channels
    before = sorted(p.name for p in (server.data / "jobs").iterdir())
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        server.sm.create_training_job(**r)
    error = ex.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    with pytest.raises(botocore.exceptions.ClientError):
        server.describe(r["TrainingJobName"])
    assert sorted(p.name for p in (server.data / "jobs").iterdir()) == before
    return error["Message"]


@pytest.mark.parametrize("combo", list(combinations(False)), ids=lambda c: c[0])
def test_not_allowed(house, combo):
    for server in (house.links, house.other):
        assert "training" in refused(server, [make_channel("training", *combo[1:])]), "the channel is named"


def test_words_of_the_service(house):
    assert refused(house.links, [channel("training", "s3://bucket/m/plain/", "File", gz=True)]) == \
        "Invalid compression type for channel training: File mode only supports NONE, got Gzip instead"
    assert refused(house.links, [channel("training", "s3://bucket/none/", "Pipe")]).startswith(
        'No S3 objects found under S3 URL "s3://bucket/none/" given in input data source.')
    # the mode of the job, where the channel has none
    for mode in ("File", "FastFile"):
        assert "training" in refused(house.links, [channel("training", "s3://bucket/m/plain/", gz=True)],
                                     AlgorithmSpecification={"TrainingInputMode": mode})


@pytest.mark.parametrize("mode", ("Pipe", "FastFile"))
def test_a_file_system_is_for_file_mode(house, mode):
    assert "training" in refused(house.links, [file_system("training", house.EFS, "/set", mode=mode)])


def test_a_file_system_has_no_shape(house):
    for more in ({"CompressionType": "Gzip"}, {"RecordWrapperType": "RecordIO"}):
        assert "training" in refused(house.links, [{**file_system("training", house.EFS, "/set"), **more}])


def test_both_sources_or_none(house):
    both = file_system("training", house.EFS, "/set")
    both["DataSource"].update(channel("x", "s3://bucket/m/plain/")["DataSource"])
    assert "training" in refused(house.links, [both])
    assert "training" in refused(house.links, [{"ChannelName": "training", "DataSource": {}}])


def test_names_of_attributes(house):
    for attributes, source in ((None, "AugmentedManifestFile"), ([], "AugmentedManifestFile"), (["a"], "S3Prefix"), (["a"], "ManifestFile")):
        uri = {"S3Prefix": "m/plain/", "ManifestFile": "m/plain.manifest"}.get(source, "m/plain.jsonl")
        assert "training" in refused(house.links, [channel("training", f"s3://bucket/{uri}", "Pipe", source, attributes=attributes)])


def test_a_list_of_too_many_channels(house):
    channels = [channel(f"c{i}", "s3://bucket/m/plain/", "Pipe") for i in range(21)]
    assert "20" in refused(house.links, channels)
