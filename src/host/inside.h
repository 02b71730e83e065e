/* inside.h - what the files of src/host/ share. One thread, one loop; everything is owned by struct host.
 *
 * A job is in the table while something may still happen: it runs, is being cleaned up, or has facts that the daemon
 * has asked for and not been sent. For any other job the directory says all there is, and job_get() looks there again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "host/host.h"
#include "jobdir/jobdir.h"
#include "loop/loop.h"
#include "oci/bundle.h"

/* Where a job is, as far as the host knows.
 *
 *     IDLE ──launch──▶ RUNS ──exit file──▶ ENDED
 *                       │ gone without one
 *                       └▶ CLEANING ──ENDED in the journal──▶ ENDED
 *                             └──────────────no──────────────▶ LOST */
enum job_at {
	JOB_IDLE,     /* a directory, and nobody has ever worked in it, or who does is elsewhere */
	JOB_RUNS,     /* a supervisor is alive */
	JOB_CLEANING, /* it has gone, and what it left is being removed */
	JOB_ENDED,    /* all facts are in the journal */
	JOB_LOST,     /* so are those there will ever be; `reason` says why */
};

/* What a supervisor is to be told; a later word takes the place of an earlier one that was not heard yet. */
enum job_word { WORD_NONE, WORD_GO, WORD_PEER /* stop, as another host has failed */, WORD_STOP };

struct job {
	struct host *host;
	struct job *next;
	enum job_at at;
	char id[17];
	int dir_fd;
	char path[40]; /* "/proc/self/fd/<dir_fd>": the directory whatever its name now leads to */

	pid_t pid;
	struct loop_source *process;
	int wd; /* inotify; -1: none */

	bool watched;           /* by the daemon that is connected now */
	bool damaged;           /* its journal cannot be read further; said once */
	uint64_t after, offset; /* of the watch */
	char *reason;           /* of LOST, and while CLEANING what it will be */
	struct wall gone;       /* when it was seen to be; 0: not seen by us */

	struct {
		enum job_word wanted;
		int fd; /* -EBADF: not connected */
		struct loop_source *source, *again;
	} stop;
	struct {
		pid_t pid; /* 0: none at work */
		struct loop_source *process, *limit;
		bool wanted, remove; /* the daemon has said forget or delete, to be done once the supervisor is gone */
		enum clean_depth depth; /* of the cleaner at work */
	} clean;
};

struct host {
	struct host_options options;
	char *supervisor, *cleaner;
	struct loop *loop;
	int data_fd, jobs_fd, lock_fd;
	int conf_fd; /* memory: what supervisors are told of bloomery.conf */
	struct job *jobs;
	bool networks;          /* bloomery.conf wants them */
	struct net_ear *ear;    /* NULL: nobody tells us of refused packets */
	int sealing;            /* enum net_sealing */
	char *no_network;       /* why jobs cannot have networks of their own; NULL: they can */
	struct runtime runtime; /* path NULL: none works here */

	int listen_fd;
	struct loop_source *listen;
	struct {
		int fd; /* -EBADF: no daemon */
		struct loop_source *source;
		bool blocked; /* it does not keep up: nothing is sent until the socket takes more */
	} daemon;

	struct {
		struct pack *first; /* the one at work, and those behind it */
		pid_t pid;
		int said_fd;
		struct loop_source *process;
	} packs;

	struct {
		struct ask *first; /* those at work, and those behind them */
		unsigned at_work;
	} asks;

	struct {
		struct look *first; /* likewise */
		unsigned at_work;
	} looks;

	int inotify_fd;
	struct loop_source *inotify, *poll_timer; /* poll_timer: only when inotify has no room */
};

/* ---- job.c: one job ---- */
/* The job's row, made from its directory when there is none. NULL: there is no such directory (or the id is none). */
struct job *job_get(struct host *h, struct str id, struct err *e);
/* Takes it out of the table if nothing more can happen; to be called last, as it may free j. */
void job_settle(struct job *j);
void job_free(struct job *j);
void job_launch(struct job *j);
/* Its supervisor is on another machine, and nothing of ours; bloomeryd is told so when it asks us for it. */
bool job_refuse_elsewhere(struct job *j);
/* Takes over or cleans up what is there at start. */
void host_scan(struct host *h);

/* ---- stop.c ---- */
void job_tell(struct job *j, enum job_word word);
void job_stop_again(struct job *j); /* something has happened in the directory: the socket may be there now */
void job_stop_end(struct job *j);

/* ---- clean.c, cleaner.c ---- */
/* Starts the cleaner and goes on in job_cleaned() when it has ended. */
void job_clean(struct job *j);
void job_cleaned(struct job *j, bool ok);
/* Forgets a job of which nothing is left but what stays, without a cleaner; false: one is needed. Does not wait. */
bool job_forget_clean(struct job *j);

/* ---- link.c: the daemon ---- */
int link_open(struct host *h, struct err *e) must_check;
void link_close(struct host *h);
void link_lost(struct host *h, const char *id, const char *reason);
/* error NULL: there is a digest. Not sent when the daemon takes nothing now: it asks again. */
void link_digest(struct host *h, int64_t n, const char *digest, const char *error);
void link_scan(struct host *h, const char *image, const char *failure); /* NULL: it has passed */
/* report is stolen; NULL: there is none, and error says why. Not sent when the daemon takes nothing now. */
void link_report(struct host *h, int64_t n, json_t *report, const char *error);
/* Sends what the daemon has not been sent of a watched job, as far as it takes it. */
void job_pump(struct job *j);

/* ---- refusals.c ---- */
void refusals_open(struct host *h);
/* ---- pack.c: images for hosts that are elsewhere ---- */
/* One after the other; one that waits already is not asked for twice. */
void pack_image(struct host *h, struct str id, const char *image);
void pack_close(struct host *h);

/* ---- digest.c: what names of images mean at their registries, and what scans find in them ---- */
void digest_ask(struct host *h, int64_t n, const char *image);
void scan_ask(struct host *h, const char *image); /* of one that is being scanned, the answer comes once */
void digest_close(struct host *h);

/* ---- look.c: what is in images ---- */
void look_at_image(struct host *h, int64_t n, const json_t *order); /* hostlink.h's "check" */
void look_close(struct host *h);

/* ---- follow.c: journals ---- */
int follow_open(struct host *h, struct err *e) must_check;
void follow_close(struct host *h);
void follow_job(struct job *j);
