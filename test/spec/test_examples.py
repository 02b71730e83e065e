# The example trainers: by themselves, then as training jobs. Both must come to the same model.
# SPDX-License-Identifier: Apache-2.0
import csv
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import threading
import time

import pytest

from conftest import ROLE

ROOT = pathlib.Path(__file__).resolve().parents[2]
IRIS = ROOT / "examples/iris"


@pytest.fixture(scope="session")
def iris(tmp_path_factory):
    out = tmp_path_factory.mktemp("iris")
    subprocess.run(["make", "-s", "-C", IRIS, f"OUT={out}"], check=True)
    return out


@pytest.fixture(scope="session")
def python_image(server, tmp_path_factory):
    tar = tmp_path_factory.mktemp("python") / "image.tar"
    done = subprocess.run([ROOT / "examples/python/make-image", tar], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = server.bloomery("image", "import", "python-iris", tar, timeout=300)
    assert done.returncode == 0, done.stderr
    tar.unlink()
    # Building takes about as long as the server keeps idle connections, and these clients do not try twice.
    server.__dict__.pop("clients", None)
    return "python-iris"


@pytest.fixture(scope="session")
def stream_image(server, tmp_path_factory):
    tar = tmp_path_factory.mktemp("stream-image") / "image.tar"
    done = subprocess.run([ROOT / "examples/pipe/make-image", tar], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = server.bloomery("image", "import", "stream", tar, timeout=300)
    assert done.returncode == 0, done.stderr
    tar.unlink()
    server.__dict__.pop("clients", None)      # as above
    return "stream"


class Desk:
    """An /opt/ml of our own, to run a trainer without a container."""

    def __init__(self, base, trainer, iris):
        self.base, self.trainer = base, trainer
        for d in ("input/config", "input/data/train", "input/data/validation", "model", "output"):
            (base / d).mkdir(parents=True)
        for channel in ("train", "validation"):
            (base / f"input/data/{channel}/{channel}.csv").write_bytes((iris / f"{channel}.csv").read_bytes())

    def hyperparameters(self, text):
        (self.base / "input/config/hyperparameters.json").write_text(text if isinstance(text, str) else json.dumps(text))

    def start(self):
        return subprocess.Popen([self.trainer, "train"], env={**os.environ, "ML_BASE": str(self.base)},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self):
        p = self.start()
        out, err = p.communicate(timeout=60)
        return p.returncode, out, err

    @property
    def model(self):
        return json.loads((self.base / "model/model.json").read_text())

    def refusal(self):
        code, _, err = self.run()
        assert code == 1
        why = (self.base / "output/failure").read_text()
        assert why in err
        assert not list((self.base / "model").iterdir())
        return why


@pytest.fixture(params=["iris", "python"])
def desk(request, tmp_path, iris):
    return Desk(tmp_path, iris / "train" if request.param == "iris" else ROOT / "examples/python/train", iris)


def test_the_data_are_fishers():
    rows = list(csv.DictReader(open(IRIS / "iris.csv")))
    assert len(rows) == 150
    species = [r["species"] for r in rows]
    assert species == ["setosa"] * 50 + ["versicolor"] * 50 + ["virginica"] * 50
    sums = {k: round(sum(float(r[k]) for r in rows) * 10) for k in rows[0] if k != "species"}
    assert sums == {"sepal_length": 8765, "sepal_width": 4586, "petal_length": 5637, "petal_width": 1799}
    # the two rows in which a widespread copy differs from the paper
    assert list(rows[34].values()) == ["4.9", "3.1", "1.5", "0.2", "setosa"]
    assert list(rows[37].values()) == ["4.9", "3.6", "1.4", "0.1", "setosa"]


def test_split_is_every_fifth_row(iris):
    whole = (IRIS / "iris.csv").read_text().splitlines()
    train, validation = ((iris / f"{n}.csv").read_text().splitlines() for n in ("train", "validation"))
    assert (len(train), len(validation)) == (121, 31)
    assert train[0] == validation[0] == whole[0]
    assert validation[1:] == whole[5::5]
    assert sorted(train[1:] + validation[1:]) == sorted(whole[1:])


def test_trainer_learns(desk):
    desk.hyperparameters({"epochs": "1000", "learning-rate": "0.5", "l2": "0.001", "sagemaker_job_name": "\"x\""})
    code, out, err = desk.run()
    assert (code, err) == (0, "")
    assert "epoch=1000/1000 train:loss=0.105740 validation:accuracy=0.9333" in out
    assert len(out.splitlines()) < 30
    assert desk.model["classes"] == ["setosa", "versicolor", "virginica"]
    assert desk.model["weights"][2][3] == pytest.approx(4.47751203886, rel=1e-9)
    assert not (desk.base / "output/failure").exists()


def test_trainer_needs_no_hyperparameters_and_no_validation(desk):
    (desk.base / "input/data/validation/validation.csv").unlink()
    (desk.base / "input/data/validation").rmdir()
    code, out, _ = desk.run()
    assert code == 0 and "validation:accuracy" not in out and desk.model["epochs"] == 1000


def test_trainer_saves_when_told_to_stop(desk):
    desk.hyperparameters({"epochs": "900000000"})
    p = desk.start()
    while "epoch=1/" not in p.stdout.readline():
        assert p.poll() is None
    time.sleep(0.2)
    p.send_signal(signal.SIGTERM)
    out, _ = p.communicate(timeout=60)
    assert p.returncode == 0 and "saving what there is" in out
    assert 1 < desk.model["epochs"] < 900000000


@pytest.mark.parametrize("given,why", [
    ({"epochs": "many"}, "hyperparameter epochs is 'many'"),
    ({"epochs": "1.5"}, "whole number"),
    ({"epochs": "0"}, "from 1 to"),
    ({"learning-rate": "nan"}, "hyperparameter learning-rate is 'nan'"),
    ({"learning_rate": "1"}, "there is no hyperparameter 'learning_rate'"),
    ('{"epochs":"5"', ""),
    ('[]', ""),
    ('{"epochs":"5"} x', ""),
])
def test_trainer_refuses_hyperparameters(desk, given, why):
    desk.hyperparameters(given)
    assert why in desk.refusal()


@pytest.mark.parametrize("given", ['{"epochs":5}', '{"epochs":"5","epochs":"6"}', '{"l2":"\\x"}', '{"a":"\\ud800"}',
                                   '{"l2":"0" "epochs":"5"}', '{"l2":"0",}', '', '{"l2":"0\n"}', '{"l2'])
def test_c_parser_is_strict(tmp_path, iris, given):
    desk = Desk(tmp_path, iris / "train", iris)
    desk.hyperparameters(given)
    assert "hyperparameters.json" in desk.refusal()


def test_c_parser_reads_escapes(tmp_path, iris):
    desk = Desk(tmp_path, iris / "train", iris)
    desk.hyperparameters('\n{ "\\u0065pochs" : "\\u0035", "sagemaker_x":"\\ud83d\\udd25\\n\\"\\\\\\/", "_t":"" }\n')
    assert desk.run()[0] == 0
    assert desk.model["epochs"] == 5


@pytest.mark.parametrize("text,why", [
    ("", "train/train.csv"),
    ("a,b,c\n", "no rows"),
    ("a,b,c\n1,2,x\n1,z,y\n", "line 3"),
    ("a,b,c\n1,2,x\n1,2\n", "line 3"),
    ("a,b,c\n1,2,x\n1,2,3,y\n", "line 3"),
    ("a,b,c\n1,inf,x\n1,2,y\n", "line 2"),
    ("a,b,c\n1,2,x\n3,4,x\n", "nothing to tell apart"),
])
def test_trainer_refuses_data(desk, text, why):
    (desk.base / "input/data/train/train.csv").write_text(text)
    assert why in desk.refusal()


def test_trainer_refuses_classes_it_never_saw(desk):
    path = desk.base / "input/data/validation/validation.csv"
    path.write_text(path.read_text() + "1,2,3,4,rose\n")
    assert "'rose' does not occur" in desk.refusal()


# ---- serving ----

ROWS = "5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\r\n5.9,2.8,4.4,1.3"
SERVE = {"iris": lambda iris: iris / "serve", "python": lambda iris: ROOT / "examples/python/serve"}


@pytest.fixture(scope="session")
def model_json(iris, tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("model"), iris / "train", iris)
    desk.hyperparameters({})
    assert desk.run()[0] == 0
    return desk.base / "model/model.json"


class Serving:
    def __init__(self, program, base):
        self.p = subprocess.Popen([program, "serve"], env={**os.environ, "ML_BASE": str(base), "SAGEMAKER_BIND_TO_PORT": "0"},
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = self.p.stdout.readline()
        self.port = self.said.rsplit(" ", 1)[-1].strip()

    def ask(self, method, path, body=None, **headers):
        c = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=60)
        c.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}, encode_chunked=not isinstance(body, str))
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text


@pytest.fixture(params=["iris", "python"])
def serving(request, tmp_path, iris, model_json):
    (tmp_path / "model").mkdir()
    shutil.copy(model_json, tmp_path / "model")
    s = Serving(SERVE[request.param](iris), tmp_path)
    assert s.said == f"4 features, 3 classes; listening on port {s.port}\n"
    yield s
    if s.p.poll() is None:
        s.p.send_signal(signal.SIGTERM)
        assert s.p.wait(30) == 0


def test_serving_predicts(serving):
    assert serving.ask("GET", "/ping") == (200, "")
    assert json.loads(serving.ask("GET", "/execution-parameters")[1])["BatchStrategy"] == "MULTI_RECORD"
    want = "setosa,0.996897\nvirginica,0.994613\nversicolor,0.973818\n"
    assert serving.ask("POST", "/invocations", ROWS, Content_Type="text/csv") == (200, want)
    assert serving.ask("POST", "/invocations", iter([ROWS[:9].encode(), ROWS[9:].encode()]), Content_Type="text/csv; charset=utf-8",
                       Accept="*/*", Transfer_Encoding="chunked") == (200, want)
    code, text = serving.ask("POST", "/invocations", ROWS, Accept="application/jsonlines")
    first = json.loads(text.splitlines()[0])
    assert code == 200 and len(text.splitlines()) == 3 and first["class"] == "setosa"
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert serving.ask("POST", "/invocations", "") == (200, "")


@pytest.mark.parametrize("body,headers,code,why", [
    ("1,2,3\n", {}, 400, "row 1: 3 fields instead of 4"),
    ("1,2,3,4\n\n", {}, 400, "row 2: 1 fields instead of 4"),
    ("1,2,3,4\n1,2,x,4\n", {}, 400, "row 2: 'x' is not a number"),
    ("1,2,3,nan\n", {}, 400, "row 1: 'nan' is not a number"),
    ("1,2,,4", {}, 400, "row 1: '' is not a number"),
    ("{}", {"Content_Type": "application/json"}, 415, "takes text/csv"),
    ("1,2,3,4", {"Accept": "image/png"}, 406, "makes text/csv"),
])
def test_serving_refuses(serving, body, headers, code, why):
    got, text = serving.ask("POST", "/invocations", body, **headers)
    assert got == code and why in text
    assert serving.ask("GET", "/ping") == (200, "")
    assert serving.ask("GET", "/nothing")[0] == 404


def test_serving_is_the_same_in_both_languages(tmp_path, iris, model_json):
    """All flowers, and a model that the other language has written."""
    (tmp_path / "model").mkdir()
    m = json.loads(model_json.read_text())
    m["classes"][1] = 'a "b"\\c'
    (tmp_path / "model/model.json").write_text(json.dumps(m, indent=2).replace('\\"', "\\u0022").replace("\\\\", "\\u005c"))
    rows = "".join(",".join(r.split(",")[:4]) + "\n" for r in (IRIS / "iris.csv").read_text().splitlines()[1:])
    answers = []
    for which in SERVE.values():
        s = Serving(which(iris), tmp_path)
        answers.append([s.ask("POST", "/invocations", rows, Accept=a) for a in ("text/csv", "application/jsonlines")])
        s.p.terminate()
        s.p.wait(30)
    assert [code for code, _ in answers[0]] == [200, 200] and answers[0][0][1].count("\n") == 150
    assert answers[0][0] == answers[1][0]
    assert [json.loads(line) for line in answers[0][1][1].splitlines()] == [json.loads(line) for line in answers[1][1][1].splitlines()]


@pytest.mark.parametrize("text", ["", "[]", '{"features": ["a"], "classes": ["x"', '{"mean": [1]}'])
@pytest.mark.parametrize("language", SERVE)
def test_serving_needs_a_model(tmp_path, iris, language, text):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text(text)
    s = Serving(SERVE[language](iris), tmp_path)
    assert s.p.wait(60) == 1 and "model.json" in s.p.stderr.read()


# ---- the trainer that reads a stream ----

PIPE = ROOT / "examples/pipe"
TRUTH = [1.5, -2.0, 0.0, 0.75, 1.0, -0.25, 0.5, -1.25]      # what make-data draws from


@pytest.fixture(scope="session")
def stream_data(tmp_path_factory):
    out = tmp_path_factory.mktemp("stream")
    subprocess.run([PIPE / "make-data", out], check=True)
    return out


def stream_desk(base, channels, hyperparameters=None):
    """The trainer by itself, with the first FIFO of each channel in place."""
    for d in ("input/config", "input/data", "model", "output"):
        (base / d).mkdir(parents=True)
    for channel in channels:
        os.mkfifo(base / f"input/data/{channel}_0")
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters or {}))
    return subprocess.Popen([PIPE / "train", "train"], env={**os.environ, "ML_BASE": str(base)}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def feed(base, channel, data, epochs):
    """Epochs of a Pipe channel as FIFOs, the next one always there before the one before it is read."""
    def run():
        for epoch in range(epochs):
            os.mkfifo(base / f"input/data/{channel}_{epoch + 1}")
            with open(base / f"input/data/{channel}_{epoch}", "wb") as f:
                f.write(data)
    threading.Thread(target=run, daemon=True).start()


def whole(folder):
    return b"".join(p.read_bytes() for p in sorted(folder.iterdir()))


@pytest.fixture(scope="session")
def stream_model(stream_data, tmp_path_factory):
    """What the trainer makes of the data in File mode, by itself: the measure for the others."""
    base = tmp_path_factory.mktemp("filemode") / "ml"
    (base / "input").mkdir(parents=True)
    shutil.copytree(stream_data, base / "input/data")
    for d in ("model", "output"):
        (base / d).mkdir()
    done = subprocess.run([PIPE / "train", "train"], env={**os.environ, "ML_BASE": str(base)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((base / "model/model.json").read_text()), done.stdout.splitlines()


def test_stream_trainer_finds_what_the_data_were_drawn_from(stream_model):
    model, lines = stream_model
    assert model["weights"] == pytest.approx(TRUTH, abs=0.1) and model["bias"] == pytest.approx(-0.5, abs=0.1)
    assert (model["epochs"], model["steps"]) == (5, 5 * 20000 // 20)
    losses = [float(line.split("train:loss=")[1].split()[0]) for line in lines if "train:loss=" in line]
    assert len(losses) == 5 and losses[0] - losses[-1] > 0.01 and lines[-1] == "saved model.json"


def test_data_are_the_same_each_time(stream_data, tmp_path):
    subprocess.run([PIPE / "make-data", tmp_path], check=True)
    assert whole(tmp_path / "train") == whole(stream_data / "train")
    subprocess.run([PIPE / "make-data", tmp_path, "1", "10", "2"], check=True)
    assert whole(tmp_path / "train").count(b"\n") < 20000 and (tmp_path / "train/part-00000.csv").read_text().count("\n") == 10


def test_stream_trainer_reads_fifos_epoch_by_epoch(stream_data, stream_model, tmp_path):
    p = stream_desk(tmp_path, ["validation", "train"], {"sagemaker_program": "\"x\"", "epochs": "5"})
    for channel in ("validation", "train"):
        feed(tmp_path, channel, whole(stream_data / channel), 5)
    out, err = p.communicate(timeout=60)
    assert (p.returncode, err) == (0, "")
    assert json.loads((tmp_path / "model/model.json").read_text()) == stream_model[0], "to the last digit"
    assert out.splitlines()[1:] == stream_model[1][1:]


def test_stream_trainer_saves_when_told_to_stop_while_it_waits_for_data(stream_data, tmp_path):
    p = stream_desk(tmp_path, ["train"])
    with open(tmp_path / "input/data/train_0", "wb") as f:      # opened by both, and nothing comes any more
        f.write(whole(stream_data / "train")[:200000])
        f.flush()
        time.sleep(0.5)
        p.send_signal(signal.SIGTERM)
        out, _ = p.communicate(timeout=60)
    assert p.returncode == 0 and "told to stop after 0 whole epochs" in out
    model = json.loads((tmp_path / "model/model.json").read_text())
    assert model["epochs"] == 0 and 0 < model["steps"] < 1000


@pytest.mark.parametrize("given,data,why", [
    ({"epochs": "0"}, b"1,2,1\n", "hyperparameter epochs is '0'; it must be a whole number from 1 to"),
    ({"epochs": "1.5"}, b"1,2,1\n", "whole number"),
    ({"learning_rate": "1"}, b"1,2,1\n", "there is no hyperparameter 'learning_rate'"),
    ({}, b"a,b,label\n1,2,1\n", "train_0 line 1: could not convert"),
    ({}, b"1,2,1\n1,2,3,1\n", "train_0 line 2 is not 2 finite numbers and a 0 or 1"),
    ({}, b"1,2,1\n1,2,2\n", "line 2 is not 2 finite"),
    ({}, b"1,2,1\n1,inf,1\n", "line 2 is not 2 finite"),
    ({}, b"1,2,11,2,0\n1,2,1\n", "line 2 is not 4 finite"),
    ({}, b"\xff\n", "codec can't decode"),
    ({}, b"", "epoch 0 of channel train has no rows"),
])
def test_stream_trainer_refuses(tmp_path, given, data, why):
    p = stream_desk(tmp_path, ["train"], given)
    feed(tmp_path, "train", data, 1)
    _, err = p.communicate(timeout=30)
    assert p.returncode == 1 and why in err
    assert (tmp_path / "output/failure").read_text() in err and not list((tmp_path / "model").iterdir())


# ---- as training jobs ----

def upload(server, iris):
    return {c: server.put(f"iris/{c}/", {f"{c}.csv": (iris / f"{c}.csv").read_bytes()}) for c in ("train", "validation")}


def check_job(server, d):
    lines = server.logs(d["TrainingJobName"])
    assert "epoch=1000/1000 train:loss=0.105740 validation:accuracy=0.9333" in lines
    assert not any("had to be copied" in line for line in lines)      # linked: the store is on the same file system
    with tarfile.open(fileobj=io.BytesIO(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) as t:
        assert t.getnames() == ["model.json"]
        model = json.load(t.extractfile("model.json"))
    assert model["validation_accuracy"] == pytest.approx(28 / 30, abs=1e-6)


def test_iris_as_a_job(server, iris):
    assert server.bloomery("image", "import", "iris", iris / "image.tar").returncode == 0
    channels = upload(server, iris)
    d = server.completed(image="iris", channels=channels, HyperParameters={"epochs": "1000", "learning-rate": "0.5"})
    check_job(server, d)
    why = server.failed(image="iris", channels=channels, HyperParameters={"epochs": "-1"})
    assert why == "AlgorithmError: hyperparameter epochs is '-1'; it must be a number from 1 to 1e+09, exit code: 1"


def test_python_as_a_job(server, iris, python_image):
    check_job(server, server.completed(image=python_image, channels=upload(server, iris)))


def test_iris_stopped_as_a_job_keeps_its_model(server, iris):
    assert server.bloomery("image", "import", "iris", iris / "image.tar").returncode == 0
    name = server.create(image="iris", channels=upload(server, iris), HyperParameters={"epochs": "900000000"})
    server.wait(name, until={"Training"})
    while not server.logs_or_nothing(name):
        time.sleep(0.05)
    server.sm.stop_training_job(TrainingJobName=name)
    d = server.wait(name)
    assert d["TrainingJobStatus"] == "Stopped"
    with tarfile.open(fileobj=io.BytesIO(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) as t:
        assert t.getnames() == ["model.json"]


@pytest.mark.parametrize("mode", ["File", "Pipe", "FastFile"])
def test_stream_as_a_job(server, stream_image, stream_data, stream_model, mode):
    channels = {c: server.put(f"stream/{c}/", {p.name: p.read_bytes() for p in (stream_data / c).iterdir()})
                for c in ("train", "validation")}
    d = server.completed(image=stream_image, channels=channels, AlgorithmSpecification={"TrainingInputMode": mode})
    lines = [line for line in server.logs(d["TrainingJobName"]) if line.startswith("epoch=")]
    assert lines == [line for line in stream_model[1] if line.startswith("epoch=")]
    with tarfile.open(fileobj=io.BytesIO(server.artifact(d["ModelArtifacts"]["S3ModelArtifacts"]))) as t:
        assert t.getnames() == ["model.json"]
        assert json.load(t.extractfile("model.json")) == stream_model[0], "to the last digit"


# ---- as transform jobs ----

def transformed(server, model, prefix, **output):
    """The answers of a transform job, by their keys below S3OutputPath."""
    out = f"s3://bucket/answers/{model}"
    server.sm.create_transform_job(
        TransformJobName=model, ModelName=model, TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": prefix}}, "ContentType": "text/csv",
                        "SplitType": "Line"}, TransformOutput={"S3OutputPath": out, "AssembleWith": "Line", **output})
    end = time.monotonic() + 120
    while (d := server.sm.describe_transform_job(TransformJobName=model))["TransformJobStatus"] == "InProgress":
        assert time.monotonic() < end, server.tail()
        time.sleep(0.05)
    found = server.s3.list_objects_v2(Bucket="bucket", Prefix=f"answers/{model}/").get("Contents", [])
    return d, {o["Key"].split("/", 2)[2]: server.s3.get_object(Bucket="bucket", Key=o["Key"])["Body"].read().decode() for o in found}


def flowers(server, iris):
    rows = [line.rsplit(",", 1) for line in (iris / "validation.csv").read_text().splitlines()[1:]]
    server.put("flowers/", {"a.csv": "".join(x + "\n" for x, _ in rows[:20]).encode(), "more/b.csv": "\n".join(x for x, _ in rows[20:]).encode()})
    return [label for _, label in rows]


@pytest.mark.parametrize("image", ["iris", "python"])
def test_trained_and_served_as_jobs(server, iris, image, request):
    if image == "python":
        image = request.getfixturevalue("python_image")
    else:
        assert server.bloomery("image", "import", "iris", iris / "image.tar").returncode == 0
    labels = flowers(server, iris)
    d = server.completed(image=image, channels=upload(server, iris))
    name = d["TrainingJobName"]
    server.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
        "Image": image, "ModelDataUrl": d["ModelArtifacts"]["S3ModelArtifacts"]})
    d, answers = transformed(server, name, "s3://bucket/flowers/", Accept="text/csv")
    assert d["TransformJobStatus"] == "Completed", (d, server.tail())
    assert sorted(answers) == ["a.csv.out", "more/b.csv.out"]
    got = (answers["a.csv.out"] + answers["more/b.csv.out"]).splitlines()
    assert len(got) == 30 and sum(line.split(",")[0] == label for line, label in zip(got, labels)) == 28


def test_a_bad_row_is_named_by_the_job(server, iris):
    assert server.bloomery("image", "import", "iris", iris / "image.tar").returncode == 0
    d = server.completed(image="iris", channels=upload(server, iris))
    name = d["TrainingJobName"]
    server.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={
        "Image": "iris", "ModelDataUrl": d["ModelArtifacts"]["S3ModelArtifacts"]})
    prefix = server.put(f"rows/{name}/", {"bad.csv": b"1,2,3,4\n1,2,3,4\n1,2,rose,4\n1,2,3,4\n", "good.csv": b"5.1,3.5,1.4,0.2\n"})
    d, answers = transformed(server, name, prefix)
    assert d["TransformJobStatus"] == "Failed" and answers == {"good.csv.out": "setosa,0.996897\n"}
    for word in ("ClientError", "bad.csv", "record 3 at byte 16", "'rose' is not a number"):
        assert word in d["FailureReason"]
