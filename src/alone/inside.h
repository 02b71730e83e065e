/* inside.h - what the files of alone/ share; nobody outside includes it.
 *
 * Two threads: the main one prepares, starts the supervisor and sends; the other asks for orders all the time, which is
 * also how bloomeryd knows that we are there (orders.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <pthread.h>

#include "alone/alone.h"
#include "http/client.h"
#include "jobdir/jobdir.h"
#include "jobdir/spec.h"
#include "joblog/joblog.h"

/* ---- wire.c: requests to bloomeryd ---- */

/* By one thread. */
struct wire {
	struct http_client *http;
	char *base; /* "http://10.0.0.1:8770/bloomery/hosts/ID/" */
	char *authorization;
	/* Asked between tries and while nothing moves: true ends the call with ERR_BUSY. */
	bool (*cancelled)(void *arg);
	void *arg;
	bool said;   /* that it cannot be reached */
	bool unsure; /* of the last call: an earlier try of it may have been heard, and its answer was not */
};
void wire_init(struct wire *w, const struct job_spec *s, bool (*cancelled)(void *arg), void *arg);
void wire_fini(struct wire *w);

struct wire_request {
	const char *method, *path; /* behind base */
	struct str body;
	int body_fd; /* -EBADF: none; else a file, sent whole */
	uint64_t body_length;
	int to_fd; /* -EBADF: none; else a file that gets the answer's body */
	unsigned idle_s;
};
/* Asks until there is an answer that is no 5xx, for ever. 0: 2xx; *ret (may be NULL) is its JSON. -1: ERR_DENIED for
 * 403 and 410: we are not wanted any more; ERR_CONFLICT, ERR_NOT_FOUND, ERR_TOO_LARGE, ERR_INVALID by the status. */
int wire_call(struct wire *w, const struct wire_request *q, json_t **ret, struct err *e) must_check;

/* ---- orders.c: what bloomeryd wants ---- */

struct orders;
/* Asks from now on, on a thread. job_dir: of its socket; may not be there yet. */
struct orders *orders_new(const struct job_spec *s, int job_dirfd);
/* Ends the thread. NULL is fine. */
void orders_free(struct orders *o);
/* Any thread. Whether the host is to stop, or is not wanted any more. */
bool orders_stop(struct orders *o);
/* bloomeryd does not take anything of us any more: *ret_why, the caller frees. */
bool orders_over(struct orders *o, char **ret_why);
/* Waits for the addresses of all hosts; a new reference. ERR_BUSY: stop. */
int orders_peers(struct orders *o, json_t **ret, struct err *e) must_check;

/* ---- the host ---- */

struct alone {
	const struct alone_options *o;
	struct job_spec spec;
	char *root, *dir, *programs; /* absolute; dir: the job's */
	int dir_fd;
	struct wire wire;
	struct orders *orders;
	char *address;
	uint64_t journal_sent, log_sent; /* bytes that bloomeryd has */
	struct joblog_copy *log;         /* NULL: nothing was printed yet */
	struct buf feeds_sent;
	bool ending;     /* the last fact is being sent, whatever comes */
	bool ended_sent; /* bloomeryd has it */
};

/* place.c: what the supervisor needs, in its directory. ERR_BUSY: the host is to stop. */
int place_all(struct alone *a, struct err *e) must_check;

/* ship.c: what the supervisor has written, as far as it has. ERR_DENIED: bloomeryd does not want it. */
int ship(struct alone *a, struct err *e) must_check;
