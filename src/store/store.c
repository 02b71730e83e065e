/* Connections, statements and transactions. SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/db.h"

int db_fail(sqlite3 *db, struct err *e, const char *doing)
{
	int code = sqlite3_extended_errcode(db);

	return err_set(e, ERR_IO, "%s: database: %s (%d)", doing, sqlite3_errmsg(db), code);
}

int conn_exec(struct conn *c, const char *sql, struct err *e)
{
	if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(c->db, e, "setting up");
	return 0;
}

int conn_open(struct conn *c, const char *path, bool writer, struct err *e)
{
	int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE);

	memset(c, 0, sizeof(*c));
	if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK) {
		err_set(e, ERR_IO, "opening %s: %s", path, c->db ? sqlite3_errmsg(c->db) : "out of memory");
		conn_close(c);
		return -1;
	}
	sqlite3_busy_timeout(c->db, 5000);
	/* Readers keep small caches: there are several, and the kernel caches the file as well. */
	if (conn_exec(c,
	              writer ? "PRAGMA journal_mode = WAL; PRAGMA cache_size = -2048; PRAGMA journal_size_limit = "
	                       "8388608;"
	                     : "PRAGMA query_only = 1; PRAGMA cache_size = -512;",
	              e) < 0) {
		conn_close(c);
		return err_in(e, "opening %s", path);
	}
	return 0;
}

void conn_close(struct conn *c)
{
	for (unsigned i = 0; i < c->cached_count; i++) {
		sqlite3_finalize(c->cached[i].st);
		free(c->cached[i].sql);
	}
	sqlite3_close(c->db);
	memset(c, 0, sizeof(*c));
}

int conn_prepare(struct conn *c, const char *sql, sqlite3_stmt **ret, struct err *e)
{
	sqlite3_stmt *st;
	unsigned at;

	/* Two threads on one connection without its mutex destroy the database, and do not fail before. */
	must(!c->owned || pthread_equal(c->owner, pthread_self()));
	for (unsigned i = 0; i < c->cached_count; i++)
		if (!strcmp(c->cached[i].sql, sql)) {
			*ret = c->cached[i].st;
			sqlite3_reset(*ret);
			sqlite3_clear_bindings(*ret);
			return 0;
		}
	if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
		return db_fail(c->db, e, sql);
	if (c->cached_count < CONN_STATEMENTS) {
		at = c->cached_count++;
	} else { /* lists have many texts; the oldest of all gives way */
		at = c->next_out++ % CONN_STATEMENTS;
		sqlite3_finalize(c->cached[at].st);
		free(c->cached[at].sql);
	}
	c->cached[at].sql = xstrdup(sql);
	c->cached[at].st = st;
	*ret = st;
	return 0;
}

int db_row(sqlite3_stmt *st, struct err *e, const char *doing)
{
	int r = sqlite3_step(st);

	if (r == SQLITE_ROW)
		return 1;
	if (r != SQLITE_DONE)
		db_fail(sqlite3_db_handle(st), e, doing);
	sqlite3_reset(st);
	return r == SQLITE_DONE ? 0 : -1;
}

int db_done(sqlite3_stmt *st, struct err *e, const char *doing)
{
	int r = db_row(st, e, doing);

	if (r > 0)
		sqlite3_reset(st);
	return r < 0 ? -1 : 0;
}

void bind_str(sqlite3_stmt *st, int at, struct str s)
{
	sqlite3_bind_text(st, at, s.p ? s.p : "", (int)s.n, SQLITE_TRANSIENT);
}

void bind_z(sqlite3_stmt *st, int at, const char *z)
{
	if (z)
		sqlite3_bind_text(st, at, z, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

struct str column_str(sqlite3_stmt *st, int at)
{
	const char *p = (const char *)sqlite3_column_text(st, at);

	return (struct str){ p ? p : "", p ? (size_t)sqlite3_column_bytes(st, at) : 0 };
}

char *column_dup(sqlite3_stmt *st, int at)
{
	return sqlite3_column_type(st, at) == SQLITE_NULL ? NULL : str_dup(column_str(st, at));
}

char *lower(struct str name)
{
	char *z = str_dup(name);

	for (char *p = z; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	return z;
}

/* In WAL mode FULL syncs the log at each commit, NORMAL leaves that to the next checkpoint or FULL commit. Neither
 * loses anything to a kill, and power loss takes whole commits from the end, never one from the middle. */
int write_begin(struct store *s, bool durable, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_exec(&s->writer, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", e) < 0)
		return -1;
	if (conn_prepare(&s->writer, "BEGIN IMMEDIATE", &st, e) < 0)
		return -1;
	return db_done(st, e, "starting to write");
}

/* Readers can see the commit before it returns, so the version is odd from before it until after it. */
static int commit(struct store *s, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	atomic_fetch_add(&s->version, 1);
	r = conn_prepare(&s->writer, "COMMIT", &st, e);
	if (r == 0)
		r = db_done(st, e, "committing");
	atomic_fetch_add(&s->version, 1);
	return r;
}

uint64_t store_version(const struct store *s)
{
	uint64_t v = atomic_load(&s->version);

	return v & 1 ? STORE_CHANGING : v;
}

int write_end(struct store *s, int rc, struct err *e)
{
	if (rc == 0 && commit(s, e) == 0)
		return 0;
	if (!sqlite3_get_autocommit(s->writer.db))
		sqlite3_exec(s->writer.db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

struct conn *reader_take(struct store *s, struct err *e)
{
	struct conn *c;

	pthread_mutex_lock(&s->pool.mu);
	c = s->pool.idle;
	if (c)
		s->pool.idle = c->next;
	pthread_mutex_unlock(&s->pool.mu);
	if (c)
		return c;
	c = xcalloc(1, sizeof(*c));
	if (conn_open(c, s->path, false, e) < 0) {
		free(c);
		return NULL;
	}
	return c;
}

/* There are never more than threads that read at once; none is closed before the end. */
void reader_give(struct store *s, struct conn *c)
{
	pthread_mutex_lock(&s->pool.mu);
	c->next = s->pool.idle;
	s->pool.idle = c;
	pthread_mutex_unlock(&s->pool.mu);
}

int store_open(const char *path, struct store **ret, struct err *e)
{
	_cleanup_(store_closep) struct store *s = xcalloc(1, sizeof(*s));
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite's other files take the mode of this one */

	pthread_mutex_init(&s->pool.mu, NULL);
	s->path = xstrdup(path);
	atomic_init(&s->version, 2); /* even, and not STORE_CHANGING */
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	close(fd);
	if (conn_open(&s->writer, path, true, e) < 0)
		return -1;
	if (conn_exec(&s->writer, "PRAGMA synchronous = FULL", e) < 0 || schema_migrate(&s->writer, e) < 0)
		return err_in(e, "opening %s", path);
	s->writer.owned = true;
	s->writer.owner = pthread_self();
	*ret = take_ptr(s);
	return 0;
}

void store_close(struct store *s)
{
	struct conn *c;

	if (!s)
		return;
	while ((c = s->pool.idle)) {
		s->pool.idle = c->next;
		conn_close(c);
		free(c);
	}
	conn_close(&s->writer);
	pthread_mutex_destroy(&s->pool.mu);
	free(s->path);
	free(s);
}
