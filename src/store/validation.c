/* How far the validations of algorithms are. SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

int validation_insert(struct store *s, int64_t algorithm, const char *step, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer, "INSERT INTO validation (algorithm, step) VALUES (?1, ?2)", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, algorithm);
	bind_z(st, 2, step);
	return db_done(st, e, "adding a validation");
}

int validation_drop(struct store *s, int64_t algorithm, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer, "DELETE FROM validation WHERE algorithm = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, algorithm);
	return db_done(st, e, "removing a validation");
}

static int move_step(struct store *s, const struct store_validation_move *m, struct err *e)
{
	sqlite3_stmt *st;

	if (conn_prepare(&s->writer,
	                 "UPDATE validation SET step = ?3, name = coalesce(?4, name)"
	                 " WHERE algorithm = ?1 AND step = ?2",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->algorithm);
	bind_z(st, 2, m->from);
	bind_z(st, 3, m->to);
	bind_z(st, 4, m->name);
	if (db_done(st, e, "changing the step of a validation") < 0)
		return -1;
	if (!sqlite3_changes(s->writer.db))
		return err_set(e, ERR_IN_USE, "the validation is not in step %s any more", m->from);
	return 0;
}

static int move_algorithm(struct store *s, const struct store_validation_move *m, struct err *e)
{
	sqlite3_stmt *st;

	if (!m->status && !m->details && !m->image)
		return 0;
	if (conn_prepare(&s->writer,
	                 "UPDATE algorithm SET status = coalesce(?2, status), details = coalesce(?3, details),"
	                 " modified_ms = max(modified_ms, ?4), image = coalesce(?5, image) WHERE n = ?1",
	                 &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->algorithm);
	bind_z(st, 2, m->status);
	bind_z(st, 3, m->details);
	sqlite3_bind_int64(st, 4, m->at.ms);
	bind_z(st, 5, m->image);
	return db_done(st, e, "changing the status of an algorithm that is validated");
}

int store_validation_move(struct store *s, const struct store_validation_move *m, struct err *e)
{
	int rc;

	if (write_begin(s, true, e) < 0)
		return -1;
	rc = move_step(s, m, e);
	if (rc == 0)
		rc = move_algorithm(s, m, e);
	return write_end(s, rc, e);
}

static int each(struct conn *c, void (*fn)(const struct stored_validation *v, void *arg), void *arg, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT v.algorithm, a.name, v.step, v.name FROM validation AS v JOIN algorithm AS a"
	                 " ON a.n = v.algorithm WHERE v.step NOT IN ('" VALIDATION_IMAGE "', '" VALIDATION_ENDED
	                 "') ORDER BY v.algorithm",
	                 &st, e) < 0)
		return -1;
	while ((r = db_row(st, e, "looking for algorithms that are validated")) > 0) {
		const struct stored_validation v = { .algorithm = sqlite3_column_int64(st, 0),
			                             .algorithm_name = column_str(st, 1),
			                             .step = column_str(st, 2),
			                             .name = column_str(st, 3) };

		fn(&v, arg);
	}
	return r;
}

int store_validation_each(struct store *s, void (*fn)(const struct stored_validation *v, void *arg), void *arg,
                          struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = each(c, fn, arg, e);
	reader_give(s, c);
	return rc;
}

static int name_of(struct conn *c, int64_t algorithm, char **ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c, "SELECT name FROM validation WHERE algorithm = ?1 AND name IS NOT NULL", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, algorithm);
	r = db_row(st, e, "looking for a validation");
	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_NOT_FOUND, "the algorithm was not validated");
	*ret = column_dup(st, 0);
	sqlite3_reset(st);
	return 0;
}

int store_validation_name(struct store *s, int64_t algorithm, char **ret, struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = name_of(c, algorithm, ret, e);
	reader_give(s, c);
	return rc;
}

/* ---- images ---- */

static int each_pin(struct conn *c, void (*fn)(const char *text, void *arg), void *arg, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (conn_prepare(c,
	                 "SELECT image FROM algorithm UNION ALL SELECT request FROM algorithm_text"
	                 " UNION ALL SELECT containers FROM model_text"
	                 " UNION ALL SELECT request FROM model_package_text",
	                 &st, e) < 0)
		return -1;
	while ((r = db_row(st, e, "looking for images that are named by digest")) > 0)
		fn((const char *)sqlite3_column_text(st, 0), arg);
	return r;
}

int store_pins_each(struct store *s, void (*fn)(const char *text, void *arg), void *arg, struct err *e)
{
	struct conn *c = reader_take(s, e);
	int rc;

	if (!c)
		return -1;
	rc = each_pin(c, fn, arg, e);
	reader_give(s, c);
	return rc;
}
