/* What one epoch consists of: order, shapes, and what is wrong with the data (contract 2.5
 * to 2.7, 2.10, 2.11, 3.3, 14.1). SPDX-License-Identifier: Apache-2.0 */
#include <zlib.h>

#include "feed/inflate.h"
#include "feed/recordio.h"
#include "feed_house.h"

/* ---- an independent reader of RecordIO, by contract 2.7 alone ---- */

struct records {
	struct str in;
	struct buf record;
};

static uint32_t word(const struct str *s)
{
	const unsigned char *p = (const unsigned char *)s->p;

	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* 1: r->record; 0: end; -1: not RecordIO. */
static int next_record(struct records *r)
{
	uint32_t kind, n;

	buf_reset(&r->record);
	if (!r->in.n)
		return 0;
	do {
		if (r->in.n < 8 || memcmp(r->in.p, "\x0a\x23\xd7\xce", 4) != 0)
			return -1;
		r->in.p += 4;
		kind = word(&r->in) >> 29;
		n = word(&r->in) & 0x1fffffff;
		r->in.p += 4;
		r->in.n -= 8;
		if ((n + 3) / 4 * 4 > r->in.n || kind > 3)
			return -1;
		buf_add(&r->record, r->in.p, n);
		for (uint32_t i = n; i % 4; i++)
			if (r->in.p[i])
				return -1;
		r->in.p += (n + 3) / 4 * 4;
		r->in.n -= (n + 3) / 4 * 4;
	} while (kind == 1 || kind == 2);
	return 1;
}

static void check_records(struct str got, const struct str *want, size_t count)
{
	struct records r = { .in = got };

	for (size_t i = 0; i < count; i++) {
		CHECK_INT(next_record(&r), 1);
		CHECK_BYTES(buf_view(&r.record), want[i]);
	}
	CHECK_INT(next_record(&r), 0);
	buf_fini(&r.record);
}

/* ---- gzip, by zlib ---- */

static void add_gzip(struct buf *to, struct str bytes)
{
	z_stream z = { 0 };

	must(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	buf_need(to, deflateBound(&z, bytes.n));
	z.next_in = (Bytef *)bytes.p;
	z.avail_in = (uInt)bytes.n;
	z.next_out = (Bytef *)to->p + to->n;
	z.avail_out = (uInt)(to->cap - to->n);
	must(deflate(&z, Z_FINISH) == Z_STREAM_END);
	to->n += z.total_out;
	deflateEnd(&z);
}

static void run(struct house *h, struct str want)
{
	house_start(h);
	house_ready(h);
	house_check_epoch(h, 0, want);
	house_check_epoch(h, 1, want);
	CHECK_INT(house_end(h, NULL, NULL), 0);
	house_close(h);
}

/* ---- records ---- */

TEST(feed_record_bytes)
{
	struct house h;

	house_open(&h);
	h.order.record_io = true;
	house_add(&h, STR("hello"));
	run(&h, STR("\x0a\x23\xd7\xce\x05\x00\x00\x00hello\x00\x00\x00"));
}

TEST(feed_records_of_all_lengths)
{
	struct house h;
	struct str want[70];
	struct buf got;

	house_open(&h);
	h.order.record_io = true;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		size_t n = i < 40 ? i : i * 1000 + i % 4;
		_cleanup_free_ char *bytes = xcalloc(1, n + 1);

		memset(bytes, (int)('a' + i % 26), n);
		if (i == 50)
			memcpy(bytes, "\x0a\x23\xd7\xce", 4); /* the magic number within a record is no frame */
		house_add(&h, (struct str){ bytes, n });
		want[i].n = n;
	}
	for (size_t i = 0, at = 0; i < ARRAY_LEN(want); at += want[i++].n)
		want[i].p = h.all.p + at;
	house_start(&h);
	house_ready(&h);
	got = house_epoch(&h, 0);
	check_records(buf_view(&got), want, ARRAY_LEN(want));
	buf_fini(&got);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_record_pieces)
{
	unsigned char head[RECORD_HEAD];
	unsigned pad;
	const uint64_t most = (1u << 29) - 1;

	CHECK_INT(record_piece(0, 0, head, &pad), 0);
	CHECK_INT(head[7] >> 5, 0);
	CHECK_INT(record_piece(most, 0, head, &pad), most);
	CHECK_INT(head[7] >> 5, 0);
	CHECK_INT(pad, 1);
	CHECK_INT(record_piece(most + 1, 0, head, &pad), most - 3);
	CHECK_INT(head[7] >> 5, 1);
	CHECK_INT(pad, 0);
	CHECK_INT(record_piece(most + 1, most - 3, head, &pad), 4);
	CHECK_INT(head[7] >> 5, 3);
	CHECK_INT(record_piece(3 * most, most - 3, head, &pad), most - 3);
	CHECK_INT(head[7] >> 5, 2);
	CHECK_INT(record_piece(2 * (most - 3), most - 3, head, &pad), most - 3);
	CHECK_INT(head[7] >> 5, 3);
}

/* A sparse object just too large for one piece, read frame by frame. */
TEST(feed_record_of_more_than_2_to_29)
{
	struct house h;
	struct list_entry o;
	_cleanup_free_ char *bytes = xrealloc(NULL, 1 << 20), *path = NULL;
	unsigned char head[8];
	const uint64_t size = (1u << 29) + 5;
	uint64_t got = 0;
	size_t n;
	int fd;

	house_open(&h);
	h.order.record_io = true;
	o = house_store(&h, STR(""));
	path = strf("%s/objects/00/0000000000", test_tmpdir());
	must(truncate(path, (off_t)size) == 0);
	o.size = size;
	CHECK_OK(list_write(h.list, &o, e));
	house_start(&h);
	house_ready(&h);
	fd = house_fifo(&h, 0, 0);
	CHECK_OK(fd_read_full(fd, head, 8, &n, e));
	CHECK(memcmp(head, "\x0a\x23\xd7\xce\xfc\xff\xff\x3f", 8) == 0);
	while (got < (1u << 29) - 4) {
		uint64_t left = (1u << 29) - 4 - got;

		CHECK_OK(fd_read_full(fd, bytes, left < 1 << 20 ? left : 1 << 20, &n, e));
		got += n;
		if (!n)
			break;
	}
	CHECK_OK(fd_read_full(fd, bytes, 100, &n, e));
	CHECK_BYTES(((struct str){ bytes, n }), STR("\x0a\x23\xd7\xce\x09\x00\x00\x60\0\0\0\0\0\0\0\0\0\0\0\0"));
	close(fd);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

/* ---- augmented manifests ---- */

static void add_line(struct house *h, struct list_part *parts, size_t count)
{
	CHECK_OK(list_write_line(h->list, parts, count, e));
}

TEST(feed_lines_with_parts)
{
	for (int record_io = 0; record_io < 2; record_io++) {
		struct house h;
		struct list_part parts[3] = { { 0 },
			                      { .literal = true, .bytes = STR("1") },
			                      { .literal = true, .bytes = STR("") } };

		house_open(&h);
		h.order.record_io = record_io;
		h.order.lines = true;
		parts[0].object = house_store(&h, STR("image one"));
		parts[0].object.bucket = STR("other");
		add_line(&h, parts, 3);
		parts[0].object = house_store(&h, STR("image 2!"));
		parts[0].object.bucket = STR("b");
		parts[2].bytes = STR("{\"a\":[1]}");
		add_line(&h, parts, 3);
		run(&h, record_io ? STR("\x0a\x23\xd7\xce\x09\0\0\0image one\0\0\0\x0a\x23\xd7\xce\x01\0\0\0"
		                        "1\0\0\0\x0a\x23\xd7\xce\0\0\0\0"
		                        "\x0a\x23\xd7\xce\x08\0\0\0image 2!\x0a\x23\xd7\xce\x01\0\0\0"
		                        "1\0\0\0\x0a\x23\xd7\xce\x09\0\0\0{\"a\":[1]}\0\0\0")
		                  : STR("image one1image 2!1{\"a\":[1]}"));
	}
}

TEST(feed_lines_with_gzip)
{
	struct house h;
	struct list_part parts[2] = { { 0 }, { .literal = true, .bytes = STR("as it is") } };
	struct buf packed = { 0 };

	house_open(&h);
	h.order.record_io = h.order.lines = h.order.gzip = true;
	add_gzip(&packed, STR("packed"));
	parts[0].object = house_store(&h, buf_view(&packed));
	parts[0].object.bucket = STR("b");
	add_line(&h, parts, 2);
	buf_fini(&packed);
	run(&h, STR("\x0a\x23\xd7\xce\x06\0\0\0packed\0\0\x0a\x23\xd7\xce\x08\0\0\0as it is"));
}

/* ---- order ---- */

TEST(feed_order_of_epochs_and_shares)
{
	enum { UNITS = 100, SHARES = 3 };
	char seen[2][UNITS] = { { 0 } };
	struct buf first = { 0 };

	for (unsigned share = 0; share < SHARES; share++) {
		struct house h;

		house_open(&h);
		h.order.order = (struct unit_order){ true, 42, share, SHARES };
		for (unsigned char i = 0; i < UNITS; i++)
			house_add(&h, (struct str){ (char *)&i, 1 });
		house_start(&h);
		house_ready(&h);
		for (uint64_t epoch = 0; epoch < 2; epoch++) {
			struct buf got = house_epoch(&h, epoch);
			uint32_t v[UNITS], n = unit_order(&h.order.order, epoch, UNITS, v);

			CHECK_INT(got.n, n);
			for (size_t i = 0; i < got.n; i++) {
				CHECK_INT((unsigned char)got.p[i], v[i]);
				seen[epoch][(unsigned char)got.p[i]]++;
			}
			if (share == 0 && epoch == 0)
				buf_str(&first, buf_view(&got));
			else if (share == 0)
				CHECK(!str_eq(buf_view(&first), buf_view(&got))); /* shuffled anew */
			buf_fini(&got);
		}
		CHECK_INT(house_end(&h, NULL, NULL), 0);
		house_close(&h);
	}
	for (size_t i = 0; i < UNITS; i++)
		CHECK(seen[0][i] == 1 && seen[1][i] == 1); /* every unit once, on one host */
	buf_fini(&first);
}

/* ---- gzip ---- */

TEST(feed_gzip_members)
{
	for (int record_io = 0; record_io < 2; record_io++) {
		struct house h;
		struct buf all = { 0 }, packed = { 0 }, got;
		_cleanup_free_ char *big = xcalloc(1, 3 << 20);
		struct str want[4];

		house_open(&h);
		h.order.gzip = true;
		h.order.record_io = record_io;
		for (size_t i = 0; i < 3 << 20; i++)
			big[i] = (char)(i * i >> 7);
		add_gzip(&packed, STR("one "));
		add_gzip(&packed, STR(""));
		add_gzip(&packed, STR("two"));
		buf_add(&packed, "\0\0\0\0\0", 5); /* as tapes have it */
		house_add(&h, buf_view(&packed));
		buf_reset(&packed);
		add_gzip(&packed, (struct str){ big, 3 << 20 });
		add_gzip(&packed, (struct str){ big, 1000 });
		house_add(&h, buf_view(&packed));
		buf_reset(&packed);
		house_add(&h, STR(""));
		add_gzip(&packed, STR(""));
		house_add(&h, buf_view(&packed));
		buf_str(&all, STR("one two"));
		buf_add(&all, big, 3 << 20);
		buf_add(&all, big, 1000);
		house_start(&h);
		house_ready(&h);
		got = house_epoch(&h, 0);
		want[0] = (struct str){ all.p, 7 };
		want[1] = (struct str){ all.p + 7, (3 << 20) + 1000 };
		want[2] = want[3] = (struct str){ "", 0 };
		if (record_io)
			check_records(buf_view(&got), want, 4);
		else
			CHECK_BYTES(buf_view(&got), buf_view(&all));
		buf_fini(&got);
		buf_fini(&packed);
		buf_fini(&all);
		CHECK_INT(house_end(&h, NULL, NULL), 0);
		house_close(&h);
	}
}

/* More than memory may hold of it: the rest goes through a file. */
TEST(feed_gzip_record_that_is_spooled)
{
	enum { SIZE = 90 << 20 };
	struct house h;
	struct buf packed = { 0 }, got;
	_cleanup_free_ char *big = xcalloc(1, SIZE);
	struct str want = { big, SIZE };

	house_open(&h);
	h.order.gzip = h.order.record_io = true;
	for (size_t i = 0; i < SIZE; i += 1000)
		big[i] = (char)(i / 1000);
	add_gzip(&packed, want);
	house_add(&h, buf_view(&packed));
	house_start(&h);
	house_ready(&h);
	got = house_epoch(&h, 0);
	check_records(buf_view(&got), &want, 1);
	buf_fini(&got);
	buf_fini(&packed);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

static void check_refused(struct str object, bool record_io, const char *why)
{
	_cleanup_free_ char *want = strf("channel train, epoch 0: s3://b/p/00000001: %s", why);
	struct house h;
	struct buf ok = { 0 }, error = { 0 };
	int fd;

	house_open(&h);
	h.order.gzip = true;
	h.order.record_io = record_io;
	add_gzip(&ok, STR("well"));
	house_add(&h, buf_view(&ok));
	house_add(&h, object);
	house_start(&h);
	house_ready(&h);
	fd = house_fifo(&h, 0, 0);
	CHECK_INT(house_end(&h, NULL, &error), 1);
	CHECK_STR(error.p, want);
	close(fd);
	buf_fini(&ok);
	buf_fini(&error);
	house_close(&h);
}

TEST(feed_gzip_that_is_damaged)
{
	struct buf packed = { 0 };

	check_refused(STR("plain text"), false, "it is not compressed with gzip");
	add_gzip(&packed, STR("the quick brown fox jumps over the lazy dog"));
	check_refused((struct str){ packed.p, packed.n - 1 }, false, "its gzip data is cut short");
	check_refused((struct str){ packed.p, packed.n / 2 }, true, "its gzip data is cut short");
	check_refused((struct str){ packed.p, 1 }, true, "its gzip data is cut short");
	packed.p[packed.n - 6] ^= 1;
	check_refused(buf_view(&packed), false, "its gzip data is damaged: the checksum is wrong (member 1)");
	packed.p[packed.n - 6] ^= 1;
	packed.p[packed.n - 1] ^= 1;
	check_refused(buf_view(&packed), true, "its gzip data is damaged: the checksum is wrong (member 1)");
	packed.p[packed.n - 1] ^= 1;
	buf_str(&packed, STR("junk"));
	check_refused(buf_view(&packed), false, "there are bytes behind its gzip data that are no part of it");
	packed.n -= 4;
	add_gzip(&packed, STR("another"));
	packed.p[packed.n - 5] ^= 1;
	check_refused(buf_view(&packed), true, "its gzip data is damaged: the checksum is wrong (member 2)");
	packed.p[packed.n - 5] ^= 1;
	buf_add(&packed, "\0\0x", 3);
	check_refused(buf_view(&packed), false, "there are bytes behind its gzip data that are no part of it");
	buf_fini(&packed);
}

/* Members may end anywhere in what is fed: every split of the input gives the same. */
TEST(feed_inflate_in_pieces)
{
	struct buf packed = { 0 };
	_cleanup_(inflater_freep) struct inflater *z = inflater_new();

	add_gzip(&packed, STR("first member "));
	add_gzip(&packed, STR("second"));
	buf_add(&packed, "\0\0\0", 3);
	for (size_t step = 1; step <= packed.n; step++) {
		struct buf got = { 0 };

		inflater_reset(z);
		for (size_t at = 0; at < packed.n; at += step) {
			struct str out;
			struct err e = { 0 };
			int rc;

			inflater_feed(z, (struct str){ packed.p + at, at + step < packed.n ? step : packed.n - at });
			while ((rc = inflater_next(z, &out, &e)) > 0)
				buf_str(&got, out);
			CHECK_INT(rc, 0);
		}
		CHECK_OK(inflater_end(z, e));
		CHECK_BYTES(buf_view(&got), STR("first member second"));
		buf_fini(&got);
	}
	buf_fini(&packed);
}
