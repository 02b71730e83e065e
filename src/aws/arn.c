/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/arn.h"

bool arn_parse(struct str s, struct arn *ret)
{
	struct arn a = { 0 };
	struct str *const parts[] = { &a.partition, &a.service, &a.region, &a.account };

	if (!str_skip(&s, STR("arn:")))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (!str_has_byte(s, ':'))
			return false;
		*parts[i] = str_cut(&s, ':');
	}
	a.resource = s;
	if (!a.partition.n || !a.service.n || !a.resource.n)
		return false;
	*ret = a;
	return true;
}

bool arn_resource(const struct arn *a, struct str *ret_type, struct str *ret_name)
{
	struct str name = a->resource, type = str_cut(&name, '/');

	if (!type.n || !name.n)
		return false;
	*ret_type = type;
	*ret_name = name;
	return true;
}

char *arn_make(const char *service, const char *region, const char *account, const char *type, struct str name)
{
	return strf("arn:aws:%s:%s:%s:%s/" PRIstr, service, region, account, type, ARGstr(name));
}
