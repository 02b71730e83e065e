/* Rows of jobs: made, moved, described, removed. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void stored_job_fini(struct stored_job *j)
{
	free(j->name);
	free(j->arn);
	free(j->needs);
	free(j->failure_reason);
	free(j->exit);
	free(j->image_digest);
	memset(j, 0, sizeof(*j));
}

int row_read(sqlite3_stmt *st, struct stored_job *ret, struct err *e)
{
	struct str id = column_str(st, 1);
	int state = job_state_by_name(column_str(st, 4)), kind = job_kind_by_name(column_str(st, 17));

	if (state < 0 || kind < 0 || id.n != JOB_ID_BYTES - 1)
		return err_set(e, ERR_IO, "job %lld in the database is damaged",
		               (long long)sqlite3_column_int64(st, 0));
	memset(ret, 0, sizeof(*ret));
	ret->n = sqlite3_column_int64(st, 0);
	ret->kind = (enum job_kind)kind;
	memcpy(ret->id, id.p, id.n);
	ret->name = column_dup(st, 2);
	ret->arn = column_dup(st, 3);
	ret->state = state;
	ret->last_fact = (uint64_t)sqlite3_column_int64(st, 5);
	ret->created.ms = sqlite3_column_int64(st, 6);
	ret->placed.ms = sqlite3_column_int64(st, 7);
	ret->started.ms = sqlite3_column_int64(st, 8);
	ret->ended.ms = sqlite3_column_int64(st, 9);
	ret->modified.ms = sqlite3_column_int64(st, 10);
	ret->cpus = sqlite3_column_double(st, 11);
	ret->memory_bytes = (uint64_t)sqlite3_column_int64(st, 12);
	ret->needs = column_dup(st, 13);
	ret->failure_reason = column_dup(st, 14);
	ret->exit = column_dup(st, 15);
	ret->image_digest = column_dup(st, 16);
	return 0;
}

static int open_transition(struct store *s, int64_t n, enum job_state state, struct wall at, const char *message,
                           struct err *e)
{
	const struct job_state_info *info = &job_state_info[state];
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO transition (job, seq, status, start_ms, end_ms, message) VALUES (?1,"
	                 " (SELECT coalesce(max(seq), 0) + 1 FROM transition WHERE job = ?1), ?2, ?3, ?4, ?5)",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	bind_z(st, 2, info->secondary);
	sqlite3_bind_int64(st, 3, at.ms);
	if (info->final) /* the last entry begins and ends at once (contract 5.3) */
		sqlite3_bind_int64(st, 4, at.ms);
	bind_z(st, 5, message ? message : info->message);
	return db_done(st, e, "adding a secondary status");
}

static int insert_row(struct store *s, const struct store_new_job *j, const char *name_lower, int64_t *ret_n,
                      struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO job (id, name, name_lower, arn, state, created_ms, modified_ms, needs,"
	                 " training_plan, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9)",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, j->id);
	bind_z(st, 2, j->name);
	bind_z(st, 3, name_lower);
	bind_z(st, 4, j->arn);
	bind_z(st, 5, job_state_info[JOB_STARTING].name);
	sqlite3_bind_int64(st, 6, j->created.ms);
	bind_z(st, 7, j->needs);
	bind_z(st, 8, j->training_plan);
	bind_z(st, 9, job_kind_info[j->kind].name);
	if (db_done(st, e, "adding a job") < 0)
		return -1;
	*ret_n = sqlite3_last_insert_rowid(s->writer.db);
	if (conn_prepare(&s->writer, "INSERT INTO job_text (n, echo, request) VALUES (?1, ?2, ?3)", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, *ret_n);
	bind_z(st, 2, j->echo);
	bind_z(st, 3, j->request);
	return db_done(st, e, "adding a job's request");
}

/* Inside the transaction, so that the answer holds. */
static int name_is_free(struct store *s, enum job_kind kind, const char *name_lower, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer, "SELECT arn FROM job WHERE name_lower = ?1 AND kind = ?2", &st, e) < 0)
		return -1;
	bind_z(st, 1, name_lower);
	bind_z(st, 2, job_kind_info[kind].name);
	r = db_row(st, e, "looking for a job of that name");
	if (r <= 0)
		return r;
	/* contract 5.9 */
	err_set(e, ERR_IN_USE,
	        "Job name must be unique within an AWS account and region, and a %s with this name already exists (%s)",
	        job_kind_info[kind].words, (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return -1;
}

int store_job_insert(struct store *s, const struct store_new_job *j, int64_t *ret_n, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(j->name));
	int64_t n = 0;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = name_is_free(s, j->kind, name_lower, e);
	if (rc == 0)
		rc = insert_row(s, j, name_lower, &n, e);
	if (rc == 0)
		rc = open_transition(s, n, JOB_STARTING, j->created, NULL, e);
	if (rc == 0 && j->host_count)
		rc = hosts_write(s, n, j, e);
	if (rc == 0 && j->tag_count)
		rc = tags_write(s, str_of(j->arn), j->tags, j->tag_count, e);
	if (write_end(s, rc, e) < 0)
		return -1;
	*ret_n = n;
	return 0;
}

static int move_row(struct store *s, const struct store_move *m, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "UPDATE job SET state = ?2, last_fact = ?3, modified_ms = max(modified_ms, ?4),"
	                 " failure_reason = coalesce(?5, failure_reason), exit = coalesce(?6, exit),"
	                 " image_digest = coalesce(?7, image_digest),"
	                 " started_ms = iif(?8, ?8, started_ms), ended_ms = iif(?9, ?9, ended_ms),"
	                 " cpus = iif(?10, ?11, cpus), memory_bytes = iif(?10, ?12, memory_bytes),"
	                 " placed_ms = iif(?10, ?10, placed_ms)"
	                 " WHERE n = ?1 AND state = ?13 AND last_fact = ?14",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->n);
	bind_z(st, 2, job_state_info[m->to].name);
	sqlite3_bind_int64(st, 3, (int64_t)m->fact);
	sqlite3_bind_int64(st, 4, m->at.ms);
	bind_z(st, 5, m->failure_reason);
	bind_z(st, 6, m->exit);
	bind_z(st, 7, m->image_digest);
	sqlite3_bind_int64(st, 8, m->started.ms);
	sqlite3_bind_int64(st, 9, m->ended.ms);
	sqlite3_bind_int64(st, 10, m->placed.ms);
	sqlite3_bind_double(st, 11, m->cpus);
	sqlite3_bind_int64(st, 12, (int64_t)m->memory_bytes);
	bind_z(st, 13, job_state_info[m->from].name);
	sqlite3_bind_int64(st, 14, (int64_t)m->seen);
	if (db_done(st, e, "moving a job") < 0)
		return -1;
	if (sqlite3_changes(s->writer.db) == 1)
		return 0;
	return err_set(e, ERR_IN_USE, "the job is no longer %s after fact %llu", job_state_info[m->from].name,
	               (unsigned long long)m->seen);
}

/* One entry a phase: the same secondary status goes on with another message, another closes it (contract 5.3). */
static int move_transition(struct store *s, const struct store_move *m, struct err *e)
{
	const struct job_state_info *from = &job_state_info[m->from], *to = &job_state_info[m->to];
	sqlite3_stmt *st;

	if (m->from == m->to && !m->message)
		return 0;
	if (!strcmp(from->secondary, to->secondary)) {
		if (conn_prepare(&s->writer, "UPDATE transition SET message = ?2 WHERE job = ?1 AND end_ms IS NULL",
		                 &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, m->n);
		bind_z(st, 2, m->message ? m->message : to->message);
		return db_done(st, e, "changing a status message");
	}
	if (conn_prepare(&s->writer, "UPDATE transition SET end_ms = ?2 WHERE job = ?1 AND end_ms IS NULL", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->n);
	sqlite3_bind_int64(st, 2, m->at.ms);
	if (db_done(st, e, "ending a secondary status") < 0)
		return -1;
	return open_transition(s, m->n, m->to, m->at, m->message, e);
}

static int add_cleanup(struct store *s, int64_t n, bool remove, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO cleanup (id, remove) SELECT id, ?2 FROM job WHERE n = ?1"
	                 " UNION SELECT id, ?2 FROM host WHERE job = ?1 ON CONFLICT (id) DO UPDATE SET remove = "
	                 "max(remove, excluded.remove)",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	sqlite3_bind_int(st, 2, remove);
	return db_done(st, e, "remembering to clean up");
}

int store_job_move(struct store *s, const struct store_move *m, struct err *e)
{
	int rc;

	if (write_begin(s, m->durable, e) < 0)
		return -1;
	rc = move_row(s, m, e);
	if (rc == 0)
		rc = move_transition(s, m, e);
	if (rc == 0 && m->host)
		rc = host_move(s, m->n, m->host, e);
	if (rc == 0 && m->placed.ms && m->host_shares)
		rc = host_shares_write(s, m->n, m->host_shares, m->host_count, e);
	if (rc == 0 && m->forget)
		rc = add_cleanup(s, m->n, false, e);
	return write_end(s, rc, e);
}

int store_job_rewrite(struct store *s, int64_t n, const char *request, const char *echo, struct wall modified,
                      struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = conn_prepare(&s->writer, "UPDATE job_text SET request = ?2, echo = ?3 WHERE n = ?1", &st, e);
	if (rc == 0) {
		sqlite3_bind_int64(st, 1, n);
		bind_z(st, 2, request);
		bind_z(st, 3, echo);
		rc = db_done(st, e, "changing a job");
	}
	if (rc == 0)
		rc = conn_prepare(&s->writer, "UPDATE job SET modified_ms = max(modified_ms, ?2) WHERE n = ?1", &st, e);
	if (rc == 0) {
		sqlite3_bind_int64(st, 1, n);
		sqlite3_bind_int64(st, 2, modified.ms);
		rc = db_done(st, e, "changing a job");
	}
	return write_end(s, rc, e);
}

int store_job_delete(struct store *s, int64_t n, struct err *e)
{
	static const char *const doing[] = {
		"DELETE FROM tag WHERE arn = (SELECT arn FROM job WHERE n = ?1)",
		"DELETE FROM transition WHERE job = ?1",
		"DELETE FROM host WHERE job = ?1",
		"DELETE FROM job_text WHERE n = ?1",
		"DELETE FROM job WHERE n = ?1",
	};
	sqlite3_stmt *st;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = add_cleanup(s, n, true, e);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(doing); i++) {
		rc = conn_prepare(&s->writer, doing[i], &st, e);
		if (rc == 0) {
			sqlite3_bind_int64(st, 1, n);
			rc = db_done(st, e, "deleting a job");
		}
	}
	return write_end(s, rc, e);
}

/* Contract 9.4. */
static int not_found(enum job_kind kind, struct str name, struct err *e)
{
	if (kind == KIND_TRANSFORM)
		return err_set(e, ERR_NOT_FOUND, "Could not find requested job with name: " PRIstr, ARGstr(name));
	return err_set(e, ERR_NOT_FOUND, "Requested resource not found.");
}

static int find_row(struct conn *c, enum job_kind kind, struct str name, struct stored_job *ret, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(name);
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "SELECT " JOB_COLUMNS " FROM job WHERE name_lower = ?1 AND kind = ?2", &st, e) < 0)
		return -1;
	sqlite3_bind_text(st, 1, name_lower, -1, SQLITE_STATIC);
	bind_z(st, 2, job_kind_info[kind].name);
	r = db_row(st, e, "looking for a job");
	if (r < 0)
		return -1;
	if (r == 0)
		return not_found(kind, name, e);
	r = row_read(st, ret, e);
	sqlite3_reset(st);
	return r;
}

int store_job_find(struct store *s, enum job_kind kind, struct str name, struct stored_job *ret, struct err *e)
{
	return find_row(&s->writer, kind, name, ret, e);
}

int store_job_each_live(struct store *s, int (*fn)(const struct stored_job *j, void *arg, struct err *e), void *arg,
                        struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer,
	                 "SELECT " JOB_COLUMNS " FROM job WHERE kind IN " ALL_KINDS
	                 " AND status IN ('InProgress', 'Stopping') ORDER BY n",
	                 &st, e) < 0)
		return -1;
	while ((r = db_row(st, e, "reading the jobs")) > 0) {
		struct stored_job j = { 0 };

		r = row_read(st, &j, e);
		if (r == 0)
			r = fn(&j, arg, e);
		stored_job_fini(&j);
		if (r < 0) {
			sqlite3_reset(st);
			return -1;
		}
	}
	return r;
}

int store_job_request(struct store *s, int64_t n, char **ret, struct err *e)
{
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1;

	if (!c)
		return -1;
	if (conn_prepare(c, "SELECT request FROM job_text WHERE n = ?1", &st, e) == 0) {
		sqlite3_bind_int64(st, 1, n);
		r = db_row(st, e, "reading a job's request");
		if (r > 0) {
			*ret = column_dup(st, 0);
			sqlite3_reset(st);
		}
	}
	reader_give(s, c);
	return r == 0 ? err_set(e, ERR_NOT_FOUND, "Requested resource not found.") : r < 0 ? -1 : 0;
}

/* ---- Describe ---- */

void store_description_fini(struct store_description *d)
{
	for (size_t i = 0; i < d->transition_count; i++)
		free(d->transitions[i].message);
	free(d->transitions);
	free(d->echo);
	stored_job_fini(&d->job);
	memset(d, 0, sizeof(*d));
}

static const char *static_status(struct str status)
{
	for (int i = 0; i < JOB_STATE_COUNT; i++)
		if (str_is(status, job_state_info[i].secondary))
			return job_state_info[i].secondary;
	return "";
}

static int read_transitions(struct conn *c, struct store_description *d, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "SELECT status, start_ms, end_ms, message FROM transition WHERE job = ?1 ORDER BY seq", &st,
	                 e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, d->job.n);
	while ((r = db_row(st, e, "reading secondary statuses")) > 0) {
		struct store_transition *t;

		if (!(d->transition_count & (d->transition_count - 1))) /* 0, 1, 2, 4 ... */
			d->transitions = xrealloc(d->transitions,
			                          (d->transition_count ? 2 * d->transition_count : 8) * sizeof(*t));
		t = &d->transitions[d->transition_count++];
		t->status = static_status(column_str(st, 0));
		t->start.ms = sqlite3_column_int64(st, 1);
		t->end.ms = sqlite3_column_int64(st, 2);
		t->message = str_dup(column_str(st, 3));
	}
	return r;
}

static int read_echo(struct conn *c, struct store_description *d, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "SELECT echo FROM job_text WHERE n = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, d->job.n);
	r = db_row(st, e, "reading a job");
	if (r < 0)
		return -1;
	if (r == 0)
		return err_set(e, ERR_IO, "job %s has lost its request in the database", d->job.name);
	d->echo = str_dup(column_str(st, 0));
	sqlite3_reset(st);
	return 0;
}

static int describe(struct conn *c, enum job_kind kind, struct str name, struct store_description *d, struct err *e)
{
	if (find_row(c, kind, name, &d->job, e) < 0 || read_echo(c, d, e) < 0)
		return -1;
	return read_transitions(c, d, e);
}

static int step_text(struct conn *c, const char *sql, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(c, sql, &st, e) < 0)
		return -1;
	return db_done(st, e, sql);
}

int store_describe(struct store *s, enum job_kind kind, struct str name, struct store_description *ret, struct err *e)
{
	struct store_description d = { 0 };
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	/* One snapshot, so that the status is that of the last transition. */
	rc = step_text(c, "BEGIN", e);
	if (rc == 0) {
		rc = describe(c, kind, name, &d, e);
		if (step_text(c, "COMMIT", rc == 0 ? e : NULL) < 0)
			rc = -1;
	}
	reader_give(s, c);
	if (rc < 0) {
		store_description_fini(&d);
		return -1;
	}
	*ret = d;
	return 0;
}

/* ---- what the host has still to clean up ---- */

int store_cleanup_each(struct store *s, void (*fn)(const char *id, bool remove, void *arg), void *arg, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer, "SELECT id, remove FROM cleanup", &st, e) < 0)
		return -1;
	while ((r = db_row(st, e, "reading what is to be cleaned up")) > 0)
		fn((const char *)sqlite3_column_text(st, 0), sqlite3_column_int(st, 1), arg);
	return r;
}

int store_cleanup_done(struct store *s, const char *id, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (write_begin(s, false, e) < 0)
		return -1;
	rc = conn_prepare(&s->writer, "DELETE FROM cleanup WHERE id = ?1", &st, e);
	if (rc == 0) {
		bind_z(st, 1, id);
		rc = db_done(st, e, "forgetting what is cleaned up");
	}
	return write_end(s, rc, e);
}
