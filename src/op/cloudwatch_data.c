/* GetMetricData: the request and its pages. SPDX-License-Identifier: Apache-2.0
 *
 * Everything is computed for every page, and a page is a part of it: NextToken says how many points were given already,
 * and of which request. */
#include "base/hash.h"
#include "op/cloudwatch_query.h"
#include "op/training_job.h"

enum { POINTS_MAX = 100800, MARK_BYTES = 8 };

/* ---- tokens: MARK.POINTS.SERIES ---- */

struct page {
	size_t skip_points, skip_series; /* given before */
	size_t left;                     /* points that still fit */
	size_t points, series;           /* given, with those before */
	bool more;
};

/* What the request is without where it goes on. */
static char *mark_of(json_t *in)
{
	_cleanup_free_ char *text = NULL;
	struct buf mark = { 0 };
	unsigned char digest[SHA256_BYTES];

	json_object_del(in, "NextToken");
	text = json_dumps(in, JSON_COMPACT | JSON_SORT_KEYS);
	must(text);
	sha256(str_of(text), digest);
	buf_hex(&mark, digest, MARK_BYTES);
	return buf_take(&mark);
}

static int read_token(struct str token, const char *mark, struct page *p, struct err *e)
{
	uint64_t points, series;

	if (!token.n)
		return 0;
	if (!str_is(str_cut(&token, '.'), mark) || !str_to_u64(str_cut(&token, '.'), &points) ||
	    !str_to_u64(token, &series))
		return err_set(e, ERR_TOKEN, "The value for parameter NextToken is invalid.");
	p->skip_points = points;
	p->skip_series = series;
	return 0;
}

/* ---- results ---- */

/* Points [from, to) of the line in the order that is asked for. */
static json_t *result(const struct queries *all, const struct query *q, size_t at, size_t from, size_t to,
                      bool ascending)
{
	const struct math_line *l = &q->value.lines[at];
	_cleanup_free_ char *label = query_label(all, q, at);
	json_t *times = json_array(), *values = json_array(), *r;

	for (size_t i = from; i < to; i++) {
		size_t k = ascending ? i : l->n - 1 - i;

		json_array_append_new(times, json_integer(l->t[k]));
		json_array_append_new(values, json_real(l->v[k]));
	}
	r = json_pack("{s:s%, s:s, s:o, s:o, s:s}", "Id", q->id.p, q->id.n, "Label", label, "Timestamps", times,
	              "Values", values, "StatusCode", to < l->n ? "PartialData" : "Complete");
	must(r);
	return r;
}

/* A series is on the page with what fits; one without points is there once. */
static void add_line(const struct queries *all, const struct query *q, size_t at, bool ascending, struct page *p,
                     json_t *results)
{
	size_t n = q->value.lines[at].n, from = 0, to;

	if (p->more)
		return;
	if (p->skip_series) { /* given whole, before */
		p->skip_series--;
		p->series++;
		return;
	}
	from = p->skip_points;
	p->skip_points = 0;
	from = from < n ? from : n;
	to = n - from > p->left ? from + p->left : n;
	if (to == from && n > from) {
		p->more = true;
		p->points = from;
		return;
	}
	json_array_append_new(results, result(all, q, at, from, to, ascending));
	p->left -= to - from;
	if (to < n) {
		p->more = true;
		p->points = to;
	} else {
		p->series++;
	}
}

static int check_returned(const struct query *q, struct err *e)
{
	if (q->value.kind == MATH_LINE || q->value.kind == MATH_LINES)
		return 0;
	return err_set(e, ERR_INVALID,
	               "Error in expression '" PRIstr "': It is a number; what is returned must be a time series. Use "
	               "TIME_SERIES(), or set ReturnData to false.",
	               ARGstr(q->id));
}

static int add_results(struct queries *all, bool ascending, struct page *p, json_t *results, json_t *messages,
                       struct err *e)
{
	for (size_t i = 0; i < all->n; i++) {
		struct query *q = &all->v[i];

		if (query_run(all, q, e) < 0)
			return -1;
		if (!q->returns)
			continue;
		if (check_returned(q, e) < 0)
			return -1;
		for (size_t k = 0; k < q->value.n; k++)
			add_line(all, q, k, ascending, p, results);
		if (q->cut)
			json_array_append_new(messages,
			                      json_pack("{s:s, s:s}", "Code", "MaxMetricsExceeded", "Value",
			                                "A SEARCH has found more than 100 metrics; the first 100 are "
			                                "returned."));
	}
	return 0;
}

int op_get_metric_data(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *max = json_object_get(in, "MaxDatapoints");
	_cleanup_free_ char *token = str_dup(in_str(in, "NextToken")), *mark = mark_of(in);
	struct page p = { .left = max ? (size_t)json_integer_value(max) : POINTS_MAX };
	struct queries all = { 0 };
	json_t *results, *messages;
	int rc;

	if (max && (json_integer_value(max) < 1 || json_integer_value(max) > POINTS_MAX))
		return err_set(e, ERR_INVALID, "The value %lld for parameter MaxDatapoints must be between 1 and %d.",
		               (long long)json_integer_value(max), POINTS_MAX);
	if (read_token(str_of(token), mark, &p, e) < 0 || queries_read(call, in, &all, e) < 0)
		return -1;
	results = json_array();
	messages = json_array();
	rc = add_results(&all, str_is(in_str(in, "ScanBy"), "TimestampAscending"), &p, results, messages, e);
	queries_fini(&all);
	if (rc < 0) {
		json_decref(results);
		json_decref(messages);
		return -1;
	}
	*ret_out = json_pack("{s:o, s:o}", "MetricDataResults", results, "Messages", messages);
	must(*ret_out);
	if (p.more) {
		_cleanup_free_ char *next = strf("%s.%zu.%zu", mark, p.points, p.series);

		json_object_set_new(*ret_out, "NextToken", json_string(next));
	}
	return 0;
}
