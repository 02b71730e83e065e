/* The containers of models and model packages: what their members say, whether it is there and who may use it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs on a worker thread, as the checks of training jobs do. What changes afterwards ends the job that uses it with a
 * reason. */
#include <stdlib.h>

#include "aws/arn.h"
#include "blob/blob.h"
#include "iam/iam.h"
#include "job/jobs.h"
#include "op/model.h"
#include "op/training_job.h"

enum { REMOTE_MS = 8000, REMOTE_LEAST_MS = 500 }; /* the last container gets what is left */

char *sagemaker_arn(const struct api *api, const char *type, struct str name_or_arn)
{
	_cleanup_free_ char *low = str_dup(name_or_arn);

	for (char *p = low; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	if (str_starts(name_or_arn, STR("arn:")))
		return take_ptr(low);
	return arn_make("sagemaker", api->region, api->account, type, str_of(low));
}

/* The S3DataSource of its data; NULL: it has none. */
static const json_t *data_of(const json_t *container)
{
	return json_object_get(json_object_get(container, "ModelDataSource"), "S3DataSource");
}

static struct str provider_of(const json_t *container)
{
	const json_t *config = json_object_get(container, "ImageConfig");

	return in_str(json_object_get(config, "RepositoryAuthConfig"), "RepositoryCredentialsProviderArn");
}

/* What is run: by its digest, where a package says that. NULL, ERR_INVALID: the two do not go together. */
static char *image_of(const json_t *container, struct err *e)
{
	struct str image = in_str(container, "Image"), digest = in_str(container, "ImageDigest");
	ptrdiff_t at = str_find(image, STR("@"));
	char *pinned = NULL;

	if (!digest.n)
		return str_dup(image);
	if (at >= 0 && !str_eq_nocase((struct str){ image.p + at + 1, image.n - (size_t)at - 1 }, digest)) {
		err_set(e, ERR_INVALID, "ImageDigest '" PRIstr "' is not the digest in Image '" PRIstr "'",
		        ARGstr(digest), ARGstr(image));
		return NULL;
	}
	return jobs_image_pinned(image, digest, &pinned, e) < 0 ? NULL : pinned;
}

/* ---- the form ---- */

static int check_source(const json_t *s3, const char *where, struct err *e)
{
	struct str uri = in_str(s3, "S3Uri"), bucket, key;
	bool prefix = str_is(in_str(s3, "S3DataType"), "S3Prefix"),
	     gzip = str_is(in_str(s3, "CompressionType"), "Gzip");

	if (!s3_uri_split(uri, &bucket, &key))
		return err_set(e, ERR_INVALID,
		               "%s: the model data \"" PRIstr "\" is to have the form s3://bucket/key; data at other "
		               "addresses is not fetched here",
		               where, ARGstr(uri));
	if (prefix && gzip)
		return err_set(
		        e, ERR_INVALID,
		        "%s: ModelDataSource with S3DataType S3Prefix has CompressionType Gzip; a prefix is copied "
		        "as it is: use None, or S3Object for one tar.gz",
		        where);
	if (prefix && key.n && key.p[key.n - 1] != '/')
		return err_set(e, ERR_INVALID,
		               "%s: the S3Uri \"" PRIstr
		               "\" of ModelDataSource with S3DataType S3Prefix is to end with "
		               "a forward slash (/)",
		               where, ARGstr(uri));
	if (!prefix && (!key.n || key.p[key.n - 1] == '/'))
		return err_set(
		        e, ERR_INVALID,
		        "%s: the model data \"" PRIstr
		        "\" is to be one object, of the form s3://bucket/key; for all objects below a folder use "
		        "ModelDataSource with S3DataType S3Prefix",
		        where, ARGstr(uri));
	return 0;
}

/* Both may be given where they say the same, as Describe does. */
static int join_url(json_t *container, const char *where, struct err *e)
{
	struct str url = in_str(container, "ModelDataUrl");
	const json_t *s3 = data_of(container);

	if (!url.n)
		return 0;
	if (!s3) {
		json_object_set_new(container, "ModelDataSource",
		                    json_pack("{s:{s:s%, s:s, s:s}}", "S3DataSource", "S3Uri", url.p, url.n,
		                              "S3DataType", "S3Object", "CompressionType", "Gzip"));
		return 0;
	}
	if (str_eq(in_str(s3, "S3Uri"), url) && str_is(in_str(s3, "S3DataType"), "S3Object") &&
	    str_is(in_str(s3, "CompressionType"), "Gzip"))
		return 0;
	return err_set(e, ERR_INVALID,
	               "%s: ModelDataUrl \"" PRIstr "\" and ModelDataSource \"" PRIstr
	               "\" say different things; give one of them",
	               where, ARGstr(url), ARGstr(in_str(s3, "S3Uri")));
}

int container_check_form(json_t *container, const char *where, struct err *e)
{
	const json_t *source = json_object_get(container, "ModelDataSource"), *s3;
	_cleanup_free_ char *image = NULL;

	if (!in_str(container, "Image").n)
		return err_set(e, ERR_INVALID, "%s: Image is missing", where);
	image = image_of(container, e);
	if (!image)
		return err_in(e, "%s", where);
	if (source && !json_object_get(source, "S3DataSource"))
		return err_set(e, ERR_INVALID, "%s: ModelDataSource has no S3DataSource", where);
	if (join_url(container, where, e) < 0)
		return -1;
	s3 = data_of(container);
	return s3 ? check_source(s3, where, e) : 0;
}

int containers_check_names(const json_t *containers, const char *prefix, struct err *e)
{
	size_t n = json_array_size(containers), named = 0;

	for (size_t i = 0; i < n; i++) {
		struct str name = in_str(json_array_get(containers, i), "ContainerHostname");

		named += name.n > 0;
		for (size_t k = 0; name.n && k < i; k++)
			if (str_eq_nocase(name, in_str(json_array_get(containers, k), "ContainerHostname")))
				return err_set(e, ERR_INVALID,
				               "%s.%zu and %s.%zu have the same ContainerHostname '" PRIstr "'", prefix,
				               k + 1, prefix, i + 1, ARGstr(name));
	}
	if (named && named < n)
		return err_set(
		        e, ERR_INVALID,
		        "%s: %zu of %zu containers have a ContainerHostname; give one to all of them, or to none",
		        prefix, named, n);
	return 0;
}

/* ---- who may ---- */

/* The role, and then the caller, if it is a session. */
static int ask(const struct api_call *call, struct str role, const struct iam_wish *w, enum policy_verdict *ret,
               struct err *e)
{
	_cleanup_buf_ struct buf why = { 0 };

	*ret = POLICY_ALLOWS;
	if (!call->api->iam)
		return 0;
	if (role.n)
		*ret = iam_ask_role(call->api->iam, role, w->action, w->resource);
	if (*ret != POLICY_ALLOWS || iam_may(call->api->iam, call->session, w, &why))
		return 0;
	return err_set(e, ERR_DENIED, "%s", why.p);
}

int source_authorise(const struct api_call *call, const json_t *s3, struct str role, struct err *e)
{
	struct str uri = in_str(s3, "S3Uri"), bucket = { 0 }, key = { 0 };
	bool prefix = str_is(in_str(s3, "S3DataType"), "S3Prefix");
	const char *action = prefix ? "s3:ListBucket" : "s3:GetObject";
	_cleanup_free_ char *arn = NULL;
	struct iam_wish wish = { .action = str_of(action) };
	enum policy_verdict v;

	must(s3_uri_split(uri, &bucket, &key)); /* container_check_form */
	arn = prefix ? strf("arn:aws:s3:::" PRIstr, ARGstr(bucket))
	             : strf("arn:aws:s3:::" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(key));
	wish.resource = str_of(arn);
	wish.prefix = prefix ? key : (struct str){ 0 };
	if (ask(call, role, &wish, &v, e) < 0)
		return -1;
	if (v == POLICY_ALLOWS)
		return 0;
	return err_set(e, ERR_INVALID,
	               "Could not access model data at " PRIstr ". Please ensure that the role \"" PRIstr
	               "\" exists and that its trust relationship policy allows the action \"sts:AssumeRole\" for the "
	               "service principal \"sagemaker.amazonaws.com\". Also ensure that the role has \"%s\" "
	               "permissions and that the object is located in %s: %s the action",
	               ARGstr(uri), ARGstr(role), action, call->api->region,
	               v == POLICY_DENIES ? "an explicit deny in an identity-based policy refuses"
	                                  : "no identity-based policy allows");
}

int container_authorise(const struct api_call *call, const json_t *container, struct str role, struct err *e)
{
	struct str provider = provider_of(container);
	const json_t *s3 = data_of(container);
	const struct iam_wish wish = { .action = STR("lambda:InvokeFunction"), .resource = provider };
	enum policy_verdict v;

	if (s3 && source_authorise(call, s3, role, e) < 0)
		return -1;
	if (!provider.n)
		return 0;
	if (ask(call, role, &wish, &v, e) < 0)
		return -1;
	if (v == POLICY_ALLOWS)
		return 0;
	return err_set(e, ERR_INVALID,
	               "Access denied to the RepositoryCredentialsProviderArn \"" PRIstr
	               "\". Please ensure that the role \"" PRIstr "\" has \"lambda:InvokeFunction\" permissions on it",
	               ARGstr(provider), ARGstr(role));
}

/* ---- whether it is there ---- */

static int no_data(struct str uri, struct err *e)
{
	return err_set(e, ERR_INVALID, "Could not find model data at " PRIstr ".", ARGstr(uri));
}

static int look(const struct api_call *call, struct str bucket, struct str key, bool prefix, bool *ret, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;
	struct blob_look all;
	struct err why = { 0 };
	int rc = prefix ? blob_look(call->api->blobs, bucket, key, &all, &why)
	                : blob_find(call->api->blobs, bucket, key, &scratch, &found, NULL, &why);

	if (rc < 0 && why.kind != ERR_NOT_FOUND) {
		*e = why;
		return -1;
	}
	*ret = rc == 0 && (!prefix || all.exact || all.inside || all.beside);
	return 0;
}

static int ask_remote(const struct api_call *call, struct str uri, struct str bucket, struct str key, bool prefix,
                      struct mono since, struct err *e)
{
	_cleanup_free_ char *b = str_dup(bucket), *k = str_dup(key);
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	int64_t left = REMOTE_MS - mono_ms_since(since);
	struct err why = { 0 };
	bool there = false;

	/* One object is asked for as a manifest would be: by its whole key. */
	if (jobs_remote_exists(call->api->jobs, b, k, prefix ? "S3Prefix" : "ManifestFile",
	                       left > REMOTE_LEAST_MS ? left : REMOTE_LEAST_MS, &there, &why) == 0)
		return there ? 0 : no_data(uri, e);
	err_text(&why, text, sizeof(text));
	if (why.kind == ERR_NOT_FOUND || str_find(str_of(text), STR("NoSuchBucket")) >= 0)
		return no_data(uri, e);
	/* As an error's code, or, where an answer has no body, in our own words. */
	if (str_find(str_of(text), STR("AccessDenied")) >= 0 || str_find(str_of(text), STR("access denied")) >= 0)
		return err_set(e, ERR_INVALID, "Could not access model data at " PRIstr ": %s", ARGstr(uri), text);
	return err_set(e, ERR_INVALID,
	               "The S3 that bloomery.conf names cannot be asked for the model data at " PRIstr ": %s",
	               ARGstr(uri), text);
}

static int check_data(const struct api_call *call, const json_t *s3, struct mono since, struct err *e)
{
	struct str uri = in_str(s3, "S3Uri"), bucket = { 0 }, key = { 0 };
	bool prefix = str_is(in_str(s3, "S3DataType"), "S3Prefix"), there = false;

	must(s3_uri_split(uri, &bucket, &key)); /* container_check_form */
	if (!jobs_data_is_embedded(call->api->jobs))
		return ask_remote(call, uri, bucket, key, prefix, since, e);
	if (look(call, bucket, key, prefix, &there, e) < 0)
		return -1;
	return there ? 0 : no_data(uri, e);
}

int container_check_there(const struct api_call *call, const json_t *container, const char *where, struct mono since,
                          struct err *e)
{
	struct str provider = provider_of(container);
	const json_t *s3 = data_of(container);
	_cleanup_free_ char *image = image_of(container, e);

	if (!image)
		return err_in(e, "%s", where);
	if (provider.n && !jobs_know_provider(call->api->jobs, provider))
		return err_set(e, ERR_INVALID,
		               "%s: RepositoryCredentialsProviderArn " PRIstr
		               " is not known here: bloomery.conf has no registry_credentials." PRIstr
		               ". Let it name a file with the registry's Username and Password",
		               where, ARGstr(provider), ARGstr(provider));
	if (jobs_check_image(call->api->jobs, str_of(image), e) < 0)
		return -1;
	return s3 ? check_data(call, s3, since, e) : 0;
}

/* ---- what runs ---- */

json_t *container_resolved(const json_t *container, const char *name)
{
	json_t *environment = json_object_get(container, "Environment");
	_cleanup_free_ char *image = image_of(container, NULL);
	json_t *ret = json_pack("{s:s, s:s}", "Name", name, "Image", image); /* container_check_form saw to image */
	struct str provider = provider_of(container);

	json_object_set_new(ret, "Environment", environment ? json_deep_copy(environment) : json_object());
	if (data_of(container))
		json_object_set_new(ret, "ModelDataSource", json_deep_copy(data_of(container)));
	if (provider.n)
		json_object_set_new(ret, "Provider", json_stringn(provider.p, provider.n));
	return ret;
}
