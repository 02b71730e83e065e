/* The numbers in bloomery-fetch's work order. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "s3/order.h"

static int read_order(const char *rest, struct order *ret, struct err *why)
{
	_cleanup_free_ char *text = strf("{\"access_key\":\"a\",\"secret_key\":\"s\",\"bucket\":\"b\"%s}", rest);
	int ends[2], r;

	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	CHECK(fd_write_all(ends[1], text, strlen(text), NULL) == 0);
	close(ends[1]);
	r = order_read(ends[0], false, ret, why);
	close(ends[0]);
	return r;
}

TEST(order_numbers_are_taken)
{
	struct order o = { 0 };

	CHECK_OK(read_order(",\"threads\":3,\"manifest\":7,\"shard\":1,\"shards\":4", &o, e));
	CHECK_INT(o.threads, 3);
	CHECK_INT(o.manifest, 7);
	CHECK_INT(o.shard, 1);
	CHECK_INT(o.shards, 4);
	order_fini(&o);
}

TEST(order_numbers_out_of_range_are_refused_by_name)
{
	static const char *const rows[][2] = {
		{ ",\"threads\":0", "'threads'" },
		{ ",\"threads\":\"3\"", "'threads'" },
		{ ",\"manifest\":1", "'manifest'" },
		{ ",\"shards\":0", "'shards'" },
		{ ",\"shard\":2,\"shards\":2", "'shard'" },
		{ ",\"shard\":1", "'shard'" },
		{ ",\"wings\":2", "'wings'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct order o = { 0 };
		struct err why = { 0 };

		CHECK(read_order(rows[i][0], &o, &why) < 0);
		CHECK_INT(why.kind, ERR_INVALID);
		CHECK(str_find(str_of(why.frame[0]), str_of(rows[i][1])) >= 0);
	}
}
