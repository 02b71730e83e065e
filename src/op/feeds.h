/* feeds.h - how the channels of a job are being fed: feeds.json, which bloomery-job keeps in the job's directory.
 *
 * Used by own.c and metrics.c, on HTTP threads. bloomery-job writes the file as root, but the directory is not root's,
 * and a supervisor of another version may have written it: what is read is bounded, checked member by member and
 * copied. Members that are not known are passed over. The file stays as long as the log does, so it also tells about
 * jobs that have ended. See doc/man/bloomery-job.7.md for its members.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"

enum { FEEDS_MAX_BYTES = 64 << 10, FEEDS_CHANNELS = 20, FEEDS_NAME_BYTES = 65 };

/* Since the start of the container, over all epochs. Bytes are those that the container saw. */
struct feed_numbers {
	uint64_t epoch;  /* the newest that was opened */
	uint64_t epochs; /* how many were; 0: nobody has read yet */
	uint64_t objects, bytes;
	uint64_t stalls_reader, stalls_store;
	uint64_t wait_reader_ms; /* data was there and the trainer did not take it */
	uint64_t wait_store_ms;  /* the trainer would have taken data and it was not there */
	uint64_t active_ms;      /* an epoch was being read */
};

struct feed_channel {
	char name[FEEDS_NAME_BYTES];
	const char *mode, *way;  /* static: "Pipe"; "piped", "fused", "linked", "placed", "mounted" */
	bool counted;            /* the next two are there: not for what is mounted, nor before it is prepared */
	uint64_t objects, bytes; /* of this host's share */
	double seconds;          /* that placing took; negative: not told */
	bool fed;                /* a feeder works, or worked, for it: numbers tell what it did */
	struct feed_numbers numbers;
	const char *bottleneck; /* static: "trainer", "data", "neither"; NULL: not told */
};

/* One training host's. */
struct feeds {
	struct wall at;
	char host[FEEDS_NAME_BYTES];
	struct feed_channel channels[FEEDS_CHANNELS];
	size_t count;
};

/* ERR_SYNTAX names the member that is missing, of the wrong type, out of range, or there twice. */
int feeds_parse(struct str text, struct feeds *ret, struct err *e) must_check;
/* Of the job with that id. ERR_NOT_FOUND: there is none (yet). ERR_DENIED, ERR_IO: it is no plain file, or cannot be
 * read. ERR_LIMIT: larger than FEEDS_MAX_BYTES. ERR_SYNTAX. */
int feeds_read(const char *data_dir, const char *id, struct feeds *ret, struct err *e) must_check;
/* The same members again, and only they; a new reference. feeds_parse reads it. */
json_t *feeds_to_json(const struct feeds *f);
