/* SPDX-License-Identifier: Apache-2.0 */
#include "op/page.h"

#include "op/training_job.h"

enum { PAGE_DEFAULT = 10 };

/* 0 stands for "none" in the store, and what is before 1970 or far away bounds the same as the nearest number. */
static struct wall bound(const json_t *in, const char *member)
{
	const json_t *v = json_object_get(in, member);
	double ms = v ? json_number_value(v) * 1000 + 0.5 : 0;

	if (!v)
		return (struct wall){ 0 };
	return (struct wall){ ms < 1 ? 1 : ms > 9e15 ? (int64_t)9e15 : (int64_t)ms };
}

struct store_list page_query(const json_t *in, bool descending)
{
	struct str sort = in_str(in, "SortBy"), order = in_str(in, "SortOrder");
	const json_t *max = json_object_get(in, "MaxResults");

	return (struct store_list){
		.sort = str_is(sort, "Name")     ? SORT_NAME
		        : str_is(sort, "Status") ? SORT_STATUS
		                                 : SORT_CREATION_TIME,
		.descending = order.n ? str_is(order, "Descending") : descending,
		.created_after = bound(in, "CreationTimeAfter"),
		.created_before = bound(in, "CreationTimeBefore"),
		.modified_after = bound(in, "LastModifiedTimeAfter"),
		.modified_before = bound(in, "LastModifiedTimeBefore"),
		.name_contains = in_str(in, "NameContains"),
		.status = in_str(in, "StatusEquals"),
		.training_plan = in_str(in, "TrainingPlanArnEquals"),
		.max = max ? (unsigned)json_integer_value(max) : PAGE_DEFAULT,
		.token = in_str(in, "NextToken"),
	};
}

void page_comma(struct buf *out)
{
	if (out->p[out->n - 1] == '}')
		buf_c(out, ',');
}

void page_end(struct buf *out, const char *token)
{
	buf_c(out, ']');
	if (token)
		buf_f(out, ",\"NextToken\":\"%s\"", token);
	buf_c(out, '}');
}
