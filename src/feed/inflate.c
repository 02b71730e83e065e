/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/inflate.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>

enum { PIECE = 256 << 10 };

enum where {
	START,   /* nothing has come yet */
	MEMBER,  /* within one */
	BETWEEN, /* behind one: another one, zeros, or the end */
	ZEROS,   /* nothing but zeros may come */
};

struct inflater {
	struct inflate_state state;
	enum where where;
	struct str in;
	uint64_t members;
	unsigned char out[PIECE];
};

struct inflater *inflater_new(void)
{
	struct inflater *z = xrealloc(NULL, sizeof(*z));

	inflater_reset(z);
	return z;
}

void inflater_free(struct inflater *z)
{
	free(z);
}

void inflater_reset(struct inflater *z)
{
	z->where = START;
	z->in = (struct str){ 0 };
	z->members = 0;
}

void inflater_feed(struct inflater *z, struct str in)
{
	z->in = in;
}

static void begin_member(struct inflater *z)
{
	isal_inflate_init(&z->state);
	z->state.crc_flag = ISAL_GZIP;
	z->where = MEMBER;
	z->members++;
}

/* Steps to where a member begins. 1: there; 0: all is used up. */
static int find_member(struct inflater *z, struct err *e)
{
	if (z->where == BETWEEN && z->in.n && *z->in.p == 0)
		z->where = ZEROS;
	while (z->where == ZEROS && z->in.n && *z->in.p == 0) {
		z->in.p++;
		z->in.n--;
	}
	if (!z->in.n)
		return 0;
	if (z->where == START && (unsigned char)*z->in.p != 0x1f)
		return err_set(e, ERR_CLIENT, "it is not compressed with gzip");
	if (z->where == ZEROS || (unsigned char)*z->in.p != 0x1f)
		return err_set(e, ERR_CLIENT, "there are bytes behind its gzip data that are no part of it");
	begin_member(z);
	return 1;
}

static int damaged(const struct inflater *z, int why, struct err *e)
{
	const char *what = why == ISAL_INCORRECT_CHECKSUM   ? "the checksum is wrong"
	                   : why == ISAL_INVALID_WRAPPER    ? "the header is none of gzip"
	                   : why == ISAL_UNSUPPORTED_METHOD ? "the method is none of gzip"
	                   : why == ISAL_INVALID_LOOKBACK   ? "it points before its start"
	                   : why == ISAL_NEED_DICT          ? "it needs a dictionary"
	                                                    : "a block is none of deflate";

	return err_set(e, ERR_CLIENT, "its gzip data is damaged: %s (member %llu)", what,
	               (unsigned long long)z->members);
}

int inflater_next(struct inflater *z, struct str *ret, struct err *e)
{
	for (;;) {
		size_t n;
		int rc;

		if (z->where != MEMBER && (rc = find_member(z, e)) <= 0)
			return rc;
		z->state.next_in = (uint8_t *)z->in.p;
		z->state.avail_in = (uint32_t)z->in.n;
		z->state.next_out = z->out;
		z->state.avail_out = PIECE;
		rc = isal_inflate(&z->state);
		z->in.p += z->in.n - z->state.avail_in;
		z->in.n = z->state.avail_in;
		n = PIECE - z->state.avail_out;
		if (rc < 0 || rc == ISAL_NEED_DICT)
			return damaged(z, rc, e);
		if (z->state.block_state == ISAL_BLOCK_FINISH)
			z->where = BETWEEN;
		if (n) {
			*ret = (struct str){ (char *)z->out, n };
			return 1;
		}
		if (!z->in.n && z->where == MEMBER)
			return 0;
	}
}

int inflater_end(const struct inflater *z, struct err *e)
{
	if (z->where == MEMBER)
		return err_set(e, ERR_CLIENT, "its gzip data is cut short");
	return 0;
}
