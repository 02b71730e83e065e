/* control.h - what the files of job/ share; nobody outside includes it. All of it belongs to the loop's thread.
 *
 * A job that has not ended is a struct job in one of two lists, both in order of creation:
 *     waiting   no capacity reserved: STARTING or PENDING
 *     running   capacity reserved: its data is being frozen (freezing), or it was placed and has a supervisor
 * What has ended is only in the store.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "job/gpus.h"
#include "job/jobs.h"
#include "job/network.h"
#include "job/vpc.h"

struct freezer;
struct ingest; /* ingest/ingest.h */

enum host_told { HOST_TOLD_NOTHING, HOST_TOLD_TO_GO, HOST_TOLD_TO_STOP };

/* A training host of a job: what bloomery-host and the supervisors know as a job, by its id. */
struct job_host {
	struct job *job;
	unsigned number;       /* algo-<number>, from 1 */
	char id[JOB_ID_BYTES]; /* of host 1: the job's */
	uint64_t last_fact;
	struct job_limits limits;
	struct capacity_share share;
	bool reserved;            /* share is in the books, and limits.gpus GPUs are its own */
	bool behind;              /* facts were missed or could not be stored: asked for again */
	bool followed, ingested;  /* its metrics: are read as they come; were, to their end */
	struct mono ingest_asked; /* since when its end waits for that; 0: it does not */

	/* of several hosts only; in the store as well */
	enum host_phase phase;
	struct wall failed; /* when it did, or was called off (see hosts.c); 0: it has not */
	char *failure, *result, *parts;
	enum host_told told; /* since its phase began and the launcher was last up */
};

struct job {
	int64_t n;
	enum job_kind kind;
	char id[JOB_ID_BYTES];
	char *name, *arn;
	enum job_state state; /* written by job.c alone */
	uint64_t last_fact;   /* how many were taken of all hosts */
	struct wall created, started, modified;
	struct capacity_needs needs;
	struct job_host *hosts;
	size_t host_count;
	struct capacity_share share; /* of all hosts */
	struct net_range network;    /* its addresses, once it is placed; prefix 0: it has none */
	bool freezing;               /* the freezer works for it */
	bool lazy;      /* once frozen: its container reads objects of the store as it runs, so their files stay */
	bool placed;    /* capacity is reserved in the store too: a supervisor may exist */
	bool gathering; /* the parts of its artifacts are being put together, or its outputs taken over */
	bool gathered;  /* of one host: its outputs were, or (ungathered) cannot be */
	char *ungathered;
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
	const struct iam *iam;
	char *data_dir, *api_url, *fetch_program;
	const struct launcher_ops *via;
	struct launcher *launcher;
	struct desk *desk; /* NULL: hosts are bloomery-host's */
	struct capacity capacity;
	struct capacity_share used;
	struct network_pool *networks;
	struct gpu_pool *gpus;
	struct vpc *vpc;
	struct look *looks; /* images that somebody waits for */
	int64_t last_look;
	bool looks_over;    /* the server is ending */
	atomic_int sealing; /* enum net_sealing, as bloomery-host says; -1: it has not yet. Read by any thread */
	struct job_list waiting, running;
	void *by_id; /* tsearch tree of struct job_host */
	struct freezer *freezer;
	struct scans *scans;
	struct ingest *ingest; /* NULL: metrics go nowhere */
	struct loop_source *ingested_source;
	struct freezer *gatherer; /* another of the kind, for what may take long at the end */
	struct loop_source *soon_timer, *pending_timer, *retry_timer, *cleanup_timer, *sweep_timer;
	int64_t cleanup_ms;
	bool started;
	void (*news)(void *arg); /* jobs_on_news */
	void *news_arg;
};
void jobs_news(struct jobs *js);

/* ---- job.c ---- */

/* What has become of a host of several. NULL and 0 leave what was. */
struct host_change {
	struct job_host *host;
	enum host_phase phase;
	struct wall failed;
	const char *failure, *result, *exit, *parts;
};

/* What comes with an event. */
struct job_change {
	struct wall at;                 /* of the event; taken as no earlier than what was before */
	uint64_t fact;                  /* the fact's number; 0: no fact is the cause */
	const struct host_change *host; /* of several hosts, the one that it comes from; else NULL */
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
struct job *job_by_id(struct jobs *js, struct str id); /* of any of its hosts; NULL: none that lives */
struct job_host *host_by_id(struct jobs *js, struct str id);
/* At most max characters of a FailureReason, or a sentence instead of what is not UTF-8; the caller frees. */
char *reason_cut(const char *reason, size_t max);
void host_reserve(struct jobs *js, struct job_host *h);
void host_release(struct jobs *js, struct job_host *h);

/* ---- hosts.c: jobs of several hosts ---- */
bool host_is_over(const struct job_host *h);
int hosts_take(struct jobs *js, struct job_host *h, const struct fact *f, struct err *e) must_check;
int hosts_take_loss(struct jobs *js, struct job_host *h, struct str reason, struct wall at, struct err *e) must_check;
/* Has done what the phases of the hosts call for: tells them to go or to stop, ends the job. Often; j may be gone
 * after. */
void hosts_go_on(struct jobs *js, struct job *j);
/* The gatherer is done; why is NULL when the artifacts, or a transform job's outputs, are there. */
void hosts_gathered(struct jobs *js, const char *id, const struct err *why);

/* ---- algorithms.c ---- */
/* The launcher is up: what registries have to say is asked for, anew. */
void algorithms_go_on(struct jobs *js);
void algorithms_digest(void *arg, int64_t n, struct str digest, struct str error);

/* ---- scans.c: what is found in the images of algorithms that are to be certified ---- */
struct scans;
struct scans *scans_new(void);
void scans_free(struct scans *s); /* NULL is fine */
/* Asks once more for the scans that have not ended; often. */
void scans_again(struct jobs *js);
void scans_take(void *arg, struct str image, bool passed, struct str reason);
/* ---- looks.c ---- */
/* The launcher is up: what it has not answered is asked for again. */
void looks_go_on(struct jobs *js);
void looks_report(void *arg, int64_t n, json_t *report, struct str error);

/* ---- probe.c ---- */
void probes_remove(const char *data_dir); /* what one that was killed has left */

/* ---- pins.c: images by digest ---- */
/* All images whose digests are in the text stay until pins_sweep() finds that nothing names them. NULL is fine. */
int pins_add(struct jobs *js, const char *text, struct err *e) must_check;
void pins_sweep(struct jobs *js);

/* ---- measure.c: the metrics of hosts ---- */
void measure_start(struct jobs *js, struct series_store *s); /* s NULL: there are none */
void measure_stop(struct jobs *js);
/* The host has, or may have, a supervisor: its metrics are read from now on. */
void measure_follow(struct jobs *js, struct job_host *h);
void measure_forget(struct jobs *js, const char *job_id); /* the job is deleted */
/* Whether its end can be taken: a job that has ended has all of its metrics. If not, it is asked for again when that is
 * so, and in any case after some time. */
bool measure_is_over(struct jobs *js, struct job_host *h);

/* ---- scheduler.c ---- */

/* Places what fits, strictly in order of creation; called after every change. */
void scheduler_run(struct jobs *js);
void scheduler_soon(struct jobs *js); /* from the loop, when the caller is done */
void scheduler_tick(void *jobs);
/* The freezer is done with a job; why is NULL when its directory is ready. */
void scheduler_frozen(struct jobs *js, const char *id, bool lazy, const struct err *why);
/* The same when the job was stopped, perhaps deleted, meanwhile: the directories of its hosts, one by one, are all ours
 * as nothing was launched, and go. */
void scheduler_unfrozen(struct jobs *js, const char *id);
/* Ends a job that has no supervisor: the state is STOPPING. */
int scheduler_end_stopped(struct jobs *js, struct job *j, const char *message, struct err *e) must_check;
void scheduler_pending_over(void *jobs); /* timer: MaxPendingTimeInSeconds */

/* ---- facts.c ---- */
extern const struct launcher_events facts_events; /* arg: struct jobs */
void facts_retry(void *jobs);                     /* timer: jobs that are behind ask again, waiting ones try again */

/* An artifact in staged/ of the host becomes an object. *ret_failure: the job fails of it, and why. */
int facts_adopt(struct jobs *js, const struct job_host *h, const struct fact *f, char **ret_failure,
                struct err *e) must_check;

/* The gatherer is done with the outputs of a transform job of one host. */
void facts_gathered(struct jobs *js, struct job *j, const struct err *why);
/* The list of one fact's args, where `parts` is empty, else with one more; the caller frees. */
char *add_part(const char *parts, const struct fact *f);

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
/* The parts of the job's artifacts become artifacts, the outputs of a transform job objects; hosts_gathered() hears of
 * it. */
void freezer_gather(struct freezer *f, const struct job *j);
void freezer_sweep(struct freezer *f, struct wall before);
