/* What a monitor wants to know: how many jobs there are, and which to look at.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#define UNFINISHED "('InProgress', 'Stopping')"

static int state_of_status(struct str status)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		if (str_is(status, job_state_info[s].status))
			return s;
	return -1;
}

/* Both walk an index: of the jobs that have ended, which may be very many, no row is touched. */
static int count_ended(struct conn *c, enum job_kind kind, uint64_t counts[JOB_STATE_COUNT], struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT status, count(*) FROM job INDEXED BY job_by_status"
	                 " WHERE kind = ?1 AND status NOT IN " UNFINISHED " GROUP BY status",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, job_kind_info[kind].name);
	while ((r = db_row(st, e, "counting jobs")) > 0) {
		int s = state_of_status(column_str(st, 0));

		if (s >= 0)
			counts[s] = (uint64_t)sqlite3_column_int64(st, 1);
	}
	return r;
}

static int count_unfinished(struct conn *c, enum job_kind kind, uint64_t counts[JOB_STATE_COUNT], struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT state, count(*) FROM job INDEXED BY job_by_status"
	                 " WHERE kind = ?1 AND status IN " UNFINISHED " GROUP BY state",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, job_kind_info[kind].name);
	while ((r = db_row(st, e, "counting jobs")) > 0) {
		int s = job_state_by_name(column_str(st, 0));

		if (s >= 0)
			counts[s] = (uint64_t)sqlite3_column_int64(st, 1);
	}
	return r;
}

int store_job_counts(struct store *s, enum job_kind kind, uint64_t ret_counts[JOB_STATE_COUNT], struct err *e)
{
	uint64_t counts[JOB_STATE_COUNT] = { 0 };
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = count_ended(c, kind, counts, e);
	if (rc == 0)
		rc = count_unfinished(c, kind, counts, e);
	reader_give(s, c);
	if (rc == 0)
		memcpy(ret_counts, counts, sizeof(counts));
	return rc;
}

int store_job_each_current(struct store *s, enum job_kind kind, struct wall ended_after, unsigned max,
                           void (*fn)(struct str name, const char *id, void *arg), void *arg, struct err *e)
{
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1;

	if (!c)
		return -1;
	/* modified_ms is in the index and never earlier than ended_ms, which is not. */
	if (conn_prepare(c,
	                 "SELECT j.name, coalesce(h.id, j.id) FROM job AS j INDEXED BY job_by_creation"
	                 " LEFT JOIN host AS h ON h.job = j.n"
	                 " WHERE j.kind = ?3 AND (j.status IN " UNFINISHED
	                 " OR j.modified_ms > ?1) AND (j.ended_ms = 0 OR j.ended_ms > ?1)"
	                 " ORDER BY j.created_ms DESC, j.n DESC, h.number LIMIT ?2",
	                 &st, e) == 0) {
		sqlite3_bind_int64(st, 1, ended_after.ms);
		sqlite3_bind_int64(st, 2, max);
		bind_z(st, 3, job_kind_info[kind].name);
		while ((r = db_row(st, e, "looking for current jobs")) > 0)
			fn(column_str(st, 0), (const char *)sqlite3_column_text(st, 1), arg);
	}
	reader_give(s, c);
	return r;
}
