# ./quickstart, as somebody types it; everything it needs is installed here.  SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import re
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(data):
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.Popen([ROOT / "quickstart"], env={**env, "BLOOMERY_DATA": str(data), "TMPDIR": str(data.parent)},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def running(data):
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(data).encode() in p.read_bytes():
                found.append(p.parent.name)
        except OSError:
            pass
    return found


def clean(data):
    return subprocess.run([ROOT / "quickstart", "--clean"], env={**os.environ, "BLOOMERY_DATA": str(data)},
                          capture_output=True, text=True)


def test_quickstart_trains_twice_and_leaves_nothing_running(tmp_path):
    data = tmp_path / "data"
    for _ in range(2):
        p = start(data)
        out, _ = p.communicate(timeout=300)
        assert p.returncode == 0, out
        assert re.search(r"^accuracy +0\.9667 ", out, re.M), out
        assert re.search(r"^model +s3://bloomery/output/iris-\d{8}-\d{6}/output/model\.tar\.gz$", out, re.M)
        for phase in ("Starting", "Downloading", "Training", "Uploading", "Completed"):
            assert re.search(rf"{phase} +\d+\.\d s", out)
        assert "\r" not in out                 # no progress line without a terminal
        assert running(data) == []
        assert [p.name for p in tmp_path.iterdir()] == ["data"]
        time.sleep(1)                          # the job's name has the second in it
    assert clean(data).returncode == 0 and not data.exists()


def test_quickstart_interrupted_leaves_nothing_running(tmp_path):
    data = tmp_path / "data"
    p = start(data)
    while not (line := p.stdout.readline()).startswith("|"):
        assert line, p.wait()
    p.send_signal(signal.SIGTERM)
    out, _ = p.communicate(timeout=60)
    assert p.returncode == 143, out
    assert running(data) == []
    assert [q.name for q in tmp_path.iterdir()] == ["data"]


def test_quickstart_cleans_only_what_it_made(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("x")
    done = clean(mine)
    assert done.returncode == 1 and "was not made by" in done.stderr
    assert (mine / "precious").exists()
