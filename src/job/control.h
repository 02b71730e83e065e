/* control.h - what the files of job/ share; nobody outside includes it. All of it belongs to the loop's thread.
 *
 * A job that has not ended is a struct job in one of two lists, both in order of creation:
 *     waiting   no capacity reserved: STARTING or PENDING
 *     running   capacity reserved: its data is being frozen (freezing), or it was placed and has a supervisor
 * What has ended is only in the store.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "job/jobs.h"

struct freezer;

struct job {
	int64_t n;
	char id[JOB_ID_BYTES];
	char *name, *arn;
	enum job_state state; /* written by job.c alone */
	uint64_t last_fact;
	struct wall created, started, modified;
	struct capacity_needs needs;
	struct job_limits limits;
	struct capacity_share share;
	bool freezing; /* the freezer works for it */
	bool lazy;     /* once frozen: its container reads objects of the store as it runs, so their files stay */
	bool placed;   /* capacity is reserved in the store too: a supervisor may exist */
	bool behind;   /* facts were missed or could not be stored: asked for again */
	char *failure; /* a fact before the end has already decided that it fails */
	struct job_list *in;
	struct job *prev, *next;
};

struct job_list {
	struct job *first, *last;
};
void list_append(struct job_list *list, struct job *j);
void list_insert_in_order(struct job_list *list, struct job *j);
void list_remove(struct job *j);

struct jobs {
	struct loop *loop;
	struct store *store;
	struct blob_store *blobs;
	const struct conf *conf;
	char *data_dir, *api_url, *fetch_program;
	const struct launcher_ops *via;
	struct launcher *launcher;
	struct capacity capacity;
	struct capacity_share used;
	struct job_list waiting, running;
	void *by_id; /* tsearch tree of struct job */
	struct freezer *freezer;
	struct loop_source *soon_timer, *pending_timer, *retry_timer, *cleanup_timer, *sweep_timer;
	int64_t cleanup_ms;
	bool started;
};

/* ---- job.c ---- */

/* What comes with an event. */
struct job_change {
	struct wall at; /* of the event; taken as no earlier than what was before */
	uint64_t fact;  /* the fact's number; 0: no fact is the cause */
	const char *message, *failure_reason, *exit, *image_digest;
	bool place; /* capacity is reserved with this */
	bool durable;
};
/* The only writer of job->state: the store first, by compare and set, memory second. Must be an edge of the table. A
 * final state takes the job out of memory: j is gone when this returns 0. ERR_IO: nothing has changed. */
int job_transition(struct jobs *js, struct job *j, enum job_event event, const struct job_change *c,
                   struct err *e) must_check;
/* A fact that changes no state. */
int job_note(struct jobs *js, struct job *j, const struct job_change *c, struct err *e) must_check;

/* The row becomes a job of js (waiting or running). */
int job_load(struct jobs *js, const struct stored_job *row, struct job **ret, struct err *e) must_check;
void job_drop(struct jobs *js, struct job *j);         /* out of memory and of the books; not out of the store */
struct job *job_by_id(struct jobs *js, struct str id); /* NULL: none that lives */

/* ---- scheduler.c ---- */

/* Places what fits, strictly in order of creation; called after every change. */
void scheduler_run(struct jobs *js);
void scheduler_soon(struct jobs *js); /* from the loop, when the caller is done */
void scheduler_tick(void *jobs);
/* The freezer is done with a job; why is NULL when its directory is ready. */
void scheduler_frozen(struct jobs *js, const char *id, bool lazy, const struct err *why);
/* Ends a job that has no supervisor: the state is STOPPING. */
int scheduler_end_stopped(struct jobs *js, struct job *j, const char *message, struct err *e) must_check;
void scheduler_pending_over(void *jobs); /* timer: MaxPendingTimeInSeconds */

/* ---- facts.c ---- */
extern const struct launcher_events facts_events; /* arg: struct jobs */
void facts_retry(void *jobs);                     /* timer: jobs that are behind ask again, waiting ones try again */

/* ---- cleanup.c ---- */
void cleanup_soon(struct jobs *js); /* something ended or was deleted, or the host came back */
void cleanup_tick(void *jobs);
void sweep_tick(void *jobs); /* timer: files of objects that are gone */

/* ---- freeze.c: a thread that does what may take long ---- */
struct freezer *freezer_new(struct jobs *js);
void freezer_free(struct freezer *f); /* waits for the thread; NULL is fine */
/* Freezes the job's data and writes its directory; scheduler_frozen() hears of it. */
void freezer_add(struct freezer *f, const struct job *j);
/* The job was stopped meanwhile: should it be the one at hand, it ends soon. scheduler_frozen() still hears of it. */
void freezer_cancel(struct freezer *f, const char *id);
void freezer_sweep(struct freezer *f, struct wall before);
