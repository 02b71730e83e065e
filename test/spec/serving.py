# A model's container that serves with busybox, and transform jobs of it; for the spec and the crash tests.
# SPDX-License-Identifier: Apache-2.0
import io
import re
import shutil
import tarfile
import time
import uuid

ROLE = "arn:aws:iam::000000000000:role/service-role/trainer"
FINAL = {"Completed", "Failed", "Stopped"}
GROUP = "/aws/sagemaker/TransformJobs"

# Answers with the records in capitals; what MODE says else. One process a connection.
HANDLER = r"""#!/bin/sh
read -r method path rest
n=0
while read -r name value; do
  case $name in [Cc]ontent-[Ll]ength:) n=$(echo $value | tr -d '\r');; esac
  case $name$value in ?) break;; esac
done
answer() { printf 'HTTP/1.0 %s\r\nContent-Type: text/csv\r\n\r\n' "$1"; }
case $method$path in
GET/ping) answer '200 OK';;
GET*) answer '404 No';;
*) head -c $n > /tmp/body.$$
   if [ "$MODE" = slow ]; then sleep 600; fi
   if grep -q BAD /tmp/body.$$; then answer '400 No'; echo 'cannot read BAD'; exit; fi
   answer '200 OK'
   case "$MODE" in
   model) while read -r line; do echo "$line,$(cat /opt/ml/model/w.txt)"; done < /tmp/body.$$;;
   env) while read -r line; do echo "$A,$B,$SAGEMAKER_BATCH,$SAGEMAKER_MAX_PAYLOAD_IN_MB,$SAGEMAKER_BATCH_STRATEGY"; done < /tmp/body.$$;;
   add) while read -r line; do echo "$line,+"; done < /tmp/body.$$;;
   *) tr a-z A-Z < /tmp/body.$$;;
   esac;;
esac
"""
SERVE = "#!/bin/sh\necho \"serving as $HOSTNAME\"\n[ \"$MODE\" = dies ] && { echo no more >&2; exit 7; }\nexec nc -ll -p 8080 -e /bin/handler\n"


def import_serving(server, rootfs, base):
    """The image, and a model's data."""
    root = base / "serving"
    shutil.copytree(rootfs, root, symlinks=True)
    for leaf, text in (("bin/handler", HANDLER), ("usr/local/bin/serve", SERVE)):
        (root / leaf).write_text(text)
        (root / leaf).chmod(0o755)
    done = server.bloomery("image", "import", "serving", root)
    assert done.returncode == 0, done.stderr
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo("w.txt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"42\n"))
    server.put("models/", {"model.tar.gz": archive.getvalue()})


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def model(server, name=None, mode="", environment=None, **kw):
    name = name or unique("model")
    container = {"Image": "serving", "Environment": {"MODE": mode, **(environment or {})}}
    if mode == "model":
        container["ModelDataUrl"] = "s3://bucket/models/model.tar.gz"
    if "Containers" not in kw:
        kw["PrimaryContainer"] = container
    server.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, **kw)
    return name


def request(model_name, prefix, name=None, **kw):
    r = {"TransformJobName": name or unique("transform"), "ModelName": model_name,
         "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": prefix}},
                            "ContentType": "text/csv", "SplitType": "Line"},
         "TransformOutput": {"S3OutputPath": "s3://bucket/" + unique("out"), "AssembleWith": "Line"},
         "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}}
    for k, v in kw.items():
        r[k] = {**r[k], **v} if isinstance(v, dict) and isinstance(r.get(k), dict) else v
    return r


def describe(server, name):
    return server.sm.describe_transform_job(TransformJobName=name)


def wait(server, name, until=FINAL, timeout=90):
    end = time.monotonic() + timeout
    while (d := describe(server, name))["TransformJobStatus"] not in until:
        assert d["TransformJobStatus"] not in FINAL and time.monotonic() < end, (d, server.tail())
        time.sleep(0.05)
    return d


def run(server, *a, **kw):
    r = request(*a, **kw)
    server.sm.create_transform_job(**r)
    return wait(server, r["TransformJobName"])


def outputs(server, d):
    bucket, prefix = re.fullmatch(r"s3://([^/]+)/(.*)", d["TransformOutput"]["S3OutputPath"]).groups()
    found = server.s3.list_objects_v2(Bucket=bucket, Prefix=prefix + "/").get("Contents", [])
    return {o["Key"][len(prefix) + 1:]: server.s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read() for o in found}


def completed(server, *a, **kw):
    d = run(server, *a, **kw)
    assert d["TransformJobStatus"] == "Completed", (d, server.tail())
    return d


def streams(server, name):
    logs = server.cached("logs")
    return {s["logStreamName"]: [ev["message"] for ev in logs.get_log_events(
        logGroupName=GROUP, logStreamName=s["logStreamName"], startFromHead=True)["events"]]
        for s in logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")["logStreams"]}
