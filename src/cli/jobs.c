/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/access.h"
#include "cli/commands.h"

enum { PAGE = 100 };

/* The request for up to `want` jobs, as the options say. */
static json_t *request_of(const struct cli_args *a, int64_t want)
{
	static const struct {
		const char *option, *member;
	} filters[] = { { "status", "StatusEquals" }, { "name-contains", "NameContains" } };
	json_t *in = json_pack("{ss ss sI}", "SortBy", "CreationTime", "SortOrder",
	                       cli_flag(a, "oldest-first") ? "Ascending" : "Descending", "MaxResults",
	                       (json_int_t)(want < PAGE ? want : PAGE));

	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		if (cli_flag(a, filters[i].option))
			json_object_set_new(in, filters[i].member, json_string(cli_text(a, filters[i].option, "")));
	return in;
}

/* Pages until there are `most`, or no more. */
static int list(struct access *s, const struct cli_args *a, int64_t most, json_t *all, struct err *e)
{
	_cleanup_free_ char *token = NULL;

	do {
		json_t *in = request_of(a, most - (int64_t)json_array_size(all)), *out;
		const char *next;

		if (token)
			json_object_set_new(in, "NextToken", json_string(token));
		if (access_call(s, "sagemaker", "SageMaker.ListTrainingJobs", in, &out, e) < 0)
			return -1;
		json_array_extend(all, json_object_get(out, "TrainingJobSummaries"));
		next = json_string_value(json_object_get(out, "NextToken"));
		cleanup_freep(&token);
		token = next ? xstrdup(next) : NULL;
		json_decref(out);
	} while (token && (int64_t)json_array_size(all) < most);
	return 0;
}

static void print_table(const json_t *jobs)
{
	int width = 4;

	for (size_t i = 0; i < json_array_size(jobs); i++) {
		int n = (int)json_string_length(json_object_get(json_array_get(jobs, i), "TrainingJobName"));

		width = n > width ? n : width;
	}
	printf("%-*s  %-11s  %-19s  %s\n", width, "NAME", "STATUS", "CREATED", "TIME");
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		const json_t *j = json_array_get(jobs, i), *end = json_object_get(j, "TrainingEndTime");
		const char *name = json_string_value(json_object_get(j, "TrainingJobName"));
		const char *status = json_string_value(json_object_get(j, "TrainingJobStatus"));
		double start = json_number_value(json_object_get(j, "CreationTime"));
		double until = json_number_value(end ? end : json_object_get(j, "LastModifiedTime"));
		char created[CLI_TIME_BYTES], lasted[CLI_TIME_BYTES];

		if (!job_is_final(j))
			until = (double)wall_now().ms / 1000;
		printf("%-*s  %-11s  %-19s  %s\n", width, name ? name : "?", status ? status : "?",
		       access_time(json_object_get(j, "CreationTime"), created),
		       access_duration(until > start ? until - start : 0, lasted));
	}
}

int command_jobs(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	json_t *all;
	int64_t most;
	int rc;

	if (cli_number(a, "max", 1, 1000000, 20, &most, e) < 0 || access_open(a, &s, e) < 0)
		return -1;
	all = json_array();
	rc = list(&s, a, most, all, e);
	if (rc == 0 && cli_flag(a, "json")) {
		json_t *j = json_pack("{sO}", "TrainingJobSummaries", all);

		print_json(j);
		json_decref(j);
	} else if (rc == 0) {
		print_table(all);
	}
	json_decref(all);
	return rc;
}
