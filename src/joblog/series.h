/* series.h - the segments of a log as one run of bytes; for joblog.c, reader.c and pack.c alone.
 *
 * A log is a series of segments, files in one directory. The first has the log's name; every other one has the log's
 * name, a '.' and the offset of its first frame, 20 digits: LOG, LOG.00000000000067108901, ... Offsets count the
 * frames of all segments (the first begins at JOBLOG_START), so where one segment ends the next one's name begins, and
 * an offset stays what it is when a segment is packed or the ones before are removed. Only the last is appended to.
 *
 * A later segment begins with a head of 40 bytes: magic 8 · mark of the log 8 · offset of its first frame 8 · number of
 * its first record 8 · time of the record before it 8. Frames follow as in the first (frame.h).
 *
 * A packed segment has the same head with another magic, whichever number it has, and then:
 *
 *     blocks     of whole frames, about 1 MiB of them each; every one a zstd frame of its own with a checksum
 *     index      a zstd frame; for each block: offset 8 · place in the file 8 · time of its first frame 8 ·
 *                number of its first record 8 · bytes packed 4 · bytes unpacked 4
 *     footer     place of the index 8 · bytes of the index 4 · blocks 4 · offset of the end 8 · number of the next
 *                record 8 · time of the last record 8 · magic 8
 *
 * It replaces the plain one by rename under the same name, so there is always one of the two. A reader that has the
 * plain one open reads on in it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/frame.h"

enum {
	SEGMENT_HEAD_BYTES = 40,
	SEGMENT_BYTES = 64 << 20, /* a segment that is longer is closed */
	BLOCK_BYTES = 1 << 20,    /* a block that is longer is closed */
	BLOCK_MAX = BLOCK_BYTES + JOBLOG_FRAME_MAX,
	BLOCKS_MAX = 1 << 16,
	INDEX_ENTRY_BYTES = 40,
	FOOTER_BYTES = 48,
};
#define SEGMENT_MAGIC "bl-log 2"
#define PACKED_MAGIC "bl-log z"
#define FOOTER_MAGIC "bl-log /"

struct segment_head {
	bool packed;
	unsigned head;        /* bytes of it, before the first frame */
	uint64_t base, first; /* offset of its first frame, number of its first record */
	struct wall before;   /* time of the record before it; the epoch for the first */
	unsigned char mark[JOBLOG_MARK_BYTES];
};
/* Reads a segment's head: 1; 0 when the file is shorter than that. ERR_INVALID: not a segment, or not that one. */
int segment_head_read(int fd, const char *name, uint64_t base, struct segment_head *ret, struct err *e) must_check;
void segment_head_write(unsigned char dst[SEGMENT_HEAD_BYTES], const char *magic, const struct segment_head *h);

struct segment_footer {
	uint64_t index, end, next; /* place of the index; offset of the end; number of the next record */
	uint32_t index_bytes, blocks;
	struct wall last;
};
int segment_footer_read(int fd, const char *name, struct segment_footer *ret, struct err *e) must_check;

struct block {
	uint64_t offset, place, first;
	struct wall at;
	uint32_t packed, plain;
};

/* What the directory holds: the bases of the segments, ascending. */
struct segments {
	uint64_t *bases;
	size_t count;
};
/* dirfd is the log's directory, leaf its name. No segments is fine. */
int segments_list(int dirfd, const char *leaf, struct segments *ret, struct err *e) must_check;
void segments_fini(struct segments *s);
/* The name of a segment; the caller frees. */
char *segment_name(const char *leaf, uint64_t base);
/* Opens one of them for reading, when it is a plain file. ERR_NOT_FOUND. */
int segment_open(int dirfd, const char *name, struct err *e) must_check;
/* path: the log's. *ret_leaf points into path. Returns a descriptor of the directory. ERR_NOT_FOUND. */
int log_directory(const char *path, const char **ret_leaf, struct err *e) must_check;

struct series;
/* ERR_NOT_FOUND: nothing was printed yet. ERR_INVALID: no job log. */
int series_open(const char *path, struct series **ret, struct err *e) must_check;
void series_close(struct series *s); /* NULL is fine */
DEFINE_CLEANUP(struct series, series_close)
const unsigned char *series_mark(const struct series *s);
/* Offset of the first frame there is, as far as is known: segments are removed from the front. */
uint64_t series_start(const struct series *s);
/* Offset behind the last byte there is now. */
int series_end(struct series *s, uint64_t *ret, struct err *e) must_check;
/* Up to n bytes at offset; *ret_n is less than n only at the end. ERR_NOT_FOUND: they were removed; series_start says
 * then what is left. */
int series_read(struct series *s, void *p, size_t n, uint64_t offset, size_t *ret_n, struct err *e) must_check;
/* Narrows [*lo, *hi), *lo being a frame's start, to where the first frame at or after t is, or *hi: by segments, and by
 * blocks where they are packed. Everything before *lo is earlier than t. */
int series_narrow(struct series *s, struct wall t, uint64_t *lo, uint64_t *hi, struct err *e) must_check;
