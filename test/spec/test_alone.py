# Hosts on machines of their own: bloomery-job run by hand in network namespaces, each with a root file system of its own
# in which nothing of the server's data directory is to be seen. SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from conftest import BUILD, ROLE, Server

# What a machine of a cluster has: programs and libraries, a place for data, and no more.
MACHINE = r"""
set -e
root=$1; state=$2; programs=$3; shift 3
mount -t tmpfs -o mode=755 none $root
cd $root
mkdir -p usr etc dev proc sys run tmp var/tmp var/lib/host opt/bloomery old
for d in bin sbin lib lib32 lib64; do [ ! -L /$d ] || ln -s usr/$d $d; done
for f in ld.so.cache ld.so.conf nsswitch.conf passwd group resolv.conf; do [ ! -e /etc/$f ] || cp -L /etc/$f etc/$f; done
[ ! -d /etc/alternatives ] || cp -a /etc/alternatives etc/alternatives
mount --bind /usr usr
mount --bind $programs opt/bloomery
mount --bind $state var/lib/host
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc none proc
pivot_root . old
umount -l old
exec "$@"
"""


def run(*argv, **kw):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, **kw)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not (got := what()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return got


class Machine:
    """A network namespace and a root file system; bloomery-job runs in there."""

    def __init__(self, base, name, namespace, address):
        self.state, self.root = base / f"{name}-state", base / f"{name}-root"
        self.state.mkdir()
        self.root.mkdir()
        self.namespace, self.address, self.log, self.job = namespace, address, base / f"{name}.log", None

    def start(self, spec, **kw):
        file = self.state / "spec.json"
        file.write_text(spec)
        file.chmod(0o600)
        self.job = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "-m", "sh", "-c", MACHINE, "machine", self.root,
             self.state, BUILD, "/opt/bloomery/bloomery-job", "--spec", "/var/lib/host/spec.json", "--root",
             "/var/lib/host/work"], stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"), start_new_session=True, **kw)
        return self.job

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]

    def wait(self, code=0, seconds=60):
        try:
            assert self.job.wait(seconds) == code, self.tail()
        except subprocess.TimeoutExpired:
            raise AssertionError("bloomery-job goes on:\n" + self.tail())

    def processes(self):
        """Whoever sees this machine's files as its own."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if str(self.state) in (p / "mountinfo").read_text() and not os.path.samefile(p / "ns/mnt", "/proc/self/ns/mnt"):
                    found.append((int(p.name), (p / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
            except OSError:
                continue
        return found

    def left(self):
        return self.processes() + [str(p) for p in self.state.glob("work/jobs/*")]

    def end(self):
        if self.job and self.job.poll() is None:
            self.job.terminate()
            try:
                self.job.wait(30)
            except subprocess.TimeoutExpired:
                self.job.kill()
                self.job.wait()
        for pid, _ in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Cluster:
    """Two machines: the first is next to the server, the second is reached through it."""

    def __init__(self, base):
        net = f"10.{random.randrange(200, 250)}.{random.randrange(256)}"
        mark = f"bl{os.getpid() % 100000}"
        self.names = [mark + "a", mark + "b"]
        self.server = f"{net}.1"
        self.veth = mark + "v"
        for n in self.names:
            run("ip", "netns", "add", n)
            run("ip", "-n", n, "link", "set", "lo", "up")
        a, b = self.names
        run("ip", "link", "add", self.veth, "type", "veth", "peer", "name", "up0", "netns", a)
        run("ip", "-n", a, "link", "add", "x0", "type", "veth", "peer", "name", "x0", "netns", b)
        run("ip", "addr", "add", f"{net}.1/30", "dev", self.veth)
        run("ip", "link", "set", self.veth, "up")
        for n, dev, address in ((a, "up0", f"{net}.2/30"), (a, "x0", f"{net}.5/30"), (b, "x0", f"{net}.6/30")):
            run("ip", "-n", n, "addr", "add", address, "dev", dev)
            run("ip", "-n", n, "link", "set", dev, "up")
        run("ip", "-n", a, "route", "add", "default", "via", f"{net}.1")
        run("ip", "-n", b, "route", "add", "default", "via", f"{net}.5")
        run("ip", "route", "add", f"{net}.4/30", "via", f"{net}.2")
        run("nsenter", f"--net=/run/netns/{a}", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.machines = [Machine(base, "one", a, f"{net}.5"), Machine(base, "two", b, f"{net}.6")]

    def close(self):
        for m in self.machines:
            m.end()
        subprocess.run(["ip", "link", "del", self.veth], capture_output=True)
        for n in self.names:
            subprocess.run(["ip", "netns", "del", n], capture_output=True)


class Away(Server):
    """Serves where the machines are, and leaves starting the hosts to us."""

    def __init__(self, data, cluster, conf=""):
        super().__init__(data, listen=f"{cluster.server}:0",
                         conf=f"launcher = hand\nadvertise = http://{cluster.server}\nstop_grace_seconds = 3\n"
                              "capacity_cpus = 8\ncapacity_memory = 68719476736\n" + conf)
        self.cluster = cluster

    def start(self):
        super().start()
        self.listen = re.sub("^http://", "", self.url)
        return self

    def spec(self, name, host, *args):
        done = self.bloomery("host", "spec", "--wait", name, host, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pid_of(self, program):
        return until(lambda: self.pids(program))[0]

    def kill(self):
        """-9, of both daemons."""
        os.kill(self.pid_of("bloomeryd"), signal.SIGKILL)
        self.up.wait(30)
        self.up = None


@pytest.fixture(scope="module")
def cluster():
    base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-alone-"))
    os.chmod(base, 0o755)
    c = Cluster(base)
    yield c
    c.close()
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def away(cluster, rootfs):
    made = []

    def make(conf=""):
        base = tempfile.mkdtemp(prefix="bloomery-away-")
        os.chmod(base, 0o755)
        s = Away(pathlib.Path(base) / "data", cluster, conf).start()
        made.append((s, base))
        assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
        s.s3.create_bucket(Bucket="bucket")
        return s
    yield make
    for s, base in made:
        s.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def server(away):
    return away()


@pytest.fixture(scope="module")
def impatient(away):
    return away("host_patience_seconds = 4\n")


def two(**kw):
    return {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}, **kw}


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as t:
        return {m.name: t.extractfile(m).read().decode() for m in t if m.isfile()}


def lines(s, name):
    """By host."""
    logs, found = s.cached("logs"), {}
    try:
        streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=name + "/")
    except logs.exceptions.ResourceNotFoundException:
        return {}
    for st in streams["logStreams"]:
        kw, all_ = {}, []
        while True:
            got = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=st["logStreamName"],
                                      startFromHead=True, **kw)
            if not got["events"]:
                break
            all_ += [e["message"] for e in got["events"]]
            kw = {"nextToken": got["nextForwardToken"]}
        found[re.search(r"/(algo-\d+)-\d+$", st["logStreamName"])[1]] = all_
    return found


def start_both(s, name):
    for n, m in enumerate(s.cluster.machines, 1):
        m.start(s.spec(name, f"algo-{n}", "--address", m.address))


def wait_both(s):
    for m in s.cluster.machines:
        m.wait()
        assert until(lambda: not m.left() or None, 30), m.left()


def test_two_hosts_of_a_job_on_machines_of_their_own(server):
    s = server
    data = {f"{i:02d}": os.urandom(200_000 + i) for i in range(5)}
    stream = {f"{i}": os.urandom(3_000_000) for i in range(2)}
    channels = [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": s.put("shard/", data), "S3DataDistributionType": "ShardedByS3Key"}}},
        {"ChannelName": "pipe", "InputMode": "Pipe", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": s.put("stream/", stream)}}},
        {"ChannelName": "fast", "InputMode": "FastFile", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": s.put("fast/", {"x": b"fast\n"})}}}]
    port = random.randrange(20000, 30000)
    name = s.create(
        'me=$(hostname); cd /opt/ml/input/data; sha256sum train/* > /opt/ml/model/train-$me; '
        'cat pipe_0 | sha256sum > /opt/ml/model/pipe-$me; cat fast/x > /opt/ml/model/fast-$me; '
        'cp /opt/ml/input/config/resourceconfig.json /opt/ml/model/rc-$me; '
        f'if [ $me = algo-2 ]; then nc -l -p {port} -e sh -c "cat > /opt/ml/model/heard"; '
        f'else until echo hello from $me | nc algo-2 {port}; do sleep 0.1; done; fi; '
        'echo "$AWS_ENDPOINT_URL" > /opt/ml/model/url-$me; wget -q -O /opt/ml/model/key-$me "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; mkdir -p /opt/ml/output/data; echo $me > /opt/ml/output/data/$me; echo done $me',
        InputDataConfig=channels, **two())
    one, other = s.cluster.machines
    refused = s.bloomery("host", "spec", name, "algo-3")
    assert refused.returncode == 1 and "ResourceNotFound" in refused.stderr
    one.start(s.spec(name, "algo-1", "--address", one.address))
    # nothing of the server's files is there
    until(lambda: any(c.startswith("/opt/bloomery/") for _, c in one.processes()))     # and no more the shell before it
    for path in (s.data, s.data / "jobs", s.data.parent):
        assert not pathlib.Path(f"/proc/{one.job.pid}/root{path}").exists()
    assert s.describe(name)["TrainingJobStatus"] == "InProgress"
    other.start(s.spec(name, "algo-2"))     # which finds its own address
    d = s.wait(name, timeout=120)
    assert d["TrainingJobStatus"] == "Completed", (d, one.tail(), other.tail())
    wait_both(s)
    raw = s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
    got = members(raw)
    assert gzip.decompress(raw)[-1024:] == bytes(1024)
    shares = {n: dict(reversed(line.split("  ")) for line in got[f"train-algo-{n}"].splitlines()) for n in (1, 2)}
    assert sorted(shares[1]) == ["train/00", "train/02", "train/04"] and sorted(shares[2]) == ["train/01", "train/03"]
    for key, digest in {**shares[1], **shares[2]}.items():
        assert digest == hashlib.sha256(data[key.split("/")[1]]).hexdigest()
    whole = hashlib.sha256(b"".join(stream[k] for k in sorted(stream))).hexdigest()
    for n, m in ((1, one), (2, other)):
        assert got[f"pipe-algo-{n}"].split()[0] == whole
        assert got[f"fast-algo-{n}"] == "fast\n"
        rc = json.loads(got[f"rc-algo-{n}"])
        assert rc["hosts"] == ["algo-1", "algo-2"] and rc["network_interface_name"] == "x0"
        assert got[f"url-algo-{n}"].strip() == s.url
        assert json.loads(got[f"key-algo-{n}"])["AccessKeyId"].startswith("ASIA")
    assert got["heard"] == "hello from algo-1\n"
    assert members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar", "output.tar"))) == {"algo-1": "algo-1\n"}
    printed = lines(s, name)
    assert "done algo-1" in printed["algo-1"] and "done algo-2" in printed["algo-2"]
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Training", "Uploading",
                                                                     "Completed"]
    told = s.bloomery("describe", name)
    assert told.returncode == 0 and "algo-2: " in told.stdout     # feeds.json came, too
    assert s.leftovers() == []


def test_a_server_that_pauses_and_one_that_is_killed_lose_nothing(server):
    s = server
    name = s.create('i=0; while [ $i -lt 80 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; hostname > /opt/ml/model/$(hostname)',
                    **two())
    start_both(s, name)
    s.wait(name, {"Training"})
    until(lambda: all("line 5" in x for x in lines(s, name).values()) and len(lines(s, name)) == 2)
    daemon = s.pid_of("bloomeryd")
    os.kill(daemon, signal.SIGSTOP)
    time.sleep(2)      # the pause itself, not a wait for anything
    os.kill(daemon, signal.SIGCONT)
    until(lambda: any("line 30" in x for x in lines(s, name).values()))
    s.kill()
    time.sleep(1)
    s.start()
    d = s.wait(name, timeout=120)
    assert d["TrainingJobStatus"] == "Completed", (d, [m.tail() for m in s.cluster.machines])
    wait_both(s)
    assert members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {f"algo-{n}": f"algo-{n}\n" for n in (1, 2)}
    for host, printed in lines(s, name).items():
        assert [x for x in printed if x.startswith("line ")] == [f"line {i}" for i in range(80)], host
    assert s.leftovers() == []


def test_daemons_killed_again_and_again_while_hosts_post(server):
    s = server
    name = s.create('i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; '
                    'head -c 40000000 /dev/urandom > /opt/ml/model/$(hostname); sha256sum < /opt/ml/model/$(hostname)', **two())
    start_both(s, name)
    s.wait(name, {"Training"})
    for mark in ("line 2", "line 20", "line 40"):
        until(lambda: any(mark in x for x in lines(s, name).values()))
        s.kill()
        s.start()
    # in the middle of an artifact, or what comes after one
    parts = lambda: list(s.data.glob("jobs/*/staged/.part-*")) or s.describe(name)["SecondaryStatus"] in ("Uploading", "Completed")
    until(parts)
    s.kill()
    s.start()
    d = s.wait(name, timeout=120)
    assert d["TrainingJobStatus"] == "Completed", (d, [m.tail() for m in s.cluster.machines])
    wait_both(s)
    printed = lines(s, name)
    with tarfile.open(fileobj=io.BytesIO(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])), mode="r:gz") as t:
        sums = {m.name: hashlib.sha256(t.extractfile(m).read()).hexdigest() for m in t if m.isfile()}
    assert sorted(printed) == sorted(sums) == ["algo-1", "algo-2"]
    for host, got in printed.items():
        assert [x for x in got if x.startswith("line ")] == [f"line {i}" for i in range(60)], host
        assert f"{sums[host]}  -" in got, host
    assert s.leftovers() == []


def test_a_host_killed_while_it_posts_goes_on_where_it_was(server):
    s = server
    name = s.create('head -c 20000000 /dev/urandom > /opt/ml/model/x; sha256sum < /opt/ml/model/x; mkdir -p /opt/ml/output/data; '
                    'echo more > /opt/ml/output/data/y')
    one = s.cluster.machines[0]
    spec = s.spec(name, "algo-1")
    one.start(spec)
    here = s.data / "jobs" / json.loads(spec)["id"]
    until(lambda: list(here.glob("staged/*")) or (here / "journal").exists() and b"ARTIFACT" in (here / "journal").read_bytes())
    daemon = s.pid_of("bloomeryd")
    os.kill(daemon, signal.SIGSTOP)
    try:
        until(lambda: list(one.state.glob("work/jobs/*/exit")) or one.job.poll() is not None)
        os.kill(one.job.pid, signal.SIGKILL)
        one.job.wait()
    finally:
        os.kill(daemon, signal.SIGCONT)
    one.start(spec)
    d = s.wait(name, timeout=120)
    assert d["TrainingJobStatus"] == "Completed", (d, one.tail())
    one.job.wait(60)      # 0, or 1 when all had been told already
    with tarfile.open(fileobj=io.BytesIO(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])), mode="r:gz") as t:
        assert f"{hashlib.sha256(t.extractfile('x').read()).hexdigest()}  -" in lines(s, name)["algo-1"]
    assert members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar", "output.tar"))) == {"y": "more\n"}
    shutil.rmtree(one.state / "work/jobs", ignore_errors=True)
    assert not one.left() and s.leftovers() == []


def test_a_host_whose_bloomery_job_is_killed_is_named(impatient):
    s = impatient
    name = s.create('echo up; trap "echo stopped; exit 0" TERM; while :; do sleep 0.1; done', **two())
    start_both(s, name)
    until(lambda: len(lines(s, name)) == 2 and all("up" in x for x in lines(s, name).values()))
    one, other = s.cluster.machines
    os.kill(other.job.pid, signal.SIGKILL)
    other.job.wait()
    d = s.wait(name, timeout=60)
    assert d["TrainingJobStatus"] == "Failed"
    assert re.search(r"The training host algo-2 \([\d.]+\) has not been heard of for 4 seconds", d["FailureReason"]), d["FailureReason"]
    assert d["FailureReason"].endswith("(algo-2 was the first of 2 hosts to fail; the others were stopped)")
    one.wait()
    assert "stopped" in lines(s, name)["algo-1"]
    # the killed one's supervisor has ended by itself; what it wrote goes when the directory is used again
    until(lambda: not other.processes())
    again = other.start((other.state / "spec.json").read_text())
    assert again.wait(60) == 1 and "403" in other.tail()
    shutil.rmtree(other.state / "work/jobs")
    assert not one.left() and s.leftovers() == []


def test_a_host_that_is_started_again_tells_that_it_was_lost(server):
    s = server
    name = s.create("echo up; while :; do sleep 0.1; done")
    one = s.cluster.machines[0]
    spec = s.spec(name, "algo-1")
    one.start(spec)
    until(lambda: "up" in lines(s, name).get("algo-1", []))
    os.kill(one.job.pid, signal.SIGKILL)
    one.job.wait()
    one.start(spec)
    d = s.wait(name)
    assert d["TrainingJobStatus"] == "Failed" and "InternalServerError" in d["FailureReason"], d
    one.wait()
    # the supervisor alone, which leaves a container to somebody else
    name = s.create("echo up; while :; do sleep 0.1; done")
    one.start(s.spec(name, "algo-1"))
    until(lambda: "up" in lines(s, name).get("algo-1", []))
    supervisor = [pid for pid, argv in one.processes() if "--end-with-parent" in argv]
    assert len(supervisor) == 1
    os.kill(supervisor[0], signal.SIGKILL)
    d = s.wait(name)
    assert d["TrainingJobStatus"] == "Failed" and "bloomery-job, was lost" in d["FailureReason"], d
    one.wait()
    assert until(lambda: not one.left() or None, 30), one.left()
    assert s.leftovers() == []


def test_stop_and_a_host_that_nobody_starts(server):
    s = server
    name = s.create('trap "hostname > /opt/ml/model/$(hostname); exit 0" TERM; echo up; while :; do sleep 0.1; done')
    one = s.cluster.machines[0]
    one.start(s.spec(name, "algo-1"))
    until(lambda: "up" in lines(s, name).get("algo-1", []))
    s.sm.stop_training_job(TrainingJobName=name)
    d = s.wait(name)
    assert d["TrainingJobStatus"] == "Stopped"
    assert members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {"algo-1": "algo-1\n"}
    one.wait()
    # of these two only one is started, and waits for the other
    pair = s.create("echo never", **two())
    specs = [s.spec(pair, f"algo-{n}") for n in (1, 2)]
    one.start(specs[0])
    until(lambda: "elsewhere" in os.listdir(s.data / "jobs" / json.loads(specs[0])["id"]) and
          (s.data / "jobs" / json.loads(specs[0])["id"] / "elsewhere").stat().st_size)
    assert s.describe(pair)["TrainingJobStatus"] == "InProgress"
    s.sm.stop_training_job(TrainingJobName=pair)
    assert s.wait(pair)["TrainingJobStatus"] == "Stopped"
    one.wait()
    assert lines(s, pair) == {} and not one.left() and s.leftovers() == []


def test_another_launcher_ends_what_was_to_be_started_by_hand(away):
    s = away()
    name = s.create("echo", **two())
    s.spec(name, "algo-1")
    s.stop()
    conf = s.data / "bloomery.conf"
    conf.write_text(conf.read_text().replace("launcher = hand", "launcher = local"))
    s.start()
    assert "bloomery.conf has another launcher now" in s.wait(name)["FailureReason"]
    assert s.completed("echo local")["TrainingJobStatus"] == "Completed"
    assert s.bloomery("host", "spec", name, "algo-1").returncode == 1
    assert s.leftovers() == []


def ask(s, method, path, token, body=None):
    """Status and message."""
    r = urllib.request.Request(s.url + path, body, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.urlopen(r, timeout=60) as got:
            return got.status, json.loads(got.read() or b"null")
    except urllib.error.HTTPError as ex:
        return ex.code, json.loads(ex.read())


def test_what_a_host_may_and_may_not(server):
    s = server
    name, stranger = s.create("echo", **two()), s.create("echo")
    spec = [json.loads(s.spec(name, f"algo-{n}")) for n in (1, 2)]
    lone = json.loads(s.spec(stranger, "algo-1"))
    at = [f"/bloomery/hosts/{x['id']}/" for x in spec]
    token = [x["token"] for x in spec]
    for wrong in ("x", token[1], lone["token"], token[0][:-1], token[0] + "0", ""):
        status, told = ask(s, "GET", at[0] + "orders", wrong)
        assert status == 403 and "token is not the one of this host" in told["message"], (wrong, told)
    assert ask(s, "GET", "/bloomery/hosts/../orders", token[0])[0] == 403
    # nothing before the hello
    assert ask(s, "POST", at[0] + "journal?offset=0", token[0], b"x\n")[0] == 409
    hello = {"address": "10.1.2.3", "instance": "0123456789abcdef", "now": int(time.time() * 1000)}
    for bad in ({}, {**hello, "address": "a.b"}, {**hello, "instance": "../x"}, {**hello, "now": "x"}):
        assert ask(s, "POST", at[0] + "hello", token[0], json.dumps(bad).encode())[0] == 400
    assert ask(s, "POST", at[0] + "hello", token[0], b"x" * 5000)[0] == 413
    assert ask(s, "POST", at[0] + "hello", token[0], json.dumps(hello).encode()) == (200, {"journal": 0, "log": 0})
    fact = json.dumps({"n": 1, "t": hello["now"], "fact": "STARTED", "args": {}}).encode() + b"\n"
    assert ask(s, "POST", at[0] + "journal?offset=0", token[0], fact) == (200, {"size": len(fact)})
    assert ask(s, "POST", at[0] + "journal?offset=0", token[0], fact) == (200, {"size": len(fact)})      # again
    assert ask(s, "POST", at[0] + "journal?offset=0", token[0], fact.replace(b"STARTED", b"READYYY"))[0] == 409
    assert ask(s, "POST", at[0] + "journal?offset=9999", token[0], fact) == (200, {"size": len(fact)})   # a hole
    for bad in (fact, b"{}\n", fact.replace(b'1,', b'2,', 1)[:-1], b"\n", b"\xff\n"):
        assert ask(s, "POST", at[0] + f"journal?offset={len(fact)}", token[0], bad)[0] == 400, bad
    theirs = json.dumps({"n": 2, "t": 1, "fact": "ARTIFACT", "args": {"bucket": "bucket", "key": f"out/{stranger}/output/x",
                         "file": "x", "size": 1, "md5": "0" * 32}}).encode() + b"\n"
    status, told = ask(s, "POST", at[0] + f"journal?offset={len(fact)}", token[0], theirs)
    assert status == 400 and "not an artifact of this job" in told["message"]
    assert ask(s, "POST", at[0] + "journal", token[0], fact)[0] == 400
    # a second one with the same work order, once the first has told facts
    status, told = ask(s, "POST", at[0] + "hello", token[0], json.dumps({**hello, "instance": "fedcba9876543210"}).encode())
    assert status == 409 and "started already" in told["message"]
    for path in ("staged/..%2Fx?md5=0", "staged/.x?md5=0", "staged/a/b?md5=0"):
        assert ask(s, "PUT", at[0] + path, token[0], b"x")[0] in (400, 404), path
    status, told = ask(s, "PUT", at[0] + "staged/x?md5=" + "0" * 32, token[0], b"x")
    assert status == 400 and "MD5" in told["message"]
    assert ask(s, "PUT", at[0] + "staged/x?md5=" + hashlib.md5(b"x").hexdigest(), token[0], b"x")[0] == 200
    assert ask(s, "GET", at[0] + "lists/..%2Fspec.json", token[0])[0] == 404
    assert ask(s, "GET", at[0] + "nothing", token[0])[0] == 404
    assert ask(s, "DELETE", at[0] + "orders", token[0])[0] == 405
    assert ask(s, "GET", at[0] + "orders?seen=0", token[0])[1]["order"] == "none"
    for n in (name, stranger):
        s.sm.stop_training_job(TrainingJobName=n)
    assert s.wait(stranger)["TrainingJobStatus"] == "Stopped"
    assert ask(s, "GET", at[0] + "orders?seen=0", token[0])[1]["order"] == "stop"
    end = b'{"n":2,"t":1,"fact":"ENDED","args":{"result":"stopped","reason":""}}\n'
    assert ask(s, "POST", at[0] + f"journal?offset={len(fact)}", token[0], end)[0] == 200
    assert s.wait(name)["TrainingJobStatus"] == "Stopped"
    for t, path in ((token[0], at[0]), (lone["token"], f"/bloomery/hosts/{lone['id']}/")):
        status, told = ask(s, "GET", path + "orders", t)      # dead with the job
        assert status == 403 and "has ended" in told["message"]
    s.leftovers()


def test_a_transform_job_is_none_for_other_machines(server):
    server.put("transform/", {"a.csv": b"a\n"})
    server.sm.create_model(ModelName="serves", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "busy"})
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        server.sm.create_transform_job(
            TransformJobName="away", ModelName="serves", TransformOutput={"S3OutputPath": "s3://bucket/out"},
            TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/transform/"}}},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1})
    said = ex.value.response["Error"]
    assert said["Code"] == "ValidationException" and "Transform jobs run on the machine of the server only" in said["Message"]


def test_what_an_algorithm_brings_along_is_on_other_machines_too(server):
    s = server
    s.put("brought/", {"w/x": b"brought\n"})
    s.call("CreateAlgorithm", {"AlgorithmName": "brings", "TrainingSpecification": {
        "TrainingImage": "busy", "SupportedTrainingInstanceTypes": ["ml.m5.large"], "SupportsDistributedTraining": True,
        "TrainingChannels": [{"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"]}],
        "AdditionalS3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/brought/"}}})
    r = s.request('cat $SAGEMAKER_ADDITIONAL_S3_DATA_PATH/w/x > /opt/ml/model/$(hostname)', **two())
    r["AlgorithmSpecification"] = {"AlgorithmName": "brings", "TrainingInputMode": "File"}
    s.sm.create_training_job(**r)
    start_both(s, r["TrainingJobName"])
    d = s.wait(r["TrainingJobName"], timeout=120)
    assert d["TrainingJobStatus"] == "Completed", (d, [m.tail() for m in s.cluster.machines])
    wait_both(s)
    assert members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {"algo-1": "brought\n", "algo-2": "brought\n"}
