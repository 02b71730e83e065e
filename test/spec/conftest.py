# The house of the spec tests: a real `bloomery up` in a data directory of its own, real boto3 and aws CLI, a real image.
# SPDX-License-Identifier: Apache-2.0
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BLOOMERY_BUILD", ROOT / "build"))
BLOOMERY = BUILD / "bloomery"
ROLE = "arn:aws:iam::000000000000:role/service-role/trainer"
ROOM = "capacity_cpus = 8\ncapacity_memory = 68719476736\n"      # for jobs beside each other, however small the machine
FINAL = {"Completed", "Failed", "Stopped"}
GROUP = "/aws/sagemaker/TrainingJobs"


class Server:
    """One `bloomery up`. Everything a test needs to talk to it, kill parts of it and look for what it left behind."""

    def __init__(self, data, conf="", listen="127.0.0.1:0"):
        self.data = pathlib.Path(data)
        self.listen = listen
        self.up = None
        if conf:
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / "bloomery.conf").write_text(conf)

    def start(self):
        self.log = open(str(self.data) + ".log", "ab")
        self.up = subprocess.Popen([BLOOMERY, "up", "--data", self.data, "--listen", self.listen],
                                   stdout=subprocess.PIPE, stderr=self.log, text=True,
                                   start_new_session=True)     # Ctrl-C is for us: we stop it, when its jobs have ended
        line = self.up.stdout.readline()
        m = re.fullmatch(r"bloomery: listening on (http://[\d.]+:(\d+))\n", line)
        assert m, f"{line!r}; {self.tail()}"
        self.url = m[1]
        self.listen = f"127.0.0.1:{m[2]}"      # a restart serves at the same place
        out = subprocess.run([BLOOMERY, "env", "--data", self.data], capture_output=True, text=True, check=True).stdout
        exports = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", out, re.M))
        assert exports["AWS_ENDPOINT_URL"] == self.url
        self.exports = exports
        self.env = {**os.environ, **exports, "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
                    "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        return self

    def stop(self):
        if self.up and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            assert self.up.wait(60) == 0, "bloomery up must end 0 on SIGTERM"
        self.up = None

    def client(self, service, **kw):
        import boto3
        import botocore.config
        config = kw.pop("config", botocore.config.Config(retries={"max_attempts": 0}, read_timeout=120,
                                                         s3={"addressing_style": "path"}))
        key = {"aws_access_key_id": self.exports["AWS_ACCESS_KEY_ID"],
               "aws_secret_access_key": self.exports["AWS_SECRET_ACCESS_KEY"]}
        return boto3.session.Session().client(service, endpoint_url=self.url, region_name=self.exports["AWS_REGION"],
                                              config=config, **{**key, **kw})

    def cached(self, service):
        clients = self.__dict__.setdefault("clients", {})
        if service not in clients or clients[service].meta.endpoint_url != self.url:
            clients[service] = self.client(service)
        return clients[service]

    @property
    def sm(self):
        return self.cached("sagemaker")

    @property
    def s3(self):
        return self.cached("s3")

    def aws(self, *args, timeout=120, **kw):
        """Debian's aws CLI. Its botocore knows AWS_ENDPOINT_URL only in newer versions, hence --endpoint-url."""
        return subprocess.run(["/usr/bin/aws", "--endpoint-url", self.url, *map(str, args)], env=self.env,
                              capture_output=True, text=True, timeout=timeout, **kw)

    def bloomery(self, *args, timeout=120, **kw):
        return subprocess.run([BLOOMERY, *map(str, args), "--data", str(self.data)], env=self.env,
                              capture_output=True, text=True, timeout=timeout, **kw)

    # ---- jobs ----

    def request(self, script=None, image="busy", name=None, channels=None, **kw):
        """A CreateTrainingJob request whose container runs `script` with /bin/sh (see the `busy` image)."""
        r = {"TrainingJobName": name or "job-" + uuid.uuid4().hex[:12], "RoleArn": ROLE,
             "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
             "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
             "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
             "StoppingCondition": {"MaxRuntimeInSeconds": 600}}
        if script is not None:
            assert len(script) <= 2500
            r["HyperParameters"] = {"script": script}
        if channels:
            r["InputDataConfig"] = [{"ChannelName": n, "DataSource": {"S3DataSource": {
                "S3DataType": "S3Prefix", "S3Uri": uri}}} for n, uri in channels.items()]
        for k, v in kw.items():
            r[k] = {**r[k], **v} if isinstance(v, dict) and isinstance(r.get(k), dict) else v
        return r

    def create(self, *a, **kw):
        r = self.request(*a, **kw)
        self.sm.create_training_job(**r)
        return r["TrainingJobName"]

    def describe(self, name):
        return self.sm.describe_training_job(TrainingJobName=name)

    def wait(self, name, until=FINAL, timeout=90):
        """Polls Describe until the status or secondary status is in `until`; a hang fails with the last answer."""
        end = time.monotonic() + timeout
        while True:
            d = self.describe(name)
            if d["TrainingJobStatus"] in until or d["SecondaryStatus"] in until:
                return d
            if time.monotonic() > end or d["TrainingJobStatus"] in FINAL:
                raise AssertionError(f"{name} is {d['TrainingJobStatus']}/{d['SecondaryStatus']}, wanted {until}:\n"
                                     + json.dumps(d, default=str, indent=1) + "\n" + self.tail())
            time.sleep(0.02)

    def run(self, *a, timeout=90, **kw):
        return self.wait(self.create(*a, **kw), timeout=timeout)

    def completed(self, *a, **kw):
        d = self.run(*a, **kw)
        assert d["TrainingJobStatus"] == "Completed", d.get("FailureReason", d)
        return d

    def failed(self, *a, **kw):
        d = self.run(*a, **kw)
        assert d["TrainingJobStatus"] == d["SecondaryStatus"] == "Failed", d
        assert len(d["FailureReason"]) <= 1024
        return d["FailureReason"]

    def logs(self, name):
        logs, lines = self.cached("logs"), []
        for s in logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")["logStreams"]:
            kw = {}
            while True:
                got = logs.get_log_events(logGroupName=GROUP, logStreamName=s["logStreamName"], startFromHead=True, **kw)
                if not got["events"]:
                    break
                lines += [ev["message"] for ev in got["events"]]
                kw = {"nextToken": got["nextForwardToken"]}
        return lines

    def logs_or_nothing(self, name):
        """As logs(), but a stream that is not there yet is an empty one."""
        import botocore.exceptions
        try:
            return self.logs(name)
        except botocore.exceptions.ClientError as ex:
            assert ex.response["Error"]["Code"] == "ResourceNotFoundException", ex
            return []

    def call(self, operation, body, service="sagemaker", target="SageMaker", credentials=None):
        """A signed JSON request of our own making, for what Debian's client cannot say. Raises on anything but 200.
        credentials: of a session, as AssumeRole gives them; None: the server's own."""
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        import urllib.request
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        req = botocore.awsrequest.AWSRequest("POST", self.url + "/", data=data, headers={
            "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{target}.{operation}"})
        c = credentials or {"AccessKeyId": self.exports["AWS_ACCESS_KEY_ID"], "SecretAccessKey": self.exports["AWS_SECRET_ACCESS_KEY"]}
        creds = botocore.credentials.Credentials(c["AccessKeyId"], c["SecretAccessKey"], c.get("SessionToken"))
        botocore.auth.SigV4Auth(creds, service, self.exports["AWS_REGION"]).add_auth(req)
        with urllib.request.urlopen(urllib.request.Request(self.url + "/", data, dict(req.headers)), timeout=60) as got:
            text = got.read()
        return json.loads(text) if text else {}

    def artifact(self, uri):
        bucket, key = re.fullmatch(r"s3://([^/]+)/(.*)", uri).groups()
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def put(self, prefix, objects, bucket="bucket"):
        for key, data in objects.items():
            self.s3.put_object(Bucket=bucket, Key=prefix + key, Body=data)
        return f"s3://{bucket}/{prefix}"

    # ---- processes and leftovers ----

    def tail(self):
        return "the server's log ends:\n" + pathlib.Path(str(self.data) + ".log").read_text(errors="replace")[-3000:]

    def pids(self, program, job=""):
        """Pids of `program` that belong to this data directory (and to the job with that id)."""
        found = []
        for p in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                argv = open(p, "rb").read().split(b"\0")
            except OSError:
                continue
            if os.path.basename(argv[0].decode(errors="replace")) == program and any(
                    str(self.data).encode() in a and job.encode() in a for a in argv):
                found.append(int(p.split("/")[2]))
        return found

    def drivers(self, orphans=False):
        """Pids of bloomery-transform, whose arguments do not say whose it is: those of this directory's supervisors, or
        also those that have none."""
        found, own = [], set(self.pids("bloomery-job"))
        for p in glob.glob("/proc/[0-9]*/status"):
            try:
                status = dict(line.split(":\t", 1) for line in open(p).read().splitlines() if ":\t" in line)
                if status["Name"] != "bloomery-transf" or os.readlink(p.replace("status", "exe")) != str(BUILD / "bloomery-transform"):
                    continue
                parent = open(f"/proc/{status['PPid']}/comm").read().strip()
            except OSError:
                continue
            if int(status["PPid"]) in own or (orphans and parent != "bloomery-job"):
                found.append(int(status["Pid"]))
        return found

    def job_id(self, name):
        for spec in glob.glob(str(self.data / "jobs/*/spec.json")):
            if json.load(open(spec))["name"] == name:
                return spec.split("/")[-2]
        raise AssertionError(f"no job directory for {name}")

    def look_around(self):
        left = [f"process {pid} {prog}" for prog in ("bloomery-job", "bloomery-image", "bloomery-fetch", "bloomery-fuse", "bloomery-metric") for pid in self.pids(prog)]
        left += [f"process {pid} bloomery-transform" for pid in self.drivers(orphans=True)]
        left += [f"mount {line.split()[1]}" for line in open("/proc/mounts") if str(self.data) in line]
        ids = {os.path.basename(p) for p in glob.glob(str(self.data / "jobs/*"))}
        left += [f"cgroup {p}" for p in glob.glob("/sys/fs/cgroup/**/bloomery/*", recursive=True)
                 if os.path.isdir(p) and os.path.basename(p) in ids]
        for b in glob.glob("/sys/block/loop*/loop/backing_file"):
            try:
                backing = open(b).read().strip()
            except OSError:
                continue
            if str(self.data) in backing:
                left.append(f"loop device {b.split('/')[3]} {backing}")
        mine = {"blm" + i[:8] for i in ids} | {"blv" + i[:12] for i in ids}
        left += [f"interface {n}" for _, n in socket.if_nameindex() if n in mine]
        left += [f"directory {p}" for p in glob.glob(str(self.data / "jobs/*/work"))]
        left += [f"staged {p}" for p in glob.glob(str(self.data / "jobs/*/staged/*"))]
        return left

    def leftovers(self, timeout=30):
        """What jobs left on the machine, given a moment to go away: nothing, when all is well."""
        end = time.monotonic() + timeout
        while (left := self.look_around()) and time.monotonic() < end:
            time.sleep(0.05)
        return left


def make_busy_rootfs(root):
    """A static busybox and a `train` that runs the hyperparameter `script`: trainers are written inside the tests."""
    for d in ("bin", "usr/local/bin", "tmp", "etc", "proc", "dev", "sys", "home/trainer"):
        (root / d).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", root / "bin" / applet)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ntrainer:x:1234:1235::/home/trainer:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\ntrainer:x:1235:\nextra:x:1300:trainer\n")
    train = root / "usr/local/bin/train"
    train.write_text("#!/bin/sh\nexec /bin/sh -c \"$(/usr/local/bin/hyperparameter script)\"\n")
    train.chmod(0o755)
    subprocess.run(["gcc", "-static", "-O1", "-o", root / "usr/local/bin/hyperparameter",
                    ROOT / "test/spec/hyperparameter.c"], check=True)
    return root


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    return make_busy_rootfs(tmp_path_factory.mktemp("rootfs") / "busy")


@pytest.fixture(scope="session")
def server(rootfs):
    base = tempfile.mkdtemp(prefix="bloomery-spec-")
    os.chmod(base, 0o755)     # the daemon can reach it by itself; below make_server's it needs its capability
    s = Server(pathlib.Path(base) / "data",
               conf=ROOM + "stop_grace_seconds = 3\n").start()
    done = s.bloomery("image", "import", "busy", rootfs)
    assert done.returncode == 0, done.stderr
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == [], "jobs left something behind"


@pytest.fixture
def make_server(rootfs):
    """Servers of a test's own, with their own settings; stopped and removed afterwards."""
    made = []

    def make(conf="stop_grace_seconds = 3\n"):
        base = tempfile.mkdtemp(prefix="bloomery-own-")
        s = Server(pathlib.Path(base) / "data", conf=conf if "capacity_" in conf else ROOM + conf).start()
        made.append((s, base))
        assert s.bloomery("image", "import", "busy", rootfs).returncode == 0
        s.s3.create_bucket(Bucket="bucket")
        return s
    yield make
    for s, base in made:
        try:
            s.stop()
        finally:
            shutil.rmtree(base, ignore_errors=True)
