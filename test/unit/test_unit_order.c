/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/order.h"
#include "harness.h"

#include <stdlib.h>

enum { N = 1000 };

static void check_permutation(const uint32_t *v, uint32_t n)
{
	bool seen[N] = { false };

	for (uint32_t i = 0; i < n; i++) {
		CHECK(v[i] < n && !seen[v[i]]);
		seen[v[i] % N] = true;
	}
}

TEST(without_shuffling_the_list_is_dealt_in_its_order)
{
	struct unit_order o = { .share_number = 1, .share_count = 3 };
	uint32_t v[5];

	CHECK_INT(unit_order(&o, 0, 5, v), 2);
	CHECK(v[0] == 1 && v[1] == 4);
	CHECK_INT(unit_order(&o, 7, 5, v), 2);
	CHECK(v[0] == 1 && v[1] == 4);
	o.share_number = 2;
	CHECK_INT(unit_order(&o, 0, 5, v), 1);
	CHECK_INT(unit_order(&o, 0, 2, v), 0);
	CHECK_INT(unit_order(&o, 0, 0, v), 0);
}

TEST(an_epoch_is_shuffled_by_seed_and_number_and_nothing_else)
{
	struct unit_order o = { .shuffled = true, .seed = 42, .share_count = 1 };
	uint32_t a[N], b[N], c[N];

	CHECK_INT(unit_order(&o, 0, N, a), N);
	unit_order(&o, 0, N, b);
	unit_order(&o, 1, N, c);
	check_permutation(a, N);
	check_permutation(c, N);
	CHECK(memcmp(a, b, sizeof(a)) == 0);
	CHECK(memcmp(a, c, sizeof(a)) != 0);
	o.seed = 43;
	unit_order(&o, 0, N, c);
	CHECK(memcmp(a, c, sizeof(a)) != 0);
}

/* Worked out apart from this program, so that the rule in doc/channels.md stays what it is. */
TEST(the_rule_is_the_documented_one)
{
	static const uint32_t want[2][10] = { { 2, 0, 5, 7, 3, 9, 8, 1, 4, 6 }, { 7, 4, 5, 6, 1, 2, 0, 8, 3, 9 } };
	struct unit_order o = { .shuffled = true, .seed = 7, .share_count = 1 };
	uint32_t v[10];

	for (uint64_t epoch = 0; epoch < 2; epoch++) {
		unit_order(&o, epoch, 10, v);
		CHECK(memcmp(v, want[epoch], sizeof(v)) == 0);
	}
}

TEST(the_shares_of_an_epoch_are_the_epoch)
{
	for (unsigned hosts = 1; hosts <= 7; hosts++) {
		bool seen[N] = { false };
		uint32_t total = 0;

		for (unsigned host = 0; host < hosts; host++) {
			struct unit_order o = {
				.shuffled = true, .seed = -5, .share_number = host, .share_count = hosts
			};
			uint32_t v[N], n = unit_order(&o, 3, N, v);

			CHECK(n == N / hosts || n == N / hosts + 1);
			for (uint32_t i = 0; i < n; i++) {
				CHECK(!seen[v[i]]);
				seen[v[i]] = true;
			}
			total += n;
		}
		CHECK_INT(total, N);
	}
}
