/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/inflate.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zlib.h>

enum { PIECE = 256 << 10 };

enum where {
	START,   /* nothing has come yet */
	HEAD,    /* in the head of a member: ten bytes, what the flags say, a checksum */
	MEMBER,  /* behind its head */
	BETWEEN, /* behind one: another one, zeros, or the end */
	ZEROS,   /* nothing but zeros may come */
};

/* RFC 1952. The pieces of a head, in their order. */
enum { FLAG_HCRC = 2, FLAG_EXTRA = 4, FLAG_NAME = 8, FLAG_COMMENT = 16, FLAGS_RESERVED = 0xe0 };
enum head { FIXED, EXTRA_LENGTH, EXTRA, NAME, COMMENT, HCRC, HEAD_END };

struct inflater {
	struct inflate_state state;
	enum where where;
	struct str in;
	uint64_t members;
	enum head head; /* the piece that is being read */
	uint32_t got;   /* bytes of it */
	uint32_t extra; /* length of that piece */
	uint32_t crc;   /* of the head so far */
	unsigned char fixed[10], word[2];
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

static int damaged(const struct inflater *z, const char *what, struct err *e)
{
	return err_set(e, ERR_CLIENT, "its gzip data is damaged: %s (member %llu)", what,
	               (unsigned long long)z->members);
}

/* ---- the head of a member ---- */

static bool has_piece(const struct inflater *z, enum head piece)
{
	unsigned char flags = z->fixed[3];

	switch (piece) {
	case EXTRA_LENGTH: return flags & FLAG_EXTRA;
	case EXTRA: return flags & FLAG_EXTRA && z->extra;
	case NAME: return flags & FLAG_NAME;
	case COMMENT: return flags & FLAG_COMMENT;
	case HCRC: return flags & FLAG_HCRC;
	default: return true;
	}
}

/* Takes a byte of the current piece. True: it was the last one. */
static bool take_byte(struct inflater *z, unsigned char c)
{
	if (z->head == FIXED)
		z->fixed[z->got] = c;
	else if (z->head == EXTRA_LENGTH || z->head == HCRC)
		z->word[z->got] = c;
	if (z->head != HCRC)
		z->crc = (uint32_t)crc32(z->crc, &c, 1);
	z->got++;
	switch (z->head) {
	case FIXED: return z->got == sizeof(z->fixed);
	case EXTRA_LENGTH:
	case HCRC: return z->got == sizeof(z->word);
	case EXTRA: return z->got == z->extra;
	default: return c == 0;
	}
}

static int check_piece(struct inflater *z, struct err *e)
{
	uint32_t word = z->word[0] | (uint32_t)z->word[1] << 8;

	if (z->head == FIXED && (z->fixed[0] != 0x1f || z->fixed[1] != 0x8b))
		return damaged(z, "there is no gzip header where one should be", e);
	if (z->head == FIXED && (z->fixed[2] != 8 || z->fixed[3] & FLAGS_RESERVED))
		return damaged(z, "the header asks for what there is not in gzip", e);
	if (z->head == EXTRA_LENGTH)
		z->extra = word;
	if (z->head == HCRC && word != (z->crc & 0xffff))
		return damaged(z, "the checksum of the header is wrong", e);
	return 0;
}

/* 1: the head is over; 0: more of it is to come. */
static int read_head(struct inflater *z, struct err *e)
{
	while (z->in.n) {
		unsigned char c = (unsigned char)*z->in.p;

		z->in.p++;
		z->in.n--;
		if (!take_byte(z, c))
			continue;
		if (check_piece(z, e) < 0)
			return -1;
		z->got = 0;
		do
			z->head++;
		while (!has_piece(z, z->head));
		if (z->head < HEAD_END)
			continue;
		isal_inflate_init(&z->state);
		z->state.crc_flag = ISAL_GZIP_NO_HDR_VER;
		z->where = MEMBER;
		return 1;
	}
	return 0;
}

static void begin_head(struct inflater *z)
{
	z->where = HEAD;
	z->head = FIXED;
	z->got = 0;
	z->extra = 0;
	z->crc = (uint32_t)crc32(0, NULL, 0);
	z->members++;
}

/* Steps to where the data of a member begins. 1: there; 0: all is used up. */
static int find_member(struct inflater *z, struct err *e)
{
	if (z->where == HEAD)
		return read_head(z, e);
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
	begin_head(z);
	return read_head(z, e);
}

/* ---- the data ---- */

static const char *what_is_wrong(int rc)
{
	return rc == ISAL_INCORRECT_CHECKSUM ? "the checksum is wrong"
	       : rc == ISAL_INVALID_LOOKBACK ? "it points before its start"
	                                     : "a block is none of deflate";
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
		/* At the end of a member it gives back what it had read too much, which may be more than it got now. */
		z->in = (struct str){ (const char *)z->state.next_in, z->state.avail_in };
		n = PIECE - z->state.avail_out;
		if (rc < 0 || rc == ISAL_NEED_DICT)
			return damaged(z, what_is_wrong(rc), e);
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
	if (z->where == HEAD || z->where == MEMBER)
		return err_set(e, ERR_CLIENT, "its gzip data is cut short");
	return 0;
}
