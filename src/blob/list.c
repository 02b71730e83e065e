/* list.c - listing as index scans that seek over what a delimiter folds.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "blob/object.h"

bool str_after_prefix(struct buf *dst, struct str s)
{
	while (s.n && (unsigned char)s.p[s.n - 1] == 0xff)
		s.n--;
	buf_reset(dst);
	buf_str(dst, s);
	if (s.n)
		dst->p[s.n - 1] = (char)((unsigned char)dst->p[s.n - 1] + 1);
	return s.n > 0;
}

/* A scan of the keys of one bucket, from a key on, below the end of a prefix. */
struct scan {
	struct db_conn *c;
	sqlite3_stmt *st;
	int64_t bucket;
	struct buf from, end;
	bool has_end;
};

static void scan_fini(struct scan *s)
{
	buf_fini(&s->from);
	buf_fini(&s->end);
}

/* Starts, or starts again, at s->from. */
static int scan_seek(struct scan *s, struct err *e)
{
	s->st = db_stmt(s->c, s->has_end ? DB_OBJECT_BETWEEN : DB_OBJECT_FROM, e);
	if (!s->st)
		return -1;
	db_bind_int(s->st, 1, s->bucket);
	db_bind_blob(s->st, 2, buf_view(&s->from));
	if (s->has_end)
		db_bind_blob(s->st, 3, buf_view(&s->end));
	return 0;
}

static void scan_entry(const struct scan *s, struct blob_entry *ret)
{
	*ret = (struct blob_entry){ .key = db_col(s->st, 0),
		                    .size = (uint64_t)db_col_int(s->st, 1),
		                    .etag = db_col(s->st, 2),
		                    .modified = { db_col_int(s->st, 3) },
		                    .id = db_col(s->st, 4) };
}

static void scan_begin(struct scan *s, const struct blob_list *q)
{
	s->has_end = str_after_prefix(&s->end, q->prefix);
	buf_reset(&s->from);
	if (str_cmp(q->after, q->prefix) < 0 || !q->after.n) {
		buf_str(&s->from, q->prefix);
	} else if (!q->after_prefix || !str_after_prefix(&s->from, q->after)) {
		buf_str(&s->from, q->after);
		buf_c(&s->from, 0); /* the least key greater than it */
	}
}

/* The common prefix that key folds into, {NULL,0} when into none. */
static struct str fold(const struct blob_list *q, struct str key)
{
	struct str rest = { key.p + q->prefix.n, key.n - q->prefix.n };
	ptrdiff_t at = q->delimiter.n ? str_find(rest, q->delimiter) : -1;

	return at < 0 ? (struct str){ 0 } : (struct str){ key.p, q->prefix.n + (size_t)at + q->delimiter.n };
}

static enum s3_code list_scan(struct scan *s, const struct blob_list *q, const struct blob_list_sink *sink,
                              bool *ret_more, struct buf *last, bool *ret_last_is_prefix, struct err *e)
{
	size_t given = 0;
	int more;

	if (scan_seek(s, e) < 0)
		return S3_InternalError;
	while ((more = db_step(s->st, e)) > 0 && given < q->max) {
		struct blob_entry entry;
		struct str common;
		bool ends;

		scan_entry(s, &entry);
		common = fold(q, entry.key);
		given++;
		*ret_last_is_prefix = common.n > 0;
		buf_reset(last);
		buf_str(last, common.n ? common : entry.key);
		if (!common.n) {
			sink->key(&entry, sink->arg);
			continue;
		}
		sink->common_prefix(buf_view(last), sink->arg);
		ends = !str_after_prefix(&s->from, buf_view(last)) ||
		       (s->has_end && str_cmp(buf_view(&s->from), buf_view(&s->end)) >= 0);
		if (ends) {
			more = 0;
			break;
		}
		if (scan_seek(s, e) < 0)
			return S3_InternalError;
	}
	*ret_more = more > 0;
	return more < 0 ? S3_InternalError : S3_OK;
}

enum s3_code blob_list(struct blob_store *b, const struct blob_list *q, const struct blob_list_sink *sink,
                       bool *ret_more, struct buf *last, bool *ret_last_is_prefix, struct err *e)
{
	_cleanup_(scan_fini) struct scan s = { .c = db_reader(b->db, e) };
	enum s3_code code;

	if (!s.c)
		return S3_InternalError;
	code = bucket_number(s.c, q->bucket, &s.bucket, e);
	*ret_more = *ret_last_is_prefix = false;
	if (code == S3_OK && q->max) {
		scan_begin(&s, q);
		code = list_scan(&s, q, sink, ret_more, last, ret_last_is_prefix, e);
	}
	db_reader_done(b->db, s.c);
	return code;
}

/* ---- blob.h ---- */

static enum s3_code each(struct scan *s, struct str bucket, struct str prefix,
                         int (*fn)(const struct blob_entry *entry, void *arg, struct err *e), void *arg,
                         bool first_only, struct err *e)
{
	struct blob_list q = { .bucket = bucket, .prefix = prefix };
	enum s3_code code = bucket_number(s->c, bucket, &s->bucket, e);
	int more;

	if (code != S3_OK)
		return code;
	scan_begin(s, &q);
	if (scan_seek(s, e) < 0)
		return S3_InternalError;
	while ((more = db_step(s->st, e)) > 0) {
		struct blob_entry entry;

		scan_entry(s, &entry);
		if (fn(&entry, arg, e) < 0)
			return S3_InternalError;
		if (first_only)
			break;
	}
	return more < 0 ? S3_InternalError : S3_OK;
}

static int each_in(struct blob_store *b, struct str bucket, struct str prefix,
                   int (*fn)(const struct blob_entry *entry, void *arg, struct err *e), void *arg, bool first_only,
                   struct err *e)
{
	_cleanup_(scan_fini) struct scan s = { .c = db_reader(b->db, e) };
	enum s3_code code;

	if (!s.c)
		return -1;
	code = each(&s, bucket, prefix, fn, arg, first_only, e);
	db_reader_done(b->db, s.c);
	return s3_code_to_err(code, e, "listing s3://" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(prefix));
}

int blob_each(struct blob_store *b, struct str bucket, struct str prefix,
              int (*fn)(const struct blob_entry *entry, void *arg, struct err *e), void *arg, struct err *e)
{
	return each_in(b, bucket, prefix, fn, arg, false, e);
}

static int note_one(const struct blob_entry *entry, void *arg, struct err *e)
{
	bool *found = arg;

	(void)entry;
	(void)e;
	*found = true;
	return 0;
}

int blob_prefix_exists(struct blob_store *b, struct str bucket, struct str prefix, bool *ret, struct err *e)
{
	bool found = false;

	if (each_in(b, bucket, prefix, note_one, &found, true, e) < 0)
		return -1;
	*ret = found;
	return 0;
}

struct looking {
	struct str prefix;
	struct blob_look found;
};

static void look_at(struct looking *l, struct str key)
{
	struct str rest = { key.p + l->prefix.n, key.n - l->prefix.n };

	if (!rest.n && l->prefix.n && l->prefix.p[l->prefix.n - 1] != '/')
		l->found.exact = true;
	else if (!l->prefix.n || l->prefix.p[l->prefix.n - 1] == '/' || rest.p[0] == '/')
		l->found.inside = true;
	else
		l->found.beside = true;
}

static void look_at_key(const struct blob_entry *entry, void *arg)
{
	look_at(arg, entry->key);
}

static void look_at_common(struct str prefix, void *arg)
{
	look_at(arg, prefix);
}

/* Folded at '/', what begins with the prefix is in this order: itself, what goes on with a byte before '/', all that
 * goes on with a '/' as one, the rest. So the first three tell whether there is more than the first and the third. */
int blob_look(struct blob_store *b, struct str bucket, struct str prefix, struct blob_look *ret, struct err *e)
{
	struct looking l = { .prefix = prefix };
	struct blob_list q = { .bucket = bucket, .prefix = prefix, .delimiter = STR("/"), .max = 3 };
	struct blob_list_sink sink = { look_at_key, look_at_common, &l };
	_cleanup_buf_ struct buf last = { 0 };
	bool more, last_is_prefix;
	enum s3_code code = blob_list(b, &q, &sink, &more, &last, &last_is_prefix, e);

	if (code != S3_OK)
		return s3_code_to_err(code, e, "looking for s3://" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(prefix));
	*ret = l.found;
	return 0;
}
