/* A job in a few words, by its id or its name. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void store_brief_fini(struct store_brief *b)
{
	free(b->name);
	b->name = NULL;
}

static int read_brief(sqlite3_stmt *st, struct store_brief *ret, struct err *e)
{
	struct str id = column_str(st, 1);
	int state = job_state_by_name(column_str(st, 3));

	if (state < 0 || id.n != JOB_ID_BYTES - 1)
		return err_set(e, ERR_IO, "job %lld in the database is damaged",
		               (long long)sqlite3_column_int64(st, 0));
	*ret = (struct store_brief){ .n = sqlite3_column_int64(st, 0), .name = column_dup(st, 2), .state = state };
	memcpy(ret->id, id.p, id.n);
	return 0;
}

static int find(struct store *s, const char *sql, struct str first, struct str second, struct store_brief *ret,
                struct err *e)
{
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1, rc = 0;

	if (!c)
		return -1;
	if (conn_prepare(c, sql, &st, e) == 0) {
		bind_str(st, 1, first);
		if (second.p)
			bind_str(st, 2, second);
		r = db_row(st, e, "looking for a training job");
	}
	if (r > 0) {
		rc = read_brief(st, ret, e);
		sqlite3_reset(st);
	}
	reader_give(s, c);
	return r == 0 ? err_set(e, ERR_NOT_FOUND, "Requested resource not found.") : r < 0 ? -1 : rc;
}

int store_job_brief(struct store *s, struct str id, struct str name, struct store_brief *ret, struct err *e)
{
	_cleanup_free_ char *low = lower(name);

	if (id.n)
		return find(s, "SELECT n, id, name, state FROM training_job WHERE id = ?1", id, (struct str){ 0 }, ret,
		            e);
	return find(s, "SELECT n, id, name, state FROM training_job WHERE name_lower = ?1 AND name = ?2", str_of(low),
	            name.p ? name : STR(""), ret, e);
}

int store_job_brief_any_case(struct store *s, struct str name, struct store_brief *ret, struct err *e)
{
	_cleanup_free_ char *low = lower(name);

	return find(s, "SELECT n, id, name, state FROM training_job WHERE name_lower = ?1", str_of(low),
	            (struct str){ 0 }, ret, e);
}
