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
	int state = job_state_by_name(column_str(st, 3)), kind = job_kind_by_name(column_str(st, 4));

	if (state < 0 || kind < 0 || id.n != JOB_ID_BYTES - 1)
		return err_set(e, ERR_IO, "job %lld in the database is damaged",
		               (long long)sqlite3_column_int64(st, 0));
	*ret = (struct store_brief){
		.n = sqlite3_column_int64(st, 0), .kind = (enum job_kind)kind, .name = column_dup(st, 2), .state = state
	};
	memcpy(ret->id, id.p, id.n);
	return 0;
}

#define BRIEF "SELECT n, id, name, state, kind FROM job WHERE "

/* The words are the statement's parameters. */
static int find(struct store *s, const char *sql, const struct str *words, size_t count, struct store_brief *ret,
                struct err *e)
{
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1, rc = 0;

	if (!c)
		return -1;
	if (conn_prepare(c, sql, &st, e) == 0) {
		for (size_t i = 0; i < count; i++)
			bind_str(st, (int)i + 1, words[i]);
		r = db_row(st, e, "looking for a job");
	}
	if (r > 0) {
		rc = read_brief(st, ret, e);
		sqlite3_reset(st);
	}
	reader_give(s, c);
	return r == 0 ? err_set(e, ERR_NOT_FOUND, "Requested resource not found.") : r < 0 ? -1 : rc;
}

int store_job_brief(struct store *s, struct str id, struct store_brief *ret, struct err *e)
{
	return find(s, BRIEF "id = ?1", &id, 1, ret, e);
}

int store_job_brief_named(struct store *s, enum job_kind kind, struct str name, struct store_brief *ret, struct err *e)
{
	_cleanup_free_ char *low = lower(name);
	const struct str words[] = { str_of(job_kind_info[kind].name), str_of(low), name.p ? name : STR("") };

	return find(s, BRIEF "kind = ?1 AND name_lower = ?2 AND name = ?3", words, ARRAY_LEN(words), ret, e);
}

int store_job_brief_any_case(struct store *s, enum job_kind kind, struct str name, struct store_brief *ret,
                             struct err *e)
{
	_cleanup_free_ char *low = lower(name);
	const struct str words[] = { str_of(job_kind_info[kind].name), str_of(low) };

	return find(s, BRIEF "kind = ?1 AND name_lower = ?2", words, ARRAY_LEN(words), ret, e);
}
