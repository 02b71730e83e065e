/* work.h - the work order of bloomery-transform, what transform.h says stands on its stdin, and the parameters of the
 * job with what the container wishes and the service's defaults.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "transform/process.h"
#include "transform/split.h"

enum {
	MAX_PAYLOAD_MB = 100, /* contract 7.4 */
	CONTAINERS_MAX = 15,
	UNBOUNDED_RECORD = 512 << 20, /* with MaxPayloadInMB 0, of what has to be in memory */
};

/* Strings are owned and never NULL, those of S3 excepted. */
struct work {
	char *containers[CONTAINERS_MAX], *names[CONTAINERS_MAX]; /* addresses, and what errors call them */
	unsigned container_count;
	unsigned share_number, share_count; /* every share_count-th object of the list, from share_number on */
	char *bucket, *prefix;
	char *endpoint, *region, *access_key, *secret_key, *session_token; /* NULL: left out */
	int list, objects, out, log, sockets;                              /* descriptors; -EBADF: left out */
	unsigned ping_timeout_s, patience_s;

	/* Of the request; -1 and "" where it says nothing. */
	int max_concurrent, max_payload_mb;
	char *strategy; /* as the API writes it */
	unsigned timeout_s, retries;
	char *content_type, *accept;
	enum split_type split;
	bool gzip, lines;               /* CompressionType Gzip; AssembleWith Line */
	char *output, *capture;         /* S3OutputPath; DataCaptureConfig.DestinationS3Uri, "" for none */
	char started[CLOCK_TEXT_BYTES]; /* the job's start */
	struct process *process;
};
/* Reads fd to its end. ERR_INVALID names the member that is missing or wrong; nothing of a secret is in an error. */
int work_read(int fd, struct work *ret, struct err *e) must_check;
void work_fini(struct work *w);

/* What holds after the container has been asked (contract 7.5). */
struct terms {
	unsigned concurrent;
	unsigned payload_mb; /* 0: any size, in chunks */
	bool single;
};
/* answer: the body of /execution-parameters, empty when there was none. The request goes before the container, that
 * before the service's defaults. Members of the answer that make no sense count as left out, and *ret_ignored (may be
 * NULL) gets a sentence for the log. */
struct terms work_terms(const struct work *w, struct str answer, struct buf *ret_ignored);

/* Where the output of an object goes below S3OutputPath (contract 7.7): the key without what prefix has to the last
 * '/', and ".out". */
void work_out_key(struct str prefix, struct str key, struct buf *ret);
