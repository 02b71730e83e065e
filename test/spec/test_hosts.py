# Jobs of several hosts: data, names, artifacts, failures and logs of each. SPDX-License-Identifier: Apache-2.0
import gzip
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time

import pytest

HOST = 'me=$(hostname); '


def hosts(n, **kw):
    return {"InstanceType": "ml.m5.large", "InstanceCount": n, "VolumeSizeInGB": 1, **kw}


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as t:
        return {m.name: t.extractfile(m).read().decode() for m in t if m.isfile()}


def streams(s, name):
    """Lines by host."""
    logs, found = s.cached("logs"), {}
    for st in logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs",
                                        logStreamNamePrefix=name + "/")["logStreams"]:
        m = re.fullmatch(re.escape(name) + r"/(algo-\d+)-\d{10}", st["logStreamName"])
        got = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=st["logStreamName"],
                                  startFromHead=True)
        found[m[1]] = [e["message"] for e in got["events"]]
    return found


def job_dirs(s, name):
    return {p for p in (s.data / "jobs").iterdir() if (p / "spec.json").exists() and
            json.loads((p / "spec.json").read_text())["name"] == name}


def test_two_hosts_have_their_share_and_a_common_model(server):
    data = {f"{i:02d}": b"%d" % i for i in range(7)}
    uri = server.put("shard2/", data)
    everywhere = server.put("all2/", {"x": b"x"})
    channels = [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "ShardedByS3Key"}}},
        {"ChannelName": "val", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": everywhere}}}]
    d = server.completed(HOST + 'ls /opt/ml/input/data/train > /opt/ml/model/$me; cat /opt/ml/input/data/val/x; echo; '
                         'mkdir -p /opt/ml/output/data; echo $me > /opt/ml/output/data/$me; '
                         'cp /opt/ml/input/config/resourceconfig.json /opt/ml/model/rc-$me; '
                         'cp /opt/ml/input/config/init-config.json /opt/ml/model/ic-$me; '
                         'for h in algo-1 algo-2; do grep -q "[[:space:]]$h$" /etc/hosts || exit 3; done; echo from $me',
                         InputDataConfig=channels, ResourceConfig=hosts(2))
    raw = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
    got = members(raw)
    # contract 14.2: keys in order, dealt to the hosts in turn
    assert got["algo-1"].split() == ["00", "02", "04", "06"]
    assert got["algo-2"].split() == ["01", "03", "05"]
    assert gzip.decompress(raw)[-1024:] == bytes(1024)
    listed = subprocess.run(["tar", "tzf", "-"], input=raw, capture_output=True)
    assert listed.returncode == 0 and listed.stderr == b""
    for n in (1, 2):
        rc, ic = json.loads(got[f"rc-algo-{n}"]), json.loads(got[f"ic-algo-{n}"])
        assert rc["current_host"] == f"algo-{n}" and rc["hosts"] == ["algo-1", "algo-2"]
        assert rc["instance_groups"] == [{"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large",
                                          "hosts": ["algo-1", "algo-2"]}]
        assert ic["hostConfig"] == {"clusterSize": 2, "hostNumber": n}
    # contract 4.2, as observed: the first host's output only
    out = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz"))
    assert members(out) == {"algo-1": "algo-1\n"}
    logs = streams(server, d["TrainingJobName"])
    assert sorted(logs) == ["algo-1", "algo-2"]
    assert "from algo-1" in logs["algo-1"] and "from algo-2" in logs["algo-2"]
    words = [t["Status"] for t in d["SecondaryStatusTransitions"]]
    assert words == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert len(job_dirs(server, d["TrainingJobName"])) == 2
    assert server.leftovers() == []


def test_the_first_failure_ends_the_job_and_the_rest_is_stopped(server):
    script = HOST + ('echo saved by $me > /opt/ml/model/$me; if [ $me = algo-3 ]; then sleep 0.5; printf broke > /opt/ml/output/failure; '
                     'exit 7; fi; trap "echo stopped; exit 0" TERM; while :; do sleep 0.1; done')
    start = time.monotonic()
    d = server.run(script, ResourceConfig=hosts(4))
    assert d["TrainingJobStatus"] == "Failed"
    assert d["FailureReason"] == ("AlgorithmError: broke, exit code: 7 (algo-3 was the first of 4 hosts to fail; "
                                  "the others were stopped)")
    assert time.monotonic() - start < 60, "it was not for MaxRuntimeInSeconds that they ended"
    logs = streams(server, d["TrainingJobName"])
    for n in (1, 2, 4):
        assert "stopped" in logs[f"algo-{n}"]
        assert any("Another host of the job has failed" in line for line in logs[f"algo-{n}"])
    # contract 4.4: what was there is kept
    assert members(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {
        f"algo-{n}": f"saved by algo-{n}\n" for n in (1, 2, 3, 4)}
    words = [t["Status"] for t in d["SecondaryStatusTransitions"]]
    assert words == ["Starting", "Downloading", "Training", "Uploading", "Failed"]
    assert server.leftovers() == []


def test_a_host_that_is_never_ready_fails_the_job_before_any_container_runs(server):
    """Only the second host's channel has a key that cannot be a file; the first is ready, and waits for it."""
    good, bad = server.put("good-key/", {"a": b"1"}), server.put("bad-key/", {"a//b": b"1"})
    r = server.request("echo began; sleep 60", InputDataConfig=[
        {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri,
                                                              "InstanceGroupNames": [group]}}}
        for name, uri, group in (("a", good, "one"), ("b", bad, "two"))])
    r["ResourceConfig"] = {"VolumeSizeInGB": 1, "InstanceGroups": [
        {"InstanceGroupName": g, "InstanceType": "ml.m5.large", "InstanceCount": 1} for g in ("one", "two")]}
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Failed" and "has an illegal char sub-sequence '//'" in d["FailureReason"]
    assert d["FailureReason"].endswith("(algo-2 was the first of 2 hosts to fail; the others were stopped)")
    assert not any("began" in lines for lines in streams_or_none(server, r["TrainingJobName"]).values())
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Failed"]
    assert server.leftovers() == []


@pytest.fixture
def held(make_server, tmp_path):
    """A server, and a pair of hosts of which one is ready, its container made, and the other waits for .let_go()"""
    script = tmp_path / "mount-it"
    (tmp_path / "data").mkdir()
    script.write_text(f'#!/bin/sh\nmount --bind {tmp_path}/data "$1" || exit 1\nmkdir {tmp_path}/first 2>/dev/null && exit 0\n'
                      f'while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n')
    script.chmod(0o755)
    s = make_server(f"file_system.fs-0123456789abcdef0 = mount {script} %d\ncapacity_cpus = 8\n"
                    "capacity_memory = 68719476736\nstop_grace_seconds = 3\n")
    s.let_go = (tmp_path / "go").touch
    s.pair = s.create("echo began; hostname > /opt/ml/model/$(hostname)", ResourceConfig=hosts(2), InputDataConfig=[
        {"ChannelName": "fs", "DataSource": {"FileSystemDataSource": {
            "FileSystemId": "fs-0123456789abcdef0", "FileSystemAccessMode": "rw", "FileSystemType": "EFS", "DirectoryPath": "/"}}}])
    end = time.monotonic() + 60
    while not (ready := [p for p in job_dirs(s, s.pair) if (p / "journal").exists() and '"READY"' in (p / "journal").read_text()]):
        assert time.monotonic() < end, s.describe(s.pair)
        time.sleep(0.05)
    s.ready = ready[0]
    s.wait(s.pair, {"Downloading"})
    yield s
    assert s.leftovers() == []


def began(s):
    return [line for lines in streams_or_none(s, s.pair).values() for line in lines if line == "began"]


def test_stop_before_the_start(held):
    held.sm.stop_training_job(TrainingJobName=held.pair)
    d = held.wait(held.pair)
    assert d["TrainingJobStatus"] == "Stopped" and not began(held)


def test_a_supervisor_killed_before_the_start(held):
    pid, = held.pids("bloomery-job", held.ready.name)
    number = json.loads((held.ready / "spec.json").read_text())["host_number"]
    os.kill(pid, signal.SIGKILL)
    d = held.wait(held.pair)
    assert d["TrainingJobStatus"] == "Failed" and not began(held)
    assert f"(algo-{number} was the first of 2 hosts to fail; the others were stopped)" in d["FailureReason"]


def test_daemons_killed_before_the_start(held):
    for pid in held.pids("bloomeryd") + held.pids("bloomery-host"):
        os.kill(pid, signal.SIGKILL)
    held.up.wait(30)
    held.start()
    held.let_go()
    d = held.wait(held.pair)
    assert d["TrainingJobStatus"] == "Completed" and len(began(held)) == 2
    assert sorted(members(held.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) == ["algo-1", "algo-2"]


def test_they_start_together_when_all_have_their_data(server):
    uri = server.put("big3/", {f"{i}": b"x" for i in range(40)})
    d = server.completed("true", channels={"train": uri}, ResourceConfig=hosts(3))
    facts = [{f["fact"]: f["t"] for f in map(json.loads, (p / "journal").read_text().splitlines())}
             for p in job_dirs(server, d["TrainingJobName"])]
    assert len(facts) == 3 and max(f["READY"] for f in facts) <= min(f["TRAINING"] for f in facts)


def test_stop_reaches_all_and_their_models_are_kept(server):
    name = server.create(HOST + 'trap "echo $me > /opt/ml/model/$me; exit 0" TERM; echo up; while :; do sleep 0.1; done',
                         ResourceConfig=hosts(2))
    end = time.monotonic() + 60
    while sum("up" in lines for lines in streams_or_none(server, name).values()) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    server.sm.stop_training_job(TrainingJobName=name)
    d = server.wait(name)
    assert d["TrainingJobStatus"] == d["SecondaryStatus"] == "Stopped"
    assert members(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {"algo-1": "algo-1\n", "algo-2": "algo-2\n"}
    assert server.leftovers() == []
    dirs = job_dirs(server, name)
    assert len(dirs) == 2
    server.call("DeleteTrainingJob", {"TrainingJobName": name})
    end = time.monotonic() + 60
    while any(p.exists() for p in dirs):
        assert time.monotonic() < end, "the directories of all hosts go"
        time.sleep(0.05)


@pytest.mark.parametrize("after", [0, 0.05, 0.2, 0.5, 0.9])
def test_a_stop_at_any_moment_is_no_failure(server, after):
    name = server.create(HOST + 'trap "exit 0" TERM; echo $me > /opt/ml/model/$me; sleep 600 & wait', ResourceConfig=hosts(3))
    time.sleep(after)
    server.sm.stop_training_job(TrainingJobName=name)
    assert server.wait(name)["SecondaryStatus"] == "Stopped"
    assert server.leftovers() == []


def test_of_two_files_of_one_name_the_later_hosts_wins(server):
    d = server.completed(HOST + "mkdir /opt/ml/model/d; echo $me > /opt/ml/model/d/same; echo $me > /opt/ml/model/d/$me", ResourceConfig=hosts(3))
    raw = server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])
    assert members(raw) == {"d/same": "algo-3\n", **{f"d/algo-{n}": f"algo-{n}\n" for n in (1, 2, 3)}}


def streams_or_none(s, name):
    import botocore.exceptions
    try:
        return streams(s, name)
    except botocore.exceptions.ClientError as ex:
        assert ex.response["Error"]["Code"] == "ResourceNotFoundException", ex
        return {}


def test_max_runtime_ends_all(server):
    d = server.run('trap "exit 0" TERM; while :; do sleep 0.1; done', ResourceConfig=hosts(2),
                   StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert d["TrainingJobStatus"] == "Stopped" and d["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert server.leftovers() == []


def test_a_host_that_is_done_gives_its_place_to_the_next_job(make_server):
    s = make_server("capacity_cpus = 4\ncapacity_memory = 17179869184\nstop_grace_seconds = 3\n")
    pair = s.create(HOST + 'if [ $me = algo-2 ]; then exit 0; fi; trap "exit 0" TERM; while :; do sleep 0.1; done',
                    ResourceConfig=hosts(2))
    s.wait(pair, {"Training"})
    lone = s.create("echo ran")      # wants half of the machine, and the pair began with all of it
    assert s.wait(lone)["TrainingJobStatus"] == "Completed"
    assert s.describe(pair)["TrainingJobStatus"] == "InProgress"
    s.sm.stop_training_job(TrainingJobName=pair)
    assert s.wait(pair)["TrainingJobStatus"] == "Stopped"
    assert s.leftovers() == []


def test_all_hosts_are_reserved_together(make_server):
    s = make_server("capacity_cpus = 4\ncapacity_memory = 17179869184\nstop_grace_seconds = 1\n")
    lone = s.create("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    s.wait(lone, {"Training"})
    pair = s.create("echo ran", ResourceConfig=hosts(2))
    late = s.create("echo ran")      # would fit, but came later
    assert s.wait(pair, {"Pending"})["SecondaryStatus"] == "Pending"
    assert s.wait(late, {"Pending"})["SecondaryStatus"] == "Pending"
    assert not job_dirs(s, pair)
    s.sm.stop_training_job(TrainingJobName=lone)
    for name in (pair, late):
        assert s.wait(name)["TrainingJobStatus"] == "Completed"
    assert s.leftovers() == []


def test_more_hosts_than_the_machine_has_cpus(server):
    d = server.completed("echo $(hostname) > /opt/ml/model/$(hostname)", ResourceConfig=hosts(8, InstanceType="ml.m5.2xlarge"))
    assert len(members(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) == 8
    logs = streams(server, d["TrainingJobName"])
    assert len(logs) == 8 and all(any("8 hosts of this job want" in line for line in lines) for lines in logs.values())


def test_instance_groups_partition_the_hosts(server):
    uri = server.put("groups/", {f"{i}": b"x" for i in range(6)})

    def channel(name, groups, dist="FullyReplicated"):
        return {"ChannelName": name, "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": dist, "InstanceGroupNames": groups}}}
    r = server.request(HOST + 'cp /opt/ml/input/config/resourceconfig.json /opt/ml/model/rc-$me; (cd /opt/ml/input/data; '
                       'for c in a b; do [ -d $c ] && echo $c $(ls $c); done; true) > /opt/ml/model/data-$me',
                       InputDataConfig=[channel("a", ["big"]), channel("b", ["big", "small"], "ShardedByS3Key")])
    r["ResourceConfig"] = {"VolumeSizeInGB": 1, "InstanceGroups": [
        {"InstanceGroupName": "big", "InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "small", "InstanceType": "ml.m5.large", "InstanceCount": 2}]}
    server.sm.create_training_job(**r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d
    got = members(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    assert got["data-algo-1"] == "a 0 1 2 3 4 5\nb 0 3\n"
    assert got["data-algo-2"] == "b 1 4\n" and got["data-algo-3"] == "b 2 5\n"
    rc = json.loads(got["rc-algo-3"])
    assert (rc["current_group_name"], rc["current_instance_type"]) == ("small", "ml.m5.large")
    assert rc["instance_groups"] == [
        {"instance_group_name": "big", "instance_type": "ml.m5.xlarge", "hosts": ["algo-1"]},
        {"instance_group_name": "small", "instance_type": "ml.m5.large", "hosts": ["algo-2", "algo-3"]}]


def test_every_mode_deals_the_same_shares(server):
    uri = server.put("modes2/", {f"{i}": b"%d\n" % i for i in range(5)})
    channels = [{"ChannelName": mode.lower(), "InputMode": mode, "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "ShardedByS3Key"}}}
        for mode in ("File", "FastFile", "Pipe")]
    d = server.completed("cd /opt/ml/input/data; for c in file/* fastfile/* pipe_0; do cat $c; done > /opt/ml/model/$(hostname)",
                         InputDataConfig=channels, ResourceConfig=hosts(2))
    got = members(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    assert got == {"algo-1": "0\n2\n4\n" * 3, "algo-2": "1\n3\n" * 3}
    told = server.bloomery("describe", d["TrainingJobName"])
    assert told.returncode == 0 and "algo-1: " in told.stdout and "algo-2: " in told.stdout
    assert server.leftovers() == []


def test_uncompressed_models_of_all_hosts(server):
    r = server.request("mkdir /opt/ml/model/d; hostname > /opt/ml/model/d/$(hostname)", ResourceConfig=hosts(3),
                       OutputDataConfig={"CompressionType": "NONE"})
    name = r["TrainingJobName"]
    server.call("CreateTrainingJob", r)
    assert server.wait(name)["TrainingJobStatus"] == "Completed"
    keys = [o["Key"] for o in server.s3.list_objects_v2(Bucket="bucket", Prefix=f"out/{name}/")["Contents"]]
    assert keys == [f"out/{name}/output/model/d/algo-{n}" for n in (1, 2, 3)]


def test_output_of_all_hosts_where_the_conf_says_so(make_server):
    s = make_server("output_hosts = all\nstop_grace_seconds = 1\n")
    d = s.completed("hostname > /opt/ml/output/data/$(hostname)", ResourceConfig=hosts(2))
    out = s.artifact(d["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz"))
    assert members(out) == {"algo-1": "algo-1\n", "algo-2": "algo-2\n"}


def test_the_command_line_shows_whose_line_it_is(server):
    d = server.completed("echo hello", ResourceConfig=hosts(2))
    out = server.bloomery("logs", d["TrainingJobName"])
    assert out.returncode == 0
    assert "algo-1: hello\n" in out.stdout and "algo-2: hello\n" in out.stdout


def test_the_command_line_trains_on_several_hosts(server):
    out = server.bloomery("train", "--image", "busy", "--hosts", "3", "--output", "s3://bucket/cli-hosts", "--volume-size", "1",
                          "--hp", "script=echo I am $(hostname); nproc", "--follow")
    assert out.returncode == 0, out.stderr
    for n in (1, 2, 3):
        assert f"algo-{n}: I am algo-{n}\n" in out.stdout
