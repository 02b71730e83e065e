/* bloomery train: uploads what is local, creates the job, and, when asked, follows it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/access.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/upload.h"

enum { NAME_MAX_BYTES = 63 };

/* The image's name without registry and tag, and the time, as a job may be called. */
static char *default_name(const char *image)
{
	struct str s = str_of(image);
	struct buf b = { 0 };
	char when[CLOCK_TEXT_BYTES];

	s = str_cut_last(&s, '/');
	s = str_cut(&s, '@');
	s = str_cut(&s, ':');
	for (size_t i = 0; i < s.n && b.n < 36; i++)
		buf_c(&b, isalnum((unsigned char)s.p[i]) ? s.p[i] : '-');
	while (b.n && b.p[b.n - 1] == '-')
		b.p[--b.n] = 0;
	if (!b.n || b.p[0] == '-')
		buf_z(&b, "job");
	wall_iso8601(wall_now(), when);
	buf_c(&b, '-');
	for (const char *at = when; *at && *at != 'Z'; at++)
		if (isdigit((unsigned char)*at))
			buf_c(&b, *at);
		else if (*at == 'T' || *at == '.')
			buf_c(&b, '-');
	must(b.n <= NAME_MAX_BYTES);
	return buf_take(&b);
}

static int pairs_of(const struct cli_args *a, const char *option, json_t **ret, struct err *e)
{
	json_t *map = json_object();
	const char *text, *value;

	for (size_t i = 0; (text = cli_nth(a, option, i)); i++) {
		_cleanup_free_ char *name = NULL;

		if (cli_pair(option, text, &name, &value, e) < 0) {
			json_decref(map);
			return -1;
		}
		if (json_object_get(map, name) || json_object_set_new(map, name, json_string(value)) < 0) {
			json_decref(map);
			return err_set(e, ERR_INVALID, "--%s %s: given twice, or not UTF-8", option, text);
		}
	}
	*ret = map;
	return 0;
}

/* What a channel is given is left as it is when it is an address, else uploaded. */
static int channels_of(struct access *s, const struct cli_args *a, const char *job, json_t *list, struct err *e)
{
	const char *bucket = cli_text(a, "bucket", "bloomery"), *text, *value;

	for (size_t i = 0; (text = cli_nth(a, "channel", i)); i++) {
		_cleanup_free_ char *name = NULL, *uri = NULL;
		json_t *c;

		if (cli_pair("channel", text, &name, &value, e) < 0)
			return -1;
		if (strncmp(value, "s3://", 5) == 0)
			uri = xstrdup(value);
		else if (upload_directory(s, value, bucket, job, name, cli_flag(a, "json"), &uri, e) < 0)
			return err_in(e, "channel '%s'", name);
		c = json_pack("{ss s{s{ss ss ss}}}", "ChannelName", name, "DataSource", "S3DataSource", "S3DataType",
		              "S3Prefix", "S3Uri", uri, "S3DataDistributionType", "FullyReplicated");
		if (!c)
			return err_set(e, ERR_INVALID, "--channel %s: not UTF-8", text);
		if (cli_flag(a, "content-type"))
			json_object_set_new(c, "ContentType", json_string(cli_text(a, "content-type", "")));
		json_array_append_new(list, c);
	}
	return 0;
}

/* The parts that need nothing but the command line, so that a mistake in it costs no upload. */
static int request_of(const struct cli_args *a, const char *name, json_t **ret, struct err *e)
{
	const char *image = cli_text(a, "image", NULL);
	_cleanup_free_ char *output = strf("s3://%s/output", cli_text(a, "bucket", "bloomery"));
	int64_t runtime, volume, hosts;
	json_t *j, *hp = NULL, *env = NULL;

	if (!image)
		return err_set(e, ERR_INVALID, "--image is missing");
	for (size_t i = 0; cli_nth(a, "channel", i); i++) {
		_cleanup_free_ char *channel = NULL;
		const char *value;

		if (cli_pair("channel", cli_nth(a, "channel", i), &channel, &value, e) < 0)
			return -1;
	}
	if (cli_number(a, "max-runtime", 1, INT32_MAX, 86400, &runtime, e) < 0 ||
	    cli_number(a, "volume-size", 1, 16384, 10, &volume, e) < 0 ||
	    cli_number(a, "hosts", 1, INT32_MAX, 1, &hosts, e) < 0 || pairs_of(a, "hp", &hp, e) < 0)
		return -1;
	if (pairs_of(a, "env", &env, e) < 0) {
		json_decref(hp);
		return -1;
	}
	j = json_pack("{ss ss s{ss ss} s{ss} s{ss sI sI} s{sI} so so}", "TrainingJobName", name, "RoleArn",
	              cli_text(a, "role", "arn:aws:iam::000000000000:role/bloomery"), "AlgorithmSpecification",
	              "TrainingImage", image, "TrainingInputMode", cli_text(a, "input-mode", "File"),
	              "OutputDataConfig", "S3OutputPath", cli_text(a, "output", output), "ResourceConfig",
	              "InstanceType", cli_text(a, "instance-type", "local"), "InstanceCount", (json_int_t)hosts,
	              "VolumeSizeInGB", (json_int_t)volume, "StoppingCondition", "MaxRuntimeInSeconds",
	              (json_int_t)runtime, "HyperParameters", hp, "Environment", env);
	if (!j)
		return err_set(e, ERR_INVALID, "an option's value is not UTF-8");
	if (cli_flag(a, "network-isolation"))
		json_object_set_new(j, "EnableNetworkIsolation", json_true());
	*ret = j;
	return 0;
}

static int follow(struct access *s, const struct cli_args *a, const char *name, struct err *e)
{
	bool json = cli_flag(a, "json");
	struct follow_options o = { .name = name,
		                    .quiet = !cli_flag(a, "follow"),
		                    .view.to = json ? stderr : stdout,
		                    .progress = isatty(2) && !json };
	json_t *end;
	const char *status;
	int rc;

	if (follow_job_log(s, &o, &end, e) < 0)
		return -1;
	status = json_string_value(json_object_get(end, "TrainingJobStatus"));
	rc = status && strcmp(status, "Completed") == 0 ? EXIT_DONE : EXIT_FAILED;
	if (json)
		print_json(end);
	else
		describe_print_end(end, stdout);
	json_decref(end);
	return rc;
}

int command_train(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	_cleanup_free_ char *name = NULL;
	json_t *request = NULL, *channels = NULL, *reply = NULL;
	bool stay = cli_flag(a, "wait") || cli_flag(a, "follow"), json = cli_flag(a, "json");
	int rc;

	name = cli_text(a, "name", NULL) ? xstrdup(cli_text(a, "name", NULL))
	                                 : default_name(cli_text(a, "image", "job"));
	if (request_of(a, name, &request, e) < 0)
		return -1;
	channels = json_array();
	rc = access_open(a, &s, e);
	if (rc == 0 && !cli_flag(a, "output"))
		rc = access_make_bucket(&s, cli_text(a, "bucket", "bloomery"), e);
	if (rc == 0)
		rc = channels_of(&s, a, name, channels, e);
	if (rc == 0 && json_array_size(channels))
		json_object_set(request, "InputDataConfig", channels);
	json_decref(channels);
	if (rc < 0) {
		json_decref(request);
		return -1;
	}
	if (access_call(&s, "sagemaker", "SageMaker.CreateTrainingJob", request, &reply, e) < 0)
		return -1;
	if (json && !stay)
		print_json(reply);
	else if (!json)
		printf("%s: created\n", name);
	json_decref(reply);
	fflush(stdout);
	return stay ? follow(&s, a, name, e) : EXIT_DONE;
}
