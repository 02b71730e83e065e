/* Metric math and search expressions. SPDX-License-Identifier: Apache-2.0 */
#include "series/math.h"

#include <math.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "harness.h"
#include "series/search.h"

/* m1 is 1 2 3 at 0 60 120, m2 is 10 0 40 at 0 60 180, m3 is empty. */
static struct math_line line(const char *id)
{
	static const int64_t times[] = { 0, 60, 120, 180 };
	static const double m1[] = { 1, 2, 3, NAN }, m2[] = { 10, 0, NAN, 40 };
	struct math_line l = { .t = xcalloc(4, sizeof(*l.t)), .v = xcalloc(4, sizeof(*l.v)), .period = 60 };
	const double *v = !strcmp(id, "m1") ? m1 : m2;

	for (int i = 0; i < 4 && strcmp(id, "m3"); i++)
		if (!isnan(v[i])) {
			l.t[l.n] = times[i];
			l.v[l.n++] = v[i];
		}
	l.name = xstrdup(id);
	return l;
}

static int on_id(void *arg, struct str id, struct math_value *ret, struct err *e)
{
	_cleanup_free_ char *name = str_dup(id);

	(void)arg;
	if (strlen(name) != 2 || name[0] != 'm')
		return err_set(e, ERR_INVALID, "no %s", name);
	*ret = (struct math_value){ .kind = MATH_LINE, .lines = xcalloc(1, sizeof(*ret->lines)), .n = 1 };
	ret->lines[0] = line(name);
	return 0;
}

static int on_metrics(void *arg, struct str part, struct math_value *ret, struct err *e)
{
	static const char *const names[] = { "m1", "m2", "m3" };
	struct math_value v = { .kind = MATH_LINES, .lines = xcalloc(3, sizeof(*v.lines)) };

	(void)arg, (void)e;
	for (size_t i = 0; i < 3; i++)
		if (str_find(str_of(names[i]), part) >= 0)
			v.lines[v.n++] = line(names[i]);
	*ret = v;
	return 0;
}

static int on_search(void *arg, struct str query, struct str stat, int64_t period, struct math_value *ret,
                     struct err *e)
{
	(void)arg, (void)ret;
	return err_set(e, ERR_INVALID, "asked " PRIstr "|" PRIstr "|%lld", ARGstr(query), ARGstr(stat),
	               (long long)period);
}

/* "m1: 0=1 60=2; ", a number, or the error. */
static char *answer(const char *expression)
{
	size_t points = 0;
	const struct math_env env = { 0, 240, 60, &points, NULL, on_id, on_metrics, on_search };
	struct math_value v;
	struct err e = { 0 };
	struct buf out = { 0 };
	char text[2048];

	if (math_evaluate(str_of(expression), &env, &v, &e) < 0)
		return strf("! %s", err_text(&e, text, sizeof(text)));
	buf_init(&out);
	if (v.kind == MATH_SCALAR)
		buf_f(&out, "%.15g", v.scalar);
	for (size_t i = 0; i < v.n; i++) {
		if (v.kind == MATH_LINES)
			buf_f(&out, "%s:", v.lines[i].name ? v.lines[i].name : "?");
		for (size_t k = 0; k < v.lines[i].n; k++)
			buf_f(&out, "%s%lld=%.15g", k ? " " : "", (long long)v.lines[i].t[k], v.lines[i].v[k]);
		buf_z(&out, v.kind == MATH_LINES ? "; " : "");
	}
	math_value_fini(&v);
	return buf_take(&out);
}

TEST(expressions)
{
	static const struct {
		const char *expression, *want;
	} rows[] = {
		{ "1+2*3", "7" },
		{ "(1+2)*3 - -4/2", "11" },
		{ "2^3^2", "512" },
		{ "-2^2", "-4" },
		{ "1.5e2 - .5", "149.5" },
		{ "m1", "0=1 60=2 120=3" },
		{ "m1*2+1", "0=3 60=5 120=7" },
		{ "10-m1", "0=9 60=8 120=7" },
		{ "m1+m2", "0=11 60=2" },
		{ "m1/m2", "0=0.1" },
		{ "m2-m1", "0=9 60=-2" },
		{ "m1/0", "" },
		{ "-m1", "0=-1 60=-2 120=-3" },
		{ "SUM(m1)", "6" },
		{ "AVG(m1) + MAX(m2) - MIN(m1)", "41" },
		{ "STDDEV(m1)", "0.816496580927726" },
		{ "m1 - AVG(m1)", "0=-1 60=0 120=1" },
		{ "SUM(METRICS())", "0=11 60=2 120=3 180=40" },
		{ "avg([m1, m2])", "0=5.5 60=1 120=3 180=40" },
		{ "METRICS(\"1\")*2", "m1:0=2 60=4 120=6; " },
		{ "METRICS() / m1", "m1:0=1 60=1 120=1; m2:0=10 60=0; m3:; " },
		{ "m1 - METRICS('m2')", "m2:0=-9 60=2; " },
		{ "METRIC_COUNT(METRICS())", "3" },
		{ "PERIOD(m1)", "60" },
		{ "ABS(-m1)", "0=1 60=2 120=3" },
		{ "CEIL(m1/2) + FLOOR(m1/2)", "0=1 60=2 120=3" },
		{ "RATE(m1)*60", "60=1 120=1" },
		{ "DIFF(m2)", "60=-10 180=40" },
		{ "DIFF_TIME(m2)", "60=60 180=120" },
		{ "RUNNING_SUM(m1)", "0=1 60=3 120=6" },
		{ "TIME_SERIES(7)", "0=7 60=7 120=7 180=7" },
		{ "FILL(m1, 0)", "0=1 60=2 120=3 180=0" },
		{ "FILL(m2, REPEAT)", "0=10 60=0 120=0 180=40" },
		{ "FILL(m2, LINEAR)", "0=10 60=0 120=20 180=40" },
		{ "FILL(m3, LINEAR)", "" },
		{ "SORT(METRICS(), SUM, DESC)", "m2:0=10 60=0 180=40; m1:0=1 60=2 120=3; m3:; " },
		{ "SORT(METRICS(), MIN, ASC, 1)", "m2:0=10 60=0 180=40; " },
		{ "REMOVE_EMPTY(METRICS())", "m1:0=1 60=2 120=3; m2:0=10 60=0 180=40; " },
		{ "FIRST(METRICS())", "0=1 60=2 120=3" },
		{ "LAST(METRICS())", "" },
		{ "SLICE(METRICS(), 1, 2)", "m2:0=10 60=0 180=40; " },
		{ "LOG10(m1*100/m1)", "0=2 60=2 120=2" },
		{ "SEARCH('{a,b} c', 'Sum', 300)", "! asked {a,b} c|Sum|300" },
		{ "SEARCH('c', 'Sum')", "! asked c|Sum|60" },
		{ "m1 + METRICS() + METRICS()", "! Unsupported operand type(s) for +: '[Array, Array]'" },
		{ "'a' + 1", "! Unsupported operand type(s) for +: '[String, Scalar]'" },
		{ "IF(m1 > 1, m1)", "! Unexpected character(s) at '> 1, m1)'" },
		{ "ANOMALY_DETECTION_BAND(m1)",
		  "! The function 'ANOMALY_DETECTION_BAND' is not supported by this server" },
		{ "SUM(1)", "! SUM wants a time series, or several" },
		{ "SUM()", "! Wrong number of arguments for the function SUM" },
		{ "x9", "! no x9" },
		{ "", "! Unexpected end of the expression" },
		{ "1 +", "! Unexpected end of the expression" },
		{ "(1", "! Unexpected end of the expression" },
		{ "1 2", "! Unexpected character(s) at '2'" },
		{ "1e999", "! Unexpected character(s) at '1e999'" },
		{ "'a", "! A string has no end" },
		{ "[1]", "! A list has a Scalar where a Time Series is needed" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_free_ char *got = answer(rows[i].expression);

		if (strcmp(got, rows[i].want) != 0)
			test_failed(__FILE__, __LINE__, "%s\n  got:  %s\n  want: %s", rows[i].expression, got,
			            rows[i].want);
	}
}

TEST(expressions_that_are_too_much)
{
	static const char *const opens[] = { "(", "-", "[", "SUM(", "1^", "'" };

	for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		_cleanup_free_ char *got = NULL;

		for (int k = 0; k < 2000; k++)
			buf_z(&b, opens[i]);
		got = answer(b.p);
		CHECK(got[0] == '!');
	}
}

static bool found(const char *text, const char *name, const char *host)
{
	struct series_dimension d = { STR("Host"), str_of(host) };
	struct series_metric m = {
		.ns = (char *)"/aws/sagemaker/TrainingJobs", .name = (char *)name, .dims = &d, .dim_count = 1
	};
	struct search s;

	CHECK_OK(search_parse(str_of(text), &s, e));
	return search_matches(&s, &m);
}

TEST(searches)
{
	static const struct {
		const char *text;
		bool cpu, memory, other; /* of job-1/algo-1 twice, and of job-2/algo-1 */
	} rows[] = {
		{ "{/aws/sagemaker/TrainingJobs,Host} Host=job-1/algo-", true, true, false },
		{ "{/aws/sagemaker/TrainingJobs,Host}", true, true, true },
		{ "{/aws/sagemaker/TrainingJobs,Host,More}", false, false, false },
		{ "{/aws/sagemaker/TrainingJobs}", false, false, false },
		{ "{\"/aws/sagemaker/TrainingJobs\", \"Host\"} CPU", true, false, true },
		{ "Utilization", true, true, true },
		{ "memoryutilization", false, false, false },
		{ "MemoryUtilization", false, true, false },
		{ "MetricName=CPUUtilization", true, false, true },
		{ "MetricName=\"CPUUtilization\" Host=\"job-2/algo-1\"", false, false, true },
		{ "MetricName=\"CPU\"", false, false, false },
		{ "job-1 OR job-2", true, true, true },
		{ "job-1 AND NOT Memory", true, false, false },
		{ "NOT (job-1 OR Memory)", false, false, true },
		{ "(CPU OR Memory) job-1", true, true, false },
		{ "Namespace=sagemaker 1/algo", true, true, false },
		{ "Other=x", false, false, false },
		{ "1 1", true, true, true },
	};
	static const char *const wrong[] = { "",     "{a",  "{}",    "{a,}", "\"a", "(a",       "a)",
		                             "a OR", "NOT", "Host=", "=a",   "()",  "AND a AND" };
	struct search s;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (found(rows[i].text, "CPUUtilization", "job-1/algo-1") != rows[i].cpu ||
		    found(rows[i].text, "MemoryUtilization", "job-1/algo-1") != rows[i].memory ||
		    found(rows[i].text, "CPUUtilization", "job-2/algo-1") != rows[i].other)
			test_failed(__FILE__, __LINE__, "%s", rows[i].text);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (search_parse(str_of(wrong[i]), &s, NULL) == 0)
			test_failed(__FILE__, __LINE__, "'%s' is taken for a search", wrong[i]);
}
