/* Shares of channels for any number of hosts and groups. SPDX-License-Identifier: Apache-2.0 */
#include "channel/order.h"
#include "harness.h"
#include "job/share.h"

#include <stdlib.h>

/* "number/count" of every host, "-" where the channel is not. */
static const char *shares(bool sharded, const struct share_group *groups, size_t group_count, const struct str *names,
                          size_t name_count, unsigned hosts)
{
	static struct buf out;

	buf_reset(&out);
	for (unsigned host = 1; host <= hosts; host++) {
		struct channel_share s = share_of(sharded, groups, group_count, names, name_count, host, hosts);

		buf_z(&out, host > 1 ? " " : "");
		if (s.absent)
			buf_c(&out, '-');
		else
			buf_f(&out, "%u/%u", s.number, s.count);
	}
	return out.p;
}

TEST(a_job_without_groups_is_one)
{
	CHECK_STR(shares(false, NULL, 0, NULL, 0, 3), "0/1 0/1 0/1");
	CHECK_STR(shares(true, NULL, 0, NULL, 0, 1), "0/1");
	CHECK_STR(shares(true, NULL, 0, NULL, 0, 4), "0/4 1/4 2/4 3/4");
}

TEST(groups_take_part_when_they_are_named)
{
	static const struct share_group groups[] = { { { "cpu", 3 }, 2 }, { { "none", 4 }, 0 }, { { "gpu", 3 }, 3 } };
	static const struct str gpu[] = { { "gpu", 3 } }, both[] = { { "gpu", 3 }, { "cpu", 3 }, { "gpu", 3 } },
	                        none[] = { { "none", 4 } };

	CHECK_STR(shares(true, groups, 3, NULL, 0, 5), "0/5 1/5 2/5 3/5 4/5");
	CHECK_STR(shares(true, groups, 3, gpu, 1, 5), "- - 0/3 1/3 2/3");
	CHECK_STR(shares(false, groups, 3, gpu, 1, 5), "- - 0/1 0/1 0/1");
	CHECK_STR(shares(true, groups, 3, both, 3, 5), "0/5 1/5 2/5 3/5 4/5");
	CHECK_STR(shares(true, groups, 3, none, 1, 5), "- - - - -");
}

TEST(the_request_is_read)
{
	json_t *request = json_loads(
	        "{\"ResourceConfig\":{\"InstanceGroups\":[{\"InstanceGroupName\":\"a\",\"InstanceType\":\"local\","
	        "\"InstanceCount\":1},{\"InstanceGroupName\":\"b\",\"InstanceType\":\"local\",\"InstanceCount\":2}]}}",
	        0, NULL);
	json_t *channel = json_loads("{\"DataSource\":{\"S3DataSource\":{\"InstanceGroupNames\":[\"b\"],"
	                             "\"S3DataDistributionType\":\"ShardedByS3Key\"}}}",
	                             0, NULL);
	json_t *plain = json_loads("{\"DataSource\":{\"FileSystemDataSource\":{}}}", 0, NULL);
	struct channel_share s = share_of_channel(request, channel, 3, 3);

	CHECK(!s.absent && s.number == 1 && s.count == 2);
	CHECK(share_of_channel(request, channel, 1, 3).absent);
	s = share_of_channel(request, plain, 3, 3);
	CHECK(!s.absent && s.number == 0 && s.count == 1);
	json_decref(request);
	json_decref(channel);
	json_decref(plain);
}

/* The vector of contract 14.2, and that every unit goes to exactly one host, for many hosts, epochs and seeds. */
TEST(units_are_dealt_without_one_missing_or_twice)
{
	static const char *const keys[] = { "d/a", "d/b", "d/b1", "d/c", "d/e" };
	static const char *const want[] = { "d/a d/c ", "d/b d/e ", "d/b1 " };
	uint32_t v[64];

	for (unsigned host = 1; host <= 3; host++) {
		struct channel_share s = share_of(true, NULL, 0, NULL, 0, host, 3);
		struct unit_order o = { .share_number = s.number, .share_count = s.count };
		uint32_t n = unit_order(&o, 0, ARRAY_LEN(keys), v);
		_cleanup_buf_ struct buf got = { 0 };

		for (uint32_t i = 0; i < n; i++)
			buf_f(&got, "%s ", keys[v[i]]);
		CHECK_STR(got.p, want[host - 1]);
	}
	for (unsigned hosts = 1; hosts <= 9; hosts++)
		for (unsigned epoch = 0; epoch < 4; epoch++) {
			unsigned seen[23] = { 0 };

			for (unsigned host = 1; host <= hosts; host++) {
				struct channel_share s = share_of(true, NULL, 0, NULL, 0, host, hosts);
				struct unit_order o = { epoch > 0, 42, s.number, s.count };
				uint32_t n = unit_order(&o, epoch, ARRAY_LEN(seen), v);

				for (uint32_t i = 0; i < n; i++)
					seen[v[i]]++;
			}
			for (size_t i = 0; i < ARRAY_LEN(seen); i++)
				CHECK_INT(seen[i], 1);
		}
}
