/* Whether what CreateTrainingJob names is there (contract 2.2). SPDX-License-Identifier: Apache-2.0
 *
 * Runs on a worker thread: the embedded store is looked at in microseconds, another S3 is asked by a process of its own
 * for some seconds at most. What changes afterwards ends the job with a reason. */
#include <stdlib.h>

#include "blob/blob.h"
#include "job/jobs.h"
#include "op/training_job.h"

enum { REMOTE_MS = 8000, REMOTE_LEAST_MS = 500 }; /* for all channels together; the last one gets what is left */

struct source {
	const struct api_call *call;
	struct mono since;
	const json_t *in, *channel, *s3;
	struct str uri, bucket, key, type;
};

/* contract 2.2, word for word */
static int no_objects(const struct source *s, struct err *e)
{
	return err_set(
	        e, ERR_INVALID,
	        "No S3 objects found under S3 URL \"" PRIstr "\" given in input data source. Please ensure that the "
	        "bucket exists in the selected region (%s), that objects exist under that S3 prefix, and that the "
	        "role \"" PRIstr "\" has \"s3:ListBucket\" permissions on bucket \"" PRIstr "\".",
	        ARGstr(s->uri), s->call->api->region, ARGstr(in_str(s->in, "RoleArn")), ARGstr(s->bucket));
}

/* ---- the embedded store ---- */

static int check_prefix(const struct source *s, struct err *e)
{
	struct blob_look look;

	if (blob_look(s->call->api->blobs, s->bucket, s->key, &look, e) < 0)
		return -1;
	if (!look.exact && !look.inside && !look.beside)
		return no_objects(s, e);
	if (look.beside && str_is(channel_mode(s->in, s->channel), "FastFile")) /* contract 3.6 */
		return err_set(
		        e, ERR_INVALID,
		        "Invalid S3Uri for channel " PRIstr ": \"" PRIstr
		        "\" ends within a name, and FastFile mode only supports a whole object or a folder. End the "
		        "name of a folder with '/'",
		        ARGstr(in_str(s->channel, "ChannelName")), ARGstr(s->uri));
	return 0;
}

static int check_manifest(const struct source *s, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;

	return blob_find(s->call->api->blobs, s->bucket, s->key, &scratch, &found, NULL, e);
}

static int check_embedded(const struct source *s, struct err *e)
{
	struct err why = { 0 };
	int rc = str_is(s->type, "S3Prefix") ? check_prefix(s, &why) : check_manifest(s, &why);

	if (rc < 0 && why.kind == ERR_NOT_FOUND)
		return no_objects(s, e);
	if (rc < 0 && e)
		*e = why;
	return rc;
}

int training_job_check_output(const struct api_call *call, const json_t *in, struct err *e)
{
	struct str output = in_str(json_object_get(in, "OutputDataConfig"), "S3OutputPath"), bucket, prefix;
	bool there = false;

	if (!jobs_data_is_embedded(call->api->jobs)) /* it is asked for when there are results */
		return 0;
	must(s3_uri_split(output, &bucket, &prefix)); /* training_job_check_form */
	if (blob_bucket_exists(call->api->blobs, bucket, &there, e) < 0)
		return -1;
	if (there)
		return 0;
	return err_set(e, ERR_INVALID,
	               "The bucket \"" PRIstr "\" of OutputDataConfig.S3OutputPath \"" PRIstr
	               "\" does not exist. Create it first, for example with `aws s3 mb s3://" PRIstr "`.",
	               ARGstr(bucket), ARGstr(output), ARGstr(bucket));
}

/* ---- another S3 ---- */

static int check_remote(const struct source *s, struct err *e)
{
	_cleanup_free_ char *bucket = str_dup(s->bucket), *key = str_dup(s->key), *type = str_dup(s->type);
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct err why = { 0 };
	int64_t left = REMOTE_MS - mono_ms_since(s->since);
	bool there = false;
	int rc = jobs_remote_exists(s->call->api->jobs, bucket, key, type,
	                            left > REMOTE_LEAST_MS ? left : REMOTE_LEAST_MS, &there, &why);

	if (rc == 0)
		return there ? 0 : no_objects(s, e);
	err_text(&why, text, sizeof(text));
	if (why.kind == ERR_NOT_FOUND || str_find(str_of(text), STR("NoSuchBucket")) >= 0)
		return no_objects(s, e);
	if (str_find(str_of(text), STR("AccessDenied")) >= 0)
		return err_set(e, ERR_INVALID, "Unauthorized to List objects under S3 URL \"" PRIstr "\": %s",
		               ARGstr(s->uri), text);
	/* Not a failure of ours to be tried again by clients for a minute, but something to look into. */
	return err_set(e, ERR_INVALID,
	               "The S3 that bloomery.conf names cannot be asked for \"" PRIstr "\" of channel " PRIstr ": %s",
	               ARGstr(s->uri), ARGstr(in_str(s->channel, "ChannelName")), text);
}

/* ---- a channel ---- */

static int check_file_system(const struct api_call *call, const json_t *channel, const json_t *fs, struct err *e)
{
	struct str id = in_str(fs, "FileSystemId");

	if (jobs_know_file_system(call->api->jobs, id))
		return 0;
	return err_set(e, ERR_INVALID,
	               "The file system '" PRIstr "' of channel " PRIstr
	               " does not exist. Say in bloomery.conf what it is here, for example `file_system." PRIstr
	               " = /some/directory`, and start the server again",
	               ARGstr(id), ARGstr(in_str(channel, "ChannelName")), ARGstr(id));
}

int training_job_check_channel_data(const struct api_call *call, const json_t *in, const json_t *channel,
                                    struct mono since, struct err *e)
{
	const json_t *source = json_object_get(channel, "DataSource");
	struct source s = { .call = call,
		            .since = since,
		            .in = in,
		            .channel = channel,
		            .s3 = json_object_get(source, "S3DataSource") };

	if (!s.s3)
		return check_file_system(call, channel, json_object_get(source, "FileSystemDataSource"), e);
	s.uri = in_str(s.s3, "S3Uri");
	s.type = in_str(s.s3, "S3DataType");
	must(s3_uri_split(s.uri, &s.bucket, &s.key)); /* training_job_check_form */
	return jobs_data_is_embedded(call->api->jobs) ? check_embedded(&s, e) : check_remote(&s, e);
}

int training_job_check_provider(const struct api_call *call, const json_t *in, struct err *e)
{
	const json_t *config = json_object_get(json_object_get(in, "AlgorithmSpecification"), "TrainingImageConfig");
	struct str arn = in_str(json_object_get(config, "TrainingRepositoryAuthConfig"),
	                        "TrainingRepositoryCredentialsProviderArn");

	if (!arn.n || jobs_know_provider(call->api->jobs, arn))
		return 0;
	return err_set(e, ERR_INVALID,
	               "TrainingRepositoryCredentialsProviderArn " PRIstr
	               " is not known here: bloomery.conf has no registry_credentials." PRIstr
	               ". Let it name a file with the registry's Username and Password",
	               ARGstr(arn), ARGstr(arn));
}
