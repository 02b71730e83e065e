/* Rows of groups of model packages. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void stored_group_fini(struct stored_group *g)
{
	free(g->name);
	free(g->arn);
	free(g->description);
	free(g->created_by);
	memset(g, 0, sizeof(*g));
}

static int find(struct conn *c, struct str name, struct stored_group *ret, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(name);
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT n, name, arn, description, created_by, created_ms FROM model_package_group"
	                 " WHERE name_lower = ?1",
	                 &st, e) < 0)
		return -1;
	bind_str(st, 1, str_of(name_lower));
	r = db_row(st, e, "looking for a group of model packages");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "ModelPackageGroup " PRIstr " does not exist.", ARGstr(name));
	*ret = (struct stored_group){ .n = sqlite3_column_int64(st, 0),
		                      .name = column_dup(st, 1),
		                      .arn = column_dup(st, 2),
		                      .description = column_dup(st, 3),
		                      .created_by = column_dup(st, 4),
		                      .created.ms = sqlite3_column_int64(st, 5) };
	sqlite3_reset(st);
	return 0;
}

int store_group_find(struct store *s, struct str name, struct stored_group *ret, struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = find(c, name, ret, e);
	reader_give(s, c);
	return rc;
}

static int insert_row(struct store *s, const struct store_new_group *g, int64_t *ret_n, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(g->name));
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO model_package_group"
	                 " (name, name_lower, arn, created_ms, modified_ms, description, created_by)"
	                 " VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, g->name);
	bind_str(st, 2, str_of(name_lower));
	bind_z(st, 3, g->arn);
	sqlite3_bind_int64(st, 4, g->created.ms);
	bind_z(st, 5, g->description);
	bind_z(st, 6, g->created_by);
	if (db_done(st, e, "adding a group of model packages") < 0)
		return -1;
	*ret_n = sqlite3_last_insert_rowid(s->writer.db);
	return 0;
}

static int name_is_free(struct store *s, const char *name, struct err *e)
{
	struct stored_group other = { 0 };
	struct err why = { 0 };

	if (find(&s->writer, str_of(name), &other, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return -1;
	}
	err_set(e, ERR_INVALID, "Model Package Group already exists: %s", other.arn);
	stored_group_fini(&other);
	return -1;
}

int store_group_insert(struct store *s, const struct store_new_group *g, int64_t *ret_n, struct err *e)
{
	int64_t n = 0;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = name_is_free(s, g->name, e);
	if (rc == 0)
		rc = insert_row(s, g, &n, e);
	if (rc == 0 && g->tag_count)
		rc = tags_write(s, str_of(g->arn), g->tags, g->tag_count, e);
	if (write_end(s, rc, e) < 0)
		return -1;
	*ret_n = n;
	return 0;
}

static int is_empty(struct store *s, const struct stored_group *g, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(g->name));
	sqlite3_stmt *st;
	int64_t packages;
	int r;

	if (conn_prepare(&s->writer, "SELECT count(*) FROM model_package WHERE name_lower = ?1 AND version > 0", &st,
	                 e) < 0)
		return -1;
	bind_str(st, 1, str_of(name_lower));
	r = db_row(st, e, "counting the packages of a group");
	if (r < 0)
		return -1;
	packages = r ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	if (!packages)
		return 0;
	return err_set(e, ERR_CONFLICT,
	               "ModelPackageGroup %s cannot be deleted: it has %lld model package%s; delete them first", g->arn,
	               (long long)packages, packages == 1 ? "" : "s");
}

static int delete_row(struct store *s, const struct stored_group *g, struct err *e)
{
	sqlite3_stmt *st;

	if (is_empty(s, g, e) < 0 ||
	    conn_prepare(&s->writer, "DELETE FROM model_package_group WHERE n = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, g->n);
	if (db_done(st, e, "deleting a group of model packages") < 0)
		return -1;
	return tags_drop(s, str_of(g->arn), e);
}

int store_group_delete(struct store *s, struct str name, struct err *e)
{
	struct stored_group g = { 0 };
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = find(&s->writer, name, &g, e);
	if (rc == 0)
		rc = delete_row(s, &g, e);
	stored_group_fini(&g);
	return write_end(s, rc, e);
}

/* ---- List ---- */

struct walk {
	void (*fn)(const struct stored_group *g, void *arg);
	void *arg;
};

static void hand_one(sqlite3_stmt *st, void *arg)
{
	const struct walk *w = arg;
	struct stored_group g = { .n = sqlite3_column_int64(st, 0),
		                  .created.ms = sqlite3_column_int64(st, 1),
		                  .name = column_dup(st, 4),
		                  .arn = column_dup(st, 5),
		                  .description = column_dup(st, 6) };

	w->fn(&g, w->arg);
	stored_group_fini(&g);
}

int store_group_list(struct store *s, const struct store_list *q, void (*fn)(const struct stored_group *g, void *arg),
                     void *arg, char **ret_token, struct err *e)
{
	static const struct list_table groups = { .name = "model_package_group",
		                                  .columns = "name, arn, description",
		                                  .doing = "listing groups of model packages" };
	struct walk w = { fn, arg };

	return list_walk(s, &groups, q, hand_one, &w, ret_token, e);
}
