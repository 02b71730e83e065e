/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/arn.h"

#include "harness.h"

TEST(arn_is_taken_apart)
{
	struct arn a;
	struct str type, name;

	CHECK(arn_parse(STR("arn:aws:sagemaker:us-east-1:000000000000:training-job/a/b:c"), &a));
	CHECK(str_is(a.partition, "aws") && str_is(a.service, "sagemaker") && str_is(a.region, "us-east-1"));
	CHECK(str_is(a.account, "000000000000") && str_is(a.resource, "training-job/a/b:c"));
	CHECK(arn_resource(&a, &type, &name) && str_is(type, "training-job") && str_is(name, "a/b:c"));
	CHECK(arn_parse(STR("arn:aws:s3:::bucket"), &a) && !a.region.n && !a.account.n);
	CHECK(!arn_resource(&a, &type, &name));
}

TEST(arn_refuses_what_is_none)
{
	static const char *const bad[] = { "",
		                           "arn",
		                           "arn:",
		                           "arn:aws:s3::",
		                           "arn:aws:s3:::",
		                           "arn::s3:::b",
		                           "arn:aws::::b",
		                           "ARN:aws:s3:::b",
		                           "xarn:aws:s3:::b" };
	struct arn a = { .resource = STR("kept") };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (arn_parse(str_of(bad[i]), &a))
			test_failed(__FILE__, __LINE__, "'%s' was taken for an ARN", bad[i]);
	CHECK(str_is(a.resource, "kept"));
}

TEST(arn_is_put_together)
{
	_cleanup_free_ char *arn = arn_make("sagemaker", "eu-west-1", "123456789012", "training-job", STR("demo"));

	CHECK_STR(arn, "arn:aws:sagemaker:eu-west-1:123456789012:training-job/demo");
}
