/* JSONPath over JSON and CSV, JSON as text, joins, and what DataProcessing allows.  SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "harness.h"
#include "transform/datalog.h"
#include "transform/jsontext.h"
#include "transform/path.h"
#include "transform/process.h"
#include "transform/work.h"

static char text[ERR_FRAMES * ERR_FRAME_BYTES];

/* What the path picks, or "!" and the error. */
static const char *pick(const char *path, const char *value, bool csv)
{
	static char got[8192];
	_cleanup_(path_freep) struct path *p = NULL;
	_cleanup_buf_ struct buf out = { 0 };
	struct err e = { 0 };
	struct str v;
	int rc = path_parse(str_of(path), &p, &e);

	if (rc == 0 && csv && (rc = path_check_csv(p, &e)) == 0)
		rc = path_csv(p, str_of(value), &out, &e);
	else if (rc == 0 && !csv && (rc = jsontext_check(str_of(value), &v, &e)) == 0)
		rc = path_json(p, v, &out, &e);
	CHECK(rc == 0 || out.n == 0);
	snprintf(got, sizeof(got), "%s%s", rc < 0 ? "!" : "",
	         rc < 0 ? err_text(&e, text, sizeof(text)) : buf_view(&out).p);
	return got;
}

#define JSON(path, value, want) CHECK_STR(pick(path, value, false), want)
#define ROW(path, value, want) CHECK_STR(pick(path, value, true), want)

TEST(names_of_objects)
{
	const char *o = "{ \"a\" : 1.10, \"b\": {\"c\": [1, 2.0e5]}, \"\\u0061b\": \"x\\\"}\", \"d e\": null }";

	JSON("$", o, o);
	JSON("", " 5 ", "5");
	JSON("$.a", o, "1.10");
	JSON("$['d e']", o, "null");
	JSON("$[\"ab\"]", o, "\"x\\\"}\"");
	JSON("$.b.c", o, "[1, 2.0e5]");
	JSON("$.b.c[-1]", o, "2.0e5");
	JSON("$['a','b']", o, "{\"a\":1.10,\"b\":{\"c\": [1, 2.0e5]}}");
	JSON("$['a', 'z']", o, "{\"a\":1.10}");
	JSON("$.*", "{\"a\":1,\"b\":[2]}", "[1,[2]]");
	JSON("$.a", "{\"a\":1,\"a\":2}", "2");
	JSON("$.z", o, "!'$.z' looks for 'z', which is not there");
	JSON("$.a.z", o, "!'$.a.z' looks for 'z' in a single value");
}

TEST(elements_of_lists)
{
	const char *l = "[0, \"a,]\", {\"k\": 2}, [3], 4]";

	JSON("$[0]", l, "0");
	JSON("$[-5]", l, "0");
	JSON("$[1,-1]", l, "[\"a,]\",4]");
	JSON("$[1:3]", l, "[\"a,]\",{\"k\": 2}]");
	JSON("$[:2]", l, "[0,\"a,]\"]");
	JSON("$[-2:]", l, "[[3],4]");
	JSON("$[3:99]", l, "[[3],4]");
	JSON("$[4:1]", l, "[]");
	JSON("$[*]", "[1 , 2]", "[1,2]");
	JSON("$[0:2].k", "[{\"k\":1},{\"k\":2},{\"k\":3}]", "[1,2]");
	JSON("$[5]", l, "!'$[5]' looks for element 5 of a list of 5");
	JSON("$[0,-6]", l, "!'$[0,-6]' looks for element -6 of a list of 5");
	JSON("$[0]", "{\"a\": 1}", "!'$[0]' looks for elements of an object");
}

TEST(fields_of_rows)
{
	ROW("$", "a,b", "a,b");
	ROW("$[0]", "a,b,c", "a");
	ROW("$[0,-1]", "a,\"b,\"\"x\",c", "a,c");
	ROW("$[1]", "a,\"b,\"\"x\",c", "\"b,\"\"x\"");
	ROW("$[1:]", "a,b,c", "b,c");
	ROW("$[1:2]", "a,b,c", "b");
	ROW("$[:-1]", "a,b,c", "a,b");
	ROW("$[2,0]", "a,b,c", "c,a");
	ROW("$[*]", "a,,c,", "a,,c,");
	ROW("$[-1]", "a,,c,", "");
	ROW("$[1:]", "a", "");
	ROW("$[0]", "", "");
	ROW("$[3]", "a,b,c", "!'$[3]' looks for column 3 of a row of 3");
	ROW("$[0]", "a,\"b", "!the row has double quotes without an end");
	ROW("$.a", "a", "!the path '$.a' has names; fields of CSV are picked by index, as in '$[0]'");
	ROW("$[0][1]", "a", "!the path '$[0][1]' has more than one step; a row of CSV is a list of fields");
}

TEST(paths_that_are_none)
{
	static const char *const bad[] = {
		"a",        "$.",   "$..a",     "$[",         "$[]",   "$[1",  "$['a",         "$['a'",
		"$[1,]",    "$[:]", "$[1:2:3]", "$[?(1)]",    "$.a()", "$a",   "$[1,2:3]",     "$[9999999999]",
		"$['a',1]", "$[-]", "$[1.5]",   "$['a\\'b']", "@.a",   "$. a", "$[(@.length)]"
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct path *p = NULL;
		struct err e = { 0 };

		CHECK(path_parse(str_of(bad[i]), &p, &e) < 0 && e.kind == ERR_INVALID);
		CHECK(strstr(err_text(&e, text, sizeof(text)), bad[i]));
	}
	JSON("$.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "{}",
	     "!the path '$.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' is longer than 63 bytes");
}

TEST(what_is_no_json)
{
	static const char *const bad[] = { "",      "{",           "[1",     "[1,]",        "{\"a\"}",     "{\"a\":}",
		                           "{a:1}", "01",          "1.",     "1e",          "-",           "nul",
		                           "\"",    "\"\\x\"",     "\"\n\"", "\"\\ud800\"", "\"\xff\"",    "1 2",
		                           "[1}",   "'a'",         "+1",     ".5",          "\"\\u12g4\"", "{\"a\":1,}",
		                           "[,1]",  "\"\\udc00\"", "tru e" };
	_cleanup_buf_ struct buf deep = { 0 };
	struct str v;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = { 0 };

		if (jsontext_check(str_of(bad[i]), &v, &e) == 0)
			test_failed(__FILE__, __LINE__, "'%s' passed", bad[i]);
		CHECK(e.kind == ERR_CLIENT);
	}
	for (int i = 0; i < 100000; i++)
		buf_c(&deep, '[');
	CHECK(jsontext_check(buf_view(&deep), &v, NULL) < 0);
}

/* ---- DataProcessing ---- */

/* In, answer → out. */
static const char *process(struct process_options o, const char *records, const char *answer)
{
	static char got[8192];
	_cleanup_(process_freep) struct process *p = NULL;
	_cleanup_buf_ struct buf out = { 0 };
	struct err e = { 0 };
	size_t bad = 0;
	int rc = process_new(&o, &p, &e);

	if (rc == 0)
		rc = answer ? process_output(p, str_of(records), str_of(answer), &out, &bad, &e)
		            : process_input(p, str_of(records), &out, &bad, &e);
	snprintf(got, sizeof(got), "%s%s", rc < 0 ? "!" : "",
	         rc < 0 ? err_text(&e, text, sizeof(text)) : buf_view(&out).p);
	return got;
}

static struct process_options options(const char *type, const char *accept, const char *split, const char *join,
                                      const char *input)
{
	return (struct process_options){ .content_type = type,
		                         .accept = accept ? accept : type,
		                         .split_type = split ? split : "Line",
		                         .join_source = join,
		                         .input_filter = input,
		                         .assemble_with = "Line" };
}

TEST(joins_of_json_lines)
{
	struct process_options o = options("application/jsonlines", NULL, NULL, "Input", NULL);

	CHECK_STR(process(o, "{\"a\": 1.50}\r\n[1]\n{}", "{\"p\":2}\n3\n4\n"),
	          "{\"a\":1.50,\"SageMakerOutput\":{\"p\":2}}\n{\"SageMakerInput\":[1],\"SageMakerOutput\":3}\n"
	          "{\"SageMakerOutput\":4}\n");
	CHECK_STR(process(o, "{\"SageMakerOutput\":1,\"b\":2}\n", "3\n"), "{\"b\":2,\"SageMakerOutput\":3}\n");
	CHECK_STR(process(o, "nonsense\n", "3\n"),
	          "!JoinSource: the record: no JSON: something that is no value at byte 0 of it");
	CHECK_STR(process(o, "1\n", "oops\n"),
	          "!JoinSource: the container's answer: no JSON: something that is no value at byte 0 of it");
	o.output_filter = "$['id','SageMakerOutput']";
	CHECK_STR(process(o, "{\"id\":7,\"x\":1}\n", "0.5\n"), "{\"id\":7,\"SageMakerOutput\":0.5}\n");
	o.input_filter = "$.x";
	CHECK_STR(process(o, "{\"id\":7,\"x\":[1, 2]}\n{\"x\":3}", NULL), "[1, 2]\n3");
}

TEST(joins_of_json_and_csv)
{
	struct process_options o = options("application/json; charset=utf-8", NULL, "None", "Input", NULL);

	CHECK_STR(process(o, "{\n \"a\": 1\n}\n", "[1,\n2]\n"), "{\"a\":1,\"SageMakerOutput\":[1,\n2]}");
	CHECK_STR(process(options("text/csv", NULL, NULL, "Input", NULL), "a,1\r\nb,2", "0.5\n0.7"),
	          "a,1,0.5\nb,2,0.7");
	CHECK_STR(process(options("text/csv", NULL, NULL, "Input", NULL), "a\n", "1\n2\n"),
	          "!JoinSource: the container answered 2 records for 1");
}

TEST(parameters_that_do_not_go_together)
{
	CHECK_STR(process(options("text/plain", NULL, NULL, NULL, "$[1]"), "", NULL),
	          "!DataProcessing needs TransformInput.ContentType to be one of text/csv, application/json and "
	          "application/jsonlines, not 'text/plain'");
	CHECK_STR(process(options("text/csv", "application/json", NULL, "Input", NULL), "", NULL),
	          "!JoinSource Input cannot join text/csv with application/json");
	CHECK_STR(process(options("text/csv", NULL, NULL, NULL, "$.a"), "", NULL),
	          "!DataProcessing.InputFilter: the path '$.a' has names; fields of CSV are picked by index, as in "
	          "'$[0]'");
	CHECK_STR(process(options("text/csv", NULL, NULL, "Both", NULL), "", NULL),
	          "!JoinSource is None or Input, not 'Both'");
	CHECK_STR(process(options("text/csv", NULL, "TFRecord", NULL, "$[1]"), "", NULL),
	          "!DataProcessing of text/csv goes with SplitType Line, not with 'TFRecord'");
}

TEST(nothing_to_do_is_no_process)
{
	struct process *p = (struct process *)text;

	CHECK_OK(process_new(&(struct process_options){ .input_filter = "$", .join_source = "None" }, &p, e));
	CHECK(p == NULL);
}

/* ---- what is around ---- */

static const char *out_key(const char *prefix, const char *key)
{
	static char got[256];
	_cleanup_buf_ struct buf b = { 0 };

	work_out_key(str_of(prefix), str_of(key), &b);
	snprintf(got, sizeof(got), "%s", b.p);
	return got;
}

TEST(names_of_outputs)
{
	CHECK_STR(out_key("p/test.csv", "p/test.csv"), "test.csv.out");
	CHECK_STR(out_key("p/", "p/a/b.csv"), "a/b.csv.out");
	CHECK_STR(out_key("p", "p/a.csv"), "a.csv.out");
	CHECK_STR(out_key("p/da", "p/data.csv"), "data.csv.out");
	CHECK_STR(out_key("", "a//b"), "a//b.out");
	CHECK_STR(out_key("", "/a"), "/a.out");
	CHECK_STR(out_key("p/", "p//a"), "/a.out"); /* another one than that of p/a */
	CHECK_STR(out_key("x/", "y/b.csv"), "b.csv.out");
}

static void check_terms(struct work w, const char *answer, unsigned concurrent, unsigned mb, bool single)
{
	struct terms t = work_terms(&w, str_of(answer), NULL);

	CHECK_INT(t.concurrent, concurrent);
	CHECK_INT(t.payload_mb, mb);
	CHECK_INT(t.single, single);
}

TEST(the_request_goes_before_the_container_and_that_before_the_defaults) /* contract 7.5 */
{
	struct work silent = { .max_concurrent = -1, .max_payload_mb = -1, .strategy = (char *)"" };
	struct work says = { .max_concurrent = 2, .max_payload_mb = 0, .strategy = (char *)"MultiRecord" };
	const char *wishes =
	        "{\"MaxConcurrentTransforms\": 8, \"BatchStrategy\": \"SINGLE_RECORD\", \"MaxPayloadInMB\": 3}";
	_cleanup_buf_ struct buf ignored = { 0 };

	check_terms(silent, "", 1, 6, false);
	check_terms(silent, wishes, 8, 3, true);
	check_terms(says, wishes, 2, 0, false);
	says.max_concurrent = 0;
	check_terms(says, wishes, 8, 0, false);
	check_terms(silent, "<html>", 1, 6, false);
	check_terms(silent, "{\"MaxConcurrentTransforms\": 0, \"MaxPayloadInMB\": \"6\", \"BatchStrategy\": 1}", 1, 6,
	            false);
	work_terms(&silent, STR("{\"MaxPayloadInMB\": 101}"), &ignored);
	CHECK_STR(ignored.p, "its MaxPayloadInMB is no number from 0 to 100");
}

TEST(lines_of_the_data_log) /* contract 6.1 */
{
	_cleanup_buf_ struct buf b = { 0 };

	datalog_line((struct wall){ 1615766186572 }, STR("bucket/images/x.jpg"),
	             STR("Bad HTTP status received from algorithm: 500"), &b);
	CHECK_STR(b.p, "2021-03-14T23:56:26.572:[sagemaker logs]: bucket/images/x.jpg: Bad HTTP status received from "
	               "algorithm: 500\n");
}
