# What it costs to have every line kept: a trainer that prints as fast as it can, and pages of what it printed.
# SPDX-License-Identifier: Apache-2.0
import re
import time

from kit import house, median, row, say

LINE = "epoch=1 step=1000 loss=0.123456 accuracy=0.987654 samples/s=12345.6"
SCRIPT = "read a rest </proc/uptime; yes '{line}' | head -c {size} {to}; read b rest </proc/uptime; echo; echo took $a $b"


def seconds(s, name):
    got = s.cached("logs").get_log_events(logGroupName=house.GROUP, logStreamName=stream(s, name), limit=5)["events"]
    a, b = re.search(r"took ([\d.]+) ([\d.]+)", "\n".join(e["message"] for e in got)).groups()
    return float(b) - float(a)


def stream(s, name):
    return s.cached("logs").describe_log_streams(logGroupName=house.GROUP,
                                                 logStreamNamePrefix=name + "/")["logStreams"][0]["logStreamName"]


def run(s, size, to):
    """Prints `size` bytes; how long that took, the job, and the most memory that its supervisor had at a third and at the end."""
    name = s.create(SCRIPT.format(line=LINE, size=size, to=to), ResourceConfig={"VolumeSizeInGB": 20})
    most, early, begin = 0, 0, time.monotonic()
    while (d := s.describe(name))["TrainingJobStatus"] not in house.FINAL:
        for pid in s.pids("bloomery-job", s.job_id(name)) if d["SecondaryStatus"] == "Training" else []:
            try:
                most = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) << 10
            except (OSError, TypeError):
                continue
            early = early or most
        if time.monotonic() - begin > 1800:
            raise RuntimeError(f"{name} does not end")
        time.sleep(0.2)
    if d["TrainingJobStatus"] != "Completed":
        raise RuntimeError(d.get("FailureReason"))
    return seconds(s, name), name, early, most


def page(s, stream_name, head):
    begin = time.monotonic()
    got = s.cached("logs").get_log_events(logGroupName=house.GROUP, logStreamName=stream_name, startFromHead=head)
    if len(got["events"]) < 1000:
        raise RuntimeError("a page is short")
    return time.monotonic() - begin


def bench_logs(s, quick):
    much, small = ((2 << 30), (256 << 20)) if quick else ((10 << 30), (1 << 30))
    say("logs: to a file")
    to_file, _, _, _ = run(s, small, "| cat > /tmp/printed")
    say("logs: kept")
    kept, _, _, _ = run(s, small, "")
    row("printing, kept as log", small / kept, small / to_file, "| cat > file", ">= 0.5", "B/s")
    say("logs: much")
    _, name, early, most = run(s, much, "")
    row("supervisor's memory, at the end", most, early, "at the start", "<= 1.1", "B")
    where = stream(s, name)
    first = median([page(s, where, True) for _ in range(9)])
    last = median([page(s, where, False) for _ in range(9)])
    row(f"GetLogEvents, last page of {much >> 30} GiB", last, first, "first page", "<= 1.5", "s")
