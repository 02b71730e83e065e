# The example trainers: by themselves, then as training jobs. Both must come to the same model.
# SPDX-License-Identifier: Apache-2.0
import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

import pytest

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
    out, _ = p.communicate(timeout=10)
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
