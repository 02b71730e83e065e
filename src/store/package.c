/* Rows of model packages. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

void stored_package_fini(struct stored_package *p)
{
	free(p->name);
	free(p->arn);
	free(p->status);
	free(p->approval);
	free(p->created_by);
	free(p->modified_by);
	free(p->request);
	memset(p, 0, sizeof(*p));
}

/* ---- found ---- */

static int find(struct conn *c, struct str arn, struct stored_package *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT p.n, name, version, arn, status, approval, created_ms, modified_ms, created_by,"
	                 " modified_by, request FROM model_package AS p JOIN model_package_text AS t ON t.n = p.n"
	                 " WHERE arn = ?1",
	                 &st, e) < 0)
		return -1;
	bind_str(st, 1, arn);
	r = db_row(st, e, "looking for a model package");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "ModelPackage " PRIstr " does not exist.", ARGstr(arn));
	*ret = (struct stored_package){ .n = sqlite3_column_int64(st, 0),
		                        .name = column_dup(st, 1),
		                        .version = (unsigned)sqlite3_column_int64(st, 2),
		                        .arn = column_dup(st, 3),
		                        .status = column_dup(st, 4),
		                        .approval = column_dup(st, 5),
		                        .created.ms = sqlite3_column_int64(st, 6),
		                        .modified.ms = sqlite3_column_int64(st, 7),
		                        .created_by = column_dup(st, 8),
		                        .modified_by = column_dup(st, 9),
		                        .request = column_dup(st, 10) };
	sqlite3_reset(st);
	return 0;
}

int store_package_find(struct store *s, struct str arn, struct stored_package *ret, struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = find(c, arn, ret, e);
	reader_give(s, c);
	return rc;
}

int store_package_find_to_write(struct store *s, struct str arn, struct stored_package *ret, struct err *e)
{
	return find(&s->writer, arn, ret, e);
}

/* ---- made ---- */

/* The ARN of what the token made before; NULL: nothing. */
static int made_before(struct store *s, const struct store_new_package *p, const char *name_lower, char **ret,
                       struct err *e)
{
	sqlite3_stmt *st;
	bool same;
	int r;

	*ret = NULL;
	if (!p->token)
		return 0;
	if (conn_prepare(&s->writer,
	                 "SELECT arn, name_lower = ?2 AND (version > 0) = ?3 FROM model_package WHERE token = ?1", &st,
	                 e) < 0)
		return -1;
	bind_z(st, 1, p->token);
	bind_str(st, 2, str_of(name_lower));
	sqlite3_bind_int(st, 3, p->versioned);
	r = db_row(st, e, "looking for the package of a token");
	if (r <= 0)
		return r;
	same = sqlite3_column_int(st, 1);
	*ret = column_dup(st, 0);
	sqlite3_reset(st);
	if (same)
		return 0;
	err_set(e, ERR_CONFLICT, "The ClientToken '%s' was used to create %s already", p->token, *ret);
	free(take_ptr(*ret));
	return -1;
}

/* The version that is next in the group, which is never given again. */
static int next_version(struct store *s, const struct store_new_package *p, const char *name_lower, int64_t *ret,
                        struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(&s->writer,
	                 "UPDATE model_package_group SET last_version = last_version + 1 WHERE name_lower = ?1"
	                 " RETURNING last_version",
	                 &st, e) < 0)
		return -1;
	bind_str(st, 1, str_of(name_lower));
	r = db_row(st, e, "counting the versions of a group of model packages");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "ModelPackageGroup %s does not exist.", p->name);
	*ret = sqlite3_column_int64(st, 0);
	r = db_row(st, e, "counting the versions of a group of model packages"); /* to its end, so that it is done */
	return r < 0 ? -1 : 0;
}

static int name_is_free(struct store *s, const struct store_new_package *p, struct err *e)
{
	struct stored_package other = { 0 };
	struct err why = { 0 };

	if (find(&s->writer, str_of(p->arn), &other, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return -1;
	}
	stored_package_fini(&other);
	return err_set(e, ERR_INVALID, "ModelPackage with name %s already exists (%s)", p->name, p->arn);
}

static int insert_text(struct store *s, int64_t n, const struct store_new_package *p, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer, "INSERT INTO model_package_text (n, created_by, request) VALUES (?1, ?2, ?3)", &st,
	                 e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	bind_z(st, 2, p->created_by);
	bind_z(st, 3, p->request);
	return db_done(st, e, "adding a model package's request");
}

static int insert_row(struct store *s, const struct store_new_package *p, const char *name_lower, const char *arn,
                      int64_t version, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "INSERT INTO model_package (name, name_lower, version, arn, status, approval, created_ms,"
	                 " modified_ms, token) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)",
	                 &st, e) < 0)
		return -1;
	bind_z(st, 1, p->name);
	bind_str(st, 2, str_of(name_lower));
	sqlite3_bind_int64(st, 3, version);
	bind_str(st, 4, str_of(arn));
	bind_z(st, 5, p->status);
	bind_z(st, 6, p->approval);
	sqlite3_bind_int64(st, 7, p->created.ms);
	bind_z(st, 8, p->token);
	if (db_done(st, e, "adding a model package") < 0)
		return -1;
	return insert_text(s, sqlite3_last_insert_rowid(s->writer.db), p, e);
}

static int add(struct store *s, const struct store_new_package *p, char **ret_arn, struct err *e)
{
	_cleanup_free_ char *name_lower = lower(str_of(p->name)), *arn = NULL;
	int64_t version = 0;

	if (made_before(s, p, name_lower, &arn, e) < 0)
		return -1;
	if (arn) {
		*ret_arn = take_ptr(arn);
		return 0;
	}
	if ((p->versioned ? next_version(s, p, name_lower, &version, e) : name_is_free(s, p, e)) < 0)
		return -1;
	arn = version ? strf("%s/%lld", p->arn, (long long)version) : xstrdup(p->arn);
	if (insert_row(s, p, name_lower, arn, version, e) < 0 ||
	    (p->tag_count && tags_write(s, str_of(arn), p->tags, p->tag_count, e) < 0))
		return -1;
	*ret_arn = take_ptr(arn);
	return 0;
}

int store_package_insert(struct store *s, const struct store_new_package *p, char **ret_arn, struct err *e)
{
	char *arn = NULL;

	if (write_begin(s, true, e) < 0)
		return -1;
	if (write_end(s, add(s, p, &arn, e), e) < 0) {
		free(arn);
		return -1;
	}
	*ret_arn = arn;
	return 0;
}

/* ---- changed and removed ---- */

static int rewrite(struct store *s, int64_t n, const char *approval, const char *request, const char *modified_by,
                   struct wall modified, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "UPDATE model_package SET approval = ?2, modified_ms = max(modified_ms, ?3) WHERE n = ?1", &st,
	                 e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	bind_z(st, 2, approval);
	sqlite3_bind_int64(st, 3, modified.ms);
	if (db_done(st, e, "changing a model package") < 0 ||
	    conn_prepare(&s->writer, "UPDATE model_package_text SET request = ?2, modified_by = ?3 WHERE n = ?1", &st,
	                 e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, n);
	bind_z(st, 2, request);
	bind_z(st, 3, modified_by);
	return db_done(st, e, "changing a model package's request");
}

int store_package_rewrite(struct store *s, int64_t n, const char *approval, const char *request,
                          const char *modified_by, struct wall modified, struct err *e)
{
	if (write_begin(s, true, e) < 0)
		return -1;
	return write_end(s, rewrite(s, n, approval, request, modified_by, modified, e), e);
}

static int delete_row(struct store *s, const struct stored_package *p, struct err *e)
{
	static const char *const sql[] = { "DELETE FROM model_package WHERE n = ?1",
		                           "DELETE FROM model_package_text WHERE n = ?1" };
	sqlite3_stmt *st;

	for (size_t i = 0; i < ARRAY_LEN(sql); i++) {
		if (conn_prepare(&s->writer, sql[i], &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, p->n);
		if (db_done(st, e, "deleting a model package") < 0)
			return -1;
	}
	return tags_drop(s, str_of(p->arn), e);
}

int store_package_delete(struct store *s, struct str arn, struct err *e)
{
	struct stored_package p = { 0 };
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = find(&s->writer, arn, &p, e);
	if (rc == 0)
		rc = delete_row(s, &p, e);
	stored_package_fini(&p);
	return write_end(s, rc, e);
}

/* ---- List ---- */

struct walk {
	void (*fn)(const struct stored_package *p, void *arg);
	void *arg;
};

static void hand_one(sqlite3_stmt *st, void *arg)
{
	const struct walk *w = arg;
	struct stored_package p = { .n = sqlite3_column_int64(st, 0),
		                    .created.ms = sqlite3_column_int64(st, 1),
		                    .status = column_dup(st, 3),
		                    .name = column_dup(st, 4),
		                    .arn = column_dup(st, 5),
		                    .version = (unsigned)sqlite3_column_int64(st, 6),
		                    .approval = column_dup(st, 7),
		                    .request = column_dup(st, 8) };

	w->fn(&p, w->arg);
	stored_package_fini(&p);
}

int store_package_list(struct store *s, const struct store_list *q, const struct store_package_filter *f,
                       void (*fn)(const struct stored_package *p, void *arg), void *arg, char **ret_token,
                       struct err *e)
{
	static const char *const of_kind[] = {
		[PACKAGES_ALL] = "(?12 = '' OR name_lower = ?12) AND (?13 = '' OR approval = ?13)",
		[PACKAGES_UNVERSIONED] = "version = 0 AND (?12 = '' OR name_lower = ?12)"
		                         " AND (?13 = '' OR approval = ?13)",
		[PACKAGES_VERSIONED] = "version > 0 AND (?12 = '' OR name_lower = ?12)"
		                       " AND (?13 = '' OR approval = ?13)"
	};
	_cleanup_free_ char *group = lower(f->group);
	const struct list_table packages = { .name = "model_package",
		                             .columns = "name, arn, version, approval,"
		                                        " (SELECT request FROM model_package_text AS t"
		                                        " WHERE t.n = model_package.n)",
		                             .doing = "listing model packages",
		                             .only = of_kind[f->kind],
		                             .bound = { str_of(group), f->approval } };
	struct walk w = { fn, arg };

	return list_walk(s, &packages, q, hand_one, &w, ret_token, e);
}
