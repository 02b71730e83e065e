/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/ahead.h"

enum { RECENT = 1024, PIECES_A_WINDOW = 8, PIECE_MIN = 4 * AHEAD_BLOCK };

void ahead_init(struct ahead *a, uint64_t budget)
{
	*a = (struct ahead){ .budget = budget };
}

static bool near(const struct stream *s, uint32_t file, uint64_t offset)
{
	return s->used && s->file == file && offset <= s->at + AHEAD_NEAR && offset + AHEAD_NEAR >= s->at;
}

/* The stream that the read goes on with, else the one to give up for it. */
static struct stream *stream_for(struct ahead *a, uint32_t file, uint64_t offset)
{
	struct stream *oldest = &a->streams[0];

	for (size_t i = 0; i < AHEAD_STREAMS; i++) {
		struct stream *s = &a->streams[i];

		if (near(s, file, offset))
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	return oldest;
}

/* How large a window may be, as many as there are. */
static uint64_t window_max(const struct ahead *a)
{
	uint64_t active = 1, share;

	for (size_t i = 0; i < AHEAD_STREAMS; i++)
		active += a->streams[i].window && a->streams[i].used + RECENT > a->reads;
	share = a->budget / active;
	return share < AHEAD_WINDOW_MAX ? share : AHEAD_WINDOW_MAX;
}

static uint64_t up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static struct ahead_plan plan(struct stream *s, uint64_t file_size)
{
	uint64_t end = file_size - s->at < s->window ? file_size : s->at + s->window;
	uint64_t piece = up(s->window / PIECES_A_WINDOW, AHEAD_BLOCK);
	struct ahead_plan p = { 0 };

	if (piece < PIECE_MIN)
		piece = PIECE_MIN;
	if (piece > AHEAD_PIECE_MAX)
		piece = AHEAD_PIECE_MAX;
	if (s->planned < s->at)
		s->planned = s->at;
	p.from = up(s->planned, AHEAD_BLOCK);
	/* Whole pieces only, so that a window that moves on little by little is not asked for in crumbs. */
	if (p.from >= end || (end - p.from < piece && end != file_size))
		return (struct ahead_plan){ 0 };
	p.to = end == file_size ? end : p.from + (end - p.from) / piece * piece;
	p.piece = (uint32_t)piece;
	s->planned = p.to;
	return p;
}

struct ahead_plan ahead_read(struct ahead *a, uint32_t file, uint64_t file_size, uint64_t offset, uint64_t length)
{
	struct stream *s = stream_for(a, file, offset);
	uint64_t max;

	a->reads++;
	if (!near(s, file, offset))
		*s = (struct stream){ .file = file, .at = offset + length, .window = offset ? 0 : AHEAD_FIRST };
	else if (offset + length > s->at) {
		if (offset + length - s->at >= length / 2) /* most of it is new: a step */
			s->window = s->window ? s->window * 2 : AHEAD_FIRST;
		s->at = offset + length;
	}
	s->used = a->reads;
	max = window_max(a);
	if (s->window > max)
		s->window = max;
	return s->window ? plan(s, file_size) : (struct ahead_plan){ 0 };
}
