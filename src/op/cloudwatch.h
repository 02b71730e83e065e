/* cloudwatch.h - what the files of CloudWatch's operations share; inside op/ only.
 *
 * cloudwatch_put.c, cloudwatch_list.c and cloudwatch_statistics.c are an operation each; GetMetricData is
 * cloudwatch_data.c (the request and its pages), cloudwatch_query.c (what is computed) and cloudwatch_label.c.
 * They are given checked requests; texts of refusals are the service's where those are known.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"
#include "series/series.h"

enum { CW_DIMENSIONS_MAX = 30 }; /* contract: the model's Dimensions */

/* A metric as requests name it: Namespace, MetricName, Dimensions; views into the request. */
struct cw_metric {
	struct series_key key;
	struct series_dimension dims[CW_DIMENSIONS_MAX];
};
/* `in` is what has MetricName and Dimensions. The unit is what `in` says, or none. */
void cw_metric_read(const json_t *in, struct str ns, struct cw_metric *ret);

/* A time of a request. */
struct wall cw_time(const json_t *number);
/* 1, 5, 10, 20, 30 or a multiple of 60. */
bool cw_period_fits(int64_t period);
/* From where to where is read, as the service rounds it: the older the start, the coarser (contract of
 * GetMetricStatistics in the service's own reference). */
struct series_window cw_window(struct wall start, struct wall end, int64_t period, struct wall now);
