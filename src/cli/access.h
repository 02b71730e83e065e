/* access.h - where the API is, with which key, and one call to it. Used by the commands that are clients of a server.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <regex.h>

#include "cli/cli.h"

/* Owned strings. */
struct access {
	char *endpoint, *region, *access_key, *secret_key,
	        *token; /* endpoint without a slash at its end; token: or NULL */
	struct http_client *http;
};
/* From the data directory when --data is given; else from the AWS_* environment when it names an endpoint and a key;
 * else from the default data directory. ERR_NOT_FOUND, ERR_DENIED with what to do. */
int access_open(const struct cli_args *a, struct access *ret, struct err *e) must_check;
/* From the data directory only: <data>/endpoint, <data>/credentials, the configured region. */
int access_of_data(const char *data_dir, struct access *ret, struct err *e) must_check;
void access_fini(struct access *s);
#define _cleanup_access_ _cleanup_(access_fini)

/* Calls an operation of a JSON service: target "SageMaker.DescribeTrainingJob". in is stolen. *ret_out: a new
 * reference. A refusal becomes "Type: message"; ERR_NOT_FOUND where the service's error says so, else ERR_CLIENT. */
int access_call(struct access *s, const char *service, const char *target, json_t *in, json_t **ret_out,
                struct err *e) must_check;
/* Makes a bucket; fine when it is there. */
int access_make_bucket(struct access *s, const char *bucket, struct err *e) must_check;

/* Asks for what the server has beside AWS's APIs (op/own.h) and appends the body. ERR_NOT_FOUND for 404; every other
 * refusal is ERR_CLIENT. */
int access_get(struct access *s, const char *path, struct buf *out, struct err *e) must_check;
/* The same with a body, which is stolen. *ret: a new reference. */
int access_post(struct access *s, const char *path, json_t *in, json_t **ret, struct err *e) must_check;

/* "2026-11-21 08:46:58" in UTC, of the seconds since 1970 that the API speaks; "-" when v is none. */
char *access_time(const json_t *v, char dst[CLI_TIME_BYTES]);
/* "1:02:03" or "4.2 s". */
char *access_duration(double seconds, char dst[CLI_TIME_BYTES]);
void print_json(const json_t *j);

/* Follows a job: prints its log lines as they come, and a progress line on a terminal, until it is final. *ret: the
 * last Describe, a new reference. quiet: no log lines. */
struct log_view {
	FILE *to;
	const char *host;       /* only of this one; NULL: of all */
	int64_t since_ms;       /* only what was printed at or after then */
	const regex_t *matches; /* only lines that match; NULL: all */
	bool colour;            /* of the host before a line, where there are several */
	bool json;              /* each line as {"host", "timestamp", "message"} */
};
struct follow_options {
	const char *name;
	bool quiet, progress;
	struct log_view view;
};
int follow_job_log(struct access *s, const struct follow_options *o, json_t **ret, struct err *e) must_check;
/* All that is there of a job's log now. *cursor: where to go on, NULL at first; owned by the caller. Of a job of
 * several hosts each line begins with its host's name. */
struct log_cursor;
int log_print_more(struct access *s, const char *job, unsigned hosts, struct log_cursor **cursor,
                   const struct log_view *view, bool *ret_any, struct err *e) must_check;
unsigned job_host_count(const json_t *description); /* of the job that Describe has told of */
void log_cursor_free(struct log_cursor *c);         /* NULL is fine */
bool job_is_final(const json_t *description);
