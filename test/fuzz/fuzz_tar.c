/* Headers of members: any name and link, any numbers. What tar_header writes, libarchive must read back the same. The
 * first bytes of the input are the numbers, then come name and link, separated by a NUL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "artifact/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct numbers {
	uint64_t size;
	int64_t mtime;
	uint32_t uid, gid;
	uint16_t mode;
	uint8_t type;
};

/* What no file system has as a path: empty pieces, "." and "..", a '/' in front. The packer makes no such names. */
static bool path_ok(struct str s)
{
	if (s.n == 0 || s.n >= 4096)
		return false;
	while (s.n) {
		struct str piece = str_cut(&s, '/');

		if (!piece.n || piece.n > 255 || str_is(piece, ".") || str_is(piece, ".."))
			return false;
	}
	return true;
}

static enum tar_type type_of(uint8_t byte)
{
	static const enum tar_type types[] = { TAR_FILE, TAR_HARDLINK, TAR_SYMLINK, TAR_DIRECTORY };

	return types[byte % ARRAY_LEN(types)];
}

static void check_back(const struct buf *head, const struct tar_entry *in)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	const char *link;

	must(archive_read_support_format_tar(a) == ARCHIVE_OK);
	must(archive_read_open_memory(a, head->p, head->n) == ARCHIVE_OK);
	must(archive_read_next_header(a, &entry) >= ARCHIVE_WARN);
	must(archive_entry_pathname(entry) && str_is(in->name, archive_entry_pathname(entry)));
	must(archive_entry_perm(entry) == (in->mode & 07777));
	must(archive_entry_uid(entry) == in->uid && archive_entry_gid(entry) == in->gid);
	must(archive_entry_mtime(entry) == in->mtime);
	link = in->type == TAR_HARDLINK ? archive_entry_hardlink(entry) : archive_entry_symlink(entry);
	if (in->type == TAR_HARDLINK || in->type == TAR_SYMLINK)
		must(link && str_is(in->link, link));
	if (in->type == TAR_FILE)
		must(archive_entry_size(entry) == (int64_t)in->size);
	archive_read_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf head = { 0 }, name = { 0 };
	struct numbers n;
	struct str rest, first;
	struct tar_entry entry;
	_cleanup_free_ char *link = NULL;

	if (size < sizeof(n))
		return 0;
	memcpy(&n, data, sizeof(n));
	rest = (struct str){ (const char *)data + sizeof(n), size - sizeof(n) };
	first = str_cut(&rest, 0);
	entry.type = type_of(n.type);
	buf_str(&name, first);
	if (entry.type == TAR_DIRECTORY)
		buf_c(&name, '/');
	if (!path_ok(first))
		return 0;
	rest = str_cut(&rest, 0);
	if ((entry.type == TAR_SYMLINK || entry.type == TAR_HARDLINK) && (rest.n == 0 || rest.n >= 4096))
		return 0;
	link = str_dup(rest);
	entry = (struct tar_entry){
		.type = entry.type,
		.name = buf_view(&name),
		.link = entry.type == TAR_SYMLINK || entry.type == TAR_HARDLINK ? str_of(link) : STR(""),
		.size = entry.type == TAR_FILE ? n.size >> 2 : 0,
		.mode = n.mode,
		.uid = n.uid,
		.gid = n.gid,
		.mtime = n.mtime >> 8,
	};
	tar_header(&head, &entry);
	must(head.n % TAR_BLOCK == 0);
	check_back(&head, &entry);
	return 0;
}
