/* The container's resolv.conf. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "harness.h"
#include "run/network.h"

static void check_in(const char *subnet, const char *machines, const char *containers, const char *asks)
{
	const struct network_spec net = { .subnet = (char *)subnet };
	_cleanup_buf_ struct buf out = { 0 };
	_cleanup_free_ char *resolver = network_resolv(str_of(machines), &net, &out);

	CHECK_STR(out.p ? out.p : "", containers);
	CHECK_STR(resolver ? resolver : "nobody", asks);
}

static void check(const char *machines, const char *containers, const char *asks)
{
	check_in(NULL, machines, containers, asks);
}

TEST(a_subnet_asks_through_the_machine_or_not_at_all)
{
	check_in("nat", "search a.example\nnameserver 192.0.2.1\n", "nameserver 169.254.170.2\nsearch a.example\n",
	         "192.0.2.1");
	check_in("none", "search a.example\nnameserver 192.0.2.1\n", "search a.example\n", "nobody");
}

TEST(servers_that_it_reaches_are_its_own)
{
	check("# a comment\nnameserver 203.0.113.53\nsearch example.com\n",
	      "nameserver 203.0.113.53\nsearch example.com\n", "nobody");
	check("nameserver\t203.0.113.53", "nameserver\t203.0.113.53\n", "nobody");
}

TEST(of_several_those_that_it_reaches)
{
	check("nameserver 127.0.0.53\nnameserver 203.0.113.53\noptions ndots:2\n",
	      "nameserver 203.0.113.53\noptions ndots:2\n", "nobody");
}

TEST(others_are_asked_for_it)
{
	check("nameserver 127.0.0.53\noptions edns0\nsearch lan\n",
	      "nameserver 169.254.170.2\noptions edns0\nsearch lan\n", "127.0.0.53");
	check("nameserver fd00::53\n", "nameserver 169.254.170.2\n", "[fd00::53]");
}

TEST(none_is_none)
{
	check("", "", "nobody");
	check("search lan\nnameservers 1.2.3.4\n", "search lan\nnameservers 1.2.3.4\n", "nobody");
}
