/* AddTags, ListTags, DeleteTags (contract 9.7). SPDX-License-Identifier: Apache-2.0 */
#include "op/tags.h"

#include <stdlib.h>

#include "job/jobs.h"
#include "op/training_job.h"

struct store_tag *tags_from(const json_t *list, size_t *ret_count)
{
	size_t n = json_array_size(list);
	struct store_tag *tags = n ? xcalloc(n, sizeof(*tags)) : NULL;

	for (size_t i = 0; i < n; i++) {
		const json_t *t = json_array_get(list, i);

		tags[i] = (struct store_tag){ in_str(t, "Key"), in_str(t, "Value") };
	}
	*ret_count = n;
	return tags;
}

static int check_key(struct str key, struct err *e)
{
	struct str prefix = { key.p, key.n < 4 ? key.n : 4 };

	if (!str_eq_nocase(prefix, STR("aws:")))
		return 0;
	return err_set(e, ERR_INVALID, "The tag key '" PRIstr "' begins with 'aws:', which is reserved", ARGstr(key));
}

int tags_check(const json_t *list, struct err *e)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct str key = in_str(json_array_get(list, i), "Key");

		if (check_key(key, e) < 0)
			return -1;
		for (size_t k = 0; k < i; k++)
			if (str_eq(key, in_str(json_array_get(list, k), "Key")))
				return err_set(e, ERR_INVALID, "The tag key '" PRIstr "' is given twice", ARGstr(key));
	}
	return 0;
}

static void add_tag(struct str key, struct str value, void *list)
{
	json_array_append_new(list, json_pack("{s:s%, s:s%}", "Key", key.p, key.n, "Value", value.p, value.n));
}

static int list_tags(const struct api_call *call, struct str arn, json_t **ret_out, struct err *e)
{
	json_t *list = json_array();

	if (store_tags_each(call->api->store, arn, add_tag, list, e) < 0) {
		json_decref(list);
		return not_found_is_invalid(e);
	}
	*ret_out = json_pack("{s:o}", "Tags", list);
	return 0;
}

int op_add_tags(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str arn = in_str(in, "ResourceArn");
	_cleanup_free_ struct store_tag *tags = NULL;
	size_t n;

	if (tags_check(json_object_get(in, "Tags"), e) < 0)
		return -1;
	tags = tags_from(json_object_get(in, "Tags"), &n);
	if (jobs_tags_put(call->api->jobs, arn, tags, n, e) < 0)
		return not_found_is_invalid(e);
	return list_tags(call, arn, ret_out, e);
}

/* A resource has no more tags than the smallest page holds, so no token was ever given out. */
int op_list_tags(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	if (json_object_get(in, "NextToken"))
		return err_set(e, ERR_INVALID, "The NextToken is not valid.");
	return list_tags(call, in_str(in, "ResourceArn"), ret_out, e);
}

int op_delete_tags(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *list = json_object_get(in, "TagKeys");
	size_t n = json_array_size(list);
	_cleanup_free_ struct str *keys = xcalloc(n + 1, sizeof(*keys));

	for (size_t i = 0; i < n; i++) {
		const json_t *key = json_array_get(list, i);

		keys[i] = (struct str){ json_string_value(key), json_string_length(key) };
	}
	if (jobs_tags_delete(call->api->jobs, in_str(in, "ResourceArn"), keys, n, e) < 0)
		return not_found_is_invalid(e);
	*ret_out = json_object();
	return 0;
}
