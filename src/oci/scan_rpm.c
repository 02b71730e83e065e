/* What packages an image is made of, as rpm wrote it down. SPDX-License-Identifier: Apache-2.0
 *
 * Since 2020 the database is SQLite: a table Packages of headers. A header is two numbers, big-endian: how many
 * entries, and how many bytes of data; then for each entry a tag, a type, an offset into the data and a count. Of the
 * older forms it is said that they cannot be read. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/rootfs.h"
#include "oci/scan_inside.h"

enum {
	TAG_NAME = 1000,
	TAG_VERSION = 1001,
	TAG_RELEASE = 1002,
	TAG_EPOCH = 1003,
	TAG_ARCH = 1022,
	TAG_DIR_OF_FILE = 1116,
	TAG_FILE = 1117,
	TAG_DIR = 1118,
	TYPE_NUMBER = 4,
	TYPE_TEXT = 6,
	TYPE_TEXTS = 8,
	ENTRIES_MAX = 65536,
	ENTRY_BYTES = 16,
	FILES_MAX = 1 << 20
};
#define DATABASE_MAX_BYTES (UINT64_C(512) << 20)

struct header {
	const unsigned char *entries, *data;
	size_t entry_count, data_bytes;
};

static uint32_t number(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool header_of(struct str blob, struct header *ret)
{
	const unsigned char *p = (const unsigned char *)blob.p;
	size_t entries, bytes;

	if (blob.n < 8)
		return false;
	entries = number(p);
	bytes = number(p + 4);
	if (!entries || entries > ENTRIES_MAX || bytes > blob.n || blob.n - 8 < entries * ENTRY_BYTES + bytes)
		return false;
	*ret = (struct header){ p + 8, p + 8 + entries * ENTRY_BYTES, entries, bytes };
	return true;
}

/* The data of a tag from where it begins to the end of all; its count. */
static struct str data_of(const struct header *h, uint32_t tag, uint32_t type, size_t *ret_count)
{
	for (size_t i = 0; i < h->entry_count; i++) {
		const unsigned char *p = h->entries + i * ENTRY_BYTES;
		size_t offset = number(p + 8);

		if (number(p) != tag || number(p + 4) != type || offset >= h->data_bytes)
			continue;
		*ret_count = number(p + 12);
		return (struct str){ (const char *)h->data + offset, h->data_bytes - offset };
	}
	*ret_count = 0;
	return (struct str){ 0 };
}

/* What is before the next NUL. */
static struct str text_in(struct str *data)
{
	return str_cut(data, '\0');
}

static struct str text_of(const struct header *h, uint32_t tag)
{
	size_t count;
	struct str data = data_of(h, tag, TYPE_TEXT, &count);

	return text_in(&data);
}

/* The files of a package: names, each with the number of its directory. */
static void take_files(struct scan *s, const struct header *h)
{
	size_t names, numbers, dirs;
	struct str name = data_of(h, TAG_FILE, TYPE_TEXTS, &names);
	struct str of = data_of(h, TAG_DIR_OF_FILE, TYPE_NUMBER, &numbers);
	struct str dir = data_of(h, TAG_DIR, TYPE_TEXTS, &dirs);
	_cleanup_free_ struct str *v = NULL;
	_cleanup_buf_ struct buf path = { 0 };

	if (!dirs || dirs > dir.n || names != numbers || names > FILES_MAX || of.n < numbers * 4)
		return;
	v = xcalloc(dirs, sizeof(*v));
	for (size_t i = 0; i < dirs; i++)
		v[i] = text_in(&dir);
	for (size_t i = 0; i < names; i++) {
		uint32_t at = number((const unsigned char *)of.p + 4 * i);

		buf_reset(&path);
		if (at < dirs)
			buf_str(&path, v[at]);
		buf_str(&path, text_in(&name));
		scan_owned(s, buf_view(&path));
	}
}

static void take_header(struct scan *s, struct str blob)
{
	_cleanup_buf_ struct buf version = { 0 };
	struct header h;
	struct str epoch;
	size_t n;

	if (!header_of(blob, &h))
		return;
	epoch = data_of(&h, TAG_EPOCH, TYPE_NUMBER, &n);
	if (n && epoch.n >= 4)
		buf_f(&version, "%u:", number((const unsigned char *)epoch.p));
	buf_str(&version, text_of(&h, TAG_VERSION));
	buf_c(&version, '-');
	buf_str(&version, text_of(&h, TAG_RELEASE));
	scan_package(s, text_of(&h, TAG_NAME), buf_view(&version), text_of(&h, TAG_ARCH));
	if (s->suspect_count)
		take_files(s, &h);
}

/* The file's bytes, so that SQLite opens nothing by a name. */
static sqlite3 *open_database(int fd, size_t bytes)
{
	unsigned char *copy = sqlite3_malloc64(bytes);
	sqlite3 *db = NULL;
	size_t got = 0;

	if (!copy || fd_read_full(fd, copy, bytes, &got, NULL) < 0 || got != bytes ||
	    sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		sqlite3_free(copy);
		sqlite3_close(db);
		return NULL;
	}
	/* "WAL" in its header could not be opened in memory; nothing else of the header matters to a reader. */
	if (bytes > 20)
		copy[18] = copy[19] = 1;
	if (sqlite3_deserialize(db, "main", copy, (sqlite3_int64)bytes, (sqlite3_int64)bytes,
	                        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) != SQLITE_OK) {
		sqlite3_close(db);
		return NULL;
	}
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	return db;
}

static bool take_database(struct scan *s, const char *path)
{
	_cleanup_close_ int fd = rootfs_open(s->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	sqlite3_stmt *st = NULL;
	struct stat stat;
	sqlite3 *db;
	int r = SQLITE_ERROR;

	if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode))
		return false;
	s->manager = "rpm";
	db = stat.st_size > 0 && (uint64_t)stat.st_size <= DATABASE_MAX_BYTES ? open_database(fd, (size_t)stat.st_size)
	                                                                      : NULL;
	if (db && sqlite3_prepare_v2(db, "SELECT blob FROM Packages ORDER BY hnum", -1, &st, NULL) == SQLITE_OK)
		while ((r = sqlite3_step(st)) == SQLITE_ROW)
			take_header(s, (struct str){ sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0) });
	sqlite3_finalize(st);
	sqlite3_close(db);
	if (r != SQLITE_DONE)
		scan_finding(s, SCAN_MEDIUM, "packages", path, "the package database is damaged or too large");
	return true;
}

void scan_rpm(struct scan *s)
{
	static const char *const now[] = { "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite" };
	static const char *const before[] = { "var/lib/rpm/Packages", "var/lib/rpm/Packages.db",
		                              "usr/lib/sysimage/rpm/Packages.db" };

	for (size_t i = 0; i < ARRAY_LEN(now); i++)
		if (take_database(s, now[i]))
			return;
	for (size_t i = 0; i < ARRAY_LEN(before); i++) {
		_cleanup_close_ int fd = rootfs_open(s->root, before[i], O_PATH, 0);

		if (fd < 0)
			continue;
		s->manager = "rpm";
		scan_finding(s, SCAN_LOW, "packages", before[i],
		             "the package database is in a form of before 2020, which is not read");
		return;
	}
}
