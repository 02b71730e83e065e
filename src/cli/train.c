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
#include "cli/preflight.h"
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

/* For a dry run: the address that a local path would get, and what would be there. */
static int measure(const char *path, const char *bucket, const char *job, const char *channel, json_t *uploads,
                   char **ret_uri, struct err *e)
{
	uint64_t files = 0, bytes = 0;

	if (upload_measure(path, bucket, job, channel, &files, &bytes, ret_uri, e) < 0)
		return -1;
	json_object_set_new(uploads, channel,
	                    json_pack("{sI sI}", "Objects", (json_int_t)files, "Bytes", (json_int_t)bytes));
	return 0;
}

/* What a channel is given is left as it is when it is an address, else uploaded; or, with uploads, noted there. */
static int channels_of(struct access *s, const struct cli_args *a, const char *job, json_t *list, json_t *uploads,
                       struct err *e)
{
	const char *bucket = cli_text(a, "bucket", "bloomery"), *text, *value;

	for (size_t i = 0; (text = cli_nth(a, "channel", i)); i++) {
		_cleanup_free_ char *name = NULL, *uri = NULL;
		json_t *c;

		if (cli_pair("channel", text, &name, &value, e) < 0)
			return -1;
		if (strncmp(value, "s3://", 5) == 0)
			uri = xstrdup(value);
		else if (uploads ? measure(value, bucket, job, name, uploads, &uri, e) < 0
		                 : upload_directory(s, value, bucket, job, name, cli_flag(a, "json"), &uri, e) < 0)
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
	const char *image = cli_text(a, "image", NULL), *algorithm = cli_text(a, "algorithm", NULL);
	_cleanup_free_ char *output = strf("s3://%s/output", cli_text(a, "bucket", "bloomery"));
	int64_t runtime, volume, hosts;
	json_t *j, *hp = NULL, *env = NULL;

	if (!image == !algorithm)
		return err_set(e, ERR_INVALID,
		               image ? "--image and --algorithm exclude each other"
		                     : "--image is missing; or name an algorithm with --algorithm");
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
	              image ? "TrainingImage" : "AlgorithmName", image ? image : algorithm, "TrainingInputMode",
	              cli_text(a, "input-mode", "File"), "OutputDataConfig", "S3OutputPath",
	              cli_text(a, "output", output), "ResourceConfig", "InstanceType",
	              cli_text(a, "instance-type", "local"), "InstanceCount", (json_int_t)hosts, "VolumeSizeInGB",
	              (json_int_t)volume, "StoppingCondition", "MaxRuntimeInSeconds", (json_int_t)runtime,
	              "HyperParameters", hp, "Environment", env);
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

/* The request as a file has it. */
static int request_from(const struct cli_args *a, const char *path, json_t **ret, struct err *e)
{
	static const char *const fit[] = {
		"request", "data", "name", "wait", "follow", "json", "aws", "dry-run", "help"
	};
	json_error_t why;
	json_t *j;

	for (size_t i = 0; i < a->given_count; i++) {
		bool fits = false;

		for (size_t k = 0; k < ARRAY_LEN(fit); k++)
			fits |= strcmp(a->given[i].option->name, fit[k]) == 0;
		if (!fits)
			return err_set(e, ERR_INVALID, "--%s and --request exclude each other: the request says it",
			               a->given[i].option->name);
	}
	j = strcmp(path, "-") ? json_load_file(path, 0, &why) : json_loadf(stdin, 0, &why);
	if (!json_is_object(j)) {
		err_set(e, ERR_CLIENT, "%s is not a JSON object: %s", path, j ? "it is something else" : why.text);
		json_decref(j);
		return -1;
	}
	if (cli_flag(a, "name"))
		json_object_set_new(j, "TrainingJobName", json_string(cli_text(a, "name", "")));
	*ret = j;
	return 0;
}

/* request is stolen. */
static int fly(struct access *s, const struct cli_args *a, json_t *request, json_t *uploads, struct err *e)
{
	json_t *in = json_pack("{so sO}", "Request", request, "Uploads", uploads), *report = NULL;
	int rc;

	must(in);
	if (!cli_flag(a, "request") && (!cli_flag(a, "output") || json_object_size(uploads)))
		json_object_set_new(in, "Buckets", json_pack("[s]", cli_text(a, "bucket", "bloomery")));
	if (access_post(s, "/bloomery/preflight/training-job", in, &report, e) < 0)
		return -1;
	rc = preflight_report(a, report);
	json_decref(report);
	return rc;
}

/* Data and the bucket are put there, or counted: uploads is then the place for that. */
static int prepare(struct access *s, const struct cli_args *a, const char *name, json_t *request, json_t *uploads,
                   struct err *e)
{
	json_t *channels = json_array();
	int rc = 0;

	if (!uploads && !cli_flag(a, "output"))
		rc = access_make_bucket(s, cli_text(a, "bucket", "bloomery"), e);
	if (rc == 0)
		rc = channels_of(s, a, name, channels, uploads, e);
	if (rc == 0 && json_array_size(channels))
		json_object_set(request, "InputDataConfig", channels);
	json_decref(channels);
	return rc;
}

static int create(struct access *s, const struct cli_args *a, const char *name, json_t *request, struct err *e)
{
	bool stay = cli_flag(a, "wait") || cli_flag(a, "follow"), json = cli_flag(a, "json");
	json_t *reply = NULL;

	if (access_call(s, "sagemaker", "SageMaker.CreateTrainingJob", request, &reply, e) < 0)
		return -1;
	if (json && !stay)
		print_json(reply);
	else if (!json)
		printf("%s: created\n", name);
	json_decref(reply);
	fflush(stdout);
	return stay ? follow(s, a, name, e) : EXIT_DONE;
}

int command_train(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	_cleanup_free_ char *name = NULL;
	const char *file = cli_text(a, "request", NULL);
	json_t *request = NULL, *uploads = cli_flag(a, "dry-run") ? json_object() : NULL;
	int rc;

	name = cli_text(a, "name", NULL) ? xstrdup(cli_text(a, "name", NULL))
	                                 : default_name(cli_text(a, "image", cli_text(a, "algorithm", "job")));
	rc = file ? request_from(a, file, &request, e) : request_of(a, name, &request, e);
	if (rc == 0 && file) {
		free(name);
		name = xstrdup(json_string_value(json_object_get(request, "TrainingJobName")) ?: "job");
	}
	if (rc == 0)
		rc = access_open(a, &s, e);
	if (rc == 0 && !file)
		rc = prepare(&s, a, name, request, uploads, e);
	if (rc == 0)
		rc = uploads ? fly(&s, a, json_incref(request), uploads, e)
		             : create(&s, a, name, json_incref(request), e);
	json_decref(request);
	json_decref(uploads);
	return rc;
}
