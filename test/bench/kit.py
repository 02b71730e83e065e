"""What the parts of the benchmark share: the table, servers, objects, jobs that measure themselves, and mounts of peers.

Whoever starts something here puts its undoing on an ExitStack at once, so that nothing stays, also on Ctrl-C.
SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import contextlib
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/spec"))
import conftest as house  # noqa: E402

rows, missing = [], []


def say(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)


def row(what, ours, peer, peer_name, aim, unit):
    rows.append({"what": what, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ours / peer if peer else None,
                 "aim": aim, "unit": unit})


def need(*packages):
    absent = [p for p in packages if subprocess.run(["dpkg-query", "-W", p], capture_output=True).returncode]
    if absent:
        print(f"installing what we measure against: {' '.join(absent)}", file=sys.stderr)
        subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *absent], check=True,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)


def have(*packages):
    """As need(), but a peer that cannot be had is left out of the table and named below it."""
    try:
        need(*packages)
    except (OSError, subprocess.CalledProcessError):
        name = f"{packages[0]} (apt-get install {' '.join(packages)})"
        if name not in missing:
            missing.append(name)
        return False
    return True


def stop_on_signals():
    """The first Ctrl-C, SIGTERM or SIGHUP unwinds everything; what comes later does not disturb that."""
    def stop(number, _frame):
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(n, lambda *_: None)
        raise KeyboardInterrupt
    for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(n, stop)


# ---- servers ----

def end_server(s):
    """Ends the jobs, then the server. Ctrl-C at a terminal has ended the server already, but not its jobs."""
    if not s.up:
        return
    if s.up.poll() is not None:
        s.start()
    running = [j["TrainingJobName"] for j in s.sm.list_training_jobs(StatusEquals="InProgress", MaxResults=100)["TrainingJobSummaries"]]
    for name in running:
        s.sm.stop_training_job(TrainingJobName=name)
    for name in running:
        s.wait(name, timeout=60)
    left = s.leftovers(20)
    s.stop()
    s.log.close()
    if left:
        print("left behind:", *left, sep="\n  ", file=sys.stderr)


def make_rootfs(where):
    """The image: busybox, but the very cat and dd (and their C library) that the peers are measured with; and stopwatch."""
    root = house.make_busy_rootfs(where)
    for program in ("/bin/cat", "/bin/dd"):
        (root / program[1:]).unlink()
        shutil.copy(program, root / program[1:])
        out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for lib in re.findall(r"(/\S+) \(0x", out):
            (root / lib[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(lib, root / lib[1:])
    subprocess.run(["gcc", "-static", "-O2", "-pthread", "-o", root / "bin/stopwatch", ROOT / "test/bench/stopwatch.c"], check=True)
    return root


# ---- objects ----

class Putter:
    """PUTs over one connection, signed by hand: a hundred thousand objects through an SDK take minutes."""

    def __init__(self, url, exports):
        self.host = url[7:]
        self.conn = http.client.HTTPConnection(self.host)
        self.id, self.region = exports["AWS_ACCESS_KEY_ID"], exports["AWS_REGION"]
        self.secret = exports["AWS_SECRET_ACCESS_KEY"].encode()

    def headers(self, path):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        names = "host;x-amz-content-sha256;x-amz-date"
        text = "\n".join(["PUT", path, "", "host:" + self.host, "x-amz-content-sha256:UNSIGNED-PAYLOAD", "x-amz-date:" + stamp, "",
                          names, "UNSIGNED-PAYLOAD"])
        key = b"AWS4" + self.secret
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return {"x-amz-date": stamp, "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
                "Authorization": f"AWS4-HMAC-SHA256 Credential={self.id}/{scope}, SignedHeaders={names}, Signature={signature}"}

    def put(self, bucket, key, data, size=None):
        path = f"/{bucket}/{urllib.parse.quote(key)}"
        headers = self.headers(path)
        if size is not None:
            headers["Content-Length"] = str(size)
        self.conn.request("PUT", path, data, headers)
        r = self.conn.getresponse()
        text = r.read()
        if r.status != 200:
            raise RuntimeError(text.decode())


def put_part(work):
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # the one who waits for us undoes
    url, exports, prefix, copy, size, part = work
    p, data = Putter(url, exports), bytes(size)
    for i in part:
        if copy:
            pathlib.Path(copy, f"{i:06d}").write_bytes(data)
        p.put("bucket", f"{prefix}{i:06d}", data)


def put_many(s, prefix, count, size, copy=None):
    """`count` objects of `size` zeros; the same as files in the directory `copy`."""
    say(f"putting {count} objects")
    with concurrent.futures.ProcessPoolExecutor(8) as pool:
        list(pool.map(put_part, [(s.url, s.exports, prefix, copy and str(copy), size, range(k, count, 32)) for k in range(32)]))


def put_huge(s, key, size):
    """One object of random bytes, written as it is sent."""
    say(f"putting {size >> 20} MiB")
    block = os.urandom(8 << 20)
    Putter(s.url, s.exports).put("bucket", key, (block for _ in range(size // len(block))), size)


def object_files(s, size):
    """The store's own files of the objects of that size."""
    return [p for p in (s.data / "objects").glob("*/*") if p.stat().st_size == size]


def object_file(s, size):
    one, = object_files(s, size)
    return one


# ---- jobs that measure themselves ----

def channel(name, uri, mode, **kw):
    return {"ChannelName": name, "InputMode": mode, **kw,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}}}


def measured(s, script, channels, timeout=900, **kw):
    """Runs a job to its end. Returns its description, and a list of numbers for each label that stopwatch printed."""
    name = s.create(script, InputDataConfig=channels,
                    ResourceConfig={"InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}, **kw)
    d = s.wait(name, timeout=timeout)
    lines = s.logs_or_nothing(name)
    if d["TrainingJobStatus"] != "Completed":
        raise RuntimeError(f"{name}: {d.get('FailureReason')}\n" + "\n".join(lines[-20:]))
    got = {}
    for line in lines:
        if m := re.fullmatch(r"stopwatch (\S+) ([\d.]+)\s*", line):
            got.setdefault(m[1], []).append(float(m[2]))
    return d, got


def phase(d, status):
    t = next(x for x in d["SecondaryStatusTransitions"] if x["Status"] == status)
    return (t["EndTime"] - t["StartTime"]).total_seconds()


def stopwatch(rootfs, *args):
    """The image's stopwatch, run on the host: the last number it prints."""
    out = subprocess.run([rootfs / "bin/stopwatch", *map(str, args)], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"{' '.join(map(str, args))}: {out.stderr}")
    return float(out.stdout.split()[-1])


def timed(*argv, **kw):
    begin = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **kw)
    took = time.monotonic() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr}")
    return took


def median(values):
    return statistics.median(values)


# ---- caches ----

def drop_caches(*files):
    """Nothing of what was read or written before is in the page cache. Without the right to drop all of it: of `files`."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        return
    except OSError:
        pass
    for f in files:
        fd = os.open(f, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def warm(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(8 << 20):
            pass


# ---- mounts of peers ----

def unmount(where, program):
    if os.path.ismount(where):
        subprocess.run(["umount", where], capture_output=True)
    else:
        program.terminate()
    try:
        program.wait(10)
    except subprocess.TimeoutExpired:
        subprocess.run(["umount", "-l", where], capture_output=True)
        program.kill()
        program.wait()


@contextlib.contextmanager
def mounted(where, argv, env=None):
    """A file system that `argv` serves in the foreground, in a session of its own: Ctrl-C must not end it while mounted."""
    where.mkdir()
    program = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while not os.path.ismount(where):
            if program.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{argv[0]} does not mount: {program.communicate()[1] if program.poll() is not None else 'timeout'}")
            time.sleep(0.001)
        yield where
    finally:
        unmount(where, program)
        where.rmdir()


def s3fs(s, base, randomly=False):
    """Tuned: pages stay from one open to the next (kernel_cache), what was fetched stays in a local file (use_cache), nothing
    is asked twice. Of 5 to 64 MiB by 1 to 16 at a time its default, 10 by 5, reads fastest from end to end, 5 by 1 at
    random places (30 times as fast as 64 by 8)."""
    key = base / "s3fs.key"
    key.touch(0o600)
    key.write_text(f"{s.exports['AWS_ACCESS_KEY_ID']}:{s.exports['AWS_SECRET_ACCESS_KEY']}\n")
    cache = base / "s3fs.cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    return mounted(base / "s3fs", ["s3fs", "bucket", str(base / "s3fs"), "-f", "-o", ",".join([
        f"url={s.url}", "endpoint=us-east-1", "use_path_request_style", f"passwd_file={key}", "ro", "kernel_cache", f"use_cache={cache}",
        "max_stat_cache_size=1000000", "stat_cache_expire=86400", "enable_noobj_cache", "multireq_max=64",
        *(["multipart_size=5", "parallel_count=1"] if randomly else ["multipart_size=10", "parallel_count=5"])])])


def rclone_env(s):
    env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}   # it refuses to start with one
    return {**env, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_B_TYPE": "s3", "RCLONE_CONFIG_B_PROVIDER": "Other",
            "RCLONE_CONFIG_B_ENDPOINT": s.url, "RCLONE_CONFIG_B_REGION": "us-east-1", "RCLONE_CONFIG_B_NO_CHECK_BUCKET": "true",
            "RCLONE_CONFIG_B_FORCE_PATH_STYLE": "true", "RCLONE_CONFIG_B_ACCESS_KEY_ID": s.exports["AWS_ACCESS_KEY_ID"],
            "RCLONE_CONFIG_B_SECRET_ACCESS_KEY": s.exports["AWS_SECRET_ACCESS_KEY"]}


def rclone(s, base, randomly=False):
    """Tuned: read-only, no times asked (a HEAD an object), attributes and directories kept. From end to end 1 MiB read ahead by
    the kernel and 64 MiB by rclone; at random places none, which doubles them."""
    return mounted(base / "rclone", [
        "rclone", "mount", "b:bucket", str(base / "rclone"), "--read-only", "--no-modtime", "--no-checksum", "--allow-other",
        "--attr-timeout", "1h", "--dir-cache-time", "1h", "--poll-interval", "0",
        *(["--buffer-size", "0"] if randomly else ["--max-read-ahead", "1Mi", "--buffer-size", "64Mi"])], rclone_env(s))


PEERS = {"s3fs": (s3fs, ("s3fs", "fuse3")), "rclone mount": (rclone, ("rclone", "fuse3"))}


def peers():
    return {name: mount for name, (mount, packages) in PEERS.items() if have(*packages)}
