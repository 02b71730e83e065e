/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api_auth.h"

#include "base/hash.h"

static const struct access_key *find_key(const struct api *api, struct str id)
{
	for (size_t i = 0; i < api->key_count; i++)
		if (str_is(id, api->keys[i].id))
			return &api->keys[i];
	return NULL;
}

/* A temporary key comes with its token, a lasting one with none. */
static bool token_fits(const struct access_key *key, struct str token)
{
	struct str want = str_of(key->token);

	return token.n == want.n && equal_secret(token.p, want.p, want.n);
}

/* IAM and the old global STS are signed for us-east-1 wherever the client is. */
static bool region_fits(const struct api *api, const struct sig_claim *c)
{
	if (str_is(c->region, api->region))
		return true;
	return str_is(c->region, "us-east-1") && (str_is(c->service, "iam") || str_is(c->service, "sts"));
}

/* A key that is none of ours may be a session's, whose token says so. */
static enum sig_fault find_session(const struct api *api, struct wall now, struct api_auth *a)
{
	enum iam_token token;

	if (!api->iam || !a->claim.token.n)
		return SIG_UNKNOWN_KEY;
	token = iam_session_of(api->iam, a->claim.access_key, a->claim.token, now, &a->session);
	if (token != IAM_TOKEN_GOOD)
		return token == IAM_TOKEN_OVER ? SIG_TOKEN_EXPIRED : SIG_BAD_TOKEN;
	a->session_key = (struct access_key){ a->session->id, a->session->secret, a->session->token, a->session->arn };
	a->key = &a->session_key;
	return SIG_OK;
}

void api_auth_head(const struct api *api, const struct sig_request *q, struct wall now, struct api_auth *ret)
{
	*ret = (struct api_auth){ 0 };
	ret->fault = sigv4_claim(q, &ret->scratch, &ret->claim, &ret->why);
	if (ret->fault)
		return;
	ret->key = find_key(api, ret->claim.access_key);
	if (!ret->key)
		ret->fault = find_session(api, now, ret);
	else if (!token_fits(ret->key, ret->claim.token))
		ret->fault = SIG_BAD_TOKEN;
	if (ret->fault)
		return;
	if (!region_fits(api, &ret->claim))
		ret->fault = SIG_BAD_SCOPE;
	else
		ret->fault = sigv4_check_time(&ret->claim, now);
}

void api_auth_verify(const struct api *api, const struct sig_request *q, struct str payload_hash, bool s3,
                     struct api_auth *a)
{
	unsigned char key[32];

	sig_cache_key(api->signing_keys, str_of(a->key->secret), a->claim.date8, a->claim.region, a->claim.service,
	              key);
	a->fault = sigv4_verify_key(q, &a->claim, key, payload_hash, s3);
	explicit_bzero(key, sizeof(key));
}

void api_auth_fini(struct api_auth *a)
{
	buf_fini(&a->scratch);
	iam_session_unref(a->session);
}

static const struct api_refusal refusals[] = {
	[SIG_OK] = { "InternalFailure", "InternalFailure", 500, 500 },
	[SIG_MISSING] = { "MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, 403 },
	[SIG_BOTH] = { "IncompleteSignatureException", "IncompleteSignature", 403, 403 },
	[SIG_INCOMPLETE] = { "IncompleteSignatureException", "IncompleteSignature", 403, 403 },
	[SIG_BAD_SCOPE] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
	[SIG_UNKNOWN_KEY] = { "UnrecognizedClientException", "InvalidClientTokenId", 400, 403 },
	[SIG_BAD_TOKEN] = { "UnrecognizedClientException", "InvalidClientTokenId", 400, 403 },
	[SIG_TOKEN_EXPIRED] = { "ExpiredTokenException", "ExpiredToken", 400, 403 },
	[SIG_EXPIRED] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
	[SIG_SKEWED] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
	[SIG_UNSIGNED_HEADER] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
	[SIG_MISMATCH] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
	[SIG_BAD_BODY_HASH] = { "InvalidSignatureException", "SignatureDoesNotMatch", 403, 403 },
};

const struct api_refusal *api_auth_refusal(enum sig_fault fault)
{
	return &refusals[fault];
}

static void say_time(const struct api_auth *a, struct wall now, struct buf *out)
{
	char asked[CLOCK_TEXT_BYTES], edge[CLOCK_TEXT_BYTES], here[CLOCK_TEXT_BYTES];
	int64_t life_ms = a->fault == SIG_EXPIRED ? (int64_t)a->claim.expires_s * 1000 : SIG_SKEW_S * 1000LL;
	bool early = a->claim.at.ms > now.ms;

	if (early)
		life_ms = -(int64_t)SIG_SKEW_S * 1000;
	wall_basic(a->claim.at, asked);
	wall_basic((struct wall){ now.ms - life_ms }, edge);
	wall_basic(now, here);
	if (early)
		buf_f(out, "Signature not yet current: %s is still later than %s (%s + %d min.)", asked, edge, here,
		      SIG_SKEW_S / 60);
	else if (a->fault == SIG_EXPIRED)
		buf_f(out, "Signature expired: %s is now earlier than %s (%s - %llu s)", asked, edge, here,
		      (unsigned long long)a->claim.expires_s);
	else
		buf_f(out, "Signature expired: %s is now earlier than %s (%s - %d min.)", asked, edge, here,
		      SIG_SKEW_S / 60);
}

void api_auth_say(const struct api *api, const struct api_auth *a, struct wall now, struct buf *out)
{
	if (a->why) {
		buf_z(out, a->why);
		return;
	}
	switch (a->fault) {
	case SIG_UNKNOWN_KEY:
	case SIG_BAD_TOKEN: buf_z(out, "The security token included in the request is invalid."); break;
	case SIG_TOKEN_EXPIRED: buf_z(out, "The security token included in the request is expired"); break;
	case SIG_BAD_SCOPE:
		buf_f(out,
		      "Credential should be scoped to a valid region: this server is %s, the request was signed "
		      "for " PRIstr ".",
		      api->region, ARGstr(a->claim.region));
		break;
	case SIG_EXPIRED:
	case SIG_SKEWED: say_time(a, now, out); break;
	case SIG_UNSIGNED_HEADER:
		buf_z(out, "'Host' and every 'X-Amz-' header must be among the SignedHeaders of the Authorization.");
		break;
	case SIG_BAD_BODY_HASH:
		buf_z(out, "The x-amz-content-sha256 header is not the SHA-256 of the request body that arrived.");
		break;
	default:
		buf_z(out,
		      "The request signature we calculated does not match the signature you provided. Check your AWS "
		      "Secret Access Key and signing method. Consult the service documentation for details.");
	}
}
