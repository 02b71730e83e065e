# What the channel tests share: an image with feed_reader, servers of each kind of store, requests of many channels, and
# what a container ought to see, worked out from the objects by means of our own (contract 2, doc/channels.md).
# SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
import time
import zlib

import conftest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ---- the order of an epoch ----

class SplitMix:
    def __init__(self, state):
        self.state = state & MASK

    def next(self):
        self.state = (self.state + GOLDEN) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        """Evenly: what is beyond the last whole multiple of n is drawn again."""
        top = MASK - MASK % n
        while (x := self.next()) >= top:
            pass
        return x % n


def in_order(units, seed, epoch):
    """The units as a lone host gets them in that epoch."""
    units = list(units)
    if seed is None:
        return units
    rng = SplitMix(SplitMix((SplitMix(seed).next() + epoch) & MASK).next())
    for i in range(len(units) - 1, 0, -1):
        j = rng.below(i + 1)
        units[i], units[j] = units[j], units[i]
    return units


# ---- shapes ----

def members(data, count, level=6):
    """gzip of `data` in so many members."""
    cut = [len(data) * i // count for i in range(count + 1)]
    return b"".join(gzip.compress(data[a:b], level) for a, b in zip(cut, cut[1:]))


def inflate(data):
    """Every member, by zlib alone."""
    out = b""
    while data:
        z = zlib.decompressobj(31)
        out += z.decompress(data) + z.flush()
        assert z.eof
        data = z.unused_data
    return out


def record(data):
    """One RecordIO record; data of 2^29 bytes and more in parts (contract 2.7)."""
    most = (1 << 29) - 1
    parts = [data[i:i + most] for i in range(0, len(data), most)] or [b""]
    out = []
    for i, p in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if i == 0 else 3 if i == len(parts) - 1 else 2
        out.append(struct.pack("<II", 0xCED7230A, flag << 29 | len(p)) + p + bytes(-len(p) % 4))
    return b"".join(out)


def epoch_bytes(units, epoch, seed=None, gz=False, wrapped=False):
    """What a FIFO gives: units are lists of parts, a part is bytes of a literal (str) or of an object (bytes)."""
    out = []
    for unit in in_order(units, seed, epoch):
        for part in unit:
            if isinstance(part, str):
                part = part.encode()
            elif gz:
                part = inflate(part)
            out.append(record(part) if wrapped else part)
    return b"".join(out)


# ---- sources ----

def listed(objects, prefix):
    """Keys of a prefix in listing order: by their bytes."""
    return sorted((k for k in objects if k.startswith(prefix)), key=lambda k: k.encode())


def fields_of(line):
    """The members of a JSON object: {name: (value, its text)}."""
    decoder, fields = json.JSONDecoder(), {}

    def skip(i, wanted):
        while line[i] in " \t\r\n" + wanted:
            i += 1
        return i
    i = skip(0, "{")
    while line[i] != "}":
        name, i = decoder.raw_decode(line, i)
        start = skip(i, ":")
        value, i = decoder.raw_decode(line, start)
        fields[name] = (value, line[start:i])
        i = skip(i, ",")
    return fields


def literal(value, text):
    """A string as it is, anything else as its text without what is between its tokens."""
    if isinstance(value, str):
        return value
    return "".join(t for t in re.findall(r'"(?:[^"\\]|\\.)*"|\s+|[^"\s]+', text) if not t.isspace())


def augmented_units(text, attributes, objects, bucket="bucket"):
    units = []
    for line in text.decode().split("\n"):
        if not line.strip():
            continue
        fields, unit = fields_of(line), []
        for name in attributes:
            value, source = fields[name]
            if name.endswith("-ref"):
                assert value.startswith(f"s3://{bucket}/")
                unit.append(objects[value[len(f"s3://{bucket}/"):]])
            else:
                unit.append(literal(value, source))
        units.append(unit)
    return units


def files_of(objects, keys, prefix):
    """What File and FastFile make of keys below a prefix that ends in '/': ({path: bytes}, {directories})."""
    files, dirs = {}, set()
    for key in keys:
        rel = key[len(prefix):].lstrip("/")
        parts = rel.rstrip("/").split("/")
        dirs.update("/".join(parts[:i]) for i in range(1, len(parts)))
        if rel.endswith("/"):
            dirs.add(rel.rstrip("/"))
        elif rel:
            files[rel] = objects[key]
    return files, dirs


# ---- data ----

def some_bytes(n, seed):
    return random.Random(seed).randbytes(n)


SIZES = [5, 0, 1, 3, 4, 4095, 4096, 4097, 65536, 65537, 100_000, 1 << 20, 2, 70_000, 12, 3_000_001, 7]


def plain_objects(prefix, sizes=SIZES):
    names = ["b/two", "a", "Zed", "b/deep/er/x.bin", "with space", "é/ü", "b.txt", "b-1", "0", "10", "2", "~last"]
    names += [f"part-{i:02d}" for i in range(len(names), len(sizes))]
    return {prefix + n: some_bytes(s, prefix + n) for n, s in zip(names, sizes)}


def gzip_objects(prefix):
    made = {k: v for k, v in plain_objects(prefix).items()}
    return {k: members(v, 1 + i % 3) for i, (k, v) in enumerate(made.items())}


# ---- requests ----

def channel(name, uri, mode=None, data_type="S3Prefix", dist=None, gz=False, wrapped=False, seed=None, attributes=None):
    source = {"S3DataType": data_type, "S3Uri": uri}
    if dist:
        source["S3DataDistributionType"] = dist
    if attributes is not None:
        source["AttributeNames"] = attributes
    c = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
    if mode:
        c["InputMode"] = mode
    if gz:
        c["CompressionType"] = "Gzip"
    if wrapped:
        c["RecordWrapperType"] = "RecordIO"
    if seed is not None:
        c["ShuffleConfig"] = {"Seed": seed}
    return c


def file_system(name, fs_id, directory, kind="EFS", access="ro", mode=None):
    c = {"ChannelName": name, "DataSource": {"FileSystemDataSource": {
        "FileSystemId": fs_id, "FileSystemType": kind, "FileSystemAccessMode": access, "DirectoryPath": directory}}}
    if mode:
        c["InputMode"] = mode
    return c


def model_files(server, d):
    """The files that the container left in /opt/ml/model. The artifact may be in another S3: server is whose it is."""
    with tarfile.open(fileobj=io.BytesIO(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def lines_of(data):
    return [json.loads(l) for l in data.splitlines()]


def tree_of(data):
    """What `feed_reader tree` said: ({path: (size, sha256)}, {directories})."""
    got = lines_of(data)
    for l in got:
        assert "failed" not in l, l
        assert l.get("size") == l.get("bytes"), "stat and read agree"
    files = {bytes.fromhex(l["file"]).decode("utf-8", "surrogateescape"): (l["bytes"], l["sha256"]) for l in got if "file" in l}
    dirs = {bytes.fromhex(l["dir"]).decode("utf-8", "surrogateescape") for l in got if "dir" in l}
    return files, dirs


def tree_wanted(files, dirs):
    return {p: (len(b), sha(b)) for p, b in files.items()}, dirs


def epochs_of(data):
    return {l["epoch"]: (l["bytes"], l["sha256"]) for l in lines_of(data)}


def said(server, name, text, timeout=60):
    """Waits until the job's log has a line with `text`."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        lines = server.logs_or_nothing(name)
        if any(text in l for l in lines):
            return lines
        d = server.describe(name)
        assert d["TrainingJobStatus"] == "InProgress", (d.get("FailureReason"), lines[-20:])
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in the log: {lines[-20:]}")


# ---- the house ----

def make_image(rootfs, to):
    """The `busy` image with feed_reader in it."""
    shutil.copytree(rootfs, to, symlinks=True)
    done = subprocess.run(["gcc", "-static", "-O2", "-o", to / "usr/local/bin/feed_reader", ROOT / "test/spec/feed_reader.c",
                           "-lcrypto"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return to


class House:
    """Servers with each kind of store that channels can come from. `put` puts the same objects into each of them."""

    BASE = "capacity_cpus = 64\ncapacity_memory = 549755813888\nstop_grace_seconds = 3\n"

    EFS, LUSTRE, MOUNTED = "fs-0123456789abcdef0", "fs-00112233", "fs-0fedcba9876543210"

    def __init__(self, rootfs):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-feed-"))
        os.chmod(self.base, 0o755)
        for d in ("efs", "lustre", "mounted"):
            (self.base / d).mkdir()
        extra = (f"file_system.{self.EFS} = {self.base}/efs\nfile_system.{self.LUSTRE} = {self.base}/lustre\n"
                 f"file_system.{self.MOUNTED} = mount /bin/mount --bind {self.base}/mounted %d\n")
        self.image = make_image(rootfs, self.base / "image")
        self.all = {}
        try:
            self.start(extra)
        except BaseException:
            self.close()
            raise

    def start(self, extra):
        self.links = self.server("links", extra)
        self.fuse = self.server("fuse", extra + "fastfile_links_max = 0\n")
        key = self.links.exports
        self.other = self.server("other", extra + f"s3_endpoint = {self.links.url}\ns3_access_key = {key['AWS_ACCESS_KEY_ID']}\n"
                                 f"s3_secret_key = {key['AWS_SECRET_ACCESS_KEY']}\n")

    def server(self, name, conf):
        s = self.all[name] = conftest.Server(self.base / name, conf=self.BASE + conf)
        s.start()
        done = s.bloomery("image", "import", "feeder", self.image)
        assert done.returncode == 0, done.stderr
        s.s3.create_bucket(Bucket="bucket")
        return s

    def store(self, name):
        """The server that has the objects of `name`'s jobs."""
        return self.links if name == "other" else self.all[name]

    def put(self, objects, stores=("links", "fuse")):
        for name in stores:
            for key, data in objects.items():
                self.all[name].s3.put_object(Bucket="bucket", Key=key, Body=data)

    def close(self):
        left = {n: s.leftovers() for n, s in self.all.items() if s.up}
        for s in self.all.values():
            s.stop()
        shutil.rmtree(self.base, ignore_errors=True)
        assert not any(left.values()), left
