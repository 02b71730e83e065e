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
	r = order_read(ends[0], 0, ret, why);
	close(ends[0]);
	return r;
}

TEST(order_numbers_and_names_are_taken)
{
	struct order o = { 0 };

	CHECK_OK(read_order(",\"threads\":3,\"list\":7,\"patience_s\":60,\"s3_data_type\":\"S3Prefix\","
	                    "\"attribute_names\":[\"a-ref\",\"b\"]",
	                    &o, e));
	CHECK_INT(o.threads, 3);
	CHECK_INT(o.list, 7);
	CHECK_INT(o.patience_s, 60);
	CHECK_STR(o.s3_data_type, "S3Prefix");
	CHECK_INT(o.attribute_count, 2);
	CHECK_STR(o.attributes[0], "a-ref");
	CHECK_STR(o.attributes[1], "b");
	order_fini(&o);
}

TEST(order_members_that_are_none_are_refused_by_name)
{
	static const char *const rows[][2] = {
		{ ",\"threads\":0", "'threads'" },
		{ ",\"threads\":\"3\"", "'threads'" },
		{ ",\"list\":1", "'list'" },
		{ ",\"patience_s\":0", "'patience_s'" },
		{ ",\"attribute_names\":\"a\"", "'attribute_names'" },
		{ ",\"attribute_names\":[\"a\",1]", "'attribute_names'" },
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
