/* SPDX-License-Identifier: Apache-2.0 */
#include "job/share.h"

static struct str text(const json_t *v)
{
	return (struct str){ json_is_string(v) ? json_string_value(v) : "", json_string_length(v) };
}

size_t share_groups(const json_t *resource_config, struct share_group *ret)
{
	const json_t *groups = json_object_get(resource_config, "InstanceGroups"), *g;
	size_t i;

	json_array_foreach (groups, i, g) {
		must(i < SHARE_GROUPS_MAX);
		ret[i].name = text(json_object_get(g, "InstanceGroupName"));
		ret[i].hosts = (unsigned)json_integer_value(json_object_get(g, "InstanceCount"));
	}
	return json_array_size(groups);
}

static bool is_named(struct str group, const struct str *names, size_t name_count)
{
	for (size_t i = 0; i < name_count; i++)
		if (str_eq(group, names[i]))
			return true;
	return !name_count;
}

struct channel_share share_of(bool sharded, const struct share_group *groups, size_t group_count,
                              const struct str *names, size_t name_count, unsigned host, unsigned hosts)
{
	const struct share_group whole = { { "", 0 }, hosts };
	struct channel_share s = { .absent = true };
	unsigned next = 1;

	if (!group_count) {
		groups = &whole;
		group_count = 1;
		name_count = 0;
	}
	for (size_t i = 0; i < group_count; next += groups[i++].hosts) {
		if (!is_named(groups[i].name, names, name_count))
			continue;
		if (host >= next && host < next + groups[i].hosts) {
			s.absent = false;
			s.number = s.count + (host - next);
		}
		s.count += groups[i].hosts;
	}
	if (s.absent || !sharded)
		s = (struct channel_share){ .absent = s.absent, .count = 1 };
	return s;
}

struct channel_share share_of_channel(const json_t *request, const json_t *channel, unsigned host, unsigned hosts)
{
	const json_t *s3 = json_object_get(json_object_get(channel, "DataSource"), "S3DataSource"), *v;
	struct share_group groups[SHARE_GROUPS_MAX];
	size_t group_count = share_groups(json_object_get(request, "ResourceConfig"), groups), i, n = 0;
	struct str names[SHARE_GROUPS_MAX];

	json_array_foreach (json_object_get(s3, "InstanceGroupNames"), i, v) {
		must(n < SHARE_GROUPS_MAX);
		names[n++] = text(v);
	}
	return share_of(str_is(text(json_object_get(s3, "S3DataDistributionType")), "ShardedByS3Key"), groups,
	                group_count, names, n, host, hosts);
}
