/* db.h - a SQLite connection with its prepared statements; inside store/ only.
 *
 * A connection is used by one thread at a time. Statements are kept by their text; conn_prepare hands out the same one
 * again, reset and unbound, so a text must not be in use twice at once on one connection.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store/store.h"

enum { CONN_STATEMENTS = 40 };

struct conn {
	sqlite3 *db;
	struct {
		char *sql;
		sqlite3_stmt *st;
	} cached[CONN_STATEMENTS];
	unsigned cached_count, next_out;
	pthread_t owner; /* of the store's writer: the thread that opened it, and no other uses it */
	bool owned;
	struct conn *next; /* in the pool */
};

struct store {
	char *path;
	struct conn writer;       /* loop thread only */
	_Atomic uint64_t version; /* odd while a write is being committed */
	struct {
		pthread_mutex_t mu; /* hold to touch anything in here */
		struct conn *idle;
	} pool;
};

int conn_open(struct conn *c, const char *path, bool writer, struct err *e) must_check;
void conn_close(struct conn *c);
int db_fail(sqlite3 *db, struct err *e, const char *doing); /* ERR_IO with SQLite's own words; -1 */
/* ERR_IO. Never NULL on success. */
int conn_prepare(struct conn *c, const char *sql, sqlite3_stmt **ret, struct err *e) must_check;
/* Runs a statement that returns no rows, and resets it. */
int db_done(sqlite3_stmt *st, struct err *e, const char *doing) must_check;
/* Steps: 1 a row, 0 the end (reset then), -1 error (reset then). */
int db_row(sqlite3_stmt *st, struct err *e, const char *doing) must_check;
int conn_exec(struct conn *c, const char *sql, struct err *e) must_check;
void bind_str(sqlite3_stmt *st, int at, struct str s); /* copied */
void bind_z(sqlite3_stmt *st, int at, const char *z);  /* borrowed; NULL binds NULL */
struct str column_str(sqlite3_stmt *st, int at);       /* a view */
char *column_dup(sqlite3_stmt *st, int at);            /* NULL for NULL */

/* The write transaction. begin: durable or not; end: commits when rc is 0, else rolls back; returns rc or -1. */
int write_begin(struct store *s, bool durable, struct err *e) must_check;
int write_end(struct store *s, int rc, struct err *e) must_check;

/* A reader from the pool, and back. */
struct conn *reader_take(struct store *s, struct err *e);
void reader_give(struct store *s, struct conn *c);

/* schema.c: brings the database up to date. */
int schema_migrate(struct conn *c, struct err *e) must_check;
enum { SCHEMA_VERSION = 5 };
/* The statements of one version, in order, separated by ';'. */
void schema_text(unsigned version, struct buf *out);

/* The columns of a stored_job, in the order row_read takes them. */
#define JOB_COLUMNS                                                                                            \
	"n, id, name, arn, state, last_fact, created_ms, placed_ms, started_ms, ended_ms, modified_ms, cpus, " \
	"memory_bytes, needs, failure_reason, exit, image_digest, kind"
/* Kinds as SQL has them, for statements that are about all. */
#define ALL_KINDS "('training', 'transform')"
/* list.c: a page of a list of resources. Their table has n, name, name_lower, status, created_ms and modified_ms, and
 * indexes NAME_by_creation, NAME_by_name and NAME_by_status that begin as algorithm's do, behind columns of only.
 * fn gets each row; its columns are n, created_ms, name_lower, status, and those of the table from the fifth on. Else
 * as store_job_list. */
struct list_table {
	const char *name, *columns, *doing;
	const char *only;    /* of the table: "kind = 'training'"; NULL: all of it */
	struct str bound[2]; /* ?12 and ?13 in `only` */
};
int list_walk(struct store *s, const struct list_table *t, const struct store_list *q,
              void (*fn)(sqlite3_stmt *st, void *arg), void *arg, char **ret_token, struct err *e) must_check;
/* host.c: inside a write transaction. */
int hosts_write(struct store *s, int64_t n, const struct store_new_job *j, struct err *e) must_check;
int host_move(struct store *s, int64_t n, const struct store_host_move *m, struct err *e) must_check;
int host_shares_write(struct store *s, int64_t n, const struct store_host_share *shares, size_t count,
                      struct err *e) must_check;
/* tag.c: inside a write transaction. ERR_LIMIT: more than TAGS_MAX. */
int tags_write(struct store *s, struct str arn, const struct store_tag *tags, size_t count, struct err *e) must_check;
/* All of a resource that goes; inside a write transaction. */
int tags_drop(struct store *s, struct str arn, struct err *e) must_check;
/* validation.c: inside a write transaction. */
int validation_insert(struct store *s, int64_t algorithm, const char *step, struct err *e) must_check;
int validation_drop(struct store *s, int64_t algorithm, struct err *e) must_check;
int row_read(sqlite3_stmt *st, struct stored_job *ret, struct err *e) must_check;
/* NAME in lower case, as names are compared; ASCII. */
char *lower(struct str name);
