/* db.h - the database behind series.h; inside series/ only.
 *
 * One connection writes, under `mu`; readers take one from the pool. Statements are prepared once for a connection.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <sqlite3.h>

#include "series/series.h"

enum { SERIES_STATEMENTS = 96 };

struct series_conn {
	sqlite3 *db;
	struct {
		const char *sql; /* a literal: compared by content, kept by address */
		sqlite3_stmt *st;
	} kept[SERIES_STATEMENTS];
	unsigned kept_count;
	struct series_conn *next; /* in the pool */
};

struct series_store {
	char *path;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct series_conn conn;
		int64_t pruned; /* the series up to which was looked for what is too old */
	} writer;
	struct {
		pthread_mutex_t mu; /* hold to touch anything in here */
		struct series_conn *idle;
	} pool;
};

/* sql must live as long as the connection: a literal. */
int series_prepare(struct series_conn *c, const char *sql, sqlite3_stmt **ret, struct err *e) must_check;
int series_row(sqlite3_stmt *st, struct err *e) must_check;  /* 1 a row, 0 the end (reset then), -1 (reset then) */
int series_done(sqlite3_stmt *st, struct err *e) must_check; /* runs to the end, and resets */
void series_bind(sqlite3_stmt *st, int at, struct str s);    /* borrowed; p NULL binds NULL */
struct str series_column(sqlite3_stmt *st, int at);          /* a view, of text or bytes */

struct series_conn *series_reader(struct series_store *s, struct err *e); /* NULL: it failed */
void series_reader_back(struct series_store *s, struct series_conn *c);

/* The column `source` of a value: where it is from, and of which host. */
static inline int64_t series_origin(enum series_source source, unsigned host)
{
	return (int64_t)source | (int64_t)host << 2;
}
static inline enum series_source series_origin_source(int64_t origin)
{
	return (enum series_source)(origin & 3);
}
static inline unsigned series_origin_host(int64_t origin)
{
	return (unsigned)(origin >> 2);
}

/* prune.c: in a transaction of the writer: some of what is too old goes. */
int series_prune(struct series_store *s, struct wall now, struct err *e) must_check;
/* anew.c: the same of values that others have taken the place of. */
int series_prune_values(struct series_store *s, struct err *e) must_check;
