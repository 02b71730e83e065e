/* fetch.h - what bloomery-fetch does: objects of a remote S3 into a directory, or a file into a remote S3.
 *
 * bloomery-job runs `bloomery-fetch` because it parses foreign bytes and may block. Its interface:
 *
 *   bloomery-fetch get FD      everything under a prefix into the directory that descriptor FD is open on
 *   bloomery-fetch put FD      the regular file that descriptor FD is open on (readable) to one key
 *   bloomery-fetch count       only lists: how many objects and bytes there are under a prefix
 *
 * The work order is one JSON object on stdin, up to its end of file, so that no secret is ever in an argument list:
 *
 *   { "endpoint": "http://host:port",     optional; AWS by region when absent
 *     "region": "us-east-1", "access_key": "...", "secret_key": "...",
 *     "session_token": "...",             optional
 *     "bucket": "b",
 *     "prefix": "data/train",             get, count
 *     "key": "out/model.tar.gz",          put
 *     "content_type": "...",              put, optional
 *     "manifest": 5,                      get, optional: a descriptor; "s3://bucket/key" of every object, a line each
 *     "shard": 0, "shards": 2,            get, optional: only every second object, from the first one on
 *     "threads": 8 }                      optional
 *
 * Answers are JSON objects on stdout, one a line:
 *
 *   {"progress": {"objects": 3, "bytes": 1234, "total_objects": 10, "total_bytes": 9999}}     at most twice a second
 *   {"done": {"objects": 10, "bytes": 9999}}                  the last line of a get or count that went well, exit 0
 *   {"done": {"bytes": 9999, "etag": "..."}}                  the last line of a put that went well, exit 0
 *   {"error": {"kind": "CLIENT", "text": "one sentence"}}     the last line of what did not, exit 1
 *
 * `kind` is a name of ERR_KINDS (base/err.h); the data's own faults (no such bucket, nothing under the prefix, an
 * illegal key, no space on the volume) are CLIENT with the service's words of contract 2.3, ready to be a
 * FailureReason. SIGTERM ends it within a second; what was made so far stays in the directory for the caller to remove.
 * Nothing is left on the remote side by a put that failed or was ended by SIGTERM.
 *
 * Files are made 0644 and directories 0755 beneath FD (openat2 RESOLVE_BENEATH), by the rule of s3_rel_path(); an
 * object whose key ends in '/' makes a directory. Keys that map to one path, one as a file and one as a directory, are
 * an error that names both.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* The whole program after argv has been looked at: returns the exit status. in_fd: the work order; out_fd: the answers.
 */
int fetch_main(const char *verb, int target_fd, int in_fd, int out_fd);
