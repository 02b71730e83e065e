/* feeder.h - how bloomery-job talks to the programs that feed a channel while the container runs.
 *
 * `bloomery-fetch pipe` (Pipe mode) and `bloomery-fuse` (FastFile) get their work order as one JSON object on stdin, up
 * to its end of file, so that no secret is in an argument list; descriptors named in it are inherited. They answer with
 * one JSON object a line on stdout:
 *
 *   {"ready": {}}                     the FIFO of epoch 0 is there, or the file system answers
 *   {"feed": {...}}                   struct feed_stats: when it has changed, once a second at most, and at the end
 *   {"trouble": {"text": "..."}}      a sentence: something could not be read, and the container was told (EIO)
 *   {"error": {"kind": "IO", "text": "..."}}   the last line, exit 1: this channel cannot be fed any more
 *
 * They end, exit 0, on SIGTERM or when the reading end of stdout is closed, and die with their parent. Both ends of the
 * protocol are in this header.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "channel/order.h"
#include "jobdir/spec.h"

struct feeder_order {
	char *channel, *input_mode;
	enum place place;
	char *bucket, *prefix; /* of the objects, as in struct channel_spec */
	bool lines;            /* the list is of an augmented manifest */
	bool record_io, gzip;
	struct unit_order order;
	struct s3_target s3; /* PLACE_REMOTE */
	int list_fd;         /* readable */
	int objects_fd;      /* <data>/objects; -1: PLACE_REMOTE */
	int data_fd;  /* Pipe: the container's /opt/ml/input/data, through the mounted root file system; else -1 */
	int spool_fd; /* Pipe: a directory for unnamed temporary files; else -1 */
	int fuse_fd;  /* FastFile: /dev/fuse, mounted already; else -1 */
};

char *feeder_order_text(const struct feeder_order *o); /* the JSON text; the caller wipes and frees it */
/* Reads fd to its end. ERR_INVALID names the member that is missing, unknown or of the wrong type; nothing of a secret
 * is ever in an error. */
int feeder_order_read(int fd, struct feeder_order *ret, struct err *e) must_check;
void feeder_order_fini(struct feeder_order *o); /* closes no descriptor */

/* Since the start, over all epochs. Times are of waiting: a channel that is always read at once waits for the store
 * only. */
struct feed_stats {
	uint64_t epoch;  /* the newest that was opened by a reader */
	uint64_t epochs; /* opened so far: 0 when nobody has read yet */
	uint64_t objects,
	        bytes; /* given to the container: objects finished, bytes of them as the container sees them */
	uint64_t stalls_reader, stalls_store;
	uint64_t wait_reader_ms; /* data was there and the reader did not take it, while an epoch was being read */
	uint64_t wait_store_ms;  /* the reader would have taken data and it was not there yet */
	uint64_t active_ms;      /* an epoch was being read */
};

/* Writers: one line each, in one write(2). They ignore a reader that has gone. */
void feeder_say_ready(int fd);
void feeder_say_feed(int fd, const struct feed_stats *s);
void feeder_say_trouble(int fd, const char *text);
void feeder_say_error(int fd, const struct err *why);

enum feeder_word { FEEDER_READY, FEEDER_FEED, FEEDER_TROUBLE, FEEDER_ERROR };
struct feeder_answer {
	enum feeder_word word;
	struct feed_stats feed;
	struct buf text;    /* trouble and error */
	enum err_kind kind; /* error */
};
/* ERR_SYNTAX: not such a line. ret->text is the caller's to free, and is reset first. */
int feeder_answer_parse(struct str line, struct feeder_answer *ret, struct err *e) must_check;

json_t *feed_stats_to_json(const struct feed_stats *s);             /* new reference */
void feed_stats_from_json(const json_t *j, struct feed_stats *ret); /* what is missing or odd is 0 */
