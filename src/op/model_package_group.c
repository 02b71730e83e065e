/* CreateModelPackageGroup, DescribeModelPackageGroup, ListModelPackageGroups, DeleteModelPackageGroup.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "job/jobs.h"
#include "op/authorise.h"
#include "op/page.h"
#include "op/model.h"
#include "op/tags.h"
#include "op/training_job.h"
#include "store/store.h"

static int missing(const struct api_call *call, struct str name, struct err *e)
{
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "model-package-group", name);

	return err_set(e, ERR_INVALID, "ModelPackageGroup %s does not exist.", arn);
}

int op_create_model_package_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "ModelPackageGroupName");
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "model-package-group", name), *who = caller_of(call);
	_cleanup_free_ struct store_tag *tags = NULL;
	struct store_new_group row = { .name = name.p, .arn = arn, .created_by = who, .created = call->now };

	if (tags_check(json_object_get(in, "Tags"), e) < 0 || authorise_tags(call, in, arn, e) < 0)
		return -1;
	row.tags = tags = tags_from(json_object_get(in, "Tags"), &row.tag_count);
	row.description = json_string_value(json_object_get(in, "ModelPackageGroupDescription"));
	if (jobs_group_create(call->api->jobs, &row, e) < 0)
		return -1;
	*ret_out = json_pack("{s:s}", "ModelPackageGroupArn", arn);
	return 0;
}

/* All but the closing brace. */
static void add_described(const struct stored_group *g, struct buf *out)
{
	buf_z(out, "{\"ModelPackageGroupName\":");
	add_json_string(out, str_of(g->name));
	buf_z(out, ",\"ModelPackageGroupArn\":");
	add_json_string(out, str_of(g->arn));
	if (g->description) {
		buf_z(out, ",\"ModelPackageGroupDescription\":");
		add_json_string(out, str_of(g->description));
	}
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, g->created);
	buf_z(out, ",\"ModelPackageGroupStatus\":\"Completed\"");
}

int op_describe_model_package_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct stored_group g = { 0 };
	struct str name;

	(void)ret_out;
	if (group_name(call->api, in_str(in, "ModelPackageGroupName"), &name, e) < 0)
		return -1;
	if (store_group_find(call->api->store, name, &g, e) < 0)
		return e->kind == ERR_NOT_FOUND ? missing(call, name, e) : -1;
	add_described(&g, call->raw);
	buf_z(call->raw, ",\"CreatedBy\":{\"IamIdentity\":{\"Arn\":");
	add_json_string(call->raw, str_of(g.created_by));
	buf_z(call->raw, "}}}");
	stored_group_fini(&g);
	return 0;
}

static void add_summary(const struct stored_group *g, void *arg)
{
	struct buf *out = arg;

	page_comma(out);
	add_described(g, out);
	buf_c(out, '}');
}

int op_list_model_package_groups(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, false);
	bool ours = !str_is(in_str(in, "CrossAccountFilterOption"), "CrossAccount"); /* nobody shares with this one */
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"ModelPackageGroupSummaryList\":[");
	if (ours && store_group_list(call->api->store, &q, add_summary, out, &token, e) < 0)
		return -1;
	page_end(out, token);
	return 0;
}

int op_delete_model_package_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name;

	(void)ret_out;
	if (group_name(call->api, in_str(in, "ModelPackageGroupName"), &name, e) < 0)
		return -1;
	if (jobs_group_delete(call->api->jobs, name, e) < 0)
		return e->kind == ERR_NOT_FOUND ? missing(call, name, e) : -1;
	return 0;
}
