/* SPDX-License-Identifier: Apache-2.0 */
#include "series/db.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

const struct series_tier series_tiers[4] = {
	{ 1, 3 * 3600 },
	{ 60, 15 * 86400 },
	{ 300, 63 * 86400 },
	{ 3600, 455LL * 86400 },
};

static int db_fail(sqlite3 *db, struct err *e)
{
	return err_set(e, ERR_IO, "metrics.db: %s (%d)", sqlite3_errmsg(db), sqlite3_extended_errcode(db));
}

int series_prepare(struct series_conn *c, const char *sql, sqlite3_stmt **ret, struct err *e)
{
	sqlite3_stmt *st;

	for (unsigned i = 0; i < c->kept_count; i++)
		if (c->kept[i].sql == sql || !strcmp(c->kept[i].sql, sql)) {
			*ret = c->kept[i].st;
			sqlite3_reset(*ret);
			sqlite3_clear_bindings(*ret);
			return 0;
		}
	must(c->kept_count < SERIES_STATEMENTS);
	if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
		return db_fail(c->db, e);
	c->kept[c->kept_count].sql = sql;
	c->kept[c->kept_count++].st = st;
	*ret = st;
	return 0;
}

int series_row(sqlite3_stmt *st, struct err *e)
{
	int r = sqlite3_step(st);

	if (r == SQLITE_ROW)
		return 1;
	if (r != SQLITE_DONE)
		db_fail(sqlite3_db_handle(st), e);
	sqlite3_reset(st);
	return r == SQLITE_DONE ? 0 : -1;
}

int series_done(sqlite3_stmt *st, struct err *e)
{
	int r;

	while ((r = series_row(st, e)) > 0)
		;
	return r;
}

void series_bind(sqlite3_stmt *st, int at, struct str s)
{
	if (s.p)
		sqlite3_bind_text(st, at, s.p, (int)s.n, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

struct str series_column(sqlite3_stmt *st, int at)
{
	const char *p = sqlite3_column_blob(st, at);

	return (struct str){ p ? p : "", p ? (size_t)sqlite3_column_bytes(st, at) : 0 };
}

/* ---- connections ---- */

static int run(sqlite3 *db, const char *sql, struct err *e)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, e);
}

static void conn_close(struct series_conn *c)
{
	for (unsigned i = 0; i < c->kept_count; i++)
		sqlite3_finalize(c->kept[i].st);
	sqlite3_close(c->db);
	*c = (struct series_conn){ 0 };
}

static int conn_open(struct series_conn *c, const char *path, bool writer, struct err *e)
{
	int rc;

	*c = (struct series_conn){ 0 };
	if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK) {
		rc = err_set(e, ERR_IO, "opening %s: %s", path, c->db ? sqlite3_errmsg(c->db) : "out of memory");
		conn_close(c);
		return rc;
	}
	sqlite3_busy_timeout(c->db, 5000);
	rc = run(c->db,
	         writer ? "PRAGMA journal_mode = WAL; PRAGMA cache_size = -2048; PRAGMA journal_size_limit = 8388608;"
	                : "PRAGMA query_only = 1; PRAGMA cache_size = -1024;",
	         e);
	if (rc < 0)
		conn_close(c);
	return rc;
}

struct series_conn *series_reader(struct series_store *s, struct err *e)
{
	struct series_conn *c;

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

void series_reader_back(struct series_store *s, struct series_conn *c)
{
	pthread_mutex_lock(&s->pool.mu);
	c->next = s->pool.idle;
	s->pool.idle = c;
	pthread_mutex_unlock(&s->pool.mu);
}

/* ---- schema ---- */

static const char schema[] =
        "CREATE TABLE IF NOT EXISTS metric(id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL,"
        " name TEXT NOT NULL, dims TEXT NOT NULL, last_ms INTEGER NOT NULL, UNIQUE(namespace, name, dims)) STRICT;"
        "CREATE INDEX IF NOT EXISTS metric_namespace ON metric(namespace, id);"
        "CREATE TABLE IF NOT EXISTS series(id INTEGER PRIMARY KEY, metric INTEGER NOT NULL, unit TEXT NOT NULL,"
        " UNIQUE(metric, unit)) STRICT;"
        "CREATE TABLE IF NOT EXISTS point(series INTEGER NOT NULL, seconds INTEGER NOT NULL, t INTEGER NOT NULL,"
        " count REAL NOT NULL, sum REAL NOT NULL, min REAL NOT NULL, max REAL NOT NULL, sketch BLOB,"
        " PRIMARY KEY(series, seconds, t)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS job_metric(id INTEGER PRIMARY KEY, job TEXT NOT NULL, host TEXT NOT NULL,"
        " name TEXT NOT NULL, count INTEGER NOT NULL, last_ms INTEGER, last REAL, final_ms INTEGER, final REAL,"
        " UNIQUE(job, host, name)) STRICT;"
        "CREATE TABLE IF NOT EXISTS value(metric INTEGER NOT NULL, t INTEGER NOT NULL, n INTEGER NOT NULL,"
        " source INTEGER NOT NULL, step INTEGER, v REAL NOT NULL, PRIMARY KEY(metric, t, n)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS host(id TEXT PRIMARY KEY, job TEXT NOT NULL, at INTEGER NOT NULL, counts TEXT)"
        " STRICT, WITHOUT ROWID;"
        "CREATE INDEX IF NOT EXISTS host_job ON host(job);"
        /* What a job was last extracted with again; definitions NULL: it is being, or that came to nothing. */
        "CREATE TABLE IF NOT EXISTS refit(job TEXT PRIMARY KEY, definitions TEXT) STRICT, WITHOUT ROWID;"
        /* Values of which nobody will make use any more go little by little, see anew.c. */
        "UPDATE job_metric SET job = 'gone:' || id, host = '' WHERE job >= 'refit:' AND job < 'refit;';"
        "PRAGMA user_version = 1;";

static int check_version(sqlite3 *db, struct err *e)
{
	sqlite3_stmt *st;
	int version = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK)
		return db_fail(db, e);
	if (sqlite3_step(st) == SQLITE_ROW)
		version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	if (version < 0)
		return db_fail(db, e);
	if (version > 1)
		return err_set(e, ERR_INVALID, "the database is of a newer version (%d) than this program knows (1)",
		               version);
	return 0;
}

static int migrate(sqlite3 *db, struct err *e)
{
	int rc = check_version(db, e);

	if (rc == 0)
		rc = run(db, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE", e);
	if (rc == 0)
		rc = run(db, schema, e);
	if (rc == 0)
		rc = run(db, "COMMIT", e);
	return rc;
}

int series_store_open(const char *path, struct series_store **ret, struct err *e)
{
	_cleanup_(series_store_closep) struct series_store *s = xcalloc(1, sizeof(*s));
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite's other files take the mode of this one */

	pthread_mutex_init(&s->writer.mu, NULL);
	pthread_mutex_init(&s->pool.mu, NULL);
	s->path = xstrdup(path);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	close(fd);
	if (conn_open(&s->writer.conn, path, true, e) < 0)
		return -1;
	if (migrate(s->writer.conn.db, e) < 0)
		return err_in(e, "opening %s", path);
	*ret = take_ptr(s);
	return 0;
}

void series_store_close(struct series_store *s)
{
	struct series_conn *c;

	if (!s)
		return;
	while ((c = s->pool.idle)) {
		s->pool.idle = c->next;
		conn_close(c);
		free(c);
	}
	conn_close(&s->writer.conn);
	pthread_mutex_destroy(&s->pool.mu);
	pthread_mutex_destroy(&s->writer.mu);
	free(s->path);
	free(s);
}

/* ---- dimensions ---- */

static int by_name(const void *a, const void *b)
{
	const struct series_dimension *x = a, *y = b;
	int order = str_cmp(x->name, y->name);

	return order ? order : str_cmp(x->value, y->value);
}

void series_dims_text(const struct series_dimension *dims, size_t count, struct buf *out)
{
	_cleanup_free_ struct series_dimension *sorted = xcalloc(count + 1, sizeof(*sorted));

	for (size_t i = 0; i < count; i++)
		sorted[i] = dims[i];
	qsort(sorted, count, sizeof(*sorted), by_name);
	for (size_t i = 0; i < count; i++) {
		buf_f(out, "%zu:", sorted[i].name.n);
		buf_str(out, sorted[i].name);
		buf_f(out, "%zu:", sorted[i].value.n);
		buf_str(out, sorted[i].value);
	}
}

static bool take_text(struct str *s, struct str *ret)
{
	struct str rest = *s, digits = str_cut(&rest, ':');
	uint64_t n;

	if (!str_to_u64(digits, &n) || n > rest.n)
		return false;
	*ret = (struct str){ rest.p, n };
	*s = (struct str){ rest.p + n, rest.n - n };
	return true;
}

bool series_dims_split(struct str text, struct series_dimension **ret, size_t *ret_count)
{
	struct series_dimension *dims = NULL;
	size_t n = 0;

	while (text.n) {
		dims = xrealloc(dims, (n + 1) * sizeof(*dims));
		if (!take_text(&text, &dims[n].name) || !take_text(&text, &dims[n].value)) {
			free(dims);
			return false;
		}
		n++;
	}
	*ret = dims;
	*ret_count = n;
	return true;
}
