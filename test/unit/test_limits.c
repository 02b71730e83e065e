/* What may pass, as text. SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "net/limits.h"

static void check_bad(bool subnet, const char *text, const char *why)
{
	struct net_limits l = { 0 };
	struct err e = { 0 };
	char said[1024];
	int rc = subnet ? net_limits_subnet(&l, str_of(text), &e) : net_limits_traffic(&l, str_of(text), &e);

	CHECK(rc < 0 && e.kind == ERR_INVALID);
	CHECK(str_find(str_of(err_text(&e, said, sizeof(said))), str_of(why)) >= 0);
	net_limits_fini(&l);
}

TEST(subnets)
{
	struct net_limits l = { 0 };

	CHECK_OK(net_limits_subnet(&l, STR(" nat  eth1 10.20.0.0/16\t192.0.2.1/32 "), e));
	CHECK(!l.no_way_out && l.range_count == 2 && l.range[0].base == 0x0a140000 && l.range[1].prefix == 32);
	CHECK_STR(l.interface, "eth1");
	net_limits_fini(&l);
	CHECK_OK(net_limits_subnet(&l, STR("none"), e));
	CHECK(l.no_way_out);
	net_limits_fini(&l);
	check_bad(true, "", "'' is neither");
	check_bad(true, "nat;reboot", "neither");
	check_bad(true, "none eth0", "'eth0'");
	check_bad(true, "nat 10.20.0.1/16", "'10.20.0.1/16'");
	check_bad(true, "nat eth0 eth1", "'eth1'");
	check_bad(true, "nat eth0;x", "'eth0;x'");
	check_bad(true, "nat anameofsixteenbyt", "interface");
}

TEST(traffic)
{
	struct net_limits l = { 0 };

	CHECK_OK(net_limits_traffic(&l, STR("out tcp 443, in udp 5000-5010 10.0.0.0/8 ,out all,"), e));
	CHECK(l.rule_count == 3 && !l.rule[0].inwards && l.rule[0].first == 443 && l.rule[0].last == 443);
	CHECK(l.rule[1].inwards && l.rule[1].last == 5010 && l.rule[1].range.prefix == 8);
	CHECK(!l.rule[2].protocol && l.rule[2].first == 0 && l.rule[2].last == 65535);
	CHECK_OK(net_limits_traffic(&l, STR(""), e));
	CHECK_INT(l.rule_count, 3);
	net_limits_fini(&l);
	check_bad(false, "443", "'443' is not a rule");
	check_bad(false, "out sctp", "'out sctp'");
	check_bad(false, "out all 443", "no port");
	check_bad(false, "out icmp 8", "no port");
	check_bad(false, "out tcp 70000", "'70000'");
	check_bad(false, "out tcp 20-10", "'20-10'");
	check_bad(false, "out tcp 443 10.0.0.0/8 x", "'x' is too much");
	check_bad(false, "out tcp 443 10.0.0.0", "'10.0.0.0' is not a range");
	check_bad(false, "out tcp 1 0.0.0.0/0\nflush ruleset", "is not a range");
}

TEST(as_rules_of_nft)
{
	struct net_limits l = { 0 };
	_cleanup_buf_ struct buf out = { 0 };

	CHECK_OK(net_limits_subnet(&l, STR("nat eth1 10.20.0.0/16"), e));
	CHECK_OK(net_limits_traffic(&l, STR("out tcp 443, out icmp 192.0.2.0/24, in tcp 6006-6010 10.0.0.0/8, in all"),
	                            e));
	net_limits_write(&l, "blm01234567", &out);
	net_limits_unwrite("blm01234567", &out);
	CHECK_GOLDEN("limits.nft", buf_view(&out));
	net_limits_fini(&l);
}
