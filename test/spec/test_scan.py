# What is found in images: by people, and before an algorithm is certified. SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import signal

import pytest
from conftest import make_busy_rootfs
from test_validation import fresh, jobs_of, specification, training, validation, wait


@pytest.fixture(scope="module")
def data(server):
    return server.put("scan/", {"x.csv": b"1,2\n"})


@pytest.fixture(scope="module")
def poor(server, tmp_path_factory):
    """The busy image with what no image should have."""
    root = make_busy_rootfs(tmp_path_factory.mktemp("rootfs") / "poor")
    shutil.copy("/bin/busybox", root / "bin/rise")
    os.chmod(root / "bin/rise", 0o4755)
    (root / "root/.aws").mkdir(parents=True)
    (root / "root/.aws/credentials").write_text("[default]\naws_secret_access_key = abc\n")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/evil.conf").write_text("x")
    os.chmod(root / "etc/evil.conf", 0o666)
    (root / "var/lib/dpkg").mkdir(parents=True)
    shutil.copy("/var/lib/dpkg/status", root / "var/lib/dpkg/status")
    done = server.bloomery("image", "import", "poor", root, "--env", "AWS_SECRET_ACCESS_KEY=x")
    assert done.returncode == 0, done.stderr
    return "poor"


def test_an_image_that_passes(server):
    done = server.bloomery("image", "scan", "busy")
    assert done.returncode == 0 and "passed: 0 high" in done.stdout, (done.stdout, done.stderr)


def test_what_an_image_should_not_have(server, poor):
    done = server.bloomery("image", "scan", poor, "--json")
    assert done.returncode == 7, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is False and report["reference"] == "poor:latest"
    high = {(f["rule"], f["path"]) for f in report["findings"] if f["severity"] == "high"}
    assert high == {("setuid", "/bin/rise"), ("secret", "/root/.aws/credentials"), ("world-writable", "/etc/evil.conf"), ("secret", "")}
    assert report["counts"]["high"] == len(high) and "4 findings" in report["reason"]
    with open("/var/lib/dpkg/status") as f:
        installed = f.read().count("Status: install ok installed")
    assert report["packages"]["manager"] == "dpkg" and report["packages"]["count"] == installed > 10
    assert len(report["packages"]["list"]) == installed and report["packages"]["list"][0]["version"]
    text = server.bloomery("image", "scan", poor)
    assert text.returncode == 7 and "NOT passed: 4 high" in text.stdout and "/bin/rise: runs as user 0" in text.stdout
    assert server.bloomery("image", "scan", "never-imported").returncode == 3


def test_an_algorithm_with_a_poor_image_is_not_certified(server, data, poor):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(TrainingImage=poor),
                               CertifyForMarketplace=True, ValidationSpecification=validation(training(data)))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Failed", d
    [scan] = d["AlgorithmStatusDetails"]["ImageScanStatuses"]
    assert scan["Name"] == "TrainingImage" and scan["Status"] == "Failed" and "/bin/rise" in scan["FailureReason"], scan
    assert "4 findings of severity high" in d["AlgorithmStatusDetails"]["ValidationStatuses"][0]["FailureReason"]
    assert jobs_of(server, name) == []      # nothing of it has run
    server.sm.delete_algorithm(AlgorithmName=name)


def test_who_is_not_certified_is_not_scanned(server, data, poor):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(TrainingImage=poor),
                               ValidationSpecification=validation(training(data)))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Completed" and d["AlgorithmStatusDetails"]["ImageScanStatuses"] == [], d
    server.sm.delete_algorithm(AlgorithmName=name)


def test_a_scan_goes_on_when_bloomeryd_was_killed(make_server):
    s = make_server()
    data = s.put("scan/", {"x.csv": b"1,2\n"})
    name = fresh()
    s.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification(), CertifyForMarketplace=True,
                          ValidationSpecification=validation(training(data)))
    for pid in s.pids("bloomeryd"):
        os.kill(pid, signal.SIGKILL)      # before the scan, in it or after it
    s.up.wait(30)
    s.start()
    d = wait(s, name)
    assert d["AlgorithmStatus"] == "Completed", d
    assert d["AlgorithmStatusDetails"]["ImageScanStatuses"] == [{"Name": "TrainingImage", "Status": "Completed"}]
    assert len(jobs_of(s, name)) == 1
