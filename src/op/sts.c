/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/arn.h"
#include "base/hash.h"
#include "iam/iam.h"
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

/* "AROA...:SESSION", of an assumed role's ARN. */
static void add_user_id(struct buf *out, const char *who)
{
	struct str role = str_of(who), session = str_cut_last(&role, '/');

	add_role_id(out, role);
	buf_c(out, ':');
	buf_str(out, session);
}

int op_get_caller_identity(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *who = api_caller_arn(call->api, call->caller);
	_cleanup_buf_ struct buf id = { 0 };

	(void)in;
	(void)e;
	add_user_id(&id, who);
	*ret_out = json_pack("{s:s, s:s, s:s}", "UserId", id.p, "Account", call->api->account, "Arn", who);
	must(*ret_out);
	return 0;
}

/* ---- AssumeRole ---- */

enum { DURATION_DEFAULT_S = 3600 };

static int check_role(const struct api_call *call, struct str role, struct err *e)
{
	const struct iam_wish wish = { .action = STR("sts:AssumeRole"), .resource = role };
	_cleanup_free_ char *who = api_caller_arn(call->api, call->caller);
	_cleanup_buf_ struct buf why = { 0 };
	struct str type, name;
	struct arn arn;

	if (!arn_parse(role, &arn) || !str_is(arn.service, "iam") || !arn.account.n ||
	    !arn_resource(&arn, &type, &name) || !str_is(type, "role") || name.p[name.n - 1] == '/')
		return err_set(e, ERR_INVALID,
		               PRIstr " is invalid: the ARN of a role is arn:aws:iam::000000000000:role/NAME",
		               ARGstr(role));
	if (call->api->iam && iam_knows_role(call->api->iam, role))
		return 0;
	iam_say_denied(who, &wish, POLICY_SILENT, &why);
	return err_set(e, ERR_DENIED, "%s", why.p);
}

/* Credentials of a role for people and tests. Who is a session gives no more than it has: the job that it is of, and
 * the time that is left. */
int op_assume_role(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const char *role = json_string_value(json_object_get(in, "RoleArn"));
	const char *session = json_string_value(json_object_get(in, "RoleSessionName"));
	const json_t *duration = json_object_get(in, "DurationSeconds");
	const struct iam_session *by = call->session;
	_cleanup_(iam_session_unrefp) struct iam_session *s = NULL;
	_cleanup_buf_ struct buf id = { 0 };
	char until[CLOCK_TEXT_BYTES];
	struct iam_mint mint = {
		.role = str_of(role),
		.session = str_of(session),
		.job_id = by ? str_of(by->job_id) : (struct str){ 0 },
		.job_name = by ? str_of(by->job_name) : (struct str){ 0 },
		.host = by ? by->host : 0,
		.expires = { call->now.ms + (duration ? json_integer_value(duration) : DURATION_DEFAULT_S) * 1000 },
	};

	if (by && mint.expires.ms > by->expires.ms)
		mint.expires = by->expires;
	if (check_role(call, mint.role, e) < 0 || iam_mint(call->api->iam, &mint, &s, e) < 0)
		return -1;
	add_user_id(&id, s->arn);
	*ret_out = json_pack("{s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s}}", "Credentials", "AccessKeyId", s->id,
	                     "SecretAccessKey", s->secret, "SessionToken", s->token, "Expiration",
	                     wall_iso8601(s->expires, until), "AssumedRoleUser", "AssumedRoleId", id.p, "Arn", s->arn);
	must(*ret_out);
	return 0;
}
