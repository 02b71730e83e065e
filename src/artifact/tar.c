/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/tar.h"

#include <inttypes.h>
#include <stdio.h>

/* POSIX.1-1988 ustar; all text is padded with NUL. */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag, linkname[100], magic[6],
	        version[2], uname[32], gname[32], devmajor[8], devminor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is a block");

/* Whether v fits in n bytes as octal digits and a NUL. */
static bool fits(uint64_t v, size_t n)
{
	return v >> (3 * (n - 1)) == 0;
}

/* Octal, or base 256 with the first byte's top bit set when that does not fit. v >= 0. */
static void put_number(char *dst, size_t n, uint64_t v)
{
	if (fits(v, n)) {
		for (size_t i = n - 1; i-- > 0; v >>= 3)
			dst[i] = (char)('0' + (v & 7));
		dst[n - 1] = 0;
		return;
	}
	for (size_t i = n; i-- > 0; v >>= 8)
		dst[i] = (char)(v & 0xff);
	dst[0] = (char)0x80;
}

static void put_text(char *dst, size_t n, struct str s)
{
	if (s.n)
		memcpy(dst, s.p, s.n < n ? s.n : n);
}

static bool ascii(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

/* Puts name into the name and prefix fields, split at a '/' where it must be. False, and cut, when it cannot be. */
static bool put_name(struct ustar *h, struct str name)
{
	if (name.n <= sizeof(h->name)) {
		put_text(h->name, sizeof(h->name), name);
		return true;
	}
	/* Neither half may be empty; the '/' itself is in neither. */
	for (size_t i = name.n - sizeof(h->name) - 1; i <= sizeof(h->prefix) && i + 1 < name.n; i++)
		if (i > 0 && name.p[i] == '/') {
			put_text(h->prefix, sizeof(h->prefix), (struct str){ name.p, i });
			put_text(h->name, sizeof(h->name), (struct str){ name.p + i + 1, name.n - i - 1 });
			return true;
		}
	put_text(h->name, sizeof(h->name), name);
	return false;
}

static void put_checksum(struct ustar *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned sum = 0;

	memset(h->chksum, ' ', sizeof(h->chksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += p[i];
	snprintf(h->chksum, sizeof(h->chksum), "%06o", sum);
}

static void pad(struct buf *out)
{
	static const char zeros[TAR_BLOCK];

	buf_add(out, zeros, (TAR_BLOCK - out->n % TAR_BLOCK) % TAR_BLOCK);
}

/* One record of a pax header: "LENGTH key=value\n", LENGTH counting itself. */
static void pax_record(struct buf *out, const char *key, struct str value)
{
	size_t n = strlen(key) + value.n + 3, length = 0;

	for (size_t digits = 1, limit = 10; !length; digits++, limit *= 10)
		if (n + digits < limit)
			length = n + digits;
	buf_f(out, "%zu %s=", length, key);
	buf_str(out, value);
	buf_c(out, '\n');
}

static void pax_number(struct buf *out, const char *key, int64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, v);
	pax_record(out, key, str_of(text));
}

static void put_header(struct buf *out, struct ustar *h)
{
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	put_checksum(h);
	buf_add(out, h, sizeof(*h));
}

/* The records that entry needs, none mostly. */
static void pax_records(struct buf *out, const struct tar_entry *entry, bool name_fits)
{
	struct ustar h;
	bool name = !name_fits || !ascii(entry->name);
	bool link = entry->link.n > sizeof(h.linkname) || !ascii(entry->link);

	if ((name && !utf8_valid(entry->name)) || (link && !utf8_valid(entry->link)))
		pax_record(out, "hdrcharset", STR("BINARY"));
	if (name)
		pax_record(out, "path", entry->name);
	if (link)
		pax_record(out, "linkpath", entry->link);
	if (!fits(entry->size, sizeof(h.size)))
		pax_number(out, "size", (int64_t)entry->size);
	if (!fits(entry->uid, sizeof(h.uid)))
		pax_number(out, "uid", (int64_t)entry->uid);
	if (!fits(entry->gid, sizeof(h.gid)))
		pax_number(out, "gid", (int64_t)entry->gid);
	if (entry->mtime < 0 || !fits((uint64_t)entry->mtime, sizeof(h.mtime)))
		pax_number(out, "mtime", entry->mtime);
}

static void put_pax(struct buf *out, const struct buf *records)
{
	struct ustar h = { .typeflag = 'x' };

	put_text(h.name, sizeof(h.name), STR("PaxHeaders/header"));
	put_number(h.mode, sizeof(h.mode), 0644);
	put_number(h.uid, sizeof(h.uid), 0);
	put_number(h.gid, sizeof(h.gid), 0);
	put_number(h.size, sizeof(h.size), records->n);
	put_number(h.mtime, sizeof(h.mtime), 0);
	put_header(out, &h);
	buf_str(out, buf_view(records));
	pad(out);
}

void tar_header(struct buf *out, const struct tar_entry *entry)
{
	_cleanup_buf_ struct buf records = { 0 };
	struct ustar h = { .typeflag = (char)entry->type };
	size_t start = out->n;

	must(start % TAR_BLOCK == 0 && (entry->type == TAR_FILE || entry->size == 0));
	pax_records(&records, entry, put_name(&h, entry->name));
	if (records.n)
		put_pax(out, &records);
	put_text(h.linkname, sizeof(h.linkname), entry->link);
	put_number(h.mode, sizeof(h.mode), entry->mode & 07777);
	put_number(h.uid, sizeof(h.uid), entry->uid);
	put_number(h.gid, sizeof(h.gid), entry->gid);
	put_number(h.size, sizeof(h.size), entry->size);
	put_number(h.mtime, sizeof(h.mtime), entry->mtime < 0 ? 0 : (uint64_t)entry->mtime);
	if (entry->uid == 0)
		put_text(h.uname, sizeof(h.uname), STR("root"));
	if (entry->gid == 0)
		put_text(h.gname, sizeof(h.gname), STR("root"));
	put_header(out, &h);
}
