/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/list.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

enum { ID_MAX = 64, ETAG_MAX = 128, KEY_MAX = 1024, BUCKET_MAX = 255, FIELD_MAX = 160 };

struct list_reader {
	FILE *f;
	uint64_t record; /* number of the unit that is being read, for errors */
	size_t parts;    /* of it that are still to come */
	bool line;
	char modified[FIELD_MAX], id[FIELD_MAX], etag[FIELD_MAX], bucket[BUCKET_MAX + 1], key[KEY_MAX + 1];
	struct buf bytes;
};

static bool token_ok(struct str s, size_t max)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return s.n > 0 && s.n <= max;
}

/* It names a file of the store: nothing but letters and digits. */
static bool id_ok(struct str s)
{
	if (str_is(s, "-"))
		return true;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z')))
			return false;
	return s.n >= 2 && s.n <= ID_MAX;
}

/* ---- writing ---- */

int list_write(FILE *f, const struct list_entry *entry, struct err *e)
{
	if (!id_ok(entry->object_id) || !token_ok(entry->etag, ETAG_MAX) || entry->key.n < 1 || entry->key.n > KEY_MAX)
		return err_set(e, ERR_BUG, "an object that cannot be listed: id '" PRIstr "'",
		               ARGstr(entry->object_id));
	if (fprintf(f, "%llu %lld " PRIstr " " PRIstr " %zu ", (unsigned long long)entry->size,
	            (long long)entry->modified.ms, ARGstr(entry->object_id), ARGstr(entry->etag), entry->key.n) < 0 ||
	    fwrite(entry->key.p, 1, entry->key.n, f) != entry->key.n || putc('\n', f) == EOF)
		return err_sys(e, "writing a channel's list");
	return 0;
}

static int write_part(FILE *f, const struct list_part *part, struct err *e)
{
	if (!part->literal) {
		if (!token_ok(part->object.bucket, BUCKET_MAX))
			return err_set(e, ERR_BUG, "a part of a line without a bucket");
		if (fprintf(f, "@ " PRIstr " ", ARGstr(part->object.bucket)) < 0)
			return err_sys(e, "writing a channel's list");
		return list_write(f, &part->object, e);
	}
	if (part->bytes.n > LIST_LITERAL_MAX)
		return err_set(e, ERR_BUG, "a literal of %zu bytes cannot be listed", part->bytes.n);
	if (fprintf(f, "= %zu ", part->bytes.n) < 0 || fwrite(part->bytes.p, 1, part->bytes.n, f) != part->bytes.n ||
	    putc('\n', f) == EOF)
		return err_sys(e, "writing a channel's list");
	return 0;
}

int list_write_line(FILE *f, const struct list_part *parts, size_t count, struct err *e)
{
	if (count < 1 || count > LIST_PARTS_MAX)
		return err_set(e, ERR_BUG, "a line of %zu parts cannot be listed", count);
	if (fprintf(f, "+ %zu\n", count) < 0)
		return err_sys(e, "writing a channel's list");
	for (size_t i = 0; i < count; i++)
		if (write_part(f, &parts[i], e) < 0)
			return -1;
	return 0;
}

/* ---- opening ---- */

int list_open_fd(int fd, struct list_reader **ret, struct err *e)
{
	FILE *f = fdopen(fd, "re");
	struct list_reader *r;

	if (!f) {
		err_sys(e, "reading a channel's list");
		cleanup_closep(&fd);
		return -1;
	}
	if (fseeko(f, 0, SEEK_SET) < 0) {
		err_sys(e, "reading a channel's list");
		fclose(f);
		return -1;
	}
	r = xcalloc(1, sizeof(*r));
	r->f = f;
	*ret = r;
	return 0;
}

int list_open(const char *path, struct list_reader **ret, struct err *e)
{
	int fd = open_plain(AT_FDCWD, path, O_RDONLY, 0, e);

	return fd < 0 ? -1 : list_open_fd(fd, ret, e);
}

void list_close(struct list_reader *r)
{
	if (!r)
		return;
	fclose(r->f);
	buf_fini(&r->bytes);
	free(r);
}

/* ---- reading ---- */

static int torn(const struct list_reader *r, struct err *e)
{
	if (ferror(r->f))
		return err_sys(e, "reading the channel's list");
	return err_set(e, ERR_SYNTAX, "record %llu of the channel's list is torn or malformed",
	               (unsigned long long)r->record);
}

/* What is up to `end`, which is read over. */
static bool field(struct list_reader *r, char end, char *to, size_t max, struct str *ret)
{
	size_t n = 0;
	int c;

	while ((c = getc_unlocked(r->f)) != end) {
		if (c == EOF || c == '\n' || n == max)
			return false;
		to[n++] = (char)c;
	}
	*ret = (struct str){ to, n };
	return true;
}

static bool number(struct list_reader *r, char end, uint64_t *ret)
{
	char text[24];
	struct str s;

	return field(r, end, text, sizeof(text), &s) && str_to_u64(s, ret);
}

static bool object(struct list_reader *r, struct list_entry *ret)
{
	struct list_entry entry = { 0 };
	struct str modified;
	uint64_t key_n;

	if (!number(r, ' ', &entry.size) || !field(r, ' ', r->modified, FIELD_MAX, &modified) ||
	    !str_to_i64(modified, &entry.modified.ms) || !field(r, ' ', r->id, FIELD_MAX, &entry.object_id) ||
	    !id_ok(entry.object_id) || !field(r, ' ', r->etag, FIELD_MAX, &entry.etag) ||
	    !token_ok(entry.etag, ETAG_MAX) || !number(r, ' ', &key_n) || key_n < 1 || key_n > KEY_MAX)
		return false;
	if (fread(r->key, 1, key_n + 1, r->f) != key_n + 1 || r->key[key_n] != '\n')
		return false;
	r->key[key_n] = 0;
	entry.key = (struct str){ r->key, key_n };
	*ret = entry;
	return true;
}

static bool literal(struct list_reader *r, struct str *ret)
{
	uint64_t n;

	if (!number(r, ' ', &n) || n > LIST_LITERAL_MAX)
		return false;
	buf_reset(&r->bytes);
	while (r->bytes.n < n) { /* in pieces, so that a wrong number asks for no more memory than there are bytes */
		size_t piece = n - r->bytes.n < 1 << 16 ? (size_t)n - r->bytes.n : 1 << 16;

		buf_need(&r->bytes, piece);
		if (fread(r->bytes.p + r->bytes.n, 1, piece, r->f) != piece)
			return false;
		r->bytes.n += piece;
		r->bytes.p[r->bytes.n] = 0;
	}
	*ret = buf_view(&r->bytes);
	return getc_unlocked(r->f) == '\n';
}

/* Begins the next unit. 1, 0: end of file before its first byte; -1: malformed. */
static int begin(struct list_reader *r)
{
	uint64_t parts = 1;
	int c = getc_unlocked(r->f);

	if (c == EOF)
		return ferror(r->f) ? -1 : 0;
	r->record++;
	r->line = c == '+';
	if (!r->line)
		ungetc(c, r->f);
	else if (getc_unlocked(r->f) != ' ' || !number(r, '\n', &parts) || parts < 1 || parts > LIST_PARTS_MAX)
		return -1;
	r->parts = (size_t)parts;
	return 1;
}

static bool part(struct list_reader *r, struct list_part *ret)
{
	struct list_part p = { 0 };
	struct str bucket = { 0 };
	int kind = r->line ? getc_unlocked(r->f) : '@';

	if (r->parts == 0 || (kind != '@' && kind != '='))
		return false;
	if (r->line && (getc_unlocked(r->f) != ' ' || (kind == '@' && (!field(r, ' ', r->bucket, BUCKET_MAX, &bucket) ||
	                                                               !token_ok(bucket, BUCKET_MAX)))))
		return false;
	p.literal = kind == '=';
	if (p.literal ? !literal(r, &p.bytes) : !object(r, &p.object))
		return false;
	r->parts--;
	p.object.bucket = bucket;
	*ret = p;
	return true;
}

int list_next(struct list_reader *r, struct list_entry *ret, struct err *e)
{
	int rc = begin(r);

	if (rc == 0)
		return 0;
	if (rc > 0 && r->line)
		return err_set(e, ERR_SYNTAX, "record %llu of the channel's list is a line, not an object",
		               (unsigned long long)r->record);
	r->parts = 0;
	return rc > 0 && object(r, ret) ? 1 : torn(r, e);
}

int list_index(struct list_reader *r, uint64_t **ret_offsets, uint64_t *ret_count, struct err *e)
{
	uint64_t *offsets = NULL, n = 0, cap = 0;
	struct list_part ignored;
	int rc = 0;

	r->record = 0;
	if (fseeko(r->f, 0, SEEK_SET) < 0)
		return err_sys(e, "reading the channel's list");
	for (;;) {
		off_t at = ftello(r->f);

		rc = begin(r);
		if (rc <= 0)
			break;
		while (r->parts && (rc = part(r, &ignored) ? 1 : -1) > 0)
			;
		if (rc < 0)
			break;
		if (n == cap) {
			cap = cap ? cap * 2 : 256;
			offsets = xrealloc(offsets, cap * sizeof(*offsets));
		}
		offsets[n++] = (uint64_t)at;
	}
	if (rc < 0) {
		free(offsets);
		return torn(r, e);
	}
	*ret_offsets = offsets ? offsets : xcalloc(1, sizeof(*offsets));
	*ret_count = n;
	return 0;
}

int list_unit(struct list_reader *r, uint64_t offset, size_t *ret_parts, struct err *e)
{
	if (ftello(r->f) != (off_t)offset && fseeko(r->f, (off_t)offset, SEEK_SET) < 0)
		return err_sys(e, "reading the channel's list");
	if (begin(r) <= 0)
		return torn(r, e);
	*ret_parts = r->parts;
	return 0;
}

int list_part(struct list_reader *r, struct list_part *ret, struct err *e)
{
	return part(r, ret) ? 0 : torn(r, e);
}
