/* CreateAlgorithm, DescribeAlgorithm, ListAlgorithms, DeleteAlgorithm (contract 8.1, 8.2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "op/algorithm.h"

#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "aws/arn.h"
#include "blob/blob.h"
#include "job/jobs.h"
#include "metric/metric.h"
#include "op/authorise.h"
#include "op/page.h"
#include "op/model.h"
#include "op/products.h"
#include "op/tags.h"
#include "op/training_job.h"
#include "op/validation.h"
#include "product/shelf.h"
#include "store/store.h"

/* ---- names ---- */

char *algorithm_arn(const struct api *api, struct str name)
{
	_cleanup_free_ char *low = str_dup(name);

	for (char *p = low; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	return arn_make("sagemaker", api->region, api->account, "algorithm", str_of(low));
}

/* contract 9.4 */
int algorithm_missing(const struct api *api, struct str name, struct err *e)
{
	_cleanup_free_ char *arn = algorithm_arn(api, name);

	return err_set(e, ERR_INVALID, "Algorithm %s does not exist.", arn);
}

bool algorithm_is_foreign(const struct api *api, struct str name, struct str arn)
{
	_cleanup_free_ char *own = algorithm_arn(api, name);

	/* With another `account` in bloomery.conf than before, a site's own are still its own. */
	return shelf_name_valid(name) && !str_is(arn, own);
}

char *algorithm_resource(const struct api *api, struct str name_or_arn)
{
	return sagemaker_arn(api, "algorithm", name_or_arn); /* as it is looked up: without case */
}

static int no_such(const struct api *api, struct str given, struct err *e)
{
	if (str_starts(given, STR("arn:")))
		return err_set(e, ERR_INVALID, "Algorithm " PRIstr " does not exist.", ARGstr(given));
	return algorithm_missing(api, given, e);
}

int algorithm_find(const struct api *api, struct str given, struct stored_algorithm *ret, char **ret_request,
                   struct err *e)
{
	_cleanup_free_ char *arn = algorithm_resource(api, given), *request = NULL;
	struct stored_algorithm row = { 0 };
	struct str type, name;
	struct err why = { 0 };
	struct arn a;

	if (!arn_parse(str_of(arn), &a) || !str_is(a.service, "sagemaker") || !arn_resource(&a, &type, &name) ||
	    !str_is(type, "algorithm"))
		return no_such(api, given, e);
	if (store_algorithm_find(api->store, name, &row, ret_request ? &request : NULL, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return no_such(api, given, e);
		if (e)
			*e = why;
		return -1;
	}
	if (!str_eq_nocase(str_of(arn), str_of(row.arn)) &&
	    (str_starts(given, STR("arn:")) || algorithm_is_foreign(api, str_of(row.name), str_of(row.arn)))) {
		stored_algorithm_fini(&row);
		return no_such(api, given, e);
	}
	*ret = row;
	if (ret_request)
		*ret_request = take_ptr(request);
	return 0;
}

/* Whether somebody else's is asked for. */
static bool is_of_another(const struct api *api, struct str given)
{
	struct arn a;

	return arn_parse(given, &a) && str_is(a.service, "sagemaker") && !str_is(a.account, api->account);
}

int algorithm_use(const struct api *api, struct str given, struct stored_algorithm *ret, char **ret_request,
                  struct err *e)
{
	struct err why = { 0 };

	if (algorithm_find(api, given, ret, ret_request, &why) == 0)
		return 0;
	if (why.kind == ERR_INVALID && is_of_another(api, given)) /* contract 8.4 */
		return err_set(e, ERR_INVALID, "Caller is not subscribed to the marketplace offering.");
	*e = why;
	return -1;
}

/* ---- CreateAlgorithm ---- */

static void check_regexes(const json_t *in, struct faults *f)
{
	const json_t *all = json_object_get(json_object_get(in, "TrainingSpecification"), "MetricDefinitions"), *d;
	size_t i;

	json_array_foreach (all, i, d) {
		_cleanup_free_ char *name = fault_value(in_str(d, "Name")), *regex = fault_value(in_str(d, "Regex"));
		struct err why = { 0 };
		char text[2048];

		if (metric_check(in_str(d, "Regex"), NULL, &why) < 0)
			fault(f, "TrainingSpecification.MetricDefinitions.%s.Regex: Invalid value: '%s': %s", name,
			      regex, err_text(&why, text, sizeof(text)));
	}
}

/* A digest in the image's name and one beside it are to be the same. */
static void check_digest(const json_t *in, struct faults *f)
{
	const json_t *t = json_object_get(in, "TrainingSpecification");
	struct str digest = in_str(t, "TrainingImageDigest"), image = in_str(t, "TrainingImage");
	ptrdiff_t at = str_find(image, STR("@"));

	if (digest.n && at >= 0 && !str_eq_nocase((struct str){ image.p + at + 1, image.n - (size_t)at - 1 }, digest))
		fault(f,
		      "TrainingSpecification.TrainingImageDigest: '" PRIstr
		      "' is not the digest in TrainingImage '" PRIstr "'",
		      ARGstr(digest), ARGstr(image));
}

static struct str str_unquoted(struct str s)
{
	return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct str){ s.p + 1, s.n - 2 } : s;
}

/* What an algorithm brings along is looked for now, and again when a job is launched. In another S3 only then. */
static int check_additional(const struct api_call *call, const json_t *in, struct faults *f, struct err *e)
{
	static const char at[] = "TrainingSpecification.AdditionalS3DataSource";
	const json_t *source = json_object_get(json_object_get(in, "TrainingSpecification"), "AdditionalS3DataSource");
	struct str uri = in_str(source, "S3Uri"), etag = in_str(source, "ETag"), bucket, key;
	bool object = str_is(in_str(source, "S3DataType"), "S3Object");
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found = { 0 };
	struct blob_look look = { 0 };
	struct err why = { 0 };
	int rc;

	if (!source || !s3_uri_split(uri, &bucket, &key))
		return 0;
	if (source_authorise(call, source, (struct str){ 0 }, e) < 0)
		return -1;
	if (!jobs_data_is_embedded(call->api->jobs))
		return 0;
	rc = object ? blob_find(call->api->blobs, bucket, key, &scratch, &found, NULL, &why)
	            : blob_look(call->api->blobs, bucket, key, &look, &why);
	if (rc < 0 && why.kind != ERR_NOT_FOUND) {
		*e = why;
		return -1;
	}
	if (rc < 0 || (!object && !look.exact && !look.inside && !look.beside))
		fault(f, "%s.S3Uri: there is nothing at '" PRIstr "'", at, ARGstr(uri));
	else if (object && etag.n && !str_eq(str_unquoted(etag), str_unquoted(found.etag)))
		fault(f, "%s.ETag: '" PRIstr "' is given, and that of " PRIstr " is '" PRIstr "'", at, ARGstr(etag),
		      ARGstr(uri), ARGstr(found.etag));
	return 0;
}

int algorithm_check(const struct api_call *call, const json_t *in, struct err *e)
{
	struct faults f = { 0 };
	int rc;

	algorithm_check_spec(in, &f);
	check_regexes(in, &f);
	check_digest(in, &f);
	rc = f.count ? 0 : check_additional(call, in, &f, e);
	if (rc == 0 && !f.count)
		rc = validation_check(call, in, &f, e);
	if (rc == 0)
		rc = faults_end(&f, call->words, e);
	faults_fini(&f);
	return rc < 0 ? -1 : tags_check(json_object_get(in, "Tags"), e);
}

struct found {
	char *image;   /* by its digest where that is known */
	bool asked;    /* its registry has to be */
	char *failure; /* why there is none; NULL: there is, or may be */
};

static void found_fini(struct found *f)
{
	free(f->image);
	free(f->failure);
}

static int find_image(const struct api_call *call, const json_t *in, struct found *ret, struct err *e)
{
	const json_t *t = json_object_get(in, "TrainingSpecification");
	struct str image = in_str(t, "TrainingImage"), digest = in_str(t, "TrainingImageDigest");
	_cleanup_free_ char *wanted = NULL, *here = NULL;
	struct err why = { 0 };

	if (digest.n && jobs_image_pinned(image, digest, &wanted, e) < 0)
		return err_in(e, "TrainingSpecification.TrainingImage");
	if (jobs_image_digest(call->api->jobs, wanted ? str_of(wanted) : image, &here, &why) == 0)
		return jobs_image_pinned(image, str_of(here), &ret->image, e);
	if (why.kind != ERR_NOT_FOUND) {
		*e = why;
		return -1;
	}
	ret->image = wanted ? take_ptr(wanted) : str_dup(image);
	ret->asked = jobs_can_ask(call->api->jobs, image);
	if (!ret->asked)
		ret->failure = strf("%s; import it with `bloomery image import`, and create the algorithm again",
		                    why.frame[0]);
	return 0;
}

int op_create_algorithm(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "AlgorithmName");
	_cleanup_free_ char *arn = algorithm_arn(call->api, name), *text = NULL, *details = NULL;
	_cleanup_(found_fini) struct found found = { 0 };
	_cleanup_free_ struct store_tag *tags = NULL;
	struct store_new_algorithm row = { .name = name.p, .arn = arn, .created = call->now };
	bool validated = json_object_get(in, "ValidationSpecification") != NULL;

	if (algorithm_check(call, in, e) < 0 || authorise_tags(call, in, arn, e) < 0 ||
	    products_check_images(call->api, in, e) < 0 || find_image(call, in, &found, e) < 0)
		return -1;
	row.tags = tags = tags_from(json_object_get(in, "Tags"), &row.tag_count);
	row.image = found.image;
	row.status = found.failure ? "Failed" : found.asked ? "Pending" : validated ? "InProgress" : "Completed";
	row.step = found.failure || !validated ? NULL : found.asked ? VALIDATION_IMAGE : VALIDATION_BEGIN;
	row.details = details = row.step ? validation_details(in, "NotStarted", NULL, NULL)
	                                 : jobs_algorithm_details(found.failure);
	row.description = json_string_value(json_object_get(in, "AlgorithmDescription"));
	mark_creator(call, in);
	row.request = text = json_dumps(in, JSON_COMPACT);
	must(text);
	if (jobs_algorithm_create(call->api->jobs, &row, e) < 0)
		return -1;
	*ret_out = json_pack("{s:s}", "AlgorithmArn", arn);
	return 0;
}

/* ---- DescribeAlgorithm ---- */

static void add_member(struct buf *out, const char *name, const json_t *v)
{
	_cleanup_free_ char *text = NULL;

	if (!v)
		return;
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	must(text);
	buf_f(out, ",\"%s\":", name);
	buf_z(out, text);
}

static void describe(const struct stored_algorithm *row, json_t *request, struct buf *out)
{
	json_t *t = json_object_get(request, "TrainingSpecification");
	const char *at = strchr(row->image, '@');

	if (at)
		json_object_set_new(t, "TrainingImageDigest", json_string(at + 1));
	buf_z(out, "{\"AlgorithmName\":");
	add_json_string(out, str_of(row->name));
	buf_z(out, ",\"AlgorithmArn\":");
	add_json_string(out, str_of(row->arn));
	add_member(out, "AlgorithmDescription", json_object_get(request, "AlgorithmDescription"));
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, row->created);
	add_member(out, "TrainingSpecification", t);
	add_member(out, "InferenceSpecification", json_object_get(request, "InferenceSpecification"));
	add_member(out, "ValidationSpecification", json_object_get(request, "ValidationSpecification"));
	add_member(out, "ProductId", json_object_get(request, "ProductId"));
	buf_f(out, ",\"AlgorithmStatus\":\"%s\",\"AlgorithmStatusDetails\":", row->status);
	buf_z(out, row->details);
	buf_f(out, ",\"CertifyForMarketplace\":%s}",
	      json_is_true(json_object_get(request, "CertifyForMarketplace")) ? "true" : "false");
}

int op_describe_algorithm(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "AlgorithmName");
	struct stored_algorithm row = { 0 };
	_cleanup_free_ char *text = NULL;
	json_t *request;

	(void)ret_out;
	if (algorithm_find(call->api, name, &row, &text, e) < 0)
		return -1;
	request = json_loads(text, JSON_ALLOW_NUL, NULL);
	if (request)
		describe(&row, request, call->raw);
	stored_algorithm_fini(&row);
	json_decref(request);
	return request ? 0 : err_set(e, ERR_BUG, "the request kept for algorithm " PRIstr " is damaged", ARGstr(name));
}

/* ---- ListAlgorithms, DeleteAlgorithm ---- */

static void add_summary(const struct store_algorithm_summary *a, void *arg)
{
	struct buf *out = arg;

	page_comma(out);
	buf_z(out, "{\"AlgorithmName\":");
	add_json_string(out, a->name);
	buf_z(out, ",\"AlgorithmArn\":");
	add_json_string(out, a->arn);
	if (a->description.n) {
		buf_z(out, ",\"AlgorithmDescription\":");
		add_json_string(out, a->description);
	}
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, a->created);
	buf_f(out, ",\"AlgorithmStatus\":\"" PRIstr "\"}", ARGstr(a->status));
}

int op_list_algorithms(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, false);
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"AlgorithmSummaryList\":[");
	if (store_algorithm_list(call->api->store, &q, add_summary, out, &token, e) < 0)
		return -1;
	page_end(out, token);
	return 0;
}

int op_delete_algorithm(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "AlgorithmName");
	struct stored_algorithm row = { 0 };

	(void)ret_out;
	if (algorithm_find(call->api, name, &row, NULL, e) < 0) /* products go by `bloomery product remove` alone */
		return -1;
	stored_algorithm_fini(&row);
	if (jobs_algorithm_delete(call->api->jobs, name, e) < 0)
		return e->kind == ERR_NOT_FOUND ? algorithm_missing(call->api, name, e) : -1;
	return 0;
}
