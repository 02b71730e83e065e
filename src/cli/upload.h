/* upload.h - a local file or directory becomes a channel's data in a bucket.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/access.h"

/* Uploads path (a file, or every file below a directory) to s3://BUCKET/JOB/input/CHANNEL/..., making the bucket. Links
 * are followed, except back into a directory that is being read. quiet: no progress line. *ret_uri: the prefix,
 * malloc'd. */
int upload_directory(struct access *s, const char *path, const char *bucket, const char *job, const char *channel,
                     bool quiet, char **ret_uri, struct err *e) must_check;

/* What upload_directory would upload, and nothing is. *ret_uri as there. */
int upload_measure(const char *path, const char *bucket, const char *job, const char *channel, uint64_t *ret_files,
                   uint64_t *ret_bytes, char **ret_uri, struct err *e) must_check;
