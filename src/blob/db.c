/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/db.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDLE_READERS = 4, LANDED_AT_ONCE = 4096 };

static const char *const sql_text[DB_SQL_COUNT] = {
#define X(name, text) [DB_##name] = text,
	DB_STATEMENTS(X)
#undef X
};

/* Keys and ids are BLOBs, so that they compare bytewise and listing order is index order. `meta` holds header lines
 * ("Name: value\n"). A file named in `shared` has `extra` more rows than one that refer to it. */
static const char schema[] =
        "PRAGMA user_version = 1;"
        "CREATE TABLE IF NOT EXISTS bucket(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
        " created INTEGER NOT NULL);"
        "CREATE TABLE IF NOT EXISTS object(bucket INTEGER NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL,"
        " size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL, meta BLOB NOT NULL,"
        " PRIMARY KEY(bucket, key)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS shared(id TEXT PRIMARY KEY, extra INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS landing(id TEXT PRIMARY KEY) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS adopted(id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS garbage(at INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY(at, id)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS upload(id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,"
        " created INTEGER NOT NULL, file TEXT NOT NULL, algorithm TEXT NOT NULL, meta BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE UNIQUE INDEX IF NOT EXISTS upload_by_key ON upload(bucket, key, id);"
        "CREATE TABLE IF NOT EXISTS part(upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL,"
        " at INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,"
        " checksum BLOB NOT NULL, PRIMARY KEY(upload, number)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS finished(upload TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,"
        " etag TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;";

struct db_conn {
	sqlite3 *sqlite;
	sqlite3_stmt *st[DB_SQL_COUNT];
	struct db_conn *next;
};

/* One caller's wish, on its stack while it waits. */
struct db_op {
	db_op_fn *fn;
	void *arg;
	struct err *e;
	enum s3_code code;
	bool done;
	struct db_op *next;
};

struct db {
	char *path;             /* set once by db_open() */
	struct db_conn *writer; /* used by whoever set shared.busy */
	struct {                /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t turn; /* somebody's op is done, or the writer is free */
		bool busy;
		struct db_op *first, **last;
		struct db_conn *idle;
		unsigned idle_count;
		char (*landed)[33];
		size_t landed_count;
	} shared;
};

static int db_fail(sqlite3 *db, const char *doing, struct err *e)
{
	return err_set(e, ERR_IO, "objects.db: %s: %s", doing, sqlite3_errmsg(db));
}

static void conn_free(struct db_conn *c)
{
	for (int i = 0; i < DB_SQL_COUNT; i++)
		sqlite3_finalize(c->st[i]);
	sqlite3_close(c->sqlite);
	free(c);
}
DEFINE_CLEANUP(struct db_conn, conn_free)

static struct db_conn *conn_open(const char *path, bool writer, struct err *e)
{
	_cleanup_(conn_freep) struct db_conn *c = xcalloc(1, sizeof(*c));
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | (writer ? SQLITE_OPEN_CREATE : 0);
	const char *setup = writer ? "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -2048;"
	                           : "PRAGMA query_only = 1; PRAGMA cache_size = -256;";

	if (writer) {
		/* SQLite's other files take the mode of this one: names of objects are nobody else's either. */
		_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0) {
			err_sys(e, "opening %s", path);
			return NULL;
		}
	}
	if (sqlite3_open_v2(path, &c->sqlite, flags, NULL) != SQLITE_OK) {
		db_fail(c->sqlite, "opening", e);
		return NULL;
	}
	sqlite3_busy_timeout(c->sqlite, 10000);
	if (sqlite3_exec(c->sqlite, setup, NULL, NULL, NULL) != SQLITE_OK) {
		db_fail(c->sqlite, "setting up", e);
		return NULL;
	}
	return take_ptr(c);
}

int db_open(const char *path, struct db **ret, struct err *e)
{
	_cleanup_(conn_freep) struct db_conn *writer = conn_open(path, true, e);
	struct db *d;

	if (!writer)
		return -1;
	if (sqlite3_exec(writer->sqlite, schema, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(writer->sqlite, "making the tables", e);
	d = xcalloc(1, sizeof(*d));
	d->path = xstrdup(path);
	d->writer = take_ptr(writer);
	pthread_mutex_init(&d->shared.mu, NULL);
	pthread_cond_init(&d->shared.turn, NULL);
	d->shared.last = &d->shared.first;
	d->shared.landed = xcalloc(LANDED_AT_ONCE, sizeof(*d->shared.landed));
	*ret = d;
	return 0;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	while (d->shared.idle) {
		struct db_conn *c = d->shared.idle;

		d->shared.idle = c->next;
		conn_free(c);
	}
	conn_free(d->writer);
	pthread_cond_destroy(&d->shared.turn);
	pthread_mutex_destroy(&d->shared.mu);
	free(d->shared.landed);
	free(d->path);
	free(d);
}

sqlite3_stmt *db_stmt(struct db_conn *c, enum db_sql which, struct err *e)
{
	sqlite3_stmt **st = &c->st[which];

	if (!*st &&
	    sqlite3_prepare_v3(c->sqlite, sql_text[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK) {
		db_fail(c->sqlite, sql_text[which], e);
		return NULL;
	}
	sqlite3_reset(*st);
	sqlite3_clear_bindings(*st);
	return *st;
}

int db_step(sqlite3_stmt *st, struct err *e)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		db_fail(sqlite3_db_handle(st), sqlite3_sql(st), e);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

enum s3_code db_run(sqlite3_stmt *st, struct err *e)
{
	int more;

	if (!st)
		return S3_InternalError;
	while ((more = db_step(st, e)) > 0)
		;
	return more < 0 ? S3_InternalError : S3_OK;
}

void db_bind_blob(sqlite3_stmt *st, int at, struct str s)
{
	/* An empty blob is a blob, not NULL. */
	if (s.n == 0)
		sqlite3_bind_zeroblob(st, at, 0);
	else
		sqlite3_bind_blob64(st, at, s.p, s.n, SQLITE_STATIC);
}

void db_bind_text(sqlite3_stmt *st, int at, struct str s)
{
	sqlite3_bind_text64(st, at, s.n ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}

void db_bind_int(sqlite3_stmt *st, int at, int64_t v)
{
	sqlite3_bind_int64(st, at, v);
}

struct str db_col(sqlite3_stmt *st, int at)
{
	const void *p = sqlite3_column_blob(st, at);

	return (struct str){ p ? p : "", (size_t)sqlite3_column_bytes(st, at) };
}

int64_t db_col_int(sqlite3_stmt *st, int at)
{
	return sqlite3_column_int64(st, at);
}

struct db_conn *db_reader(struct db *d, struct err *e)
{
	struct db_conn *c;

	pthread_mutex_lock(&d->shared.mu);
	c = d->shared.idle;
	if (c) {
		d->shared.idle = c->next;
		d->shared.idle_count--;
	}
	pthread_mutex_unlock(&d->shared.mu);
	return c ? c : conn_open(d->path, false, e);
}

void db_reader_done(struct db *d, struct db_conn *c)
{
	for (int i = 0; i < DB_SQL_COUNT; i++)
		if (c->st[i])
			sqlite3_reset(c->st[i]); /* an open SELECT would keep the log from being checkpointed */
	pthread_mutex_lock(&d->shared.mu);
	if (d->shared.idle_count < IDLE_READERS) {
		c->next = d->shared.idle;
		d->shared.idle = c;
		d->shared.idle_count++;
		c = NULL;
	}
	pthread_mutex_unlock(&d->shared.mu);
	if (c)
		conn_free(c);
}

void db_landed(struct db *d, const char *id)
{
	pthread_mutex_lock(&d->shared.mu);
	/* When there is no room the row stays until blob_open() clears the table: it only takes space. */
	if (d->shared.landed_count < LANDED_AT_ONCE)
		memcpy(d->shared.landed[d->shared.landed_count++], id, 33);
	pthread_mutex_unlock(&d->shared.mu);
}

static enum s3_code plain(struct db_conn *c, enum db_sql which, struct err *e)
{
	return db_run(db_stmt(c, which, e), e);
}

static void run_op(struct db_conn *c, struct db_op *op)
{
	op->code = plain(c, DB_SAVE, op->e);
	if (op->code != S3_OK)
		return;
	op->code = op->fn(c, op->arg, op->e);
	for (int i = 0; i < DB_SQL_COUNT; i++)
		if (c->st[i])
			sqlite3_reset(c->st[i]); /* fn may have left a SELECT in the middle */
	if (op->code != S3_OK && plain(c, DB_UNDO, NULL) != S3_OK)
		op->code = S3_InternalError;
	if (plain(c, DB_RELEASE, op->code == S3_OK ? op->e : NULL) != S3_OK)
		op->code = S3_InternalError;
}

static enum s3_code drop_landed(struct db_conn *c, char (*ids)[33], size_t n, struct err *e)
{
	enum s3_code code = S3_OK;

	for (size_t i = 0; i < n && code == S3_OK; i++) {
		sqlite3_stmt *st = db_stmt(c, DB_LANDING_DROP, e);

		if (st)
			db_bind_text(st, 1, str_of(ids[i]));
		code = db_run(st, e);
	}
	return code;
}

static void run_batch(struct db_conn *c, struct db_op *first, char (*landed)[33], size_t landed_count)
{
	struct err e = { 0 };
	enum s3_code code = plain(c, DB_BEGIN, &e);

	if (code == S3_OK)
		code = drop_landed(c, landed, landed_count, &e);
	for (struct db_op *op = first; op && code == S3_OK; op = op->next)
		run_op(c, op);
	if (code == S3_OK)
		code = plain(c, DB_COMMIT, &e);
	if (code == S3_OK)
		return;
	if (!sqlite3_get_autocommit(c->sqlite) && plain(c, DB_ROLLBACK, NULL) != S3_OK)
		err_in(&e, "rolling back failed too");
	for (struct db_op *op = first; op; op = op->next) {
		op->code = code;
		if (op->e)
			*op->e = e;
	}
}

/* Commits everything that waits. Called and returns with the lock held. */
static void lead_locked(struct db *d)
{
	struct db_op *first = d->shared.first;
	_cleanup_free_ char(*landed)[33] = NULL;
	size_t landed_count = d->shared.landed_count;

	if (landed_count) {
		landed = xcalloc(landed_count, sizeof(*landed));
		memcpy(landed, d->shared.landed, landed_count * sizeof(*landed));
	}
	d->shared.landed_count = 0;
	d->shared.first = NULL;
	d->shared.last = &d->shared.first;
	d->shared.busy = true;
	pthread_mutex_unlock(&d->shared.mu);

	run_batch(d->writer, first, landed, landed_count);

	pthread_mutex_lock(&d->shared.mu);
	d->shared.busy = false;
	for (struct db_op *op = first, *next; op; op = next) {
		next = op->next; /* op is gone as soon as its owner sees done */
		op->done = true;
	}
	pthread_cond_broadcast(&d->shared.turn);
}

enum s3_code db_write(struct db *d, db_op_fn *fn, void *arg, struct err *e)
{
	struct db_op op = { .fn = fn, .arg = arg, .e = e };

	pthread_mutex_lock(&d->shared.mu);
	*d->shared.last = &op;
	d->shared.last = &op.next;
	while (!op.done)
		if (d->shared.busy)
			pthread_cond_wait(&d->shared.turn, &d->shared.mu);
		else
			lead_locked(d);
	pthread_mutex_unlock(&d->shared.mu);
	return op.code;
}
