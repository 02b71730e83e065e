/* SPDX-License-Identifier: Apache-2.0 */
#include "op/cloudwatch.h"

#include <math.h>

#include "op/training_job.h"

void cw_metric_read(const json_t *in, struct str ns, struct cw_metric *ret)
{
	const json_t *dims = json_object_get(in, "Dimensions"), *d;
	struct str unit = in_str(in, "Unit");
	size_t i;

	*ret = (struct cw_metric){ .key = { .ns = ns, .name = in_str(in, "MetricName") } };
	ret->key.unit = unit.n ? unit : (struct str){ 0 };
	json_array_foreach (dims, i, d)
		if (ret->key.dim_count < CW_DIMENSIONS_MAX)
			ret->dims[ret->key.dim_count++] = (struct series_dimension){ in_str(d, "Name"),
				                                                     in_str(d, "Value") };
	ret->key.dims = ret->dims;
}

struct wall cw_time(const json_t *number)
{
	return (struct wall){ llround(json_number_value(number) * 1000) };
}

bool cw_period_fits(int64_t period)
{
	return period == 1 || period == 5 || period == 10 || period == 20 || period == 30 ||
	       (period >= 60 && period % 60 == 0);
}

static int64_t round_down(int64_t t, int64_t step)
{
	int64_t rest = t % step;

	return t - (rest < 0 ? rest + step : rest);
}

struct series_window cw_window(struct wall start, struct wall end, int64_t period, struct wall now)
{
	int64_t from = round_down(start.ms, 1000) / 1000, to = -round_down(-end.ms, 1000) / 1000;
	int64_t age = now.ms / 1000 - from;
	int64_t step = period < 60 ? period : age < 15 * 86400 ? 60 : age < 63 * 86400 ? 300 : 3600;

	return (struct series_window){ .start = round_down(from, step), .end = to, .period = period };
}
