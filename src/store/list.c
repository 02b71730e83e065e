/* Lists of resources as walks of an index, and their page tokens. SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/db.h"

/* ---- tokens: base64url of  version, check, created_ms, n, word  ---- */

enum {
	TOKEN_VERSION = 1,
	TOKEN_CHECK_BYTES = 12,
	TOKEN_FIXED_BYTES = 1 + TOKEN_CHECK_BYTES + 16,
	TOKEN_TEXT_MAX = 8192
};

/* Where a page ends: the values of the index at its last entry. */
struct place {
	int64_t created_ms, n;
	struct buf word; /* lower-case name or status, by the sort */
};

static void add_i64(struct buf *b, int64_t v)
{
	uint64_t be = htobe64((uint64_t)v);

	buf_add(b, &be, sizeof(be));
}

/* Ties a token to the filters it was made for, and finds damage; it keeps no secret. */
static void token_check(const struct list_table *t, const struct store_list *q, struct str body,
                        unsigned char out[TOKEN_CHECK_BYTES])
{
	_cleanup_buf_ struct buf b = { 0 };
	unsigned char digest[SHA256_BYTES];
	const struct str words[] = { q->name_contains, q->status, q->training_plan, body, t->bound[0], t->bound[1] };

	buf_f(&b, "%s %s %d %d ", t->name, t->only ? t->only : "", (int)q->sort, q->descending);
	add_i64(&b, q->created_after.ms);
	add_i64(&b, q->created_before.ms);
	add_i64(&b, q->modified_after.ms);
	add_i64(&b, q->modified_before.ms);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		add_i64(&b, (int64_t)words[i].n);
		buf_str(&b, words[i]);
	}
	sha256(buf_view(&b), digest);
	memcpy(out, digest, TOKEN_CHECK_BYTES);
}

static char *token_make(const struct list_table *t, const struct store_list *q, const struct place *at)
{
	_cleanup_buf_ struct buf body = { 0 }, whole = { 0 }, text = { 0 };
	unsigned char check[TOKEN_CHECK_BYTES];

	add_i64(&body, at->created_ms);
	add_i64(&body, at->n);
	buf_str(&body, buf_view(&at->word));
	token_check(t, q, buf_view(&body), check);
	buf_c(&whole, TOKEN_VERSION);
	buf_add(&whole, check, sizeof(check));
	buf_str(&whole, buf_view(&body));
	buf_base64(&text, whole.p, whole.n);
	while (text.n && text.p[text.n - 1] == '=')
		text.p[--text.n] = 0;
	for (size_t i = 0; i < text.n; i++)
		text.p[i] = (char)(text.p[i] == '+' ? '-' : text.p[i] == '/' ? '_' : text.p[i]);
	return buf_take(&text);
}

static bool token_bytes(struct str token, struct buf *out)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (!token.n || token.n > TOKEN_TEXT_MAX)
		return false;
	for (size_t i = 0; i < token.n; i++) {
		char c = token.p[i];

		if (c == '+' || c == '/' || c == '=')
			return false;
		buf_c(&text, (char)(c == '-' ? '+' : c == '_' ? '/' : c));
	}
	while (text.n % 4)
		buf_c(&text, '=');
	return buf_unbase64(out, buf_view(&text));
}

static int token_read(const struct list_table *t, const struct store_list *q, struct place *ret, struct err *e)
{
	_cleanup_buf_ struct buf whole = { 0 };
	unsigned char check[TOKEN_CHECK_BYTES];
	struct str body;
	uint64_t be;

	if (!token_bytes(q->token, &whole) || whole.n < TOKEN_FIXED_BYTES || whole.p[0] != TOKEN_VERSION)
		return err_set(e, ERR_INVALID, "The NextToken is not valid.");
	body = (struct str){ whole.p + 1 + TOKEN_CHECK_BYTES, whole.n - 1 - TOKEN_CHECK_BYTES };
	token_check(t, q, body, check);
	if (memcmp(check, whole.p + 1, TOKEN_CHECK_BYTES))
		return err_set(e, ERR_INVALID,
		               "The NextToken is not valid for this request: use it with the filters and the "
		               "order of the request that returned it.");
	memcpy(&be, body.p, 8);
	ret->created_ms = (int64_t)be64toh(be);
	memcpy(&be, body.p + 8, 8);
	ret->n = (int64_t)be64toh(be);
	buf_reset(&ret->word);
	buf_add(&ret->word, body.p + 16, body.n - 16);
	return 0;
}

/* ---- the query ---- */

/* The text has a '?NNN' for each filter in use, so SQLite knows which columns bound the walk. */
static void query_text(const struct list_table *t, const struct store_list *q, struct buf *sql)
{
	static const char *const index[] = { "creation", "name", "status" };
	static const char *const key[] = { "created_ms, n", "name_lower, n", "status, created_ms, n" };
	static const char *const after[] = { "(?1, ?2)", "(?3, ?2)", "(?3, ?1, ?2)" };
	const char *way = q->descending ? "DESC" : "ASC", *beyond = q->descending ? "<" : ">";
	/* With one status the order by creation is a stretch of the index by status. */
	enum store_sort walk = q->sort == SORT_CREATION_TIME && q->status.n ? SORT_STATUS : q->sort;

	buf_f(sql, "SELECT n, created_ms, name_lower, status, %s FROM %s INDEXED BY %s_by_%s WHERE %s", t->columns,
	      t->name, t->name, index[walk], t->only ? t->only : "1");
	if (q->token.n)
		buf_f(sql, " AND (%s) %s %s", key[q->sort], beyond, after[q->sort]);
	if (q->status.n)
		buf_z(sql, " AND status = ?4");
	if (q->created_after.ms)
		buf_z(sql, " AND created_ms > ?5");
	if (q->created_before.ms)
		buf_z(sql, " AND created_ms < ?6");
	if (q->modified_after.ms)
		buf_z(sql, " AND modified_ms > ?7");
	if (q->modified_before.ms)
		buf_z(sql, " AND modified_ms < ?8");
	if (q->name_contains.n)
		buf_z(sql, " AND instr(name, ?9) > 0");
	if (q->training_plan.n)
		buf_z(sql, " AND training_plan = ?10");
	if (q->sort == SORT_NAME)
		buf_f(sql, " ORDER BY name_lower %s, n %s LIMIT ?11", way, way);
	else if (walk == SORT_STATUS)
		buf_f(sql, " ORDER BY status %s, created_ms %s, n %s LIMIT ?11", way, way, way);
	else
		buf_f(sql, " ORDER BY created_ms %s, n %s LIMIT ?11", way, way);
}

static void query_bind(const struct list_table *t, const struct store_list *q, const struct place *from,
                       sqlite3_stmt *st)
{
	sqlite3_bind_int64(st, 1, from->created_ms);
	sqlite3_bind_int64(st, 2, from->n);
	bind_str(st, 3, buf_view(&from->word));
	bind_str(st, 4, q->status);
	sqlite3_bind_int64(st, 5, q->created_after.ms);
	sqlite3_bind_int64(st, 6, q->created_before.ms);
	sqlite3_bind_int64(st, 7, q->modified_after.ms);
	sqlite3_bind_int64(st, 8, q->modified_before.ms);
	bind_str(st, 9, q->name_contains);
	bind_str(st, 10, q->training_plan);
	sqlite3_bind_int64(st, 11, (int64_t)q->max + 1); /* one more tells whether there is another page */
	bind_str(st, 12, t->bound[0]);
	bind_str(st, 13, t->bound[1]);
}

/* Hands out up to max rows; *last is the place of the last one, *more says that there was another. */
static int walk_rows(sqlite3_stmt *st, const struct list_table *t, const struct store_list *q,
                     void (*fn)(sqlite3_stmt *st, void *arg), void *arg, struct place *last, bool *more, struct err *e)
{
	unsigned done = 0;
	int r;

	while ((r = db_row(st, e, t->doing)) > 0) {
		if (done == q->max) {
			*more = true;
			sqlite3_reset(st);
			return 0;
		}
		done++;
		fn(st, arg);
		last->n = sqlite3_column_int64(st, 0);
		last->created_ms = sqlite3_column_int64(st, 1);
		buf_reset(&last->word);
		if (q->sort != SORT_CREATION_TIME)
			buf_str(&last->word, column_str(st, q->sort == SORT_NAME ? 2 : 3));
	}
	return r;
}

int list_walk(struct store *s, const struct list_table *t, const struct store_list *q,
              void (*fn)(sqlite3_stmt *st, void *arg), void *arg, char **ret_token, struct err *e)
{
	_cleanup_buf_ struct buf sql = { 0 };
	struct place at = { 0 };
	sqlite3_stmt *st;
	struct conn *c;
	bool more = false;
	int rc = -1;

	if (q->token.n && token_read(t, q, &at, e) < 0)
		return -1;
	query_text(t, q, &sql);
	c = reader_take(s, e);
	if (c && conn_prepare(c, sql.p, &st, e) == 0) {
		query_bind(t, q, &at, st);
		rc = walk_rows(st, t, q, fn, arg, &at, &more, e);
	}
	if (c)
		reader_give(s, c);
	if (rc == 0)
		*ret_token = more ? token_make(t, q, &at) : NULL;
	buf_fini(&at.word);
	return rc;
}

/* ---- jobs ---- */

struct job_walk {
	void (*fn)(const struct store_summary *j, void *arg);
	void *arg;
};

static void hand_job(sqlite3_stmt *st, void *arg)
{
	const struct job_walk *w = arg;
	int state = job_state_by_name(column_str(st, 6));
	struct store_summary j = { .created.ms = sqlite3_column_int64(st, 1),
		                   .name = column_str(st, 4),
		                   .arn = column_str(st, 5),
		                   .state = state < 0 ? JOB_FAILED : state,
		                   .ended.ms = sqlite3_column_int64(st, 7),
		                   .modified.ms = sqlite3_column_int64(st, 8),
		                   .training_plan = column_str(st, 9),
		                   .failure_reason = column_str(st, 10) };

	w->fn(&j, w->arg);
}

int store_job_list(struct store *s, enum job_kind kind, const struct store_list *q,
                   void (*fn)(const struct store_summary *j, void *arg), void *arg, char **ret_token, struct err *e)
{
	static const char *const only[] = {
		[KIND_TRAINING] = "kind = 'training'", [KIND_TRANSFORM] = "kind = 'transform'"
	};
	const struct list_table jobs = { .name = "job",
		                         .columns = "name, arn, state, ended_ms, modified_ms, training_plan,"
		                                    " failure_reason",
		                         .doing = "listing jobs",
		                         .only = only[kind] };
	struct job_walk w = { fn, arg };

	return list_walk(s, &jobs, q, hand_job, &w, ret_token, e);
}

/* A job of one host has no rows of hosts, and is its host. */
#define PLACES                                                                                           \
	"SELECT j.name, coalesce(h.number, 1), coalesce(h.id, j.id), j.created_ms, j.kind FROM job AS j" \
	" LEFT JOIN host AS h ON h.job = j.n WHERE "

static int each_place(sqlite3_stmt *st, void (*fn)(const struct store_place *p, void *arg), void *arg, struct err *e)
{
	int r;

	while ((r = db_row(st, e, "looking for jobs")) > 0) {
		int kind = job_kind_by_name(column_str(st, 4));
		const struct store_place p = { .kind = kind < 0 ? KIND_TRAINING : (enum job_kind)kind,
			                       .name = column_str(st, 0),
			                       .host = (unsigned)sqlite3_column_int64(st, 1),
			                       .id = (const char *)sqlite3_column_text(st, 2),
			                       .created = { sqlite3_column_int64(st, 3) } };

		fn(&p, arg);
	}
	return r;
}

int store_job_each_host(struct store *s, enum job_kind kind, struct str name,
                        void (*fn)(const struct store_place *p, void *arg), void *arg, struct err *e)
{
	_cleanup_free_ char *low = lower(name);
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1;

	if (!c)
		return -1;
	if (conn_prepare(c, PLACES "j.kind = ?3 AND j.name_lower = ?1 AND j.name = ?2 ORDER BY h.number", &st, e) ==
	    0) {
		bind_str(st, 1, str_of(low));
		bind_str(st, 2, name);
		bind_z(st, 3, job_kind_info[kind].name);
		r = each_place(st, fn, arg, e);
	}
	reader_give(s, c);
	return r;
}

struct wanted {
	unsigned host;
	bool found;
	char *id;
	struct wall *created;
};

static void take_wanted(const struct store_place *p, void *arg)
{
	struct wanted *w = arg;

	if (p->host != w->host)
		return;
	w->found = true;
	snprintf(w->id, JOB_ID_BYTES, "%s", p->id);
	*w->created = p->created;
}

int store_job_locate(struct store *s, enum job_kind kind, struct str name, unsigned host, char ret_id[JOB_ID_BYTES],
                     struct wall *ret_created, struct err *e)
{
	struct wanted w = { .host = host, .id = ret_id, .created = ret_created };

	if (store_job_each_host(s, kind, name, take_wanted, &w, e) < 0)
		return -1;
	return w.found ? 0 : err_set(e, ERR_NOT_FOUND, "Requested resource not found.");
}

struct prefixed {
	struct str prefix;
	void (*fn)(const struct store_place *p, void *arg);
	void *arg;
};

static void take_prefixed(const struct store_place *p, void *arg)
{
	const struct prefixed *f = arg;

	if (str_starts(p->name, f->prefix))
		f->fn(p, f->arg);
}

int store_job_each_name(struct store *s, enum job_kind kind, struct str prefix,
                        void (*fn)(const struct store_place *p, void *arg), void *arg, struct err *e)
{
	_cleanup_free_ char *low = lower(prefix);
	struct prefixed f = { prefix, fn, arg };
	struct conn *c = reader_take(s, e);
	sqlite3_stmt *st;
	int r = -1;

	if (!c)
		return -1;
	if (conn_prepare(c, PLACES "j.kind = ?2 AND j.name_lower >= ?1 AND j.name_lower < ?1 || char(127)", &st, e) ==
	    0) {
		bind_str(st, 1, str_of(low));
		bind_z(st, 2, job_kind_info[kind].name);
		r = each_place(st, take_prefixed, &f, e);
	}
	reader_give(s, c);
	return r;
}
