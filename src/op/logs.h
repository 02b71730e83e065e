/* logs.h - what the operations of the logs service share; inside op/ only.
 *
 * There are two kinds of streams. The log of a training host is <data>/jobs/<id>/log/algo-N (joblog/); as a stream it
 * is called JOB/algo-N-EPOCH, EPOCH being the second of the job's creation, in the group LOG_GROUP, which is there as
 * soon as there are jobs. All others, also those that clients make in LOG_GROUP, are in logs.db (logstore/).
 * ERR_NOT_FOUND is ResourceNotFoundException in this service, ERR_INVALID is InvalidParameterException (api_reply.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/joblog.h"
#include "op/api.h"
#include "op/log_cursor.h"
#include "store/store.h"

#define LOG_GROUP "/aws/sagemaker/TrainingJobs"

/* A group that exists. */
struct log_where {
	struct str name; /* a view of the request's */
	bool of_jobs;    /* LOG_GROUP */
	bool stored;     /* it has a row, which is: */
	struct log_group group;
};
/* The group of a request, by name or by ARN. ERR_NOT_FOUND, ERR_INVALID. */
int log_group_find(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e) must_check;
/* The same by name. */
int log_group_named(const struct api_call *call, struct str name, struct log_where *ret, struct err *e) must_check;
/* As before, and LOG_GROUP gets a row where it has none. */
int log_group_stored(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e) must_check;
struct str log_group_of_arn(struct str arn); /* the name in it, or all of it when it is none */

/* ERR_NOT_FOUND: there is no such stream, or nothing was printed yet. */
int log_stream_locate(const struct api_call *call, const struct log_where *g, struct str name, struct log_place *ret,
                      struct err *e) must_check;
void log_place_fini(struct log_place *p);

char *log_path(const struct api_call *call, const struct store_place *host); /* the caller frees */
char *log_stream_name(const struct store_place *host);                       /* the caller frees */
/* The number of the host whose stream it is, by its name's end; 0: nobody's. */
unsigned log_stream_host(struct str stream);

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
