# Images from a registry: Debian's docker-registry on this machine, an image pushed by skopeo, a job that names it.
# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time

import pytest


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    base = tmp_path_factory.mktemp("registry")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % s.getsockname()[1]
    (base / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {base}/data}}}}\nhttp: {{addr: '{address}'}}\n")
    p = subprocess.Popen(["docker-registry", "serve", str(base / "config.yml")], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", int(address.split(":")[1]))).close()
            break
        except OSError:
            assert p.poll() is None, "docker-registry does not start"
            time.sleep(0.05)
    yield address
    p.terminate()
    p.wait()


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
    assert time.monotonic() - begin < 5


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
