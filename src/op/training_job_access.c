/* Whether the role of a new training job may what the job needs (contract 2.2). SPDX-License-Identifier: Apache-2.0
 *
 * The job's role is asked for what is certain to be needed; what depends on the objects is asked when they are listed
 * (job/lists.c). */
#include <stdlib.h>

#include "blob/blob.h"
#include "job/jobs.h"
#include "op/authorise.h"
#include "op/training_job.h"

struct asked {
	const struct api_call *call;
	const json_t *in;
	struct str role;
};

/* Why, in the words by which clients know it. */
static const char *why_not(enum policy_verdict v)
{
	return v == POLICY_DENIES ? "an explicit deny in an identity-based policy refuses"
	                          : "no identity-based policy allows";
}

/* The session that creates the job, if it is one: a job is no way to get at what its creator may not. */
static int ask_caller(const struct asked *a, const char *action, struct str resource, struct str prefix, struct err *e)
{
	const struct iam_wish wish = { .action = str_of(action), .resource = resource, .prefix = prefix };
	_cleanup_buf_ struct buf why = { 0 };

	if (iam_may(a->call->api->iam, a->call->session, &wish, &why))
		return 0;
	return err_set(e, ERR_DENIED, "%s", why.p);
}

static int ask_list(const struct asked *a, struct str uri, struct str bucket, struct str prefix, struct err *e)
{
	_cleanup_free_ char *arn = strf("arn:aws:s3:::" PRIstr, ARGstr(bucket));
	enum policy_verdict v = iam_ask_role(a->call->api->iam, a->role, STR("s3:ListBucket"), str_of(arn));

	if (v != POLICY_ALLOWS)
		return err_set(e, ERR_INVALID,
		               "Unauthorized to List objects under S3 URL \"" PRIstr
		               "\" given in input data source. Please ensure that the role \"" PRIstr
		               "\" has \"s3:ListBucket\" permissions on bucket \"" PRIstr
		               "\": %s the s3:ListBucket action",
		               ARGstr(uri), ARGstr(a->role), ARGstr(bucket), why_not(v));
	return ask_caller(a, "s3:ListBucket", str_of(arn), prefix, e);
}

static int ask_manifest(const struct asked *a, struct str uri, struct str bucket, struct str key, struct err *e)
{
	_cleanup_free_ char *arn = strf("arn:aws:s3:::" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(key));
	enum policy_verdict v = iam_ask_role(a->call->api->iam, a->role, STR("s3:GetObject"), str_of(arn));

	if (v != POLICY_ALLOWS)
		return err_set(e, ERR_INVALID,
		               "Access denied to the manifest \"" PRIstr
		               "\" given in input data source. Please ensure that the role \"" PRIstr
		               "\" has \"s3:GetObject\" permissions on it: %s the s3:GetObject action",
		               ARGstr(uri), ARGstr(a->role), why_not(v));
	return ask_caller(a, "s3:GetObject", str_of(arn), (struct str){ 0 }, e);
}

static int ask_channel(const struct asked *a, const json_t *channel, struct err *e)
{
	const json_t *s3 = json_object_get(json_object_get(channel, "DataSource"), "S3DataSource");
	struct str uri = in_str(s3, "S3Uri"), bucket, key;

	if (!s3)
		return 0;
	must(s3_uri_split(uri, &bucket, &key)); /* training_job_check_form */
	return str_is(in_str(s3, "S3DataType"), "S3Prefix") ? ask_list(a, uri, bucket, key, e)
	                                                    : ask_manifest(a, uri, bucket, key, e);
}

/* The folder of a job's results is that job's. A session that nothing but the default policy limits does not make one
 * of what is there already by the choice of a name. */
static int ask_folder(const struct asked *a, struct str bucket, struct str prefix, struct err *e)
{
	const struct iam_session *by = a->call->session;
	_cleanup_free_ char *folder = strf(PRIstr "%s" PRIstr "/", ARGstr(prefix), prefix.n ? "/" : "",
	                                   ARGstr(in_str(a->in, "TrainingJobName")));
	struct blob_look look;
	struct err why = { 0 };

	if (!by || iam_has_policy(a->call->api->iam, str_of(by->role)) || !jobs_data_is_embedded(a->call->api->jobs))
		return 0;
	if (blob_look(a->call->api->blobs, bucket, str_of(folder), &look, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND) /* training_job_check_channel_data says so */
			return 0;
		*e = why;
		return -1;
	}
	if (!look.exact && !look.inside && !look.beside)
		return 0;
	return err_set(e, ERR_DENIED,
	               "User: %s is not authorized to perform: sagemaker:CreateTrainingJob: there are objects in "
	               "\"s3://" PRIstr
	               "/%s\", which would become the job's. Choose another name, or another S3OutputPath",
	               by->arn, ARGstr(bucket), folder);
}

static int ask_output(const struct asked *a, struct err *e)
{
	static const char *const leaves[][2] = { { "model.tar.gz", "output.tar.gz" }, { "model/", "output/" } };
	const json_t *output = json_object_get(a->in, "OutputDataConfig");
	bool plain = str_is(in_str(output, "CompressionType"), "NONE");
	struct str path = in_str(output, "S3OutputPath"), bucket, prefix;

	must(s3_uri_split(path, &bucket, &prefix)); /* training_job_check_form */
	while (prefix.n && prefix.p[prefix.n - 1] == '/')
		prefix.n--;
	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *arn = strf("arn:aws:s3:::" PRIstr "/" PRIstr "%s" PRIstr "/output/%s",
		                                ARGstr(bucket), ARGstr(prefix), prefix.n ? "/" : "",
		                                ARGstr(in_str(a->in, "TrainingJobName")), leaves[plain][i]);
		enum policy_verdict v = iam_ask_role(a->call->api->iam, a->role, STR("s3:PutObject"), str_of(arn));

		if (v != POLICY_ALLOWS)
			return err_set(e, ERR_INVALID,
			               "Access denied to OutputDataConfig S3 bucket \"" PRIstr
			               "\". Please ensure that the role \"" PRIstr
			               "\" has \"s3:PutObject\" permissions on \"%s\": %s the s3:PutObject action",
			               ARGstr(bucket), ARGstr(a->role), arn, why_not(v));
		if (ask_caller(a, "s3:PutObject", str_of(arn), (struct str){ 0 }, e) < 0)
			return -1;
	}
	return ask_folder(a, bucket, prefix, e);
}

/* At the service the provider is a Lambda function, and the role is who calls it. Who may not is not told whether there
 * is one. */
static int ask_provider(const struct asked *a, struct err *e)
{
	const json_t *config = json_object_get(json_object_get(a->in, "AlgorithmSpecification"), "TrainingImageConfig");
	struct str arn = in_str(json_object_get(config, "TrainingRepositoryAuthConfig"),
	                        "TrainingRepositoryCredentialsProviderArn");
	enum policy_verdict v = iam_ask_role(a->call->api->iam, a->role, STR("lambda:InvokeFunction"), arn);

	if (!arn.n)
		return 0;
	if (v != POLICY_ALLOWS)
		return err_set(
		        e, ERR_INVALID,
		        "Access denied to the TrainingRepositoryCredentialsProviderArn \"" PRIstr
		        "\". Please ensure that the role \"" PRIstr
		        "\" has \"lambda:InvokeFunction\" permissions on it: %s the lambda:InvokeFunction action",
		        ARGstr(arn), ARGstr(a->role), why_not(v));
	return ask_caller(a, "lambda:InvokeFunction", arn, (struct str){ 0 }, e);
}

int authorise_input(const struct api_call *call, struct str role, const json_t *channel, struct err *e)
{
	const struct asked a = { .call = call, .role = role };

	return ask_channel(&a, channel, e);
}

int authorise_output(const struct api_call *call, struct str role, const char *member, struct str uri, struct err *e)
{
	const struct asked a = { .call = call, .role = role };
	_cleanup_free_ char *arn = NULL;
	struct str bucket, prefix;
	enum policy_verdict v;

	must(s3_uri_split(uri, &bucket, &prefix)); /* transform_job_check_form */
	while (prefix.n && prefix.p[prefix.n - 1] == '/')
		prefix.n--;
	arn = strf("arn:aws:s3:::" PRIstr "/" PRIstr "%s*", ARGstr(bucket), ARGstr(prefix), prefix.n ? "/" : "");
	v = iam_ask_role(call->api->iam, role, STR("s3:PutObject"), str_of(arn));
	if (v != POLICY_ALLOWS)
		return err_set(e, ERR_INVALID,
		               "Access denied to %s S3 bucket \"" PRIstr "\". Please ensure that the role \"" PRIstr
		               "\" has \"s3:PutObject\" permissions on \"%s\": %s the s3:PutObject action",
		               member, ARGstr(bucket), ARGstr(role), arn, why_not(v));
	return ask_caller(&a, "s3:PutObject", str_of(arn), (struct str){ 0 }, e);
}

int authorise_training_job(const struct api_call *call, const json_t *in, struct err *e)
{
	const struct asked a = { .call = call, .in = in, .role = in_str(in, "RoleArn") };
	const json_t *channels = json_object_get(in, "InputDataConfig"), *c;
	_cleanup_buf_ struct buf arn = { 0 };
	size_t i;

	if (!call->api->iam)
		return 0;
	if (authorise_known_role(call, a.role, e) < 0)
		return -1;
	if (ask_provider(&a, e) < 0)
		return -1;
	if (ask_caller(&a, "iam:PassRole", a.role, (struct str){ 0 }, e) < 0)
		return -1;
	add_training_job_arn(call->api, in_str(in, "TrainingJobName"), &arn);
	if (authorise_tags(call, in, arn.p, e) < 0)
		return -1;
	json_array_foreach (channels, i, c)
		if (ask_channel(&a, c, e) < 0)
			return -1;
	return ask_output(&a, e);
}
