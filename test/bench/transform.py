"""Part "transform": lines of CSV through bloomery-transform to a serving container that does next to nothing, against curl
posting the same payloads, and against wrk, which sends one of them again and again. SPDX-License-Identifier: Apache-2.0"""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

from kit import ROOT, house, need, row, say

CONCURRENT, PAYLOAD = 4, 6 << 20  # the service's default
FEATURES = "".join(f",{i * 0.123 % 10 - 5:.5f}" for i in range(30))  # a line of 36 columns, some 270 bytes


@contextlib.contextmanager
def server(base):
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", base / "serve", ROOT / "test/bench/serve.c", "-lpthread"], check=True)
    p = subprocess.Popen([base / "serve", "0"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(p.stdout.readline())}"
    finally:
        p.kill()
        p.wait()


def write_input(base, lines):
    (base / "objects/ab").mkdir(parents=True)
    (base / "out").mkdir()
    path = base / "objects/ab/ab0"
    with open(path, "w") as f:
        for i in range(lines):
            f.write(f"{i},{i % 97}.25,{i * 7919 % 100003},{i % 2},class-{i % 10},{i * 31 % 65537}{FEATURES}\n")
    key = "in/lines.csv"
    (base / "list").write_text(f"{path.stat().st_size} 0 ab0 - {len(key)} {key}\n")
    return path


def split(base, path):
    """The payloads of MultiRecord: whole lines, as many as fit."""
    data, files, at = path.read_bytes(), [], 0
    while at < len(data):
        end = len(data) if len(data) - at <= PAYLOAD else data.rindex(b"\n", at, at + PAYLOAD) + 1
        files.append(base / f"payload-{len(files)}")
        files[-1].write_bytes(data[at:end])
        at = end
    return files


def ours(base, url, lines):
    with contextlib.ExitStack() as on:
        fds = [os.open(base / leaf, os.O_RDONLY) for leaf in ("list", "objects", "out")]
        for fd in fds:
            on.callback(os.close, fd)
        order = {"containers": [url], "list": fds[0], "objects": fds[1], "out": fds[2], "bucket": "b", "prefix": "in/", "request": {
            "MaxConcurrentTransforms": CONCURRENT, "MaxPayloadInMB": PAYLOAD >> 20, "BatchStrategy": "MultiRecord",
            "TransformInput": {"ContentType": "text/csv", "SplitType": "Line"}, "TransformOutput": {"AssembleWith": "Line"}}}
        p = subprocess.Popen([house.BUILD / "bloomery-transform"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=fds)
        p.stdin.write(json.dumps(order).encode())
        p.stdin.close()
        said = [(time.monotonic(), json.loads(line)) for line in p.stdout]
        p.wait()
    when = {word: at for at, answer in said for word in answer}
    if said[-1][1] != {"done": {"objects": 1, "records": lines}}:
        raise RuntimeError(said)
    with open(base / "out/0", "rb") as f:
        got = sum(piece.count(b"\n") for piece in iter(lambda: f.read(1 << 20), b""))
    if got != lines:
        raise RuntimeError(f"{got} records came of {lines}")
    return lines / (when["done"] - when["ready"])  # as wrk's rate, without what comes before


def by_curl(base, url, files, lines):
    config = base / "curl"
    config.write_text("next\n".join(f'url = "{url}/invocations"\ndata-binary = "@{f}"\noutput = "{f}.out"\n'
                                    'header = "Content-Type: text/csv"\nheader = "Expect:"\n' for f in files))
    begin = time.monotonic()
    subprocess.run(["curl", "-sfZ", "--no-progress-meter", "--parallel-max", str(CONCURRENT), "-K", config], check=True)
    return lines / (time.monotonic() - begin)


def by_wrk(base, url, file, seconds):
    script = base / "wrk.lua"
    script.write_text(f'local f = io.open("{file}", "rb")\nwrk.method, wrk.body = "POST", f:read("*a")\n'
                      'wrk.headers["Content-Type"] = "text/csv"\n')
    out = subprocess.run(["wrk", "-t2", f"-c{CONCURRENT}", f"-d{seconds}s", "-s", script, url + "/invocations"], capture_output=True,
                         text=True, check=True).stdout
    if "Non-2xx" in out:
        raise RuntimeError(out)
    with open(file, "rb") as f:
        return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]) * f.read().count(b"\n")


def bench_transform(base, quick):
    need("curl", "wrk")
    base = pathlib.Path(base) / "transform"
    base.mkdir()
    lines = 100_000 if quick else 1_000_000
    path = write_input(base, lines)
    files = split(base, path)
    with server(base) as url:
        say("transform")
        best = [max(rates) for rates in zip(*((ours(base, url, lines), by_curl(base, url, files, lines),
                                               by_wrk(base, url, files[0], 1 if quick else 3)) for _ in range(3)))]
    row("transform of CSV lines, MultiRecord, 4 at once", best[0], best[1], "curl -Z, the same payloads", "", "records/s")
    row("transform of CSV lines, MultiRecord, 4 at once", best[0], best[2], "wrk -c4, one payload", ">= 0.7", "records/s")
