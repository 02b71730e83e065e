# The main job, through boto3: what a user of SageMaker relies on (contract 1, 2.3, 4, 5).
# SPDX-License-Identifier: Apache-2.0
import datetime
import io
import json
import tarfile
import time

import botocore.exceptions
import pytest


def tree(blob):
    """Name -> content of a tar.gz (directories: None)."""
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as t:
        return {m.name: t.extractfile(m).read() if m.isfile() else None for m in t.getmembers()}


def test_a_job_trains_and_its_model_is_there(server):
    uri = server.put("first/", {"a.csv": b"1,2\n", "deep/b.csv": b"3,4\n"})
    d = server.completed("cat /opt/ml/input/data/train/a.csv /opt/ml/input/data/train/deep/b.csv > /opt/ml/model/m; "
                         "mkdir /opt/ml/model/sub; echo x > /opt/ml/model/sub/y; echo out > /opt/ml/output/data/o; echo hello",
                         channels={"train": uri})
    name = d["TrainingJobName"]
    assert d["TrainingJobArn"] == f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{name.lower()}"
    assert d["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://bucket/out/{name}/output/model.tar.gz"
    assert tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"])) == {
        "m": b"1,2\n3,4\n", "sub": None, "sub/y": b"x\n"}
    assert tree(server.artifact(f"s3://bucket/out/{name}/output/output.tar.gz")) == {"o": b"out\n"}
    assert "hello" in server.logs(name)


def test_describe_tells_the_whole_story(server):
    uri = server.put("story/", {"x": b"1"})
    before = datetime.datetime.now(datetime.timezone.utc)
    d = server.completed("sleep 0.2", channels={"train": uri})
    assert d["SecondaryStatus"] == "Completed"
    ts = d["SecondaryStatusTransitions"]
    assert [(t["Status"], t["StatusMessage"]) for t in ts] == [
        ("Starting", "Preparing the instances for training"),
        ("Downloading", ts[1]["StatusMessage"]),
        ("Training", "Training image download completed. Training in progress."),
        ("Uploading", "Uploading generated training model"),
        ("Completed", "Training job completed")]
    assert ts[1]["StatusMessage"] in ("Downloading input data", "Downloading the training image")
    for a, b in zip(ts, ts[1:]):
        assert a["EndTime"] == b["StartTime"] >= a["StartTime"]
    assert ts[-1]["StartTime"] == ts[-1]["EndTime"]
    assert abs((d["CreationTime"] - before).total_seconds()) < 5
    assert d["CreationTime"] <= d["TrainingStartTime"] == ts[1]["StartTime"]
    assert d["TrainingEndTime"] == ts[-1]["StartTime"] and d["LastModifiedTime"] >= d["TrainingEndTime"]
    assert d["TrainingTimeInSeconds"] == d["BillableTimeInSeconds"] == max(
        1, int((d["TrainingEndTime"] - d["TrainingStartTime"]).total_seconds()))
    # echoed, with the service's defaults
    assert d["InputDataConfig"] == [{
        "ChannelName": "train", "CompressionType": "None", "RecordWrapperType": "None",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri,
                                        "S3DataDistributionType": "FullyReplicated"}}}]
    assert d["OutputDataConfig"] == {"KmsKeyId": "", "S3OutputPath": "s3://bucket/out", "CompressionType": "GZIP"} \
        or d["OutputDataConfig"] == {"KmsKeyId": "", "S3OutputPath": "s3://bucket/out"}  # older clients drop CompressionType
    assert d["EnableNetworkIsolation"] is d["EnableInterContainerTrafficEncryption"] is d["EnableManagedSpotTraining"] is False
    assert d["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert d["HyperParameters"] == {"script": "sleep 0.2"}
    assert "FailureReason" not in d and "VpcConfig" not in d


def test_opt_ml_is_what_the_contract_says(server):
    uri = server.put("layout/data", {"/one": b"1", "/sub/two": b"", "set/three": b"3"})
    d = server.completed(
        "pwd > /tmp/pwd; cd /opt/ml; find . | sort > /tmp/l; mv /tmp/l model/tree; for f in input/config/*; do cp $f model/; done; "
        "cp input/data/*-manifest model/; stat -L -c '%a %U %G %n' . input input/config input/config/* input/data input/data/train "
        "input/data/train/* model output output/data > model/modes; env > model/env; cp /tmp/pwd model/pwd; id > model/id; "
        "hostname > model/hostname; ping -c 1 -W 1 algo-1 >/dev/null 2>&1; getent hosts algo-1 > model/resolved || nslookup algo-1 "
        "> model/resolved 2>&1; cat /etc/hosts > model/hosts; df -k /dev/shm | tail -1 > model/shm",
        channels={"train": uri}, Environment={"COLOUR": "red", "TRAINING_JOB_NAME": "liar"},
        HyperParameters={"lr": "0.1", "name": "\"é\""}, Tags=[{"Key": "k", "Value": "v"}])
    t = tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    listing = t["tree"].decode().split()
    for path in ("./input/config/hyperparameters.json", "./input/config/inputdataconfig.json", "./input/config/resourceconfig.json",
                 "./input/config/init-config.json", "./input/config/trainingjobconfig.json",
                 "./input/config/metric-definition-regex.json", "./input/config/upstreamoutputdataconfig.json",
                 "./input/data/train", "./input/data/train-manifest", "./model", "./output/data", "./output/metrics/sagemaker"):
        assert path in listing
    assert not any("checkpoint" in p or "debughook" in p or "tensorboard" in p for p in listing)
    # layout/data is a folder for data/one, and cut back to its last slash for dataset/three
    assert {p for p in listing if p.startswith("./input/data/train/")} == {
        "./input/data/train/" + p for p in ("one", "sub", "sub/two", "dataset", "dataset/three")}
    assert json.loads(t["hyperparameters.json"])["name"] == '"é"' and b": " not in t["hyperparameters.json"]
    assert t["inputdataconfig.json"] == (b'{"train":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated",'
                                         b'"RecordWrapperType":"None"}}')
    r = json.loads(t["resourceconfig.json"])
    assert (r["current_host"], r["hosts"], r["current_instance_type"], r["current_group_name"]) == (
        "algo-1", ["algo-1"], "ml.m5.large", "homogeneousCluster")
    assert r["instance_groups"] == [{"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large",
                                     "hosts": ["algo-1"]}]
    assert t["train-manifest"].decode().splitlines() == [
        "layout/data", "s3://bucket/layout/data/one", "s3://bucket/layout/data/sub/two", "s3://bucket/layout/dataset/three"]
    assert t["metric-definition-regex.json"] == b"[]" and t["upstreamoutputdataconfig.json"] == b"[]"
    job = json.loads(t["trainingjobconfig.json"])
    assert job["Tags"] == [{"Key": "k", "Value": "v"}] and job["OutputDataConfig"]["KmsKeyId"] == ""
    assert job["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] == "S3_PREFIX"
    init = json.loads(t["init-config.json"])
    assert init["hostConfig"] == {"clusterSize": 1, "hostNumber": 1} and init["jobRunInfo"] == {"jobRunNumber": 1}
    for line in t["modes"].decode().splitlines():
        mode, user, group, path = line.split()
        assert (user, group) == ("root", "root"), line
        assert mode == ("644" if path.endswith((".json", "-manifest", "/one")) else "755"), line
    env = dict(line.split("=", 1) for line in t["env"].decode().splitlines() if "=" in line)
    assert env["TRAINING_JOB_NAME"] == d["TrainingJobName"] and env["TRAINING_JOB_ARN"] == d["TrainingJobArn"]
    assert env["COLOUR"] == "red" and env["AWS_REGION"] == "us-east-1" and env["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert env["HOME"] == "/root" and env["DMLC_INTERFACE"] == r["network_interface_name"]
    assert t["pwd"] == b"/\n" and t["id"].startswith(b"uid=0(root)") and t["hostname"] == b"algo-1\n"
    assert b"algo-1" in t["hosts"]
    assert int(t["shm"].split()[1]) > 1 << 20, "/dev/shm is larger than 1 GiB"


def test_the_container_is_confined(server):
    d = server.completed(
        "cd /opt/ml/model; cat /proc/self/status > status; mount > mounts; cat /proc/1/cmdline > init; "
        "echo 1 > /proc/sys/kernel/hostname 2>/dev/null && touch WROTE; head -c 1 /proc/kcore >/dev/null 2>&1 && touch KCORE; "
        "mount -t tmpfs x /mnt 2>/dev/null && touch MOUNTED; ps > ps; nproc > nproc; mknod /tmp/sda b 8 0 && cat /tmp/sda "
        ">/dev/null 2>&1 && touch DEVICE; true")
    t = tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    status = dict(line.split(":\t", 1) for line in t["status"].decode().splitlines() if ":\t" in line)
    caps = int(status["CapEff"], 16)
    assert not caps & (1 << 21 | 1 << 16 | 1 << 19 | 1 << 12), "SYS_ADMIN, SYS_MODULE, SYS_PTRACE, NET_ADMIN are dropped"
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert not {"WROTE", "KCORE", "MOUNTED", "DEVICE"} & set(t)
    assert len(t["ps"].splitlines()) < 8, "its own process namespace"


def test_limits_come_from_the_instance_type(server):
    d = server.run("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; "
                   "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; "
                   "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null; "
                   "cat /sys/fs/cgroup/cpu.max 2>/dev/null; echo done")
    lines = server.logs(d["TrainingJobName"])
    memory = int(lines[0])
    assert memory <= 8 << 30 and memory > 1 << 30
    assert lines[1] != "max" and int(lines[1]) > 100


def test_the_machine_is_the_ceiling_and_the_log_says_so(server):
    d = server.completed("true", ResourceConfig={"InstanceType": "ml.m5.24xlarge"})
    assert any("ml.m5.24xlarge" in line for line in server.logs(d["TrainingJobName"]))


def test_entrypoint_and_arguments(server):
    d = server.completed(AlgorithmSpecification={"ContainerEntrypoint": ["/bin/sh", "-c", "echo ep \"$0\" \"$@\""],
                                                 "ContainerArguments": ["one", "two words"]})
    assert "ep one two words" in server.logs(d["TrainingJobName"])
    d = server.completed(AlgorithmSpecification={"ContainerEntrypoint": ["/bin/echo", "no train"]})
    assert "no train" in server.logs(d["TrainingJobName"])


def test_user_and_working_directory_of_the_image(server, rootfs):
    done = server.bloomery("image", "import", "as-user:1", rootfs, "--user", "trainer", "--workdir", "/home/trainer",
                           "--entrypoint", "/bin/sh")
    assert done.returncode == 0, done.stderr
    d = server.completed(image="as-user:1", AlgorithmSpecification={
        "ContainerEntrypoint": ["/bin/sh", "-c", "id; pwd; cat /opt/ml/input/config/resourceconfig.json"]})
    lines = server.logs(d["TrainingJobName"])
    assert lines[0].startswith("uid=1234(trainer) gid=1235(trainer)") and "1300(extra)" in lines[0]
    assert lines[1] == "/home/trainer"


def test_image_names_are_alike(server):
    for image in ("busy", "busy:latest", "000000000000.dkr.ecr.us-east-1.amazonaws.com/busy:latest"):
        server.completed("true", image=image)


def test_hyperparameters_survive_quotes_newlines_and_utf8(server):
    # the service's pattern .* keeps line breaks out (contract 5.9)
    odd = {"q": "a\"b'c\\d", "u": "é漢🔥", "tab": "a\tb", "empty": "", "json": "{\"k\": [1, \"2\"]}"}
    d = server.completed("cp /opt/ml/input/config/hyperparameters.json /opt/ml/model/", HyperParameters=odd)
    got = json.loads(tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))["hyperparameters.json"])
    assert {k: got[k] for k in odd} == odd
    assert {k: d["HyperParameters"][k] for k in odd} == odd
    with pytest.raises(botocore.exceptions.ClientError, match="regular expression pattern") as ex:
        server.create("true", HyperParameters={"nl": "a\nb"})
    assert ex.value.response["Error"]["Code"] == "ValidationException"


def test_an_input_can_be_written_and_the_store_does_not_change(server):
    uri = server.put("mine/", {"a": b"original", "b": b"keep"})
    script = ("cd /opt/ml/input/data/train; echo changed >> a && chmod +x b && rm b && echo n > new && cat a && "
              "echo x > /opt/ml/input/sm_training.env && mkdir /opt/ml/pipe_state && echo fine")
    d = server.completed(script, channels={"train": uri})
    assert "fine" in server.logs(d["TrainingJobName"])
    assert server.artifact(uri + "a") == b"original" and server.artifact(uri + "b") == b"keep"
    assert "fine" in server.logs(server.completed(script, channels={"train": uri})["TrainingJobName"])


def test_a_prefix_that_is_a_whole_key(server):
    server.put("exact/", {"model.tar.gz": b"T", "model.tar.gz.bak": b"B"})
    d = server.completed("find /opt/ml/input/data/model -type f; cat /opt/ml/input/data/model-manifest",
                         channels={"model": "s3://bucket/exact/model.tar.gz"})
    assert "/opt/ml/input/data/model/model.tar.gz" in server.logs(d["TrainingJobName"])


def test_stop_saves_the_model(server):
    name = server.create("trap 'echo saved > /opt/ml/model/m; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    server.wait(name, {"Training"})
    while "up" not in server.logs_or_nothing(name):
        time.sleep(0.02)
    server.sm.stop_training_job(TrainingJobName=name)
    assert server.describe(name)["TrainingJobStatus"] in ("Stopping", "Stopped")
    d = server.wait(name)
    assert (d["TrainingJobStatus"], d["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]
    assert tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))["m"] == b"saved\n"
    with pytest.raises(botocore.exceptions.ClientError, match="The request was rejected because the training job is in status Stopped"):
        server.sm.stop_training_job(TrainingJobName=name)


def test_a_trainer_that_ignores_SIGTERM_is_killed_after_the_grace(server):
    name = server.create("trap '' TERM; echo kept > /opt/ml/model/m; echo up; while :; do sleep 0.05; done")
    while "up" not in server.logs_or_nothing(name):
        time.sleep(0.02)
    begin = time.monotonic()
    server.sm.stop_training_job(TrainingJobName=name)
    d = server.wait(name, timeout=30)
    assert 2.5 < time.monotonic() - begin < 60      # stop_grace_seconds = 3 in this server
    assert d["TrainingJobStatus"] == "Stopped"
    assert tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))["m"] == b"kept\n"


def test_max_runtime(server):
    d = server.run("echo half > /opt/ml/model/m; while :; do sleep 0.1; done", StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (d["TrainingJobStatus"], d["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert "m" in tree(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))
    assert [t["Status"] for t in d["SecondaryStatusTransitions"]][-2:] == ["Stopping", "MaxRuntimeExceeded"]


def test_empty_model_reports_the_uri_and_uploads_nothing(server):
    d = server.completed("true")
    key = d["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
    assert "Contents" not in server.s3.list_objects_v2(Bucket="bucket", Prefix=key)


def test_network_isolation(server):
    script = "ls /sys/class/net | tr '\\n' ' '; echo; env | grep -c AWS_ENDPOINT_URL; true"
    d = server.completed(script, EnableNetworkIsolation=True)
    assert server.logs(d["TrainingJobName"])[:2] == ["lo ", "0"]
    d = server.completed(script)
    assert server.logs(d["TrainingJobName"])[1] == "1"


def test_output_is_kept_byte_for_byte_and_in_order(server):
    name = server.run("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf 'tab\\there\\n'; "
                      "printf 'no newline at the end'")["TrainingJobName"]
    lines = server.logs(name)
    assert lines[:2000] == [f"line {i}" for i in range(2000)]
    assert lines[2000:2002] == ["tab#011here", "no newline at the end"]


def test_jobs_wait_for_capacity_in_order(make_server):
    s = make_server("capacity_cpus = 2\nstop_grace_seconds = 1\n")
    first = s.create("while [ ! -e /opt/ml/input/data/go ]; do sleep 0.05; done")
    s.wait(first, {"Training"})
    waiting = [s.create("true") for _ in range(3)]
    d = s.wait(waiting[0], {"Pending"})
    assert d["TrainingJobStatus"] == "InProgress"
    assert d["SecondaryStatusTransitions"][-1]["StatusMessage"] == "Training job waiting for capacity"
    s.sm.stop_training_job(TrainingJobName=waiting[2])      # one that waits can be stopped
    assert s.wait(waiting[2])["TrainingJobStatus"] == "Stopped"
    s.sm.stop_training_job(TrainingJobName=first)
    ends = [s.wait(n)["TrainingEndTime"] for n in waiting[:2]]
    assert ends == sorted(ends)
    assert s.leftovers() == []


def test_jobs_run_side_by_side(server):
    names = [server.create("sleep 1") for _ in range(4)]
    for n in names:
        server.wait(n, {"Training"}, timeout=30)
    spans = []
    for n in names:
        t = {x["Status"]: x for x in server.wait(n)["SecondaryStatusTransitions"]}["Training"]
        spans.append((t["StartTime"], t["EndTime"]))
    assert max(a for a, _ in spans) < min(b for _, b in spans), "all four were training at the same time"


def test_list_filters_sorts_and_pages(make_server):
    s = make_server()
    names = [s.create("true" if i % 2 else "exit 3", name=f"list-{i:02d}") for i in (3, 1, 4, 0, 2)]
    for n in names:
        s.wait(n)
    sm = s.sm

    def ls(**kw):
        return [j["TrainingJobName"] for j in sm.list_training_jobs(**kw)["TrainingJobSummaries"]]
    assert ls() == ls(SortBy="CreationTime", SortOrder="Ascending") == names
    assert ls(SortBy="CreationTime", SortOrder="Descending") == names[::-1]
    assert ls(SortBy="Name", SortOrder="Ascending") == sorted(names)
    assert ls(NameContains="t-04") == ["list-04"] and ls(NameContains="nowhere") == []
    assert sorted(ls(StatusEquals="Failed")) == ["list-00", "list-02", "list-04"]
    paged, token = [], {}
    while True:
        page = sm.list_training_jobs(MaxResults=2, SortBy="Name", SortOrder="Ascending", **token)
        paged += [j["TrainingJobName"] for j in page["TrainingJobSummaries"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert paged == sorted(names)
    created = s.describe("list-04")["CreationTime"]
    assert "list-03" not in ls(CreationTimeAfter=created.replace(microsecond=0) + datetime.timedelta(hours=1))
    summary = sm.list_training_jobs(NameContains="list-01")["TrainingJobSummaries"][0]
    assert summary["TrainingJobStatus"] == "Completed" and summary["TrainingEndTime"] >= summary["CreationTime"]
    with pytest.raises(botocore.exceptions.ClientError) as ex:
        sm.list_training_jobs(NextToken="bm90IGEgdG9rZW4")
    assert ex.value.response["Error"]["Code"] == "ValidationException"


def test_tags(server):
    d = server.completed("true", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    arn, sm = d["TrainingJobArn"], server.sm
    sm.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "c", "Value": "3"}])
    tags = lambda: {t["Key"]: t["Value"] for t in sm.list_tags(ResourceArn=arn)["Tags"]}
    assert tags() == {"a": "2", "b": "", "c": "3"}
    sm.delete_tags(ResourceArn=arn, TagKeys=["b", "nowhere"])
    assert tags() == {"a": "2", "c": "3"}
    with pytest.raises(botocore.exceptions.ClientError):
        sm.list_tags(ResourceArn=arn + "-unknown")


def test_delete_frees_the_name(server):
    import boto3
    name = server.completed("true")["TrainingJobName"]
    r = server.aws("sagemaker", "delete-training-job", "--training-job-name", name)
    if "Invalid choice" in r.stderr:      # Debian's client has no such operation: send it raw
        server.call("DeleteTrainingJob", {"TrainingJobName": name})
    with pytest.raises(botocore.exceptions.ClientError, match="Requested resource not found"):
        server.describe(name)
    assert server.describe(server.create("true", name=name))["TrainingJobStatus"] in ("InProgress", "Completed")
    server.wait(name)


def test_update(server):
    name = server.completed("true")["TrainingJobName"]
    with pytest.raises(botocore.exceptions.ClientError, match="the request cannot be empty"):
        server.sm.update_training_job(TrainingJobName=name)


def test_output_uncompressed(server):
    r = server.request("echo 1 > /opt/ml/model/a; mkdir /opt/ml/model/d; echo 2 > /opt/ml/model/d/b; echo o > /opt/ml/output/data/z")
    r["OutputDataConfig"]["CompressionType"] = "NONE"
    server.call("CreateTrainingJob", r)
    d = server.wait(r["TrainingJobName"])
    assert d["TrainingJobStatus"] == "Completed", d
    base = f"out/{r['TrainingJobName']}/output/"
    keys = [o["Key"] for o in server.s3.list_objects_v2(Bucket="bucket", Prefix=base)["Contents"]]
    assert keys == [base + "model/a", base + "model/d/b", base + "output/z"]


def test_the_aws_cli(server, tmp_path):
    server.put("cli/", {"x": b"1"})
    r = server.request("cat /opt/ml/input/data/train/x; cp /opt/ml/input/data/train/x /opt/ml/model/", channels={"train": "s3://bucket/cli/"})
    (tmp_path / "job.json").write_text(json.dumps(r))
    done = server.aws("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/job.json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["TrainingJobArn"].endswith(r["TrainingJobName"])
    server.wait(r["TrainingJobName"])
    done = server.aws("sagemaker", "describe-training-job", "--training-job-name", r["TrainingJobName"],
                      "--query", "TrainingJobStatus", "--output", "text")
    assert done.stdout == "Completed\n"
    done = server.aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", r["TrainingJobName"])
    assert done.returncode == 0
    who = json.loads(server.aws("sts", "get-caller-identity").stdout)
    assert who["Account"] == "000000000000" and ":assumed-role/" in who["Arn"]
    done = server.aws("s3", "cp", f"s3://bucket/out/{r['TrainingJobName']}/output/model.tar.gz", tmp_path / "m.tar.gz")
    assert done.returncode == 0 and tree((tmp_path / "m.tar.gz").read_bytes()) == {"x": b"1"}


def test_the_commands_for_people(server, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x.csv").write_text("1\n")
    done = server.bloomery("train", "--name", "people-1", "--image", "busy", "--channel", f"train={tmp_path}/d",
                           "--hp", "script=cat /opt/ml/input/data/train/x.csv; echo trained; cp -r /opt/ml/input/data/train /opt/ml/model",
                           "--output", "s3://bucket/out", "--instance-type", "local", "--wait")
    assert done.returncode == 0, done.stderr
    assert server.describe("people-1")["TrainingJobStatus"] == "Completed"
    assert "trained" in server.bloomery("logs", "people-1").stdout
    assert json.loads(server.bloomery("describe", "people-1", "--json").stdout)["TrainingJobName"] == "people-1"
    assert "people-1" in server.bloomery("jobs").stdout and "Completed" in server.bloomery("describe", "people-1").stdout
    done = server.bloomery("stop", "people-1")
    assert done.returncode == 1 and "is in status Completed" in done.stderr
    assert server.bloomery("describe", "nobody").returncode == 1
    assert server.bloomery("nonsense").returncode == 2
