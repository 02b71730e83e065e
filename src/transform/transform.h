/* transform.h - what bloomery-transform does: the driver of a batch transform job, beside a serving container.
 *
 * bloomery-job runs it without privileges once the container has been started. It waits until the container is healthy,
 * asks it for its parameters, sends it the records of every object, and writes what it answers (contract 7.4 to 7.8).
 *
 * The work order is one JSON object on stdin, up to its end of file, so that no secret is ever in an argument list:
 *
 *   { "containers": ["http://127.0.0.1:8080"],   1 to 15; of several, what one answers is sent to the next, with its
 *                                      Content-Type, and the last one's answer is the record's
 *     "names": ["a"],                    what errors call each of several; optional: container-1, container-2 ...
 *     "sockets": 9,                      descriptor: who makes sockets in the containers' networks (dial.h); optional
 *     "list": 5,                         descriptor: the frozen list of the job's objects (jobdir/list.h)
 *     "share_number": 0, "share_count": 2,         only every share_count-th of it, from share_number on; optional: all
 *     "bucket": "b", "prefix": "in/",    of the objects; what the keys of outputs are relative to
 *     "objects": 6,                      descriptor: the store's directory of objects; or
 *     "s3": { "endpoint", "region", "access_key", "secret_key", "session_token" },   of another S3, as in s3/fetch.h
 *     "out": 7,                          descriptor: the directory that outputs are made in; it becomes the user that
 *                                        owns it, who has to be able to read "objects"
 *     "log": 8,                          descriptor: where lines of the data-log go (datalog.h); optional
 *     "ping_timeout_s": 240, "patience_s": 120,    optional
 *     "started": "2026-11-21T19:00:00Z", the job's start, as it is captured; optional: now
 *     "request": { ... } }               of CreateTransformJob: MaxConcurrentTransforms, MaxPayloadInMB, BatchStrategy,
 *                                        ModelClientConfig, TransformInput.{ContentType, SplitType, CompressionType},
 *                                        TransformOutput.{Accept, AssembleWith, S3OutputPath}, DataProcessing,
 *                                        DataCaptureConfig; others are not looked at
 *
 * Answers are JSON objects on stdout, one a line:
 *
 *   {"ready": {"MaxConcurrentTransforms": 4, "MaxPayloadInMB": 6, "BatchStrategy": "MULTI_RECORD"}}   what holds now;
 *                                        with "ignored": "text" when the container asked for what makes no sense
 *   {"progress": {"records": 3, "bytes": 1234}}                                      twice a second
 *   {"object": {"number": 0, "bucket": "b", "key": "x.csv.out", "records": 10, "bytes": 99}}   the file "0" in `out` is
 *                                        the output of object 0 of the list, and goes to that key below S3OutputPath
 *   {"capture": {"file": "capture-input", "uri": "s3://b/c/input/2026/11/21/19/ID.jsonl", "bytes": 99}}   a manifest of
 *                                        DataCaptureConfig (capture.h) in `out`, and what it is to become; also when
 *                                        other objects failed
 *   {"done": {"objects": 10, "records": 100}}                 the last line of what went well, exit 0
 *   {"error": {"kind": "TRAINER", "text": "one sentence"}}    the last line of what did not, exit 1
 *
 * `kind` is a name of ERR_KINDS (base/err.h): CLIENT where the data is to blame or the container answered 4xx, TRAINER
 * where the container is; the text names object, record and byte offset (of what was unpacked, with Gzip). SIGTERM
 * ends it at once. Nothing but whole outputs has a name without a dot in `out`.
 *
 * With MaxPayloadInMB 0 all of an object goes out in one request and in chunks, as it is read. With SingleRecord, or
 * DataProcessing, which looks at records, a record is read before it is sent, and may then have 512 MiB; many records
 * of one request 100 MiB.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The whole program; returns the exit status. */
int transform_main(int in_fd, int out_fd);
