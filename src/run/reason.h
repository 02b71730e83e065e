/* reason.h - the words of FailureReason: why a job failed, where, and what to try.
 *
 * Pure functions, called by the supervisor when a phase failed or the container ended badly. The service's own texts
 * are used where there are any (contract 4.3, 2.3); at most REASON_MAX characters, always valid UTF-8.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum {
	REASON_MAX = 1024,        /* characters, model: FailureReason */
	REASON_FAILURE_MAX = 1024 /* characters taken from /opt/ml/output/failure, contract 4.3 */
};

/* What is known about a container that ended. Strings are borrowed; "" or NULL where there is nothing to say. */
struct ending {
	int code, signal;    /* signal != 0: killed by it */
	struct str failure;  /* /opt/ml/output/failure as it was read */
	struct str tail;     /* the last lines it printed, '\n' between them */
	struct str trouble;  /* sentences: what of its data could not be read */
	const char *program; /* what was executed */
	const char *serving; /* it serves a model, and should not have ended: the container's name; else NULL */
	bool out_of_memory;  /* the kernel killed something in it */
	uint64_t memory_limit_bytes, memory_peak_bytes;
	const char *instance_type;
	bool machine_disk_full; /* the disk under the volume */
	bool disk_full;
	uint64_t volume_bytes;
	const char *largest; /* "/opt/ml/model 1.2 GB, /tmp 3 MB" */
	bool processes_full; /* a fork was refused */
	uint64_t processes_limit;
};

/* FailureReason of a container that ended with a code or signal other than 0. */
void reason_of_ending(const struct ending *end, struct buf *out);

/* FailureReason of a phase that failed: the prefix of the error's kind and its chain. A chain that begins with one of
 * the prefixes itself is taken as it is. */
void reason_of_error(const struct err *e, struct buf *out);

/* Appends in as valid UTF-8, at most max_chars characters (the last is an ellipsis when it is cut): bytes that are not
 * UTF-8 become U+FFFD, control characters other than TAB and LF are left out. */
void reason_clean(struct str in, size_t max_chars, struct buf *out);

const char *reason_signal(int signo);               /* "SIGSEGV (segmentation fault)" */
void reason_bytes(uint64_t bytes, struct buf *out); /* "512 MiB", "1.5 GiB" */
