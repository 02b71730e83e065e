/* jobdir.h - the job directory, <data>/jobs/<id>/, as an interface between bloomeryd, bloomery-host and bloomery-job.
 *
 *   spec.json     the whole work order; bloomeryd writes it before the launch, nobody changes it after     0600
 *   lists/<n>     the objects of channel n as they were at launch (see list.h)                              0600
 *   staged/       artifacts waiting to become objects; bloomery-job makes, bloomeryd takes by rename
 *   journal       numbered facts, appended and fdatasync'ed by bloomery-job alone                           0644
 *   sock          unix seqpacket, bloomery-job listens: commands in, liveness
 *   pid           "PID STARTTIME\n" of bloomery-job (start time: field 22 of /proc/PID/stat); by rename
 *   exit          last word of bloomery-job, by rename, after ENDED is in the journal and all is undone
 *   supervisor.log  standard error of bloomery-job
 *   lost          why bloomery-job went away without ENDED; bloomery-host's, by rename, once all is cleaned up
 *   elsewhere     the supervisor is on another machine, in a directory of its own; see job/desk.h
 *   log/          bloomeryd's user's, who packs and removes old parts of what is in it (see joblog/)
 *   log/<host>    what the container printed, and log/<host>.*, what comes behind it                        0644
 *   feeds.json    how the channels are being fed; bloomery-job's, by rename; stays as long as the log        0644
 *   work/         everything the run needs (volume image, mount points, bundle); gone at the end
 *
 * The directory belongs to bloomeryd's user; what bloomery-job makes in it belongs to root and is world-readable
 * except where a mode is given. Facts are numbered from 1 without gaps; replaying them is always safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/str.h"

/* What a supervisor can report, and the event it means to the job (contract 5.2); "" means none. args are members of
 * the fact's JSON object. */
/* clang-format off */
#define JOB_FACTS(X)                                                                                                 \
	/* fact         event          args                                                                       */ \
	X(STARTED,      "")         /* {}  the supervisor runs                                                    */ \
	X(DOWNLOADING,  "DOWNLOAD") /* {}  channel data, or a model, is being placed                              */ \
	X(IMAGE,        "")         /* {"image","digest"}  the image is being fetched or found                    */ \
	X(READY,        "")         /* {}  of several hosts: waits for {"t":"go"} to start the container          */ \
	X(TRAINING,     "TRAIN")    /* {"pid"}  the container's first process has been started                    */ \
	X(STOPPING,     "")         /* {"why":"stop"|"max_runtime"|"peer"}                                        */ \
	X(EXPIRED,      "TIMEOUT")  /* {}  MaxRuntimeInSeconds is over                                            */ \
	X(EXITED,       "")         /* {"code","signal","oom","peak_memory_bytes"}                                */ \
	X(UPLOADING,    "UPLOAD")   /* {}  packing after exit 0 or a stop                                         */ \
	X(SALVAGING,    "SALVAGE")  /* {}  packing after a failure                                                */ \
	X(ARTIFACT,     "")         /* {"bucket","key","file","size","md5"}  file: name in staged/, ready to take. \
	                             * "part": true: an archive without its end, see artifact/artifact.h          */ \
	X(OUTPUTS,      "")         /* {"file","count","bytes"}  of a transform job: a file in staged/ with a line of   \
	                             * JSON for each object to take from there, {"file","key","size","md5"}, and  \
	                             * "bucket" where it is not that of S3OutputPath                              */ \
	X(ENDED,        "")         /* {"result":"ok"|"failed"|"stopped"|"expired","reason"}                      */
/* clang-format on */

enum fact_kind {
#define X(fact, event) FACT_##fact,
	JOB_FACTS(X)
#undef X
	        FACT_COUNT
};
extern const char *const fact_name[FACT_COUNT];
extern const char *const fact_event[FACT_COUNT];

/* The longest line of a journal, so that every fact also fits in a message of the host link. */
enum { FACT_MAX_BYTES = 60000 };
#define FACT_TIME_MAX_MS INT64_C(253402300799999) /* the end of the year 9999 */

struct fact {
	uint64_t n; /* 1, 2, 3 ... */
	struct wall at;
	enum fact_kind kind;
	json_t *args; /* an object; owned by the fact */
};
void fact_fini(struct fact *f);

/* ---- journal, writer's side (bloomery-job) ---- */
struct journal;
/* The first thing bloomery-job does, before pid, sock or any effect: of two supervisors of a job one fails here.
 * Opens for appending; drops a torn last line; numbering goes on after the last whole fact. ERR_IN_USE when another
 * process has it open for writing; ERR_SYNTAX when more than the last line is damaged. */
int journal_open(const char *job_dir, struct journal **ret, struct err *e) must_check;
void journal_close(struct journal *j); /* NULL is fine */
DEFINE_CLEANUP(struct journal, journal_close)
/* Appends and fdatasyncs one fact; args (may be NULL) is borrowed. When it returns 0 the fact is never lost; when it
 * fails the journal is as it was. ERR_LIMIT: args are too large. */
int journal_add(struct journal *j, enum fact_kind kind, const json_t *args, struct err *e) must_check;

/* ---- journal, reader's side ---- */
/* Parses one line without its '\n'. ERR_SYNTAX for anything that is not a fact. The caller fact_fini()s. */
int fact_parse(struct str line, struct fact *ret, struct err *e) must_check;
/* Writes the line, with '\n', that fact_parse reads. */
void fact_write(const struct fact *f, struct buf *out);
/* Calls fn for every whole fact with n > after, starting at *offset (0 at first), and moves *offset behind the last
 * whole line; a torn tail is left for the next call. A missing journal has no facts. fn's -1 ends the reading, with
 * *offset before that fact. ERR_SYNTAX: a line is no fact, or a number is missing. */
int journal_read(const char *job_dir, uint64_t after, uint64_t *offset,
                 int (*fn)(const struct fact *f, void *arg, struct err *e), void *arg, struct err *e) must_check;

/* ---- pid and exit ---- */
/* Whole for every reader, but not durable: a power cut can leave the file empty, and has ended the process. */
int jobdir_write_pid(const char *job_dir, pid_t pid, struct err *e) must_check;
/* 1 and *ret_pid: that very process is alive (and not a zombie). 0: no pid file, one that holds something else, or the
 * process is gone (also when its number was reused). -1: the file cannot be read, or is a link or no regular file. */
int jobdir_alive(const char *job_dir, pid_t *ret_pid, struct err *e) must_check;
uint64_t process_start_time(pid_t pid); /* 0 if there is no such process */
int jobdir_write_exit(const char *job_dir, const char *text, struct err *e) must_check;
bool jobdir_has_exit(const char *job_dir);

/* A job id is 16 lower-case hex digits; everything that names a job directory is checked with this. */
bool job_id_valid(struct str id);
