# The embedded object store through the clients people have: Debian's aws CLI and boto3, and requests by hand where a
# client would not send what a test needs.
# SPDX-License-Identifier: Apache-2.0
import base64
import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree
import zlib

import boto3.s3.transfer
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import pytest

MB = 1 << 20
ODD_KEYS = ["plain.txt", "with blank", "plus+and&amp;", "ünïcödé/日本.txt", "a//b", "../up", "/lead", "trail/", "q?x=1#frag",
            "percent%20%zz", "'quote\"s", "tab\tand\nnewline", "<xml>", "💩", "k" * 1024, "."]


@pytest.fixture
def bucket(server):
    name = "s3-" + uuid.uuid4().hex[:16]
    server.s3.create_bucket(Bucket=name)
    return name


def refused(code, status, call, *a, **kw):
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(*a, **kw)
    assert (e.value.response["Error"]["Code"], e.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    return e.value.response


def keys_of(s3, bucket, **kw):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **kw)
    return [o["Key"] for p in pages for o in p.get("Contents", [])]


def raw(server, method, path, body=b"", headers=None, payload_hash=None, secret=None, when=None, region=None,
        pairs=False):
    """One request signed by hand: (status, headers, body)."""
    host = server.url.removeprefix("http://")
    now = when or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
    h = {"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash,
         **{k.lower(): v for k, v in (headers or {}).items()}}
    bare, _, query = path.partition("?")
    names = ";".join(sorted(h))
    canonical = "\n".join([method, bare, "&".join(sorted(q if "=" in q else q + "=" for q in query.split("&") if q)),
                           *(f"{k}:{h[k].strip()}" for k in sorted(h)), "", names, payload_hash])
    scope = f"{day}/{region or server.exports['AWS_REGION']}/s3/aws4_request"
    key = b"AWS4" + (secret or server.exports["AWS_SECRET_ACCESS_KEY"]).encode()
    for piece in scope.split("/"):
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    h["authorization"] = (f"AWS4-HMAC-SHA256 Credential={server.exports['AWS_ACCESS_KEY_ID']}/{scope}, "
                          f"SignedHeaders={names}, Signature={signature}")
    if callable(body):
        body = body(key, stamp, scope, signature)
    conn = http.client.HTTPConnection(host, timeout=60)
    try:
        conn.request(method, path, body=body, headers=h, encode_chunked="transfer-encoding" in h)
        r = conn.getresponse()
        return r.status, r.getheaders() if pairs else dict(r.getheaders()), r.read()
    finally:
        conn.close()


def code_of(body):
    return re.search(rb"<Code>(\w+)</Code>", body)[1].decode()


# ---- the aws CLI ----

def test_cli_mb_cp_ls_sync_rm(server, tmp_path):
    bucket = "cli-" + uuid.uuid4().hex[:12]
    tree = tmp_path / "tree"
    for name in ["a.txt", "dir/b.txt", "dir/sub/c with blank.txt", "dir/ü.txt"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    big = os.urandom(40 * MB + 1)
    (tree / "big").write_bytes(big)

    def aws(*args, code=0):
        done = server.aws("s3", *args)
        assert done.returncode == code, done.stderr
        return done.stdout

    assert aws("mb", f"s3://{bucket}") == f"make_bucket: {bucket}\n"
    aws("sync", "--no-progress", tree, f"s3://{bucket}/t/")
    assert aws("sync", tree, f"s3://{bucket}/t/") == "", "a second sync has nothing to do"
    listing = [line.split(None, 3) for line in aws("ls", "--recursive", f"s3://{bucket}").splitlines()]
    assert {(x[3], int(x[2])) for x in listing} == {("t/" + str(p.relative_to(tree)), p.stat().st_size)
                                                    for p in tree.rglob("*") if p.is_file()}
    top = aws("ls", f"s3://{bucket}/t/")
    assert "PRE dir/" in top and "a.txt" in top and "b.txt" not in top
    aws("cp", "--no-progress", f"s3://{bucket}/t/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big
    aws("sync", "--no-progress", f"s3://{bucket}/t/", tmp_path / "out")
    assert {p.relative_to(tree) for p in tree.rglob("*")} == {p.relative_to(tmp_path / "out")
                                                              for p in (tmp_path / "out").rglob("*")}
    aws("mv", f"s3://{bucket}/t/a.txt", f"s3://{bucket}/moved")
    assert aws("cp", f"s3://{bucket}/moved", "-") == "a.txt"
    aws("cp", f"s3://{bucket}/t/big", f"s3://{bucket}/copied")
    assert server.s3.head_object(Bucket=bucket, Key="copied")["ContentLength"] == len(big)
    aws("rb", f"s3://{bucket}", code=1)
    aws("rm", "--recursive", f"s3://{bucket}/t/")
    assert keys_of(server.s3, bucket) == ["copied", "moved"]
    aws("rb", "--force", f"s3://{bucket}")
    refused("404", 404, server.s3.head_bucket, Bucket=bucket)


def test_cli_streams_from_stdin(server, bucket):
    data = os.urandom(9 * MB)
    done = subprocess.run(["/usr/bin/aws", "--endpoint-url", server.url, "s3", "cp", "-", f"s3://{bucket}/in"], input=data,
                          env=server.env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert server.s3.get_object(Bucket=bucket, Key="in")["Body"].read() == data


# ---- buckets ----

def test_buckets(server):
    s3, name = server.s3, "b-" + uuid.uuid4().hex[:12]
    refused("404", 404, s3.head_bucket, Bucket=name)
    s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)           # one's own again, as in us-east-1
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.head_bucket(Bucket=name, ExpectedBucketOwner="000000000000")
    refused("403", 403, s3.head_bucket, Bucket=name, ExpectedBucketOwner="111111111111")
    assert "Status" not in s3.get_bucket_versioning(Bucket=name)
    assert s3.get_bucket_acl(Bucket=name)["Grants"][0]["Permission"] == "FULL_CONTROL"
    refused("NoSuchBucketPolicy", 404, s3.get_bucket_policy, Bucket=name)
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket=name)
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket=name)


@pytest.mark.parametrize("name", ["ab", "Upper", "a_b", "192.168.1.1", "x" * 64, "dots..twice", "-dash"])
def test_bucket_names_that_are_none(server, name):
    status, _, body = raw(server, "PUT", "/" + name)
    assert (status, code_of(body)) == (400, "InvalidBucketName")


@pytest.mark.parametrize("call, kw, what", [
    ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}, "versioning"),
    ("put_bucket_policy", {"Policy": "{}"}, "policy"),
    ("list_object_versions", {}, "versions"),
    ("put_object_tagging", {"Key": "k", "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}, "tagging"),
    ("put_object", {"Key": "k", "Body": b"", "Tagging": "a=b"}, "x-amz-tagging"),
    ("put_object", {"Key": "k", "Body": b"", "StorageClass": "GLACIER"}, "GLACIER"),
])
def test_what_is_not_there_is_refused_by_name(server, bucket, call, kw, what):
    answer = refused("NotImplemented", 501, getattr(server.s3, call), Bucket=bucket, **kw)
    assert what in answer["Error"]["Message"]
    assert keys_of(server.s3, bucket) == []


def test_acl_header(server, bucket):
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    refused("AccessControlListNotSupported", 400, server.s3.put_object, Bucket=bucket, Key="k", Body=b"", ACL="public-read")


# ---- objects ----

@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_any_key(server, bucket, key):
    s3 = server.s3
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert keys_of(s3, bucket) == [key]
    assert keys_of(s3, bucket, Prefix=key[:-1]) == [key]
    s3.copy_object(Bucket=bucket, Key=key[:1000] + "2", CopySource={"Bucket": bucket, "Key": key})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}, {"Key": key[:1000] + "2"}]})
    assert keys_of(s3, bucket) == []


def test_keys_that_are_none(server, bucket):
    refused("KeyTooLongError", 400, server.s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"")
    status, _, body = raw(server, "PUT", f"/{bucket}/bad%FF")
    assert (status, code_of(body)) == (400, "InvalidURI")


def test_metadata_comes_back(server, bucket):
    s3 = server.s3
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    s3.put_object(Bucket=bucket, Key="k", Body=b"{}", ContentType="application/json", ContentEncoding="identity",
                  CacheControl="no-cache", ContentDisposition='attachment; filename="a b"', ContentLanguage="de",
                  Expires=expires, Metadata={"Colour": "blue; green"})
    for answer in s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k"):
        assert answer["ContentType"] == "application/json" and answer["ContentEncoding"] == "identity"
        assert answer["CacheControl"] == "no-cache" and answer["ContentDisposition"] == 'attachment; filename="a b"'
        assert answer["ContentLanguage"] == "de" and answer["Expires"] == expires
        assert answer["Metadata"] == {"colour": "blue; green"} and answer["ContentLength"] == 2
        assert abs((answer["LastModified"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 60
    answer = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/x", ResponseCacheControl="max-age=1")
    assert (answer["ContentType"], answer["CacheControl"]) == ("text/x", "max-age=1")
    s3.put_object(Bucket=bucket, Key="bare", Body=b"")
    assert s3.head_object(Bucket=bucket, Key="bare")["ContentType"] == "binary/octet-stream"
    refused("MetadataTooLarge", 400, s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"k": "v" * 2100})


def test_ranges_and_conditions(server, bucket):
    s3 = server.s3
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")["ETag"]

    def get(**kw):
        return s3.get_object(Bucket=bucket, Key="k", **kw)

    for asked, want in {"bytes=2-4": b"234", "bytes=7-": b"789", "bytes=-3": b"789", "bytes=0-99": b"0123456789",
                        "bytes=-99": b"0123456789"}.items():
        answer = get(Range=asked)
        assert answer["Body"].read() == want and answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        start = b"0123456789".index(want)
        assert answer["ContentRange"] == f"bytes {start}-{start + len(want) - 1}/10"
    for asked in "bytes=4-2", "bytes=1-2,4-5", "lines=1-2":      # not understood: as if it were not there
        answer = get(Range=asked)
        assert answer["Body"].read() == b"0123456789" and answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    refused("InvalidRange", 416, get, Range="bytes=10-")
    past, future = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=h) for h in (-1, 1))
    assert get(IfMatch=etag)["Body"].read() == b"0123456789"
    refused("PreconditionFailed", 412, get, IfMatch='"0"')
    refused("304", 304, get, IfNoneMatch=etag)
    assert get(IfNoneMatch='"0"')["ETag"] == etag
    refused("304", 304, get, IfModifiedSince=future)
    refused("PreconditionFailed", 412, get, IfUnmodifiedSince=past)
    assert get(IfMatch=etag, IfUnmodifiedSince=past)["ETag"] == etag     # RFC 9110: the ETag decides
    refused("404", 404, s3.head_object, Bucket=bucket, Key="none")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="none")


def test_conditional_put(server, bucket):
    path = f"/{bucket}/once"
    assert raw(server, "PUT", path, b"one", {"If-None-Match": "*"})[0] == 200
    status, _, body = raw(server, "PUT", path, b"two", {"If-None-Match": "*"})
    assert (status, code_of(body)) == (412, "PreconditionFailed")
    assert server.s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"one"
    etag = hashlib.md5(b"one").hexdigest()
    assert raw(server, "PUT", path, b"two", {"If-Match": f'"{etag}"'})[0] == 200
    assert raw(server, "PUT", path, b"three", {"If-Match": f'"{etag}"'})[0] == 412


def test_a_hundred_writers_of_one_key(server, bucket):
    def put(i):
        raw(server, "PUT", f"/{bucket}/same", str(i).encode() * 1000)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(100)))
    got = server.s3.get_object(Bucket=bucket, Key="same")
    body = got["Body"].read()
    assert got["ETag"].strip('"') == hashlib.md5(body).hexdigest() and len(set(body.split(body[:1]))) <= 3


def test_copy(server, bucket):
    s3 = server.s3
    put = s3.put_object(Bucket=bucket, Key="from", Body=b"bytes", ContentType="text/x", Metadata={"a": "1"})
    assert s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from")["CopyObjectResult"]["ETag"] == put["ETag"]
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"a": "1"})
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from", MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"b": "2"}
    s3.delete_object(Bucket=bucket, Key="from")
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"bytes"
    refused("InvalidRequest", 400, s3.copy_object, Bucket=bucket, Key="to", CopySource=f"{bucket}/to")
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/to", MetadataDirective="REPLACE", Metadata={})
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"bytes"
    refused("NoSuchKey", 404, s3.copy_object, Bucket=bucket, Key="x", CopySource=f"{bucket}/none")
    refused("NoSuchBucket", 404, s3.copy_object, Bucket=bucket, Key="x", CopySource="no-such-bucket-here/none")
    refused("PreconditionFailed", 412, s3.copy_object, Bucket=bucket, Key="x", CopySource=f"{bucket}/to",
            CopySourceIfMatch='"0"')


def test_delete_objects(server, bucket):
    s3 = server.s3
    for i in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k0"}, {"Key": "none"}, {"Key": "k1"}]})
    assert [d["Key"] for d in answer["Deleted"]] == ["k0", "none", "k1"] and "Errors" not in answer
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k2"}], "Quiet": True})
    assert "Deleted" not in answer
    assert keys_of(s3, bucket) == ["k3", "k4"]
    refused("MalformedXML", 400, s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": f"{i}"} for i in range(1001)]})
    bomb = (b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "kkkkkkkkkk"><!ENTITY b "&a;&a;&a;&a;">]>'
            b"<Delete><Object><Key>&b;</Key></Object></Delete>")
    for xml in b"", b"<Delete", b"<Other/>", b"<Delete><Object/></Delete>", b"<Delete><Object><Key></Key></Object></Delete>", bomb:
        status, _, body = raw(server, "POST", f"/{bucket}?delete", xml)
        assert (status, code_of(body)) == (400, "MalformedXML")


# ---- lists ----

def test_list_pages_and_folds(server, bucket):
    s3 = server.s3
    names = sorted(f"d{i % 7}/f{i:03}" for i in range(60)) + ["top"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    assert keys_of(s3, bucket, PaginationConfig={"PageSize": 7}) == names
    assert keys_of(s3, bucket, StartAfter="d3/") == [n for n in names if n > "d3/"]
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/",
                                                             PaginationConfig={"PageSize": 3}))
    assert [p["Prefix"] for q in pages for p in q.get("CommonPrefixes", [])] == [f"d{i}/" for i in range(7)]
    assert [o["Key"] for q in pages for o in q.get("Contents", [])] == ["top"]
    assert [q["KeyCount"] for q in pages] == [3, 3, 2] and [q["IsTruncated"] for q in pages] == [True, True, False]
    pages = list(s3.get_paginator("list_objects").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}))
    assert [p["Prefix"] for q in pages for p in q.get("CommonPrefixes", [])] == [f"d{i}/" for i in range(7)]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense!")
    one = s3.list_objects_v2(Bucket=bucket, Prefix="top")["Contents"][0]
    assert one["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"' and one["Size"] == 1 and one["StorageClass"] == "STANDARD"


# ---- multipart ----

def test_upload_and_download_of_a_big_file(server, bucket, tmp_path):
    data = os.urandom(33 * MB + 5)
    (tmp_path / "f").write_bytes(data)
    config = boto3.s3.transfer.TransferConfig(multipart_chunksize=8 * MB, max_concurrency=6)
    server.s3.upload_file(str(tmp_path / "f"), bucket, "f", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
    head = server.s3.head_object(Bucket=bucket, Key="f")
    md5s = b"".join(hashlib.md5(data[i:i + 8 * MB]).digest() for i in range(0, len(data), 8 * MB))
    assert head["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-5"' and head["Metadata"] == {"a": "b"}
    server.s3.download_file(bucket, "f", str(tmp_path / "g"), Config=config)
    assert (tmp_path / "g").read_bytes() == data
    part = server.s3.get_object(Bucket=bucket, Key="f", PartNumber=5)
    assert part["Body"].read() == data[32 * MB:] and part["PartsCount"] == 5


def begin(s3, bucket, key="m", **kw):
    return {"Bucket": bucket, "Key": key, "UploadId": s3.create_multipart_upload(Bucket=bucket, Key=key, **kw)["UploadId"]}


def test_parts_in_any_order_sent_again_and_left_out(server, bucket):
    s3 = server.s3
    up = begin(s3, bucket)
    size = 5 * MB
    bodies = {n: os.urandom(size) for n in (1, 2, 3)} | {4: b"tail", 9: b"never listed"}
    etags = {n: s3.upload_part(**up, PartNumber=n, Body=bodies[n])["ETag"] for n in (3, 1, 9, 4, 2)}
    bodies[2] = os.urandom(size + 77)       # again, and longer than its place
    etags[2] = s3.upload_part(**up, PartNumber=2, Body=bodies[2])["ETag"]
    listed = s3.list_parts(**up, MaxParts=3)
    assert [p["PartNumber"] for p in listed["Parts"]] == [1, 2, 3] and listed["IsTruncated"]
    assert [p["Size"] for p in s3.list_parts(**up, PartNumberMarker=3)["Parts"]] == [4, 12]
    parts = [{"PartNumber": n, "ETag": etags[n]} for n in (1, 2, 3, 4)]
    done = s3.complete_multipart_upload(**up, MultipartUpload={"Parts": parts})
    whole = b"".join(bodies[n] for n in (1, 2, 3, 4))
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == whole
    # The answer may have been lost on its way: asking again gives it again.
    again = s3.complete_multipart_upload(**up, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    refused("NoSuchUpload", 404, s3.upload_part, **up, PartNumber=1, Body=b"")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_completion_checks(server, bucket):
    s3 = server.s3
    up = begin(s3, bucket)
    small = [{"PartNumber": n, "ETag": s3.upload_part(**up, PartNumber=n, Body=b"small")["ETag"]} for n in (1, 2)]

    def complete(parts):
        return lambda: s3.complete_multipart_upload(**up, MultipartUpload={"Parts": parts})

    refused("EntityTooSmall", 400, complete(small))
    refused("InvalidPartOrder", 400, complete(small[::-1]))
    refused("InvalidPart", 400, complete([{"PartNumber": 1, "ETag": '"0"'}]))
    refused("InvalidPart", 400, complete([{"PartNumber": 7, "ETag": small[0]["ETag"]}]))
    refused("MalformedXML", 400, complete([]))
    refused("InvalidArgument", 400, s3.upload_part, **up, PartNumber=10001, Body=b"")
    refused("NoSuchUpload", 404, s3.upload_part, **{**up, "UploadId": "0" * 32}, PartNumber=1, Body=b"")
    refused("404", 404, s3.head_object, Bucket=bucket, Key="m")
    complete(small[:1])()
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"small"


def test_abort_and_list_uploads(server, bucket):
    s3 = server.s3
    ups = [begin(s3, bucket, k) for k in ("a/1", "a/2", "b", "b")]
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(u["Key"]) for u in listed] == ["a/1", "a/2", "b", "b"]
    assert {u["UploadId"] for u in listed} == {u["UploadId"] for u in ups}
    page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=3)
    assert page["IsTruncated"]
    rest = s3.list_multipart_uploads(Bucket=bucket, KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"])
    assert len(rest["Uploads"]) == 1 and not rest["IsTruncated"]
    folded = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in folded["CommonPrefixes"]] == ["a/"] and len(folded["Uploads"]) == 2
    s3.upload_part(**ups[0], PartNumber=1, Body=b"x" * 100)
    for up in ups:
        s3.abort_multipart_upload(**up)
    refused("NoSuchUpload", 404, s3.abort_multipart_upload, **ups[0])
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_upload_part_copy(server, bucket):
    s3 = server.s3
    data = os.urandom(6 * MB)
    s3.put_object(Bucket=bucket, Key="src", Body=data)
    up = begin(s3, bucket)
    parts = [{"PartNumber": n, "ETag": s3.upload_part_copy(**up, PartNumber=n, CopySource=f"{bucket}/src", **kw)
              ["CopyPartResult"]["ETag"]} for n, kw in [(1, {}), (2, {"CopySourceRange": "bytes=10-19"})]]
    s3.complete_multipart_upload(**up, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == data + data[10:20]


# ---- digests and transfer codings ----

def test_digests_are_verified(server, bucket):
    path, body = f"/{bucket}/k", b"hello"
    wrong = base64.b64encode(bytes(16)).decode()
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    for headers, kw, want in [({"Content-MD5": wrong}, {}, "BadDigest"), ({"Content-MD5": "xx"}, {}, "InvalidDigest"),
                              ({}, {"payload_hash": "0" * 64}, "XAmzContentSHA256Mismatch"),
                              ({"x-amz-checksum-crc32": "AAAAAA=="}, {}, "BadDigest"),
                              ({"x-amz-checksum-sha256": "AAAAAA=="}, {}, "InvalidRequest"),
                              ({}, {"payload_hash": "NONSENSE"}, "InvalidArgument")]:
        status, _, answer = raw(server, "PUT", path, body, headers, **kw)
        assert (status, code_of(answer)) == (400, want)
    assert keys_of(server.s3, bucket) == []
    status, headers, _ = raw(server, "PUT", path, body, {"x-amz-checksum-crc32": crc}, payload_hash="UNSIGNED-PAYLOAD")
    assert status == 200 and headers["x-amz-checksum-crc32"] == crc
    assert raw(server, "GET", path, headers={"x-amz-checksum-mode": "ENABLED"})[1]["x-amz-checksum-crc32"] == crc
    assert "x-amz-checksum-crc32" not in raw(server, "GET", path)[1]
    ranged = raw(server, "GET", path, headers={"x-amz-checksum-mode": "ENABLED", "Range": "bytes=1-2"})
    assert ranged[0] == 206 and "x-amz-checksum-crc32" not in ranged[1]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_checksums_of_boto3(server, bucket, algorithm):
    field = "Checksum" + algorithm
    try:
        put = server.s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    except botocore.exceptions.MissingDependencyException:
        pytest.skip("needs the awscrt module")
    got = server.s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert put[field] == got[field] and got["Body"].read() == b"hello"
    want = {"CRC32": "NhCmhg==", "CRC32C": "mnG7TA==", "SHA1": "qvTGHdzF6KLavt4PO0gs2a6pQ00=",
            "SHA256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}
    assert put[field] == want[algorithm]


def chunked_signed(pieces, tamper=False):
    """A body of the kind STREAMING-AWS4-HMAC-SHA256-PAYLOAD."""
    def make(key, stamp, scope, seed):
        out, previous = b"", seed
        for p in [*pieces, b""]:
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, hashlib.sha256(b"").hexdigest(),
                              hashlib.sha256(p).hexdigest()])
            previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            sent = b"X" + p[1:] if tamper and p else p
            out += f"{len(p):x};chunk-signature={previous}\r\n".encode() + sent + b"\r\n"
        return out
    return make


def test_signed_chunks(server, bucket):
    pieces = [b"a" * 65536, b"b" * 65536, b"tail"]
    headers = {"Content-Encoding": "aws-chunked,gzip", "x-amz-decoded-content-length": str(sum(map(len, pieces)))}
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    status, _, body = raw(server, "PUT", f"/{bucket}/k", chunked_signed(pieces), headers, payload_hash=kind)
    assert status == 200, body
    got = server.s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(pieces) and got["ContentEncoding"] == "gzip"
    status, _, body = raw(server, "PUT", f"/{bucket}/t", chunked_signed(pieces, tamper=True), headers, payload_hash=kind)
    assert (status, code_of(body)) == (403, "SignatureDoesNotMatch")
    short = {**headers, "x-amz-decoded-content-length": "5"}
    status, _, body = raw(server, "PUT", f"/{bucket}/t", chunked_signed(pieces), short, payload_hash=kind)
    assert (status, code_of(body)) == (400, "IncompleteBody")
    assert keys_of(server.s3, bucket) == ["k"]


@pytest.mark.parametrize("http_pieces", [1, 3, 7, 1000])
def test_unsigned_chunks_with_a_trailer_over_http_chunks(server, bucket, http_pieces):
    data = os.urandom(100000)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    body = b"11170\r\n" + data[:70000] + b"\r\n7530\r\n" + data[70000:] + b"\r\n0\r\nx-amz-checksum-crc32:"
    headers = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "100000", "Transfer-Encoding": "chunked",
               "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm": "CRC32"}

    def put(key, crc):
        full = body + crc.encode() + b"\r\n\r\n"
        step = max(1, len(full) // http_pieces) if http_pieces < 1000 else 997
        return raw(server, "PUT", f"/{bucket}/{key}", (full[i:i + step] for i in range(0, len(full), step)), headers,
                   payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER")

    status, answered, answer = put("k", crc)
    assert status == 200, answer
    assert answered["x-amz-checksum-crc32"] == crc
    got = server.s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data and "ContentEncoding" not in got
    status, _, answer = put("t", "AAAAAA==")
    assert (status, code_of(answer)) == (400, "BadDigest")
    assert keys_of(server.s3, bucket) == ["k"]


# ---- who asks ----

def presign(server, operation, bucket, key):
    """Debian's boto3 still signs links with the old Signature Version 2 unless told otherwise."""
    s3 = server.client("s3", config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    return s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)


def test_presigned(server, bucket):
    url = presign(server, "put_object", bucket, "p q")
    with urllib.request.urlopen(urllib.request.Request(url, b"presigned", method="PUT")) as r:
        assert r.status == 200
    url = presign(server, "get_object", bucket, "p q")
    with urllib.request.urlopen(url) as r:
        assert r.read() == b"presigned"
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(url.replace("p%20q", "other"))
    assert e.value.code == 403 and code_of(e.value.read()) == "SignatureDoesNotMatch"


def test_who_is_refused(server, bucket):
    path = f"/{bucket}/k"
    now = datetime.datetime.now(datetime.timezone.utc)
    for kw, want in [({"secret": "wrong"}, (403, "SignatureDoesNotMatch")),
                     ({"when": now - datetime.timedelta(minutes=20)}, (403, "RequestTimeTooSkewed")),
                     ({"region": "mars-1"}, (400, "AuthorizationHeaderMalformed"))]:
        status, _, body = raw(server, "PUT", path, b"x", **kw)
        assert (status, code_of(body)) == want
    stranger = server.client("s3", aws_access_key_id="AKIASTRANGER", aws_secret_access_key="x")
    refused("InvalidAccessKeyId", 403, stranger.put_object, Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(urllib.request.Request(
            server.url + path + "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/s3/aws4_request", b"x", method="PUT"))
    assert e.value.code in (400, 403)
    assert keys_of(server.s3, bucket) == []


def test_virtual_host_style(server, bucket):
    port = server.url.rsplit(":", 1)[1]
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"virtual")
    request = botocore.awsrequest.AWSRequest("GET", f"http://{bucket}.localhost:{port}/a/b", headers={
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    key = botocore.credentials.Credentials(server.exports["AWS_ACCESS_KEY_ID"], server.exports["AWS_SECRET_ACCESS_KEY"])
    botocore.auth.S3SigV4Auth(key, "s3", server.exports["AWS_REGION"]).add_auth(request)
    conn = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    conn.request("GET", "/a/b", headers={**dict(request.headers), "Host": f"{bucket}.localhost:{port}"})
    answer = conn.getresponse()
    assert (answer.status, answer.read()) == (200, b"virtual")
    conn.close()


def test_a_put_cut_short_leaves_nothing(server, bucket):
    incoming = server.data / "objects" / "incoming"

    def wait(count):
        for _ in range(200):
            if len(list(incoming.iterdir())) == count:
                return
            time.sleep(0.05)
        pytest.fail(f"objects/incoming should hold {count} files, and holds {list(incoming.iterdir())}")

    wait(0)
    url = urllib.parse.urlsplit(presign(server, "put_object", bucket, "half"))
    conn = http.client.HTTPConnection(url.netloc, timeout=10)
    conn.putrequest("PUT", f"{url.path}?{url.query}")
    conn.putheader("Content-Length", "1000000")
    conn.endheaders(b"only this much")
    wait(1)
    conn.close()
    wait(0)
    assert keys_of(server.s3, bucket) == []


# ---- strangers ----

def on_the_wire(server, data):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(data)
        got = b""
        while piece := s.recv(65536):
            got += piece
    return got


def test_header_names_that_no_answer_could_carry(server, bucket):
    key = f"/{bucket}/x"
    assert raw(server, "PUT", key, b"x")[0] == 200
    for name in (b"x-amz-meta-a\tb", b"x-amz-meta-a b", b"x-amz-meta-\xff", b"x-amz-meta-a "):
        got = on_the_wire(server, b"PUT " + key.encode() + b" HTTP/1.1\r\nHost: x\r\n" + name +
                          b": v\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400 "), got
    assert raw(server, "GET", key)[2] == b"x"


def test_no_header_comes_out_of_a_value(server, bucket):
    key = f"/{bucket}/x"
    assert raw(server, "PUT", key, b"x", {"x-amz-meta-a": "1\x01Set-Cookie: a=b"})[0] == 200
    for query in ("response-content-type=a%0D%0ASet-Cookie%3A%20x%3Dy", "response-content-disposition=a%0ASet-Cookie%3A%20x%3Dy%00z"):
        status, headers, body = raw(server, "GET", f"{key}?{query}")
        assert (status, body) == (200, b"x") and "Set-Cookie" not in headers
        assert headers["x-amz-meta-a"] == "1 Set-Cookie: a=b"


def test_errors_are_xml_whatever_was_asked(server, bucket):
    for path in (b"/\xff\xfe/<&>", b"/" + bucket.encode() + b"?x=\xff"):
        got = on_the_wire(server, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        assert b" 403 " in head and xml.etree.ElementTree.fromstring(body.decode()).findtext("Code") == "AccessDenied"
    for path in ("/no-such-bucket-here", f"/{bucket}?max-keys=-1", f"/{bucket}?list-type=2&continuation-token=%21"):
        status, headers, _ = raw(server, "GET", path, pairs=True)
        assert status in (400, 404) and [k for k, _ in headers].count("Content-Type") == 1
    assert code_of(raw(server, "GET", f"/{bucket}/%FF%FE")[2]) == "InvalidURI"
    assert code_of(raw(server, "PUT", f"/{bucket}/a%C3", b"x")[2]) == "InvalidURI"


def test_a_part_without_bytes_has_no_range(server, bucket):
    upload = server.s3.create_multipart_upload(Bucket=bucket, Key="e")["UploadId"]
    part = server.s3.upload_part(Bucket=bucket, Key="e", UploadId=upload, PartNumber=1, Body=b"")
    server.s3.complete_multipart_upload(Bucket=bucket, Key="e", UploadId=upload,
                                        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    for method in ("GET", "HEAD"):
        status, headers, body = raw(server, method, f"/{bucket}/e?partNumber=1")
        assert status == 200 and "Content-Range" not in headers and headers["Content-Length"] == "0"
