/* Manifests, in pieces of every size. SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "jobdir/jsontext.h"
#include "jobdir/manifest.h"

#include <stdlib.h>

static const char *const attributes[] = { "source-ref", "label" };

static int note(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct buf *out = arg;

	(void)e;
	buf_f(out, "%llu:%llu", (unsigned long long)u->number, (unsigned long long)u->line);
	for (size_t i = 0; i < u->count; i++) {
		const struct manifest_part *p = &u->parts[i];

		if (p->literal)
			buf_f(out, " =" PRIstr, ARGstr(p->bytes));
		else
			buf_f(out, " @" PRIstr "|" PRIstr, ARGstr(p->bucket), ARGstr(p->key));
	}
	buf_c(out, '\n');
	return 0;
}

/* The units as text, or the refusal; the same in pieces of every size. */
static const char *read_in(struct str in, size_t attribute_count, size_t step)
{
	static struct buf out;
	struct manifest_options o = { .uri = "s3://m/x",
		                      .attributes = attributes,
		                      .attribute_count = attribute_count,
		                      .unit = note,
		                      .arg = &out };
	struct manifest *m = manifest_new(&o);
	struct err e = { 0 };
	int rc = 0;

	buf_reset(&out);
	for (size_t at = 0; rc == 0 && at < in.n; at += step)
		rc = manifest_feed(m, (struct str){ in.p + at, in.n - at < step ? in.n - at : step }, &e);
	if (rc == 0)
		rc = manifest_end(m, &e);
	if (rc < 0) {
		struct str text = str_of(e.frame[0]);

		CHECK_INT(e.kind, ERR_CLIENT);
		CHECK_INT(e.depth, 1);
		if (!str_skip(&text, STR("Data download failed:In the manifest s3://m/x, ")))
			CHECK(str_skip(&text, STR("Data download failed:The manifest s3://m/x ")));
		buf_reset(&out);
		buf_f(&out, "! " PRIstr, ARGstr(text));
	} else if (!attribute_count) {
		struct str bucket, prefix;

		manifest_place(m, &bucket, &prefix);
		buf_f(&out, PRIstr "|" PRIstr, ARGstr(bucket), ARGstr(prefix));
	}
	manifest_free(m);
	return out.p;
}

static const char *read_all(const char *text, size_t attribute_count)
{
	_cleanup_free_ char *whole = xstrdup(read_in(str_of(text), attribute_count, 1 << 20));

	for (size_t step = 1; step < 8; step++)
		CHECK_STR(read_in(str_of(text), attribute_count, step), whole);
	return read_in(str_of(text), attribute_count, 1 << 20);
}

#define LIST(text) read_all(text, 0)
#define LINES(text) read_all(text, 2)

TEST(a_manifest_is_its_prefix_and_the_rest_of_each_key)
{
	CHECK_STR(LIST("[{\"prefix\": \"s3://b/d/\"},\n\"x\",\n\"y/z.csv\"\n]\n"),
	          "1:2 @b|d/x\n2:3 @b|d/y/z.csv\nb|d/");
	CHECK_STR(LIST("[{\"prefix\":\"s3://b/da\"},\"ta/1\"]"), "1:1 @b|data/1\nb|da");
	CHECK_STR(LIST("\xef\xbb\xbf [ { \"prefix\" : \"s3:\\/\\/b/\" } , \"\\u00e4 \\ud83d\\ude00\\\"\" ] \r\n"),
	          "1:1 @b|\xc3\xa4 \xf0\x9f\x98\x80\"\nb|");
	CHECK_STR(LIST("[{\"pre\\u0066ix\":\"s3://b/}{\\\"\"},\"x\"]"), "1:1 @b|}{\"x\nb|}{\"");
	CHECK_STR(LIST("[{\"prefix\":\"s3://b\"},\"/x\",\"/y\"]"), "1:1 @b|x\n2:1 @b|y\nb|");
	/* the same object twice is twice in the channel */
	CHECK_STR(LIST("[{\"prefix\":\"s3://b/\"},\"x\",\"x\"]"), "1:1 @b|x\n2:1 @b|x\nb|");
}

TEST(a_bad_manifest_is_refused_by_entry_and_line)
{
	static const char *const cases[][2] = {
		{ "", "! is not JSON: it ends in line 1, before its array" },
		{ "\xef\xbb", "! is not JSON: it ends in line 1, before its array" },
		{ "{\"prefix\":\"s3://b/\"}", "! is not a JSON array; it is to begin with [ {\"prefix\": "
		                              "\"s3://bucket/some/prefix/\"}, ..." },
		{ "[]", "! is empty; its first element is to be {\"prefix\": \"s3://bucket/some/prefix/\"}" },
		{ "[{\"prefix\":\"s3://b/\"}]", "! names no objects behind its prefix; there is nothing to train on" },
		{ "[\n\"a\"]", "! its first element (line 2) is to be {\"prefix\": \"s3://bucket/some/prefix/\"}" },
		{ "[{\"prefix\":7},\"a\"]",
		  "! its first element (line 1) is to be {\"prefix\": \"s3://bucket/some/prefix/\"}" },
		{ "[{\"prefix\":\"\"},\"a\"]", "! its first element (line 1) is to be {\"prefix\": "
		                               "\"s3://bucket/some/prefix/\"}, not a prefix of \"\"" },
		{ "[{\"prefix\":\"s3:///k\"},\"a\"]", "! its first element (line 1) is to be {\"prefix\": "
		                                      "\"s3://bucket/some/prefix/\"}, not a prefix of \"s3:///k\"" },
		{ "[{\"prefix\":\"s3://b/\",\"x\":1},\"a\"]",
		  "! its first element (line 1) is to be {\"prefix\": \"s3://bucket/some/prefix/\"}" },
		{ "[{\"prefix\":\"s3://b/\"},\n\"a\",\n3]",
		  "! entry 2 (line 3) is no string; behind the prefix there are strings only" },
		{ "[{\"prefix\":\"s3://b/\"},\"a\",]", /* a comma too many */
		  "! entry 2 (line 1) is no string; behind the prefix there are strings only" },
		{ "[{\"prefix\":\"s3://b/\"},\"a\" \"b\"]",
		  "! is not JSON: in line 1 there is neither ',' nor ']' behind an entry" },
		{ "[{\"prefix\":\"s3://b/\"}\n\"a\"]",
		  "! is not JSON: in line 2 there is neither ',' nor ']' behind the prefix" },
		{ "[{\"prefix\":\"s3://b/\"},\"a\"", "! is not JSON: it ends in line 1, within its array" },
		{ "[{\"prefix\":\"s3://b/\"},\"a", "! is not JSON: it ends in line 1, within its array" },
		{ "[{\"prefix\":\"s3://b/\"},\"a\"]\n[", "! goes on behind its array, in line 2" },
		{ "[{\"prefix\":\"s3://b/\"},\"\\x\"]", "! entry 1 (line 1) is not JSON" },
		{ "[{\"prefix\":\"s3://b/\"},\"\n\"]", "! entry 1 (line 1) is not JSON" },
		{ "[{\"prefix\":\"s3://b/\"},\"\xff\"]", "! entry 1 (line 1) is not UTF-8" },
		{ "[{\"prefix\":\"s3://b/\"},\"\\ud800\"]", "! entry 1 (line 1) has half a surrogate pair in it" },
		{ "[{\"prefix\":\"s3://b/\"},\"\"]",
		  "! entry 1 (line 1) makes \"s3://b/\" of the prefix, which is no s3://bucket/key" },
		{ "[{\"prefix\":\"s3://b/\"},\"s3://c/x\"]",
		  "! entry 1 (line 1) is \"s3://c/x\"; entries are appended to the prefix s3://b/, so they cannot name "
		  "a "
		  "bucket. Write only the rest of the key, and one manifest for each bucket" },
		{ "[{\"prefix\":\"s3://b\"},\"1/x\",\"2/x\"]",
		  "! entry 2 (line 1) is in bucket \"b2\" and those before it are in \"b1\"; a manifest can name one "
		  "bucket "
		  "only. End its prefix with '/'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(LIST(cases[i][0]), cases[i][1]);
}

TEST(an_entry_is_bounded)
{
	_cleanup_buf_ struct buf in = { 0 };

	buf_z(&in, "[{\"prefix\":\"s3://b/\"},\"");
	for (int i = 0; i < 1024; i++)
		buf_c(&in, 'k');
	buf_z(&in, "\"]");
	CHECK(read_in(buf_view(&in), 0, 100)[0] != '!');
	in.n -= 2;
	buf_z(&in, "k\"]");
	CHECK_STR(read_in(buf_view(&in), 0, 100),
	          "! entry 1 (line 1) makes a key of 1025 bytes; keys have at most 1024");
	in.n -= 2;
	for (int i = 0; i < MANIFEST_ENTRY_MAX; i++)
		buf_c(&in, 'k');
	CHECK_STR(read_in(buf_view(&in), 0, 100), "! entry 1 (line 1) is longer than 65536 bytes");
}

TEST(lines_give_the_attributes_in_the_order_asked_for)
{
	CHECK_STR(LINES("{\"label\": 1, \"other\": [1], \"source-ref\": \"s3://b/x.jpg\"}\n"
	                "\n"
	                "{\"source-ref\": \"s3://c/y/z\", \"label\": \"cat \\u00fc\"}\r\n"
	                "{\"source-ref\": \"s3://b/k\", \"label\": \"\"}"),
	          "1:1 @b|x.jpg =1\n3:3 @c|y/z =cat \xc3\xbc\n4:4 @b|k =\n");
	/* numbers and order as they are written, blanks gone outside of strings */
	CHECK_STR(
	        LINES("{\"source-ref\":\"s3://b/x\",\"label\":{ \"b\" : [ 1.50, 1e400,\t-0 ], \"a\": \" x \\\" \" } }"),
	        "1:1 @b|x ={\"b\":[1.50,1e400,-0],\"a\":\" x \\\" \"}\n");
	CHECK_STR(LINES("{\"label\":null,\"source-ref\":\"s3://b/x\",\"label\":true}"), "1:1 @b|x =true\n");
	CHECK_STR(LINES("{\"lab\\u0065l\":123456789012345678901234567890,\"source-ref\":\"s3://b/\\ud83d\\ude00\"}"),
	          "1:1 @b|\xf0\x9f\x98\x80 =123456789012345678901234567890\n");
}

TEST(a_bad_line_is_refused_by_number_and_attribute)
{
	static const char *const cases[][2] = {
		{ "", "! has no lines; there is nothing to train on" },
		{ "\n \n", "! has no lines; there is nothing to train on" },
		{ "[]", "! line 1 is no JSON object; every line is to be one, like {\"source-ref\": \"s3://...\"}" },
		{ "{\"source-ref\":\"s3://b/x\",\"label\":1}\n{\"source-ref\":\"s3://b/x\"}",
		  "! line 2 has no attribute \"label\", which is one of the AttributeNames. Add it to the line, or "
		  "leave "
		  "it out of AttributeNames" },
		{ "{}",
		  "! line 1 has no attribute \"source-ref\", which is one of the AttributeNames. Add it to the line, "
		  "or leave it out of AttributeNames" },
		{ "{\"source-ref\":7,\"label\":1}",
		  "! line 1 has no string as attribute \"source-ref\"; a name that ends "
		  "in -ref is of an S3 URI" },
		{ "{\"source-ref\":\"b/x\",\"label\":1}",
		  "! line 1 has \"b/x\" as attribute \"source-ref\", which is no s3://bucket/key" },
		{ "{\"source-ref\":\"s3://b/\",\"label\":1}",
		  "! line 1 has \"s3://b/\" as attribute \"source-ref\", which is no s3://bucket/key" },
		{ "{\"source-ref\":\"s3://../x\",\"label\":1}",
		  "! line 1 has \"s3://../x\" as attribute \"source-ref\", which is no s3://bucket/key" },
		{ "{\"source-ref\":\"s3://b?c/x\",\"label\":1}",
		  "! line 1 has \"s3://b?c/x\" as attribute \"source-ref\", which is no s3://bucket/key" },
		{ "{\"source-ref\":\"s3://b/x\",\"label\":\"\\udc00\"}",
		  "! line 1 has half a surrogate pair in attribute \"label\"" },
		{ "{\"label\":1,}", "! line 1 is not JSON at byte 12" },
		{ "{\"label\":01}", "! line 1 is not JSON at byte 11" },
		{ "{\"label\":[1 2]}", "! line 1 is not JSON at byte 13" },
		{ "{\"label\":1", "! line 1 is not JSON at byte 11" },
		{ "{\"label\":1} x", "! line 1 goes on behind its object" },
		{ "{\"label\":\"\xc3\"}", "! line 1 is not UTF-8" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(LINES(cases[i][0]), cases[i][1]);
}

TEST(a_line_is_bounded_and_deep_nesting_is_refused)
{
	_cleanup_buf_ struct buf in = { 0 };

	buf_z(&in, "{\"source-ref\":\"s3://b/x\",\"label\":");
	for (int i = 0; i < JSONTEXT_DEPTH_MAX; i++)
		buf_c(&in, '[');
	for (int i = 0; i < JSONTEXT_DEPTH_MAX; i++)
		buf_c(&in, ']');
	buf_c(&in, '}');
	CHECK(read_in(buf_view(&in), 2, 1 << 20)[0] != '!');
	buf_reset(&in);
	buf_z(&in, "{\"source-ref\":\"s3://b/x\",\"label\":");
	for (int i = 0; i < 100000; i++)
		buf_c(&in, '[');
	CHECK_STR(read_in(buf_view(&in), 2, 1 << 20), "! line 1 is not JSON at byte 162");
	buf_reset(&in);
	while (in.n <= MANIFEST_LINE_MAX)
		buf_z(&in, "                                                                ");
	CHECK_STR(read_in(buf_view(&in), 2, 4096), "! line 1 is longer than 16777216 bytes");
}

static int refuse_all(void *arg, const struct manifest_unit *u, struct err *e)
{
	return manifest_blame(*(struct manifest **)arg, u, &u->parts[u->count - 1], e, "which is %s", "not there");
}

TEST(an_object_is_blamed_in_the_same_words)
{
	static const char *const names[] = { "a", "b-ref" };
	struct manifest *m;
	struct manifest_options o = { .uri = "s3://m/x", .unit = refuse_all, .arg = &m };
	struct err e = { 0 };

	m = manifest_new(&o);
	CHECK(manifest_feed(m, STR("[{\"prefix\":\"s3://b/\"},\n\"k\"]"), &e) < 0);
	CHECK_STR(e.frame[0],
	          "Data download failed:In the manifest s3://m/x, entry 1 (line 2) names s3://b/k, which is not there");
	manifest_free(m);
	o.attributes = names;
	o.attribute_count = 2;
	m = manifest_new(&o);
	CHECK(manifest_feed(m, STR("\n{\"a\":1,\"b-ref\":\"s3://b/k\"}\n"), &e) < 0);
	CHECK_STR(e.frame[0], "Data download failed:In the manifest s3://m/x, line 2, attribute \"b-ref\", names "
	                      "s3://b/k, which is not there");
	manifest_free(m);
}
