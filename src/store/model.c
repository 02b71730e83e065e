/* Rows of models. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void stored_model_fini(struct stored_model *m)
{
	free(m->name);
	free(m->arn);
	free(m->request);
	free(m->containers);
	memset(m, 0, sizeof(*m));
}

static int name_is_free(struct store *s, const char *name_lower, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer, "SELECT arn FROM model WHERE name_lower = ?1", &st, e) < 0)
		return -1;
	bind_z(st, 1, name_lower);
	r = db_row(st, e, "looking for a model of that name");
	if (r <= 0)
		return r;
	/* contract 7.2 */
	err_set(e, ERR_INVALID, "Cannot create already existing model \"%s\".",
	        (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return -1;
}

static int insert_row(struct store *s, const struct store_new_model *m, const char *name_lower, int64_t *ret_n,
                      struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(
	            &s->writer,
	            "INSERT INTO model (name, name_lower, arn, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?4, ?4)",
	            &st, e) < 0)
		return -1;
	bind_z(st, 1, m->name);
	bind_z(st, 2, name_lower);
	bind_z(st, 3, m->arn);
	sqlite3_bind_int64(st, 4, m->created.ms);
	if (db_done(st, e, "adding a model") < 0)
		return -1;
	*ret_n = sqlite3_last_insert_rowid(s->writer.db);
	if (conn_prepare(&s->writer, "INSERT INTO model_text (n, request, containers) VALUES (?1, ?2, ?3)", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, *ret_n);
	bind_z(st, 2, m->request);
	bind_z(st, 3, m->containers);
	return db_done(st, e, "adding a model's request");
}

int store_model_insert(struct store *s, const struct store_new_model *m, int64_t *ret_n, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(m->name));
	int64_t n = 0;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = name_is_free(s, name_lower, e);
	if (rc == 0)
		rc = insert_row(s, m, name_lower, &n, e);
	if (rc == 0 && m->tag_count)
		rc = tags_write(s, str_of(m->arn), m->tags, m->tag_count, e);
	if (write_end(s, rc, e) < 0)
		return -1;
	*ret_n = n;
	return 0;
}

static int find(struct conn *c, struct str name, struct stored_model *ret, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(name);
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT m.n, name, arn, created_ms, request, containers"
	                 " FROM model AS m JOIN model_text AS t ON t.n = m.n WHERE name_lower = ?1",
	                 &st, e) < 0)
		return -1;
	bind_str(st, 1, str_of(name_lower));
	r = db_row(st, e, "looking for a model");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "Could not find model \"" PRIstr "\".", ARGstr(name));
	*ret = (struct stored_model){ .n = sqlite3_column_int64(st, 0),
		                      .name = column_dup(st, 1),
		                      .arn = column_dup(st, 2),
		                      .created.ms = sqlite3_column_int64(st, 3),
		                      .request = column_dup(st, 4),
		                      .containers = column_dup(st, 5) };
	sqlite3_reset(st);
	return 0;
}

int store_model_find(struct store *s, struct str name, struct stored_model *ret, struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = find(c, name, ret, e);
	reader_give(s, c);
	return rc;
}

static int delete_row(struct store *s, const struct stored_model *m, struct err *e)
{
	static const char *const sql[] = { "DELETE FROM model WHERE n = ?1", "DELETE FROM model_text WHERE n = ?1" };
	sqlite3_stmt *st;

	for (size_t i = 0; i < ARRAY_LEN(sql); i++) {
		if (conn_prepare(&s->writer, sql[i], &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, m->n);
		if (db_done(st, e, "deleting a model") < 0)
			return -1;
	}
	return tags_drop(s, str_of(m->arn), e);
}

int store_model_delete(struct store *s, struct str name, struct err *e)
{
	struct stored_model m = { 0 };
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = find(&s->writer, name, &m, e);
	if (rc == 0)
		rc = delete_row(s, &m, e);
	stored_model_fini(&m);
	return write_end(s, rc, e);
}

/* ---- List ---- */

struct walk {
	void (*fn)(const struct store_model_summary *m, void *arg);
	void *arg;
};

static void hand_one(sqlite3_stmt *st, void *arg)
{
	const struct walk *w = arg;
	const struct store_model_summary m = { .created.ms = sqlite3_column_int64(st, 1),
		                               .name = column_str(st, 4),
		                               .arn = column_str(st, 5) };

	w->fn(&m, w->arg);
}

int store_model_list(struct store *s, const struct store_list *q,
                     void (*fn)(const struct store_model_summary *m, void *arg), void *arg, char **ret_token,
                     struct err *e)
{
	static const struct list_table models = { .name = "model", .columns = "name, arn", .doing = "listing models" };
	struct walk w = { fn, arg };

	return list_walk(s, &models, q, hand_one, &w, ret_token, e);
}
