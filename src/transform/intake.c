/* intake.c - objects into requests.  SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "transform/inside.h"

enum { PIECE = 1 << 20, FIRST_PIECE = 256 << 10, LOOK = 16 << 10 };

int intake_open(struct deal *d, struct err *e)
{
	buf_init(&d->intake.bytes);
	return list_open_fd(d->o->work->list, &d->intake.list, e);
}

void intake_close(struct deal *d)
{
	list_close(d->intake.list);
	reader_close(d->intake.reader);
	buf_fini(&d->intake.bytes);
}

/* Everything in one request, of any length. Filters look at records, and those have to be in memory. */
static bool streams(const struct deal *d)
{
	const struct work *w = d->o->work;

	return !d->o->terms.payload_mb && !w->process && (!d->o->terms.single || w->split == SPLIT_NONE);
}

static size_t limit(const struct deal *d)
{
	unsigned mb = d->o->terms.payload_mb;

	if (mb)
		return (size_t)mb << 20;
	return d->o->terms.single || d->o->work->split == SPLIT_NONE ? UNBOUNDED_RECORD : (size_t)MAX_PAYLOAD_MB << 20;
}

static struct object *object_new(const struct deal *d, const struct list_entry *entry, uint64_t number)
{
	struct object *o = xcalloc(1, sizeof(*o));
	struct str bucket = entry->bucket.n ? entry->bucket : str_of(d->o->work->bucket);

	o->number = number;
	o->fd = -EBADF;
	o->file = -EBADF;
	o->key = (struct str){ str_dup(entry->key), entry->key.n };
	o->bucket = (struct str){ str_dup(bucket), bucket.n };
	o->name = strf(PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(entry->key));
	return o;
}

/* Lines of a file are sent from there, and only looked at where a request has to end. */
static int part_file(const struct deal *d)
{
	const struct work *w = d->o->work;

	if (w->split != SPLIT_LINE || d->o->terms.single || w->process)
		return -EBADF;
	return reader_file(d->intake.reader);
}

/* Begins with the next object of the list. 1; 0: there is none. */
static int next_object(struct deal *d, struct err *e)
{
	const struct work *w = d->o->work;
	struct intake *in = &d->intake;
	struct list_entry entry;
	struct err why = { 0 };
	int rc, file;

	do { /* what a console makes for a folder is no input */
		rc = list_next(in->list, &entry, e);
		if (rc <= 0)
			return rc;
		in->numbers++;
	} while ((in->numbers - 1) % w->share_count != w->share_number ||
	         (!entry.size && str_ends(entry.key, STR("/"))));
	in->object = object_new(d, &entry, in->numbers - 1);
	in->splitter = (struct splitter){ .type = w->split,
		                          .single = d->o->terms.single || w->split == SPLIT_NONE,
		                          .limit = limit(d) };
	in->start = 0;
	in->size = entry.size;
	in->ended = entry.size == 0;
	buf_reset(&in->bytes);
	if (reader_open(d->o->from, &entry, &in->reader, &why) < 0)
		deal_fail(d, in->object, &why, "");
	else if ((file = part_file(d)) >= 0 && (in->object->file = fcntl(file, F_DUPFD_CLOEXEC, 3)) < 0) {
		(void)err_sys(&why, "opening the object's file");
		deal_fail(d, in->object, &why, "");
	}
	return 1;
}

static struct str shown(const struct intake *in)
{
	return (struct str){ in->bytes.p + in->start, in->bytes.n - in->start };
}

/* Reads until there are `want` bytes that are not taken, or the object ends. */
static int fill(struct intake *in, size_t want, struct err *e)
{
	if (in->start) {
		memmove(in->bytes.p, in->bytes.p + in->start, in->bytes.n - in->start);
		in->bytes.n -= in->start;
		in->start = 0;
	}
	while (in->bytes.n < want && !in->ended) {
		size_t n = want - in->bytes.n < PIECE ? want - in->bytes.n : PIECE;

		buf_need(&in->bytes, n);
		if (reader_read(in->reader, in->bytes.p + in->bytes.n, n, &n, e) < 0)
			return -1;
		in->ended = n == 0;
		in->bytes.n += n;
	}
	return 0;
}

/* Of single records several are read at once; a request of many is filled. */
static size_t wanted(const struct intake *in)
{
	size_t most = split_window(&in->splitter), have = in->bytes.n - in->start, want = FIRST_PIECE;

	if (!in->splitter.single)
		return most;
	while (want <= have)
		want *= 2;
	return want < most ? want : most;
}

/* 1: *ret are the next records; 0: the object is at its end. */
static int next_records(struct deal *d, struct split_take *ret, struct err *e)
{
	struct intake *in = &d->intake;

	for (;;) {
		size_t have = in->bytes.n - in->start;
		int rc = split_next(&in->splitter, shown(in), in->ended, ret, NULL, e);

		if (rc != 0 || in->ended)
			return rc;
		if (fill(in, wanted(in), e) < 0)
			return -1;
		must(in->ended || in->bytes.n - in->start > have);
	}
}

/* The bytes of the records become the task's; what is behind them is all that is copied. */
static void take(struct intake *in, const struct split_take *s, struct task *t)
{
	struct buf rest = t->payload;

	buf_reset(&rest);
	buf_add(&rest, in->bytes.p + in->start + s->bytes, in->bytes.n - in->start - s->bytes);
	in->bytes.n = in->start + s->bytes;
	t->payload = in->bytes;
	in->bytes = rest;
	in->start = 0;
}

static void take_single(struct intake *in, const struct split_take *s, struct task *t)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct str record = { in->bytes.p + in->start, s->bytes };

	if (in->splitter.type == SPLIT_NONE) {
		take(in, s, t);
		return;
	}
	buf_reset(&t->payload);
	buf_str(&t->payload, split_payload(in->splitter.type, record, &scratch));
	in->start += s->bytes;
}

/* Where the last of the n bytes at `at` is a line feed; 0: there is none. */
static int last_line(int fd, uint64_t at, uint64_t n, uint64_t *ret, struct err *e)
{
	char look[LOOK];

	while (n) {
		size_t size = n < LOOK ? (size_t)n : LOOK;
		const char *lf;

		if (reader_part(fd, at + n - size, look, size, e) < 0)
			return -1;
		lf = memrchr(look, '\n', size);
		if (lf) {
			*ret = n - size + (size_t)(lf - look) + 1;
			return 0;
		}
		n -= size;
	}
	*ret = 0;
	return 0;
}

/* As next_records(), and the task has them: 1. A line that is too large is left to next_records(): 2. */
static int next_part(struct intake *in, struct task *t, struct err *e)
{
	int fd = in->object->file;
	uint64_t left = in->size - in->splitter.at, n = left;
	char last;

	if (!left)
		return 0;
	if (left > in->splitter.limit) {
		if (last_line(fd, in->splitter.at, in->splitter.limit, &n, e) < 0)
			return -1;
		if (!n)
			return 2;
	} else if (reader_part(fd, in->size - 1, &last, 1, e) < 0) {
		return -1;
	} else {
		t->open = last != '\n';
	}
	t->part = n;
	in->splitter.at += n;
	return 1;
}

static int take_next(struct deal *d, struct task *t, struct err *e)
{
	struct intake *in = &d->intake;
	struct split_take s;
	int rc;

	if (in->object->file >= 0) {
		rc = next_part(in, t, e);
		if (rc != 2)
			return rc;
		if (reader_count_lines(in->object->file, 0, in->splitter.at, &in->splitter.records, e) < 0)
			return -1;
		reader_seek(in->reader, in->splitter.at);
	}
	rc = next_records(d, &s, e);
	if (rc <= 0)
		return rc;
	t->records = s.records;
	if (in->splitter.single)
		take_single(in, &s, t);
	else
		take(in, &s, t);
	return 1;
}

static void end_object(struct intake *in, struct task *t)
{
	t->end = true;
	t->object = take_ptr(in->object);
	reader_close(in->reader);
	in->reader = NULL;
}

int intake_next(struct deal *d, struct task *t, struct err *e)
{
	struct intake *in = &d->intake;
	struct err why = { 0 };
	int rc = 1;

	if (!in->object)
		rc = next_object(d, e);
	if (rc <= 0)
		return rc;
	t->object = in->object;
	t->at = in->splitter.at;
	t->first = in->splitter.records;
	if (deal_failed(d, in->object) || (streams(d) && in->ended)) {
		end_object(in, t);
		return 1;
	}
	if (streams(d)) {
		t->stream = take_ptr(in->reader);
		in->ended = true;
		return 1;
	}
	rc = take_next(d, t, &why);
	if (rc < 0)
		deal_fail(d, in->object, &why, "");
	if (rc <= 0)
		end_object(in, t);
	return 1;
}
