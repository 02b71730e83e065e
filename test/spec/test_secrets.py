# Secrets of every kind, in a server that has them all, and every place where one may have got to: files, arguments,
# environments, answers, logs, core dumps.
# SPDX-License-Identifier: Apache-2.0
import glob
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

import pytest

from conftest import GROUP, Server
from test_registry import PROVIDER, Registry, certificate, docker_archive
from test_roles import get

# Nobody else's: other tests may run at the same time.
PASSWORD = "registrys-" + uuid.uuid4().hex
HIDDEN = "environments-" + uuid.uuid4().hex, "hyperparameters-" + uuid.uuid4().hex      # the user's own: in answers, but for nobody else
OURS = ("bloomery", "bloomeryd", "bloomery-host", "bloomery-job", "bloomery-image", "bloomery-fetch", "bloomery-fuse", "bloomery-proxy")


class World:
    """A server whose data is in another S3, whose images are in a private registry; and its secrets by name."""


def no_limit():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def world(server, rootfs):
    w = World()
    w.base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-secrets-"))
    os.chmod(w.base, 0o755)      # others come as far as the data directory
    ca = certificate(w.base, "ca")
    (w.base / "registry").mkdir()
    w.registry = Registry(w.base / "registry", password=PASSWORD, certificate=certificate(w.base, "good", ca), host="localhost")
    archive = docker_archive(w.base / "a.tar", "a:1", rootfs, Env=["PATH=/usr/local/bin:/bin"])
    for name in ("a:1", "a:2", "a:3"):
        w.registry.push(archive, name, "--dest-creds", "puller:" + PASSWORD)
    (w.base / "secrets").mkdir(mode=0o700)
    (w.base / "secrets/r.json").write_text(json.dumps({"Username": "puller", "Password": PASSWORD}))
    (w.base / "secrets/wrong.json").write_text(json.dumps({"Username": "puller", "Password": PASSWORD + "x"}))
    conf = w.base / "secrets/bloomery.conf"      # it has a key in it
    conf.write_text(f"stop_grace_seconds = 2\ncapacity_cpus = 8\ncapacity_memory = 68719476736\ns3_endpoint = {server.url}\n"
                    f"s3_access_key = {server.exports['AWS_ACCESS_KEY_ID']}\ns3_secret_key = {server.exports['AWS_SECRET_ACCESS_KEY']}\n"
                    f"registry_ca.{w.registry.address} = {ca[0]}\nregistry_credentials.{PROVIDER}r = r.json\n"
                    f"registry_credentials.{PROVIDER}wrong = wrong.json\n")
    w.data = w.base / "data"
    w.data.mkdir()
    shutil.copy(conf, w.data / "bloomery.conf")
    for name in ("r.json", "wrong.json", "bloomery.conf"):      # root's alone
        shutil.copy(w.base / "secrets" / name, w.data / name)
        os.chmod(w.data / name, 0o600)
    before = resource.getrlimit(resource.RLIMIT_CORE)
    no_limit()                   # what may dump core, does
    try:
        w.server = Server(w.data).start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    w.secrets = {"the registry's password": PASSWORD, "the other S3's key": server.exports["AWS_SECRET_ACCESS_KEY"],
                 "the server's key": w.server.exports["AWS_SECRET_ACCESS_KEY"],
                 "the key of sessions": (w.data / "session-key").read_text().strip()}
    w.answers = []
    yield w
    left = w.server.leftovers()
    w.server.stop()
    w.registry.stop()
    shutil.rmtree(w.base, ignore_errors=True)
    assert left == []


def job(w, tag="a:1", provider="r", script="echo up; trap 'exit 0' TERM; while :; do sleep 0.1; done", mode="File"):
    r = w.server.request(script, channels={"c": "s3://bucket/secrets/"}, Environment={"MY_TOKEN": HIDDEN[0]})
    r["HyperParameters"]["password"] = HIDDEN[1]
    r["AlgorithmSpecification"] = {"TrainingImage": f"{w.registry.address}/{tag}", "TrainingInputMode": mode, "TrainingImageConfig": {
        "TrainingRepositoryAccessMode": "Vpc", "TrainingRepositoryAuthConfig": {"TrainingRepositoryCredentialsProviderArn": PROVIDER + provider}}}
    w.server.call("CreateTrainingJob", r)
    return r["TrainingJobName"]


@pytest.fixture(scope="module")
def running(world, server):
    """A job that runs, fed by a process that has the other S3's key; its session's secrets are among the secrets."""
    server.put("secrets/", {"x": b"data"})
    name = job(world, mode="FastFile")
    world.server.wait(name, {"Training"}, timeout=150)
    order = json.loads((world.data / "jobs" / world.server.job_id(name) / "spec.json").read_text())
    code, c = get(world.server, order["credentials_path"])
    assert code == 200
    world.secrets.update({"a session's key": c["SecretAccessKey"], "a session's token": c["Token"], "the host's token": order["token"],
                          "the container's path": order["credentials_path"].rsplit("/", 1)[1]})
    yield name
    if world.server.describe(name)["TrainingJobStatus"] == "InProgress":
        world.server.sm.stop_training_job(TrainingJobName=name)
        world.server.wait(name)


def found_in(w, data, more=()):
    return [what for what, secret in [*w.secrets.items(), *((x, x) for x in more)] if secret.encode() in data]


def in_container(pid):
    return "/bloomery/" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()


def ours(w):
    """(pid, program) of all processes of this server."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            argv, pid = open(path, "rb").read().split(b"\0"), int(path.split("/")[2])
            program = os.path.basename(argv[0].decode(errors="replace"))
            if program in OURS and (any(str(w.data).encode() in a for a in argv) or ppid(pid) in w.server.pids("bloomery-job")):
                yield pid, program
        except OSError:
            continue


def ppid(pid):
    return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])


# ---- places ----

def test_answers(world, running):
    w, s = world, world.server
    failed = job(w, "a:2", "wrong", "true")
    s.wait(failed, timeout=150)
    texts = [json.dumps(s.call("DescribeTrainingJob", {"TrainingJobName": n})) for n in (running, failed)]
    texts += [json.dumps(s.sm.list_training_jobs(), default=str), "\n".join(s.logs(running)), json.dumps(s.cached("logs").describe_log_streams(logGroupName=GROUP))]
    texts += [s.bloomery(*args).stdout for args in (("describe", running), ("describe", failed), ("logs", running), ("jobs",), ("metrics",),
                                                    ("image", "list"), ("describe", "--json", running))]
    for text in texts:
        assert not found_in(w, text.encode()), text[:2000]
    assert HIDDEN[0] in texts[0] and HIDDEN[1] in texts[0]      # as the service: they are the user's
    assert PASSWORD not in texts[1] and "does not take the name and password" in texts[1]
    log = pathlib.Path(str(w.data) + ".log").read_bytes()
    assert log and not found_in(w, log, HIDDEN)


def files(w):
    for top, _, names in os.walk(w.data):
        for name in names:
            path = os.path.join(top, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def test_files(world, running):
    """What has to hold a secret is for its owner alone; nothing else has one."""
    w, kept = world, {}
    for path in files(w):
        try:
            data, st = open(path, "rb").read(), os.stat(path)
        except FileNotFoundError:
            continue
        leaf = os.path.relpath(path, w.data)
        what = found_in(w, data)
        if what:
            kept[leaf] = what
            assert st.st_mode & 0o077 == 0, f"{what} in {leaf}, {st.st_mode:o}"
        if os.path.basename(leaf) in ("journal", "feeds.json", "supervisor.log", "pull.log") or "/log/" in leaf or "/lists/" in leaf:
            assert not what and not found_in(w, data, HIDDEN), f"a secret in {leaf}"
    names = {os.path.basename(k) for k in kept}
    assert names <= {"bloomery.conf", "r.json", "wrong.json", "credentials", "session-key", "spec.json", "config.json"}, kept
    assert {"credentials", "session-key", "spec.json", "r.json"} <= names     # we do look at what is there
    assert not any("db" in os.path.basename(k) for k in kept)
    for k in kept:
        if os.path.basename(k) in ("spec.json", "config.json"):
            assert "the registry's password" not in kept[k] and "the server's key" not in kept[k]


LOOK = r"""
import os, sys, json
secrets, top, found = json.load(sys.stdin), sys.argv[1], []
def look(path):
    try:
        data = open(path, 'rb').read(64 << 20)
    except OSError:
        return False
    found.extend([path, what] for what, s in secrets.items() if s.encode() in data)
    return True
seen = 0
for d, _, names in os.walk(top):
    for n in names:
        p = os.path.join(d, n)
        if os.path.isfile(p) and not os.path.islink(p):
            seen += look(p)
pids = [p for p in os.listdir('/proc') if p.isdigit()]
procs = sum(look('/proc/%s/cmdline' % p) for p in pids)
for p in pids:
    if int(p) != os.getpid():
        look('/proc/%s/environ' % p)
print(json.dumps({"found": found, "procs": procs}))
"""


@pytest.mark.parametrize("uid", [12345, 65534])
def test_another_user_of_the_machine(world, running, uid):
    w = world
    secrets = {**w.secrets, **{x: x for x in HIDDEN}}
    done = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "/usr/bin/python3", "-I", "-c", LOOK,
                           str(w.data)], input=json.dumps(secrets), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["procs"] > 5 and got["found"] == []


def test_arguments_and_environments(world, running):
    w, seen = world, set()
    pulling = job(w, "a:3", "r", "true")      # bloomery-image and skopeo come by
    end = time.monotonic() + 150
    while True:
        for p in glob.glob("/proc/[0-9]*"):
            pid = int(p.split("/")[2])
            if pid == os.getpid():
                continue
            try:
                argv, env = open(p + "/cmdline", "rb").read(), open(p + "/environ", "rb").read()
                seen.add(os.path.basename(argv.split(b"\0")[0]).decode(errors="replace"))
                assert not found_in(w, argv, HIDDEN), argv
                if argv.startswith(b"/usr/bin/skopeo\0"):
                    assert core_limit(pid) == {"1"}
                if not in_container(pid):
                    assert not found_in(w, env, HIDDEN), argv
            except OSError:
                continue
        if w.server.describe(pulling)["TrainingJobStatus"] != "InProgress" or time.monotonic() > end:
            break
    assert w.server.describe(pulling)["TrainingJobStatus"] == "Completed"
    assert {"bloomeryd", "bloomery-job", "bloomery-fuse"} <= seen


def core_limit(pid):
    lines = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
    return set([x for x in lines if x.startswith("Max core")][0].split()[4:6])


def test_nobody_of_ours_may_dump_core(world, running):
    programs = {}
    for pid, program in ours(world):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        uid = int([x for x in status.splitlines() if x.startswith("Uid:")][0].split()[2])
        # what /proc has of a process that may not dump core is root's
        mine = os.stat(f"/proc/{pid}/status").st_uid == 0 and uid != 0
        programs.setdefault(program, []).append((core_limit(pid), mine))
    assert {"bloomery", "bloomeryd", "bloomery-host", "bloomery-job", "bloomery-fuse", "bloomery-proxy"} <= set(programs)
    for program in ("bloomeryd", "bloomery-fuse", "bloomery-proxy"):
        assert {text for limit, _ in programs[program] for text in limit} == {"1"}, programs
    assert all(mine for _, mine in programs["bloomeryd"])


def cores(where):
    return {p for d in where for p in glob.glob(os.path.join(d, "core*"))}


def test_a_crash_leaves_nothing(world, running):
    """Each kind of process is killed as a crash would, where the machine writes core dumps to files."""
    w = world
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.Popen(["sleep", "100"], cwd=d, preexec_fn=no_limit)
        p.send_signal(signal.SIGSEGV)
        p.wait(30)
        if not cores([d]):
            pytest.skip("core dumps go elsewhere on this machine: " + open("/proc/sys/kernel/core_pattern").read().strip())
    name = job(w)
    w.server.wait(name, {"Training"}, timeout=150)
    victims = [pid for pid, program in ours(w) if program in ("bloomery-job", "bloomery-proxy", "bloomery-fuse")]
    where = {os.readlink(f"/proc/{pid}/cwd") for pid in victims} | {str(w.data), *glob.glob(f"{w.data}/jobs/*")}
    before = cores(where)
    assert len(victims) >= 3
    for pid in victims:
        try:
            os.kill(pid, signal.SIGSEGV)
        except ProcessLookupError:      # its parent was first
            pass
    for n in (name, running):
        w.server.wait(n)
    daemons = [pid for pid, program in ours(w) if program in ("bloomeryd", "bloomery-host")]
    where |= {os.readlink(f"/proc/{pid}/cwd") for pid in daemons}
    before |= cores(where)
    for pid in daemons:
        os.kill(pid, signal.SIGABRT)
    w.server.up.wait(60)
    assert cores(where) - before == set()
    for pid in (*victims, *daemons):
        assert not os.path.exists(f"/proc/{pid}") or "zombie" in open(f"/proc/{pid}/status").read()
    w.server.start()


def test_afterwards(world, running):
    """When all has ended, only what is kept for good has a secret in it."""
    w = world
    if w.server.describe(running)["TrainingJobStatus"] == "InProgress":
        w.server.sm.stop_training_job(TrainingJobName=running)
        w.server.wait(running)
    assert w.server.leftovers() == []
    assert not found_in(w, pathlib.Path(str(w.data) + ".log").read_bytes(), HIDDEN)
    kept = {os.path.basename(p) for p in files(w) if found_in(w, open(p, "rb").read())}
    assert kept <= {"bloomery.conf", "r.json", "wrong.json", "credentials", "session-key", "spec.json"}, kept
