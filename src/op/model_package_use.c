/* Names and ARNs of model packages, and what a model takes from one. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "aws/arn.h"
#include "iam/iam.h"
#include "op/authorise.h"
#include "op/model.h"
#include "op/training_job.h"
#include "store/store.h"

void add_json_member(struct buf *out, const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);
	_cleanup_free_ char *text = NULL;

	if (!v)
		return;
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	must(text);
	buf_f(out, ",\"%s\":", name);
	buf_z(out, text);
}

char *caller_of(const struct api_call *call)
{
	return call->session ? xstrdup(call->session->arn) : api_caller_arn(call->api, call->caller);
}

/* ---- names ---- */

/* The name (and version) behind TYPE/ in an ARN of ours. */
static bool name_in(const struct api *api, struct str arn, const char *type, struct str *ret)
{
	struct str its_type;
	struct arn a;

	return arn_parse(arn, &a) && str_is(a.service, "sagemaker") && str_is(a.region, api->region) &&
	       str_is(a.account, api->account) && arn_resource(&a, &its_type, ret) && str_is(its_type, type);
}

int package_missing(const char *arn, struct err *e)
{
	return err_set(e, ERR_INVALID, "ModelPackage %s does not exist.", arn);
}

int package_arn(const struct api *api, struct str name_or_arn, char **ret, struct err *e)
{
	struct str name = name_or_arn;

	if (str_starts(name_or_arn, STR("arn:")) && !name_in(api, name_or_arn, "model-package", &name))
		return err_set(e, ERR_INVALID, "ModelPackage " PRIstr " does not exist.", ARGstr(name_or_arn));
	*ret = sagemaker_arn(api, "model-package", name);
	return 0;
}

int group_name(const struct api *api, struct str name_or_arn, struct str *ret, struct err *e)
{
	if (!str_starts(name_or_arn, STR("arn:"))) {
		*ret = name_or_arn;
		return 0;
	}
	if (!name_in(api, name_or_arn, "model-package-group", ret))
		return err_set(e, ERR_INVALID, "ModelPackageGroup " PRIstr " does not exist.", ARGstr(name_or_arn));
	return 0;
}

/* The version is not known yet: a policy that is to allow it allows all of the group. */
char *package_resource(const struct api *api, const json_t *in)
{
	static const char *const own[] = { "ModelPackageName", "ModelPackageArn" };
	struct str group = in_str(in, "ModelPackageGroupName");
	_cleanup_free_ char *of_group = NULL;

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (in_str(in, own[i]).n)
			return sagemaker_arn(api, "model-package", in_str(in, own[i]));
	if (str_starts(group, STR("arn:")) && !name_in(api, group, "model-package-group", &group))
		return str_dup(group);
	of_group = sagemaker_arn(api, "model-package", group);
	return strf("%s/*", of_group);
}

/* ---- a model takes from it ---- */

void package_use_fini(struct package_use *u)
{
	json_decref(u->containers);
	free(u->arn);
}

/* The specification of that name among the additional ones; else the package's own. */
static const json_t *specification_of(const json_t *request, struct str name)
{
	const json_t *all = json_object_get(request, "AdditionalInferenceSpecifications"), *s;
	size_t i;

	if (!name.n)
		return json_object_get(request, "InferenceSpecification");
	json_array_foreach (all, i, s)
		if (str_eq(in_str(s, "Name"), name))
			return s;
	return NULL;
}

static int take(const struct stored_package *p, const json_t *request, struct str name, struct package_use *ret,
                struct err *e)
{
	const json_t *specification = specification_of(request, name);

	if (strcmp(p->status, "Completed") != 0)
		return err_set(e, ERR_INVALID, "ModelPackage %s is in status %s; only a Completed one can be used",
		               p->arn, p->status);
	if (p->approval && !strcmp(p->approval, "Rejected"))
		return err_set(
		        e, ERR_INVALID,
		        "ModelPackage %s is Rejected; a model is made of one that is not: see ModelApprovalStatus",
		        p->arn);
	if (!specification && name.n)
		return err_set(e, ERR_INVALID, "ModelPackage %s has no inference specification '" PRIstr "'", p->arn,
		               ARGstr(name));
	if (!specification)
		return err_set(e, ERR_INVALID,
		               "ModelPackage %s has no InferenceSpecification, so no model can be made of it", p->arn);
	ret->containers = json_deep_copy(json_object_get(specification, "Containers"));
	ret->isolated = json_is_true(json_object_get(request, PACKAGE_ISOLATED));
	return 0;
}

int package_use(const struct api_call *call, struct str name_or_arn, struct str specification, struct package_use *ret,
                struct err *e)
{
	_cleanup_free_ char *arn = NULL;
	struct stored_package p = { 0 };
	json_t *request;
	int rc;

	if (package_arn(call->api, name_or_arn, &arn, e) < 0 ||
	    authorise_action(call->api, call->session, "sagemaker:DescribeModelPackage", str_of(arn), e) < 0)
		return -1;
	if (store_package_find(call->api->store, str_of(arn), &p, e) < 0)
		return e->kind == ERR_NOT_FOUND ? package_missing(arn, e) : -1;
	request = json_loads(p.request, JSON_ALLOW_NUL, NULL);
	rc = request ? take(&p, request, specification, ret, e)
	             : err_set(e, ERR_BUG, "the request kept for model package %s is damaged", arn);
	if (rc == 0)
		ret->arn = take_ptr(arn);
	json_decref(request);
	stored_package_fini(&p);
	return rc;
}
