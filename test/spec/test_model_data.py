# What a model says is what runs: its data in /opt/ml/model, what a package says, and images that stay what they were.
# SPDX-License-Identifier: Apache-2.0
import io
import shutil
import tarfile

import pytest

from conftest import ROLE
from serving import completed, outputs, run, unique

# Answers any record with its VERSION, $A, and the files of the model.
HANDLER = r"""#!/bin/sh
read -r method path rest
n=0
while read -r name value; do
  case $name in [Cc]ontent-[Ll]ength:) n=$(echo $value | tr -d '\r');; esac
  case $name$value in ?) break;; esac
done
head -c $n > /tmp/body.$$
case $method$path in
GET/ping|POST*) printf 'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n';;
*) printf 'HTTP/1.0 404 No\r\n\r\n';;
esac
[ $method = POST ] || exit 0
printf '%s %s[%s]' "$(cat /tmp/body.$$)" VERSION "$A"
cd /opt/ml/model && find . -type f | sort | while read -r f; do printf ' %s=%s' "$f" "$(cat "$f")"; done
echo
"""
SERVE = "#!/bin/sh\nexec nc -ll -p 8080 -e /bin/handler\n"


@pytest.fixture(scope="module")
def import_files(server, rootfs, tmp_path_factory):
    def import_files(version):
        root = tmp_path_factory.mktemp("files") / "root"
        shutil.copytree(rootfs, root, symlinks=True)
        for leaf, text in (("bin/handler", HANDLER.replace("VERSION", version)), ("usr/local/bin/serve", SERVE)):
            (root / leaf).write_text(text)
            (root / leaf).chmod(0o755)
        done = server.bloomery("image", "import", "files", root)
        assert done.returncode == 0, done.stderr
    return import_files


@pytest.fixture(scope="module")
def files(server, import_files):
    import_files("v1")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("w.txt", "code/x.py"):
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"42"))
    return server.put("model-data/", {"model.tar.gz": archive.getvalue(), "model.tar.gz.old": b"beside it", "tree/a": b"1", "tree/sub/b": b"2",
                                      "tree-beside": b"3", "not.tar.gz": b"plain text", "in/x": b"rec"})


def data(uri, kind, compression="None"):
    return {"ModelDataSource": {"S3DataSource": {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}}}


def make(server, **container):
    name = unique("model")
    server.call("CreateModel", {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": container})
    return name


def package(server, **specification):
    return server.call("CreateModelPackage", {"ModelPackageName": unique("package"), "InferenceSpecification": specification})["ModelPackageArn"]


def answer(server, model, prefix):
    return outputs(server, completed(server, model, prefix + "in/"))["x.out"].decode().rstrip("\n")


def test_every_kind_of_data(server, files):
    for container, want in (({}, ""), ({"ModelDataUrl": files + "model.tar.gz"}, " ./code/x.py=42 ./w.txt=42"),
                            (data(files + "model.tar.gz", "S3Object", "Gzip"), " ./code/x.py=42 ./w.txt=42"),
                            (data(files + "tree/a", "S3Object"), " ./a=1"), (data(files + "model.tar.gz.old", "S3Object"), " ./model.tar.gz.old=beside it"),
                            (data(files + "tree/", "S3Prefix"), " ./a=1 ./sub/b=2")):
        assert answer(server, make(server, Image="files", **container), files) == "rec v1[]" + want, container


def test_data_that_is_no_archive_and_data_that_went(server, files):
    d = run(server, make(server, Image="files", ModelDataUrl=files + "not.tar.gz"), files + "in/")
    assert d["TransformJobStatus"] == "Failed" and files + "not.tar.gz" in d["FailureReason"] and "tar.gz" in d["FailureReason"]
    server.put("model-data/", {"gone.tar.gz": b"x"})
    model = make(server, Image="files", ModelDataUrl=files + "gone.tar.gz")
    server.s3.delete_object(Bucket="bucket", Key="model-data/gone.tar.gz")
    d = run(server, model, files + "in/")
    assert d["TransformJobStatus"] == "Failed" and files + "gone.tar.gz" in d["FailureReason"]


def test_a_package_is_what_it_was(server, files, import_files):
    one = {"Image": "files", "ModelDataUrl": files + "model.tar.gz", "Environment": {"A": "package"}}
    arn = package(server, Containers=[one])
    pinned, overlaid = make(server, ModelPackageName=arn), make(server, ModelPackageName=arn, Environment={"A": "model"})
    loose = make(server, Image="files")
    import_files("v2")                                                  # the name means another image now
    try:
        server.sm.delete_model_package(ModelPackageName=arn)            # the models have what they need
        assert answer(server, pinned, files) == "rec v1[package] ./code/x.py=42 ./w.txt=42"
        assert answer(server, overlaid, files) == "rec v1[model] ./code/x.py=42 ./w.txt=42"
        assert answer(server, loose, files) == "rec v2[]"
    finally:
        import_files("v1")


def test_a_package_of_several_is_a_pipeline(server, files):
    arn = package(server, Containers=[{"Image": "files", "ContainerHostname": "one", "Environment": {"A": "1"}},
                                      {"Image": "files", "ContainerHostname": "two", "Environment": {"A": "2"}, **data(files + "tree/a", "S3Object")}])
    assert answer(server, make(server, ModelPackageName=arn), files) == "rec v1[1] v1[2] ./a=1"
