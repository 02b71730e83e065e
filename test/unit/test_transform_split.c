/* Every format, with the object shown up to every byte first.  SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>

#include "base/hash.h"
#include "harness.h"
#include "transform/split.h"

enum { LIMIT = 64 };

static void add_recordio(struct buf *b, struct str data, uint32_t flag)
{
	uint32_t head[2] = { htole32(0xced7230a), htole32(flag << 29 | (uint32_t)data.n) };

	buf_add(b, head, sizeof(head));
	buf_str(b, data);
	buf_add(b, "\0\0\0", (4 - data.n % 4) % 4);
}

static uint32_t masked(const void *p, size_t n)
{
	uint32_t c = crc32c_add(0, p, n);

	return htole32(((c >> 15) | (c << 17)) + 0xa282ead8);
}

static void add_tfrecord(struct buf *b, struct str data)
{
	uint64_t n = htole64(data.n);

	buf_add(b, &n, 8);
	buf_add(b, &(uint32_t){ masked(&n, 8) }, 4);
	buf_str(b, data);
	buf_add(b, &(uint32_t){ masked(data.p, data.n) }, 4);
}

/* Requests as "[records:bytes]", the payloads of single ones in full. Shows `first` bytes, then one more at a time when
 * more are asked for. */
static char *split_all(enum split_type type, bool single, size_t limit, struct str object, size_t first)
{
	struct splitter s = { .type = type, .single = single, .limit = limit };
	_cleanup_buf_ struct buf scratch = { 0 };
	struct buf out = { 0 };
	size_t n = first;
	struct err e = { 0 };
	char text[4096];

	buf_init(&out);
	for (;;) {
		struct split_take t = { 0 };
		uint64_t at = s.at;
		bool end = n >= object.n;
		struct str shown = { object.p + at, (end ? object.n : n) - (size_t)at };
		int rc = split_next(&s, shown, end, &t, NULL, &e);

		if (rc < 0) {
			buf_f(&out, "!%s", err_text(&e, text, sizeof(text)));
			break;
		}
		if (rc == 0 && end)
			break;
		if (rc == 0) {
			CHECK(shown.n < split_window(&s));
			n++;
			continue;
		}
		CHECK(t.bytes > 0 && t.bytes <= shown.n && s.at == at + t.bytes);
		if (n < s.at)
			n = (size_t)s.at;
		if (single) {
			struct str p = split_payload(type, (struct str){ shown.p, t.bytes }, &scratch);

			CHECK_INT(t.records, 1);
			buf_f(&out, "[" PRIstr "]", ARGstr(p));
		} else {
			CHECK(t.bytes <= limit);
			buf_f(&out, "[%zu:%zu]", t.records, t.bytes);
		}
	}
	return buf_take(&out);
}

/* The same at every boundary. Requests of many may be smaller when less is shown, so those are not compared. */
static void check_split(enum split_type type, struct str object, size_t limit, const char *want_single,
                        const char *want_multi)
{
	for (size_t first = 0; first <= object.n; first++) {
		_cleanup_free_ char *single = split_all(type, true, limit, object, first);
		_cleanup_free_ char *multi = split_all(type, false, limit, object, first);

		CHECK_STR(single, want_single);
		CHECK_STR(multi, want_multi);
	}
}

TEST(lines_with_and_without_an_end)
{
	check_split(SPLIT_LINE, STR(""), LIMIT, "", "");
	check_split(SPLIT_LINE, STR("a"), LIMIT, "[a]", "[1:1]");
	check_split(SPLIT_LINE, STR("a\n"), LIMIT, "[a\n]", "[1:2]");
	check_split(SPLIT_LINE, STR("a\r\nbc\r\nd"), LIMIT, "[a\r\n][bc\r\n][d]", "[3:8]");
	check_split(SPLIT_LINE, STR("\n\nx\n\n"), LIMIT, "[\n][\n][x\n][\n]", "[4:5]");
}

TEST(lines_fill_requests_up_to_the_limit)
{
	check_split(SPLIT_LINE, STR("1234\n6789\nbcde\nghi"), 10, "[1234\n][6789\n][bcde\n][ghi]", "[2:10][2:8]");
	check_split(SPLIT_LINE, STR("1234\n6789\nbcde\nghi"), 9, "[1234\n][6789\n][bcde\n][ghi]",
	            "[1:5][1:5][2:8]"); /* the last one has no line feed */
	check_split(SPLIT_LINE, STR("1234\n678\n"), 9, "[1234\n][678\n]", "[2:9]");
}

TEST(a_line_that_is_too_large_is_named)
{
#define WHY "!record 2 at byte 2 is larger than the 4 bytes that a request may have"
	check_split(SPLIT_LINE, STR("a\nbcdef\n"), 4, "[a\n]" WHY, "[1:2]" WHY);
	check_split(SPLIT_LINE, STR("a\nbcdef"), 4, "[a\n]" WHY, "[1:2]" WHY);
	check_split(SPLIT_LINE, STR("a\nbcd\n"), 4, "[a\n][bcd\n]", "[1:2][1:4]");
}

TEST(none_is_one_record)
{
	check_split(SPLIT_NONE, STR(""), LIMIT, "", "");
	check_split(SPLIT_NONE, STR("a\nb"), 3, "[a\nb]", "[1:3]");
	check_split(SPLIT_NONE, STR("a\nbc"), 3,
	            "!record 1 at byte 0 is larger than the 3 bytes that a request may have",
	            "!record 1 at byte 0 is larger than the 3 bytes that a request may have");
}

TEST(recordio_with_padding_and_parts)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_recordio(&b, STR("abcde"), 0); /* 16 bytes */
	add_recordio(&b, STR(""), 0);      /* 8 */
	add_recordio(&b, STR("abcd"), 1);  /* 12 */
	add_recordio(&b, STR("ef"), 2);    /* 12 */
	add_recordio(&b, STR("g"), 3);     /* 12 */
	check_split(SPLIT_RECORDIO, buf_view(&b), LIMIT,
	            "[abcde][][abcd\x0a\x23\xd7\xce"
	            "ef\x0a\x23\xd7\xce"
	            "g]",
	            "[3:60]");
	check_split(SPLIT_RECORDIO, buf_view(&b), 40,
	            "[abcde][][abcd\x0a\x23\xd7\xce"
	            "ef\x0a\x23\xd7\xce"
	            "g]",
	            "[2:24][1:36]");
}

TEST(recordio_that_is_none)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_recordio(&b, STR("abcd"), 0);
	check_split(SPLIT_RECORDIO, (struct str){ b.p, 11 }, LIMIT,
	            "!record 1 at byte 0 is cut short: the object ends in it",
	            "!record 1 at byte 0 is cut short: the object ends in it");
	buf_z(&b, "what is this?");
	check_split(SPLIT_RECORDIO, buf_view(&b), LIMIT,
	            "[abcd]!record 2 at byte 12 does not begin with RecordIO's magic number",
	            "[1:12]!record 2 at byte 12 does not begin with RecordIO's magic number");
	buf_reset(&b);
	add_recordio(&b, STR("abcd"), 3);
	check_split(SPLIT_RECORDIO, buf_view(&b), LIMIT,
	            "!record 1 at byte 0 has a part where RecordIO allows none such",
	            "!record 1 at byte 0 has a part where RecordIO allows none such");
	buf_reset(&b);
	add_recordio(&b, STR("abcdefgh"), 0);
	check_split(SPLIT_RECORDIO, buf_view(&b), 8, "[abcdefgh]",
	            "!record 1 at byte 0 is larger than the 8 bytes that a request may have");
}

TEST(tfrecords_and_their_checksums)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_tfrecord(&b, STR("abc")); /* 19 bytes */
	add_tfrecord(&b, STR(""));    /* 16 */
	add_tfrecord(&b, STR("de"));  /* 18 */
	check_split(SPLIT_TFRECORD, buf_view(&b), LIMIT, "[abc][][de]", "[3:53]");
	check_split(SPLIT_TFRECORD, buf_view(&b), 35, "[abc][][de]", "[2:35][1:18]");
	check_split(SPLIT_TFRECORD, (struct str){ b.p, 52 }, LIMIT,
	            "[abc][]!record 3 at byte 35 is cut short: the object ends in it",
	            "[2:35]!record 3 at byte 35 is cut short: the object ends in it");
	b.p[12] ^= 1;
	check_split(SPLIT_TFRECORD, buf_view(&b), LIMIT,
	            "!record 1 at byte 0 has data whose CRC32C is wrong: it is damaged",
	            "!record 1 at byte 0 has data whose CRC32C is wrong: it is damaged");
	b.p[12] ^= 1;
	b.p[19] ^= 1;
	check_split(SPLIT_TFRECORD, buf_view(&b), LIMIT,
	            "[abc]!record 2 at byte 19 has a length whose CRC32C is wrong: it is no TFRecord, or damaged",
	            "[1:19]!record 2 at byte 19 has a length whose CRC32C is wrong: it is no TFRecord, or damaged");
}

TEST(the_vectors_of_the_contract) /* 14.1 */
{
	check_split(SPLIT_TFRECORD, STR("\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3ehello\xbb\x1f\x1c\x19"), LIMIT, "[hello]",
	            "[1:21]");
	check_split(SPLIT_RECORDIO, STR("\x0a\x23\xd7\xce\x05\0\0\0hello\0\0\0"), LIMIT, "[hello]", "[1:16]");
}

TEST(names_of_split_types)
{
	enum split_type t = SPLIT_NONE;

	CHECK(split_from_name(STR("TFRecord"), &t) && t == SPLIT_TFRECORD);
	CHECK(split_from_name(STR(""), &t) && t == SPLIT_NONE);
	CHECK(!split_from_name(STR("line"), &t));
}

TEST(line_feeds_are_counted)
{
	char s[5000];

	for (size_t n = 0; n < sizeof(s); n += n < 100 ? 1 : 37) {
		size_t want = 0;

		for (size_t i = 0; i < n; i++) {
			s[i] = (char[]){ '\n', 'a', (char)0x8a, '\n', '\v', '\t', '\0' }[(i * 7 + n) % 7];
			want += s[i] == '\n';
		}
		CHECK_INT(split_count_lines((struct str){ s, n }), want);
		memset(s, '\n', n);
		CHECK_INT(split_count_lines((struct str){ s, n }), n);
	}
}
