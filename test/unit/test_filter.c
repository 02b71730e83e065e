/* Every rule of the filter patterns. SPDX-License-Identifier: Apache-2.0 */
#include "logstore/filter.h"

#include <stdlib.h>

#include "harness.h"

static const char *const lines[] = {
	"[ERROR 400] BAD REQUEST",
	"[ERROR 401] UNAUTHORIZED REQUEST",
	"[WARN] loss=12 disk full",
	"[INFO] ERRORS: none, DEBUG on",
	"{\"a\":{\"b\":1},\"s\":\"UpdateTrail\",\"ip\":\"123.123.4.5\",\"l\":[{\"id\":1},{\"id\":\"two\"}],\"n\":null,"
	"\"t\":true}",
	"{\"a\":{\"b\":-2.5e3},\"s\":\"Trail\",\"ip\":\"10.0.0.1\",\"f\":false,\"e\":\"\",\"status\":404,\"x "
	"y\":{\"-\":7}}",
	"127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534",
	"127.0.0.1 Prod maria [10/Oct/2000:13:25:16 -0700] \"GET /data.json HTTP/1.0\" 200 512",
	"",
};

/* The indexes of the lines that it takes, or "!" and why it is none. */
static void check(const char *pattern, const char *want)
{
	_cleanup_(log_filter_freep) struct log_filter *f = NULL;
	_cleanup_buf_ struct buf got = { 0 };
	struct err e = { 0 };

	buf_need(&got, 1);
	got.p[0] = '\0';
	if (log_filter_new(str_of(pattern), &f, &e) < 0) {
		CHECK_INT(e.kind, ERR_INVALID);
		buf_c(&got, '!');
	}
	for (size_t i = 0; f && i < ARRAY_LEN(lines); i++)
		if (log_filter_matches(f, str_of(lines[i])))
			buf_f(&got, "%zu", i);
	if (strcmp(got.p, want) != 0)
		test_failed(__FILE__, __LINE__, "%s: got %s, want %s (%s)", pattern, got.p, want,
		            e.depth ? e.frame[0] : "");
}

TEST(filter_terms)
{
	check("", "012345678");
	check("   ", "012345678");
	check("\"\"", "012345678");
	check("ERROR", "013");
	check("error", "");
	check("ERROR REQUEST", "01");
	check("\"ERROR 401\"", "1");
	check("\"[WARN]\"", "2");
	check("\"say \\\"x\\\"\"", "");
	check("?ERROR ?WARN", "0123");
	check("?\"disk full\" ?\"BAD REQUEST\"", "02");
	check("ERROR -UNAUTHORIZED", "03");
	check("-ERROR", "245678");
	check("-ERROR -\"127.0.0.1\"", "2458");
	check("?WARN ERROR", "013"); /* beside other terms optional ones say nothing */
	check("?WARN -ERROR", "245678");
	check("a.b", "!");
	check("ERROR -", "!");
	check("?", "!");
	check("\"no end", "!");
	check("(ERROR)", "!");
}

TEST(filter_regular_expressions)
{
	check("%ERROR [0-9]+%", "01");
	check("%^.WARN%", "2");
	check("%REQUEST$%", "01");
	check("%401|404%", "156");
	check("%loss=\\d{2}\\s%", "2");
	check("%\\x5bINFO%", "3");
	check("-%E%", "2458");
	check("?%WARN% ?BAD", "02");
	check("%AUTHORIZED% REQUEST", "1");
	check("%127\\.0\\.0\\.1% %maria%", "7");
	check("%(a)%", "!");
	check("%a!%", "!");
	check("%a\\1%", "!");
	check("%a\\b%", "!");
	check("%[a%", "!");
	check("%a{2%", "");
	check("%a", "!");
	check("%%", "!");
	check("%\xc3\xa4%", "!");
	check("%a\\%", "!");
}

TEST(filter_json)
{
	check("{ $.a.b = 1 }", "4");
	check("{$.a.b=1}", "4");
	check("{ $.a.b = 1.0e0 }", "4");
	check("{ $.a.b != 1 }", "5");
	check("{ $.a.b < 0 }", "5");
	check("{ $.a.b <= -2500 }", "5");
	check("{ $.a.b >= -2500 }", "45");
	check("{ $.a.b > -2500 }", "4");
	check("{ $.s = \"Trail\" }", "5");
	check("{ $.s = Trail }", "5");
	check("{ $.s = \"*Trail\" }", "45");
	check("{ $.s = *a*e* }", "4");
	check("{ $.s = *date* }", "4");
	check("{ $.s != \"Update*\" }", "5");
	check("{ $.ip != 123.123.* }", "5");
	check("{ $.ip = 123.123.* }", "4");
	check("{ $.ip = %^10\\.% }", "5");
	check("{ $.ip != %^10\\.% }", "4");
	check("{ $.status = 4* }", "5");
	check("{ $.status = \"404\" }", "");
	check("{ $.e = \"\" }", "5");
	check("{ $.n IS NULL }", "4");
	check("{ $.missing IS NULL }", "");
	check("{ $.n NOT EXISTS }", "5");
	check("{ $.n EXISTS }", "4");
	check("{ $.n = * }", "4");
	check("{ $.a = * }", "45");
	check("{ $.t IS TRUE }", "4");
	check("{ $.f IS FALSE }", "5");
	check("{ $.t is true }", "4");
	check("{ $.t = true }", "4");
	check("{ $.t IS FALSE }", "");
	check("{ $.l[0].id = 1 }", "4");
	check("{ $.l[1].id = \"two\" }", "4");
	check("{ $.l[2].id = * }", "");
	check("{ $.l[*].id = two }", "4");
	check("{ $.l[*].id = three }", "");
	check("{ $.l[*].id EXISTS }", "4");
	check("{ $.*.b = 1 }", "4");
	check("{ $.[\"x y\"].- = 7 }", "5");
	check("{ $['x y'][\"-\"] = 7 }", "5");
	check("{ ($.a.b = 1) && ($.s = \"UpdateTrail\") }", "4");
	check("{ $.a.b = 1 || $.status = 404 }", "45");
	check("{ $.a.b = 1 || $.status = 404 && $.f IS TRUE }", "4"); /* && binds more closely */
	check("{ ($.a.b = 1 || $.status = 404) && $.f IS FALSE }", "5");
	check("{ $.s = a* || $.x = b }", "");
}

TEST(filter_json_that_is_none)
{
	check("{", "!");
	check("{}", "!");
	check("{ $.a }", "!");
	check("{ $.a = }", "!");
	check("{ $.a = 1", "!");
	check("{ $.a = 1 } x", "!");
	check("{ $.a = 1 && }", "!");
	check("{ ($.a = 1 }", "!");
	check("{ $.a = 1) }", "!");
	check("{ a = 1 }", "!");
	check("{ $. = 1 }", "!");
	check("{ $.a[x] = 1 }", "!");
	check("{ $.a['x = 1 }", "!");
	check("{ $.a > \"x\" }", "!");
	check("{ $.a > x }", "!");
	check("{ $.a IS 1 }", "!");
	check("{ $.a = %a% || $.b = %b% || $.c = %c% }", "!");
	check("{ $.a == 1 }", "!");
}

TEST(filter_fields)
{
	check("[ip, env, user, time, request, status, bytes]", "67");
	check("[ip, env, user, time, request, status]", "");
	check("[ip, env, user, time, request, status = 4*, bytes]", "6");
	check("[ip, env, user, time, request, status=404, bytes>1000]", "6");
	check("[ip, env, user, time, request, status, bytes < 1000]", "7");
	check("[ip, env, user, time, request = *html*, status, bytes]", "6");
	check("[..., status = 200, bytes]", "7");
	check("[ip = 127.0.0.1, ...]", "67");
	check("[ip, ..., request = \"GET /data*\", status, bytes]", "7");
	check("[w1 = ERROR*, ...]", "01"); /* [ERROR 400] is one field */
	check("[w1 = \"ERROR 400\" || w1 = WARN, ...]", "02");
	check("[w1 != %ERROR% && w1 != INFO, w2 = loss=*, ...]", "!");
	check("[w1 != %ERROR% && w1 != INFO, w2 = \"loss=*\", ...]", "2");
	check("[(w1 = WARN || w1 = INFO), ...]", "23");
	check("[...]", "012345678");
	check("[a, b, c, d, ..., e, f, g]", "67");
	check("[bytes >= 512 || bytes = x, ...]", "");
	check("[..., n >= 512]", "67");
	check("[..., n != 512]", "0123456");
}

TEST(filter_fields_that_are_none)
{
	check("[", "!");
	check("[]", "!");
	check("[a", "!");
	check("[a,", "!");
	check("[a,]", "!");
	check("[a] b", "!");
	check("[..., a, ...]", "!");
	check("[a = 1 || b = 2]", "!");
	check("[a > x]", "!");
	check("[a = ]", "!");
	check("[(a = 1]", "!");
	check("[a = %x%, b = %y%, c = %z%]", "!");
}

TEST(filter_depth_and_time_are_bounded)
{
	_cleanup_buf_ struct buf deep = { 0 }, text = { 0 };
	_cleanup_(log_filter_freep) struct log_filter *f = NULL;

	buf_z(&deep, "{ ");
	for (int i = 0; i < 200; i++)
		buf_c(&deep, '(');
	check(deep.p, "!");
	for (int i = 0; i < 100000; i++)
		buf_c(&text, 'a');
	CHECK_OK(log_filter_new(STR("%a*a*a*a*a*a*a*b%"), &f, e));
	CHECK(!log_filter_matches(f, buf_view(&text)));
	log_filter_free(take_ptr(f));
	CHECK_OK(log_filter_new(STR("[a, b]"), &f, e));
	CHECK(log_filter_matches(f, STR("x\0y z"))); /* a zero byte is a character */
	log_filter_free(take_ptr(f));
	CHECK_OK(log_filter_new(STR("[x = *a*a*a*a*a*a*a*a*a*b]"), &f, e));
	CHECK(!log_filter_matches(f, buf_view(&text)));
}
