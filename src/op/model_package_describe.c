/* DescribeModelPackage, ListModelPackages, BatchDescribeModelPackage. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/authorise.h"
#include "op/page.h"
#include "op/model.h"
#include "op/training_job.h"
#include "store/store.h"

static void add_z(struct buf *out, const char *name, const char *value)
{
	if (!value)
		return;
	buf_f(out, ",\"%s\":", name);
	add_json_string(out, str_of(value));
}

static void add_time(struct buf *out, const char *name, struct wall at)
{
	buf_f(out, ",\"%s\":", name);
	add_seconds(out, at);
}

static void add_who(struct buf *out, const char *name, const char *arn)
{
	buf_f(out, ",\"%s\":{\"IamIdentity\":{\"Arn\":", name);
	add_json_string(out, str_of(arn));
	buf_z(out, "}}");
}

static json_t *request_of(const struct stored_package *p, struct err *e)
{
	json_t *j = json_loads(p->request, JSON_ALLOW_NUL, NULL);

	if (!j)
		err_set(e, ERR_BUG, "the request kept for model package %s is damaged", p->arn);
	return j;
}

/* What every answer about a package begins with. */
static void add_head(struct buf *out, const struct stored_package *p, const json_t *request)
{
	buf_z(out, "{\"ModelPackageArn\":");
	add_json_string(out, str_of(p->arn));
	if (p->version) {
		add_z(out, "ModelPackageGroupName", p->name);
		buf_f(out, ",\"ModelPackageVersion\":%u", p->version);
	}
	add_json_member(out, request, "ModelPackageDescription");
	add_time(out, "CreationTime", p->created);
	add_z(out, "ModelPackageStatus", p->status);
	add_z(out, "ModelApprovalStatus", p->approval);
	add_json_member(out, request, "ModelPackageRegistrationType");
}

static void describe(const struct stored_package *p, const json_t *request, struct buf *out)
{
	static const char *const echoed[] = {
		"InferenceSpecification",
		"SourceAlgorithmSpecification",
		"MetadataProperties",
		"ModelMetrics",
		"ApprovalDescription",
		"Domain",
		"Task",
		"SamplePayloadUrl",
		"DriftCheckBaselines",
		"CustomerMetadataProperties",
		"SkipModelValidation",
		"SourceUri",
		"SecurityConfig",
		"ModelCard",
		"ModelLifeCycle",
		"AdditionalInferenceSpecifications",
	};

	add_head(out, p, request);
	add_z(out, "ModelPackageName", p->name); /* of a version its group's: the shape has the member required */
	for (size_t i = 0; i < ARRAY_LEN(echoed); i++)
		add_json_member(out, request, echoed[i]);
	buf_f(out,
	      ",\"ModelPackageStatusDetails\":{\"ValidationStatuses\":[],\"ImageScanStatuses\":[]},"
	      "\"CertifyForMarketplace\":%s",
	      json_is_true(json_object_get(request, "CertifyForMarketplace")) ? "true" : "false");
	add_who(out, "CreatedBy", p->created_by);
	if (p->modified_by) {
		add_time(out, "LastModifiedTime", p->modified);
		add_who(out, "LastModifiedBy", p->modified_by);
	}
	buf_c(out, '}');
}

int op_describe_model_package(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = NULL;
	struct stored_package p = { 0 };
	json_t *request;

	(void)ret_out;
	if (package_arn(call->api, in_str(in, "ModelPackageName"), &arn, e) < 0)
		return -1;
	if (store_package_find(call->api->store, str_of(arn), &p, e) < 0)
		return e->kind == ERR_NOT_FOUND ? package_missing(arn, e) : -1;
	request = request_of(&p, e);
	if (request)
		describe(&p, request, call->raw);
	stored_package_fini(&p);
	json_decref(request);
	return request ? 0 : -1;
}

/* ---- ListModelPackages ---- */

struct list {
	struct buf *out;
	struct err *e;
	bool failed;
};

static void add_summary(const struct stored_package *p, void *arg)
{
	struct list *l = arg;
	json_t *request = request_of(p, l->e);

	l->failed |= !request;
	page_comma(l->out);
	add_head(l->out, p, request);
	if (!p->version)
		add_z(l->out, "ModelPackageName", p->name);
	add_json_member(l->out, request, "ModelLifeCycle");
	buf_c(l->out, '}');
	json_decref(request);
}

/* Packages that are in no group, unless others are asked for (the API's text of ModelPackageType). */
static enum store_package_kind kind_of(const json_t *in)
{
	struct str type = in_str(in, "ModelPackageType");

	if (str_is(type, "Both"))
		return PACKAGES_ALL;
	if (str_is(type, "Versioned") || (!type.n && json_object_get(in, "ModelPackageGroupName")))
		return PACKAGES_VERSIONED;
	return PACKAGES_UNVERSIONED;
}

int op_list_model_packages(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, false);
	struct store_package_filter f = { .kind = kind_of(in), .approval = in_str(in, "ModelApprovalStatus") };
	struct list l = { .out = call->raw, .e = e };
	_cleanup_free_ char *token = NULL;

	(void)ret_out;
	if (group_name(call->api, in_str(in, "ModelPackageGroupName"), &f.group, e) < 0)
		return -1;
	buf_z(l.out, "{\"ModelPackageSummaryList\":[");
	if (store_package_list(call->api->store, &q, &f, add_summary, &l, &token, e) < 0 || l.failed)
		return -1;
	page_end(l.out, token);
	return 0;
}

/* ---- BatchDescribeModelPackage ---- */

static void add_comma(struct buf *out)
{
	if (out->n && out->p[out->n - 1] != '{')
		buf_c(out, ',');
}

static int add_found(const struct stored_package *p, struct str asked, struct buf *out, struct err *e)
{
	json_t *request = request_of(p, e);

	if (!request)
		return -1;
	add_comma(out);
	add_json_string(out, asked);
	buf_c(out, ':');
	add_head(out, p, request);
	add_json_member(out, request, "InferenceSpecification");
	buf_c(out, '}');
	json_decref(request);
	return 0;
}

static void add_error(struct str asked, const struct err *why, struct buf *out)
{
	add_comma(out);
	add_json_string(out, asked);
	buf_f(out, ":{\"ErrorCode\":\"%s\",\"ErrorResponse\":",
	      err_info[why->kind == ERR_NOT_FOUND ? ERR_INVALID : why->kind].wire);
	add_json_string(out, str_of(why->frame[0]));
	buf_c(out, '}');
}

static int add_one(const struct api_call *call, struct str asked, struct buf *found, struct buf *errors, struct err *e)
{
	_cleanup_free_ char *arn = NULL;
	struct stored_package p = { 0 };
	struct err why = { 0 };
	int rc = package_arn(call->api, asked, &arn, &why);

	if (rc == 0)
		rc = authorise_action(call->api, call->session, "sagemaker:BatchDescribeModelPackage", str_of(arn),
		                      &why);
	if (rc == 0)
		rc = store_package_find(call->api->store, str_of(arn), &p, &why);
	if (rc < 0 && why.kind != ERR_NOT_FOUND && why.kind != ERR_INVALID && why.kind != ERR_DENIED) {
		*e = why;
		return -1;
	}
	if (rc < 0)
		add_error(asked, &why, errors);
	else
		rc = add_found(&p, asked, found, e);
	stored_package_fini(&p);
	return why.kind ? 0 : rc;
}

static bool is_asked_before(const json_t *arns, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (json_equal(json_array_get(arns, k), json_array_get(arns, i)))
			return true;
	return false;
}

int op_batch_describe_model_package(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *arns = json_object_get(in, "ModelPackageArnList"), *arn;
	_cleanup_buf_ struct buf errors = { 0 };
	struct buf *out = call->raw;
	size_t i;

	(void)ret_out;
	buf_z(out, "{\"ModelPackageSummaries\":{");
	json_array_foreach (arns, i, arn)
		if (!is_asked_before(arns, i) &&
		    add_one(call, (struct str){ json_string_value(arn), json_string_length(arn) }, out, &errors, e) < 0)
			return -1;
	buf_z(out, "},\"BatchDescribeModelPackageErrorMap\":{");
	buf_str(out, buf_view(&errors));
	buf_z(out, "}}");
	return 0;
}
