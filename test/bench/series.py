# GetMetricData of a million values, down-sampled to 500 points: what a client waits for. The peer is the same values in a
# table of SQLite, put together by GROUP BY when they are asked for. SPDX-License-Identifier: Apache-2.0
import json
import sqlite3
import statistics
import subprocess
import time
import urllib.request

from kit import ROOT, house, row, say

PERIOD = 2040


def timed(fn, times):
    took = []
    for _ in range(times):
        begin = time.monotonic()
        fn()
        took.append(time.monotonic() - begin)
    return statistics.median(took)


def ask(s, stat, start, count):
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    body = json.dumps({"StartTime": start, "EndTime": start + count, "MetricDataQueries": [{"Id": "m", "MetricStat": {
        "Metric": {"Namespace": "bench", "MetricName": "m"}, "Period": PERIOD, "Stat": stat}}]}).encode()
    r = botocore.awsrequest.AWSRequest("POST", s.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "GraniteServiceVersion20100801.GetMetricData"})
    key = botocore.credentials.Credentials(s.exports["AWS_ACCESS_KEY_ID"], s.exports["AWS_SECRET_ACCESS_KEY"])
    botocore.auth.SigV4Auth(key, "monitoring", s.exports["AWS_REGION"]).add_auth(r)
    with urllib.request.urlopen(urllib.request.Request(s.url + "/", body, dict(r.headers))) as answer:
        return json.load(answer)["MetricDataResults"][0]["Values"]


def bench_series(s, base, quick):
    count = 100_000 if quick else 1_000_000
    libs = sorted(map(str, house.BUILD.glob("libbl_*.a")))
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", f"-I{ROOT}/src", "-o", base / "series", ROOT / "test/bench/series.c",
                    "-Wl,--start-group", *libs, "-Wl,--end-group", "-Wl,--as-needed", "-lsqlite3", "-lcrypto", "-lz", "-lpthread",
                    "-lm"], check=True)
    say(f"series: storing {count} values")
    begin = time.monotonic()
    out = subprocess.run([base / "series", s.data / "metrics.db", str(count), base / "raw.db"], capture_output=True, text=True, check=True)
    say(f"series: that took {time.monotonic() - begin:.1f} s")
    start = int(out.stdout) // 60 * 60
    db = sqlite3.connect(base / "raw.db")
    group = "SELECT (t - ?) / ? AS b, avg(v), max(v) FROM raw WHERE t >= ? GROUP BY b"
    peer = timed(lambda: db.execute(group, (start, PERIOD, start)).fetchall(), 3)
    got = ask(s, "Average", start, count)
    assert abs(len(got) - count / PERIOD) <= 2, len(got)
    for stat in "Average", "p99":
        ours = timed(lambda: ask(s, stat, start, count), 15)
        row(f"GetMetricData, {count} values to {len(got)}, {stat}", ours * 1000, peer * 1000, "GROUP BY over raw values",
            "< 100 ms", "ms")
