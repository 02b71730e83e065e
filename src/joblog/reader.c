/* The reader. It reads through one window of the log, WINDOW_BYTES or a frame long.
 * SPDX-License-Identifier: Apache-2.0 */
#include "joblog/joblog.h"

#include <inttypes.h>
#include <stdlib.h>

#include "joblog/series.h"

enum {
	WINDOW_BYTES = 64 << 10,
	DRAFT_REACH = 2 * JOBLOG_DRAFT_FAR, /* what is written until a writer knows that it has come far */
};

struct joblog_reader {
	struct series *s;
	const unsigned char *mark;
	/* The next record is in the frame at `frame`, `at` bytes into its body. */
	uint64_t frame;
	uint32_t at;
	bool loaded; /* f and body are those of `frame`, and n is right */
	struct joblog_frame f;
	uint64_t n;       /* number of the next record */
	const char *body; /* into the window */
	struct {
		char *p;
		size_t cap, n;
		uint64_t offset;
	} window;
};

int joblog_reader_open(const char *path, struct joblog_reader **ret, struct err *e)
{
	struct series *series;
	struct joblog_reader *r;

	if (series_open(path, &series, e) < 0)
		return -1;
	r = xcalloc(1, sizeof(*r));
	r->s = series;
	r->mark = series_mark(series);
	r->frame = series_start(series);
	*ret = r;
	return 0;
}

void joblog_reader_close(struct joblog_reader *r)
{
	if (!r)
		return;
	series_close(r->s);
	free(r->window.p);
	free(r);
}

/* Makes the window show [offset, offset + n): 1 and *ret; 0 when the file ends before. What is read along with it lies
 * behind, or before when reading backwards. */
static int look(struct joblog_reader *r, uint64_t offset, size_t n, bool backwards, const char **ret, struct err *e)
{
	size_t want = n > WINDOW_BYTES ? n : WINDOW_BYTES;
	uint64_t from = !backwards ? offset : offset + n > want ? offset + n - want : 0, start = series_start(r->s);

	if (from < start && offset >= start)
		from = start;
	if (!r->window.n || offset < r->window.offset || offset + n > r->window.offset + r->window.n) {
		r->loaded = false; /* body may be gone */
		if (r->window.cap < want)
			r->window.p = xrealloc(r->window.p, r->window.cap = want);
		r->window.offset = from;
		r->window.n = 0;
		if (series_read(r->s, r->window.p, want, from, &r->window.n, e) < 0)
			return -1;
		if (offset + n > r->window.offset + r->window.n)
			return 0;
	}
	*ret = r->window.p + (offset - r->window.offset);
	return 1;
}

/* One try at load(). */
static int try_load(struct joblog_reader *r, bool backwards, struct err *e)
{
	const char *p;
	uint32_t trailer;
	int rc;

	r->loaded = false;
	rc = look(r, r->frame, JOBLOG_HEAD_BYTES, false, &p, e);
	if (rc <= 0)
		return rc;
	if (!joblog_head_read((const unsigned char *)p, r->mark, &r->f))
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, r->frame);
	rc = look(r, r->frame, JOBLOG_HEAD_BYTES + r->f.length + sizeof(trailer), backwards, &p, e);
	if (rc <= 0)
		return rc;
	r->body = p + JOBLOG_HEAD_BYTES;
	memcpy(&trailer, r->body + r->f.length, sizeof(trailer));
	if (le32toh(trailer) != r->f.length || r->at > r->f.length)
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, r->frame);
	if (r->at == 0)
		r->n = r->f.first;
	r->loaded = true;
	return 1;
}

/* Loads the frame at r->frame: 1; 0 when it is not whole (yet). A torn frame may be cut and written anew by the next
 * writer, so that what was seen of it is not remembered, and damage is believed only when seen afresh. */
static int load(struct joblog_reader *r, bool backwards, struct err *e)
{
	int rc = try_load(r, backwards, NULL);

	if (rc < 0) {
		r->window.n = 0;
		rc = try_load(r, backwards, e);
	}
	if (rc <= 0)
		r->window.n = 0;
	return rc;
}

static uint64_t behind(const struct joblog_reader *r)
{
	return r->frame + JOBLOG_HEAD_BYTES + r->f.length + JOBLOG_TRAILER_BYTES;
}

static void stand_at(struct joblog_reader *r, uint64_t frame)
{
	r->frame = frame;
	r->at = 0;
	r->loaded = false;
}

static void fill(const struct joblog_reader *r, uint32_t end, struct log_record *ret)
{
	bool ends = r->body[end - 1] == '\n';

	*ret = (struct log_record){ r->f.at, r->f.source, ends, { r->body + r->at, end - r->at - ends }, r->n };
}

/* The frame at r->frame, or the first there is when that was removed meanwhile. */
static int load_left(struct joblog_reader *r, struct err *e)
{
	struct err why = { 0 };
	int rc = load(r, false, &why);

	if (rc < 0 && r->frame < series_start(r->s)) {
		stand_at(r, series_start(r->s));
		why = (struct err){ 0 };
		rc = load(r, false, &why);
	}
	if (rc < 0 && e)
		*e = why;
	return rc;
}

/* For going on: the next frame that has records. */
static int load_next(struct joblog_reader *r, struct err *e)
{
	int rc;

	while ((rc = load_left(r, e)) > 0 && r->f.draft)
		stand_at(r, behind(r));
	return rc;
}

int joblog_next(struct joblog_reader *r, struct log_record *ret, struct err *e)
{
	const char *nl;
	uint32_t end;

	if (!r->loaded) {
		int rc = load_next(r, e);

		if (rc <= 0)
			return rc;
	}
	nl = memchr(r->body + r->at, '\n', r->f.length - r->at);
	end = nl ? (uint32_t)(nl + 1 - r->body) : r->f.length;
	fill(r, end, ret);
	r->n++;
	r->at = end;
	if (end == r->f.length)
		stand_at(r, behind(r));
	return 1;
}

int joblog_next_lines(struct joblog_reader *r, struct log_record *ret, struct err *e)
{
	int rc = r->loaded ? 1 : load_next(r, e);

	if (rc <= 0)
		return rc;
	*ret = (struct log_record){
		r->f.at, r->f.source, r->body[r->f.length - 1] == '\n', { r->body + r->at, r->f.length - r->at }, r->n
	};
	stand_at(r, behind(r));
	return 1;
}

/* Steps to the end of the frame before: 1; 0 at the start. */
static int step_back(struct joblog_reader *r, struct err *e)
{
	uint64_t here = r->frame, length;
	uint32_t trailer;
	const char *p;
	int rc;

	if (here <= series_start(r->s))
		return 0;
	rc = look(r, here - sizeof(trailer), sizeof(trailer), true, &p, e);
	if (rc < 0)
		return -1;
	if (rc > 0)
		memcpy(&trailer, p, sizeof(trailer));
	length = rc > 0 ? (uint64_t)le32toh(trailer) + JOBLOG_HEAD_BYTES + sizeof(trailer) : 0;
	if (rc == 0 || here - series_start(r->s) < length)
		return err_set(e, ERR_IO, "the log is damaged before byte %" PRIu64, here);
	stand_at(r, here - length);
	rc = load(r, true, e);
	if (rc <= 0 || behind(r) != here) {
		stand_at(r, here);
		return rc < 0 ? -1 : err_set(e, ERR_IO, "the log is damaged before byte %" PRIu64, here);
	}
	r->at = r->f.length;
	r->n = r->f.first + joblog_records(&r->f, r->body);
	return 1;
}

int joblog_prev(struct joblog_reader *r, struct log_record *ret, struct err *e)
{
	uint32_t end;
	const char *nl;

	while (r->at == 0 || !r->loaded || r->f.draft) {
		int rc = r->at == 0 ? step_back(r, e) : load(r, true, e);

		if (rc <= 0)
			return rc;
		if (r->f.draft)
			stand_at(r, r->frame);
	}
	end = r->at;
	nl = memrchr(r->body, '\n', end - 1);
	r->at = nl ? (uint32_t)(nl + 1 - r->body) : 0;
	r->n--;
	fill(r, end, ret);
	return 1;
}

uint64_t joblog_offset(const struct joblog_reader *r)
{
	return r->frame + (r->at ? JOBLOG_HEAD_BYTES + r->at : 0);
}

/* The last frame that starts before offset, looking back as far as a frame can reach: 1 and *ret; 0 if none. */
static int frame_before(struct joblog_reader *r, uint64_t offset, uint64_t *ret, struct err *e)
{
	uint64_t start = series_start(r->s),
	         from = offset > start + JOBLOG_FRAME_MAX ? offset - JOBLOG_FRAME_MAX : start;
	size_t n = (size_t)(offset - from);
	const char *p;
	int rc = look(r, from, n, true, &p, e);

	if (rc <= 0)
		return rc;
	for (size_t i = n; i-- >= JOBLOG_MARK_BYTES;)
		if (memcmp(p + i + 1 - JOBLOG_MARK_BYTES, r->mark, JOBLOG_MARK_BYTES) == 0) {
			*ret = from + i + 1 - JOBLOG_MARK_BYTES;
			return 1;
		}
	return 0;
}

/* Stands at the record that starts at offset: 1; 0 when none does. */
static int seek_to(struct joblog_reader *r, uint64_t offset, struct err *e)
{
	uint64_t frame, into;
	int rc;

	if (offset < JOBLOG_START)
		return 0;
	if (offset < series_start(r->s)) { /* what was there has been removed */
		stand_at(r, series_start(r->s));
		return 1;
	}
	stand_at(r, offset);
	/* Where a whole frame ends a record starts, or will. */
	if (offset == series_start(r->s) || step_back(r, NULL) > 0) {
		stand_at(r, offset);
		return 1;
	}
	rc = frame_before(r, offset, &frame, e);
	if (rc <= 0)
		return rc;
	stand_at(r, frame);
	rc = load(r, false, e);
	into = offset - frame;
	if (rc <= 0 || into <= JOBLOG_HEAD_BYTES || into - JOBLOG_HEAD_BYTES >= r->f.length)
		return rc < 0 ? -1 : 0;
	r->at = (uint32_t)(into - JOBLOG_HEAD_BYTES);
	r->n = r->f.first + joblog_count(r->body, r->at);
	return r->body[r->at - 1] == '\n';
}

int joblog_seek(struct joblog_reader *r, uint64_t offset, struct err *e)
{
	uint64_t frame = r->frame, n = r->n;
	uint64_t end;
	uint32_t at = r->at;
	int rc;

	if (series_end(r->s, &end, e) < 0)
		return -1;
	r->window.n = 0;
	r->loaded = false;
	/* Clients hand in offsets: one far behind the end is not worth a read, or no offset of a file at all. */
	rc = offset && offset <= end ? seek_to(r, offset, e) : 0;
	if (rc > 0)
		return 0;
	if (offset == 0) {
		stand_at(r, series_start(r->s));
		return 0;
	}
	/* Back to where we were. */
	stand_at(r, frame);
	r->at = at;
	r->n = n;
	return rc < 0 ? -1 : err_set(e, ERR_INVALID, "no log record starts at byte %" PRIu64, offset);
}

/* The frame at offset, without its bytes: as joblog_frame_at, through the window. */
static int frame_at(struct joblog_reader *r, uint64_t offset, struct joblog_frame *ret, uint64_t *ret_next,
                    struct err *e)
{
	struct joblog_frame f;
	uint32_t trailer;
	const char *p;
	int rc = look(r, offset, JOBLOG_HEAD_BYTES, false, &p, e);

	if (rc <= 0)
		return rc;
	if (!joblog_head_read((const unsigned char *)p, r->mark, &f))
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, offset);
	rc = look(r, offset + JOBLOG_HEAD_BYTES + f.length, sizeof(trailer), false, &p, e);
	if (rc <= 0)
		return rc;
	memcpy(&trailer, p, sizeof(trailer));
	if (le32toh(trailer) != f.length)
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, offset);
	*ret = f;
	*ret_next = offset + JOBLOG_HEAD_BYTES + f.length + sizeof(trailer);
	return 1;
}

/* The first whole frame that starts in [from, to): 1 with *ret and its time; 0 if none. */
static int frame_after(struct joblog_reader *r, uint64_t from, uint64_t to, uint64_t *ret, struct wall *ret_at,
                       struct err *e)
{
	while (from < to) {
		size_t n = (size_t)(to - from < WINDOW_BYTES - JOBLOG_MARK_BYTES ? to - from
		                                                                 : WINDOW_BYTES - JOBLOG_MARK_BYTES);
		struct joblog_frame f;
		uint64_t next;
		const char *p, *hit;
		int rc = look(r, from, n + JOBLOG_MARK_BYTES - 1, false, &p, e);

		if (rc <= 0)
			return rc;
		hit = memmem(p, n + JOBLOG_MARK_BYTES - 1, r->mark, JOBLOG_MARK_BYTES);
		if (!hit) {
			from += n;
			continue;
		}
		from += (uint64_t)(hit - p);
		rc = frame_at(r, from, &f, &next, e);
		if (rc <= 0)
			return rc;
		*ret = from;
		*ret_at = f.at;
		return 1;
	}
	return 0;
}

/* Stands at the first frame at or after t, which is at or after lo; hi: see below. */
static int seek_time_between(struct joblog_reader *r, struct wall t, uint64_t lo, uint64_t hi, struct err *e)
{
	struct joblog_frame f;
	uint64_t next;
	int rc;

	/* lo is always a frame's start with everything before it earlier than t; no frame that starts in [lo, hi) and
	 * does not start at or after hi is missed. */
	while (hi > lo + 2 * WINDOW_BYTES) {
		uint64_t mid = lo + (hi - lo) / 2, found;
		struct wall at;

		rc = frame_after(r, mid, hi, &found, &at, e);
		if (rc < 0)
			return -1;
		if (rc > 0 && at.ms < t.ms)
			lo = found;
		else
			hi = mid;
	}
	for (;; lo = next) {
		rc = frame_at(r, lo, &f, &next, e);
		if (rc < 0)
			return -1;
		if (rc == 0 || f.at.ms >= t.ms)
			break;
	}
	stand_at(r, lo);
	return 0;
}

int joblog_seek_time(struct joblog_reader *r, struct wall t, struct err *e)
{
	r->loaded = false;
	for (unsigned tries = 0;; tries++) {
		struct err why = { 0 };
		uint64_t lo, hi;

		r->window.n = 0;
		if (series_end(r->s, &hi, e) < 0)
			return -1;
		lo = series_start(r->s);
		if (series_narrow(r->s, t, &lo, &hi, &why) == 0 && seek_time_between(r, t, lo, hi, &why) == 0)
			return 0;
		/* Segments may be removed as we look for them. */
		if (why.kind == ERR_NOT_FOUND && tries < 3)
			continue;
		if (e)
			*e = why;
		return -1;
	}
}

/* ---- drafts ---- */

/* Stands at the draft with which the unfinished line of a pipe begins: 1; 0 when there is none. */
static int find_draft(struct joblog_reader *r, unsigned pipe, struct err *e)
{
	bool last = true;
	uint64_t end;
	int rc;

	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, e) < 0)
		return -1;
	end = r->frame;
	while ((rc = step_back(r, e)) > 0 && end - r->frame <= DRAFT_REACH) {
		if (last && !(r->f.open >> pipe & 1))
			return 0;
		last = false;
		r->at = 0;
		if (r->f.draft && r->f.pipe == pipe && r->f.begins)
			return 1;
	}
	return rc < 0 ? -1 : 0;
}

int joblog_unfinished(struct joblog_reader *r, unsigned pipe, struct buf *ret, struct err *e)
{
	int rc = find_draft(r, pipe, e);

	buf_reset(ret);
	if (rc <= 0)
		return rc;
	stand_at(r, r->frame);
	while ((rc = load(r, false, e)) > 0) {
		if (r->f.draft && r->f.pipe == pipe && ret->n + r->f.length <= JOBLOG_DRAFT_MAX)
			buf_add(ret, r->body, r->f.length);
		stand_at(r, behind(r));
	}
	return rc;
}
