/* tar.h - writes headers of a POSIX tar archive (ustar, with a pax header before it where ustar cannot say it). Pure.
 *
 * What ustar cannot say: names over 100 bytes that cannot be split at a '/', or that are not ASCII; links likewise; big
 * sizes and ids; times before 1970. Names that are not UTF-8 are marked hdrcharset=BINARY. Big numbers are also in the
 * ustar header, base 256, for readers that know no pax.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/str.h"

enum { TAR_BLOCK = 512 };

enum tar_type { TAR_FILE = '0', TAR_HARDLINK = '1', TAR_SYMLINK = '2', TAR_DIRECTORY = '5' };

struct tar_entry {
	enum tar_type type;
	struct str name; /* relative; a directory's ends in '/' */
	struct str link; /* where a link points, else empty */
	uint64_t size;   /* of the data that follows; 0 unless TAR_FILE */
	mode_t mode;     /* permission bits */
	uid_t uid;
	gid_t gid;
	int64_t mtime; /* seconds */
};

/* Appends the header, whole blocks. The caller writes size bytes and pads them to TAR_BLOCK. */
void tar_header(struct buf *out, const struct tar_entry *entry);
