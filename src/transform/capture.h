/* capture.h - DataCaptureConfig: manifests of what was transformed and of what became of it.
 *
 * The service copies nothing: below DestinationS3Uri it leaves input/YYYY/MM/DD/HH/ and output/YYYY/MM/DD/HH/, the hour
 * in which the job started, in UTC, and in each a file of one line, a manifest as S3DataType ManifestFile takes it:
 *
 *     [{"prefix": "s3://bucket/"}, "in/a.csv", "in/b.csv"]
 *     [{"prefix": "s3://bucket/out/"}, "a.csv.out", "b.csv.out"]
 *
 * Objects without an output are in neither. Each host leaves its own pair. Used by one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "transform/work.h"

struct capture;
/* *ret is NULL when nothing is to be captured; then the others do nothing. */
int capture_open(const struct work *w, struct capture **ret, struct err *e) must_check;
void capture_free(struct capture *c); /* NULL is fine; what has no name yet is removed */

/* An output is there; out_key: below S3OutputPath. */
void capture_add(struct capture *c, struct str bucket, struct str key, struct str out_key);

/* The manifests get their names in the directory of outputs, and `each` is told of them, with the address of the object
 * that each is to become. Nothing is left when nothing was added. */
int capture_close(struct capture *c, void (*each)(void *arg, const char *leaf, const char *uri, uint64_t bytes),
                  void *arg, struct err *e) must_check;
