/* inside.h - what deal.c, intake.c and invoke.c share: the objects and requests of a deal.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "transform/deal.h"
#include "transform/post.h"

/* An input object from its first record to its output. Lives as long as a task or the intake has it. */
struct object {
	uint64_t number;
	struct str key, bucket; /* both owned */
	char *name;             /* "bucket/key" */
	bool failed;            /* under deal.shared.mu */
	int file;               /* it, where parts of it are sent from there; -EBADF */
	/* Touched only by who writes the output: */
	int fd; /* -EBADF: not yet */
	uint64_t records, bytes;
};

/* One request, or the end of an object. In the list of a deal, in the order of the records. */
struct task {
	struct task *next;
	struct object *object;
	bool end;              /* nothing to post: the object is over */
	bool done;             /* under deal.shared.mu: result is there, or the object has failed */
	uint64_t at;           /* the object's byte that it begins with */
	uint64_t first;        /* records before it; of a part: only about() counts them */
	uint64_t records;      /* in it; of a stream and a part: known when it was sent */
	struct buf payload;    /* the records, */
	struct reader *stream; /* or all of the object, */
	uint64_t part;         /* or so many bytes of its file, whole lines; 0: no part */
	bool open;             /* the part's last line has no line feed */
	struct result result;
};

/* Where the next request comes from; touched by one thread at a time. */
struct intake {
	struct list_reader *list;
	uint64_t numbers; /* given out */
	struct object *object;
	struct reader *reader;
	uint64_t size; /* of the object, as it is stored */
	struct splitter splitter;
	struct buf bytes; /* of the object, from `start` on not yet taken */
	size_t start;
	bool ended; /* the object has no others */
};

struct deal {
	const struct deal_options *o;
	struct result_house house;
	struct intake intake;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t changed;
		struct task *first, **last;
		unsigned open;   /* tasks in the list */
		bool reading;    /* somebody is at the intake */
		bool writing;    /* somebody is at the first task */
		bool dry;        /* the intake is at its end */
		uint64_t failed; /* objects */
		struct err why;  /* of the first */
	} shared;
};

/* deal.c: the object fails, once. why: the sentence, without the object's name. log: the line of the data-log; NULL: it
 * has been written. */
void deal_fail(struct deal *d, struct object *o, const struct err *why, const char *log);
bool deal_failed(struct deal *d, const struct object *o);

/* intake.c: the next task in order, without what deal.c keeps. 1; 0: there are no others; -1: the list is damaged. What
 * is wrong with an object is told by deal_fail(), and its end is a task as well. */
int intake_next(struct deal *d, struct task *t, struct err *e) must_check;
int intake_open(struct deal *d, struct err *e) must_check;
void intake_close(struct deal *d);

/* invoke.c: posts it to one container after the other (a poster for each), tries again, and puts what becomes of the
 * answer into t->result; or deal_fail(). */
void invoke(struct deal *d, struct poster *const *posters, struct task *t);

/* culprit.c: which record of a request that the first container refused is to blame, by sending parts of the request
 * again. body: what was sent of t->payload, whose records it has, maybe filtered; unused for a part. False: it cannot
 * be said. ret_record: from 0; ret_at: its first byte; both from the start of the request. */
bool culprit(struct deal *d, struct poster *p, const struct task *t, struct str body, uint64_t *ret_record,
             uint64_t *ret_at);
