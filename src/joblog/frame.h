/* frame.h - the file behind joblog.h; for joblog.c and reader.c alone.
 *
 * The file starts with 8 bytes of magic and 8 random bytes, the file's mark. Then come frames; all numbers
 * little-endian:
 *
 *     mark 8 · time 8 (ms) · number of the first record 8 · length 4 · source 1 · drafts 3 · bytes · length 4
 *
 * The bytes are what was printed, '\n' included; a record is what ends with a '\n' or with the frame. All records of a
 * frame have its time, as they came in one read. The offset of a record is where its bytes begin, except that a frame's
 * first record has the offset of the frame. The length behind the bytes is for going backwards and shows that the
 * frame is whole.
 *
 * Because a container cannot know the mark, it cannot print something that looks like a frame: whoever lands anywhere
 * in the file (a binary search, a torn tail) finds the next frame by searching for the mark.
 *
 * A draft is a frame of source 2: more bytes of a line that has no end yet, which are in no record. Readers step over
 * it; the whole line comes again as what it is. Of the three bytes before the bytes of a frame the first says which
 * pipes' lines are drafts only after it, a bit each; the others are those of a draft: its pipe, and whether the line
 * begins with it. So a writer that goes on in a log sees by its last frame whether a line was left unfinished, and
 * finds what there was of it by going back to where it begins, which is never far (JOBLOG_DRAFT_FAR).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <endian.h>

#include "joblog/joblog.h"

enum {
	JOBLOG_MARK_BYTES = 8,
	JOBLOG_START = 16, /* offset of the first frame */
	JOBLOG_HEAD_BYTES = 32,
	JOBLOG_TRAILER_BYTES = 4,
	JOBLOG_BODY_MAX = 256 << 10, /* of one frame, so of one record */
	JOBLOG_FRAME_MAX = JOBLOG_HEAD_BYTES + JOBLOG_BODY_MAX + JOBLOG_TRAILER_BYTES,
};
#define JOBLOG_MAGIC "bl-log 1"

struct joblog_frame {
	struct wall at;
	uint64_t first; /* number of the first record */
	uint32_t length;
	enum joblog_source source;
	bool draft, begins; /* begins, pipe: of a draft */
	unsigned char pipe;
	unsigned char open; /* pipes whose lines are drafts after this frame */
};

void joblog_head_write(unsigned char dst[JOBLOG_HEAD_BYTES], const unsigned char mark[JOBLOG_MARK_BYTES],
                       const struct joblog_frame *f);
/* False: not a frame of this file. */
bool joblog_head_read(const unsigned char src[JOBLOG_HEAD_BYTES], const unsigned char mark[JOBLOG_MARK_BYTES],
                      struct joblog_frame *ret);
/* How many records the bytes make, and how many those of a frame. */
uint64_t joblog_count(const char *p, size_t n);
uint64_t joblog_records(const struct joblog_frame *f, const char *body);
struct joblog_reader;
/* What there is of the line that a pipe left unfinished at the end of the log; nothing where it left none. Moves the
 * reader. */
int joblog_unfinished(struct joblog_reader *r, unsigned pipe, struct buf *ret, struct err *e) must_check;
/* Reads the file's mark. 1: there. 0: the file is shorter than its head. ERR_INVALID: not a job log. */
int joblog_mark_read(int fd, const char *path, unsigned char ret_mark[JOBLOG_MARK_BYTES], struct err *e) must_check;
/* Reads exactly n bytes at offset: 1; 0 when the file ends before; -1. */
int joblog_pread(int fd, void *p, size_t n, uint64_t offset, struct err *e) must_check;
/* The frame at offset, without its bytes: 1, and *ret_next is where the next one starts; 0 when it is not whole (yet);
 * ERR_IO when there is something that is not a frame. Reads what it needs and no more. */
int joblog_frame_at(int fd, const unsigned char mark[JOBLOG_MARK_BYTES], uint64_t offset, struct joblog_frame *ret,
                    uint64_t *ret_next, struct err *e) must_check;
