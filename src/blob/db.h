/* db.h - the store's SQLite file: one writer that commits for many callers at once, and a pool of readers.
 *
 * Writes are closures: db_write() queues one, and whichever caller finds nobody committing takes all that wait and runs
 * them in one transaction, so that a hundred concurrent PUTs cost a few syncs, not a hundred. Each closure runs in its
 * own savepoint: when it refuses, nothing of it stays and the others are untouched. When db_write() returns S3_OK the
 * change is on disk (WAL, synchronous=FULL).
 *
 * Only files of blob/ include this. Thread-safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sqlite3.h>

#include "blob/code.h"

/* Every statement there is. They are prepared at first use, once a connection. */
#define DB_STATEMENTS(X)                                                                                              \
	X(BEGIN, "BEGIN IMMEDIATE")                                                                                   \
	X(COMMIT, "COMMIT")                                                                                           \
	X(ROLLBACK, "ROLLBACK")                                                                                       \
	X(SAVE, "SAVEPOINT op")                                                                                       \
	X(RELEASE, "RELEASE op")                                                                                      \
	X(UNDO, "ROLLBACK TO op")                                                                                     \
	X(BUCKET_ID, "SELECT id, created FROM bucket WHERE name = ?1")                                                \
	X(BUCKET_ADD, "INSERT INTO bucket(name, created) VALUES(?1, ?2)")                                             \
	X(BUCKET_DROP, "DELETE FROM bucket WHERE id = ?1")                                                            \
	X(BUCKET_ALL, "SELECT name, created FROM bucket ORDER BY name")                                               \
	X(BUCKET_COUNT, "SELECT count(*) FROM bucket")                                                                \
	X(BUCKET_USED, "SELECT 1 FROM object WHERE bucket = ?1 LIMIT 1")                                              \
	X(OBJECT_GET,                                                                                                 \
	  "SELECT o.id, o.size, o.etag, o.modified, o.meta FROM bucket b LEFT JOIN object o ON o.bucket = b.id AND "  \
	  "o.key = ?2 WHERE b.name = ?1")                                                                             \
	X(OBJECT_ID, "SELECT id, etag, size FROM object WHERE bucket = ?1 AND key = ?2")                              \
	X(OBJECT_PUT,                                                                                                 \
	  "INSERT OR REPLACE INTO object(bucket, key, id, size, etag, modified, meta) VALUES(?1,?2,?3,?4,?5,?6,?7)")  \
	X(OBJECT_DROP, "DELETE FROM object WHERE bucket = ?1 AND key = ?2")                                           \
	X(OBJECT_FROM,                                                                                                \
	  "SELECT key, size, etag, modified, id FROM object WHERE bucket = ?1 AND key >= ?2 ORDER BY key")            \
	X(OBJECT_BETWEEN, "SELECT key, size, etag, modified, id FROM object WHERE bucket = ?1 AND key >= ?2 AND key " \
	                  "< ?3 ORDER BY key")                                                                        \
	X(SHARED_GET, "SELECT extra FROM shared WHERE id = ?1")                                                       \
	X(SHARED_ADD, "INSERT INTO shared(id, extra) VALUES(?1, 1) ON CONFLICT(id) DO UPDATE SET extra = extra + 1")  \
	X(SHARED_SUB, "UPDATE shared SET extra = extra - 1 WHERE id = ?1")                                            \
	X(SHARED_DROP, "DELETE FROM shared WHERE id = ?1 AND extra <= 0")                                             \
	X(LANDING_ADD, "INSERT INTO landing(id) VALUES(?1)")                                                          \
	X(LANDING_GET, "SELECT 1 FROM landing WHERE id = ?1")                                                         \
	X(LANDING_DROP, "DELETE FROM landing WHERE id = ?1")                                                          \
	X(LANDING_CLEAR, "DELETE FROM landing")                                                                       \
	X(GARBAGE_ADD, "INSERT OR IGNORE INTO garbage(at, id) VALUES(?1, ?2)")                                        \
	X(GARBAGE_DUE, "SELECT at, id FROM garbage WHERE at < ?1 ORDER BY at, id LIMIT 512")                          \
	X(GARBAGE_DROP, "DELETE FROM garbage WHERE at = ?1 AND id = ?2")                                              \
	X(ADOPTED_GET, "SELECT 1 FROM adopted WHERE id = ?1")                                                         \
	X(ADOPTED_ADD, "INSERT OR IGNORE INTO adopted(id, at) VALUES(?1, ?2)")                                        \
	X(UPLOAD_ADD,                                                                                                 \
	  "INSERT INTO upload(id, bucket, key, created, file, algorithm, meta) VALUES(?1,?2,?3,?4,?5,?6,?7)")         \
	X(UPLOAD_GET,                                                                                                 \
	  "SELECT u.bucket, u.key, u.created, u.file, u.algorithm, u.meta FROM upload u JOIN bucket b ON b.id = "     \
	  "u.bucket WHERE u.id = ?1 AND b.name = ?2 AND u.key = ?3")                                                  \
	X(UPLOAD_DROP, "DELETE FROM upload WHERE id = ?1")                                                            \
	X(UPLOAD_OF, "SELECT id, file FROM upload WHERE bucket = ?1 LIMIT 1")                                         \
	X(UPLOAD_LIST, "SELECT key, id, created, algorithm FROM upload WHERE bucket = ?1 AND (key, id) > (?2, ?3) "   \
	               "ORDER BY key, id")                                                                            \
	X(UPLOAD_FILE, "SELECT file FROM upload WHERE id = ?1")                                                       \
	X(PART_ADD, "INSERT OR REPLACE INTO part(upload, number, file, at, size, etag, modified, checksum) "          \
	            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8)")                                                                \
	X(PART_GET, "SELECT file, at, size, etag FROM part WHERE upload = ?1 AND number = ?2")                        \
	X(PART_LIST,                                                                                                  \
	  "SELECT number, file, at, size, etag, modified, checksum FROM part WHERE upload = ?1 AND number > ?2 "      \
	  "ORDER BY number")                                                                                          \
	X(PART_DROP_ALL, "DELETE FROM part WHERE upload = ?1")                                                        \
	X(FINISHED_ADD, "INSERT OR REPLACE INTO finished(upload, bucket, key, etag, at) VALUES(?1,?2,?3,?4,?5)")      \
	X(FINISHED_GET, "SELECT etag FROM finished WHERE upload = ?1 AND bucket = ?2 AND key = ?3")                   \
	X(FINISHED_DROP, "DELETE FROM finished WHERE at < ?1")

enum db_sql {
#define X(name, text) DB_##name,
	DB_STATEMENTS(X)
#undef X
	        DB_SQL_COUNT
};

struct db;
struct db_conn;

int db_open(const char *path, struct db **ret, struct err *e) must_check;
void db_close(struct db *d); /* nobody may be inside; NULL is fine */

/* Runs fn in a transaction of the writer. The code it returns is db_write's, S3_InternalError when the commit failed.
 */
typedef enum s3_code db_op_fn(struct db_conn *c, void *arg, struct err *e);
enum s3_code db_write(struct db *d, db_op_fn *fn, void *arg, struct err *e) must_check;
/* Remembers that the incoming name of a landed id is gone: its row leaves `landing` with the next transaction. */
void db_landed(struct db *d, const char *id);

/* A reader from the pool, or a new one. NULL with e set when none can be opened. */
struct db_conn *db_reader(struct db *d, struct err *e) must_check;
void db_reader_done(struct db *d, struct db_conn *c);

/* The statement, reset and without bindings. NULL with e set when it cannot be prepared. */
sqlite3_stmt *db_stmt(struct db_conn *c, enum db_sql which, struct err *e) must_check;
/* Steps: 1 a row, 0 done, -1 with e set. A statement that is done or failed has been reset. */
int db_step(sqlite3_stmt *st, struct err *e) must_check;
/* Runs a statement to its end, whatever rows it gives. */
enum s3_code db_run(sqlite3_stmt *st, struct err *e) must_check;

/* Bindings and columns. A bound str must live until the statement is reset. Columns are views, valid until the next
 * step or reset. */
void db_bind_blob(sqlite3_stmt *st, int at, struct str s);
void db_bind_text(sqlite3_stmt *st, int at, struct str s);
void db_bind_int(sqlite3_stmt *st, int at, int64_t v);
struct str db_col(sqlite3_stmt *st, int at);
int64_t db_col_int(sqlite3_stmt *st, int at);
