/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/arn.h"
#include "base/hash.h"
#include "op/api.h"

/* The unique id AWS gives a role: AROA and 17 letters or digits; here they are made from the role's ARN. */
static void add_role_id(struct buf *out, struct str role)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned char digest[SHA256_BYTES];

	sha256(role, digest);
	buf_z(out, "AROA");
	for (int i = 0; i < 17; i++)
		buf_c(out, digits[digest[i] % 32]);
}

/* Always an assumed role: SDKs find out their execution role from this ARN and refuse a user's (pains E4). A key whose
 * own ARN is not one gets the role `bloomery`, with the key as the session. */
char *api_caller_arn(const struct api *api, const struct access_key *key)
{
	struct str type, name;
	struct arn arn;

	if (key->arn && arn_parse(str_of(key->arn), &arn) && str_is(arn.service, "sts") &&
	    arn_resource(&arn, &type, &name) && str_is(type, "assumed-role"))
		return xstrdup(key->arn);
	return strf("arn:aws:sts::%s:assumed-role/bloomery/%s", api->account, key->id);
}

int op_get_caller_identity(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *who = api_caller_arn(call->api, call->caller);
	_cleanup_buf_ struct buf id = { 0 };
	struct str role = str_of(who), session = str_cut_last(&role, '/');

	(void)in;
	(void)e;
	add_role_id(&id, role);
	buf_c(&id, ':');
	buf_str(&id, session);
	*ret_out = json_pack("{s:s, s:s, s:s}", "UserId", id.p, "Account", call->api->account, "Arn", who);
	must(*ret_out);
	return 0;
}
