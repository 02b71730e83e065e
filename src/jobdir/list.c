/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/list.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

enum { ID_MAX = 64, ETAG_MAX = 128, KEY_MAX = 1024, HEAD_MAX = 320 };

struct list_reader {
	FILE *f;
	uint64_t record;
	char head[HEAD_MAX], key[KEY_MAX + 1];
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
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z')))
			return false;
	return s.n >= 2 && s.n <= ID_MAX;
}

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

int list_open(const char *path, struct list_reader **ret, struct err *e)
{
	int fd = open_plain(AT_FDCWD, path, O_RDONLY, 0, e);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	struct list_reader *r;

	if (fd < 0)
		return -1;
	if (!f) {
		err_sys(e, "opening %s", path);
		cleanup_closep(&fd);
		return -1;
	}
	r = xcalloc(1, sizeof(*r));
	r->f = f;
	*ret = r;
	return 0;
}

void list_close(struct list_reader *r)
{
	if (!r)
		return;
	fclose(r->f);
	free(r);
}

/* The five fields before the key, each with the blank behind it. 0: end of file before the first byte. */
static int read_head(struct list_reader *r, size_t *ret_n)
{
	size_t n = 0;
	int blanks = 0, c;

	while (blanks < 5) {
		c = getc_unlocked(r->f);
		if (c == EOF || c == '\n' || n == sizeof(r->head))
			return c == EOF && n == 0 && !ferror(r->f) ? 0 : -1;
		r->head[n++] = (char)c;
		blanks += c == ' ';
	}
	*ret_n = n;
	return 1;
}

static int parse_record(struct list_reader *r, size_t head_n, struct list_entry *ret)
{
	struct str rest = { r->head, head_n };
	struct str size = str_cut(&rest, ' '), modified = str_cut(&rest, ' ');
	struct list_entry entry = { .object_id = str_cut(&rest, ' '), .etag = str_cut(&rest, ' ') };
	uint64_t key_n;

	if (!str_to_u64(size, &entry.size) || !str_to_i64(modified, &entry.modified.ms) || !id_ok(entry.object_id) ||
	    !token_ok(entry.etag, ETAG_MAX) || !str_to_u64(str_cut(&rest, ' '), &key_n) || key_n < 1 || key_n > KEY_MAX)
		return -1;
	if (fread(r->key, 1, key_n + 1, r->f) != key_n + 1 || r->key[key_n] != '\n')
		return -1;
	r->key[key_n] = 0;
	entry.key = (struct str){ r->key, key_n };
	*ret = entry;
	return 1;
}

int list_next(struct list_reader *r, struct list_entry *ret, struct err *e)
{
	size_t head_n = 0;
	int rc = read_head(r, &head_n);

	if (rc == 0)
		return 0;
	r->record++;
	if (rc > 0)
		rc = parse_record(r, head_n, ret);
	if (rc < 0)
		return err_set(e, ERR_SYNTAX, "record %llu of the channel's list is torn or malformed",
		               (unsigned long long)r->record);
	return 1;
}
