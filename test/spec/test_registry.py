# Images from a registry: Debian's docker-registry on this machine, an image pushed by skopeo, a job that names it.
# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time
import urllib.error

import pytest


class Registry:
    """Debian's docker-registry on this machine, with a password and TLS where they are wanted."""

    def __init__(self, base, password=None, certificate=None, host="127.0.0.1"):
        self.base, self.log = base, open(base / "log", "wb")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.address = f"{host}:{self.port}"
        more = {}
        if certificate:
            more["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
        conf = {"version": "0.1", "log": {"level": "info", "accesslog": {"disabled": False}},
                "storage": {"filesystem": {"rootdirectory": str(base / "data")}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{self.port}", "secret": "s", **more}}
        if password:
            line = subprocess.run(["htpasswd", "-nbBi", "puller"], input=password, capture_output=True, text=True, check=True).stdout
            (base / "htpasswd").write_text(line)
            conf["auth"] = {"htpasswd": {"realm": "test", "path": str(base / "htpasswd")}}
        (base / "config.yml").write_text(json.dumps(conf))     # YAML, too
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(["docker-registry", "serve", str(self.base / "config.yml")], stdout=self.log,
                                        stderr=self.log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.base / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("docker-registry does not listen")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
        self.process = None

    def push(self, archive, name, *options):
        done = subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", *options, f"docker-archive:{archive}",
                               f"docker://127.0.0.1:{self.port}/{name}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def asked(self):
        """How often a manifest has been asked for."""
        self.log.flush()
        return (self.base / "log").read_text().count("GET /v2/") if (self.base / "log").exists() else 0


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    r = Registry(tmp_path_factory.mktemp("registry"))
    yield r.address
    r.stop()


def docker_archive(path, tag, rootfs, **config):
    """What `docker save` writes: two layers, the second one removing a file of the first."""
    blobs = []
    for step in (0, 1):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as t:
            if step == 0:
                t.add(rootfs, arcname=".")
                gone = tarfile.TarInfo("gone")
                t.addfile(gone)
            else:
                t.addfile(tarfile.TarInfo(".wh.gone"))
        blobs.append(out.getvalue())
    conf = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
                       "config": config, "rootfs": {"type": "layers", "diff_ids": [
                           "sha256:" + hashlib.sha256(b).hexdigest() for b in blobs]}}).encode()
    with tarfile.open(path, "w") as t:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
        for i, b in enumerate(blobs):
            add(f"{i}/layer.tar", b)
        add("config.json", conf)
        add("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [tag],
                                          "Layers": [f"{i}/layer.tar" for i in range(2)]}]).encode())
    return path


def test_a_job_pulls_its_image(registry, rootfs, tmp_path, make_server):
    archive = docker_archive(tmp_path / "a.tar", "trainer:1", rootfs, Env=["FROM_IMAGE=yes", "PATH=/usr/local/bin:/bin"],
                             WorkingDir="/home/trainer", User="trainer")
    done = subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}",
                           f"docker://{registry}/team/trainer:1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    s = make_server(f"registry_insecure = {registry}\nstop_grace_seconds = 1\n")
    d = s.completed("pwd; id -un; echo $FROM_IMAGE; [ ! -e /gone ] && echo removed", image=f"{registry}/team/trainer:1")
    assert s.logs(d["TrainingJobName"])[-4:] == ["/home/trainer", "trainer", "yes", "removed"]
    listed = s.bloomery("image", "list").stdout
    assert "team/trainer:1" in listed
    # the second job finds it here, with the registry gone or not
    begin = time.monotonic()
    s.completed("true", image=f"{registry}/team/trainer:1")
    assert time.monotonic() - begin < 60


def test_pull_and_its_failures(registry, rootfs, tmp_path, make_server):
    s = make_server(f"registry_insecure = {registry}\nstop_grace_seconds = 1\n")
    why = s.failed("true", image=f"{registry}/team/nothing:7", timeout=150)
    assert why.startswith("ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions "
                          "are incorrect.") and f"{registry}/team/nothing:7" in why, why
    archive = docker_archive(tmp_path / "b.tar", "other:2", rootfs)
    assert subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}",
                           f"docker://{registry}/other:2"]).returncode == 0
    done = s.bloomery("image", "pull", f"{registry}/other:2")
    assert done.returncode == 0, done.stderr
    assert s.completed("true", image=f"{registry}/other:2")
    assert s.leftovers() == []


# ---- private registries, TLS, mirrors ----

PASSWORD = "pass-W0rd-of-the-registry"
PROVIDER = "arn:aws:lambda:us-east-1:000000000000:function:registry-"


def certificate(base, name, ca=None, days=30):
    """A certificate for localhost, signed by `ca`, or an authority when there is none: (certificate, key)."""
    crt, key = base / f"{name}.crt", base / f"{name}.key"
    run = {"check": True, "capture_output": True}
    if not ca:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", crt, "-days", "30", "-subj", f"/CN={name}"], **run)
        return crt, key
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", base / f"{name}.csr", "-subj", "/CN=localhost"], **run)
    (base / f"{name}.ext").write_text("subjectAltName = DNS:localhost\n")
    subprocess.run(["openssl", "x509", "-req", "-in", base / f"{name}.csr", "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial",
                    "-out", crt, "-extfile", base / f"{name}.ext", "-days", str(days)], **run)
    return crt, key


class Private:
    pass


@pytest.fixture(scope="module")
def private(rootfs, tmp_path_factory):
    """A server, and registries with a password: one with TLS, one whose certificate has expired, and a mirror."""
    import pathlib
    import shutil
    import tempfile
    from conftest import Server
    p = Private()
    base = pathlib.Path(tempfile.mkdtemp(prefix="bloomery-private-"))
    os.chmod(base, 0o755)
    made = []

    def registry(name, **kw):
        (base / name).mkdir()
        made.append(Registry(base / name, **kw))
        return made[-1]
    ca, other = certificate(base, "ca"), certificate(base, "other")
    p.tls = registry("tls", password=PASSWORD, certificate=certificate(base, "good", ca), host="localhost")
    p.expired = registry("expired", certificate=certificate(base, "old", ca, days=-1), host="localhost")
    p.stranger = registry("stranger", certificate=certificate(base, "strange", other), host="localhost")
    p.mirror = registry("mirror")
    archive = docker_archive(base / "a.tar", "a:1", rootfs, Env=["WHICH=registry", "PATH=/usr/local/bin:/bin"])
    copy = docker_archive(base / "m.tar", "a:1", rootfs, Env=["WHICH=mirror", "PATH=/usr/local/bin:/bin"])
    for name in ("a:1", "a:2", "a:3", "a:4", "a:5", "a:6"):
        p.tls.push(archive, "team/" + name, "--dest-creds", "puller:" + PASSWORD)
    p.mirror.push(copy, "hub/team/a:2")
    p.mirror.push(copy, "hub/team/a:6")
    files = {"good": {"Username": "puller", "Password": PASSWORD},
             "lambda": {"Credentials": {"Username": "puller", "Password": PASSWORD}},
             "docker": {"auths": {p.tls.address: {"auth": base64.b64encode(f"puller:{PASSWORD}".encode()).decode()}}},
             "wrong": {"Username": "puller", "Password": PASSWORD + "-not"},
             "elsewhere": {"Username": "puller", "Password": PASSWORD, "Registries": ["registry.example"]},
             "broken": PASSWORD}
    (base / "secrets").mkdir()
    for name, content in files.items():
        (base / "secrets" / name).write_text(content if name == "broken" else json.dumps(content))
        (base / "secrets" / name).chmod(0o600)
    conf = "capacity_cpus = 8\ncapacity_memory = 68719476736\nstop_grace_seconds = 1\n"
    conf += "".join(f"registry_credentials.{PROVIDER}{name} = ../secrets/{name}\n" for name in [*files, "gone"])
    conf += f"registry_ca.{p.tls.address} = {ca[0]}\nregistry_ca.{p.expired.address} = {ca[0]}\nregistry_ca.{p.stranger.address} = {ca[0]}\n"
    conf += f"registry_mirror.{p.tls.address} = http://{p.mirror.address}/hub\n"
    p.base, p.server = base, Server(base / "data", conf=conf).start()
    p.server.s3.create_bucket(Bucket="bucket")
    yield p
    left = p.server.leftovers()
    p.server.stop()
    for r in made:
        r.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


def run(private, tag, provider, script="echo from the $WHICH"):
    """A job that names its provider of credentials, ended. Debian's client does not know TrainingImageConfig."""
    s, r = private.server, private.server.request(script, **with_provider(private, tag, provider))
    s.call("CreateTrainingJob", r)
    s.wait(r["TrainingJobName"], timeout=150)
    return s.call("DescribeTrainingJob", {"TrainingJobName": r["TrainingJobName"]})


def with_provider(private, tag, name):
    return {"AlgorithmSpecification": {"TrainingImage": f"{private.tls.address}/team/{tag}", "TrainingImageConfig": {
        "TrainingRepositoryAccessMode": "Vpc", "TrainingRepositoryAuthConfig": {
            "TrainingRepositoryCredentialsProviderArn": PROVIDER + name}}}}


CANNOT = ("ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect. (")


def test_a_job_brings_its_credentials(private):
    s = private.server
    for tag, name in (("a:1", "good"), ("a:3", "lambda"), ("a:4", "docker")):
        asked = private.mirror.asked()
        d = run(private, tag, name)
        assert d["TrainingJobStatus"] == "Completed", d
        assert private.mirror.asked() > asked     # asked first, though it has it not
        lines = s.logs(d["TrainingJobName"])
        assert "from the registry" in lines
        assert any("the mirror of" in x and f"{private.mirror.address}/hub/team/{tag}: " in x for x in lines), lines
        assert d["AlgorithmSpecification"]["TrainingImageConfig"]["TrainingRepositoryAuthConfig"] == {
            "TrainingRepositoryCredentialsProviderArn": PROVIDER + name}


def test_credentials_that_do_not_help(private):
    s, where = private.server, f"{private.tls.address}/team/a:5"
    for name, says in (("wrong", "does not take the name and password that bloomery.conf has for it"),
                       ("elsewhere", f"is not for {private.tls.address}, which its Registries do not name"),
                       ("broken", "line 1: not a JSON object"), ("gone", "secrets/gone does not exist")):
        why = run(private, "a:5", name)["FailureReason"]
        assert why.startswith(CANNOT) and says in why and PASSWORD not in why, why
    why = s.failed("true", image=where, timeout=150)
    assert why.startswith(CANNOT) and f"give a name and password with registry_auth.{private.tls.address} in bloomery.conf" in why


def test_a_provider_that_nobody_knows(private):
    with pytest.raises(urllib.error.HTTPError) as ex:
        run(private, "a:1", "nobodys")
    said = json.loads(ex.value.read())
    assert ex.value.code == 400 and said["__type"] == "ValidationException"
    assert f"TrainingRepositoryCredentialsProviderArn {PROVIDER}nobodys is not known here" in said["message"]


def test_certificates_are_looked_at(private):
    s = private.server
    why = s.failed("true", image=f"{private.expired.address}/team/a:1", timeout=150)
    assert why.startswith(CANNOT) and "certificate has expired" in why and "is to be renewed" in why, why
    why = s.failed("true", image=f"{private.stranger.address}/team/a:1", timeout=150)
    assert why.startswith(CANNOT) and "signed by unknown authority" in why, why
    assert f"name the authority's certificate with registry_ca.{private.stranger.address} in bloomery.conf" in why


def test_a_mirror_is_asked_first_and_may_be_down(private):
    s = private.server
    d = s.completed("echo from the $WHICH", image=f"{private.tls.address}/team/a:2", timeout=150)
    assert "from the mirror" in s.logs(d["TrainingJobName"])     # which needs no password, and gets none
    # a digest is what it says, whoever has it: the mirror has other bytes under the name, not under the digest
    inspect = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "--creds", "puller:" + PASSWORD,
                              f"docker://127.0.0.1:{private.tls.port}/team/a:6"], capture_output=True, text=True, check=True)
    d = run(private, "a@" + inspect.stdout.strip(), "good")
    assert d["TrainingJobStatus"] == "Completed", d
    assert "from the registry" in s.logs(d["TrainingJobName"])
    private.mirror.stop()
    try:
        d = run(private, "a:6", "good")
        lines = s.logs(d["TrainingJobName"])
        assert "from the registry" in lines and any("connection refused" in x for x in lines), lines
    finally:
        private.mirror.start()


def test_the_command_line_pulls_so_too(private):
    s, name = private.server, f"{private.tls.address}/team/a:5"
    done = s.bloomery("image", "pull", name)
    assert done.returncode == 6 and "registry_auth." in done.stderr
    done = s.bloomery("image", "pull", "--provider", PROVIDER + "good", name)
    assert done.returncode == 0, done.stderr
    conf = private.base / "elsewhere.conf"
    conf.write_text((private.base / "data/bloomery.conf").read_text().replace("../secrets", "secrets") +
                    f"registry_auth.{private.tls.address} = secrets/good\n")
    done = s.bloomery("image", "pull", "--as", "again:1", "--config", conf, name)
    assert done.returncode == 0, done.stderr
    conf.chmod(0o666)
    done = s.bloomery("image", "pull", "--as", "again:1", "--config", conf, name)
    assert done.returncode == 1 and "can be written by others than root" in done.stderr


def test_no_password_is_left_anywhere(private):
    for top, _, files in os.walk(private.base / "data"):
        for f in files:
            path = os.path.join(top, f)
            if not os.path.islink(path) and os.path.isfile(path):
                assert PASSWORD.encode() not in open(path, "rb").read(), path
    assert PASSWORD not in open(str(private.base / "data") + ".log").read()


def settled(server, name, timeout=60):
    """Describes the algorithm, once it is neither Pending nor InProgress."""
    end = time.monotonic() + timeout
    while (d := server.sm.describe_algorithm(AlgorithmName=name))["AlgorithmStatus"] in ("Pending", "InProgress"):
        assert time.monotonic() < end, d
        time.sleep(0.05)
    return d


def test_an_algorithm_runs_the_image_that_the_tag_meant(registry, rootfs, tmp_path, make_server):
    """The registry is asked when the algorithm is made; what the tag means later does not matter."""
    s = make_server()

    def push(word):
        archive = docker_archive(tmp_path / f"{word}.tar", "alg:1", rootfs, Env=["WHICH=" + word, "PATH=/usr/local/bin:/bin"])
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}",
                        f"docker://{registry}/team/alg:1"], check=True)
    spec = {"TrainingImage": f"{registry}/team/alg:1", "SupportedTrainingInstanceTypes": ["ml.m5.large"],
            "TrainingChannels": [{"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"]}]}
    push("first")
    s.sm.create_algorithm(AlgorithmName="pinned", TrainingSpecification=spec)
    d = settled(s, "pinned")
    assert d["AlgorithmStatus"] == "Completed", d
    digest = d["TrainingSpecification"]["TrainingImageDigest"]
    told = subprocess.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{registry}/team/alg:1"], capture_output=True, check=True)
    assert digest == json.loads(told.stdout)["Digest"]
    push("second")
    job = s.request("echo it is the $WHICH")
    profile = {"ProfileName": "asked", "TrainingJobDefinition": {
        "TrainingInputMode": "File", "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": s.put("alg/", {"x": b"x"})}}}],
        **{k: job[k] for k in ("HyperParameters", "OutputDataConfig", "ResourceConfig", "StoppingCondition")}}}
    s.sm.create_algorithm(AlgorithmName="given", TrainingSpecification={**spec, "TrainingImageDigest": digest.replace("sha", "SHA")},
                          ValidationSpecification={"ValidationRole": job["RoleArn"], "ValidationProfiles": [profile]})
    d = settled(s, "given")
    assert d["AlgorithmStatus"] == "Completed" and d["TrainingSpecification"]["TrainingImageDigest"] == digest, d
    assert d["AlgorithmStatusDetails"]["ValidationStatuses"] == [{"Name": "asked", "Status": "Completed"}]
    [made] = s.sm.list_training_jobs(NameContains="given-asked-")["TrainingJobSummaries"]
    assert "it is the first" in s.logs(made["TrainingJobName"])
    for name in ("pinned", "given"):
        r = s.request("echo it is the $WHICH")
        r["AlgorithmSpecification"] = {"AlgorithmName": name, "TrainingInputMode": "File"}
        s.sm.create_training_job(**r)
        d = s.wait(r["TrainingJobName"])
        assert d["TrainingJobStatus"] == "Completed", d
        assert "it is the first" in s.logs(r["TrainingJobName"])
    s.sm.create_algorithm(AlgorithmName="nothing", TrainingSpecification={**spec, "TrainingImage": f"{registry}/team/nothing:1"})
    d = settled(s, "nothing")
    assert d["AlgorithmStatus"] == "Failed" and "team/nothing:1" in d["AlgorithmStatusDetails"]["ValidationStatuses"][0]["FailureReason"]
    for name in ("pinned", "given", "nothing"):
        s.sm.delete_algorithm(AlgorithmName=name)
