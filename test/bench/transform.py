"""Part "transform": lines of CSV through a transform job to a serving container that does next to nothing, against curl
posting the same payloads, and against wrk, which sends one of them again and again; all to the very same server in the
job's container, whose network the two are put into. SPDX-License-Identifier: Apache-2.0"""
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import tarfile
import time

from kit import ROOT, Putter, house, need, row, say

CONCURRENT, PAYLOAD = 4, 6 << 20  # the service's default
FEATURES = "".join(f",{i * 0.123 % 10 - 5:.5f}" for i in range(30))  # a line of 36 columns, some 270 bytes
GROUP = "/aws/sagemaker/TransformJobs"
FINAL = ("Completed", "Failed", "Stopped")
ROUNDS = 3


def import_server(s, base):
    """The image: one static program. It is healthy once the file /go is there, so that others may ask it before."""
    root = base / "root"
    for folder in ("bin", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    subprocess.run(["gcc", "-static", "-O2", "-D_GNU_SOURCE", "-o", root / "bin/serve", ROOT / "test/bench/serve.c", "-lpthread"], check=True)
    done = s.bloomery("image", "import", "bench-serve", root)
    if done.returncode:
        raise RuntimeError(done.stderr)
    s.sm.create_model(ModelName="bench", ExecutionRoleArn=house.ROLE, PrimaryContainer={
        "Image": "bench-serve", "Environment": {"PATH": "/bin", "HEALTHY_WITH": "/tmp/go"}})


def write_lines(path, lines):
    with open(path, "w") as f:
        for i in range(lines):
            f.write(f"{i},{i % 97}.25,{i * 7919 % 100003},{i % 2},class-{i % 10},{i * 31 % 65537}{FEATURES}\n")


def split(base, path):
    """The payloads of MultiRecord: whole lines, as many as fit."""
    data, files, at = path.read_bytes(), [], 0
    while at < len(data):
        end = len(data) if len(data) - at <= PAYLOAD else data.rindex(b"\n", at, at + PAYLOAD) + 1
        files.append(base / f"payload-{len(files)}")
        files[-1].write_bytes(data[at:end])
        at = end
    return files


# ---- jobs ----

def create(s, name):
    s.sm.create_transform_job(
        TransformJobName=name, ModelName="bench", MaxConcurrentTransforms=CONCURRENT, MaxPayloadInMB=PAYLOAD >> 20,
        BatchStrategy="MultiRecord", TransformResources={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/transform/"}},
                        "ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": f"s3://bucket/{name}", "AssembleWith": "Line"})


def wait(s, name, timeout=300):
    end = time.monotonic() + timeout
    while (d := s.sm.describe_transform_job(TransformJobName=name))["TransformJobStatus"] not in FINAL:
        if time.monotonic() > end:
            raise RuntimeError(f"{name} does not end")
        time.sleep(0.02)
    return d


def find_server(s, name, timeout=60):
    """The pid of the job's server: the first process of its container."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError):
            job = s.job_id(name)
            for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if cmdline.read_bytes() == b"serve\0" and job in (cmdline.parent / "cgroup").read_text():
                        return int(cmdline.parent.name)
        time.sleep(0.02)
    raise RuntimeError(f"{name}: its server does not start: {s.sm.describe_transform_job(TransformJobName=name)}")


def events(s, name):
    logs, found = s.cached("logs"), []
    for stream in logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")["logStreams"]:
        found += logs.get_log_events(logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True)["events"]
    return found


def rate_of(s, name, lines):
    """From the moment in which it is known what holds, until the last connection is closed: as wrk's rate, without what
    comes before and after."""
    said = events(s, name)
    begin = next(e["timestamp"] for e in said if "MaxConcurrentTransforms=" in e["message"])
    end = max(e["timestamp"] for e in said if e["message"].startswith("closed ") and e["timestamp"] >= begin)
    return lines / ((end - begin) / 1000)


def check_output(s, name, lines):
    body = s.s3.get_object(Bucket="bucket", Key=f"{name}/lines.csv.out")["Body"]
    got = sum(piece.count(b"\n") for piece in body.iter_chunks(1 << 20))
    if got != lines:
        raise RuntimeError(f"{got} records came of {lines}")


# ---- peers ----

def by_curl(base, inside, files, lines):
    config = base / "curl"
    config.write_text("next\n".join(f'url = "http://127.0.0.1:8080/invocations"\ndata-binary = "@{f}"\noutput = "{f}.out"\n'
                                    'header = "Content-Type: text/csv"\nheader = "Expect:"\n' for f in files))
    begin = time.monotonic()
    subprocess.run([*inside, "curl", "-sfZ", "--no-progress-meter", "--parallel-max", str(CONCURRENT), "-K", config], check=True)
    return lines / (time.monotonic() - begin)


def by_wrk(base, inside, file, seconds):
    script = base / "wrk.lua"
    script.write_text(f'local f = io.open("{file}", "rb")\nwrk.method, wrk.body = "POST", f:read("*a")\n'
                      'wrk.headers["Content-Type"] = "text/csv"\n')
    out = subprocess.run([*inside, "wrk", "-t2", f"-c{CONCURRENT}", f"-d{seconds}s", "-s", script, "http://127.0.0.1:8080/invocations"],
                         capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise RuntimeError(out)
    with open(file, "rb") as f:
        return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]) * f.read().count(b"\n")


def one_round(s, base, files, lines, seconds, number):
    name = f"bench-transform-{number}"
    create(s, name)
    pid = find_server(s, name)
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    rates = by_curl(base, inside, files, lines), by_wrk(base, inside, files[0], seconds)
    pathlib.Path(f"/proc/{pid}/root/tmp/go").touch()
    d = wait(s, name)
    if d["TransformJobStatus"] != "Completed":
        raise RuntimeError(d.get("FailureReason"))
    check_output(s, name, lines)
    return rate_of(s, name, lines), *rates


def bench_transform(s, base, quick):
    need("curl", "wrk")
    base = pathlib.Path(base) / "transform"
    base.mkdir()
    lines = 100_000 if quick else 1_000_000
    write_lines(base / "lines.csv", lines)
    with open(base / "lines.csv", "rb") as f:
        Putter(s.url, s.exports).put("bucket", "transform/lines.csv", f, (base / "lines.csv").stat().st_size)
    files = split(base, base / "lines.csv")
    import_server(s, base)
    say("transform")
    best = [max(rates) for rates in zip(*(one_round(s, base, files, lines, 1 if quick else 3, i) for i in range(ROUNDS)))]
    row("transform job, CSV lines, MultiRecord, 4 at once", best[0], best[1], "curl -Z, the same payloads", "", "records/s")
    row("transform job, CSV lines, MultiRecord, 4 at once", best[0], best[2], "wrk -c4, one payload", ">= 0.7", "records/s")
    shutil.rmtree(base)


# ---- validation ----

INSTANCE = {"InstanceType": "ml.m5.large", "InstanceCount": 1}


def source(prefix):
    return {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{prefix}"}}


def put_iris(s, out):
    subprocess.run(["make", "-s", "-C", ROOT / "examples/iris", f"OUT={out}"], check=True)
    done = s.bloomery("image", "import", "iris", out / "image.tar")
    if done.returncode:
        raise RuntimeError(done.stderr)
    rows = [line.rsplit(",", 1)[0] + "\n" for line in (out / "validation.csv").read_text().splitlines()[1:]]
    s.put("validation/", {"train/train.csv": (out / "train.csv").read_bytes(), "rows/rows.csv": "".join(rows).encode()})
    return len(rows)


def iris_algorithm(name):
    profile = {"ProfileName": "small", "TrainingJobDefinition": {
        "TrainingInputMode": "File", "HyperParameters": {"epochs": "1000"}, "ResourceConfig": {**INSTANCE, "VolumeSizeInGB": 1},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": source("validation/train/")}],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/validation/models"}, "StoppingCondition": {"MaxRuntimeInSeconds": 600}},
        "TransformJobDefinition": {
            "TransformInput": {"DataSource": source("validation/rows/"), "ContentType": "text/csv", "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": "s3://bucket/validation/answers", "AssembleWith": "Line", "Accept": "text/csv"},
            "TransformResources": INSTANCE}}
    return {"AlgorithmName": name, "TrainingSpecification": {
        "TrainingImage": "iris", "SupportedTrainingInstanceTypes": ["ml.m5.large"],
        "SupportedHyperParameters": [{"Name": "epochs", "Type": "Integer", "DefaultValue": "1000", "IsTunable": True, "Range": {
            "IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "1000000000"}}}],
        "TrainingChannels": [{"Name": "train", "IsRequired": True, "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}]},
        "InferenceSpecification": {"Containers": [{"Image": "iris"}], "SupportedTransformInstanceTypes": ["ml.m5.large"],
                                   "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]},
        "ValidationSpecification": {"ValidationRole": house.ROLE, "ValidationProfiles": [profile]}}


def validate(s, name):
    """Seconds of all of it, and of its phases, as the jobs themselves say."""
    begin, created = time.monotonic(), time.time()
    s.sm.create_algorithm(**iris_algorithm(name))
    while (d := s.sm.describe_algorithm(AlgorithmName=name))["AlgorithmStatus"] in ("Pending", "InProgress"):
        if time.monotonic() > begin + 300:
            raise RuntimeError(f"{name} does not end: {d['AlgorithmStatusDetails']}")
        time.sleep(0.02)
    took = time.monotonic() - begin
    if d["AlgorithmStatus"] != "Completed":
        raise RuntimeError(json.dumps(d["AlgorithmStatusDetails"]))
    job, = s.sm.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    train = s.sm.describe_training_job(TrainingJobName=job["TrainingJobName"])
    transform = s.sm.describe_transform_job(TransformJobName=job["TrainingJobName"])
    return [took, train["CreationTime"].timestamp() - created, (train["TrainingEndTime"] - train["CreationTime"]).total_seconds(),
            (transform["CreationTime"] - train["TrainingEndTime"]).total_seconds(),
            (transform["TransformEndTime"] - transform["CreationTime"]).total_seconds()]


def by_hand(s, out, where):
    """The same work without containers: the program trains, serves, and curl asks it."""
    for folder in ("input/data", "input/config", "model", "output"):
        (where / folder).mkdir(parents=True)
    shutil.copytree(out / "train-data", where / "input/data/train")
    begin = time.monotonic()
    subprocess.run([out / "train", "train"], env={"ML_BASE": str(where)}, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(where / "model.tar.gz", "w:gz") as tar:
        tar.add(where / "model", arcname=".")
    p = subprocess.Popen([out / "serve", "serve"], env={"ML_BASE": str(where), "SAGEMAKER_BIND_TO_PORT": "0"}, stdout=subprocess.PIPE, text=True)
    try:
        port = int(p.stdout.readline().rsplit(" ", 1)[1])
        subprocess.run(["curl", "-sf", "-H", "Content-Type: text/csv", "--data-binary", f"@{out / 'rows.csv'}", "-o", where / "answers",
                        f"http://127.0.0.1:{port}/invocations"], check=True)
    finally:
        p.terminate()
        p.wait()
    return time.monotonic() - begin


def bench_validation(s, base, quick):
    need("curl")
    base = pathlib.Path(base) / "validation"
    out = base / "out"
    out.mkdir(parents=True)
    put_iris(s, out)
    (out / "train-data").mkdir()
    shutil.copy(out / "train.csv", out / "train-data")
    (out / "rows.csv").write_bytes(s.s3.get_object(Bucket="bucket", Key="validation/rows/rows.csv")["Body"].read())
    say("validation")
    n = 1 if quick else 5
    runs = sorted(validate(s, f"bench-iris-{i}") for i in range(n))
    whole, before, train, between, transform = runs[n // 2]
    hand = sorted(by_hand(s, out, base / f"hand-{i}") for i in range(n))[n // 2]
    row("validation of iris, all of it", whole, hand, "train, serve and curl by hand", "", "s")
    row("  until its training job (image)", before, whole, "of the whole", "", "s")
    row("  its training job", train, whole, "of the whole", "", "s")
    row("  from there to the transform job (model)", between, whole, "of the whole", "", "s")
    row("  its transform job", transform, whole, "of the whole", "", "s")
    row("  after it", whole - before - train - between - transform, whole, "of the whole", "", "s")
    shutil.rmtree(base)
