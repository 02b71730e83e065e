/* state.h - the life of a job as two tables: what states there are, and which event leads where. Training jobs and
 * transform jobs live the same life; the texts of the tables are a training job's.
 *
 * Used by store (names, CHECK), job (transitions), op (the strings of Describe) and the tests, in any process. Pure
 * data: no I/O, no memory. job_transition() in job/ is the only code that changes a job's state.
 *
 *                 WAIT            PLACE
 *     STARTING ─────────▶ PENDING ─────▶ ADMITTED ──┐
 *        │ PLACE                                     │ DOWNLOAD
 *        └──────────────▶ LAUNCHING ─────────────────┴▶ DOWNLOADING ─TRAIN▶ TRAINING ─UPLOAD──▶ UPLOADING ─OK▶
 * COMPLETED │  │   └SALVAGE▶ SALVAGING ─BAD▶ FAILED any of these ──STOP▶ STOPPING ──▶ STOPPED          TIMEOUT▶
 * EXPIRING ──▶ MAX_RUNTIME any non-final state ──LOST▶ FAILED
 *
 * What is true on disk: STARTING, PENDING: a row, no job directory needed. LAUNCHING, ADMITTED: the row, and a job
 * directory with spec.json that may or may not have a supervisor yet (launching twice is safe). DOWNLOADING to
 * EXPIRING: a supervisor ran; its journal holds everything it did. Final states: journal ended, nothing mounted,
 * no process, no cgroup; the log stays.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/str.h"

/* Status words and messages: contract 5.1 to 5.3. */
/* clang-format off */
#define JOB_STATES(X)                                                                                                 \
	/* state       TrainingJobStatus  SecondaryStatus        final  StatusMessage                              */ \
	X(STARTING,    "InProgress",      "Starting",            0, "Starting the training job")                      \
	X(PENDING,     "InProgress",      "Pending",             0, "Training job waiting for capacity")              \
	X(LAUNCHING,   "InProgress",      "Starting",            0, "Preparing the instances for training")           \
	X(ADMITTED,    "InProgress",      "Pending",             0, "Preparing the instances for training")           \
	X(DOWNLOADING, "InProgress",      "Downloading",         0, "Downloading input data")                         \
	X(TRAINING,    "InProgress",      "Training",            0, "Training image download completed. Training in progress.") \
	X(UPLOADING,   "InProgress",      "Uploading",           0, "Uploading generated training model")             \
	X(SALVAGING,   "InProgress",      "Uploading",           0, "Uploading generated training model")             \
	X(STOPPING,    "Stopping",        "Stopping",            0, "Stopping the training job")                      \
	X(EXPIRING,    "Stopping",        "Stopping",            0, "Stopping the training job")                      \
	X(COMPLETED,   "Completed",       "Completed",           1, "Training job completed")                         \
	X(FAILED,      "Failed",          "Failed",              1, "Training job failed")                            \
	X(STOPPED,     "Stopped",         "Stopped",             1, "Training job stopped")                           \
	X(MAX_RUNTIME, "Stopped",         "MaxRuntimeExceeded",  1, "Training job runtime exceeded MaxRuntimeInSeconds provided")
/* clang-format on */

/* clang-format off */
#define JOB_EVENTS(X)                                                                         \
	X(WAIT)        /* scheduler: the machine is full                                   */ \
	X(PLACE)       /* scheduler: capacity is reserved, a supervisor is being launched  */ \
	X(DOWNLOAD)    /* fact: data is being placed                                       */ \
	X(TRAIN)       /* fact: the container runs                                         */ \
	X(UPLOAD)      /* fact: the container exited 0, artifacts are being packed         */ \
	X(SALVAGE)     /* fact: the container failed, artifacts are packed all the same    */ \
	X(STOP)        /* StopTrainingJob                                                  */ \
	X(TIMEOUT)     /* fact: MaxRuntimeInSeconds is over, the container is being stopped */ \
	X(END_OK)      /* fact: all done                                                   */ \
	X(END_BAD)     /* fact: ended with a FailureReason                                 */ \
	X(END_STOPPED) /* fact: ended because it was told to stop                          */ \
	X(END_EXPIRED) /* fact: ended because the time was over                            */ \
	X(LOST)        /* the supervisor is gone and left no ending                        */
/* clang-format on */

/* clang-format off */
#define JOB_EDGES(X)                                                                                          \
	X(STARTING, WAIT, PENDING)                                                                            \
	X(STARTING, PLACE, LAUNCHING)                                                                         \
	X(STARTING, STOP, STOPPING)                                                                           \
	X(STARTING, END_BAD, FAILED)                                                                          \
	X(STARTING, LOST, FAILED)                                                                             \
	X(PENDING, PLACE, ADMITTED)                                                                           \
	X(PENDING, STOP, STOPPING)                                                                            \
	X(PENDING, END_BAD, FAILED)                                                                           \
	X(PENDING, LOST, FAILED)                                                                              \
	X(LAUNCHING, DOWNLOAD, DOWNLOADING)                                                                   \
	X(LAUNCHING, STOP, STOPPING)                                                                          \
	X(LAUNCHING, END_BAD, FAILED)                                                                         \
	X(LAUNCHING, LOST, FAILED)                                                                            \
	X(ADMITTED, DOWNLOAD, DOWNLOADING)                                                                    \
	X(ADMITTED, STOP, STOPPING)                                                                           \
	X(ADMITTED, END_BAD, FAILED)                                                                          \
	X(ADMITTED, LOST, FAILED)                                                                             \
	X(DOWNLOADING, TRAIN, TRAINING)                                                                       \
	X(DOWNLOADING, STOP, STOPPING)                                                                        \
	X(DOWNLOADING, END_BAD, FAILED)                                                                       \
	X(DOWNLOADING, LOST, FAILED)                                                                          \
	X(TRAINING, UPLOAD, UPLOADING)                                                                        \
	X(TRAINING, SALVAGE, SALVAGING)                                                                       \
	X(TRAINING, STOP, STOPPING)                                                                           \
	X(TRAINING, TIMEOUT, EXPIRING)                                                                        \
	X(TRAINING, END_BAD, FAILED)                                                                          \
	X(TRAINING, LOST, FAILED)                                                                             \
	X(UPLOADING, STOP, STOPPING)                                                                          \
	X(UPLOADING, END_OK, COMPLETED)                                                                       \
	X(UPLOADING, END_BAD, FAILED)                                                                         \
	X(UPLOADING, LOST, FAILED)                                                                            \
	X(SALVAGING, STOP, STOPPING)                                                                          \
	/* Of several hosts: one broke as the time of another was over, and was heard of first. */            \
	X(SALVAGING, TIMEOUT, EXPIRING)                                                                       \
	X(SALVAGING, END_BAD, FAILED)                                                                         \
	X(SALVAGING, LOST, FAILED)                                                                            \
	/* A stop is a promise made to the caller; what the supervisor still reports does not take it back. */ \
	X(STOPPING, DOWNLOAD, STOPPING)                                                                       \
	X(STOPPING, TRAIN, STOPPING)                                                                          \
	X(STOPPING, UPLOAD, STOPPING)                                                                         \
	X(STOPPING, SALVAGE, STOPPING)                                                                        \
	X(STOPPING, TIMEOUT, STOPPING)                                                                        \
	X(STOPPING, END_OK, STOPPED)                                                                          \
	X(STOPPING, END_BAD, FAILED)                                                                          \
	X(STOPPING, END_STOPPED, STOPPED)                                                                     \
	X(STOPPING, END_EXPIRED, STOPPED)                                                                     \
	X(STOPPING, LOST, FAILED)                                                                             \
	X(EXPIRING, UPLOAD, EXPIRING)                                                                         \
	X(EXPIRING, SALVAGE, EXPIRING)                                                                        \
	X(EXPIRING, END_OK, MAX_RUNTIME)                                                                      \
	X(EXPIRING, END_BAD, FAILED)                                                                          \
	X(EXPIRING, END_EXPIRED, MAX_RUNTIME)                                                                 \
	X(EXPIRING, LOST, FAILED)
/* clang-format on */

/* What a job is. Names of jobs are unique within their kind; ids are of all. */
/* clang-format off */
#define JOB_KINDS(X)                                                                                          \
	/* kind       stored       words            resource         log group                             */ \
	X(TRAINING,   "training",  "training job",  "training-job",  "/aws/sagemaker/TrainingJobs")           \
	X(TRANSFORM,  "transform", "transform job", "transform-job", "/aws/sagemaker/TransformJobs")
/* clang-format on */

enum job_kind {
#define X(kind, stored, words, resource, group) KIND_##kind,
	JOB_KINDS(X)
#undef X
	        KIND_COUNT
};

struct job_kind_info {
	const char *name, *words, *resource, *group; /* resource: of the ARN; group: of the logs, and of the metrics */
};
extern const struct job_kind_info job_kind_info[KIND_COUNT];
int job_kind_by_name(struct str name); /* as SQL stores it; -1 if there is none */

/* How far a training host of a job has come. Of a job of one host nobody asks: its state says so. */
/* clang-format off */
#define HOST_PHASES(X)                                                     \
	X(NEW)       /* nothing has been heard of its supervisor        */ \
	X(PREPARING) /* data and image are being placed                 */ \
	X(READY)     /* it waits for the others, to start with them     */ \
	X(TRAINING)  /* its container runs                              */ \
	X(UPLOADING) /* its container has ended; artifacts are packed   */ \
	X(ENDED)     /* all is undone, the result is known              */ \
	X(LOST)      /* its supervisor is gone and left no ending       */
/* clang-format on */

enum host_phase {
#define X(phase) HOST_##phase,
	HOST_PHASES(X)
#undef X
	        HOST_PHASE_COUNT
};
extern const char *const host_phase_name[HOST_PHASE_COUNT];
int host_phase_by_name(struct str name); /* -1 if there is none */

enum job_state {
#define X(state, status, secondary, final, message) JOB_##state,
	JOB_STATES(X)
#undef X
	        JOB_STATE_COUNT
};

enum job_event {
#define X(event) EV_##event,
	JOB_EVENTS(X)
#undef X
	        JOB_EVENT_COUNT
};

struct job_state_info {
	const char *name, *status, *secondary, *message;
	bool final;
};
extern const struct job_state_info job_state_info[JOB_STATE_COUNT];
extern const char *const job_event_name[JOB_EVENT_COUNT];

/* The state that `event` leads to from `from`, or -1 where it means nothing there. */
int job_next(enum job_state from, enum job_event event);
/* By name, as SQL stores it; -1 if there is none. */
int job_state_by_name(struct str name);
int job_event_by_name(struct str name);
