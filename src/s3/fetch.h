/* fetch.h - what bloomery-fetch does: lists and objects of another S3 to here, a file from here to there.
 *
 * bloomery-job and bloomeryd run `bloomery-fetch` because it parses foreign bytes and may block. Its interface:
 *
 *   bloomery-fetch list        writes a channel's frozen list (jobdir/list.h)
 *   bloomery-fetch get FD      the objects of a list into the directory that descriptor FD is open on
 *   bloomery-fetch put FD      the regular file that descriptor FD is open on (readable) to one key
 *   bloomery-fetch count       only counts: how many objects and bytes there are under a prefix
 *   bloomery-fetch exists      whether there is anything at all: under a prefix, or a manifest
 *
 * The work order is one JSON object on stdin, up to its end of file, so that no secret is ever in an argument list:
 *
 *   { "endpoint": "http://host:port",     optional; AWS by region when absent
 *     "region": "us-east-1", "access_key": "...", "secret_key": "...",
 *     "session_token": "...",             optional
 *     "bucket": "b",
 *     "prefix": "data/train",             all but put; what keys are placed relative to; a manifest's key
 *     "s3_data_type": "S3Prefix",         list, exists; optional; what prefix is
 *     "attribute_names": ["image-ref"],   list, for AugmentedManifestFile
 *     "list": 5,                          list: a descriptor to write; get: to read (it must be a file)
 *     "key": "out/model.tar.gz",          put
 *     "content_type": "...",              put, optional
 *     "patience_s": 120,                  optional: how long a store that does not answer is tried again
 *     "threads": 8 }                      optional
 *
 * Answers are JSON objects on stdout, one a line:
 *
 *   {"progress": {"objects": 3, "bytes": 1234, "total_objects": 10, "total_bytes": 9999}}     twice a second; with
 *                                         "trouble": "text" when nothing has come since something was tried again
 *   {"done": {"objects": 10, "bytes": 9999}}                  the last line of what went well, exit 0; exists: 0 or 1
 *                                                             objects; list: units, and bytes of their objects
 *                                                             of a ManifestFile also its objects' "bucket", and the
 *                                                             "prefix" that they are placed relative to
 *   {"done": {"bytes": 9999, "etag": "..."}}                  the last line of a put that went well, exit 0
 *   {"error": {"kind": "CLIENT", "text": "one sentence"}}     the last line of what did not, exit 1
 *
 * `kind` is a name of ERR_KINDS (base/err.h); the data's own faults (no such bucket, nothing under the prefix, an
 * illegal key, no space on the volume, an object that is not the listed one any more) are CLIENT with the service's
 * words of contract 2.3, ready to be a FailureReason. SIGTERM ends it within a second; what was made so far stays in
 * the directory for the caller to remove. Nothing is left on the remote side by a put that failed or was ended by
 * SIGTERM.
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
