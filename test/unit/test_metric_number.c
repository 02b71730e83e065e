/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/number.h"

#include <math.h>
#include <stdlib.h>

#include "harness.h"

static void number(const char *text, double want)
{
	double got = NAN;

	if (number_parse(str_of(text), &got) != NUMBER_OK || memcmp(&got, &want, sizeof(got)) != 0)
		test_failed(__FILE__, __LINE__, "'%s': got %a, want %a", text, got, want);
}

static void refused(const char *text, enum number_kind want)
{
	double v;

	if (number_parse(str_of(text), &v) != want)
		test_failed(__FILE__, __LINE__, "'%s' is %s", text, number_why(number_parse(str_of(text), &v)));
}

TEST(number_takes_the_whole_grammar)
{
	number("0", 0);
	number("-0", -0.0);
	number("7", 7);
	number("7E-5", 0.00007);
	number("7e-05", 0.00007);
	number("+1.5e+3", 1500);
	number(".5", 0.5);
	number("5.", 5);
	number("-.5E1", -5);
	number("5.e1", 50);
	number("007", 7);
	number(" 0.25 ", 0.25);
	number("0.1", 0.1);
	number("123456789012345678901234567890", 1.2345678901234568e29);
	number("9007199254740993", 9007199254740992.);
	number("0.000000000000000000000000000000000000000000000000001", 1e-51);
	number("1.7976931348623157e308", 0x1.fffffffffffffp1023);
	number("4.9e-324", 0x1p-1074);
	number("1e-400", 0);
	number("0e999999999999", 0);
	number("0.0000000000000000000000000000000000000000e50", 0);
	number("2.2250738585072011e-308", 2.2250738585072011e-308);
}

TEST(number_refuses_what_is_none_with_a_reason)
{
	refused("", NUMBER_EMPTY);
	refused("   ", NUMBER_EMPTY);
	refused("nan", NUMBER_NAN);
	refused("-NaN", NUMBER_NAN);
	refused("inf", NUMBER_INFINITE);
	refused("+Infinity", NUMBER_INFINITE);
	refused("1e999", NUMBER_RANGE);
	refused("-1.8e308", NUMBER_RANGE);
	refused("0x10", NUMBER_TEXT);
	refused("1,234", NUMBER_TEXT);
	refused("1_000", NUMBER_TEXT);
	refused("1.2.3", NUMBER_TEXT);
	refused("1e", NUMBER_TEXT);
	refused("1e+", NUMBER_TEXT);
	refused("e5", NUMBER_TEXT);
	refused(".", NUMBER_TEXT);
	refused("+", NUMBER_TEXT);
	refused("--1", NUMBER_TEXT);
	refused("0.5%", NUMBER_TEXT);
	refused("0.5;", NUMBER_TEXT);
	refused("1 2", NUMBER_TEXT);
	refused("nan(1)", NUMBER_TEXT);
	refused("infinit", NUMBER_TEXT);
}

static void json(const char *text, const char *want)
{
	_cleanup_buf_ struct buf b = { 0 };
	double v = 0, back;
	char *end;

	CHECK(number_parse(str_of(text), &v) == NUMBER_OK);
	number_json(v, str_of(text), &b);
	CHECK_STR(b.p, want);
	back = strtod(b.p, &end);
	CHECK(!*end);
	CHECK(memcmp(&back, &v, sizeof(v)) == 0);
}

TEST(number_is_written_so_that_it_comes_back)
{
	json("0.138318", "0.138318");
	json("7E-5", "7E-5");
	json("7", "7.0");
	json("+7", "7.0");
	json("007", "7.0");
	json("-.5", "-0.5");
	json("5.", "5.0");
	json("-0", "-0.0");
	json("0.10000000000000000000000000000000001", "0.10000000000000001");
	json("12345678901234567890", "12345678901234567890.0");
}
