/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/split.h"

#include <endian.h>

#include "base/hash.h"
#include "feed/recordio.h"

enum { TFRECORD_HEAD = 12, TFRECORD_TAIL = 4, FRAME_MAX = TFRECORD_HEAD + TFRECORD_TAIL };

/* A record of RecordIO may come in several pieces, each with a frame of its own. */
enum { PIECES_MAX = 4096 };

static const char *const names[] = {
	[SPLIT_NONE] = "None", [SPLIT_LINE] = "Line", [SPLIT_RECORDIO] = "RecordIO", [SPLIT_TFRECORD] = "TFRecord"
};

bool split_from_name(struct str name, enum split_type *ret)
{
	if (!name.n)
		name = STR("None");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(name, names[i])) {
			*ret = (enum split_type)i;
			return true;
		}
	return false;
}

static uint32_t le32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t le64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t masked(uint32_t crc)
{
	return ((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8);
}

/* Where we are while looking at one record: `at` bytes behind the start of what is shown. */
struct look {
	const struct splitter *s;
	struct str left; /* from the record on */
	size_t at, records;
	bool end;
	bool too_large;
	struct err *e;
};

static int bad(const struct look *l, const char *what)
{
	return err_set(l->e, ERR_CLIENT, "record %llu at byte %llu %s",
	               (unsigned long long)(l->s->records + l->records + 1), (unsigned long long)(l->s->at + l->at),
	               what);
}

/* More bytes are needed: there are none, or they may be shown later. */
static int cut_short(const struct look *l)
{
	return l->end ? bad(l, "is cut short: the object ends in it") : 0;
}

static int too_large(struct look *l)
{
	l->too_large = true;
	return err_set(l->e, ERR_CLIENT,
	               "record %llu at byte %llu is larger than the %zu bytes that a request may have",
	               (unsigned long long)(l->s->records + l->records + 1), (unsigned long long)(l->s->at + l->at),
	               l->s->limit);
}

/* The functions of the types: 1: a record of *ret_wire bytes, *ret_size of which count against the limit; 0: needs
 * more; -1. They do not wait for a record of which they know that it is too large. */

static int look_none(struct look *l, size_t *ret_wire, size_t *ret_size)
{
	if (l->left.n > l->s->limit)
		return too_large(l);
	if (!l->end)
		return 0;
	*ret_wire = *ret_size = l->left.n;
	return 1;
}

static int look_line(struct look *l, size_t *ret_wire, size_t *ret_size)
{
	const char *lf = memchr(l->left.p, '\n', l->left.n);

	if (!lf && !l->end)
		return l->left.n > l->s->limit ? too_large(l) : 0;
	*ret_wire = *ret_size = lf ? (size_t)(lf - l->left.p) + 1 : l->left.n;
	return 1;
}

/* All pieces of a record. */
static int look_recordio(struct look *l, size_t *ret_wire, size_t *ret_size)
{
	size_t wire = 0, size = 0;
	unsigned part = 0;

	for (unsigned pieces = 0; pieces < PIECES_MAX; pieces++) {
		uint32_t word, n, flag;
		size_t padded;

		if (l->left.n - wire >= 4 && le32(l->left.p + wire) != RECORD_MAGIC)
			return bad(l, "does not begin with RecordIO's magic number");
		if (l->left.n - wire < RECORD_HEAD)
			return cut_short(l);
		word = le32(l->left.p + wire + 4);
		flag = word >> 29;
		n = word & 0x1fffffff;
		if (flag > 3 || (pieces == 0 ? flag == 2 || flag == 3 : flag == 0 || flag == 1))
			return bad(l, "has a part where RecordIO allows none such");
		padded = ((size_t)n + 3) & ~(size_t)3;
		size += n + (part && part != RECORD_PIECE ? 4 : 0);
		wire += RECORD_HEAD;
		if ((l->s->single ? size : wire + padded) > l->s->limit)
			return too_large(l);
		if (l->left.n - wire < padded)
			return cut_short(l);
		wire += padded;
		part = n;
		if (flag == 0 || flag == 3) {
			*ret_wire = wire;
			*ret_size = l->s->single ? size : wire;
			return 1;
		}
	}
	return bad(l, "has more parts than are looked at");
}

static int look_tfrecord(struct look *l, size_t *ret_wire, size_t *ret_size)
{
	uint64_t n;
	size_t wire;

	if (l->left.n < TFRECORD_HEAD)
		return cut_short(l);
	if (masked(crc32c_add(0, l->left.p, 8)) != le32(l->left.p + 8))
		return bad(l, "has a length whose CRC32C is wrong: it is no TFRecord, or damaged");
	n = le64(l->left.p);
	if (n > l->s->limit || (!l->s->single && n + FRAME_MAX > l->s->limit))
		return too_large(l);
	wire = (size_t)n + FRAME_MAX;
	if (l->left.n < wire)
		return cut_short(l);
	if (masked(crc32c_add(0, l->left.p + TFRECORD_HEAD, (size_t)n)) != le32(l->left.p + TFRECORD_HEAD + n))
		return bad(l, "has data whose CRC32C is wrong: it is damaged");
	*ret_wire = wire;
	*ret_size = l->s->single ? (size_t)n : wire;
	return 1;
}

static int (*const look_at[])(struct look *, size_t *, size_t *) = { [SPLIT_NONE] = look_none,
	                                                             [SPLIT_LINE] = look_line,
	                                                             [SPLIT_RECORDIO] = look_recordio,
	                                                             [SPLIT_TFRECORD] = look_tfrecord };

/* The head of a frame is looked at before it is known to be too large. */
size_t split_window(const struct splitter *s)
{
	bool parts = s->single && s->type == SPLIT_RECORDIO;

	return s->limit + 1 + (parts ? PIECES_MAX * (RECORD_HEAD + 3) : s->type >= SPLIT_RECORDIO ? FRAME_MAX : 0);
}

/* Many bytes at a time: each of a vector's lanes counts its own, for as long as it cannot overflow. */
typedef uint8_t lanes __attribute__((vector_size(16)));
enum { LANES = sizeof(lanes), BLOCK = 4 * LANES, BLOCKS_MAX = 255 };

static lanes load(const char *p)
{
	lanes v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static size_t sum_lanes(lanes v)
{
	size_t sum = 0;

	for (size_t i = 0; i < LANES; i++)
		sum += v[i];
	return sum;
}

/* s.n: a multiple of BLOCK, at most BLOCKS_MAX of them. */
static size_t count_blocks(struct str s)
{
	lanes a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	for (const char *p = s.p, *end = s.p + s.n; p < end; p += BLOCK) { /* a comparison that holds is -1 */
		a -= (lanes)(load(p) == '\n');
		b -= (lanes)(load(p + LANES) == '\n');
		c -= (lanes)(load(p + 2 * LANES) == '\n');
		d -= (lanes)(load(p + 3 * LANES) == '\n');
	}
	return sum_lanes(a) + sum_lanes(b) + sum_lanes(c) + sum_lanes(d);
}

size_t split_count_lines(struct str s)
{
	size_t lines = 0;

	while (s.n >= BLOCK) {
		size_t n = s.n < (size_t)BLOCKS_MAX * BLOCK ? s.n - s.n % BLOCK : (size_t)BLOCKS_MAX * BLOCK;

		lines += count_blocks((struct str){ s.p, n });
		s.p += n;
		s.n -= n;
	}
	for (size_t i = 0; i < s.n; i++)
		lines += s.p[i] == '\n';
	return lines;
}

/* As many whole lines as fit, without stopping at each. 1; 0: not even one, as far as can be seen. */
static int take_lines(const struct splitter *s, struct str shown, bool end, struct split_take *ret)
{
	size_t n = shown.n < s->limit ? shown.n : s->limit;
	const char *lf = n ? memrchr(shown.p, '\n', n) : NULL;

	if (end && n && n == shown.n) {
		*ret = (struct split_take){ n,
			                    split_count_lines((struct str){ shown.p, n }) + (shown.p[n - 1] != '\n') };
		return 1;
	}
	if (!lf)
		return 0;
	n = (size_t)(lf - shown.p) + 1;
	*ret = (struct split_take){ n, split_count_lines((struct str){ shown.p, n }) };
	return 1;
}

static void step(struct splitter *s, const struct split_take *t)
{
	s->at += t->bytes;
	s->records += t->records;
}

int split_next(struct splitter *s, struct str shown, bool end, struct split_take *ret, bool *ret_too_large,
               struct err *e)
{
	struct look l = { .s = s, .end = end, .e = e };
	struct split_take t = { 0 };
	struct err why = { 0 };
	size_t used = 0;
	int rc = 1;

	l.e = &why;
	if (!s->single && s->type == SPLIT_LINE && (end || shown.n > s->limit) && take_lines(s, shown, end, &t)) {
		step(s, &t);
		*ret = t;
		return 1;
	}
	while (t.bytes < shown.n && !(s->single && t.records)) {
		size_t wire = 0, size = 0;

		l.left = (struct str){ shown.p + t.bytes, shown.n - t.bytes };
		l.at = t.bytes;
		l.records = t.records;
		rc = look_at[s->type](&l, &wire, &size);
		if (rc <= 0)
			break;
		if (size > s->limit - used) {
			rc = used ? 1 : too_large(&l);
			break;
		}
		used += size;
		t.bytes += wire;
		t.records++;
	}
	/* What is behind may fit as well, once it is shown. */
	if (rc == 0 && !end && !s->single && shown.n < split_window(s))
		return 0;
	if (rc == 1 && !end && !s->single && t.bytes == shown.n && used < s->limit)
		return 0;
	if (t.records) {
		step(s, &t);
		*ret = t;
		return 1;
	}
	if (rc < 0) {
		if (ret_too_large)
			*ret_too_large = l.too_large;
		if (e)
			*e = why;
	}
	return rc < 0 ? -1 : 0;
}

static struct str join_pieces(struct str record, struct buf *scratch)
{
	uint32_t before = 0;

	buf_reset(scratch);
	while (record.n >= RECORD_HEAD) {
		uint32_t n = le32(record.p + 4) & 0x1fffffff;
		size_t wire = RECORD_HEAD + (((size_t)n + 3) & ~(size_t)3);

		must(wire <= record.n);
		/* A writer ends a part where the record has the magic number itself, and leaves that out; unless it
		 * ended because no more fitted into it. */
		if (before && before != RECORD_PIECE)
			buf_add(scratch, &(uint32_t){ htole32(RECORD_MAGIC) }, 4);
		buf_add(scratch, record.p + RECORD_HEAD, n);
		before = n;
		record.p += wire;
		record.n -= wire;
	}
	return buf_view(scratch);
}

struct str split_payload(enum split_type type, struct str record, struct buf *scratch)
{
	if (type == SPLIT_TFRECORD)
		return (struct str){ record.p + TFRECORD_HEAD, record.n - FRAME_MAX };
	if (type != SPLIT_RECORDIO)
		return record;
	if (le32(record.p + 4) >> 29 == 0)
		return (struct str){ record.p + RECORD_HEAD, le32(record.p + 4) & 0x1fffffff };
	return join_pieces(record, scratch);
}
