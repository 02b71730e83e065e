"""How fast training containers are fed: the parts pipe, fastfile, firstbyte, fileremote and shuffle of test/bench/run.

There are two servers. The *store* has all objects, and runs the jobs that read them from its embedded store. The *remote* has
none: the store is its s3_endpoint, over TCP. Peers read the same objects from the store, or the store's own files.
What is compared runs in turns, round by round, and the median counts. How peers are tuned is in kit.py.
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import time

import kit
from kit import channel, median, measured, row, say

DATA = "/opt/ml/input/data"
FUSED = "fastfile_links_max = 0\n"


class Field:
    """The servers and sizes of one run. Servers and objects are made when a part first wants them."""

    def __init__(self, base, rootfs, undo, quick):
        self.base, self.rootfs, self.undo, self.quick = base, rootfs, undo, quick
        self.rounds = 1 if quick else 3
        self.huge = (256 << 20) if quick else (4 << 30)
        self.many = 2000 if quick else 50000
        self.lots = 5000 if quick else 100000
        self.servers, self.done = {}, set()

    def server(self, name, conf="", data=None):
        if name not in self.servers:
            s = kit.house.Server((data or self.base) / name, conf="stop_grace_seconds = 1\n" + conf)
            s.start()
            self.undo.callback(kit.end_server, s)
            done = s.bloomery("image", "import", "busy", self.rootfs)
            if done.returncode:
                raise RuntimeError(done.stderr)
            self.servers[name] = s
        return self.servers[name]

    @property
    def store(self):
        s = self.server("store")
        self.once("bucket", lambda: s.s3.create_bucket(Bucket="bucket"))
        return s

    def remote_conf(self):
        x = self.store.exports
        return (f"s3_endpoint = {self.store.url}\ns3_access_key = {x['AWS_ACCESS_KEY_ID']}\n"
                f"s3_secret_key = {x['AWS_SECRET_ACCESS_KEY']}\n")

    @property
    def remote(self):
        return self.server("remote", self.remote_conf())

    def once(self, what, make):
        if what not in self.done:
            make()
            self.done.add(what)

    def want(self, *objects):
        make = {"huge": lambda: kit.put_huge(self.store, "huge/blob", self.huge),
                "many": lambda: kit.put_many(self.store, "many/", self.many, 16384),
                "lots": lambda: kit.put_many(self.store, "lots/", self.lots, 1024)}
        for what in objects:
            self.once(what, make[what])

    @contextlib.contextmanager
    def fused(self, s):
        """The server with FUSE for every FastFile channel, however few its objects."""
        self.reconf(s, lambda text: text + FUSED)
        try:
            yield
        finally:
            self.reconf(s, lambda text: text.replace(FUSED, ""))

    @staticmethod
    def reconf(s, change):
        s.stop()
        conf = s.data / "bloomery.conf"
        conf.write_text(change(conf.read_text()))
        s.start()


def numbers(n):
    return " ".join(map(str, range(n)))


def mib(f, seconds):
    return f.huge / (1 << 20) / seconds


# ---- Pipe ----

# Hyperparameters are one line. A FIFO may appear a moment after the one before it has ended.
EPOCH = "epoch() { while ! [ -p $1_$2 ]; do :; done; stopwatch run $1 sh -c \"exec cat $1_$2 > /dev/null\"; }; "


def bench_pipe(f):
    """All in one container: the channel in Pipe mode, and the same object in File mode for its peers. The pages are cached."""
    f.want("huge")
    uri = "s3://bucket/huge/"
    n = 2 if f.quick else 5
    say("Pipe from the embedded store")
    script = (f"set -e; cd {DATA}; mkfifo /tmp/fifo; cat file/blob > /dev/null; {EPOCH} for i in {numbers(n)}; do epoch pipe $i; "
              "cat file/blob > /tmp/fifo & stopwatch run cat sh -c 'exec cat /tmp/fifo > /dev/null'; wait; "
              "stopwatch run read sh -c 'exec cat file/blob > /dev/null'; done")
    _, got = measured(f.store, script, [channel("pipe", uri, "Pipe"), channel("file", uri, "File")])
    ours, cat, read = (mib(f, median(got[k])) for k in ("pipe", "cat", "read"))
    size = f"{f.huge >> 20} MiB"
    row(f"Pipe, {size} into cat", ours, cat, "cat file > fifo, same reader", ">= 1.0", "MiB/s")
    row(f"Pipe, {size} into cat", ours, read, "read(2) of the file by cat: no pipe at all", "", "MiB/s")
    say("Pipe from another S3")
    script = f"set -e; cd {DATA}; {EPOCH} for i in {numbers(n)}; do epoch pipe $i; done"
    _, got = measured(f.remote, script, [channel("pipe", uri, "Pipe")])
    row(f"Pipe from another S3, {size} into cat", mib(f, median(got["pipe"])), cat, "cat file > fifo, same reader", "", "MiB/s")


# ---- FastFile, from end to end and at random places ----

DD = "set -e; for what in {what}; do stopwatch run $what dd if={f} of=/dev/null bs=1M status=none; done"


def dd_job(f, s, what):
    _, got = measured(s, DD.format(what=what, f=DATA + "/fast/blob"), [channel("fast", "s3://bucket/huge/", "FastFile")])
    return {k: mib(f, v[0]) for k, v in got.items()}


def dd_here(f, path):
    return mib(f, kit.timed("dd", f"if={path}", "of=/dev/null", "bs=1M"))


def fastfile_round(f, blob, mounts, add):
    """cold: no page of it is in memory, neither as the store's file nor as the mount's. first: the store's are, the mount's are
    not. warm: the second read by the same mount."""
    def ours(name, s):
        say(f"FastFile: {name}")
        kit.drop_caches(blob)
        add(name, dd_job(f, s, "cold warm"))
        kit.warm(blob)
        add(name, dd_job(f, s, "first"))

    say("FastFile: the file itself")
    kit.drop_caches(blob)
    add("file", {"cold": dd_here(f, blob)})
    add("file", {"warm": dd_here(f, blob)})
    ours("links", f.store)
    with f.fused(f.store):
        ours("FUSE", f.store)
    for name, mount in mounts.items():
        say(f"FastFile: {name}")
        with mount(f.store, f.base) as where:
            kit.drop_caches(blob)
            for what in ("cold", "warm"):
                add(name, {what: dd_here(f, where / "huge/blob")})
        kit.warm(blob)
        with mount(f.store, f.base) as where:
            add(name, {"first": dd_here(f, where / "huge/blob")})
    ours("other S3", f.remote)


def random_round(f, blob, mounts, add):
    seconds, threads = (1 if f.quick else 5), (1, 4)
    script = "set -e; " + "; ".join(f"stopwatch random t{t} {DATA}/fast/blob {seconds} {t}" for t in threads)
    chans = [channel("fast", "s3://bucket/huge/", "FastFile")]
    say("FastFile at random places")
    kit.warm(blob)
    for name, s in (("links", f.store), ("other S3", f.remote)):
        add(name, {k: v[0] for k, v in measured(s, script, chans)[1].items()})
    with f.fused(f.store):
        add("FUSE", {k: v[0] for k, v in measured(f.store, script, chans)[1].items()})
    for name, mount in mounts.items():
        for t in threads:
            with mount(f.store, f.base, randomly=True) as where:
                add(name, {f"t{t}": kit.stopwatch(f.rootfs, "random", "x", where / "huge/blob", seconds, t)})


def bench_fastfile(f):
    f.want("huge")
    blob, mounts, got = kit.object_file(f.store, f.huge), kit.peers(), {}

    def add(name, numbers):
        for what, value in numbers.items():
            got.setdefault((name, what), []).append(value)

    kit.drop_caches(blob)
    kit.warm(blob)   # the disk has a cache, too
    for _ in range(f.rounds):
        fastfile_round(f, blob, mounts, add)
        random_round(f, blob, mounts, add)
    v = {k: median(numbers) for k, numbers in got.items()}
    size = f"{f.huge >> 20} MiB"
    for name in ("links", "FUSE"):
        for what, peer in (("cold", "cold"), ("first", "warm"), ("warm", "warm")):
            aim = "" if (name, what) == ("FUSE", "first") else ">= 0.7"
            row(f"FastFile by {name}, {size}, {what}", v[name, what], v["file", peer], f"the file itself, {peer}", aim, "MiB/s")
    for peer in mounts:
        for what in ("cold", "first", "warm"):
            row(f"FastFile, other S3, {size}, {what}", v["other S3", what], v[peer, what], peer, ">= 3" if what == "first" else "", "MiB/s")
    for what in ("cold", "warm"):
        row(f"FastFile, other S3, {size}, {what}", v["other S3", what], v["file", what], f"the file itself, {what}",
            ">= 0.7" if what == "warm" else "", "MiB/s")
    for peer in mounts:
        for t in (1, 4):
            row(f"random 128 KiB, other S3, {t} thread{'s' * (t > 1)}", v["other S3", f"t{t}"], v[peer, f"t{t}"], peer, "", "1/s")
    row("random 128 KiB, FUSE, 1 thread", v["FUSE", "t1"], v["links", "t1"], "FastFile by links", "", "1/s")


# ---- FastFile, how soon ----

def first_job(f, s):
    """Seconds to the first byte: from CreateTrainingJob, and from the start of the program in the container."""
    begin = time.time()
    _, got = measured(s, None, [channel("fast", "s3://bucket/lots/", "FastFile")],
                      AlgorithmSpecification={"ContainerEntrypoint": ["/bin/stopwatch", "first", "byte", f"{DATA}/fast/{f.lots // 2:06d}"]})
    return got["byte"][0] - begin, got["byte-took"][0]


def first_mounted(f, mount):
    begin = time.time()
    with mount(f.store, f.base, randomly=True) as where:
        took = kit.stopwatch(f.rootfs, "first", "byte", where / f"lots/{f.lots // 2:06d}")
        return time.time() - begin, took


def bench_firstbyte(f):
    f.want("lots")
    mounts, got = kit.peers(), {}
    for _ in range(f.rounds):
        say("FastFile: the first byte")
        got.setdefault("embedded, links", []).append(first_job(f, f.store))
        with f.fused(f.store):
            got.setdefault("embedded, FUSE", []).append(first_job(f, f.store))
        got.setdefault("other S3", []).append(first_job(f, f.remote))
        for name, mount in mounts.items():
            got.setdefault(name, []).append(first_mounted(f, mount))
    v = {name: [median(x) for x in zip(*numbers)] for name, numbers in got.items()}
    for name in ("embedded, links", "embedded, FUSE", "other S3"):
        for peer in mounts:
            row(f"container to 1st byte of {f.lots}, {name}", v[name][1], v[peer][1], f"{peer}, mounted", "", "s")
            row(f"create to 1st byte of {f.lots}, {name}", v[name][0], v[peer][0], f"{peer}, from its start", "", "s")


# ---- File from another S3 ----

def aws_config(base):
    """Tuned: 32 requests at a time; 16 MiB parts."""
    path = base / "aws.conf"
    path.write_text("[default]\ns3 =\n  addressing_style = path\n  max_concurrent_requests = 32\n  max_queue_size = 10000\n"
                    "  multipart_threshold = 16MB\n  multipart_chunksize = 16MB\n")
    return path


def tools(f):
    """Seconds of each tool that copies a prefix of the store to a directory."""
    have = {}
    if kit.have("awscli"):
        aws = {**f.store.env, "AWS_CONFIG_FILE": str(aws_config(f.base))}
        have["aws s3 sync"] = lambda prefix, to: kit.timed(
            "/usr/bin/aws", "--endpoint-url", f.store.url, "s3", "sync", "--only-show-errors", f"s3://bucket/{prefix}", str(to), env=aws)
    if kit.have("rclone"):
        env = kit.rclone_env(f.store)
        have["rclone copy --transfers 32"] = lambda prefix, to: kit.timed(
            "rclone", "copy", "--transfers", "32", "--checkers", "32", "--multi-thread-streams", "32", "--no-traverse", "--fast-list",
            "--s3-no-head", "--use-server-modtime", f"b:bucket/{prefix}", str(to), env=env)
    return have


def fetch_seconds(s, uri):
    d, _ = measured(s, None, [channel("train", uri, "File")], AlgorithmSpecification={"ContainerEntrypoint": ["/bin/true"]})
    return kit.phase(d, "Downloading")


def level(source):
    files = list(source.iterdir())
    kit.drop_caches(*files)
    for path in files:
        kit.warm(path)


def in_turn(f, s, where, prefix, source, peers):
    """Rounds of ours, each tool and cp into fresh directories of `where`. Every one begins with the writes of others done and
    the objects in memory, nothing else: ext4 is slow to make files where it remembers deleted ones. Who takes minutes is
    not asked again."""
    took = {}
    for i in range(f.rounds):
        say(f"File from another S3: {prefix} {i}")
        level(source)
        took.setdefault("ours", []).append(fetch_seconds(s, f"s3://bucket/{prefix}"))
        for name, run in [*peers.items(), ("cp -r", lambda _, to: kit.timed("cp", "-r", str(source), str(to)))]:
            if max(took.get(name, [0])) > 60:
                continue
            say(f"File from another S3: {prefix} {i}, {name}")
            to = where / "peer"
            level(source)
            took.setdefault(name, []).append(run(prefix, to))
            shutil.rmtree(to)
    return {name: median(v) for name, v in took.items()}


def bench_fileremote(f):
    f.want("huge", "many")
    peers = tools(f)
    copies = {"many/": f.base / "copy-many", "huge/": f.base / "copy-huge"}
    for prefix, size in (("many/", 16384), ("huge/", f.huge)):   # the store's own files, so that they are in memory for all
        copies[prefix].mkdir()
        for i, path in enumerate(kit.object_files(f.store, size)):
            os.link(path, copies[prefix] / f"{i:06d}")
    here = f.base / "to"
    here.mkdir()
    what = {"many/": f"{f.many} x 16 KiB", "huge/": f"1 x {f.huge >> 20} MiB"}
    for prefix in ("many/", "huge/"):
        rows_of(what[prefix], in_turn(f, f.remote, here, prefix, copies[prefix], peers))
    with memory_disk(f) as disk:
        if disk:
            s = f.server("memory", f.remote_conf(), data=disk)
            try:
                rows_of(what["huge/"] + ", to memory", in_turn(f, s, disk, "huge/", copies["huge/"], peers))
            finally:
                kit.end_server(f.servers.pop("memory"))


def rows_of(what, took):
    ours = took.pop("ours")
    for name, seconds in took.items():
        row(f"File from another S3, {what}", ours, seconds, name, "" if name == "cp -r" else "<= 0.333", "s")


@contextlib.contextmanager
def memory_disk(f):
    """A tmpfs for a server's data and its peers' copies: the same measured without the disk, which is slower than any of them."""
    where = f.base / "memory"
    where.mkdir()
    free = int(next(x for x in open("/proc/meminfo") if x.startswith("MemAvailable")).split()[1]) << 10
    if free < 3 * f.huge or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * f.huge + (1 << 30)}", "tmpfs", where]).returncode:
        kit.missing.append("a tmpfs of twice the large object's size (memory)")
        yield None
        return
    try:
        yield where
    finally:
        if subprocess.run(["umount", where]).returncode:
            subprocess.run(["umount", "-l", where])


# ---- many epochs, shuffled ----

FILES = "stopwatch run {} sh -c 'find files -type f | xargs cat > /dev/null'"


def bench_shuffle(f):
    """All in one container, in turn: the same objects in Pipe mode in order, shuffled anew each epoch, and as files."""
    f.want("many")
    uri = "s3://bucket/many/"
    say("Pipe, shuffled")
    n = 3 if f.quick else 10
    script = (f"set -e; cd {DATA}; {EPOCH} {FILES.format('first')}; for i in {numbers(n)}; do epoch plain $i; epoch shuffled $i; "
              f"{FILES.format('files')}; done")
    _, got = measured(f.store, script, [channel("plain", uri, "Pipe"), channel("shuffled", uri, "Pipe", ShuffleConfig={"Seed": 42}),
                                        channel("files", uri, "File")])
    plain, shuffled, files = (median(got[k]) for k in ("plain", "shuffled", "files"))
    row(f"Pipe epoch of {f.many} objects, shuffled", shuffled, plain, "not shuffled", "", "s")
    row(f"Pipe epoch of {f.many} objects, shuffled", shuffled, files, "find | xargs cat of the files", "", "s")
