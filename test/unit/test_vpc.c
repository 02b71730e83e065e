/* What the ids of a VpcConfig stand for. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "job/vpc.h"

/* Both have to be given back. */
static int read_text(const char *text, struct conf *conf, struct vpc **ret, struct err *e)
{
	char path[] = "/tmp/vpc-conf.XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	int rc;

	CHECK(fd >= 0);
	CHECK(fd_write_all(fd, text, strlen(text), NULL) == 0);
	conf_init(conf);
	rc = conf_read(conf, path, e);
	unlink(path);
	return rc < 0 ? -1 : vpc_new(conf, ret, e);
}

static void check_bad(const char *text, const char *why)
{
	struct vpc *v = NULL;
	struct err e = { 0 };
	struct conf conf;
	char said[1024];

	CHECK(read_text(text, &conf, &v, &e) < 0 && e.kind == ERR_INVALID);
	CHECK(str_find(str_of(err_text(&e, said, sizeof(said))), str_of(why)) >= 0);
	conf_fini(&conf);
}

static json_t *config(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	CHECK(j != NULL);
	return j;
}

static const char usual[] = "network.lab = nat eth1 10.0.0.0/8\nnetwork.shut = none\n"
                            "subnet.subnet-0a = lab\nsubnet.subnet-0b = shut\nsubnet.subnet-0c = nat\n"
                            "security_group.sg-1 = out tcp 443\nsecurity_group.sg-2 = in tcp 22\n"
                            "security_group.sg-none =\n";

TEST(bad_lines_are_told_with_their_place)
{
	check_bad("subnet.subnet-1 = lab\n", ":1: subnet.subnet-1: there is no network.lab");
	check_bad("\nnetwork.lab = bridge\n", ":2: network.lab: 'bridge'");
	check_bad("security_group.sg-1 = out tcp 443, allow\n", "security_group.sg-1: 'allow'");
	check_bad("subnet.a b = nat\n", "is no name");
	check_bad("subnet. = nat\n", "is no name");
	check_bad("subnet.s = nat\nsubnet.s = nat\n", ":2: subnet.s is there twice");
}

TEST(all_unknown_ids_are_named)
{
	struct vpc *v = NULL;
	struct conf conf;
	struct err why = { 0 };
	char said[1024];
	json_t *good = config("{\"Subnets\":[\"subnet-0a\",\"subnet-0b\"],\"SecurityGroupIds\":[\"sg-2\"]}");
	json_t *bad = config("{\"Subnets\":[\"subnet-0a\",\"subnet-9\"],\"SecurityGroupIds\":[\"sg-8\",\"sg-1\"]}");

	CHECK_OK(read_text(usual, &conf, &v, e));
	CHECK(!vpc_is_empty(v));
	CHECK_OK(vpc_check(v, good, e));
	CHECK(vpc_check(v, bad, &why) < 0 && why.kind == ERR_INVALID);
	CHECK(str_starts(str_of(err_text(&why, said, sizeof(said))),
	                 STR("VpcConfig: the subnet ID 'subnet-9', the security group 'sg-8' do not exist.")));
	json_decref(good);
	json_decref(bad);
	vpc_free(v);
	conf_fini(&conf);
}

TEST(a_work_order_gets_the_first_subnet_and_all_groups)
{
	struct network_spec n = { 0 };
	struct vpc *v = NULL;
	struct conf conf;
	json_t *c = config("{\"Subnets\":[\"subnet-0a\",\"subnet-0b\"],"
	                   "\"SecurityGroupIds\":[\"sg-1\",\"sg-none\",\"sg-2\"]}");
	json_t *plain = config("{\"Subnets\":[\"subnet-0c\"],\"SecurityGroupIds\":[\"sg-none\"]}");
	json_t *gone = config("{\"Subnets\":[\"subnet-9\"],\"SecurityGroupIds\":[\"sg-9\"]}");

	CHECK_OK(read_text(usual, &conf, &v, e));
	vpc_fill(v, c, &n);
	CHECK_STR(n.subnet, "nat eth1 10.0.0.0/8");
	CHECK_STR(n.traffic, "out tcp 443, in tcp 22");
	vpc_fill(v, plain, &n);
	CHECK_STR(n.subnet, "nat");
	CHECK_STR(n.traffic, "");
	vpc_fill(v, gone, &n);
	CHECK_STR(n.subnet, "none");
	CHECK_STR(n.traffic, "");
	network_spec_fini(&n);
	json_decref(c);
	json_decref(plain);
	json_decref(gone);
	vpc_free(v);
	conf_fini(&conf);
}

TEST(groups_that_are_too_much_together)
{
	_cleanup_buf_ struct buf text = { 0 };
	json_t *both = config("{\"Subnets\":[\"s\"],\"SecurityGroupIds\":[\"sg-1\",\"sg-2\"]}"),
	       *one = config("{\"Subnets\":[\"s\"],\"SecurityGroupIds\":[\"sg-1\"]}");
	struct conf conf;
	struct vpc *v;
	struct err why = { 0 };
	char said[1024];

	buf_z(&text, "subnet.s = nat\n");
	for (int group = 1; group <= 2; group++) {
		buf_f(&text, "security_group.sg-%d = out all", group);
		for (int i = 1; i < 150; i++)
			buf_f(&text, ", out tcp %d", i);
		buf_c(&text, '\n');
	}
	CHECK_OK(read_text(text.p, &conf, &v, e));
	CHECK_OK(vpc_check(v, one, e));
	CHECK(vpc_check(v, both, &why) < 0 && why.kind == ERR_INVALID);
	CHECK(strstr(err_text(&why, said, sizeof(said)), "the security groups, together: more than 256 rules"));
	json_decref(both);
	json_decref(one);
	vpc_free(v);
	conf_fini(&conf);
}

TEST(a_conf_without_any)
{
	struct vpc *v = NULL;
	struct conf conf;

	CHECK_OK(read_text("network.lab = nat\n", &conf, &v, e));
	CHECK(vpc_is_empty(v));
	vpc_free(v);
	conf_fini(&conf);
}
