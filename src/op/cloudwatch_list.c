/* ListMetrics. SPDX-License-Identifier: Apache-2.0 */
#include "op/cloudwatch.h"
#include "op/training_job.h"

enum { PAGE = 500, RECENT_MS = 3 * 3600 * 1000, FILTERS_MAX = 10 };

static json_t *metric(const struct series_metric *m)
{
	json_t *dims = json_array();

	for (size_t i = 0; i < m->dim_count; i++)
		json_array_append_new(dims, json_pack("{s:s%, s:s%}", "Name", m->dims[i].name.p, m->dims[i].name.n,
		                                      "Value", m->dims[i].value.p, m->dims[i].value.n));
	return json_pack("{s:s, s:s, s:o}", "Namespace", m->ns, "MetricName", m->name, "Dimensions", dims);
}

static int check_token(struct str token, int64_t *ret, struct err *e)
{
	if (!token.n || (str_skip(&token, STR("m")) && str_to_i64(token, ret) && *ret > 0))
		return 0;
	return err_set(e, ERR_PARAMETER, "The value for parameter NextToken is invalid.");
}

/* By id, so metrics that come meanwhile are at the end, and the pages end. */
int op_list_metrics(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *filters = json_object_get(in, "Dimensions"), *x;
	struct str ns = in_str(in, "Namespace"), name = in_str(in, "MetricName"), value;
	struct series_dimension dims[FILTERS_MAX];
	struct series_filter f = { .dims = dims, .limit = PAGE + 1 };
	struct series_metrics found = { 0 };
	json_t *list = json_array();
	size_t i;

	f.ns = ns.n ? ns : (struct str){ 0 };
	f.name = name.n ? name : (struct str){ 0 };
	json_array_foreach (filters, i, x) {
		value = in_str(x, "Value");
		if (f.dim_count < FILTERS_MAX)
			dims[f.dim_count++] = (struct series_dimension){ in_str(x, "Name"),
				                                         value.n ? value : (struct str){ 0 } };
	}
	if (json_object_get(in, "RecentlyActive"))
		f.since.ms = call->now.ms - RECENT_MS;
	if (check_token(in_str(in, "NextToken"), &f.after, e) < 0 ||
	    series_list(call->api->series, &f, &found, e) < 0) {
		json_decref(list);
		return -1;
	}
	for (i = 0; i < found.n && i < PAGE; i++)
		json_array_append_new(list, metric(&found.v[i]));
	*ret_out = json_pack("{s:o}", "Metrics", list);
	if (found.n > PAGE) {
		_cleanup_free_ char *token = strf("m%lld", (long long)found.v[PAGE - 1].id);

		json_object_set_new(*ret_out, "NextToken", json_string(token));
	}
	series_metrics_fini(&found);
	return 0;
}
