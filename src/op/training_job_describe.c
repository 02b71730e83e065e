/* DescribeTrainingJob: kept text around what changes (contract 5.10, 14.3). SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "aws/wire.h"
#include "op/training_job.h"
#include "series/series.h"
#include "store/store.h"

/* ---- the echo ---- */

static void echo_profiling(struct buf *out, const json_t *request)
{
	const json_t *p = json_object_get(request, "ProfilerConfig");
	bool on = p && !json_is_true(json_object_get(p, "DisableProfiler"));

	buf_f(out, "\"ProfilingStatus\":\"%s\",", on ? "Enabled" : "Disabled");
}

/* S3OutputPath/NAME/output/model.tar.gz, from creation on; what is not packed lies below output/model (contract 4.1:
 * SDKs append a '/' to that and give it to a model). */
static void echo_artifacts(struct buf *out, const json_t *request)
{
	const json_t *output = json_object_get(request, "OutputDataConfig");
	bool plain = str_is(in_str(output, "CompressionType"), "NONE");
	struct str path = in_str(output, "S3OutputPath");
	_cleanup_buf_ struct buf uri = { 0 };

	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	buf_f(&uri, PRIstr "/" PRIstr "/output/model%s", ARGstr(path), ARGstr(in_str(request, "TrainingJobName")),
	      plain ? "" : ".tar.gz");
	buf_z(out, "\"ModelArtifacts\":{\"S3ModelArtifacts\":");
	add_json_string(out, buf_view(&uri));
	buf_z(out, "},\n");
}

char *training_job_echo(const json_t *request)
{
	/* NULL: the next piece. In the order of DescribeTrainingJobResponse. */
	static const char *const order[] = { "HyperParameters",
		                             "AlgorithmSpecification",
		                             "RoleArn",
		                             "InputDataConfig",
		                             "OutputDataConfig",
		                             "ResourceConfig",
		                             "VpcConfig",
		                             "StoppingCondition",
		                             NULL,
		                             "EnableNetworkIsolation",
		                             "EnableInterContainerTrafficEncryption",
		                             "EnableManagedSpotTraining",
		                             "CheckpointConfig",
		                             NULL,
		                             "DebugHookConfig",
		                             "ExperimentConfig",
		                             "DebugRuleConfigurations",
		                             "TensorBoardOutputConfig",
		                             "ProfilerConfig",
		                             "ProfilerRuleConfigurations",
		                             "ProfilingStatus",
		                             "Environment",
		                             "RetryStrategy",
		                             "RemoteDebugConfig",
		                             "InfraCheckConfig",
		                             "ServerlessJobConfig",
		                             "MlflowConfig",
		                             "ModelPackageConfig" };
	_cleanup_buf_ struct buf out = { 0 };

	echo_artifacts(&out, request);
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if (!order[i])
			buf_c(&out, '\n');
		else if (!strcmp(order[i], "ProfilingStatus"))
			echo_profiling(&out, request);
		else
			reply_echo(&out, request, order[i]);
	return buf_take(&out);
}

/* ---- the reply ---- */

static void add_transitions(struct buf *out, const struct store_description *d)
{
	buf_z(out, "\"SecondaryStatusTransitions\":[");
	for (size_t i = 0; i < d->transition_count; i++) {
		const struct store_transition *t = &d->transitions[i];

		buf_f(out, "%s{\"Status\":\"%s\",\"StartTime\":", i ? "," : "", t->status);
		add_seconds(out, t->start);
		if (t->end.ms) {
			buf_z(out, ",\"EndTime\":");
			add_seconds(out, t->end);
		}
		buf_z(out, ",\"StatusMessage\":");
		add_json_string(out, str_of(t->message));
		buf_c(out, '}');
	}
	buf_z(out, "],");
}

static void add_final(void *arg, const struct series_job_metric *m)
{
	struct buf *out = arg;

	if (!m->is_final)
		return;
	buf_z(out, out->n ? "," : "");
	buf_z(out, "{\"MetricName\":");
	add_json_string(out, m->metric);
	buf_z(out, ",\"Value\":");
	buf_double(out, m->final_value);
	buf_z(out, ",\"Timestamp\":");
	add_seconds(out, m->final_at);
	buf_c(out, '}');
}

/* The last value of each metric of the definitions, once there can be no other (contract 6.3). */
static int add_metrics(const struct api *api, const struct stored_job *j, struct buf *out, struct err *e)
{
	_cleanup_buf_ struct buf list = { 0 };

	if (!api->series || !job_state_info[j->state].final)
		return 0;
	if (series_job_metrics(api->series, str_of(j->id), add_final, &list, e) < 0)
		return -1;
	if (list.n)
		buf_f(out, "\"FinalMetricDataList\":[%s],", list.p);
	return 0;
}

/* contract 5.4 */
static void add_durations(struct buf *out, const struct stored_job *j)
{
	int64_t seconds;

	if (!j->started.ms || !j->ended.ms)
		return;
	seconds = (j->ended.ms - j->started.ms) / 1000;
	if (seconds < 1)
		seconds = 1;
	buf_f(out, "\"TrainingTimeInSeconds\":%lld,\"BillableTimeInSeconds\":%lld,", (long long)seconds,
	      (long long)seconds);
}

static int describe(const struct api *api, const struct store_description *d, struct buf *out, struct err *e)
{
	const struct stored_job *j = &d->job;
	const struct job_state_info *state = &job_state_info[j->state];
	struct str echo = str_of(d->echo);

	buf_need(out, echo.n + 2048);
	buf_c(out, '{');
	reply_text(out, "TrainingJobName", j->name);
	reply_text(out, "TrainingJobArn", j->arn);
	buf_str(out, str_cut(&echo, '\n'));
	reply_text(out, "TrainingJobStatus", state->status);
	reply_text(out, "SecondaryStatus", state->secondary);
	if (j->state == JOB_FAILED && j->failure_reason)
		reply_text(out, "FailureReason", j->failure_reason);
	buf_str(out, str_cut(&echo, '\n'));
	reply_time(out, "CreationTime", j->created);
	reply_time(out, "TrainingStartTime", j->started);
	reply_time(out, "TrainingEndTime", j->ended);
	reply_time(out, "LastModifiedTime", j->modified);
	add_transitions(out, d);
	if (add_metrics(api, j, out, e) < 0)
		return -1;
	buf_str(out, str_cut(&echo, '\n'));
	add_durations(out, j);
	buf_str(out, echo);
	out->p[out->n - 1] = '}'; /* every member ended with a comma */
	return 0;
}

int op_describe_training_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_description d;
	int rc;

	(void)ret_out;
	if (store_describe(call->api->store, KIND_TRAINING, in_str(in, "TrainingJobName"), &d, e) < 0)
		return not_found_is_invalid(e);
	rc = describe(call->api, &d, call->raw, e);
	store_description_fini(&d);
	return rc;
}
