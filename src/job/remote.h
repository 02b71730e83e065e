/* remote.h - asking another S3 (s3_endpoint of bloomery.conf) by way of bloomery-fetch, which parses what it answers.
 *
 * Any thread but the loop's: it blocks, for as long as is said. The program runs as bloomeryd's own user and gets the
 * work order of s3/fetch.h on its standard input.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"

struct remote {
	const struct conf *conf;
	const char *program; /* path of bloomery-fetch */
};

struct remote_question {
	const char *verb; /* "list", "exists" or "put" */
	const char *bucket, *prefix, *s3_data_type;
	const char *key;               /* put */
	const json_t *attribute_names; /* of an augmented manifest, else NULL */
	int list_fd;                   /* list: where to; put: the file; else -1 */
	int stop_fd;                   /* readable: the answer is no longer wanted, ERR_BUSY. -1: none */
	int64_t timeout_ms;            /* ERR_IO when there is no answer by then; 0: none */
};

struct remote_answer {
	uint64_t objects, bytes;
	char *bucket, *prefix; /* list of a ManifestFile: where its objects are; else NULL */
};
void remote_answer_fini(struct remote_answer *a);

/* ERR_CLIENT: the data's fault, ready to be a FailureReason. */
int remote_ask(const struct remote *r, const struct remote_question *q, struct remote_answer *ret,
               struct err *e) must_check;
/* The file that fd is open on, to that key. */
int remote_put(const struct remote *r, int fd, const char *bucket, const char *key, int stop_fd,
               struct err *e) must_check;
