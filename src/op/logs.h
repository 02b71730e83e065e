/* logs.h - what the operations of the logs service share; inside op/ only.
 *
 * There are two kinds of streams. What the hosts of jobs print are logs in <data>/jobs/<id>/log/ (joblog/); the groups
 * of a kind of jobs (job_kind_info) are there as soon as there are such jobs. As streams (contract 6.1) they are called
 *
 *     training    algo-N       JOB/algo-N-EPOCH               EPOCH: the second of the job's creation
 *     transform   algo-N       JOB/INSTANCE-EPOCH             INSTANCE: "i-0" and the host's id; of one container
 *                 CONTAINER    JOB/CONTAINER/INSTANCE-EPOCH   of a pipeline
 *                 data-log     JOB/INSTANCE-EPOCH/data-log
 *
 * All others, also those that clients make in these groups, are in logs.db (logstore/).
 * ERR_NOT_FOUND is ResourceNotFoundException in this service, ERR_INVALID is InvalidParameterException (api_reply.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/joblog.h"
#include "op/api.h"
#include "op/log_cursor.h"
#include "store/store.h"

/* A group that exists. */
struct log_where {
	struct str name; /* a view of the request's */
	bool of_jobs;    /* of jobs of this kind: */
	enum job_kind kind;
	bool stored; /* it has a row, which is: */
	struct log_group group;
};
/* The group of a request, by name or by ARN. ERR_NOT_FOUND, ERR_INVALID. */
int log_group_find(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e) must_check;
/* The same by name. */
int log_group_named(const struct api_call *call, struct str name, struct log_where *ret, struct err *e) must_check;
/* As before, and a group of jobs gets a row where it has none. */
int log_group_stored(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e) must_check;
struct str log_group_of_arn(struct str arn); /* the name in it, or all of it when it is none */

/* ERR_NOT_FOUND: there is no such stream, or nothing was printed yet. */
int log_stream_locate(const struct api_call *call, const struct log_where *g, struct str name, struct log_place *ret,
                      struct err *e) must_check;
void log_place_fini(struct log_place *p);

/* ---- log_names.c: the logs of hosts ---- */

/* Whether it is the name of a group of jobs, and of which. */
bool log_group_of_jobs(struct str name, enum job_kind *ret);
/* leaf: of the log in log/. The caller frees. */
char *log_path(const struct api_call *call, const struct store_place *host, struct str leaf);
char *log_stream_name(const struct store_place *host, struct str leaf);
/* Every log that there may be of a host. */
void log_each_leaf(const struct api_call *call, const struct store_place *host,
                   void (*fn)(const struct store_place *host, struct str leaf, void *arg), void *arg);
/* The path of the log that a stream is, if it is one; the caller frees. ERR_NOT_FOUND. */
int log_path_of_stream(const struct api_call *call, enum job_kind kind, struct str stream, char **ret,
                       struct err *e) must_check;

/* Streams of a group. */
struct log_listed {
	char *name;
	struct log_place place;
	int64_t written_ms;    /* the last change; of a host's roughly. 0: none */
	int64_t not_before_ms; /* no event is older */
	struct log_stream row; /* of the store's */
	uint64_t bytes;
};
struct log_list {
	struct log_listed *list;
	size_t count;
};
/* Those whose names begin with prefix and in which something was written, by name. */
int log_streams(const struct api_call *call, const struct log_where *g, struct str prefix, struct log_list *ret,
                struct err *e) must_check;
void log_list_fini(struct log_list *l);

/* Positions as text, for tokens. */
void log_pos_write(struct buf *out, bool of_host, struct log_pos pos);
bool log_pos_read(struct str text, bool of_host, struct log_pos *ret);
int64_t in_time(const json_t *in, const char *member, int64_t otherwise);

/* Whether somebody may still write into a host's log: its supervisor has not said its last word. */
bool log_is_open(const char *path);
