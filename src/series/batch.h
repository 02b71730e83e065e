/* batch.h - what a batch gathers before it is committed; for batch.c and commit.c alone.
 *
 * Values of one key that fall into the same interval of the same resolution are put together here, in memory, so the
 * database is asked once for each interval however many values there are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/db.h"

struct batch_key {
	char *ns, *name, *dims, *unit;
	size_t ns_n, name_n, dims_n, unit_n;
	int64_t last_ms; /* of the values in the batch */
	int64_t series;  /* while committing */
};
struct batch_point {
	unsigned key, tier; /* tier: of series_tiers */
	struct series_point p;
};
struct batch_value {
	unsigned metric; /* of metrics */
	int64_t at_ms, step;
	double value;
	bool has_step;
	enum series_source source;
	unsigned host;
};
/* A metric of a job, of its values or of the samples of a host. */
struct batch_metric {
	char *job, *host, *name;
	bool sampled;
	int64_t sampled_ms; /* the newest sample */
	double sample;
	int64_t id, count; /* while committing; id 0: there are too many metrics, it is left out */
	int64_t last_ms, final_ms;
	double last, final;
	bool has_last, has_final;
};
struct batch_cursor {
	char *host_id, *job, *counts;
	uint64_t offset;
};
struct series_batch {
	struct batch_key *keys;
	struct batch_point *points;
	struct batch_value *values;
	struct batch_metric *metrics;
	struct batch_cursor *cursors;
	size_t key_count, point_count, value_count, metric_count, cursor_count;
	size_t key_room, point_room, value_room;
	uint32_t *slots; /* open addressing over points: index + 1 */
	size_t slot_count;
	uint32_t *key_slots, key_slot_count;
	bool strict;
};

void batch_reset(struct series_batch *b);
/* commit.c: in a transaction of the writer: only the points. */
int batch_write_points(struct series_conn *c, struct series_batch *b, struct wall now, struct err *e) must_check;
