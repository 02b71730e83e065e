/* Rows of the hosts of jobs of several: made, moved, read. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

int hosts_write(struct store *s, int64_t n, const struct store_new_job *j, struct err *e)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < j->host_count; i++) {
		if (conn_prepare(&s->writer, "INSERT INTO host (job, number, id, phase) VALUES (?1, ?2, ?3, ?4)", &st,
		                 e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, n);
		sqlite3_bind_int64(st, 2, (int64_t)i + 1);
		bind_z(st, 3, j->host_ids[i]);
		bind_z(st, 4, host_phase_name[HOST_NEW]);
		if (db_done(st, e, "adding a training host") < 0)
			return -1;
	}
	return 0;
}

int host_move(struct store *s, int64_t n, const struct store_host_move *m, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "UPDATE host SET phase = ?4, last_fact = ?5, failed_ms = iif(?6, ?6, failed_ms),"
	                 " failure = coalesce(?7, failure), result = coalesce(?8, result), exit = coalesce(?9, exit),"
	                 " parts = coalesce(?10, parts) WHERE job = ?1 AND number = ?2 AND last_fact = ?3",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	sqlite3_bind_int64(st, 2, m->number);
	sqlite3_bind_int64(st, 3, (int64_t)m->seen);
	bind_z(st, 4, host_phase_name[m->phase]);
	sqlite3_bind_int64(st, 5, (int64_t)m->fact);
	sqlite3_bind_int64(st, 6, m->failed.ms);
	bind_z(st, 7, m->failure);
	bind_z(st, 8, m->result);
	bind_z(st, 9, m->exit);
	bind_z(st, 10, m->parts);
	if (db_done(st, e, "moving a training host") < 0)
		return -1;
	if (sqlite3_changes(s->writer.db) == 1)
		return 0;
	return err_set(e, ERR_IN_USE, "host %u of the training job is no longer after fact %llu", m->number,
	               (unsigned long long)m->seen);
}

int host_shares_write(struct store *s, int64_t n, const struct store_host_share *shares, size_t count, struct err *e)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < count; i++) {
		if (conn_prepare(&s->writer,
		                 "UPDATE host SET cpus = ?3, memory_bytes = ?4 WHERE job = ?1 AND number = ?2", &st,
		                 e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, n);
		sqlite3_bind_int64(st, 2, (int64_t)i + 1);
		sqlite3_bind_double(st, 3, shares[i].cpus);
		sqlite3_bind_int64(st, 4, (int64_t)shares[i].memory_bytes);
		if (db_done(st, e, "placing a training host") < 0)
			return -1;
	}
	return 0;
}

static int host_read(sqlite3_stmt *st, struct stored_host *h, struct err *e)
{
	struct str id = column_str(st, 1);
	int phase = host_phase_by_name(column_str(st, 2));

	if (phase < 0 || id.n != JOB_ID_BYTES - 1)
		return err_set(e, ERR_IO, "host %lld of a job in the database is damaged",
		               (long long)sqlite3_column_int64(st, 0));
	*h = (struct stored_host){ .number = (unsigned)sqlite3_column_int64(st, 0),
		                   .phase = phase,
		                   .last_fact = (uint64_t)sqlite3_column_int64(st, 3),
		                   .cpus = sqlite3_column_double(st, 4),
		                   .memory_bytes = (uint64_t)sqlite3_column_int64(st, 5),
		                   .failed = { sqlite3_column_int64(st, 6) },
		                   .failure = column_dup(st, 7),
		                   .result = column_dup(st, 8),
		                   .exit = column_dup(st, 9),
		                   .parts = column_dup(st, 10) };
	memcpy(h->id, id.p, id.n);
	return 0;
}

int store_hosts_each(struct store *s, int64_t n, int (*fn)(const struct stored_host *h, void *arg, struct err *e),
                     void *arg, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer,
	                 "SELECT number, id, phase, last_fact, cpus, memory_bytes, failed_ms, failure, result, exit,"
	                 " parts FROM host WHERE job = ?1 ORDER BY number",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	while ((r = db_row(st, e, "reading the hosts of a training job")) > 0) {
		struct stored_host h = { 0 };

		r = host_read(st, &h, e);
		if (r == 0)
			r = fn(&h, arg, e);
		free(h.failure);
		free(h.result);
		free(h.exit);
		free(h.parts);
		if (r < 0) {
			sqlite3_reset(st);
			return -1;
		}
	}
	return r;
}
