/* What is too old goes, a little with every commit: what reads leaves it out already, so there is no hurry, and nothing
 * has to wake up for it. SPDX-License-Identifier: Apache-2.0 */
#include "series/db.h"

enum { SERIES_EACH_TIME = 4 };

static int prune_series(struct series_conn *c, int64_t series, struct wall now, struct err *e)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < ARRAY_LEN(series_tiers); i++) {
		const struct series_tier *tier = &series_tiers[i];

		if (series_prepare(c, "DELETE FROM point WHERE series = ?1 AND seconds = ?2 AND t < ?3", &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, series);
		sqlite3_bind_int64(st, 2, tier->seconds);
		sqlite3_bind_int64(st, 3, now.ms / 1000 - tier->keep_s - tier->seconds);
		if (series_done(st, e) < 0)
			return -1;
	}
	return 0;
}

/* A series whose last value is older than all that is kept, and its metric with it. */
static int drop_series(struct series_conn *c, int64_t series, int64_t metric, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, "DELETE FROM series WHERE id = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, series);
	if (series_done(st, e) < 0 ||
	    series_prepare(c,
	                   "DELETE FROM metric WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM series WHERE metric = ?1)",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	return series_done(st, e);
}

int series_prune(struct series_store *s, struct wall now, struct err *e)
{
	const struct series_tier *last = &series_tiers[ARRAY_LEN(series_tiers) - 1];
	struct series_conn *c = &s->writer.conn;
	int64_t oldest = now.ms - (last->keep_s + last->seconds) * 1000;

	if (series_prune_values(s, e) < 0)
		return -1;
	for (int i = 0; i < SERIES_EACH_TIME; i++) {
		int64_t series, metric, last_ms;
		sqlite3_stmt *st;
		int r;

		if (series_prepare(c,
		                   "SELECT series.id, metric.id, last_ms FROM series JOIN metric ON metric.id = metric "
		                   "WHERE series.id > ?1 ORDER BY series.id LIMIT 1",
		                   &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, s->writer.pruned);
		r = series_row(st, e);
		if (r < 0)
			return -1;
		if (r == 0) {
			s->writer.pruned = 0; /* from the beginning, the next time */
			return 0;
		}
		series = sqlite3_column_int64(st, 0);
		metric = sqlite3_column_int64(st, 1);
		last_ms = sqlite3_column_int64(st, 2);
		sqlite3_reset(st);
		s->writer.pruned = series;
		if (prune_series(c, series, now, e) < 0 || (last_ms < oldest && drop_series(c, series, metric, e) < 0))
			return -1;
	}
	return 0;
}
