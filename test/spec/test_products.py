# An algorithm goes from one site to another: exported, signed, changed on the way, imported, used, removed.
# SPDX-License-Identifier: Apache-2.0
import hashlib
import html.parser
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time

import pytest
from conftest import BLOOMERY, ROLE, ROOM, Server
from serving import HANDLER, SERVE, request
from serving import wait as transformed
from test_algorithms import refusal
from test_validation import fresh, specification, training, validation, wait

SCRIPT = ("for i in 1 2 3; do echo loss=0.$i; done; echo '<b>bold</b>'; "
          "cat /opt/ml/input/data/train/x.csv; echo 42 > /opt/ml/model/w.txt")
INFERENCE = {"Containers": [{"Image": "counter", "Environment": {"MODE": "model"}}], "SupportedTransformInstanceTypes": ["ml.m5.large"],
             "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}


def transform(data):
    return {"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data}}, "ContentType": "text/csv",
                               "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": "s3://bucket/shown", "AssembleWith": "Line"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}}


@pytest.fixture(scope="module")
def seller(server, rootfs, tmp_path_factory):
    """An algorithm that was trained, served and certified."""
    name = fresh()
    root = tmp_path_factory.mktemp("counter") / "root"
    shutil.copytree(rootfs, root, symlinks=True)
    for leaf, text in (("bin/handler", HANDLER), ("usr/local/bin/serve", SERVE)):
        (root / leaf).write_text(text)
        (root / leaf).chmod(0o755)
    assert server.bloomery("image", "import", "counter", root).returncode == 0
    data = server.put("products/", {"x.csv": b"1,2\n", "sub/y.csv": b"3,4\n"})
    server.put("shown/", {"old.csv.out": b"of another job\n"})
    ask = server.put("ask/", {"a.csv": b"5,6\n7,8\n"})
    server.sm.create_algorithm(AlgorithmName=name, AlgorithmDescription="counts <sheep> & goats", CertifyForMarketplace=True,
                               TrainingSpecification=specification(TrainingImage="counter"), InferenceSpecification=INFERENCE,
                               ValidationSpecification=validation(training(data, SCRIPT), TransformJobDefinition=transform(ask)))
    d = wait(server, name)
    assert d["AlgorithmStatus"] == "Completed", d
    again = server.request("echo not of the validation", name=name + "-small-again", channels={"train": data})
    again["AlgorithmSpecification"] = {"AlgorithmName": name, "TrainingInputMode": "File"}
    server.sm.create_training_job(**again)
    assert server.wait(again["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    return server, name


@pytest.fixture(scope="module")
def bundle(seller, tmp_path_factory):
    server, name = seller
    path = tmp_path_factory.mktemp("products") / "product.tar"
    done = server.bloomery("product", "export", name, path, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["Seller"] == server.bloomery("product", "key").stdout.strip()
    assert said["AlgorithmArn"] == f"arn:aws:sagemaker:us-east-1:{said['AlgorithmArn'].split(':')[4]}:algorithm/{said['Name']}"
    assert os.listdir(path.parent) == ["product.tar"]
    return path, said


@pytest.fixture(scope="module")
def buyer():
    """Another site: a server that has no images and no data of the first."""
    base = tempfile.mkdtemp(prefix="bloomery-buyer-")
    os.chmod(base, 0o755)
    s = Server(pathlib.Path(base) / "data", conf=ROOM + "stop_grace_seconds = 3\n").start()
    s.s3.create_bucket(Bucket="bucket")
    yield s
    left = s.leftovers()
    s.stop()
    shutil.rmtree(base, ignore_errors=True)
    assert left == []


@pytest.fixture(scope="module")
def imported(buyer, bundle):
    path, said = bundle
    done = buyer.bloomery("product", "import", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["AlgorithmArn"]


def shelf(server):
    at = server.data / "products"
    return sorted(p.name for p in at.iterdir()) if at.exists() else []


def images(server):
    return sorted(i["reference"] for i in json.loads(server.bloomery("image", "list", "--json").stdout))


class Texts(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.outside = [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href", "action", "data", "srcset", "background")]

    def handle_data(self, data):
        self.text += data


def test_what_is_in_it(seller, bundle):
    server, name = seller
    path, said = bundle
    with tarfile.open(path) as tar:
        names = tar.getnames()
        read = lambda n: tar.extractfile(n).read()
        manifest = json.loads(read("manifest.json"))
        report = read("report.html").decode()
        spec = json.loads(read("specification.json"))
        log = read("logs/small/training-1.log").decode()
        objects = json.loads(read("data/small/channel-train/objects.json"))
        content = {o["key"]: read(f"data/small/channel-train/{o['file']}") for o in objects}
        metrics = json.loads(read("metrics/small.json"))
        job = json.loads(read("jobs/small/training-job.json"))
        shown = json.loads(read("outputs/small/transform/objects.json"))
        answers = [read(f"outputs/small/transform/{o['file']}") for o in shown]
        asked = read("data/small/transform-input/000001")
        serving = read("logs/small/transform-1.log").decode()
    assert names[:2] == ["manifest.json", "manifest.sig"]
    assert names[2:] == [f["name"] for f in manifest["files"]] == sorted(names[2:])
    assert {"images/1/image.tar", "images/1/image.json", "images/1/scan.json", "outputs/small/model.tar.gz"} < set(names)
    assert spec["AlgorithmName"] == name and spec["ValidationSpecification"]
    assert content == {"products/x.csv": b"1,2\n", "products/sub/y.csv": b"3,4\n"}
    assert "loss=0.3" in log and job["TrainingJobStatus"] == "Completed"
    [loss] = [m for m in metrics["Metrics"] if m["Name"] == "loss"]
    assert loss["Count"] == 3 and loss["Max"] == 0.3
    digest = server.sm.describe_algorithm(AlgorithmName=name)["TrainingSpecification"]["TrainingImageDigest"]
    assert manifest["about"]["images"][0]["digest"] == digest and manifest["about"]["images"][0]["roles"] == ["training", "inference-1"]
    assert [o["key"] for o in shown] == ["shown/a.csv.out"] and answers == [b"5,6,42\n7,8,42\n"] and asked == b"5,6\n7,8\n"
    assert "serving as" in serving
    page = Texts()
    page.feed(report)
    assert page.outside == [] and not {"script", "link", "img", "iframe", "b", "sheep"} & set(page.tags), set(page.tags)
    assert "counts <sheep> & goats" in page.text and "loss" in page.text and "polyline" in page.tags
    assert job["TrainingJobName"] in page.text and "loss=0.2" in page.text


def test_artifacts_that_are_a_folder(seller, tmp_path):
    server, _ = seller
    name, data = fresh(), "s3://bucket/products/"
    job = training(data, SCRIPT, OutputDataConfig={"S3OutputPath": "s3://bucket/validations", "CompressionType": "NONE"})
    server.call("CreateAlgorithm", {                                   # Debian's client does not know CompressionType
        "AlgorithmName": name, "CertifyForMarketplace": True, "TrainingSpecification": specification(TrainingImage="counter"),
        "ValidationSpecification": validation(job)})
    assert wait(server, name)["AlgorithmStatus"] == "Completed"
    done = server.bloomery("product", "export", name, tmp_path / "p.tar")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "p.tar") as tar:
        [one] = json.load(tar.extractfile("outputs/small/model/objects.json"))
        assert one["key"].endswith("/output/model/w.txt") and tar.extractfile("outputs/small/model/" + one["file"]).read() == b"42\n"


def test_who_is_not_known_is_not_trusted(buyer, bundle):
    path, said = bundle
    done = buyer.bloomery("product", "import", path, "--known")
    assert done.returncode == 1 and said["Seller"] in done.stderr and "product trust" in done.stderr, done.stderr
    assert [n for n in shelf(buyer) if n != "sellers"] == [] and images(buyer) == []
    assert buyer.bloomery("product", "trust", "sha256:12").returncode == 2


def test_what_was_changed_on_the_way_is_refused(buyer, bundle, tmp_path):
    path, said = bundle
    whole = path.read_bytes()
    bad = tmp_path / "bad.tar"

    def refused(content, *words):
        bad.write_bytes(content)
        done = buyer.bloomery("product", "import", bad)
        assert done.returncode == 1, (done.stdout, done.stderr)
        for w in words:
            assert w in done.stderr, done.stderr
        assert shelf(buyer) in ([], ["sellers"])

    def at(name):
        with tarfile.open(path) as tar:
            return tar.getmember(name).offset_data

    def flipped(where):
        return whole[:where] + bytes([whole[where] ^ 1]) + whole[where + 1:]
    for name in ("report.html", "images/1/image.tar", "specification.json", "data/small/channel-train/000001"):
        refused(flipped(at(name) + 3), name, "is not what was signed")
        refused(flipped(at(name) - 512 + 110), name, "is not what was signed")      # its header: the owner
    refused(flipped(at("manifest.json") + 40), "manifest.json")
    refused(flipped(at("manifest.sig") + 40), "has been changed")
    refused(whole[:len(whole) // 2], "cut short")
    refused(whole + b"\0" * 512, "behind its end")
    refused(b"not a product", "no product")
    with tarfile.open(bad, "w") as tar:      # what other archives do
        tar.addfile(tarfile.TarInfo("../../etc/cron.d/x"))
    refused(bad.read_bytes(), "no product")
    assert images(buyer) == []


class Seller:
    """One who signs whatever he likes."""

    def __init__(self, base):
        self.base, self.key = base, base / "key.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key], check=True, capture_output=True)
        der = subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-outform", "DER"], check=True, capture_output=True)
        self.public = der.stdout[-32:]

    def bundle(self, about, files):
        files = dict(sorted(files.items()))
        manifest = json.dumps({"format": "bloomery-product", "version": 1, "about": about, "files": [
            {"name": n, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in files.items()]}).encode()
        (self.base / "text").write_bytes(b"bloomery product 1\n" + manifest)
        subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.key, "-in", self.base / "text",
                        "-out", self.base / "sig"], check=True)
        signature = f"bloomery-product-signature 1\n{self.public.hex()}\n{(self.base / 'sig').read_bytes().hex()}\n".encode()
        path = self.base / "bundle"
        with open(path, "wb") as f:
            for n, b in {"manifest.json": manifest, "manifest.sig": signature, **files}.items():
                f.write(self.header(n, len(b)) + b + bytes(-len(b) % 512))
            f.write(bytes(1024))
        return path

    @staticmethod
    def header(name, size):
        h = bytearray(512)
        h[:len(name)] = name.encode()
        for at, digits, n in ((100, 7, 0o644), (108, 7, 0), (116, 7, 0), (124, 11, size), (136, 11, 0)):
            h[at:at + digits] = b"%0*o" % (digits, n)
        h[156:157], h[257:265], h[148:156] = b"0", b"ustar\x0000", b" " * 8
        h[148:156] = b"%06o\0 " % sum(h)
        return bytes(h)


def test_who_is_trusted_is_not_believed(buyer, bundle, tmp_path):
    """A seller who is known, and whose bundles are signed as they should be, and hold what they should not."""
    path, said = bundle
    evil = Seller(tmp_path)
    with tarfile.open(path) as tar:
        good = {n: tar.extractfile(n).read() for n in tar.getnames()[2:] if n.startswith("images/")}
        about = json.loads(tar.extractfile("manifest.json").read())["about"]
    before = images(buyer), [n for n in shelf(buyer) if n != "sellers"]

    def refused(word, about, files):
        done = buyer.bloomery("product", "import", evil.bundle(about, files))
        assert done.returncode == 1 and word in done.stderr, (done.returncode, done.stdout, done.stderr)
        assert [n for n in shelf(buyer) if n != "sellers"] == before[1]

    def but(path, value):
        a = json.loads(json.dumps(about))
        at = a
        for p in path[:-1]:
            at = at[p]
        at[path[-1]] = value
        return a
    refused("makes no sense", but(["images", 0, "directory"], "../../jobs"), good)
    refused("makes no sense", but(["images", 0, "directory"], "images/2"), good)
    refused("makes no sense", but(["images", 0, "roles"], ["training", "training"]), good)
    refused("no training image", but(["images", 0, "roles"], ["inference-1"]), good)
    refused("makes no sense", but(["images", 0, "roles"], ["training", "inference-9"]), good)
    refused("is not in it", but(["images", 0, "roles"], ["training"]), good)
    refused("no images", but(["images"], []), good)
    refused("what its algorithm is", but(["request"], 7), good)
    refused("name", but(["algorithm"], "../../x"), good)
    refused("rules of algorithms", but(["request", "TrainingSpecification", "SupportedHyperParameters", 1, "DefaultValue"], "many"), good)
    refused("rules of algorithms", but(["request", "TrainingSpecification", "MetricDefinitions", 0, "Regex"], "("), good)
    refused("rules of algorithms", but(["request", "TrainingSpecification", "TrainingChannels"], "none"), good)
    refused("not in the product", but(["request", "TrainingSpecification", "AdditionalS3DataSource"],
                                      {"S3DataType": "S3Object", "S3Uri": "s3://bucket/buyers/secret"}), good)
    refused("not in the product", but(["request", "InferenceSpecification", "Containers", 0, "ModelDataUrl"], "s3://bucket/x"), good)
    refused("image 1", about, {**good, "images/1/image.json": b"{}"})
    refused("image 1", about, {**good, "images/1/image.tar": b"no archive" * 100})
    refused("image 1", about, {n: b for n, b in good.items() if n != "images/1/image.tar"})
    refused("a name that it may not have", about, {**good, "../../../etc/cron.d/x": b"x"})
    assert images(buyer) == before[0]
    # a digest that is somebody else's is not taken for it
    claim = json.loads(good["images/1/image.json"])
    claim["digest"] = "sha256:" + "ab" * 32
    done = buyer.bloomery("product", "import", evil.bundle(about, {**good, "images/1/image.json": json.dumps(claim).encode()}))
    assert done.returncode == 0, done.stderr
    assert not [i for i in json.loads(buyer.bloomery("image", "list", "--json").stdout) if i["digest"] == claim["digest"]]
    assert buyer.bloomery("product", "remove", done.stdout.strip()).returncode == 0
    assert (images(buyer), [n for n in shelf(buyer) if n != "sellers"]) == before


def test_it_is_used_by_its_arn(buyer, bundle, imported):
    path, said = bundle
    assert imported == said["AlgorithmArn"]
    d = buyer.sm.describe_algorithm(AlgorithmName=imported)
    assert d["AlgorithmArn"] == imported and d["AlgorithmStatus"] == "Completed" and d["AlgorithmDescription"] == "counts <sheep> & goats"
    assert d["ProductId"] == said["Name"].split("-")[-1] and "ValidationSpecification" not in d
    assert imported in [a["AlgorithmArn"] for a in buyer.sm.list_algorithms()["AlgorithmSummaryList"]]
    data = buyer.put("mine/", {"x.csv": b"9,9\n"})
    r = buyer.request("echo loss=0.5; echo 7 > /opt/ml/model/w.txt; ls /sys/class/net | tr '\\n' ' '; cat /opt/ml/input/data/train/x.csv", channels={"train": data})
    r["AlgorithmSpecification"] = {"AlgorithmName": imported, "TrainingInputMode": "File"}
    r["InputDataConfig"][0]["ContentType"] = "text/csv"
    buyer.sm.create_training_job(**r)
    job = buyer.wait(r["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job
    assert job["EnableNetworkIsolation"] is True and job["AlgorithmSpecification"]["AlgorithmName"] == imported
    assert job["FinalMetricDataList"][0]["MetricName"] == "loss"
    log = buyer.bloomery("logs", r["TrainingJobName"]).stdout
    assert "9,9" in log and "eth0" not in log and "lo" in log, log
    # it keeps the rules of its specification
    bad = {**r, "TrainingJobName": fresh(), "HyperParameters": {"script": "true", "epochs": "1000"}}
    refusal(buyer.sm.create_training_job, "epochs", "1000", **bad)
    serve_what_it_learnt(buyer, imported, job)


def serve_what_it_learnt(buyer, arn, job):
    """A package of the product and the buyer's own model; a model of that; a transform by that."""
    package = buyer.sm.create_model_package(ModelPackageName=fresh(), SourceAlgorithmSpecification={"SourceAlgorithms": [
        {"AlgorithmName": arn, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}]})["ModelPackageArn"]
    name = fresh()
    buyer.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": package})
    assert buyer.sm.describe_model(ModelName=name)["EnableNetworkIsolation"] is True
    r = request(name, buyer.put("buyers/", {"b.csv": b"9\n8\n7\n"}))
    buyer.sm.create_transform_job(**r)
    d = transformed(buyer, r["TransformJobName"])
    assert d["TransformJobStatus"] == "Completed", d
    prefix = r["TransformOutput"]["S3OutputPath"].split("/", 3)[3]
    assert buyer.s3.get_object(Bucket="bucket", Key=prefix + "/b.csv.out")["Body"].read() == b"9,7\n8,7\n7,7\n"
    buyer.sm.delete_model(ModelName=name)
    buyer.sm.delete_model_package(ModelPackageName=package)


def test_it_can_only_be_read(buyer, imported):
    name = imported.split("/")[1]
    assert refusal(buyer.sm.describe_algorithm, AlgorithmName=name).endswith("does not exist.")
    assert refusal(buyer.sm.delete_algorithm, AlgorithmName=name).endswith("does not exist.")
    assert buyer.sm.describe_algorithm(AlgorithmName=imported)["AlgorithmArn"] == imported
    done = buyer.bloomery("product", "export", imported, "/dev/null")
    assert done.returncode == 1 and "its seller's to export" in done.stderr


def test_its_images_are_only_used_by_it(buyer, imported):
    """Whoever names them would get round the isolation."""
    image = f"product/{imported.split('/')[1]}-1"
    digest = json.loads(buyer.bloomery("image", "list", "--json").stdout)[0]["digest"]
    for name in (image, image + ":latest", "x@" + digest):
        refusal(buyer.sm.create_training_job, "belongs to a product", **buyer.request("true", image=name))
        refusal(buyer.sm.create_model, "belongs to a product", ModelName=fresh(), ExecutionRoleArn=ROLE, PrimaryContainer={"Image": name})
        refusal(buyer.sm.create_algorithm, "belongs to a product", AlgorithmName=fresh(),
                TrainingSpecification=specification(TrainingImage=name))


def test_what_is_not_subscribed_to(buyer, server):
    r = buyer.request("true")
    arn = "arn:aws:sagemaker:us-east-1:123456789012:algorithm/never-heard-of-0123456789abcdef0123456789abcdef"
    r["AlgorithmSpecification"] = {"AlgorithmName": arn, "TrainingInputMode": "File"}
    assert refusal(buyer.sm.create_training_job, **r) == "Caller is not subscribed to the marketplace offering."


def test_what_is_not_certified_is_not_exported(server, tmp_path):
    name = fresh()
    server.sm.create_algorithm(AlgorithmName=name, TrainingSpecification=specification())
    done = server.bloomery("product", "export", name, tmp_path / "x")
    assert done.returncode == 1 and "CertifyForMarketplace" in done.stderr and os.listdir(tmp_path) == []
    server.sm.delete_algorithm(AlgorithmName=name)
    done = server.bloomery("product", "export", name, tmp_path / "x")
    assert done.returncode == 1 and "does not exist" in done.stderr


def test_it_stays_over_restarts_and_goes_whole(buyer, bundle, imported):
    path, said = bundle
    again = buyer.bloomery("product", "import", path, "--json")      # its seller is known now
    assert again.returncode == 0 and json.loads(again.stdout)["New"] is False
    [listed] = json.loads(buyer.bloomery("product", "list", "--json").stdout)
    assert listed["arn"] == imported and listed["seller"] == said["Seller"]
    assert images(buyer) == [f"product/{said['Name']}-1:latest"]
    buyer.stop()
    buyer.start()
    assert buyer.sm.describe_algorithm(AlgorithmName=imported)["AlgorithmStatus"] == "Completed"
    done = buyer.bloomery("product", "remove", imported)
    assert done.returncode == 0, done.stderr
    assert refusal(buyer.sm.describe_algorithm, AlgorithmName=imported).endswith("does not exist.")
    assert images(buyer) == [] and shelf(buyer) == ["sellers"]
    assert buyer.bloomery("product", "remove", imported).returncode == 1


def test_half_an_import_leaves_nothing(buyer, bundle):
    """Killed at any moment: it is there whole, or not at all once the next command has been."""
    path, said = bundle
    for delay in (0.02, 0.05, 0.1, 0.2, 0.4):
        p = subprocess.Popen([BLOOMERY, "product", "import", path, "--data", buyer.data], env=buyer.env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)      # wherever it is by then
        p.send_signal(signal.SIGKILL)
        p.wait()
        listed = json.loads(buyer.bloomery("product", "list", "--json").stdout)
        assert [x["name"] for x in listed] in ([], [said["Name"]])
        if listed:
            assert (buyer.data / "products" / said["Name"] / "report.html").stat().st_size > 1000
    done = buyer.bloomery("product", "import", path)
    assert done.returncode == 0, done.stderr
    assert shelf(buyer) == sorted([said["Name"], "sellers"]) and images(buyer) == [f"product/{said['Name']}-1:latest"]
    assert buyer.sm.describe_algorithm(AlgorithmName=said["AlgorithmArn"])["AlgorithmStatus"] == "Completed"
    assert buyer.bloomery("product", "remove", said["Name"]).returncode == 0
    assert images(buyer) == [] and shelf(buyer) == ["sellers"]
