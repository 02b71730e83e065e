/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "cli/access.h"
#include "cli/commands.h"

/* So that a job that is not there is an error, and not an empty log. */
static int describe(struct access *s, const char *name, json_t **ret, struct err *e)
{
	return access_call(s, "sagemaker", "SageMaker.DescribeTrainingJob", json_pack("{ss}", "TrainingJobName", name),
	                   ret, e);
}

int command_logs(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	struct follow_options o = { .name = a->rest[0], .lines_to = stdout, .progress = isatty(1) && isatty(2) };
	struct log_cursor *cursor = NULL;
	json_t *description = NULL;
	unsigned hosts;
	bool any;
	int rc;

	if (access_open(a, &s, e) < 0 || describe(&s, o.name, &description, e) < 0)
		return -1;
	hosts = job_host_count(description);
	json_decref(description);
	if (cli_flag(a, "follow")) {
		if (follow_job_log(&s, &o, &description, e) < 0)
			return -1;
		json_decref(description);
		return EXIT_DONE;
	}
	rc = log_print_more(&s, o.name, hosts, &cursor, stdout, &any, e);
	log_cursor_free(cursor);
	return rc;
}
