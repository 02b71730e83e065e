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
int op_get_caller_identity(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *made = NULL;
	_cleanup_buf_ struct buf id = { 0 };
	const char *who = call->caller->arn;
	struct str type, name, session;
	struct arn arn;

	(void)in;
	(void)e;
	if (!who || !arn_parse(str_of(who), &arn) || !str_is(arn.service, "sts") || !arn_resource(&arn, &type, &name) ||
	    !str_is(type, "assumed-role")) {
		made = strf("arn:aws:sts::%s:assumed-role/bloomery/%s", call->api->account, call->caller->id);
		who = made;
	}
	session = str_of(who);
	session = str_cut_last(&session, '/');
	add_role_id(&id, (struct str){ who, strlen(who) - session.n - 1 });
	buf_c(&id, ':');
	buf_str(&id, session);
	*ret_out = json_pack("{s:s, s:s, s:s}", "UserId", id.p, "Account", call->api->account, "Arn", who);
	must(*ret_out);
	return 0;
}
