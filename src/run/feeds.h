/* feeds.h - what is known of each channel of the run: its way, how much of it is this host's, and how it is being fed.
 *
 * Told in the job's log at start and end, and in <job>/feeds.json, which bloomeryd reads for `bloomery describe` and
 * its metrics: written by rename when something has changed, at most every two seconds, and at the end. Everything
 * happens on the run's loop.
 *
 *   {"at": ms, "host": "algo-1", "channels": [{"channel": "train", "mode": "Pipe", "way": "piped", "objects": n,
 *    "bytes": n, "seconds": placing took, "feed": {feed_stats}, "bottleneck": "trainer"|"data"|"neither"}]}
 *
 * objects and bytes are of this host's share (of epoch 0 when it is shuffled and dealt), and absent where nobody knows;
 * feed and bottleneck are there for what is fed while the container runs, once it has been read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "channel/channel.h"
#include "channel/feeder.h"
#include "loop/loop.h"

struct run;

struct feed {
	enum channel_way way;
	bool prepared;
	struct channel_stats share;
	int64_t prepare_ms; /* placing or linking took */
	bool fed;           /* a feeder has told figures */
	struct feed_stats stats;
};

/* Who was waited for. NEITHER: for nobody much, or there was too little to say. */
enum bottleneck { BOTTLENECK_NEITHER, BOTTLENECK_TRAINER, BOTTLENECK_DATA };
enum bottleneck feed_bottleneck(const struct feed_stats *s);

/* A row a channel, in the order of the specification; r->feeds, freed by feeds_close. */
void feeds_open(struct run *r);
void feeds_close(struct run *r);
/* The channel is ready: a line in the log, except in File mode, where what takes time has told of itself. */
void feeds_prepared(struct run *r, size_t channel, const struct channel_stats *share, int64_t ms);
void feeds_told(struct run *r, size_t channel, const struct feed_stats *stats);
/* The container has ended and so have the feeders: the lines in the log, and the file for the last time. */
void feeds_end(struct run *r);

/* The words, without I/O: for a channel that is ready (and not placed), and for one that was fed. */
void feed_start_line(const struct channel_spec *ch, const struct feed *f, struct buf *out);
void feed_end_line(const struct channel_spec *ch, const struct feed *f, struct buf *out);
json_t *feeds_to_json(const struct run *r); /* new reference */
