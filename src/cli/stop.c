/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "cli/access.h"
#include "cli/commands.h"

int command_stop(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	struct follow_options o = {
		.name = a->rest[0], .quiet = true, .view = { .to = stdout }, .progress = isatty(2)
	};
	json_t *reply = NULL;

	if (access_open(a, &s, e) < 0)
		return -1;
	if (access_call(&s, "sagemaker", "SageMaker.StopTrainingJob", json_pack("{ss}", "TrainingJobName", o.name),
	                &reply, e) < 0)
		return -1;
	json_decref(reply);
	if (!cli_flag(a, "wait"))
		return EXIT_DONE;
	if (follow_job_log(&s, &o, &reply, e) < 0)
		return -1;
	printf("%s: %s\n", o.name, json_string_value(json_object_get(reply, "TrainingJobStatus")));
	json_decref(reply);
	return EXIT_DONE;
}
