/* Fills the store of metrics for the bench: a value a second. SPDX-License-Identifier: Apache-2.0
 *
 * usage: series METRICS_DB COUNT RAW_DB        in the namespace `bench`, metric `m`, the last one now
 *
 * The same values are put into a plain table of another database, RAW_DB, which is what is compared with. */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "series/series.h"

static double value(int64_t i)
{
	return sin((double)i / 5000) + (double)(i * 2654435761u % 1000) / 1000;
}

static int fill(struct series_store *s, int64_t from, int64_t count, struct err *e)
{
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	const struct series_key key = { .ns = STR("bench"), .name = STR("m"), .unit = STR("None") };
	int rc = 0;

	for (int64_t i = 0; i < count && rc == 0; i++) {
		series_batch_add(b, series_batch_key(b, &key), (struct wall){ (from + i) * 1000 }, value(i), 1, true);
		if (i % 20000 == 19999 || i + 1 == count)
			rc = series_commit(s, b, wall_now(), false, e);
	}
	return rc;
}

static int fill_raw(const char *path, int64_t from, int64_t count)
{
	sqlite3_stmt *st;
	sqlite3 *db;
	int rc = sqlite3_open(path, &db);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "CREATE TABLE raw(t INTEGER PRIMARY KEY, v REAL); BEGIN", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "INSERT INTO raw VALUES(?1, ?2)", -1, &st, NULL);
	for (int64_t i = 0; i < count && rc == SQLITE_OK; i++) {
		sqlite3_bind_int64(st, 1, from + i);
		sqlite3_bind_double(st, 2, value(i));
		rc = sqlite3_step(st) == SQLITE_DONE ? sqlite3_reset(st) : SQLITE_ERROR;
	}
	sqlite3_finalize(st);
	rc = rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
	sqlite3_close(db);
	return rc == SQLITE_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
	_cleanup_(series_store_closep) struct series_store *s = NULL;
	_cleanup_free_ char *raw = NULL;
	struct err e = { 0 };
	int64_t count, from;

	if (argc != 4)
		return 2;
	count = strtoll(argv[2], NULL, 10);
	from = wall_now().ms / 1000 - count;
	raw = strf("%s", argv[3]);
	if (series_store_open(argv[1], &s, &e) < 0 || fill(s, from, count, &e) < 0 || fill_raw(raw, from, count) < 0) {
		err_print(&e, "series");
		return 1;
	}
	printf("%lld\n", (long long)from);
	return 0;
}
