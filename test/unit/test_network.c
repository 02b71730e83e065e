/* The addresses of jobs. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "job/network.h"

static struct network_pool *pool(const char *conf)
{
	struct network_pool *p = NULL;

	CHECK_OK(network_pool_new(conf, &p, e));
	return p;
}

TEST(what_a_pool_can_be)
{
	struct network_pool *p = NULL;
	struct err e = { 0 };

	CHECK(network_pool_new("8.8.8.0/24", &p, &e) < 0 && e.kind == ERR_INVALID);
	CHECK(network_pool_new("10.0.0.0/31", &p, NULL) < 0);
	CHECK(network_pool_new("", &p, NULL) < 0);
	p = pool("10.99.0.0/28");
	CHECK(network_could_fit(p, 1) && network_could_fit(p, 13) && !network_could_fit(p, 14));
	network_pool_free(p);
}

TEST(none_is_the_machines)
{
	struct network_pool *p = pool("none");
	struct net_range r;

	CHECK(network_take(p, "0123456789abcdef", 1, &r) == NETWORK_NONE);
	network_pool_free(p);
}

/* Whatever the pool: not one piece after another is tried, and nobody gets what the machine has. */
TEST(a_pool_in_a_network_of_the_machine_is_of_no_use)
{
	struct net_range *used, r;
	size_t n = net_ranges_of_machine(&used);

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *conf = NULL;
		struct network_pool *p;
		char text[NET_ADDRESS_BYTES];

		if (!net_range_private(used[i]) || used[i].prefix > 29)
			continue;
		conf = strf("%s/%u", net_address_text(used[i].base & net_mask(used[i].prefix), text), used[i].prefix);
		p = pool(conf);
		CHECK(network_take(p, "0123456789abcdef", 1, &r) == NETWORK_SOON);
		network_pool_free(p);
	}
	free(used);
}

TEST(pieces_never_overlap_and_come_back)
{
	struct network_pool *p = pool("10.99.128.0/26");
	struct net_range got[16], again, r;
	char id[32];
	size_t n = 0;

	for (; n < 16; n++) {
		snprintf(id, sizeof(id), "%08zx00000000", n * 7919);
		if (network_take(p, id, n == 3 ? 5 : 1, &got[n]) != NETWORK_TAKEN)
			break;
		for (size_t i = 0; i < n; i++)
			CHECK(!net_range_overlap(got[i], got[n]));
		CHECK(net_range_overlap(got[n], (struct net_range){ 0x0a638000, 26 }));
	}
	CHECK_INT(n, 15); /* one of them is twice the size */
	CHECK_INT(got[3].prefix, 29);
	CHECK_INT(got[4].prefix, 30);
	snprintf(id, sizeof(id), "%08x00000000", 7919);
	CHECK(network_take(p, id, 1, &again) == NETWORK_TAKEN && again.base == got[1].base);
	network_give(p, id);
	network_give(p, id);
	CHECK(network_take(p, "ffffffffffffffff", 1, &r) == NETWORK_TAKEN && r.base == got[1].base);
	CHECK(network_take(p, "eeeeeeeeeeeeeeee", 1, &r) == NETWORK_LATER);
	network_pool_free(p);
}

static struct job_spec spec(unsigned host, unsigned hosts)
{
	struct job_spec s = { 0 };

	s.id = xstrdup("0123456789abcdef");
	s.name = xstrdup("job");
	s.arn = xstrdup("arn:aws:sagemaker:us-east-1:000000000000:training-job/job");
	s.region = xstrdup("us-east-1");
	s.account = xstrdup("000000000000");
	s.host_name = strf("algo-%u", host);
	s.host_number = host;
	s.host_count = hosts;
	s.request = json_object();
	s.limits.instance_type = xstrdup("ml.m5.large");
	s.limits.cpus = 1;
	s.limits.memory_bytes = s.limits.volume_bytes = 1 << 30;
	s.limits.pids = 10;
	s.image = xstrdup("image");
	s.max_runtime_s = 1;
	s.output_bucket = xstrdup("bucket");
	s.output_prefix = xstrdup("");
	return s;
}

TEST(a_work_order_says_it_and_a_restart_knows_it)
{
	_cleanup_close_ int fd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct network_pool *p = pool("10.99.0.0/16"), *after = pool("10.99.0.0/16");
	struct job_spec s = spec(2, 3), back = { 0 };
	struct net_range r = { 0 }, other = { 0 };

	CHECK(network_take(p, s.id, 3, &r) == NETWORK_TAKEN);
	CHECK_INT(r.prefix, 29);
	CHECK_INT(r.base, 0x0a632b38); /* the digits 01234567, as the number of a piece of eight */
	network_fill(&s, s.id, r, true);
	CHECK_STR(s.network.bridge, "blm01234567");
	CHECK_OK(spec_save(fd, &s, e));
	CHECK_OK(spec_load(test_tmpdir(), &back, e));
	CHECK_STR(back.network.bridge, "blm01234567");
	CHECK_STR(back.network.address, s.network.address);
	CHECK(back.network.isolated && back.network.prefix == 29 && back.network.peer_count == 3);
	CHECK_STR(back.network.peers[1].name, "algo-2");
	CHECK_STR(back.network.peers[1].address, back.network.address);
	network_known(after, s.id, &back.network);
	CHECK(network_take(after, "0123456700000000", 3, &other) == NETWORK_TAKEN && other.base == r.base + 8);
	CHECK(network_take(after, s.id, 3, &other) == NETWORK_TAKEN && other.base == r.base);
	spec_fini(&s);
	spec_fini(&back);
	network_pool_free(p);
	network_pool_free(after);
}
