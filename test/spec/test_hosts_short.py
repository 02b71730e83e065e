# What one of several hosts runs out of: memory, and its volume. The job fails of that host, by name, and the others are
# stopped. SPDX-License-Identifier: Apache-2.0
import re

ME = 'me=$(hostname); echo saved by $me > /opt/ml/model/$me; '
OTHERS = 'trap "echo stopped; exit 0" TERM; while :; do sleep 0.1; done'
FIRST = r" \(algo-2 was the first of 3 hosts to fail; the others were stopped\)$"


CONF = "capacity_cpus = 8\ncapacity_memory = 805306368\nstop_grace_seconds = 5\n"


def failed(s, script):
    d = s.run(ME + f"if [ $me = algo-2 ]; then {script}; fi; " + OTHERS, timeout=180,
              ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 3, "VolumeSizeInGB": 1})
    assert d["TrainingJobStatus"] == "Failed", d
    got, logs = {}, s.cached("logs")
    for st in logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs",
                                        logStreamNamePrefix=d["TrainingJobName"] + "/")["logStreams"]:
        got[re.search(r"/(algo-\d)-", st["logStreamName"])[1]] = [e["message"] for e in logs.get_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=st["logStreamName"], startFromHead=True)["events"]]
    assert "stopped" in got["algo-1"] and "stopped" in got["algo-3"], got
    assert "stopped" not in got.get("algo-2", [])
    return d["FailureReason"]


def test_memory_and_volume(make_server):
    s = make_server(CONF)
    why = failed(s, "tail /dev/zero; exit $?")
    assert why.startswith("ClientError: ") and "memory" in why.lower() and "peak" in why.lower(), why
    assert "256" in why, why      # MiB: a third of what there is
    assert re.search(FIRST, why), why
    assert s.leftovers() == []
    why = failed(s, "dd if=/dev/zero of=/opt/ml/model/big bs=1M count=3000 2>&1; exit 1")
    assert "VolumeSizeInGB" in why and "/opt/ml/model" in why, why
    assert re.search(FIRST, why), why
    assert s.leftovers() == []
