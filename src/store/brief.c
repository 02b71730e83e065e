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

int store_job_brief(struct store *s, struct str id, struct str name, struct store_brief *ret, struct err *e)
{
	_cleanup_free_ char *low = lower(name);
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1, rc = 0;

	if (!c)
		return -1;
	if (conn_prepare(c,
	                 id.n ? "SELECT n, id, name, state FROM training_job WHERE id = ?1"
	                      : "SELECT n, id, name, state FROM training_job WHERE name_lower = ?1 AND name = ?2",
	                 &st, e) == 0) {
		bind_str(st, 1, id.n ? id : str_of(low));
		if (!id.n)
			bind_str(st, 2, name);
		r = db_row(st, e, "looking for a training job");
	}
	if (r > 0) {
		rc = read_brief(st, ret, e);
		sqlite3_reset(st);
	}
	reader_give(s, c);
	return r == 0 ? err_set(e, ERR_NOT_FOUND, "Requested resource not found.") : r < 0 ? -1 : rc;
}
