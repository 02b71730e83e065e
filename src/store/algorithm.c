/* Rows of algorithms. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void stored_algorithm_fini(struct stored_algorithm *a)
{
	free(a->name);
	free(a->arn);
	free(a->status);
	free(a->image);
	free(a->details);
	memset(a, 0, sizeof(*a));
}

static int name_is_free(struct store *s, const struct store_new_algorithm *a, const char *name_lower, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer, "SELECT arn FROM algorithm WHERE name_lower = ?1", &st, e) < 0)
		return -1;
	bind_z(st, 1, name_lower);
	r = db_row(st, e, "looking for an algorithm of that name");
	if (r <= 0)
		return r;
	/* contract 9.4 */
	err_set(e, ERR_INVALID, "Algorithm with name %s already exists (%s)", a->name,
	        (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return -1;
}

static int insert_row(struct store *s, const struct store_new_algorithm *a, const char *name_lower, int64_t *ret_n,
                      struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO algorithm (name, name_lower, arn, status, created_ms, modified_ms, description,"
	                 " image, details) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8)",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, a->name);
	bind_z(st, 2, name_lower);
	bind_z(st, 3, a->arn);
	bind_z(st, 4, a->status);
	sqlite3_bind_int64(st, 5, a->created.ms);
	bind_z(st, 6, a->description);
	bind_z(st, 7, a->image);
	bind_z(st, 8, a->details);
	if (db_done(st, e, "adding an algorithm") < 0)
		return -1;
	*ret_n = sqlite3_last_insert_rowid(s->writer.db);
	if (conn_prepare(&s->writer, "INSERT INTO algorithm_text (n, request) VALUES (?1, ?2)", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, *ret_n);
	bind_z(st, 2, a->request);
	if (db_done(st, e, "adding an algorithm's request") < 0)
		return -1;
	return a->step ? validation_insert(s, *ret_n, a->step, e) : 0;
}

int store_algorithm_insert(struct store *s, const struct store_new_algorithm *a, int64_t *ret_n, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(a->name));
	int64_t n = 0;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = name_is_free(s, a, name_lower, e);
	if (rc == 0)
		rc = insert_row(s, a, name_lower, &n, e);
	if (rc == 0 && a->tag_count)
		rc = tags_write(s, str_of(a->arn), a->tags, a->tag_count, e);
	if (write_end(s, rc, e) < 0)
		return -1;
	*ret_n = n;
	return 0;
}

static int move(struct store *s, int64_t n, const char *from, const char *to, const char *image, const char *details,
                struct wall at, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "UPDATE algorithm SET status = ?3, image = coalesce(?4, image),"
	                 " details = coalesce(?5, details), modified_ms = max(modified_ms, ?6)"
	                 " WHERE n = ?1 AND status = ?2",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	bind_z(st, 2, from);
	bind_z(st, 3, to);
	bind_z(st, 4, image);
	bind_z(st, 5, details);
	sqlite3_bind_int64(st, 6, at.ms);
	if (db_done(st, e, "changing an algorithm's status") < 0)
		return -1;
	if (!sqlite3_changes(s->writer.db))
		return err_set(e, ERR_IN_USE, "the algorithm is not %s any more", from);
	return !strcmp(to, "Failed") ? validation_drop(s, n, e) : 0;
}

int store_algorithm_move(struct store *s, int64_t n, const char *from, const char *to, const char *image,
                         const char *details, struct wall at, struct err *e)
{
	if (write_begin(s, true, e) < 0)
		return -1;
	return write_end(s, move(s, n, from, to, image, details, at, e), e);
}

static int delete_row(struct store *s, const struct stored_algorithm *a, struct err *e)
{
	static const char *const sql[] = { "DELETE FROM algorithm WHERE n = ?1",
		                           "DELETE FROM algorithm_text WHERE n = ?1" };
	sqlite3_stmt *st;

	/* contract 8.2 */
	if (!strcmp(a->status, "Pending") || !strcmp(a->status, "InProgress"))
		return err_set(e, ERR_INVALID, "Cannot delete Algorithm in %s status: %s", a->status, a->arn);
	for (size_t i = 0; i < ARRAY_LEN(sql); i++) {
		if (conn_prepare(&s->writer, sql[i], &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, a->n);
		if (db_done(st, e, "deleting an algorithm") < 0)
			return -1;
	}
	if (validation_drop(s, a->n, e) < 0)
		return -1;
	return tags_drop(s, str_of(a->arn), e);
}

/* The row, and its request when that is asked for. */
static int find(struct conn *c, struct str name, struct stored_algorithm *ret, char **ret_request, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(name);
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 ret_request
	                         ? "SELECT a.n, name, arn, status, created_ms, modified_ms, image, details, request"
	                           " FROM algorithm AS a JOIN algorithm_text AS t ON t.n = a.n WHERE name_lower = ?1"
	                         : "SELECT n, name, arn, status, created_ms, modified_ms, image, details"
	                           " FROM algorithm WHERE name_lower = ?1",
	                 &st, e) < 0)
		return -1;
	bind_str(st, 1, str_of(name_lower));
	r = db_row(st, e, "looking for an algorithm");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "Algorithm " PRIstr " does not exist.", ARGstr(name));
	*ret = (struct stored_algorithm){ .n = sqlite3_column_int64(st, 0),
		                          .name = column_dup(st, 1),
		                          .arn = column_dup(st, 2),
		                          .status = column_dup(st, 3),
		                          .created.ms = sqlite3_column_int64(st, 4),
		                          .modified.ms = sqlite3_column_int64(st, 5),
		                          .image = column_dup(st, 6),
		                          .details = column_dup(st, 7) };
	if (ret_request)
		*ret_request = column_dup(st, 8);
	sqlite3_reset(st);
	return 0;
}

int store_algorithm_delete(struct store *s, struct str name, struct err *e)
{
	struct stored_algorithm a = { 0 };
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = find(&s->writer, name, &a, NULL, e);
	if (rc == 0)
		rc = delete_row(s, &a, e);
	stored_algorithm_fini(&a);
	return write_end(s, rc, e);
}

int store_algorithm_find(struct store *s, struct str name, struct stored_algorithm *ret, char **ret_request,
                         struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = find(c, name, ret, ret_request, e);
	reader_give(s, c);
	return rc;
}

int store_algorithm_each_open(struct store *s, void (*fn)(const struct store_open_algorithm *a, void *arg), void *arg,
                              struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer,
	                 "SELECT n, status, image, step IS NOT NULL FROM algorithm LEFT JOIN validation"
	                 " ON algorithm = n WHERE status IN ('Pending', 'InProgress')"
	                 " AND coalesce(step, '" VALIDATION_IMAGE "') = '" VALIDATION_IMAGE "' ORDER BY n",
	                 &st, e) < 0)
		return -1;
	while ((r = db_row(st, e, "looking for algorithms that are being made")) > 0)
		fn(&(struct store_open_algorithm){ .n = sqlite3_column_int64(st, 0),
		                                   .status = (const char *)sqlite3_column_text(st, 1),
		                                   .image = (const char *)sqlite3_column_text(st, 2),
		                                   .validated = sqlite3_column_int(st, 3) != 0 },
		   arg);
	return r;
}

/* ---- List ---- */

struct walk {
	void (*fn)(const struct store_algorithm_summary *a, void *arg);
	void *arg;
};

static void hand_one(sqlite3_stmt *st, void *arg)
{
	const struct walk *w = arg;
	const struct store_algorithm_summary a = { .created.ms = sqlite3_column_int64(st, 1),
		                                   .status = column_str(st, 3),
		                                   .name = column_str(st, 4),
		                                   .arn = column_str(st, 5),
		                                   .description = column_str(st, 6) };

	w->fn(&a, w->arg);
}

int store_algorithm_list(struct store *s, const struct store_list *q,
                         void (*fn)(const struct store_algorithm_summary *a, void *arg), void *arg, char **ret_token,
                         struct err *e)
{
	static const struct list_table algorithms = { .name = "algorithm",
		                                      .columns = "name, arn, description",
		                                      .doing = "listing algorithms" };
	struct walk w = { fn, arg };

	return list_walk(s, &algorithms, q, hand_one, &w, ret_token, e);
}
