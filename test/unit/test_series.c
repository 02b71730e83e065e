/* SPDX-License-Identifier: Apache-2.0 */
#include "series/series.h"

#include <math.h>
#include <stdlib.h>

#include "harness.h"

static const struct series_dimension host_a[] = { { STR("Host"), STR("a") }, { STR("Kind"), STR("b:c") } };
static const struct series_dimension a_host[] = { { STR("Kind"), STR("b:c") }, { STR("Host"), STR("a") } };

static struct series_key key_of(const char *name)
{
	return (struct series_key){
		.ns = STR("ns"), .name = str_of(name), .dims = host_a, .dim_count = 2, .unit = STR("None")
	};
}

static struct series_store *open_store(void)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());
	struct series_store *s = NULL;

	CHECK_OK(series_store_open(path, &s, e));
	return s;
}

static uint64_t seed = 88172645463325252ULL;
static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* ---- roll-ups ---- */

enum { VALUES = 20000, SPAN_S = 8000 };
struct put {
	int64_t ms;
	double value;
};

/* What the values of [from, to) come to, computed from all of them. */
static bool naive(const struct put *all, int64_t from_s, int64_t to_s, struct series_point *ret, double *ret_p90)
{
	_cleanup_free_ double *in = xcalloc(VALUES, sizeof(*in));
	struct series_point p = { .min = INFINITY, .max = -INFINITY };
	size_t n = 0;

	for (size_t i = 0; i < VALUES; i++) {
		if (all[i].ms < from_s * 1000 || all[i].ms >= to_s * 1000)
			continue;
		in[n++] = all[i].value;
		p.count++;
		p.sum += all[i].value;
		p.min = fmin(p.min, all[i].value);
		p.max = fmax(p.max, all[i].value);
	}
	if (!n)
		return false;
	qsort(in, n, sizeof(*in), by_value);
	*ret_p90 = in[(size_t)ceil((double)n * 0.9) - 1];
	*ret = p;
	return true;
}

static void check_window(struct series_store *s, const struct put *all, const struct series_key *key,
                         const struct series_window *w, struct wall now)
{
	struct stat_name p90;
	struct series_points got = { 0 };
	size_t at = 0;

	CHECK(stat_parse(STR("p90"), &p90));
	CHECK_OK(series_read_points(s, key, w, now, &got, e));
	for (int64_t t = w->start; t < w->end; t += w->period) {
		struct series_point want;
		double want_p90, p;

		if (!naive(all, t, t + w->period < w->end ? t + w->period : w->end, &want, &want_p90))
			continue;
		CHECK(at < got.n);
		if (at == got.n)
			break;
		CHECK_INT(got.v[at].t, t);
		CHECK(got.v[at].count == want.count && got.v[at].min == want.min && got.v[at].max == want.max);
		CHECK(fabs(got.v[at].sum - want.sum) <= 1e-9 * (1 + fabs(want.sum)));
		CHECK(stat_of(&p90, &got.v[at], &p));
		CHECK(fabs(p - want_p90) <= 0.0101 * fabs(want_p90));
		if (want.count <= SKETCH_EXACT && w->period == 1)
			CHECK(p == want_p90);
		at++;
	}
	CHECK_INT(at, got.n);
	series_points_fini(&got);
}

TEST(points_of_every_resolution_are_what_the_values_come_to)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	_cleanup_free_ struct put *all = xcalloc(VALUES, sizeof(*all));
	int64_t start = 1700000000 / 3600 * 3600;
	struct wall now = { (start + SPAN_S) * 1000 };
	struct series_key key = key_of("m"), same = key;

	same.dims = a_host; /* the order of dimensions does not matter */
	for (size_t i = 0; i < VALUES; i++) {
		all[i].ms = start * 1000 + (int64_t)(draw() % (SPAN_S * 1000));
		all[i].value = exp((double)(draw() % 2000) / 100 - 10) * (draw() % 5 ? 1 : -1);
		series_batch_add(b, series_batch_key(b, &key), (struct wall){ all[i].ms }, all[i].value, 1, true);
		if (draw() % 400 == 0) /* many transactions, so that old points are merged with */
			CHECK_OK(series_commit(s, b, now, false, e));
	}
	CHECK_OK(series_commit(s, b, now, true, e));
	for (size_t i = 0; i < 2; i++) {
		const struct series_key *k = i ? &same : &key;

		check_window(s, all, k, &(struct series_window){ start, start + SPAN_S, 3600, true }, now);
		check_window(s, all, k, &(struct series_window){ start, start + SPAN_S, 300, true }, now);
		check_window(s, all, k, &(struct series_window){ start + 60, start + SPAN_S, 180, true }, now);
		check_window(s, all, k, &(struct series_window){ start, start + 600, 1, true }, now);
		check_window(s, all, k, &(struct series_window){ start + 7, start + 1007, 10, true }, now);
	}
}

TEST(resolutions_are_kept_as_long_as_they_say)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	static const int64_t after[] = { 3 * 3600, 15 * 86400, 63 * 86400, 455LL * 86400 };
	int64_t t = 1700000000 / 3600 * 3600;
	struct series_key key = key_of("m");

	series_batch_add(b, series_batch_key(b, &key), (struct wall){ t * 1000 }, 4, 3, true);
	CHECK_OK(series_commit(s, b, (struct wall){ t * 1000 }, true, e));
	for (size_t age = 0; age <= ARRAY_LEN(after); age++) {
		struct wall now = { (t + (age ? after[age - 1] + 3700 : 0)) * 1000 };
		struct series_key other = key_of("other");

		/* with every commit a little of what is too old goes */
		series_batch_add(b, series_batch_key(b, &other), now, 1, 1, false);
		CHECK_OK(series_commit(s, b, now, false, e));
		for (size_t i = 0; i < ARRAY_LEN(after); i++) {
			const int64_t period = series_tiers[i].seconds;
			struct series_points got = { 0 };

			CHECK_OK(series_read_points(s, &key,
			                            &(struct series_window){ period == 3600 ? t : t - period % 3600,
			                                                     t + period, period, false },
			                            now, &got, e));
			CHECK_INT(got.n, i >= age ? 1 : 0);
			series_points_fini(&got);
		}
	}
	for (int i = 0; i < 3; i++) { /* and in the end the metric itself */
		struct series_key other = key_of("other");
		struct wall now = { (t + 500LL * 86400) * 1000 };

		series_batch_add(b, series_batch_key(b, &other), now, 1, 1, false);
		CHECK_OK(series_commit(s, b, now, false, e));
	}
	struct series_metrics list = { 0 };
	CHECK_OK(series_list(s, &(struct series_filter){ .limit = 10 }, &list, e));
	CHECK_INT(list.n, 1);
	CHECK_STR(list.n ? list.v[0].name : "", "other");
	series_metrics_fini(&list);
}

TEST(sums_never_leave_what_a_number_can_be)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	struct series_key key = key_of("m");
	struct wall t = { 1700000000000 };
	struct series_points got = { 0 };

	for (int i = 0; i < 6; i++) {
		series_batch_add(b, series_batch_key(b, &key), t, i % 3 ? 1.7e308 : -1.7e308, 1, false);
		CHECK_OK(series_commit(s, b, t, false, e));
	}
	for (int i = 0; i < 200; i++) /* so many that the sketch is rough */
		series_batch_add(b, series_batch_key(b, &key), t, ldexp(1.99, 1023 - 10 * i), 1, false);
	CHECK_OK(series_commit(s, b, t, false, e));
	CHECK_OK(series_read_points(s, &key, &(struct series_window){ 1699999980, 1700000100, 60, true }, t, &got, e));
	CHECK_INT(got.n, 1);
	CHECK(got.n && isfinite(got.v[0].sum) && got.v[0].count == 206);
	series_points_fini(&got);
}

/* ---- lists ---- */

TEST(metrics_are_listed_by_filter_and_page)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	struct series_metrics page = { 0 };
	int64_t after = 0;
	size_t seen = 0;

	for (int i = 0; i < 25; i++) {
		_cleanup_free_ char *name = strf("m%d", i % 5), *host = strf("h%d", i / 5);
		struct series_dimension d = { STR("Host"), str_of(host) };
		struct series_key key = { STR("ns"), str_of(name), &d, 1, STR("None") };

		series_batch_add(b, series_batch_key(b, &key), (struct wall){ 1000 * i }, 1, 1, false);
	}
	CHECK_OK(series_commit(s, b, (struct wall){ 0 }, false, e));
	do {
		CHECK_OK(series_list(s, &(struct series_filter){ .ns = STR("ns"), .after = after, .limit = 7 }, &page,
		                     e));
		seen += page.n;
		if (page.n)
			after = page.v[page.n - 1].id;
		series_metrics_fini(&page);
	} while (seen < 25);
	CHECK_OK(series_list(s, &(struct series_filter){ .after = after, .limit = 7 }, &page, e));
	CHECK_INT(page.n, 0);
	const struct series_dimension h2 = { STR("Host"), STR("h2") }, any = { STR("Host"), { 0 } },
	                              none = { STR("Nobody"), { 0 } };
	const struct {
		struct series_filter f;
		size_t want;
	} rows[] = {
		{ { .name = STR("m3"), .limit = 50 }, 5 },
		{ { .dims = &h2, .dim_count = 1, .limit = 50 }, 5 },
		{ { .name = STR("m3"), .dims = &h2, .dim_count = 1, .limit = 50 }, 1 },
		{ { .dims = &any, .dim_count = 1, .limit = 50 }, 25 },
		{ { .dims = &none, .dim_count = 1, .limit = 50 }, 0 },
		{ { .ns = STR("no"), .limit = 50 }, 0 },
		{ { .since = { 20000 }, .limit = 50 }, 5 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_OK(series_list(s, &rows[i].f, &page, e));
		CHECK_INT(page.n, rows[i].want);
		series_metrics_fini(&page);
	}
}

/* ---- jobs ---- */

static void count_values(void *arg, const struct series_value *v)
{
	double *sum = arg;

	sum[0]++;
	sum[1] = sum[1] * 10 + v->value; /* their order */
	CHECK(!v->has_step || v->step == 7);
}

static void note_final(void *arg, const struct series_job_metric *m)
{
	buf_f(arg, PRIstr "/" PRIstr "=%g", ARGstr(m->host), ARGstr(m->metric), m->value);
	if (m->is_final)
		buf_f(arg, "(%g)", m->final_value);
	buf_c(arg, ' ');
}

TEST(values_of_jobs_come_with_the_place_they_are_from)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	_cleanup_buf_ struct buf said = { 0 };
	struct series_value v = { .job = STR("j1"), .metric = STR("loss"), .at = { 3000 }, .value = 3 };
	double sum[2] = { 0 };
	uint64_t at = 9;

	CHECK_OK(series_cursor(s, STR("h1"), &at, e));
	CHECK_INT(at, 0);
	series_batch_value(b, &v);
	v.at.ms = 1000;
	v.value = 1;
	v.has_step = true;
	v.step = 7;
	series_batch_value(b, &v);
	v.at.ms = 5000;
	v.value = 5;
	v.source = SERIES_FROM_API;
	series_batch_value(b, &v);
	series_batch_sample(b, STR("j1"), STR("algo-1"), STR("CPUUtilization"), (struct wall){ 10 }, 50);
	series_batch_cursor(b, STR("h1"), STR("j1"), 1234, STR("[]"));
	CHECK_OK(series_commit(s, b, (struct wall){ 5000 }, false, e));
	series_batch_cursor(b, STR("h1"), STR("j1"), 2345, (struct str){ 0 });
	CHECK_OK(series_commit(s, b, (struct wall){ 5000 }, false, e));
	CHECK_OK(series_cursor(s, STR("h1"), &at, e));
	CHECK_INT(at, 2345);
	CHECK_OK(series_job_values(s, STR("j1"), STR("loss"), count_values, sum, e));
	CHECK(sum[0] == 3 && sum[1] == 135);
	CHECK_OK(series_job_metrics(s, STR("j1"), note_final, &said, e));
	CHECK_STR(said.p, "/loss=5(3) algo-1/CPUUtilization=50 ");
	CHECK_OK(series_forget_job(s, STR("j1"), e));
	CHECK_OK(series_job_values(s, STR("j1"), STR("loss"), count_values, sum, e));
	CHECK(sum[0] == 3);
	CHECK_OK(series_cursor(s, STR("h1"), &at, e));
	CHECK_INT(at, 0);
}

TEST(a_job_has_no_more_metrics_than_there_may_be)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	_cleanup_buf_ struct buf said = { 0 };
	struct err why = { 0 };

	for (int i = 0; i < SERIES_JOB_METRICS_MAX + 5; i++) {
		_cleanup_free_ char *name = strf("m%d", i);

		series_batch_value(b, &(struct series_value){ .job = STR("j"), .metric = str_of(name) });
	}
	CHECK_OK(series_commit(s, b, (struct wall){ 0 }, false, e));
	CHECK_OK(series_job_metrics(s, STR("j"), note_final, &said, e));
	CHECK_INT(str_find(buf_view(&said), STR("/m2000=")), -1);
	CHECK(str_find(buf_view(&said), STR("/m1999=")) > 0);
	series_batch_be_strict(b);
	series_batch_value(b, &(struct series_value){ .job = STR("j"), .metric = STR("new") });
	CHECK(series_commit(s, b, (struct wall){ 0 }, false, &why) < 0);
	CHECK_INT(why.kind, ERR_LIMIT);
}

/* ---- sketches and statistics ---- */

static double stat(const char *name, const double *values, size_t n)
{
	struct series_point p = { 0 };
	struct stat_name s;
	double ret = NAN;

	for (size_t i = 0; i < n; i++) {
		struct series_point one = { .count = 1, .sum = values[i], .min = values[i], .max = values[i] };

		series_point_merge(&p, &one);
	}
	CHECK(stat_parse(str_of(name), &s));
	if (!stat_of(&s, &p, &ret))
		ret = NAN;
	sketch_fini(&p.sketch);
	return ret;
}

TEST(statistics_of_ten_values)
{
	static const double v[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 100 };
	static const struct {
		const char *name;
		double want;
	} rows[] = {
		{ "SampleCount", 10 },  { "Average", 14.5 }, { "Sum", 145 },         { "Minimum", 1 },
		{ "Maximum", 100 },     { "p0", 1 },         { "p10", 1 },           { "p50", 5 },
		{ "p90", 9 },           { "p99.9", 100 },    { "p100", 100 },        { "tm90", 5 },
		{ "TM(10%:90%)", 5.5 }, { "tc90", 9 },       { "ts90", 45 },         { "TS(80%:)", 109 },
		{ "IQM", 5.5 },         { "TM(2:5)", 4 },    { "TC(2:5)", 3 },       { "PR(:9)", 90 },
		{ "PR(9:)", 10 },       { "wm90", 5.4 },     { "WM(10%:90%)", 5.4 }, { "WM(:9)", 5.4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!(fabs(stat(rows[i].name, v, ARRAY_LEN(v)) - rows[i].want) < 1e-12))
			test_failed(__FILE__, __LINE__, "%s: %.17g", rows[i].name, stat(rows[i].name, v, ARRAY_LEN(v)));
	CHECK(isnan(stat("TM(200:300)", v, ARRAY_LEN(v))));
	CHECK(stat("p99", (double[]){ 4, 4, 4 }, 3) == 4);
}

TEST(what_no_statistic_is_called)
{
	static const char *const names[] = { "",         "average",   "p",    "p101",  "p-1",     "p1.2.3",    "pr",
		                             "pr50",     "PR(1%:2%)", "TM()", "TM(:)", "TM(5:1)", "TM(1%:50)", "TM(1%",
		                             "TM(-5%:)", "p(1:2)",    "tm9O", "p 50",  "p0x10",   "pinf" };
	struct stat_name s;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (stat_parse(str_of(names[i]), &s))
			test_failed(__FILE__, __LINE__, "'%s' is taken for a statistic", names[i]);
}

TEST(a_sketch_survives_its_bytes)
{
	for (int n = 0; n < 3000; n = n * 2 + 1) {
		struct sketch a = { 0 }, b = { 0 };
		_cleanup_buf_ struct buf bytes = { 0 }, again = { 0 };

		for (int i = 0; i < n; i++)
			sketch_add(&a, ((double)(int64_t)draw()) / 1e10, i % 3 ? 1 : 0.25 * (i + 1));
		sketch_write(&a, &bytes);
		CHECK(sketch_read(buf_view(&bytes), &b));
		CHECK(a.n == b.n && a.rough == b.rough && a.n <= SKETCH_BINS);
		sketch_write(&b, &again);
		CHECK(str_eq(buf_view(&bytes), buf_view(&again)));
		for (size_t cut = 1; cut < bytes.n; cut += 1 + cut / 8) { /* torn and twisted bytes do no harm */
			struct sketch c = { 0 };

			if (sketch_read((struct str){ bytes.p, cut }, &c))
				sketch_fini(&c);
			bytes.p[cut] ^= (char)draw();
			if (sketch_read(buf_view(&bytes), &c))
				sketch_fini(&c);
		}
		sketch_fini(&a);
		sketch_fini(&b);
	}
}
