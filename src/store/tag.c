/* Tags by ARN. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/db.h"

/* Resources by the part of their ARN behind the last '/', which is the name in lower case. */
static int resource_exists(struct conn *c, struct str arn, struct err *e)
{
	struct str rest = arn, name = str_cut_last(&rest, '/');
	_cleanup_free_ char *name_lower = lower(name);
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT 1 FROM job WHERE kind IN " ALL_KINDS " AND name_lower = ?1 AND arn = ?2"
	                 " UNION ALL SELECT 1 FROM algorithm WHERE name_lower = ?1 AND arn = ?2"
	                 " UNION ALL SELECT 1 FROM model WHERE name_lower = ?1 AND arn = ?2"
	                 " UNION ALL SELECT 1 FROM model_package_group WHERE arn = ?2"
	                 " UNION ALL SELECT 1 FROM model_package WHERE arn = ?2",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_text(st, 1, name_lower, -1, SQLITE_STATIC);
	bind_str(st, 2, arn);
	r = db_row(st, e, "looking for a resource");
	if (r < 0)
		return -1;
	sqlite3_reset(st);
	sqlite3_clear_bindings(st); /* name_lower goes away */
	return r ? 0 : err_set(e, ERR_NOT_FOUND, "Requested resource not found.");
}

static int count_tags(struct conn *c, struct str arn, int *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "SELECT count(*) FROM tag WHERE arn = ?1", &st, e) < 0)
		return -1;
	bind_str(st, 1, arn);
	r = db_row(st, e, "counting tags");
	if (r < 0)
		return -1;
	*ret = r ? sqlite3_column_int(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}

int tags_write(struct store *s, struct str arn, const struct store_tag *tags, size_t count, struct err *e)
{
	sqlite3_stmt *st;
	int have = 0;

	for (size_t i = 0; i < count; i++) {
		if (conn_prepare(&s->writer,
		                 "INSERT INTO tag (arn, key, value) VALUES (?1, ?2, ?3)"
		                 " ON CONFLICT (arn, key) DO UPDATE SET value = excluded.value",
		                 &st, e) < 0)
			return -1;
		bind_str(st, 1, arn);
		bind_str(st, 2, tags[i].key);
		bind_str(st, 3, tags[i].value);
		if (db_done(st, e, "adding a tag") < 0)
			return -1;
	}
	if (count_tags(&s->writer, arn, &have, e) < 0)
		return -1;
	if (have > TAGS_MAX)
		return err_set(e, ERR_LIMIT, "A resource can have at most %d tags; this request would make it %d",
		               TAGS_MAX, have);
	return 0;
}

int tags_drop(struct store *s, struct str arn, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer, "DELETE FROM tag WHERE arn = ?1", &st, e) < 0)
		return -1;
	bind_str(st, 1, arn);
	return db_done(st, e, "deleting tags");
}

int store_tags_put(struct store *s, struct str arn, const struct store_tag *tags, size_t count, struct err *e)
{
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = resource_exists(&s->writer, arn, e);
	if (rc == 0)
		rc = tags_write(s, arn, tags, count, e);
	return write_end(s, rc, e);
}

int store_tags_delete(struct store *s, struct str arn, const struct str *keys, size_t count, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = resource_exists(&s->writer, arn, e);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = conn_prepare(&s->writer, "DELETE FROM tag WHERE arn = ?1 AND key = ?2", &st, e);
		if (rc == 0) {
			bind_str(st, 1, arn);
			bind_str(st, 2, keys[i]);
			rc = db_done(st, e, "deleting a tag");
		}
	}
	return write_end(s, rc, e);
}

int store_tags_each(struct store *s, struct str arn, void (*fn)(struct str key, struct str value, void *arg), void *arg,
                    struct err *e)
{
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1;

	if (!c)
		return -1;
	if (resource_exists(c, arn, e) == 0 &&
	    conn_prepare(c, "SELECT key, value FROM tag WHERE arn = ?1 ORDER BY n", &st, e) == 0) {
		bind_str(st, 1, arn);
		while ((r = db_row(st, e, "reading tags")) > 0)
			fn(column_str(st, 0), column_str(st, 1), arg);
	}
	reader_give(s, c);
	return r;
}
