/* SPDX-License-Identifier: Apache-2.0 */
#include "logstore/logstore.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "store/db.h"

enum { VERSION = 1, EXPIRE_STEP = 5000 };

struct logstore {
	pthread_mutex_t mu; /* hold to touch c */
	struct conn c;
};

static const char schema[] =
        "CREATE TABLE log_group (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,"
        " retention INTEGER NOT NULL DEFAULT 0);"
        "CREATE TABLE log_tag (log_group INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
        " PRIMARY KEY (log_group, key)) WITHOUT ROWID;"
        "CREATE TABLE stream (id INTEGER PRIMARY KEY, log_group INTEGER NOT NULL, name TEXT NOT NULL,"
        " created INTEGER NOT NULL, ingested INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,"
        " UNIQUE (log_group, name));"
        "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL,"
        " at INTEGER NOT NULL, ingested INTEGER NOT NULL, message TEXT NOT NULL);"
        "CREATE INDEX event_order ON event (stream, at, seq);"
        "PRAGMA user_version = 1;";

#define STREAM_COLUMNS                                                                              \
	"id, name, created, ingested, bytes, (SELECT min(at) FROM event WHERE stream = stream.id)," \
	" (SELECT max(at) FROM event WHERE stream = stream.id)"
#define GROUP_COLUMNS \
	"id, name, created, retention, (SELECT coalesce(sum(bytes), 0) FROM stream WHERE log_group = log_group.id)"

static int migrate(struct logstore *s, const char *path, struct err *e)
{
	sqlite3_stmt *st;
	int version;

	if (conn_prepare(&s->c, "PRAGMA user_version", &st, e) < 0 || db_row(st, e, "reading its version") < 0)
		return -1;
	version = sqlite3_column_int(st, 0);
	sqlite3_reset(st);
	if (version > VERSION)
		return err_set(e, ERR_INVALID, "%s was written by a newer version (%d)", path, version);
	if (version == VERSION)
		return 0;
	if (conn_exec(&s->c, "BEGIN IMMEDIATE", e) < 0 || conn_exec(&s->c, schema, e) < 0)
		return -1;
	return conn_exec(&s->c, "COMMIT", e);
}

int logstore_open(const char *path, struct logstore **ret, struct err *e)
{
	_cleanup_(logstore_closep) struct logstore *s = xcalloc(1, sizeof(*s));
	mode_t mask = umask(0077);
	int rc;

	must(pthread_mutex_init(&s->mu, NULL) == 0);
	rc = conn_open(&s->c, path, true, e);
	umask(mask);
	if (rc < 0 || conn_exec(&s->c, "PRAGMA synchronous = FULL", e) < 0 || migrate(s, path, e) < 0)
		return err_in(e, "opening %s", path);
	*ret = take_ptr(s);
	return 0;
}

void logstore_close(struct logstore *s)
{
	if (!s)
		return;
	conn_close(&s->c);
	pthread_mutex_destroy(&s->mu);
	free(s);
}

/* ---- statements; all of them with mu held ---- */

/* Prepares and binds: 'i' int64_t, 's' struct str (NULL binds NULL). */
static int prepare(struct logstore *s, const char *sql, sqlite3_stmt **ret, struct err *e, const char *types, ...)
{
	va_list ap;

	if (conn_prepare(&s->c, sql, ret, e) < 0)
		return -1;
	va_start(ap, types);
	for (int i = 1; *types; i++, types++) {
		if (*types == 'i')
			sqlite3_bind_int64(*ret, i, va_arg(ap, int64_t));
		else
			bind_str(*ret, i, va_arg(ap, struct str));
	}
	va_end(ap);
	return 0;
}

static int begin(struct logstore *s, struct err *e)
{
	pthread_mutex_lock(&s->mu);
	if (conn_exec(&s->c, "BEGIN IMMEDIATE", e) == 0)
		return 0;
	pthread_mutex_unlock(&s->mu);
	return -1;
}

static int end(struct logstore *s, int rc, struct err *e)
{
	if (rc == 0 && conn_exec(&s->c, "COMMIT", e) < 0)
		rc = -1;
	if (rc < 0)
		(void)!conn_exec(&s->c, "ROLLBACK", NULL);
	pthread_mutex_unlock(&s->mu);
	return rc;
}

/* ---- groups ---- */

static void read_group(sqlite3_stmt *st, struct log_group *ret)
{
	*ret = (struct log_group){ .id = sqlite3_column_int64(st, 0),
		                   .name = column_str(st, 1),
		                   .created = { sqlite3_column_int64(st, 2) },
		                   .retention_days = (unsigned)sqlite3_column_int64(st, 3),
		                   .bytes = (uint64_t)sqlite3_column_int64(st, 4) };
}

static int find_group(struct logstore *s, struct str name, struct log_group *ret, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (prepare(s, "SELECT " GROUP_COLUMNS " FROM log_group WHERE name = ?", &st, e, "s", name) < 0)
		return -1;
	rc = db_row(st, e, "looking for a log group");
	if (rc == 0)
		return err_set(e, ERR_NOT_FOUND, "The specified log group does not exist.");
	if (rc < 0)
		return -1;
	read_group(st, ret);
	ret->name = (struct str){ 0 };
	sqlite3_reset(st);
	return 0;
}

int logstore_group_find(struct logstore *s, struct str name, struct log_group *ret, struct err *e)
{
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = find_group(s, name, ret, e);
	pthread_mutex_unlock(&s->mu);
	return rc;
}

static int run(struct logstore *s, sqlite3_stmt *st, int prepared, const char *exists, const char *doing, struct err *e)
{
	int rc = prepared < 0 ? -1 : db_done(st, e, doing);

	if (rc == 0 && exists && sqlite3_changes(s->c.db) == 0)
		return err_set(e, ERR_IN_USE, "%s", exists);
	return rc;
}

int logstore_group_create(struct logstore *s, struct str name, struct wall now, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	rc = prepare(s, "INSERT OR IGNORE INTO log_group (name, created) VALUES (?, ?)", &st, e, "si", name, now.ms);
	rc = run(s, st, rc, "The specified log group already exists", "creating a log group", e);
	return end(s, rc, e);
}

int logstore_group_retain(struct logstore *s, struct str name, unsigned days, struct err *e)
{
	struct log_group g;
	sqlite3_stmt *st = NULL;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	rc = find_group(s, name, &g, e);
	if (rc == 0)
		rc = prepare(s, "UPDATE log_group SET retention = ? WHERE id = ?", &st, e, "ii", (int64_t)days, g.id);
	if (rc == 0)
		rc = run(s, st, rc, NULL, "setting a retention", e);
	return end(s, rc, e);
}

int logstore_group_delete(struct logstore *s, struct str name, struct err *e)
{
	static const char *const sql[] = {
		"DELETE FROM event WHERE stream IN (SELECT id FROM stream WHERE log_group = ?)",
		"DELETE FROM stream WHERE log_group = ?",
		"DELETE FROM log_tag WHERE log_group = ?",
		"DELETE FROM log_group WHERE id = ?",
	};
	struct log_group g;
	sqlite3_stmt *st;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	rc = find_group(s, name, &g, e);
	for (size_t i = 0; i < ARRAY_LEN(sql) && rc == 0; i++) {
		rc = prepare(s, sql[i], &st, e, "i", g.id);
		rc = run(s, st, rc, NULL, "deleting a log group", e);
	}
	return end(s, rc, e);
}

int logstore_groups_each(struct logstore *s, void (*fn)(const struct log_group *g, void *arg), void *arg, struct err *e)
{
	struct log_group g;
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = prepare(s, "SELECT " GROUP_COLUMNS " FROM log_group ORDER BY name", &st, e, "");
	while (rc == 0 && (rc = db_row(st, e, "listing log groups")) > 0) {
		read_group(st, &g);
		fn(&g, arg);
		rc = 0;
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

/* ---- tags ---- */

static int count_tags(struct logstore *s, int64_t group, struct err *e)
{
	sqlite3_stmt *st;
	int n;

	if (prepare(s, "SELECT count(*) FROM log_tag WHERE log_group = ?", &st, e, "i", group) < 0 ||
	    db_row(st, e, "counting tags") < 0)
		return -1;
	n = sqlite3_column_int(st, 0);
	sqlite3_reset(st);
	return n > LOG_TAGS_MAX ? err_set(e, ERR_LIMIT, "A log group can have %d tags at most.", LOG_TAGS_MAX) : 0;
}

int logstore_tag(struct logstore *s, int64_t group, struct str key, struct str value, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	if (value.p)
		rc = prepare(s, "INSERT OR REPLACE INTO log_tag (log_group, key, value) VALUES (?, ?, ?)", &st, e,
		             "iss", group, key, value);
	else
		rc = prepare(s, "DELETE FROM log_tag WHERE log_group = ? AND key = ?", &st, e, "is", group, key);
	rc = run(s, st, rc, NULL, "tagging a log group", e);
	if (rc == 0)
		rc = count_tags(s, group, e);
	return end(s, rc, e);
}

int logstore_tags_each(struct logstore *s, int64_t group, void (*fn)(struct str key, struct str value, void *arg),
                       void *arg, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = prepare(s, "SELECT key, value FROM log_tag WHERE log_group = ? ORDER BY key", &st, e, "i", group);
	while (rc == 0 && (rc = db_row(st, e, "listing tags")) > 0) {
		fn(column_str(st, 0), column_str(st, 1), arg);
		rc = 0;
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

/* ---- streams ---- */

static void read_stream(sqlite3_stmt *st, struct log_stream *ret)
{
	*ret = (struct log_stream){ .id = sqlite3_column_int64(st, 0),
		                    .name = column_str(st, 1),
		                    .created = { sqlite3_column_int64(st, 2) },
		                    .ingested = { sqlite3_column_int64(st, 3) },
		                    .bytes = (uint64_t)sqlite3_column_int64(st, 4),
		                    .first = { sqlite3_column_int64(st, 5) },
		                    .last = { sqlite3_column_int64(st, 6) } };
}

int logstore_stream_create(struct logstore *s, int64_t group, struct str name, struct wall now, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	rc = prepare(s, "INSERT OR IGNORE INTO stream (log_group, name, created) VALUES (?, ?, ?)", &st, e, "isi",
	             group, name, now.ms);
	rc = run(s, st, rc, "The specified log stream already exists", "creating a log stream", e);
	return end(s, rc, e);
}

int logstore_stream_find(struct logstore *s, int64_t group, struct str name, struct log_stream *ret, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = prepare(s, "SELECT " STREAM_COLUMNS " FROM stream WHERE log_group = ? AND name = ?", &st, e, "is", group,
	             name);
	if (rc == 0)
		rc = db_row(st, e, "looking for a log stream");
	if (rc > 0) {
		read_stream(st, ret);
		ret->name = (struct str){ 0 };
		sqlite3_reset(st);
		rc = 0;
	} else if (rc == 0) {
		rc = err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

int logstore_stream_delete(struct logstore *s, int64_t stream, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc;

	if (begin(s, e) < 0)
		return -1;
	rc = prepare(s, "DELETE FROM event WHERE stream = ?", &st, e, "i", stream);
	rc = run(s, st, rc, NULL, "deleting a log stream's events", e);
	if (rc == 0) {
		rc = prepare(s, "DELETE FROM stream WHERE id = ?", &st, e, "i", stream);
		rc = run(s, st, rc, NULL, "deleting a log stream", e);
	}
	return end(s, rc, e);
}

int logstore_streams_each(struct logstore *s, int64_t group, struct str prefix,
                          void (*fn)(const struct log_stream *st, void *arg), void *arg, struct err *e)
{
	struct log_stream one;
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = prepare(s, "SELECT " STREAM_COLUMNS " FROM stream WHERE log_group = ? AND name >= ? ORDER BY name", &st, e,
	             "is", group, prefix);
	while (rc == 0 && (rc = db_row(st, e, "listing log streams")) > 0) {
		read_stream(st, &one);
		rc = 0;
		if (!str_starts(one.name, prefix)) {
			sqlite3_reset(st);
			break;
		}
		fn(&one, arg);
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

/* ---- events ---- */

static int put_event(struct logstore *s, int64_t stream, const struct log_event *ev, struct wall now, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "INSERT INTO event (stream, at, ingested, message) VALUES (?, ?, ?, ?)", &st, e, "iiis",
	                 stream, ev->at.ms, now.ms, ev->message);

	return run(s, st, rc, NULL, "adding a log event", e);
}

int logstore_put(struct logstore *s, int64_t stream, const struct log_event *events, size_t count, struct wall now,
                 struct err *e)
{
	sqlite3_stmt *st = NULL;
	int64_t bytes = 0;
	int rc = 0;

	if (begin(s, e) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = put_event(s, stream, &events[i], now, e);
		bytes += (int64_t)events[i].message.n;
	}
	if (rc == 0)
		rc = prepare(s, "UPDATE stream SET ingested = ?, bytes = bytes + ? WHERE id = ?", &st, e, "iii", now.ms,
		             bytes, stream);
	if (rc == 0)
		rc = run(s, st, rc, NULL, "adding log events", e);
	if (rc == 0 && sqlite3_changes(s->c.db) == 0)
		rc = err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	return end(s, rc, e);
}

int logstore_read(struct logstore *s, int64_t stream, struct wall at, uint64_t seq, bool backwards, unsigned max,
                  bool (*fn)(const struct log_event *ev, void *arg), void *arg, struct err *e)
{
	static const char *const sql[] = {
		"SELECT at, ingested, seq, message FROM event WHERE stream = ? AND (at, seq) >= (?, ?)"
		" ORDER BY at, seq LIMIT ?",
		"SELECT at, ingested, seq, message FROM event WHERE stream = ? AND (at, seq) < (?, ?)"
		" ORDER BY at DESC, seq DESC LIMIT ?",
	};
	int64_t number = seq > INT64_MAX ? INT64_MAX : (int64_t)seq;
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = prepare(s, sql[backwards], &st, e, "iiii", stream, at.ms, number, (int64_t)max);
	while (rc == 0 && (rc = db_row(st, e, "reading log events")) > 0) {
		struct log_event ev = { { sqlite3_column_int64(st, 0) },
			                { sqlite3_column_int64(st, 1) },
			                (uint64_t)sqlite3_column_int64(st, 2),
			                column_str(st, 3) };

		rc = 0;
		if (!fn(&ev, arg)) {
			sqlite3_reset(st);
			break;
		}
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

/* 1: there may be more. */
static int expire_some(struct logstore *s, int64_t group, struct wall t, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc, gone = 0;

	if (begin(s, e) < 0)
		return -1;
	rc = prepare(
	        s,
	        "DELETE FROM event WHERE seq IN (SELECT event.seq FROM stream JOIN event ON event.stream = stream.id"
	        " WHERE log_group = ? AND event.at < ? LIMIT ?)",
	        &st, e, "iii", group, t.ms, (int64_t)EXPIRE_STEP);
	rc = run(s, st, rc, NULL, "removing old log events", e);
	gone = sqlite3_changes(s->c.db);
	rc = end(s, rc, e);
	return rc < 0 ? -1 : gone == EXPIRE_STEP;
}

int logstore_expire(struct logstore *s, int64_t group, struct wall t, struct err *e)
{
	int rc;

	while ((rc = expire_some(s, group, t, e)) > 0)
		;
	return rc;
}
