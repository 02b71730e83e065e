# Real frameworks over four hosts: Open MPI with its ssh, and PyTorch's gloo. One image for both, built here from Debian's
# packages; where a mirror does not have them, this is skipped, and says so. SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import re
import subprocess

import pytest

from test_hosts import hosts, members, streams

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def frameworks(server, tmp_path_factory):
    tar = tmp_path_factory.mktemp("frameworks") / "image.tar"
    made = subprocess.run([ROOT / "examples/mpi/make-image", tar], capture_output=True, text=True,
                          env={**os.environ, "MORE": ",python3-torch"})
    lacks = re.search(r"E: (Unable to locate package .*|Package '.*' has no installation candidate)", made.stderr)
    if lacks:
        pytest.skip(f"the packages cannot be had here: {lacks[1]}")
    assert made.returncode == 0, made.stderr[-3000:]
    done = server.bloomery("image", "import", "frameworks", tar, timeout=600)
    assert done.returncode == 0, done.stderr
    tar.unlink()
    server.__dict__.pop("clients", None)      # building takes longer than idle connections are kept
    return "frameworks"


def model(s, d):
    text, = members(s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])).values()
    return json.loads(text)


def test_open_mpi_over_four_hosts(server, frameworks):
    d = server.completed(image=frameworks, ResourceConfig=hosts(4), HyperParameters={"numbers": "20000"}, timeout=300)
    assert model(server, d) == {"processes": 4, "hosts": ["algo-1", "algo-2", "algo-3", "algo-4"], "sum": 10.0}
    assert any(line.startswith("all-reduce of 20000 numbers over 4 processes")
               for line in streams(server, d["TrainingJobName"])["algo-1"])
    assert server.leftovers() == []


def test_a_host_that_fails_under_mpi_ends_the_job(server, frameworks):
    """A process of MPI dies on the last host: mpirun on the first says so with its exit code."""
    d = server.run(image=frameworks, ResourceConfig=hosts(4), HyperParameters={"numbers": "many"}, timeout=300)
    assert d["TrainingJobStatus"] == "Failed"
    assert d["FailureReason"] == ("AlgorithmError: mpirun has ended with status 1; what went wrong is in the log of algo-1, "
                                  "exit code: 1 (algo-1 was the first of 4 hosts to fail; the others were stopped)")
    assert "ValueError: invalid literal for int() with base 10: 'many'" in streams(server, d["TrainingJobName"])["algo-1"]
    assert server.leftovers() == []


def test_gloo_over_four_hosts(server, frameworks):
    code = server.put("gloo-code/", {"train": (ROOT / "examples/gloo/train").read_bytes()})
    d = server.completed(image=frameworks, ResourceConfig=hosts(4), channels={"code": code}, timeout=300,
                         HyperParameters={"epochs": "60"}, AlgorithmSpecification={
                             "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train"]})
    got = model(server, d)
    assert got["hosts"] == 4 and got["sum"] == 10.0
    assert got["weights"] == pytest.approx([3, -1], abs=0.01)
    assert all(any(line.startswith("train:loss=") for line in lines) for lines in streams(server, d["TrainingJobName"]).values())
    assert server.leftovers() == []
